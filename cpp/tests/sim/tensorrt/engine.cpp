// ICudaEngine: what a plan has, and the objects made from it.
#include <algorithm>
#include <cstring>

#include "objects.hpp"

namespace simtrt {
namespace {

Tensor const* find(Engine* self, char const* name, char const* where) {
    int const index = name ? self->plan->index(name) : -1;
    if (index >= 0) return &self->plan->tensors[static_cast<size_t>(index)];
    self->voice->fail(where, 3, "API Usage Error", std::string("Error: Given invalid tensor name: ") + (name ? name : "(null)") + ". Get valid tensor names with getIOTensorName()");
    return nullptr;
}

Dims no_dims() {
    Dims dims{};
    dims.rank = -1;
    return dims;
}

Public* get_public(Engine* self) { return &self->handle; }
int32_t layer_count(Engine* self) { return static_cast<int32_t>(self->layers.size()); }
Public* serialize(Engine* self) { return make_host_memory("serialized " + self->plan->name); }
bool is_refittable(Engine* self) { return self->plan->refittable; }
char const* get_name(Engine* self) { return self->plan->name.c_str(); }
int32_t profile_count(Engine* self) { return self->plan->profiles; }
int32_t zero(Engine*) { return 0; }
bool no(Engine*) { return false; }
int32_t verbosity(Engine*) { return 0; }
uint32_t tactic_sources(Engine*) { return 0; }
int32_t hardware(Engine* self) { return self->plan->hardware == "ampere_plus" ? 1 : self->plan->hardware == "same_compute_capability" ? 2 : 0; }
int32_t auxiliary_streams(Engine* self) { return self->plan->auxiliary_streams; }
void set_recorder(Engine* self, Object recorder) { self->voice->recorder.set(recorder); }
Object get_recorder(Engine* self) { return self->voice->recorder.get(); }
Public* create_inspector(Engine* self) {
    SIMTRT_ENTRY("ICudaEngine::createEngineInspector");
    return fault_ ? refused(fault_) : make_inspector(*self);
}

int32_t tensor_count(Engine* self) { return static_cast<int32_t>(self->plan->tensors.size()); }
char const* tensor_name(Engine* self, int32_t index) {
    SIMTRT_ENTRY("ICudaEngine::getIOTensorName");
    if (fault_ || index < 0 || index >= tensor_count(self)) return nullptr;
    return self->plan->tensors[static_cast<size_t>(index)].name.c_str();
}
Dims tensor_shape(Engine* self, char const* name) {
    SIMTRT_ENTRY("ICudaEngine::getTensorShape");
    auto const* tensor = find(self, name, "ICudaEngine::getTensorShape");
    return tensor ? to_dims(tensor->shape) : no_dims();
}
int32_t tensor_type(Engine* self, char const* name) {
    auto const* tensor = find(self, name, "ICudaEngine::getTensorDataType");
    return tensor ? static_cast<int32_t>(tensor->type) : 0;
}
int32_t tensor_location(Engine* self, char const* name) {
    auto const* tensor = find(self, name, "ICudaEngine::getTensorLocation");
    return tensor && tensor->host;
}
bool is_shape_io(Engine* self, char const* name) {
    auto const* tensor = find(self, name, "ICudaEngine::isShapeInferenceIO");
    return tensor && tensor->shape_tensor;
}
int32_t tensor_mode(Engine* self, char const* name) {
    int const index = self->plan->index(name);
    return index < 0 ? 0 : self->plan->tensors[static_cast<size_t>(index)].input ? 1 : 2;
}
int32_t bytes_per_component(Engine* self, char const* name, int32_t) {
    auto const* tensor = find(self, name, "ICudaEngine::getTensorBytesPerComponent");
    return tensor && tensor->layout.vector > 1 ? bits_of(tensor->type) / 8 : -1;
}
int32_t components_per_element(Engine* self, char const* name, int32_t) {
    auto const* tensor = find(self, name, "ICudaEngine::getTensorComponentsPerElement");
    return tensor && tensor->layout.vector > 1 ? tensor->layout.vector : -1;
}
int32_t tensor_format(Engine* self, char const* name, int32_t) {
    auto const* tensor = find(self, name, "ICudaEngine::getTensorFormat");
    return tensor ? tensor->layout.number : 0;
}
char const* format_text(Engine* self, char const* name, int32_t) {
    auto const* tensor = find(self, name, "ICudaEngine::getTensorFormatDesc");
    return tensor ? tensor->layout.text.c_str() : "";
}
int32_t vectorized_dimension(Engine* self, char const* name, int32_t) {
    auto const* tensor = find(self, name, "ICudaEngine::getTensorVectorizedDim");
    return tensor && tensor->layout.vector > 1 ? tensor->layout.dimension : -1;
}

/** The same questions without a profile: profile 0 is meant, and since 10 a warning says so where there are more. */
template <auto ask>
auto without_profile(Engine* self, char const* name) {
#if SIM_MAJOR >= 10
    if (self->plan->profiles > 1)
        self->voice->log(warning, "(char const* tensorName) only returns results for profile 0. Use (char const* tensorName, int32_t profileIndex) instead to obtain results for profiles 1 to " + std::to_string(self->plan->profiles - 1) + ".");
#endif
    return ask(self, name, 0);
}

Bounds const* bounds(Engine* self, char const* name, int32_t profile, char const* where) {
    auto const* tensor = find(self, name, where);
    if (!tensor || !tensor->input || profile < 0 || profile >= self->plan->profiles) return nullptr;
    return &tensor->profiles[static_cast<size_t>(profile)];
}
Dims profile_shape(Engine* self, char const* name, int32_t profile, int32_t which) {
    auto const* allowed = bounds(self, name, profile, "ICudaEngine::getProfileShape");
    if (!allowed) return no_dims();
    return to_dims(which == 0 ? allowed->min : which == 1 ? allowed->opt : allowed->max);
}
std::vector<int64_t> const* profile_values(Engine* self, char const* name, int32_t profile, int32_t which) {
    auto const* allowed = bounds(self, name, profile, "ICudaEngine::getProfileTensorValues");
    if (!allowed) return nullptr;
    auto const& values = which == 0 ? allowed->min_values : which == 1 ? allowed->opt_values : allowed->max_values;
    return values.empty() ? nullptr : &values;
}
[[maybe_unused]] int32_t const* narrow(std::vector<int64_t> const* values) {
    thread_local std::vector<int32_t> kept[16];
    thread_local size_t next = 0;
    if (!values) return nullptr;
    auto& slot = kept[next++ % 16];
    slot.assign(values->begin(), values->end());
    return slot.data();
}

int64_t memory_size_v2(Engine* self) { return scratch_bytes(*self->plan, -1); }
size_t memory_size(Engine* self) { return static_cast<size_t>(memory_size_v2(self)); }

Public* context_without_memory(Engine* self) {
    SIMTRT_ENTRY("ICudaEngine::createExecutionContextWithoutDeviceMemory");
    return fault_ ? refused(fault_) : make_context(*self, 2, true);
}
Public* create(Engine* self, int strategy) {
    SIMTRT_ENTRY("ICudaEngine::createExecutionContext");
    if (fault_.action == Action::refuse || fault_.action == Action::bad_pointer)
        self->voice->fail("ICudaEngine::createExecutionContext", 2, "Internal Error", fault_.text);
    return fault_ ? refused(fault_) : make_context(*self, strategy, strategy == 2);
}

#if SIM_MAJOR == 8
Public* create_context(Engine* self) { return create(self, 0); }
int32_t binding_count(Engine* self) { return tensor_count(self) * self->plan->profiles; }
int32_t binding_index(Engine* self, char const* name) { return self->plan->index(name); }
char const* binding_name(Engine* self, int32_t index) { return tensor_name(self, index % tensor_count(self)); }
bool binding_is_input(Engine* self, int32_t index) { return self->plan->tensors[static_cast<size_t>(index % tensor_count(self))].input; }
int32_t const* profile_shape_values(Engine* self, int32_t profile, int32_t binding, int32_t which) {
    return narrow(profile_values(self, binding_name(self, binding), profile, which));
}
#else
Public* create_context(Engine* self, int32_t strategy) { return create(self, strategy); }
[[maybe_unused]] int32_t const* profile_values_v1(Engine* self, char const* name, int32_t profile, int32_t which) {
    return narrow(profile_values(self, name, profile, which));
}
int64_t const* profile_values_v2(Engine* self, char const* name, int32_t profile, int32_t which) {
    auto const* values = profile_values(self, name, profile, which);
    return values ? values->data() : nullptr;
}
Public* create_refitter(Engine* self, Object logger) {
    SIMTRT_ENTRY("ICudaEngine::createRefitter");
    return fault_ ? refused(fault_) : make_refitter(*self, logger);
}
[[maybe_unused]] size_t memory_for_profile(Engine* self, int32_t profile) { return static_cast<size_t>(scratch_bytes(*self->plan, profile)); }
int64_t memory_for_profile_v2(Engine* self, int32_t profile) { return scratch_bytes(*self->plan, profile); }
int64_t streamable(Engine* self) { return self->plan->streamable; }
bool set_budget(Engine* self, int64_t bytes) {
    SIMTRT_ENTRY("ICudaEngine::setWeightStreamingBudgetV2");
    if (*self->contexts > 0) {
        self->voice->fail("ICudaEngine::setWeightStreamingBudgetV2", 3, "API Usage Error", "Parameter check failed, condition: !mHasActiveContexts. The weight streaming budget cannot be changed while there are active IExecutionContexts.");
        return false;
    }
    if (bytes < 0 || self->plan->streamable == 0) {
        self->voice->fail("ICudaEngine::setWeightStreamingBudgetV2", 3, "API Usage Error", "Parameter check failed, condition: gpuMemoryBudget >= 0.");
        return false;
    }
    self->budget = std::min(bytes, self->plan->streamable);
    return true;
}
int64_t get_budget(Engine* self) { return self->budget; }
int64_t automatic_budget(Engine* self) { return self->plan->streamable / 2; }
int64_t scratch(Engine* self) { return self->plan->streamable / 8; }
bool is_debug_tensor(Engine*, char const*) { return false; }
Public* create_config(Engine*) { return make_runtime_config(); }
Public* context_with_config(Engine* self, Public* config) {
    SIMTRT_ENTRY("ICudaEngine::createExecutionContextWithRuntimeConfig");
    int const strategy = static_cast<RuntimeConfig*>(config->impl)->strategy;
    return fault_ ? refused(fault_) : make_context(*self, strategy, strategy == 2);
}
int64_t statistic(Engine* self, int32_t which) {
    int64_t total = 0, stripped = 0;
    for (auto const& weight : self->plan->weights) {
        int64_t const bytes = static_cast<int64_t>(weight.values.size()) * bits_of(weight.type) / 8;
        total += bytes;
        if (weight.stripped) stripped += bytes;
    }
    return which == 0 ? total : stripped;
}
char const* aliased_input(Engine* self, char const* name) {
    auto const* tensor = find(self, name, "ICudaEngine::getAliasedInputTensor");
    return tensor && !tensor->alias_of.empty() ? tensor->alias_of.c_str() : nullptr;
}
#endif

void destroy(Public* handle) {
    SIMTRT_ENTRY("ICudaEngine::~ICudaEngine");
    auto* const self = static_cast<Engine*>(handle->impl);
    if (*self->contexts > 0) misuse("an ICudaEngine was destroyed before the contexts that it made");
    self->voice->log(verbose, "Engine destroyed");
    --*self->runtime_engines;
    delete self;
}

void** vtable() {
    static void** const vptr = make_vtable("VCudaEngine", {
        method("getPImpl", get_public), method("getNbLayers", layer_count), method("serialize", serialize),
        method("createExecutionContext", create_context), method("createExecutionContextWithoutDeviceMemory", context_without_memory),
        method("getDeviceMemorySize", memory_size), method("isRefittable", is_refittable), method("getName", get_name),
        method("getNbOptimizationProfiles", profile_count), method("getEngineCapability", zero), method("setErrorRecorder", set_recorder),
        method("getErrorRecorder", get_recorder), method("hasImplicitBatchDimension", no), method("getTacticSources", tactic_sources),
        method("getProfilingVerbosity", verbosity), method("createEngineInspector", create_inspector),
        method("getTensorShape", tensor_shape), method("getTensorDataType", tensor_type), method("getTensorLocation", tensor_location),
        method("isShapeInferenceIO", is_shape_io), method("getTensorIOMode", tensor_mode),
        method("getTensorBytesPerComponent", without_profile<bytes_per_component>), method("getTensorComponentsPerElement", without_profile<components_per_element>),
        method("getTensorFormat", without_profile<tensor_format>), method("getTensorFormatDesc", without_profile<format_text>), method("getTensorVectorizedDim", without_profile<vectorized_dimension>),
        method("getProfileShape", profile_shape), method("getNbIOTensors", tensor_count), method("getIOTensorName", tensor_name),
        method("getHardwareCompatibilityLevel", hardware), method("getNbAuxStreams", auxiliary_streams),
        method("getTensorBytesPerComponentV2", bytes_per_component), method("getTensorComponentsPerElementV2", components_per_element),
        method("getTensorFormatV2", tensor_format), method("getTensorFormatDescV2", format_text),
        method("getTensorVectorizedDimV2", vectorized_dimension),
#if SIM_MAJOR == 8
        method("getNbBindings", binding_count), method("getBindingIndex", binding_index), method("getBindingName", binding_name),
        method("bindingIsInput", binding_is_input), method("getProfileShapeValues", profile_shape_values),
#else
        method("getProfileTensorValues", profile_values_v1), method("getProfileTensorValuesV2", profile_values_v2),
        method("createRefitter", create_refitter), method("getDeviceMemorySizeForProfile", memory_for_profile),
        method("getDeviceMemorySizeV2", memory_size_v2), method("getDeviceMemorySizeForProfileV2", memory_for_profile_v2),
        method("getStreamableWeightsSize", streamable), method("setWeightStreamingBudgetV2", set_budget),
        method("setWeightStreamingBudget", set_budget), method("getWeightStreamingBudget", get_budget),
        method("getWeightStreamingBudgetV2", get_budget), method("getWeightStreamingAutomaticBudget", automatic_budget),
        method("getMinimumWeightStreamingBudget", scratch), method("getWeightStreamingScratchMemorySize", scratch),
        method("isDebugTensor", is_debug_tensor), method("createRuntimeConfig", create_config),
        method("createExecutionContextWithRuntimeConfig", context_with_config), method("getEngineStat", statistic),
        method("getAliasedInputTensor", aliased_input),
#endif
    });
    return vptr;
}

}  // namespace

void finish_engine(Engine& engine) { set_handle(engine, vtable(), destroy); }

int64_t scratch_bytes(Plan const& plan, int profile) {
    if (profile >= 0 && profile < plan.profiles) return plan.device_memory[static_cast<size_t>(profile)];
    return *std::max_element(plan.device_memory.begin(), plan.device_memory.end());
}

}  // namespace simtrt
