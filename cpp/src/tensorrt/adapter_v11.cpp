// TensorRT 11: what 10 had deprecated is gone, and every slot used here has been there since 11.0.
#include "tensorrt/abi/v11.hpp"
#include "tensorrt/adapter_impl.hpp"
#include "tensorrt/adapters.hpp"

namespace cuready::tensorrt {
namespace {

struct Abi11 {
  static constexpr int major = 11;
  using Dims = v11::Dims;
  using ILogger = v11::ILogger;
  using IErrorRecorder = v11::IErrorRecorder;
  using IProfiler = v11::IProfiler;
  using IOutputAllocator = v11::IOutputAllocator;
  using IStreamReaderV2 = v11::IStreamReaderV2;
  using VRuntime = v11::VRuntime;
  using VCudaEngine = v11::VCudaEngine;
  using VExecutionContext = v11::VExecutionContext;
  using VEngineInspector = v11::VEngineInspector;
  using VRefitter = v11::VRefitter;

  static IObject<VCudaEngine>* deserialize(VRuntime& v, const void* plan, std::size_t size) {
    return v.deserializeCudaEngine(plan, size);
  }
  static bool can_read_streams(const Version&) noexcept { return true; }
  static IObject<VCudaEngine>* deserialize_stream(VRuntime& v, PlanReader& reader) {
    StreamReaderBridge<Abi11> bridge(reader);
    return v.deserializeCudaEngineV2(bridge);
  }
  static void allow_host_code(VRuntime& v, bool allow, const Version&) { v.setEngineHostCodeAllowed(allow); }
  static IObject<VExecutionContext>* create_context(VCudaEngine& v) {
    return v.createExecutionContext(strategy_user_managed);
  }
  static std::size_t device_memory_size(const VCudaEngine& v, int profile, const Version&) {
    const std::int64_t size = profile < 0 ? v.getDeviceMemorySizeV2() : v.getDeviceMemorySizeForProfileV2(profile);
    return size > 0 ? static_cast<std::size_t>(size) : 0;
  }
  static void set_device_memory(VExecutionContext& v, void* memory, std::int64_t size, const Version&) {
    v.setDeviceMemoryV2(memory, size);
  }
  static std::size_t update_device_memory_size(VExecutionContext& v, const Version&) {
    return v.updateDeviceMemorySizeForShapes();
  }
  static std::string aliased_input(const VCudaEngine& v, const char* tensor, const Version&) {
    return text_or_empty(v.getAliasedInputTensor(tensor));
  }
  static std::vector<std::int64_t> profile_values(const VCudaEngine& v, const char* tensor, int profile, int select,
                                                  std::int64_t count, const Version&) {
    const std::int64_t* values = v.getProfileTensorValuesV2(tensor, profile, select);
    return is_object(values) ? std::vector<std::int64_t>(values, values + count) : std::vector<std::int64_t>();
  }
  static std::int64_t stripped_weights_size(const VCudaEngine& v, const Version&) {
    return v.getEngineStat(stat_stripped_weights_size);
  }
  static std::int64_t streamable_weights_size(const VCudaEngine& v) { return v.getStreamableWeightsSize(); }
  static std::int64_t weight_budget(const VCudaEngine& v, const Version&) { return v.getWeightStreamingBudgetV2(); }
  static std::int64_t automatic_weight_budget(const VCudaEngine& v, const Version&) {
    return v.getWeightStreamingAutomaticBudget();
  }
  static bool set_weight_budget(VCudaEngine& v, std::int64_t bytes, const Version&) {
    return v.setWeightStreamingBudgetV2(bytes);
  }
  static void weight_prototype(const VRefitter& v, const char* name, DataType& type, std::int64_t& count) {
    const Weights weights = v.getWeightsPrototype(name);
    type = static_cast<DataType>(weights.type);
    count = weights.count;
  }
  static bool set_device_weights(VRefitter& v, const char* name, const Weights& weights, const Version&) {
    return v.setNamedWeightsWithLocation(name, weights, static_cast<std::int32_t>(TensorLocation::device));
  }
};

}  // namespace

std::unique_ptr<Adapter> make_adapter_v11(const Symbols& symbols, const Version& version) {
  return std::make_unique<MajorAdapter<Abi11>>(symbols, version);
}

}  // namespace cuready::tensorrt
