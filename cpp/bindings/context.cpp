// The submitting calls of an execution context, and its Python class.
#include "context.hpp"

#include <pybind11/stl.h>

#include <algorithm>

namespace cuready::python {
namespace {

constexpr int kSampleEvery = 64;

MemoryStrategy to_strategy(std::string const& text) {
  if (text == "static") return MemoryStrategy::static_;
  if (text == "profile") return MemoryStrategy::profile;
  if (text == "exact") return MemoryStrategy::exact;
  ErrorDetail detail;
  detail.message = "'" + text + "' is no memory strategy";
  detail.hint = "one of: static, profile, exact";
  throw InvalidArgument(std::move(detail));
}

PyContext* context_of(PyObject* self) {
  auto* context = self_of<PyContext>(self);
  if (context == nullptr) PyErr_SetString(PyExc_RuntimeError, "the ExecutionContext is empty");
  return context;
}

/// One raw method for each member function: the self pointer is one load away.
template <PyObject* (PyContext::*Method)(PyObject* const*, Py_ssize_t, PyObject*)>
[[gnu::hot]] PyObject* raw(PyObject* self, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  PyContext* context = context_of(self);
  if (context == nullptr) return nullptr;
  try {
    PyContext::Entered const entered(*context);
    return (context->*Method)(arguments, count, names);
  } catch (...) {
    return raise_current();
  }
}

}  // namespace

void GilPolicy::add_sample(double nanoseconds) {
  countdown_ = kSampleEvery;
  if (mode_ != Mode::automatic) return;
  average_ns_ = average_ns_ < 0 ? nanoseconds : 0.75 * average_ns_ + 0.25 * nanoseconds;
  keep_ = average_ns_ < kKeepBelowNs;
}

void GilPolicy::set_mode(Mode mode) {
  mode_ = mode;
  keep_ = mode == Mode::keep;
  average_ns_ = -1;
  countdown_ = 0;
}

PyContext::PyContext(std::shared_ptr<Engine> engine, std::shared_ptr<ExecutionContext> core)
    : core_(std::move(core)),
      engine_(std::move(engine)),
      stream_(std::make_shared<Stream>(engine_->device())),
      device_(engine_->device()),
      index_by_name_(PyDict_New()) {
  stream_ref_ = stream_->ref();
  for (TensorInfo const& tensor : engine_->tensors()) {
    names_.push_back(interned_name(tensor.name).release().ptr());
    bool const plain = tensor.location == TensorLocation::device && tensor.is_linear() && bits(tensor.dtype) >= 8;
    traits_.push_back({to_dlpack(tensor.dtype), tensor.dtype, tensor.mode == TensorMode::input, plain});
    PyDict_SetItem(index_by_name_, names_.back(), py::int_(tensor.index).ptr());
  }
  given_.reserve(names_.size());
  run_slots_.resize(names_.size());
}

void PyContext::Entered::refuse_second_thread() {
  ErrorDetail detail;
  detail.operation = "ExecutionContext";
  detail.message = "another thread is in a call of this context";
  detail.hint = "give each thread a context of its own, or share a ContextPool";
  throw ContextBusy(std::move(detail));
}

PyContext::~PyContext() {
  if (interpreter_is_ending()) {  // the driver may be gone: leave everything to the system
    new std::shared_ptr<ExecutionContext>(std::move(core_));
    new std::shared_ptr<Stream>(std::move(stream_));
    new std::shared_ptr<Engine>(std::move(engine_));
    return;
  }
  // A stream that is known by its handle alone may be gone. What ran on it is waited for with the whole device.
  bool const by_handle =
      run_stream_ != nullptr && PyLong_Check(run_stream_) && core_->last_stream() != stream_ref_;
  PyThreadState* state = PyEval_SaveThread();
  try {
    if (by_handle) {
      device_.synchronize();
    } else {
      core_->synchronize();
    }
  } catch (Error const&) {  // a sticky CUDA error: there is nothing to wait for any more
  }
  run_slots_.clear();
  core_.reset();
  PyEval_RestoreThread(state);
  for (Retired& old : retired_) Py_DECREF(old.bindings);
  Py_XDECREF(reinterpret_cast<PyObject*>(current_));
  for (PyObject* name : names_) Py_DECREF(name);
  Py_XDECREF(index_by_name_);
  Py_XDECREF(last_keywords_);
  Py_XDECREF(run_stream_);
  Py_XDECREF(order_stream_);
}

// Whoever made a stream may let it go as soon as the call returns, and the driver crashes when it is asked to wait for
// one that is gone.
void PyContext::hold(PyObject*& place, PyObject* stream) {
  if (stream == nullptr || stream == Py_None || stream == place) return;
  Py_INCREF(stream);
  Py_XSETREF(place, stream);
}

/// One submission. The clock is read in one call of 64: two reads would be a third of its cost.
[[gnu::hot]] void PyContext::submit(StreamRef stream) {
  bool const sampled = gil_.sample_now();
  if (__builtin_expect(sampled || has_order_ || !gil_.keep(), 0)) {
    submit_slowly(stream, sampled);
    return;
  }
  core_->enqueue(stream);
  submitted_ = true;
}

void PyContext::submit_slowly(StreamRef stream, bool sampled) {
  if (has_order_) {
    if (stream != order_on_) stream_wait(device_, stream, order_on_);
    has_order_ = false;
  }
  if (sampled) {
    auto const begin = std::chrono::steady_clock::now();
    {
      Unlocked unlocked;
      core_->enqueue(stream);
      auto const end = std::chrono::steady_clock::now();
      gil_.add_sample(std::chrono::duration<double, std::nano>(end - begin).count());
    }
    pump_log();
  } else if (gil_.keep()) {
    core_->enqueue(stream);
  } else {
    Unlocked unlocked;
    core_->enqueue(stream);
  }
  submitted_ = true;
}

/// False with a Python error set when the arguments are not those of enqueue(stream=None).
[[gnu::noinline]] bool PyContext::stream_argument(PyObject* const* arguments, Py_ssize_t count, PyObject* names,
                                                  PyObject*& stream) const {
  if (count == 1) stream = arguments[0];
  if (names != nullptr) stream = keyword(arguments, count, names, "stream");
  if (count > 1 || (names != nullptr && (stream == nullptr || count + PyTuple_GET_SIZE(names) > 1))) {
    PyErr_SetString(PyExc_TypeError, "enqueue() takes one argument: stream");
    return false;
  }
  return true;
}

[[gnu::hot]] PyObject* PyContext::enqueue(PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  if (count == 0 && names == nullptr) {
    submit(stream_ref_);
    Py_RETURN_NONE;
  }
  PyObject* stream = nullptr;
  if (!stream_argument(arguments, count, names, stream)) return nullptr;
  StreamRef const chosen = to_stream(stream, stream_ref_);
  HeldStream const held(*this, stream, chosen);
  submit(chosen);
  Py_RETURN_NONE;
}

PyObject* PyContext::enqueue_bindings(PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  BindingsObject* bindings = count >= 1 ? as_bindings(arguments[0]) : nullptr;
  if (bindings == nullptr || bindings->state->engine != engine_) {
    PyErr_SetString(PyExc_TypeError, "enqueue_bindings() takes Bindings that bind() of this engine's context made");
    return nullptr;
  }
  PyObject* stream = count == 2 ? arguments[1] : keyword(arguments, count, names, "stream");
  StreamRef const chosen = to_stream(stream, stream_ref_);
  if (bindings != current_) {
    free_retired();
    apply(*bindings->state);
    Py_INCREF(bindings);
    make_current(bindings);
  }
  HeldStream const held(*this, stream, chosen);
  submit(chosen);
  Py_RETURN_NONE;
}

void PyContext::synchronize() {
  Entered const entered(*this);
  wait_for_runs();
}

/// With the context entered.
void PyContext::wait_for_runs() {
  {
    Unlocked unlocked;
    core_->synchronize();
  }
  // Each run of a context waits for the one before, so all of them are done: no event has to tell.
  submitted_ = false;
  std::deque<Retired> done;
  done.swap(retired_);
  for (Retired& old : done) {
    spare_events_.push_back(std::move(old.event));
    Py_DECREF(old.bindings);
  }
  pump_log();
}

GraphMode to_graph_mode(std::string const& mode) {
  if (mode == "off") return GraphMode::off;
  if (mode == "auto") return GraphMode::automatic;
  if (mode == "require") return GraphMode::require;
  ErrorDetail detail;
  detail.message = "'" + mode + "' is no CUDA graph mode";
  detail.hint = "one of: off, auto, require";
  throw InvalidArgument(std::move(detail));
}

std::unique_ptr<PyContext> create_context(std::shared_ptr<Engine> const& engine, py::object const& profile,
                                          std::shared_ptr<Workspace> const& workspace, std::string const& strategy,
                                          std::string const& graph, int max_graphs) {
  ContextOptions options;
  options.profile = to_profile(profile);
  options.memory = to_strategy(strategy);
  options.workspace = workspace;
  options.graph = to_graph_mode(graph);
  options.max_graphs = max_graphs;
  std::shared_ptr<ExecutionContext> core;
  {
    py::gil_scoped_release release;
    core = engine->create_context(options);
  }
  pump_log();
  return std::make_unique<PyContext>(engine, std::move(core));
}

namespace {

/// Shapes of all tensors for these input shapes, without arrays; -1 where a run decides.
py::dict shapes(PyContext& context, py::dict const& inputs) {
  PyContext::Entered const entered(context);
  ExecutionContext* core = context.core();
  if (!inputs.empty()) context.shapes_were_set();
  for (auto const& item : inputs) {
    core->set_shape(context.engine()->index(py::cast<std::string>(item.first)), to_dims(item.second));
  }
  py::dict result;
  for (TensorInfo const& tensor : context.engine()->tensors()) {
    result[interned_name(tensor.name)] = to_tuple(core->shape(tensor.index));
  }
  return result;
}

void set_profile(PyContext& context, py::object const& profile) {
  PyContext::Entered const entered(context);
  context.core()->set_profile(to_profile(profile));
}

/// The context's own stream, made to wait for the last run: the caller's may go before what the run wrote is used.
StreamRef after_last_run(PyContext& context) {
  StreamRef const last = context.core()->last_stream(), own = context.stream_ref();
  if (last != own) stream_wait(context.engine()->device(), own, last);
  return own;
}

py::object output(PyContext& context, std::string const& tensor_name) {
  PyContext::Entered const entered(context);
  int const index = context.engine()->index(tensor_name);
  OutputView const view = context.core()->output(index);
  // Not a copy: valid until the context runs again or gets other bindings.
  auto memory = DeviceBuffer::from_external(context.engine()->device(), view.data, view.nbytes, context.shared_core());
  return make_device_buffer(std::move(memory), view.shape, view.dtype, after_last_run(context), context.stream());
}

py::object take_output(PyContext& context, std::string const& tensor_name) {
  PyContext::Entered const entered(context);
  int const index = context.engine()->index(tensor_name);
  OutputView const view = context.core()->output(index);
  return make_device_buffer(context.core()->take_output(index), view.shape, view.dtype, after_last_run(context),
                            context.stream());
}

GraphStats graph(PyContext& context, std::string const& mode, int max_graphs) {
  PyContext::Entered const entered(context);
  context.core()->set_graph_mode(to_graph_mode(mode), max_graphs);
  return context.core()->graph_stats();
}

py::list profile_layers(PyContext& context, py::object const& stream) {
  PyContext::Entered const entered(context);
  StreamRef const chosen = to_stream(stream.ptr(), context.stream_ref());
  PyContext::HeldStream const held(context, stream.ptr(), chosen);
  std::vector<LayerTime> times;
  {
    py::gil_scoped_release release;
    times = context.core()->profile_layers(chosen);
  }
  py::list list;
  for (LayerTime const& time : times) list.append(py::make_tuple(time.name, time.milliseconds));
  return list;
}

std::string gil_policy(PyContext& context) {
  switch (context.gil().mode()) {
    case GilPolicy::Mode::keep:
      return "keep";
    case GilPolicy::Mode::release:
      return "release";
    default:
      return "auto";
  }
}

void set_gil_policy(PyContext& context, std::string const& policy) {
  if (policy == "auto") {
    context.gil().set_mode(GilPolicy::Mode::automatic);
  } else if (policy == "keep") {
    context.gil().set_mode(GilPolicy::Mode::keep);
  } else if (policy == "release") {
    context.gil().set_mode(GilPolicy::Mode::release);
  } else {
    ErrorDetail detail;
    detail.message = "'" + policy + "' is no GIL policy";
    detail.hint = "one of: auto, keep, release";
    throw InvalidArgument(std::move(detail));
  }
}

py::tuple native_handle(PyContext const& context) {
  ExecutionContext::RawCall const call = context.core()->raw_call();
  return py::make_tuple(reinterpret_cast<std::uintptr_t>(call.object), reinterpret_cast<std::uintptr_t>(call.enqueue));
}

void bind_graph_stats(py::module_& module) {
  py::class_<GraphStats>(module, "GraphCache", "How a context's CUDA graphs are doing.")
      .def_readonly("captures", &GraphStats::captures, "Graphs that were captured.")
      .def_readonly("hits", &GraphStats::replays, "Runs that replayed one.")
      .def_property_readonly(
          "misses", [](GraphStats const& stats) { return stats.captures + stats.fallbacks; },
          "Captures and fallbacks together.")
      .def_readonly("evictions", &GraphStats::evictions, "Graphs that made room for others.")
      .def_readonly("fallbacks", &GraphStats::fallbacks, "Attempts that were given up.")
      .def_readonly("cached", &GraphStats::cached, "Graphs held now.")
      .def_readonly("active", &GraphStats::active, "Whether the next run is a replay.")
      .def_readonly("fallback_reason", &GraphStats::fallback_reason,
                    "Why the last attempt to have one was given up, or empty.")
      .def("__repr__", [](GraphStats const& stats) {
        return "<GraphCache " + std::to_string(stats.cached) + " graphs, " + std::to_string(stats.replays) +
               " replays" + (stats.fallback_reason.empty() ? "" : ", fell back: " + stats.fallback_reason) + ">";
      });
}

void bind_workspace(py::module_& module) {
  py::class_<Workspace, std::shared_ptr<Workspace>>(
      module, "Workspace",
      "Activation memory that contexts share when they run on one stream, or not at the same time.",
      py::release_gil_before_calling_cpp_dtor())
      .def(py::init([](std::size_t nbytes, py::object const& device) {
             return std::make_shared<Workspace>(to_device(device), nbytes);
           }),
           py::arg("nbytes") = 0, py::kw_only(), py::arg("device") = py::none())
      .def_property_readonly("nbytes", &Workspace::nbytes, "Its size in bytes.")
      .def("reserve", &Workspace::reserve, py::arg("nbytes"), py::call_guard<py::gil_scoped_release>(),
           "Makes it at least this large; waits for the contexts that use it.");
}

PyMethodDef raw_methods[] = {
    raw_method("bind", raw<&PyContext::bind>,
               "bind(arrays=None, /, *, stream=None, **arrays) -> Bindings\n\n"
               "Takes arrays for tensors: a mapping, keywords, or a sequence in the engine's order. "
               "Device arrays are used in place; host arrays for inputs are copied now, in the "
               "order of `stream`. What is not given stays as it was bound. An output that never was, "
               "or that is None, is the context's own; one that is given is written in the order of the "
               "stream that runs: read it on that stream, or through output()."),
    raw_method("enqueue", raw<&PyContext::enqueue>,
               "enqueue(stream=None)\n\nSubmits one run with what is bound, and returns. Raises BindingError, "
               "ShapeError, ContextBusy, CaptureError, CudaError and TensorRTError."),
    raw_method("enqueue_bindings", raw<&PyContext::enqueue_bindings>,
               "enqueue_bindings(bindings, stream=None)\n\nSubmits one run with these Bindings."),
    raw_method("run", raw<&PyContext::run>,
               "run(inputs=None, outputs=None, *, stream=None, **inputs) -> dict[str, array]\n\n"
               "One run from arrays to arrays, and waits for it. With all inputs on the host the "
               "results are numpy arrays, else DeviceBuffers. Replaces what was bound."),
};

}  // namespace

void bind_context(py::module_& module) {
  bind_bindings_type(module);
  bind_graph_stats(module);
  bind_workspace(module);
  py::class_<PyContext> type(module, "ExecutionContext",
                             "One sequence of runs of an engine. One thread at a time: a second "
                             "one gets ContextBusy.");
  type.def_property_readonly(
          "engine", [](PyContext const& c) { return c.engine(); }, "The Engine that it runs.")
      .def_property_readonly(
          "stream", [](PyContext const& c) { return PyStream{c.stream()}; },
          "Its own stream, on which it runs when no other is given.")
      .def_property_readonly(
          "profile", [](PyContext const& c) { return c.core()->profile(); },
          "Number of the active optimization profile; -1 before the first shape is set.")
      .def("synchronize", &PyContext::synchronize, "Waits until the last run is done.")
      .def_property_readonly(
          "done", [](PyContext& c) { return c.core()->done(); }, "Whether the last run is done.")
      .def("shapes", &shapes, py::arg("inputs") = py::dict(),
           "Sets these input shapes and returns the shape of every tensor; -1 where a run decides. Raises ShapeError "
           "where no profile takes them.")
      .def("set_profile", &set_profile, py::arg("profile"),
           "Fixes an optimization profile by index, or frees it with 'auto'.")
      .def("output", &output, py::arg("name"), "Where an output is; not a copy, valid until the context runs again.")
      .def("take_output", &take_output, py::arg("name"),
           "The context's own buffer of an output; the next run gets another.")
      .def("graph", &graph, py::arg("mode") = "auto", py::arg("max_graphs") = 8,
           "CUDA graphs: 'off', 'auto' (captured when the same shapes and addresses return), or "
           "'require' (CaptureError when there can be none).")
      .def_property_readonly(
          "graph_stats", [](PyContext& c) { return c.core()->graph_stats(); }, "A GraphCache of this moment.")
      .def(
          "clear_graphs",
          [](PyContext& c) {
            PyContext::Entered const entered(c);
            c.core()->clear_graphs();
          },
          "Forgets the graphs that are held.")
      .def("profile_layers", &profile_layers, py::arg("stream") = py::none(),
           "Runs once with TensorRT's profiler; returns (layer, milliseconds) pairs. Later runs of this context may be "
           "slower for it.")
      .def_property_readonly(
          "last_error",
          [](PyContext const& c) {
            py::list list;
            for (auto const& record : c.core()->last_messages()) {
              list.append(py::str(record.text));
            }
            return list;
          },
          "TensorRT's lines about the last call that failed here.")
      .def_property_readonly(
          "workspace_bytes", [](PyContext const& c) { return c.core()->workspace_bytes(); },
          "Bytes of activation memory in use.")
      .def_property(
          "gil_policy", &gil_policy, &set_gil_policy,
          "'keep' the GIL in enqueue(), 'release' it, or 'auto': keep it while submitting takes less than 20 µs "
          "on average.")
      .def(
          "allow_legacy_stream", [](PyContext& c, bool allow) { c.core()->allow_legacy_stream(allow); },
          py::arg("allow") = true,
          "Takes the legacy default stream, on which TensorRT synchronises the whole device; it is refused otherwise.")
      .def("_native_handle", &native_handle,
           "(object, function): TensorRT's context and its enqueueV3, for measuring a raw call.");
  for (PyMethodDef& method : raw_methods) add_raw_method(type, &method);
}

}  // namespace cuready::python
