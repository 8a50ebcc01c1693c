// Python arrays as plain views: DLPack's C exchange API, the buffer protocol, __dlpack__ and
// __cuda_array_interface__, with the cheapest way remembered for each Python type.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "dlpack.hpp"

namespace cuready::python {

inline constexpr int kMaxRank = 8;  // TensorRT's own limit

enum class Memory : std::uint8_t { kHost, kPinned, kDevice, kManaged };

/// Why an object cannot be taken as an array; the caller adds the tensor's name.
struct ImportFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Owns one reference to a Python object. The GIL must be held at every change.
class Reference {
 public:
  Reference() = default;
  static Reference borrow(PyObject* object) {
    Py_XINCREF(object);
    return Reference(object);
  }
  static Reference steal(PyObject* object) { return Reference(object); }
  Reference(Reference&& other) noexcept : object_(other.object_) { other.object_ = nullptr; }
  Reference& operator=(Reference&& other) noexcept {
    PyObject* old = object_;
    object_ = other.object_;
    other.object_ = nullptr;
    Py_XDECREF(old);
    return *this;
  }
  ~Reference() { Py_XDECREF(object_); }
  PyObject* get() const { return object_; }
  PyObject* release() {
    PyObject* object = object_;
    object_ = nullptr;
    return object;
  }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  explicit Reference(PyObject* object) : object_(object) {}
  PyObject* object_ = nullptr;
};

/// A Python array as C sees it. `owner` and `buffer` keep the memory where it is.
struct ArrayView {
  void* data = nullptr;
  dlpack::DataType dtype{};
  Memory memory = Memory::kHost;
  bool contiguous = true;  // C order, without gaps
  bool read_only = false;
  bool has_producer_stream = false;  // the work on `producer_stream` must be waited for
  std::int32_t device = 0;
  std::int32_t rank = 0;
  std::int64_t shape[kMaxRank];  // `rank` of them
  void* producer_stream = nullptr;
  Reference owner;
  Py_buffer buffer;  // none while its obj is null

  ArrayView() { buffer.obj = nullptr; }
  ArrayView(ArrayView const&) = delete;
  ArrayView& operator=(ArrayView const&) = delete;
  ~ArrayView() {
    if (buffer.obj != nullptr) PyBuffer_Release(&buffer);
  }

  bool on_host() const { return memory == Memory::kHost || memory == Memory::kPinned; }
  std::int64_t bytes() const;
};

/// What one call has learned about its producers: a framework is asked for its current stream once,
/// not once for each array.
struct ImportSession {
  dlpack::ExchangeApi const* api = nullptr;
  std::int32_t device = -1;
  void* stream = nullptr;
};

/// A type whose arrays are ours reads them itself; returns false when the object is empty.
using OwnReader = void (*)(PyObject* object, ArrayView& view);

/// Makes `reader` the way to read objects of `type` (DeviceBuffer, PinnedBuffer).
void register_own_type(PyTypeObject* type, OwnReader reader);

/// Reads `object` into `view`, ordered on `consumer_stream` or with the producer's stream to wait
/// for. Raises ImportFailure for what is no array; Python errors of the producer become its text.
/// A host array must be writable when `writable` is set. `session` may be null.
void import_array(PyObject* object, void* consumer_stream, bool writable, ArrayView& view,
                  ImportSession* session = nullptr);

/// The field's name of a DLPack type: float32, bfloat16, bool, int8, float8_e4m3fn, …
std::string dtype_name(dlpack::DataType dtype);

/// The current Python error as "Type: message", cleared.
std::string take_python_error();

}  // namespace cuready::python
