// TensorRT's words become types. It has no error codes worth the name: the reason is in the text of its log.
#include "tensorrt/call.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <string_view>

namespace cuready::tensorrt {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

/// The text after `key` up to any of `stops`, trimmed; empty when the key is not there.
std::string after(const std::string& text, std::string_view key, const char* stops) {
  const std::size_t at = text.find(key);
  if (at == std::string::npos) return {};
  const std::size_t begin = text.find_first_not_of(" :", at + key.size());
  if (begin == std::string::npos) return {};
  const std::size_t end = text.find_first_of(stops, begin);
  std::string part = text.substr(begin, end == std::string::npos ? end : end - begin);
  while (!part.empty() && part.back() == ' ') part.pop_back();
  return part;
}

struct Pattern {
  ErrorCode code;
  const char* words;  // lower case
};

// Seen on real libraries (8.6, 10.6, lean 10.16 and 11.4) or quoted in public reports, e.g. NVIDIA/TensorRT #2176
// (compute capability), #2041 and #3898 (version tag), #263 and #1913 (plugins). First match wins, over all lines of
// the call.
constexpr std::array<Pattern, 28> patterns{{
    {ErrorCode::plugin_not_found, "could not find plugin"},
    {ErrorCode::plugin_not_found, "cannot find plugin"},
    {ErrorCode::plugin_not_found, "creator not found in plugin registry"},
    {ErrorCode::plugin_not_found, "plugin creator not found"},
    {ErrorCode::engine_version, "version tag does not match"},
    {ErrorCode::engine_version, "expecting library version"},
    {ErrorCode::engine_version, "old deserialization call on a newer plan"},
    {ErrorCode::engine_version, "stdversionread == kserialization_version"},
    {ErrorCode::engine_version, "serialization version"},
    {ErrorCode::engine_version, "not compatible with this version of tensorrt"},
    {ErrorCode::engine_platform, "incompatible device"},
    {ErrorCode::engine_platform, "incompatible platform"},
    {ErrorCode::engine_platform, "expecting compute"},
    {ErrorCode::engine_platform, "expecting platform"},
    {ErrorCode::engine_platform, "different platform"},
    {ErrorCode::engine_platform, "is not supported by this tensorrt release"},
    {ErrorCode::engine_platform, "hardware compatibility"},
    {ErrorCode::unsupported_feature, "host code"},
    {ErrorCode::unsupported_feature, "lean runtime"},
    {ErrorCode::out_of_memory, "outofmemory"},
    {ErrorCode::out_of_memory, "out of memory"},
    {ErrorCode::out_of_memory, "failed_allocation"},
    {ErrorCode::out_of_memory, "requested size was"},
    {ErrorCode::plan_invalid, "magictag"},
    {ErrorCode::plan_invalid, "magic tag"},
    {ErrorCode::plan_invalid, "corrupt"},
    {ErrorCode::shape, "does not satisfy any optimization profiles"},
    {ErrorCode::shape, "profile dimensions"},
}};

ErrorCode classify(const std::vector<LogRecord>& records) {
  for (const Pattern& pattern : patterns) {
    for (const LogRecord& record : records) {
      if (record.severity <= Severity::error && lower(record.text).find(pattern.words) != std::string::npos)
        return pattern.code;
    }
  }
  return ErrorCode::tensorrt;
}

struct RuntimeApiError {
  int code;
  const char* name;
  const char* description;
  const char* hint;
};
// TensorRT uses the CUDA runtime inside and prints its numbers; below 100 they differ from the driver's.
// https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html (cudaError)
constexpr std::array<RuntimeApiError, 9> runtime_errors{{
    {2, "cudaErrorMemoryAllocation", "out of memory", "free memory on this GPU or use a smaller profile"},
    {3, "cudaErrorInitializationError", "initialization error", "run `cuready doctor`"},
    {35, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version",
     "there is no NVIDIA driver, or it is older than this TensorRT's CUDA: run `cuready doctor`"},
    {46, "cudaErrorDevicesUnavailable", "all CUDA-capable devices are busy or unavailable",
     "another process may hold the GPU exclusively"},
    {100, "cudaErrorNoDevice", "no CUDA-capable device is detected",
     "look at CUDA_VISIBLE_DEVICES and /dev/nvidia*; run `cuready doctor`"},
    {700, "cudaErrorIllegalAddress", "an illegal memory access was encountered",
     "the CUDA context is lost: restart the process"},
    {802, "cudaErrorSystemNotReady", "system not yet initialized",
     "start nvidia-fabricmanager of the driver's version"},
    {803, "cudaErrorSystemDriverMismatch", "system has unsupported display driver / cuda driver combination",
     "reboot after the driver update"},
    {804, "cudaErrorCompatNotSupportedOnDevice", "forward compatibility was attempted on non supported HW",
     "take the cuda-compat libraries out of the library path"},
}};

// "CUDA initialization failure with error: 35", "Cuda Runtime (out of memory)", "CUDA error 700 launching …"
void find_cuda_code(ErrorDetail& detail) {
  if (detail.cuda.code != 0) return;
  for (const LogRecord& record : detail.messages) {
    const std::string text = lower(record.text);
    if (text.find("cuda") == std::string::npos) continue;
    for (const char* key : {"with error", "cuda error", "error code"}) {
      const std::string number = after(text, key, " .,()[]");
      if (number.empty() || number.find_first_not_of("0123456789") != std::string::npos || number.size() > 4) continue;
      const int code = std::atoi(number.c_str());
      for (const RuntimeApiError& known : runtime_errors) {
        if (known.code != code || (std::string_view(key) == "error code" && code < 100))
          continue;  // TensorRT's own codes are small
        detail.cuda = {code, known.name, known.description, "inside TensorRT"};
        if (detail.hint.empty()) detail.hint = known.hint;
        return;
      }
    }
  }
}

std::size_t requested_bytes(const std::vector<LogRecord>& records) {
  for (const LogRecord& record : records) {
    const std::string text = lower(record.text);
    for (const char* key : {"requested size was", "requested amount of gpu memory", "requested"}) {
      const std::string number = after(text, key, " .,()[]b");
      if (!number.empty() && number.find_first_not_of("0123456789") == std::string::npos)
        return std::strtoull(number.c_str(), nullptr, 10);
    }
  }
  return 0;
}

[[noreturn]] void throw_plugin(ErrorDetail detail) {
  std::string plugin, version, space;
  for (const LogRecord& record : detail.messages) {
    for (const char* key : {"Cannot find plugin", "could not find plugin", "Could not find plugin"}) {
      if (!plugin.empty()) break;
      plugin = after(record.text, key, " ,)");
      if (plugin.empty()) continue;
      version = after(record.text, "version", " ,)");
      space = after(record.text, "namespace", " ,.)");
    }
  }
  const std::string what = plugin.empty() ? "a plugin that the plan uses"
                                          : "the plugin " + plugin + (version.empty() ? "" : " version " + version);
  detail.message = what + " is not registered";
  if (detail.hint.empty()) {
    detail.hint =
        "name the library that has it in `plugins`; TensorRT's own are in libnvinfer_plugin, which is loaded when it "
        "lies beside the library";
  }
  throw PluginNotFound(std::move(detail), plugin, version, space);
}

[[noreturn]] void throw_version(ErrorDetail detail, const Subject& subject) {
  const std::string plan = subject.plan == Version{} ? "another version" : "TensorRT " + subject.plan.str();
  detail.message = "the plan was built by " + plan + " and TensorRT " + subject.library.str() + " does not run it";
  if (detail.hint.empty()) {
    detail.hint = "build the plan again with TensorRT " + subject.library.str() +
                  ", or open the library that built it (CUREADY_TENSORRT=/path/to/its/folder)";
  }
  throw EngineVersionError(std::move(detail), subject.plan, subject.library);
}

}  // namespace

