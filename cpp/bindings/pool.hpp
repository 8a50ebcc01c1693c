// The Python face of a context pool, and the threads' side of its futures.
#pragma once

#include <cuready/pool.hpp>

#include "context.hpp"

namespace cuready::python {

struct PyPool {
  std::shared_ptr<Engine> engine;
  std::shared_ptr<ContextPool> core;
  std::shared_ptr<Stream> order;  // gathers what the producers of one request hold
  py::object leases;              // contexts that acquire() lends
  py::dict index_by_name;         // of every tensor

  ~PyPool();
};

/// Python objects that C++ threads are done with. They are released by whoever holds the GIL next,
/// so that no such thread ever waits for it.
void bury(std::vector<std::unique_ptr<ArrayView>>* arrays) noexcept;
/// Releases them now. GIL held.
void release_buried() noexcept;

/// Calls `callback(argument)` on a thread of its own, which alone takes the GIL. Both references
/// are taken over.
void notify_later(PyObject* callback, PyObject* argument) noexcept;
void bind_notifier(py::module_& module);

}  // namespace cuready::python
