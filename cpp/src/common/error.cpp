// The error tree's constructors, and how an error becomes one line of text.
#include "cuready/error.hpp"

namespace cuready {
namespace {

// "operation: message [CUDA_ERROR_X (2): out of memory, from cuMemAlloc_v2] | TensorRT: … | hint"
std::string describe(const ErrorDetail& d) {
  std::string text = d.operation.empty() ? d.message : d.operation + ": " + d.message;
  if (d.cuda.code != 0) {
    text += " [" + d.cuda.name + " (" + std::to_string(d.cuda.code) + ")";
    if (!d.cuda.description.empty()) text += ": " + d.cuda.description;
    if (!d.cuda.call.empty() && d.cuda.call != d.operation) text += ", from " + d.cuda.call;
    text += "]";
  }
  for (const LogRecord& record : d.messages) {
    if (record.severity <= Severity::error) text += " | TensorRT: " + record.text;
  }
  if (!d.hint.empty()) text += " | " + d.hint;
  return text;
}

}  // namespace

const char* name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::ok:
      return "ok";
    case ErrorCode::internal:
      return "internal";
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::library_not_found:
      return "library_not_found";
    case ErrorCode::unsupported_library:
      return "unsupported_library";
    case ErrorCode::plan_invalid:
      return "plan_invalid";
    case ErrorCode::engine_version:
      return "engine_version";
    case ErrorCode::engine_platform:
      return "engine_platform";
    case ErrorCode::plugin_not_found:
      return "plugin_not_found";
    case ErrorCode::shape:
      return "shape";
    case ErrorCode::dtype:
      return "dtype";
    case ErrorCode::binding:
      return "binding";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::context_busy:
      return "context_busy";
    case ErrorCode::cuda:
      return "cuda";
    case ErrorCode::capture:
      return "capture";
    case ErrorCode::device_mismatch:
      return "device_mismatch";
    case ErrorCode::cuda_context:
      return "cuda_context";
    case ErrorCode::driver_not_found:
      return "driver_not_found";
    case ErrorCode::not_refitted:
      return "not_refitted";
    case ErrorCode::unsupported_feature:
      return "unsupported_feature";
    case ErrorCode::tensorrt:
      return "tensorrt";
    case ErrorCode::cancelled:
      return "cancelled";
  }
  return "unknown";
}

Error::Error(ErrorCode code, ErrorDetail detail)
    : std::runtime_error(describe(detail)),
      code_(code),
      detail_(std::make_shared<const ErrorDetail>(std::move(detail))) {}

LibraryNotFound::LibraryNotFound(ErrorDetail detail, std::vector<std::string> searched)
    : Error(ErrorCode::library_not_found, std::move(detail)),
      searched_(std::make_shared<const std::vector<std::string>>(std::move(searched))) {}

DriverNotFound::DriverNotFound(ErrorDetail detail, std::string step)
    : Error(ErrorCode::driver_not_found, std::move(detail)),
      step_(std::make_shared<const std::string>(std::move(step))) {}

EngineVersionError::EngineVersionError(ErrorDetail detail, Version plan, Version runtime)
    : Error(ErrorCode::engine_version, std::move(detail)), plan_(plan), runtime_(runtime) {}

PluginNotFound::PluginNotFound(ErrorDetail detail, std::string plugin, std::string version,
                               std::string plugin_namespace)
    : Error(ErrorCode::plugin_not_found, std::move(detail)),
      names_(std::make_shared<const std::vector<std::string>>(
          std::vector<std::string>{std::move(plugin), std::move(version), std::move(plugin_namespace)})) {}

ShapeError::ShapeError(ErrorDetail detail)
    : Error(ErrorCode::shape, std::move(detail)), data_(std::make_shared<const Data>()) {}

ShapeError::ShapeError(ErrorDetail detail, std::string tensor, Dims got, std::vector<ProfileBounds> allowed)
    : Error(ErrorCode::shape, std::move(detail)),
      data_(std::make_shared<const Data>(Data{std::move(tensor), got, std::move(allowed)})) {}

OutOfMemory::OutOfMemory(ErrorDetail detail, std::size_t requested, std::size_t free, std::size_t total)
    : Error(ErrorCode::out_of_memory, std::move(detail)), requested_(requested), free_(free), total_(total) {}

// Out of line, so that each type has one vtable and one type_info, whichever library throws it.
Error::~Error() = default;
LibraryNotFound::~LibraryNotFound() = default;
DriverNotFound::~DriverNotFound() = default;
EngineVersionError::~EngineVersionError() = default;
PluginNotFound::~PluginNotFound() = default;
ShapeError::~ShapeError() = default;
OutOfMemory::~OutOfMemory() = default;
InvalidArgument::~InvalidArgument() = default;
UnsupportedLibrary::~UnsupportedLibrary() = default;
PlanInvalid::~PlanInvalid() = default;
EnginePlatformError::~EnginePlatformError() = default;
DtypeError::~DtypeError() = default;
BindingError::~BindingError() = default;
ContextBusy::~ContextBusy() = default;
CudaError::~CudaError() = default;
CaptureError::~CaptureError() = default;
DeviceMismatch::~DeviceMismatch() = default;
CudaContextError::~CudaContextError() = default;
NotRefitted::~NotRefitted() = default;
UnsupportedFeature::~UnsupportedFeature() = default;
TensorRTError::~TensorRTError() = default;
Cancelled::~Cancelled() = default;

Status Status::current() noexcept {
  Status status;
  status.exception_ = std::current_exception();
  try {
    throw;
  } catch (const Error& error) {
    status.error_ = &error;  // lives inside exception_: a rethrown exception is the same object (Itanium C++ ABI)
  } catch (const std::exception& other) {
    try {
      throw Error(ErrorCode::internal, {"cuready", other.what()});
    } catch (const Error& error) {
      status.exception_ = std::current_exception();
      status.error_ = &error;
    } catch (...) {
      std::terminate();  // no memory for an error message
    }
  } catch (...) {
    std::terminate();
  }
  return status;
}

ErrorCode Status::code() const noexcept { return error_ != nullptr ? error_->code() : ErrorCode::ok; }

void Status::raise() const {
  if (exception_) std::rethrow_exception(exception_);
}

}  // namespace cuready
