// Submission, back-pressure, dispatch and completion of a pool.
#include "cuready/pool.hpp"

#include <algorithm>
#include <chrono>

#include "runtime/context_impl.hpp"
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

bool Future::done() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->done;
}

bool Future::wait(std::chrono::nanoseconds timeout) const {
  std::unique_lock<std::mutex> lock(state_->mutex);
  const auto finished = [this] { return state_->done; };
  if (timeout.count() < 0) {
    state_->changed.wait(lock, finished);
    return true;
  }
  return state_->changed.wait_for(lock, timeout, finished);
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
  return {found.release(), [cache = shared_from_this()](PinnedBuffer* buffer) { cache->give_back(std::unique_ptr<PinnedBuffer>(buffer)); }};
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

std::shared_ptr<ContextPool> Engine::create_pool(const PoolOptions& options) { return ContextPool::create(shared_from_this(), options); }

ContextPool::ContextPool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ContextPool::~ContextPool() { close(); }
const std::shared_ptr<Engine>& ContextPool::engine() const noexcept { return impl_->engine; }

std::shared_ptr<ContextPool> ContextPool::create(std::shared_ptr<Engine> engine, const PoolOptions& options) {
  if (!engine) throw InvalidArgument({"create a pool", "no engine", "", {}, {}});
  if (options.contexts < 1 || options.in_flight < 1 || options.max_pending < 0) {
    throw InvalidArgument({"create a pool", "contexts and in_flight must be at least 1, max_pending at least 0", "", {}, {}});
  }
  auto impl = std::make_unique<Impl>();
  impl->engine = engine;
  impl->options = options;
  impl->pinned = std::make_shared<PinnedCache>(engine->device());
  impl->max_pending = static_cast<std::size_t>(options.max_pending > 0 ? options.max_pending : 4 * options.contexts);
  ContextOptions context = options.context;
  if (options.shared_workspace && !context.workspace) context.workspace = std::make_shared<Workspace>(engine->device());
  for (int i = 0; i < options.contexts; ++i) {
    Lane lane;
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
    impl->lanes.push_back(std::move(lane));
  }
  std::shared_ptr<ContextPool> pool(new ContextPool(std::move(impl)));  // from here on close() tidies up
  Impl& p = *pool->impl_;
  p.poller = std::thread([&p] { p.poll(); });
  for (Lane& lane : p.lanes) lane.dispatcher = std::thread([&p, &lane] { p.dispatch(lane); });
  return pool;
}

void ContextPool::close() noexcept {
  Impl& p = *impl_;
  const std::lock_guard<std::mutex> closing(p.close_mutex);
  if (p.joined) return;
  std::deque<Job> cancelled;
  {
    const std::lock_guard<std::mutex> lock(p.mutex);
    p.closing = true;
    cancelled.swap(p.queue);
  }
  p.work.notify_all();
  p.room.notify_all();
  for (Lane& lane : p.lanes) {
    if (lane.dispatcher.joinable()) lane.dispatcher.join();
  }
  {
    const std::lock_guard<std::mutex> lock(p.mutex);
    p.stop_poller = true;
  }
  p.flying.notify_all();
  if (p.poller.joinable()) p.poller.join();
  for (Job& job : cancelled) {
    try {
      throw Cancelled({"submit to a pool", "the pool was closed before the request ran", "", {}, {}});
    } catch (...) {
      job.state->finish({}, Status::current());
    }
  }
  p.joined = true;
  p.idle.notify_all();
}

void ContextPool::drain() {
  Impl& p = *impl_;
  std::unique_lock<std::mutex> lock(p.mutex);
  p.idle.wait(lock, [&p] { return p.queue.empty() && p.taken == 0; });
}

PoolStats ContextPool::stats() const {
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
  const std::vector<TensorInfo>& tensors = engine->tensors();
  const std::vector<int>&in = engine->inputs(), &out = engine->outputs();
  if (request.inputs.size() != in.size() || (!request.outputs.empty() && request.outputs.size() != out.size())) {
    throw BindingError({"submit to a pool", std::to_string(request.inputs.size()) + " inputs and " + std::to_string(request.outputs.size()) + " outputs",
                        "the engine has " + std::to_string(in.size()) + " and " + std::to_string(out.size()), {}, {}});
  }
  const auto check_dtype = [](const TensorInfo& info, const TensorView& view) {
    if (view.dtype == info.dtype) return;
    throw DtypeError({"submit to a pool", "\"" + info.name + "\": the array is " + name(view.dtype) + ", the tensor is " + name(info.dtype), "convert the array", {}, {}});
  };
  std::vector<Dims> shapes;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const TensorInfo& info = tensors[static_cast<std::size_t>(in[i])];
    check_dtype(info, request.inputs[i]);
    const std::size_t needed = info.bytes_for(request.inputs[i].shape);
    const std::size_t has = request.inputs[i].nbytes != 0 ? request.inputs[i].nbytes : linear_bytes(info.dtype, request.inputs[i].shape);
    if (has < needed || (request.inputs[i].data == nullptr && needed != 0)) {
      throw BindingError({"submit to a pool", "\"" + info.name + "\" needs " + std::to_string(needed) + " bytes, the array has " +
                                                  std::to_string(request.inputs[i].data == nullptr ? 0 : has), "", {}, {}});
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
    if (!fits) throw ShapeError({"submit to a pool", "\"" + info.name + "\" has the shape " + shapes[i].str() + ", which no profile allows", "", {}, {}}, info.name, shapes[i], info.profiles);
  }
  throw ShapeError({"submit to a pool", "no profile takes these shapes together", "TensorInfo::profiles has the bounds of each profile", {}, {}});
}

Future ContextPool::Impl::enqueue(PoolRequest request, std::unique_lock<std::mutex>& lock) {
  Job job;
  job.state = std::make_shared<Future::State>();
  if (request.wait_for_producer) {
    // Now, on the caller's thread: later work of the producer is not waited for, and its stream may be gone by then.
    job.producer_ready = std::make_unique<Event>(engine->device());
    job.producer_ready->record(request.producer);
  }
  job.request = std::move(request);
  Future future(job.state);
  queue.push_back(std::move(job));
  ++submitted;
  lock.unlock();
  work.notify_one();
  return future;
}

namespace {

[[noreturn]] void throw_closed() { throw Cancelled({"submit to a pool", "the pool is closed", "", {}, {}}); }

}  // namespace

// What a free slot will take as soon as its dispatcher wakes up does not count as waiting.
bool ContextPool::Impl::has_room() const {
  std::size_t free_slots = 0;
  for (const Lane& lane : lanes) free_slots += lane.free.size();
  return queue.size() < max_pending + free_slots;
}

Future ContextPool::submit(PoolRequest request, std::chrono::nanoseconds timeout) {
  Impl& p = *impl_;
  p.check(request);
  std::unique_lock<std::mutex> lock(p.mutex);
  const auto admissible = [&p] { return p.closing || p.has_room(); };
  if (timeout.count() < 0) {
    p.room.wait(lock, admissible);
  } else if (!p.room.wait_for(lock, timeout, admissible)) {
    throw ContextBusy({"submit to a pool", "the queue stayed full (" + std::to_string(p.max_pending) + " requests)", "wait for results, or make the pool larger", {}, {}});
  }
  if (p.closing) throw_closed();
  return p.enqueue(std::move(request), lock);
}

Future ContextPool::try_submit(PoolRequest request) {
  Impl& p = *impl_;
  p.check(request);
  std::unique_lock<std::mutex> lock(p.mutex);
  if (p.closing) throw_closed();
  if (!p.has_room()) return {};
  return p.enqueue(std::move(request), lock);
}

// ---- dispatch ------------------------------------------------------------------------------------------------------

// A second request goes to a busy context only when no other is idle: copies overlap with runs, but runs overlap better.
bool ContextPool::Impl::may_take(const Lane& lane) const {
  if (queue.empty() || lane.free.empty()) return false;
  return std::none_of(lanes.begin(), lanes.end(), [&](const Lane& other) { return other.load < lane.load; });
}

void ContextPool::Impl::dispatch(Lane& lane) {
  for (;;) {
    LaneSlot* slot = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex);
      work.wait(lock, [&] { return closing || may_take(lane); });
      if (closing) return;
      slot = lane.free.back();
      lane.free.pop_back();
      slot->job = std::move(queue.front());
      queue.pop_front();
      ++lane.load;
      ++taken;
      if (!queue.empty()) work.notify_all();  // others may take now
    }
    room.notify_one();
    try {
      slot->failure = Status();
      run(lane, *slot);
    } catch (...) {
      slot->failure = Status::current();
      try {
        slot->done->record(lane.stream->ref());  // copies that were submitted before the failure still use the slot
      } catch (const Error&) {
        // The event keeps its earlier, finished state: the CUDA context is lost anyway.
      }
    }
    {
      const std::lock_guard<std::mutex> lock(mutex);
      launched.push_back(slot);
    }
    flying.notify_one();
  }
}

