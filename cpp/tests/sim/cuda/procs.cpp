// cuGetProcAddress: which function a name means for a given CUDA version, as cudaTypedefs versions them; and the traps behind
// the unversioned symbols that still have the ABI of CUDA 2 and 3 (32-bit addresses).
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "api.hpp"

using namespace sim;

#define SIM_PROCS(X)                                                                                                             \
    X(cuInit, 2000, cuInit) X(cuDriverGetVersion, 2020, cuDriverGetVersion)                                                      \
    X(cuGetErrorName, 6000, cuGetErrorName) X(cuGetErrorString, 6000, cuGetErrorString)                                          \
    X(cuDeviceGet, 2000, cuDeviceGet) X(cuDeviceGetCount, 2000, cuDeviceGetCount) X(cuDeviceGetName, 2000, cuDeviceGetName)      \
    X(cuDeviceGetUuid, 9020, cuDeviceGetUuid) X(cuDeviceGetUuid, 11040, cuDeviceGetUuid_v2)                                      \
    X(cuDeviceGetPCIBusId, 4010, cuDeviceGetPCIBusId)                                                                            \
    X(cuDeviceTotalMem, 3020, cuDeviceTotalMem_v2) X(cuDeviceGetAttribute, 2000, cuDeviceGetAttribute)                           \
    X(cuDeviceCanAccessPeer, 4000, cuDeviceCanAccessPeer) X(cuCtxEnablePeerAccess, 4000, cuCtxEnablePeerAccess)                  \
    X(cuDevicePrimaryCtxRetain, 7000, cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxRelease, 11000, cuDevicePrimaryCtxRelease_v2) \
    X(cuDevicePrimaryCtxReset, 11000, cuDevicePrimaryCtxReset_v2) X(cuDevicePrimaryCtxGetState, 7000, cuDevicePrimaryCtxGetState) \
    X(cuDevicePrimaryCtxSetFlags, 11000, cuDevicePrimaryCtxSetFlags_v2)                                                          \
    X(cuCtxCreate, 3020, cuCtxCreate_v2) X(cuCtxDestroy, 4000, cuCtxDestroy_v2) X(cuCtxGetCurrent, 4000, cuCtxGetCurrent)        \
    X(cuCtxSetCurrent, 4000, cuCtxSetCurrent) X(cuCtxPushCurrent, 4000, cuCtxPushCurrent_v2)                                     \
    X(cuCtxPopCurrent, 4000, cuCtxPopCurrent_v2) X(cuCtxGetDevice, 2000, cuCtxGetDevice) X(cuCtxGetFlags, 7000, cuCtxGetFlags)   \
    X(cuCtxGetApiVersion, 3020, cuCtxGetApiVersion) X(cuCtxSynchronize, 2000, cuCtxSynchronize)                                  \
    X(cuCtxGetStreamPriorityRange, 5050, cuCtxGetStreamPriorityRange) X(cuCtxSetLimit, 3010, cuCtxSetLimit)                      \
    X(cuCtxGetLimit, 3010, cuCtxGetLimit)                                                                                        \
    X(cuMemGetInfo, 3020, cuMemGetInfo_v2) X(cuMemAlloc, 3020, cuMemAlloc_v2) X(cuMemFree, 3020, cuMemFree_v2)                   \
    X(cuMemAllocAsync, 11020, cuMemAllocAsync) X(cuMemFreeAsync, 11020, cuMemFreeAsync)                                          \
    X(cuMemHostAlloc, 2020, cuMemHostAlloc) X(cuMemAllocHost, 3020, cuMemAllocHost_v2) X(cuMemFreeHost, 2000, cuMemFreeHost)     \
    X(cuMemHostRegister, 6050, cuMemHostRegister_v2) X(cuMemHostUnregister, 4000, cuMemHostUnregister)                           \
    X(cuMemHostGetDevicePointer, 3020, cuMemHostGetDevicePointer_v2)                                                             \
    X(cuMemcpy, 4000, cuMemcpy) X(cuMemcpyAsync, 4000, cuMemcpyAsync) X(cuMemcpyPeerAsync, 4000, cuMemcpyPeerAsync)              \
    X(cuMemcpyHtoD, 3020, cuMemcpyHtoD_v2) X(cuMemcpyDtoH, 3020, cuMemcpyDtoH_v2) X(cuMemcpyDtoD, 3020, cuMemcpyDtoD_v2)         \
    X(cuMemcpyHtoDAsync, 3020, cuMemcpyHtoDAsync_v2) X(cuMemcpyDtoHAsync, 3020, cuMemcpyDtoHAsync_v2)                            \
    X(cuMemcpyDtoDAsync, 3020, cuMemcpyDtoDAsync_v2)                                                                             \
    X(cuMemsetD8, 3020, cuMemsetD8_v2) X(cuMemsetD32, 3020, cuMemsetD32_v2) X(cuMemsetD8Async, 3020, cuMemsetD8Async)            \
    X(cuMemsetD16Async, 3020, cuMemsetD16Async) X(cuMemsetD32Async, 3020, cuMemsetD32Async)                                      \
    X(cuMemGetAddressRange, 3020, cuMemGetAddressRange_v2) X(cuPointerGetAttribute, 4000, cuPointerGetAttribute)                 \
    X(cuPointerGetAttributes, 7000, cuPointerGetAttributes)                                                                      \
    X(cuDeviceGetDefaultMemPool, 11020, cuDeviceGetDefaultMemPool) X(cuDeviceGetMemPool, 11020, cuDeviceGetMemPool)              \
    X(cuMemPoolSetAttribute, 11020, cuMemPoolSetAttribute) X(cuMemPoolGetAttribute, 11020, cuMemPoolGetAttribute)                \
    X(cuMemPoolTrimTo, 11020, cuMemPoolTrimTo) X(cuMemAllocFromPoolAsync, 11020, cuMemAllocFromPoolAsync)                        \
    X(cuStreamCreate, 2000, cuStreamCreate) X(cuStreamCreateWithPriority, 5050, cuStreamCreateWithPriority)                      \
    X(cuStreamDestroy, 4000, cuStreamDestroy_v2) X(cuStreamSynchronize, 2000, cuStreamSynchronize)                               \
    X(cuStreamQuery, 2000, cuStreamQuery) X(cuStreamGetFlags, 5050, cuStreamGetFlags)                                            \
    X(cuStreamGetPriority, 5050, cuStreamGetPriority) X(cuStreamGetCtx, 9020, cuStreamGetCtx)                                    \
    X(cuStreamGetId, 12000, cuStreamGetId) X(cuStreamGetDevice, 12080, cuStreamGetDevice)                                        \
    X(cuStreamWaitEvent, 3020, cuStreamWaitEvent) X(cuLaunchHostFunc, 10000, cuLaunchHostFunc)                                   \
    X(cuEventCreate, 2000, cuEventCreate) X(cuEventDestroy, 4000, cuEventDestroy_v2) X(cuEventRecord, 2000, cuEventRecord)       \
    X(cuEventRecordWithFlags, 11010, cuEventRecordWithFlags) X(cuEventQuery, 2000, cuEventQuery)                                 \
    X(cuEventSynchronize, 2000, cuEventSynchronize) X(cuEventElapsedTime, 2000, cuEventElapsedTime)                              \
    X(cuEventElapsedTime, 12080, cuEventElapsedTime_v2)                                                                          \
    X(cuThreadExchangeStreamCaptureMode, 10010, cuThreadExchangeStreamCaptureMode)                                               \
    X(cuStreamBeginCapture, 10010, cuStreamBeginCapture_v2) X(cuStreamEndCapture, 10000, cuStreamEndCapture)                     \
    X(cuStreamIsCapturing, 10000, cuStreamIsCapturing) X(cuStreamGetCaptureInfo, 11030, cuStreamGetCaptureInfo_v2)               \
    X(cuGraphCreate, 10000, cuGraphCreate) X(cuGraphInstantiate, 11000, cuGraphInstantiate_v2)                                   \
    X(cuGraphInstantiate, 12000, cuGraphInstantiateWithFlags) X(cuGraphInstantiateWithFlags, 11040, cuGraphInstantiateWithFlags) \
    X(cuGraphLaunch, 10000, cuGraphLaunch) X(cuGraphUpload, 11010, cuGraphUpload) X(cuGraphGetNodes, 10000, cuGraphGetNodes)     \
    X(cuGraphExecUpdate, 12000, cuGraphExecUpdate_v2) X(cuGraphDestroy, 10000, cuGraphDestroy)                                   \
    X(cuGraphExecDestroy, 10000, cuGraphExecDestroy)                                                                             \
    X(cuModuleLoadData, 2000, cuModuleLoadData) X(cuModuleLoadDataEx, 2010, cuModuleLoadDataEx)                                  \
    X(cuModuleUnload, 2000, cuModuleUnload) X(cuModuleGetFunction, 2000, cuModuleGetFunction)                                    \
    X(cuLaunchKernel, 4000, cuLaunchKernel)

