// The ports over the binary interface of one major. Where majors differ, `Abi` has the difference (see adapter_v*.cpp).
#pragma once

#include <algorithm>
#include <map>
#include <utility>

#include "tensorrt/bridges.hpp"
#include "tensorrt/call.hpp"
#include "tensorrt/port.hpp"

namespace cuready::tensorrt {

/// Owns a TensorRT object; `delete` runs its own deleting destructor.
template <class V>
using Owned = std::unique_ptr<IObject<V>>;

inline std::string text_or_empty(const char* text) { return is_object(text) ? std::string(text) : std::string(); }

template <class Abi>
class ContextAdapter final : public ContextPort {
 public:
  using V = typename Abi::VExecutionContext;
  ContextAdapter(IObject<V>* object, const Version& library) : object_(object), library_(library) {}

  bool set_input_shape(const char* tensor, const Dims& shape) override {
    typename Abi::Dims dims{};
    dims.nbDims = shape.rank();
    for (int i = 0; i < shape.rank(); ++i) {
      using Extent = std::remove_reference_t<decltype(dims.d[0])>;
      dims.d[i] = static_cast<Extent>(shape[i]);
      if (dims.d[i] != shape[i]) return false;  // TensorRT 8 counts in 32 bits
    }
    return v().setInputShape(tensor, dims);
  }
  Dims tensor_shape(const char* tensor) const override { return from_abi<Abi>(v().getTensorShape(tensor)); }
  bool set_tensor_address(const char* tensor, void* data) override { return v().setTensorAddress(tensor, data); }
  int infer_shapes(int max_names, const char** names) override { return v().inferShapes(max_names, names); }
  bool set_output_memory(const char* tensor, OutputMemory* memory) override {
    auto bridge = std::make_unique<OutputAllocatorBridge<Abi>>(memory);
    if (!v().setOutputAllocator(tensor, bridge.get())) return false;
    allocators_[tensor] = std::move(bridge);  // one slot for each tensor: the bridge before it is released here
    return true;
  }
  std::int64_t max_output_size(const char* tensor) const override { return v().getMaxOutputSize(tensor); }
  bool set_profile_async(int profile, void* stream) override {
    return v().setOptimizationProfileAsync(profile, stream);
  }
  int profile() const override { return v().getOptimizationProfile(); }
  void set_device_memory(void* memory, std::int64_t size) override {
    Abi::set_device_memory(v(), memory, size, library_);
  }
  std::size_t update_device_memory_size() override { return Abi::update_device_memory_size(v(), library_); }
  bool set_input_consumed_event(void* event) override { return v().setInputConsumedEvent(event); }
  void set_profiler(LayerTimes* times) override {
    // Once attached it stays: TensorRT 10 refuses null ("Parameter check failed, condition: (profiler) != nullptr").
    // Without `times` it hears nothing, and runs do not wait for layer times that nobody wants.
    profiler_.times = times;
    if (times != nullptr && !profiler_attached_) v().setProfiler(&profiler_);
    profiler_attached_ = profiler_attached_ || times != nullptr;
    v().setEnqueueEmitsProfile(times != nullptr);
  }
  void set_name(const char* name) override { v().setName(name); }
  void* enqueue_object() const noexcept override { return object_->impl; }
  Enqueue enqueue_function() const noexcept override {
    return [](void* object, void* stream) noexcept { return static_cast<V*>(object)->enqueueV3(stream); };
  }
  IObject<V>* object() const noexcept { return object_.get(); }

 private:
  V& v() const noexcept { return *object_->impl; }
  // Members are destroyed from the last to the first: the object must go before what it points at.
  ProfilerBridge<Abi> profiler_;
  bool profiler_attached_ = false;
  std::map<std::string, std::unique_ptr<OutputAllocatorBridge<Abi>>> allocators_;
  Owned<V> object_;
  Version library_;
};

template <class Abi>
class RefitterAdapter final : public RefitterPort {
 public:
  using V = typename Abi::VRefitter;
  RefitterAdapter(IObject<V>* object, const Version& library) : object_(object), library_(library) {}

