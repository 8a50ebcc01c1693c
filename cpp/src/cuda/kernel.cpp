// Modules, kernels, copies between GPUs.
#include "cuready/kernel.hpp"

#include <sstream>

#include "cuda/context.hpp"
#include "cuda/error.hpp"

namespace cuready {

using cuda::check;
using cuda::CurrentGuard;
using cuda::discard;
using cuda::ThrowingGuard;

namespace {

cuda::CUdeviceptr address(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }

/// Functions of need "extra" may be missing from a driver.
template <class Function>
Function need(Function function, const char* name) {
  if (function == nullptr) {
    throw UnsupportedFeature({name, std::string("the CUDA driver has no ") + name, "update the NVIDIA driver"});
  }
  return function;
}

std::vector<LogRecord> lines_of(const std::string& text) {
  std::vector<LogRecord> lines;
  std::istringstream stream(text.c_str());  // ends at the first zero
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty()) lines.push_back({Severity::error, -1, line});
  }
  return lines;
}

}  // namespace

struct Module::Impl {
  Device device;
  void* handle = nullptr;

  ~Impl() {
    if (handle == nullptr) return;
    const CurrentGuard guard(*device.primary());
    discard(device.primary()->table().cuModuleUnload(handle));
  }
};

Module::Module(const Device& device, std::string_view image) : impl_(new Impl{device, nullptr}) {
  const cuda::Table& t = device.primary()->table();
  need(t.cuModuleUnload, "cuModuleUnload");
  const auto load = need(t.cuModuleLoadDataEx, "cuModuleLoadDataEx");
  const ThrowingGuard guard(*device.primary());
  const std::string text(image);  // PTX must end with a zero
  // CUjit_option: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html
  constexpr int error_log = 5, error_log_bytes = 6;
  std::string log(8192, '\0');
  std::array<int, 2> options{error_log, error_log_bytes};
  std::array<void*, 2> values{log.data(), reinterpret_cast<void*>(log.size())};
  const cuda::CUresult r = load(&impl_->handle, text.c_str(), 2, options.data(), values.data());
  if (r == cuda::success) return;
  impl_->handle = nullptr;
  throw CudaError({"load GPU code", "the CUDA driver does not take the code", cuda::hint_for(r), lines_of(log),
                   cuda::describe(t, r, "cuModuleLoadDataEx")});
}

Module::~Module() = default;
const Device& Module::device() const noexcept { return impl_->device; }
void* Module::handle() const noexcept { return impl_->handle; }

Kernel::Kernel(std::shared_ptr<Module> module, const std::string& name) : module_(std::move(module)), name_(name) {
  const cuda::PrimaryContext& primary = *module_->device().primary();
  const auto get = need(primary.table().cuModuleGetFunction, "cuModuleGetFunction");
  const ThrowingGuard guard(primary);
  check(get(&function_, module_->handle(), name.c_str()), "cuModuleGetFunction", "find a kernel");
}

void Kernel::launch(Extent grid, Extent block, const std::vector<void*>& arguments, StreamRef stream,
                    unsigned shared_bytes) const {
  const cuda::PrimaryContext& primary = *device().primary();
  const auto start = need(primary.table().cuLaunchKernel, "cuLaunchKernel");
  const ThrowingGuard guard(primary);
  check(start(function_, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes, stream.handle,
              const_cast<void**>(arguments.data()), nullptr),
        "cuLaunchKernel", "launch a kernel");
}

bool can_access_peer(const Device& device, const Device& peer) {
  const cuda::Table& t = device.primary()->table();
  int can = 0;
  check(need(t.cuDeviceCanAccessPeer, "cuDeviceCanAccessPeer")(&can, device.primary()->device(),
                                                               peer.primary()->device()),
        "cuDeviceCanAccessPeer", "ask for peer access");
  return can != 0;
}

void enable_peer_access(const Device& device, const Device& peer) {
  constexpr cuda::CUresult already_enabled = 704;
  const auto enable = need(device.primary()->table().cuCtxEnablePeerAccess, "cuCtxEnablePeerAccess");
  const ThrowingGuard guard(*device.primary());
  const cuda::CUresult r = enable(peer.context(), 0);
  if (r != already_enabled) check(r, "cuCtxEnablePeerAccess", "enable peer access");
}

void copy_peer_async(const Device& to, void* destination, const Device& from, const void* source, std::size_t nbytes,
                     StreamRef stream) {
  if (nbytes == 0) return;
  const auto copy = need(to.primary()->table().cuMemcpyPeerAsync, "cuMemcpyPeerAsync");
  const ThrowingGuard guard(*to.primary());
  check(copy(address(destination), to.context(), address(source), from.context(), nbytes, stream.handle),
        "cuMemcpyPeerAsync", "copy between GPUs");
}

float time_copies(const Device& device, void* destination, const void* source, std::size_t nbytes, int count,
                  StreamRef stream) {
  if (count < 1) throw InvalidArgument({"time copies", std::to_string(count) + " copies", "at least 1 is needed"});
  Event start(device, true), end(device, true);
  start.record(stream);
  for (int i = 0; i < count; ++i) copy_async(device, destination, source, nbytes, stream);
  end.record(stream);
  end.synchronize();
  return end.milliseconds_since(start);
}

}  // namespace cuready
