#include "entry.hpp"

#include <pthread.h>

#include <cstdlib>
#include <map>
#include <memory>

#include "control.h"

namespace sim {

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

int code_of(std::string const& text) {
    if (text == "hang") return SIM_HANG;
    if (text == "corrupt") return SIM_CORRUPT;
    return std::atoi(text.c_str());
}
}  // namespace

namespace {
std::atomic<bool> forked{false};
}

void watch_forks() noexcept {
    static int const registered = ::pthread_atfork(nullptr, nullptr, [] { forked = true; });
    static_cast<void>(registered);
}

bool in_fork() noexcept { return forked.load(std::memory_order_relaxed); }

Point::Point(char const* name) : name_(name) {}

Point& Point::named(std::string const& name) {
    std::lock_guard<std::mutex> hold(table_lock());
    auto& slot = table()[name];
    if (!slot) slot = std::make_unique<Point>(name.c_str());
    return *slot;
}

void Point::arm(long nth, int code, long times) {
    std::lock_guard<std::mutex> hold(lock_);
    skip_ = nth - 1;
    times_ = times;
    code_ = code;
    armed_.store(times > 0, std::memory_order_release);
}

void Point::disarm() { arm(1, 0, 0); }

int Point::fault() noexcept {
    std::lock_guard<std::mutex> hold(lock_);
    if (skip_ > 0) {
        --skip_;
        return 0;
    }
    if (times_ <= 0) return 0;
    if (--times_ == 0) armed_.store(false, std::memory_order_release);
    return code_;
}

void Point::clear_all() {
    std::lock_guard<std::mutex> hold(table_lock());
    for (auto& entry : table()) entry.second->disarm();
}

void Point::reset_all_calls() {
    std::lock_guard<std::mutex> hold(table_lock());
    for (auto& entry : table()) entry.second->reset_calls();
}

void Point::arm_from_environment_once() {
    static std::once_flag done;
    std::call_once(done, arm_from_environment);
}

void Point::arm_from_environment() {
    char const* text = std::getenv("CUREADY_SIM_FAULTS");
    std::string rest = text ? text : "";
    while (!rest.empty()) {
        auto const end = rest.find(';');
        std::string const item = rest.substr(0, end);
        rest = end == std::string::npos ? "" : rest.substr(end + 1);
        auto const at = item.find('@'), equals = item.find('='), star = item.find('*');
        if (at == std::string::npos || equals == std::string::npos) continue;
        long const nth = std::atol(item.c_str() + at + 1);
        long const times = star == std::string::npos ? 1 : std::atol(item.c_str() + star + 1);
        named(item.substr(0, at)).arm(nth, code_of(item.substr(equals + 1, star - equals - 1)), times);
    }
}

}  // namespace sim

using sim::Point;

SIM_API void sim_fail(char const* point, long nth, int code, long times) { Point::named(point).arm(nth, code, times); }
SIM_API void sim_clear_faults(void) { Point::clear_all(); }
SIM_API long sim_calls(char const* api) { return Point::named(api).calls(); }
SIM_API void sim_reset_calls(void) { Point::reset_all_calls(); }
SIM_API int sim_inside(void) { return sim::Inside::depth; }
