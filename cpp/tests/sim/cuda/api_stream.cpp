// Driver API: streams, events, captures, graphs, host functions, kernels of the simulation itself.
#include <algorithm>
#include <cstring>
#include <utility>

#include "api.hpp"

using namespace sim;

#define SIM_CONTEXT(name)     \
  SIM_ENTRY(name);            \
  Context* context = nullptr; \
  SIM_TRY(current(&context))

#define SIM_STREAM(name)          \
  SIM_CONTEXT(name);              \
  std::shared_ptr<Stream> stream; \
  SIM_TRY(resolve(handle, *context, &stream))

SIM_API int cuStreamCreateWithPriority(void** handle, unsigned flags, int priority) {
  SIM_CONTEXT("cuStreamCreateWithPriority");
  if (!handle || flags > 1) return INVALID_VALUE;
  auto stream = std::make_shared<Stream>(*context, flags, std::max(-5, std::min(0, priority)));
  context->adopt(stream);
  *handle = State::get().streams.add(std::move(stream));
  return SUCCESS;
}
SIM_API int cuStreamCreate(void** handle, unsigned flags) {
  SIM_ENTRY("cuStreamCreate");
  return cuStreamCreateWithPriority(handle, flags, 0);
}

SIM_API int cuStreamDestroy_v2(void* handle) {
  SIM_ENTRY("cuStreamDestroy");
  auto stream = State::get().streams.take(handle);
  if (!stream) {
    violate("destruction of a stream that does not exist (destroyed twice?)");
    return INVALID_HANDLE;
  }
  forget_captured_stream(*stream);
  stream->context.forget(std::move(stream));
  return SUCCESS;
}

SIM_API int cuStreamSynchronize(void* handle) {
  SIM_STREAM("cuStreamSynchronize");
  SIM_TRY(check_not_capturing(*stream));
  if (auto const last = stream->last()) last->wait();
  return context->sticky();
}

SIM_API int cuStreamQuery(void* handle) {
  SIM_STREAM("cuStreamQuery");
  SIM_TRY(check_not_capturing(*stream));
  auto const last = stream->last();
  if (last && !last->query()) return NOT_READY;
  return context->sticky();
}

SIM_API int cuStreamGetFlags(void* handle, unsigned* flags) {
  SIM_STREAM("cuStreamGetFlags");
  *flags = stream->flags & stream_flag_nonblocking;
  return SUCCESS;
}
SIM_API int cuStreamGetPriority(void* handle, int* priority) {
  SIM_STREAM("cuStreamGetPriority");
  *priority = stream->priority;
  return SUCCESS;
}
SIM_API int cuStreamGetCtx(void* handle, void** owner) {
  SIM_ENTRY("cuStreamGetCtx");
  auto const value = reinterpret_cast<uintptr_t>(handle);
  if (value <= 2) {
    Context* context = nullptr;
    SIM_TRY(current(&context));
    *owner = context;
    return SUCCESS;
  }
  auto const stream = State::get().streams.find(handle);
  if (!stream) return INVALID_HANDLE;
  *owner = &stream->context;
  return SUCCESS;
}
SIM_API int cuStreamGetId(void* handle, unsigned long long* id) {
  SIM_STREAM("cuStreamGetId");
  *id = reinterpret_cast<uintptr_t>(stream.get());
  return SUCCESS;
}
SIM_API int cuStreamGetDevice(void* handle, int* device) {
  SIM_STREAM("cuStreamGetDevice");
  *device = context->device;
  return SUCCESS;
}

SIM_API int cuStreamWaitEvent(void* handle, void* event_handle, unsigned) {
  SIM_STREAM("cuStreamWaitEvent");
  auto const event = State::get().events.find(event_handle);
  if (!event) {
    violate("wait for an event that does not exist (destroyed?)");
    return INVALID_HANDLE;
  }
  return wait_event(*stream, *event);
}

SIM_API int cuLaunchHostFunc(void* handle, void (*function)(void*), void* argument) {
  SIM_STREAM("cuLaunchHostFunc");
  auto work = std::make_shared<Work>();
  work->kind = "host";
  work->run = [function, argument]() -> Result {
    // Host functions are the caller's code: not inside the driver, and without a context.
    int const depth = Inside::depth;
    Inside::depth = 0;
    function(argument);
    Inside::depth = depth;
    return SUCCESS;
  };
  return submit(*stream, work);
}

SIM_API int cuEventCreate(void** handle, unsigned flags) {
  SIM_CONTEXT("cuEventCreate");
  auto event = std::make_shared<Event>();
  event->context = context;
  event->flags = flags;
  *handle = State::get().events.add(std::move(event));
  return SUCCESS;
}

