// From what was set to what TensorRT is told: profile, shapes, workspace, outputs, addresses, and each only when it
// changed.
#include <algorithm>
#include <array>
#include <cstring>

#include "runtime/context_impl.hpp"

namespace cuready {

using tensorrt::Call;

std::vector<std::byte> encode_values(DataType type, Span<const std::int64_t> values) {
  const auto put = [&](auto sample) {
    using T = decltype(sample);
    std::vector<std::byte> bytes(values.size() * sizeof(T));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const T value = static_cast<T>(values[i]);
      std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
    }
    return bytes;
  };
  switch (type) {
    case DataType::int64:
      return put(std::int64_t{});
    case DataType::int32:
      return put(std::int32_t{});
    case DataType::int8:
      return put(std::int8_t{});
    case DataType::uint8:
    case DataType::boolean:
      return put(std::uint8_t{});
    case DataType::float32:
      return put(float{});
    default:
      return {};
  }
}

std::vector<std::int64_t> decode_values(DataType type, const void* data, std::int64_t count) {
  const auto get = [&](auto sample) {
    using T = decltype(sample);
    std::vector<std::int64_t> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) {
      T value;
      std::memcpy(&value, static_cast<const char*>(data) + i * sizeof(T), sizeof(T));
      values[i] = static_cast<std::int64_t>(value);
    }
    return values;
  };
  switch (type) {
    case DataType::int64:
      return get(std::int64_t{});
    case DataType::int32:
      return get(std::int32_t{});
    case DataType::int8:
      return get(std::int8_t{});
    case DataType::uint8:
    case DataType::boolean:
      return get(std::uint8_t{});
    case DataType::float32:
      return get(float{});
    default:
      return {};
  }
}