// The table needs addresses only; the true signatures are where the functions are defined.
#define SIM_ENTRY_ROW(name, version, function) {#name, version, address_of(#function)},

#include <dlfcn.h>

namespace {

/** The library's own export of that name (never one of another library that is loaded too). */
void* address_of(char const* function) {
    static void* const self = [] {
        Dl_info here{};
        dladdr(reinterpret_cast<void*>(&address_of), &here);
        return dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    }();
    void* const address = dlsym(self, function);
    if (!address) {
        std::fprintf(stderr, "simulated driver: no export %s\n", function);
        std::abort();
    }
    return address;
}

struct Proc {
    char const* name;
    int since;
    void* function;
};

std::vector<Proc> const& procs() {
    static auto const& table = *new std::vector<Proc>{SIM_PROCS(SIM_ENTRY_ROW)};
    return table;
}

bool hidden(char const* name) {
    char const* const list = std::getenv("CUREADY_SIM_HIDE");
    return list && (std::string(",") + list + ",").find(std::string(",") + name + ",") != std::string::npos;
}

enum Status { found = 0, not_found = 1, version_not_sufficient = 2 };

}  // namespace

SIM_API int cuGetProcAddress_v2(char const* name, void** function, int version, uint64_t flags, int* status);

SIM_API int cuGetProcAddress(char const* name, void** function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}

