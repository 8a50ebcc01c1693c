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

/// Milliseconds over all runs; cov is the coefficient of variation in percent. Times that come in steps (those between
/// events do) are ties, and the median lies between two steps where the samples on both sides of it say so: the
/// mid-distribution quantile of Ma, Genton and Parzen (2011), which is the usual median where no two are equal.
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
  /// Device time between the same events where runs were queued before the GPU began with them, on one stream, without
  /// copies. `gpu` has the time in it that the GPU waits for the host inside a run; this has not.
  Percentiles gpu_queued;
  std::int64_t queued_iterations = 0;
  int queued_at_once = 0;     ///< runs behind one another in the last batch, the first of which is not counted; 0: none
  std::string queued_reason;  ///< why there is no gpu_queued, or empty
};

/// An engine that is timed in turns, with other things in between: contexts, streams, buffers and events are made once.
/// One thread at a time.
class CUREADY_API Benchmark {
 public:
  /// Makes everything and warms up. `options.seconds` is not used. Throws InvalidArgument for options that make no
  /// sense.
  explicit Benchmark(std::shared_ptr<Engine> engine, BenchmarkOptions options = {});
  ~Benchmark();
  Benchmark(const Benchmark&) = delete;
  Benchmark& operator=(const Benchmark&) = delete;
  /// Runs as trtexec does, two runs in flight on each stream, at least so long and at least `least` times.
  void run(double seconds, std::int64_t least = 1);
  /// Queues runs behind a held stream, lets the GPU go, and again, at least so long.
  void run_queued(double seconds);
  /// Over all turns so far.
  BenchmarkReport report() const;
  /// Milliseconds of every run so far, stream by stream, of a stage: "enqueue", "h2d", "gpu", "d2h", "latency" or
  /// "gpu_queued". Throws InvalidArgument for another name.
  std::vector<double> samples(const std::string& stage) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Runs the engine on made-up inputs for `options.seconds`, and queued for another sixth of it, half a second at most.
/// Times are of this process on this machine at this moment: compare inside one process only.
CUREADY_API BenchmarkReport benchmark(const std::shared_ptr<Engine>& engine, const BenchmarkOptions& options = {});

}  // namespace cuready
