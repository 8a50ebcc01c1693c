// IExecutionContext: profiles, shapes, addresses, allocators. The run itself is in enqueue.cpp.
#include <algorithm>
#include <cstring>

#include "objects.hpp"

namespace simtrt {
namespace {

int index_of(Context* self, char const* name, char const* where) {
    int const index = name ? self->engine->plan->index(name) : -1;
    if (index < 0)
        self->voice->fail(where, 3, "API Usage Error", std::string("Parameter check failed, condition: nbTensors. Given invalid tensor name: ") + (name ? name : "(null)"));
    return index;
}

Tensor const& tensor_at(Context* self, int index) { return self->engine->plan->tensors[static_cast<size_t>(index)]; }

bool is_dynamic(Shape const& shape) {
    return std::any_of(shape.begin(), shape.end(), [](int64_t extent) { return extent < 0; });
}

void forget_shapes(Context& context) {
    auto const& tensors = context.engine->plan->tensors;
    context.shapes.assign(tensors.size(), std::nullopt);
    for (size_t i = 0; i < tensors.size(); ++i)
        if (tensors[i].input && !is_dynamic(tensors[i].shape)) context.shapes[i] = tensors[i].shape;
}

bool set_input_shape(Context* self, char const* name, Dims const* dims) {
    constexpr char const* where = "IExecutionContext::setInputShape";
    SIMTRT_ENTRY("IExecutionContext::setInputShape");
    if (fault_.action == Action::refuse) self->voice->fail(where, 3, "API Usage Error", fault_.text);
    if (fault_) return false;
    int const index = index_of(self, name, where);
    if (index < 0) return false;
    Tensor const& tensor = tensor_at(self, index);
    Shape const shape = to_shape(*dims);
    auto refuse = [&](std::string const& what) {
        self->voice->fail(where, 3, "API Usage Error", what);
        return false;
    };
    if (!tensor.input) return refuse("Parameter check failed, condition: engine.bindingIsInput(bindingIndex). " + tensor.name + " is not an input.");
    if (self->profile < 0) return refuse("Parameter check failed, condition: mOptimizationProfile >= 0");
    if (shape.size() != tensor.shape.size())
        return refuse("Parameter check failed, condition: engineDims.nbDims == dims.nbDims. Dimension count mismatch while setting input shape for " + tensor.name + ".");
    for (size_t i = 0; i < shape.size(); ++i)
        if (tensor.shape[i] >= 0 && tensor.shape[i] != shape[i])
            return refuse("Parameter check failed, condition: engineDims.d[i] == dims.d[i]. Static dimension mismatch while setting input shape for " +
                          tensor.name + ". Set dimensions are " + text_of(shape) + ". Expected dimensions are " + text_of(tensor.shape) + ".");
    Bounds const& allowed = tensor.profiles[static_cast<size_t>(self->profile)];
    for (size_t i = 0; i < shape.size(); ++i)
        if (shape[i] < allowed.min[i] || shape[i] > allowed.max[i])
            return refuse("Set dimension " + text_of(shape) + " for tensor " + tensor.name + " does not satisfy any optimization profiles. Valid range for profile " +
                          std::to_string(self->profile) + ": " + text_of(allowed.min) + ".." + text_of(allowed.max) + ".");
    if (self->shapes[static_cast<size_t>(index)] != shape) self->exact_scratch = -1;
    self->shapes[static_cast<size_t>(index)] = shape;
    self->final_shapes.clear();
    return true;
}

Dims tensor_shape(Context* self, char const* name) {
    SIMTRT_ENTRY("IExecutionContext::getTensorShape");
    int const index = index_of(self, name, "IExecutionContext::getTensorShape");
    if (index < 0) return Dims{-1, {}};
    if (!self->final_shapes.empty()) return to_dims(self->final_shapes[static_cast<size_t>(index)]);
    return to_dims(current_shapes(*self)[static_cast<size_t>(index)]);
}

Dims tensor_strides(Context* self, char const* name) {
    int const index = index_of(self, name, "IExecutionContext::getTensorStrides");
    if (index < 0) return Dims{-1, {}};
    Shape strides = current_shapes(*self)[static_cast<size_t>(index)];
    int64_t step = 1;
    for (size_t i = strides.size(); i-- > 0;) {
        int64_t const extent = strides[i];
        strides[i] = step;
        step *= extent;
    }
    return to_dims(strides);
}

bool set_address_as(Context* self, char const* name, void const* data, char const* where) {
    int const index = index_of(self, name, where);
    if (index < 0) return false;
    self->addresses[static_cast<size_t>(index)] = const_cast<void*>(data);
    return true;
}
bool set_address(Context* self, char const* name, void* data) {
    SIMTRT_ENTRY("IExecutionContext::setTensorAddress");
    if (fault_.action == Action::refuse) self->voice->fail("IExecutionContext::setTensorAddress", 3, "API Usage Error", fault_.text);
    return !fault_ && set_address_as(self, name, data, "IExecutionContext::setTensorAddress");
}
bool set_input_address(Context* self, char const* name, void const* data) {
    SIMTRT_ENTRY("IExecutionContext::setInputTensorAddress");
    return set_address_as(self, name, data, "IExecutionContext::setInputTensorAddress");
}
[[maybe_unused]] bool set_output_address(Context* self, char const* name, void* data) {
    SIMTRT_ENTRY("IExecutionContext::setOutputTensorAddress");
    return set_address_as(self, name, data, "IExecutionContext::setOutputTensorAddress");
}
void const* get_address(Context* self, char const* name) {
    int const index = index_of(self, name, "IExecutionContext::getTensorAddress");
    return index < 0 ? nullptr : self->addresses[static_cast<size_t>(index)];
}
void* get_output_address(Context* self, char const* name) { return const_cast<void*>(get_address(self, name)); }

bool set_output_allocator(Context* self, char const* name, Object allocator) {
    SIMTRT_ENTRY("IExecutionContext::setOutputAllocator");
    int const index = index_of(self, name, "IExecutionContext::setOutputAllocator");
    if (fault_ || index < 0 || tensor_at(self, index).input) return false;
    self->allocators[static_cast<size_t>(index)] = allocator;
    return true;
}
Object get_output_allocator(Context* self, char const* name) {
    int const index = index_of(self, name, "IExecutionContext::getOutputAllocator");
    return index < 0 ? nullptr : self->allocators[static_cast<size_t>(index)];
}

int64_t max_output_size(Context* self, char const* name) {
    SIMTRT_ENTRY("IExecutionContext::getMaxOutputSize");
    int const index = index_of(self, name, "IExecutionContext::getMaxOutputSize");
    if (index < 0) return -1;
    auto const& plan = *self->engine->plan;
    Shape const bound = upper_bound(plan, static_cast<size_t>(index), current_shapes(*self));
    if (is_dynamic(bound)) return -1;
    Tensor const& tensor = tensor_at(self, index);
    return static_cast<int64_t>(bytes_of(bound, tensor.layout, tensor.type));
}

int32_t infer(Context* self, int32_t capacity, char const** names) {
    SIMTRT_ENTRY("IExecutionContext::inferShapes");
    int32_t missing = 0;
    auto const& tensors = self->engine->plan->tensors;
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (!tensors[i].input) continue;
        bool const unknown = !self->shapes[i] || (tensors[i].host && !self->addresses[i]);
        if (!unknown) continue;
        if (missing < capacity) names[missing] = tensors[i].name.c_str();
        ++missing;
    }
    return missing;
}

bool all_specified(Context* self) {
    SIMTRT_ENTRY("IExecutionContext::allInputDimensionsSpecified");
    auto const& tensors = self->engine->plan->tensors;
    for (size_t i = 0; i < tensors.size(); ++i)
        if (tensors[i].input && !self->shapes[i]) return false;
    return true;
}

bool set_profile_async(Context* self, int32_t profile, Stream stream) {
    constexpr char const* where = "IExecutionContext::setOptimizationProfileAsync";
    SIMTRT_ENTRY("IExecutionContext::setOptimizationProfileAsync");
    if (fault_.action == Action::refuse) self->voice->fail(where, 3, "API Usage Error", fault_.text);
    if (fault_) return false;
    if (profile < 0 || profile >= self->engine->plan->profiles) {
        self->voice->fail(where, 3, "API Usage Error", "Parameter check failed, condition: profileIndex >= 0 && profileIndex < mEngine.getNbOptimizationProfiles()");
        return false;
    }
    if (profile == self->profile) return true;
    int capturing = 0;  // asked of the driver, which notices a stream that is gone
    if (stream && Driver::get().is_capturing) Driver::get().is_capturing(stream, &capturing);
#if SIM_MAJOR == 8
    std::lock_guard<std::mutex> hold(self->engine->lock);
    auto& used = self->engine->profiles_in_use;
    if (used.count(profile)) {
        self->voice->fail(where, 3, "API Usage Error", "Profile " + std::to_string(profile) +
                          " has been chosen by another IExecutionContext. Use another profileIndex or destroy the IExecutionContext that use this profile.");
        return false;
    }
    used.erase(self->profile);
    used.insert(profile);
#endif
    self->profile = profile;
    self->exact_scratch = -1;
    forget_shapes(*self);
    self->final_shapes.clear();
    return true;
}
int32_t get_profile(Context* self) { return self->profile; }

void set_memory(Context* self, void* memory) {
    SIMTRT_ENTRY("IExecutionContext::setDeviceMemory");
    self->memory = reinterpret_cast<uint64_t>(memory);
    self->memory_size = scratch_bytes(*self->engine->plan, -1);
}
[[maybe_unused]] void set_memory_v2(Context* self, void* memory, int64_t size) {
    SIMTRT_ENTRY("IExecutionContext::setDeviceMemoryV2");
    self->memory = reinterpret_cast<uint64_t>(memory);
    self->memory_size = size;
}
/** Scratch for the current shapes: half of the profile's for less than half of its largest volume. */
[[maybe_unused]] size_t memory_for_shapes(Context* self) {
    SIMTRT_ENTRY("IExecutionContext::updateDeviceMemorySizeForShapes");
    if (!self->user_memory || !all_specified(self)) return 0;
    int64_t const all = self->exact_scratch = scratch_bytes(*self->engine->plan, self->profile);
    auto const& tensors = self->engine->plan->tensors;
    for (size_t i = 0; i < tensors.size(); ++i)
        if (tensors[i].input && 2 * volume(*self->shapes[i]) > volume(tensors[i].profiles[static_cast<size_t>(self->profile)].max)) return static_cast<size_t>(all);
    self->exact_scratch = all / 2;
    return static_cast<size_t>(all / 2);
}

bool enqueue_v3(Context* self, Stream stream) {
    SIMTRT_ENTRY("IExecutionContext::enqueueV3");
    if (fault_.action == Action::refuse) self->voice->fail("IExecutionContext::enqueueV3", 1, "Cuda Runtime", fault_.text);
    if (fault_) return false;
    if (self->busy.exchange(true)) {
        misuse("two threads are inside one IExecutionContext");
        return false;
    }
    bool const queued = enqueue(*self, stream);
    self->busy = false;
    return queued;
}

Public* get_public(Context* self) { return &self->handle; }
void set_debug_sync(Context* self, bool sync) { self->debug_sync = sync; }
bool get_debug_sync(Context* self) { return self->debug_sync; }
void set_profiler(Context* self, Object profiler) {
    SIMTRT_ENTRY("IExecutionContext::setProfiler");
    if (!profiler) {  // as 10.6 does; there is no way back to none
        self->voice->fail("IExecutionContext::setProfiler", 3, "API Usage Error", "Parameter check failed, condition: (profiler) != nullptr. ");
        return;
    }
    self->profiler = profiler;
}
Object get_profiler(Context* self) { return self->profiler; }
Public* get_engine(Context* self) { return &self->engine->handle; }
void set_name(Context* self, char const* name) { self->name = name ? name : ""; }
char const* get_name(Context* self) { return self->name.c_str(); }
void set_recorder(Context* self, Object recorder) {
    SIMTRT_ENTRY("IExecutionContext::setErrorRecorder");
    self->voice->recorder.set(recorder);
}
Object get_recorder(Context* self) { return self->voice->recorder.get(); }
void set_emits(Context* self, bool emits) { self->emits_profile = emits; }
bool get_emits(Context* self) { return self->emits_profile; }
bool report(Context* self) {
    SIMTRT_ENTRY("IExecutionContext::reportToProfiler");
    if (!self->profiler) return false;
    Driver::get().stream_synchronize(self->last_stream);
    for (auto const& layer : self->engine->layers) call_report_layer(self->profiler, layer, 0.25f);
    return true;
}
bool set_consumed(Context* self, void* event) {
    SIMTRT_ENTRY("IExecutionContext::setInputConsumedEvent");
    self->consumed_event = event;
    return true;
}
void* get_consumed(Context* self) { return self->consumed_event; }
bool set_temporary(Context* self, Object allocator) {
    self->temporary_allocator = allocator;
    return true;
}
Object get_temporary(Context* self) { return self->temporary_allocator; }
void set_cache(Context* self, size_t size) { self->cache_limit = size; }
size_t get_cache(Context* self) { return self->cache_limit; }
bool set_nvtx(Context* self, int32_t verbosity) {
    self->nvtx = verbosity;
    return true;
}
int32_t get_nvtx(Context* self) { return self->nvtx; }
void set_auxiliary(Context*, Stream*, int32_t) {}
[[maybe_unused]] bool set_listener(Context* self, Object listener) {
    self->debug_listener = listener;
    return true;
}
[[maybe_unused]] Object get_listener(Context* self) { return self->debug_listener; }
[[maybe_unused]] bool refuse_debug(Context*, char const*, bool) { return false; }
[[maybe_unused]] bool refuse_debug_all(Context*, bool) { return false; }

void destroy(Public* handle) {
    SIMTRT_ENTRY("IExecutionContext::~IExecutionContext");
    auto* const self = static_cast<Context*>(handle->impl);
    if (self->busy) misuse("an IExecutionContext was destroyed while a thread is inside it");
    self->voice->log(verbose, "Context destroyed");
    self->life->alive = false;
#if SIM_MAJOR == 8
    {
        std::lock_guard<std::mutex> hold(self->engine->lock);
        self->engine->profiles_in_use.erase(self->profile);
    }
#endif
    --*self->engine_contexts;
    delete self;
}

void** vtable() {
    static void** const vptr = make_vtable("VExecutionContext", {
        method("getPImpl", get_public), method("setDebugSync", set_debug_sync), method("getDebugSync", get_debug_sync),
        method("setProfiler", set_profiler), method("getProfiler", get_profiler), method("getEngine", get_engine),
        method("setName", set_name), method("getName", get_name), method("setDeviceMemory", set_memory),
        method("getOptimizationProfile", get_profile), method("allInputDimensionsSpecified", all_specified),
        method("allInputShapesSpecified", all_specified), method("setErrorRecorder", set_recorder), method("getErrorRecorder", get_recorder),
        method("setOptimizationProfileAsync", set_profile_async), method("setEnqueueEmitsProfile", set_emits),
        method("getEnqueueEmitsProfile", get_emits), method("reportToProfiler", report), method("setInputShape", set_input_shape),
        method("getTensorShape", tensor_shape), method("getTensorStrides", tensor_strides), method("setTensorAddress", set_address),
        method("getTensorAddress", get_address), method("setInputTensorAddress", set_input_address), method("inferShapes", infer),
        method("setInputConsumedEvent", set_consumed), method("getInputConsumedEvent", get_consumed),
        method("getOutputTensorAddress", get_output_address), method("setOutputAllocator", set_output_allocator),
        method("getOutputAllocator", get_output_allocator), method("getMaxOutputSize", max_output_size),
        method("setTemporaryStorageAllocator", set_temporary), method("getTemporaryStorageAllocator", get_temporary),
        method("enqueueV3", enqueue_v3), method("setPersistentCacheLimit", set_cache), method("getPersistentCacheLimit", get_cache),
        method("setNvtxVerbosity", set_nvtx), method("getNvtxVerbosity", get_nvtx), method("setAuxStreams", set_auxiliary),
#if SIM_MAJOR >= 10
        method("setOutputTensorAddress", set_output_address), method("setDebugListener", set_listener), method("getDebugListener", get_listener),
        method("setTensorDebugState", refuse_debug), method("setAllTensorsDebugState", refuse_debug_all),
        method("updateDeviceMemorySizeForShapes", memory_for_shapes), method("setDeviceMemoryV2", set_memory_v2),
#endif
    });
    return vptr;
}

}  // namespace

