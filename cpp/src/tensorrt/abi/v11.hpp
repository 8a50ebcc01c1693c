// TensorRT 11: the interfaces that are called and implemented here, in the binary order of TensorRT 11.0 to 11.1.
//
// Member order is the contract: a slot is a position in the vtable (Itanium C++ ABI), so nothing may be added, dropped or moved.
// Each line names its slot and the release that introduced it; a test compares all of them with abi.json. Methods that are
// never called keep their name and position only ("filler"). Methods newer than the first release of this major must be
// guarded by the version of the library that is loaded.
#pragma once

#include "tensorrt/abi/common.hpp"

namespace cuready::tensorrt::v11 {

using Dims = Dims64;

// Interfaces that TensorRT calls.

class ILogger {
 public:
  virtual std::int32_t getAPILanguage() const noexcept = 0;  // slot 0 since 11.0
  virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;  // slot 1 since 11.0
  virtual ~ILogger() noexcept = default;  // slot 2 and 3 since 11.0
  virtual void log(std::int32_t severity, char const* message) noexcept = 0;  // slot 4 since 11.0
};

class IProfiler {
 public:
  virtual std::int32_t getAPILanguage() const noexcept = 0;  // slot 0 since 11.0
  virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;  // slot 1 since 11.0
  virtual ~IProfiler() noexcept = default;  // slot 2 and 3 since 11.0
  virtual void reportLayerTime(char const* layerName, float milliseconds) noexcept = 0;  // slot 4 since 11.0
};

class IErrorRecorder {
 public:
  virtual std::int32_t getAPILanguage() const noexcept = 0;  // slot 0 since 11.0
  virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;  // slot 1 since 11.0
  virtual ~IErrorRecorder() noexcept = default;  // slot 2 and 3 since 11.0
  virtual std::int32_t getNbErrors() const noexcept = 0;  // slot 4 since 11.0
  virtual std::int32_t getErrorCode(std::int32_t index) const noexcept = 0;  // slot 5 since 11.0
  virtual char const* getErrorDesc(std::int32_t index) const noexcept = 0;  // slot 6 since 11.0
  virtual bool hasOverflowed() const noexcept = 0;  // slot 7 since 11.0
  virtual void clear() noexcept = 0;  // slot 8 since 11.0
  virtual bool reportError(std::int32_t code, char const* description) noexcept = 0;  // slot 9 since 11.0
  virtual std::int32_t incRefCount() noexcept = 0;  // slot 10 since 11.0
  virtual std::int32_t decRefCount() noexcept = 0;  // slot 11 since 11.0
};

class IOutputAllocator {
 public:
  virtual std::int32_t getAPILanguage() const noexcept = 0;  // slot 0 since 11.0
  virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;  // slot 1 since 11.0
  virtual ~IOutputAllocator() noexcept = default;  // slot 2 and 3 since 11.0
  virtual void* reallocateOutput(char const* tensorName, void* currentMemory, std::uint64_t size, std::uint64_t alignment) noexcept = 0;  // slot 4 since 11.0
  virtual void* reallocateOutputAsync(char const* tensorName, void* currentMemory, std::uint64_t size, std::uint64_t alignment, void* stream) = 0;  // slot 5 since 11.0
  virtual void notifyShape(char const* tensorName, Dims const& dims) noexcept = 0;  // slot 6 since 11.0
};

class IStreamReaderV2 {
 public:
  virtual std::int32_t getAPILanguage() const noexcept = 0;  // slot 0 since 11.0
  virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;  // slot 1 since 11.0
  virtual ~IStreamReaderV2() noexcept = default;  // slot 2 and 3 since 11.0
  virtual std::int64_t read(void* destination, std::int64_t nbBytes, void* stream) noexcept = 0;  // slot 4 since 11.0
  virtual bool seek(std::int64_t offset, std::int32_t where) noexcept = 0;  // slot 5 since 11.0
};

// Interfaces that TensorRT implements.

class VCudaEngine;
class VExecutionContext;
class VEngineInspector;

class VEngineInspector {
 public:
  virtual ~VEngineInspector() noexcept = default;  // slot 0 and 1 since 11.0
  virtual void getPImpl() noexcept = 0;  // slot 2 since 11.0, filler
  virtual bool setExecutionContext(IObject<VExecutionContext> const* context) noexcept = 0;  // slot 3 since 11.0
  virtual void getExecutionContext() noexcept = 0;  // slot 4 since 11.0, filler
  virtual void getLayerInformation() noexcept = 0;  // slot 5 since 11.0, filler
  virtual char const* getEngineInformation(std::int32_t format) const noexcept = 0;  // slot 6 since 11.0
};

class VExecutionContext {
 public:
  virtual ~VExecutionContext() noexcept = default;  // slot 0 and 1 since 11.0
  virtual void getPImpl() noexcept = 0;  // slot 2 since 11.0, filler
  virtual void setDebugSync() noexcept = 0;  // slot 3 since 11.0, filler
  virtual void getDebugSync() noexcept = 0;  // slot 4 since 11.0, filler
  virtual void setProfiler(IProfiler* profiler) noexcept = 0;  // slot 5 since 11.0
  virtual void getProfiler() noexcept = 0;  // slot 6 since 11.0, filler
  virtual void getEngine() noexcept = 0;  // slot 7 since 11.0, filler
  virtual void setName(char const* name) noexcept = 0;  // slot 8 since 11.0
  virtual void getName() noexcept = 0;  // slot 9 since 11.0, filler
  virtual void setDeviceMemory(void* memory) noexcept = 0;  // slot 10 since 11.0
  virtual std::int32_t getOptimizationProfile() const noexcept = 0;  // slot 11 since 11.0
  virtual void allInputDimensionsSpecified() noexcept = 0;  // slot 12 since 11.0, filler
  virtual void setErrorRecorder() noexcept = 0;  // slot 13 since 11.0, filler
  virtual void getErrorRecorder() noexcept = 0;  // slot 14 since 11.0, filler
  virtual void executeV2() noexcept = 0;  // slot 15 since 11.0, filler
  virtual bool setOptimizationProfileAsync(std::int32_t profileIndex, void* stream) noexcept = 0;  // slot 16 since 11.0
  virtual void setEnqueueEmitsProfile(bool enqueueEmitsProfile) noexcept = 0;  // slot 17 since 11.0
  virtual void getEnqueueEmitsProfile() noexcept = 0;  // slot 18 since 11.0, filler
  virtual void reportToProfiler() noexcept = 0;  // slot 19 since 11.0, filler
  virtual bool setInputShape(char const* tensorName, Dims const& dims) noexcept = 0;  // slot 20 since 11.0
  virtual Dims getTensorShape(char const* tensorName) const noexcept = 0;  // slot 21 since 11.0
  virtual void getTensorStrides() noexcept = 0;  // slot 22 since 11.0, filler
  virtual bool setTensorAddress(char const* tensorName, void* data) noexcept = 0;  // slot 23 since 11.0
  virtual void getTensorAddress() noexcept = 0;  // slot 24 since 11.0, filler
  virtual void setInputTensorAddress() noexcept = 0;  // slot 25 since 11.0, filler
  virtual void setOutputTensorAddress() noexcept = 0;  // slot 26 since 11.0, filler
  virtual std::int32_t inferShapes(std::int32_t nbMaxNames, char const** tensorNames) noexcept = 0;  // slot 27 since 11.0
  virtual bool setInputConsumedEvent(void* event) noexcept = 0;  // slot 28 since 11.0
  virtual void getInputConsumedEvent() noexcept = 0;  // slot 29 since 11.0, filler
  virtual void getOutputTensorAddress() noexcept = 0;  // slot 30 since 11.0, filler
  virtual bool setOutputAllocator(char const* tensorName, IOutputAllocator* outputAllocator) noexcept = 0;  // slot 31 since 11.0
  virtual void getOutputAllocator() noexcept = 0;  // slot 32 since 11.0, filler
  virtual std::int64_t getMaxOutputSize(char const* tensorName) const noexcept = 0;  // slot 33 since 11.0
  virtual void setTemporaryStorageAllocator() noexcept = 0;  // slot 34 since 11.0, filler
  virtual void getTemporaryStorageAllocator() noexcept = 0;  // slot 35 since 11.0, filler
  virtual bool enqueueV3(void* stream) noexcept = 0;  // slot 36 since 11.0
  virtual void setPersistentCacheLimit() noexcept = 0;  // slot 37 since 11.0, filler
  virtual void getPersistentCacheLimit() noexcept = 0;  // slot 38 since 11.0, filler
  virtual void setNvtxVerbosity() noexcept = 0;  // slot 39 since 11.0, filler
  virtual void getNvtxVerbosity() noexcept = 0;  // slot 40 since 11.0, filler
  virtual void setAuxStreams() noexcept = 0;  // slot 41 since 11.0, filler
  virtual void setDebugListener() noexcept = 0;  // slot 42 since 11.0, filler
  virtual void getDebugListener() noexcept = 0;  // slot 43 since 11.0, filler
  virtual void setTensorDebugState() noexcept = 0;  // slot 44 since 11.0, filler
  virtual void getDebugState() noexcept = 0;  // slot 45 since 11.0, filler
  virtual void setAllTensorsDebugState() noexcept = 0;  // slot 46 since 11.0, filler
  virtual std::size_t updateDeviceMemorySizeForShapes() noexcept = 0;  // slot 47 since 11.0
  virtual void setDeviceMemoryV2(void* memory, std::int64_t size) noexcept = 0;  // slot 48 since 11.0
};

class VCudaEngine {
 public:
  virtual ~VCudaEngine() noexcept = default;  // slot 0 and 1 since 11.0
  virtual void getPImpl() noexcept = 0;  // slot 2 since 11.0, filler
  virtual std::int32_t getNbLayers() const noexcept = 0;  // slot 3 since 11.0
  virtual void serialize() noexcept = 0;  // slot 4 since 11.0, filler
  virtual IObject<VExecutionContext>* createExecutionContext(std::int32_t strategy) noexcept = 0;  // slot 5 since 11.0
  virtual bool isRefittable() const noexcept = 0;  // slot 6 since 11.0
  virtual char const* getName() const noexcept = 0;  // slot 7 since 11.0
  virtual std::int32_t getNbOptimizationProfiles() const noexcept = 0;  // slot 8 since 11.0
  virtual void getEngineCapability() noexcept = 0;  // slot 9 since 11.0, filler
  virtual void setErrorRecorder() noexcept = 0;  // slot 10 since 11.0, filler
  virtual void getErrorRecorder() noexcept = 0;  // slot 11 since 11.0, filler
  virtual void getTacticSources() noexcept = 0;  // slot 12 since 11.0, filler
  virtual void getProfilingVerbosity() noexcept = 0;  // slot 13 since 11.0, filler
  virtual IObject<VEngineInspector>* createEngineInspector() const noexcept = 0;  // slot 14 since 11.0
  virtual Dims getTensorShape(char const* tensorName) const noexcept = 0;  // slot 15 since 11.0
  virtual std::int32_t getTensorDataType(char const* tensorName) const noexcept = 0;  // slot 16 since 11.0
  virtual std::int32_t getTensorLocation(char const* tensorName) const noexcept = 0;  // slot 17 since 11.0
  virtual bool isShapeInferenceIO(char const* tensorName) const noexcept = 0;  // slot 18 since 11.0
  virtual std::int32_t getTensorIOMode(char const* tensorName) const noexcept = 0;  // slot 19 since 11.0
  virtual void getTensorBytesPerComponent() noexcept = 0;  // slot 20 since 11.0, filler
  virtual void getTensorComponentsPerElement() noexcept = 0;  // slot 21 since 11.0, filler
  virtual void getTensorFormat() noexcept = 0;  // slot 22 since 11.0, filler
  virtual void getTensorFormatDesc() noexcept = 0;  // slot 23 since 11.0, filler
  virtual void getTensorVectorizedDim() noexcept = 0;  // slot 24 since 11.0, filler
  virtual Dims getProfileShape(char const* tensorName, std::int32_t profileIndex, std::int32_t select) const noexcept = 0;  // slot 25 since 11.0
  virtual std::int32_t getNbIOTensors() const noexcept = 0;  // slot 26 since 11.0
  virtual char const* getIOTensorName(std::int32_t index) const noexcept = 0;  // slot 27 since 11.0
  virtual void getHardwareCompatibilityLevel() noexcept = 0;  // slot 28 since 11.0, filler
  virtual void getNbAuxStreams() noexcept = 0;  // slot 29 since 11.0, filler
  virtual std::int32_t getTensorBytesPerComponentV2(char const* tensorName, std::int32_t profileIndex) const noexcept = 0;  // slot 30 since 11.0
  virtual std::int32_t getTensorComponentsPerElementV2(char const* tensorName, std::int32_t profileIndex) const noexcept = 0;  // slot 31 since 11.0
  virtual std::int32_t getTensorFormatV2(char const* tensorName, std::int32_t profileIndex) const noexcept = 0;  // slot 32 since 11.0
  virtual char const* getTensorFormatDescV2(char const* tensorName, std::int32_t profileIndex) const noexcept = 0;  // slot 33 since 11.0
  virtual std::int32_t getTensorVectorizedDimV2(char const* tensorName, std::int32_t profileIndex) const noexcept = 0;  // slot 34 since 11.0
  virtual void createSerializationConfig() noexcept = 0;  // slot 35 since 11.0, filler
  virtual void serializeWithConfig() noexcept = 0;  // slot 36 since 11.0, filler
  virtual void createRefitter() noexcept = 0;  // slot 37 since 11.0, filler
  virtual std::int64_t getStreamableWeightsSize() const noexcept = 0;  // slot 38 since 11.0
  virtual void isDebugTensor() noexcept = 0;  // slot 39 since 11.0, filler
  virtual bool setWeightStreamingBudgetV2(std::int64_t gpuMemoryBudget) noexcept = 0;  // slot 40 since 11.0
  virtual std::int64_t getWeightStreamingBudgetV2() const noexcept = 0;  // slot 41 since 11.0
  virtual std::int64_t getWeightStreamingAutomaticBudget() const noexcept = 0;  // slot 42 since 11.0
  virtual void getWeightStreamingScratchMemorySize() noexcept = 0;  // slot 43 since 11.0, filler
  virtual std::int64_t getDeviceMemorySizeV2() const noexcept = 0;  // slot 44 since 11.0
  virtual std::int64_t getDeviceMemorySizeForProfileV2(std::int32_t profileIndex) const noexcept = 0;  // slot 45 since 11.0
  virtual std::int64_t const* getProfileTensorValuesV2(char const* tensorName, std::int32_t profileIndex, std::int32_t select) const noexcept = 0;  // slot 46 since 11.0
  virtual void createExecutionContextWithRuntimeConfig() noexcept = 0;  // slot 47 since 11.0, filler
  virtual void createRuntimeConfig() noexcept = 0;  // slot 48 since 11.0, filler
  virtual std::int64_t getEngineStat(std::int32_t stat) const noexcept = 0;  // slot 49 since 11.0
  virtual char const* getAliasedInputTensor(char const* tensorName) const noexcept = 0;  // slot 50 since 11.0
};

class VRuntime {
 public:
  virtual ~VRuntime() noexcept = default;  // slot 0 and 1 since 11.0
  virtual void getPImpl() noexcept = 0;  // slot 2 since 11.0, filler
  virtual IObject<VCudaEngine>* deserializeCudaEngine(void const* blob, std::size_t size) noexcept = 0;  // slot 3 since 11.0
  virtual void setDLACore() noexcept = 0;  // slot 4 since 11.0, filler
  virtual void getDLACore() noexcept = 0;  // slot 5 since 11.0, filler
  virtual void getNbDLACores() noexcept = 0;  // slot 6 since 11.0, filler
  virtual void setGpuAllocator() noexcept = 0;  // slot 7 since 11.0, filler
  virtual void setErrorRecorder(IErrorRecorder* recorder) noexcept = 0;  // slot 8 since 11.0
  virtual void getErrorRecorder() noexcept = 0;  // slot 9 since 11.0, filler
  virtual void getLogger() noexcept = 0;  // slot 10 since 11.0, filler
  virtual bool setMaxThreads(std::int32_t maxThreads) noexcept = 0;  // slot 11 since 11.0
  virtual void getMaxThreads() noexcept = 0;  // slot 12 since 11.0, filler
  virtual void setTemporaryDirectory() noexcept = 0;  // slot 13 since 11.0, filler
  virtual void getTemporaryDirectory() noexcept = 0;  // slot 14 since 11.0, filler
  virtual void setTempfileControlFlags() noexcept = 0;  // slot 15 since 11.0, filler
  virtual void getTempfileControlFlags() noexcept = 0;  // slot 16 since 11.0, filler
  virtual void getPluginRegistry() noexcept = 0;  // slot 17 since 11.0, filler
  virtual void setPluginRegistryParent() noexcept = 0;  // slot 18 since 11.0, filler
  virtual void loadRuntime() noexcept = 0;  // slot 19 since 11.0, filler
  virtual void setEngineHostCodeAllowed(bool allowed) noexcept = 0;  // slot 20 since 11.0
  virtual void getEngineHostCodeAllowed() noexcept = 0;  // slot 21 since 11.0, filler
  virtual IObject<VCudaEngine>* deserializeCudaEngineV2(IStreamReaderV2& reader) noexcept = 0;  // slot 22 since 11.0
};

class VRefitter {
 public:
  virtual ~VRefitter() noexcept = default;  // slot 0 and 1 since 11.0
  virtual void getPImpl() noexcept = 0;  // slot 2 since 11.0, filler
  virtual void setWeights() noexcept = 0;  // slot 3 since 11.0, filler
  virtual bool refitCudaEngine() noexcept = 0;  // slot 4 since 11.0
  virtual void getMissing() noexcept = 0;  // slot 5 since 11.0, filler
  virtual void getAll() noexcept = 0;  // slot 6 since 11.0, filler
  virtual void setErrorRecorder() noexcept = 0;  // slot 7 since 11.0, filler
  virtual void getErrorRecorder() noexcept = 0;  // slot 8 since 11.0, filler
  virtual bool setNamedWeights(char const* name, Weights weights) noexcept = 0;  // slot 9 since 11.0
  virtual std::int32_t getMissingWeights(std::int32_t size, char const** weightsNames) noexcept = 0;  // slot 10 since 11.0
  virtual std::int32_t getAllWeights(std::int32_t size, char const** weightsNames) noexcept = 0;  // slot 11 since 11.0
  virtual void getLogger() noexcept = 0;  // slot 12 since 11.0, filler
  virtual void setMaxThreads() noexcept = 0;  // slot 13 since 11.0, filler
  virtual void getMaxThreads() noexcept = 0;  // slot 14 since 11.0, filler
  virtual bool setNamedWeightsWithLocation(char const* name, Weights weights, std::int32_t location) noexcept = 0;  // slot 15 since 11.0
  virtual void getNamedWeights() noexcept = 0;  // slot 16 since 11.0, filler
  virtual void getWeightsLocation() noexcept = 0;  // slot 17 since 11.0, filler
  virtual void unsetNamedWeights() noexcept = 0;  // slot 18 since 11.0, filler
  virtual void setWeightsValidation() noexcept = 0;  // slot 19 since 11.0, filler
  virtual void getWeightsValidation() noexcept = 0;  // slot 20 since 11.0, filler
  virtual void refitCudaEngineAsync() noexcept = 0;  // slot 21 since 11.0, filler
  virtual Weights getWeightsPrototype(char const* weightsName) const noexcept = 0;  // slot 22 since 11.0
};

}  // namespace cuready::tensorrt::v11
