// Plans become engines: Runtime deserializes, Engine describes, refits, inspects, and makes contexts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuready/device.hpp"
#include "cuready/library.hpp"
#include "cuready/types.hpp"

namespace cuready {

class ContextPool;
class Engine;
class ExecutionContext;
struct ContextOptions;
struct PoolOptions;

struct RuntimeOptions {
  int device = 0;                    ///< ordinal; engines of this runtime live there
  std::vector<std::string> plugins;  ///< plugin libraries to load before the first plan
  bool allow_host_code =
      false;            ///< let a plan run the host code inside it (its own lean runtime): only for plans you trust
  int max_threads = 0;  ///< threads that TensorRT may use to load; 0: its default
};

struct LoadOptions {
  enum class Reader { automatic, mapped, stream };
  Reader reader = Reader::automatic;  ///< for paths: memory-mapped, or read in pieces where the library can (10.7+);
                                      ///< automatic: mapped
  std::int64_t weight_budget =
      -1;  ///< bytes of streamable weights to keep on the GPU; -1: leave as built, -2: TensorRT's automatic choice
  bool check_version = true;  ///< refuse by the header, before TensorRT sees the plan
};

/// A TensorRT runtime on one device. Share it between threads.
class CUREADY_API Runtime : public std::enable_shared_from_this<Runtime> {
 public:
  /// Throws DriverNotFound / CudaError when there is no usable GPU, TensorRTError with TensorRT's own words when it
  /// refuses.
  static std::shared_ptr<Runtime> create(std::shared_ptr<Library> library, const RuntimeOptions& options = {});
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  /// Deserializes a plan file. The header is checked before anything else happens.
  /// Throws PlanInvalid, EngineVersionError, EnginePlatformError, PluginNotFound, OutOfMemory, TensorRTError.
  std::shared_ptr<Engine> load(const std::string& path, const LoadOptions& options = {});
  /// Deserializes plan bytes; they may be released afterwards.
  std::shared_ptr<Engine> load(Span<const std::byte> plan, const LoadOptions& options = {});
  const std::shared_ptr<Library>& library() const noexcept;
  const Device& device() const noexcept;

 private:
  friend class Engine;
  struct Impl;
  explicit Runtime(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Checks the header, makes a runtime and loads: one call from a path to an engine. A version mismatch is refused
/// before any GPU work.
CUREADY_API std::shared_ptr<Engine> load_engine(const std::shared_ptr<Library>& library, const std::string& path,
                                                const RuntimeOptions& runtime = {}, const LoadOptions& options = {});

/// New values for one named weight. The memory must stay valid during refit() only.
struct WeightView {
  std::string name;
  DataType dtype = DataType::float32;
  const void* data = nullptr;
  std::int64_t count = 0;                          ///< elements
  TensorLocation location = TensorLocation::host;  ///< device: TensorRT 10+ only
};

struct RefitReport {
  std::vector<std::string> missing;  ///< weights that still have to be supplied before the engine may run
};

/// An engine: immutable but for refit and the weight budget. Share it between threads.
class CUREADY_API Engine : public std::enable_shared_from_this<Engine> {
 public:
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const std::string& name() const noexcept;
  const std::shared_ptr<Runtime>& runtime() const noexcept;
  const Device& device() const noexcept;
  const PlanInfo& plan() const noexcept;

  /// Inputs and outputs in TensorRT's order; TensorInfo::index is the position here.
  const std::vector<TensorInfo>& tensors() const noexcept;
  /// Positions in tensors() of the inputs and of the outputs.
  const std::vector<int>& inputs() const noexcept;
  const std::vector<int>& outputs() const noexcept;
  /// Position of a tensor, or throws BindingError that lists the names there are.
  int index(std::string_view name) const;
  /// The same, -1 when there is none.
  int find(std::string_view name) const noexcept;

  int profile_count() const noexcept;
  int layer_count() const noexcept;
  /// Bytes of activation memory that a context needs (profile -1: the most any profile needs).
  std::size_t device_memory_size(int profile = -1) const;
  /// Which profiles take these input shapes (one Dims per entry of inputs()); empty when none does.
  std::vector<int> matching_profiles(Span<const Dims> input_shapes) const;
  /// True when a profile takes this shape for this input, whatever the other inputs are.
  bool fits(int profile, int tensor, const Dims& shape) const noexcept;
  /// The engine and its layers as JSON. Shapes are those of `context` when one is given. Detail depends on how the plan
  /// was built.
  std::string inspect(const ExecutionContext* context = nullptr) const;

  // Refit.
  bool is_refittable() const noexcept;
  /// True when weights are missing, so that results would be wrong: contexts refuse to run until refit() has supplied
  /// them.
  bool needs_refit() const noexcept;
  std::vector<std::string> refittable_weights() const;
  std::vector<std::string> missing_weights() const;
  /// Element type and count that a weight must have (TensorRT 10+; count -1 where it can not be asked).
  WeightView weight_prototype(const std::string& name) const;
  /// Supplies weights and refits, waiting until it is done. No context of this engine may be running.
  RefitReport refit(Span<const WeightView> weights);

  // Weight streaming (plans built for it; TensorRT 10+).
  /// Bytes of weights that can be streamed; 0 when the plan was not built for it or the library can not stream.
  std::int64_t streamable_weights_size() const;
  std::int64_t weight_budget() const;
  std::int64_t automatic_weight_budget() const;
  /// Throws UnsupportedFeature on a library that can not stream, ContextBusy while contexts exist.
  void set_weight_budget(std::int64_t bytes);

  /// Throws NotRefitted, ContextBusy (8.x: the profile already has its one context), OutOfMemory, TensorRTError.
  std::shared_ptr<ExecutionContext> create_context(const ContextOptions& options);
  std::shared_ptr<ExecutionContext> create_context();
  std::shared_ptr<ContextPool> create_pool(const PoolOptions& options);

  struct Impl;  ///< not part of the API

 private:
  friend class Runtime;
  friend class ExecutionContext;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cuready
