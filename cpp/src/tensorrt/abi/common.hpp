// What the binary interfaces of all TensorRT majors have in common: plain structures and the shape of an object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace cuready::tensorrt {

/// nvinfer1::Dims of TensorRT 8.
struct Dims32 {
  std::int32_t nbDims;
  std::int32_t d[8];
};
/// nvinfer1::Dims of TensorRT 10 and 11.
struct Dims64 {
  std::int32_t nbDims;
  std::int64_t d[8];
};
static_assert(sizeof(Dims32) == 36 && sizeof(Dims64) == 72 && offsetof(Dims64, d) == 8, "the sizes that cross the boundary");

/// nvinfer1::Weights; passed and returned by value, that is in memory.
struct Weights {
  std::int32_t type;
  void const* values;
  std::int64_t count;
};
static_assert(sizeof(Weights) == 24, "the size that crosses the boundary");

/// nvinfer1::InterfaceInfo; 16 bytes, so it comes back in two registers.
struct InterfaceInfo {
  char const* kind;
  std::int32_t major;
  std::int32_t minor;
};
static_assert(sizeof(InterfaceInfo) == 16, "the size that crosses the boundary");
static_assert(std::is_trivially_copyable_v<Dims32> && std::is_trivially_copyable_v<Dims64> && std::is_trivially_copyable_v<Weights> &&
                  std::is_trivially_copyable_v<InterfaceInfo>,
              "only trivial types are passed as the C++ ABI passes structures");

/// A public TensorRT object (IRuntime, ICudaEngine, …): a vtable with nothing but its destructor, and a pointer to the
/// implementation through which every call goes. Made by TensorRT only; `delete` runs TensorRT's deleting destructor (slot 1).
template <class V>
class IObject {
 public:
  virtual ~IObject() noexcept = 0;  // slot 0 and 1
  IObject() = delete;
  V* impl;
};

// Enumerators that are used here; the same numbers in all majors.
constexpr std::int32_t profile_min = 0, profile_opt = 1, profile_max = 2;   // OptProfileSelector
constexpr std::int32_t format_json = 1;                                     // LayerInformationFormat
constexpr std::int32_t strategy_user_managed = 2;                           // ExecutionContextAllocationStrategy
constexpr std::int32_t api_language_cpp = 0;                                // APILanguage
constexpr std::int32_t seek_set = 0, seek_cur = 1, seek_end = 2;            // SeekPosition
constexpr std::int32_t stat_stripped_weights_size = 1;                      // EngineStat

}  // namespace cuready::tensorrt