namespace {

// Grows, never shrinks: requests of one pool are alike.
DeviceBuffer& device_slot(LaneSlot& slot, const std::shared_ptr<Stream>& stream, std::size_t at, std::size_t nbytes) {
  if (!slot.device[at] || slot.device[at]->nbytes() < nbytes) {
    slot.device[at].reset();
    slot.device[at] = std::make_shared<DeviceBuffer>(stream, nbytes);
  }
  return *slot.device[at];
}

PinnedBuffer& pinned_slot(LaneSlot& slot, const Device& device, std::size_t at, std::size_t nbytes) {
  if (!slot.staging[at] || slot.staging[at]->nbytes() < nbytes) {
    slot.staging[at].reset();
    slot.staging[at] = std::make_unique<PinnedBuffer>(device, nbytes);
  }
  return *slot.staging[at];
}

}  // namespace

void ContextPool::Impl::stage_inputs(Lane& lane, LaneSlot& slot, std::vector<TensorView>& views) {
  const std::vector<int>& in = engine->inputs();
  for (std::size_t i = 0; i < in.size(); ++i) {
    const auto at = static_cast<std::size_t>(in[i]);
    const TensorInfo& info = engine->tensors()[at];
    TensorView view = slot.job.request.inputs[i];
    if (view.location == TensorLocation::host && info.location == TensorLocation::device) {
      const std::size_t nbytes = info.bytes_for(view.shape);
      const void* source = view.data;
      if (nbytes != 0 && !pointer_info(view.data).pinned) {
        PinnedBuffer& staged = pinned_slot(slot, engine->device(), at, nbytes);
        std::copy_n(static_cast<const std::byte*>(view.data), nbytes, static_cast<std::byte*>(staged.data()));
        source = staged.data();
      }
      DeviceBuffer& buffer = device_slot(slot, lane.stream, at, nbytes);
      copy_async(engine->device(), buffer.data(), source, nbytes, lane.stream->ref());
      view.data = buffer.data();
      view.nbytes = buffer.nbytes();
      view.location = TensorLocation::device;
      view.device = engine->device().ordinal();
    }
    views.push_back(view);
  }
}

