// How C++ threads tell an event loop which requests are done, without the GIL.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "common.hpp"

namespace cuready::python {

/// Numbers behind a file descriptor that an event loop watches: readable when there are some. Threads that push touch no
/// Python object, and many numbers cost the loop one wake-up.
class Completions {
 public:
  Completions();
  ~Completions();
  Completions(Completions const&) = delete;
  Completions& operator=(Completions const&) = delete;

  int fileno() const noexcept { return descriptor_; }
  void push(std::uint64_t number) noexcept;
  /// What was pushed since the last call, oldest first.
  std::vector<std::uint64_t> drain();

 private:
  int descriptor_;
  std::mutex mutex_;
  std::vector<std::uint64_t> numbers_;
  bool signalled_ = false;  // the descriptor is readable, or about to be
};

void bind_completions(py::module_& module);

}  // namespace cuready::python
