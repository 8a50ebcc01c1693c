#include "points.hpp"

#include <cstdlib>
#include <utility>

#include "control_trt.h"

namespace simtrt {

__thread int Inside::depth = 0;

namespace {
std::mutex& table_lock() {
  static auto& lock = *new std::mutex;
  return lock;
}
std::map<std::string, std::unique_ptr<Point>>& table() {
  static auto& points = *new std::map<std::string, std::unique_ptr<Point>>;
  return points;
}
}  // namespace

Point& Point::named(std::string const& name) {
  std::lock_guard<std::mutex> hold(table_lock());
  auto& slot = table()[name];
  if (!slot) slot = std::make_unique<Point>(name);
  return *slot;
}

void Point::each(void (*visit)(Point&)) {
  std::lock_guard<std::mutex> hold(table_lock());
  for (auto& entry : table()) visit(*entry.second);
}

void Point::arm(long nth, long times, Action action, std::string text) {
  std::lock_guard<std::mutex> hold(lock_);
  skip_ = nth - 1;
  times_ = times;
  fault_ = {action, std::move(text)};
  armed_.store(times > 0, std::memory_order_release);
}

Fault Point::hit() {
  calls_.fetch_add(1, std::memory_order_relaxed);
  if (!armed_.load(std::memory_order_acquire)) return {};
  std::lock_guard<std::mutex> hold(lock_);
  if (skip_ > 0) {
    --skip_;
    return {};
  }
  if (times_ <= 0) return {};
  if (--times_ == 0) armed_.store(false, std::memory_order_release);
  return fault_;
}

Action action_named(std::string const& name) {
  if (name == "silent") return Action::silent;
  if (name == "badptr") return Action::bad_pointer;
  if (name == "warn") return Action::warn;
  return Action::refuse;
}

void Point::arm_from_environment_once() {
  static std::once_flag done;
  std::call_once(done, [] {
    char const* const text = std::getenv("CUREADY_SIM_TRT_FAULTS");
    std::string rest = text ? text : "";
    while (!rest.empty()) {
      auto const end = rest.find('|');
      std::string item = rest.substr(0, end);
      rest = end == std::string::npos ? "" : rest.substr(end + 1);
      auto const at = item.find('@'), equals = item.find('=', at == std::string::npos ? 0 : at);
      if (at == std::string::npos || equals == std::string::npos) continue;
      long times = 1;
      if (auto const star = item.rfind('*'); star != std::string::npos && star > equals) {
        times = std::atol(item.c_str() + star + 1);
        item.resize(star);
      }
      auto const colon = item.find(':', equals);
      std::string const action = item.substr(equals + 1, colon == std::string::npos ? colon : colon - equals - 1);
      named(item.substr(0, at))
          .arm(std::atol(item.c_str() + at + 1), times, action_named(action),
               colon == std::string::npos ? "" : item.substr(colon + 1));
    }
  });
}

}  // namespace simtrt

using simtrt::Point;
#define SIMTRT_API extern "C" __attribute__((visibility("default")))

SIMTRT_API long simtrt_calls(char const* method) { return Point::named(method).calls(); }
SIMTRT_API void simtrt_reset_calls(void) {
  Point::each([](Point& point) { point.reset_calls(); });
}
SIMTRT_API void simtrt_fail(char const* method, long nth, long times, char const* action, char const* text) {
  Point::named(method).arm(nth, times, simtrt::action_named(action), text ? text : "");
}
SIMTRT_API void simtrt_clear_faults(void) {
  Point::each([](Point& point) { point.disarm(); });
}
SIMTRT_API int simtrt_inside(void) { return simtrt::Inside::depth; }
