// An engine's description, refit, weight streaming and inspection.
#include "cuready/engine.hpp"

#include <algorithm>

#include "runtime/context_impl.hpp"
#include "runtime/engine_impl.hpp"

namespace cuready {

using tensorrt::Call;

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() {
  if (in_forked_process()) {  // TensorRT would use CUDA
    static_cast<void>(impl_.release());
    return;
  }
  const cuda::CurrentGuard guard(*impl_->device().primary());
  impl_->port.reset();
}

void Engine::Impl::read_tensors() {
  name = port->name();
  layers = port->layer_count();
  profiles = port->profile_count();
  refittable = port->is_refittable();
  if (port->one_context_per_profile()) profile_holders.assign(static_cast<std::size_t>(std::max(profiles, 1)), 0);
  for (int i = 0; i < port->tensor_count(); ++i) {
    const std::string tensor = port->tensor_name(i);
    TensorInfo info = port->describe(tensor.c_str());
    info.index = i;
    has_alias = has_alias || !info.alias_of.empty();
    if (info.mode == TensorMode::input) {
      for (int p = 0; p < profiles; ++p) {
        ProfileBounds bounds;
        bounds.min = port->profile_shape(tensor.c_str(), p, 0);
        bounds.opt = port->profile_shape(tensor.c_str(), p, 1);
        bounds.max = port->profile_shape(tensor.c_str(), p, 2);
        const std::int64_t count = info.is_shape ? info.shape.volume() : 0;
        if (count > 0) {
          bounds.min_values = port->profile_values(tensor.c_str(), p, 0, count);
          bounds.opt_values = port->profile_values(tensor.c_str(), p, 1, count);
          bounds.max_values = port->profile_values(tensor.c_str(), p, 2, count);
        }
        info.profiles.push_back(std::move(bounds));
      }
      inputs.push_back(i);
    } else {
      outputs.push_back(i);
    }
    by_name.emplace(tensor, i);
    tensors.push_back(std::move(info));
  }
  ask_refit_state();
  find_data_dependent();
}

// Whether an output's shape depends on data is not a question that an engine answers. A context does: with all inputs
// at the optimum of the first profile, such an output still has unknown extents.
void Engine::Impl::find_data_dependent() {
  const bool any_dynamic = std::any_of(outputs.begin(), outputs.end(), [this](int o) {
    return tensors[static_cast<std::size_t>(o)].shape.is_dynamic();
  });
  if (!any_dynamic) return;
  const auto context = port->create_context();
  std::vector<std::vector<std::byte>> values;
  for (int i : inputs) {
    const TensorInfo& info = tensors[static_cast<std::size_t>(i)];
    if (info.profiles.empty()) return;
    const ProfileBounds& bounds = info.profiles[0];
    if (info.shape.is_dynamic() && !context->set_input_shape(info.name.c_str(), bounds.opt)) return;
    if (info.location != TensorLocation::host) continue;
    values.push_back(encode_values(info.dtype, bounds.opt_values));
    if (values.back().empty() || !context->set_tensor_address(info.name.c_str(), values.back().data())) return;
  }
  const char* missing = nullptr;
  if (context->infer_shapes(1, &missing) != 0) return;
  for (int o : outputs) {
    TensorInfo& info = tensors[static_cast<std::size_t>(o)];
    info.is_data_dependent = context->tensor_shape(info.name.c_str()).is_dynamic();
    has_data_dependent = has_data_dependent || info.is_data_dependent;
  }
}

// A plan stripped of its weights runs without complaint and computes nonsense: ask, and refuse for it.
void Engine::Impl::ask_refit_state() {
  if (!refittable) return;
  const std::int64_t stripped = port->stripped_weights_size();
  if (stripped > 0) {
    needs_refit = true;
    return;
  }
  try {
    needs_refit = !port->create_refitter()->missing_weights().empty();
  } catch (const UnsupportedFeature&) {
    needs_refit = false;  // a library that can not refit can not have loaded a plan whose weights are missing
  }
}

bool Engine::Impl::fits(int profile, int tensor, const Dims& shape) const noexcept {
  const TensorInfo& info = tensors[static_cast<std::size_t>(tensor)];
  if (info.shape.rank() >= 0) {
    if (shape.rank() != info.shape.rank()) return false;
    for (int i = 0; i < shape.rank(); ++i) {
      if (info.shape[i] >= 0 && shape[i] != info.shape[i]) return false;
    }
  }
  if (shape.is_dynamic()) return false;
  if (static_cast<std::size_t>(profile) >= info.profiles.size()) return true;
  const ProfileBounds& bounds = info.profiles[static_cast<std::size_t>(profile)];
  if (bounds.min.rank() != shape.rank() || bounds.max.rank() != shape.rank()) return !info.shape.is_dynamic();
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] < bounds.min[i] || shape[i] > bounds.max[i]) return false;
  }
  return true;
}

