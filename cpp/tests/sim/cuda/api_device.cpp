// Driver API: initialisation, devices, contexts, error texts.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "api.hpp"

using namespace sim;

namespace {

/** Attributes that do not depend on the device (CUdevice_attribute number -> value). */
struct FixedAttribute {
    int number, value;
};
constexpr FixedAttribute fixed_attributes[] = {
    {1, 1024},  {2, 1024},    {3, 1024},    {4, 64},       {5, 2147483647}, {6, 65535}, {7, 65535},  {8, 49152},  {9, 65536},
    {10, 32},   {11, 2147483647}, {12, 65536}, {13, 1980000}, {14, 512},     {15, 1},    {16, 132},   {17, 0},     {18, 0},
    {19, 1},    {20, 0},      {31, 1},      {32, 1},       {34, 0},        {35, 0},    {36, 2619000}, {37, 5120}, {38, 52428800},
    {39, 2048}, {40, 3},      {41, 1},      {50, 0},       {78, 1},        {79, 1},    {80, 1},     {81, 233472}, {82, 65536},
    {83, 1},    {84, 0},      {85, 0},      {86, 1},       {87, 2},        {88, 0},    {89, 1},     {90, 1},     {91, 1},
    {95, 1},    {96, 1},      {97, 232448}, {99, 1},       {100, 0},       {101, 0},   {102, 1},    {106, 32},   {108, 134217728},
    {111, 1024}, {114, 1},    {115, 1},     {116, 1},      {121, 1},       {124, 0},
};

Result check_device(int device) {
    auto& state = State::get();
    if (!state.initialized()) return NOT_INITIALIZED;
    return device >= 0 && static_cast<size_t>(device) < state.devices().size() ? SUCCESS : INVALID_DEVICE;
}

/** Whether a device can touch the memory of another itself. */
bool reaches(int device, int peer) {
    char const* const pairs = std::getenv("CUREADY_SIM_PEERS");
    if (device == peer || !pairs) return device != peer;
    std::string const wanted = std::to_string(device) + ">" + std::to_string(peer);
    return ("," + std::string(pairs) + ",").find("," + wanted + ",") != std::string::npos;
}

}  // namespace

SIM_API int cuInit(unsigned flags) {
    Point::arm_from_environment_once();
    SIM_ENTRY("cuInit");
    watch_forks();
    return flags ? INVALID_VALUE : State::get().init();
}

SIM_API int cuDriverGetVersion(int* version) {
    SIM_ENTRY("cuDriverGetVersion");
    if (!version) return INVALID_VALUE;
    *version = State::get().driver_version();
    return SUCCESS;
}

SIM_API int cuGetErrorName(int code, char const** text) {
    SIM_ENTRY("cuGetErrorName");
    switch (code) {
#define SIM_NAME(name, value, words) \
    case value: *text = value ? "CUDA_ERROR_" #name : "CUDA_SUCCESS"; return SUCCESS;
        SIM_CUDA_CODES(SIM_NAME)
#undef SIM_NAME
        default: *text = nullptr; return INVALID_VALUE;
    }
}

SIM_API int cuGetErrorString(int code, char const** text) {
    SIM_ENTRY("cuGetErrorString");
    switch (code) {
#define SIM_TEXT(name, value, words) \
    case value: *text = words; return SUCCESS;
        SIM_CUDA_CODES(SIM_TEXT)
#undef SIM_TEXT
        default: *text = nullptr; return INVALID_VALUE;
    }
}

SIM_API int cuDeviceGetCount(int* count) {
    SIM_ENTRY("cuDeviceGetCount");
    if (!State::get().initialized()) return NOT_INITIALIZED;
    *count = static_cast<int>(State::get().devices().size());
    return SUCCESS;
}

SIM_API int cuDeviceGet(int* device, int ordinal) {
    SIM_ENTRY("cuDeviceGet");
    SIM_TRY(check_device(ordinal));
    *device = ordinal;
    return SUCCESS;
}

SIM_API int cuDeviceGetName(char* name, int length, int device) {
    SIM_ENTRY("cuDeviceGetName");
    SIM_TRY(check_device(device));
    if (!name || length <= 0) return INVALID_VALUE;
    std::snprintf(name, static_cast<size_t>(length), "%s", State::get().devices()[static_cast<size_t>(device)].name.c_str());
    return SUCCESS;
}

