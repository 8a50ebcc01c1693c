// ContextPool and Future, for Python.
#include "pool.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

#include "completions.hpp"
#include "layout.hpp"

namespace cuready::python {
namespace {

using Arrays = std::vector<std::unique_ptr<ArrayView>>;

/// An output array of the caller's; none: the pool makes the output.
struct Given {
  py::object array;
  Dims shape;
  bool on_host = false;
};

struct PyFuture {
  Future core;
  std::shared_ptr<Engine> engine;
  std::vector<Given> given;  // by position
  char const* operation = "submit";
  py::object result;
};

std::chrono::nanoseconds to_timeout(py::handle seconds) {
  if (seconds.is_none()) return std::chrono::nanoseconds(-1);
  double const value = std::max(0.0, py::cast<double>(seconds));
  return std::chrono::nanoseconds(static_cast<std::int64_t>(std::min(value, 1e9) * 1e9));
}

[[noreturn]] void raise_timeout() {
  PyErr_SetString(PyExc_TimeoutError, "the request was not done in time");
  throw py::error_already_set();
}

/// One request being put together: arrays are imported here and live until the pool is done.
class Request {
 public:
  explicit Request(PyPool& pool) : pool_(pool), arrays_(std::make_unique<Arrays>()) {}

  void take_inputs(py::handle inputs);
  void take_outputs(py::handle outputs);
  PoolRequest finish(py::handle stream);
  std::vector<Given> given;

 private:
  ArrayView& import(TensorInfo const& tensor, py::handle array, bool writable);
  int position(std::vector<int> const& indices, py::handle name, char const* what) const;
  void note_producer(ArrayView const& view);

