// Names, sizes and arithmetic of the plain data types.
#include "cuready/types.hpp"

#include <algorithm>
#include <array>

#include "cuready/error.hpp"

namespace cuready {
namespace {

struct TypeFacts {
  const char* name;
  int bits;
};
// Indexed by TensorRT's DataType numbers.
constexpr std::array<TypeFacts, 12> type_facts{{{"float32", 32},
                                                {"float16", 16},
                                                {"int8", 8},
                                                {"int32", 32},
                                                {"bool", 8},
                                                {"uint8", 8},
                                                {"float8_e4m3", 8},
                                                {"bfloat16", 16},
                                                {"int64", 64},
                                                {"int4", 4},
                                                {"float4_e2m1", 4},
                                                {"float8_e8m0", 8}}};

constexpr std::array<const char*, 13> format_names{{"linear", "chw2", "hwc8", "chw4", "chw16", "chw32", "dhwc8",
                                                    "cdhw32", "hwc", "dla_linear", "dla_hwc4", "hwc16", "dhwc"}};

bool known(DataType type) noexcept {
  const auto i = static_cast<std::int32_t>(type);
  return i >= 0 && static_cast<std::size_t>(i) < type_facts.size();
}

}  // namespace

int bits(DataType type) noexcept { return known(type) ? type_facts[static_cast<std::size_t>(type)].bits : 0; }

std::string name(DataType type) {
  if (known(type)) return type_facts[static_cast<std::size_t>(type)].name;
  return "unknown(" + std::to_string(static_cast<std::int32_t>(type)) + ")";
}

std::string name(TensorFormat format) {
  const auto i = static_cast<std::int32_t>(format);
  if (i >= 0 && static_cast<std::size_t>(i) < format_names.size()) return format_names[static_cast<std::size_t>(i)];
  return "unknown(" + std::to_string(i) + ")";
}

Dims::Dims(std::initializer_list<std::int64_t> extents)
    : Dims(Span<const std::int64_t>(extents.begin(), extents.size())) {}

Dims::Dims(Span<const std::int64_t> extents) {
  if (extents.size() > static_cast<std::size_t>(max_rank)) {
    throw ShapeError(
        {"Dims", "a shape of " + std::to_string(extents.size()) + " dimensions", "TensorRT takes at most 8"});
  }
  std::copy(extents.begin(), extents.end(), d_.begin());
  rank_ = static_cast<int>(extents.size());
}

bool Dims::is_dynamic() const noexcept {
  return rank_ < 0 || std::any_of(begin(), end(), [](std::int64_t e) { return e < 0; });
}

std::int64_t Dims::volume() const noexcept {
  if (is_dynamic()) return -1;
  if (std::find(begin(), end(), 0) != end()) return 0;  // before the product: a zero makes every overflow moot
  std::int64_t product = 1;
  for (std::int64_t extent : *this) {
    if (__builtin_mul_overflow(product, extent, &product)) return -1;
  }
  return product;
}

std::string Dims::str() const {
  if (rank_ < 0) return "(?)";
  std::string text = "(";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string((*this)[i]);
  }
  return text + (rank_ == 1 ? ",)" : ")");
}

std::size_t linear_bytes(DataType type, const Dims& shape) {
  const std::int64_t volume = shape.volume();
  const int width = bits(type);
  std::int64_t total_bits = 0;
  if (volume < 0 || __builtin_mul_overflow(volume, static_cast<std::int64_t>(width), &total_bits)) {
    throw ShapeError({"size of a tensor", "the shape " + shape.str() + " has no size: it is dynamic or too large",
                      "set every dimension"});
  }
  if (width == 0)
    throw DtypeError({"size of a tensor", "the element type " + name(type) + " is not known", "use a newer cuready"});
  return static_cast<std::size_t>(total_bits / 8 + (total_bits % 8 != 0 ? 1 : 0));
}

std::size_t TensorInfo::bytes_for(const Dims& wanted) const {
  Dims padded = wanted;
  const int packed = vectorized_dim;
  // Vectorised formats round one dimension up to whole vectors: CHW4 of 3 channels holds 4.
  if (packed >= 0 && packed < padded.rank() && components_per_element > 1 && padded[packed] > 0) {
    const std::int64_t n = components_per_element;
    padded[packed] = (padded[packed] + n - 1) / n * n;
  }
  return linear_bytes(dtype, padded);
}

std::string Version::str() const {
  std::string text = std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  if (build != 0) text += "." + std::to_string(build);
  return text;
}

}  // namespace cuready
