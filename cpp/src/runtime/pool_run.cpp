// The dispatchers and the poller of a pool: from the queue to the GPU, and from the GPU to the futures.
#include <algorithm>
#include <chrono>

#include "runtime/context_impl.hpp"
#include "runtime/pool_impl.hpp"

namespace cuready {

// ---- dispatch ------------------------------------------------------------------------------------------------------

// A second request goes to a busy context only when no other is idle: copies overlap with runs, but runs overlap
// better. With the mutex held.
Lane* ContextPool::Impl::best_lane(bool even_called) {
  Lane* best = nullptr;
  for (Lane& lane : lanes) {
    if (lane.free.empty() || lane.launching || (lane.called && !even_called)) continue;
    if (best == nullptr || lane.load < best->load) best = &lane;
  }
  return best;
}

/// As many dispatchers as there are requests that wait, and lanes that can take one. With the mutex held, after every
/// change to either.
void ContextPool::Impl::call_dispatchers() {
  std::size_t called = 0;
  for (const Lane& lane : lanes) called += lane.called ? 1U : 0U;
  for (; called < queue.size(); ++called) {
    Lane* lane = best_lane(false);
    if (lane == nullptr) return;
    lane->called = true;
    lane->work.notify_one();
  }
}

/// The next request into a free slot of the lane; null when there is none. With the mutex held.
LaneSlot* ContextPool::Impl::take(Lane& lane) {
  if (queue.empty() || lane.free.empty() || lane.launching) return nullptr;
  LaneSlot* slot = lane.free.back();
  lane.free.pop_back();
  slot->job = std::move(queue.front());
  queue.pop_front();
  lane.launching = true;
  ++lane.load;
  ++taken;
  return slot;
}

void ContextPool::Impl::dispatch(Lane& lane) {
  const AtWork at_work(this);
  const cuda::CurrentGuard current(*engine->device().primary());  // once, instead of in every call
  std::unique_lock<std::mutex> lock(mutex);
  for (;;) {
    lane.work.wait(lock, [&] { return closing || lane.called; });
    if (closing) return;
    lane.called = false;
    LaneSlot* slot = take(lane);
    if (slot == nullptr) {  // a waiting thread was faster
      call_dispatchers();
      continue;
    }
    lock.unlock();
    room.notify_one();
    launch(lane, *slot);
    lock.lock();
    lane.launching = false;
    launched.push_back(slot);
    call_dispatchers();
    flying.notify_one();
  }
}

void ContextPool::Impl::launch(Lane& lane, LaneSlot& slot) {
  try {
    slot.failure = Status();
    const auto begin = std::chrono::steady_clock::now();
    run(lane, slot);
    last_launch = std::chrono::steady_clock::now() - begin;
  } catch (...) {
    slot.failure = Status::current();
    try {
      slot.done->record(lane.stream->ref());  // copies that were submitted before the failure still use the slot
    } catch (const Error&) {
      slot.lost = true;
    }
  }
}

// Only the request at the head of the queue, so that requests run in the order in which they were submitted. Null when
// this thread cannot, or not soon; else the caller settles `helping`.
LaneSlot* ContextPool::Impl::launch_here(const Future::State& wanted, bool only_idle) {
  Lane* lane = nullptr;
  LaneSlot* slot = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (closing || queue.empty() || queue.front().state.get() != &wanted) return nullptr;
    lane = best_lane(true);
    if (lane == nullptr || (only_idle && lane->load != 0)) return nullptr;
    slot = take(*lane);
    ++helping;
  }
  const cuda::CurrentGuard current(*engine->device().primary());
  room.notify_one();
  launch(*lane, *slot);
  const std::lock_guard<std::mutex> lock(mutex);
  lane->launching = false;
  if (!queue.empty()) call_dispatchers();
  return slot;
}

void ContextPool::Impl::help(const Future::State& wanted, const Deadline* deadline) {
  LaneSlot* slot = launch_here(wanted, false);
  if (slot == nullptr) return;
  const bool landed = options.spin && wait_for_gpu(*slot, deadline);
  if (landed) {
    const AtWork at_work(this);
    retire(*slot);
  }
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!landed) launched.push_back(slot);
    --helping;
  }
  if (!landed) flying.notify_one();
  idle.notify_all();
}

bool ContextPool::Impl::start(const Future::State& wanted) {
  if (last_launch.load() > quick_launch) return false;
  LaneSlot* slot = launch_here(wanted, true);
  if (slot == nullptr) return false;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    launched.push_back(slot);
    --helping;
  }
  flying.notify_one();
  idle.notify_all();
  return true;
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
      copy_to_device_async(engine->device(), buffer.data(), source, nbytes, lane.stream->ref());
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
        view.data = info.location == TensorLocation::device
                        ? device_slot(slot, lane.stream, at, view.nbytes).data()
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
          throw BindingError({"copy an output to the host",
                              "\"" + engine->tensors()[at].name + "\" has " + std::to_string(nbytes) +
                                  " bytes, the array has " + std::to_string(room_there),
                              "pass a larger array, or let the pool make it"});
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
      if (result.view.location == TensorLocation::device) {
        copy_to_host_async(engine->device(), target, result.view.data, nbytes, lane.stream->ref());
      } else {
        copy_async(engine->device(), target, result.view.data, nbytes, lane.stream->ref());
      }
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
    if (slot.failure.ok())
      std::copy_n(static_cast<const std::byte*>(copy.source), copy.nbytes, static_cast<std::byte*>(copy.destination));
  }
  if (slot.lost) {
    for (std::unique_ptr<PinnedBuffer>& staging : slot.staging) {
      if (staging) slot.abandoned.push_back(std::move(staging));
    }
    slot.lost = false;
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
    call_dispatchers();
  }
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

/// In a catch block: the GPU no longer says what it does.
void lose(LaneSlot& slot) noexcept {
  slot.lost = true;
  if (slot.failure.ok()) slot.failure = Status::current();
}

/// True when the GPU is done with a slot; a run that failed there becomes the request's error.
bool landed(LaneSlot& slot) noexcept {
  try {
    return slot.done->done();
  } catch (...) {
    lose(slot);
    return true;
  }
}

}  // namespace

/// For a thread that has nothing else to do; false when the time is over first.
bool ContextPool::Impl::wait_for_gpu(LaneSlot& slot, const Deadline* deadline) const {
  if (deadline == nullptr) {
    try {
      slot.done->synchronize();
    } catch (...) {
      lose(slot);
    }
    return true;
  }
  while (!landed(slot)) {
    if (std::chrono::steady_clock::now() >= *deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

void ContextPool::Impl::poll() {
  const AtWork at_work(this);
  const cuda::CurrentGuard current(*engine->device().primary());
  using clock = std::chrono::steady_clock;
  constexpr auto patience =
      std::chrono::microseconds(500);  // spin this long without a completion, then sleep in between
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
