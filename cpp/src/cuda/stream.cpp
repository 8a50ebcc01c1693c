// Streams and events.
#include "cuda/context.hpp"
#include "cuda/error.hpp"
#include "cuready/device.hpp"

namespace cuready {

using cuda::check;
using cuda::CurrentGuard;
using cuda::discard;
using cuda::ThrowingGuard;

struct Stream::Impl {
  Device device;
  void* handle = nullptr;
  bool owned = false;
  std::shared_ptr<void> owner;

  ~Impl() {
    if (!owned || handle == nullptr) return;
    const CurrentGuard guard(*device.primary());
    discard(device.primary()->table().cuStreamDestroy(handle));  // returns at once; the driver finishes what it holds
  }
};

Stream::Stream(const Device& device, int priority, bool non_blocking) : impl_(new Impl{device, nullptr, false, {}}) {
  const ThrowingGuard guard(*device.primary());
  check(device.primary()->table().cuStreamCreateWithPriority(&impl_->handle,
                                                             non_blocking ? cuda::stream_non_blocking : 0, priority),
        "cuStreamCreateWithPriority", "create a stream");
  impl_->owned = true;
}

Stream::Stream(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Stream::~Stream() = default;

std::shared_ptr<Stream> Stream::from_external(const Device& device, void* handle, std::shared_ptr<void> owner) {
  return std::shared_ptr<Stream>(new Stream(std::unique_ptr<Impl>(new Impl{device, handle, false, std::move(owner)})));
}

StreamRef Stream::ref() const noexcept { return StreamRef(impl_->handle); }
const Device& Stream::device() const noexcept { return impl_->device; }

void Stream::wait(const Event& event) {
  const ThrowingGuard guard(*impl_->device.primary());
  check(impl_->device.primary()->table().cuStreamWaitEvent(impl_->handle, event.handle(), 0), "cuStreamWaitEvent",
        "wait for an event");
}

void Stream::wait(StreamRef other) { stream_wait(impl_->device, ref(), other); }
void Stream::synchronize() { stream_synchronize(impl_->device, ref()); }

bool Stream::done() {
  const ThrowingGuard guard(*impl_->device.primary());
  const cuda::CUresult r = impl_->device.primary()->table().cuStreamQuery(impl_->handle);
  if (r == cuda::error_not_ready) return false;
  check(r, "cuStreamQuery", "look at a stream");
  return true;
}

struct Event::Impl {
  Device device;
  void* handle = nullptr;

  ~Impl() {
    if (handle == nullptr) return;
    const CurrentGuard guard(*device.primary());
    discard(device.primary()->table().cuEventDestroy(handle));
  }
};

Event::Event(const Device& device, bool timing, bool blocking) : impl_(new Impl{device, nullptr}) {
  const ThrowingGuard guard(*device.primary());
  const unsigned flags = (timing ? 0U : cuda::event_disable_timing) | (blocking ? cuda::event_blocking : 0U);
  check(device.primary()->table().cuEventCreate(&impl_->handle, flags), "cuEventCreate", "create an event");
}

Event::~Event() = default;
void* Event::handle() const noexcept { return impl_->handle; }
const Device& Event::device() const noexcept { return impl_->device; }

void Event::record(StreamRef stream) {
  const ThrowingGuard guard(*impl_->device.primary());
  check(impl_->device.primary()->table().cuEventRecord(impl_->handle, stream.handle), "cuEventRecord",
        "record an event");
}

void Event::synchronize() {
  const ThrowingGuard guard(*impl_->device.primary());
  check(impl_->device.primary()->table().cuEventSynchronize(impl_->handle), "cuEventSynchronize", "wait for an event");
}

bool Event::done() {
  const ThrowingGuard guard(*impl_->device.primary());
  const cuda::CUresult r = impl_->device.primary()->table().cuEventQuery(impl_->handle);
  if (r == cuda::error_not_ready) return false;
  check(r, "cuEventQuery", "look at an event");
  return true;
}

float Event::milliseconds_since(const Event& start) const {
  const ThrowingGuard guard(*impl_->device.primary());
  float milliseconds = 0;
  check(impl_->device.primary()->table().cuEventElapsedTime(&milliseconds, start.handle(), impl_->handle),
        "cuEventElapsedTime", "measure between events");
  return milliseconds;
}

void stream_wait(const Device& device, StreamRef waiter, StreamRef producer) {
  const ThrowingGuard guard(*device.primary());
  check(device.primary()->order(waiter.handle, producer.handle), "cuStreamWaitEvent", "order one stream after another");
}

void stream_synchronize(const Device& device, StreamRef stream) {
  const ThrowingGuard guard(*device.primary());
  check(device.primary()->table().cuStreamSynchronize(stream.handle), "cuStreamSynchronize", "wait for a stream");
}

}  // namespace cuready
