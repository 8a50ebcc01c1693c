// TensorRT's log, without a callback: it is written to a bounded lock-free ring, and whoever cares drains it.
#pragma once

#include <cstdint>
#include <vector>

#include "cuready/error.hpp"

namespace cuready {

/// Takes up to `max` records out of the ring, oldest first. Safe from any thread; never blocks the writers.
CUREADY_API std::vector<LogRecord> drain_log(std::size_t max = SIZE_MAX);
/// Records that were lost because the ring was full, since the process started.
CUREADY_API std::uint64_t dropped_log_records() noexcept;
/// Only records at least as severe as this are kept in the ring (default: warning). Errors always reach the exceptions.
CUREADY_API void set_log_threshold(Severity severity) noexcept;
CUREADY_API Severity log_threshold() noexcept;

}  // namespace cuready
