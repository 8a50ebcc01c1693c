// Stream capture: which calls it allows, how it spreads over event waits, how it ends in a graph.
#include <algorithm>
#include <set>
#include <utility>

#include "state.hpp"
#include "stream.hpp"

namespace sim {
namespace {

std::mutex& capture_lock() {
  static auto& lock = *new std::mutex;
  return lock;
}
std::set<Capture*>& captures() {
  static auto& all = *new std::set<Capture*>;
  return all;
}
uint64_t next_capture_id = 1;
thread_local int thread_mode = 0;

void invalidate(Capture& capture) { capture.invalid = true; }

/** A blocking stream of the context captures: the legacy stream would have to wait for it. */
bool legacy_conflict(Stream const& stream) {
  if (!stream.legacy) return false;
  return std::any_of(captures().begin(), captures().end(), [&](Capture* capture) {
    return std::any_of(capture->members.begin(), capture->members.end(), [&](Stream* member) {
      return &member->context == &stream.context && !(member->flags & stream_flag_nonblocking);
    });
  });
}

}  // namespace

Result submit(Stream& stream, WorkRef work) {
  {
    std::lock_guard<std::mutex> hold(capture_lock());
    if (legacy_conflict(stream)) {
      for (auto* capture : captures()) invalidate(*capture);
      return STREAM_CAPTURE_IMPLICIT;
    }
    if (stream.capture) {
      if (stream.capture->invalid) return STREAM_CAPTURE_INVALIDATED;
      stream.capture->nodes.push_back(std::move(work));
      if (&stream != stream.capture->origin) stream.capture->unjoined.insert(&stream);
      return SUCCESS;
    }
  }
  stream.push(std::move(work));
  return SUCCESS;
}

Result record_event(Event& event, Stream& stream) {
  {
    std::lock_guard<std::mutex> hold(capture_lock());
    if (stream.capture) {
      if (stream.capture->invalid) return STREAM_CAPTURE_INVALIDATED;
      std::lock_guard<std::mutex> own(event.lock);
      event.capture = stream.capture;
      event.capture_stream = &stream;
      return SUCCESS;
    }
  }
  auto work = std::make_shared<Work>();
  work->kind = "event";
  auto const done = stream.push(work);
  std::lock_guard<std::mutex> own(event.lock);
  event.recorded = done;
  event.capture.reset();
  return SUCCESS;
}

Result wait_event(Stream& stream, Event& event) {
  CompletionRef recorded;
  {
    std::lock_guard<std::mutex> hold(capture_lock());
    std::lock_guard<std::mutex> own(event.lock);
    if (event.capture) {
      auto const& capture = event.capture;
      if (!captures().count(capture.get())) return CAPTURED_EVENT;
      if (stream.capture && stream.capture != capture) {
        invalidate(*capture);
        invalidate(*stream.capture);
        return STREAM_CAPTURE_MERGE;
      }
      if (stream.capture == capture) capture->unjoined.erase(event.capture_stream);
      stream.capture = capture;
      capture->members.insert(&stream);
      if (&stream != capture->origin) capture->unjoined.insert(&stream);
      return SUCCESS;
    }
    if (stream.capture) {
      // Work outside the capture cannot be waited for inside a graph, unless nothing was ever recorded.
      if (!event.recorded) return SUCCESS;
      invalidate(*stream.capture);
      return STREAM_CAPTURE_ISOLATION;
    }
    recorded = event.recorded;
  }
  if (!recorded) return SUCCESS;
  auto work = std::make_shared<Work>();
  work->kind = "wait";
  stream.push(work, {recorded});
  return SUCCESS;
}

Result check_capture_safe() {
  std::lock_guard<std::mutex> hold(capture_lock());
  if (thread_mode == 2) return SUCCESS;
  bool refused = false;
  for (auto* capture : captures()) {
    bool const mine = capture->thread == std::this_thread::get_id();
    bool const hit = mine ? capture->mode != 2 : capture->mode == 0 && thread_mode == 0;
    if (!hit) continue;
    invalidate(*capture);
    refused = true;
  }
  return refused ? STREAM_CAPTURE_UNSUPPORTED : SUCCESS;
}

Result check_not_capturing(Stream& stream) {
  std::lock_guard<std::mutex> hold(capture_lock());
  if (!stream.capture) return SUCCESS;
  invalidate(*stream.capture);
  return STREAM_CAPTURE_UNSUPPORTED;
}

Result begin_capture(Stream& stream, int mode) {
  if (mode < 0 || mode > 2) return INVALID_VALUE;
  if (stream.legacy) return STREAM_CAPTURE_UNSUPPORTED;
  std::lock_guard<std::mutex> hold(capture_lock());
  if (stream.capture) return ILLEGAL_STATE;
  auto capture = std::make_shared<Capture>();
  capture->origin = &stream;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->id = next_capture_id++;
  capture->members.insert(&stream);
  stream.capture = capture;
  captures().insert(capture.get());
  return SUCCESS;
}

Result end_capture(Stream& stream, std::shared_ptr<Graph>* graph) {
  std::lock_guard<std::mutex> hold(capture_lock());
  auto const capture = stream.capture;
  if (!capture) return ILLEGAL_STATE;
  if (capture->origin != &stream) return STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != 2 && capture->thread != std::this_thread::get_id()) return STREAM_CAPTURE_WRONG_THREAD;
  captures().erase(capture.get());
  for (auto* member : capture->members) member->capture.reset();
  if (capture->invalid) return STREAM_CAPTURE_INVALIDATED;
  if (!capture->unjoined.empty()) return STREAM_CAPTURE_UNJOINED;
  *graph = std::make_shared<Graph>();
  (*graph)->nodes = capture->nodes;
  return SUCCESS;
}

void forget_captured_stream(Stream& stream) {
  std::lock_guard<std::mutex> hold(capture_lock());
  if (!stream.capture) return;
  invalidate(*stream.capture);
  auto const capture = stream.capture;
  if (capture->origin == &stream) {
    captures().erase(capture.get());
    for (auto* member : capture->members) member->capture.reset();
  }
  capture->members.erase(&stream);
  capture->unjoined.erase(&stream);
  stream.capture.reset();
}

int capture_status(Stream& stream, uint64_t* id) {
  std::lock_guard<std::mutex> hold(capture_lock());
  if (!stream.capture) return 0;
  if (id) *id = stream.capture->id;
  return stream.capture->invalid ? 2 : 1;
}

int exchange_capture_mode(int mode) {
  int const before = thread_mode;
  thread_mode = mode;
  return before;
}

bool is_captured_event(Event& event) {
  std::lock_guard<std::mutex> own(event.lock);
  return event.capture != nullptr;
}

}  // namespace sim
