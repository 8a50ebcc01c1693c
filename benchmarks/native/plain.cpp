// The plain loops that `cuready selftest` and `cuready engine bench` are held against: the driver's own calls, and nothing
// of cuready. Loaded by ci/gpu_selftest.py into the process that measures ours, so that both run in turn.
#include <dlfcn.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>

#define PLAIN_API extern "C" __attribute__((visibility("default")))

namespace {

using Clock = std::chrono::steady_clock;

struct Driver {
  int (*event_create)(void**, unsigned) = nullptr;
  int (*event_record)(void*, void*) = nullptr;
  int (*event_synchronize)(void*) = nullptr;
  int (*event_elapsed)(float*, void*, void*) = nullptr;
  int (*copy_between)(uint64_t, uint64_t, size_t, void*) = nullptr;
  bool complete = false;
};

template <class Function>
bool find(void* library, char const* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

Driver const& driver() {
  static Driver const table = [] {
    Driver d;
    char const* path = std::getenv("CUREADY_LIBCUDA");
    void* library = dlopen(path != nullptr && *path != '\0' ? path : "libcuda.so.1", RTLD_NOW);
    if (library == nullptr) return d;
    d.complete = find(library, "cuEventCreate", d.event_create) && find(library, "cuEventRecord", d.event_record) &&
                 find(library, "cuEventSynchronize", d.event_synchronize) &&
                 find(library, "cuEventElapsedTime", d.event_elapsed) &&
                 find(library, "cuMemcpyDtoDAsync_v2", d.copy_between);
    return d;
  }();
  return table;
}

}  // namespace

/// Milliseconds of device time for `count` copies; negative: the CUDA error, or -1 without a driver. The context is current.
PLAIN_API float plain_copies(uint64_t target, uint64_t source, size_t nbytes, int count, void* stream) {
  Driver const& d = driver();
  void* events[2] = {};
  if (!d.complete) return -1;
  for (void*& event : events)
    if (int r = d.event_create(&event, 0); r != 0) return static_cast<float>(-r);
  d.event_record(events[0], stream);
  for (int i = 0; i < count; ++i)
    if (int r = d.copy_between(target, source, nbytes, stream); r != 0) return static_cast<float>(-r);
  d.event_record(events[1], stream);
  if (int r = d.event_synchronize(events[1]); r != 0) return static_cast<float>(-r);
  float milliseconds = 0;
  d.event_elapsed(&milliseconds, events[0], events[1]);
  return milliseconds;
}

/// Runs TensorRT's enqueueV3 `runs` times, two in flight, as trtexec does; milliseconds of each call and of its device time.
PLAIN_API int plain_engine(void* object, bool (*enqueue)(void*, void*), void* stream, int runs, double* enqueue_ms,
                           double* gpu_ms) {
  constexpr int depth = 2;
  constexpr unsigned blocking = 1;
  Driver const& d = driver();
  void* events[depth][4] = {};
  if (!d.complete) return -1;
  for (auto& slot : events)
    for (void*& event : slot)
      if (int r = d.event_create(&event, blocking); r != 0) return r;
  for (int i = 0; i < runs + depth; ++i) {
    void** slot = events[i % depth];
    if (i >= depth) {
      if (int r = d.event_synchronize(slot[3]); r != 0) return r;
      float milliseconds = 0;
      d.event_elapsed(&milliseconds, slot[1], slot[2]);
      gpu_ms[i - depth] = static_cast<double>(milliseconds);
    }
    if (i >= runs) continue;
    d.event_record(slot[0], stream);
    d.event_record(slot[1], stream);
    Clock::time_point const begin = Clock::now();
    if (!enqueue(object, stream)) return -2;
    enqueue_ms[i] = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    d.event_record(slot[2], stream);
    d.event_record(slot[3], stream);
  }
  return 0;
}
