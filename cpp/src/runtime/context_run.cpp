// Enqueueing: the hot path, and everything that happens only when something changed.
#include "runtime/context_impl.hpp"

namespace cuready {

using tensorrt::Call;

void BusyGuard::refuse() {
  throw ContextBusy(
      {"use an execution context", "another thread is using it",
       "a context belongs to one thread at a time: make one for each thread, or submit to a ContextPool"});
}

// ---- hot -----------------------------------------------------------------------------------------------------------

namespace {

/// With the device's context current.
inline void submit(ExecutionContext::Impl& c, StreamRef stream) {
  if (__builtin_expect(c.special || stream != c.last_stream, 0)) {
    c.slow_enqueue(stream);
    return;
  }
  c.has_run = true;
  if (c.active_graph != nullptr) {
    cuda::check(c.launch_graph(c.active_graph, stream.handle), "cuGraphLaunch", "replay a CUDA graph");
    ++c.replays;
    return;
  }
  tensorrt::open_window();
  if (__builtin_expect(!c.enqueue_function(c.enqueue_object, stream.handle), 0)) c.enqueue_failed();
}

/// Another context was current, or none: it is so again afterwards.
[[gnu::cold, gnu::noinline]] void submit_from_elsewhere(ExecutionContext::Impl& c, StreamRef stream) {
  const cuda::CurrentGuard current(*c.primary);
  cuda::check(current.result(), "cuCtxSetCurrent", "IExecutionContext::enqueueV3");
  submit(c, stream);
}

}  // namespace

[[gnu::hot]] void ExecutionContext::enqueue(StreamRef stream) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  cuda::CUcontext current = nullptr;  // asked at every call: any library of this thread may have changed it
  if (__builtin_expect(c.get_current(&current) == cuda::success && current == c.cuda_context, 1)) {
    submit(c, stream);
  } else {
    submit_from_elsewhere(c, stream);
  }
}

Status ExecutionContext::try_enqueue(StreamRef stream) noexcept {
  try {
    enqueue(stream);
    return {};
  } catch (...) {
    return Status::current();
  }
}

// ---- cold ----------------------------------------------------------------------------------------------------------

void ExecutionContext::Impl::check_stream(StreamRef stream) const {
  if (!stream.is_legacy() || allow_legacy) return;
  throw InvalidArgument({"enqueue", "the legacy default stream, on which TensorRT synchronises the whole device",
                         "use a cuready::Stream (or any stream that was created), or allow_legacy_stream(true)"});
}

void ExecutionContext::Impl::slow_enqueue(StreamRef stream) {
  check_stream(stream);
  if (stream != last_stream) order_after_last(stream);
  last_stream = stream;  // output memory that TensorRT asks for during the run is ordered on it
  prepare(stream, true);
  std::unique_lock<std::mutex> workspace_lock;
  if (workspace_shared) workspace_lock = lock_workspace(stream);
  has_run = true;
  if (graph_mode == GraphMode::off) {
    run_port(*port, stream);
  } else {
    enqueue_with_graph(stream);
  }
  finish_enqueue();
}

std::unique_lock<std::mutex> ExecutionContext::Impl::lock_workspace(StreamRef stream) {
  Workspace::Impl& shared = *workspace->impl_;
  std::unique_lock<std::mutex> lock(shared.mutex);
  while (shared.generation != workspace_generation) {  // another context made it larger in between
    lock.unlock();
    prepare_workspace(stream);
    lock.lock();
  }
  if (shared.used && shared.last_stream != stream) {
    cuda::check(engine->device().primary()->order(stream.handle, shared.last_stream.handle), "cuStreamWaitEvent",
                "share activation memory");
  }
  shared.used = true;
  ++shared.uses;
  shared.last_stream = stream;
  return lock;
}

void ExecutionContext::Impl::finish_enqueue() noexcept {
  const bool graph_pending = graph_mode != GraphMode::off && active_graph == nullptr &&
                             !(current_graph != nullptr && current_graph->refused) &&
                             graph_stats.fallback_reason.empty();
  special = workspace_shared || graph_pending;
}

