// Binding: Python arrays become tensor views, ordered on the right stream and kept alive until the
// GPU is done with them.
#include <algorithm>
#include <cstring>

#include "context.hpp"
#include "layout.hpp"

namespace cuready::python {
namespace {

TensorView view_of(ArrayView const& view, DataType dtype) {
  return {view.data, dtype, Dims(Span<std::int64_t const>(view.shape, static_cast<std::size_t>(view.rank))),
          view.on_host() ? TensorLocation::host : TensorLocation::device, view.device};
}

}  // namespace

void refuse_tensor(char const* operation, TensorInfo const& tensor, std::string const& reason, std::string hint) {
  ErrorDetail detail;
  detail.operation = operation;
  detail.message =
      std::string(tensor.mode == TensorMode::input ? "input" : "output") + " '" + tensor.name + "': " + reason;
  detail.hint = std::move(hint);
  throw BindingError(std::move(detail));
}

void refuse_shape(char const* operation, TensorInfo const& tensor, Dims const& shape, Dims const& given) {
  throw ShapeError({operation,
                    "output '" + tensor.name + "' has shape " + shape.str() + "; the array has " + given.str(),
                    "",
                    {},
                    {}});
}

TensorView checked_view(char const* operation, TensorInfo const& tensor, ArrayView const& view) {
  if (!stands_for(view.dtype, tensor.dtype)) {
    ErrorDetail detail;
    detail.operation = operation;
    detail.message = std::string(tensor.mode == TensorMode::input ? "input" : "output") + " '" + tensor.name +
                     "' takes " + name(tensor.dtype) + ", not " + dtype_name(view.dtype);
    detail.hint = "convert the array first; cuready never converts silently";
    throw DtypeError(std::move(detail));
  }
  if (!view.contiguous) {
    refuse_tensor(operation, tensor, "the array is not contiguous in C order",
                  "pass x.contiguous() (torch) or numpy.ascontiguousarray(x)");
  }
  TensorView made = view_of(view, tensor.dtype);
  if (bits(tensor.dtype) < 8 && view.dtype.bits == 8) {
    made.shape = unpacked_shape(made.shape, tensor.dtype);
  }
  if (tensor.location == TensorLocation::device && !tensor.is_linear() && !view.on_host()) {
    refuse_tensor(operation, tensor, "its layout is " + name(tensor.format) + ", and a device array is in C order",
                  "pass a host array, which is repacked");
  }
  if (view.memory == Memory::kDevice && view.device < 0 && view.data != nullptr) {
    made.device = pointer_info(view.data).device;
    if (made.device < 0) {
      refuse_tensor(operation, tensor, "its memory belongs to no GPU",
                    "the pointer of its __cuda_array_interface__ is host memory or was freed");
    }
  }
  return made;
}

// --- arguments --------------------------------------------------------------------------------

void PyContext::refuse_name(PyObject* name) const {
  std::string known;
  for (TensorInfo const& tensor : engine_->tensors()) {
    known += (known.empty() ? "'" : ", '") + tensor.name + "'";
  }
  ErrorDetail detail;
  detail.operation = "bind";
  detail.message = "the engine has no tensor " + std::string(py::repr(name)) + "; it has " + known;
  throw BindingError(std::move(detail));
}

int PyContext::index_of(PyObject* name, std::size_t hint) {
  if (hint < names_.size() && names_[hint] == name) return static_cast<int>(hint);
  PyObject* found = PyDict_GetItemWithError(index_by_name_, name);
  if (found == nullptr) {
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    refuse_name(name);
  }
  return static_cast<int>(PyLong_AsLong(found));
}

void PyContext::collect_mapping(PyObject* mapping, std::vector<Given>& given) {
  Reference copy;
  if (!PyDict_Check(mapping)) {  // any other Mapping
    copy = Reference::steal(PyDict_New());
    if (!copy || PyDict_Update(copy.get(), mapping) != 0) throw py::error_already_set();
    mapping = copy.get();
  }
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t position = 0;
  std::size_t hint = given.empty() ? 0 : static_cast<std::size_t>(given.back().index) + 1;
  while (PyDict_Next(mapping, &position, &key, &value) != 0) {
    int const index = index_of(key, hint);
    given.push_back({index, value});
    hint = static_cast<std::size_t>(index) + 1;
  }
}

void PyContext::collect_sequence(PyObject* sequence, std::vector<Given>& given) {
  Py_ssize_t const size = PySequence_Fast_GET_SIZE(sequence);
  auto const expected = static_cast<Py_ssize_t>(names_.size());
  if (size != expected) {
    ErrorDetail detail;
    detail.operation = "bind";
    detail.message = "a sequence binds every tensor in the engine's order: " + std::to_string(expected) +
                     " arrays, not " + std::to_string(size);
    throw BindingError(std::move(detail));
  }
  for (Py_ssize_t i = 0; i < size; ++i) {
    given.push_back({static_cast<int>(i), PySequence_Fast_GET_ITEM(sequence, i)});
  }
}

/// The arrays of f(mapping_or_sequence, …, **arrays). The keyword tuple of a call site is the same
/// object at every call, so the names in it are looked up once. `stream` is no array, nor is run()'s `outputs`.
void PyContext::collect(PyObject* const* arguments, Py_ssize_t count, PyObject* names, bool of_run,
                        std::vector<Given>& given) {
  given.clear();
  if (count >= 1 && arguments[0] != Py_None) {
    if (PyDict_Check(arguments[0])) {
      collect_mapping(arguments[0], given);
    } else if (PyList_Check(arguments[0]) || PyTuple_Check(arguments[0])) {
      collect_sequence(arguments[0], given);
    } else {
      require_mapping("bind", arguments[0]);
      collect_mapping(arguments[0], given);
    }
  }
  if (names == nullptr) return;
  if (names != last_keywords_ || of_run != last_keywords_of_run_) {
    std::vector<int> indices;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i) {
      PyObject* key = PyTuple_GET_ITEM(names, i);
      bool const is_tensor = PyUnicode_CompareWithASCIIString(key, "stream") != 0 &&
                             !(of_run && PyUnicode_CompareWithASCIIString(key, "outputs") == 0);
      indices.push_back(is_tensor ? index_of(key, static_cast<std::size_t>(i)) : -1);
    }
    last_keyword_indices_ = std::move(indices);
    last_keywords_of_run_ = of_run;
    Py_INCREF(names);
    Py_XSETREF(last_keywords_, names);
  }
  std::size_t const positional = given.size();
  for (std::size_t i = 0; i < last_keyword_indices_.size(); ++i) {
    int const index = last_keyword_indices_[i];
    if (index < 0) continue;
    for (std::size_t other = 0; other < positional; ++other) {
      if (given[other].index == index) refuse_tensor("bind", tensor(index), "it was given twice");
    }
    given.push_back({index, arguments[count + static_cast<Py_ssize_t>(i)]});
  }
}

