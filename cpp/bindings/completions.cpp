// See completions.hpp.
#include "completions.hpp"

#include <pybind11/stl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace cuready::python {

Completions::Completions() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

Completions::~Completions() { ::close(descriptor_); }

void Completions::push(std::uint64_t number) noexcept {
  bool first = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    numbers_.push_back(number);
    first = !signalled_;
    signalled_ = true;
  }
  std::uint64_t const one = 1;
  if (first) static_cast<void>(!::write(descriptor_, &one, sizeof one));  // cannot fail: the counter is 0 or 1
}

std::vector<std::uint64_t> Completions::drain() {
  std::uint64_t count = 0;
  static_cast<void>(!::read(descriptor_, &count, sizeof count));  // not readable: somebody else drained it
  std::vector<std::uint64_t> taken;
  std::lock_guard<std::mutex> lock(mutex_);
  taken.swap(numbers_);
  signalled_ = false;
  return taken;
}

void bind_completions(py::module_& module) {
  py::class_<Completions, std::shared_ptr<Completions>>(
      module, "_Completions", "Numbers of requests that are done, behind a descriptor that an event loop watches.")
      .def(py::init<>())
      .def("fileno", &Completions::fileno)
      .def("drain", &Completions::drain);
}

}  // namespace cuready::python
