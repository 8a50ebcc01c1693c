// CUDA graphs: one per set of shapes and addresses, captured after warm-up, replayed with one driver call.
#include <algorithm>

#include "runtime/context_impl.hpp"

namespace cuready {

using tensorrt::Call;

// Known before any attempt. Data-dependent outputs: TensorRT 10 refuses the capture, and 8.6 lets it happen and then
// replays the size that it saw. Streamed weights are copied by host threads that a graph does not hold.
std::string ExecutionContext::Impl::why_no_graph() const {
  if (!primary->table().has_graphs()) return "this CUDA driver has no graphs";
  for (std::size_t i = 0; i < dynamic.size(); ++i) {
    if (dynamic[i]) return "the shape of the output \"" + e.tensors[i].name + "\" depends on the data";
  }
  const std::int64_t streamable = e.port->can_stream_weights() ? e.port->streamable_weights_size() : 0;
  if (streamable > 0 && e.port->weight_budget() < streamable) return "weights are streamed";
  return {};
}

std::vector<std::uint64_t> ExecutionContext::Impl::graph_key() const {
  std::vector<std::uint64_t> key;
  key.reserve(tensors.size() * 6);
  key.push_back(static_cast<std::uint64_t>(active_profile));
  for (const TensorState& state : tensors) {
    key.push_back(reinterpret_cast<std::uintptr_t>(state.address));
    key.push_back(static_cast<std::uint64_t>(state.shape.rank()));
    for (std::int64_t extent : state.shape) key.push_back(static_cast<std::uint64_t>(extent));
    for (std::int64_t value : state.values) key.push_back(static_cast<std::uint64_t>(value));
  }
  return key;
}

// Finds the entry of the present configuration, or makes one and lets the least recently used go.
void ExecutionContext::Impl::select_graph() {
  std::vector<std::uint64_t> key = graph_key();
  const auto found =
      std::find_if(graphs.begin(), graphs.end(), [&](const GraphEntry& entry) { return entry.key == key; });
  if (found != graphs.end()) {
    graphs.splice(graphs.begin(), graphs, found);
  } else {
    while (graphs.size() >= static_cast<std::size_t>(std::max(max_graphs, 1))) {
      if (graphs.back().exec != nullptr) {
        wait_for_last_run();
        cuda::discard(primary->table().cuGraphExecDestroy(graphs.back().exec));
        ++graph_stats.evictions;
      }
      graphs.pop_back();
    }
    graphs.emplace_front();
    graphs.front().key = std::move(key);
  }
  current_graph = &graphs.front();
  active_graph = current_graph->exec;
}

// See GraphEntry.
bool ExecutionContext::Impl::graphs_have_contexts() const { return !e.port->one_context_per_profile() && !e.has_alias; }

void ExecutionContext::Impl::enqueue_with_graph(StreamRef stream) {
  if (current_graph == nullptr) {
    const std::string reason = why_no_graph();
    if (!reason.empty()) {
      graph_stats.fallback_reason = reason;
      ++graph_stats.fallbacks;
      if (graph_mode == GraphMode::require) {
        throw CaptureError({"capture a CUDA graph", reason,
                            "use GraphMode::automatic to run without a graph where there can be none"});
      }
      run_port(*port, stream);
      return;
    }
    graph_stats.fallback_reason.clear();
    select_graph();
  }
  GraphEntry& entry = *current_graph;
  if (entry.exec == nullptr && (entry.refused || entry.runs < graph_warmup)) {
    ++entry.runs;
    run_port(*port, stream);
    return;
  }
  if (entry.exec == nullptr) {
    try {
      if (graphs_have_contexts()) {
        // The graph's own context needs a run before it is captured: that is the run that was asked for.
        entry.port = e.port->create_context();
        configure(*entry.port, stream);
        run_port(*entry.port, stream);
        cuda::check(primary->table().cuStreamSynchronize(stream.handle), "cuStreamSynchronize", "warm a CUDA graph up");
        capture(entry);
        active_graph = entry.exec;
        return;
      }
      wait_for_last_run();
      capture(entry);
    } catch (const Error& error) {
      give_up_graph(entry, error.what(), stream);
      return;
    }
  }
  active_graph = entry.exec;
  cuda::check(primary->table().cuGraphLaunch(entry.exec, stream.handle), "cuGraphLaunch", "replay a CUDA graph");
  ++replays;
}

void ExecutionContext::Impl::give_up_graph(GraphEntry& entry, const std::string& reason, StreamRef stream) {
  entry.refused = true;
  wait_for_last_run();  // the warm-up may be running in the context that goes now
  entry.port.reset();
  capture_stream.reset();  // a failed capture may leave its stream unusable
  graph_stats.fallback_reason = reason;
  ++graph_stats.fallbacks;
  if (graph_mode == GraphMode::require) {
    entry.refused = false;  // the next call may try again
    forget_graph_choice();
    graphs.pop_front();
    graph_stats.fallback_reason = reason;
    throw CaptureError(
        {"capture a CUDA graph", reason, "use GraphMode::automatic to run without a graph where there can be none"});
  }
  run_port(*port, stream);
}

// On a stream of its own, in thread-local mode: what other threads do with CUDA meanwhile is neither captured nor
// forbidden.
void ExecutionContext::Impl::capture(GraphEntry& entry) {
  constexpr const char* operation = "capture a CUDA graph";
  const cuda::Table& t = primary->table();
  if (!capture_stream) capture_stream = std::make_unique<Stream>(engine->device());
  tensorrt::ContextPort& runner = entry.port ? *entry.port : *port;
  const Call call("IExecutionContext::enqueueV3 (captured)", subject());
  cuda::check(t.cuStreamBeginCapture(capture_stream->handle(), cuda::capture_thread_local), "cuStreamBeginCapture_v2",
              operation);
  const bool enqueued = runner.enqueue_function()(runner.enqueue_object(), capture_stream->handle());
  cuda::CUgraph graph = nullptr;
  const cuda::CUresult ended =
      t.cuStreamEndCapture(capture_stream->handle(), &graph);  // always: it ends the capture mode
  struct Graph {
    const cuda::Table& t;
    cuda::CUgraph handle;
    ~Graph() {
      if (handle != nullptr) cuda::discard(t.cuGraphDestroy(handle));
    }
  } owner{t, graph};
  call.require(enqueued);
  cuda::check(ended, "cuStreamEndCapture", operation);
  if (graph == nullptr) call.fail("the capture gave no graph");
  const cuda::CUresult made = t.cuGraphInstantiateWithFlags != nullptr
                                  ? t.cuGraphInstantiateWithFlags(&entry.exec, graph, 0)
                                  : t.cuGraphInstantiate(&entry.exec, graph, nullptr, nullptr, 0);
  if (made != cuda::success) entry.exec = nullptr;
  cuda::check(made, "cuGraphInstantiate", operation);
  ++graph_stats.captures;
}

void ExecutionContext::Impl::clear_graphs() noexcept {
  forget_graph_choice();
  if (graphs.empty()) return;
  for (GraphEntry& entry : graphs) {
    if (entry.exec != nullptr) cuda::discard(primary->table().cuGraphExecDestroy(entry.exec));
  }
  graphs.clear();
}

void ExecutionContext::set_graph_mode(GraphMode mode, int max_graphs) {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  if (max_graphs < 1)
    throw InvalidArgument({"set the graph mode", "room for " + std::to_string(max_graphs) + " graphs", "at least 1"});
  const cuda::ThrowingGuard current(*c.primary);
  c.wait_idle();
  c.clear_graphs();
  c.graph_mode = mode;
  c.max_graphs = max_graphs;
  c.graph_stats.fallback_reason.clear();
  c.special = true;
}

GraphStats ExecutionContext::graph_stats() const {
  const Impl& c = *impl_;
  GraphStats stats = c.graph_stats;
  stats.replays = c.replays;
  stats.active = c.active_graph != nullptr;
  stats.cached = static_cast<int>(
      std::count_if(c.graphs.begin(), c.graphs.end(), [](const GraphEntry& entry) { return entry.exec != nullptr; }));
  return stats;
}

void ExecutionContext::clear_graphs() {
  Impl& c = *impl_;
  const BusyGuard busy(c);
  const cuda::ThrowingGuard current(*c.primary);
  c.wait_idle();
  c.clear_graphs();
  c.special = true;
}

}  // namespace cuready
