// Module, Kernel and the functions around them, for Python.
#include <array>
#include <cstring>

#include "buffers.hpp"

namespace cuready::python {
namespace {

struct PyModule {
  std::shared_ptr<Module> core;
};

struct PyKernel {
  std::shared_ptr<Kernel> core;
  std::string signature;
};

using Word = std::array<unsigned char, 8>;

template <class T>
Word word(T value) {
  Word bytes{};
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

[[noreturn]] void refuse(std::string message, std::string hint = {}) {
  throw InvalidArgument({"launch a kernel", std::move(message), std::move(hint)});
}

/// An address: an integer, or anything with `.ptr` (DeviceBuffer, PinnedBuffer, cupy).
std::uintptr_t address_of(py::handle value) {
  if (py::hasattr(value, "ptr")) return py::cast<std::uintptr_t>(value.attr("ptr"));
  return py::cast<std::uintptr_t>(value);
}

/// The letters are those of Python's struct module.
Word to_word(char letter, py::handle value) {
  switch (letter) {
    case 'P':
      return word(address_of(value));
    case 'I':
      return word(py::cast<std::uint32_t>(value));
    case 'i':
      return word(py::cast<std::int32_t>(value));
    case 'Q':
      return word(py::cast<std::uint64_t>(value));
    case 'q':
      return word(py::cast<std::int64_t>(value));
    case 'f':
      return word(py::cast<float>(value));
    case 'd':
      return word(py::cast<double>(value));
    default:
      refuse(std::string("the signature has a letter that is not known: ") + letter, "P, I, i, Q, q, f, d are known");
  }
}

Extent to_extent(py::handle given) {
  if (PyLong_Check(given.ptr())) return {py::cast<unsigned>(given), 1, 1};
  auto const sizes = py::cast<py::sequence>(given);
  if (sizes.size() < 1 || sizes.size() > 3) refuse("a grid or block of " + std::to_string(sizes.size()) + " sizes");
  std::array<unsigned, 3> extent{1, 1, 1};
  for (std::size_t i = 0; i < sizes.size(); ++i) extent[i] = py::cast<unsigned>(sizes[i]);
  return {extent[0], extent[1], extent[2]};
}

void launch(PyKernel const& kernel, py::object const& grid, py::object const& block, py::args const& arguments,
            py::object const& stream, unsigned shared_bytes) {
  if (arguments.size() != kernel.signature.size()) {
    refuse(kernel.core->name() + " takes " + std::to_string(kernel.signature.size()) + " arguments, not " +
           std::to_string(arguments.size()));
  }
  std::vector<Word> words;
  words.reserve(arguments.size());
  for (std::size_t i = 0; i < arguments.size(); ++i) words.push_back(to_word(kernel.signature[i], arguments[i]));
  std::vector<void*> pointers;
  pointers.reserve(words.size());
  for (Word& value : words) pointers.push_back(value.data());
  kernel.core->launch(to_extent(grid), to_extent(block), pointers, to_stream(stream.ptr(), StreamRef()), shared_bytes);
}

PyModule load_module(py::object const& image, py::object const& device) {
  std::string bytes = py::cast<std::string>(image);  // str or bytes
  Device const on = to_device(device);
  py::gil_scoped_release release;  // compiling PTX takes its time
  return {std::make_shared<Module>(on, bytes)};
}

double time_copies_between(py::object const& target, py::object const& source, std::size_t nbytes, int count,
                           py::object const& stream, py::object const& device) {
  auto* const to = reinterpret_cast<void*>(address_of(target));
  auto* const from = reinterpret_cast<void*>(address_of(source));
  StreamRef const on = to_stream(stream.ptr(), StreamRef());
  Device const owner = to_device(device);
  py::gil_scoped_release release;
  return static_cast<double>(time_copies(owner, to, from, nbytes, count, on));
}

void copy_peer(PyDeviceBuffer& target, PyDeviceBuffer const& source, py::object const& stream) {
  if (target.nbytes != source.nbytes) refuse("copy_peer between buffers of different sizes");
  copy_peer_async(target.memory->device(), target.memory->data(), source.memory->device(), source.memory->data(),
                  source.nbytes, to_stream(stream.ptr(), StreamRef()));
}

}  // namespace

void bind_kernels(py::module_& module) {
  py::class_<PyKernel>(module, "Kernel", "One entry of a Module, which it keeps alive.",
                       py::release_gil_before_calling_cpp_dtor())
      .def_property_readonly(
          "name", [](PyKernel const& kernel) { return kernel.core->name(); }, "Its name in the module.")
      .def("launch", &launch, py::arg("grid"), py::arg("block"), py::kw_only(), py::arg("stream"),
           py::arg("shared_bytes") = 0,
           "Submits a run with one argument for each letter of the signature, and returns; addresses may be buffers or "
           "integers. `grid` and `block`: up to three extents. `shared_bytes`: dynamic shared memory.");
  py::class_<PyModule>(module, "Module", "GPU code: PTX, which the driver compiles, or a cubin. Raises CudaError.",
                       py::release_gil_before_calling_cpp_dtor())
      .def(py::init(&load_module), py::arg("image"), py::kw_only(), py::arg("device") = py::none())
      .def(
          "kernel",
          [](PyModule const& self, std::string const& name, std::string signature) {
            return PyKernel{std::make_shared<Kernel>(self.core, name), std::move(signature)};
          },
          py::arg("name"), py::arg("signature"),
          "One entry; `signature` has a letter for each parameter: P address, and I i Q q f d as in struct.");
  module.def(
      "can_access_peer",
      [](py::object const& device, py::object const& peer) {
        return can_access_peer(to_device(device), to_device(peer));
      },
      py::arg("device"), py::arg("peer"), "Whether one GPU reaches the memory of another itself.");
  module.def(
      "enable_peer_access",
      [](py::object const& device, py::object const& peer) { enable_peer_access(to_device(device), to_device(peer)); },
      py::arg("device"), py::arg("peer"),
      "Lets `device` reach the memory of `peer` from now on. Raises CudaError where it cannot.");
  module.def(
      "fill",
      [](PyDeviceBuffer& buffer, unsigned char value, py::object const& stream) {
        ChosenStream const chosen = choose_stream(buffer.memory->device(), stream);
        buffer.memory->fill(value, chosen.ref);
        note_write(buffer, chosen);
      },
      py::arg("buffer"), py::arg("value"), py::kw_only(), py::arg("stream"),
      "Sets every byte of a buffer, asynchronously.");
  module.def("copy_peer", &copy_peer, py::arg("target"), py::arg("source"), py::kw_only(), py::arg("stream"),
             "Asynchronous copy from a buffer of one GPU to one of another.");
  module.def("time_copies", &time_copies_between, py::arg("target"), py::arg("source"), py::arg("nbytes"),
             py::arg("count") = 1, py::kw_only(), py::arg("stream"), py::arg("device") = py::none(),
             "Milliseconds of device time for `count` copies, one after the other; waits for them.");
}

}  // namespace cuready::python
