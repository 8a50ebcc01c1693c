// Plain data that every part of the API speaks: data types, shapes, tensor descriptions, versions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cuready/export.hpp"

namespace cuready {

/// A view of `size` consecutive objects (C++17 has no std::span).
template <class T>
class Span {
 public:
  constexpr Span() noexcept = default;
  constexpr Span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
  /// Any contiguous container, e.g. std::vector or std::array.
  template <class C, class = decltype(static_cast<T*>(std::declval<C&>().data()))>
  constexpr Span(C& container) noexcept
      : data_(container.data()), size_(container.size()) {}  // NOLINT: a view converts
  constexpr T* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T* begin() const noexcept { return data_; }
  constexpr T* end() const noexcept { return data_ + size_; }
  constexpr T& operator[](std::size_t i) const noexcept { return data_[i]; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Element types, with TensorRT's numbers. A number that this version does not know is kept and named "unknown(N)".
enum class DataType : std::int32_t {
  float32 = 0,
  float16 = 1,
  int8 = 2,
  int32 = 3,
  boolean = 4,
  uint8 = 5,
  float8_e4m3 = 6,
  bfloat16 = 7,
  int64 = 8,
  int4 = 9,
  float4_e2m1 = 10,
  float8_e8m0 = 11,
};
/// Bits of one element: 4 for int4 and float4, 0 for a type that is not known.
CUREADY_API int bits(DataType type) noexcept;
/// "float32", "bfloat16", "int4", …
CUREADY_API std::string name(DataType type);

/// A shape: at most 8 extents of 64 bits, held inline. -1 is an extent that is not known yet; rank -1 is an unknown
/// rank.
class Dims {
 public:
  static constexpr int max_rank = 8;
  constexpr Dims() noexcept = default;
  /// Throws ShapeError when there are more than 8 extents.
  CUREADY_API Dims(std::initializer_list<std::int64_t> extents);
  CUREADY_API explicit Dims(Span<const std::int64_t> extents);
  /// The shape of a tensor whose rank is not known (rank() == -1).
  static Dims unknown() noexcept {
    Dims d;
    d.rank_ = -1;
    return d;
  }

  int rank() const noexcept { return rank_; }
  std::int64_t operator[](int i) const noexcept { return d_[static_cast<std::size_t>(i)]; }
  std::int64_t& operator[](int i) noexcept { return d_[static_cast<std::size_t>(i)]; }
  const std::int64_t* begin() const noexcept { return d_.data(); }
  const std::int64_t* end() const noexcept { return d_.data() + (rank_ > 0 ? rank_ : 0); }
  /// True when the rank or an extent is not known.
  CUREADY_API bool is_dynamic() const noexcept;
  /// Product of the extents; 1 for rank 0; 0 when any extent is 0; -1 when dynamic or when it overflows 64 bits.
  CUREADY_API std::int64_t volume() const noexcept;
  /// "(2, 3, -1)"; "(?)" when the rank is not known.
  CUREADY_API std::string str() const;

  friend bool operator==(const Dims& a, const Dims& b) noexcept {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }
  friend bool operator!=(const Dims& a, const Dims& b) noexcept { return !(a == b); }

 private:
  std::array<std::int64_t, max_rank> d_{};
  int rank_ = 0;
};

/// ceil(volume * bits / 8): the bytes of a dense linear tensor. Throws ShapeError when the shape is dynamic.
CUREADY_API std::size_t linear_bytes(DataType type, const Dims& shape);

enum class TensorMode : std::int32_t { none = 0, input = 1, output = 2 };
enum class TensorLocation : std::int32_t { device = 0, host = 1 };
/// Memory layouts, with TensorRT's numbers.
enum class TensorFormat : std::int32_t {
  linear = 0,
  chw2 = 1,
  hwc8 = 2,
  chw4 = 3,
  chw16 = 4,
  chw32 = 5,
  dhwc8 = 6,
  cdhw32 = 7,
  hwc = 8,
  dla_linear = 9,
  dla_hwc4 = 10,
  hwc16 = 11,
  dhwc = 12,
};
CUREADY_API std::string name(TensorFormat format);

/// What one optimization profile allows for one input.
struct ProfileBounds {
  Dims min, opt, max;
  /// For a shape tensor (its *values* are bounded, not only its shape); empty otherwise.
  std::vector<std::int64_t> min_values, opt_values, max_values;
};

/// One input or output of an engine.
struct TensorInfo {
  std::string name;  ///< any UTF-8, e.g. "输入/0:x"
  int index = -1;    ///< position among all tensors of the engine: the TensorId of the hot path
  TensorMode mode = TensorMode::none;
  DataType dtype = DataType::float32;
  Dims shape;  ///< as built: -1 where dynamic
  TensorLocation location = TensorLocation::device;
  bool is_shape = false;           ///< TensorRT reads its values on the host to infer shapes
  bool is_data_dependent = false;  ///< an output whose shape is known only after the run
  TensorFormat format = TensorFormat::linear;
  std::string format_text;         ///< TensorRT's own description of the layout
  int vectorized_dim = -1;         ///< dimension that is packed in vectors and padded to a multiple of them; -1: none
  int components_per_element = 1;  ///< elements per vector along vectorized_dim
  int bytes_per_component = 0;     ///< bytes of one component as TensorRT reports them; 0 or -1 when it does not apply
  std::string alias_of;            ///< the input whose memory this output shares (TensorRT 10.15+), or empty
  std::vector<ProfileBounds> profiles;  ///< one for each optimization profile (inputs only)

  /// Bytes that a buffer needs for `shape`, vector padding and sub-byte types included. At least 0; throws ShapeError
  /// when dynamic.
  CUREADY_API std::size_t bytes_for(const Dims& shape) const;
  /// True when memory in C order is what the engine reads: no vectorised or channel-last layout.
  bool is_linear() const noexcept { return format == TensorFormat::linear; }
};

/// A TensorRT or CUDA version: 10.16.1, 8.6.0.12. Missing parts are 0.
struct Version {
  int major = 0, minor = 0, patch = 0, build = 0;
  /// "10.16.1", with the build number when it is not 0.
  CUREADY_API std::string str() const;
  bool at_least(int ma, int mi) const noexcept { return major > ma || (major == ma && minor >= mi); }
  friend bool operator==(const Version& a, const Version& b) noexcept {
    return a.major == b.major && a.minor == b.minor && a.patch == b.patch && a.build == b.build;
  }
  friend bool operator!=(const Version& a, const Version& b) noexcept { return !(a == b); }
};

/// Memory that belongs to the caller, with what the checks need to know about it.
struct TensorView {
  void* data = nullptr;
  DataType dtype = DataType::float32;
  Dims shape;
  TensorLocation location = TensorLocation::device;
  int device = -1;         ///< ordinal of the GPU that owns it; -1: not known, not checked
  std::size_t nbytes = 0;  ///< bytes that may be touched; 0: exactly what dtype and shape need in C order
};

/// A CUDA stream as the driver hands it out (CUstream, cudaStream_t). A view: the stream stays the caller's.
struct StreamRef {
  void* handle =
      nullptr;  ///< null and 1 are the legacy default stream, 2 the per-thread one: see ExecutionContext::enqueue
  constexpr StreamRef() noexcept = default;
  constexpr explicit StreamRef(void* h) noexcept : handle(h) {}
  /// True for the legacy default stream, on which TensorRT adds device-wide synchronisation.
  bool is_legacy() const noexcept { return reinterpret_cast<std::uintptr_t>(handle) <= 1; }
  friend bool operator==(StreamRef a, StreamRef b) noexcept { return a.handle == b.handle; }
  friend bool operator!=(StreamRef a, StreamRef b) noexcept { return a.handle != b.handle; }
};

}  // namespace cuready
