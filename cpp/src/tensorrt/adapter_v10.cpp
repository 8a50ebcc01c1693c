// TensorRT 10: slots that came with a minor are called only where the library has them.
#include "tensorrt/abi/v10.hpp"
#include "tensorrt/adapter_impl.hpp"
#include "tensorrt/adapters.hpp"

namespace cuready::tensorrt {
namespace {

struct Abi10 {
  static constexpr int major = 10;
  using Dims = v10::Dims;
  using ILogger = v10::ILogger;
  using IErrorRecorder = v10::IErrorRecorder;
  using IProfiler = v10::IProfiler;
  using IOutputAllocator = v10::IOutputAllocator;
  using IStreamReaderV2 = v10::IStreamReaderV2;
  using VRuntime = v10::VRuntime;
  using VCudaEngine = v10::VCudaEngine;
  using VExecutionContext = v10::VExecutionContext;
  using VEngineInspector = v10::VEngineInspector;
  using VRefitter = v10::VRefitter;

  static IObject<VCudaEngine>* deserialize(VRuntime& v, const void* plan, std::size_t size) {
    return v.deserializeCudaEngine(plan, size);
  }
  static bool can_read_streams(const Version& library) noexcept { return library.at_least(10, 7); }
  static IObject<VCudaEngine>* deserialize_stream(VRuntime& v, PlanReader& reader) {
    StreamReaderBridge<Abi10> bridge(reader);
    return v.deserializeCudaEngineV2(bridge);
  }
  static void allow_host_code(VRuntime& v, bool allow, const Version&) { v.setEngineHostCodeAllowed(allow); }
  static IObject<VExecutionContext>* create_context(VCudaEngine& v) {
    return v.createExecutionContext(strategy_user_managed);
  }
  static std::size_t device_memory_size(const VCudaEngine& v, int profile, const Version& library) {
    if (library.at_least(10, 1)) {
      const std::int64_t size = profile < 0 ? v.getDeviceMemorySizeV2() : v.getDeviceMemorySizeForProfileV2(profile);
      return size > 0 ? static_cast<std::size_t>(size) : 0;
    }
    return profile < 0 ? v.getDeviceMemorySize() : v.getDeviceMemorySizeForProfile(profile);
  }
  static void set_device_memory(VExecutionContext& v, void* memory, std::int64_t size, const Version& library) {
    if (library.at_least(10, 1)) {
      v.setDeviceMemoryV2(memory, size);
    } else {
      v.setDeviceMemory(memory);
    }
  }
  static std::size_t update_device_memory_size(VExecutionContext& v, const Version& library) {
    // 10.0's setDeviceMemory takes no size, so that TensorRT could not know that there is less than the profile's
    // maximum.
    return library.at_least(10, 1) ? v.updateDeviceMemorySizeForShapes() : 0;
  }
  static std::string aliased_input(const VCudaEngine& v, const char* tensor, const Version& library) {
    return library.at_least(10, 15) ? text_or_empty(v.getAliasedInputTensor(tensor)) : std::string();
  }
  static std::vector<std::int64_t> profile_values(const VCudaEngine& v, const char* tensor, int profile, int select,
                                                  std::int64_t count, const Version& library) {
    if (library.at_least(10, 11)) {
      const std::int64_t* values = v.getProfileTensorValuesV2(tensor, profile, select);
      return is_object(values) ? std::vector<std::int64_t>(values, values + count) : std::vector<std::int64_t>();
    }
    const std::int32_t* values = v.getProfileTensorValues(tensor, profile, select);
    return is_object(values) ? std::vector<std::int64_t>(values, values + count) : std::vector<std::int64_t>();
  }
  static std::int64_t stripped_weights_size(const VCudaEngine& v, const Version& library) {
    return library.at_least(10, 14) ? v.getEngineStat(stat_stripped_weights_size) : -1;
  }
  static std::int64_t streamable_weights_size(const VCudaEngine& v) { return v.getStreamableWeightsSize(); }
  static std::int64_t weight_budget(const VCudaEngine& v, const Version& library) {
    return library.at_least(10, 1) ? v.getWeightStreamingBudgetV2() : v.getWeightStreamingBudget();
  }
  static std::int64_t automatic_weight_budget(const VCudaEngine& v, const Version& library) {
    return library.at_least(10, 1) ? v.getWeightStreamingAutomaticBudget() : -1;
  }
  static bool set_weight_budget(VCudaEngine& v, std::int64_t bytes, const Version& library) {
    return library.at_least(10, 1) ? v.setWeightStreamingBudgetV2(bytes) : v.setWeightStreamingBudget(bytes);
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

std::unique_ptr<Adapter> make_adapter_v10(const Symbols& symbols, const Version& version) {
  return std::make_unique<MajorAdapter<Abi10>>(symbols, version);
}

}  // namespace cuready::tensorrt
