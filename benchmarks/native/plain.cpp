// The plain loops that `cuready selftest` and `cuready engine bench` are held against: the driver's own calls, and nothing
// of cuready. Loaded by ci/gpu_selftest.py into the process that measures ours, so that both run in turn.
#include <dlfcn.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <thread>

#define PLAIN_API extern "C" __attribute__((visibility("default")))

namespace {

using Clock = std::chrono::steady_clock;

struct Driver {
  int (*get_current)(void**) = nullptr;
  int (*set_current)(void*) = nullptr;
  int (*event_create)(void**, unsigned) = nullptr;
  int (*event_destroy)(void*) = nullptr;
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
    d.complete = find(library, "cuCtxGetCurrent", d.get_current) && find(library, "cuCtxSetCurrent", d.set_current) &&
                 find(library, "cuEventDestroy_v2", d.event_destroy) &&
                 find(library, "cuEventCreate", d.event_create) && find(library, "cuEventRecord", d.event_record) &&
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
  for (void* event : events) d.event_destroy(event);
  return milliseconds;
}

namespace {

constexpr int kDepth = 2;  // runs in flight, as trtexec and `engine bench` have them

struct Loop {
  void* object;
  bool (*enqueue)(void*, void*);
  void* stream;
  void* events[kDepth][4];
};

/// Runs until `end`, at most `most` times; the number of runs, or a negative error. Null arrays: nothing is kept.
int run(Loop& loop, Clock::time_point end, int most, double* enqueue_ms, double* gpu_ms) {
  Driver const& d = driver();
  int runs = 0, landed = 0;
  auto const land = [&] {
    void** slot = loop.events[landed % kDepth];
    int const result = d.event_synchronize(slot[3]);
    float stages[3] = {};  // in, compute, out
    if (gpu_ms != nullptr) {
      for (int i = 0; i < 3; ++i) d.event_elapsed(&stages[i], slot[i], slot[i + 1]);
      gpu_ms[landed] = static_cast<double>(stages[1]);
    }
    ++landed;
    return result;
  };
  while (runs < most && Clock::now() < end) {
    if (runs - landed == kDepth)
      if (int r = land(); r != 0) return -r;
    void** slot = loop.events[runs % kDepth];
    d.event_record(slot[0], loop.stream);
    d.event_record(slot[1], loop.stream);
    Clock::time_point const begin = Clock::now();
    if (!loop.enqueue(loop.object, loop.stream)) return -2;
    double const took = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    if (enqueue_ms != nullptr) enqueue_ms[runs] = took;
    d.event_record(slot[2], loop.stream);
    d.event_record(slot[3], loop.stream);
    ++runs;
  }
  while (landed < runs)
    if (int r = land(); r != 0) return -r;
  return runs;
}

Clock::duration seconds(double s) { return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s)); }

/// In a thread of its own with the caller's context, as `engine bench` runs.
template <class Function>
int in_thread(Function function) {
  void* context = nullptr;
  int result = driver().get_current(&context);
  if (result != 0) return -result;
  std::thread([&] {
    result = -driver().set_current(context);
    if (result == 0) result = function();
  }).join();
  return result;
}

}  // namespace

/// Runs TensorRT's enqueueV3 as trtexec does: warm for `warmup` seconds, then timed for `length` seconds, at most `most` times.
/// Milliseconds of each call and of its device time; the number of timed runs, or a negative error. The context is current.
PLAIN_API int plain_engine(void* object, bool (*enqueue)(void*, void*), void* stream, double warmup, double length, int most,
                           double* enqueue_ms, double* gpu_ms) {
  constexpr unsigned blocking = 1;
  Driver const& d = driver();
  if (!d.complete) return -1;
  Loop loop{object, enqueue, stream, {}};
  for (auto& slot : loop.events)
    for (void*& event : slot)
      if (int r = d.event_create(&event, blocking); r != 0) return -r;
  int result = in_thread([&] { return run(loop, Clock::now() + seconds(warmup), most, nullptr, nullptr); });
  if (result >= 0) result = in_thread([&] { return run(loop, Clock::now() + seconds(length), most, enqueue_ms, gpu_ms); });
  for (auto& slot : loop.events)
    for (void* event : slot) d.event_destroy(event);
  return result;
}
