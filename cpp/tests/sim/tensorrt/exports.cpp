// The C symbols of a TensorRT library, and the small objects: inspector, host memory, runtime configuration, plugin
// registry.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "control_trt.h"
#include "objects.hpp"

#define SIMTRT_API extern "C" __attribute__((visibility("default")))

namespace simtrt {
namespace {

struct Counts {
  std::mutex lock;
  std::map<std::string, int> live;
};
Counts& counts() {
  static auto& all = *new Counts;
  return all;
}

struct Plugins {
  std::mutex lock;
  std::vector<PluginId> creators;
};
Plugins& plugins() {
  static auto& all = *new Plugins;
  return all;
}

// Inspector.
bool set_context(Inspector* self, Public const* context) {
  self->context = context;
  return true;
}
Public const* get_context(Inspector* self) { return self->context; }
std::string quoted(std::string const& text) { return "\"" + text + "\""; }
std::string layer_text(Inspector* self, size_t index, bool json) {
  auto const& plan = *self->engine->plan;
  auto const& operation = plan.operations[index];
  std::string const& name = self->engine->layers[index];
  if (!json) return name + ": " + operation.kind;
  std::string text = "{\"Name\": " + quoted(name) + ", \"LayerType\": " + quoted(operation.kind) + ", \"Outputs\": [";
  for (size_t i = 0; i < operation.outputs.size(); ++i)
    text += (i ? ", " : "") + quoted(plan.tensors[operation.outputs[i]].name);
  return text + "]}";
}
char const* layer_information(Inspector* self, int32_t layer, int32_t format) {
  if (layer < 0 || static_cast<size_t>(layer) >= self->engine->layers.size()) return nullptr;
  self->text = layer_text(self, static_cast<size_t>(layer), format == 1);
  return self->text.c_str();
}
char const* engine_information(Inspector* self, int32_t format) {
  SIMTRT_ENTRY("IEngineInspector::getEngineInformation");
  if (fault_) return nullptr;
  std::string layers;
  for (size_t i = 0; i < self->engine->layers.size(); ++i)
    layers += (i ? (format == 1 ? ", " : "\n") : "") + layer_text(self, i, format == 1);
  self->text = format == 1 ? "{\"Layers\": [" + layers + "]}" : layers;
  return self->text.c_str();
}
void set_inspector_recorder(Inspector* self, Object recorder) { self->recorder.set(recorder); }
Object get_inspector_recorder(Inspector* self) { return self->recorder.get(); }
Public* inspector_public(Inspector* self) { return &self->handle; }
void destroy_inspector(Public* handle) {
  SIMTRT_ENTRY("IEngineInspector::~IEngineInspector");
  delete static_cast<Inspector*>(handle->impl);
}

// Host memory.
void* memory_data(HostMemory* self) { return self->bytes.data(); }
size_t memory_size(HostMemory* self) { return self->bytes.size(); }
int32_t memory_type(HostMemory*) { return 2; }
void destroy_memory(Public* handle) { delete static_cast<HostMemory*>(handle->impl); }

#if SIM_MAJOR >= 10
void set_strategy(RuntimeConfig* self, int32_t strategy) { self->strategy = strategy; }
int32_t get_strategy(RuntimeConfig* self) { return self->strategy; }
Public* config_public(RuntimeConfig* self) { return &self->handle; }
void destroy_config(Public* handle) { delete static_cast<RuntimeConfig*>(handle->impl); }
#endif

/** "CUDA initialization failure with error: 35" and the pointer that a real library gives then. */
Public* no_driver(Object logger, int code) {
  call_log(logger, error,
           "createInferRuntime: Error Code 6: API Usage Error (CUDA initialization failure with error: " +
               std::to_string(code) +
               ". Please check your CUDA installation: "
               "http://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html)");
  return reinterpret_cast<Public*>(0x228);
}

}  // namespace

void Census::add(std::string const& kind, int change) {
  auto& all = counts();
  std::lock_guard<std::mutex> hold(all.lock);
  all.live[kind] += change;
}

std::string Census::text(int* total) {
  auto& all = counts();
  std::lock_guard<std::mutex> hold(all.lock);
  std::string lines;
  for (auto const& entry : all.live) {
    if (!entry.second) continue;
    *total += entry.second;
    lines += entry.first + " " + std::to_string(entry.second) + "\n";
  }
  return lines;
}

bool DeviceBlock::allocate(Object allocator, size_t size) {
  if (size == 0) return true;
  allocator_ = allocator;
  size_ = size;
  if (allocator) {
    address_ = reinterpret_cast<uint64_t>(call_allocate(allocator, size));
    return address_ != 0;
  }
  return Driver::get().allocate(&address_, size) == 0;
}

void DeviceBlock::release() {
  if (!address_) return;
  if (allocator_)
    call_deallocate(allocator_, reinterpret_cast<void*>(address_));
  else
    Driver::get().free(address_);
  address_ = 0;
}

void set_handle(Base& object, void** vptr, void (*destroy)(Public*)) {
  object.vptr = vptr;
  object.handle = {make_public_vtable(destroy), &object};
}

Public* make_inspector(Engine& engine) {
  static void** const vptr =
      make_vtable("VEngineInspector",
                  {method("setExecutionContext", set_context), method("getExecutionContext", get_context),
                   method("getLayerInformation", layer_information), method("getEngineInformation", engine_information),
                   method("setErrorRecorder", set_inspector_recorder),
                   method("getErrorRecorder", get_inspector_recorder), method("getPImpl", inspector_public)});
  auto* const inspector = new Inspector;
  inspector->engine = &engine;
  set_handle(*inspector, vptr, destroy_inspector);
  return &inspector->handle;
}

Public* make_host_memory(std::string bytes) {
  static void** const vptr = make_vtable(
      "VHostMemory", {method("data", memory_data), method("size", memory_size), method("type", memory_type)});
  auto* const memory = new HostMemory;
  memory->bytes = std::move(bytes);
  set_handle(*memory, vptr, destroy_memory);
  return &memory->handle;
}

#if SIM_MAJOR >= 10
Public* make_runtime_config() {
  static void** const vptr =
      make_vtable("VRuntimeConfig",
                  {method("getPImpl", config_public), method("setExecutionContextAllocationStrategy", set_strategy),
                   method("getExecutionContextAllocationStrategy", get_strategy)});
  auto* const config = new RuntimeConfig;
  set_handle(*config, vptr, destroy_config);
  return &config->handle;
}
#endif

bool plugin_is_registered(PluginId const& plugin) {
  auto& all = plugins();
  std::lock_guard<std::mutex> hold(all.lock);
  return std::any_of(all.creators.begin(), all.creators.end(), [&](PluginId const& known) {
    return known.name == plugin.name && known.version == plugin.version && known.space == plugin.space;
  });
}

}  // namespace simtrt

