// What goes wrong, as types. Every error says which operation failed, in whose words, and what to do about it.
#pragma once

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuready/types.hpp"

namespace cuready {

/// TensorRT's severities, with its numbers.
enum class Severity : std::int32_t { internal_error = 0, error = 1, warning = 2, info = 3, verbose = 4 };

/// One line of TensorRT's log, or one entry of its error recorder.
struct LogRecord {
  Severity severity = Severity::info;
  int code = -1;  ///< TensorRT's ErrorCode when it came through the error recorder, else -1
  std::string text;
  std::int64_t time_ns = 0;  ///< std::chrono::system_clock, when it was said
};

/// Which kind of error it is, for code that can not use exceptions (Status) and for other languages.
enum class ErrorCode : std::int32_t {
  ok = 0,
  internal,
  invalid_argument,
  library_not_found,
  unsupported_library,
  plan_invalid,
  engine_version,
  engine_platform,
  plugin_not_found,
  shape,
  dtype,
  binding,
  out_of_memory,
  context_busy,
  cuda,
  capture,
  device_mismatch,
  cuda_context,
  driver_not_found,
  not_refitted,
  unsupported_feature,
  tensorrt,
  cancelled,
};
CUREADY_API const char* name(ErrorCode code) noexcept;

/// What the CUDA driver said.
struct CudaStatus {
  int code = 0;             ///< CUresult
  std::string name;         ///< "CUDA_ERROR_OUT_OF_MEMORY"
  std::string description;  ///< "out of memory"
  std::string call;         ///< "cuMemAlloc_v2"
};

/// The payload that every Error shares.
struct ErrorDetail {
  std::string operation = {};            ///< "IRuntime::deserializeCudaEngine", "cuInit", "bind"
  std::string message = {};              ///< one sentence
  std::string hint = {};                 ///< what to do
  std::vector<LogRecord> messages = {};  ///< what TensorRT logged and recorded during that call
  CudaStatus cuda = {};                  ///< code 0 when CUDA had no part in it
};

/// Base of all errors. what() is "operation: message [CUDA name] | TensorRT: … | hint".
class CUREADY_API Error : public std::runtime_error {
 public:
  Error(ErrorCode code, ErrorDetail detail);
  ~Error() override;
  Error(const Error&) noexcept = default;
  Error& operator=(const Error&) noexcept = default;
  ErrorCode code() const noexcept { return code_; }
  const ErrorDetail& detail() const noexcept { return *detail_; }
  const std::string& operation() const noexcept { return detail_->operation; }
  const std::string& message() const noexcept { return detail_->message; }
  const std::string& hint() const noexcept { return detail_->hint; }
  const std::vector<LogRecord>& messages() const noexcept { return detail_->messages; }
  const CudaStatus& cuda() const noexcept { return detail_->cuda; }

 private:
  ErrorCode code_;
  std::shared_ptr<const ErrorDetail> detail_;
};

/// Nothing that was looked at is a TensorRT library (or it could not be opened); searched() lists each place and why
/// not.
class CUREADY_API LibraryNotFound : public Error {
 public:
  LibraryNotFound(ErrorDetail detail, std::vector<std::string> searched);
  ~LibraryNotFound() override;
  const std::vector<std::string>& searched() const noexcept { return *searched_; }

 private:
  std::shared_ptr<const std::vector<std::string>> searched_;
};

/// The CUDA driver library is missing, lacks a symbol, or cuInit failed; step() is "open", "symbol", "init", "version"
/// or "devices".
class CUREADY_API DriverNotFound : public Error {
 public:
  DriverNotFound(ErrorDetail detail, std::string step);
  ~DriverNotFound() override;
  const std::string& step() const noexcept { return *step_; }

 private:
  std::shared_ptr<const std::string> step_;
};

/// The plan was built by a version that this library does not run.
class CUREADY_API EngineVersionError : public Error {
 public:
  EngineVersionError(ErrorDetail detail, Version plan, Version runtime);
  ~EngineVersionError() override;
  const Version& plan() const noexcept { return plan_; }
  const Version& runtime() const noexcept { return runtime_; }

 private:
  Version plan_, runtime_;
};

/// A plan asks for a plugin creator that is not registered.
class CUREADY_API PluginNotFound : public Error {
 public:
  PluginNotFound(ErrorDetail detail, std::string plugin, std::string version, std::string plugin_namespace);
  ~PluginNotFound() override;
  const std::string& plugin() const noexcept { return (*names_)[0]; }
  const std::string& version() const noexcept { return (*names_)[1]; }
  const std::string& plugin_namespace() const noexcept { return (*names_)[2]; }

