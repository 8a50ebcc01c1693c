// Making and unmaking contexts, and binding tensors to them.
#include "cuready/context.hpp"

#include <algorithm>

#include "runtime/context_impl.hpp"

namespace cuready {

ExecutionContext::Impl::Impl(std::shared_ptr<Engine> owner) : engine(std::move(owner)), e(*engine->impl_) {}

// Deleting a TensorRT context under a run in flight is undefined, and the stream of that run may be gone by now (any
// order of destruction is allowed): only the device as a whole can be waited for. No run in flight, no wait.
ExecutionContext::Impl::~Impl() {
  if (primary == nullptr) return;
  const cuda::CurrentGuard current(*primary);
  const std::uint64_t uses = workspace_shared ? workspace->impl_->uses_now() : 0;
  if (has_run) cuda::discard(primary->table().cuCtxSynchronize());
  if (has_run && workspace_shared) workspace->impl_->forget(last_stream, uses);
  clear_graphs();
  if (port) {
    const std::lock_guard<std::mutex> lock(e.mutex);
    port.reset();
    --e.contexts;
  }
  e.release_profile(held_profile);
}

const TensorInfo& ExecutionContext::Impl::info(int tensor) const {
  if (tensor < 0 || static_cast<std::size_t>(tensor) >= e.tensors.size()) {
    throw BindingError({"find a tensor", "there is no tensor number " + std::to_string(tensor),
                        "the engine has " + std::to_string(e.tensors.size())});
  }
  return e.tensors[static_cast<std::size_t>(tensor)];
}

ExecutionContext::ExecutionContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ExecutionContext::~ExecutionContext() {
  if (in_forked_process()) static_cast<void>(impl_.release());  // TensorRT would use CUDA
}
const std::shared_ptr<Engine>& ExecutionContext::engine() const noexcept { return impl_->engine; }

std::shared_ptr<ExecutionContext> Engine::create_context() { return create_context(ContextOptions{}); }

std::shared_ptr<ExecutionContext> Engine::create_context(const ContextOptions& options) {
  if (impl_->needs_refit) {
    throw NotRefitted({"create an execution context",
                       "the weights of this plan were stripped when it was built: it would compute wrong numbers",
                       "supply them with refit(); missing_weights() lists them"});
  }
  if (options.profile < -1 || options.profile >= std::max(impl_->profiles, 1)) {
    throw InvalidArgument({"create an execution context", "there is no profile " + std::to_string(options.profile),
                           "the engine has " + std::to_string(impl_->profiles)});
  }
  if (options.workspace) {
    const int own = impl_->device().ordinal(), other = options.workspace->impl_->device.ordinal();
    if (own != other) {
      throw DeviceMismatch({"create an execution context",
                            "the workspace is on GPU " + std::to_string(other) + ", the engine on GPU " +
                                std::to_string(own),
                            "make the workspace on the engine's device"});
    }
  }
  const cuda::ThrowingGuard current(*impl_->device().primary());
  auto made = std::make_unique<ExecutionContext::Impl>(shared_from_this());
  made->primary = impl_->device().primary().get();
  made->get_current = made->primary->table().cuCtxGetCurrent;
  made->cuda_context = made->primary->handle();
  made->launch_graph = made->primary->table().cuGraphLaunch;
  made->options = options;
  made->graph_mode = options.graph;
  made->max_graphs = std::max(options.max_graphs, 1);
  made->graph_warmup = std::max(options.graph_warmup, 1);
  made->workspace = options.workspace;
  made->workspace_shared = static_cast<bool>(options.workspace);
  made->tensors.resize(impl_->tensors.size());
  made->dynamic.resize(impl_->tensors.size());
  if (!impl_->profile_holders.empty()) {
    const std::lock_guard<std::mutex> lock(impl_->mutex);
    const bool any_free =
        std::find(impl_->profile_holders.begin(), impl_->profile_holders.end(), 0) != impl_->profile_holders.end();
    const bool wanted_free =
        options.profile < 0 ? any_free : impl_->profile_holders[static_cast<std::size_t>(options.profile)] == 0;
    if (!wanted_free) {
      throw ContextBusy({"create an execution context", "the optimization profile has its one context already",
                         "TensorRT 8 gives each profile to one context: build the plan with more profiles, load it "
                         "twice, or use TensorRT 10"});
    }
  }
  {
    const std::lock_guard<std::mutex> lock(impl_->mutex);
    made->port = impl_->port->create_context();
    ++impl_->contexts;
  }
  // TensorRT 8 gives the first profile to the first context by itself.
  const int given = made->port->profile();
  if (given >= 0 && !impl_->profile_holders.empty()) {
    impl_->hold_profile(given);
    made->held_profile = given;
  }
  if (options.profile >= 0 && options.profile != made->held_profile) {
    impl_->hold_profile(options.profile);
    impl_->release_profile(made->held_profile);
    made->held_profile = options.profile;
  }
  made->enqueue_object = made->port->enqueue_object();
  made->enqueue_function = made->port->enqueue_function();
  for (std::size_t i = 0; i < impl_->tensors.size(); ++i) {
    const TensorInfo& info = impl_->tensors[i];
    TensorState& state = made->tensors[i];
    state.name = info.name.c_str();
    state.dtype = info.dtype;
    state.location = info.location;
    state.linear = info.is_linear();
    if (info.mode != TensorMode::input || info.shape.is_dynamic()) continue;
    state.shape = info.shape;
    state.shape_known = true;
    state.required = info.bytes_for(info.shape);
  }
  return std::shared_ptr<ExecutionContext>(new ExecutionContext(std::move(made)));
}

namespace {

void require_input(const TensorInfo& info, const char* operation) {
  if (info.mode != TensorMode::input)
    throw BindingError({operation, "\"" + info.name + "\" is an output", "only inputs are set"});
}

/// Everything about a view that can be told without the rest of the configuration.
void check_view(const TensorInfo& info, const TensorView& view, int device) {
  const auto operation = [&info] { return "bind \"" + info.name + "\""; };  // only for errors
  if (view.dtype != info.dtype) {
    throw DtypeError(
        {operation(), "the array is " + name(view.dtype) + ", the tensor is " + name(info.dtype), "convert the array"});
  }
  if (view.location != info.location) {
    const bool want_host = info.location == TensorLocation::host;
    throw BindingError(
        {operation(),
         std::string("the array is in ") + (want_host ? "device" : "host") +
             " memory, TensorRT reads this tensor from " + (want_host ? "host" : "device") + " memory",
         want_host ? "pass a host array: these are values that shapes are computed from" : "copy it to the GPU first"});
  }
  if (view.location == TensorLocation::device && view.device >= 0 && view.device != device) {
    throw DeviceMismatch(
        {operation(),
         "the array is on GPU " + std::to_string(view.device) + ", the engine on GPU " + std::to_string(device),
         "copy the array, or load the engine on its GPU"});
  }
}

std::size_t view_bytes(const TensorView& view) {
  return view.nbytes != 0 ? view.nbytes : linear_bytes(view.dtype, view.shape);
}

void check_input_size(const TensorInfo& info, const TensorView& view) {
  const std::size_t needed = info.bytes_for(view.shape), has = view_bytes(view);
  if (has >= needed && (view.data != nullptr || needed == 0)) return;
  if (view.data == nullptr) throw BindingError({"bind \"" + info.name + "\"", "the array has no memory"});
  throw BindingError({"bind \"" + info.name + "\"",
                      "the array has " + std::to_string(has) + " bytes, the shape " + view.shape.str() + " needs " +
                          std::to_string(needed) +
                          (info.is_linear() ? "" : " in the format " + name(info.format) + " (padded)"),
                      info.is_linear() ? "" : "repack the array into " + name(info.format)});
}

}  // namespace

void ExecutionContext::set_shape(int tensor, const Dims& shape) {
  const BusyGuard busy(*impl_);
  require_input(impl_->info(tensor), "set a shape");
  impl_->set_shape(tensor, shape);
}

namespace {

void take_address(ExecutionContext::Impl& c, int tensor, void* data, std::size_t nbytes) {
  TensorState& state = c.tensors[static_cast<std::size_t>(tensor)];
  if (state.own) {
    if (state.buffer && c.has_run && c.memory_stream) c.memory_stream->wait(c.last_stream);
    state.buffer.reset();
    state.own = false;
  }
  const bool shrunk = nbytes != state.nbytes;
  state.nbytes = nbytes;
  if (state.address == data && !shrunk) return;
  state.address = data;
  state.address_dirty = c.addresses_changed = c.special = true;
  c.forget_graph_choice();
}

}  // namespace

void ExecutionContext::set_address(int tensor, void* data, std::size_t nbytes) {
  const BusyGuard busy(*impl_);
  static_cast<void>(impl_->info(tensor));
  const cuda::ThrowingGuard current(*impl_->primary);
  take_address(*impl_, tensor, data, nbytes != 0 ? nbytes : unchecked);
}

void ExecutionContext::set_shape_values(int tensor, Span<const std::int64_t> values) {
  const BusyGuard busy(*impl_);
  const TensorInfo& info = impl_->info(tensor);
  require_input(info, "set shape values");
  if (info.location != TensorLocation::host) {
    throw BindingError(
        {"set shape values", "\"" + info.name + "\" is read from device memory", "bind() an array on the GPU"});
  }
  const std::int64_t volume = impl_->tensors[static_cast<std::size_t>(tensor)].shape.volume();
  if (volume >= 0 && static_cast<std::size_t>(volume) != values.size()) {
    throw ShapeError({"set shape values", "\"" + info.name + "\" has " + std::to_string(volume) + " values, got " +
                                              std::to_string(values.size())});
  }
  const std::vector<std::byte> bytes = encode_values(info.dtype, values);
  if (bytes.empty() && !values.empty())
    throw DtypeError({"set shape values", "\"" + info.name + "\" is " + name(info.dtype), "bind() an array"});
  const std::vector<std::int64_t> held =
      decode_values(info.dtype, bytes.data(), static_cast<std::int64_t>(values.size()));
  const auto lost = std::mismatch(held.begin(), held.end(), values.begin());
  if (lost.first != held.end()) {
    throw ShapeError({"set shape values", "\"" + info.name + "\" is " + name(info.dtype) + ", which does not hold " +
                                              std::to_string(*lost.second)});
  }
  impl_->set_host_values(tensor, bytes.data(), bytes.size());
}

void ExecutionContext::bind(int tensor, const TensorView& view) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  const TensorInfo& info = c.info(tensor);
  check_view(info, view, c.engine->device().ordinal());
  const cuda::ThrowingGuard current(*c.primary);
  if (info.mode == TensorMode::output) {
    take_address(c, tensor, view.data, view_bytes(view));
    return;
  }
  check_input_size(info, view);
  c.set_shape(tensor, view.shape);
  if (info.location == TensorLocation::host) {
    c.set_host_values(tensor, view.data, info.bytes_for(view.shape));
  } else {
    take_address(c, tensor, view.data, view_bytes(view));
  }
}