using namespace simtrt;

SIMTRT_API void* createInferRuntime_INTERNAL(void* logger, int32_t) {
  Point::arm_from_environment_once();
  SIMTRT_ENTRY("createInferRuntime_INTERNAL");
  if (fault_) {
    if (fault_.action != Action::silent) call_log(logger, error, fault_.text);
    return refused(fault_);
  }
  auto const& driver = Driver::get();
  if (!driver.loaded) return no_driver(logger, 35);
  if (int const code = driver.init(0)) return no_driver(logger, code);
  return make_runtime(logger);
}

SIMTRT_API void* createInferRefitter_INTERNAL(void* engine, void* logger, int32_t) {
  SIMTRT_ENTRY("createInferRefitter_INTERNAL");
  if (fault_) return refused(fault_);
  return make_refitter(*static_cast<Engine*>(static_cast<Public*>(engine)->impl), logger);
}

SIMTRT_API void* getPluginRegistry() {
  // An object whose every slot aborts: the facts hold no slots of IPluginRegistry, so nobody may call one.
  static Public registry{make_public_vtable([](Public*) { std::abort(); }), nullptr};
  return &registry;
}

SIMTRT_API int32_t getInferLibVersion() {
  SIMTRT_ENTRY("getInferLibVersion");
  return major_version() >= 10 ? version() : major_version() * 1000 + minor_version() * 100 + patch_version();
}
#if SIM_MAJOR >= 10
SIMTRT_API int32_t getInferLibMajorVersion() { return major_version(); }
SIMTRT_API int32_t getInferLibMinorVersion() { return minor_version(); }
SIMTRT_API int32_t getInferLibPatchVersion() { return patch_version(); }
SIMTRT_API int32_t getInferLibBuildVersion() { return 26; }
#endif

SIMTRT_API int simtrt_live(char* text, size_t capacity) {
  int total = 0;
  std::string const lines = Census::text(&total);
  if (text && capacity) {
    size_t const count = std::min(lines.size(), capacity - 1);
    std::memcpy(text, lines.data(), count);
    text[count] = 0;
  }
  return total;
}
SIMTRT_API void simtrt_register_plugin(char const* name, char const* version, char const* space) {
  auto& all = plugins();
  std::lock_guard<std::mutex> hold(all.lock);
  all.creators.push_back({name, version, space});
}
SIMTRT_API void simtrt_clear_plugins(void) {
  auto& all = plugins();
  std::lock_guard<std::mutex> hold(all.lock);
  all.creators.clear();
}
