// Life of a pool, submission and back-pressure. What its threads do is in pool_run.cpp.
#include "cuready/pool.hpp"

#include <algorithm>
#include <chrono>

#include "cuda/fork.hpp"
#include "runtime/pool_impl.hpp"

namespace cuready {

// ---- futures -------------------------------------------------------------------------------------------------------

void Future::State::finish(std::vector<PoolOutput> results, Status how) noexcept {
  std::vector<std::function<void()>> called;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    outputs = std::move(results);
    status = std::move(how);
    done = true;
    called.swap(callbacks);
  }
  changed.notify_all();
  for (const std::function<void()>& callback : called) callback();
}

bool Future::done() const { return state_->done; }

namespace {

/// Waking up from a condition variable costs tens of microseconds, which a short run notices: a waiter looks for a
/// while first, where it may.
constexpr auto look_for = std::chrono::milliseconds(2);

}  // namespace

bool Future::wait(std::chrono::nanoseconds timeout) const {
  using clock = std::chrono::steady_clock;
  if (state_->done) return true;
  cuda::refuse_fork("wait for a request");
  const bool limited = timeout.count() >= 0;
  const clock::time_point begin = clock::now();
  // A time too long for the clock waits for ever.
  const bool for_ever = !limited || timeout >= clock::time_point::max() - begin;
  const clock::time_point deadline = for_ever ? clock::time_point::max() : begin + timeout;
  const auto pool = timeout.count() == 0 ? nullptr : state_->pool.lock();  // a mere look costs nothing
  if (pool) {
    pool->help(*state_, for_ever ? nullptr : &deadline);
    if (pool->waiters_spin) {
      const clock::time_point until = std::min(deadline, begin + look_for);
      while (!state_->done && clock::now() < until) std::this_thread::yield();
    }
  }
  if (state_->done) return true;
  std::unique_lock<std::mutex> lock(state_->mutex);
  const auto finished = [this] { return state_->done.load(); };
  if (for_ever) {
    state_->changed.wait(lock, finished);
    return true;
  }
  return state_->changed.wait_until(lock, deadline, finished);
}

bool Future::start() const {
  if (state_->done) return false;
  cuda::refuse_fork("start a request");
  const auto pool = state_->pool.lock();
  return pool && pool->start(*state_);
}

const std::vector<PoolOutput>& Future::get() const {
  static_cast<void>(wait());
  state_->status.raise();
  return state_->outputs;
}

Status Future::status() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->status;
}

void Future::on_done(std::function<void()> callback) const {
  if (!state_->done) cuda::refuse_fork("wait for a request");
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    if (!state_->done) {
      state_->callbacks.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

std::shared_ptr<PinnedBuffer> PinnedCache::take(std::size_t nbytes) {
  std::unique_ptr<PinnedBuffer> found;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (std::unique_ptr<PinnedBuffer>& candidate : free_) {
      if (candidate->nbytes() < nbytes || candidate->nbytes() / 2 > nbytes) continue;
      found = std::move(candidate);
      std::swap(candidate, free_.back());
      free_.pop_back();
      break;
    }
  }
  if (!found) found = std::make_unique<PinnedBuffer>(device_, nbytes);
  return {found.release(), [cache = shared_from_this()](PinnedBuffer* buffer) {
            cache->give_back(std::unique_ptr<PinnedBuffer>(buffer));
          }};
}

void PinnedCache::give_back(std::unique_ptr<PinnedBuffer> buffer) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.size() >= most) return;
  try {
    free_.push_back(std::move(buffer));
  } catch (...) {
    buffer.reset();
  }
}

// ---- life ----------------------------------------------------------------------------------------------------------

std::shared_ptr<ContextPool> Engine::create_pool(const PoolOptions& options) {
  return ContextPool::create(shared_from_this(), options);
}

