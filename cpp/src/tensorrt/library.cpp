// Opening a TensorRT library: dlopen, symbols, version, adapter. Each step that fails has its own sentence.
#include "cuready/library.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>

#include "tensorrt/adapters.hpp"
#include "tensorrt/call.hpp"
#include "tensorrt/discovery.hpp"
#include "tensorrt/elf.hpp"

namespace cuready {
namespace {

namespace fs = std::filesystem;

constexpr const char* operation = "open a TensorRT library";

[[noreturn]] void unsupported(std::string message, std::string hint) {
  throw UnsupportedLibrary({operation, std::move(message), std::move(hint)});
}

std::string last_dl_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "no reason given";
}

/// The soname in "libcudart.so.12: cannot open shared object file: …", or empty.
std::string missing_dependency(const std::string& error) {
  const std::size_t colon = error.find(": cannot open shared object file");
  return colon == std::string::npos ? std::string() : error.substr(0, colon);
}

/// Looks for a dependency where pip puts it: beside the library, and in site-packages/nvidia/*/lib.
bool preload(const std::string& soname, const fs::path& library) {
  std::error_code ignored;
  std::vector<fs::path> folders{library.parent_path()};
  const fs::path nvidia = library.parent_path().parent_path() / "nvidia";
  for (fs::directory_iterator it(nvidia, ignored), end; !ignored && it != end; it.increment(ignored))
    folders.push_back(it->path() / "lib");
  for (const fs::path& folder : folders) {
    const fs::path file = folder / soname;
    if (fs::exists(file, ignored) && dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return true;
  }
  return false;
}

/// RTLD_LOCAL: two majors in one process must not see each other's getPluginRegistry.
void* open_with_dependencies(const std::string& path, const std::string& what) {
  constexpr int attempts = 16;  // as many missing dependencies as are looked for
  std::string error;
  for (int i = 0; i < attempts; ++i) {
    if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); handle != nullptr) return handle;
    error = last_dl_error();
    const std::string soname = missing_dependency(error);
    if (soname.empty() || soname == path || !preload(soname, path)) break;
  }
  unsupported(what + " " + path + " does not load: " + error,
              missing_dependency(error).empty() ? "install it again, from the same place as the rest of TensorRT"
                                                : "install the package that has " + missing_dependency(error) +
                                                      ", or put its folder into LD_LIBRARY_PATH");
}

// 8.6.0 is 8600 and 10.16.1 is 101601: the major counted thousands until 10.
Version decode_version(std::int32_t raw) {
  const int unit = raw < 10000 ? 1000 : 10000;
  return {raw / unit, raw % unit / 100, raw % 100, 0};
}

}  // namespace

struct Library::Impl {
  std::string path;
  std::string found_by;
  LibraryKind kind = LibraryKind::unknown;
  Version version;
  std::unique_ptr<tensorrt::Adapter> adapter;
  std::mutex plugins_mutex;
  std::vector<std::string> plugins;

  static std::unique_ptr<Impl> load(const LibraryInfo& info);
};

std::unique_ptr<Library::Impl> Library::Impl::load(const LibraryInfo& info) {
  if (info.kind == LibraryKind::rtx) {
    unsupported(info.path + " is TensorRT-RTX, another product with another interface",
                "install TensorRT itself (pip install tensorrt)");
  }
  if (!info.problem.empty())
    unsupported(info.path + ": " + info.problem, "name a libnvinfer.so of this machine's architecture");
  void* handle = open_with_dependencies(info.path, "the library");
  const auto get_version = reinterpret_cast<std::int32_t (*)()>(dlsym(handle, "getInferLibVersion"));
  tensorrt::Symbols symbols;
  symbols.create_runtime =
      reinterpret_cast<decltype(symbols.create_runtime)>(dlsym(handle, "createInferRuntime_INTERNAL"));
  for (const auto& [address, symbol] :
       {std::pair{reinterpret_cast<void*>(get_version), "getInferLibVersion"},
        std::pair{reinterpret_cast<void*>(symbols.create_runtime), "createInferRuntime_INTERNAL"}}) {
    if (address == nullptr)
      unsupported(info.path + " lacks the function " + symbol,
                  "this is no TensorRT runtime library: name libnvinfer.so");
  }
  symbols.create_refitter =
      reinterpret_cast<decltype(symbols.create_refitter)>(dlsym(handle, "createInferRefitter_INTERNAL"));
  symbols.raw_version = get_version();

  auto impl = std::make_unique<Impl>();
  impl->path = info.path;
  impl->found_by = info.found_by;
  impl->kind = info.kind;
  impl->version = decode_version(symbols.raw_version);
  if (const auto get_build = reinterpret_cast<std::int32_t (*)()>(dlsym(handle, "getInferLibBuildVersion"));
      get_build != nullptr) {
    impl->version.build = get_build();
  }
  if (impl->version.major == 1) {
    unsupported(info.path + " is TensorRT-RTX " + impl->version.str() + ", another product with another interface",
                "install TensorRT itself (pip install tensorrt)");
  }
  if (impl->version.major == 8 && impl->version.minor < 5) {
    unsupported(info.path + " is TensorRT " + impl->version.str(),
                "8.5 and 8.6, 10 and 11 are supported: install one of them");
  }
  impl->adapter = tensorrt::make_adapter(symbols, impl->version);
  if (!impl->adapter) {
    unsupported(info.path + " is TensorRT " + impl->version.str() + " (raw version " +
                    std::to_string(symbols.raw_version) + "), whose interface is not known",
                "8.5 and 8.6, 10 and 11 are supported: install one of them, or a newer cuready");
  }
  return impl;
}

