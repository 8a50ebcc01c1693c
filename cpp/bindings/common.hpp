// What every file of the bindings needs: conversions between the C++ API's values and Python's, the
// translation of errors, and raw fast-call methods on pybind11 types.
#pragma once

// Its own tag, so that no other extension's pybind11 types can be mistaken for ours.
#include <pybind11/pybind11.h>

#include <cuready/cuready.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "array_import.hpp"

namespace cuready::python {

namespace py = pybind11;

void bind_library(py::module_& module);
void bind_device(py::module_& module);
void bind_buffers(py::module_& module);
void bind_engine(py::module_& module);
void bind_context(py::module_& module);
void bind_pool(py::module_& module);
void bind_kernels(py::module_& module);

/// Gives up the GIL for a scope; cheaper than pybind11's, which looks up its own state.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() { PyEval_RestoreThread(state_); }
  Unlocked(Unlocked const&) = delete;
  Unlocked& operator=(Unlocked const&) = delete;

 private:
  PyThreadState* state_;
};

/// True once Python objects must not be touched any more.
inline bool interpreter_is_ending() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsInitialized() == 0 || Py_IsFinalizing() != 0;
#else
  return Py_IsInitialized() == 0 || _Py_IsFinalizing() != 0;
#endif
}

// --- errors -----------------------------------------------------------------------------------

/// Sets the Python exception of cuready.errors that stands for `error`.
void set_python_error(Error const& error);

/// To be called inside a catch block of a raw method: sets the Python exception for whatever was
/// thrown and returns null.
PyObject* raise_current() noexcept;

/// Raises MissingExtra for an optional Python package; the message is one line.
[[noreturn]] void throw_missing_extra(char const* package, char const* what);

// --- imports ----------------------------------------------------------------------------------

/// An attribute of a Python module, imported at the first call and kept until exit. `kept` is a static that begins as
/// null: C++'s own guard of a static would be held while the import gives up the GIL, and the next thread would wait for
/// it with the GIL in its hands.
py::handle import_once(PyObject*& kept, char const* module, char const* attribute);

// --- values -----------------------------------------------------------------------------------

/// A tensor's name as the one str that stands for it everywhere: names of an engine's mappings are
/// then found by their address alone. Bytes that are no UTF-8 become surrogates, as in file names.
py::object interned_name(std::string const& name);
/// Text that may hold a path: bytes that are no UTF-8 become surrogates, as os.fsdecode() does.
py::str to_text(std::string const& text);
py::tuple to_tuple(Dims const& shape);
/// Throws InvalidArgument for what is no mapping.
void require_mapping(char const* operation, py::handle arrays);
/// Throws InvalidArgument for what is no sequence of integers, ShapeError beyond rank 8.
Dims to_dims(py::handle shape);
py::object to_python(Version const& version);
/// The index of an optimization profile, -1 for None and "auto". Throws InvalidArgument.
int to_profile(py::handle profile);
/// DLPack's code for a TensorRT type; lanes 0 when DLPack has none.
dlpack::DataType to_dlpack(DataType type);
/// "float32" → DataType. Throws InvalidArgument.
DataType to_data_type(std::string const& name);
/// An array's own type; throws ImportFailure when TensorRT has no such type.
DataType to_data_type(dlpack::DataType type);

/// Moves TensorRT's log records from the ring to the Python logger "cuready.tensorrt". GIL held.
void pump_log() noexcept;

// --- streams ----------------------------------------------------------------------------------

/// The stream that `object` stands for: ours, an integer handle, or anything with
/// `__cuda_stream__`, `.cuda_stream` (torch) or `.ptr` (cupy). `fallback` for None and null.
StreamRef to_stream(PyObject* object, StreamRef fallback);
/// Keeps a Python object alive; may be let go without the GIL.
std::shared_ptr<void> python_owner(py::handle object);

// --- raw methods ------------------------------------------------------------------------------

/// The C++ object behind a pybind11 instance of a class with one base and a simple holder: one load
/// instead of a cast through the type registry. Null for an instance whose __init__ never ran.
template <class T>
T* self_of(PyObject* self) {
  return static_cast<T*>(reinterpret_cast<py::detail::instance*>(self)->simple_value_holder[0]);
}

/// Puts a METH_FASTCALL | METH_KEYWORDS function on a type, as `type.name`: calls cost 30 ns
/// instead of pybind11's 100-200 ns. `def` must live for ever.
void add_raw_method(py::handle type, PyMethodDef* def);

using RawFunction = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);

inline PyMethodDef raw_method(char const* name, RawFunction function, char const* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)), METH_FASTCALL | METH_KEYWORDS,
          doc};
}

/// Value of the keyword `name` among the keyword arguments, or null.
inline PyObject* keyword(PyObject* const* arguments, Py_ssize_t positional, PyObject* names, char const* name) {
  if (names == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i) {
    if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), name) == 0) {
      return arguments[positional + i];
    }
  }
  return nullptr;
}

/// Destroys `value` without the GIL: TensorRT and CUDA may wait in their destructors. After the
/// interpreter has ended the object is left to the operating system.
template <class T>
void release_without_gil(T& value) noexcept {
  if (interpreter_is_ending()) {
    new T(std::move(value));  // leaked on purpose: the driver may be gone already
    return;
  }
  PyThreadState* state = PyEval_SaveThread();
  value = T();
  PyEval_RestoreThread(state);
}

}  // namespace cuready::python
