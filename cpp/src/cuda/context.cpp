// Devices and their primary contexts.
#include "cuda/context.hpp"

#include <map>
#include <mutex>

#include "cuda/report.hpp"

namespace cuready {
namespace cuda {

PrimaryContext::PrimaryContext(const Table& table, int ordinal, CUdevice device, CUcontext handle)
    : table_(table), ordinal_(ordinal), device_(device), handle_(handle) {
  int pools = 0;
  memory_pools_ = table.has_memory_pools() &&
                  table.cuDeviceGetAttribute(&pools, attribute_memory_pools, device) == success && pools != 0;
}

PrimaryContext::~PrimaryContext() {
  {
    const CurrentGuard guard(*this);
    for (CUevent event : events_) discard(table_.cuEventDestroy(event));
  }
  discard(table_.cuDevicePrimaryCtxRelease(device_));
}

CUresult PrimaryContext::order(CUstream waiter, CUstream producer) noexcept {
  if (waiter == producer) return success;
  CUevent event = nullptr;
  {
    const std::lock_guard<std::mutex> lock(events_mutex_);
    if (!events_.empty()) {
      event = events_.back();
      events_.pop_back();
    }
  }
  CUresult result = event != nullptr ? success : table_.cuEventCreate(&event, event_disable_timing);
  if (result != success) return result;
  result = table_.cuEventRecord(event, producer);
  if (result == success) result = table_.cuStreamWaitEvent(waiter, event, 0);
  const std::lock_guard<std::mutex> lock(events_mutex_);
  try {
    events_.push_back(event);
  } catch (...) {
    discard(table_.cuEventDestroy(event));
  }
  return result;
}

std::shared_ptr<PrimaryContext> PrimaryContext::retain(int ordinal) {
  // Leaked on purpose: a Device may be destroyed after static objects are gone.
  static std::mutex& mutex = *new std::mutex;
  static auto& known = *new std::map<int, std::weak_ptr<PrimaryContext>>;
  const Table& t = driver();
  int count = 0;
  check(t.cuDeviceGetCount(&count), "cuDeviceGetCount", "open a device");
  if (ordinal < 0 || ordinal >= count) {
    throw InvalidArgument({"open a device",
                           "there is no GPU " + std::to_string(ordinal) + ": " + std::to_string(count) + " are visible",
                           "device numbers start at 0; CUDA_VISIBLE_DEVICES decides which are visible"});
  }
  const std::lock_guard<std::mutex> lock(mutex);
  std::weak_ptr<PrimaryContext>& slot = known[ordinal];
  if (auto existing = slot.lock()) return existing;
  CUdevice device = 0;
  check(t.cuDeviceGet(&device, ordinal), "cuDeviceGet", "open a device");
  CUcontext handle = nullptr;
  check(t.cuDevicePrimaryCtxRetain(&handle, device), "cuDevicePrimaryCtxRetain", "open a device");
  std::shared_ptr<PrimaryContext> made;
  try {
    made.reset(new PrimaryContext(t, ordinal, device, handle));
  } catch (...) {
    discard(t.cuDevicePrimaryCtxRelease(device));
    throw;
  }
  slot = made;
  return made;
}

}  // namespace cuda

Device::Device(int ordinal) : primary_(cuda::PrimaryContext::retain(ordinal)) {}
int Device::ordinal() const noexcept { return primary_->ordinal(); }
void* Device::context() const noexcept { return primary_->handle(); }
DeviceReport Device::report() const { return cuda::describe_device(primary_->table(), ordinal()); }

MemoryInfo Device::memory() const {
  const cuda::ThrowingGuard guard(*primary_);
  MemoryInfo info;
  cuda::check(primary_->table().cuMemGetInfo(&info.free, &info.total), "cuMemGetInfo_v2", "ask for free memory");
  return info;
}

void Device::synchronize() const {
  const cuda::ThrowingGuard guard(*primary_);
  cuda::check(primary_->table().cuCtxSynchronize(), "cuCtxSynchronize", "wait for a device");
}

DeviceGuard::DeviceGuard(const Device& device) {
  const cuda::Table& t = device.primary()->table();
  cuda::check(t.cuCtxGetCurrent(&previous_), "cuCtxGetCurrent", "make the device current");
  if (previous_ == device.context()) return;
  cuda::check(t.cuCtxSetCurrent(device.context()), "cuCtxSetCurrent", "make the device current");
  switched_ = true;
}

DeviceGuard::~DeviceGuard() {
  if (switched_) cuda::discard(cuda::driver_if_loaded()->cuCtxSetCurrent(previous_));
}

}  // namespace cuready