namespace {

/// The usual case of a new binding: other device memory of the shape that is set. Only the tensor's state is read.
bool only_memory_differs(const TensorState& state, const TensorView& view, int device) noexcept {
  return view.dtype == state.dtype && view.location == TensorLocation::device &&
         state.location == TensorLocation::device && (view.device == device || view.device < 0) &&
         view.data != nullptr && (view.nbytes == 0 ? state.linear : view.nbytes >= state.required) &&
         state.shape_known && state.shape == view.shape;
}

std::size_t view_bytes(const TensorState& state, const TensorView& view) {
  const bool dense = view.nbytes == 0 && state.linear && state.shape == view.shape;
  return dense ? state.required : view_bytes(view);
}

}  // namespace

void ExecutionContext::bind_all(Span<const TensorView> inputs, Span<const TensorView> outputs) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  const std::vector<int>&in = c.e.inputs, &out = c.e.outputs;
  if (inputs.size() != in.size() || (!outputs.empty() && outputs.size() != out.size())) {
    throw BindingError({"bind",
                        std::to_string(inputs.size()) + " inputs and " + std::to_string(outputs.size()) + " outputs",
                        "the engine has " + std::to_string(in.size()) + " and " + std::to_string(out.size())});
  }
  // First everything is checked, then everything is taken.
  const int device = c.engine->device().ordinal();
  for (std::size_t i = 0; i < in.size(); ++i) {
    const TensorState& state = c.tensors[static_cast<std::size_t>(in[i])];
    if (only_memory_differs(state, inputs[i], device)) continue;
    const TensorInfo& info = c.e.tensors[static_cast<std::size_t>(in[i])];
    check_view(info, inputs[i], device);
    if (!(state.shape_known && state.shape == inputs[i].shape)) {
      bool fits = false;
      for (int p = 0; p < std::max(c.e.profiles, 1) && !fits; ++p)
        fits = (c.options.profile < 0 || c.options.profile == p) && c.e.fits(p, in[i], inputs[i].shape);
      if (!fits) {
        c.set_shape(in[i], inputs[i].shape);  // throws, with everything there is to say
      }
    }
    check_input_size(info, inputs[i]);
    if (info.location != TensorLocation::host) continue;
    const std::size_t nbytes = info.bytes_for(inputs[i].shape);
    if (!Impl::holds(state, inputs[i].data, nbytes)) {
      static_cast<void>(c.checked_values(in[i], inputs[i].data, nbytes));
    }
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].data == nullptr) continue;
    if (only_memory_differs(c.tensors[static_cast<std::size_t>(out[i])], outputs[i], device)) continue;
    check_view(c.e.tensors[static_cast<std::size_t>(out[i])], outputs[i], device);
    static_cast<void>(view_bytes(outputs[i]));  // throws where the shape has no size
  }
  const cuda::ThrowingGuard current(*c.primary);
  for (std::size_t i = 0; i < in.size(); ++i) {
    const TensorState& state = c.tensors[static_cast<std::size_t>(in[i])];
    c.set_shape(in[i], inputs[i].shape);
    if (state.location == TensorLocation::host) {
      c.set_host_values(in[i], inputs[i].data, state.required);
    } else {
      take_address(c, in[i], inputs[i].data, view_bytes(state, inputs[i]));
    }
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    TensorState& state = c.tensors[static_cast<std::size_t>(out[i])];
    if (i < outputs.size() && outputs[i].data != nullptr) {
      take_address(c, out[i], outputs[i].data, view_bytes(state, outputs[i]));
    } else if (!state.own) {
      take_address(c, out[i], nullptr, unchecked);
      state.own = true;
    }
  }
}

