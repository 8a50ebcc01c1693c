// Bindings: what is bound to a context, as one Python object that keeps every array alive.
#pragma once

#include "common.hpp"

namespace cuready::python {

/// The tensors of one engine with what was bound to each. Objects are recycled, so that binding
/// other arrays at every call allocates nothing.
struct BindingState {
  std::shared_ptr<Engine> engine;
  std::vector<TensorView> views;  // by TensorInfo::index, where bound; data null: the context's own
  std::vector<unsigned char> bound;
  std::vector<PyObject*> owners;                      // strong references, or null
  std::vector<std::shared_ptr<DeviceBuffer>> staged;  // device copies of host arrays
  std::vector<std::vector<std::int64_t>> values;      // of host shape tensors
  bool holds_host = false;                            // something was put into `staged` or `values`

  void reset(std::shared_ptr<Engine> const& for_engine);
  void copy_from(BindingState const& other);
  void clear() noexcept;
};

struct BindingsObject {
  PyObject ob_base;
  BindingState* state;
};

/// Lets go of what a state holds and keeps its memory for the next one.
struct RecycleState {
  void operator()(BindingState* state) const noexcept;
};
using OwnedState = std::unique_ptr<BindingState, RecycleState>;

/// An empty state for `engine`.
OwnedState new_state(std::shared_ptr<Engine> const& engine);
/// A new reference to an object with that state.
BindingsObject* new_bindings(OwnedState state);
/// Null when `object` is no Bindings.
BindingsObject* as_bindings(PyObject* object);
void bind_bindings_type(py::module_& module);

}  // namespace cuready::python
