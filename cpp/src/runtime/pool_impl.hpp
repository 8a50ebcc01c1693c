// The inside of a pool: a bounded queue, one dispatcher for each context, one poller.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "cuready/pool.hpp"
#include "runtime/engine_impl.hpp"

namespace cuready {

struct Future::State {
  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  std::atomic<bool> done{false};
  std::weak_ptr<ContextPool::Impl> pool;  // of the request
  std::vector<PoolOutput> outputs;
  Status status;
  std::vector<std::function<void()>> callbacks;

  void finish(std::vector<PoolOutput> results, Status how) noexcept;
};

/// A request on its way.
struct Job {
  PoolRequest request;
  std::shared_ptr<Future::State> state;
  std::unique_ptr<Event> producer_ready;  // recorded by submit(), when the producer's stream is the caller's to name
};

/// Memory that a run in flight uses; it goes back to its context's lane when the run is done.
struct LaneSlot {
  std::unique_ptr<Event> done;
  std::vector<std::shared_ptr<DeviceBuffer>> device;   // staged inputs and outputs, by tensor index
  std::vector<std::unique_ptr<PinnedBuffer>> staging;  // pinned copies of pageable host memory, by tensor index
  struct CopyBack {
    void* destination;
    const void* source;
    std::size_t nbytes;
  };
  std::vector<CopyBack> copies;  // pinned → pageable, by the poller
  Job job;
  std::vector<PoolOutput> outputs;
  Status failure;
  bool lost = false;  // the CUDA context failed under it: whether the GPU still reads its memory is not known
  std::vector<std::unique_ptr<PinnedBuffer>> abandoned;  // staging of such requests, not to be written again
  std::size_t lane = 0;
};

/// Pinned memory that callers hold on to for a while and give back by letting go of it: allocating it anew costs more
/// than a run.
class PinnedCache : public std::enable_shared_from_this<PinnedCache> {
 public:
  explicit PinnedCache(const Device& device) : device_(device) {}
  std::shared_ptr<PinnedBuffer> take(std::size_t nbytes);

 private:
  void give_back(std::unique_ptr<PinnedBuffer> buffer) noexcept;
  static constexpr std::size_t most = 64;
  Device device_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<PinnedBuffer>> free_;
};

/// One context with its stream and its slots.
struct Lane {
  std::shared_ptr<ExecutionContext> context;
  std::shared_ptr<Stream> stream;
  std::vector<std::unique_ptr<LaneSlot>> slots;
  std::vector<LaneSlot*> free;
  int load = 0;            // requests that it has taken and that are not done
  bool launching = false;  // a thread is in its context
  bool called = false;     // its dispatcher has been told that there is work
  std::condition_variable work;
  std::thread dispatcher;
};

/// A launch that a thread may do which must not be kept: about what it costs to have another thread woken for it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::chrono::milliseconds quick_launch{50};  // nothing is quick there, and it is to be looked at
#else
constexpr std::chrono::microseconds quick_launch{100};
#endif

/// While a thread launches or completes requests of a pool: what it lets go then may be the last to hold the pool.
class AtWork {
 public:
  explicit AtWork(const void* pool) noexcept : before_(current()) { current() = pool; }
  ~AtWork() { current() = before_; }
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;
  static const void*& current() noexcept {
    static thread_local const void* pool = nullptr;
    return pool;
  }

 private:
  const void* before_;
};

struct ContextPool::Impl : std::enable_shared_from_this<ContextPool::Impl> {
  using Deadline = std::chrono::steady_clock::time_point;

  std::shared_ptr<Engine> engine;
  PoolOptions options;
  std::size_t max_pending = 0;

  std::mutex mutex;
  std::condition_variable room, flying, idle;
  std::deque<Job> queue;
  std::vector<LaneSlot*> launched;  // from the dispatchers to the poller
  std::deque<Lane> lanes;  // they stay where they are
  std::thread poller;
  bool closing = false, stop_poller = false, joined = false;
  bool waiters_spin = false;  // there are processors for it
  int taken = 0;              // requests that have left the queue and are not done
  int helping = 0;            // waiting threads that are at work for the pool
  std::shared_ptr<PinnedCache> pinned;
  /// What the last launch took. The first ones load the GPU's code and are the dispatchers'.
  std::atomic<std::chrono::steady_clock::duration> last_launch{std::chrono::steady_clock::duration::max()};
  std::uint64_t submitted = 0, completed = 0, failed = 0;
  std::mutex close_mutex;

  void close() noexcept;
  void check(const PoolRequest& request) const;
  Job make_job(PoolRequest&& request);
  Future push(Job&& job, bool tell);
  void wait_for_room(std::unique_lock<std::mutex>& lock, std::chrono::nanoseconds timeout);
  Lane* best_lane(bool even_called);
  void call_dispatchers();
  LaneSlot* take(Lane& lane);
  void dispatch(Lane& lane);
  void launch(Lane& lane, LaneSlot& slot);
  LaneSlot* launch_here(const Future::State& wanted, bool only_idle);
  void help(const Future::State& wanted, const Deadline* deadline);
  bool start(const Future::State& wanted);
  bool wait_for_gpu(LaneSlot& slot, const Deadline* deadline) const;
  void run(Lane& lane, LaneSlot& slot);
  void stage_inputs(Lane& lane, LaneSlot& slot, std::vector<TensorView>& views);
  void place_outputs(Lane& lane, LaneSlot& slot, std::vector<TensorView>& views);
  void collect_outputs(Lane& lane, LaneSlot& slot);
  void poll();
  void retire(LaneSlot& slot);
  bool has_room() const;
};

}  // namespace cuready
