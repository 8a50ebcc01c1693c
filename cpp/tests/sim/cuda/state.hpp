// Process-wide state of the simulated driver: devices, contexts, live handles, recorded misuse.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "memory.hpp"
#include "stream.hpp"

namespace sim {

constexpr unsigned stream_flag_nonblocking = 1, stream_flag_legacy = 0x10000;

struct Device {
  int number = 0;  // in the machine, whatever CUDA_VISIBLE_DEVICES makes of the order
  std::string name;
  int cc_major = 9, cc_minor = 0;
  size_t bytes = 0;
};

struct Module {
  std::vector<std::string> kernels;
  std::string image;
};
struct Function {
  std::shared_ptr<Module> module;
  std::string name;
};

/** A CUDA context. Primary contexts live as long as the process; they are active while retained. */
struct Context {
  Context(int ordinal, bool is_primary) : device(ordinal), primary(is_primary) {}

  int const device;
  bool const primary;
  int retained = 0;  // guarded by State::lock
  unsigned flags = 0;
  std::atomic<bool> active{false};
  std::atomic<uint64_t> peers{0};  // bit per device whose memory this context may touch

  Result sticky() const { return sticky_.load(); }
  void fail(Result code);
  void clear_error() { sticky_ = SUCCESS; }

  /** What a new piece of work on `stream` must wait for because of the legacy stream. */
  std::vector<CompletionRef> legacy_order(Stream& stream);
  Stream& legacy_stream();
  Stream& thread_stream();
  void synchronize();
  std::vector<std::shared_ptr<Stream>> all_streams();
  void adopt(std::shared_ptr<Stream> const& stream);
  /** The stream was destroyed: what is queued on it still runs. */
  void forget(std::shared_ptr<Stream> stream);
  /** Ends all streams; the context is gone. */
  void tear_down();

 private:
  std::atomic<Result> sticky_{SUCCESS};
  std::mutex lock_;
  std::shared_ptr<Stream> legacy_;
  std::map<std::thread::id, std::shared_ptr<Stream>> per_thread_;
  std::map<Stream*, std::shared_ptr<Stream>> streams_;
  std::vector<std::weak_ptr<Stream>> destroyed_;
};

/** Table of live handles of one kind, so that a stale handle is an error instead of a crash. */
template <class T>
class Handles {
 public:
  void* add(std::shared_ptr<T> object) {
    std::lock_guard<std::mutex> hold(lock_);
    void* const handle = object.get();
    live_[handle] = std::move(object);
    return handle;
  }
  std::shared_ptr<T> find(void* handle) {
    std::lock_guard<std::mutex> hold(lock_);
    auto const entry = live_.find(handle);
    return entry == live_.end() ? nullptr : entry->second;
  }
  std::shared_ptr<T> take(void* handle) {
    std::lock_guard<std::mutex> hold(lock_);
    auto const entry = live_.find(handle);
    if (entry == live_.end()) return nullptr;
    auto object = std::move(entry->second);
    live_.erase(entry);
    return object;
  }
  size_t size() {
    std::lock_guard<std::mutex> hold(lock_);
    return live_.size();
  }
  void clear() {
    std::unordered_map<void*, std::shared_ptr<T>> gone;
    {
      std::lock_guard<std::mutex> hold(lock_);
      gone.swap(live_);
    }
  }

 private:
  std::mutex lock_;
  std::unordered_map<void*, std::shared_ptr<T>> live_;
};

class State {
 public:
  static State& get();

  Result init();
  bool initialized() const { return initialized_; }
  int driver_version() const { return driver_version_; }
  void set_driver_version(int version) { driver_version_ = version; }
  void set_devices(std::string const& spec);
  std::vector<Device> const& devices() const { return devices_; }
  Context& primary(int device) { return *primaries_[static_cast<size_t>(device)]; }
  /** A context handle that exists (it may be inactive), or null. */
  Context* find_context(void* handle);
  Context* create_context(int device, unsigned flags);
  void destroy_context(Context& context);
  std::vector<Context*> contexts();

  Handles<Stream> streams;
  Handles<Event> events;
  Handles<Graph> graphs;
  Handles<GraphExec> graph_execs;
  Handles<Module> modules;
  Handles<Function> functions;
  std::mutex lock;

 private:
  void build_devices();

  std::atomic<bool> initialized_{false};
  std::atomic<int> driver_version_{13000};
  std::string spec_;
  std::vector<Device> devices_;
  std::vector<std::unique_ptr<Context>> primaries_;
  std::map<Context*, std::unique_ptr<Context>> created_;
};

/** The calling thread's stack of current contexts; the last is current. */
std::vector<Context*>& context_stack();
/** The current context in `*context`, when it is usable and has no sticky error. */
Result current(Context** context);
/** Resolves a stream handle (0 and 1: legacy, 2: per thread) of the current context. */
Result resolve(void* handle, Context& context, std::shared_ptr<Stream>* stream);

int violations(std::string* text);
void clear_violations();

}  // namespace sim
