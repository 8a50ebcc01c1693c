// How each kind of Python array is read. See array_import.hpp.
#include "array_import.hpp"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <utility>

namespace cuready::python {
namespace {

using dlpack::DataType;

enum class Way : std::uint8_t { kOwn, kExchange, kBuffer, kDlpack, kCudaArrayInterface, kNone };

/// An object does not offer what its type promises: the next way is tried.
struct WayRefused : ImportFailure {
  using ImportFailure::ImportFailure;
};

struct Importer {
  PyTypeObject* type = nullptr;  // kept alive: a freed type's address may be given to another
  Way ways[4] = {Way::kNone, Way::kNone, Way::kNone, Way::kNone};  // the best first
  bool takes_max_version = true;
  OwnReader own = nullptr;
  dlpack::ExchangeApi const* exchange = nullptr;
};

// Guarded by the GIL, like everything in this file. Few types ever appear in one process.
std::deque<Importer>& importers() {
  static auto* table = new std::deque<Importer>();  // never destroyed: used until the very end
  return *table;
}

struct Names {
  PyObject* exchange_api = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
  PyObject* dlpack = PyUnicode_InternFromString("__dlpack__");
  PyObject* dlpack_device = PyUnicode_InternFromString("__dlpack_device__");
  PyObject* cuda_array_interface = PyUnicode_InternFromString("__cuda_array_interface__");
  PyObject* stream = PyUnicode_InternFromString("stream");
  PyObject* max_version = PyUnicode_InternFromString("max_version");
  PyObject* version_1_1 = Py_BuildValue("(ii)", 1, 1);
};

Names const& names() {
  static auto* table = new Names();
  return *table;
}

[[noreturn]] void fail_with_python_error(std::string const& what) {
  throw ImportFailure(what + ": " + take_python_error());
}

[[noreturn]] void refuse_way(std::string const& what) { throw WayRefused(what + ": " + take_python_error()); }

bool has_attribute(PyTypeObject* type, PyObject* name) { return _PyType_Lookup(type, name) != nullptr; }

dlpack::ExchangeApi const* exchange_api_of(PyTypeObject* type) {
  if (!has_attribute(type, names().exchange_api)) return nullptr;
  Reference capsule = Reference::steal(PyObject_GetAttr(reinterpret_cast<PyObject*>(type), names().exchange_api));
  void* pointer = nullptr;
  if (capsule && PyCapsule_CheckExact(capsule.get())) {
    pointer = PyCapsule_GetPointer(capsule.get(), dlpack::kExchangeCapsule);
  }
  PyErr_Clear();
  auto const* api = static_cast<dlpack::ExchangeApi const*>(pointer);
  while (api != nullptr && api->version.major != 1) api = api->previous;
  if (api == nullptr || api->tensor_from_object == nullptr) return nullptr;
  return api->current_work_stream == nullptr ? nullptr : api;
}

/// Types with __cuda_array_interface__ are made for device memory: their buffer protocol, where they
/// have one, refuses it (CuPy since 14) or copies. Types without are asked for a buffer first, which
/// is three times as fast as __dlpack__ and gives read-only arrays too.
Importer make_importer(PyTypeObject* type) {
  Importer made;
  made.type = type;
  made.exchange = exchange_api_of(type);
  bool const buffer = type->tp_as_buffer != nullptr && type->tp_as_buffer->bf_getbuffer != nullptr;
  bool const interface = has_attribute(type, names().cuda_array_interface);
  Way* next = made.ways;
  if (made.exchange != nullptr) *next++ = Way::kExchange;
  if (buffer && !interface) *next++ = Way::kBuffer;
  if (has_attribute(type, names().dlpack)) *next++ = Way::kDlpack;
  if (interface) *next++ = Way::kCudaArrayInterface;
  if (buffer && interface) *next++ = Way::kBuffer;
  return made;
}

Importer& importer_of(PyTypeObject* type) {
  auto& table = importers();
  for (Importer& known : table) {
    if (known.type == type) return known;
  }
  Importer made = make_importer(type);
  Py_INCREF(type);
  table.push_back(made);
  return table.back();
}

bool is_contiguous(std::int32_t rank, std::int64_t const* shape, std::int64_t const* strides, std::int64_t unit) {
  std::int64_t expected = unit;
  for (int i = 0; i < rank; ++i) {
    if (shape[i] == 0) return true;
  }
  for (int i = rank - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

void set_rank(ArrayView& view, std::int64_t rank) {
  if (rank > kMaxRank) {
    throw ImportFailure("it has " + std::to_string(rank) + " dimensions; TensorRT allows 8");
  }
  view.rank = static_cast<std::int32_t>(rank);
}

void read_tensor(dlpack::Tensor const& tensor, ArrayView& view) {
  set_rank(view, tensor.ndim);
  if (tensor.dtype.lanes != 1) throw ImportFailure("its element type is a vector");
  for (int i = 0; i < tensor.ndim; ++i) view.shape[i] = tensor.shape[i];
  view.contiguous = tensor.strides == nullptr || is_contiguous(tensor.ndim, tensor.shape, tensor.strides, 1);
  view.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  view.dtype = tensor.dtype;
  view.device = tensor.device.id;
  switch (tensor.device.type) {
    case dlpack::kCpu:
      view.memory = Memory::kHost;
      break;
    case dlpack::kCuda:
      view.memory = Memory::kDevice;
      break;
    case dlpack::kCudaHost:
      view.memory = Memory::kPinned;
      break;
    case dlpack::kCudaManaged:
      view.memory = Memory::kManaged;
      break;
    default:
      throw ImportFailure("it lies on a device that is neither CUDA's nor the host (DLPack type " +
                          std::to_string(tensor.device.type) + ")");
  }
}

void* current_stream(dlpack::ExchangeApi const* api, dlpack::Device const& device, ImportSession* session) {
  if (session != nullptr && session->api == api && session->device == device.id) return session->stream;
  void* stream = nullptr;
  if (api->current_work_stream(device.type, device.id, &stream) != 0) {
    fail_with_python_error("its DLPack exchange gave no stream");
  }
  if (session != nullptr) *session = {api, device.id, stream};
  return stream;
}

void read_exchange(PyObject* object, Importer const& importer, void* consumer_stream, ArrayView& view,
                   ImportSession* session) {
  dlpack::Tensor tensor{};
  if (importer.exchange->tensor_from_object(object, &tensor) != 0) {
    refuse_way("its DLPack exchange failed");
  }
  read_tensor(tensor, view);
  view.owner = Reference::borrow(object);
  if (view.memory != Memory::kDevice) return;
  view.producer_stream = current_stream(importer.exchange, tensor.device, session);
  view.has_producer_stream = view.producer_stream != consumer_stream;
}

DataType type_of_format(char const* format, std::int64_t size) {
  char const* code = format == nullptr ? "B" : format;
  if (*code == '@' || *code == '=' || *code == '<' || *code == '|') ++code;
  if (*code != '\0' && code[1] != '\0') return {};  // a structure
  auto const bits = static_cast<std::uint8_t>(size * 8);
  switch (*code) {
    case '?':
      return {dlpack::kBool, 8, 1};
    case 'e':
    case 'f':
    case 'd':
      return {dlpack::kFloat, bits, 1};
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
    case 'n':
      return {dlpack::kInt, bits, 1};
    case 'B':
    case 'H':
    case 'I':
    case 'L':
    case 'Q':
    case 'N':
      return {dlpack::kUInt, bits, 1};
    default:
      return {};
  }
}

/// ml_dtypes' arrays refuse the buffer protocol; their bits are read as unsigned integers.
bool read_extension_dtype(PyObject* object, bool writable, ArrayView& view) {
  static constexpr struct {
    char const* name;
    char const* raw;
    DataType type;
  } kTypes[] = {
      {"bfloat16", "uint16", {dlpack::kBfloat, 16, 1}},
      {"float8_e4m3fn", "uint8", {dlpack::kFloat8E4m3fn, 8, 1}},
      {"float8_e8m0fnu", "uint8", {dlpack::kFloat8E8m0fnu, 8, 1}},
  };
  Reference dtype = Reference::steal(PyObject_GetAttrString(object, "dtype"));
  Reference name = Reference::steal(dtype ? PyObject_GetAttrString(dtype.get(), "name") : nullptr);
  char const* text = name && PyUnicode_Check(name.get()) ? PyUnicode_AsUTF8(name.get()) : nullptr;
  PyErr_Clear();
  if (text == nullptr) return false;
  for (auto const& known : kTypes) {
    if (std::strcmp(text, known.name) != 0) continue;
    Reference raw = Reference::steal(PyObject_CallMethod(object, "view", "s", known.raw));
    if (!raw) fail_with_python_error("its bits cannot be read");
    import_array(raw.get(), nullptr, writable, view);
    view.dtype = known.type;
    return true;
  }
  return false;
}

void read_buffer(PyObject* object, bool writable, ArrayView& view) {
  if (PyObject_GetBuffer(object, &view.buffer, PyBUF_STRIDES | PyBUF_FORMAT) != 0) {
    view.buffer.obj = nullptr;
    std::string const reason = take_python_error();
    if (read_extension_dtype(object, writable, view)) return;
    throw WayRefused("its buffer cannot be read: " + reason);
  }
  Py_buffer const& buffer = view.buffer;
  if (writable && buffer.readonly != 0) throw ImportFailure("it is read-only");
  set_rank(view, buffer.ndim);
  view.data = buffer.buf;
  view.read_only = buffer.readonly != 0;
  view.dtype = type_of_format(buffer.format, buffer.itemsize);
  if (view.dtype.lanes == 0) {
    char const* format = buffer.format == nullptr ? "" : buffer.format;
    throw ImportFailure(std::string("its element type (buffer format '") + format + "') is none of TensorRT's");
  }
  std::int64_t shape[kMaxRank];
  std::int64_t strides[kMaxRank];
  for (int i = 0; i < buffer.ndim; ++i) {
    view.shape[i] = shape[i] = buffer.shape[i];
    strides[i] = buffer.strides[i];
  }
  view.contiguous = is_contiguous(view.rank, shape, strides, buffer.itemsize);
}

Reference call_dlpack(PyObject* object, Importer& importer, PyObject* stream) {
  Reference method = Reference::steal(PyObject_GetAttr(object, names().dlpack));
  if (!method) return method;
  if (importer.takes_max_version) {
    PyObject* arguments[] = {stream, names().version_1_1};
    static PyObject* const kNames = PyTuple_Pack(2, names().stream, names().max_version);
    Reference capsule = Reference::steal(PyObject_Vectorcall(method.get(), arguments, 0, kNames));
    if (capsule || PyErr_ExceptionMatches(PyExc_TypeError) == 0) return capsule;
    PyErr_Clear();
    importer.takes_max_version = false;  // a producer from before DLPack 1.0
  }
  PyObject* arguments[] = {stream};
  static PyObject* const kNames = PyTuple_Pack(1, names().stream);
  return Reference::steal(PyObject_Vectorcall(method.get(), arguments, 0, kNames));
}

/// Stream numbers of the protocol: 1 is the legacy default stream, 2 the per-thread one.
Reference stream_number(void* stream) {
  auto const handle = reinterpret_cast<std::uintptr_t>(stream);
  return Reference::steal(PyLong_FromUnsignedLongLong(handle == 0 ? 1 : handle));
}

void read_dlpack(PyObject* object, Importer& importer, void* consumer_stream, ArrayView& view) {
  Reference place = Reference::steal(PyObject_CallMethodNoArgs(object, names().dlpack_device));
  if (!place || !PyTuple_Check(place.get()) || PyTuple_GET_SIZE(place.get()) != 2) {
    refuse_way("its __dlpack_device__ failed");
  }
  long const device_type = PyLong_AsLong(PyTuple_GET_ITEM(place.get(), 0));
  bool const on_device = device_type == dlpack::kCuda || device_type == dlpack::kCudaManaged;
  Reference stream = on_device ? stream_number(consumer_stream) : Reference::borrow(Py_None);
  Reference capsule = call_dlpack(object, importer, stream.get());
  if (!capsule) refuse_way("its __dlpack__ failed");
  // The capsule is held, not consumed: its own destructor gives the tensor back.
  if (PyCapsule_IsValid(capsule.get(), dlpack::kCapsuleVersioned) != 0) {
    auto* managed =
        static_cast<dlpack::ManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.get(), dlpack::kCapsuleVersioned));
    if (managed->version.major != 1) throw ImportFailure("its DLPack version is not 1.x");
    read_tensor(managed->tensor, view);
    view.read_only = (managed->flags & dlpack::kFlagReadOnly) != 0;
  } else if (PyCapsule_IsValid(capsule.get(), dlpack::kCapsule) != 0) {
    read_tensor(static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.get(), dlpack::kCapsule))->tensor,
                view);
  } else {
    PyErr_Clear();
    throw ImportFailure("its __dlpack__ gave no DLPack capsule");
  }
  view.owner = std::move(capsule);
}

