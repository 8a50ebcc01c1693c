#include "state.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "control.h"
#include "entry.hpp"

namespace sim {
namespace {

struct Misuse {
  std::mutex lock;
  std::vector<std::string> all;
};
Misuse& misuse() {
  static auto& record = *new Misuse;
  return record;
}

std::string env(char const* name, char const* fallback) {
  char const* const value = std::getenv(name);
  return value ? value : fallback;
}

std::vector<std::string> split(std::string const& text, char separator) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (start <= text.size()) {
    auto const end = std::min(text.find(separator, start), text.size());
    if (end > start) parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

std::vector<Device> parse_devices(std::string const& spec) {
  std::vector<Device> devices;
  for (auto const& item : split(spec, ';')) {
    auto const fields = split(item, ':');
    if (fields.size() != 3) continue;
    Device device;
    device.number = static_cast<int>(devices.size());
    device.name = fields[0];
    device.cc_major = std::atoi(fields[1].c_str());
    auto const dot = fields[1].find('.');
    device.cc_minor = dot == std::string::npos ? 0 : std::atoi(fields[1].c_str() + dot + 1);
    device.bytes = static_cast<size_t>(std::atoll(fields[2].c_str())) << 20;
    devices.push_back(device);
  }
  return devices;
}

/** CUDA_VISIBLE_DEVICES with ordinals: the order, and everything after the first bad entry is hidden. */
std::vector<Device> visible(std::vector<Device> const& all) {
  char const* const wanted = std::getenv("CUDA_VISIBLE_DEVICES");
  if (!wanted) return all;
  std::vector<Device> chosen;
  for (auto const& item : split(wanted, ',')) {
    char* end = nullptr;
    long const ordinal = std::strtol(item.c_str(), &end, 10);
    if (*end || ordinal < 0 || static_cast<size_t>(ordinal) >= all.size()) break;
    chosen.push_back(all[static_cast<size_t>(ordinal)]);
  }
  return chosen;
}

}  // namespace

void violate(std::string const& what) {
  auto& record = misuse();
  std::lock_guard<std::mutex> hold(record.lock);
  record.all.push_back(what);
  if (std::getenv("CUREADY_SIM_VERBOSE")) std::fprintf(stderr, "simulated driver: %s\n", what.c_str());
}

int violations(std::string* text) {
  Memory::get().check_guards();
  auto& record = misuse();
  std::lock_guard<std::mutex> hold(record.lock);
  if (text)
    for (auto const& line : record.all) *text += line + "\n";
  return static_cast<int>(record.all.size());
}

void clear_violations() {
  auto& record = misuse();
  std::lock_guard<std::mutex> hold(record.lock);
  record.all.clear();
}

State& State::get() {
  static auto& state = *new State;
  return state;
}

Result State::init() {
  std::lock_guard<std::mutex> hold(lock);
  if (initialized_) return SUCCESS;
  if (spec_.empty()) spec_ = env("CUREADY_SIM_DEVICES", "NVIDIA H100 80GB HBM3:9.0:2048");
  if (auto const version = env("CUREADY_SIM_DRIVER", ""); !version.empty())
    driver_version_ = std::atoi(version.c_str());
  for (auto const& item : split(env("CUREADY_SIM_DELAY_US", ""), ',')) {
    auto const equals = item.find('=');
    if (equals != std::string::npos) set_delay(item.substr(0, equals), std::atol(item.c_str() + equals + 1));
  }
  build_devices();
  if (devices_.empty()) return NO_DEVICE;
  initialized_ = true;
  return SUCCESS;
}

void State::build_devices() {
  devices_ = visible(parse_devices(spec_));
  std::vector<size_t> bytes;
  for (auto const& device : devices_) bytes.push_back(device.bytes);
  Memory::get().configure(bytes);
  while (primaries_.size() < devices_.size())
    primaries_.push_back(std::make_unique<Context>(static_cast<int>(primaries_.size()), true));
}

void State::set_devices(std::string const& spec) {
  std::lock_guard<std::mutex> hold(lock);
  spec_ = spec.empty() ? "none" : spec;
  initialized_ = false;
}

Context* State::find_context(void* handle) {
  std::lock_guard<std::mutex> hold(lock);
  for (auto const& context : primaries_)
    if (context.get() == handle) return context.get();
  auto const entry = created_.find(static_cast<Context*>(handle));
  return entry == created_.end() ? nullptr : entry->first;
}

Context* State::create_context(int device, unsigned flags) {
  auto context = std::make_unique<Context>(device, false);
  context->flags = flags;
  context->active = true;
  Context* const handle = context.get();
  std::lock_guard<std::mutex> hold(lock);
  created_[handle] = std::move(context);
  return handle;
}

void State::destroy_context(Context& context) {
  context.tear_down();
  Memory::get().drop_context(context);
  context.active = false;
  context.clear_error();
}

std::vector<Context*> State::contexts() {
  std::lock_guard<std::mutex> hold(lock);
  std::vector<Context*> all;
  for (auto const& context : primaries_) all.push_back(context.get());
  for (auto const& entry : created_) all.push_back(entry.first);
  return all;
}

void Context::fail(Result code) {
  Result expected = SUCCESS;
  sticky_.compare_exchange_strong(expected, code);
}

std::vector<CompletionRef> Context::legacy_order(Stream& stream) {
  if (stream.flags & stream_flag_nonblocking) return {};
  std::vector<std::shared_ptr<Stream>> others;
  {
    std::lock_guard<std::mutex> hold(lock_);
    if (!stream.legacy) {
      if (legacy_) others.push_back(legacy_);
    } else {
      for (auto const& entry : streams_) others.push_back(entry.second);
      for (auto const& entry : per_thread_) others.push_back(entry.second);
    }
  }
  std::vector<CompletionRef> after;
  for (auto const& other : others) {
    if (other.get() == &stream || other->flags & stream_flag_nonblocking) continue;
    if (auto last = other->last()) after.push_back(std::move(last));
  }
  return after;
}

Stream& Context::legacy_stream() {
  std::lock_guard<std::mutex> hold(lock_);
  if (!legacy_) legacy_ = std::make_shared<Stream>(*this, stream_flag_legacy, 0);
  return *legacy_;
}

Stream& Context::thread_stream() {
  std::lock_guard<std::mutex> hold(lock_);
  auto& stream = per_thread_[std::this_thread::get_id()];
  if (!stream) stream = std::make_shared<Stream>(*this, 0u, 0);
  return *stream;
}

std::vector<std::shared_ptr<Stream>> Context::all_streams() {
  std::lock_guard<std::mutex> hold(lock_);
  std::vector<std::shared_ptr<Stream>> all;
  if (legacy_) all.push_back(legacy_);
  for (auto const& entry : per_thread_) all.push_back(entry.second);
  for (auto const& entry : streams_) all.push_back(entry.second);
  for (auto const& old : destroyed_)
    if (auto stream = old.lock()) all.push_back(std::move(stream));
  return all;
}

void Context::adopt(std::shared_ptr<Stream> const& stream) {
  std::lock_guard<std::mutex> hold(lock_);
  streams_[stream.get()] = stream;
}

void Context::forget(std::shared_ptr<Stream> stream) {
  {
    std::lock_guard<std::mutex> hold(lock_);
    streams_.erase(stream.get());
    destroyed_.erase(
        std::remove_if(destroyed_.begin(), destroyed_.end(), [](auto const& old) { return old.expired(); }),
        destroyed_.end());
    destroyed_.push_back(stream);
  }
  Stream::abandon(std::move(stream));
}

void Context::synchronize() {
  for (auto const& stream : all_streams())
    if (auto const last = stream->last()) last->wait();
}

void Context::tear_down() {
  release_hangs();
  std::map<Stream*, std::shared_ptr<Stream>> streams;
  std::map<std::thread::id, std::shared_ptr<Stream>> per_thread;
  std::shared_ptr<Stream> legacy;
  {
    std::lock_guard<std::mutex> hold(lock_);
    streams.swap(streams_);
    per_thread.swap(per_thread_);
    legacy.swap(legacy_);
  }
  for (auto const& entry : streams) State::get().streams.take(entry.first);
  for (;;) {  // destroyed streams run to their end as well
    std::vector<std::shared_ptr<Stream>> alive;
    std::unique_lock<std::mutex> hold(lock_);
    for (auto const& old : destroyed_)
      if (auto stream = old.lock()) alive.push_back(std::move(stream));
    destroyed_.clear();
    hold.unlock();
    if (alive.empty()) break;
    for (auto const& stream : alive)
      if (auto const last = stream->last()) last->wait();
  }
}

std::vector<Context*>& context_stack() {
  thread_local std::vector<Context*> stack;
  return stack;
}

Result current(Context** context) {
  if (!State::get().initialized()) return NOT_INITIALIZED;
  auto& stack = context_stack();
  if (stack.empty() || !stack.back()) return INVALID_CONTEXT;
  *context = stack.back();
  if (!(*context)->active) return CONTEXT_IS_DESTROYED;
  return (*context)->sticky();
}

Result resolve(void* handle, Context& context, std::shared_ptr<Stream>* stream) {
  auto const value = reinterpret_cast<uintptr_t>(handle);
  if (value <= 1)
    *stream = context.legacy_stream().shared_from_this();
  else if (value == 2)
    *stream = context.thread_stream().shared_from_this();
  else
    *stream = State::get().streams.find(handle);
  if (!*stream) {
    violate("use of a stream that does not exist (destroyed?)");
    return INVALID_HANDLE;
  }
  return &(*stream)->context == &context ? SUCCESS : INVALID_CONTEXT;
}

}  // namespace sim

using sim::State;

SIM_API void sim_set_devices(char const* spec) { State::get().set_devices(spec); }
SIM_API void sim_set_driver_version(int version) { State::get().set_driver_version(version); }
SIM_API void sim_report(char const* what) { sim::violate(what); }
SIM_API void sim_clear_violations(void) { sim::clear_violations(); }
SIM_API void sim_release_hangs(void) { sim::release_hangs(); }
SIM_API void sim_set_delay_us(char const* kind, long us) { sim::set_delay(kind, us); }

namespace {
void give(std::string const& text, char* out, size_t capacity) {
  if (!out || capacity == 0) return;
  size_t const count = std::min(text.size(), capacity - 1);
  std::memcpy(out, text.data(), count);
  out[count] = 0;
}
}  // namespace

SIM_API int sim_violations(char* text, size_t capacity) {
  sim::Inside mark;
  std::string lines;
  int const count = sim::violations(&lines);
  give(lines, text, capacity);
  return count;
}

SIM_API int sim_live(char* text, size_t capacity) {
  sim::Inside mark;
  auto& state = State::get();
  std::string lines;
  int count = 0;
  for (auto const& block : sim::Memory::get().live()) {
    ++count;
    lines += (block.device < 0 ? "host memory " : "device memory ") + std::to_string(block.size) + " bytes\n";
  }
  auto add = [&](char const* what, size_t many) {
    if (!many) return;
    count += static_cast<int>(many);
    lines += std::to_string(many) + " " + what + "\n";
  };
  add("streams", state.streams.size());
  add("events", state.events.size());
  add("graphs", state.graphs.size());
  add("executable graphs", state.graph_execs.size());
  add("modules", state.modules.size());
  for (auto* context : state.contexts()) {
    std::lock_guard<std::mutex> hold(state.lock);
    if (context->primary)
      add("retains of a primary context", static_cast<size_t>(context->retained));
    else if (context->active)
      add("created contexts", 1);
  }
  give(lines, text, capacity);
  return count;
}

SIM_API size_t sim_live_bytes(int device) { return sim::Memory::get().used(device); }

SIM_API int sim_reset(void) {
  sim::Inside mark;
  auto& state = State::get();
  sim::Point::clear_all();
  sim::release_hangs();
  sim::reset_delays();
  int const dropped = sim_live(nullptr, 0);
  for (auto* context : state.contexts())
    if (context->active) context->synchronize();
  for (auto* context : state.contexts()) {
    state.destroy_context(*context);
    std::lock_guard<std::mutex> hold(state.lock);
    context->retained = 0;
  }
  state.graphs.clear();
  state.graph_execs.clear();
  state.events.clear();
  state.modules.clear();
  state.functions.clear();
  sim::context_stack().clear();
  sim::clear_violations();
  sim::Point::reset_all_calls();
  sim::exchange_capture_mode(0);
  return dropped;
}
