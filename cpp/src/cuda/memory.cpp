// Device buffers, pinned buffers, the staging ring, copies.
#include <cstring>
#include <vector>

#include "cuda/context.hpp"
#include "cuda/error.hpp"
#include "cuready/device.hpp"

namespace cuready {

using cuda::check;
using cuda::CUdeviceptr;
using cuda::CurrentGuard;
using cuda::discard;
using cuda::ThrowingGuard;

namespace {

CUdeviceptr address(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }

void check_range(std::size_t offset, std::size_t nbytes, std::size_t capacity, const char* operation) {
  if (offset > capacity || nbytes > capacity - offset) {
    throw InvalidArgument({operation, std::to_string(nbytes) + " bytes at offset " + std::to_string(offset) +
                                          " of a buffer of " + std::to_string(capacity)});
  }
}

}  // namespace

struct DeviceBuffer::Impl {
  Device device;
  std::shared_ptr<Stream>
      stream;  // set when the memory was allocated in a stream's order: it is freed in that order too
  CUdeviceptr data = 0;
  std::size_t nbytes = 0;
  bool owned = false;
  std::shared_ptr<void> owner;

  ~Impl() {
    if (!owned || data == 0) return;
    const CurrentGuard guard(*device.primary());
    const cuda::Table& t = device.primary()->table();
    if (stream) {
      discard(t.cuMemFreeAsync(data, stream->handle()));
    } else {
      discard(t.cuMemFree(data));
    }
  }
};

DeviceBuffer::DeviceBuffer(const Device& device, std::size_t nbytes)
    : impl_(new Impl{device, {}, 0, nbytes, false, {}}) {
  const ThrowingGuard guard(*device.primary());
  const std::size_t size = nbytes != 0 ? nbytes : 1;  // an empty tensor still needs an address that TensorRT accepts
  check(device.primary()->table().cuMemAlloc(&impl_->data, size), "cuMemAlloc_v2", "allocate device memory", size);
  impl_->owned = true;
}

DeviceBuffer::DeviceBuffer(const std::shared_ptr<Stream>& stream, std::size_t nbytes)
    : impl_(new Impl{stream->device(), {}, 0, nbytes, false, {}}) {
  const cuda::PrimaryContext& primary = *impl_->device.primary();
  const ThrowingGuard guard(primary);
  const std::size_t size = nbytes != 0 ? nbytes : 1;
  if (primary.memory_pools()) {
    check(primary.table().cuMemAllocAsync(&impl_->data, size, stream->handle()), "cuMemAllocAsync",
          "allocate device memory", size);
    impl_->stream = stream;
  } else {
    check(primary.table().cuMemAlloc(&impl_->data, size), "cuMemAlloc_v2", "allocate device memory", size);
  }
  impl_->owned = true;
}

DeviceBuffer::DeviceBuffer(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
DeviceBuffer::~DeviceBuffer() = default;

std::shared_ptr<DeviceBuffer> DeviceBuffer::from_external(const Device& device, void* data, std::size_t nbytes,
                                                          std::shared_ptr<void> owner) {
  return std::shared_ptr<DeviceBuffer>(
      new DeviceBuffer(std::unique_ptr<Impl>(new Impl{device, {}, address(data), nbytes, false, std::move(owner)})));
}

void* DeviceBuffer::data() const noexcept { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(impl_->data)); }
std::size_t DeviceBuffer::nbytes() const noexcept { return impl_->nbytes; }
const Device& DeviceBuffer::device() const noexcept { return impl_->device; }

void DeviceBuffer::copy_from_host(const void* host, std::size_t nbytes, StreamRef stream, std::size_t offset) {
  check_range(offset, nbytes, impl_->nbytes, "copy to a device buffer");
  copy_to_device_async(impl_->device, static_cast<char*>(data()) + offset, host, nbytes, stream);
}

void DeviceBuffer::copy_to_host(void* host, std::size_t nbytes, StreamRef stream, std::size_t offset) const {
  check_range(offset, nbytes, impl_->nbytes, "copy from a device buffer");
  copy_to_host_async(impl_->device, host, static_cast<const char*>(data()) + offset, nbytes, stream);
}

void DeviceBuffer::copy_from_device(const void* device, std::size_t nbytes, StreamRef stream, std::size_t offset) {
  check_range(offset, nbytes, impl_->nbytes, "copy to a device buffer");
  copy_async(impl_->device, static_cast<char*>(data()) + offset, device, nbytes, stream);
}

void DeviceBuffer::fill(unsigned char value, StreamRef stream) {
  if (impl_->nbytes == 0) return;
  const ThrowingGuard guard(*impl_->device.primary());
  check(impl_->device.primary()->table().cuMemsetD8Async(impl_->data, value, impl_->nbytes, stream.handle),
        "cuMemsetD8Async", "fill a device buffer");
}

void DeviceBuffer::free_after(StreamRef other) {
  if (!impl_->stream || impl_->stream->ref() == other) return;
  const ThrowingGuard guard(*impl_->device.primary());
  if (impl_->device.primary()->order(impl_->stream->handle(), other.handle) == cuda::success) return;
  stream_synchronize(impl_->device, other);  // one of another GPU: our events are not recorded on it
}

struct PinnedBuffer::Impl {
  Device device;
  void* data = nullptr;
  std::size_t nbytes = 0;