ContextPool::ContextPool(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
ContextPool::~ContextPool() {
  if (in_forked_process()) {  // its threads do not exist, and its locks may be theirs
    new std::shared_ptr<Impl>(std::move(impl_));
  } else if (AtWork::current() == impl_.get()) {  // this thread is one of those that close() waits for
    std::thread([impl = impl_] { impl->close(); }).detach();
  } else {
    close();
  }
}
const std::shared_ptr<Engine>& ContextPool::engine() const noexcept { return impl_->engine; }

std::shared_ptr<ContextPool> ContextPool::create(std::shared_ptr<Engine> engine, const PoolOptions& options) {
  if (!engine) throw InvalidArgument({"create a pool", "no engine"});
  if (options.contexts < 1 || options.in_flight < 1 || options.max_pending < 0) {
    throw InvalidArgument({"create a pool", "contexts and in_flight must be at least 1, max_pending at least 0"});
  }
  auto impl = std::make_shared<Impl>();
  impl->engine = engine;
  impl->options = options;
  impl->waiters_spin =
      options.spin && std::thread::hardware_concurrency() > 2 * static_cast<unsigned>(options.contexts);
  impl->pinned = std::make_shared<PinnedCache>(engine->device());
  impl->max_pending = static_cast<std::size_t>(options.max_pending > 0 ? options.max_pending : 4 * options.contexts);
  ContextOptions context = options.context;
  if (options.shared_workspace && !context.workspace) context.workspace = std::make_shared<Workspace>(engine->device());
  for (int i = 0; i < options.contexts; ++i) {
    Lane& lane = impl->lanes.emplace_back();
    lane.context = engine->create_context(context);
    lane.stream = std::make_shared<Stream>(engine->device());
    for (int s = 0; s < options.in_flight; ++s) {
      auto slot = std::make_unique<LaneSlot>();
      slot->done = std::make_unique<Event>(engine->device());
      slot->device.resize(engine->tensors().size());
      slot->staging.resize(engine->tensors().size());
      slot->lane = static_cast<std::size_t>(i);
      lane.free.push_back(slot.get());
      lane.slots.push_back(std::move(slot));
    }
  }
  std::shared_ptr<ContextPool> pool(new ContextPool(std::move(impl)));  // from here on close() tidies up
  Impl& p = *pool->impl_;
  p.poller = std::thread([&p] { p.poll(); });
  for (Lane& lane : p.lanes) lane.dispatcher = std::thread([&p, &lane] { p.dispatch(lane); });
  return pool;
}

void ContextPool::close() noexcept {
  if (!in_forked_process()) impl_->close();
}

void ContextPool::Impl::close() noexcept {
  const std::lock_guard<std::mutex> one_at_a_time(close_mutex);
  if (joined) return;
  std::deque<Job> cancelled;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    closing = true;
    cancelled.swap(queue);
  }
  for (Lane& lane : lanes) lane.work.notify_one();
  room.notify_all();
  for (Lane& lane : lanes) {
    if (lane.dispatcher.joinable()) lane.dispatcher.join();
  }
  {
    std::unique_lock<std::mutex> lock(mutex);
    idle.wait(lock, [this] { return helping == 0; });
    stop_poller = true;
  }
  flying.notify_all();
  if (poller.joinable()) poller.join();
  for (Job& job : cancelled) {
    try {
      throw Cancelled({"submit to a pool", "the pool was closed before the request ran"});
    } catch (...) {
      job.state->finish({}, Status::current());
    }
  }
  joined = true;
  idle.notify_all();
}

void ContextPool::drain() {
  cuda::refuse_fork("wait for a pool");
  Impl& p = *impl_;
  std::unique_lock<std::mutex> lock(p.mutex);
  p.idle.wait(lock, [&p] { return p.queue.empty() && p.taken == 0; });
}

PoolStats ContextPool::stats() const {
  cuda::refuse_fork("ask a pool");
  Impl& p = *impl_;
  const std::lock_guard<std::mutex> lock(p.mutex);
  PoolStats stats;
  stats.submitted = p.submitted;
  stats.completed = p.completed;
  stats.failed = p.failed;
  stats.pending = static_cast<int>(p.queue.size());
  stats.in_flight = p.taken;
  stats.contexts = static_cast<int>(p.lanes.size());
  return stats;
}

// ---- submission ----------------------------------------------------------------------------------------------------

