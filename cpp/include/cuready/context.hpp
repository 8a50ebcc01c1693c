// An execution context: tensors are bound by index, and the hot path is one call that allocates nothing and looks up
// nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuready/device.hpp"
#include "cuready/engine.hpp"
#include "cuready/error.hpp"

namespace cuready {

/// Activation memory that several contexts may share, when they do not run at the same time or run on one stream.
class CUREADY_API Workspace {
 public:
  Workspace(const Device& device, std::size_t nbytes = 0);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const noexcept;
  std::size_t nbytes() const noexcept;
  /// Changes when the memory was replaced by a larger piece.
  std::uint64_t generation() const noexcept;
  /// Makes it at least this large. Waits for the work of contexts that use it before the old piece is freed.
  void reserve(std::size_t nbytes);

 private:
  friend class Engine;
  friend class ExecutionContext;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

enum class GraphMode {
  off,        ///< always enqueueV3
  automatic,  ///< capture once the same shapes and addresses have run `graph_warmup` times; fall back with a reason
  require,    ///< throw CaptureError when a graph can not be had
};

enum class MemoryStrategy {
  static_,  ///< room for any shape of any profile
  profile,  ///< room for any shape of the active profile
  exact,    ///< room for the current shapes (TensorRT 10+; as `profile` before)
};

struct ContextOptions {
  int profile = -1;  ///< fixed optimization profile; -1: chosen from the shapes, the active one is kept while it fits
  MemoryStrategy memory = MemoryStrategy::static_;
  std::shared_ptr<Workspace> workspace;  ///< shared activation memory; null: the context's own
  GraphMode graph = GraphMode::off;
  int max_graphs = 8;    ///< graphs kept, least recently used goes first
  int graph_warmup = 1;  ///< plain runs with the same key before capture
};

struct GraphStats {
  std::uint64_t captures = 0, replays = 0, evictions = 0, fallbacks = 0;
  int cached = 0;               ///< graphs held now
  bool active = false;          ///< the next enqueue is a replay
  std::string fallback_reason;  ///< why the last attempt to have a graph was given up, or empty
};

/// Where an output is after a run.
struct OutputView {
  void* data = nullptr;
  Dims shape;
  DataType dtype = DataType::float32;
  std::size_t nbytes = 0;
  TensorLocation location = TensorLocation::device;
};

struct LayerTime {
  std::string name;
  float milliseconds = 0;
};

/// One sequence of runs of an engine. One thread at a time: a second one gets ContextBusy, never undefined behaviour.
///
/// Set shapes and addresses when they change, by tensor index, then enqueue() as often as you like: nothing is looked
/// up, allocated or set again in between. Work is ordered on the stream that is passed; when the stream changes, the
/// new one is made to wait for the old one. A stream must stay valid until a later call has used another one, or until
/// synchronize().
class CUREADY_API ExecutionContext : public std::enable_shared_from_this<ExecutionContext> {
 public:
  ~ExecutionContext();
  ExecutionContext(const ExecutionContext&) = delete;
  ExecutionContext& operator=(const ExecutionContext&) = delete;

  const std::shared_ptr<Engine>& engine() const noexcept;

  // Binding. All of these only take note; TensorRT is told by prepare() or by the next enqueue().
  /// Shape of an input. Throws ShapeError when no profile (or not the fixed one) allows it; the old shape is then kept.
  void set_shape(int tensor, const Dims& shape);
  /// Address of a tensor in the memory its TensorInfo::location names. `nbytes` 0: not checked. Null only for empty
  /// tensors.
  void set_address(int tensor, void* data, std::size_t nbytes = 0);
  /// Values of an input shape tensor; they are copied.
  void set_shape_values(int tensor, Span<const std::int64_t> values);
  /// dtype, location, device, shape and size are checked; then set_shape (inputs) and set_address. The caller's memory
  /// is used, not copied. A host shape tensor's values are copied at this moment.
  void bind(int tensor, const TensorView& view);
  /// bind() for all of inputs() and then all of outputs(): either all are taken or none. Outputs whose data is null are
  /// allocated by the context.
  void bind_all(Span<const TensorView> inputs, Span<const TensorView> outputs);
  /// Gives an output a buffer of the context's own (device), sized for the current shapes when prepared; data-dependent
  /// outputs always have one.
  void allocate_output(int tensor);
  /// Forgets the address of a tensor.
  void unbind(int tensor);

  /// Shape of any tensor for the current inputs. Data-dependent outputs are dynamic until a run is done.
  /// Throws BindingError when inputs that it depends on are not set yet.
  Dims shape(int tensor);
  /// Bytes of any tensor for the current inputs; for data-dependent outputs the most it can be, or -1 when TensorRT can
  /// not say.
  std::int64_t nbytes(int tensor);
  /// The address that is bound, or null.
  void* address(int tensor) const noexcept;

  /// The active profile; -1 before the first shape was set when it is chosen automatically.
  int profile() const noexcept;
  /// Fixes the profile by hand, or frees it (-1).
  void set_profile(int profile);

  /// Tells TensorRT what changed, so that the next enqueue() does not have to. Implied by enqueue().
  void prepare(StreamRef stream);

  /// Hot path. Submits one run and returns. The stream may go before the context does, but not before the context is
  /// used again: whatever comes next may have to wait for the run. Throws what is wrong with its bindings,
  /// ContextBusy, CudaError, TensorRTError, CaptureError. The legacy default stream is refused by InvalidArgument
  /// unless allow_legacy_stream(true).
  void enqueue(StreamRef stream);
  /// The same without exceptions.
  Status try_enqueue(StreamRef stream) noexcept;
  void allow_legacy_stream(bool allow) noexcept;
  /// Waits until the last enqueue of this context is done. Data-dependent shapes are final afterwards.
  void synchronize();
  /// True when the last enqueue of this context is done.
  bool done();
  /// The stream of the last enqueue.
  StreamRef last_stream() const noexcept;
  /// Event that the next runs record as soon as all inputs have been consumed (TensorRT's input-consumed event); null:
  /// none.
  void set_input_consumed_event(const std::shared_ptr<Event>& event);

  /// Where an output is. For data-dependent outputs the shape is the exact one, known when the run is done.
  OutputView output(int tensor);
  /// Takes the context's own buffer of an output out of it: the next run gets another. The data is ordered on
  /// last_stream().
  std::shared_ptr<DeviceBuffer> take_output(int tensor);

  // CUDA graphs.
  void set_graph_mode(GraphMode mode, int max_graphs = 8);
  GraphStats graph_stats() const;
  void clear_graphs();

  /// Runs once with TensorRT's profiler attached, waits, and returns the time of each layer. Never through a graph.
  /// TensorRT 10 and later can not take its profiler off again: afterwards it is silent, but it may cost later runs of
  /// this context some time. Measure layers on a context of their own.
  std::vector<LayerTime> profile_layers(StreamRef stream);
  /// What TensorRT has recorded on this context's last failed call; the same lines are in that call's exception.
  const std::vector<LogRecord>& last_messages() const noexcept;
  /// Bytes of activation memory in use.
  std::size_t workspace_bytes() const noexcept;
  void set_name(const std::string& name);

  /// The address of TensorRT's execution context object and of its enqueueV3 slot's function, for measuring a raw call.
  struct RawCall {
    void* object;
    bool (*enqueue)(void* object, void* stream) noexcept;
  };
  RawCall raw_call() const noexcept;

  struct Impl;  ///< not part of the API

 private:
  friend class Engine;
  explicit ExecutionContext(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cuready
