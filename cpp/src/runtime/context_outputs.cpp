// The memory that a context allocates itself: fixed outputs, and data-dependent ones in the middle of a run.
#include <algorithm>

#include "runtime/context_impl.hpp"

namespace cuready {

// Ordered on a stream of the context's own, so that freeing never blocks; the stream that uses the memory waits for it.
std::shared_ptr<DeviceBuffer> ExecutionContext::Impl::allocate(std::size_t nbytes, StreamRef for_stream) {
  if (!memory_stream) memory_stream = std::make_shared<Stream>(engine->device());
  auto buffer = std::make_shared<DeviceBuffer>(memory_stream, nbytes);
  stream_wait(engine->device(), for_stream, memory_stream->ref());
  has_run = true;
  return buffer;
}

void ExecutionContext::Impl::ensure_own_buffer(int tensor, std::size_t nbytes, StreamRef stream) {
  TensorState& state = tensors[static_cast<std::size_t>(tensor)];
  if (!state.buffer || state.buffer->nbytes() < nbytes) {
    // The old memory is freed in the order of memory_stream, which therefore waits for the runs that write it.
    if (state.buffer && has_run && memory_stream) memory_stream->wait(last_stream);
    state.buffer.reset();
    state.buffer = allocate(nbytes, stream);
  }
  if (state.address != state.buffer->data()) {
    state.address = state.buffer->data();
    state.address_dirty = addresses_changed = true;
  }
  state.nbytes = state.buffer->nbytes();
}

void* DynamicOutput::reallocate(const char*, std::uint64_t size, std::uint64_t, void* stream) noexcept {
  // cuMemAlloc's and the pool's memory is aligned to 256 bytes and more, which is all that TensorRT asks for.
  try {
    TensorState& state = context_.tensors[static_cast<std::size_t>(tensor_)];
    const std::size_t wanted = std::max<std::size_t>(static_cast<std::size_t>(size), 1);
    const StreamRef on = stream != nullptr ? StreamRef(stream) : context_.last_stream;
    if (!state.own) {
      if (state.nbytes >= size) return state.address;
      throw BindingError(
          {"write the output \"" + context_.info(tensor_).name + "\"",
           "it needs " + std::to_string(size) + " bytes, the buffer that is bound has " + std::to_string(state.nbytes),
           "let the context allocate it: the size of this output depends on the data"});
    }
    context_.ensure_own_buffer(tensor_, wanted, on);
    return state.address;
  } catch (...) {
    if (!context_.callback_error) context_.callback_error = std::current_exception();
    return nullptr;
  }
}

void DynamicOutput::notify_shape(const char*, const Dims& now) noexcept { shape = now; }

OutputView ExecutionContext::output(int tensor) {
  const BusyGuard busy(*impl_);
  const TensorInfo& info = impl_->info(tensor);
  if (info.mode != TensorMode::output) throw BindingError({"look at an output", "\"" + info.name + "\" is an input"});
  const TensorState& state = impl_->tensors[static_cast<std::size_t>(tensor)];
  OutputView view;
  view.dtype = info.dtype;
  view.location = info.location;
  view.data = impl_->effective_address(tensor);
  view.shape = impl_->dynamic[static_cast<std::size_t>(tensor)]
                   ? impl_->dynamic[static_cast<std::size_t>(tensor)]->shape
                   : state.shape;
  if (!view.shape.is_dynamic()) view.nbytes = info.bytes_for(view.shape);
  return view;
}

std::shared_ptr<DeviceBuffer> ExecutionContext::take_output(int tensor) {
  const BusyGuard busy(*impl_);
  const TensorInfo& info = impl_->info(tensor);
  TensorState& state = impl_->tensors[static_cast<std::size_t>(tensor)];
  if (!state.own || !state.buffer) {
    throw BindingError({"take an output", "\"" + info.name + "\" has no buffer of the context's own",
                        "allocate_output() gives it one"});
  }
  // Whenever the buffer is freed, that is ordered after the run that wrote it.
  if (impl_->has_run && impl_->memory_stream) impl_->memory_stream->wait(impl_->last_stream);
  std::shared_ptr<DeviceBuffer> taken = std::move(state.buffer);
  state.buffer.reset();
  state.address = nullptr;
  state.nbytes = unchecked;
  state.address_dirty = impl_->addresses_changed = impl_->special = true;
  return taken;
}

}  // namespace cuready
