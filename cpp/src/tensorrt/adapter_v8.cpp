// TensorRT 8.5 and 8.6.
#include "tensorrt/abi/v8.hpp"
#include "tensorrt/adapter_impl.hpp"
#include "tensorrt/adapters.hpp"

namespace cuready::tensorrt {
namespace {

struct Abi8 {
  static constexpr int major = 8;
  using Dims = v8::Dims;
  using ILogger = v8::ILogger;
  using IErrorRecorder = v8::IErrorRecorder;
  using IProfiler = v8::IProfiler;
  using IOutputAllocator = v8::IOutputAllocator;
  using VRuntime = v8::VRuntime;
  using VCudaEngine = v8::VCudaEngine;
  using VExecutionContext = v8::VExecutionContext;
  using VEngineInspector = v8::VEngineInspector;
  using VRefitter = v8::VRefitter;

  static IObject<VCudaEngine>* deserialize(VRuntime& v, const void* plan, std::size_t size) {
    return v.deserializeCudaEngine(plan, size, nullptr);
  }
  static bool can_read_streams(const Version&) noexcept { return false; }
  static IObject<VCudaEngine>* deserialize_stream(VRuntime&, PlanReader&) {
    throw UnsupportedFeature(
        {"load a plan", "TensorRT 8 can not read a plan in pieces", "use the memory-mapped reader"});
  }
  static void allow_host_code(VRuntime& v, bool allow, const Version& library) {
    if (library.at_least(8, 6)) {
      v.setEngineHostCodeAllowed(allow);
    } else if (allow) {
      throw UnsupportedFeature(
          {"allow host code", "TensorRT " + library.str() + " has no plans with host code", "this came with 8.6"});
    }
  }
  static IObject<VExecutionContext>* create_context(VCudaEngine& v) {
    return v.createExecutionContextWithoutDeviceMemory();
  }
  static std::size_t device_memory_size(const VCudaEngine& v, int, const Version&) { return v.getDeviceMemorySize(); }
  static void set_device_memory(VExecutionContext& v, void* memory, std::int64_t, const Version&) {
    v.setDeviceMemory(memory);
  }
  static std::size_t update_device_memory_size(VExecutionContext&, const Version&) { return 0; }
  static std::string aliased_input(const VCudaEngine&, const char*, const Version&) { return {}; }
  static std::vector<std::int64_t> profile_values(const VCudaEngine& v, const char* tensor, int profile, int select,
                                                  std::int64_t count, const Version&) {
    // The one question that 8.x answers by binding index only.
    const std::int32_t* values = v.getProfileShapeValues(profile, v.getBindingIndex(tensor), select);
    return is_object(values) ? std::vector<std::int64_t>(values, values + count) : std::vector<std::int64_t>();
  }
  static std::int64_t stripped_weights_size(const VCudaEngine&, const Version&) { return 0; }
  static std::int64_t streamable_weights_size(const VCudaEngine&) { return 0; }
  static std::int64_t weight_budget(const VCudaEngine&, const Version&) { return 0; }
  static std::int64_t automatic_weight_budget(const VCudaEngine&, const Version&) { return 0; }
  static bool set_weight_budget(VCudaEngine&, std::int64_t, const Version&) { return false; }
  static void weight_prototype(const VRefitter&, const char*, DataType& type, std::int64_t& count) {
    type = DataType::float32;
    count = -1;
  }
  static bool set_device_weights(VRefitter&, const char*, const Weights&, const Version&) {
    throw UnsupportedFeature({"refit", "TensorRT 8 takes weights from host memory only", "copy them to the host"});
  }
};

}  // namespace

std::unique_ptr<Adapter> make_adapter_v8(const Symbols& symbols, const Version& version) {
  return std::make_unique<MajorAdapter<Abi8>>(symbols, version);
}

}  // namespace cuready::tensorrt