// --- arrays -----------------------------------------------------------------------------------

void PyContext::wait_for_producer(ArrayView const& view, StreamRef stream) {
  if (!view.has_producer_stream || StreamRef(view.producer_stream) == stream) return;
  if (std::find(waited_.begin(), waited_.end(), view.producer_stream) != waited_.end()) return;
  // The driver would refuse an event of one GPU on a stream of another; the core has better words for the array.
  if (view.device >= 0 && view.device != device_.ordinal()) return;
  stream_wait(device_, stream, StreamRef(view.producer_stream));
  waited_.push_back(view.producer_stream);
  put_on(stream);
}

/// Something was put on the stream that the next run has to come after; what an earlier call put on another one, too.
void PyContext::put_on(StreamRef stream) {
  if (has_order_ && order_on_ != stream) stream_wait(device_, stream, order_on_);
  has_order_ = true;
  order_on_ = stream;
  hold(order_stream_, call_stream_);
}

/// A host array for a device input: copied now, through pinned memory, in the order of `stream`.
void PyContext::take_host(TensorInfo const& tensor, ArrayView const& view, StreamRef stream, BindingState& state) {
  auto const index = static_cast<std::size_t>(tensor.index);
  if (tensor.mode != TensorMode::input) {
    refuse_tensor("bind", tensor, "the array is on the host",
                  "use run(), or bind a DeviceBuffer and copy it afterwards");
  }
  TensorView& bound = state.views[index];
  std::size_t const bytes = tensor.bytes_for(bound.shape);
  std::vector<unsigned char> packed;
  void const* source = view.data;
  if (!tensor.is_linear()) {
    if (!can_repack(tensor, bound.shape)) {
      refuse_tensor("bind", tensor, "arrays cannot be repacked to its layout " + name(tensor.format));
    }
    packed.resize(bytes);
    pack(tensor, bound.shape, view.data, packed.data());
    source = packed.data();
  }
  if (!staging_) staging_ = std::make_unique<StagingRing>(device_, 2);
  state.holds_host = true;
  state.staged[index] = std::make_shared<DeviceBuffer>(device_, bytes);
  staging_->upload(state.staged[index]->data(), source, bytes, stream);
  bound.data = state.staged[index]->data();
  bound.location = TensorLocation::device;
  bound.device = device_.ordinal();
  bound.nbytes = bytes;
  put_on(stream);
}

void PyContext::take(Given const& given, StreamRef stream, BindingState& state) {
  auto const index = static_cast<std::size_t>(given.index);
  Traits const& traits = traits_[index];
  if (state.holds_host) {
    state.staged[index].reset();
    state.values[index].clear();
  }
  if (given.array == Py_None) {  // the context's own memory
    if (traits.is_input) refuse_tensor("bind", tensor(given.index), "None is no array");
    state.views[index] = TensorView();
    Py_CLEAR(state.owners[index]);
    state.bound[index] = 1;
    return;
  }
  ArrayView view;
  try {
    import_array(given.array, stream.handle, !traits.is_input, view, &session_);
  } catch (ImportFailure const& error) {
    refuse_tensor("bind", tensor(given.index), error.what());
  }
  bool const as_it_is = traits.is_plain && view.memory == Memory::kDevice && view.device >= 0 && view.contiguous &&
                        view.dtype.code == traits.type.code && view.dtype.bits == traits.type.bits;
  if (as_it_is) {
    state.views[index] = view_of(view, traits.dtype);
    wait_for_producer(view, stream);
  } else {
    take_checked(tensor(given.index), view, stream, state);
  }
  Py_XINCREF(given.array);
  Py_XSETREF(state.owners[index], given.array);
  if (view.owner && view.owner.get() != given.array) {  // a DLPack capsule owns the memory
    Py_XSETREF(state.owners[index], view.owner.release());
  }
  state.bound[index] = 1;
}

