// IRefitter: new values for named weights.
#include "objects.hpp"

#include <utility>

namespace simtrt {
namespace {

/** nvinfer1::Weights, passed by value across the boundary. */
struct WeightsView {
  int32_t type;
  void const* values;
  int64_t count;
};

Weight const* find(Refitter* self, char const* name) {
  for (auto const& weight : self->engine->plan->weights)
    if (name && weight.name == name) return &weight;
  self->engine->voice->fail("IRefitter::setNamedWeights", 3, "API Usage Error",
                            std::string("No weights with name ") + (name ? name : "(null)") + " in the engine.");
  return nullptr;
}

bool set_weights_at(Refitter* self, char const* name, WeightsView weights, int32_t location) {
  SIMTRT_ENTRY("IRefitter::setNamedWeights");
  if (fault_) return false;
  Weight const* const known = find(self, name);
  if (!known) return false;
  if (weights.count != static_cast<int64_t>(known->values.size()) ||
      weights.type != static_cast<int32_t>(known->type)) {
    self->engine->voice->fail("IRefitter::setNamedWeights", 3, "API Usage Error",
                              "Count or type of weights " + known->name + " does not match: expected " +
                                  std::to_string(known->values.size()) + ", got " + std::to_string(weights.count) +
                                  ".");
    return false;
  }
  std::vector<char> copy;
  void const* values = weights.values;
  if (location == 0) {
    copy.resize(static_cast<size_t>(weights.count * bits_of(known->type) + 7) / 8);
    if (Driver::get().to_host(copy.data(), reinterpret_cast<uint64_t>(weights.values), copy.size()) != 0) return false;
    values = copy.data();
  }
  auto& supplied = self->supplied[known->name];
  supplied.clear();
  for (int64_t i = 0; i < weights.count; ++i) supplied.push_back(load(known->type, values, i));
  return true;
}
bool set_weights(Refitter* self, char const* name, WeightsView weights) {
  return set_weights_at(self, name, weights, 1);
}

int32_t give(Refitter* self, std::vector<std::string> names, int32_t size, char const** out) {
  auto const count = static_cast<int32_t>(names.size());
  if (!out) return count;
  self->names = std::move(names);
  for (int32_t i = 0; i < size && i < count; ++i) out[i] = self->names[static_cast<size_t>(i)].c_str();
  return count;
}

std::vector<std::string> missing_names(Refitter* self) {
  std::lock_guard<std::mutex> hold(self->engine->lock);
  std::vector<std::string> names;
  for (auto const& name : self->engine->missing)
    if (!self->supplied.count(name)) names.push_back(name);
  return names;
}
int32_t get_missing(Refitter* self, int32_t size, char const** names) {
  return give(self, missing_names(self), size, names);
}
int32_t get_all(Refitter* self, int32_t size, char const** names) {
  std::vector<std::string> all;
  for (auto const& weight : self->engine->plan->weights) all.push_back(weight.name);
  return give(self, std::move(all), size, names);
}

bool refit(Refitter* self) {
  SIMTRT_ENTRY("IRefitter::refitCudaEngine");
  auto const missing = missing_names(self);
  if (fault_ || !missing.empty()) {
    self->engine->voice->fail("IRefitter::refitCudaEngine", 4, "API Usage Error",
                              fault_ ? fault_.text : "Missing weights: " + missing[0]);
    return false;
  }
  std::lock_guard<std::mutex> hold(self->engine->lock);
  auto updated = std::make_shared<Weights>(*self->engine->weights);
  for (auto const& entry : self->supplied) {
    (*updated)[entry.first] = entry.second;
    self->engine->missing.erase(entry.first);
  }
  self->engine->weights = std::move(updated);
  return true;
}

#if SIM_MAJOR >= 10
bool refit_async(Refitter* self, Stream) { return refit(self); }
WeightsView prototype(Refitter* self, char const* name) {
  Weight const* const known = find(self, name);
  if (!known) return {0, nullptr, -1};
  return {static_cast<int32_t>(known->type), nullptr, static_cast<int64_t>(known->values.size())};
}
bool unset(Refitter* self, char const* name) { return self->supplied.erase(name) != 0; }
void set_validation(Refitter* self, bool validate) { self->validation = validate; }
bool get_validation(Refitter* self) { return self->validation; }
Public* get_public(Refitter* self) { return &self->handle; }
#endif

void set_recorder(Refitter* self, Object recorder) { self->recorder.set(recorder); }
Object get_recorder(Refitter* self) { return self->recorder.get(); }
Object get_logger(Refitter* self) { return self->logger; }
bool set_threads(Refitter* self, int32_t count) {
  self->max_threads = count;
  return count > 0;
}
int32_t get_threads(Refitter* self) { return self->max_threads; }

void destroy(Public* handle) {
  SIMTRT_ENTRY("IRefitter::~IRefitter");
  delete static_cast<Refitter*>(handle->impl);
}

void** vtable() {
  static void** const vptr = make_vtable("VRefitter", {
                                                          method("setNamedWeights", set_weights),
                                                          method("getMissingWeights", get_missing),
                                                          method("getAllWeights", get_all),
                                                          method("refitCudaEngine", refit),
                                                          method("setErrorRecorder", set_recorder),
                                                          method("getErrorRecorder", get_recorder),
                                                          method("getLogger", get_logger),
                                                          method("setMaxThreads", set_threads),
                                                          method("getMaxThreads", get_threads),
#if SIM_MAJOR >= 10
                                                          method("setNamedWeightsWithLocation", set_weights_at),
                                                          method("refitCudaEngineAsync", refit_async),
                                                          method("getWeightsPrototype", prototype),
                                                          method("unsetNamedWeights", unset),
                                                          method("setWeightsValidation", set_validation),
                                                          method("getWeightsValidation", get_validation),
                                                          method("getPImpl", get_public),
#endif
                                                      });
  return vptr;
}

}  // namespace

Public* make_refitter(Engine& engine, Object logger) {
  if (!engine.plan->refittable) {
    call_log(logger, error, "createInferRefitter: Error Code 4: API Usage Error (The engine is not refittable)");
    return nullptr;
  }
  auto* const refitter = new Refitter;
  refitter->engine = &engine;
  refitter->logger = logger;
  set_handle(*refitter, vtable(), destroy);
  return &refitter->handle;
}

}  // namespace simtrt
