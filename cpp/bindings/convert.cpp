// Values of the C++ API as Python objects and back: shapes, types, versions, streams, log records.
#include <cstring>

#include "common.hpp"

namespace cuready::python {
namespace {

[[noreturn]] void refuse_argument(std::string message, std::string hint = {}) {
  ErrorDetail detail;
  detail.message = std::move(message);
  detail.hint = std::move(hint);
  throw InvalidArgument(std::move(detail));
}

struct TypeRow {
  DataType type;
  char const* name;
  dlpack::DataType code;
};

constexpr TypeRow kTypes[] = {
    {DataType::float32, "float32", {dlpack::kFloat, 32, 1}},
    {DataType::float16, "float16", {dlpack::kFloat, 16, 1}},
    {DataType::int8, "int8", {dlpack::kInt, 8, 1}},
    {DataType::int32, "int32", {dlpack::kInt, 32, 1}},
    {DataType::boolean, "bool", {dlpack::kBool, 8, 1}},
    {DataType::uint8, "uint8", {dlpack::kUInt, 8, 1}},
    {DataType::float8_e4m3, "float8_e4m3fn", {dlpack::kFloat8E4m3fn, 8, 1}},
    {DataType::bfloat16, "bfloat16", {dlpack::kBfloat, 16, 1}},
    {DataType::int64, "int64", {dlpack::kInt, 64, 1}},
    {DataType::int4, "int4", {dlpack::kInt, 4, 1}},
    {DataType::float4_e2m1, "float4_e2m1fn", {dlpack::kFloat4E2m1fn, 4, 1}},
    {DataType::float8_e8m0, "float8_e8m0fnu", {dlpack::kFloat8E8m0fnu, 8, 1}},
};

bool handle_from_attribute(PyObject* object, char const* attribute, void*& handle) {
  Reference value = Reference::steal(PyObject_GetAttrString(object, attribute));
  if (!value) {
    PyErr_Clear();
    return false;
  }
  handle = PyLong_AsVoidPtr(value.get());
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  return true;
}

/// https://nvidia.github.io/cuda-python/cuda-core/latest/interoperability.html: (version, handle)
bool handle_from_protocol(PyObject* object, void*& handle) {
  Reference method = Reference::steal(PyObject_GetAttrString(object, "__cuda_stream__"));
  if (!method) {
    PyErr_Clear();
    return false;
  }
  Reference pair =
      PyCallable_Check(method.get()) != 0 ? Reference::steal(PyObject_CallNoArgs(method.get())) : std::move(method);
  if (!pair) throw py::error_already_set();
  if (!PyTuple_Check(pair.get()) || PyTuple_GET_SIZE(pair.get()) != 2) {
    refuse_argument("__cuda_stream__ of the given stream gave no pair (version, handle)");
  }
  handle = PyLong_AsVoidPtr(PyTuple_GET_ITEM(pair.get(), 1));
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  return true;
}

int python_level(Severity severity) {
  switch (severity) {
    case Severity::internal_error:
      return 50;
    case Severity::error:
      return 40;
    case Severity::warning:
      return 30;
    case Severity::info:
      return 20;
    default:
      return 10;
  }
}

}  // namespace

py::handle import_once(PyObject*& kept, char const* module, char const* attribute) {
  if (kept == nullptr) {
    py::object found = py::module_::import(module).attr(attribute);
    if (kept == nullptr) kept = found.release().ptr();
  }
  return kept;
}

py::object interned_name(std::string const& name) {
  PyObject* text = PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), "surrogateescape");
  if (text == nullptr) throw py::error_already_set();
  PyUnicode_InternInPlace(&text);
  return py::reinterpret_steal<py::object>(text);
}

