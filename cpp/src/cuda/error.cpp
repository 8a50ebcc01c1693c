// What the CUDA driver's codes mean for the person who reads the error.
#include "cuda/error.hpp"
#include "cuda/fork.hpp"

#include <array>

namespace cuready::cuda {
namespace {

struct Hint {
  CUresult code;
  const char* text;
};
// Codes and meanings: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html (CUresult).
constexpr std::array<Hint, 18> hints{{
    {2,
     "use a smaller shape or profile, fewer contexts, a shared workspace, or free memory of other processes on this "
     "GPU"},
    {3, "the driver was not initialised: run `cuready doctor`"},
    {34, "this is the stub library of the CUDA toolkit, not the driver: take its folder out of LD_LIBRARY_PATH"},
    {46, "another process holds the device in exclusive mode, or it is out of order: look at nvidia-smi"},
    {100,
     "no GPU is visible: look at CUDA_VISIBLE_DEVICES, /dev/nvidia* and, in a container, at --gpus; run `cuready "
     "doctor`"},
    {101, "there is no device of that number: see CUDA_VISIBLE_DEVICES"},
    {201, "no valid CUDA context: another library may have destroyed it; use the primary context only"},
    {209, "the code was not built for this GPU"},
    {222, "the driver is older than the toolkit that made this code: update the driver"},
    {400, "a stream, event or context that was destroyed, or that belongs to another device"},
    {700, "a kernel touched memory out of bounds; this CUDA context is lost and the process must be restarted"},
    {709, "the CUDA context was destroyed under us: nothing may call cuCtxDestroy or cudaDeviceReset"},
    {715, "the GPU does not know an instruction: the code was built for another GPU"},
    {719, "a kernel failed; this CUDA context is lost and the process must be restarted"},
    {802, "the system is not ready: on NVSwitch machines start nvidia-fabricmanager of the driver's version"},
    {803, "kernel module and user-space driver differ: reboot, or reload the kernel module after the driver update"},
    {804, "forward-compatibility libraries (cuda-compat) do not work on this GPU: take them out of the library path"},
    {999, "the driver can not reach the GPU: look at dmesg for Xid messages; after suspend reload nvidia_uvm"},
}};

}  // namespace

std::string hint_for(CUresult code) {
  for (const Hint& hint : hints) {
    if (hint.code == code) return hint.text;
  }
  return {};
}

CudaStatus describe(const Table& t, CUresult code, const char* call) {
  CudaStatus status{code, "CUDA error " + std::to_string(code), {}, call};
  const char* text = nullptr;
  if (t.cuGetErrorName(code, &text) == success && text != nullptr) status.name = text;
  text = nullptr;
  if (t.cuGetErrorString(code, &text) == success && text != nullptr) status.description = text;
  return status;
}

CudaStatus describe(CUresult code, const char* call) {
  if (const Table* t = driver_if_loaded(); t != nullptr) return describe(*t, code, call);
  return {code, "CUDA error " + std::to_string(code), {}, call};
}

void raise(CUresult code, const char* call, const std::string& operation, std::size_t requested) {
  refuse_fork(operation.c_str());
  ErrorDetail detail{operation, "a CUDA driver call failed", hint_for(code), {}, describe(code, call)};
  if (code == error_out_of_memory) {
    std::size_t free = 0, total = 0;
    if (const Table* t = driver_if_loaded(); t != nullptr && t->cuMemGetInfo(&free, &total) != success)
      free = total = 0;
    detail.message = requested != 0 ? "no memory for " + std::to_string(requested) + " bytes" : "out of memory";
    if (total != 0)
      detail.message += " (" + std::to_string(free) + " of " + std::to_string(total) + " bytes of GPU memory are free)";
    throw OutOfMemory(std::move(detail), requested, free, total);
  }
  if (code == error_invalid_context || code == error_context_is_destroyed) {
    detail.message = "the CUDA context can not be used";
    throw CudaContextError(std::move(detail));
  }
  throw CudaError(std::move(detail));
}

}  // namespace cuready::cuda
