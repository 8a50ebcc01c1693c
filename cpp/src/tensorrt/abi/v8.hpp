// TensorRT 8: the interfaces that are called and implemented here, in the binary order of TensorRT 8.5.3 to 8.6.1.
//
// Member order is the contract: a slot is a position in the vtable (Itanium C++ ABI), so nothing may be added, dropped or moved.
// Each line names its slot and the release that introduced it; a test compares all of them with abi.json. Methods that are
// never called keep their name and position only ("filler"). Methods newer than the first release of this major must be
// guarded by the version of the library that is loaded.
#pragma once

#include "tensorrt/abi/common.hpp"

namespace cuready::tensorrt::v8 {

using Dims = Dims32;

// Interfaces that TensorRT calls.

class ILogger {
 public:
  virtual void log(std::int32_t severity, char const* message) noexcept = 0;  // slot 0 since 8.5.3
  virtual ~ILogger() noexcept = default;  // slot 1 and 2 since 8.5.3
};

class IProfiler {
 public:
  virtual void reportLayerTime(char const* layerName, float milliseconds) noexcept = 0;  // slot 0 since 8.5.3
  virtual ~IProfiler() noexcept = default;  // slot 1 and 2 since 8.5.3
};

class IErrorRecorder {
 public:
  virtual ~IErrorRecorder() noexcept = default;  // slot 0 and 1 since 8.5.3
  virtual std::int32_t getNbErrors() const noexcept = 0;  // slot 2 since 8.5.3
  virtual std::int32_t getErrorCode(std::int32_t index) const noexcept = 0;  // slot 3 since 8.5.3
  virtual char const* getErrorDesc(std::int32_t index) const noexcept = 0;  // slot 4 since 8.5.3
  virtual bool hasOverflowed() const noexcept = 0;  // slot 5 since 8.5.3
  virtual void clear() noexcept = 0;  // slot 6 since 8.5.3
  virtual bool reportError(std::int32_t code, char const* description) noexcept = 0;  // slot 7 since 8.5.3
  virtual std::int32_t incRefCount() noexcept = 0;  // slot 8 since 8.5.3
  virtual std::int32_t decRefCount() noexcept = 0;  // slot 9 since 8.5.3
};

class IOutputAllocator {
 public:
  virtual std::int32_t getInterfaceVersion() const noexcept = 0;  // slot 0 since 8.5.3
  virtual void* reallocateOutput(char const* tensorName, void* currentMemory, std::uint64_t size, std::uint64_t alignment) noexcept = 0;  // slot 1 since 8.5.3
  virtual void notifyShape(char const* tensorName, Dims const& dims) noexcept = 0;  // slot 2 since 8.5.3
  virtual ~IOutputAllocator() noexcept = default;  // slot 3 and 4 since 8.5.3
};

// Interfaces that TensorRT implements.

class VCudaEngine;
class VExecutionContext;
class VEngineInspector;

class VEngineInspector {
 public:
  virtual ~VEngineInspector() noexcept = default;  // slot 0 and 1 since 8.5.3
  virtual bool setExecutionContext(IObject<VExecutionContext> const* context) noexcept = 0;  // slot 2 since 8.5.3
  virtual void getExecutionContext() noexcept = 0;  // slot 3 since 8.5.3, filler
  virtual void getLayerInformation() noexcept = 0;  // slot 4 since 8.5.3, filler
  virtual char const* getEngineInformation(std::int32_t format) const noexcept = 0;  // slot 5 since 8.5.3
};

class VExecutionContext {
 public:
  virtual ~VExecutionContext() noexcept = default;  // slot 0 and 1 since 8.5.3
  virtual void execute() noexcept = 0;  // slot 2 since 8.5.3, filler
  virtual void enqueue() noexcept = 0;  // slot 3 since 8.5.3, filler
  virtual void setDebugSync() noexcept = 0;  // slot 4 since 8.5.3, filler
  virtual void getDebugSync() noexcept = 0;  // slot 5 since 8.5.3, filler
  virtual void setProfiler(IProfiler* profiler) noexcept = 0;  // slot 6 since 8.5.3
  virtual void getProfiler() noexcept = 0;  // slot 7 since 8.5.3, filler
  virtual void getEngine() noexcept = 0;  // slot 8 since 8.5.3, filler
  virtual void setName(char const* name) noexcept = 0;  // slot 9 since 8.5.3
  virtual void getName() noexcept = 0;  // slot 10 since 8.5.3, filler
  virtual void setDeviceMemory(void* memory) noexcept = 0;  // slot 11 since 8.5.3
  virtual void getStrides() noexcept = 0;  // slot 12 since 8.5.3, filler
  virtual void setOptimizationProfile() noexcept = 0;  // slot 13 since 8.5.3, filler
  virtual std::int32_t getOptimizationProfile() const noexcept = 0;  // slot 14 since 8.5.3
  virtual void setBindingDimensions() noexcept = 0;  // slot 15 since 8.5.3, filler
  virtual void getBindingDimensions() noexcept = 0;  // slot 16 since 8.5.3, filler
  virtual void setInputShapeBinding() noexcept = 0;  // slot 17 since 8.5.3, filler
  virtual void getShapeBinding() noexcept = 0;  // slot 18 since 8.5.3, filler
  virtual void allInputDimensionsSpecified() noexcept = 0;  // slot 19 since 8.5.3, filler
  virtual void allInputShapesSpecified() noexcept = 0;  // slot 20 since 8.5.3, filler
  virtual void setErrorRecorder() noexcept = 0;  // slot 21 since 8.5.3, filler
  virtual void getErrorRecorder() noexcept = 0;  // slot 22 since 8.5.3, filler
  virtual void executeV2() noexcept = 0;  // slot 23 since 8.5.3, filler
  virtual void enqueueV2() noexcept = 0;  // slot 24 since 8.5.3, filler
  virtual bool setOptimizationProfileAsync(std::int32_t profileIndex, void* stream) noexcept = 0;  // slot 25 since 8.5.3
  virtual void setEnqueueEmitsProfile(bool enqueueEmitsProfile) noexcept = 0;  // slot 26 since 8.5.3
  virtual void getEnqueueEmitsProfile() noexcept = 0;  // slot 27 since 8.5.3, filler
  virtual void reportToProfiler() noexcept = 0;  // slot 28 since 8.5.3, filler
  virtual bool setInputShape(char const* tensorName, Dims const& dims) noexcept = 0;  // slot 29 since 8.5.3
  virtual Dims getTensorShape(char const* tensorName) const noexcept = 0;  // slot 30 since 8.5.3
  virtual void getTensorStrides() noexcept = 0;  // slot 31 since 8.5.3, filler
  virtual bool setTensorAddress(char const* tensorName, void* data) noexcept = 0;  // slot 32 since 8.5.3
  virtual void getTensorAddress() noexcept = 0;  // slot 33 since 8.5.3, filler
  virtual void setInputTensorAddress() noexcept = 0;  // slot 34 since 8.5.3, filler
  virtual std::int32_t inferShapes(std::int32_t nbMaxNames, char const** tensorNames) noexcept = 0;  // slot 35 since 8.5.3
  virtual bool setInputConsumedEvent(void* event) noexcept = 0;  // slot 36 since 8.5.3
  virtual void getInputConsumedEvent() noexcept = 0;  // slot 37 since 8.5.3, filler
  virtual void getOutputTensorAddress() noexcept = 0;  // slot 38 since 8.5.3, filler
  virtual bool setOutputAllocator(char const* tensorName, IOutputAllocator* outputAllocator) noexcept = 0;  // slot 39 since 8.5.3
  virtual void getOutputAllocator() noexcept = 0;  // slot 40 since 8.5.3, filler
  virtual std::int64_t getMaxOutputSize(char const* tensorName) const noexcept = 0;  // slot 41 since 8.5.3
  virtual void setTemporaryStorageAllocator() noexcept = 0;  // slot 42 since 8.5.3, filler
  virtual void getTemporaryStorageAllocator() noexcept = 0;  // slot 43 since 8.5.3, filler
  virtual bool enqueueV3(void* stream) noexcept = 0;  // slot 44 since 8.5.3
};

class VCudaEngine {
 public:
  virtual ~VCudaEngine() noexcept = default;  // slot 0 and 1 since 8.5.3
  virtual void getNbBindings() noexcept = 0;  // slot 2 since 8.5.3, filler
  virtual std::int32_t getBindingIndex(char const* name) const noexcept = 0;  // slot 3 since 8.5.3
  virtual void getBindingName() noexcept = 0;  // slot 4 since 8.5.3, filler
  virtual void bindingIsInput() noexcept = 0;  // slot 5 since 8.5.3, filler
  virtual void getBindingDimensions() noexcept = 0;  // slot 6 since 8.5.3, filler
  virtual void getBindingDataType() noexcept = 0;  // slot 7 since 8.5.3, filler
  virtual void getMaxBatchSize() noexcept = 0;  // slot 8 since 8.5.3, filler
  virtual std::int32_t getNbLayers() const noexcept = 0;  // slot 9 since 8.5.3
  virtual void serialize() noexcept = 0;  // slot 10 since 8.5.3, filler
  virtual void createExecutionContext() noexcept = 0;  // slot 11 since 8.5.3, filler
  virtual void getLocation() noexcept = 0;  // slot 12 since 8.5.3, filler
  virtual IObject<VExecutionContext>* createExecutionContextWithoutDeviceMemory() noexcept = 0;  // slot 13 since 8.5.3
  virtual std::size_t getDeviceMemorySize() const noexcept = 0;  // slot 14 since 8.5.3
  virtual bool isRefittable() const noexcept = 0;  // slot 15 since 8.5.3
  virtual void getBindingBytesPerComponent() noexcept = 0;  // slot 16 since 8.5.3, filler
  virtual void getBindingComponentsPerElement() noexcept = 0;  // slot 17 since 8.5.3, filler
  virtual void getBindingFormat() noexcept = 0;  // slot 18 since 8.5.3, filler
  virtual void getBindingFormatDesc() noexcept = 0;  // slot 19 since 8.5.3, filler
  virtual void getBindingVectorizedDim() noexcept = 0;  // slot 20 since 8.5.3, filler
  virtual char const* getName() const noexcept = 0;  // slot 21 since 8.5.3
  virtual std::int32_t getNbOptimizationProfiles() const noexcept = 0;  // slot 22 since 8.5.3
  virtual void getProfileDimensions() noexcept = 0;  // slot 23 since 8.5.3, filler
  virtual std::int32_t const* getProfileShapeValues(std::int32_t profileIndex, std::int32_t inputIndex, std::int32_t select) const noexcept = 0;  // slot 24 since 8.5.3
  virtual void isShapeBinding() noexcept = 0;  // slot 25 since 8.5.3, filler
  virtual void isExecutionBinding() noexcept = 0;  // slot 26 since 8.5.3, filler
  virtual void getEngineCapability() noexcept = 0;  // slot 27 since 8.5.3, filler
  virtual void setErrorRecorder() noexcept = 0;  // slot 28 since 8.5.3, filler
  virtual void getErrorRecorder() noexcept = 0;  // slot 29 since 8.5.3, filler
  virtual void hasImplicitBatchDimension() noexcept = 0;  // slot 30 since 8.5.3, filler
  virtual void getTacticSources() noexcept = 0;  // slot 31 since 8.5.3, filler
  virtual void getProfilingVerbosity() noexcept = 0;  // slot 32 since 8.5.3, filler
  virtual IObject<VEngineInspector>* createEngineInspector() const noexcept = 0;  // slot 33 since 8.5.3
  virtual Dims getTensorShape(char const* tensorName) const noexcept = 0;  // slot 34 since 8.5.3
  virtual std::int32_t getTensorDataType(char const* tensorName) const noexcept = 0;  // slot 35 since 8.5.3
  virtual std::int32_t getTensorLocation(char const* tensorName) const noexcept = 0;  // slot 36 since 8.5.3
  virtual bool isShapeInferenceIO(char const* tensorName) const noexcept = 0;  // slot 37 since 8.5.3
  virtual std::int32_t getTensorIOMode(char const* tensorName) const noexcept = 0;  // slot 38 since 8.5.3
  virtual std::int32_t getTensorBytesPerComponent(char const* tensorName) const noexcept = 0;  // slot 39 since 8.5.3
  virtual std::int32_t getTensorComponentsPerElement(char const* tensorName) const noexcept = 0;  // slot 40 since 8.5.3
  virtual std::int32_t getTensorFormat(char const* tensorName) const noexcept = 0;  // slot 41 since 8.5.3
  virtual char const* getTensorFormatDesc(char const* tensorName) const noexcept = 0;  // slot 42 since 8.5.3
  virtual std::int32_t getTensorVectorizedDim(char const* tensorName) const noexcept = 0;  // slot 43 since 8.5.3
  virtual Dims getProfileShape(char const* tensorName, std::int32_t profileIndex, std::int32_t select) const noexcept = 0;  // slot 44 since 8.5.3
  virtual std::int32_t getNbIOTensors() const noexcept = 0;  // slot 45 since 8.5.3
  virtual char const* getIOTensorName(std::int32_t index) const noexcept = 0;  // slot 46 since 8.5.3
};

class VRuntime {
 public:
  virtual ~VRuntime() noexcept = default;  // slot 0 and 1 since 8.5.3
  virtual IObject<VCudaEngine>* deserializeCudaEngine(void const* blob, std::size_t size, void* pluginFactory) noexcept = 0;  // slot 2 since 8.5.3
  virtual void setDLACore() noexcept = 0;  // slot 3 since 8.5.3, filler
  virtual void getDLACore() noexcept = 0;  // slot 4 since 8.5.3, filler
  virtual void getNbDLACores() noexcept = 0;  // slot 5 since 8.5.3, filler
  virtual void setGpuAllocator() noexcept = 0;  // slot 6 since 8.5.3, filler
  virtual void setErrorRecorder(IErrorRecorder* recorder) noexcept = 0;  // slot 7 since 8.5.3
  virtual void getErrorRecorder() noexcept = 0;  // slot 8 since 8.5.3, filler
  virtual void getLogger() noexcept = 0;  // slot 9 since 8.5.3, filler
  virtual bool setMaxThreads(std::int32_t maxThreads) noexcept = 0;  // slot 10 since 8.5.3
  virtual void getMaxThreads() noexcept = 0;  // slot 11 since 8.5.3, filler
  virtual void setTemporaryDirectory() noexcept = 0;  // slot 12 since 8.6.0, filler
  virtual void getTemporaryDirectory() noexcept = 0;  // slot 13 since 8.6.0, filler
  virtual void setTempfileControlFlags() noexcept = 0;  // slot 14 since 8.6.0, filler
  virtual void getTempfileControlFlags() noexcept = 0;  // slot 15 since 8.6.0, filler
  virtual void getPImpl() noexcept = 0;  // slot 16 since 8.6.0, filler
  virtual void getPluginRegistry() noexcept = 0;  // slot 17 since 8.6.0, filler
  virtual void setPluginRegistryParent() noexcept = 0;  // slot 18 since 8.6.0, filler
  virtual void loadRuntime() noexcept = 0;  // slot 19 since 8.6.0, filler
  virtual void setEngineHostCodeAllowed(bool allowed) noexcept = 0;  // slot 20 since 8.6.0
};

class VRefitter {
 public:
  virtual ~VRefitter() noexcept = default;  // slot 0 and 1 since 8.5.3
  virtual void setWeights() noexcept = 0;  // slot 2 since 8.5.3, filler
  virtual bool refitCudaEngine() noexcept = 0;  // slot 3 since 8.5.3
  virtual void getMissing() noexcept = 0;  // slot 4 since 8.5.3, filler
  virtual void getAll() noexcept = 0;  // slot 5 since 8.5.3, filler
  virtual void setDynamicRange() noexcept = 0;  // slot 6 since 8.5.3, filler
  virtual void getDynamicRangeMin() noexcept = 0;  // slot 7 since 8.5.3, filler
  virtual void getDynamicRangeMax() noexcept = 0;  // slot 8 since 8.5.3, filler
  virtual void getTensorsWithDynamicRange() noexcept = 0;  // slot 9 since 8.5.3, filler
  virtual void setErrorRecorder() noexcept = 0;  // slot 10 since 8.5.3, filler
  virtual void getErrorRecorder() noexcept = 0;  // slot 11 since 8.5.3, filler
  virtual bool setNamedWeights(char const* name, Weights weights) noexcept = 0;  // slot 12 since 8.5.3
  virtual std::int32_t getMissingWeights(std::int32_t size, char const** weightsNames) noexcept = 0;  // slot 13 since 8.5.3
  virtual std::int32_t getAllWeights(std::int32_t size, char const** weightsNames) noexcept = 0;  // slot 14 since 8.5.3
};

}  // namespace cuready::tensorrt::v8