namespace {

std::string allowed_text(const TensorInfo& info, int only_profile) {
  if (!info.shape.is_dynamic()) return "the engine was built for " + info.shape.str();
  std::string text;
  for (std::size_t p = 0; p < info.profiles.size(); ++p) {
    if (only_profile >= 0 && static_cast<int>(p) != only_profile) continue;
    text += (text.empty() ? "" : "; ") + ("profile " + std::to_string(p)) + " allows " + info.profiles[p].min.str() +
            " to " + info.profiles[p].max.str();
  }
  return text;
}

[[noreturn]] void refuse_shape(const TensorInfo& info, const Dims& shape, int only_profile) {
  std::vector<ProfileBounds> allowed = info.profiles;
  if (only_profile >= 0 && static_cast<std::size_t>(only_profile) < allowed.size())
    allowed = {info.profiles[static_cast<std::size_t>(only_profile)]};
  throw ShapeError({"set the shape of \"" + info.name + "\"", "got " + shape.str(), allowed_text(info, only_profile)},
                   info.name, shape, std::move(allowed));
}

bool values_fit(const ProfileBounds& bounds, const std::vector<std::int64_t>& values) noexcept {
  for (std::size_t v = 0; v < values.size() && v < bounds.min_values.size() && v < bounds.max_values.size(); ++v) {
    if (values[v] < bounds.min_values[v] || values[v] > bounds.max_values[v]) return false;
  }
  return true;
}

std::string list(const std::vector<std::int64_t>& values) {
  std::string text = "[";
  for (std::size_t i = 0; i < values.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(values[i]);
  return text + "]";
}

void check_values(const TensorInfo& info, const std::vector<std::int64_t>& values, int only_profile) {
  if (!info.is_shape || info.profiles.empty()) return;
  std::string allowed;
  for (std::size_t p = 0; p < info.profiles.size(); ++p) {
    if (only_profile >= 0 && static_cast<int>(p) != only_profile) continue;
    if (values_fit(info.profiles[p], values)) return;
    allowed += (allowed.empty() ? "profile " : "; profile ") + std::to_string(p) + " allows " +
               list(info.profiles[p].min_values) + " to " + list(info.profiles[p].max_values);
  }
  throw ShapeError({"set the values of \"" + info.name + "\"", "got " + list(values), allowed}, info.name, Dims{},
                   info.profiles);
}

}  // namespace

void ExecutionContext::Impl::set_shape(int tensor, const Dims& shape) {
  TensorState& state = tensors[static_cast<std::size_t>(tensor)];
  if (state.shape_known && state.shape == shape) return;
  const TensorInfo& tensor_info = info(tensor);
  bool fits = false;
  for (int p = 0; p < std::max(e.profiles, 1) && !fits; ++p) {
    if (options.profile < 0 || options.profile == p) fits = e.fits(p, tensor, shape);
  }
  if (!fits) refuse_shape(tensor_info, shape, options.profile);
  state.shape = shape;
  state.shape_known = state.shape_dirty = true;
  state.required = tensor_info.bytes_for(shape);
  shapes_changed = special = true;
  forget_graph_choice();
}

bool ExecutionContext::Impl::holds(const TensorState& state, const void* data, std::size_t nbytes) noexcept {
  return state.host.size() == nbytes && (nbytes == 0 || std::memcmp(state.host.data(), data, nbytes) == 0);
}

std::vector<std::int64_t> ExecutionContext::Impl::checked_values(int tensor, const void* data,
                                                                 std::size_t nbytes) const {
  const TensorInfo& tensor_info = info(tensor);
  const int width = bits(tensor_info.dtype) / 8;
  std::vector<std::int64_t> values =
      decode_values(tensor_info.dtype, data, width > 0 ? static_cast<std::int64_t>(nbytes) / width : 0);
  check_values(tensor_info, values, options.profile);
  return values;
}

void ExecutionContext::Impl::set_host_values(int tensor, const void* data, std::size_t nbytes) {
  TensorState& state = tensors[static_cast<std::size_t>(tensor)];
  if (holds(state, data, nbytes)) return;
  std::vector<std::int64_t> values = checked_values(tensor, data, nbytes);
  wait_idle();  // a run in flight may still copy the old values
  const auto* bytes = static_cast<const std::byte*>(data);
  state.host.assign(bytes, bytes + nbytes);
  state.values = std::move(values);
  state.address = state.host.data();
  state.nbytes = nbytes;
  state.address_dirty = addresses_changed = shapes_changed = special = true;
  forget_graph_choice();
}

bool ExecutionContext::Impl::profile_fits(int profile) const {
  for (int i : e.inputs) {
    const TensorState& state = tensors[static_cast<std::size_t>(i)];
    if (!e.fits(profile, i, state.shape)) return false;
    const TensorInfo& tensor_info = info(i);
    if (!tensor_info.is_shape || static_cast<std::size_t>(profile) >= tensor_info.profiles.size()) continue;
    if (!values_fit(tensor_info.profiles[static_cast<std::size_t>(profile)], state.values)) return false;
  }
  return true;
}

void ExecutionContext::Impl::choose_profile(StreamRef stream) {
  for (int i : e.inputs) {
    const TensorState& state = tensors[static_cast<std::size_t>(i)];
    if (!state.shape_known) {
      throw BindingError({"prepare a run", "the shape of the input \"" + info(i).name + "\" is not set",
                          allowed_text(info(i), options.profile)});
    }
  }
  if (e.profiles <= 0) return;
  int chosen = -1;
  if (options.profile >= 0) {
    if (profile_fits(options.profile)) chosen = options.profile;
  } else if (active_profile >= 0 && profile_fits(active_profile)) {
    chosen = active_profile;  // changing costs more than any gain of a better fit
  } else {
    for (int p = 0; p < e.profiles && chosen < 0; ++p) {
      if (profile_fits(p)) chosen = p;
    }
  }
  if (chosen < 0) {
    std::string shapes;
    for (int i : e.inputs) {
      shapes += (shapes.empty() ? "" : ", ") + info(i).name + " " + tensors[static_cast<std::size_t>(i)].shape.str();
      if (!info(i).is_shape) continue;
      shapes += " values " + list(tensors[static_cast<std::size_t>(i)].values);
    }
    throw ShapeError({"choose an optimization profile", "no profile takes these inputs together: " + shapes,
                      "TensorInfo::profiles has the bounds of each profile"});
  }
  if (chosen != active_profile) activate_profile(chosen, stream);
}

void ExecutionContext::Impl::activate_profile(int profile, StreamRef stream) {
  if (profile != held_profile) {
    e.hold_profile(profile);
    e.release_profile(held_profile);
    held_profile = profile;
  }
  if (port->profile() != profile) {
    order_after_last(stream);
    if (!graphs.empty() && !graphs_have_contexts()) {
      wait_idle();
      clear_graphs();  // captured from this very context, whose profile is about to change
    }
    const Call call("IExecutionContext::setOptimizationProfileAsync", subject());
    call.require(port->set_profile_async(profile, stream.handle));
    if (stream == last_stream) {
      has_run = true;
    } else {
      stream_synchronize(engine->device(), stream);  // ours: no run is ordered after it
    }
    // Shapes belong to a profile: TensorRT has forgotten them.
    for (int i : e.inputs) tensors[static_cast<std::size_t>(i)].shape_dirty = true;
    for (TensorState& state : tensors) state.address_dirty = true;
    addresses_changed = true;
  }
  active_profile = profile;
}

void ExecutionContext::Impl::infer() {
  for (int i : e.inputs) {
    TensorState& state = tensors[static_cast<std::size_t>(i)];
    const TensorInfo& tensor_info = info(i);
    // Host values first: TensorRT reads them while it infers.
    if (tensor_info.location == TensorLocation::host && state.address_dirty && state.address != nullptr) {
      const Call call("IExecutionContext::setTensorAddress", subject());
      call.require(port->set_tensor_address(tensor_info.name.c_str(), effective_address(i)));
      state.address_dirty = false;
    }
    if (!state.shape_dirty) continue;
    if (tensor_info.shape.is_dynamic()) {
      const Call call("IExecutionContext::setInputShape", subject());
      if (!port->set_input_shape(tensor_info.name.c_str(), state.shape)) {
        call.fail("TensorRT refused the shape " + state.shape.str() + " for \"" + tensor_info.name + "\"",
                  allowed_text(tensor_info, active_profile));
      }
    }
    state.shape_dirty = false;
  }
  const Call call("IExecutionContext::inferShapes", subject());
  std::array<const char*, 8> missing{};
  const int count = port->infer_shapes(static_cast<int>(missing.size()), missing.data());
  if (count > 0) {
    std::string names;
    for (int i = 0; i < count && i < static_cast<int>(missing.size()); ++i) {
      names += (i == 0 ? "" : ", ") + std::string(tensorrt::is_object(missing[static_cast<std::size_t>(i)])
                                                      ? missing[static_cast<std::size_t>(i)]
                                                      : "?");
    }
    throw BindingError({"IExecutionContext::inferShapes",
                        "shapes or values are missing for: " + names,
                        "bind every input first",
                        tensorrt::window(),
                        {}});
  }
  call.require(count == 0);
  for (int o : e.outputs) {
    TensorState& state = tensors[static_cast<std::size_t>(o)];
    state.shape = port->tensor_shape(info(o).name.c_str());
    state.shape_known = true;
    state.required = state.shape.is_dynamic() ? 0 : info(o).bytes_for(state.shape);
  }
}

void ExecutionContext::Impl::prepare_workspace(StreamRef stream) {
  std::size_t needed = 0;
  switch (options.memory) {
    case MemoryStrategy::static_:
      needed = e.port->device_memory_size(-1);
      break;
    case MemoryStrategy::profile:
      needed = e.port->device_memory_size(active_profile);
      break;
    case MemoryStrategy::exact:
      needed = port->update_device_memory_size();
      if (needed == 0) needed = e.port->device_memory_size(active_profile);
      break;
  }
  if (!workspace) workspace = std::make_shared<Workspace>(engine->device());
  // Address, size and generation of one moment: another context may replace the memory in between.
  Workspace::Impl::Piece piece = workspace->impl_->now();
  if (piece.data == nullptr || piece.nbytes < needed) {
    order_after_last(stream);
    wait_idle();
    workspace->reserve(needed);
    piece = workspace->impl_->now();
  }
  if (piece.generation == workspace_generation) return;
  clear_graphs();  // the address of the memory is part of each of them
  port->set_device_memory(piece.data, static_cast<std::int64_t>(piece.nbytes));
  workspace_generation = piece.generation;
}

void ExecutionContext::Impl::prepare_outputs(StreamRef stream) {
  for (int o : e.outputs) {
    const auto at = static_cast<std::size_t>(o);
    TensorState& state = tensors[at];
    if (state.shape.is_dynamic()) {
      if (state.address == nullptr) state.own = true;
      if (!dynamic[at]) {
        dynamic[at] = std::make_unique<DynamicOutput>(*this, o);
        const Call call("IExecutionContext::setOutputAllocator", subject());
        call.require(port->set_output_memory(info(o).name.c_str(), dynamic[at].get()));
      }
      continue;
    }
    if (info(o).location == TensorLocation::host) {
      if (state.own || state.address == nullptr) {
        state.host.resize(std::max<std::size_t>(state.required, 1));
        if (state.address != state.host.data()) state.address_dirty = addresses_changed = true;
        state.address = state.host.data();
        state.nbytes = state.host.size();
      }
    } else if (state.own && info(o).alias_of.empty()) {
      ensure_own_buffer(o, state.required, stream);
    }
  }
}

void ExecutionContext::Impl::require_alias(int tensor) {
  const TensorInfo& output = info(tensor);
  const int source = engine->find(output.alias_of);
  const void* bound = tensors[static_cast<std::size_t>(tensor)].address;
  if (source < 0 || bound == nullptr || bound == tensors[static_cast<std::size_t>(source)].address) return;
  throw BindingError({"prepare a run",
                      "the output \"" + output.name + "\" shares the memory of the input \"" + output.alias_of +
                          "\", but is bound elsewhere",
                      "bind both to the same memory, or leave the output unbound"});
}

void ExecutionContext::Impl::require_bound() {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorState& state = tensors[i];
    const TensorInfo& tensor_info = e.tensors[i];
    if (!tensor_info.alias_of.empty()) require_alias(static_cast<int>(i));
    if (dynamic[i] || state.required == 0) continue;
    if (effective_address(static_cast<int>(i)) == nullptr) {
      throw BindingError(
          {"prepare a run", "\"" + tensor_info.name + "\" is not bound",
           tensor_info.mode == TensorMode::input ? "bind() it to memory" : "bind() it to memory or allocate_output()"});
    }
    if (state.nbytes < state.required) {
      const std::string layout =
          tensor_info.is_linear() ? "" : " in the format " + name(tensor_info.format) + " (padded)";
      throw BindingError({"prepare a run",
                          "\"" + tensor_info.name + "\" needs " + std::to_string(state.required) +
                              " bytes for the shape " + state.shape.str() + layout + ", the memory that is bound has " +
                              std::to_string(state.nbytes),
                          "bind a larger buffer"});
    }
  }
}

