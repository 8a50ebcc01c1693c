// See bindings_object.hpp.
#include "bindings_object.hpp"

namespace cuready::python {
namespace {

PyTypeObject* bindings_type = nullptr;

constexpr std::size_t kMaxSpares = 64;

/// States of destroyed objects with their vectors' memory, ready for reuse. Guarded by the GIL.
std::vector<BindingState*>& spare_states() {
  static auto* spares = [] {
    auto* made = new std::vector<BindingState*>();
    made->reserve(kMaxSpares);
    return made;
  }();
  return *spares;
}

void dealloc(PyObject* self) {
  auto* object = reinterpret_cast<BindingsObject*>(self);
  PyTypeObject* type = Py_TYPE(self);
  if (object->state != nullptr) RecycleState()(object->state);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* names(PyObject* self, void*) {
  auto* object = reinterpret_cast<BindingsObject*>(self);
  try {
    py::list list;
    for (TensorInfo const& tensor : object->state->engine->tensors()) {
      if (object->state->bound[static_cast<std::size_t>(tensor.index)] != 0) {
        list.append(interned_name(tensor.name));
      }
    }
    return list.release().ptr();
  } catch (...) {
    return raise_current();
  }
}

PyGetSetDef properties[] = {
    {"names", names, nullptr, "Names of the tensors that are bound.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace

void BindingState::reset(std::shared_ptr<Engine> const& for_engine) {
  std::size_t const count = for_engine->tensors().size();
  engine = for_engine;
  views.resize(count);
  bound.assign(count, 0);
  owners.assign(count, nullptr);
  staged.resize(count);
  values.resize(count);
}

void BindingState::copy_from(BindingState const& other) {
  views = other.views;
  bound = other.bound;
  for (std::size_t i = 0; i < owners.size(); ++i) {
    Py_XINCREF(other.owners[i]);
    owners[i] = other.owners[i];
  }
  if (!other.holds_host) return;
  holds_host = true;
  for (std::size_t i = 0; i < owners.size(); ++i) {
    staged[i] = other.staged[i];
    if (!other.values[i].empty()) {
      values[i] = other.values[i];
      views[i].data = values[i].data();
    }
  }
}

void BindingState::clear() noexcept {
  for (PyObject*& owner : owners) Py_CLEAR(owner);
  if (holds_host) {
    for (auto& buffer : staged) {
      if (buffer) release_without_gil(buffer);
    }
    for (auto& list : values) list.clear();
    holds_host = false;
  }
  engine.reset();
}

void RecycleState::operator()(BindingState* state) const noexcept {
  state->clear();
  auto& spares = spare_states();
  if (spares.size() < kMaxSpares) {
    spares.push_back(state);
  } else {
    delete state;
  }
}

OwnedState new_state(std::shared_ptr<Engine> const& engine) {
  auto& spares = spare_states();
  OwnedState state(spares.empty() ? new BindingState() : spares.back());
  if (!spares.empty()) spares.pop_back();
  state->reset(engine);
  return state;
}

BindingsObject* new_bindings(OwnedState state) {
  auto* object = reinterpret_cast<BindingsObject*>(bindings_type->tp_alloc(bindings_type, 0));
  if (object == nullptr) throw py::error_already_set();
  object->state = state.release();
  return object;
}

BindingsObject* as_bindings(PyObject* object) {
  return Py_TYPE(object) == bindings_type ? reinterpret_cast<BindingsObject*>(object) : nullptr;
}

void bind_bindings_type(py::module_& module) {
  static PyType_Slot slots[] = {
      {Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
      {Py_tp_getset, properties},
      {Py_tp_doc, const_cast<char*>("Arrays bound to a context, kept alive; made by bind().")},
      {0, nullptr},
  };
  static PyType_Spec spec = {"cuready._core.Bindings", sizeof(BindingsObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  bindings_type = reinterpret_cast<PyTypeObject*>(type);
  module.add_object("Bindings", type);
}

}  // namespace cuready::python
