// The Python faces of device and pinned memory: typed, shaped, and ordered on a stream.
#pragma once

#include "common.hpp"

namespace cuready::python {

/// A stream of ours, or a view of somebody else's whose Python object is kept alive.
struct PyStream {
  std::shared_ptr<Stream> core;
  StreamRef ref() const { return core->ref(); }
};

/// A stream that a call was given, and what keeps it: nothing for a handle alone.
struct ChosenStream {
  StreamRef ref;
  std::shared_ptr<void> owner;
};
/// None stands for a stream of the device's own.
ChosenStream choose_stream(Device const& device, py::handle stream);

/// Device memory with a shape and a type. `ready` is the stream in whose order its contents are.
struct PyDeviceBuffer {
  std::shared_ptr<DeviceBuffer> memory;
  Dims shape;
  DataType dtype = DataType::uint8;
  std::size_t nbytes = 0;
  StreamRef ready;
  std::shared_ptr<void> ready_owner;  // keeps `ready` valid
};

/// Page-locked host memory with a shape and a type; exports the buffer protocol.
struct PyPinnedBuffer {
  std::shared_ptr<PinnedBuffer> memory;
  Dims shape;
  DataType dtype = DataType::uint8;
  std::size_t nbytes = 0;
};

/// Dense C-order bytes. Throws ShapeError when dynamic.
inline std::size_t dense_bytes(DataType dtype, Dims const& shape) { return linear_bytes(dtype, shape); }

/// `stream` reads the buffer: its memory is not freed before.
void note_read(PyDeviceBuffer const& buffer, ChosenStream const& stream);
/// `stream` writes the buffer: whoever uses it next comes after.
void note_write(PyDeviceBuffer& buffer, ChosenStream const& stream);

/// The device that a Python argument names: a Device, an ordinal, or None for device 0.
Device to_device(py::handle device);

/// A DeviceBuffer object for memory whose contents are ordered on `ready`.
py::object make_device_buffer(std::shared_ptr<DeviceBuffer> memory, Dims const& shape, DataType dtype, StreamRef ready,
                              std::shared_ptr<void> ready_owner);

// --- numpy ------------------------------------------------------------------------------------

/// A new, uninitialised numpy array and where its bytes are. Types that numpy lacks are unsigned
/// integers of the same width; sub-byte types pack two values a byte along the last dimension.
struct HostArray {
  py::object array;
  void* data = nullptr;
};
HostArray new_host_array(Dims const& shape, DataType dtype);

/// The array as the caller sees it: viewed as ml_dtypes' type where that is installed.
py::object present(py::object array, DataType dtype);

/// Whether an array of type `given` may stand for a tensor of type `wanted`: the same type, or the
/// raw bits of one that numpy lacks.
bool stands_for(dlpack::DataType given, DataType wanted);

/// The shape as a host array holds it: halved in the last dimension for sub-byte types.
Dims packed_shape(Dims const& shape, DataType dtype);
/// The opposite, for an array of raw bytes.
Dims unpacked_shape(Dims shape, DataType dtype);

}  // namespace cuready::python