Library::Library(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Library::~Library() = default;
const std::string& Library::path() const noexcept { return impl_->path; }
const std::string& Library::found_by() const noexcept { return impl_->found_by; }
LibraryKind Library::kind() const noexcept { return impl_->kind; }
Version Library::version() const noexcept { return impl_->version; }
const tensorrt::Adapter& Library::adapter() const noexcept { return *impl_->adapter; }

std::shared_ptr<Library> Library::open(const SearchOptions& options) {
  // Opened libraries stay, also after static destruction.
  static std::mutex& mutex = *new std::mutex;
  static auto& opened = *new std::map<std::string, std::shared_ptr<Library>>;
  const std::lock_guard<std::mutex> lock(mutex);

  std::vector<std::string> places;
  for (const LibraryInfo& info : tensorrt::discover(options, places)) {
    std::error_code error;
    const fs::path real = fs::canonical(info.path, error);
    const std::string key = error ? info.path : real.string();
    const bool demanded = info.found_by == "argument" || info.found_by == "CUREADY_TENSORRT";
    if (demanded && error) break;  // named, and not there: the list of places says so
    try {
      auto known = opened.find(key);
      if (known == opened.end())
        known = opened.emplace(key, std::shared_ptr<Library>(new Library(Impl::load(info)))).first;
      if (options.major != 0 && known->second->version().major != options.major) {
        places.push_back(info.path + ": is TensorRT " + known->second->version().str() + ", not " +
                         std::to_string(options.major));
        continue;
      }
      return known->second;
    } catch (const UnsupportedLibrary& unusable) {
      if (demanded) throw;  // what was asked for by name is never replaced by something else
      places.push_back(unusable.message());
    }
  }
  std::string message = "no TensorRT library was found";
  if (!options.path.empty()) message = "there is no TensorRT library at " + options.path;
  if (!places.empty()) message += "; looked at: ";
  for (std::size_t i = 0; i < places.size(); ++i) message += (i == 0 ? "" : "; ") + places[i];
  throw LibraryNotFound(
      {operation, message,
       "install TensorRT (pip install tensorrt), or point CUREADY_TENSORRT at libnvinfer.so or its folder"},
      places);
}

void Library::check_plan(const PlanInfo& plan) const {
  if (plan.truncated) {
    throw PlanInvalid(
        {"check a plan",
         "the plan is cut short: " + std::to_string(plan.size) + " of " + std::to_string(plan.declared_size) + " bytes",
         "copy or download it again"});
  }
  if (plan.size < 4)
    throw PlanInvalid(
        {"check a plan", "it is " + plan.reason, "name a plan file (built by trtexec or `cuready engine build`)"});
  const Version& built = plan.built_by;
  if (plan.kind != PlanInfo::Kind::tensorrt || built.major == 0) return;  // another family: TensorRT may know it
  if (built.major == impl_->version.major && built.minor == impl_->version.minor) return;
  // Another version can run it only through the lean runtime of the building version inside it: a host library of tens
  // of megabytes. If there is one, or if the plan is large enough to hide one (packed), TensorRT has to answer.
  constexpr std::size_t smallest_runtime = std::size_t{8} << 20;
  if (plan.has_host_code || plan.size >= smallest_runtime) return;
  throw EngineVersionError({"check a plan",
                            "the plan was built by TensorRT " + built.str() + ", this is TensorRT " +
                                impl_->version.str() + " (" + impl_->path + ")",
                            "build the plan again with TensorRT " + impl_->version.str() + ", or open TensorRT " +
                                std::to_string(built.major) + "." + std::to_string(built.minor) +
                                " (pip install \"tensorrt==" + std::to_string(built.major) + "." +
                                std::to_string(built.minor) + ".*\", or CUREADY_TENSORRT=/path/to/it)"},
                           built, impl_->version);
}

std::string Library::sibling_plugin_library() const {
  const fs::path folder = fs::path(impl_->path).parent_path();
  const std::string major = std::to_string(impl_->version.major);
  // The lean runtime has a plugin library of its own, with the version-compatible ones.
  const std::string stem = impl_->kind == LibraryKind::lean ? "libnvinfer_vc_plugin.so" : "libnvinfer_plugin.so";
  for (const std::string& file :
       {stem + "." + major, stem,
        stem + "." + major + "." + std::to_string(impl_->version.minor) + "." + std::to_string(impl_->version.patch)}) {
    std::error_code ignored;
    if (fs::exists(folder / file, ignored)) return (folder / file).string();
  }
  return {};
}

std::vector<std::string> Library::plugin_libraries() const {
  const std::lock_guard<std::mutex> lock(impl_->plugins_mutex);
  return impl_->plugins;
}

void Library::load_plugins(const std::string& path) {
  const std::lock_guard<std::mutex> lock(impl_->plugins_mutex);
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  const std::string key = error ? path : real.string();
  if (std::find(impl_->plugins.begin(), impl_->plugins.end(), key) != impl_->plugins.end()) return;
  if (path.find('/') != std::string::npos) {
    if (const std::string problem = tensorrt::why_not_loadable(path); !problem.empty()) {
      unsupported("the plugin library " + path + ": " + problem,
                  "name a shared library that registers TensorRT plugins");
    }
  }
  void* handle = open_with_dependencies(path, "the plugin library");
  // NVIDIA's own library registers its creators when asked; others do it while they are loaded.
  using Init = bool (*)(void* logger, const char* plugin_namespace);
  if (const auto init = reinterpret_cast<Init>(dlsym(handle, "initLibNvInferPlugins")); init != nullptr) {
    const tensorrt::Call call("initLibNvInferPlugins", {impl_->version, {}});
    call.require(init(impl_->adapter->logger(), ""));
  }
  impl_->plugins.push_back(key);
}

}  // namespace cuready
