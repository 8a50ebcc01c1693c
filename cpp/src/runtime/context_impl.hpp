// The state of an execution context. Cold state is in vectors by tensor index; the hot path reads a handful of members.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/context.hpp"
#include "cuready/context.hpp"
#include "runtime/engine_impl.hpp"

namespace cuready {

/// Values of a shape tensor in its element type. Empty when the type holds no integers.
std::vector<std::byte> encode_values(DataType type, Span<const std::int64_t> values);
std::vector<std::int64_t> decode_values(DataType type, const void* data, std::int64_t count);

struct Workspace::Impl {
  explicit Impl(const Device& d) : device(d) {}
  /// Address, size and generation of one moment.
  struct Piece {
    void* data = nullptr;
    std::size_t nbytes = 0;
    std::uint64_t generation = 0;
  };
  Piece now();
  /// The same while the caller holds the mutex.
  Piece now_locked() const noexcept;
  /// How many runs have used it.
  std::uint64_t uses_now();
  /// The stream was waited for when there had been `uses`: it is not looked at again, and may go.
  void forget(StreamRef stream, std::uint64_t uses);
  /// `later` waits for what `stream` holds: whoever comes next may wait for `later` instead, and `stream` may go.
  void follow(StreamRef stream, StreamRef later);
  Device device;
  std::unique_ptr<DeviceBuffer> memory;
  std::uint64_t generation = 0;
  std::mutex mutex;  // held while a shared workspace is being enqueued on
  bool used = false;
  std::uint64_t uses = 0;
  StreamRef last_stream;  // of the last run, whichever context it was
};

/// The size of memory whose caller did not say how much there is.
constexpr std::size_t unchecked = SIZE_MAX;

/// What is known about one tensor of a context.
struct TensorState {
  // First what other memory at every call needs: after a run of TensorRT, each cache line that is read costs.
  void* address = nullptr;
  std::size_t nbytes = unchecked;  // of what is bound
  std::size_t required = 0;        // bytes for the current shape
  const char* name = nullptr;
  DataType dtype = DataType::float32;
  TensorLocation location = TensorLocation::device;
  bool linear = true;
  bool shape_known = false;
  bool shape_dirty = false;
  bool address_dirty = true;
  bool own = false;  // the context allocates this output
  Dims shape;        // inputs: as set; outputs: as inferred
  std::shared_ptr<DeviceBuffer> buffer;  // own outputs
  std::vector<std::byte> host;           // host tensors: our copy of the values, or the memory of a host output
  std::vector<std::int64_t> values;      // the same as integers, for the profile's bounds
};

/// The memory of one data-dependent output. TensorRT asks for it in the middle of a run.
class DynamicOutput final : public tensorrt::OutputMemory {
 public:
  DynamicOutput(ExecutionContext::Impl& context, int tensor) noexcept : context_(context), tensor_(tensor) {}
  void* reallocate(const char* tensor, std::uint64_t size, std::uint64_t alignment, void* stream) noexcept override;
  void notify_shape(const char* tensor, const Dims& shape) noexcept override;
  Dims shape = Dims::unknown();

 private:
  ExecutionContext::Impl& context_;
  int tensor_;
};

/// One captured graph with the TensorRT context that it was captured from. TensorRT's documentation ("CUDA Graphs")
/// advises one context for each graph, because changing a context may break its graph. Null port: the graph is of the
/// main context, where there can be no second one (8.x: one for each profile; aliased outputs: a warm-up would change
/// the caller's data). There several graphs share a context as long as profile and activation memory stay, which is
/// what Triton's backend does.
struct GraphEntry {
  std::vector<std::uint64_t> key;
  std::unique_ptr<tensorrt::ContextPort> port;
  cuda::CUgraphExec exec = nullptr;
  int runs = 0;          // plain runs so far
  bool refused = false;  // capture failed for this key: not tried again
};

struct alignas(64) ExecutionContext::Impl {
  explicit Impl(std::shared_ptr<Engine> e);
  ~Impl();

  // Hot: one cache line. After a run of TensorRT hardly anything of ours is left in the caches, so what counts is how
  // many lines a call touches.
  std::atomic<bool> busy{false};
  bool special = true;   // the next enqueue has more to do than to enqueue
  bool has_run = false;  // something was put on last_stream since the last synchronize()
  StreamRef last_stream;
  tensorrt::ContextPort::Enqueue enqueue_function = nullptr;
  void* enqueue_object = nullptr;
  cuda::CUresult (*get_current)(cuda::CUcontext*) = nullptr;  // the driver's cuCtxGetCurrent
  cuda::CUcontext cuda_context = nullptr;                     // the handle of `primary`
  cuda::CUgraphExec active_graph = nullptr;
  cuda::CUresult (*launch_graph)(cuda::CUgraphExec, cuda::CUstream) = nullptr;