void Engine::Impl::hold_profile(int profile) {
  if (profile_holders.empty() || profile < 0) return;
  const std::lock_guard<std::mutex> lock(mutex);
  int& holders = profile_holders[static_cast<std::size_t>(profile)];
  if (holders > 0) {
    throw ContextBusy({"use optimization profile " + std::to_string(profile), "another context of this engine has it",
                       "TensorRT 8 gives each profile to one context: build the plan with more profiles, load it "
                       "twice, or use TensorRT 10"});
  }
  ++holders;
}

void Engine::Impl::release_profile(int profile) noexcept {
  if (profile_holders.empty() || profile < 0) return;
  const std::lock_guard<std::mutex> lock(mutex);
  --profile_holders[static_cast<std::size_t>(profile)];
}

const std::string& Engine::name() const noexcept { return impl_->name; }
const std::shared_ptr<Runtime>& Engine::runtime() const noexcept { return impl_->runtime; }
const Device& Engine::device() const noexcept { return impl_->device(); }
const PlanInfo& Engine::plan() const noexcept { return impl_->plan; }
const std::vector<TensorInfo>& Engine::tensors() const noexcept { return impl_->tensors; }
const std::vector<int>& Engine::inputs() const noexcept { return impl_->inputs; }
const std::vector<int>& Engine::outputs() const noexcept { return impl_->outputs; }
int Engine::profile_count() const noexcept { return impl_->profiles; }
int Engine::layer_count() const noexcept { return impl_->layers; }
bool Engine::is_refittable() const noexcept { return impl_->refittable; }
bool Engine::needs_refit() const noexcept { return impl_->needs_refit; }

int Engine::find(std::string_view tensor) const noexcept {
  const auto found = impl_->by_name.find(tensor);
  return found == impl_->by_name.end() ? -1 : found->second;
}

int Engine::index(std::string_view tensor) const {
  const int found = find(tensor);
  if (found >= 0) return found;
  std::string known;
  for (const TensorInfo& info : impl_->tensors) known += (known.empty() ? "" : ", ") + info.name;
  throw BindingError(
      {"find a tensor", "there is no tensor \"" + std::string(tensor) + "\"", "the engine has: " + known});
}

std::size_t Engine::device_memory_size(int profile) const {
  if (profile < -1 || profile >= impl_->profiles) {
    throw InvalidArgument({"ask for activation memory", "there is no profile " + std::to_string(profile),
                           "the engine has " + std::to_string(impl_->profiles)});
  }
  return impl_->port->device_memory_size(profile);
}

std::vector<int> Engine::matching_profiles(Span<const Dims> input_shapes) const {
  if (input_shapes.size() != impl_->inputs.size()) {
    throw InvalidArgument({"match profiles", std::to_string(input_shapes.size()) + " shapes for " +
                                                 std::to_string(impl_->inputs.size()) + " inputs"});
  }
  std::vector<int> matching;
  for (int p = 0; p < std::max(impl_->profiles, 1); ++p) {
    bool all = true;
    for (std::size_t i = 0; i < input_shapes.size() && all; ++i)
      all = impl_->fits(p, impl_->inputs[i], input_shapes[i]);
    if (all) matching.push_back(p);
  }
  return matching;
}

