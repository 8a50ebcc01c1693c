// Activation memory that contexts can share.
#include "runtime/context_impl.hpp"

namespace cuready {

Workspace::Workspace(const Device& device, std::size_t nbytes) : impl_(new Impl(device)) {
  if (nbytes != 0) reserve(nbytes);
}
Workspace::~Workspace() = default;

// Contexts of several threads may share the memory, and any of them may replace it.
void* Workspace::data() const noexcept { return impl_->now().data; }
std::size_t Workspace::nbytes() const noexcept { return impl_->now().nbytes; }
std::uint64_t Workspace::generation() const noexcept { return impl_->now().generation; }

Workspace::Impl::Piece Workspace::Impl::now() {
  const std::lock_guard<std::mutex> lock(mutex);
  return now_locked();
}

Workspace::Impl::Piece Workspace::Impl::now_locked() const noexcept {
  return {memory ? memory->data() : nullptr, memory ? memory->nbytes() : 0, generation};
}

std::uint64_t Workspace::Impl::uses_now() {
  const std::lock_guard<std::mutex> lock(mutex);
  return uses;
}

void Workspace::Impl::forget(StreamRef stream, std::uint64_t uses_then) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (uses == uses_then && last_stream == stream) used = false;
}

void Workspace::Impl::follow(StreamRef stream, StreamRef later) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (last_stream == stream) last_stream = later;
}

void Workspace::reserve(std::size_t nbytes) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  if (impl_->memory && impl_->memory->nbytes() >= nbytes) return;
  if (impl_->used) stream_synchronize(impl_->device, impl_->last_stream);
  impl_->used = false;
  ++impl_->generation;    // also where there is no memory for the larger piece: the old one is gone for all
  impl_->memory.reset();  // before the larger piece is asked for: both may not fit
  impl_->memory = std::make_unique<DeviceBuffer>(impl_->device, nbytes);
}

}  // namespace cuready