void ContextPool::Impl::place_outputs(Lane& lane, LaneSlot& slot, std::vector<TensorView>& views) {
  const std::vector<int>& out = engine->outputs();
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto at = static_cast<std::size_t>(out[i]);
    const TensorInfo& info = engine->tensors()[at];
    TensorView view = slot.job.request.outputs.empty() ? TensorView{} : slot.job.request.outputs[i];
    const bool callers_own = view.data != nullptr && view.location == info.location;
    if (!callers_own) {
      view = TensorView{};
      view.dtype = info.dtype;
      view.location = info.location;
      if (!info.is_data_dependent) {
        view.shape = lane.context->shape(out[i]);
        view.nbytes = std::max<std::size_t>(info.bytes_for(view.shape), 1);
        view.data = info.location == TensorLocation::device ? device_slot(slot, lane.stream, at, view.nbytes).data()
                                                            : pinned_slot(slot, engine->device(), at, view.nbytes).data();
      }
    }
    views.push_back(view);
  }
}

void ContextPool::Impl::collect_outputs(Lane& lane, LaneSlot& slot) {
  const std::vector<int>& out = engine->outputs();
  const PoolRequest& request = slot.job.request;
  slot.outputs.resize(out.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto at = static_cast<std::size_t>(out[i]);
    PoolOutput& result = slot.outputs[i];
    result.view = lane.context->output(out[i]);
    const bool made_here = slot.device[at] && slot.device[at]->data() == result.view.data;
    const TensorView wanted = request.outputs.empty() ? TensorView{} : request.outputs[i];
    const bool to_callers_host = wanted.data != nullptr && wanted.location == TensorLocation::host;
    const std::size_t nbytes = result.view.nbytes;
    if (engine->tensors()[at].location == TensorLocation::host) {
      if (wanted.data == nullptr && slot.staging[at]) result.pinned = std::move(slot.staging[at]);
    } else if (to_callers_host || (wanted.data == nullptr && request.outputs_to_host)) {
      if (to_callers_host) {
        const std::size_t room_there = wanted.nbytes != 0 ? wanted.nbytes : linear_bytes(wanted.dtype, wanted.shape);
        if (room_there < nbytes) {
          throw BindingError({"copy an output to the host", "\"" + engine->tensors()[at].name + "\" has " + std::to_string(nbytes) + " bytes, the array has " + std::to_string(room_there),
                              "pass a larger array, or let the pool make it", {}, {}});
        }
      }
      void* target = wanted.data;
      if (!to_callers_host) {
        result.pinned = pinned->take(nbytes);
        target = result.pinned->data();
      } else if (result.view.location == TensorLocation::device && nbytes != 0 && !pointer_info(target).pinned) {
        target = pinned_slot(slot, engine->device(), at, nbytes).data();
        slot.copies.push_back({wanted.data, target, nbytes});
      }
      copy_async(engine->device(), target, result.view.data, nbytes, lane.stream->ref());
      result.view.data = to_callers_host ? wanted.data : target;
      result.view.location = TensorLocation::host;
    } else if (made_here) {
      result.device = std::move(slot.device[at]);  // the caller's now; the slot gets another
      slot.device[at].reset();
    } else if (wanted.data == nullptr && result.view.location == TensorLocation::device) {
      result.device = lane.context->take_output(out[i]);
    }
  }
}