SIM_API int cuEventDestroy_v2(void* handle) {
  SIM_ENTRY("cuEventDestroy");
  if (State::get().events.take(handle)) return SUCCESS;
  violate("destruction of an event that does not exist (destroyed twice?)");
  return INVALID_HANDLE;
}

SIM_API int cuEventRecord(void* event_handle, void* handle) {
  SIM_STREAM("cuEventRecord");
  auto const event = State::get().events.find(event_handle);
  if (!event) {
    violate("record of an event that does not exist (destroyed?)");
    return INVALID_HANDLE;
  }
  if (event->context != context) return INVALID_HANDLE;
  return record_event(*event, *stream);
}
SIM_API int cuEventRecordWithFlags(void* event, void* stream, unsigned) {
  SIM_ENTRY("cuEventRecordWithFlags");
  return cuEventRecord(event, stream);
}

namespace {
Result finished(void* handle, bool wait) {
  auto const event = State::get().events.find(handle);
  if (!event) return INVALID_HANDLE;
  if (is_captured_event(*event)) return CAPTURED_EVENT;
  CompletionRef recorded;
  {
    std::lock_guard<std::mutex> hold(event->lock);
    recorded = event->recorded;
  }
  if (recorded && wait) recorded->wait();
  if (recorded && !recorded->query()) return NOT_READY;
  return event->context->sticky();
}
}  // namespace

SIM_API int cuEventQuery(void* handle) {
  SIM_ENTRY("cuEventQuery");
  return finished(handle, false);
}
SIM_API int cuEventSynchronize(void* handle) {
  SIM_ENTRY("cuEventSynchronize");
  return finished(handle, true);
}

SIM_API int cuEventElapsedTime(float* milliseconds, void* start_handle, void* end_handle) {
  SIM_ENTRY("cuEventElapsedTime");
  auto const start = State::get().events.find(start_handle), end = State::get().events.find(end_handle);
  if (!start || !end) return INVALID_HANDLE;
  constexpr unsigned disable_timing = 2;
  if ((start->flags | end->flags) & disable_timing) return INVALID_HANDLE;
  CompletionRef from, to;
  {
    std::lock_guard<std::mutex> hold(start->lock);
    from = start->recorded;
  }
  {
    std::lock_guard<std::mutex> hold(end->lock);
    to = end->recorded;
  }
  if (!from || !to) return INVALID_HANDLE;
  if (!from->query() || !to->query()) return NOT_READY;
  *milliseconds = std::chrono::duration<float, std::milli>(to->when() - from->when()).count();
  return SUCCESS;
}
SIM_API int cuEventElapsedTime_v2(float* milliseconds, void* start, void* end) {
  return cuEventElapsedTime(milliseconds, start, end);
}

SIM_API int cuThreadExchangeStreamCaptureMode(int* mode) {
  SIM_ENTRY("cuThreadExchangeStreamCaptureMode");
  if (!mode || *mode < 0 || *mode > 2) return INVALID_VALUE;
  *mode = exchange_capture_mode(*mode);
  return SUCCESS;
}

SIM_API int cuStreamBeginCapture_v2(void* handle, int mode) {
  SIM_STREAM("cuStreamBeginCapture");
  return begin_capture(*stream, mode);
}

SIM_API int cuStreamEndCapture(void* handle, void** graph_handle) {
  SIM_STREAM("cuStreamEndCapture");
  std::shared_ptr<Graph> graph;
  *graph_handle = nullptr;
  SIM_TRY(end_capture(*stream, &graph));
  *graph_handle = State::get().graphs.add(std::move(graph));
  return SUCCESS;
}

SIM_API int cuStreamIsCapturing(void* handle, int* status) {
  SIM_STREAM("cuStreamIsCapturing");
  *status = capture_status(*stream, nullptr);
  return SUCCESS;
}

SIM_API int cuStreamGetCaptureInfo_v2(void* handle, int* status, uint64_t* id, void** graph, void*** dependencies,
                                      size_t* count) {
  SIM_STREAM("cuStreamGetCaptureInfo");
  *status = capture_status(*stream, id);
  if (graph) *graph = nullptr;
  if (dependencies) *dependencies = nullptr;
  if (count) *count = 0;
  return SUCCESS;
}

SIM_API int cuGraphCreate(void** graph, unsigned) {
  SIM_ENTRY("cuGraphCreate");
  *graph = State::get().graphs.add(std::make_shared<Graph>());
  return SUCCESS;
}

