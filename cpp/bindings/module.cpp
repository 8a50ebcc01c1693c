// cuready._core: the native core, for Python. Imports without a GPU, a driver or TensorRT.
#include "common.hpp"

namespace py = pybind11;

// Not marked as free-threaded: the importers' table and the contexts' state rely on the GIL.
PYBIND11_MODULE(_core, module) {
  using namespace cuready::python;
  module.doc() = "The native core of cuready: CUDA's driver and TensorRT, loaded at run time.";
  py::register_local_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (cuready::Error const&) {
      raise_current();
    } catch (ImportFailure const&) {
      raise_current();
    } catch (py::cast_error const&) {
      raise_current();
    }
  });
  bind_library(module);
  bind_device(module);
  bind_buffers(module);
  bind_context(module);
  bind_pool(module);  // before what makes pools: a signature names the types that are known
  bind_engine(module);
  bind_kernels(module);
}
