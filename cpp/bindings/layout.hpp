// Vectorised and channel-last memory layouts: host arrays in C order are repacked to what an engine
// reads, and back.
#pragma once

#include <cuready/types.hpp>

namespace cuready::python {

/// True for a layout that pack() and unpack() know; DLA's layouts are not among them.
bool can_repack(TensorInfo const& tensor, Dims const& shape);

/// C order → the tensor's layout, with zeros in the padding. `packed` has tensor.bytes_for(shape).
void pack(TensorInfo const& tensor, Dims const& shape, void const* c_order, void* packed);
/// The tensor's layout → C order.
void unpack(TensorInfo const& tensor, Dims const& shape, void const* packed, void* c_order);

}  // namespace cuready::python
