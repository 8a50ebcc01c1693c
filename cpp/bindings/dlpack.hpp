// The parts of DLPack's C structures that the bindings read and write.
//
// Layouts and numbers: https://dmlc.github.io/dlpack/latest/c_api.html (1.0, and 1.3 for the
// exchange API), https://dmlc.github.io/dlpack/latest/python_spec.html for names and stream
// numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cuready::python::dlpack {

enum DeviceType : std::int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13 };

enum TypeCode : std::uint8_t {
  kInt = 0,
  kUInt = 1,
  kFloat = 2,
  kBfloat = 4,
  kBool = 6,
  kFloat8E4m3fn = 10,
  kFloat8E8m0fnu = 14,
  kFloat4E2m1fn = 17,
};

struct Device {
  std::int32_t type;
  std::int32_t id;
};

struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null means C-contiguous
  std::uint64_t byte_offset;
};

/// What a capsule named "dltensor" holds.
struct ManagedTensor {
  Tensor tensor;
  void* manager_context;
  void (*deleter)(ManagedTensor*);
};

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};

inline constexpr std::uint64_t kFlagReadOnly = 1;

/// What a capsule named "dltensor_versioned" holds (1.0 and later).
struct ManagedTensorVersioned {
  Version version;
  void* manager_context;
  void (*deleter)(ManagedTensorVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

inline constexpr char kCapsule[] = "dltensor";
inline constexpr char kCapsuleVersioned[] = "dltensor_versioned";

/// The table behind type(x).__dlpack_c_exchange_api__ (1.3): a tensor is read without a Python
/// call.
struct ExchangeApi {
  Version version;
  ExchangeApi* previous;  // a table of an older version, or null
  void* allocate;
  void* managed_from_object;
  void* managed_to_object;
  int (*tensor_from_object)(void* object, Tensor* out);  // a borrowed view; may be null
  int (*current_work_stream)(std::int32_t device_type, std::int32_t device_id, void** out);
};

inline constexpr char kExchangeCapsule[] = "dlpack_exchange_api";

}  // namespace cuready::python::dlpack
