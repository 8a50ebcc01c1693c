// Entry bookkeeping of the simulated driver: call counts, injected faults, and the thread's "inside the driver" mark.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "codes.hpp"

namespace sim {

/** One place where a fault can be injected and calls are counted: a driver function, or a kind of work. */
class Point {
public:
    explicit Point(char const* name);

    /** Counts one call; returns the injected code, or 0. */
    int hit() noexcept {
        calls_.fetch_add(1, std::memory_order_relaxed);
        return armed_.load(std::memory_order_acquire) ? fault() : 0;
    }
    void arm(long nth, int code, long times);
    void disarm();
    long calls() const { return calls_.load(std::memory_order_relaxed); }
    void reset_calls() { calls_.store(0, std::memory_order_relaxed); }

    static Point& named(std::string const& name);
    static void clear_all();
    static void reset_all_calls();
    /** Arms what CUREADY_SIM_FAULTS says: "cuMemAlloc@1=2;op.kernel@2=214*3;op.d2h@1=corrupt;op.kernel@1=hang". */
    static void arm_from_environment();
    static void arm_from_environment_once();

private:
    int fault() noexcept;

    std::string name_;
    std::atomic<long> calls_{0};
    std::atomic<bool> armed_{false};
    std::mutex lock_;
    long skip_ = 0, times_ = 0;
    int code_ = 0;
};

/** From cuInit on, the children of fork() are refused: the driver works in none of them. */
void watch_forks() noexcept;
bool in_fork() noexcept;

/** Marks the thread as inside the driver for the life of one call. */
class Inside {
public:
    Inside() noexcept { ++depth; }
    ~Inside() { --depth; }
    Inside(Inside const&) = delete;
    Inside& operator=(Inside const&) = delete;
    static __thread int depth __attribute__((tls_model("initial-exec")));
};

}  // namespace sim

/** First statement of every exported driver function: count, injected fault, "inside" mark. */
#define SIM_ENTRY(name)                                         \
    ::sim::Inside inside_mark_;                                 \
    if (::sim::in_fork()) return ::sim::NOT_INITIALIZED;        \
    static ::sim::Point& entry_point_ = ::sim::Point::named(name); \
    if (int injected_ = entry_point_.hit()) return injected_

#define SIM_API extern "C" __attribute__((visibility("default")))
