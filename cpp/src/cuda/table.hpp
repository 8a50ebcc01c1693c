// The one table of CUDA driver entry points, filled at run time from libcuda.so.1.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>

#include "cuready/types.hpp"

namespace cuready::cuda {

// The driver's own types, without its header: handles are opaque, a device is an int, an address is 64 bits wide.
using CUresult = int;
using CUdevice = int;
using CUcontext = void*;
using CUstream = void*;
using CUevent = void*;
using CUgraph = void*;
using CUgraphExec = void*;
using CUmodule = void*;
using CUfunction = void*;
using CUdeviceptr = unsigned long long;
struct CUuuid {
  unsigned char bytes[16];
};

// Names and numbers from the CUDA driver API reference; only what is used here.
constexpr CUresult success = 0, error_out_of_memory = 2, error_deinitialized = 4, error_invalid_context = 201,
                   error_not_ready = 600, error_context_is_destroyed = 709, error_invalid_handle = 400;
constexpr int attribute_multiprocessors = 16, attribute_integrated = 18, attribute_compute_major = 75,
              attribute_compute_minor = 76, attribute_memory_pools = 115;
constexpr unsigned stream_non_blocking = 1, event_blocking = 1, event_disable_timing = 2;
constexpr int capture_thread_local = 1;

// X(name, dlsym name, CUDA version of that signature, needed for, signature)
// "needed for": report - without it not even the machine can be described; run - nothing can be run; extra - there is
// another way.
#define CUREADY_DRIVER_FUNCTIONS(X)                                                                                  \
  X(cuInit, "cuInit", 2000, report, CUresult(unsigned))                                                              \
  X(cuDriverGetVersion, "cuDriverGetVersion", 2020, report, CUresult(int*))                                          \
  X(cuGetErrorName, "cuGetErrorName", 6000, report, CUresult(CUresult, const char**))                                \
  X(cuGetErrorString, "cuGetErrorString", 6000, report, CUresult(CUresult, const char**))                            \
  X(cuDeviceGetCount, "cuDeviceGetCount", 2000, report, CUresult(int*))                                              \
  X(cuDeviceGet, "cuDeviceGet", 2000, report, CUresult(CUdevice*, int))                                              \
  X(cuDeviceGetName, "cuDeviceGetName", 2000, report, CUresult(char*, int, CUdevice))                                \
  X(cuDeviceTotalMem, "cuDeviceTotalMem_v2", 3020, report, CUresult(std::size_t*, CUdevice))                         \
  X(cuDeviceGetAttribute, "cuDeviceGetAttribute", 2000, report, CUresult(int*, int, CUdevice))                       \
  X(cuDeviceGetUuid, "cuDeviceGetUuid", 9020, extra, CUresult(CUuuid*, CUdevice))                                    \
  X(cuDeviceGetUuid_v2, "cuDeviceGetUuid_v2", 11040, extra, CUresult(CUuuid*, CUdevice))                             \
  X(cuDeviceGetPCIBusId, "cuDeviceGetPCIBusId", 4010, extra, CUresult(char*, int, CUdevice))                         \
  X(cuCtxGetCurrent, "cuCtxGetCurrent", 4000, report, CUresult(CUcontext*))                                          \
  X(cuCtxSetCurrent, "cuCtxSetCurrent", 4000, run, CUresult(CUcontext))                                              \
  X(cuCtxSynchronize, "cuCtxSynchronize", 2000, run, CUresult())                                                     \
  X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", 7000, run, CUresult(CUcontext*, CUdevice))                 \
  X(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", 11000, run, CUresult(CUdevice))                       \
  X(cuMemGetInfo, "cuMemGetInfo_v2", 3020, run, CUresult(std::size_t*, std::size_t*))                                \
  X(cuMemAlloc, "cuMemAlloc_v2", 3020, run, CUresult(CUdeviceptr*, std::size_t))                                     \
  X(cuMemFree, "cuMemFree_v2", 3020, run, CUresult(CUdeviceptr))                                                     \
  X(cuMemAllocAsync, "cuMemAllocAsync", 11020, extra, CUresult(CUdeviceptr*, std::size_t, CUstream))                 \
  X(cuMemFreeAsync, "cuMemFreeAsync", 11020, extra, CUresult(CUdeviceptr, CUstream))                                 \
  X(cuMemHostAlloc, "cuMemHostAlloc", 2020, run, CUresult(void**, std::size_t, unsigned))                            \
  X(cuMemFreeHost, "cuMemFreeHost", 2000, run, CUresult(void*))                                                      \
  X(cuMemcpyAsync, "cuMemcpyAsync", 4000, run, CUresult(CUdeviceptr, CUdeviceptr, std::size_t, CUstream))            \
  X(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", 3020, run, CUresult(CUdeviceptr, const void*, std::size_t, CUstream)) \
  X(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", 3020, run, CUresult(void*, CUdeviceptr, std::size_t, CUstream))       \
  X(cuMemsetD8Async, "cuMemsetD8Async", 3020, run, CUresult(CUdeviceptr, unsigned char, std::size_t, CUstream))      \
  X(cuPointerGetAttribute, "cuPointerGetAttribute", 4000, run, CUresult(void*, int, CUdeviceptr))                    \
  X(cuStreamCreateWithPriority, "cuStreamCreateWithPriority", 5050, run, CUresult(CUstream*, unsigned, int))         \
  X(cuStreamDestroy, "cuStreamDestroy_v2", 4000, run, CUresult(CUstream))                                            \
  X(cuStreamSynchronize, "cuStreamSynchronize", 2000, run, CUresult(CUstream))                                       \
  X(cuStreamQuery, "cuStreamQuery", 2000, run, CUresult(CUstream))                                                   \
  X(cuStreamWaitEvent, "cuStreamWaitEvent", 3020, run, CUresult(CUstream, CUevent, unsigned))                        \
  X(cuLaunchHostFunc, "cuLaunchHostFunc", 10000, extra, CUresult(CUstream, void (*)(void*), void*))                  \
  X(cuEventCreate, "cuEventCreate", 2000, run, CUresult(CUevent*, unsigned))                                         \
  X(cuEventDestroy, "cuEventDestroy_v2", 4000, run, CUresult(CUevent))                                               \
  X(cuEventRecord, "cuEventRecord", 2000, run, CUresult(CUevent, CUstream))                                          \
  X(cuEventQuery, "cuEventQuery", 2000, run, CUresult(CUevent))                                                      \
  X(cuEventSynchronize, "cuEventSynchronize", 2000, run, CUresult(CUevent))                                          \
  X(cuEventElapsedTime, "cuEventElapsedTime", 2000, run, CUresult(float*, CUevent, CUevent))                         \
  X(cuStreamBeginCapture, "cuStreamBeginCapture_v2", 10010, extra, CUresult(CUstream, int))                          \
  X(cuStreamEndCapture, "cuStreamEndCapture", 10000, extra, CUresult(CUstream, CUgraph*))                            \
  X(cuStreamIsCapturing, "cuStreamIsCapturing", 10000, extra, CUresult(CUstream, int*))                              \
  X(cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags", 11040, extra,                                        \
    CUresult(CUgraphExec*, CUgraph, unsigned long long))                                                             \
  X(cuGraphInstantiate, "cuGraphInstantiate_v2", 11000, extra,                                                       \
    CUresult(CUgraphExec*, CUgraph, void**, char*, std::size_t))                                                     \
  X(cuGraphLaunch, "cuGraphLaunch", 10000, extra, CUresult(CUgraphExec, CUstream))                                   \
  X(cuGraphExecDestroy, "cuGraphExecDestroy", 10000, extra, CUresult(CUgraphExec))                                   \
  X(cuGraphDestroy, "cuGraphDestroy", 10000, extra, CUresult(CUgraph))                                               \
  X(cuModuleLoadDataEx, "cuModuleLoadDataEx", 2010, extra, CUresult(CUmodule*, const void*, unsigned, int*, void**)) \
  X(cuModuleUnload, "cuModuleUnload", 2000, extra, CUresult(CUmodule))                                               \
  X(cuModuleGetFunction, "cuModuleGetFunction", 2000, extra, CUresult(CUfunction*, CUmodule, const char*))           \
  X(cuLaunchKernel, "cuLaunchKernel", 4000, extra,                                                                   \
    CUresult(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**,     \
             void**))                                                                                                \
  X(cuDeviceCanAccessPeer, "cuDeviceCanAccessPeer", 4000, extra, CUresult(int*, CUdevice, CUdevice))                 \
  X(cuCtxEnablePeerAccess, "cuCtxEnablePeerAccess", 4000, extra, CUresult(CUcontext, unsigned))                      \
  X(cuMemcpyPeerAsync, "cuMemcpyPeerAsync", 4000, extra,                                                             \
    CUresult(CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, std::size_t, CUstream))

/// The entry points. `extra` ones may be null: ask has_graphs() and has_memory_pools().
struct Table {
#define X(name, symbol, version, need, ...) std::add_pointer_t<__VA_ARGS__> name = nullptr;
  CUREADY_DRIVER_FUNCTIONS(X)
#undef X
  std::string library;   ///< the path that the loader resolved
  std::string found_by;  ///< "argument", "CUREADY_LIBCUDA" or "loader"
  bool uses_get_proc_address = false;
  int driver_version = 0;   ///< 12040 for CUDA 12.4
  std::string missing_run;  ///< first function of need "run" that the driver lacks, or empty

  bool has_memory_pools() const noexcept { return cuMemAllocAsync != nullptr && cuMemFreeAsync != nullptr; }
  bool has_graphs() const noexcept {
    return cuStreamBeginCapture != nullptr && cuStreamEndCapture != nullptr && cuGraphLaunch != nullptr &&
           cuGraphExecDestroy != nullptr && cuGraphDestroy != nullptr &&
           (cuGraphInstantiateWithFlags != nullptr || cuGraphInstantiate != nullptr);
  }
};

/// Loads a table and initialises the driver. Throws DriverNotFound naming the step that failed.
Table load_table(const std::string& path);

/// The process's table, loaded on first use and never unloaded (so that destructors work at process exit).
/// Throws DriverNotFound; a failure is not remembered, so a driver that appears later is found.
const Table& driver();
/// The same, or null: for destructors and for questions that must not load anything.
const Table* driver_if_loaded() noexcept;

}  // namespace cuready::cuda