  std::vector<std::string> all_weights() override {
    return names([this](std::int32_t n, const char** out) { return v().getAllWeights(n, out); });
  }
  std::vector<std::string> missing_weights() override {
    return names([this](std::int32_t n, const char** out) { return v().getMissingWeights(n, out); });
  }
  void prototype(const char* name, DataType& type, std::int64_t& count) override {
    Abi::weight_prototype(v(), name, type, count);
  }
  bool set_weights(const char* name, DataType type, const void* data, std::int64_t count,
                   TensorLocation location) override {
    const Weights weights{static_cast<std::int32_t>(type), data, count};
    if (location == TensorLocation::host) return v().setNamedWeights(name, weights);
    return Abi::set_device_weights(v(), name, weights, library_);
  }
  bool refit() override { return v().refitCudaEngine(); }

 private:
  V& v() const noexcept { return *object_->impl; }
  template <class Ask>
  static std::vector<std::string> names(Ask ask) {
    const std::int32_t count = ask(0, nullptr);
    std::vector<const char*> raw(static_cast<std::size_t>(count > 0 ? count : 0), nullptr);
    if (!raw.empty()) ask(count, raw.data());
    std::vector<std::string> out;
    for (const char* name : raw) out.push_back(text_or_empty(name));
    return out;
  }
  Owned<V> object_;
  Version library_;
};

template <class Abi>
class EngineAdapter final : public EnginePort {
 public:
  using V = typename Abi::VCudaEngine;
  EngineAdapter(IObject<V>* object, const Symbols& symbols, const Version& library)
      : object_(object), symbols_(symbols), library_(library) {}

  std::string name() const override { return text_or_empty(v().getName()); }
  int layer_count() const override { return v().getNbLayers(); }
  int profile_count() const override { return v().getNbOptimizationProfiles(); }
  int tensor_count() const override { return v().getNbIOTensors(); }
  std::string tensor_name(int index) const override {
    const Call call("ICudaEngine::getIOTensorName", {library_, {}});
    return call.pointer(v().getIOTensorName(index));
  }
  TensorInfo describe(const char* tensor) const override {
    TensorInfo info;
    info.name = tensor;
    info.mode = static_cast<TensorMode>(v().getTensorIOMode(tensor));
    info.dtype = static_cast<DataType>(v().getTensorDataType(tensor));
    info.shape = from_abi<Abi>(v().getTensorShape(tensor));
    info.location = static_cast<TensorLocation>(v().getTensorLocation(tensor));
    info.is_shape = v().isShapeInferenceIO(tensor);
    describe_layout(tensor, info);
    info.alias_of = Abi::aliased_input(v(), tensor, library_);
    return info;
  }
  Dims profile_shape(const char* tensor, int profile, int select) const override {
    return from_abi<Abi>(v().getProfileShape(tensor, profile, select));
  }
  std::vector<std::int64_t> profile_values(const char* tensor, int profile, int select,
                                           std::int64_t count) const override {
    return Abi::profile_values(v(), tensor, profile, select, count, library_);
  }
  std::size_t device_memory_size(int profile) const override { return Abi::device_memory_size(v(), profile, library_); }
  bool is_refittable() const override { return v().isRefittable(); }
  std::int64_t stripped_weights_size() const override { return Abi::stripped_weights_size(v(), library_); }
  bool can_stream_weights() const override { return Abi::major >= 10; }
  std::int64_t streamable_weights_size() const override { return Abi::streamable_weights_size(v()); }
  std::int64_t weight_budget() const override { return Abi::weight_budget(v(), library_); }
  std::int64_t automatic_weight_budget() const override { return Abi::automatic_weight_budget(v(), library_); }
  bool set_weight_budget(std::int64_t bytes) override { return Abi::set_weight_budget(v(), bytes, library_); }
  bool one_context_per_profile() const noexcept override { return Abi::major < 10; }

  std::unique_ptr<ContextPort> create_context() override {
    const Call call("ICudaEngine::createExecutionContext", {library_, {}});
    return std::make_unique<ContextAdapter<Abi>>(call.pointer(Abi::create_context(v())), library_);
  }

  std::unique_ptr<RefitterPort> create_refitter() override {
    if (symbols_.create_refitter == nullptr) {
      throw UnsupportedFeature(
          {"createInferRefitter", "this TensorRT library can not refit", "use the full library (libnvinfer)"});
    }
    const Call call("createInferRefitter", {library_, {}});
    void* made = symbols_.create_refitter(object_.get(), &LoggerBridge<Abi>::instance(), symbols_.raw_version);
    return std::make_unique<RefitterAdapter<Abi>>(static_cast<IObject<typename Abi::VRefitter>*>(call.pointer(made)),
                                                  library_);
  }