PyObject* required(PyObject* dict, char const* key) {
  PyObject* value = PyDict_GetItemString(dict, key);
  if (value == nullptr) {
    throw ImportFailure(std::string("its __cuda_array_interface__ has no '") + key + "'");
  }
  return value;
}

DataType type_of_typestr(PyObject* typestr) {
  char const* text = PyUnicode_Check(typestr) ? PyUnicode_AsUTF8(typestr) : nullptr;
  if (text == nullptr || std::strlen(text) < 3 || text[0] == '>') {
    PyErr_Clear();
    throw ImportFailure("the typestr of its __cuda_array_interface__ is not understood");
  }
  auto const bits = static_cast<std::uint8_t>(std::atoi(text + 2) * 8);
  switch (text[1]) {
    case 'f':
      return {dlpack::kFloat, bits, 1};
    case 'i':
      return {dlpack::kInt, bits, 1};
    case 'u':
      return {dlpack::kUInt, bits, 1};
    case 'b':
      return {dlpack::kBool, 8, 1};
    default:
      throw ImportFailure(std::string("its element type ") + text + " is none of TensorRT's");
  }
}

void read_long_tuple(PyObject* tuple, char const* what, std::int64_t (&out)[kMaxRank], ArrayView& view) {
  if (!PyTuple_Check(tuple)) throw ImportFailure(std::string("its ") + what + " is no tuple");
  set_rank(view, PyTuple_GET_SIZE(tuple));
  for (int i = 0; i < view.rank; ++i) out[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, i));
  if (PyErr_Occurred() != nullptr) fail_with_python_error(std::string("its ") + what);
}

