// The Python face of an execution context: arrays in, one raw call to submit, arrays out.
#pragma once

#include <chrono>
#include <deque>

#include "bindings_object.hpp"
#include "buffers.hpp"

namespace cuready::python {

/// Whether a submitting call keeps the GIL. Giving it up costs a hand-back of up to 5 ms per call
/// when another Python thread is busy; keeping it makes others wait for as long as the call takes.
/// So: keep it while calls are short, as a moving average over sampled calls says.
class GilPolicy {
 public:
  enum class Mode { automatic, keep, release };
  static constexpr double kKeepBelowNs = 20'000;

  bool keep() const { return keep_; }
  bool sample_now() { return --countdown_ <= 0; }
  void add_sample(double nanoseconds);
  void set_mode(Mode mode);
  Mode mode() const { return mode_; }

 private:
  int countdown_ = 0;
  bool keep_ = false;  // nothing is known yet: release
  Mode mode_ = Mode::automatic;
  double average_ns_ = -1;
};

class alignas(64) PyContext {
 public:
  PyContext(std::shared_ptr<Engine> engine, std::shared_ptr<ExecutionContext> core);
  ~PyContext();
  PyContext(PyContext const&) = delete;
  PyContext& operator=(PyContext const&) = delete;

  ExecutionContext* core() const { return core_.get(); }
  std::shared_ptr<ExecutionContext> const& shared_core() const { return core_; }
  std::shared_ptr<Engine> const& engine() const { return engine_; }
  std::shared_ptr<Stream> const& stream() const { return stream_; }
  StreamRef stream_ref() const { return stream_ref_; }
  GilPolicy& gil() { return gil_; }

  /// Held during each call, since a call may give up the GIL half-way. Throws ContextBusy.
  class Entered {
   public:
    explicit Entered(PyContext& context) : context_(context) {
      if (__builtin_expect(context.entered_, 0)) refuse_second_thread();
      context.entered_ = true;
    }
    ~Entered() { context_.entered_ = false; }
    Entered(Entered const&) = delete;
    Entered& operator=(Entered const&) = delete;

   private:
    [[noreturn]] static void refuse_second_thread();
    PyContext& context_;
  };

  /// Until the end of a call that runs on `stream`, given as `object` (may be null): the stream of the run before is kept
  /// until this one has been made to wait for it, and this one from then on. A call that fails may not come so far.
  class HeldStream {
   public:
    HeldStream(PyContext& context, PyObject* object, StreamRef stream)
        : context_(context), object_(object), stream_(stream) {}
    ~HeldStream() {
      if (context_.core_->last_stream() == stream_) hold(context_.run_stream_, object_);
    }
    HeldStream(HeldStream const&) = delete;
    HeldStream& operator=(HeldStream const&) = delete;

   private:
    PyContext& context_;
    PyObject* object_;
    StreamRef stream_;
  };

  /// The raw methods; see the docstrings in context.cpp.
  PyObject* bind(PyObject* const* arguments, Py_ssize_t count, PyObject* names);
  PyObject* enqueue(PyObject* const* arguments, Py_ssize_t count, PyObject* names);
  PyObject* enqueue_bindings(PyObject* const* arguments, Py_ssize_t count, PyObject* names);
  PyObject* run(PyObject* const* arguments, Py_ssize_t count, PyObject* names);

  void submit(StreamRef stream);
  void synchronize();
  /// Shapes were set by hand: the next run() sets its own again.
  void shapes_were_set() { run_is_bound_ = false; }
  TensorInfo const& tensor(int index) const { return engine_->tensors()[static_cast<std::size_t>(index)]; }

 private:
  friend class RunCall;
  struct Given {
    int index;
    PyObject* array;
  };
  /// What take() needs of a tensor: TensorInfo lies in several cache lines.
  struct Traits {
    dlpack::DataType type;
    DataType dtype;
    bool is_input;
    bool is_plain;  // whole bytes in C order, in device memory
  };
  struct Retired {
    std::shared_ptr<Event> event;
    PyObject* bindings;
  };

