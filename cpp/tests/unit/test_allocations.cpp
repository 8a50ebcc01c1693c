// What a prebound call costs besides TensorRT: no heap allocation, one vendor call.
#include "support.hpp"

using namespace cuready;
using test::Array;
using test::Session;

namespace {

/// Keeps the compiler from taking a new and its delete for nothing.
int* volatile escape = nullptr;

struct Bound {
  Bound(const Session& session, int pairs, GraphMode mode) : engine(session.load(test::copies(pairs))), stream(engine->device()) {
    ContextOptions options;
    options.graph = mode;
    context = engine->create_context(options);
    for (const TensorInfo& info : engine->tensors()) {
      arrays.push_back(std::make_unique<Array>(engine->device(), std::vector<float>(16, static_cast<float>(info.index))));
      context->bind(info.index, arrays.back()->view({16}));
    }
    for (int i = 0; i < 4; ++i) context->enqueue(stream);
    context->synchronize();
  }
  std::shared_ptr<Engine> engine;
  Stream stream;
  std::shared_ptr<ExecutionContext> context;
  std::vector<std::unique_ptr<Array>> arrays;
};

}  // namespace

TEST_CASE_FIXTURE(Session, "the allocation counter counts") {
  CHECK(test::allocations_during([] {
          escape = new int(1);
          delete escape;
        }) == 1);
  CHECK(test::allocations_during([] { std::vector<std::string> v(3, std::string(100, 'x')); }) == 5);
}

TEST_CASE_FIXTURE(Session, "a prebound enqueue allocates nothing") {
  for (const int pairs : {1, 4, 64}) {
    Bound b(*this, pairs, GraphMode::off);
    CHECK(test::allocations_during([&] {
            for (int i = 0; i < 100; ++i) b.context->enqueue(b.stream);
          }) == 0);
    CHECK(test::allocations_during([&] {
            for (int i = 0; i < 100; ++i) static_cast<void>(b.context->try_enqueue(b.stream).ok());
          }) == 0);
    b.context->synchronize();
  }
}

TEST_CASE_FIXTURE(Session, "a graph replay allocates nothing") {
  Bound b(*this, 64, GraphMode::require);
  CHECK(b.context->graph_stats().active);
  CHECK(test::allocations_during([&] {
          for (int i = 0; i < 100; ++i) b.context->enqueue(b.stream);
        }) == 0);
  b.context->synchronize();
}

TEST_CASE_FIXTURE(Session, "binding other arrays of the same shapes allocates nothing") {
  Bound b(*this, 8, GraphMode::off);
  const std::size_t count = b.arrays.size();
  // Two sets of arrays, exchanged at every call, outputs against outputs.
  std::vector<std::unique_ptr<Array>> others;
  for (std::size_t i = 0; i < count; ++i) others.push_back(std::make_unique<Array>(b.engine->device(), 16));
  CHECK(test::allocations_during([&] {
          for (int round = 0; round < 20; ++round) {
            for (std::size_t i = 0; i < count; ++i) b.context->bind(static_cast<int>(i), (round % 2 ? b.arrays : others)[i]->view({16}));
            b.context->enqueue(b.stream);
          }
        }) == 0);
  b.context->synchronize();
}

TEST_CASE_FIXTURE(Session, "a prebound enqueue makes one TensorRT call and no memory call") {
  Bound b(*this, 8, GraphMode::off);
  sim.reset_calls();
  for (int i = 0; i < 50; ++i) b.context->enqueue(b.stream);
  CHECK(sim.trt_calls("IExecutionContext::enqueueV3") == 50);
  for (const char* other : {"IExecutionContext::setInputShape", "IExecutionContext::setTensorAddress", "IExecutionContext::inferShapes",
                            "IExecutionContext::getTensorShape", "IExecutionContext::setOutputAllocator"})
    CHECK(sim.trt_calls(other) == 0);
  for (const char* other : {"cuMemAlloc", "cuMemFree", "cuMemAllocAsync", "cuStreamSynchronize", "cuCtxSynchronize", "cuEventSynchronize", "cuEventCreate"})
    CHECK(sim.calls(other) == 0);
  b.context->synchronize();
}

TEST_SUITE("stress") {
  TEST_CASE_FIXTURE(Session, "20,000 enqueues: not one allocation, nothing more alive than before") {
    Bound b(*this, 1, GraphMode::off);
    const std::size_t before = sim.live_bytes();
    CHECK(test::allocations_during([&] {
            for (int i = 0; i < 20000; ++i) b.context->enqueue(b.stream);
          }) == 0);
    b.context->synchronize();
    CHECK(sim.live_bytes() == before);
  }
}
