// The thread-local window and the bounded lock-free ring behind cuready::drain_log().
#include "tensorrt/log_window.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "cuready/log.hpp"

namespace cuready {
namespace tensorrt {

__thread WindowState window_state = WindowState::never;

namespace {

// Bounded multi-producer multi-consumer queue: each cell carries the turn at which it may be written or read next, so
// writers never wait for readers (Vyukov's scheme,
// https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue).
class Ring {
 public:
  Ring() noexcept {
    for (std::size_t i = 0; i < cells_.size(); ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
  }

  bool push(LogRecord* record) noexcept {
    std::size_t at = tail_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[at % size];
      const std::size_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == at) {
        if (!tail_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) continue;
        cell.record = record;
        cell.turn.store(at + 1, std::memory_order_release);
        return true;
      }
      if (turn < at) return false;  // full
      at = tail_.load(std::memory_order_relaxed);
    }
  }

  LogRecord* pop() noexcept {
    std::size_t at = head_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[at % size];
      const std::size_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == at + 1) {
        if (!head_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) continue;
        LogRecord* record = cell.record;
        cell.turn.store(at + size, std::memory_order_release);
        return record;
      }
      if (turn < at + 1) return nullptr;  // empty
      at = head_.load(std::memory_order_relaxed);
    }
  }

 private:
  static constexpr std::size_t size = 4096;
  struct Cell {
    std::atomic<std::size_t> turn{0};
    LogRecord* record = nullptr;
  };
  std::array<Cell, size> cells_;
  std::atomic<std::size_t> tail_{0}, head_{0};
};

// Leaked on purpose: TensorRT's threads log until the very end of the process.
Ring& ring() {
  static Ring& instance = *new Ring;
  return instance;
}

std::atomic<std::uint64_t> dropped{0};
std::atomic<std::int32_t> threshold{static_cast<std::int32_t>(Severity::warning)};

constexpr std::size_t window_limit = 64;  // a failing call says a handful of lines; a flood must not fill the memory

// A thread that ends destroys its window before other things of its own, and the main thread before static objects:
// engines among them may have TensorRT log afterwards. Such lines are orphans.
thread_local bool window_is_gone = false;
struct Window {
  std::vector<LogRecord> records;
  ~Window() { window_is_gone = true; }
};
Window& this_window() {
  thread_local Window instance;
  return instance;
}

// Lines said on threads that never call TensorRT through us: its own workers. Kept shortly, for the call that caused
// them.
struct Orphans {
  std::mutex mutex;
  std::deque<LogRecord> records;
};
Orphans& orphans() {
  static Orphans& instance = *new Orphans;
  return instance;
}

// TensorRT tells the logger "IRuntime::deserializeCudaEngine: Error Code 1: … (the description)" and the recorder
// (1, the description): one event. The longer text stays, with the code.
bool merge(std::vector<LogRecord>& records, const LogRecord& heard) {
  for (LogRecord& known : records) {
    if (known.text.find(heard.text) == std::string::npos && heard.text.find(known.text) == std::string::npos) continue;
    if (known.severity > Severity::error || heard.severity > Severity::error) continue;
    if (heard.text.size() > known.text.size()) known.text = heard.text;
    if (known.code < 0) known.code = heard.code;
    return true;
  }
  return false;
}

void deliver_or_throw(Severity severity, int code, const char* text) {
  LogRecord record{severity, code, text, now_ns()};
  while (!record.text.empty() && (record.text.back() == '\n' || record.text.back() == ' ')) record.text.pop_back();
  bool repeated = false;
  if (severity <= Severity::warning) {
    if (window_state != WindowState::never && !window_is_gone) {
      std::vector<LogRecord>& records = this_window().records;
      if (window_state == WindowState::silent) records.clear();
      window_state = WindowState::heard;
      repeated = merge(records, record);
      if (!repeated && records.size() < window_limit) records.push_back(record);
    } else {
      Orphans& o = orphans();
      const std::lock_guard<std::mutex> lock(o.mutex);
      if (o.records.size() == window_limit) o.records.pop_front();
      o.records.push_back(record);
    }
  }
  if (repeated || static_cast<std::int32_t>(severity) > threshold.load(std::memory_order_relaxed)) return;
  auto kept = std::make_unique<LogRecord>(std::move(record));
  if (ring().push(kept.get())) {
    kept.release();
  } else {
    dropped.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace

void deliver(Severity severity, int code, const char* text) noexcept {
  if (text == nullptr) return;
  if (severity > Severity::warning && static_cast<std::int32_t>(severity) > threshold.load(std::memory_order_relaxed))
    return;
  try {
    deliver_or_throw(severity, code, text);
  } catch (...) {
    dropped.fetch_add(1, std::memory_order_relaxed);  // no memory for a log line
  }
}

std::vector<LogRecord> window(std::int64_t since_ns) {
  std::vector<LogRecord> heard;
  if (window_state == WindowState::heard && !window_is_gone) heard = this_window().records;
  if (since_ns != 0) {
    Orphans& o = orphans();
    const std::lock_guard<std::mutex> lock(o.mutex);
    for (const LogRecord& record : o.records) {
      if (record.time_ns >= since_ns && !merge(heard, record)) heard.push_back(record);
    }
  }
  return heard;
}

std::int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace tensorrt

std::vector<LogRecord> drain_log(std::size_t max) {
  std::vector<LogRecord> records;
  while (records.size() < max) {
    const std::unique_ptr<LogRecord> record(tensorrt::ring().pop());
    if (!record) break;
    records.push_back(std::move(*record));
  }
  return records;
}

std::uint64_t dropped_log_records() noexcept { return tensorrt::dropped.load(std::memory_order_relaxed); }

void set_log_threshold(Severity severity) noexcept {
  tensorrt::threshold.store(static_cast<std::int32_t>(severity), std::memory_order_relaxed);
}

Severity log_threshold() noexcept { return static_cast<Severity>(tensorrt::threshold.load(std::memory_order_relaxed)); }

}  // namespace cuready
