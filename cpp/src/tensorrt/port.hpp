// The version-neutral face of TensorRT: what the rest of the core may call. One adapter per major stands behind it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuready/error.hpp"
#include "cuready/types.hpp"

namespace cuready::tensorrt {

/// Output memory that TensorRT asks for during a run. Called on the enqueuing thread; must not throw.
class OutputMemory {
 public:
  virtual ~OutputMemory() = default;
  /// At least `size` bytes (at least 1), or null. The stream is null where TensorRT does not say (8.x, and 10's
  /// synchronous call).
  virtual void* reallocate(const char* tensor, std::uint64_t size, std::uint64_t alignment, void* stream) noexcept = 0;
  virtual void notify_shape(const char* tensor, const Dims& shape) noexcept = 0;
};

/// Receives the time of each layer.
class LayerTimes {
 public:
  virtual ~LayerTimes() = default;
  virtual void report(const char* layer, float milliseconds) noexcept = 0;
};

/// Bytes of a plan, in pieces.
class PlanReader {
 public:
  virtual ~PlanReader() = default;
  /// Bytes read, or -1. `destination` is host or device memory.
  virtual std::int64_t read(void* destination, std::int64_t nbytes, void* stream) noexcept = 0;
  virtual bool seek(std::int64_t offset, int where) noexcept = 0;
};

/// nvinfer1::IExecutionContext. Answers are TensorRT's own: the caller checks them with a Call.
class ContextPort {
 public:
  virtual ~ContextPort() = default;
  virtual bool set_input_shape(const char* tensor, const Dims& shape) = 0;
  virtual Dims tensor_shape(const char* tensor) const = 0;
  virtual bool set_tensor_address(const char* tensor, void* data) = 0;
  virtual int infer_shapes(int max_names, const char** names) = 0;
  virtual bool set_output_memory(const char* tensor, OutputMemory* memory) = 0;
  virtual std::int64_t max_output_size(const char* tensor) const = 0;
  virtual bool set_profile_async(int profile, void* stream) = 0;
  virtual int profile() const = 0;
  virtual void set_device_memory(void* memory, std::int64_t size) = 0;
  /// Bytes of activation memory for the current shapes; 0 where it can not be asked.
  virtual std::size_t update_device_memory_size() = 0;
  virtual bool set_input_consumed_event(void* event) = 0;
  virtual void set_profiler(LayerTimes* times) = 0;
  virtual void set_name(const char* name) = 0;
  /// The hot call, without the detour through this interface.
  using Enqueue = bool (*)(void* object, void* stream) noexcept;
  virtual void* enqueue_object() const noexcept = 0;
  virtual Enqueue enqueue_function() const noexcept = 0;
};

/// nvinfer1::IRefitter.
class RefitterPort {
 public:
  virtual ~RefitterPort() = default;
  virtual std::vector<std::string> all_weights() = 0;
  virtual std::vector<std::string> missing_weights() = 0;
  /// Type and count; count -1 where it can not be asked.
  virtual void prototype(const char* name, DataType& type, std::int64_t& count) = 0;
  virtual bool set_weights(const char* name, DataType type, const void* data, std::int64_t count,
                           TensorLocation location) = 0;
  virtual bool refit() = 0;
};

/// nvinfer1::ICudaEngine.
class EnginePort {
 public:
  virtual ~EnginePort() = default;
  virtual std::string name() const = 0;
  virtual int layer_count() const = 0;
  virtual int profile_count() const = 0;
  virtual int tensor_count() const = 0;
  virtual std::string tensor_name(int index) const = 0;
  /// Everything but profiles, is_data_dependent and index.
  virtual TensorInfo describe(const char* tensor) const = 0;
  virtual Dims profile_shape(const char* tensor, int profile, int select) const = 0;
  /// Empty when TensorRT has none.
  virtual std::vector<std::int64_t> profile_values(const char* tensor, int profile, int select,
                                                   std::int64_t count) const = 0;
  /// Bytes of activation memory, for one profile or (-1) for all.
  virtual std::size_t device_memory_size(int profile) const = 0;
  virtual bool is_refittable() const = 0;
  /// Bytes of weights that were stripped at build time; -1 where it can not be asked (before 10.14).
  virtual std::int64_t stripped_weights_size() const = 0;
  virtual bool can_stream_weights() const = 0;
  virtual std::int64_t streamable_weights_size() const = 0;
  virtual std::int64_t weight_budget() const = 0;
  virtual std::int64_t automatic_weight_budget() const = 0;
  virtual bool set_weight_budget(std::int64_t bytes) = 0;
  /// A context whose activation memory the caller supplies.
  virtual std::unique_ptr<ContextPort> create_context() = 0;
  virtual std::unique_ptr<RefitterPort> create_refitter() = 0;
  virtual std::string inspect(const ContextPort* context) const = 0;
  /// 8.x: one context per optimization profile.
  virtual bool one_context_per_profile() const noexcept = 0;
};

/// nvinfer1::IRuntime.
class RuntimePort {
 public:
  virtual ~RuntimePort() = default;
  virtual bool set_max_threads(int threads) = 0;
  virtual void allow_host_code(bool allow) = 0;
  virtual bool can_read_streams() const noexcept = 0;
  /// Throws the typed error when TensorRT refuses; `plan` is what the header said.
  virtual std::unique_ptr<EnginePort> deserialize(const void* plan, std::size_t size, const Version& plan_version) = 0;
  virtual std::unique_ptr<EnginePort> deserialize(PlanReader& reader, const Version& plan_version) = 0;
};

/// The C symbols of a library. Refitter is null in libraries that can not refit (lean ones).
struct Symbols {
  void* (*create_runtime)(void* logger, std::int32_t version) noexcept = nullptr;
  void* (*create_refitter)(void* engine, void* logger, std::int32_t version) noexcept = nullptr;
  std::int32_t raw_version = 0;
};

/// One major of TensorRT.
class Adapter {
 public:
  virtual ~Adapter() = default;
  virtual const Version& version() const noexcept = 0;
  /// Throws the typed error when TensorRT can not make one (no driver, no GPU).
  virtual std::unique_ptr<RuntimePort> create_runtime() const = 0;
  /// The ILogger of this major, for initLibNvInferPlugins.
  virtual void* logger() const noexcept = 0;
};

}  // namespace cuready::tensorrt