void ContextPool::Impl::run(Lane& lane, LaneSlot& slot) {
  slot.outputs.clear();
  slot.copies.clear();
  if (slot.job.producer_ready) lane.stream->wait(*slot.job.producer_ready);
  std::vector<TensorView> inputs, outputs;
  stage_inputs(lane, slot, inputs);
  for (std::size_t i = 0; i < inputs.size(); ++i) {  // shapes first: the outputs' sizes come from them
    const int tensor = engine->inputs()[i];
    if (engine->tensors()[static_cast<std::size_t>(tensor)].location == TensorLocation::host) {
      lane.context->bind(tensor, inputs[i]);
    } else {
      lane.context->set_shape(tensor, inputs[i].shape);
    }
  }
  place_outputs(lane, slot, outputs);
  lane.context->bind_all(inputs, outputs);
  lane.context->enqueue(lane.stream->ref());
  collect_outputs(lane, slot);
  slot.done->record(lane.stream->ref());
}

// ---- completion ----------------------------------------------------------------------------------------------------

void ContextPool::Impl::retire(LaneSlot& slot) {
  for (const LaneSlot::CopyBack& copy : slot.copies) {
    if (slot.failure.ok()) std::copy_n(static_cast<const std::byte*>(copy.source), copy.nbytes, static_cast<std::byte*>(copy.destination));
  }
  Job job = std::move(slot.job);
  std::vector<PoolOutput> outputs = std::move(slot.outputs);
  Status failure = std::move(slot.failure);
  slot.job = Job{};
  slot.outputs.clear();
  slot.copies.clear();
  slot.failure = Status();
  {
    const std::lock_guard<std::mutex> lock(mutex);
    Lane& lane = lanes[slot.lane];
    lane.free.push_back(&slot);
    --lane.load;
    ++(failure.ok() ? completed : failed);
  }
  work.notify_all();
  room.notify_one();
  job.request.keep_alive.reset();
  if (!failure.ok()) outputs.clear();
  job.state->finish(std::move(outputs), std::move(failure));
  {
    const std::lock_guard<std::mutex> lock(mutex);
    --taken;
  }
  idle.notify_all();
}

namespace {

/// True when the GPU is done with a slot; a run that failed there becomes the request's error.
bool landed(LaneSlot& slot) noexcept {
  try {
    return slot.done->done();
  } catch (...) {
    if (slot.failure.ok()) slot.failure = Status::current();
    return true;
  }
}

}  // namespace

void ContextPool::Impl::poll() {
  using clock = std::chrono::steady_clock;
  constexpr auto patience = std::chrono::microseconds(500);  // spin this long without a completion, then sleep in between
  constexpr auto nap = std::chrono::microseconds(50);
  clock::time_point last = clock::now();
  std::vector<LaneSlot*> watched;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex);
      if (watched.empty() && launched.empty()) {
        flying.wait(lock, [this] { return stop_poller || !launched.empty(); });
        if (launched.empty()) return;
        last = clock::now();
      }
      watched.insert(watched.end(), launched.begin(), launched.end());
      launched.clear();
    }
    bool any = false;
    for (std::size_t i = 0; i < watched.size();) {
      if (!landed(*watched[i])) {
        ++i;
        continue;
      }
      LaneSlot* slot = watched[i];
      watched.erase(watched.begin() + static_cast<std::ptrdiff_t>(i));  // keeps the order of submission
      retire(*slot);
      any = true;
    }
    if (any) {
      last = clock::now();
    } else if (!options.spin || clock::now() - last > patience) {
      std::this_thread::sleep_for(nap);
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace cuready