py::str to_text(std::string const& text) {
  PyObject* decoded = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape");
  if (decoded == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

py::tuple to_tuple(Dims const& shape) {
  int const rank = shape.rank() < 0 ? 0 : shape.rank();
  py::tuple tuple(static_cast<std::size_t>(rank));
  for (int i = 0; i < rank; ++i) PyTuple_SET_ITEM(tuple.ptr(), i, PyLong_FromLongLong(shape[i]));
  return tuple;
}

void require_mapping(char const* operation, py::handle arrays) {
  if (PyDict_Check(arrays.ptr()) || (PyMapping_Check(arrays.ptr()) != 0 && py::hasattr(arrays, "keys"))) return;
  ErrorDetail detail;
  detail.operation = operation;
  detail.message =
      std::string("a mapping of tensor names to arrays was expected, not a ") + Py_TYPE(arrays.ptr())->tp_name;
  throw InvalidArgument(std::move(detail));
}

Dims to_dims(py::handle shape) {
  Reference fast = Reference::steal(PySequence_Fast(shape.ptr(), "not a sequence"));
  if (!fast) {
    PyErr_Clear();
    refuse_argument("a shape is a sequence of integers, not " + std::string(py::repr(shape)));
  }
  std::vector<std::int64_t> extents;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast.get()); ++i) {
    extents.push_back(PyLong_AsLongLong(PySequence_Fast_GET_ITEM(fast.get(), i)));
    if (PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      refuse_argument("a shape is a sequence of integers, not " + std::string(py::repr(shape)));
    }
  }
  return Dims(Span<std::int64_t const>(extents.data(), extents.size()));
}

int to_profile(py::handle profile) {
  if (profile.is_none()) return -1;
  if (PyUnicode_Check(profile.ptr()) != 0 && PyUnicode_CompareWithASCIIString(profile.ptr(), "auto") == 0) return -1;
  Reference number = Reference::steal(PyNumber_Index(profile.ptr()));
  long const index = number ? PyLong_AsLong(number.get()) : -1;
  if (PyErr_Occurred() != nullptr || index != static_cast<int>(index)) {
    PyErr_Clear();
    refuse_argument("a profile is an index or 'auto', not " + std::string(py::repr(profile)));
  }
  return static_cast<int>(index);
}

py::object to_python(Version const& version) {
  static PyObject* type = nullptr;
  return import_once(type, "cuready.runtime._types", "Version")(version.major, version.minor, version.patch,
                                                                version.build);
}

dlpack::DataType to_dlpack(DataType type) {
  for (TypeRow const& row : kTypes) {
    if (row.type == type) return row.code;
  }
  return {};
}

DataType to_data_type(std::string const& name) {
  for (TypeRow const& row : kTypes) {
    if (name == row.name || name == cuready::name(row.type)) return row.type;
  }
  std::string known;
  for (TypeRow const& row : kTypes) known += (known.empty() ? "" : ", ") + std::string(row.name);
  refuse_argument("'" + name + "' is no element type", "one of: " + known);
}

DataType to_data_type(dlpack::DataType type) {
  for (TypeRow const& row : kTypes) {
    if (row.code.code == type.code && row.code.bits == type.bits) return row.type;
  }
  throw ImportFailure("its element type " + dtype_name(type) + " is none of TensorRT's");
}

StreamRef to_stream(PyObject* object, StreamRef fallback) {
  if (object == nullptr || object == Py_None) return fallback;
  void* handle = nullptr;
  if (PyLong_Check(object)) {
    handle = PyLong_AsVoidPtr(object);
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  } else if (!handle_from_protocol(object, handle) && !handle_from_attribute(object, "cuda_stream", handle) &&
             !handle_from_attribute(object, "ptr", handle)) {
    refuse_argument(std::string("a ") + Py_TYPE(object)->tp_name + " is no CUDA stream",
                    "pass a Stream, an integer handle, or an object with __cuda_stream__");
  }
  return StreamRef(handle);
}

std::shared_ptr<void> python_owner(py::handle object) {
  object.inc_ref();
  return {object.ptr(), [](void* pointer) {
            if (interpreter_is_ending()) return;
            py::gil_scoped_acquire gil;
            Py_DECREF(static_cast<PyObject*>(pointer));
          }};
}

void add_raw_method(py::handle type, PyMethodDef* def) {
  auto descriptor =
      py::reinterpret_steal<py::object>(PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), def));
  if (!descriptor) throw py::error_already_set();
  py::setattr(type, def->ml_name, descriptor);
}

void pump_log() noexcept {
  try {
    std::vector<LogRecord> const records = drain_log();
    if (records.empty()) return;
    py::object logger = py::module_::import("logging").attr("getLogger")("cuready.tensorrt");
    for (LogRecord const& record : records) {
      auto text = py::reinterpret_steal<py::object>(
          PyUnicode_DecodeUTF8(record.text.data(), static_cast<Py_ssize_t>(record.text.size()), "replace"));
      logger.attr("log")(python_level(record.severity), "%s", text);
    }
  } catch (py::error_already_set& error) {
    error.discard_as_unraisable("cuready: forwarding TensorRT's log");
  } catch (std::exception const&) {
    // Out of memory while copying log lines: the lines are lost, the call that worked stays good.
  }
}

}  // namespace cuready::python