HostValues host_values(Context& context) {
    HostValues values;
    auto const& tensors = context.engine->plan->tensors;
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (!tensors[i].input || !tensors[i].host || !context.addresses[i] || !context.shapes[i]) continue;
        auto& list = values[i];
        for (int64_t k = 0, n = volume(*context.shapes[i]); k < n; ++k) list.push_back(load_integer(tensors[i].type, context.addresses[i], k));
    }
    return values;
}

std::vector<Shape> current_shapes(Context& context) {
    auto const& tensors = context.engine->plan->tensors;
    std::vector<Shape> inputs(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) inputs[i] = context.shapes[i].value_or(tensors[i].shape);
    return infer_shapes(*context.engine->plan, inputs, host_values(context));
}

Public* make_context(Engine& engine, int strategy, bool user_memory) {
    auto context = std::make_unique<Context>();
    context->engine = &engine;
    context->voice->logger = engine.voice->logger;
    context->voice->parent = engine.voice;
    context->strategy = strategy;
    context->user_memory = user_memory;
    auto const count = engine.plan->tensors.size();
    context->addresses.assign(count, nullptr);
    context->allocators.assign(count, nullptr);
    forget_shapes(*context);
#if SIM_MAJOR == 8
    {
        std::lock_guard<std::mutex> hold(engine.lock);
        context->profile = engine.profiles_in_use.insert(0).second ? 0 : -1;
    }
#endif
    auto const bytes = static_cast<size_t>(scratch_bytes(*engine.plan, strategy == 1 ? context->profile : -1));
    if (!user_memory && bytes && !context->own_memory.allocate(engine.allocator, bytes)) {
        engine.voice->fail("ICudaEngine::createExecutionContext", 2, "OutOfMemory", "Requested size was " + std::to_string(bytes) + " bytes.");
#if SIM_MAJOR == 8
        std::lock_guard<std::mutex> hold(engine.lock);
        engine.profiles_in_use.erase(context->profile);
#endif
        return nullptr;
    }
    if (!user_memory) {
        context->memory = context->own_memory.address();
        context->memory_size = static_cast<int64_t>(bytes);
    }
    context->engine_contexts = engine.contexts;
    ++*context->engine_contexts;
    set_handle(*context, vtable(), destroy);
    return &context.release()->handle;
}

}  // namespace simtrt
