// A pool of contexts that threads share: submit() returns a future; C++ threads dispatch, one poller completes. A
// thread that waits for a request which no dispatcher has taken yet launches it itself.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuready/context.hpp"

namespace cuready {

/// One output of a finished request.
struct PoolOutput {
  OutputView view;                       ///< where it is
  std::shared_ptr<DeviceBuffer> device;  ///< set when the pool made it on the device
  std::shared_ptr<PinnedBuffer> pinned;  ///< set when the pool made it on the host
};

/// One request. Inputs in the order of Engine::inputs(), outputs in the order of Engine::outputs().
struct PoolRequest {
  std::vector<TensorView> inputs;   ///< host views are staged through pinned memory and copied asynchronously
  std::vector<TensorView> outputs;  ///< empty, or one for each; data null: the pool makes it. Host views are copied to.
  bool outputs_to_host = false;     ///< outputs that the pool makes are pinned host memory
  bool wait_for_producer = false;   ///< the run waits for what `producer` holds at submit()
  StreamRef producer;
  std::shared_ptr<void>
      keep_alive;  ///< released (on a thread that completes requests) when the run is done with inputs and outputs
};

/// The result of a request. Copies share it.
class CUREADY_API Future {
 public:
  Future() noexcept = default;
  bool valid() const noexcept { return static_cast<bool>(state_); }
  bool done() const;
  /// False when the time is over first; a negative time waits for ever. While it waits, this thread may launch and
  /// complete the request: no other thread has to be woken for it.
  bool wait(std::chrono::nanoseconds timeout = std::chrono::nanoseconds(-1)) const;
  /// For a thread that will not wait here, such as an event loop's: launches the request at once where it is the next
  /// one, a context is idle and launches are quick (100 µs), so that no other thread has to be woken for it. Does not
  /// wait for the GPU. False when it left the request to the pool's threads.
  bool start() const;
  /// Waits, then returns the outputs or throws the request's error.
  const std::vector<PoolOutput>& get() const;
  /// How it ended; ok while it has not.
  Status status() const;
  /// Called once, from the thread that completes the request (or at once when already done). Must not throw and must
  /// not wait for this pool.
  void on_done(std::function<void()> callback) const;

  struct State;
  explicit Future(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

 private:
  std::shared_ptr<State> state_;
};

struct PoolOptions {
  int contexts = 2;               ///< contexts, each with a stream and a dispatcher thread of its own
  int max_pending = 0;            ///< requests that may wait in the queue; submit() then blocks. 0: 4 per context
  int in_flight = 2;              ///< requests submitted to the GPU and not done, per context: copies overlap with runs
  bool shared_workspace = false;  ///< one activation memory for all: runs are then ordered one after another
  ContextOptions context;         ///< options of every context
  bool spin = true;               ///< who waits for the GPU spins for a while; false: looks every 50 µs, or sleeps
};

struct PoolStats {
  std::uint64_t submitted = 0, completed = 0, failed = 0;
  int pending = 0, in_flight = 0, contexts = 0;
};

/// Contexts behind one bounded queue. Thread-safe. Destruction finishes what is in flight and cancels what is not; where
/// a callback or a keep_alive was the last to hold the pool, another thread does that.
class CUREADY_API ContextPool : public std::enable_shared_from_this<ContextPool> {
 public:
  static std::shared_ptr<ContextPool> create(std::shared_ptr<Engine> engine, const PoolOptions& options = {});
  ~ContextPool();
  ContextPool(const ContextPool&) = delete;
  ContextPool& operator=(const ContextPool&) = delete;
  /// Shapes and types are checked before it returns. Blocks while the queue is full (back-pressure); `timeout`
  /// negative: for ever. Throws ContextBusy when the time is over, Cancelled when the pool is closed, and what bind()
  /// throws.
  Future submit(PoolRequest request, std::chrono::nanoseconds timeout = std::chrono::nanoseconds(-1));
  /// submit() and wait() in one, for threads that have nothing else to do: where a context is idle this thread launches
  /// the request and waits for the GPU, and no other thread is woken. The future that it returns is done.
  Future run(PoolRequest request);
  /// Never blocks: not valid() when the queue is full, and the request is then as it was.
  Future try_submit(PoolRequest&& request);
  /// Waits until nothing is pending or in flight.
  void drain();
  /// Takes no more requests, finishes what is in flight, cancels what waits. Idempotent.
  void close() noexcept;
  PoolStats stats() const;
  const std::shared_ptr<Engine>& engine() const noexcept;

 private:
  struct Impl;
  friend class Future;
  explicit ContextPool(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;  // shared with threads that wait for results
};

}  // namespace cuready
