// numpy without linking it: arrays are made by calling numpy.empty and read through their buffer.
#include <cstring>
#include <memory>

#include "buffers.hpp"

namespace cuready::python {
namespace {

struct Numpy {
  py::object empty;
  py::object dtypes[12];  // by DataType
  py::object extension_types[12];
};

char const* storage_of(DataType type) {
  switch (type) {
    case DataType::float32:
      return "float32";
    case DataType::float16:
      return "float16";
    case DataType::int8:
      return "int8";
    case DataType::int32:
      return "int32";
    case DataType::int64:
      return "int64";
    case DataType::boolean:
      return "bool";
    case DataType::bfloat16:
      return "uint16";
    default:
      return "uint8";
  }
}

char const* ml_dtypes_name(DataType type) {
  switch (type) {
    case DataType::bfloat16:
      return "bfloat16";
    case DataType::float8_e4m3:
      return "float8_e4m3fn";
    case DataType::float8_e8m0:
      return "float8_e8m0fnu";
    default:
      return nullptr;
  }
}

std::unique_ptr<Numpy> load_numpy() {
  py::module_ numpy;
  try {
    numpy = py::module_::import("numpy");
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_ImportError)) throw;
    throw_missing_extra("numpy", "a result on the host");
  }
  auto table = std::make_unique<Numpy>();  // kept until exit, like numpy itself
  table->empty = numpy.attr("empty");
  py::object extensions;
  try {
    extensions = py::module_::import("ml_dtypes");
  } catch (py::error_already_set&) {  // optional: raw bits are the answer without it
  }
  for (int i = 0; i < 12; ++i) {
    auto const type = static_cast<DataType>(i);
    table->dtypes[i] = numpy.attr("dtype")(storage_of(type));
    char const* extension = ml_dtypes_name(type);
    if (extension != nullptr && extensions && py::hasattr(extensions, extension)) {
      table->extension_types[i] = extensions.attr(extension);
    }
  }
  return table;
}

Numpy const& numpy() {
  static Numpy* table = nullptr;  // see import_once()
  if (table == nullptr) {
    std::unique_ptr<Numpy> made = load_numpy();
    if (table == nullptr) table = made.release();
  }
  return *table;
}

bool is_sub_byte(DataType type) { return bits(type) == 4; }

}  // namespace

Dims packed_shape(Dims const& shape, DataType dtype) {
  Dims packed = shape;
  int const last = packed.rank() - 1;
  if (is_sub_byte(dtype) && last >= 0) packed[last] = (packed[last] + 1) / 2;
  return packed;
}

Dims unpacked_shape(Dims shape, DataType dtype) {
  int const last = shape.rank() - 1;
  if (is_sub_byte(dtype) && last >= 0) shape[last] *= 2;
  return shape;
}

HostArray new_host_array(Dims const& shape, DataType dtype) {
  py::tuple extents = to_tuple(packed_shape(shape, dtype));
  auto const index = static_cast<std::size_t>(dtype);
  py::handle type = index < 12 ? numpy().dtypes[index] : numpy().dtypes[5];
  PyObject* arguments[] = {extents.ptr(), type.ptr()};
  HostArray made;
  made.array = py::reinterpret_steal<py::object>(PyObject_Vectorcall(numpy().empty.ptr(), arguments, 2, nullptr));
  if (!made.array) throw py::error_already_set();
  Py_buffer view;
  if (PyObject_GetBuffer(made.array.ptr(), &view, PyBUF_STRIDES) != 0) {
    throw py::error_already_set();
  }
  made.data = view.buf;
  PyBuffer_Release(&view);
  return made;
}

py::object present(py::object array, DataType dtype) {
  auto const index = static_cast<std::size_t>(dtype);
  if (index >= 12 || !numpy().extension_types[index]) return array;
  return array.attr("view")(numpy().extension_types[index]);
}

bool stands_for(dlpack::DataType given, DataType wanted) {
  dlpack::DataType const own = to_dlpack(wanted);
  if (given.code == own.code && given.bits == own.bits) return true;
  bool const raw = given.code == dlpack::kUInt;
  switch (wanted) {
    case DataType::bfloat16:
      return raw && given.bits == 16;
    case DataType::float8_e4m3:
    case DataType::float8_e8m0:
    case DataType::int4:
    case DataType::float4_e2m1:
      return raw && given.bits == 8;
    default:
      return false;
  }
}

}  // namespace cuready::python