SIM_API int cuGetProcAddress_v2(char const* name, void** function, int version, uint64_t, int* status) {
    SIM_ENTRY("cuGetProcAddress");
    if (!name || !function) return INVALID_VALUE;
    *function = nullptr;
    int outcome = not_found, best = 0;
    if (!std::strcmp(name, "cuGetProcAddress")) {
        *function = address_of(version >= 12000 ? "cuGetProcAddress_v2" : "cuGetProcAddress");
        outcome = found;
    }
    for (auto const& proc : procs()) {
        if (std::strcmp(proc.name, name) || hidden(name)) continue;
        if (proc.since > version || proc.since > State::get().driver_version()) {
            if (!*function) outcome = version_not_sufficient;
        } else if (proc.since > best) {
            best = proc.since;
            *function = proc.function;
            outcome = found;
        }
    }
    if (status) *status = outcome;
    return *function || status ? SUCCESS : NOT_FOUND;
}

// Exports whose unversioned name still means the 32-bit interface: nobody may call them by mistake.
#define SIM_OLD(name)                                                                                                       \
    SIM_API int name() {                                                                                                    \
        std::fprintf(stderr, "simulated driver: " #name " is the 32-bit interface of CUDA 3.1; look up " #name "_v2\n");     \
        std::abort();                                                                                                       \
    }
SIM_OLD(cuMemAlloc) SIM_OLD(cuMemFree) SIM_OLD(cuMemGetInfo) SIM_OLD(cuDeviceTotalMem) SIM_OLD(cuMemcpyHtoD) SIM_OLD(cuMemcpyDtoH)
SIM_OLD(cuMemcpyDtoD) SIM_OLD(cuMemcpyHtoDAsync) SIM_OLD(cuMemcpyDtoHAsync) SIM_OLD(cuMemcpyDtoDAsync) SIM_OLD(cuMemsetD8)
SIM_OLD(cuMemsetD32) SIM_OLD(cuMemGetAddressRange) SIM_OLD(cuMemAllocHost) SIM_OLD(cuMemHostGetDevicePointer)
SIM_OLD(cuCtxCreate) SIM_OLD(cuStreamBeginCapture) SIM_OLD(cuGraphExecUpdate)

// Old names whose ABI did not change in a way that matters here.
#define SIM_SAME(name, parameters, arguments) \
    SIM_API int name##_v2 parameters;         \
    SIM_API int name parameters { return name##_v2 arguments; }
SIM_SAME(cuStreamDestroy, (void* stream), (stream))
SIM_SAME(cuEventDestroy, (void* event), (event))
SIM_SAME(cuCtxDestroy, (void* context), (context))
SIM_SAME(cuCtxPushCurrent, (void* context), (context))
SIM_SAME(cuCtxPopCurrent, (void** context), (context))
SIM_SAME(cuDevicePrimaryCtxRelease, (int device), (device))
SIM_SAME(cuDevicePrimaryCtxReset, (int device), (device))
SIM_SAME(cuDevicePrimaryCtxSetFlags, (int device, unsigned flags), (device, flags))
SIM_SAME(cuMemHostRegister, (void* address, size_t size, unsigned flags), (address, size, flags))
SIM_API int cuGraphInstantiate_v2(void** exec, void* graph, void** error_node, char* log, size_t log_size);
SIM_API int cuGraphInstantiate(void** exec, void* graph, void** error_node, char* log, size_t log_size) {
    return cuGraphInstantiate_v2(exec, graph, error_node, log, log_size);
}
