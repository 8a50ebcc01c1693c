// What TensorRT said during a call: the thread's window, and the ring that everybody can drain.
#pragma once

#include <cstdint>
#include <vector>

#include "cuready/error.hpp"

namespace cuready::tensorrt {

/// Where TensorRT's loggers and error recorders deliver. `code` is -1 for log lines. Called from any thread; never
/// throws.
void deliver(Severity severity, int code, const char* text) noexcept;

/// What this thread's window is: never opened, opened and silent since, or with lines.
enum class WindowState : unsigned char { never, silent, heard };
/// `__thread` with the initial-exec model: one instruction instead of a call of __tls_get_addr, and no C++ wrapper. The
/// loader keeps room for such variables of libraries that are opened later (glibc's static TLS surplus).
extern __thread WindowState window_state __attribute__((tls_model("initial-exec")));
/// Forgets what this thread heard. One store: cheap enough for the hot path.
inline void open_window() noexcept { window_state = WindowState::silent; }
/// What this thread heard since open_window(). With `since_ns`, also what threads of TensorRT's own said after that
/// time.
std::vector<LogRecord> window(std::int64_t since_ns = 0);
/// Now, in the clock of LogRecord::time_ns.
std::int64_t now_ns() noexcept;

}  // namespace cuready::tensorrt