  // Arguments.
  void collect(PyObject* const* arguments, Py_ssize_t count, PyObject* names, bool of_run, std::vector<Given>& given);
  void collect_mapping(PyObject* mapping, std::vector<Given>& given);
  void collect_sequence(PyObject* sequence, std::vector<Given>& given);
  int index_of(PyObject* name, std::size_t hint);
  [[noreturn]] void refuse_name(PyObject* name) const;

  // Arrays.
  void take(Given const& given, StreamRef stream, BindingState& state);
  void take_checked(TensorInfo const& tensor, ArrayView const& view, StreamRef stream, BindingState& state);
  void take_host(TensorInfo const& tensor, ArrayView const& view, StreamRef stream, BindingState& state);
  void wait_for_producer(ArrayView const& view, StreamRef stream);
  void put_on(StreamRef stream);
  void apply(BindingState const& state);
  void make_current(BindingsObject* bindings);
  void retire_current();
  void free_retired();
  void wait_for_runs();
  void recover_after_run(StreamRef stream) noexcept;

  /// Keeps `stream` in `place`, and what was there before no more. Nothing for none, which is the context's own.
  static void hold(PyObject*& place, PyObject* stream);

  void submit_slowly(StreamRef stream, bool sampled);
  bool stream_argument(PyObject* const* arguments, Py_ssize_t count, PyObject* names, PyObject*& stream) const;

  // One cache line, for submit().
  std::shared_ptr<ExecutionContext> core_;
  StreamRef stream_ref_;
  GilPolicy gil_;
  bool entered_ = false;    // guarded by the GIL
  bool submitted_ = false;  // since current_ became current
  bool has_order_ = false;  // copies or waits were put on order_on_ since the last submission
  StreamRef order_on_;
  PyObject* run_stream_ = nullptr;  // the caller's object (or handle) for the stream of the last run on one of theirs

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<Stream> stream_;
  Device device_;
  BindingsObject* current_ = nullptr;
  std::deque<Retired> retired_;
  std::vector<std::shared_ptr<Event>> spare_events_;
  std::unique_ptr<StagingRing> staging_;

  std::vector<PyObject*> names_;  // interned, by index
  std::vector<Traits> traits_;    // by index
  PyObject* index_by_name_ = nullptr;
  PyObject* last_keywords_ = nullptr;  // the call site's own tuple, and what it stands for
  bool last_keywords_of_run_ = false;
  std::vector<int> last_keyword_indices_;
  std::vector<Given> given_;
  std::vector<void*> waited_;  // producer streams waited for in this call
  PyObject* call_stream_ = nullptr;   // what this call was given for its stream, borrowed
  PyObject* order_stream_ = nullptr;  // the same, kept, of the call that put something on order_on_
  ImportSession session_;      // of this call
  std::vector<TensorView> input_views_, output_views_;

  // What run() keeps between calls: pinned and device memory of each tensor.
  struct RunSlot {
    std::shared_ptr<PinnedBuffer> pinned;
    std::shared_ptr<DeviceBuffer> device;
    Dims shape;
    bool known = false;
  };
  std::vector<RunSlot> run_slots_;
  bool run_is_bound_ = false;  // the core's addresses are run()'s own slots
};

std::unique_ptr<PyContext> create_context(std::shared_ptr<Engine> const& engine, py::object const& profile,
                                          std::shared_ptr<Workspace> const& workspace, std::string const& strategy,
                                          std::string const& graph, int max_graphs);
GraphMode to_graph_mode(std::string const& mode);

/// How an array stands for a tensor: its type, its logical shape and its device are checked here,
/// and the error names the tensor, what came and what is allowed.
TensorView checked_view(char const* operation, TensorInfo const& tensor, ArrayView const& view);

[[noreturn]] void refuse_tensor(char const* operation, TensorInfo const& tensor, std::string const& reason,
                                std::string hint = {});

/// For an output of `shape` whose array is of another one.
[[noreturn]] void refuse_shape(char const* operation, TensorInfo const& tensor, Dims const& shape, Dims const& given);

struct PyPool;
std::shared_ptr<PyPool> create_pool(std::shared_ptr<Engine> const& engine, int size, std::string const& workspace,
                                    int max_pending, int in_flight, py::object const& profile, std::string const& graph,
                                    int max_graphs, bool spin);

}  // namespace cuready::python
