// Bindings: what is bound to a context, as one Python object that keeps every array alive.
#pragma once

#include "common.hpp"

namespace cuready::python {

/// The tensors of one engine with what was bound to each. Objects are recycled, so that binding
/// other arrays at every call allocates nothing.
struct BindingState {
  std::shared_ptr<Engine> engine;
  std::vector<TensorView> views;  // by TensorInfo::index; data null: not bound, or the context's own
  std::vector<unsigned char> bound;
  std::vector<PyObject*> owners;                      // strong references, or null
  std::vector<std::shared_ptr<DeviceBuffer>> staged;  // device copies of host arrays
  std::vector<std::vector<std::int64_t>> values;      // of host shape tensors

  void reset(std::shared_ptr<Engine> const& for_engine);
  void copy_from(BindingState const& other);
  void clear() noexcept;
};

struct BindingsObject {
  PyObject ob_base;
  BindingState* state;
};

/// A new reference, with an empty state for `engine`.
BindingsObject* new_bindings(std::shared_ptr<Engine> const& engine);
/// Null when `object` is no Bindings.
BindingsObject* as_bindings(PyObject* object);
void bind_bindings_type(py::module_& module);

}  // namespace cuready::python