void ExecutionContext::allocate_output(int tensor) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  const TensorInfo& info = c.info(tensor);
  if (info.mode != TensorMode::output) throw BindingError({"allocate an output", "\"" + info.name + "\" is an input"});
  TensorState& state = c.tensors[static_cast<std::size_t>(tensor)];
  if (state.own) return;
  const cuda::ThrowingGuard current(*c.primary);
  take_address(c, tensor, nullptr, unchecked);
  state.own = true;
}

void ExecutionContext::unbind(int tensor) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  static_cast<void>(c.info(tensor));
  const cuda::ThrowingGuard current(*c.primary);
  take_address(c, tensor, nullptr, unchecked);
}

Dims ExecutionContext::shape(int tensor) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  const TensorInfo& info = c.info(tensor);
  const auto at = static_cast<std::size_t>(tensor);
  if (info.mode == TensorMode::output && (c.shapes_changed || !c.ever_prepared)) {
    const cuda::ThrowingGuard current(*c.primary);
    if (!c.memory_stream) c.memory_stream = std::make_shared<Stream>(c.engine->device());
    // A change of profile is ordered on a stream: the caller's, or ours when nothing is in flight there, since it may
    // be gone then.
    const bool runs = c.has_run && !c.last_stream.is_legacy();
    const StreamRef stream = runs ? c.last_stream : c.memory_stream->ref();
    c.choose_profile(stream);
    c.infer();
  }
  if (c.dynamic[at] && !c.dynamic[at]->shape.is_dynamic() && !c.shapes_changed) return c.dynamic[at]->shape;
  const TensorState& state = c.tensors[at];
  return state.shape_known ? state.shape : info.shape;
}

