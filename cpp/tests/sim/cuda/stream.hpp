// Streams of the simulated driver: each has a worker thread that runs its work in order; events, captures and graphs.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "codes.hpp"

namespace sim {

struct Context;
struct Stream;
struct Capture;

/** Set once, when a piece of work has run. */
class Completion {
public:
    void finish();
    void wait();
    bool query();
    std::chrono::steady_clock::time_point when();

private:
    std::mutex lock_;
    std::condition_variable changed_;
    bool done_ = false;
    std::chrono::steady_clock::time_point when_;
};
using CompletionRef = std::shared_ptr<Completion>;

/** A range of host memory that queued work still needs. */
struct HostRange {
    uint64_t address = 0;
    size_t size = 0;
};

/** What a piece of work does; shared by a stream's queue and by graph nodes. */
struct Work {
    char const* kind = "kernel";  // kernel, h2d, d2h, d2d, p2p, memset, host, event, wait, free
    std::function<Result()> run;
    std::vector<HostRange> host;
};
using WorkRef = std::shared_ptr<Work const>;

struct Queued {
    WorkRef work;
    std::vector<CompletionRef> after;
    CompletionRef done;
};

struct Event {
    Context* context = nullptr;
    unsigned flags = 0;
    std::mutex lock;
    CompletionRef recorded;              // null: never recorded
    std::shared_ptr<Capture> capture;    // recorded into a capture
    Stream* capture_stream = nullptr;
};

struct Graph {
    std::vector<WorkRef> nodes;
};

struct GraphExec {
    std::mutex lock;
    std::vector<WorkRef> nodes;
};

/** A capture in progress. Guarded by the global capture lock. */
struct Capture {
    Stream* origin = nullptr;
    int mode = 0;  // 0 global, 1 thread local, 2 relaxed
    std::thread::id thread;
    bool invalid = false;
    uint64_t id = 0;
    std::vector<WorkRef> nodes;
    std::set<Stream*> members;
    std::set<Stream*> unjoined;  // forked streams whose last work the origin does not wait for
};

struct Stream : std::enable_shared_from_this<Stream> {
    Stream(Context& context, unsigned flags, int priority);
    ~Stream();

    /** Queues work; returns its completion. Legacy-stream ordering is added here. */
    CompletionRef push(WorkRef work, std::vector<CompletionRef> after = {});
    CompletionRef last();
    /** Queued work that has not finished and needs part of a host range. */
    bool uses_host(uint64_t address, size_t size);
    /** Lets the worker run what is queued and end. */
    void close();
    /** As close, without waiting: the stream lives until its worker has run what is queued. */
    static void abandon(std::shared_ptr<Stream> stream);

    Context& context;
    unsigned const flags;
    int const priority;
    bool const legacy;
    std::shared_ptr<Capture> capture;  // guarded by the capture lock

private:
    void work_loop();
    void run(Queued& item);

    std::mutex lock_;
    std::condition_variable changed_;
    std::deque<Queued> queue_;
    std::shared_ptr<Queued> current_;
    CompletionRef last_;
    bool closing_ = false;
    std::shared_ptr<Stream> self_;  // set by abandon
    std::thread worker_;
};

/** Queues work on a stream, or records it as a node of the graph that is being captured there. */
Result submit(Stream& stream, WorkRef work);
Result record_event(Event& event, Stream& stream);
Result wait_event(Stream& stream, Event& event);

/** Refuses what may not be called while this thread captures (or anybody captures in global mode); invalidates the capture. */
Result check_capture_safe();
/** Refuses to wait for a stream that captures; invalidates the capture. */
Result check_not_capturing(Stream& stream);

/** Runs one piece of work on the calling worker thread, with injected faults and delays. */
Result execute(Work const& work);
/** Set while a copy runs that an injected SIM_CORRUPT must spoil. */
extern thread_local bool corrupt_this_copy;

Result begin_capture(Stream& stream, int mode);
Result end_capture(Stream& stream, std::shared_ptr<Graph>* graph);
/** 0 none, 1 active, 2 invalidated. */
int capture_status(Stream& stream, uint64_t* id);
int exchange_capture_mode(int mode);
bool is_captured_event(Event& event);
/** A stream goes away while it captures. */
void forget_captured_stream(Stream& stream);
Result launch_graph(GraphExec& exec, Stream& stream);

/** Wakes work that an injected SIM_HANG holds. */
void release_hangs();
void set_delay(std::string const& kind, long microseconds);
long delay_of(char const* kind);
void reset_delays();
/** The context whose work this worker thread runs; null elsewhere. */
Context* running_context();

}  // namespace sim