bool Engine::fits(int profile, int tensor, const Dims& shape) const noexcept {
  return impl_->fits(profile, tensor, shape);
}

std::string Engine::inspect(const ExecutionContext* context) const {
  const cuda::ThrowingGuard guard(*impl_->device().primary());
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->port->inspect(context != nullptr ? context->impl_->port.get() : nullptr);
}

std::vector<std::string> Engine::refittable_weights() const {
  if (!impl_->refittable) return {};
  const cuda::ThrowingGuard guard(*impl_->device().primary());
  return impl_->port->create_refitter()->all_weights();
}

std::vector<std::string> Engine::missing_weights() const {
  if (!impl_->refittable || !impl_->needs_refit) return {};
  const cuda::ThrowingGuard guard(*impl_->device().primary());
  const auto refitter = impl_->port->create_refitter();
  std::vector<std::string> missing = refitter->missing_weights();
  return missing.empty() ? refitter->all_weights() : missing;
}

WeightView Engine::weight_prototype(const std::string& weight) const {
  const cuda::ThrowingGuard guard(*impl_->device().primary());
  WeightView view;
  view.name = weight;
  impl_->port->create_refitter()->prototype(weight.c_str(), view.dtype, view.count);
  return view;
}

RefitReport Engine::refit(Span<const WeightView> weights) {
  if (!impl_->refittable) {
    throw UnsupportedFeature(
        {"refit", "this engine can not be refitted", "build the plan with the REFIT or STRIP_PLAN flag"});
  }
  const cuda::ThrowingGuard guard(*impl_->device().primary());
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  const auto refitter = impl_->port->create_refitter();
  const std::vector<std::string> known = refitter->all_weights();
  for (const WeightView& weight : weights) {
    if (std::find(known.begin(), known.end(), weight.name) == known.end()) {
      throw BindingError(
          {"refit", "the engine has no weights named \"" + weight.name + "\"", "refittable_weights() lists them"});
    }
    if (weight.data == nullptr && weight.count != 0)
      throw BindingError({"refit", "the weights \"" + weight.name + "\" have no data"});
    const Call call("IRefitter::setNamedWeights", impl_->subject());
    call.require(refitter->set_weights(weight.name.c_str(), weight.dtype, weight.data, weight.count, weight.location));
  }
  RefitReport report{refitter->missing_weights()};
  if (!report.missing.empty()) return report;
  const Call call("IRefitter::refitCudaEngine", impl_->subject());
  call.require(refitter->refit());
  impl_->needs_refit = false;
  return report;
}

namespace {

void require_streaming(bool can, const Version& version) {
  if (!can)
    throw UnsupportedFeature(
        {"weight streaming", "TensorRT " + version.str() + " can not stream weights", "this came with 10.0"});
}

}  // namespace

std::int64_t Engine::streamable_weights_size() const { return impl_->port->streamable_weights_size(); }
std::int64_t Engine::weight_budget() const { return impl_->port->weight_budget(); }
std::int64_t Engine::automatic_weight_budget() const {
  require_streaming(impl_->port->can_stream_weights(), impl_->subject().library);
  return impl_->port->automatic_weight_budget();
}

void Engine::set_weight_budget(std::int64_t bytes) {
  require_streaming(impl_->port->can_stream_weights(), impl_->subject().library);
  if (impl_->port->streamable_weights_size() <= 0) {
    throw UnsupportedFeature({"weight streaming", "this plan has no weights that can be streamed",
                              "build it with the WEIGHT_STREAMING flag"});
  }
  const cuda::ThrowingGuard guard(*impl_->device().primary());
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  if (impl_->contexts > 0) {
    throw ContextBusy({"set the weight budget", std::to_string(impl_->contexts) + " contexts of this engine exist",
                       "set it before the first context is made"});
  }
  const Call call("ICudaEngine::setWeightStreamingBudget", impl_->subject());
  call.require(impl_->port->set_weight_budget(bytes));
}

}  // namespace cuready