  PyPool& pool_;
  std::unique_ptr<Arrays> arrays_;
  PoolRequest request_;
  std::vector<void*> producers_;
  bool all_host_ = true;
};

TensorInfo const& tensor_of(Engine const& engine, int index) {
  return engine.tensors()[static_cast<std::size_t>(index)];
}

int Request::position(std::vector<int> const& indices, py::handle name, char const* what) const {
  PyObject* known = PyDict_GetItemWithError(pool_.index_by_name.ptr(), name.ptr());
  if (known == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
  int const index = known != nullptr ? static_cast<int>(PyLong_AsLong(known))
                                     : pool_.engine->index(py::cast<std::string>(name));  // throws
  auto const found = std::find(indices.begin(), indices.end(), index);
  if (found == indices.end()) {
    refuse_tensor("submit", tensor_of(*pool_.engine, index), std::string("it is no ") + what);
  }
  return static_cast<int>(found - indices.begin());
}

ArrayView& Request::import(TensorInfo const& tensor, py::handle array, bool writable) {
  arrays_->push_back(std::make_unique<ArrayView>());
  ArrayView& view = *arrays_->back();
  try {
    import_array(array.ptr(), pool_.order->handle(), writable, view);
  } catch (ImportFailure const& error) {
    refuse_tensor("submit", tensor, error.what());
  }
  if (!view.owner) view.owner = Reference::borrow(array.ptr());
  note_producer(view);
  return view;
}

void Request::note_producer(ArrayView const& view) {
  if (view.on_host()) return;
  // A producer that was handed our stream has made it wait already.
  void* producer = view.has_producer_stream ? view.producer_stream : pool_.order->handle();
  if (std::find(producers_.begin(), producers_.end(), producer) == producers_.end()) {
    producers_.push_back(producer);
  }
}

void Request::take_inputs(py::handle inputs) {
  require_mapping("submit", inputs);
  auto const& indices = pool_.engine->inputs();
  request_.inputs.resize(indices.size());
  std::vector<bool> seen(indices.size(), false);
  py::dict const mapping = py::reinterpret_borrow<py::object>(inputs);
  for (auto const& item : mapping) {
    auto const at = static_cast<std::size_t>(position(indices, item.first, "input"));
    TensorInfo const& tensor = tensor_of(*pool_.engine, indices[at]);
    ArrayView& view = import(tensor, item.second, false);
    request_.inputs[at] = checked_view("submit", tensor, view);
    if (view.on_host() && tensor.location == TensorLocation::device && !tensor.is_linear()) {
      refuse_tensor("submit", tensor, "its layout is " + name(tensor.format),
                    "use ExecutionContext.run(), which repacks host arrays");
    }
    all_host_ = all_host_ && view.on_host();
    seen[at] = true;
  }
  for (std::size_t at = 0; at < seen.size(); ++at) {
    if (!seen[at]) refuse_tensor("submit", tensor_of(*pool_.engine, indices[at]), "it was not given");
  }
}

void Request::take_outputs(py::handle outputs) {
  auto const& indices = pool_.engine->outputs();
  given.resize(indices.size());
  if (outputs.is_none()) return;
  require_mapping("submit", outputs);
  request_.outputs.resize(indices.size());
  py::dict const mapping = py::reinterpret_borrow<py::object>(outputs);
  for (auto const& item : mapping) {
    auto const at = static_cast<std::size_t>(position(indices, item.first, "output"));
    TensorInfo const& tensor = tensor_of(*pool_.engine, indices[at]);
    ArrayView& view = import(tensor, item.second, true);
    request_.outputs[at] = checked_view("submit", tensor, view);
    if (view.on_host() && !tensor.is_linear()) {
      refuse_tensor("submit", tensor, "its layout is " + name(tensor.format), "use ExecutionContext.run()");
    }
    given[at].array = py::reinterpret_borrow<py::object>(item.second);
    given[at].shape = Dims(Span<std::int64_t const>(view.shape, static_cast<std::size_t>(view.rank)));
    given[at].on_host = view.on_host();
  }
}

PoolRequest Request::finish(py::handle stream) {
  if (!stream.is_none()) producers_.push_back(to_stream(stream.ptr(), StreamRef()).handle);
  request_.outputs_to_host = all_host_;
  if (!producers_.empty()) {
    void* only = producers_[0];
    if (producers_.size() > 1) {
      only = pool_.order->handle();
      for (void* producer : producers_) {
        if (producer != only) stream_wait(pool_.engine->device(), pool_.order->ref(), StreamRef(producer));
      }
    }
    request_.wait_for_producer = true;
    request_.producer = StreamRef(only);
  }
  request_.keep_alive =
      std::shared_ptr<void>(arrays_.release(), [](void* arrays) { bury(static_cast<Arrays*>(arrays)); });
  return std::move(request_);
}

// --- results ----------------------------------------------------------------------------------

/// Results up to this size are copied into an array of numpy's own: sooner done than numpy has looked at foreign
/// memory, and the pinned buffer is free at once.
constexpr std::size_t copied_bytes = 32 * 1024;

py::object host_array(PoolOutput const& output, TensorInfo const& tensor) {
  PyPinnedBuffer pinned;
  pinned.memory = output.pinned;
  pinned.dtype = tensor.dtype;
  pinned.shape = output.view.shape;
  pinned.nbytes = tensor.bytes_for(pinned.shape);
  if (tensor.is_linear() && bits(tensor.dtype) >= 8 && pinned.nbytes <= copied_bytes) {
    HostArray made = new_host_array(pinned.shape, tensor.dtype);
    std::memcpy(made.data, output.view.data, pinned.nbytes);
    return present(std::move(made.array), tensor.dtype);
  }
  if (!tensor.is_linear()) {
    HostArray made = new_host_array(pinned.shape, tensor.dtype);
    unpack(tensor, pinned.shape, output.view.data, made.data);
    return present(std::move(made.array), tensor.dtype);
  }
  try {
    static PyObject* asarray = nullptr;
    return present(import_once(asarray, "numpy", "asarray")(py::cast(std::move(pinned))), tensor.dtype);
  } catch (py::error_already_set& error) {
    if (error.matches(PyExc_ImportError)) throw_missing_extra("numpy", "a result on the host");
    throw;
  }
}

/// Throws ShapeError where an array of the caller's is not of the shape that its output turned out to have.
void check_given(PyFuture const& future) {
  auto const& outputs = future.core.get();
  for (std::size_t at = 0; at < future.given.size(); ++at) {
    Given const& given = future.given[at];
    if (!given.array || !given.on_host) continue;
    TensorInfo const& tensor = tensor_of(*future.engine, future.engine->outputs()[at]);
    Dims const& shape = outputs[at].view.shape;
    if (given.shape != packed_shape(shape, tensor.dtype)) refuse_shape(future.operation, tensor, shape, given.shape);
  }
}

py::object make_result(PyFuture& future) {
  release_buried();
  check_given(future);
  auto const& outputs = future.core.get();
  auto const& indices = future.engine->outputs();
  py::dict results;
  for (std::size_t at = 0; at < indices.size(); ++at) {
    TensorInfo const& tensor = tensor_of(*future.engine, indices[at]);
    py::object array;
    if (future.given[at].array) {
      array = future.given[at].array;
    } else if (outputs[at].pinned) {
      array = host_array(outputs[at], tensor);
    } else {
      array = make_device_buffer(outputs[at].device, outputs[at].view.shape, tensor.dtype, {}, {});
    }
    results[interned_name(tensor.name)] = array;
  }
  return std::move(results);
}

py::object result(PyFuture& future, py::object const& timeout) {
  if (future.result) return future.result;
  std::chrono::nanoseconds const limit = to_timeout(timeout);
  bool ready = future.core.done();
  if (!ready) {
    Unlocked unlocked;
    ready = future.core.wait(limit);
  }
  if (!ready) raise_timeout();
  future.result = make_result(future);
  return future.result;
}

py::object exception(PyFuture& future, py::object const& timeout) {
  std::chrono::nanoseconds const limit = to_timeout(timeout);
  bool ready = false;
  {
    Unlocked unlocked;
    ready = future.core.wait(limit);
  }
  if (!ready) raise_timeout();
  Status const status = future.core.status();
  auto const as_python = [](Error const& error) -> py::object {
    set_python_error(error);
    return py::error_already_set().value();
  };
  if (!status.ok()) return as_python(*status.error());
  try {
    check_given(future);
  } catch (Error const& error) {
    return as_python(error);
  }
  return py::none();
}

void add_done_callback(py::object const& self, py::object const& callback) {
  auto const& future = py::cast<PyFuture const&>(self);
  PyObject* function = callback.inc_ref().ptr();
  PyObject* argument = self.inc_ref().ptr();
  future.core.on_done([function, argument] { notify_later(function, argument); });
}

void push_when_done(PyFuture const& future, std::shared_ptr<Completions> completions, std::uint64_t number) {
  future.core.on_done([completions = std::move(completions), number] { completions->push(number); });
}

PoolRequest make_request(PyPool& pool, PyFuture& future, py::object const& inputs, py::object const& outputs,
                         py::object const& stream) {
  release_buried();
  Request request(pool);
  request.take_inputs(inputs);
  request.take_outputs(outputs);
  future.engine = pool.engine;
  future.given = std::move(request.given);
  return request.finish(stream);
}

py::object run(PyPool& pool, py::object const& inputs, py::object const& outputs, py::object const& stream) {
  PyFuture future;
  future.operation = "run";
  PoolRequest ready = make_request(pool, future, inputs, outputs, stream);
  {
    Unlocked unlocked;
    future.core = pool.core->run(std::move(ready));
  }
  return make_result(future);
}

std::shared_ptr<PyFuture> submit(PyPool& pool, py::object const& inputs, py::object const& outputs,
                                 py::object const& stream, py::object const& timeout) {
  auto future = std::make_shared<PyFuture>();
  PoolRequest ready = make_request(pool, *future, inputs, outputs, stream);
  std::chrono::nanoseconds const limit = to_timeout(timeout);
  // With room in the queue this is quick, and giving the GIL up and taking it again would not be.
  future->core = pool.core->try_submit(std::move(ready));
  if (!future->core.valid()) {
    Unlocked unlocked;
    future->core = pool.core->submit(std::move(ready), limit);
  }
  return future;
}

py::dict stats(PyPool const& pool) {
  PoolStats const now = pool.core->stats();
  py::dict entry;
  entry["submitted"] = now.submitted;
  entry["completed"] = now.completed;
  entry["failed"] = now.failed;
  entry["pending"] = now.pending;
  entry["in_flight"] = now.in_flight;
  entry["contexts"] = now.contexts;
  return entry;
}

constexpr char const* support_module = "cuready.runtime._pool";

py::object support(char const* function) { return py::module_::import(support_module).attr(function); }

void bind_future(py::module_& module) {
  py::class_<PyFuture, std::shared_ptr<PyFuture>>(module, "Future", "The result of a submitted request; awaitable.")
      .def("result", &result, py::arg("timeout") = py::none(),
           "Waits, at most `timeout` seconds, and returns name → array or raises the request's error. TimeoutError "
           "when the time is over first.")
      .def("exception", &exception, py::arg("timeout") = py::none(),
           "Waits, and returns the request's error, or None. TimeoutError when the time is over first.")
      .def(
          "done", [](PyFuture const& future) { return future.core.done(); }, "Whether the request is done.")
      .def("add_done_callback", &add_done_callback, py::arg("callback"),
           "Calls callback(future) once it is done, on a thread of cuready's own.")
      .def("_push_when_done", &push_when_done, py::arg("completions"), py::arg("number"))
      .def("_start", [](PyFuture const& future) { return future.core.start(); })
      .def("__await__", [](py::object const& self) {
        static PyObject* wait_for = nullptr;  // in every request's way
        return import_once(wait_for, support_module, "wait_for")(self);
      });
}

void close_pool(PyPool& pool) {
  {
    Unlocked unlocked;
    pool.core->close();
  }
  pump_log();
}

}  // namespace

PyPool::~PyPool() {
  if (interpreter_is_ending()) {  // threads cannot be joined any more, and the driver may be gone
    leases.release();
    index_by_name.release();
    new std::shared_ptr<ContextPool>(std::move(core));
    new std::shared_ptr<Stream>(std::move(order));
    new std::shared_ptr<Engine>(std::move(engine));
    return;
  }
  Unlocked unlocked;
  core.reset();
  order.reset();
}

std::shared_ptr<PyPool> create_pool(std::shared_ptr<Engine> const& engine, int size, std::string const& workspace,
                                    int max_pending, int in_flight, py::object const& profile, std::string const& graph,
                                    int max_graphs, bool spin) {
  PoolOptions options;
  options.contexts = size;
  options.max_pending = max_pending;
  options.in_flight = in_flight;
  options.spin = spin;
  options.context.graph = to_graph_mode(graph);
  options.context.max_graphs = max_graphs;
  options.context.profile = to_profile(profile);
  if (workspace != "private" && workspace != "shared") {
    ErrorDetail detail;
    detail.message = "'" + workspace + "' is no way to place workspaces";
    detail.hint = "one of: private, shared";
    throw InvalidArgument(std::move(detail));
  }
  options.shared_workspace = workspace == "shared";
  auto pool = std::make_shared<PyPool>();
  pool->engine = engine;
  for (TensorInfo const& tensor : engine->tensors()) {
    pool->index_by_name[interned_name(tensor.name)] = py::int_(tensor.index);
  }
  {
    Unlocked unlocked;
    pool->core = ContextPool::create(engine, options);
  }
  pool->order = std::make_shared<Stream>(engine->device());
  pool->leases = support("Leases")(engine, size, profile);
  pump_log();
  return pool;
}

void bind_pool(py::module_& module) {
  bind_notifier(module);
  bind_completions(module);
  bind_future(module);
  py::class_<PyPool, std::shared_ptr<PyPool>>(module, "ContextPool",
                                              "Contexts behind one bounded queue. Threads share it.")
      .def("submit", &submit, py::arg("inputs"), py::arg("outputs") = py::none(), py::kw_only(),
           py::arg("stream") = py::none(), py::arg("timeout") = py::none(),
           "Queues a request and returns a Future; blocks while the queue is full, and raises ContextBusy after "
           "`timeout` seconds of that. Arrays must not change until it is done. Results are numpy arrays when all "
           "inputs are on the host, else DeviceBuffers. Raises BindingError, ShapeError, DtypeError, and Cancelled "
           "when the pool is closed.")
      .def("run", &run, py::arg("inputs"), py::arg("outputs") = py::none(), py::kw_only(),
           py::arg("stream") = py::none(),
           "submit() and result() in one, for a thread that waits anyway: it launches the request itself "
           "where a context is idle, and no other thread is woken. Returns name → array.")
      .def(
          "map",
          [](py::object const& self, py::object const& requests, py::object const& depth) {
            return support("map_requests")(self, requests, depth);
          },
          py::arg("requests"), py::arg("depth") = py::none(),
          "Results in order, with at most `depth` requests under way.")
      .def(
          "acquire", [](PyPool const& pool, py::object const& timeout) { return pool.leases.attr("acquire")(timeout); },
          py::arg("timeout") = py::none(), "Context manager that lends an ExecutionContext of this pool's engine.")
      .def(
          "drain", [](PyPool& pool) { pool.core->drain(); }, py::call_guard<py::gil_scoped_release>(),
          "Waits until nothing is pending or in flight.")
      .def("close", &close_pool, "Finishes what is in flight and cancels what waits. Idempotent.")
      .def_property_readonly(
          "stats", &stats, "Numbers of requests submitted, completed, failed, pending and in_flight, and of contexts.")
      .def_property_readonly(
          "engine", [](PyPool const& pool) { return pool.engine; }, "The Engine that it runs.")
      .def("__enter__", [](py::object self) { return self; })
      .def("__exit__", [](PyPool& pool, py::args const&) { close_pool(pool); });
}

}  // namespace cuready::python
