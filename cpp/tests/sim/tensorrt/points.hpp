// Call counts and injected faults of the simulated TensorRT.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace simtrt {

enum class Action { none, refuse, silent, bad_pointer, warn };

struct Fault {
  Action action = Action::none;
  std::string text;
  explicit operator bool() const { return action != Action::none && action != Action::warn; }
};

class Point {
 public:
  static Point& named(std::string const& name);
  static void each(void (*visit)(Point&));
  /** "METHOD@nth=action:text*times", separated by '|', from CUREADY_SIM_TRT_FAULTS. */
  static void arm_from_environment_once();

  Fault hit();
  void arm(long nth, long times, Action action, std::string text);
  void disarm() { arm(1, 0, Action::none, {}); }
  long calls() const { return calls_.load(std::memory_order_relaxed); }
  void reset_calls() { calls_.store(0, std::memory_order_relaxed); }
  std::string const name;

  explicit Point(std::string point_name) : name(std::move(point_name)) {}

 private:
  std::atomic<long> calls_{0};
  std::atomic<bool> armed_{false};
  std::mutex lock_;
  long skip_ = 0, times_ = 0;
  Fault fault_;
};

Action action_named(std::string const& name);

class Inside {
 public:
  Inside() noexcept { ++depth; }
  ~Inside() { --depth; }
  Inside(Inside const&) = delete;
  Inside& operator=(Inside const&) = delete;
  static __thread int depth __attribute__((tls_model("initial-exec")));
};

/** Leaves the library for the time of a callback into the caller's code. */
class Outside {
 public:
  Outside() noexcept : depth_(Inside::depth) { Inside::depth = 0; }
  ~Outside() { Inside::depth = depth_; }
  Outside(Outside const&) = delete;
  Outside& operator=(Outside const&) = delete;

 private:
  int depth_;
};

}  // namespace simtrt

/** First line of every method: count the call, mark the thread, look for an injected fault (in `fault_`). */
#define SIMTRT_ENTRY(name)                                       \
  ::simtrt::Inside inside_mark_;                                 \
  static ::simtrt::Point& point_ = ::simtrt::Point::named(name); \
  [[maybe_unused]] ::simtrt::Fault const fault_ = point_.hit()
