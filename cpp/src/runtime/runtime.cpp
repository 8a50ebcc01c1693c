// From a library and a device to an engine.
#include "cuready/engine.hpp"

#include <functional>

#include "runtime/engine_impl.hpp"
#include "runtime/reader.hpp"
#include "tensorrt/file_map.hpp"

namespace cuready {
namespace {

// Without a driver TensorRT can not make a runtime either, but it says why in words of its own: the error carries both.
[[noreturn]] void throw_with_words_of_tensorrt(const DriverNotFound& error, const Library& library) {
  ErrorDetail detail = error.detail();
  try {
    // Not of 8.x: there createInferRuntime_INTERNAL reads through the null pointer that it could not make (8.6.0, no
    // driver: SIGSEGV inside the library), where later releases return it.
    if (library.version().major > 8) static_cast<void>(library.adapter().create_runtime());
  } catch (const Error& refusal) {
    detail.messages = refusal.messages();
    if (detail.cuda.code == 0) detail.cuda = refusal.cuda();
  }
  detail.operation = "create a TensorRT runtime";
  throw DriverNotFound(std::move(detail), error.step());
}

Device open_device(int ordinal, const Library& library) {
  try {
    return Device(ordinal);
  } catch (const DriverNotFound& error) {
    throw_with_words_of_tensorrt(error, library);
  }
}

}  // namespace

Runtime::Runtime(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Runtime::~Runtime() {
  if (in_forked_process()) {  // TensorRT would use CUDA
    static_cast<void>(impl_.release());
    return;
  }
  const cuda::CurrentGuard guard(*impl_->device.primary());
  impl_->port.reset();
}
const std::shared_ptr<Library>& Runtime::library() const noexcept { return impl_->library; }
const Device& Runtime::device() const noexcept { return impl_->device; }

std::shared_ptr<Runtime> Runtime::create(std::shared_ptr<Library> library, const RuntimeOptions& options) {
  if (!library) throw InvalidArgument({"create a TensorRT runtime", "no library", "Library::open() finds one"});
  const Device device = open_device(options.device, *library);
  const cuda::ThrowingGuard guard(*device.primary());
  for (const std::string& plugin : options.plugins) library->load_plugins(plugin);
  std::unique_ptr<Impl> impl(new Impl{library, device, {}, library->adapter().create_runtime()});
  if (options.allow_host_code) impl->port->allow_host_code(true);
  if (options.max_threads > 0) {
    const tensorrt::Call call("IRuntime::setMaxThreads", impl->subject());
    call.require(impl->port->set_max_threads(options.max_threads));
  }
  return std::shared_ptr<Runtime>(new Runtime(std::move(impl)));
}

namespace {

using Deserialize = std::function<std::unique_ptr<tensorrt::EnginePort>()>;

// A plan with TensorRT's own plugins needs their library to be loaded first. It is loaded when a plan asks for it only:
// it is large, and most plans do not.
std::unique_ptr<tensorrt::EnginePort> deserialize_with_plugins(Library& library, const Deserialize& deserialize) {
  try {
    return deserialize();
  } catch (const PluginNotFound& missing) {
    const std::string sibling = library.sibling_plugin_library();
    if (sibling.empty()) throw;
    const std::size_t before = library.plugin_libraries().size();
    library.load_plugins(sibling);
    if (library.plugin_libraries().size() == before) throw;  // it was loaded already and has no such plugin
  }
  return deserialize();
}

std::shared_ptr<Engine> with_budget(std::shared_ptr<Engine> engine, const LoadOptions& options) {
  if (options.weight_budget == -2) {
    engine->set_weight_budget(engine->automatic_weight_budget());
  } else if (options.weight_budget >= 0) {
    engine->set_weight_budget(options.weight_budget);
  } else if (options.weight_budget != -1) {
    throw InvalidArgument({"load a plan", "a weight budget of " + std::to_string(options.weight_budget),
                           "bytes, -1 (as built) or -2 (automatic)"});
  }
  return engine;
}

}  // namespace

std::shared_ptr<Engine> Runtime::load(Span<const std::byte> plan, const LoadOptions& options) {
  PlanInfo info = probe_plan(plan);
  if (options.check_version) impl_->library->check_plan(info);
  const cuda::ThrowingGuard guard(*impl_->device.primary());
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  auto made = std::make_unique<Engine::Impl>();
  made->runtime = shared_from_this();
  made->plan = info;
  made->port = deserialize_with_plugins(
      *impl_->library, [&] { return impl_->port->deserialize(plan.data(), plan.size(), info.built_by); });
  made->read_tensors();
  return with_budget(std::shared_ptr<Engine>(new Engine(std::move(made))), options);
}

std::shared_ptr<Engine> Runtime::load(const std::string& path, const LoadOptions& options) {
  const tensorrt::FileMap file(path);
  if (options.reader != LoadOptions::Reader::stream) {
    file.will_read_all();
    return load(file.bytes(), options);
  }
  if (!impl_->port->can_read_streams()) {
    throw UnsupportedFeature({"load a plan",
                              "TensorRT " + impl_->library->version().str() + " can not read a plan in pieces",
                              "this came with 10.7: use the memory-mapped reader"});
  }
  PlanInfo info = probe_plan(file.bytes());
  if (options.check_version) impl_->library->check_plan(info);
  const cuda::ThrowingGuard guard(*impl_->device.primary());
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  auto made = std::make_unique<Engine::Impl>();
  made->runtime = shared_from_this();
  made->plan = info;
  made->port = deserialize_with_plugins(*impl_->library, [&] {
    FileReader reader(impl_->device, path);
    return impl_->port->deserialize(reader, info.built_by);
  });
  made->read_tensors();
  return with_budget(std::shared_ptr<Engine>(new Engine(std::move(made))), options);
}

std::shared_ptr<Engine> load_engine(const std::shared_ptr<Library>& library, const std::string& path,
                                    const RuntimeOptions& runtime, const LoadOptions& options) {
  if (!library) throw InvalidArgument({"load a plan", "no library", "Library::open() finds one"});
  if (options.check_version) library->check_plan(probe_plan(path));  // before a GPU is touched
  return Runtime::create(library, runtime)->load(path, options);
}

}  // namespace cuready
