// The one place where TensorRT's answers are checked.
#pragma once

#include <cstdint>
#include <string>

#include "cuready/error.hpp"
#include "tensorrt/log_window.hpp"

namespace cuready::tensorrt {

/// What the failure of a call may be about, so that the right type of error can be thrown.
struct Subject {
  Version library;  ///< of the TensorRT that was called
  Version plan;     ///< all zero when no plan is concerned
};

/// A pointer that TensorRT made. Below the first page it is none: a null that a cast inside the library has moved
/// (0x228 from createInferRuntime_INTERNAL where there is no driver).
inline bool is_object(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer) >= 4096; }

/// A call into TensorRT: make one, call, and hand the answer to pointer() or require(). A failure becomes a typed error
/// with TensorRT's own words of this thread since the Call was made.
class Call {
 public:
  Call(const char* operation, Subject subject) noexcept : operation_(operation), subject_(subject), since_(now_ns()) {
    open_window();
  }

  template <class T>
  [[nodiscard]] T* pointer(T* answer) const {
    if (!is_object(answer)) fail("TensorRT returned no object");
    return answer;
  }
  void require(bool answer) const {
    if (!answer) fail("TensorRT refused");
  }
  /// Throws the error that the words of the log ask for.
  [[noreturn]] void fail(const std::string& message, const std::string& hint = {}) const;

 private:
  const char* operation_;
  Subject subject_;
  std::int64_t since_;
};

/// Chooses the type of error from TensorRT's words. Separate from Call so that it can be tested with words alone.
[[noreturn]] void throw_from_words(ErrorDetail detail, const Subject& subject);

}  // namespace cuready::tensorrt