/// An array that has to be looked at more closely: on the host, of another kind of type, or wrong.
void PyContext::take_checked(TensorInfo const& tensor, ArrayView const& view, StreamRef stream, BindingState& state) {
  auto const index = static_cast<std::size_t>(tensor.index);
  state.views[index] = checked_view("bind", tensor, view);
  if (tensor.location == TensorLocation::host) {
    if (!view.on_host()) {
      refuse_tensor("bind", tensor, "its values are read on the host, and the array is on a device");
    }
    TensorView& bound = state.views[index];
    if (tensor.mode == TensorMode::input) {  // values are copied: they may change after this
      std::size_t const bytes = static_cast<std::size_t>(view.bytes());
      state.holds_host = true;
      state.values[index].resize((bytes + 7) / 8 + 1);
      std::memcpy(state.values[index].data(), view.data, bytes);
      bound.data = state.values[index].data();
    }
  } else if (view.on_host()) {
    take_host(tensor, view, stream, state);
  } else {
    wait_for_producer(view, stream);
  }
}

/// Hands the state to the core: all at once when every input is there, so that the profile is
/// chosen from all shapes; one by one otherwise.
void PyContext::apply(BindingState const& state) {
  auto const& inputs = engine_->inputs();
  bool const complete = std::all_of(inputs.begin(), inputs.end(),
                                    [&](int index) { return state.bound[static_cast<std::size_t>(index)] != 0; });
  if (complete) {
    input_views_.clear();
    output_views_.clear();
    for (int index : inputs) input_views_.push_back(state.views[static_cast<std::size_t>(index)]);
    for (int index : engine_->outputs()) {
      auto const at = static_cast<std::size_t>(index);
      output_views_.push_back(state.bound[at] != 0 ? state.views[at] : TensorView());
    }
    core_->bind_all(Span<TensorView const>(input_views_.data(), input_views_.size()),
                    Span<TensorView const>(output_views_.data(), output_views_.size()));
    return;
  }
  for (std::size_t i = 0; i < state.views.size(); ++i) {
    if (state.bound[i] == 0) continue;
    if (state.views[i].data == nullptr && tensor(static_cast<int>(i)).mode == TensorMode::output) {
      core_->allocate_output(static_cast<int>(i));
    } else {
      core_->bind(static_cast<int>(i), state.views[i]);
    }
  }
}

PyObject* PyContext::bind(PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  if (count > 1) {
    PyErr_SetString(PyExc_TypeError, "bind() takes one positional argument: a mapping or a sequence");
    return nullptr;
  }
  collect(arguments, count, names, false, given_);
  call_stream_ = keyword(arguments, count, names, "stream");
  StreamRef const stream = to_stream(call_stream_, stream_ref_);
  free_retired();
  waited_.clear();
  session_ = {};
  OwnedState state = new_state(engine_);
  if (current_ != nullptr && given_.size() < names_.size()) state->copy_from(*current_->state);
  for (Given const& given : given_) take(given, stream, *state);
  apply(*state);
  // Nobody else has seen the present object and no run uses what it holds: it may stand for the new arrays.
  bool const reusable = current_ != nullptr && !submitted_ && Py_REFCNT(current_) == 1;
  if (reusable) {
    OwnedState old(std::exchange(current_->state, state.release()));
    run_is_bound_ = false;
  } else {
    make_current(new_bindings(std::move(state)));
  }
  Py_INCREF(current_);
  return reinterpret_cast<PyObject*>(current_);
}

void PyContext::retire_current() {
  if (current_ == nullptr) return;
  auto* old = reinterpret_cast<PyObject*>(current_);
  current_ = nullptr;
  if (!submitted_) {
    Py_DECREF(old);
    return;
  }
  std::shared_ptr<Event> event;
  if (spare_events_.empty()) {
    event = std::make_shared<Event>(device_);
  } else {
    event = std::move(spare_events_.back());
    spare_events_.pop_back();
  }
  event->record(core_->last_stream());
  retired_.push_back({std::move(event), old});
  submitted_ = false;
}

/// Takes over one reference.
void PyContext::make_current(BindingsObject* bindings) {
  retire_current();
  current_ = bindings;
  run_is_bound_ = false;
}

void PyContext::free_retired() {
  while (!retired_.empty() && retired_.front().event->done()) {
    spare_events_.push_back(std::move(retired_.front().event));
    PyObject* bindings = retired_.front().bindings;
    retired_.pop_front();
    Py_DECREF(bindings);
  }
}

}  // namespace cuready::python