SIM_API int cuGraphInstantiateWithFlags(void** exec, void* graph_handle, unsigned long long) {
  SIM_CONTEXT("cuGraphInstantiate");
  auto const graph = State::get().graphs.find(graph_handle);
  if (!graph) return INVALID_VALUE;
  auto made = std::make_shared<GraphExec>();
  made->nodes = graph->nodes;
  *exec = State::get().graph_execs.add(std::move(made));
  return SUCCESS;
}
SIM_API int cuGraphInstantiate_v2(void** exec, void* graph, void** error_node, char* log, size_t log_size) {
  if (error_node) *error_node = nullptr;
  if (log && log_size) *log = 0;
  return cuGraphInstantiateWithFlags(exec, graph, 0);
}

SIM_API int cuGraphLaunch(void* exec_handle, void* handle) {
  SIM_STREAM("cuGraphLaunch");
  auto const exec = State::get().graph_execs.find(exec_handle);
  return exec ? launch_graph(*exec, *stream) : INVALID_VALUE;
}

SIM_API int cuGraphUpload(void* exec, void*) {
  SIM_CONTEXT("cuGraphUpload");
  return State::get().graph_execs.find(exec) ? SUCCESS : INVALID_VALUE;
}

SIM_API int cuGraphGetNodes(void* handle, void** nodes, size_t* count) {
  SIM_ENTRY("cuGraphGetNodes");
  auto const graph = State::get().graphs.find(handle);
  if (!graph || !count) return INVALID_VALUE;
  if (nodes)
    for (size_t i = 0; i < *count && i < graph->nodes.size(); ++i) nodes[i] = const_cast<Work*>(graph->nodes[i].get());
  *count = graph->nodes.size();
  return SUCCESS;
}

namespace {
/** Layout of CUgraphExecUpdateResultInfo. */
struct UpdateInfo {
  int result;
  void* error_node;
  void* error_from_node;
};
constexpr int topology_changed = 2;

Result update(void* exec_handle, void* graph_handle, int* outcome) {
  auto const exec = State::get().graph_execs.find(exec_handle);
  auto const graph = State::get().graphs.find(graph_handle);
  if (!exec || !graph) return INVALID_VALUE;
  std::lock_guard<std::mutex> hold(exec->lock);
  bool same = exec->nodes.size() == graph->nodes.size();
  for (size_t i = 0; same && i < exec->nodes.size(); ++i)
    same = !std::strcmp(exec->nodes[i]->kind, graph->nodes[i]->kind);
  *outcome = same ? 0 : topology_changed;
  if (!same) return GRAPH_EXEC_UPDATE_FAILURE;
  exec->nodes = graph->nodes;
  return SUCCESS;
}
}  // namespace

SIM_API int cuGraphExecUpdate_v2(void* exec, void* graph, void* info) {
  SIM_ENTRY("cuGraphExecUpdate");
  int outcome = 0;
  Result const code = update(exec, graph, &outcome);
  if (info) *static_cast<UpdateInfo*>(info) = {outcome, nullptr, nullptr};
  return code;
}

SIM_API int cuGraphDestroy(void* handle) {
  SIM_ENTRY("cuGraphDestroy");
  if (State::get().graphs.take(handle)) return SUCCESS;
  violate("destruction of a graph that does not exist (destroyed twice?)");
  return INVALID_VALUE;
}
SIM_API int cuGraphExecDestroy(void* handle) {
  SIM_ENTRY("cuGraphExecDestroy");
  if (State::get().graph_execs.take(handle)) return SUCCESS;
  violate("destruction of an executable graph that does not exist (destroyed twice?)");
  return INVALID_VALUE;
}

SIM_API int sim_launch(void* handle, char const*, sim_kernel_fn function, void* argument, void (*drop)(void*)) {
  std::shared_ptr<void> owned(argument, [drop](void* value) {
    if (drop) drop(value);
  });
  SIM_STREAM("cuLaunchKernel");
  std::this_thread::sleep_for(std::chrono::microseconds(delay_of("launch")));  // a slow host: this thread's time
  auto work = std::make_shared<Work>();
  work->run = [function, owned] { return function(owned.get()); };
  return submit(*stream, work);
}

SIM_API int sim_produce_f32(void* handle, uint64_t address, size_t count, float value, long delay_us) {
  SIM_STREAM("cuLaunchKernel");
  auto work = std::make_shared<Work>();
  work->run = [=]() -> Result {
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    auto* const values = static_cast<float*>(sim_view(address, count * sizeof(float)));
    if (!values) return ILLEGAL_ADDRESS;
    for (size_t i = 0; i < count; ++i) values[i] = value;
    return SUCCESS;
  };
  return submit(*stream, work);
}
