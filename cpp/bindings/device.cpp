// Device, Stream and Event, for Python.
#include "buffers.hpp"

namespace cuready::python {
namespace {

struct PyEvent {
  std::shared_ptr<Event> core;
};

py::dict describe(Device const& device) {
  DeviceReport const report = device.report();
  py::dict entry;
  entry["name"] = report.name;
  entry["compute_capability"] = std::to_string(report.compute_major) + "." + std::to_string(report.compute_minor);
  entry["total_memory"] = report.total_memory;
  entry["uuid"] = report.uuid;
  entry["pci_bus_id"] = report.pci_bus_id;
  entry["multiprocessors"] = report.multiprocessors;
  return entry;
}

PyStream make_stream(py::object const& device, int priority, bool nonblocking, py::object const& handle) {
  Device const on = to_device(device);
  if (handle.is_none()) return {std::make_shared<Stream>(on, priority, nonblocking)};
  StreamRef const external = to_stream(handle.ptr(), StreamRef());
  return {Stream::from_external(on, external.handle, python_owner(handle))};
}

void wait_for(PyStream& stream, py::object const& what) {
  if (py::isinstance<PyEvent>(what)) {
    stream.core->wait(*py::cast<PyEvent&>(what).core);
  } else {
    stream.core->wait(to_stream(what.ptr(), StreamRef()));
  }
}

void bind_streams(py::module_& module) {
  py::class_<PyStream>(module, "Stream",
                       "A CUDA stream; non-blocking unless said otherwise. `priority`: the lower the number, the "
                       "sooner. `handle` wraps a stream of somebody else: an integer, or an object with "
                       "__cuda_stream__.")
      .def(py::init(&make_stream), py::arg("device") = py::none(), py::kw_only(), py::arg("priority") = 0,
           py::arg("nonblocking") = true, py::arg("handle") = py::none())
      .def_property_readonly(
          "handle", [](PyStream const& stream) { return reinterpret_cast<std::uintptr_t>(stream.core->handle()); },
          "The CUstream as an integer.")
      .def_property_readonly(
          "device", [](PyStream const& stream) { return stream.core->device(); }, "Its GPU.")
      .def("__cuda_stream__",
           [](PyStream const& stream) {
             return py::make_tuple(0, reinterpret_cast<std::uintptr_t>(stream.core->handle()));
           })
      .def("wait", &wait_for, py::arg("what"), "Later work waits for an Event, or for what another stream holds now.")
      .def(
          "synchronize", [](PyStream& stream) { stream.core->synchronize(); }, py::call_guard<py::gil_scoped_release>(),
          "Blocks until all submitted work is done.")
      .def_property_readonly(
          "done", [](PyStream& stream) { return stream.core->done(); }, "Whether all submitted work is done.")
      .def(
          "record",
          [](PyStream const& stream, py::object const& event) {
            PyEvent made =
                event.is_none() ? PyEvent{std::make_shared<Event>(stream.core->device())} : py::cast<PyEvent>(event);
            made.core->record(stream.ref());
            return made;
          },
          py::arg("event") = py::none(), "Records an event (a new one by default) and returns it.")
      .def("__repr__", [](PyStream const& stream) {
        return "<Stream " + std::to_string(reinterpret_cast<std::uintptr_t>(stream.core->handle())) + " on device " +
               std::to_string(stream.core->device().ordinal()) + ">";
      });
}

void bind_events(py::module_& module) {
  py::class_<PyEvent>(
      module, "Event",
      "A CUDA event. `timing`: two of them can be subtracted. `blocking`: who waits sleeps and does not "
      "spin.")
      .def(py::init([](bool timing, bool blocking, py::object const& device) {
             return PyEvent{std::make_shared<Event>(to_device(device), timing, blocking)};
           }),
           py::kw_only(), py::arg("timing") = false, py::arg("blocking") = false, py::arg("device") = py::none())
      .def(
          "record",
          [](PyEvent& event, py::object const& stream) { event.core->record(to_stream(stream.ptr(), StreamRef())); },
          py::arg("stream"), "It is done when what the stream holds now is done.")
      .def(
          "synchronize", [](PyEvent& event) { event.core->synchronize(); }, py::call_guard<py::gil_scoped_release>(),
          "Blocks until it is done.")
      .def_property_readonly(
          "done", [](PyEvent& event) { return event.core->done(); }, "Whether it is done.")
      .def(
          "milliseconds_since",
          [](PyEvent const& event, PyEvent const& start) { return event.core->milliseconds_since(*start.core); },
          py::arg("start"), "Device time since `start`; both events need timing=True and must be done.")
      .def_property_readonly(
          "handle", [](PyEvent const& event) { return reinterpret_cast<std::uintptr_t>(event.core->handle()); },
          "The CUevent as an integer.");
}

}  // namespace

Device to_device(py::handle device) {
  if (device.is_none()) return Device(0);
  if (py::isinstance<Device>(device)) return py::cast<Device>(device);
  return Device(py::cast<int>(device));
}

void bind_device(py::module_& module) {
  py::class_<Device>(module, "Device",
                     "A GPU with its primary CUDA context retained. Raises DriverNotFound, or "
                     "InvalidArgument when there is no such one.")
      .def(py::init<int>(), py::arg("ordinal") = 0)
      .def_property_readonly("ordinal", &Device::ordinal, "Its number, as CUDA counts in this process.")
      .def_property_readonly(
          "memory",
          [](Device const& device) {
            MemoryInfo const memory = device.memory();
            return py::make_tuple(memory.free, memory.total);
          },
          "(free, total) in bytes.")
      .def("describe", &describe,
           "Its name, compute_capability, total_memory (bytes), uuid, pci_bus_id and multiprocessors.")
      .def("__index__", &Device::ordinal)
      .def("__eq__", [](Device const& a, Device const& b) { return a == b; })
      .def("__hash__", &Device::ordinal)
      .def("__repr__", [](Device const& device) { return "<Device " + std::to_string(device.ordinal()) + ">"; });
  bind_events(module);  // first: a signature names the types that are known
  bind_streams(module);
}

}  // namespace cuready::python