  ~Impl() {
    if (data == nullptr) return;
    const CurrentGuard guard(*device.primary());
    discard(device.primary()->table().cuMemFreeHost(data));
  }
};

PinnedBuffer::PinnedBuffer(const Device& device, std::size_t nbytes) : impl_(new Impl{device, nullptr, nbytes}) {
  constexpr unsigned portable = 1;  // CU_MEMHOSTALLOC_PORTABLE: pinned for every context
  const ThrowingGuard guard(*device.primary());
  const std::size_t size = nbytes != 0 ? nbytes : 1;
  check(device.primary()->table().cuMemHostAlloc(&impl_->data, size, portable), "cuMemHostAlloc",
        "allocate pinned host memory", size);
}

PinnedBuffer::~PinnedBuffer() = default;
void* PinnedBuffer::data() const noexcept { return impl_->data; }
std::size_t PinnedBuffer::nbytes() const noexcept { return impl_->nbytes; }
const Device& PinnedBuffer::device() const noexcept { return impl_->device; }

struct StagingRing::Impl {
  struct Slot {
    std::unique_ptr<PinnedBuffer> memory;
    std::unique_ptr<Event> used;
    bool recorded = false;
  };
  Device device;
  std::vector<Slot> slots;
  std::size_t next = 0, current = 0;
};

StagingRing::StagingRing(const Device& device, int depth, std::size_t initial_bytes)
    : impl_(new Impl{device, {}, 0, 0}) {
  if (depth < 1)
    throw InvalidArgument(
        {"create a staging ring", "a depth of " + std::to_string(depth), "at least 1 slot is needed"});
  impl_->slots.resize(static_cast<std::size_t>(depth));
  for (Impl::Slot& slot : impl_->slots) {
    slot.used = std::make_unique<Event>(device);
    if (initial_bytes != 0) slot.memory = std::make_unique<PinnedBuffer>(device, initial_bytes);
  }
}

StagingRing::~StagingRing() {
  for (Impl::Slot& slot : impl_->slots) {
    if (!slot.recorded) continue;
    try {
      slot.used->synchronize();  // a copy may still read the slot
    } catch (const Error&) {
      // The context is lost: nothing reads it any more.
    }
  }
}

int StagingRing::depth() const noexcept { return static_cast<int>(impl_->slots.size()); }

void* StagingRing::acquire(std::size_t nbytes) {
  Impl::Slot& slot = impl_->slots[impl_->next];
  if (slot.recorded) {
    slot.used->synchronize();
    slot.recorded = false;
  }
  if (!slot.memory || slot.memory->nbytes() < nbytes) {
    slot.memory.reset();  // first give back, then ask for more
    slot.memory = std::make_unique<PinnedBuffer>(impl_->device, nbytes);
  }
  impl_->current = impl_->next;
  impl_->next = (impl_->next + 1) % impl_->slots.size();
  return slot.memory->data();
}

void StagingRing::release(StreamRef stream) {
  Impl::Slot& slot = impl_->slots[impl_->current];
  slot.used->record(stream);
  slot.recorded = true;
}

void StagingRing::upload(void* device, const void* host, std::size_t nbytes, StreamRef stream) {
  if (nbytes == 0) return;
  void* staged = acquire(nbytes);
  std::memcpy(staged, host, nbytes);
  copy_to_device_async(impl_->device, device, staged, nbytes, stream);
  release(stream);
}

void copy_async(const Device& device, void* destination, const void* source, std::size_t nbytes, StreamRef stream) {
  if (nbytes == 0) return;
  const ThrowingGuard guard(*device.primary());
  check(device.primary()->table().cuMemcpyAsync(address(destination), address(source), nbytes, stream.handle),
        "cuMemcpyAsync", "copy");
}

void copy_to_device_async(const Device& device, void* destination, const void* host, std::size_t nbytes,
                          StreamRef stream) {
  if (nbytes == 0) return;
  const ThrowingGuard guard(*device.primary());
  check(device.primary()->table().cuMemcpyHtoDAsync(address(destination), host, nbytes, stream.handle),
        "cuMemcpyHtoDAsync_v2", "copy to a GPU");
}

void copy_to_host_async(const Device& device, void* host, const void* source, std::size_t nbytes, StreamRef stream) {
  if (nbytes == 0) return;
  const ThrowingGuard guard(*device.primary());
  check(device.primary()->table().cuMemcpyDtoHAsync(host, address(source), nbytes, stream.handle),
        "cuMemcpyDtoHAsync_v2", "copy from a GPU");
}

PointerInfo pointer_info(const void* pointer) {
  // CUpointer_attribute: memory type 2, managed 8, device ordinal 9; CUmemorytype: host 1, device 2, unified 4.
  constexpr int memory_type = 2, is_managed = 8, device_ordinal = 9;
  PointerInfo info;
  const cuda::Table& t = cuda::driver();
  unsigned type = 0;
  // The driver answers "invalid value" for memory that it has never heard of: that is pageable host memory.
  if (t.cuPointerGetAttribute(&type, memory_type, address(pointer)) != cuda::success || type == 0) return info;
  unsigned managed = 0;
  if (t.cuPointerGetAttribute(&managed, is_managed, address(pointer)) == cuda::success)
    info.managed = (managed & 0xff) != 0;
  if (type == 1 && !info.managed) {
    info.pinned = true;
    return info;
  }
  info.location = TensorLocation::device;
  int ordinal = -1;
  if (t.cuPointerGetAttribute(&ordinal, device_ordinal, address(pointer)) == cuda::success) info.device = ordinal;
  return info;
}

}  // namespace cuready