void read_cuda_array_interface(PyObject* object, void* consumer_stream, ArrayView& view) {
  Reference dict = Reference::steal(PyObject_GetAttr(object, names().cuda_array_interface));
  if (!dict || !PyDict_Check(dict.get())) {
    refuse_way("its __cuda_array_interface__ failed");
  }
  read_long_tuple(required(dict.get(), "shape"), "shape", view.shape, view);
  view.dtype = type_of_typestr(required(dict.get(), "typestr"));
  PyObject* data = required(dict.get(), "data");
  if (!PyTuple_Check(data) || PyTuple_GET_SIZE(data) != 2) {
    throw ImportFailure("the data of its __cuda_array_interface__ is no pair");
  }
  view.data = reinterpret_cast<void*>(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(data, 0)));
  view.read_only = PyObject_IsTrue(PyTuple_GET_ITEM(data, 1)) == 1;
  if (PyErr_Occurred() != nullptr) fail_with_python_error("its data pointer");
  PyObject* strides = PyDict_GetItemString(dict.get(), "strides");
  if (strides != nullptr && strides != Py_None) {
    std::int64_t steps[kMaxRank];
    read_long_tuple(strides, "strides", steps, view);
    view.contiguous = is_contiguous(view.rank, view.shape, steps, view.dtype.bits / 8);
  }
  view.memory = Memory::kDevice;
  view.device = -1;  // the interface does not say; the driver is asked
  PyObject* stream = PyDict_GetItemString(dict.get(), "stream");
  if (stream != nullptr && stream != Py_None) {
    view.producer_stream = reinterpret_cast<void*>(PyLong_AsUnsignedLongLong(stream));
    if (PyErr_Occurred() != nullptr) fail_with_python_error("its stream");
    view.has_producer_stream = view.producer_stream != consumer_stream;
  }
  view.owner = Reference::borrow(object);
}