 private:
  std::shared_ptr<const std::vector<std::string>> names_;
};

/// A shape that the engine or the active profile does not allow.
class CUREADY_API ShapeError : public Error {
 public:
  explicit ShapeError(ErrorDetail detail);
  ShapeError(ErrorDetail detail, std::string tensor, Dims got, std::vector<ProfileBounds> allowed);
  ~ShapeError() override;
  const std::string& tensor() const noexcept { return data_->tensor; }
  const Dims& got() const noexcept { return data_->got; }
  /// One entry for each profile that was considered; empty when the engine's own shape is what it breaks.
  const std::vector<ProfileBounds>& allowed() const noexcept { return data_->allowed; }

 private:
  struct Data {
    std::string tensor;
    Dims got;
    std::vector<ProfileBounds> allowed;
  };
  std::shared_ptr<const Data> data_;
};

/// Memory could not be had: how much was asked for, and what the device had (0 when it could not be asked).
class CUREADY_API OutOfMemory : public Error {
 public:
  OutOfMemory(ErrorDetail detail, std::size_t requested, std::size_t free, std::size_t total);
  ~OutOfMemory() override;
  std::size_t requested() const noexcept { return requested_; }
  std::size_t free() const noexcept { return free_; }
  std::size_t total() const noexcept { return total_; }

 private:
  std::size_t requested_, free_, total_;
};

/// The kinds that need nothing beyond the common payload.
#define CUREADY_SIMPLE_ERROR(Name, code_value)                                             \
  class CUREADY_API Name : public Error {                                                  \
   public:                                                                                 \
    explicit Name(ErrorDetail detail) : Error(ErrorCode::code_value, std::move(detail)) {} \
    ~Name() override;                                                                      \
  }
CUREADY_SIMPLE_ERROR(InvalidArgument, invalid_argument);  ///< an argument no call could take
CUREADY_SIMPLE_ERROR(UnsupportedLibrary,
                     unsupported_library);  ///< a library that is found but can not be driven: unknown major, missing
                                            ///< symbol, not ELF, wrong architecture, TensorRT-RTX
CUREADY_SIMPLE_ERROR(PlanInvalid, plan_invalid);  ///< not a plan, or cut short
CUREADY_SIMPLE_ERROR(EnginePlatformError,
                     engine_platform);    ///< built for another GPU, architecture or operating system
CUREADY_SIMPLE_ERROR(DtypeError, dtype);  ///< an array of another element type than the tensor's
CUREADY_SIMPLE_ERROR(BindingError,
                     binding);  ///< a tensor that is unknown, not bound, too small, or in the wrong memory
CUREADY_SIMPLE_ERROR(
    ContextBusy, context_busy);  ///< two threads in one ExecutionContext, or a second context where TensorRT allows one
CUREADY_SIMPLE_ERROR(CudaError, cuda);                  ///< a driver call failed; cuda() says which
CUREADY_SIMPLE_ERROR(CaptureError, capture);            ///< a CUDA graph was required and can not be had
CUREADY_SIMPLE_ERROR(DeviceMismatch, device_mismatch);  ///< memory, stream or engine of different GPUs
CUREADY_SIMPLE_ERROR(CudaContextError, cuda_context);   ///< the current CUDA context is not the device's primary one
CUREADY_SIMPLE_ERROR(NotRefitted, not_refitted);        ///< weights were stripped and have not been supplied
CUREADY_SIMPLE_ERROR(UnsupportedFeature, unsupported_feature);  ///< this TensorRT version has no such function
CUREADY_SIMPLE_ERROR(TensorRTError, tensorrt);  ///< TensorRT said no, for a reason that has no type of its own
CUREADY_SIMPLE_ERROR(Cancelled, cancelled);     ///< the pool was closed before the request ran
#undef CUREADY_SIMPLE_ERROR

/// Result of a call that never throws. error() is null when ok.
class [[nodiscard]] CUREADY_API Status {
 public:
  Status() noexcept = default;
  /// From the exception that is being handled (call it inside a catch block).
  static Status current() noexcept;
  bool ok() const noexcept { return !error_; }
  explicit operator bool() const noexcept { return ok(); }
  ErrorCode code() const noexcept;
  /// The error, alive as long as this Status or a copy of it.
  const Error* error() const noexcept { return error_; }
  /// Throws the error as its own type; does nothing when ok.
  void raise() const;

 private:
  std::exception_ptr exception_;
  const Error* error_ = nullptr;
};

}  // namespace cuready