void ExecutionContext::Impl::run_port(tensorrt::ContextPort& target, StreamRef stream) {
  callback_error = nullptr;
  tensorrt::open_window();
  if (!target.enqueue_function()(target.enqueue_object(), stream.handle)) enqueue_failed();
}

void ExecutionContext::Impl::enqueue_failed() {
  special = true;
  last_messages = tensorrt::window();
  if (callback_error) std::rethrow_exception(std::exchange(callback_error, nullptr));
  tensorrt::throw_from_words({"IExecutionContext::enqueueV3", "TensorRT refused to run", "", last_messages, {}},
                             subject());
}

void ExecutionContext::Impl::order_after_last(StreamRef stream) {
  if (!has_run || stream == last_stream) return;
  const cuda::CUresult result = engine->device().primary()->order(stream.handle, last_stream.handle);
  if (result == cuda::success) {
    if (workspace_shared) workspace->impl_->follow(last_stream, stream);
    return;
  }
  // The stream of the last run is gone, against the rules: only the device as a whole still knows when its work is
  // done.
  cuda::check(primary->table().cuCtxSynchronize(), "cuCtxSynchronize", "wait for the last run of a context");
  has_run = false;
}

void ExecutionContext::Impl::wait_for_last_run() {
  const cuda::ThrowingGuard current(*primary);
  cuda::check(primary->table().cuStreamSynchronize(last_stream.handle), "cuStreamSynchronize",
              "wait for the last run of a context");
}

void ExecutionContext::Impl::wait_idle() {
  if (!has_run) return;
  const std::uint64_t uses = workspace_shared ? workspace->impl_->uses_now() : 0;
  wait_for_last_run();
  has_run = false;
  if (workspace_shared) workspace->impl_->forget(last_stream, uses);
}

void ExecutionContext::prepare(StreamRef stream) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  const cuda::ThrowingGuard current(*c.primary);
  c.check_stream(stream);
  c.order_after_last(stream);
  c.last_stream = stream;
  c.prepare(stream, false);
}

void ExecutionContext::synchronize() {
  const BusyGuard busy(*impl_);
  impl_->wait_idle();
}

bool ExecutionContext::done() {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  if (!c.has_run) return true;
  const cuda::ThrowingGuard current(*c.primary);
  const cuda::CUresult result = c.primary->table().cuStreamQuery(c.last_stream.handle);
  if (result == cuda::error_not_ready) return false;
  cuda::check(result, "cuStreamQuery", "look at the last run of a context");
  return true;
}

namespace {

class LayerCollector final : public tensorrt::LayerTimes {
 public:
  void report(const char* layer, float milliseconds) noexcept override {
    try {
      layers.push_back({layer != nullptr ? layer : "", milliseconds});
    } catch (...) {
      lost = true;
    }
  }
  std::vector<LayerTime> layers;
  bool lost = false;
};

}  // namespace

std::vector<LayerTime> ExecutionContext::profile_layers(StreamRef stream) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  const cuda::ThrowingGuard current(*c.primary);
  c.check_stream(stream);
  c.order_after_last(stream);
  c.last_stream = stream;
  c.prepare(stream, true);
  c.wait_idle();
  LayerCollector collector;
  c.port->set_profiler(&collector);
  struct Detach {
    tensorrt::ContextPort& port;
    ~Detach() { port.set_profiler(nullptr); }
  } detach{*c.port};
  std::unique_lock<std::mutex> workspace_lock;
  if (c.workspace_shared) workspace_lock = c.lock_workspace(stream);
  c.has_run = true;
  c.run_port(*c.port, stream);
  if (workspace_lock.owns_lock()) workspace_lock.unlock();
  c.wait_idle();
  if (collector.lost) throw OutOfMemory({"profile layers", "no host memory for the layer times"}, 0, 0, 0);
  return std::move(collector.layers);
}

ExecutionContext::RawCall ExecutionContext::raw_call() const noexcept {
  return {impl_->port->enqueue_object(), impl_->port->enqueue_function()};
}

}  // namespace cuready
