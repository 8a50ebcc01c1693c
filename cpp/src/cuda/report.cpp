// The machine's CUDA driver and GPUs, as data.
#include "cuda/report.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include "cuda/context.hpp"
#include "cuda/error.hpp"

namespace cuready {
namespace cuda {
namespace {

std::string uuid_text(std::string text, const CUuuid& uuid) {
  static constexpr char digits[] = "0123456789abcdef";
  for (std::size_t i = 0; i < sizeof uuid.bytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += digits[uuid.bytes[i] >> 4];
    text += digits[uuid.bytes[i] & 15];
  }
  return text;
}

int attribute(const Table& t, int which, CUdevice device, const char* operation) {
  int value = 0;
  check(t.cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute", operation);
  return value;
}

int optional_attribute(const Table& t, int which, CUdevice device) noexcept {
  int value = 0;
  return t.cuDeviceGetAttribute(&value, which, device) == success ? value : 0;
}

}  // namespace

DeviceReport describe_device(const Table& t, int ordinal) {
  const char* operation = "describe a device";
  DeviceReport report;
  report.ordinal = ordinal;
  CUdevice device = 0;
  check(t.cuDeviceGet(&device, ordinal), "cuDeviceGet", operation);
  std::array<char, 256> text{};
  check(t.cuDeviceGetName(text.data(), static_cast<int>(text.size()) - 1, device), "cuDeviceGetName", operation);
  report.name = text.data();
  check(t.cuDeviceTotalMem(&report.total_memory, device), "cuDeviceTotalMem_v2", operation);
  report.compute_major = attribute(t, attribute_compute_major, device, operation);
  report.compute_minor = attribute(t, attribute_compute_minor, device, operation);
  report.multiprocessors = optional_attribute(t, attribute_multiprocessors, device);
  report.integrated = optional_attribute(t, attribute_integrated, device) != 0;
  report.memory_pools = t.has_memory_pools() && optional_attribute(t, attribute_memory_pools, device) != 0;
  // _v2 (CUDA 11.4) gives the UUID of a MIG instance where the first one gives that of its GPU. NVML tells them apart
  // by what stands before them.
  CUuuid gpu{}, own{};
  const bool has_gpu = t.cuDeviceGetUuid != nullptr && t.cuDeviceGetUuid(&gpu, device) == success;
  const bool has_own = t.cuDeviceGetUuid_v2 != nullptr && t.cuDeviceGetUuid_v2(&own, device) == success;
  if (has_own && has_gpu && !std::equal(std::begin(own.bytes), std::end(own.bytes), std::begin(gpu.bytes))) {
    report.uuid = uuid_text("MIG-", own);
  } else if (has_own || has_gpu) {
    report.uuid = uuid_text("GPU-", has_own ? own : gpu);
  }
  std::array<char, 64> bus{};
  if (t.cuDeviceGetPCIBusId != nullptr &&
      t.cuDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()) - 1, device) == success) {
    report.pci_bus_id = bus.data();
  }
  return report;
}

namespace {

DriverReport report_of(const Table& t) {
  DriverReport report;
  report.library = t.library;
  report.found_by = t.found_by;
  report.version.major = t.driver_version / 1000;
  report.version.minor = t.driver_version % 1000 / 10;
  report.uses_get_proc_address = t.uses_get_proc_address;
  try {
    int count = 0;
    check(t.cuDeviceGetCount(&count), "cuDeviceGetCount", "count the devices");
    for (int i = 0; i < count; ++i) report.devices.push_back(describe_device(t, i));
  } catch (const Error& error) {
    ErrorDetail detail = error.detail();
    if (detail.cuda.code != 0) detail.cuda = describe(t, detail.cuda.code, detail.cuda.call.c_str());
    throw DriverNotFound(std::move(detail), "devices");
  }
  return report;
}

}  // namespace
}  // namespace cuda

DriverReport driver_report(const std::string& path) {
  if (path.empty()) {
    // Describing needs less than running does: a driver that lacks a "run" function is still reported.
    if (const cuda::Table* t = cuda::driver_if_loaded(); t != nullptr) return cuda::report_of(*t);
  }
  return cuda::report_of(cuda::load_table(path));
}

int device_count() {
  int count = 0;
  cuda::check(cuda::driver().cuDeviceGetCount(&count), "cuDeviceGetCount", "count the devices");
  return count;
}

MemoryInfo memory_info(int device) { return Device(device).memory(); }

bool context_is_current() noexcept {
  const cuda::Table* t = cuda::driver_if_loaded();
  cuda::CUcontext current = nullptr;
  return t != nullptr && t->cuCtxGetCurrent(&current) == cuda::success && current != nullptr;
}

}  // namespace cuready
