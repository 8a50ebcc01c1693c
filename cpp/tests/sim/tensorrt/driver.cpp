#include "driver.hpp"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace simtrt {
namespace {

void* open_driver() {
    if (void* const loaded = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD)) return loaded;
    if (char const* const path = std::getenv("CUREADY_LIBCUDA")) {
        if (void* const loaded = dlopen(path, RTLD_NOW)) return loaded;
        return nullptr;
    }
    return dlopen("libcuda.so.1", RTLD_NOW);
}

template <class F>
void bind(void* library, char const* name, F*& function) {
    function = reinterpret_cast<F*>(dlsym(library, name));
}

Driver load() {
    Driver driver;
    void* const library = open_driver();
    if (!library) return driver;
    bind(library, "cuInit", driver.init);
    bind(library, "cuCtxGetCurrent", driver.current);
    bind(library, "cuCtxGetDevice", driver.current_device);
    bind(library, "cuDeviceGetAttribute", driver.attribute);
    bind(library, "cuMemAlloc_v2", driver.allocate);
    bind(library, "cuMemFree_v2", driver.free);
    bind(library, "cuMemcpyDtoH_v2", driver.to_host);
    bind(library, "cuStreamSynchronize", driver.stream_synchronize);
    bind(library, "cuStreamIsCapturing", driver.is_capturing);
    bind(library, "cuEventRecord", driver.event_record);
    bind(library, "cuPointerGetAttribute", driver.pointer_attribute);
    bind(library, "cuGetErrorString", driver.error_string);
    bind(library, "cuThreadExchangeStreamCaptureMode", driver.capture_mode);
    bind(library, "sim_launch", driver.launch);
    bind(library, "sim_view", driver.view);
    bind(library, "sim_report", driver.report);
    driver.loaded = driver.launch != nullptr;
    return driver;
}

}  // namespace

Driver const& Driver::get() {
    static Driver loaded;
    if (!loaded.loaded) loaded = load();
    return loaded;
}

char const* Driver::text(int code) const {
    char const* words = nullptr;
    if (error_string) error_string(code, &words);
    return words ? words : "unknown error";
}

bool Driver::is_device_address(void const* address) const {
    unsigned kind = 0;
    return pointer_attribute && pointer_attribute(&kind, 2, reinterpret_cast<uint64_t>(address)) == 0 && kind == 2;
}

void misuse(char const* what) {
    auto const& driver = Driver::get();
    std::string const line = std::string("TensorRT: ") + what;
    if (driver.report)
        driver.report(line.c_str());
    else
        std::fprintf(stderr, "simulated %s\n", line.c_str());
}

}  // namespace simtrt