std::int64_t ExecutionContext::nbytes(int tensor) {
  const Dims now = shape(tensor);
  const BusyGuard busy(*impl_);
  const TensorInfo& info = impl_->info(tensor);
  const bool depends_on_data = impl_->dynamic[static_cast<std::size_t>(tensor)] != nullptr;
  if (!now.is_dynamic() && !depends_on_data) return static_cast<std::int64_t>(info.bytes_for(now));
  if (info.mode == TensorMode::input)
    throw BindingError({"ask for a size", "the shape of \"" + info.name + "\" is not set"});
  const std::int64_t most = impl_->port->max_output_size(info.name.c_str());
  return most >= 0 ? most : -1;
}

void* ExecutionContext::address(int tensor) const noexcept {
  return tensor >= 0 && static_cast<std::size_t>(tensor) < impl_->tensors.size()
             ? impl_->tensors[static_cast<std::size_t>(tensor)].address
             : nullptr;
}

int ExecutionContext::profile() const noexcept {
  return impl_->options.profile >= 0 ? impl_->options.profile : impl_->active_profile;
}

void ExecutionContext::set_profile(int profile) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  if (profile < -1 || profile >= std::max(c.e.profiles, 1)) {
    throw InvalidArgument({"set the optimization profile", "there is no profile " + std::to_string(profile),
                           "the engine has " + std::to_string(c.e.profiles)});
  }
  c.options.profile = profile;
  c.shapes_changed = c.special = true;
  c.forget_graph_choice();
}

void ExecutionContext::allow_legacy_stream(bool allow) noexcept { impl_->allow_legacy = allow; }
StreamRef ExecutionContext::last_stream() const noexcept { return impl_->last_stream; }

void ExecutionContext::set_input_consumed_event(const std::shared_ptr<Event>& event) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  const cuda::ThrowingGuard current(*c.primary);
  const tensorrt::Call call("IExecutionContext::setInputConsumedEvent", c.subject());
  call.require(c.port->set_input_consumed_event(event ? event->handle() : nullptr));
  c.wait_idle();
  c.clear_graphs();  // the event is part of each of them
  c.consumed_event = event;
  c.special = true;
}

const std::vector<LogRecord>& ExecutionContext::last_messages() const noexcept { return impl_->last_messages; }
std::size_t ExecutionContext::workspace_bytes() const noexcept {
  return impl_->workspace ? impl_->workspace->nbytes() : 0;
}

void ExecutionContext::set_name(const std::string& text) {
  const BusyGuard busy(*impl_);
  impl_->port->set_name(text.c_str());
}

}  // namespace cuready
