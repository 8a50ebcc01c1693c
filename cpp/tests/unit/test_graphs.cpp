// CUDA graphs: captured once per shapes and addresses, bounded, given up with a reason.
#include "support.hpp"

using namespace cuready;
using test::Array;
using test::expect;
using test::Session;

namespace {

struct Captured {
  Captured(const Session& session, GraphMode mode, const std::string& text = test::two_profiles(), int max_graphs = 8)
      : engine(session.load(text)), stream(engine->device()) {
    ContextOptions options;
    options.graph = mode;
    options.max_graphs = max_graphs;
    context = engine->create_context(options);
  }
  std::shared_ptr<Engine> engine;
  Stream stream;
  std::shared_ptr<ExecutionContext> context;

  bool run(std::int64_t rows, const Array& in, const Array& out, float value, const Session& session) {
    const auto count = static_cast<std::size_t>(rows * 4);
    session.sim.produce(stream, in.data(), count, value, 0);
    context->bind(0, in.view({rows, 4}));
    context->bind(1, out.view({rows, 4}));
    context->enqueue(stream);
    context->synchronize();
    const auto result = out.read(stream);
    return result[0] == 2 * value + 1 && result[count - 1] == 2 * value + 1;
  }
};

}  // namespace

TEST_CASE_FIXTURE(Session, "after a warm-up run the same shapes replay a graph with fresh data") {
  Captured c(*this, GraphMode::automatic);
  const Array in(c.engine->device(), 32), out(c.engine->device(), 32);
  for (int i = 0; i < 10; ++i) CHECK(c.run(2, in, out, static_cast<float>(i), *this));
  const GraphStats stats = c.context->graph_stats();
  CHECK(stats.captures == 1);
  CHECK(stats.replays >= 8);
  CHECK(stats.cached == 1);
  CHECK(stats.fallback_reason.empty());
  CHECK(sim.calls("cuGraphLaunch") == static_cast<long>(stats.replays));
}

TEST_CASE_FIXTURE(Session, "every shape has its graph, and coming back finds it") {
  Captured c(*this, GraphMode::automatic);
  const Array in(c.engine->device(), 64), out(c.engine->device(), 64);
  for (int round = 0; round < 4; ++round)
    for (const std::int64_t rows : {2, 3, 4}) CHECK(c.run(rows, in, out, static_cast<float>(round * 10 + rows), *this));
  const GraphStats stats = c.context->graph_stats();
  CHECK(stats.captures == 3);
  CHECK(stats.cached == 3);
}

TEST_CASE_FIXTURE(Session, "the cache is bounded and forgets the oldest") {
  Captured c(*this, GraphMode::automatic, test::two_profiles(), 2);
  const Array in(c.engine->device(), 64), out(c.engine->device(), 64);
  for (const std::int64_t rows : {1, 2, 3, 4, 5})
    for (int i = 0; i < 3; ++i) CHECK(c.run(rows, in, out, static_cast<float>(rows + i), *this));
  const GraphStats stats = c.context->graph_stats();
  CHECK(stats.cached == 2);
  CHECK(stats.evictions == 3);
  c.context->clear_graphs();
  CHECK(c.context->graph_stats().cached == 0);
  CHECK(c.run(2, in, out, 1.0f, *this));
}

TEST_CASE_FIXTURE(Session, "a run that makes an older graph go is waited for like any other") {
  Captured c(*this, GraphMode::automatic, test::slow(20000), 1);
  const Array in(c.engine->device(), std::vector<float>(16, 1.0f)), out(c.engine->device(), 16), other(c.engine->device(), 16);
  c.context->bind(0, in.view({16}));
  c.context->bind(1, out.view({16}));
  for (int i = 0; i < 3; ++i) c.context->enqueue(c.stream);
  CHECK(c.context->graph_stats().cached == 1);
  c.context->bind(1, other.view({16}));
  c.context->enqueue(c.stream);
  CHECK(c.context->graph_stats().evictions == 1);
  CHECK_FALSE(c.context->done());
  c.context->synchronize();
  CHECK(c.stream.done());
}

TEST_CASE_FIXTURE(Session, "a new address is never replayed with the old one") {
  Captured c(*this, GraphMode::automatic);
  const Array a(c.engine->device(), 32), b(c.engine->device(), 32), out(c.engine->device(), 32), other(c.engine->device(), 32);
  for (int i = 0; i < 4; ++i) {
    CHECK(c.run(4, a, out, static_cast<float>(i), *this));
    CHECK(c.run(4, b, other, static_cast<float>(100 + i), *this));
  }
}

TEST_CASE_FIXTURE(Session, "a data-dependent engine is not captured: automatic falls back with the reason, require throws") {
  Captured c(*this, GraphMode::automatic, test::nonzero());
  c.context->allocate_output(1);
  const Array in(c.engine->device(), std::vector<float>{1, -1, 1, 1});
  for (int i = 0; i < 4; ++i) {
    c.context->bind(0, in.view({4}));
    c.context->enqueue(c.stream);
    c.context->synchronize();
    CHECK(c.context->output(1).shape == Dims{1, 3});
  }
  CHECK(c.context->graph_stats().captures == 0);
  CHECK_FALSE(c.context->graph_stats().fallback_reason.empty());
  CHECK(sim.calls("cuStreamBeginCapture") == 0);
  expect<CaptureError>([&] {
    Captured strict(*this, GraphMode::require, test::nonzero());
    strict.context->allocate_output(1);
    strict.context->bind(0, in.view({4}));
    for (int i = 0; i < 3; ++i) strict.context->enqueue(strict.stream);
  });
}

TEST_CASE_FIXTURE(Session, "a failed capture falls back, says why, and leaves no sticky error") {
  Captured c(*this, GraphMode::automatic);
  const Array in(c.engine->device(), 32), out(c.engine->device(), 32);
  CHECK(c.run(2, in, out, 1.0f, *this));
  sim.trt_fail("IExecutionContext::enqueueV3", "operation not permitted when stream is capturing");
  for (int i = 0; i < 4; ++i) CHECK(c.run(2, in, out, static_cast<float>(i), *this));
  const GraphStats stats = c.context->graph_stats();
  CHECK(stats.fallbacks >= 1);
  CHECK(stats.fallback_reason.find("capturing") != std::string::npos);
}

TEST_CASE_FIXTURE(Session, "an instantiation that fails falls back") {
  Captured c(*this, GraphMode::automatic);
  const Array in(c.engine->device(), 32), out(c.engine->device(), 32);
  sim.fail("cuGraphInstantiate", 2, 1, 100);
  for (int i = 0; i < 4; ++i) CHECK(c.run(2, in, out, static_cast<float>(i), *this));
  CHECK(c.context->graph_stats().fallback_reason.find("CUDA_ERROR_OUT_OF_MEMORY") != std::string::npos);
}

TEST_CASE_FIXTURE(Session, "graphs go before the memory that they use") {
  Captured c(*this, GraphMode::automatic, test::slow(500, R"(, "device_memory": [8192])"));
  const Array in(c.engine->device(), std::vector<float>(16, 1.0f)), out(c.engine->device(), 16);
  c.context->bind(0, in.view({16}));
  c.context->bind(1, out.view({16}));
  for (int i = 0; i < 5; ++i) c.context->enqueue(c.stream);
  CHECK(c.context->graph_stats().replays >= 1);
  c.context.reset();
  CHECK(out.read(c.stream) == std::vector<float>(16, 3.0f));
}
