// See layout.hpp. The layouts: TensorRT's TensorFormat, as its developer guide describes them.
#include "layout.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cuready::python {
namespace {

enum class Kind { kVectors, kChannelLast, kOther };

struct Layout {
  Kind kind = Kind::kOther;
  std::int64_t lanes = 1;  // channels are padded to a multiple of this
  int spatial = 2;         // dimensions after the channel
};

Layout layout_of(TensorFormat format) {
  switch (format) {
    case TensorFormat::chw2:
      return {Kind::kVectors, 2, 2};
    case TensorFormat::chw4:
      return {Kind::kVectors, 4, 2};
    case TensorFormat::chw16:
      return {Kind::kVectors, 16, 2};
    case TensorFormat::chw32:
      return {Kind::kVectors, 32, 2};
    case TensorFormat::cdhw32:
      return {Kind::kVectors, 32, 3};
    case TensorFormat::hwc:
      return {Kind::kChannelLast, 1, 2};
    case TensorFormat::hwc8:
      return {Kind::kChannelLast, 8, 2};
    case TensorFormat::hwc16:
      return {Kind::kChannelLast, 16, 2};
    case TensorFormat::dhwc:
      return {Kind::kChannelLast, 1, 3};
    case TensorFormat::dhwc8:
      return {Kind::kChannelLast, 8, 3};
    default:
      return {};
  }
}

/// A C-order shape seen as (outer, channels, inner): inner are the dimensions after the channel.
struct Split {
  std::int64_t outer = 1, channels = 1, inner = 1;
};

Split split(Dims const& shape, Layout const& layout) {
  Split parts;
  int const channel = shape.rank() - layout.spatial - 1;
  for (int i = 0; i < channel; ++i) parts.outer *= shape[i];
  parts.channels = shape[channel];
  for (int i = channel + 1; i < shape.rank(); ++i) parts.inner *= shape[i];
  return parts;
}

/// Calls visit(index in C order, index in the layout) for every element.
template <class Visit>
void for_each_element(Dims const& shape, Layout const& layout, Visit visit) {
  Split const parts = split(shape, layout);
  std::int64_t const groups = (parts.channels + layout.lanes - 1) / layout.lanes;
  std::int64_t source = 0;
  for (std::int64_t o = 0; o < parts.outer; ++o) {
    for (std::int64_t c = 0; c < parts.channels; ++c) {
      std::int64_t const group = c / layout.lanes;
      std::int64_t const lane = c % layout.lanes;
      for (std::int64_t i = 0; i < parts.inner; ++i, ++source) {
        std::int64_t const target = layout.kind == Kind::kVectors
                                        ? ((o * groups + group) * parts.inner + i) * layout.lanes + lane
                                        : (o * parts.inner + i) * groups * layout.lanes + c;
        visit(source, target);
      }
    }
  }
}

std::size_t element_bytes(TensorInfo const& tensor) { return static_cast<std::size_t>(bits(tensor.dtype)) / 8; }

}  // namespace

bool can_repack(TensorInfo const& tensor, Dims const& shape) {
  Layout const layout = layout_of(tensor.format);
  if (layout.kind == Kind::kOther || bits(tensor.dtype) < 8 || shape.is_dynamic()) return false;
  if (shape.rank() <= layout.spatial) return false;
  if (tensor.components_per_element > 1 && tensor.components_per_element != layout.lanes) {
    return false;  // a layout of a newer TensorRT under a name that we know
  }
  int const channel = shape.rank() - layout.spatial - 1;
  return tensor.vectorized_dim < 0 || tensor.vectorized_dim == channel;
}

void pack(TensorInfo const& tensor, Dims const& shape, void const* c_order, void* packed) {
  std::size_t const unit = element_bytes(tensor);
  auto const* from = static_cast<unsigned char const*>(c_order);
  auto* to = static_cast<unsigned char*>(packed);
  std::memset(to, 0, tensor.bytes_for(shape));
  for_each_element(shape, layout_of(tensor.format), [&](std::int64_t a, std::int64_t b) {
    std::memcpy(to + static_cast<std::size_t>(b) * unit, from + static_cast<std::size_t>(a) * unit, unit);
  });
}

void unpack(TensorInfo const& tensor, Dims const& shape, void const* packed, void* c_order) {
  std::size_t const unit = element_bytes(tensor);
  auto const* from = static_cast<unsigned char const*>(packed);
  auto* to = static_cast<unsigned char*>(c_order);
  for_each_element(shape, layout_of(tensor.format), [&](std::int64_t a, std::int64_t b) {
    std::memcpy(to + static_cast<std::size_t>(a) * unit, from + static_cast<std::size_t>(b) * unit, unit);
  });
}

}  // namespace cuready::python