void* ExecutionContext::Impl::effective_address(int tensor) {
  const auto at = static_cast<std::size_t>(tensor);
  TensorState& state = tensors[at];
  if (state.address != nullptr) return state.address;
  const TensorInfo& tensor_info = e.tensors[at];
  if (!tensor_info.alias_of.empty()) {
    const int source = engine->find(tensor_info.alias_of);
    if (source >= 0) return tensors[static_cast<std::size_t>(source)].address;
  }
  if (state.shape_known && state.required == 0 && !dynamic[at]) {
    // TensorRT refuses null, also for a tensor without elements.
    if (!placeholder) placeholder = std::make_shared<DeviceBuffer>(engine->device(), 0);
    return placeholder->data();
  }
  return nullptr;
}

void ExecutionContext::Impl::apply_addresses() {
  const Call call("IExecutionContext::setTensorAddress", subject());  // one for all: each reads the clock
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    // Without an address of its own a tensor's follows from something else: its alias, or that it is empty now.
    if (!tensors[i].address_dirty && tensors[i].address != nullptr) continue;
    if (dynamic[i]) {
      tensors[i].address_dirty = false;  // its address comes from the allocator
      continue;
    }
    if (!port->set_tensor_address(e.tensors[i].name.c_str(), effective_address(static_cast<int>(i)))) {
      call.fail("TensorRT refused the address of \"" + e.tensors[i].name + "\"");
    }
    tensors[i].address_dirty = false;
  }
}

