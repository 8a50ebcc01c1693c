// The timing loop: copy in, enqueue, copy out on each stream, two runs in flight, events around every stage; and the
// same runs queued behind a held stream, where the GPU never waits for the host.
#include "cuready/benchmark.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <exception>
#include <thread>

#include "cuda/gate.hpp"
#include "cuready/context.hpp"
#include "runtime/statistics.hpp"

namespace cuready {

namespace {

/// Of sorted samples: where the distribution function, taken at the middle of its steps, crosses one half. Between two
/// values by a straight line. See Percentiles.
double middle(const std::vector<double>& sorted) {
  const double half = static_cast<double>(sorted.size()) / 2;
  double value = sorted.front(), rank = 0;  // of the last value whose middle lies below one half
  for (auto first = sorted.begin(); first != sorted.end();) {
    const auto last = std::upper_bound(first, sorted.end(), *first);
    const double here = static_cast<double>(first - sorted.begin()) + static_cast<double>(last - first) / 2;
    if (here >= half) {
      if (rank <= 0 || here <= half) return *first;
      return value + (*first - value) * (half - rank) / (here - rank);
    }
    value = *first;
    rank = here;
    first = last;
  }
  return sorted.back();
}

}  // namespace

Percentiles summarize(std::vector<double> samples) {
  Percentiles p;
  if (samples.empty()) return p;
  std::sort(samples.begin(), samples.end());
  const auto n = static_cast<double>(samples.size());
  const auto at = [&](double percent) {
    const double rank = std::ceil(percent / 100.0 * n);
    return samples[static_cast<std::size_t>(std::clamp(rank, 1.0, n)) - 1];
  };
  double sum = 0;
  for (double sample : samples) sum += sample;
  p.min = samples.front();
  p.max = samples.back();
  p.mean = sum / n;
  p.median = middle(samples);
  p.p90 = at(90);
  p.p95 = at(95);
  p.p99 = at(99);
  double squares = 0;
  for (double sample : samples) squares += (sample - p.mean) * (sample - p.mean);
  p.cov = p.mean > 0 ? std::sqrt(squares / n) / p.mean * 100.0 : 0;
  return p;
}

namespace {

using clock = std::chrono::steady_clock;

double milliseconds(clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

struct Samples {
  std::vector<double> enqueue, h2d, gpu, d2h, latency;
};

constexpr int warm_runs = 4;  // a graph needs a plain run, a warm-up of its own context, and a capture

// Runs that are queued at once: enough that the GPU is not always at a first one, and so few that the driver's queue of
// launches, of about a thousand, holds them. A plan of many launches finds its own number below.
constexpr int least_queued = 3, most_queued = 64;
constexpr double queued_ms = 10;  // the time of one such batch, about
constexpr std::chrono::milliseconds hold_at_most{100};

/// Runs that were queued behind one another.
struct Queued {
  std::vector<double> gpu;
  int at_once = least_queued, most = most_queued;  // of the next batch
  int last = 0;                                    // of the last one that was kept
  std::string reason;  // why there are none
};

template <class T>
const T* find_named(const std::vector<std::pair<std::string, T>>& list, const std::string& name) {
  for (const auto& [key, value] : list) {
    if (key == name) return &value;
  }
  return nullptr;
}

/// One context with its stream, buffers and events.
class Runner {
 public:
  Runner(const std::shared_ptr<Engine>& engine, const BenchmarkOptions& options)
      : engine_(engine), options_(options), stream_(engine->device()) {
    ContextOptions context;
    context.profile = engine->profile_count() > 0 ? options.profile : -1;
    if (options.graph) context.graph = GraphMode::automatic;
    context_ = engine->create_context(context);
    bind_inputs();
    for (int o : engine->outputs()) {
      if (info(o).location == TensorLocation::device) context_->allocate_output(o);
    }
    context_->prepare(stream_);
    bind_host_outputs();
    for (Slot& slot : slots_) {
      for (auto& event : slot.events) event = std::make_unique<Event>(engine->device(), true, !options.spin);
    }
  }

  /// Runs until `deadline`, and `least` times.
  void loop(clock::time_point deadline, std::int64_t least, Samples* samples) {
    std::int64_t runs = 0;
    while (runs < least || clock::now() < deadline) {
      Slot& slot = slots_[static_cast<std::size_t>(runs % depth)];
      finish(slot, samples);
      submit(slot);
      ++runs;
    }
    for (std::int64_t i = 0; i < depth; ++i) finish(slots_[static_cast<std::size_t>((runs + i) % depth)], samples);
  }
  GraphStats graph_stats() const { return context_->graph_stats(); }

  /// Batches of runs behind a gate until `deadline`, at least one. Where the host cannot queue a batch while the stream
  /// is held, smaller ones are tried; where it cannot queue two runs, the reason is kept instead.
  void loop_queued(clock::time_point deadline, Queued& kept) {
    while (kept.reason.empty()) {
      const clock::time_point begin = clock::now();
      if (!queue(kept)) {
        if (kept.at_once <= 2) {
          kept.reason =
              "the host cannot queue two runs ahead: the engine waits for the GPU inside a run, or has more launches "
              "than the driver queues";
          return;
        }
        kept.most = kept.at_once = std::max(2, kept.at_once / 2);
        continue;
      }
      kept.last = kept.at_once;
      const double each = std::max(1e-4, milliseconds(clock::now() - begin) / kept.at_once);
      const auto fitting = static_cast<int>(std::min<double>(most_queued, queued_ms / each));
      kept.at_once = std::min(std::max(fitting, least_queued), kept.most);
      if (clock::now() >= deadline) return;
    }
  }

 private:
  static constexpr std::int64_t depth = 2;
  struct Slot {
    std::array<std::unique_ptr<Event>, 4> events;  // begin, inputs copied, computed, outputs copied
    double enqueue = 0;
    bool pending = false;
  };
  struct Copy {
    int tensor;
    std::unique_ptr<PinnedBuffer> host;
    std::unique_ptr<DeviceBuffer> device;
  };

  const TensorInfo& info(int tensor) const { return engine_->tensors()[static_cast<std::size_t>(tensor)]; }

  void bind_inputs() {
    for (int i : engine_->inputs()) {
      const TensorInfo& tensor = info(i);
      const bool has_bounds = static_cast<std::size_t>(options_.profile) < tensor.profiles.size();
      Dims shape = tensor.shape;
      if (shape.is_dynamic() && has_bounds) shape = tensor.profiles[static_cast<std::size_t>(options_.profile)].opt;
      if (const Dims* wanted = find_named(options_.shapes, tensor.name)) shape = *wanted;
      context_->set_shape(i, shape);
      if (tensor.location == TensorLocation::host) {
        std::vector<std::int64_t> values(static_cast<std::size_t>(std::max<std::int64_t>(shape.volume(), 0)), 1);
        if (has_bounds && !tensor.profiles[static_cast<std::size_t>(options_.profile)].opt_values.empty()) {
          values = tensor.profiles[static_cast<std::size_t>(options_.profile)].opt_values;
        }
        if (const auto* wanted = find_named(options_.shape_values, tensor.name)) values = *wanted;
        context_->set_shape_values(i, values);
        continue;
      }
      const std::size_t nbytes = tensor.bytes_for(shape);
      Copy copy{i, std::make_unique<PinnedBuffer>(engine_->device(), nbytes),
                std::make_unique<DeviceBuffer>(engine_->device(), nbytes)};
      std::memset(copy.host->data(), 0, nbytes);  // every bit pattern of a zero is a number in every type
      copy.device->copy_from_host(copy.host->data(), nbytes, stream_);
      context_->set_address(i, copy.device->data(), copy.device->nbytes());
      inputs_.push_back(std::move(copy));
    }
    stream_.synchronize();
  }

  void bind_host_outputs() {
    for (int o : engine_->outputs()) {
      if (info(o).location != TensorLocation::device) continue;
      const std::int64_t nbytes = context_->nbytes(o);
      const std::size_t room = nbytes > 0 ? static_cast<std::size_t>(nbytes) : 0;
      outputs_.push_back({o, std::make_unique<PinnedBuffer>(engine_->device(), room), nullptr});
    }
  }

  void submit(Slot& slot) {
    slot.events[0]->record(stream_);
    if (options_.transfers) {
      for (Copy& copy : inputs_) copy.device->copy_from_host(copy.host->data(), copy.device->nbytes(), stream_);
    }
    slot.events[1]->record(stream_);
    const clock::time_point begin = clock::now();
    context_->enqueue(stream_);
    slot.enqueue = milliseconds(clock::now() - begin);
    slot.events[2]->record(stream_);
    if (options_.transfers) {
      for (Copy& copy : outputs_) {
        const OutputView view = context_->output(copy.tensor);
        if (view.nbytes > copy.host->nbytes())
          copy.host = std::make_unique<PinnedBuffer>(engine_->device(), view.nbytes);
        copy_async(engine_->device(), copy.host->data(), view.data, view.nbytes, stream_);
      }
    }
    slot.events[3]->record(stream_);
    slot.pending = true;
  }

  void finish(Slot& slot, Samples* samples) {
    if (!slot.pending) return;
    slot.pending = false;
    if (options_.spin) {
      while (!slot.events[3]->done()) {
      }
    } else {
      slot.events[3]->synchronize();
    }
    if (samples == nullptr) return;
    const double h2d = static_cast<double>(slot.events[1]->milliseconds_since(*slot.events[0]));
    const double gpu = static_cast<double>(slot.events[2]->milliseconds_since(*slot.events[1]));
    const double d2h = static_cast<double>(slot.events[3]->milliseconds_since(*slot.events[2]));
    samples->enqueue.push_back(slot.enqueue);
    samples->h2d.push_back(h2d);
    samples->gpu.push_back(gpu);
    samples->d2h.push_back(d2h);
    samples->latency.push_back(h2d + gpu + d2h);
  }

  /// One batch; false when the stream went on before all of it was queued. The first run is not kept: the GPU comes to
  /// it from waiting.
  bool queue(Queued& kept) {
    const auto count = static_cast<std::size_t>(kept.at_once);
    while (marks_.size() < 2 * count)
      marks_.push_back(std::make_unique<Event>(engine_->device(), true, !options_.spin));
    bool held = false;
    {
      cuda::Gate gate(stream_, hold_at_most);
      for (std::size_t i = 0; i < count; ++i) {
        marks_[2 * i]->record(stream_);
        context_->enqueue(stream_);
        marks_[2 * i + 1]->record(stream_);
      }
      held = gate.open();
    }
    marks_[2 * count - 1]->synchronize();
    if (!held) return false;
    for (std::size_t i = 1; i < count; ++i) {
      kept.gpu.push_back(static_cast<double>(marks_[2 * i + 1]->milliseconds_since(*marks_[2 * i])));
    }
    return true;
  }

  std::shared_ptr<Engine> engine_;
  const BenchmarkOptions& options_;
  Stream stream_;
  std::shared_ptr<ExecutionContext> context_;
  std::vector<Copy> inputs_, outputs_;
  std::array<Slot, depth> slots_;
  std::vector<std::unique_ptr<Event>> marks_;  // begin and end of each queued run
};

/// Runs one function on every runner, each on a thread of its own; throws the first error. The device is current on
/// those threads, as in any program that runs an engine: else every call would make it so, and be timed doing that.
template <class Function>
void on_all(const Device& device, std::vector<std::unique_ptr<Runner>>& runners, Function function) {
  std::vector<std::exception_ptr> errors(runners.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < runners.size(); ++i) {
    threads.emplace_back([&, i] {
      try {
        const DeviceGuard current(device);
        function(*runners[i], i);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

/// trtexec's rule, by the GPU's own time: where runs were queued, time that the GPU waits for the host is not its own.
void diagnose(BenchmarkReport& report, bool alone) {
  struct Stage {
    const char* name;
    double mean;
    const char* advice;
  };
  const bool known = alone && report.queued_iterations > 0;
  const double gpu = known ? std::min(report.gpu.mean, report.gpu_queued.mean) : report.gpu.mean;
  const std::array<Stage, 4> stages{{
      {"gpu", gpu, "the GPU is the limit: a smaller precision, another batch size or a newer build may help"},
      {"enqueue", report.enqueue.mean,
       "the host submits more slowly than the GPU computes: use CUDA graphs, a larger batch, or more streams"},
      {"h2d", report.h2d.mean,
       "copies to the device are the limit: keep inputs on the GPU, or make them smaller (fp16, uint8)"},
      {"d2h", report.d2h.mean, "copies from the device are the limit: keep outputs on the GPU, or reduce them there"},
  }};
  const auto worst =
      std::max_element(stages.begin(), stages.end(), [](const Stage& a, const Stage& b) { return a.mean < b.mean; });
  report.bound_by = worst->name;
  report.diagnosis = worst->advice;
}

void check(const std::shared_ptr<Engine>& engine, const BenchmarkOptions& options) {
  if (!engine) throw InvalidArgument({"benchmark", "no engine"});
  if (options.streams < 1 || options.seconds < 0 || options.warmup_seconds < 0 || options.min_iterations < 1) {
    throw InvalidArgument({"benchmark", "streams and iterations must be at least 1, times at least 0"});
  }
  if (options.profile < 0 || options.profile >= std::max(engine->profile_count(), 1)) {
    throw InvalidArgument({"benchmark", "there is no profile " + std::to_string(options.profile),
                           "the engine has " + std::to_string(engine->profile_count())});
  }
  for (const auto& [tensor, shape] : options.shapes) static_cast<void>(engine->index(tensor));
  for (const auto& [tensor, values] : options.shape_values) static_cast<void>(engine->index(tensor));
}

clock::duration in_seconds(double s) {
  return std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(s));
}

}  // namespace

struct Benchmark::Impl {
  Impl(std::shared_ptr<Engine> given, BenchmarkOptions wanted) : engine(std::move(given)), options(std::move(wanted)) {
    check(engine, options);
    for (int i = 0; i < options.streams; ++i) runners.push_back(std::make_unique<Runner>(engine, options));
    samples.resize(runners.size());
  }

  /// One stage of every run so far, stream by stream.
  std::vector<double> all(std::vector<double> Samples::*stage) const {
    std::vector<double> joined;
    for (const Samples& part : samples) joined.insert(joined.end(), (part.*stage).begin(), (part.*stage).end());
    return joined;
  }

  std::shared_ptr<Engine> engine;
  BenchmarkOptions options;
  std::vector<std::unique_ptr<Runner>> runners;
  std::vector<Samples> samples;  // by runner
  Queued queued;
  double seconds = 0;
};

Benchmark::Benchmark(std::shared_ptr<Engine> engine, BenchmarkOptions options)
    : impl_(new Impl(std::move(engine), std::move(options))) {
  const clock::time_point end = clock::now() + in_seconds(impl_->options.warmup_seconds);
  on_all(impl_->engine->device(), impl_->runners,
         [&](Runner& runner, std::size_t) { runner.loop(end, warm_runs, nullptr); });
}

Benchmark::~Benchmark() = default;

void Benchmark::run(double seconds, std::int64_t least) {
  const auto runners = static_cast<std::int64_t>(impl_->runners.size());
  const std::int64_t each = (least + runners - 1) / runners;
  const clock::time_point begin = clock::now(), end = begin + in_seconds(seconds);
  on_all(impl_->engine->device(), impl_->runners,
         [&](Runner& runner, std::size_t i) { runner.loop(end, each, &impl_->samples[i]); });
  impl_->seconds += milliseconds(clock::now() - begin) / 1000.0;
}

void Benchmark::run_queued(double seconds) {
  const clock::time_point end = clock::now() + in_seconds(seconds);
  on_all(impl_->engine->device(), impl_->runners, [&](Runner& runner, std::size_t i) {
    if (i != 0) return;
    try {
      runner.loop_queued(end, impl_->queued);
    } catch (const UnsupportedFeature& error) {  // a driver that cannot hold a stream measures the rest all the same
      impl_->queued.reason = error.what();
    }
  });
}

std::vector<double> Benchmark::samples(const std::string& stage) const {
  if (stage == "gpu_queued") return impl_->queued.gpu;
  static const std::array<std::pair<const char*, std::vector<double> Samples::*>, 5> stages{
      {{"enqueue", &Samples::enqueue},
       {"h2d", &Samples::h2d},
       {"gpu", &Samples::gpu},
       {"d2h", &Samples::d2h},
       {"latency", &Samples::latency}}};
  for (const auto& [name, member] : stages) {
    if (stage == name) return impl_->all(member);
  }
  throw InvalidArgument({"samples of a benchmark", "\"" + stage + "\" is no stage",
                         "enqueue, h2d, gpu, d2h, latency and gpu_queued are"});
}

BenchmarkReport Benchmark::report() const {
  BenchmarkReport report;
  report.seconds = impl_->seconds;
  std::vector<double> latency = impl_->all(&Samples::latency);
  report.iterations = static_cast<std::int64_t>(latency.size());
  report.throughput = report.seconds > 0 ? static_cast<double>(report.iterations) / report.seconds : 0;
  report.enqueue = summarize(impl_->all(&Samples::enqueue));
  report.h2d = summarize(impl_->all(&Samples::h2d));
  report.gpu = summarize(impl_->all(&Samples::gpu));
  report.d2h = summarize(impl_->all(&Samples::d2h));
  report.latency = summarize(std::move(latency));
  report.gpu_queued = summarize(impl_->queued.gpu);
  report.queued_iterations = static_cast<std::int64_t>(impl_->queued.gpu.size());
  report.queued_at_once = impl_->queued.last;
  report.queued_reason = impl_->queued.reason;
  const GraphStats graphs = impl_->runners.front()->graph_stats();
  report.graph = graphs.replays > 0;
  report.graph_fallback_reason = impl_->options.graph ? graphs.fallback_reason : std::string();
  diagnose(report, impl_->options.streams == 1);
  return report;
}

BenchmarkReport benchmark(const std::shared_ptr<Engine>& engine, const BenchmarkOptions& options) {
  Benchmark timed(engine, options);
  timed.run(options.seconds, options.min_iterations);
  timed.run_queued(std::min(options.seconds / 6, 0.5));
  return timed.report();
}

}  // namespace cuready
