// C++ errors become the classes of cuready.errors, with the vendor's words and a hint.
#include <array>
#include <new>

#include "common.hpp"

namespace cuready::python {
namespace {

char const* class_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "InvalidArgument";
    case ErrorCode::library_not_found:
      return "LibraryNotFound";
    case ErrorCode::unsupported_library:
      return "UnsupportedLibrary";
    case ErrorCode::plan_invalid:
      return "PlanInvalid";
    case ErrorCode::engine_version:
      return "EngineVersionError";
    case ErrorCode::engine_platform:
      return "EnginePlatformError";
    case ErrorCode::plugin_not_found:
      return "PluginNotFound";
    case ErrorCode::shape:
      return "ShapeError";
    case ErrorCode::dtype:
      return "DtypeError";
    case ErrorCode::binding:
      return "BindingError";
    case ErrorCode::out_of_memory:
      return "OutOfMemory";
    case ErrorCode::context_busy:
      return "ContextBusy";
    case ErrorCode::cuda:
      return "CudaError";
    case ErrorCode::capture:
      return "CaptureError";
    case ErrorCode::device_mismatch:
      return "DeviceMismatch";
    case ErrorCode::cuda_context:
      return "CudaContextError";
    case ErrorCode::driver_not_found:
      return "DriverNotFound";
    case ErrorCode::not_refitted:
      return "NotRefitted";
    case ErrorCode::unsupported_feature:
      return "UnsupportedFeature";
    case ErrorCode::tensorrt:
      return "TensorRTError";
    case ErrorCode::cancelled:
      return "Cancelled";
    default:
      return "CureadyError";
  }
}

bool is_cuda_class(ErrorCode code) {
  switch (code) {
    case ErrorCode::out_of_memory:
    case ErrorCode::cuda:
    case ErrorCode::capture:
    case ErrorCode::device_mismatch:
    case ErrorCode::cuda_context:
    case ErrorCode::driver_not_found:
      return true;
    default:
      return false;
  }
}

py::list strings(std::vector<std::string> const& values) {
  py::list list;
  for (auto const& value : values) list.append(to_text(value));
  return list;
}

py::list shape_list(Dims const& shape) { return py::list(to_tuple(shape)); }

void add_shape_details(ShapeError const& error, py::dict& details) {
  if (error.tensor().empty()) return;
  details["tensor"] = error.tensor();
  details["got"] = shape_list(error.got());
  py::list allowed;
  for (ProfileBounds const& bounds : error.allowed()) {
    py::dict entry;
    entry["min"] = shape_list(bounds.min);
    entry["opt"] = shape_list(bounds.opt);
    entry["max"] = shape_list(bounds.max);
    allowed.append(entry);
  }
  details["allowed"] = allowed;
}

py::dict details_of(Error const& error) {
  py::dict details;
  if (auto const* e = dynamic_cast<ShapeError const*>(&error)) add_shape_details(*e, details);
  if (auto const* e = dynamic_cast<LibraryNotFound const*>(&error)) {
    details["searched"] = strings(e->searched());
  }
  if (auto const* e = dynamic_cast<DriverNotFound const*>(&error)) details["step"] = e->step();
  if (auto const* e = dynamic_cast<EngineVersionError const*>(&error)) {
    details["plan_version"] = e->plan().str();
    details["library_version"] = e->runtime().str();
  }
  if (auto const* e = dynamic_cast<PluginNotFound const*>(&error)) {
    details["plugin"] = e->plugin();
    details["plugin_version"] = e->version();
    details["plugin_namespace"] = e->plugin_namespace();
  }
  if (auto const* e = dynamic_cast<OutOfMemory const*>(&error)) {
    details["requested_bytes"] = e->requested();
    details["free_bytes"] = e->free();
    details["total_bytes"] = e->total();
  }
  if (error.cuda().code != 0 && !error.cuda().call.empty()) details["call"] = error.cuda().call;
  return details;
}

py::list vendor_words(Error const& error) {
  py::list words;
  for (LogRecord const& record : error.messages()) {
    words.append(py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(record.text.data(), static_cast<Py_ssize_t>(record.text.size()), "replace")));
  }
  if (error.cuda().code != 0) {
    words.append(py::str(error.cuda().name + ": " + error.cuda().description));
  }
  return words;
}

/// Tracebacks show notes (Python 3.11 and later), so a crash report holds TensorRT's words too.
void add_notes(py::object& exception, py::list const& words, std::string const& hint) {
  if (!py::hasattr(exception, "add_note")) return;
  for (py::handle word : words) exception.attr("add_note")(py::str("| {}").format(word));
  if (!hint.empty()) exception.attr("add_note")(to_text("hint: " + hint));
}

py::object make_exception(Error const& error) {
  py::object type = py::module_::import("cuready.errors").attr(class_of(error.code()));
  py::list words = vendor_words(error);
  py::dict arguments;
  arguments["operation"] = to_text(error.operation());
  arguments["messages"] = words;
  arguments["hint"] = to_text(error.hint());
  arguments["details"] = details_of(error);
  if (is_cuda_class(error.code())) {
    arguments["name"] = error.cuda().name;
    arguments["code"] = error.cuda().code;
  }
  std::string const& operation = error.operation();
  py::object exception =
      type(to_text(operation.empty() ? error.message() : operation + ": " + error.message()), **arguments);
  add_notes(exception, words, error.hint());
  return exception;
}

}  // namespace

void set_python_error(Error const& error) {
  try {
    py::object exception = make_exception(error);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  } catch (py::error_already_set& failed) {  // the interpreter is going down, or out of memory
    failed.restore();
  }
}

PyObject* raise_current() noexcept {
  try {
    throw;
  } catch (Error const& error) {
    set_python_error(error);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (ImportFailure const& error) {
    ErrorDetail detail;
    detail.message = error.what();
    set_python_error(BindingError(std::move(detail)));
  } catch (py::cast_error const& error) {  // an argument of another type, deeper than pybind11 checks
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (std::bad_alloc const&) {
    PyErr_NoMemory();
  } catch (std::exception const& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

void throw_missing_extra(char const* package, char const* what) {
  py::dict arguments;
  arguments["hint"] = py::str("python -m pip install 'cuready[runtime]'");
  std::string const text = std::string(what) + " needs " + package + ": run python -m pip install 'cuready[runtime]'";
  py::object type = py::module_::import("cuready.errors").attr("MissingExtra");
  py::object exception = type(py::str(text), **arguments);
  PyErr_SetObject(type.ptr(), exception.ptr());
  throw py::error_already_set();
}

}  // namespace cuready::python
