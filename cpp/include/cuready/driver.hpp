// The CUDA driver of this machine: is it there, how old is it, which GPUs does it see. Creates no CUDA context.
#pragma once

#include <string>
#include <vector>

#include "cuready/error.hpp"

namespace cuready {

/// One GPU as the driver describes it.
struct DeviceReport {
  int ordinal = 0;
  std::string name;
  int compute_major = 0, compute_minor = 0;
  std::size_t total_memory = 0;  ///< bytes
  std::string uuid;              ///< "GPU-xxxxxxxx-xxxx-…", or "MIG-…" where the driver gives that
  std::string pci_bus_id;        ///< "0000:65:00.0"
  int multiprocessors = 0;
  bool integrated = false;    ///< shares memory with the host (Jetson, GB10)
  bool memory_pools = false;  ///< stream-ordered allocation is supported
};

struct DriverReport {
  std::string library;   ///< the path that was opened, as the loader resolved it
  std::string found_by;  ///< "argument", "CUREADY_LIBCUDA" or "loader"
  Version version;       ///< the CUDA version that the driver supports, e.g. 12.4
  bool uses_get_proc_address = false;
  std::vector<DeviceReport> devices;
};

/// Opens the driver library (`path`, else $CUREADY_LIBCUDA, else libcuda.so.1), initialises it and asks for its
/// devices. Throws DriverNotFound, whose step() and cuda() say how far it came: "open" (no such library, or it does not
/// load), "symbol" (it lacks a function), "init" (cuInit's code: 100 no device, 803 mismatch, …), "version", "devices".
CUREADY_API DriverReport driver_report(const std::string& path = {});

/// Number of devices; the driver is loaded on first use.
CUREADY_API int device_count();
/// Free and total bytes of a device. Retains its primary context while asking.
struct MemoryInfo {
  std::size_t free = 0, total = 0;
};
CUREADY_API MemoryInfo memory_info(int device);
/// True when any CUDA context is current on this thread (without making one).
CUREADY_API bool context_is_current() noexcept;

}  // namespace cuready