  std::string inspect(const ContextPort* context) const override {
    const Call call("IEngineInspector::getEngineInformation", {library_, {}});
    const Owned<typename Abi::VEngineInspector> inspector(call.pointer(v().createEngineInspector()));
    if (context != nullptr)
      call.require(inspector->impl->setExecutionContext(static_cast<const ContextAdapter<Abi>*>(context)->object()));
    return call.pointer(inspector->impl->getEngineInformation(format_json));
  }

 private:
  V& v() const noexcept { return *object_->impl; }
  /** The layout in profile 0. Since 10, asking without a profile means the same, and warns where there are several. */
  void describe_layout(const char* tensor, TensorInfo& info) const {
    if constexpr (Abi::major >= 10) {
      info.format = static_cast<TensorFormat>(v().getTensorFormatV2(tensor, 0));
      info.format_text = text_or_empty(v().getTensorFormatDescV2(tensor, 0));
      info.vectorized_dim = v().getTensorVectorizedDimV2(tensor, 0);
      info.components_per_element = v().getTensorComponentsPerElementV2(tensor, 0);
      info.bytes_per_component = v().getTensorBytesPerComponentV2(tensor, 0);
    } else {
      info.format = static_cast<TensorFormat>(v().getTensorFormat(tensor));
      info.format_text = text_or_empty(v().getTensorFormatDesc(tensor));
      info.vectorized_dim = v().getTensorVectorizedDim(tensor);
      info.components_per_element = v().getTensorComponentsPerElement(tensor);
      info.bytes_per_component = v().getTensorBytesPerComponent(tensor);
    }
    info.components_per_element = std::max(info.components_per_element, 1);  // -1: not vectorised
  }
  Owned<V> object_;
  Symbols symbols_;
  Version library_;
};

template <class Abi>
class RuntimeAdapter final : public RuntimePort {
 public:
  using V = typename Abi::VRuntime;
  RuntimeAdapter(IObject<V>* object, const Symbols& symbols, const Version& library)
      : object_(object), symbols_(symbols), library_(library) {
    v().setErrorRecorder(&RecorderBridge<Abi>::instance());
  }

  bool set_max_threads(int threads) override { return v().setMaxThreads(threads); }
  void allow_host_code(bool allow) override { Abi::allow_host_code(v(), allow, library_); }
  bool can_read_streams() const noexcept override { return Abi::can_read_streams(library_); }
  std::unique_ptr<EnginePort> deserialize(const void* plan, std::size_t size, const Version& plan_version) override {
    const Call call("IRuntime::deserializeCudaEngine", {library_, plan_version});
    return engine(call.pointer(Abi::deserialize(v(), plan, size)));
  }
  std::unique_ptr<EnginePort> deserialize(PlanReader& reader, const Version& plan_version) override {
    const Call call("IRuntime::deserializeCudaEngine", {library_, plan_version});
    return engine(call.pointer(Abi::deserialize_stream(v(), reader)));
  }

 private:
  V& v() const noexcept { return *object_->impl; }
  std::unique_ptr<EnginePort> engine(IObject<typename Abi::VCudaEngine>* made) const {
    return std::make_unique<EngineAdapter<Abi>>(made, symbols_, library_);
  }
  Owned<V> object_;
  Symbols symbols_;
  Version library_;
};

template <class Abi>
class MajorAdapter final : public Adapter {
 public:
  MajorAdapter(const Symbols& symbols, const Version& version) : symbols_(symbols), version_(version) {}
  const Version& version() const noexcept override { return version_; }
  void* logger() const noexcept override { return &LoggerBridge<Abi>::instance(); }
  std::unique_ptr<RuntimePort> create_runtime() const override {
    const Call call("createInferRuntime", {version_, {}});
    void* made = symbols_.create_runtime(&LoggerBridge<Abi>::instance(), symbols_.raw_version);
    return std::make_unique<RuntimeAdapter<Abi>>(static_cast<IObject<typename Abi::VRuntime>*>(call.pointer(made)),
                                                 symbols_, version_);
  }

 private:
  Symbols symbols_;
  Version version_;
};

}  // namespace cuready::tensorrt
