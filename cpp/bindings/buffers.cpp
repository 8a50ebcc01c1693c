// DeviceBuffer, PinnedBuffer and StagingRing, for Python.
#include "buffers.hpp"

#include <pybind11/stl.h>

#include <mutex>
#include <unordered_map>

namespace cuready::python {
namespace {

[[noreturn]] void refuse(char const* operation, std::string message, std::string hint = {}) {
  ErrorDetail detail;
  detail.operation = operation;
  detail.message = std::move(message);
  detail.hint = std::move(hint);
  throw BindingError(std::move(detail));
}

/// The stream for copies whose caller named none: one per device, never the legacy default stream.
std::shared_ptr<Stream> default_stream(Device const& device) {
  static auto* streams = new std::unordered_map<int, std::shared_ptr<Stream>>();  // GIL-guarded
  auto& stream = (*streams)[device.ordinal()];
  if (!stream) stream = std::make_shared<Stream>(device);
  return stream;
}

ChosenStream foreign_stream(py::handle stream) {
  StreamRef const ref = to_stream(stream.ptr(), StreamRef());
  return {ref, PyLong_Check(stream.ptr()) ? std::shared_ptr<void>() : python_owner(stream)};
}

Dims shape_or_size(py::handle shape) {
  if (PyLong_Check(shape.ptr())) return to_dims(py::make_tuple(shape));
  return to_dims(shape);
}

PyDeviceBuffer make_buffer(py::object const& shape, std::string const& dtype, py::object const& device,
                           py::object const& stream) {
  PyDeviceBuffer made;
  made.shape = shape_or_size(shape);
  made.dtype = to_data_type(dtype);
  made.nbytes = dense_bytes(made.dtype, made.shape);
  Device const on = to_device(device);
  if (py::isinstance<PyStream>(stream)) {
    auto const& ours = py::cast<PyStream const&>(stream);
    made.memory = std::make_shared<DeviceBuffer>(ours.core, made.nbytes);
    made.ready = ours.ref();
    made.ready_owner = ours.core;
  } else {
    made.memory = std::make_shared<DeviceBuffer>(on, made.nbytes);
    if (!stream.is_none()) {
      ChosenStream chosen = foreign_stream(stream);
      made.ready = chosen.ref;
      made.ready_owner = std::move(chosen.owner);
    }
  }
  return made;
}

bool has_order(PyDeviceBuffer const& buffer) { return buffer.ready.handle != nullptr || buffer.ready_owner != nullptr; }

void order_after(PyDeviceBuffer const& buffer, StreamRef consumer) {
  if (has_order(buffer) && buffer.ready != consumer) {
    stream_wait(buffer.memory->device(), consumer, buffer.ready);
  }
}

void check_size(char const* operation, std::size_t given, std::size_t wanted) {
  if (given == wanted) return;
  refuse(operation, "the array has " + std::to_string(given) + " bytes, the buffer " + std::to_string(wanted));
}

void copy_from(PyDeviceBuffer& buffer, py::object const& source, py::object const& stream) {
  ChosenStream const chosen = choose_stream(buffer.memory->device(), stream);
  ArrayView view;
  import_array(source.ptr(), chosen.ref.handle, false, view);
  if (!view.contiguous) refuse("copy_from", "the array is not contiguous in C order");
  check_size("copy_from", static_cast<std::size_t>(view.bytes()), buffer.nbytes);
  Device const& device = buffer.memory->device();
  order_after(buffer, chosen.ref);
  if (view.has_producer_stream) {
    stream_wait(device, chosen.ref, StreamRef(view.producer_stream));
  }
  // Pageable memory may be changed at once. Device memory may be a temporary, as in `buf.copy_from(x * 2)`, whose bytes
  // an allocator hands out again: who names no stream cannot order that after the copy.
  bool const waits = view.memory == Memory::kHost || (view.memory != Memory::kPinned && stream.is_none());
  {
    py::gil_scoped_release release;  // the driver stages pageable memory within the call
    copy_async(device, buffer.memory->data(), view.data, buffer.nbytes, chosen.ref);
    if (waits) stream_synchronize(device, chosen.ref);
  }
  note_write(buffer, chosen);
  if (py::isinstance<PyDeviceBuffer>(source)) note_read(py::cast<PyDeviceBuffer const&>(source), chosen);
}

/// Copies to an array on the host (and waits) or on a device (in stream order).
py::object copy_to(PyDeviceBuffer const& buffer, py::object const& target, py::object const& stream) {
  Device const& device = buffer.memory->device();
  ChosenStream const chosen = choose_stream(device, stream);
  order_after(buffer, chosen.ref);
  if (target.is_none()) {
    HostArray made = new_host_array(buffer.shape, buffer.dtype);
    {
      py::gil_scoped_release release;
      copy_to_host_async(device, made.data, buffer.memory->data(), buffer.nbytes, chosen.ref);
      stream_synchronize(device, chosen.ref);
    }
    return present(std::move(made.array), buffer.dtype);
  }
  ArrayView view;
  import_array(target.ptr(), chosen.ref.handle, true, view);
  if (!view.contiguous) refuse("copy_to", "the array is not contiguous in C order");
  check_size("copy_to", static_cast<std::size_t>(view.bytes()), buffer.nbytes);
  if (view.has_producer_stream) {
    stream_wait(device, chosen.ref, StreamRef(view.producer_stream));
  }
  {
    py::gil_scoped_release release;
    copy_async(device, view.data, buffer.memory->data(), buffer.nbytes, chosen.ref);
    if (view.on_host()) stream_synchronize(device, chosen.ref);
  }
  note_read(buffer, chosen);
  if (py::isinstance<PyDeviceBuffer>(target)) note_write(py::cast<PyDeviceBuffer&>(target), chosen);
  return target;
}

// --- DLPack -----------------------------------------------------------------------------------

struct Export {
  PyDeviceBuffer buffer;
  std::int64_t shape[Dims::max_rank] = {};
  dlpack::ManagedTensor plain{};
  dlpack::ManagedTensorVersioned versioned{};
};

void fill_tensor(Export& made, dlpack::Tensor& tensor) {
  for (int i = 0; i < made.buffer.shape.rank(); ++i) made.shape[i] = made.buffer.shape[i];
  tensor.data = made.buffer.memory->data();
  tensor.device = {dlpack::kCuda, made.buffer.memory->device().ordinal()};
  tensor.ndim = made.buffer.shape.rank();
  tensor.dtype = to_dlpack(made.buffer.dtype);
  tensor.shape = made.shape;
}

template <class Managed>
void delete_export(Managed* managed) {
  delete static_cast<Export*>(managed->manager_context);
}

template <class Managed>
void destroy_capsule(PyObject* capsule, char const* name) {
  if (PyCapsule_IsValid(capsule, name) == 0) return;  // consumed: the consumer deletes it
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  managed->deleter(managed);
}

py::object export_capsule(PyDeviceBuffer const& buffer, bool versioned) {
  auto made = std::make_unique<Export>();
  made->buffer = buffer;
  PyObject* capsule = nullptr;
  if (versioned) {
    made->versioned = {{1, 1}, made.get(), &delete_export<dlpack::ManagedTensorVersioned>, 0, {}};
    fill_tensor(*made, made->versioned.tensor);
    capsule = PyCapsule_New(&made->versioned, dlpack::kCapsuleVersioned, [](PyObject* object) {
      destroy_capsule<dlpack::ManagedTensorVersioned>(object, dlpack::kCapsuleVersioned);
    });
  } else {
    made->plain = {{}, made.get(), &delete_export<dlpack::ManagedTensor>};
    fill_tensor(*made, made->plain.tensor);
    capsule = PyCapsule_New(&made->plain, dlpack::kCapsule,
                            [](PyObject* object) { destroy_capsule<dlpack::ManagedTensor>(object, dlpack::kCapsule); });
  }
  if (capsule == nullptr) throw py::error_already_set();
  made.release();
  return py::reinterpret_steal<py::object>(capsule);
}

/// https://data-apis.org/array-api/latest/API_specification/generated/array_api.array.__dlpack__.html
py::object export_dlpack(PyDeviceBuffer const& buffer, py::object const& stream, py::object const& max_version,
                         py::object const& dl_device, py::object const& copy) {
  if (to_dlpack(buffer.dtype).lanes == 0) {
    throw py::buffer_error("DLPack has no type for " + name(buffer.dtype));
  }
  if (!copy.is_none() && py::cast<bool>(copy)) {
    throw py::buffer_error("a DeviceBuffer is exported without copying; copy it first");
  }
  int const ordinal = buffer.memory->device().ordinal();
  if (!dl_device.is_none() && !dl_device.equal(py::make_tuple(int(dlpack::kCuda), ordinal))) {
    throw py::buffer_error("a DeviceBuffer is exported on its own device only: (2, " + std::to_string(ordinal) + ")");
  }
  std::int64_t const consumer = stream.is_none() ? 1 : py::cast<std::int64_t>(stream);
  if (consumer == 0) throw py::value_error("stream 0 is ambiguous in DLPack; pass 1 or 2");
  if (consumer < -1) throw py::value_error("a stream of DLPack is -1 (none), 1, 2 or a handle");
  if (consumer != -1) {
    order_after(buffer, StreamRef(reinterpret_cast<void*>(static_cast<std::uintptr_t>(consumer))));
  }
  bool const versioned =
      !max_version.is_none() && py::cast<int>(py::reinterpret_borrow<py::sequence>(max_version)[0]) >= 1;
  return export_capsule(buffer, versioned);
}

py::dict cuda_array_interface(PyDeviceBuffer const& buffer) {
  char const* typestr = "|u1";
  switch (buffer.dtype) {
    case DataType::float32:
      typestr = "<f4";
      break;
    case DataType::float16:
      typestr = "<f2";
      break;
    case DataType::int8:
      typestr = "|i1";
      break;
    case DataType::int32:
      typestr = "<i4";
      break;
    case DataType::int64:
      typestr = "<i8";
      break;
    case DataType::boolean:
      typestr = "|b1";
      break;
    case DataType::bfloat16:
      typestr = "<u2";
      break;
    default:
      break;
  }
  py::dict entry;
  entry["shape"] = to_tuple(packed_shape(buffer.shape, buffer.dtype));
  entry["typestr"] = typestr;
  entry["data"] =
      py::make_tuple(buffer.nbytes == 0 ? 0 : reinterpret_cast<std::uintptr_t>(buffer.memory->data()), false);
  entry["strides"] = py::none();
  entry["version"] = 3;
  // 0 is not allowed in version 3: the legacy default stream is 1.
  auto const handle = reinterpret_cast<std::uintptr_t>(buffer.ready.handle);
  entry["stream"] = has_order(buffer) ? py::object(py::int_(handle == 0 ? 1 : handle)) : py::none();
  return entry;
}

void read_own_device(PyObject* object, ArrayView& view) {
  auto const* buffer = self_of<PyDeviceBuffer>(object);
  if (buffer == nullptr || !buffer->memory) throw ImportFailure("the DeviceBuffer is empty");
  view.data = buffer->memory->data();
  view.memory = Memory::kDevice;
  view.device = buffer->memory->device().ordinal();
  view.dtype = to_dlpack(buffer->dtype);
  view.rank = buffer->shape.rank();
  for (int i = 0; i < view.rank; ++i) view.shape[i] = buffer->shape[i];
  view.has_producer_stream = has_order(*buffer);
  view.producer_stream = buffer->ready.handle;
  view.owner = Reference::borrow(object);
}

void read_own_pinned(PyObject* object, ArrayView& view) {
  auto const* buffer = self_of<PyPinnedBuffer>(object);
  if (buffer == nullptr || !buffer->memory) throw ImportFailure("the PinnedBuffer is empty");
  view.data = buffer->memory->data();
  view.memory = Memory::kPinned;
  view.dtype = to_dlpack(buffer->dtype);
  view.rank = buffer->shape.rank();
  for (int i = 0; i < view.rank; ++i) view.shape[i] = buffer->shape[i];
  view.owner = Reference::borrow(object);
}

char const* buffer_format(DataType type) {
  switch (type) {
    case DataType::float32:
      return "f";
    case DataType::float16:
      return "e";
    case DataType::int8:
      return "b";
    case DataType::int32:
      return "i";
    case DataType::int64:
      return "q";
    case DataType::boolean:
      return "?";
    case DataType::bfloat16:
      return "H";
    default:
      return "B";
  }
}

py::buffer_info pinned_buffer_info(PyPinnedBuffer& buffer) {
  Dims const shape = packed_shape(buffer.shape, buffer.dtype);
  std::vector<py::ssize_t> extents(shape.begin(), shape.end());
  py::ssize_t const unit = bits(buffer.dtype) < 8 ? 1 : bits(buffer.dtype) / 8;
  std::vector<py::ssize_t> strides(extents.size());
  py::ssize_t step = unit;
  for (std::size_t i = extents.size(); i-- > 0;) {
    strides[i] = step;
    step *= extents[i];
  }
  return py::buffer_info(buffer.memory->data(), unit, buffer_format(buffer.dtype),
                         static_cast<py::ssize_t>(extents.size()), extents, strides);
}

void bind_device_buffer(py::module_& module) {
  auto type =
      py::class_<PyDeviceBuffer>(module, "DeviceBuffer",
                                 "Device memory with a shape (or a number of elements) and a type. Exports DLPack and "
                                 "__cuda_array_interface__, both ordered after the stream that wrote it last. With "
                                 "`stream` it is allocated and freed in that stream's order.",
                                 py::release_gil_before_calling_cpp_dtor())
          .def(py::init(&make_buffer), py::arg("shape"), py::arg("dtype") = "uint8", py::kw_only(),
               py::arg("device") = py::none(), py::arg("stream") = py::none())
          .def_property_readonly(
              "ptr",
              [](PyDeviceBuffer const& buffer) { return reinterpret_cast<std::uintptr_t>(buffer.memory->data()); },
              "Its address.")
          .def_property_readonly(
              "shape", [](PyDeviceBuffer const& buffer) { return to_tuple(buffer.shape); }, "Its extents, in C order.")
          .def_property_readonly(
              "dtype", [](PyDeviceBuffer const& buffer) { return name(buffer.dtype); }, "Such as 'float32' or 'int4'.")
          .def_readonly("nbytes", &PyDeviceBuffer::nbytes, "Its size in bytes.")
          .def_property_readonly(
              "device", [](PyDeviceBuffer const& buffer) { return buffer.memory->device(); }, "Its GPU.")
          .def("copy_from", &copy_from, py::arg("source"), py::kw_only(), py::arg("stream") = py::none(),
               "Copies an array of the same size. Waits when the source is pageable memory, and when it is on a device "
               "and no stream is given; with one, it has to stay as it is until the stream is there.")
          .def("copy_to", &copy_to, py::arg("target") = py::none(), py::kw_only(), py::arg("stream") = py::none(),
               "Copies to an array (a new numpy array by default) and returns it.")
          .def(
              "numpy", [](PyDeviceBuffer const& buffer) { return copy_to(buffer, py::none(), py::none()); },
              "A copy on the host, when everything that writes this buffer is done.")
          .def("__dlpack__", &export_dlpack, py::kw_only(), py::arg("stream") = py::none(),
               py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
          .def("__dlpack_device__",
               [](PyDeviceBuffer const& buffer) {
                 return py::make_tuple(int(dlpack::kCuda), buffer.memory->device().ordinal());
               })
          .def_property_readonly("__cuda_array_interface__", &cuda_array_interface)
          .def("__repr__", [](PyDeviceBuffer const& buffer) {
            return "<DeviceBuffer " + name(buffer.dtype) + " " + buffer.shape.str() + " on device " +
                   std::to_string(buffer.memory->device().ordinal()) + ">";
          });
  register_own_type(reinterpret_cast<PyTypeObject*>(type.ptr()), &read_own_device);
}

void bind_pinned_buffer(py::module_& module) {
  auto type =
      py::class_<PyPinnedBuffer>(module, "PinnedBuffer", py::buffer_protocol(),
                                 "Page-locked host memory; numpy.asarray(buffer) is a view of it.",
                                 py::release_gil_before_calling_cpp_dtor())
          .def(py::init([](py::object const& shape, std::string const& dtype, py::object const& device) {
                 PyPinnedBuffer made;
                 made.shape = shape_or_size(shape);
                 made.dtype = to_data_type(dtype);
                 made.nbytes = dense_bytes(made.dtype, made.shape);
                 made.memory = std::make_shared<PinnedBuffer>(to_device(device), made.nbytes);
                 return made;
               }),
               py::arg("shape"), py::arg("dtype") = "uint8", py::kw_only(), py::arg("device") = py::none())
          .def_buffer(&pinned_buffer_info)
          .def_property_readonly(
              "ptr",
              [](PyPinnedBuffer const& buffer) { return reinterpret_cast<std::uintptr_t>(buffer.memory->data()); },
              "Its address.")
          .def_property_readonly(
              "shape", [](PyPinnedBuffer const& buffer) { return to_tuple(buffer.shape); }, "Its extents, in C order.")
          .def_property_readonly(
              "dtype", [](PyPinnedBuffer const& buffer) { return name(buffer.dtype); }, "Such as 'float32'.")
          .def_readonly("nbytes", &PyPinnedBuffer::nbytes, "Its size in bytes.")
          .def("__repr__", [](PyPinnedBuffer const& buffer) {
            return "<PinnedBuffer " + name(buffer.dtype) + " " + buffer.shape.str() + ">";
          });
  register_own_type(reinterpret_cast<PyTypeObject*>(type.ptr()), &read_own_pinned);
}

struct PyStagingRing {
  std::unique_ptr<StagingRing> core;
};

void bind_staging_ring(py::module_& module) {
  py::class_<PyStagingRing>(module, "StagingRing",
                            "Pinned slots through which pageable arrays reach the device; a slot "
                            "is reused only after its copy is done. One thread at a time.")
      .def(py::init([](int depth, std::size_t nbytes, py::object const& device) {
             return PyStagingRing{std::make_unique<StagingRing>(to_device(device), depth, nbytes)};
           }),
           py::arg("depth") = 2, py::kw_only(), py::arg("nbytes") = 0, py::arg("device") = py::none())
      .def_property_readonly(
          "depth", [](PyStagingRing const& ring) { return ring.core->depth(); }, "Number of slots.")
      .def(
          "upload",
          [](PyStagingRing& ring, PyDeviceBuffer& target, py::object const& source, py::object const& stream) {
            ChosenStream const chosen = choose_stream(target.memory->device(), stream);
            ArrayView view;
            import_array(source.ptr(), chosen.ref.handle, false, view);
            if (!view.on_host()) refuse("upload", "the array is not on the host");
            if (!view.contiguous) refuse("upload", "the array is not contiguous in C order");
            check_size("upload", static_cast<std::size_t>(view.bytes()), target.nbytes);
            order_after(target, chosen.ref);
            {
              py::gil_scoped_release release;
              ring.core->upload(target.memory->data(), view.data, target.nbytes, chosen.ref);
            }
            note_write(target, chosen);
          },
          py::arg("target"), py::arg("source"), py::kw_only(), py::arg("stream") = py::none(),
          "Copies a host array into a DeviceBuffer in stream order; the array may change at once.");
}

}  // namespace

ChosenStream choose_stream(Device const& device, py::handle stream) {
  if (stream.is_none()) {
    auto ours = default_stream(device);
    return {ours->ref(), ours};
  }
  if (py::isinstance<PyStream>(stream)) {
    auto const& ours = py::cast<PyStream const&>(stream);
    return {ours.ref(), ours.core};
  }
  return foreign_stream(stream);
}

void note_read(PyDeviceBuffer const& buffer, ChosenStream const& stream) { buffer.memory->free_after(stream.ref); }

void note_write(PyDeviceBuffer& buffer, ChosenStream const& stream) {
  note_read(buffer, stream);
  buffer.ready = stream.ref;
  buffer.ready_owner = stream.owner;
}

py::object make_device_buffer(std::shared_ptr<DeviceBuffer> memory, Dims const& shape, DataType dtype, StreamRef ready,
                              std::shared_ptr<void> ready_owner) {
  PyDeviceBuffer made;
  made.nbytes = dense_bytes(dtype, shape);
  made.memory = std::move(memory);
  made.shape = shape;
  made.dtype = dtype;
  made.ready = ready;
  made.ready_owner = std::move(ready_owner);
  return py::cast(std::move(made));
}

void bind_buffers(py::module_& module) {
  bind_device_buffer(module);
  bind_pinned_buffer(module);
  bind_staging_ring(module);
}

}  // namespace cuready::python
