// Primary contexts: the only kind of CUDA context that is used here, because it is the one that every library shares.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "cuda/error.hpp"
#include "cuda/table.hpp"
#include "cuready/device.hpp"

namespace cuready::cuda {

/// A retained primary context; one object per device and process, released when its last owner is gone.
class PrimaryContext {
 public:
  static std::shared_ptr<PrimaryContext> retain(int ordinal);
  ~PrimaryContext();
  PrimaryContext(const PrimaryContext&) = delete;
  PrimaryContext& operator=(const PrimaryContext&) = delete;
  int ordinal() const noexcept { return ordinal_; }
  CUdevice device() const noexcept { return device_; }
  CUcontext handle() const noexcept { return handle_; }
  const Table& table() const noexcept { return table_; }
  bool memory_pools() const noexcept { return memory_pools_; }
  /// Later work of `waiter` waits for what `producer` holds now. The context must be current. Uses a cached event:
  /// cuStreamWaitEvent takes the event's state at that moment, so it can be recorded anew at once.
  CUresult order(CUstream waiter, CUstream producer) noexcept;

 private:
  PrimaryContext(const Table& table, int ordinal, CUdevice device, CUcontext handle);
  const Table& table_;
  int ordinal_;
  CUdevice device_;
  CUcontext handle_;
  bool memory_pools_ = false;
  std::mutex events_mutex_;
  std::vector<CUevent> events_;
};

/// Makes a context current for a scope without ever throwing: for destructors and for the hot path.
class CurrentGuard {
 public:
  explicit CurrentGuard(const PrimaryContext& wanted) noexcept : table_(wanted.table()) {
    CUcontext current = nullptr;
    result_ = table_.cuCtxGetCurrent(&current);
    if (__builtin_expect(result_ == success && current == wanted.handle(), 1)) return;
    if (result_ != success) return;
    previous_ = current;
    result_ = table_.cuCtxSetCurrent(wanted.handle());
    switched_ = result_ == success;
  }
  ~CurrentGuard() {
    if (__builtin_expect(switched_, 0)) discard(table_.cuCtxSetCurrent(previous_));
  }
  CurrentGuard(const CurrentGuard&) = delete;
  CurrentGuard& operator=(const CurrentGuard&) = delete;
  CUresult result() const noexcept { return result_; }

 private:
  const Table& table_;
  CUcontext previous_ = nullptr;
  CUresult result_ = success;
  bool switched_ = false;
};

/// The same for code that can throw.
class ThrowingGuard : public CurrentGuard {
 public:
  explicit ThrowingGuard(const PrimaryContext& wanted) : CurrentGuard(wanted) {
    check(result(), "cuCtxSetCurrent", "make the device current");
  }
};

}  // namespace cuready::cuda
