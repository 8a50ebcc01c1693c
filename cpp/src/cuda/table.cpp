// Opens libcuda.so.1, fills the table, initialises the driver; each step fails with its own error.
#include "cuda/table.hpp"

#include <dlfcn.h>
#include <link.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <type_traits>

#include "cuda/error.hpp"
#include "cuda/fork.hpp"
#include "cuready/error.hpp"

namespace cuready::cuda {
namespace {

enum class Need { report, run, extra };

// cuGetProcAddress gives the entry point for one version of the API, which dlsym can not; it exists since CUDA 11.3
// and got a fifth argument in 12.0. https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DRIVER__ENTRY__POINT.html
class Resolver {
 public:
  explicit Resolver(void* handle)
      : handle_(handle),
        v2_(reinterpret_cast<V2>(dlsym(handle, "cuGetProcAddress_v2"))),
        v1_(v2_ != nullptr ? nullptr : reinterpret_cast<V1>(dlsym(handle, "cuGetProcAddress"))) {}

  void* find(const char* name, const char* symbol, int version) const {
    void* entry = nullptr;
    if (v2_ != nullptr) {
      int found = 0;
      if (v2_(name, &entry, version, 0, &found) != success) entry = nullptr;
    } else if (v1_ != nullptr) {
      if (v1_(name, &entry, version, 0) != success) entry = nullptr;
    }
    return entry != nullptr ? entry : dlsym(handle_, symbol);
  }
  bool present() const noexcept { return v1_ != nullptr || v2_ != nullptr; }

 private:
  using V1 = CUresult (*)(const char*, void**, int, unsigned long long);
  using V2 = CUresult (*)(const char*, void**, int, unsigned long long, int*);
  void* handle_;
  V2 v2_;
  V1 v1_;
};

[[noreturn]] void fail(const char* step, std::string message, std::string hint, CudaStatus cuda = {}) {
  const std::string operation = cuda.call.empty() ? "load the CUDA driver" : cuda.call;
  throw DriverNotFound({operation, std::move(message), std::move(hint), {}, std::move(cuda)}, step);
}

std::string loaded_path(void* handle, const std::string& asked) {
  link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr && map->l_name != nullptr && *map->l_name != '\0')
    return map->l_name;
  return asked;
}

}  // namespace

Table load_table(const std::string& path) {
  Table t;
  std::string name = path;
  t.found_by = "argument";
  if (name.empty()) {
    const char* variable = std::getenv("CUREADY_LIBCUDA");
    if (variable != nullptr && *variable != '\0') {
      name = variable;
      t.found_by = "CUREADY_LIBCUDA";
    } else {
      name = "libcuda.so.1";
      t.found_by = "loader";
    }
  }
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    fail("open", name + " can not be opened: " + (reason != nullptr ? reason : "no reason given"),
         t.found_by == "loader" ? "install the NVIDIA driver, or in a container pass the GPU through (docker run "
                                  "--gpus all); CUREADY_LIBCUDA names another file"
                                : "correct the path, or leave it out to use libcuda.so.1 of the driver");
  }
  t.library = loaded_path(handle, name);

  const Resolver resolver(handle);
  t.uses_get_proc_address = resolver.present();
  const char* missing = nullptr;
#define X(fn, symbol, version, need, ...)                                                        \
  t.fn = reinterpret_cast<std::add_pointer_t<__VA_ARGS__>>(resolver.find(#fn, symbol, version)); \
  if (t.fn == nullptr && Need::need == Need::report && missing == nullptr) missing = symbol;     \
  if (t.fn == nullptr && Need::need == Need::run && t.missing_run.empty()) t.missing_run = symbol;
  CUREADY_DRIVER_FUNCTIONS(X)
#undef X
  if (missing != nullptr) {
    fail("symbol", t.library + " lacks the function " + missing,
         "this is no CUDA driver library, or one older than CUDA 6; update the NVIDIA driver");
  }
  if (CUresult r = t.cuInit(0); r != success) {
    CudaStatus status = describe(t, r, "cuInit");
    fail("init", t.library + " was opened but does not initialise", hint_for(r), std::move(status));
  }
  if (CUresult r = t.cuDriverGetVersion(&t.driver_version); r != success) {
    fail("version", "the driver does not tell its version", hint_for(r), describe(t, r, "cuDriverGetVersion"));
  }
  return t;
}

namespace {
std::atomic<const Table*> process_table{nullptr};
std::mutex process_table_mutex;
}  // namespace

const Table* driver_if_loaded() noexcept { return process_table.load(std::memory_order_acquire); }

const Table& driver() {
  if (const Table* table = driver_if_loaded(); table != nullptr) return *table;
  const std::lock_guard<std::mutex> lock(process_table_mutex);
  if (const Table* table = driver_if_loaded(); table != nullptr) return *table;
  Table loaded = load_table({});
  watch_forks();
  if (!loaded.missing_run.empty()) {
    fail("symbol", loaded.library + " lacks the function " + loaded.missing_run,
         "update the NVIDIA driver (CUDA 11.0 or newer is needed)");
  }
  // Never freed: buffers and streams that outlive static destruction still need it.
  const Table* table = new Table(std::move(loaded));
  process_table.store(table, std::memory_order_release);
  return *table;
}

}  // namespace cuready::cuda