SIM_API int cuDeviceGetUuid(unsigned char uuid[16], int device) {
    SIM_ENTRY("cuDeviceGetUuid");
    SIM_TRY(check_device(device));
    int const number = State::get().devices()[static_cast<size_t>(device)].number;
    for (int i = 0; i < 16; ++i) uuid[i] = static_cast<unsigned char>(0x51 + 7 * i + number);
    return SUCCESS;
}
// A device with "MIG" in its name is an instance: it has a UUID of its own beside that of its GPU.
SIM_API int cuDeviceGetUuid_v2(unsigned char uuid[16], int device) {
    SIM_TRY(cuDeviceGetUuid(uuid, device));
    if (State::get().devices()[static_cast<size_t>(device)].name.find(" MIG ") != std::string::npos) uuid[0] ^= 0xFF;
    return SUCCESS;
}

SIM_API int cuDeviceGetPCIBusId(char* text, int length, int device) {
    SIM_ENTRY("cuDeviceGetPCIBusId");
    SIM_TRY(check_device(device));
    std::snprintf(text, static_cast<size_t>(length), "0000:%02X:00.0",
                  0x18 + State::get().devices()[static_cast<size_t>(device)].number);
    return SUCCESS;
}

SIM_API int cuDeviceTotalMem_v2(size_t* bytes, int device) {
    SIM_ENTRY("cuDeviceTotalMem");
    SIM_TRY(check_device(device));
    *bytes = State::get().devices()[static_cast<size_t>(device)].bytes;
    return SUCCESS;
}

SIM_API int cuDeviceGetAttribute(int* value, int attribute, int device) {
    SIM_ENTRY("cuDeviceGetAttribute");
    SIM_TRY(check_device(device));
    if (!value) return INVALID_VALUE;
    auto const& properties = State::get().devices()[static_cast<size_t>(device)];
    if (attribute == 75 || attribute == 76) {
        *value = attribute == 75 ? properties.cc_major : properties.cc_minor;
        return SUCCESS;
    }
    if (attribute == 33) {
        *value = 0x18 + properties.number;
        return SUCCESS;
    }
    for (auto const& fixed : fixed_attributes)
        if (fixed.number == attribute) {
            *value = fixed.value;
            return SUCCESS;
        }
    *value = 0;
    return attribute > 0 && attribute < 150 ? SUCCESS : INVALID_VALUE;
}

SIM_API int cuDeviceCanAccessPeer(int* can, int device, int peer) {
    SIM_ENTRY("cuDeviceCanAccessPeer");
    SIM_TRY(check_device(device));
    SIM_TRY(check_device(peer));
    *can = reaches(device, peer);
    return SUCCESS;
}

SIM_API int cuCtxEnablePeerAccess(void* peer, unsigned) {
    SIM_ENTRY("cuCtxEnablePeerAccess");
    Context* context = nullptr;
    SIM_TRY(current(&context));
    Context* const other = State::get().find_context(peer);
    if (!other) return INVALID_CONTEXT;
    if (!reaches(context->device, other->device)) return PEER_ACCESS_UNSUPPORTED;
    uint64_t const bit = uint64_t{1} << other->device;
    return context->peers.fetch_or(bit) & bit ? PEER_ACCESS_ALREADY_ENABLED : SUCCESS;
}

SIM_API int cuDevicePrimaryCtxRetain(void** context, int device) {
    SIM_ENTRY("cuDevicePrimaryCtxRetain");
    SIM_TRY(check_device(device));
    auto& primary = State::get().primary(device);
    std::lock_guard<std::mutex> hold(State::get().lock);
    ++primary.retained;
    primary.active = true;
    *context = &primary;
    return SUCCESS;
}

SIM_API int cuDevicePrimaryCtxRelease_v2(int device) {
    SIM_ENTRY("cuDevicePrimaryCtxRelease");
    SIM_TRY(check_device(device));
    auto& primary = State::get().primary(device);
    bool last = false;
    {
        std::lock_guard<std::mutex> hold(State::get().lock);
        if (primary.retained == 0) return INVALID_CONTEXT;
        last = --primary.retained == 0;
    }
    if (last) {
        primary.synchronize();
        State::get().destroy_context(primary);
    }
    return SUCCESS;
}

SIM_API int cuDevicePrimaryCtxReset_v2(int device) {
    SIM_ENTRY("cuDevicePrimaryCtxReset");
    SIM_TRY(check_device(device));
    State::get().destroy_context(State::get().primary(device));
    State::get().primary(device).active = State::get().primary(device).retained > 0;
    return SUCCESS;
}

