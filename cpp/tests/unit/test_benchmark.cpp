// Timing an engine: in turns, and with runs queued behind a held stream.
#include <algorithm>

#include "support.hpp"

using namespace cuready;
using test::Session;

namespace {

BenchmarkOptions brief() {
  BenchmarkOptions options;
  options.warmup_seconds = 0;
  options.transfers = false;
  return options;
}

}  // namespace

TEST_CASE_FIXTURE(Session, "turns add up") {
  Benchmark timed(load(test::affine()), brief());
  CHECK(timed.report().iterations == 0);
  timed.run(0, 20);
  const BenchmarkReport first = timed.report();
  CHECK(first.iterations >= 20);
  CHECK(first.queued_iterations == 0);
  timed.run(0, 20);
  const BenchmarkReport both = timed.report();
  CHECK(both.iterations >= first.iterations + 20);
  CHECK(both.seconds > first.seconds);
  CHECK(timed.samples("enqueue").size() == static_cast<std::size_t>(both.iterations));
  CHECK_THROWS_AS(static_cast<void>(timed.samples("no such stage")), InvalidArgument);
}

TEST_CASE_FIXTURE(Session, "queued runs are the GPU's own time, and the stream goes on after them") {
  sim.delay("kernel", 300);
  Benchmark timed(load(test::affine()), brief());
  timed.run_queued(0.02);
  timed.run(0, 4);
  timed.run_queued(0.02);
  const BenchmarkReport report = timed.report();
  CHECK(report.queued_reason == "");
  CHECK(report.queued_at_once >= 2);
  CHECK(report.queued_iterations >= 2);
  const std::vector<double> samples = timed.samples("gpu_queued");
  CHECK(samples.size() == static_cast<std::size_t>(report.queued_iterations));
  CHECK(*std::min_element(samples.begin(), samples.end()) >= 0.3);
}

TEST_CASE_FIXTURE(Session, "several streams are timed at once") {
  if (test::release().before(10, 0)) return;  // one profile, one context
  BenchmarkOptions options = brief();
  options.streams = 3;
  Benchmark timed(load(test::affine(R"(, "device_memory": [4096])")), options);
  timed.run(0, 30);
  timed.run_queued(0);
  CHECK(timed.report().iterations >= 30);
}