/// Other memory of the caller's for some tensors, and nothing else that is new: one pass over them. False when there is
/// more to do; what has been told to TensorRT until then stays right.
bool ExecutionContext::Impl::apply_other_memory() {
  if (shapes_changed || !all_bound || e.has_alias) return false;
  tensorrt::open_window();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    TensorState& state = tensors[i];
    if (!state.address_dirty) continue;
    if (state.address == nullptr || dynamic[i] || state.nbytes < state.required) return false;
    if (!port->set_tensor_address(state.name, state.address)) return false;  // asked again, where failures are told
    state.address_dirty = false;
  }
  return true;
}

void ExecutionContext::Impl::prepare(StreamRef stream, bool complete) {
  const bool same_workspace = ever_prepared && workspace->generation() == workspace_generation;
  if (!shapes_changed && !addresses_changed && same_workspace) return;
  if (same_workspace && apply_other_memory()) {
    addresses_changed = false;
    forget_graph_choice();
    return;
  }
  all_bound = false;
  if (shapes_changed || !ever_prepared) {
    choose_profile(stream);
    infer();
    prepare_workspace(stream);
  } else if (workspace->generation() != workspace_generation) {
    prepare_workspace(stream);
  }
  prepare_outputs(stream);
  if (complete) require_bound();
  apply_addresses();
  shapes_changed = false;
  addresses_changed = !complete;
  all_bound = complete;
  ever_prepared = true;
  forget_graph_choice();
}

void ExecutionContext::Impl::configure(tensorrt::ContextPort& target, StreamRef stream) {
  const Call call("configure the context of a CUDA graph", subject());
  if (active_profile >= 0 && target.profile() != active_profile)
    call.require(target.set_profile_async(active_profile, stream.handle));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& tensor_info = e.tensors[i];
    if (!dynamic[i])
      call.require(target.set_tensor_address(tensor_info.name.c_str(), effective_address(static_cast<int>(i))));
    if (tensor_info.mode == TensorMode::input && tensor_info.shape.is_dynamic()) {
      call.require(target.set_input_shape(tensor_info.name.c_str(), tensors[i].shape));
    }
  }
  if (consumed_event) call.require(target.set_input_consumed_event(consumed_event->handle()));
  // A shared workspace is locked by the enqueue that captures.
  const Workspace::Impl::Piece piece = workspace_shared ? workspace->impl_->now_locked() : workspace->impl_->now();
  target.set_device_memory(piece.data, static_cast<std::int64_t>(piece.nbytes));
  const char* missing = nullptr;
  call.require(target.infer_shapes(1, &missing) == 0);
}

}  // namespace cuready
