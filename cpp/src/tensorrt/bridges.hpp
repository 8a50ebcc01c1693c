// The interfaces that TensorRT calls, implemented for every major from one text.
//
// `Abi` is one of the traits of adapter_v8.cpp, adapter_v10.cpp and adapter_v11.cpp. The members are not marked
// `override`: getAPILanguage, getInterfaceInfo, getInterfaceVersion and reallocateOutputAsync exist in the bases of
// some majors only, and where a base has none of that name the member is an ordinary function that nobody calls.
#pragma once

#include "tensorrt/abi/common.hpp"
#include "tensorrt/log_window.hpp"
#include "tensorrt/port.hpp"

namespace cuready::tensorrt {

template <class Abi>
cuready::Dims from_abi(const typename Abi::Dims& dims) noexcept {
  if (dims.nbDims < 0 || dims.nbDims > cuready::Dims::max_rank) return cuready::Dims::unknown();
  std::int64_t extents[cuready::Dims::max_rank] = {};
  for (std::int32_t i = 0; i < dims.nbDims; ++i) extents[i] = dims.d[i];
  return cuready::Dims(Span<const std::int64_t>(extents, static_cast<std::size_t>(dims.nbDims)));
}

/// Delivers to the window and the ring. Immortal: TensorRT keeps the first logger that it is given for the whole
/// process.
template <class Abi>
class LoggerBridge final : public Abi::ILogger {
 public:
  static LoggerBridge& instance() {
    static LoggerBridge& only = *new LoggerBridge;
    return only;
  }
  std::int32_t getAPILanguage() const noexcept { return api_language_cpp; }
  InterfaceInfo getInterfaceInfo() const noexcept { return {"ILogger", 1, 0}; }
  void log(std::int32_t severity, char const* message) noexcept {
    deliver(static_cast<Severity>(severity), -1, message);
  }
};

/// Passes errors with their codes on and keeps none. Immortal, hence the idle reference count; runtimes, engines and
/// contexts inherit it from each other.
template <class Abi>
class RecorderBridge final : public Abi::IErrorRecorder {
 public:
  static RecorderBridge& instance() {
    static RecorderBridge& only = *new RecorderBridge;
    return only;
  }
  std::int32_t getAPILanguage() const noexcept { return api_language_cpp; }
  InterfaceInfo getInterfaceInfo() const noexcept { return {"IErrorRecorder", 1, 0}; }
  std::int32_t getNbErrors() const noexcept { return 0; }
  std::int32_t getErrorCode(std::int32_t) const noexcept { return 0; }
  char const* getErrorDesc(std::int32_t) const noexcept { return ""; }
  bool hasOverflowed() const noexcept { return false; }
  void clear() noexcept {}
  bool reportError(std::int32_t code, char const* description) noexcept {
    deliver(Severity::error, code, description);
    return true;
  }
  std::int32_t incRefCount() noexcept { return 1; }
  std::int32_t decRefCount() noexcept { return 1; }
};

template <class Abi>
class ProfilerBridge final : public Abi::IProfiler {
 public:
  std::int32_t getAPILanguage() const noexcept { return api_language_cpp; }
  InterfaceInfo getInterfaceInfo() const noexcept { return {"IProfiler", 1, 0}; }
  void reportLayerTime(char const* layer, float milliseconds) noexcept {
    if (times != nullptr) times->report(layer, milliseconds);
  }
  LayerTimes* times = nullptr;
};

template <class Abi>
class OutputAllocatorBridge final : public Abi::IOutputAllocator {
 public:
  explicit OutputAllocatorBridge(OutputMemory* target) noexcept : memory(target) {}
  std::int32_t getInterfaceVersion() const noexcept { return 1; }
  std::int32_t getAPILanguage() const noexcept { return api_language_cpp; }
  InterfaceInfo getInterfaceInfo() const noexcept { return {"IOutputAllocator", 1, 0}; }
  void* reallocateOutput(char const* tensor, void*, std::uint64_t size, std::uint64_t alignment) noexcept {
    return memory->reallocate(tensor, size, alignment, nullptr);
  }
  void* reallocateOutputAsync(char const* tensor, void*, std::uint64_t size, std::uint64_t alignment, void* stream) {
    return memory->reallocate(tensor, size, alignment, stream);
  }
  void notifyShape(char const* tensor, const typename Abi::Dims& dims) noexcept {
    memory->notify_shape(tensor, from_abi<Abi>(dims));
  }
  OutputMemory* memory;
};

template <class Abi>
class StreamReaderBridge final : public Abi::IStreamReaderV2 {
 public:
  explicit StreamReaderBridge(PlanReader& source) noexcept : reader(source) {}
  std::int32_t getAPILanguage() const noexcept { return api_language_cpp; }
  InterfaceInfo getInterfaceInfo() const noexcept { return {"IStreamReaderV2", 1, 0}; }
  std::int64_t read(void* destination, std::int64_t nbytes, void* stream) noexcept {
    return reader.read(destination, nbytes, stream);
  }
  bool seek(std::int64_t offset, std::int32_t where) noexcept { return reader.seek(offset, where); }
  PlanReader& reader;
};

}  // namespace cuready::tensorrt