void read(Way way, PyObject* object, Importer& importer, void* consumer_stream, bool writable, ArrayView& view,
          ImportSession* session) {
  switch (way) {
    case Way::kOwn:
      return importer.own(object, view);
    case Way::kExchange:
      return read_exchange(object, importer, consumer_stream, view, session);
    case Way::kBuffer:
      return read_buffer(object, writable, view);
    case Way::kDlpack:
      return read_dlpack(object, importer, consumer_stream, view);
    case Way::kCudaArrayInterface:
      return read_cuda_array_interface(object, consumer_stream, view);
    case Way::kNone:
      return;
  }
}

}  // namespace

std::int64_t ArrayView::bytes() const {
  std::int64_t count = 1;
  for (int i = 0; i < rank; ++i) count *= shape[i];
  return (count * dtype.bits + 7) / 8;
}

void register_own_type(PyTypeObject* type, OwnReader reader) {
  Importer made;
  made.type = type;
  made.ways[0] = Way::kOwn;
  made.own = reader;
  Py_INCREF(type);
  importers().push_back(made);
}

void import_array(PyObject* object, void* consumer_stream, bool writable, ArrayView& view, ImportSession* session) {
  Importer& importer = importer_of(Py_TYPE(object));
  std::string refused;
  for (Way way : importer.ways) {
    if (way == Way::kNone) break;
    try {
      read(way, object, importer, consumer_stream, writable, view, session);
      if (writable && view.read_only) throw ImportFailure("it is read-only");
      return;
    } catch (WayRefused const& error) {
      refused += (refused.empty() ? "" : "; ") + std::string(error.what());
    }
  }
  if (!refused.empty()) throw ImportFailure(refused);
  throw ImportFailure(std::string("a ") + Py_TYPE(object)->tp_name +
                      " is no array: it has no DLPack, __cuda_array_interface__ or buffer");
}

