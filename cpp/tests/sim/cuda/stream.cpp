#include "stream.hpp"

#include <atomic>
#include <cstring>
#include <utility>

#include "control.h"
#include "entry.hpp"
#include "state.hpp"

namespace sim {
namespace {

thread_local Context* running = nullptr;

std::atomic<long> delay_kernel{0}, delay_copy{0}, delay_memset{0}, delay_host{0}, delay_launch{0};

struct Hangs {
  std::mutex lock;
  std::condition_variable changed;
  uint64_t released = 0;
};
Hangs& hangs() {
  static auto& all = *new Hangs;
  return all;
}

bool is_copy(char const* kind) {
  return !std::strcmp(kind, "h2d") || !std::strcmp(kind, "d2h") || !std::strcmp(kind, "d2d") ||
         !std::strcmp(kind, "p2p");
}

}  // namespace

long delay_of(char const* kind) {
  if (is_copy(kind)) return delay_copy;
  if (!std::strcmp(kind, "kernel")) return delay_kernel;
  if (!std::strcmp(kind, "memset")) return delay_memset;
  if (!std::strcmp(kind, "launch")) return delay_launch;
  return std::strcmp(kind, "host") ? 0 : delay_host.load();
}

namespace {

/** Injected fault of a kind of work: a CUresult, SIM_CORRUPT (left to the copy itself), or 0. Hangs here when told to.
 */
int injected(char const* kind) {
  static std::set<std::string> const faulty{"kernel", "h2d", "d2h", "d2d", "p2p", "memset"};
  if (!faulty.count(kind)) return 0;
  int const code = Point::named(std::string("op.") + kind).hit();
  if (code != SIM_HANG) return code;
  auto& all = hangs();
  std::unique_lock<std::mutex> hold(all.lock);
  uint64_t const before = all.released;
  all.changed.wait(hold, [&] { return all.released != before; });
  return 0;
}

}  // namespace

thread_local bool corrupt_this_copy = false;

void Completion::finish() {
  std::lock_guard<std::mutex> hold(lock_);
  done_ = true;
  when_ = std::chrono::steady_clock::now();
  changed_.notify_all();
}

void Completion::wait() {
  std::unique_lock<std::mutex> hold(lock_);
  changed_.wait(hold, [&] { return done_; });
}

bool Completion::query() {
  std::lock_guard<std::mutex> hold(lock_);
  return done_;
}

std::chrono::steady_clock::time_point Completion::when() {
  std::lock_guard<std::mutex> hold(lock_);
  return when_;
}

Stream::Stream(Context& owner, unsigned stream_flags, int stream_priority)
    : context(owner), flags(stream_flags), priority(stream_priority), legacy(stream_flags == stream_flag_legacy) {
  worker_ = std::thread([this] { work_loop(); });
}

Stream::~Stream() {
  close();
  if (worker_.get_id() == std::this_thread::get_id())
    worker_.detach();
  else if (worker_.joinable())
    worker_.join();
}

void Stream::close() {
  std::lock_guard<std::mutex> hold(lock_);
  closing_ = true;
  changed_.notify_all();
}

void Stream::abandon(std::shared_ptr<Stream> stream) {
  Stream& abandoned = *stream;
  std::lock_guard<std::mutex> hold(abandoned.lock_);
  abandoned.closing_ = true;
  abandoned.self_ = std::move(stream);
  abandoned.changed_.notify_all();
}

CompletionRef Stream::push(WorkRef work, std::vector<CompletionRef> after) {
  auto const implicit = context.legacy_order(*this);
  after.insert(after.end(), implicit.begin(), implicit.end());
  auto done = std::make_shared<Completion>();
  std::lock_guard<std::mutex> hold(lock_);
  queue_.push_back(Queued{std::move(work), std::move(after), done});
  last_ = done;
  changed_.notify_all();
  return done;
}

CompletionRef Stream::last() {
  std::lock_guard<std::mutex> hold(lock_);
  return last_;
}

bool Stream::uses_host(uint64_t address, size_t size) {
  auto touches = [&](Queued const& item) {
    for (auto const& range : item.work->host)
      if (range.address < address + size && address < range.address + range.size) return true;
    return false;
  };
  std::lock_guard<std::mutex> hold(lock_);
  if (current_ && touches(*current_)) return true;
  for (auto const& item : queue_)
    if (touches(item)) return true;
  return false;
}

void Stream::work_loop() {
  Inside mark;
  running = &context;
  for (;;) {
    std::shared_ptr<Stream> last_owner;  // outlives the lock below
    std::shared_ptr<Queued> item;
    {
      std::unique_lock<std::mutex> hold(lock_);
      changed_.wait(hold, [&] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) {
        last_owner = std::move(self_);
        return;
      }
      item = std::make_shared<Queued>(std::move(queue_.front()));
      queue_.pop_front();
      current_ = item;
    }
    for (auto const& before : item->after) before->wait();
    run(*item);
    {
      std::lock_guard<std::mutex> hold(lock_);
      current_.reset();
    }
    auto const done = item->done;
    item.reset();  // what the work holds is dropped before anyone learns that it is done
    done->finish();
  }
}

void Stream::run(Queued& item) {
  if (context.sticky() != SUCCESS) return;
  Result const code = execute(*item.work);
  if (code != SUCCESS) context.fail(code);
}

Result execute(Work const& work) {
  int const fault = injected(work.kind);
  if (fault > 0) return fault;
  if (long const microseconds = delay_of(work.kind))
    std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
  corrupt_this_copy = fault == SIM_CORRUPT;
  Result const code = work.run ? work.run() : SUCCESS;
  corrupt_this_copy = false;
  return code;
}

void release_hangs() {
  auto& all = hangs();
  std::lock_guard<std::mutex> hold(all.lock);
  ++all.released;
  all.changed.notify_all();
}

void set_delay(std::string const& kind, long microseconds) {
  if (kind == "kernel") delay_kernel = microseconds;
  if (kind == "copy") delay_copy = microseconds;
  if (kind == "memset") delay_memset = microseconds;
  if (kind == "host") delay_host = microseconds;
  if (kind == "launch") delay_launch = microseconds;
}

void reset_delays() {
  for (auto* delay : {&delay_kernel, &delay_copy, &delay_memset, &delay_host, &delay_launch}) *delay = 0;
}

Context* running_context() { return running; }

Result launch_graph(GraphExec& exec, Stream& stream) {
  std::vector<WorkRef> nodes;
  {
    std::lock_guard<std::mutex> hold(exec.lock);
    nodes = exec.nodes;
  }
  auto work = std::make_shared<Work>();
  work->kind = "graph";
  for (auto const& node : nodes) work->host.insert(work->host.end(), node->host.begin(), node->host.end());
  work->run = [nodes] {
    for (auto const& node : nodes)
      if (Result const code = execute(*node)) return code;
    return Result{SUCCESS};
  };
  return submit(stream, work);
}

}  // namespace sim
