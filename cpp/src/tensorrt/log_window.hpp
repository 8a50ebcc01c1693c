// What TensorRT said during a call: the thread's window, and the ring that everybody can drain.
#pragma once

#include <cstdint>
#include <vector>

#include "cuready/error.hpp"

namespace cuready::tensorrt {

/// Where TensorRT's loggers and error recorders deliver. `code` is -1 for log lines. Called from any thread; never
/// throws.
void deliver(Severity severity, int code, const char* text) noexcept;

/// Forgets what this thread heard. One store: cheap enough for the hot path.
void open_window() noexcept;
/// What this thread heard since open_window(). With `since_ns`, also what threads of TensorRT's own said after that
/// time.
std::vector<LogRecord> window(std::int64_t since_ns = 0);
/// Now, in the clock of LogRecord::time_ns.
std::int64_t now_ns() noexcept;

}  // namespace cuready::tensorrt