SIM_API int cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
    SIM_ENTRY("cuDevicePrimaryCtxGetState");
    SIM_TRY(check_device(device));
    auto& primary = State::get().primary(device);
    if (flags) *flags = primary.flags;
    if (active) *active = primary.active;
    return SUCCESS;
}

SIM_API int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) {
    SIM_ENTRY("cuDevicePrimaryCtxSetFlags");
    SIM_TRY(check_device(device));
    State::get().primary(device).flags = flags;
    return SUCCESS;
}

SIM_API int cuCtxCreate_v2(void** context, unsigned flags, int device) {
    SIM_ENTRY("cuCtxCreate");
    SIM_TRY(check_device(device));
    Context* const created = State::get().create_context(device, flags);
    context_stack().push_back(created);
    *context = created;
    return SUCCESS;
}

SIM_API int cuCtxDestroy_v2(void* handle) {
    SIM_ENTRY("cuCtxDestroy");
    Context* const context = State::get().find_context(handle);
    if (!context || context->primary || !context->active) return INVALID_CONTEXT;
    auto& stack = context_stack();
    if (!stack.empty() && stack.back() == context) stack.pop_back();
    context->synchronize();
    State::get().destroy_context(*context);
    return SUCCESS;
}

SIM_API int cuCtxGetCurrent(void** context) {
    SIM_ENTRY("cuCtxGetCurrent");
    if (!State::get().initialized()) return NOT_INITIALIZED;
    auto& stack = context_stack();
    *context = stack.empty() ? nullptr : stack.back();
    return SUCCESS;
}

SIM_API int cuCtxSetCurrent(void* handle) {
    SIM_ENTRY("cuCtxSetCurrent");
    if (!State::get().initialized()) return NOT_INITIALIZED;
    Context* const context = handle ? State::get().find_context(handle) : nullptr;
    if (handle && (!context || !context->active)) return INVALID_CONTEXT;
    auto& stack = context_stack();
    if (stack.empty())
        stack.push_back(context);
    else
        stack.back() = context;
    if (!context) stack.pop_back();
    return SUCCESS;
}

SIM_API int cuCtxPushCurrent_v2(void* handle) {
    SIM_ENTRY("cuCtxPushCurrent");
    Context* const context = State::get().find_context(handle);
    if (!context || !context->active) return INVALID_CONTEXT;
    context_stack().push_back(context);
    return SUCCESS;
}

SIM_API int cuCtxPopCurrent_v2(void** context) {
    SIM_ENTRY("cuCtxPopCurrent");
    auto& stack = context_stack();
    if (stack.empty()) return INVALID_CONTEXT;
    if (context) *context = stack.back();
    stack.pop_back();
    return SUCCESS;
}

SIM_API int cuCtxGetDevice(int* device) {
    SIM_ENTRY("cuCtxGetDevice");
    auto& stack = context_stack();
    if (stack.empty() || !stack.back()) return INVALID_CONTEXT;
    *device = stack.back()->device;
    return SUCCESS;
}

SIM_API int cuCtxGetFlags(unsigned* flags) {
    SIM_ENTRY("cuCtxGetFlags");
    Context* context = nullptr;
    SIM_TRY(current(&context));
    *flags = context->flags;
    return SUCCESS;
}

SIM_API int cuCtxGetApiVersion(void* handle, unsigned* version) {
    SIM_ENTRY("cuCtxGetApiVersion");
    if (handle && !State::get().find_context(handle)) return INVALID_CONTEXT;
    *version = 3020;
    return SUCCESS;
}

SIM_API int cuCtxSynchronize(void) {
    SIM_ENTRY("cuCtxSynchronize");
    Context* context = nullptr;
    SIM_TRY(current(&context));
    SIM_TRY(check_capture_safe());
    context->synchronize();
    return context->sticky();
}

SIM_API int cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    SIM_ENTRY("cuCtxGetStreamPriorityRange");
    Context* context = nullptr;
    SIM_TRY(current(&context));
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return SUCCESS;
}

SIM_API int cuCtxSetLimit(int, size_t) {
    SIM_ENTRY("cuCtxSetLimit");
    Context* context = nullptr;
    return current(&context);
}

SIM_API int cuCtxGetLimit(size_t* value, int) {
    SIM_ENTRY("cuCtxGetLimit");
    Context* context = nullptr;
    SIM_TRY(current(&context));
    *value = 1024;
    return SUCCESS;
}
