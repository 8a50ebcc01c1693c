// A GPU and what lives on it: streams, events, buffers. Everything uses the device's primary context and keeps it
// alive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cuready/driver.hpp"
#include "cuready/types.hpp"

namespace cuready {

namespace cuda {
class PrimaryContext;
}

/// A device with its primary context retained. Cheap to copy; the context is released with the last copy.
class CUREADY_API Device {
 public:
  /// Retains the primary context. Throws DriverNotFound, InvalidArgument (no such ordinal), CudaError.
  explicit Device(int ordinal = 0);
  int ordinal() const noexcept;
  DeviceReport report() const;
  MemoryInfo memory() const;
  /// Blocks the calling thread until everything submitted to the device by this process is done.
  void synchronize() const;
  /// The CUcontext.
  void* context() const noexcept;
  const std::shared_ptr<cuda::PrimaryContext>& primary() const noexcept { return primary_; }
  friend bool operator==(const Device& a, const Device& b) noexcept { return a.ordinal() == b.ordinal(); }

 private:
  std::shared_ptr<cuda::PrimaryContext> primary_;
};

/// True in a process that was forked from one in which CUDA was in use. CUDA does not work there, and every call says
/// so with CudaContextError; objects that were made before the fork can be destroyed.
CUREADY_API bool in_forked_process() noexcept;

/// Makes the device's primary context current for a scope, and puts back what was there. Does nothing when it is
/// current already.
class CUREADY_API DeviceGuard {
 public:
  explicit DeviceGuard(const Device& device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  void* previous_ = nullptr;
  bool switched_ = false;
};

class Event;

/// A CUDA stream. Non-blocking by default: it has no implicit order with the legacy default stream.
class CUREADY_API Stream {
 public:
  explicit Stream(const Device& device, int priority = 0, bool non_blocking = true);
  /// Wraps a stream that somebody else owns; `owner` is kept alive with it.
  static std::shared_ptr<Stream> from_external(const Device& device, void* handle, std::shared_ptr<void> owner = {});
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  StreamRef ref() const noexcept;
  operator StreamRef() const noexcept { return ref(); }  // NOLINT: a stream is usable wherever a view of one is
  void* handle() const noexcept { return ref().handle; }
  const Device& device() const noexcept;
  /// Later work of this stream waits for the event, or for what the other stream holds now. Does not block the host.
  void wait(const Event& event);
  void wait(StreamRef other);
  /// Blocks the calling thread until everything submitted so far is done.
  void synchronize();
  /// True when everything submitted so far is done.
  bool done();

 private:
  struct Impl;
  Stream(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// A CUDA event. `timing` events can be subtracted; `blocking` ones let the waiting thread sleep instead of spin.
class CUREADY_API Event {
 public:
  explicit Event(const Device& device, bool timing = false, bool blocking = false);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(StreamRef stream);
  void synchronize();
  bool done();
  /// Milliseconds from `start` to this event; both need timing and must have completed.
  float milliseconds_since(const Event& start) const;
  void* handle() const noexcept;
  const Device& device() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Device memory. With a stream it is allocated and freed in that stream's order from the device's memory pool, where
/// it has one.
class CUREADY_API DeviceBuffer {
 public:
  DeviceBuffer(const Device& device, std::size_t nbytes);
  DeviceBuffer(const std::shared_ptr<Stream>& stream, std::size_t nbytes);
  /// Memory that somebody else owns; `owner` is kept alive with it.
  static std::shared_ptr<DeviceBuffer> from_external(const Device& device, void* data, std::size_t nbytes,
                                                     std::shared_ptr<void> owner);
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  void* data() const noexcept;  ///< never null, also when nbytes() is 0 (a placeholder byte)
  std::size_t nbytes() const noexcept;
  const Device& device() const noexcept;
  /// Asynchronous on the stream; `host` must stay valid until it is done, and should be pinned.
  void copy_from_host(const void* host, std::size_t nbytes, StreamRef stream, std::size_t offset = 0);
  void copy_to_host(void* host, std::size_t nbytes, StreamRef stream, std::size_t offset = 0) const;
  void copy_from_device(const void* device, std::size_t nbytes, StreamRef stream, std::size_t offset = 0);
  void fill(unsigned char value, StreamRef stream);
  /// For memory that was allocated in a stream's order and is used on another: it is freed after what `other` holds now.
  void free_after(StreamRef other);

 private:
  struct Impl;
  DeviceBuffer(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// Page-locked host memory: copies from and to it are asynchronous.
class CUREADY_API PinnedBuffer {
 public:
  PinnedBuffer(const Device& device, std::size_t nbytes);
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  void* data() const noexcept;
  std::size_t nbytes() const noexcept;
  const Device& device() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A ring of pinned slots for staging pageable memory: a slot is reused only after the copies from it are done.
/// One thread at a time.
class CUREADY_API StagingRing {
 public:
  StagingRing(const Device& device, int depth = 2, std::size_t initial_bytes = 0);
  ~StagingRing();
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;
  int depth() const noexcept;
  /// The next slot, at least `nbytes` long; blocks until its earlier copies are done.
  void* acquire(std::size_t nbytes);
  /// Marks the slot of the last acquire() as in use until the work now in `stream` is done.
  void release(StreamRef stream);
  /// acquire(nbytes), memcpy from `host`, asynchronous copy to `device` on `stream`, release(stream).
  void upload(void* device, const void* host, std::size_t nbytes, StreamRef stream);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One stream waits for what another holds now, through an event; neither the host nor the device is synchronised.
CUREADY_API void stream_wait(const Device& device, StreamRef waiter, StreamRef producer);
CUREADY_API void stream_synchronize(const Device& device, StreamRef stream);
/// Asynchronous copy between any two addresses (the driver works out which is where).
CUREADY_API void copy_async(const Device& device, void* destination, const void* source, std::size_t nbytes,
                            StreamRef stream);
/// The same where it is known which end is host memory: the driver does not have to look that up.
CUREADY_API void copy_to_device_async(const Device& device, void* destination, const void* host, std::size_t nbytes,
                                      StreamRef stream);
CUREADY_API void copy_to_host_async(const Device& device, void* host, const void* source, std::size_t nbytes,
                                    StreamRef stream);
/// Where an address lives: {device, ordinal} for device and managed memory, {host, -1} for pinned or pageable host
/// memory.
struct PointerInfo {
  TensorLocation location = TensorLocation::host;
  int device = -1;
  bool pinned = false;
  bool managed = false;
};
CUREADY_API PointerInfo pointer_info(const void* address);

}  // namespace cuready
