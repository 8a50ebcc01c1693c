// IRuntime: making one, and deserializing plans with every check that a real library makes.
#include <algorithm>
#include <cstring>
#include <utility>

#include "objects.hpp"

namespace simtrt {
namespace {

constexpr char const* deserialize = "IRuntime::deserializeCudaEngine";

/** kSERIALIZATION_VERSION of releases whose message was seen (10.6, 10.16, 11.4); made up for the others. */
int serialization_version(int major, int minor) {
  if (major == 10 && minor == 6) return 239;
  if (major == 10 && minor == 16) return 240;
  if (major == 11 && minor == 4) return 245;
  return major * 20 + minor;
}

/** Which library may run a plan; logs why not. */
bool version_fits(Runtime& runtime, Plan const& plan) {
  int const ma = plan.version[0], mi = plan.version[1];
  bool const same = ma == major_version() && mi == minor_version();
  if (same) return true;
  if (plan.version_compatible && plan.lean_inside && ma >= 8 && ma * 100 + mi < version() / 100) {
    if (runtime.host_code_allowed) return true;
    runtime.voice->fail(
        deserialize, 4, "API Usage Error",
        "Cannot deserialize engine with lean runtime because IRuntime::getEngineHostCodeAllowed() is false");
    return false;
  }
  if (ma != major_version())
    runtime.voice->fail(
        deserialize, 1, "Internal Error",
        "Failed due to an old deserialization call on a newer plan file. This might happen when the plan file was "
        "built from an older TensorRT version.");
  else
    runtime.voice->fail(
        deserialize, 1, "Serialization",
        "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: "
        "Current Version: " +
            std::to_string(serialization_version(major_version(), minor_version())) + ", Serialized Engine Version: " +
            std::to_string(serialization_version(ma, mi)) + " In stdArchiveReaderInitCommon");
  return false;
}

bool platform_fits(Runtime& runtime, Plan const& plan, int device) {
  if (plan.compute.empty()) return true;
  int ma = 0, mi = 0;
  Driver::get().attribute(&ma, 75, device);
  Driver::get().attribute(&mi, 76, device);
  if (plan.hardware == "ampere_plus" && ma >= 8) return true;
  std::string const here = std::to_string(ma) + "." + std::to_string(mi);
  if (here == plan.compute) return true;
  runtime.voice->fail(deserialize, 6, "API Usage Error",
                      "The engine plan file is generated on an incompatible device, expecting compute " + here +
                          " got compute " + plan.compute + ", please rebuild.");
  return false;
}

bool plugins_fit(Runtime& runtime, Plan const& plan) {
  for (auto const& plugin : plan.plugins) {
    if (plugin_is_registered(plugin)) continue;
    runtime.voice->fail(
        "IPluginRegistry::getCreator", 4, "API Usage Error",
        "Cannot find plugin: " + plugin.name + ", version: " + plugin.version + ", namespace:" + plugin.space + ".");
    runtime.voice->fail(
        deserialize, 1, "Serialization",
        "Serialization assertion creator failed.Cannot deserialize plugin since corresponding IPluginCreator not found "
        "in Plugin Registry");
    return false;
  }
  return true;
}

Public* load(Runtime& runtime, void const* data, size_t size) {
  auto const& driver = Driver::get();
  void* current = nullptr;
  int device = 0;
  if (driver.current(&current) != 0 || !current) {
    misuse("deserializeCudaEngine was called with no CUDA context current");
    runtime.voice->fail(deserialize, 1, "Cuda Runtime", "invalid device context");
    return nullptr;
  }
  driver.current_device(&device);
  Plan plan;
  try {
    plan = Plan::parse(data, size);
  } catch (std::exception const& broken) {
    runtime.voice->fail(deserialize, 1, "Serialization", std::string("Serialization assertion ") + broken.what());
    return nullptr;
  }
  if (!version_fits(runtime, plan) || !platform_fits(runtime, plan, device) || !plugins_fit(runtime, plan))
    return nullptr;
  if (std::strcmp(library_kind, "full") != 0 && !plan.version_compatible) {
    runtime.voice->fail(deserialize, 4, "API Usage Error", "The lean runtime can only run version compatible plans");
    return nullptr;
  }
  auto engine = std::make_unique<Engine>();
  engine->device = device;
  engine->allocator = runtime.allocator;
  engine->voice->logger = runtime.voice->logger;
  engine->voice->parent = runtime.voice;
  if (!engine->weight_memory.allocate(runtime.allocator, static_cast<size_t>(plan.weights_bytes))) {
    runtime.voice->fail(deserialize, 2, "OutOfMemory",
                        "Requested size was " + std::to_string(plan.weights_bytes) + " bytes.");
    return nullptr;
  }
  Weights weights;
  for (auto const& weight : plan.weights) {
    weights[weight.name] = weight.stripped ? std::vector<double>{} : weight.values;
    if (weight.stripped) engine->missing.insert(weight.name);
  }
  engine->weights = std::make_shared<Weights>(std::move(weights));
  engine->budget = plan.streamable;
  for (auto const& operation : plan.operations)
    engine->layers.push_back(operation.kind + "_" + std::to_string(engine->layers.size()));
  engine->plan = std::make_shared<Plan const>(std::move(plan));
  engine->runtime_engines = runtime.engines;
  ++*engine->runtime_engines;
  runtime.voice->log(verbose, "Loaded engine size: 0 MiB");
  Engine* const made = engine.release();
  finish_engine(*made);
  return &made->handle;
}

Public* deserialize_blob(Runtime* self, void const* data, size_t size) {
  SIMTRT_ENTRY("IRuntime::deserializeCudaEngine");
  if (fault_.action == Action::refuse || fault_.action == Action::bad_pointer)
    self->voice->fail(deserialize, 1, "Serialization",
                      fault_.text.empty() ? "Engine deserialization failed." : fault_.text);
  if (fault_.action == Action::warn) self->voice->log(warning, fault_.text);
  return fault_ ? refused(fault_) : load(*self, data, size);
}

#if SIM_MAJOR >= 10
/** Pulls a whole plan out of a reader, in pieces, the header first. */
template <class Read>
Public* deserialize_pieces(Runtime* self, Read read) {
  std::vector<char> bytes(plan_header_bytes);
  auto fill = [&](size_t from) {
    constexpr size_t piece = 4096;
    while (from < bytes.size()) {
      auto const wanted = static_cast<int64_t>(std::min(piece, bytes.size() - from));
      int64_t const got = read(bytes.data() + from, wanted);
      if (got <= 0) return false;
      from += static_cast<size_t>(got);
    }
    return true;
  };
  bool complete = fill(0);
  size_t const total = complete ? declared_size(bytes.data()) : 0;
  if (complete && total > plan_header_bytes) {
    bytes.resize(total);
    complete = fill(plan_header_bytes);
  }
  if (!complete) {
    self->voice->fail(deserialize, 1, "Serialization",
                      "Serialization assertion mReader.read() failed.The stream reader returned too few bytes");
    return nullptr;
  }
  return load(*self, bytes.data(), bytes.size());
}

Public* deserialize_v2(Runtime* self, Object reader) {
  SIMTRT_ENTRY("IRuntime::deserializeCudaEngineV2");
  if (fault_) {
    self->voice->fail(deserialize, 1, "Serialization", fault_.text);
    return refused(fault_);
  }
  if (!call_seek(reader, 0)) return nullptr;
  return deserialize_pieces(self, [&](void* to, int64_t bytes) { return call_read_v2(reader, to, bytes); });
}
#endif
#if SIM_MAJOR == 10
Public* deserialize_v1(Runtime* self, Object reader) {
  SIMTRT_ENTRY("IRuntime::deserializeCudaEngine(IStreamReader)");
  return deserialize_pieces(self, [&](void* to, int64_t bytes) { return call_read(reader, to, bytes); });
}
#endif
#if SIM_MAJOR == 8
Public* deserialize_with_factory(Runtime* self, void const* data, size_t size, void*) {
  return deserialize_blob(self, data, size);
}
#endif

void set_dla(Runtime*, int32_t) {}
int32_t no_dla(Runtime*) { return 0; }
void set_allocator(Runtime* self, Object allocator) {
  SIMTRT_ENTRY("IRuntime::setGpuAllocator");
  self->allocator = allocator;
}
void set_recorder(Runtime* self, Object recorder) {
  SIMTRT_ENTRY("IRuntime::setErrorRecorder");
  self->voice->recorder.set(recorder);
}
Object get_recorder(Runtime* self) { return self->voice->recorder.get(); }
Object get_logger(Runtime* self) { return self->voice->logger; }
bool set_threads(Runtime* self, int32_t count) {
  SIMTRT_ENTRY("IRuntime::setMaxThreads");
  if (count < 1) return false;
  self->max_threads = count;
  return true;
}
int32_t get_threads(Runtime* self) { return self->max_threads; }
void set_directory(Runtime* self, char const* path) { self->temporary_directory = path ? path : ""; }
char const* get_directory(Runtime* self) { return self->temporary_directory.c_str(); }
void set_tempfile(Runtime* self, uint32_t flags) { self->tempfile_flags = flags; }
uint32_t get_tempfile(Runtime* self) { return self->tempfile_flags; }
void set_host_code(Runtime* self, bool allowed) {
  SIMTRT_ENTRY("IRuntime::setEngineHostCodeAllowed");
  self->host_code_allowed = allowed;
}
bool get_host_code(Runtime* self) { return self->host_code_allowed; }
Public* get_public(Runtime* self) { return &self->handle; }

void destroy(Public* handle) {
  SIMTRT_ENTRY("IRuntime::~IRuntime");
  auto* const self = static_cast<Runtime*>(handle->impl);
  if (*self->engines > 0) misuse("an IRuntime was destroyed before the engines that it made");
  self->voice->log(verbose, "Runtime destroyed");
  delete self;
}

void** vtable() {
  static void** const vptr = make_vtable("VRuntime", {
#if SIM_MAJOR == 8
                                                         method("deserializeCudaEngine", deserialize_with_factory),
#else
                                                         method("deserializeCudaEngine", deserialize_blob),
                                                         method("deserializeCudaEngineV2", deserialize_v2),
#endif
#if SIM_MAJOR == 10
                                                         method("deserializeCudaEngine#1", deserialize_v1),
#endif
                                                         method("setDLACore", set_dla),
                                                         method("getDLACore", no_dla),
                                                         method("getNbDLACores", no_dla),
                                                         method("setGpuAllocator", set_allocator),
                                                         method("setErrorRecorder", set_recorder),
                                                         method("getErrorRecorder", get_recorder),
                                                         method("getLogger", get_logger),
                                                         method("setMaxThreads", set_threads),
                                                         method("getMaxThreads", get_threads),
                                                         method("setTemporaryDirectory", set_directory),
                                                         method("getTemporaryDirectory", get_directory),
                                                         method("setTempfileControlFlags", set_tempfile),
                                                         method("getTempfileControlFlags", get_tempfile),
                                                         method("setEngineHostCodeAllowed", set_host_code),
                                                         method("getEngineHostCodeAllowed", get_host_code),
                                                         method("getPImpl", get_public),
                                                     });
  return vptr;
}

}  // namespace

Public* make_runtime(Object logger) {
  auto* const runtime = new Runtime;
  runtime->voice->logger = logger;
  set_handle(*runtime, vtable(), destroy);
  return &runtime->handle;
}

}  // namespace simtrt