void throw_from_words(ErrorDetail detail, const Subject& subject) {
  find_cuda_code(detail);
  switch (classify(detail.messages)) {
    case ErrorCode::plugin_not_found:
      throw_plugin(std::move(detail));
    case ErrorCode::engine_version:
      throw_version(std::move(detail), subject);
    case ErrorCode::engine_platform:
      detail.message = "the plan was built for another GPU or platform";
      if (detail.hint.empty())
        detail.hint = "build it on this kind of GPU, or with hardware compatibility (Ampere and newer)";
      throw EnginePlatformError(std::move(detail));
    case ErrorCode::out_of_memory: {
      const std::size_t bytes = requested_bytes(detail.messages);
      detail.message = "TensorRT ran out of GPU memory";
      if (detail.hint.empty())
        detail.hint = "use a smaller shape or profile, a shared workspace, or a weight-streaming budget";
      throw OutOfMemory(std::move(detail), bytes, 0, 0);
    }
    case ErrorCode::plan_invalid:
      detail.message = "TensorRT does not recognise this as a plan";
      if (detail.hint.empty()) detail.hint = "the file may be damaged or of another product: copy or build it again";
      throw PlanInvalid(std::move(detail));
    case ErrorCode::shape:
      throw ShapeError(std::move(detail));
    case ErrorCode::unsupported_feature:
      if (detail.hint.empty())
        detail.hint = "the plan brings its own runtime: load it with allow_host_code when you trust it";
      throw UnsupportedFeature(std::move(detail));
    default:
      break;
  }
  if (detail.cuda.code != 0) throw CudaError(std::move(detail));
  throw TensorRTError(std::move(detail));
}

void Call::fail(const std::string& message, const std::string& hint) const {
  throw_from_words({operation_, message, hint, window(since_), {}}, subject_);
}

}  // namespace cuready::tensorrt
