// run(): arrays in, arrays out, one wait. Small host arrays are the case that has to be fast, so
// the Python objects of the results are made while the GPU works.
#include <algorithm>
#include <cstring>

#include "context.hpp"
#include "layout.hpp"

namespace cuready::python {

/// Copies below this keep the GIL: giving it up costs more than the copy.
constexpr std::size_t kSmallCopy = 64 * 1024;

class RunCall {
 public:
  RunCall(PyContext& context, StreamRef stream) : c_(context), stream_(stream) {}
  py::object operator()(std::vector<PyContext::Given> const& inputs, py::handle outputs);

 private:
  struct Input {
    int index;
    std::unique_ptr<ArrayView> array;
    TensorView view;
    bool host;
  };
  struct Output {
    int index;
    py::object array;      // what the caller gets
    void* host = nullptr;  // where its bytes go, or null for a device result
    Dims shape;
    std::unique_ptr<ArrayView> given;
    std::shared_ptr<PinnedBuffer> pinned;
  };

  void read_inputs(std::vector<PyContext::Given> const& inputs);
  void read_outputs(py::handle outputs);
  void bind_core();
  bool same_as_last_time() const;
  void stage(Input& input);
  void upload();
  void finish_output(Output& output);
  void download(Output& output, OutputView const& view);
  void copy_out(Output& output);
  TensorView output_view(int index);
  void forget_foreign_addresses();
  PyContext::RunSlot& slot(int index) { return c_.run_slots_[static_cast<std::size_t>(index)]; }

