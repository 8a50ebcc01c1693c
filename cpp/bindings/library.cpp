// Driver report, library discovery, plan headers and the log, for Python.
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>
#include <filesystem>
#include <optional>

#include "common.hpp"

namespace cuready::python {
namespace {

py::dict device_report(DeviceReport const& device) {
  py::dict entry;
  entry["ordinal"] = device.ordinal;
  entry["name"] = device.name;
  entry["compute_capability"] = std::to_string(device.compute_major) + "." + std::to_string(device.compute_minor);
  entry["total_memory"] = device.total_memory;
  entry["uuid"] = device.uuid;
  entry["pci_bus_id"] = device.pci_bus_id;
  entry["multiprocessors"] = device.multiprocessors;
  entry["integrated"] = device.integrated;
  entry["memory_pools"] = device.memory_pools;
  return entry;
}

py::dict report_driver(std::string const& path) {
  DriverReport report;
  {
    py::gil_scoped_release release;
    report = driver_report(path);
  }
  py::dict answer;
  answer["library"] = report.library;
  answer["found_by"] = report.found_by;
  answer["cuda_version"] = std::to_string(report.version.major) + "." + std::to_string(report.version.minor);
  answer["uses_get_proc_address"] = report.uses_get_proc_address;
  py::list devices;
  for (DeviceReport const& device : report.devices) devices.append(device_report(device));
  answer["devices"] = devices;
  return answer;
}

LibraryKind to_kind(std::string const& text) {
  for (LibraryKind kind : {LibraryKind::full, LibraryKind::lean, LibraryKind::dispatch}) {
    if (text == name(kind)) return kind;
  }
  ErrorDetail detail;
  detail.message = "'" + text + "' is no kind of TensorRT library";
  detail.hint = "one of: full, lean, dispatch";
  throw InvalidArgument(std::move(detail));
}

using Path = std::filesystem::path;  // takes names of any bytes, as Python's own file functions do

SearchOptions search_options(Path const& path, std::vector<Path> const& search_dirs,
                             std::optional<std::string> const& kind, int major, bool environment, bool system) {
  SearchOptions options;
  options.path = path.string();
  for (Path const& folder : search_dirs) options.search_dirs.push_back(folder.string());
  options.environment = environment;
  options.system = system;
  options.major = major;
  if (kind) options.kinds = {to_kind(*kind)};
  return options;
}

char const* kind_name(PlanInfo const& plan) { return plan.kind == PlanInfo::Kind::tensorrt ? "tensorrt" : "unknown"; }

PlanInfo probe_bytes(py::buffer const& plan) {
  Py_buffer view;
  if (PyObject_GetBuffer(plan.ptr(), &view, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  struct Release {
    Py_buffer* view;
    ~Release() { PyBuffer_Release(view); }
  } const release{&view};
  return probe_plan(Span<std::byte const>(static_cast<std::byte const*>(view.buf), static_cast<std::size_t>(view.len)));
}

void bind_plan(py::module_& module) {
  py::class_<PlanInfo>(module, "PlanInfo", "What the first bytes of a TensorRT plan say.")
      .def_property_readonly("kind", kind_name, "'tensorrt', or 'unknown'.")
      .def_property_readonly(
          "tag",
          [](PlanInfo const& plan) {  // four bytes of any file
            return py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
                plan.tag.data(), static_cast<Py_ssize_t>(plan.tag.size()), "backslashreplace"));
          },
          "The first four bytes: 'ftrt' for the family whose header is known.")
      .def_property_readonly(
          "built_by",
          [](PlanInfo const& plan) -> py::object {
            if (plan.kind != PlanInfo::Kind::tensorrt) return py::none();
            return to_python(plan.built_by);
          },
          "The Version of TensorRT that built it; None when the kind is unknown.")
      .def_readonly("size", &PlanInfo::size, "Bytes of the file or buffer.")
      .def_readonly("declared_size", &PlanInfo::declared_size, "Bytes that the header says the plan has.")
      .def_readonly("truncated", &PlanInfo::truncated, "Whether it is shorter than its header says.")
      .def_property_readonly(
          "compute_capability",
          [](PlanInfo const& plan) -> py::object {
            if (plan.compute_major < 0) return py::none();
            return py::str(std::to_string(plan.compute_major) + "." + std::to_string(plan.compute_minor));
          },
          "Of the GPU that built it, such as '8.6'; None when it is not known.")
      .def_property_readonly(
          "hardware_compatibility",
          [](PlanInfo const& plan) -> py::object {
            switch (plan.hardware_compatibility) {
              case 0:
                return py::str("none");
              case 1:
                return py::str("ampere+");
              case 2:
                return py::str("same compute capability");
              default:
                return py::none();
            }
          },
          "Other GPUs that it was built for: 'none', 'ampere+', 'same compute capability'; None when it is not known.")
      .def_readonly("has_host_code", &PlanInfo::has_host_code,
                    "Whether the lean runtime of the version that built it is inside.")
      .def_readonly("reason", &PlanInfo::reason, "Why the kind is unknown, or empty.")
      .def("__repr__", [](PlanInfo const& plan) {
        return "<PlanInfo " + std::string(kind_name(plan)) + " built by " + plan.built_by.str() + ", " +
               std::to_string(plan.size) + " bytes>";
      });
  module.def(
      "probe_path",
      [](Path const& path) {
        py::gil_scoped_release release;
        return probe_plan(path.string());
      },
      py::arg("path"), "The header of a plan file.");
  module.def("probe_bytes", &probe_bytes, py::arg("plan"), "The header of plan bytes.");
}

void bind_libraries(py::module_& module) {
  py::class_<LibraryInfo>(module, "LibraryInfo", "A TensorRT library on disk; nothing is loaded.")
      .def_property_readonly("path", [](LibraryInfo const& info) { return to_text(info.path); }, "Its file.")
      .def_property_readonly(
          "kind", [](LibraryInfo const& info) { return name(info.kind); },
          "'full', 'lean', 'dispatch', 'rtx' (another product) or 'unknown', by the file's name.")
      .def_readonly("major", &LibraryInfo::major, "From the file's name; 0 when it has none.")
      .def_property_readonly(
          "found_by", [](LibraryInfo const& info) { return to_text(info.found_by); },
          "What led to it, such as 'CUREADY_TENSORRT' or 'ld.so cache'.")
      .def_property_readonly(
          "problem", [](LibraryInfo const& info) { return to_text(info.problem); },
          "Why it cannot be opened, or empty.")
      .def("__repr__", [](LibraryInfo const& info) {
        return to_text("<LibraryInfo " + std::string(name(info.kind)) + " " + info.path + " (" + info.found_by + ")" +
                       (info.problem.empty() ? "" : ": " + info.problem) + ">");
      });
  module.def(
      "find_libraries",
      [](Path const& path, std::vector<Path> const& search_dirs, std::optional<std::string> kind, int major,
         bool environment, bool system) {
        SearchOptions const options =
            search_options(path, search_dirs, kind, major, environment, system);
        py::gil_scoped_release release;
        return find_libraries(options);
      },
      py::arg("path") = "", py::arg("search_dirs") = py::tuple(), py::arg("kind") = py::none(),
      py::arg("major") = 0, py::arg("environment") = true, py::arg("system") = true,
      "Every candidate in the order in which load() would try them.");
  module.def(
      "open_library",
      [](Path const& path, std::vector<Path> const& search_dirs, std::optional<std::string> kind, int major,
         bool environment, bool system) {
        SearchOptions const options =
            search_options(path, search_dirs, kind, major, environment, system);
        std::shared_ptr<Library> library;
        {
          py::gil_scoped_release release;
          library = Library::open(options);
        }
        pump_log();
        return library;
      },
      py::arg("path") = "", py::arg("search_dirs") = py::tuple(), py::arg("kind") = py::none(),
      py::arg("major") = 0, py::arg("environment") = true, py::arg("system") = true,
      "Opens the first candidate that works.");
  py::class_<Library, std::shared_ptr<Library>>(
      module, "Library", "An opened TensorRT library. Share it between threads; it is never closed.")
      .def_property_readonly("path", [](Library const& library) { return to_text(library.path()); }, "Its file.")
      .def_property_readonly(
          "found_by", [](Library const& library) { return to_text(library.found_by()); },
          "What led to it, such as 'argument' or 'ld.so cache'.")
      .def_property_readonly(
          "kind", [](Library const& library) { return name(library.kind()); }, "'full', 'lean' or 'dispatch'.")
      .def_property_readonly(
          "version", [](Library const& library) { return to_python(library.version()); }, "The Version that it says.")
      .def("check_plan", &Library::check_plan, py::arg("plan"),
           "Raises EngineVersionError or PlanInvalid when this plan cannot run here; needs no GPU.")
      .def(
          "load_plugins",
          [](Library& library, Path const& path) {
            {
              py::gil_scoped_release release;
              library.load_plugins(path.string());
            }
            pump_log();
          },
          py::arg("path"), "Opens a plugin library and initialises it; a second time does nothing.")
      .def_property_readonly("sibling_plugin_library", &Library::sibling_plugin_library,
                             "libnvinfer_plugin of the same version beside it, or empty.")
      .def_property_readonly("plugin_libraries", &Library::plugin_libraries,
                             "What load_plugins() has loaded, in order.")
      .def("__repr__", [](Library const& library) {
        return to_text("<Library TensorRT " + library.version().str() + " " + name(library.kind()) + " " +
                       library.path() + ">");
      });
}

Severity to_severity(int python_level) {
  if (python_level <= 10) return Severity::verbose;
  if (python_level <= 20) return Severity::info;
  return python_level <= 30 ? Severity::warning : Severity::error;
}

}  // namespace

void bind_library(py::module_& module) {
  module.def("driver_report", &report_driver, py::arg("library") = "",
             "Driver version and devices as a dict; raises DriverNotFound whose details['step'] says how far "
             "it came. `library`: a file instead of $CUREADY_LIBCUDA or libcuda.so.1. Creates no CUDA context.");
  module.def("device_count", &device_count, py::call_guard<py::gil_scoped_release>(),
             "Number of GPUs that the driver shows to this process. Raises DriverNotFound.");
  module.def("context_is_current", &context_is_current,
             "True when a CUDA context is current on this thread; makes none.");
  bind_plan(module);
  bind_libraries(module);
  module.def("pump_log", &pump_log, "Forwards TensorRT's log to the logger cuready.tensorrt.");
  module.def("dropped_log_records", &dropped_log_records,
             "Lines of TensorRT's log that were lost since the start, because nobody took them in time.");
  module.def(
      "set_log_threshold", [](int level) { set_log_threshold(to_severity(level)); }, py::arg("level"),
      "Keeps log records at least as severe as this level of Python's logging.");
}

}  // namespace cuready::python