  std::uint64_t replays = 0;
  const cuda::PrimaryContext* primary = nullptr;

  // Cold.
  std::shared_ptr<Engine> engine;
  Engine::Impl& e;  // the engine's own state
  ContextOptions options;
  std::vector<TensorState> tensors;
  std::vector<std::unique_ptr<DynamicOutput>> dynamic;  // by tensor index; null for the others
  bool shapes_changed = true, addresses_changed = true, ever_prepared = false;
  bool all_bound = false;  // at the last prepare()
  bool allow_legacy = false;
  int active_profile = -1, held_profile = -1;
  std::shared_ptr<Workspace> workspace;
  bool workspace_shared = false;
  std::uint64_t workspace_generation = 0;
  std::shared_ptr<Stream> memory_stream;  // allocations are ordered here
  std::shared_ptr<DeviceBuffer> placeholder;
  std::shared_ptr<Event> consumed_event;
  std::exception_ptr callback_error;  // thrown inside a TensorRT callback, to be thrown again outside of it
  std::vector<LogRecord> last_messages;
  std::unique_ptr<tensorrt::ContextPort> port;

  // Graphs.
  GraphMode graph_mode = GraphMode::off;
  int max_graphs = 8, graph_warmup = 1;
  std::list<GraphEntry> graphs;  // most recently used first
  GraphEntry* current_graph = nullptr;
  std::unique_ptr<Stream> capture_stream;
  GraphStats graph_stats;

  const TensorInfo& info(int tensor) const;
  tensorrt::Subject subject() const { return e.subject(); }
  /// Waits (on the host) for what is in flight, before something changes that it may read.
  void wait_idle();
  /// The same inside of an enqueue, which goes on to put its run on the stream.
  void wait_for_last_run();
  void order_after_last(StreamRef stream);
  void forget_graph_choice() noexcept {
    current_graph = nullptr;
    active_graph = nullptr;
  }

  // configuration (context_config.cpp)
  void set_shape(int tensor, const Dims& shape);
  void set_host_values(int tensor, const void* data, std::size_t nbytes);
  /// True when these are the values already.
  static bool holds(const TensorState& state, const void* data, std::size_t nbytes) noexcept;
  /// The values as integers. Throws ShapeError when no profile allows them.
  std::vector<std::int64_t> checked_values(int tensor, const void* data, std::size_t nbytes) const;
  /// With `complete`, every tensor must be bound; without, addresses that are missing are left for later.
  void prepare(StreamRef stream, bool complete);
  void require_bound();
  void require_alias(int tensor);
  void choose_profile(StreamRef stream);
  void activate_profile(int profile, StreamRef stream);
  bool profile_fits(int profile) const;
  void infer();
  void prepare_workspace(StreamRef stream);
  void prepare_outputs(StreamRef stream);
  void apply_addresses();
  bool apply_other_memory();
  void* effective_address(int tensor);
  /// Everything at once, for a port that knows nothing yet (a graph's own context).
  void configure(tensorrt::ContextPort& target, StreamRef stream);

  // running (context_run.cpp)
  void slow_enqueue(StreamRef stream);
  /// For a run on this stream: waits for the contexts that share the workspace, and keeps them out until it is
  /// enqueued.
  std::unique_lock<std::mutex> lock_workspace(StreamRef stream);
  void run_port(tensorrt::ContextPort& target, StreamRef stream);
  void check_stream(StreamRef stream) const;
  void finish_enqueue() noexcept;
  [[noreturn]] void enqueue_failed();

  // graphs (graphs.cpp)
  std::string why_no_graph() const;
  std::vector<std::uint64_t> graph_key() const;
  bool graphs_have_contexts() const;
  void select_graph();
  void enqueue_with_graph(StreamRef stream);
  void capture(GraphEntry& entry);
  void give_up_graph(GraphEntry& entry, const std::string& reason, StreamRef stream);
  void clear_graphs() noexcept;

  // buffers (context_outputs.cpp)
  std::shared_ptr<DeviceBuffer> allocate(std::size_t nbytes, StreamRef for_stream);
  void ensure_own_buffer(int tensor, std::size_t nbytes, StreamRef stream);
};

/// Marks the context as in use by this thread; a second thread gets ContextBusy.
class BusyGuard {
 public:
  explicit BusyGuard(ExecutionContext::Impl& impl) : impl_(impl) {
    if (__builtin_expect(impl.busy.exchange(true, std::memory_order_acquire), 0)) refuse();
  }
  ~BusyGuard() { impl_.busy.store(false, std::memory_order_release); }
  BusyGuard(const BusyGuard&) = delete;
  BusyGuard& operator=(const BusyGuard&) = delete;

 private:
  [[noreturn]] static void refuse();
  ExecutionContext::Impl& impl_;
};

}  // namespace cuready
