// The plain loops that `cuready selftest` and `cuready engine bench` are held against: the driver's own calls, and nothing
// of cuready. Loaded by ci/gpu_selftest.py into the process that measures ours, so that both run in turn.
#include <dlfcn.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

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
  int (*event_query)(void*) = nullptr;
  int (*host_function)(void*, void (*)(void*), void*) = nullptr;
  int (*copy_between)(uint64_t, uint64_t, size_t, void*) = nullptr;
  int (*copy_peer)(uint64_t, void*, uint64_t, void*, size_t, void*) = nullptr;
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
                 find(library, "cuEventQuery", d.event_query) && find(library, "cuLaunchHostFunc", d.host_function) &&
                 find(library, "cuMemcpyPeerAsync", d.copy_peer) &&
                 find(library, "cuMemcpyDtoDAsync_v2", d.copy_between);
    return d;
  }();
  return table;
}

}  // namespace

namespace {

/// Milliseconds of device time for `count` calls of `copy` on the stream; negative: the CUDA error, or -1 without a driver.
template <class Copy>
float timed(int count, void* stream, Copy copy) {
  Driver const& d = driver();
  void* events[2] = {};
  if (!d.complete) return -1;
  for (void*& event : events)
    if (int r = d.event_create(&event, 0); r != 0) return static_cast<float>(-r);
  d.event_record(events[0], stream);
  for (int i = 0; i < count; ++i)
    if (int r = copy(); r != 0) return static_cast<float>(-r);
  d.event_record(events[1], stream);
  if (int r = d.event_synchronize(events[1]); r != 0) return static_cast<float>(-r);
  float milliseconds = 0;
  d.event_elapsed(&milliseconds, events[0], events[1]);
  for (void* event : events) d.event_destroy(event);
  return milliseconds;
}

}  // namespace

/// `count` copies inside one GPU; see timed(). The context is current.
PLAIN_API float plain_copies(uint64_t target, uint64_t source, size_t nbytes, int count, void* stream) {
  return timed(count, stream, [&] { return driver().copy_between(target, source, nbytes, stream); });
}

/// `count` copies from one GPU to another; see timed(). The stream and the current context are the target's.
PLAIN_API float plain_peer_copies(uint64_t target, void* target_context, uint64_t source, void* source_context,
                                  size_t nbytes, int count, void* stream) {
  return timed(count, stream,
               [&] { return driver().copy_peer(target, target_context, source, source_context, nbytes, stream); });
}

namespace {

constexpr int kDepth = 2;  // runs in flight, as trtexec and `engine bench` have them

struct Loop {
  void* object;
  bool (*enqueue)(void*, void*);
  void* stream;
  void* events[kDepth][4];
  int* dry;  // not null: counts runs that the GPU began before all of them was there; asking costs time
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
    if (loop.dry != nullptr && d.event_query(slot[1]) == 0) ++*loop.dry;
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

/// Runs TensorRT's enqueueV3 as trtexec does (IterationBase::query and ::sync in samples/common/sampleInference.cpp): two runs
/// under way, an event directly before the call and one directly behind it. Warm for `warmup` seconds, then timed for `length`
/// seconds, at most `most` times. Milliseconds of each call and of its device time; the number of timed runs, or a negative
/// error. `dry`, where it is not null, gets the number of runs that the GPU began before the host had queued all of them:
/// a run of its own, as asking costs time. The context is current.
PLAIN_API int plain_engine(void* object, bool (*enqueue)(void*, void*), void* stream, double warmup, double length, int most,
                           double* enqueue_ms, double* gpu_ms, int* dry) {
  constexpr unsigned blocking = 1;
  Driver const& d = driver();
  if (!d.complete) return -1;
  Loop loop{object, enqueue, stream, {}, nullptr};
  for (auto& slot : loop.events)
    for (void*& event : slot)
      if (int r = d.event_create(&event, blocking); r != 0) return -r;
  int result = in_thread([&] { return run(loop, Clock::now() + seconds(warmup), most, nullptr, nullptr); });
  loop.dry = dry;
  if (result >= 0) result = in_thread([&] { return run(loop, Clock::now() + seconds(length), most, enqueue_ms, gpu_ms); });
  for (auto& slot : loop.events)
    for (void* event : slot) d.event_destroy(event);
  return result;
}

namespace {

/// What a stream waits for, in a host function: until `open`, or until its time is over.
struct Blocker {
  std::mutex mutex;
  std::condition_variable opened;
  Clock::time_point end;
  bool open = false, late = false, left = false;

  static void hold(void* given) {
    auto& self = *static_cast<Blocker*>(given);
    std::unique_lock<std::mutex> lock(self.mutex);
    self.late = !self.opened.wait_until(lock, self.end, [&] { return self.open; });
    self.left = true;
    self.opened.notify_all();
  }

  /// Lets the stream go on and waits until it does. Not forever: on a GPU that is lost nothing runs.
  bool release() {
    std::unique_lock<std::mutex> lock(mutex);
    open = true;
    opened.notify_all();
    return opened.wait_for(lock, std::chrono::seconds(5), [&] { return left; });
  }
};

}  // namespace

/// The same events around the same call, but `count` runs are queued behind a host function that holds the stream (as
/// trtexec's --sleepTime does once), so that the GPU finds them all there; again until `length` seconds are over. The first
/// run of each batch is not kept. The number of times in `gpu_ms`, at most `most`; -3: the host could not queue them.
PLAIN_API int plain_queued(void* object, bool (*enqueue)(void*, void*), void* stream, int count, double length, int most,
                           double* gpu_ms) {
  constexpr unsigned blocking = 1;
  Driver const& d = driver();
  if (!d.complete) return -1;
  std::vector<void*> events(static_cast<size_t>(2 * count));
  for (void*& event : events)
    if (int r = d.event_create(&event, blocking); r != 0) return -r;
  auto const batch = [&](double* kept) {
    auto* blocker = new Blocker();
    blocker->end = Clock::now() + std::chrono::milliseconds(100);
    if (int r = d.host_function(stream, &Blocker::hold, blocker); r != 0) return -r;
    bool fine = true;
    for (size_t i = 0; i < events.size() && fine; i += 2) {
      d.event_record(events[i], stream);
      fine = enqueue(object, stream);
      d.event_record(events[i + 1], stream);
    }
    bool const went_on = blocker->release();
    if (int r = d.event_synchronize(events.back()); r != 0) return -r;
    if (!fine || !went_on) return -2;
    bool const late = blocker->late;
    delete blocker;
    if (late) return -3;
    for (size_t i = 2; i < events.size(); i += 2) {
      float milliseconds = 0;
      d.event_elapsed(&milliseconds, events[i], events[i + 1]);
      *kept++ = static_cast<double>(milliseconds);
    }
    return count - 1;
  };
  int const result = in_thread([&] {
    Clock::time_point const end = Clock::now() + seconds(length);
    int kept = 0;
    do {
      int const r = batch(gpu_ms + kept);
      if (r < 0) return r;
      kept += r;
    } while (kept + count <= most && Clock::now() < end);
    return kept;
  });
  for (void* event : events) d.event_destroy(event);
  return result;
}