void ContextPool::Impl::check(const PoolRequest& request) const {
  cuda::refuse_fork("submit to a pool");
  const std::vector<TensorInfo>& tensors = engine->tensors();
  const std::vector<int>&in = engine->inputs(), &out = engine->outputs();
  if (request.inputs.size() != in.size() || (!request.outputs.empty() && request.outputs.size() != out.size())) {
    throw BindingError(
        {"submit to a pool",
         std::to_string(request.inputs.size()) + " inputs and " + std::to_string(request.outputs.size()) + " outputs",
         "the engine has " + std::to_string(in.size()) + " and " + std::to_string(out.size())});
  }
  const auto check_dtype = [](const TensorInfo& info, const TensorView& view) {
    if (view.dtype == info.dtype) return;
    throw DtypeError({"submit to a pool",
                      "\"" + info.name + "\": the array is " + name(view.dtype) + ", the tensor is " + name(info.dtype),
                      "convert the array"});
  };
  std::vector<Dims> shapes;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const TensorInfo& info = tensors[static_cast<std::size_t>(in[i])];
    check_dtype(info, request.inputs[i]);
    const std::size_t needed = info.bytes_for(request.inputs[i].shape);
    const std::size_t has =
        request.inputs[i].nbytes != 0 ? request.inputs[i].nbytes : linear_bytes(info.dtype, request.inputs[i].shape);
    if (has < needed || (request.inputs[i].data == nullptr && needed != 0)) {
      throw BindingError({"submit to a pool", "\"" + info.name + "\" needs " + std::to_string(needed) +
                                                  " bytes, the array has " +
                                                  std::to_string(request.inputs[i].data == nullptr ? 0 : has)});
    }
    shapes.push_back(request.inputs[i].shape);
  }
  for (std::size_t i = 0; i < request.outputs.size(); ++i) {
    if (request.outputs[i].data != nullptr) check_dtype(tensors[static_cast<std::size_t>(out[i])], request.outputs[i]);
  }
  if (!engine->matching_profiles(shapes).empty()) return;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const TensorInfo& info = tensors[static_cast<std::size_t>(in[i])];
    bool fits = false;
    for (int p = 0; p < std::max(engine->profile_count(), 1) && !fits; ++p) fits = engine->fits(p, in[i], shapes[i]);
    if (!fits)
      throw ShapeError(
          {"submit to a pool", "\"" + info.name + "\" has the shape " + shapes[i].str() + ", which no profile allows"},
          info.name, shapes[i], info.profiles);
  }
  throw ShapeError({"submit to a pool", "no profile takes these shapes together",
                    "TensorInfo::profiles has the bounds of each profile"});
}

Job ContextPool::Impl::make_job(PoolRequest&& request) {
  Job job;
  job.state = std::make_shared<Future::State>();
  job.state->pool = weak_from_this();
  if (request.wait_for_producer) {
    // Now, on the caller's thread: later work of the producer is not waited for, and its stream may be gone by then.
    job.producer_ready = std::make_unique<Event>(engine->device());
    job.producer_ready->record(request.producer);
  }
  job.request = std::move(request);
  return job;
}

/// With the mutex held. The dispatchers are told, unless the caller is about to launch it.
Future ContextPool::Impl::push(Job&& job, bool tell) {
  Future future(job.state);
  queue.push_back(std::move(job));
  ++submitted;
  if (tell) call_dispatchers();
  return future;
}

namespace {

[[noreturn]] void throw_closed() { throw Cancelled({"submit to a pool", "the pool is closed"}); }

}  // namespace

// What a free slot will take as soon as its dispatcher wakes up does not count as waiting.
bool ContextPool::Impl::has_room() const {
  std::size_t free_slots = 0;
  for (const Lane& lane : lanes) free_slots += lane.free.size();
  return queue.size() < max_pending + free_slots;
}

/// With the mutex held: waits until a request may be pushed.
void ContextPool::Impl::wait_for_room(std::unique_lock<std::mutex>& lock, std::chrono::nanoseconds timeout) {
  const auto admissible = [this] { return closing || has_room(); };
  if (timeout.count() < 0) {
    room.wait(lock, admissible);
  } else if (!room.wait_for(lock, timeout, admissible)) {
    throw ContextBusy({"submit to a pool", "the queue stayed full (" + std::to_string(max_pending) + " requests)",
                       "wait for results, or make the pool larger"});
  }
  if (closing) throw_closed();
}

Future ContextPool::submit(PoolRequest request, std::chrono::nanoseconds timeout) {
  Impl& p = *impl_;
  p.check(request);
  Job job = p.make_job(std::move(request));
  std::unique_lock<std::mutex> lock(p.mutex);
  p.wait_for_room(lock, timeout);
  return p.push(std::move(job), true);
}

Future ContextPool::run(PoolRequest request) {
  Impl& p = *impl_;
  p.check(request);
  Job job = p.make_job(std::move(request));
  std::unique_lock<std::mutex> lock(p.mutex);
  p.wait_for_room(lock, std::chrono::nanoseconds(-1));
  const bool own_turn = p.queue.empty() && p.best_lane(true) != nullptr;
  Future future = p.push(std::move(job), !own_turn);
  lock.unlock();
  static_cast<void>(future.wait());
  return future;
}

Future ContextPool::try_submit(PoolRequest&& request) {
  Impl& p = *impl_;
  p.check(request);
  Job job = p.make_job(std::move(request));
  const std::lock_guard<std::mutex> lock(p.mutex);
  if (p.closing) throw_closed();
  if (p.has_room()) return p.push(std::move(job), true);
  request = std::move(job.request);
  return {};
}

}  // namespace cuready
