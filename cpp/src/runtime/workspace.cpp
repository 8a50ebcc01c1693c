// Activation memory that contexts can share.
#include "runtime/context_impl.hpp"

namespace cuready {

Workspace::Workspace(const Device& device, std::size_t nbytes) : impl_(new Impl(device)) {
  if (nbytes != 0) reserve(nbytes);
}
Workspace::~Workspace() = default;

void* Workspace::data() const noexcept { return impl_->memory ? impl_->memory->data() : nullptr; }
std::size_t Workspace::nbytes() const noexcept { return impl_->memory ? impl_->memory->nbytes() : 0; }
std::uint64_t Workspace::generation() const noexcept { return impl_->generation; }

void Workspace::reserve(std::size_t nbytes) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  if (impl_->memory && impl_->memory->nbytes() >= nbytes) return;
  if (impl_->used) stream_synchronize(impl_->device, impl_->last_stream);
  impl_->used = false;
  impl_->memory.reset();  // before the larger piece is asked for: both may not fit
  impl_->memory = std::make_unique<DeviceBuffer>(impl_->device, nbytes);
  ++impl_->generation;
}

}  // namespace cuready