std::string dtype_name(DataType dtype) {
  switch (dtype.code) {
    case dlpack::kInt:
      return "int" + std::to_string(dtype.bits);
    case dlpack::kUInt:
      return "uint" + std::to_string(dtype.bits);
    case dlpack::kFloat:
      return "float" + std::to_string(dtype.bits);
    case dlpack::kBfloat:
      return "bfloat" + std::to_string(dtype.bits);
    case dlpack::kBool:
      return "bool";
    case dlpack::kFloat8E4m3fn:
      return "float8_e4m3fn";
    case dlpack::kFloat8E8m0fnu:
      return "float8_e8m0fnu";
    case dlpack::kFloat4E2m1fn:
      return "float4_e2m1fn";
    default:
      return "DLPack type " + std::to_string(dtype.code) + " of " + std::to_string(dtype.bits) + " bits";
  }
}

std::string take_python_error() {
  if (PyErr_Occurred() == nullptr) return "no reason given";
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  std::string text = reinterpret_cast<PyTypeObject*>(type)->tp_name;
  Reference message = Reference::steal(value == nullptr ? nullptr : PyObject_Str(value));
  char const* words = message ? PyUnicode_AsUTF8(message.get()) : nullptr;
  if (words != nullptr && *words != '\0') text += std::string(": ") + words;
  PyErr_Clear();
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(trace);
  return text;
}

}  // namespace cuready::python
