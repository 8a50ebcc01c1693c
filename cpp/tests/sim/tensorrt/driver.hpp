// How the simulated TensorRT reaches the simulated driver: through the libcuda.so.1 that the process has, as the real one does.
#pragma once

#include <cstddef>
#include <cstdint>

namespace simtrt {

using Stream = void*;

struct Driver {
    bool loaded = false;
    int (*init)(unsigned) = nullptr;
    int (*current)(void**) = nullptr;
    int (*current_device)(int*) = nullptr;
    int (*attribute)(int*, int, int) = nullptr;
    int (*allocate)(uint64_t*, size_t) = nullptr;
    int (*free)(uint64_t) = nullptr;
    int (*to_host)(void*, uint64_t, size_t) = nullptr;
    int (*stream_synchronize)(Stream) = nullptr;
    int (*is_capturing)(Stream, int*) = nullptr;
    int (*event_record)(void*, Stream) = nullptr;
    int (*pointer_attribute)(void*, int, uint64_t) = nullptr;
    int (*error_string)(int, char const**) = nullptr;
    int (*capture_mode)(int*) = nullptr;
    int (*launch)(Stream, char const*, int (*)(void*), void*, void (*)(void*)) = nullptr;
    void* (*view)(uint64_t, size_t) = nullptr;
    void (*report)(char const*) = nullptr;

    static Driver const& get();
    /** "an illegal memory access was encountered" */
    char const* text(int code) const;
    bool is_device_address(void const* address) const;
};

/** One misuse of TensorRT's interface, reported with the driver's (sim_violations). */
void misuse(char const* what);

}  // namespace simtrt
