/* Control interface of the simulated CUDA driver: what tests set, and what they ask afterwards.
 *
 * The simulated driver is a libcuda.so.1 with the driver API's C ABI. These functions come on top of it,
 * are exported from the same library, and use C types only, so that C++ tests reach them through dlsym
 * and Python tests through ctypes. Streams, pointers and codes are the driver API's own.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Work on a stream: runs on the stream's worker thread and returns a CUresult (0: fine). */
typedef int (*sim_kernel_fn)(void* arg);

/** Queues `fn(arg)` as a kernel on `stream`, or records it when the stream is capturing. `drop(arg)` is called once, when neither the
 *  stream nor any graph holds the kernel any more. Returns a CUresult. */
int sim_launch(void* stream, char const* name, sim_kernel_fn fn, void* arg, void (*drop)(void*));

/** Host view of [address, address + size) for a kernel that is running now. Null, and an illegal-address error
 *  recorded, where the range is not inside one live allocation that the running context may touch. */
void* sim_view(uint64_t address, size_t size);

/** A slow producer: waits `delay_us`, then writes `count` floats of `value` at `address`. Returns a CUresult. */
int sim_produce_f32(void* stream, uint64_t address, size_t count, float value, long delay_us);

/** Makes the call number `nth` from now (1: the next) of `point` fail with `code`, and the `times - 1` calls after it.
 *  `point` is a driver function without its version suffix ("cuMemAlloc") or a kind of work on a stream:
 *  "op.kernel", "op.h2d", "op.d2h", "op.d2d", "op.memset". For work, code SIM_HANG waits until sim_release_hangs and
 *  SIM_CORRUPT flips one byte of what was copied; other codes become the context's sticky error. */
void sim_fail(char const* point, long nth, int code, long times);
enum { SIM_HANG = -1, SIM_CORRUPT = -2 };
void sim_clear_faults(void);
void sim_release_hangs(void);

/** Calls of a driver function (without version suffix) since the last reset, by every thread. */
long sim_calls(char const* api);
void sim_reset_calls(void);

/** Time that each piece of work of a kind ("kernel", "copy", "memset", "host") takes, in microseconds; "launch": the host's time
 *  for the call that launches an engine's run. */
void sim_set_delay_us(char const* kind, long us);

/** Live objects and bytes, one per line in `text` (may be null); returns how many there are. Retained primary contexts count. */
int sim_live(char* text, size_t capacity);
/** Live device memory of one device in bytes (allocations only, guard zones left out). */
size_t sim_live_bytes(int device);

/** Misuse seen so far (use after free, out of bounds, double free, freed while in use, ...), one per line; returns how many. Looks
 *  at the guard zones of every live allocation first. */
int sim_violations(char* text, size_t capacity);
void sim_clear_violations(void);
/** Adds one: the simulated TensorRT reports what it sees through this. */
void sim_report(char const* what);

/** True while this thread executes a function of the simulated driver (its own heap use is not the caller's). */
int sim_inside(void);

/** Configuration before cuInit; afterwards it takes effect at the next sim_reset. "NAME:CC:MIB[;NAME:CC:MIB...]"; "" means no device. */
void sim_set_devices(char const* spec);
void sim_set_driver_version(int version);

/** Waits for all work, then forgets faults, delays, counts, violations and sticky errors. Returns what sim_live had to drop. */
int sim_reset(void);

#ifdef __cplusplus
}
#endif
