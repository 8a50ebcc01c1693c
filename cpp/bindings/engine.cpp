// Runtime, Engine, TensorInfo and the benchmark, for Python.
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <type_traits>

#include "buffers.hpp"
#include "pool.hpp"

namespace cuready::python {
namespace {

py::object python_type(char const* name) { return py::module_::import("cuready.runtime._types").attr(name); }

char const* mode_name(TensorMode mode) {
  return mode == TensorMode::input ? "input" : mode == TensorMode::output ? "output" : "none";
}

py::object bounds_tuple(ProfileBounds const& bounds) {
  return py::make_tuple(to_tuple(bounds.min), to_tuple(bounds.opt), to_tuple(bounds.max));
}

void bind_tensor_info(py::module_& module) {
  py::class_<TensorInfo>(module, "TensorInfo", "One input or output of an engine.")
      .def_readonly("name", &TensorInfo::name, "Its name in the model.")
      .def_readonly("index", &TensorInfo::index, "Position among all tensors of the engine.")
      .def_property_readonly(
          "mode", [](TensorInfo const& t) { return mode_name(t.mode); }, "'input' or 'output'.")
      .def_property_readonly(
          "dtype", [](TensorInfo const& t) { return name(t.dtype); }, "Such as 'float32', 'bfloat16' or 'int4'.")
      .def_property_readonly(
          "shape", [](TensorInfo const& t) { return to_tuple(t.shape); }, "As built: -1 where it is open.")
      .def_property_readonly(
          "location", [](TensorInfo const& t) { return t.location == TensorLocation::host ? "host" : "device"; },
          "The memory that TensorRT wants it in: 'device' or 'host'.")
      .def_readonly("is_shape", &TensorInfo::is_shape, "TensorRT reads its values on the host to infer shapes.")
      .def_readonly("is_data_dependent", &TensorInfo::is_data_dependent,
                    "An output whose shape is known only after the run.")
      .def_property_readonly(
          "format", [](TensorInfo const& t) { return name(t.format); }, "Memory layout, such as 'linear' or 'chw32'.")
      .def_readonly("format_text", &TensorInfo::format_text, "TensorRT's own description of the layout.")
      .def_readonly("vectorized_dim", &TensorInfo::vectorized_dim,
                    "Dimension that is packed in vectors and padded to a multiple of them; -1: none.")
      .def_readonly("components_per_element", &TensorInfo::components_per_element,
                    "Elements of one vector along `vectorized_dim`.")
      .def_readonly("alias_of", &TensorInfo::alias_of,
                    "The input whose memory this output shares (TensorRT 10.15 and later), or empty.")
      .def_property_readonly(
          "profiles",
          [](TensorInfo const& t) {
            py::list list;
            for (auto const& bounds : t.profiles) {
              list.append(bounds_tuple(bounds));
            }
            return py::tuple(list);
          },
          "(min, opt, max) shapes, one triple for each optimization profile.")
      .def(
          "nbytes_for", [](TensorInfo const& t, py::object const& shape) { return t.bytes_for(to_dims(shape)); },
          py::arg("shape"),
          "Bytes that a buffer of this shape needs, padding included. Raises ShapeError where it is open.")
      .def("__repr__", [](TensorInfo const& t) {
        return "<TensorInfo " + std::string(mode_name(t.mode)) + " '" + t.name + "' " + name(t.dtype) + " " +
               t.shape.str() + ">";
      });
}

py::object tensor_mapping(Engine const& engine, std::vector<int> const& indices) {
  py::dict mapping;
  for (int index : indices) {
    TensorInfo const& tensor = engine.tensors()[static_cast<std::size_t>(index)];
    mapping[interned_name(tensor.name)] = py::cast(tensor);
  }
  return py::module_::import("types").attr("MappingProxyType")(mapping);
}

py::list profiles_of(Engine const& engine) {
  py::object type = python_type("Profile");
  py::list list;
  for (int index = 0; index < engine.profile_count(); ++index) {
    py::dict minimum, optimum, maximum;
    for (int input : engine.inputs()) {
      TensorInfo const& tensor = engine.tensors()[static_cast<std::size_t>(input)];
      if (static_cast<std::size_t>(index) >= tensor.profiles.size()) continue;
      ProfileBounds const& bounds = tensor.profiles[static_cast<std::size_t>(index)];
      py::object const key = interned_name(tensor.name);
      bool const values = !bounds.opt_values.empty();
      minimum[key] = values ? py::object(py::tuple(py::cast(bounds.min_values))) : to_tuple(bounds.min);
      optimum[key] = values ? py::object(py::tuple(py::cast(bounds.opt_values))) : to_tuple(bounds.opt);
      maximum[key] = values ? py::object(py::tuple(py::cast(bounds.max_values))) : to_tuple(bounds.max);
    }
    list.append(type(index, minimum, optimum, maximum));
  }
  return list;
}

/// A refit takes host arrays by the buffer protocol; they are read during the call only.
std::vector<std::string> refit(Engine& engine, py::dict const& weights) {
  std::vector<WeightView> views;
  std::vector<std::unique_ptr<ArrayView>> arrays;
  for (auto const& item : weights) {
    auto array = std::make_unique<ArrayView>();
    WeightView view;
    view.name = py::cast<std::string>(item.first);
    try {
      import_array(item.second.ptr(), nullptr, false, *array);
      if (!array->contiguous) throw ImportFailure("it is not contiguous in C order");
      view.dtype = to_data_type(array->dtype);
    } catch (ImportFailure const& error) {
      ErrorDetail detail;
      detail.operation = "refit";
      detail.message = "weight '" + view.name + "': " + error.what();
      throw BindingError(std::move(detail));
    }
    view.data = array->data;
    view.count = array->bytes() * 8 / array->dtype.bits;
    view.location = array->on_host() ? TensorLocation::host : TensorLocation::device;
    views.push_back(std::move(view));
    arrays.push_back(std::move(array));
  }
  RefitReport report;
  {
    py::gil_scoped_release release;
    report = engine.refit(Span<WeightView const>(views.data(), views.size()));
  }
  pump_log();
  return report.missing;
}

void set_budget(Engine& engine, std::int64_t bytes) {
  {
    py::gil_scoped_release release;
    engine.set_weight_budget(bytes);
  }
  pump_log();
}

py::object percentiles(Percentiles const& p) {
  return python_type("Percentiles")(p.min, p.max, p.mean, p.median, p.p90, p.p95, p.p99, p.cov);
}

py::object to_python(BenchmarkReport const& report) {
  return python_type("BenchmarkReport")(
      report.iterations, report.seconds, report.throughput, percentiles(report.enqueue), percentiles(report.h2d),
      percentiles(report.gpu), percentiles(report.d2h), percentiles(report.latency), report.bound_by, report.diagnosis,
      report.graph, report.graph_fallback_reason, percentiles(report.gpu_queued), report.queued_iterations,
      report.queued_at_once, report.queued_reason);
}

BenchmarkOptions benchmark_options(double warmup, int streams, bool graph, bool transfers, bool spin, int profile,
                                   py::dict const& shapes, py::dict const& shape_values) {
  BenchmarkOptions options;
  options.warmup_seconds = warmup;
  options.streams = streams;
  options.graph = graph;
  options.transfers = transfers;
  options.spin = spin;
  options.profile = profile;
  for (auto const& item : shapes) {
    options.shapes.emplace_back(py::cast<std::string>(item.first), to_dims(item.second));
  }
  for (auto const& item : shape_values) {
    options.shape_values.emplace_back(py::cast<std::string>(item.first),
                                      py::cast<std::vector<std::int64_t>>(item.second));
  }
  return options;
}

/// Calls `function` without the GIL; what TensorRT said meanwhile goes to Python's log.
template <class Function>
auto unlocked(Function function) {
  if constexpr (std::is_void_v<decltype(function())>) {
    {
      py::gil_scoped_release release;
      function();
    }
    pump_log();
  } else {
    auto result = [&] {
      py::gil_scoped_release release;
      return function();
    }();
    pump_log();
    return result;
  }
}

py::object run_benchmark(std::shared_ptr<Engine> const& engine, double duration, double warmup,
                         std::int64_t min_iterations, int streams, bool graph, bool transfers, bool spin, int profile,
                         py::dict const& shapes, py::dict const& shape_values) {
  BenchmarkOptions options = benchmark_options(warmup, streams, graph, transfers, spin, profile, shapes, shape_values);
  options.seconds = duration;
  options.min_iterations = min_iterations;
  return to_python(unlocked([&] { return benchmark(engine, options); }));
}

std::unique_ptr<Benchmark> make_benchmark(std::shared_ptr<Engine> const& engine, double warmup, int streams, bool graph,
                                          bool transfers, bool spin, int profile, py::dict const& shapes,
                                          py::dict const& shape_values) {
  BenchmarkOptions const options =
      benchmark_options(warmup, streams, graph, transfers, spin, profile, shapes, shape_values);
  return unlocked([&] { return std::make_unique<Benchmark>(engine, options); });
}

py::object inspect(Engine const& engine, PyContext const* context) {
  std::string text;
  {
    py::gil_scoped_release release;
    text = engine.inspect(context == nullptr ? nullptr : context->core());
  }
  pump_log();
  auto decoded = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
  return py::module_::import("json").attr("loads")(decoded, py::arg("strict") = false);
}

void bind_engine_class(py::module_& module) {
  py::class_<Engine, std::shared_ptr<Engine>>(module, "Engine",
                                              "A deserialized plan. Share it between threads; contexts keep it alive.",
                                              py::release_gil_before_calling_cpp_dtor())
      .def_property_readonly("name", &Engine::name, "The network's name; may be empty.")
      .def_property_readonly("device", &Engine::device, "The GPU that it was loaded on.")
      .def_property_readonly("runtime", &Engine::runtime, "The Runtime that loaded it.")
      .def_property_readonly("plan", &Engine::plan, "What the plan's header says.")
      .def_property_readonly(
          "inputs", [](Engine const& engine) { return tensor_mapping(engine, engine.inputs()); },
          "Name → TensorInfo, in TensorRT's order.")
      .def_property_readonly(
          "outputs", [](Engine const& engine) { return tensor_mapping(engine, engine.outputs()); },
          "Name → TensorInfo, in TensorRT's order.")
      .def_property_readonly("profiles", &profiles_of, "A Profile for each optimization profile.")
      .def_property_readonly("num_layers", &Engine::layer_count,
                             "Layers of the engine, which has fused those of the model.")
      .def("device_memory_size", &Engine::device_memory_size, py::arg("profile") = -1,
           "Bytes of activation memory that a context needs; of -1, the most that any profile needs.")
      .def("inspect", &inspect, py::arg("context") = nullptr,
           "The engine and its layers as a dict, with the shapes of `context` when one is given. How much it says "
           "depends on the profiling verbosity of the build.")
      .def_property_readonly("is_refittable", &Engine::is_refittable,
                             "Whether it was built so that weights can be replaced.")
      .def_property_readonly("needs_refit", &Engine::needs_refit,
                             "Weights were stripped and are still missing: no context runs before refit().")
      .def_property_readonly("refittable_weights", &Engine::refittable_weights,
                             "Names of the weights that refit() takes.")
      .def_property_readonly("missing_weights", &Engine::missing_weights, "Names of those that have to be supplied.")
      .def(
          "weight_prototype",
          [](Engine const& engine, std::string const& weight) {
            WeightView const prototype = engine.weight_prototype(weight);
            return py::make_tuple(name(prototype.dtype), prototype.count);
          },
          py::arg("name"), "(dtype, element count) that a weight must have; the count is -1 before TensorRT 10.")
      .def("refit", &refit, py::arg("weights"),
           "Supplies weights by name and refits, while no context runs; returns the names that are still missing.")
      .def_property_readonly("streamable_size", &Engine::streamable_weights_size,
                             "Bytes of weights that can be streamed; 0 when the plan was not built for it.")
      .def_property(
          "weight_budget", &Engine::weight_budget, &set_budget,
          "Bytes of streamable weights kept on the GPU. Setting it raises ContextBusy while contexts exist, and "
          "UnsupportedFeature where weights cannot be streamed.")
      .def_property_readonly("automatic_weight_budget", &Engine::automatic_weight_budget,
                             "The budget that TensorRT would choose, in bytes.")
      .def("create_context", &create_context, py::kw_only(), py::arg("profile") = py::none(),
           py::arg("workspace") = nullptr, py::arg("strategy") = "static", py::arg("graph") = "off",
           py::arg("max_graphs") = 8,
           "A context for one thread. `profile`: fixed; None: chosen from the shapes. `workspace`: activation memory "
           "shared with other contexts; None: its own. `strategy`: room for every profile ('static'), for the active "
           "one ('profile') or for the current shapes ('exact', TensorRT 10 and later). `graph`: CUDA graphs, 'off', "
           "'auto' or 'require', of which `max_graphs` are kept. Raises NotRefitted, OutOfMemory, ContextBusy "
           "(TensorRT 8: the profile has its one context) and TensorRTError.")
      .def("create_pool", &create_pool, py::arg("size") = 2, py::kw_only(), py::arg("workspace") = "private",
           py::arg("max_pending") = 0, py::arg("in_flight") = 2, py::arg("profile") = py::none(),
           py::arg("graph") = "off", py::arg("max_graphs") = 8, py::arg("spin") = true,
           "A pool of `size` contexts for many threads. `workspace`: 'private', or 'shared', which runs one after "
           "another in one activation memory. `max_pending`: requests that may wait before submit() does; 0: four for "
           "each context. `in_flight`: requests on the GPU at once, for each context. `spin`: who waits for the GPU "
           "spins for a while. The others are those of create_context().")
      .def("benchmark", &run_benchmark, py::kw_only(), py::arg("duration") = 3.0, py::arg("warmup") = 0.2,
           py::arg("min_iterations") = 10, py::arg("streams") = 1, py::arg("graph") = false,
           py::arg("transfers") = true, py::arg("spin") = false, py::arg("profile") = 0, py::arg("shapes") = py::dict(),
           py::arg("shape_values") = py::dict(),
           "Times made-up inputs as trtexec does, for at least `duration` seconds and `min_iterations` runs, after "
           "`warmup` seconds. `streams`: contexts, each on a stream and a thread of its own. `graph`: replay CUDA "
           "graphs. `transfers`: copy inputs and outputs in every run. `spin`: wait by spinning. `profile`: its "
           "number. `shapes`, `shape_values`: name → what differs from the profile's optimum. Raises "
           "InvalidArgument for options that make no sense.")
      .def("__repr__", [](Engine const& engine) {
        return "<Engine '" + engine.name() + "': " + std::to_string(engine.inputs().size()) + " inputs, " +
               std::to_string(engine.outputs().size()) + " outputs, built by " + engine.plan().built_by.str() + ">";
      });
}

void bind_benchmark(py::module_& module) {
  py::class_<Benchmark>(module, "Benchmark",
                        "An engine that is timed in turns: what it needs is made once. The options are those of "
                        "Engine.benchmark().",
                        py::release_gil_before_calling_cpp_dtor())
      .def(py::init(&make_benchmark), py::arg("engine"), py::kw_only(), py::arg("warmup") = 0.2, py::arg("streams") = 1,
           py::arg("graph") = false, py::arg("transfers") = true, py::arg("spin") = false, py::arg("profile") = 0,
           py::arg("shapes") = py::dict(), py::arg("shape_values") = py::dict())
      .def(
          "run", [](Benchmark& self, double seconds) { unlocked([&] { self.run(seconds); }); }, py::arg("seconds"),
          "Runs as trtexec does, two runs in flight on each stream, for at least so many seconds.")
      .def(
          "run_queued", [](Benchmark& self, double seconds) { unlocked([&] { self.run_queued(seconds); }); },
          py::arg("seconds"), "Runs that are queued before the GPU begins with them, for at least so many seconds.")
      .def(
          "report", [](Benchmark const& self) { return to_python(self.report()); },
          "A BenchmarkReport of all turns so far.")
      .def("samples", &Benchmark::samples, py::arg("stage"),
           "Milliseconds of every run so far: enqueue, h2d, gpu, d2h, latency or gpu_queued.");
}

LoadOptions load_options(py::object const& weight_budget, std::string const& reader, bool check_version) {
  LoadOptions options;
  options.check_version = check_version;
  if (!weight_budget.is_none()) {
    bool const word = py::isinstance<py::str>(weight_budget);
    if (word && py::cast<std::string>(weight_budget) != "auto") {
      ErrorDetail detail;
      detail.message = "a weight budget is a number of bytes or 'auto', not " + std::string(py::repr(weight_budget));
      throw InvalidArgument(std::move(detail));
    }
    options.weight_budget = word ? -2 : py::cast<std::int64_t>(weight_budget);
  }
  if (reader == "mapped") {
    options.reader = LoadOptions::Reader::mapped;
  } else if (reader == "stream") {
    options.reader = LoadOptions::Reader::stream;
  } else if (reader != "auto") {
    ErrorDetail detail;
    detail.message = "'" + reader + "' is no way to read a plan";
    detail.hint = "one of: auto, mapped, stream";
    throw InvalidArgument(std::move(detail));
  }
  return options;
}

std::shared_ptr<Engine> load_engine_of(Runtime& runtime, py::object const& plan, py::object const& weight_budget,
                                       std::string const& reader, bool check_version) {
  LoadOptions const options = load_options(weight_budget, reader, check_version);
  std::shared_ptr<Engine> engine;
  if (PyObject_CheckBuffer(plan.ptr()) != 0) {
    Py_buffer view;
    if (PyObject_GetBuffer(plan.ptr(), &view, PyBUF_SIMPLE) != 0) throw py::error_already_set();
    struct Release {
      Py_buffer* view;
      ~Release() { PyBuffer_Release(view); }
    } const release{&view};
    py::gil_scoped_release unlocked;
    engine = runtime.load(
        Span<std::byte const>(static_cast<std::byte const*>(view.buf), static_cast<std::size_t>(view.len)), options);
  } else {
    auto const path = py::cast<std::filesystem::path>(plan).string();
    py::gil_scoped_release unlocked;
    engine = runtime.load(path, options);
  }
  pump_log();
  return engine;
}

/// `library` is an opened one, a path to one, or None for the first that works.
std::shared_ptr<Runtime> make_runtime(py::object const& library, py::object const& device, py::object const& plugins,
                                      bool allow_host_code, int max_threads) {
  auto opened =
      py::cast<std::shared_ptr<Library>>(py::module_::import("cuready.runtime._libraries").attr("resolve")(library));
  RuntimeOptions options;
  if (!device.is_none()) options.device = py::cast<int>(device.attr("__index__")());
  for (py::handle plugin : plugins) {
    options.plugins.push_back(py::cast<std::filesystem::path>(plugin).string());
  }
  options.allow_host_code = allow_host_code;
  options.max_threads = max_threads;
  std::shared_ptr<Runtime> runtime;
  {
    py::gil_scoped_release release;
    runtime = Runtime::create(std::move(opened), options);
  }
  pump_log();
  return runtime;
}

void bind_runtime(py::module_& module) {
  py::class_<Runtime, std::shared_ptr<Runtime>>(
      module, "Runtime",
      "A TensorRT runtime on one device. Share it between threads. `library`: an opened one, its path, "
      "or None for the first that works. `plugins`: libraries to load first. "
      "`allow_host_code`: let a plan run the code inside it, only for plans "
      "that you trust. `max_threads`: of TensorRT while it loads; 0: its own "
      "choice. Raises LibraryNotFound, UnsupportedLibrary, DriverNotFound.",
      py::release_gil_before_calling_cpp_dtor())
      .def(py::init(&make_runtime), py::arg("library") = py::none(), py::kw_only(), py::arg("device") = py::none(),
           py::arg("plugins") = py::tuple(), py::arg("allow_host_code") = false, py::arg("max_threads") = 0)
      .def_property_readonly("library", &Runtime::library, "The TensorRT library.")
      .def_property_readonly("device", &Runtime::device, "The GPU on which its engines live.")
      .def("load", &load_engine_of, py::arg("plan"), py::kw_only(), py::arg("weight_budget") = py::none(),
           py::arg("reader") = "auto", py::arg("check_version") = true,
           "Deserializes a plan from a path or any bytes-like object. `weight_budget`: bytes of streamable weights to "
           "keep on the GPU, 'auto', or None to leave it as built. `reader`: a file is 'mapped', or read as a "
           "'stream' (TensorRT 10.7 and later). `check_version`: refuse by the header, before TensorRT sees the plan. "
           "Raises PlanInvalid, EngineVersionError, EnginePlatformError, PluginNotFound, OutOfMemory and "
           "TensorRTError.")
      .def("__repr__", [](Runtime const& runtime) {
        return "<Runtime TensorRT " + runtime.library()->version().str() + " on device " +
               std::to_string(runtime.device().ordinal()) + ">";
      });
}

}  // namespace

void bind_engine(py::module_& module) {
  bind_tensor_info(module);
  bind_engine_class(module);
  bind_benchmark(module);
  bind_runtime(module);
}

}  // namespace cuready::python