  PyContext& c_;
  StreamRef stream_;
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
  bool all_host_ = true;
  bool data_dependent_ = false;
};

void RunCall::read_inputs(std::vector<PyContext::Given> const& given) {
  inputs_.reserve(given.size());
  for (PyContext::Given const& item : given) {
    TensorInfo const& tensor = c_.tensor(item.index);
    if (tensor.mode != TensorMode::input) {
      refuse_tensor("run", tensor, "it is an output", "pass it in outputs={…}");
    }
    auto array = std::make_unique<ArrayView>();
    try {
      import_array(item.array, stream_.handle, false, *array, &c_.session_);
    } catch (ImportFailure const& error) {
      refuse_tensor("run", tensor, error.what());
    }
    TensorView const view = checked_view("run", tensor, *array);
    bool const host = array->on_host();
    if (tensor.location == TensorLocation::host && !host) {
      refuse_tensor("run", tensor, "its values are read on the host, and the array is on a device");
    }
    if (!host) {
      all_host_ = false;
      c_.wait_for_producer(*array, stream_);
    }
    inputs_.push_back({item.index, std::move(array), view, host});
  }
  for (int index : c_.engine_->inputs()) {
    bool const found =
        std::any_of(inputs_.begin(), inputs_.end(), [&](Input const& input) { return input.index == index; });
    if (!found) refuse_tensor("run", c_.tensor(index), "it was not given");
  }
}

void RunCall::read_outputs(py::handle outputs) {
  for (int index : c_.engine_->outputs()) {
    outputs_.push_back({index, {}, nullptr, {}, {}, {}});
    data_dependent_ |= c_.tensor(index).is_data_dependent;
  }
  if (outputs.ptr() == nullptr || outputs.is_none()) return;
  require_mapping("run", outputs);
  std::vector<PyContext::Given> given;
  c_.collect_mapping(outputs.ptr(), given);
  for (PyContext::Given const& item : given) {
    TensorInfo const& tensor = c_.tensor(item.index);
    auto found = std::find_if(outputs_.begin(), outputs_.end(),
                              [&](Output const& output) { return output.index == item.index; });
    if (found == outputs_.end()) refuse_tensor("run", tensor, "it is an input, not an output");
    found->given = std::make_unique<ArrayView>();
    try {
      import_array(item.array, stream_.handle, true, *found->given, &c_.session_);
    } catch (ImportFailure const& error) {
      refuse_tensor("run", tensor, error.what());
    }
    checked_view("run", tensor, *found->given);
    if (!found->given->on_host()) c_.wait_for_producer(*found->given, stream_);
    found->array = py::reinterpret_borrow<py::object>(item.array);
    if (found->given->on_host()) found->host = found->given->data;
  }
}

bool RunCall::same_as_last_time() const {
  if (!c_.run_is_bound_) return false;
  for (Input const& input : inputs_) {
    auto const& slot = c_.run_slots_[static_cast<std::size_t>(input.index)];
    bool const shape_tensor = c_.tensor(input.index).location == TensorLocation::host;
    if (!input.host || shape_tensor || !slot.known || slot.shape != input.view.shape) return false;
  }
  for (Output const& output : outputs_) {
    if (output.given && !output.given->on_host()) return false;
  }
  return true;
}

/// Makes room for a host input: pinned and device memory, kept for the next run.
void RunCall::stage(Input& input) {
  TensorInfo const& tensor = c_.tensor(input.index);
  auto& slot = this->slot(input.index);
  std::size_t const bytes = tensor.bytes_for(input.view.shape);
  if (!tensor.is_linear() && !can_repack(tensor, input.view.shape)) {
    refuse_tensor("run", tensor, "arrays cannot be repacked to its layout " + name(tensor.format));
  }
  if (!slot.device || slot.device->nbytes() < bytes) {
    slot.device = std::make_shared<DeviceBuffer>(c_.device_, bytes);
  }
  if (!slot.pinned || slot.pinned->nbytes() < bytes) {
    slot.pinned = std::make_shared<PinnedBuffer>(c_.device_, bytes);
  }
  slot.shape = input.view.shape;
  slot.known = true;
  input.view.data = slot.device->data();
  input.view.location = TensorLocation::device;
  input.view.device = c_.device_.ordinal();
  input.view.nbytes = bytes;
}

TensorView RunCall::output_view(int index) {
  for (Output const& output : outputs_) {
    if (output.index == index && output.given && !output.given->on_host()) {
      return checked_view("run", c_.tensor(index), *output.given);
    }
  }
  return {};  // the context's own memory
}

void RunCall::bind_core() {
  c_.run_is_bound_ = false;
  for (Input& input : inputs_) {
    if (input.host && c_.tensor(input.index).location == TensorLocation::device) stage(input);
  }
  auto& inputs = c_.input_views_;
  auto& outputs = c_.output_views_;
  inputs.clear();
  outputs.clear();
  for (int index : c_.engine_->inputs()) {
    auto const found =
        std::find_if(inputs_.begin(), inputs_.end(), [&](Input const& input) { return input.index == index; });
    inputs.push_back(found->view);
  }
  for (int index : c_.engine_->outputs()) outputs.push_back(output_view(index));
  c_.core_->bind_all(Span<TensorView const>(inputs.data(), inputs.size()),
                     Span<TensorView const>(outputs.data(), outputs.size()));
  c_.run_is_bound_ = true;
}

void RunCall::upload() {
  for (Input& input : inputs_) {
    TensorInfo const& tensor = c_.tensor(input.index);
    if (!input.host || tensor.location == TensorLocation::host) continue;
    auto& slot = this->slot(input.index);
    std::size_t const bytes = tensor.bytes_for(slot.shape);
    void* pinned = slot.pinned->data();
    if (!tensor.is_linear()) {
      pack(tensor, slot.shape, input.array->data, pinned);
    } else {
      std::memcpy(pinned, input.array->data, bytes);
    }
    copy_to_device_async(c_.device_, slot.device->data(), pinned, bytes, stream_);
  }
}

/// The copy to pinned memory, in stream order.
void RunCall::download(Output& output, OutputView const& view) {
  if (view.nbytes == 0) return;
  if (view.location == TensorLocation::host) {
    std::memcpy(output.pinned->data(), view.data, view.nbytes);
    return;
  }
  copy_to_host_async(c_.device_, output.pinned->data(), view.data, view.nbytes, stream_);
}

/// Everything about one result that needs Python: its array and, for a host result, pinned room.
void RunCall::finish_output(Output& output) {
  TensorInfo const& tensor = c_.tensor(output.index);
  OutputView const view = c_.core_->output(output.index);
  output.shape = view.shape;
  bool const given_on_device = output.given && !output.given->on_host();
  if (given_on_device) return;
  if (output.host == nullptr && !all_host_) {
    // Ordered on no stream: it is complete when run() returns.
    output.array = make_device_buffer(c_.core_->take_output(output.index), view.shape, view.dtype, {}, {});
    return;
  }
  if (output.given) {
    Dims const given(Span<std::int64_t const>(output.given->shape, static_cast<std::size_t>(output.given->rank)));
    if (given != packed_shape(view.shape, tensor.dtype)) refuse_shape("run", tensor, view.shape, given);
  } else {
    HostArray made = new_host_array(view.shape, tensor.dtype);
    output.array = std::move(made.array);
    output.host = made.data;
  }
  std::size_t const bytes = tensor.bytes_for(view.shape);
  if (!tensor.is_linear() && !can_repack(tensor, view.shape)) {
    refuse_tensor("run", tensor, "its layout " + name(tensor.format) + " cannot be unpacked");
  }
  auto& slot = this->slot(output.index);
  if (!slot.pinned || slot.pinned->nbytes() < bytes) {
    slot.pinned = std::make_shared<PinnedBuffer>(c_.device_, bytes);
  }
  output.pinned = slot.pinned;
  OutputView sized = view;
  sized.nbytes = bytes;
  download(output, sized);
}

void RunCall::copy_out(Output& output) {
  if (output.host == nullptr) return;
  TensorInfo const& tensor = c_.tensor(output.index);
  if (!tensor.is_linear()) {
    unpack(tensor, output.shape, output.pinned->data(), output.host);
  } else {
    std::memcpy(output.host, output.pinned->data(), tensor.bytes_for(output.shape));
  }
}

/// The caller's device memory may be gone after this call: the context must not run on it again.
void RunCall::forget_foreign_addresses() {
  for (Input const& input : inputs_) {
    if (!input.host) {
      c_.core_->unbind(input.index);
      c_.run_is_bound_ = false;
    }
  }
  for (Output const& output : outputs_) {
    if (output.given && !output.given->on_host()) {
      c_.core_->unbind(output.index);
      c_.run_is_bound_ = false;
    }
  }
}

py::object RunCall::operator()(std::vector<PyContext::Given> const& given, py::handle outputs) {
  read_inputs(given);
  read_outputs(outputs);
  if (!same_as_last_time()) {
    bind_core();
    c_.retire_current();
  }
  std::size_t bytes = 0;
  for (Input const& input : inputs_) {
    if (input.host) bytes += static_cast<std::size_t>(input.array->bytes());
  }
  if (bytes < kSmallCopy) {
    upload();
  } else {
    Unlocked unlocked;
    upload();
  }
  c_.submit(stream_);
  if (data_dependent_) c_.wait_for_runs();  // shapes are known only then
  for (Output& output : outputs_) finish_output(output);
  {
    Unlocked unlocked;
    stream_synchronize(c_.device_, stream_);
    for (Output& output : outputs_) {
      if (output.host != nullptr && bytes >= kSmallCopy) copy_out(output);
    }
  }
  c_.submitted_ = false;
  py::dict results;
  for (Output& output : outputs_) {
    if (bytes < kSmallCopy) copy_out(output);
    DataType const dtype = c_.tensor(output.index).dtype;
    py::object array =
        output.host != nullptr && !output.given ? present(std::move(output.array), dtype) : std::move(output.array);
    PyDict_SetItem(results.ptr(), c_.names_[static_cast<std::size_t>(output.index)], array.ptr());
  }
  forget_foreign_addresses();
  return std::move(results);
}

/// After an error: waits for what was submitted, since it uses memory that may be replaced, and
/// forgets run()'s own addresses, so that no later call runs on memory that is gone.
void PyContext::recover_after_run(StreamRef stream) noexcept {
  run_is_bound_ = false;
  try {
    Unlocked unlocked;
    stream_synchronize(device_, stream);
  } catch (Error const&) {  // the caller gets the first error; this one would only repeat it
  }
  if (current_ != nullptr) return;
  try {
    for (int index : engine_->inputs()) core_->unbind(index);
  } catch (Error const&) {  // no CUDA call works any more: nor will a run
  }
}

PyObject* PyContext::run(PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  PyObject* outputs = count == 2 ? arguments[1] : keyword(arguments, count, names, "outputs");
  PyObject* given_stream = keyword(arguments, count, names, "stream");
  StreamRef const stream = to_stream(given_stream, stream_ref_);
  if (count > 2) {
    PyErr_SetString(PyExc_TypeError, "run() takes at most two positional arguments");
    return nullptr;
  }
  collect(arguments, count, names, true, given_);
  free_retired();
  waited_.clear();
  session_ = {};
  call_stream_ = given_stream;
  HeldStream const held(*this, given_stream, stream);
  RunCall call(*this, stream);
  try {
    return call(given_, outputs).release().ptr();
  } catch (...) {
    recover_after_run(stream);
    throw;
  }
}

}  // namespace cuready::python
