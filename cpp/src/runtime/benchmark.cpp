// The timing loop: copy in, enqueue, copy out on each stream, two runs in flight, events around every stage.
#include "cuready/benchmark.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <exception>
#include <thread>

#include "cuready/context.hpp"
#include "runtime/statistics.hpp"

namespace cuready {

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
  const std::size_t middle = samples.size() / 2;
  p.median = samples.size() % 2 != 0 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
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

  std::shared_ptr<Engine> engine_;
  const BenchmarkOptions& options_;
  Stream stream_;
  std::shared_ptr<ExecutionContext> context_;
  std::vector<Copy> inputs_, outputs_;
  std::array<Slot, depth> slots_;
};

/// Runs one function on every runner, each on a thread of its own; throws the first error. The device is current on those
/// threads, as in any program that runs an engine: else every call would make it so, and be timed doing that.
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

void diagnose(BenchmarkReport& report) {
  struct Stage {
    const char* name;
    double mean;
    const char* advice;
  };
  const std::array<Stage, 4> stages{{
      {"gpu", report.gpu.mean,
       "the GPU is the limit: a smaller precision, another batch size or a newer build may help"},
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

}  // namespace

BenchmarkReport benchmark(const std::shared_ptr<Engine>& engine, const BenchmarkOptions& options) {
  check(engine, options);
  std::vector<std::unique_ptr<Runner>> runners;
  for (int i = 0; i < options.streams; ++i) runners.push_back(std::make_unique<Runner>(engine, options));
  const auto seconds = [](double s) {
    return std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(s));
  };

  constexpr std::int64_t warm_runs = 4;  // a graph needs a plain run, a warm-up of its own context, and a capture
  const clock::time_point warm_end = clock::now() + seconds(options.warmup_seconds);
  on_all(engine->device(), runners, [&](Runner& runner, std::size_t) { runner.loop(warm_end, warm_runs, nullptr); });

  std::vector<Samples> samples(runners.size());
  const std::int64_t least = (options.min_iterations + options.streams - 1) / options.streams;
  const clock::time_point begin = clock::now();
  const clock::time_point end = begin + seconds(options.seconds);
  on_all(engine->device(), runners,
         [&](Runner& runner, std::size_t i) { runner.loop(end, least, &samples[i]); });

  BenchmarkReport report;
  report.seconds = milliseconds(clock::now() - begin) / 1000.0;
  Samples all;
  for (const Samples& part : samples) {
    for (const auto& [from, to] :
         {std::pair{&part.enqueue, &all.enqueue}, std::pair{&part.h2d, &all.h2d}, std::pair{&part.gpu, &all.gpu},
          std::pair{&part.d2h, &all.d2h}, std::pair{&part.latency, &all.latency}}) {
      to->insert(to->end(), from->begin(), from->end());
    }
  }
  report.iterations = static_cast<std::int64_t>(all.latency.size());
  report.throughput = report.seconds > 0 ? static_cast<double>(report.iterations) / report.seconds : 0;
  report.enqueue = summarize(std::move(all.enqueue));
  report.h2d = summarize(std::move(all.h2d));
  report.gpu = summarize(std::move(all.gpu));
  report.d2h = summarize(std::move(all.d2h));
  report.latency = summarize(std::move(all.latency));
  const GraphStats graphs = runners.front()->graph_stats();
  report.graph = graphs.replays > 0;
  report.graph_fallback_reason = options.graph ? graphs.fallback_reason : std::string();
  diagnose(report);
  return report;
}

}  // namespace cuready
