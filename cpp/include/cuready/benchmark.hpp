// Times an engine as trtexec does: stages, percentiles, and which stage bounds the run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuready/engine.hpp"

namespace cuready {

struct BenchmarkOptions {
  double warmup_seconds = 0.2;
  double seconds = 3.0;              ///< at least this long …
  std::int64_t min_iterations = 10;  ///< … and at least this many runs
  int streams = 1;                   ///< contexts, each on its own stream and thread
  bool graph = false;                ///< replay CUDA graphs
  bool transfers = true;             ///< copy inputs to and outputs from the device in every run
  bool spin = false;                 ///< wait by spinning instead of by blocking
  int profile = 0;
  std::vector<std::pair<std::string, Dims>> shapes;  ///< inputs that differ from the profile's optimum
  std::vector<std::pair<std::string, std::vector<std::int64_t>>>
      shape_values;  ///< values of shape tensors that differ from the optimum
};

/// Milliseconds over all runs; cov is the coefficient of variation in percent.
struct Percentiles {
  double min = 0, max = 0, mean = 0, median = 0, p90 = 0, p95 = 0, p99 = 0, cov = 0;
};

struct BenchmarkReport {
  std::int64_t iterations = 0;
  double seconds = 0;         ///< wall time of the timed part
  double throughput = 0;      ///< runs per second over all streams
  Percentiles enqueue;        ///< host time of the submitting call
  Percentiles h2d, gpu, d2h;  ///< device time between events
  Percentiles latency;        ///< h2d + gpu + d2h of one run
  std::string bound_by;       ///< "enqueue", "h2d", "gpu" or "d2h"
  std::string diagnosis;      ///< one sentence: what to try
  bool graph = false;         ///< graphs were really replayed
  std::string graph_fallback_reason;
};

/// Runs the engine on made-up inputs. Times are of this process on this machine at this moment: compare inside one
/// process only.
CUREADY_API BenchmarkReport benchmark(const std::shared_ptr<Engine>& engine, const BenchmarkOptions& options = {});

}  // namespace cuready
