// Execution contexts: binding, shapes, profiles, errors that leave them usable, and how little TensorRT is told.
#include <atomic>
#include <thread>

#include "support.hpp"

using namespace cuready;
using test::Array;
using test::expect;
using test::Session;

namespace {

struct Affine {
  explicit Affine(const Session& session, const std::string& text = test::affine(), const ContextOptions& options = {})
      : engine(session.load(text)), stream(engine->device()), context(engine->create_context(options)), x(engine->index("x")), y(engine->index("y")) {}
  std::shared_ptr<Engine> engine;
  Stream stream;
  std::shared_ptr<ExecutionContext> context;
  int x, y;

  std::vector<float> run(const std::vector<float>& values) {
    const auto rows = static_cast<std::int64_t>(values.size() / 4);
    const Array in(engine->device(), values), out(engine->device(), values.size());
    context->bind(x, in.view({rows, 4}));
    context->bind(y, out.view({rows, 4}));
    context->enqueue(stream);
    context->synchronize();
    return out.read(stream);
  }
};

std::vector<float> iota(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i) - 3.0f;
  return values;
}

std::vector<float> expected(const std::vector<float>& values) {
  std::vector<float> result;
  for (const float value : values) result.push_back(2 * value + 1);
  return result;
}

}  // namespace

TEST_CASE_FIXTURE(Session, "a context computes, for every shape of its profile") {
  Affine a(*this);
  for (const std::size_t rows : {1, 8, 3, 3, 4}) {
    const auto values = iota(rows * 4);
    CHECK(a.run(values) == expected(values));
  }
}

TEST_CASE_FIXTURE(Session, "TensorRT is told a shape or an address only when it changed") {
  Affine a(*this);
  const Array in(a.engine->device(), iota(16)), out(a.engine->device(), 16), other(a.engine->device(), iota(16));
  a.context->bind(a.x, in.view({4, 4}));
  a.context->bind(a.y, out.view({4, 4}));
  a.context->enqueue(a.stream);
  a.context->synchronize();
  sim.reset_calls();
  for (int i = 0; i < 10; ++i) a.context->enqueue(a.stream);
  for (int i = 0; i < 10; ++i) {
    a.context->bind(a.x, in.view({4, 4}));
    a.context->bind(a.y, out.view({4, 4}));
    a.context->enqueue(a.stream);
  }
  a.context->synchronize();
  CHECK(sim.trt_calls("IExecutionContext::enqueueV3") == 20);
  CHECK(sim.trt_calls("IExecutionContext::setInputShape") == 0);
  CHECK(sim.trt_calls("IExecutionContext::setTensorAddress") == 0);
  CHECK(sim.trt_calls("IExecutionContext::setOptimizationProfileAsync") == 0);
  a.context->bind(a.x, other.view({4, 4}));
  a.context->enqueue(a.stream);
  a.context->synchronize();
  CHECK(sim.trt_calls("IExecutionContext::setTensorAddress") == 1);
  CHECK(sim.trt_calls("IExecutionContext::setInputShape") == 0);
  CHECK(sim.calls("cuCtxSynchronize") == 0);
}

TEST_CASE_FIXTURE(Session, "the profile is chosen from the shapes and kept while it fits") {
  Affine a(*this, test::two_profiles());
  CHECK(a.run(iota(8)) == expected(iota(8)));
  CHECK(a.context->profile() == 0);
  CHECK(a.run(iota(40 * 4)) == expected(iota(40 * 4)));
  CHECK(a.context->profile() == 1);
  sim.reset_calls();
  CHECK(a.run(iota(41 * 4)) == expected(iota(41 * 4)));
  CHECK(sim.trt_calls("IExecutionContext::setOptimizationProfileAsync") == 0);
  CHECK(a.run(iota(4)) == expected(iota(4)));
  CHECK(a.context->profile() == 0);
}

TEST_CASE_FIXTURE(Session, "a fixed profile refuses the shapes of another") {
  ContextOptions options;
  options.profile = 1;
  Affine a(*this, test::two_profiles(), options);
  const auto error = expect<ShapeError>([&] { a.run(iota(8)); });
  CHECK(error.tensor() == "x");
  CHECK(error.got() == Dims{2, 4});
  REQUIRE(error.allowed().size() == 1);
  CHECK(error.allowed()[0].min == Dims{9, 4});
  CHECK(a.run(iota(36)) == expected(iota(36)));
}

TEST_CASE_FIXTURE(Session, "a shape outside every profile names the tensor and what is allowed, and changes nothing") {
  Affine a(*this);
  const Array in(a.engine->device(), iota(8)), out(a.engine->device(), 8);
  a.context->bind(a.x, in.view({2, 4}));
  a.context->bind(a.y, out.view({2, 4}));
  a.context->enqueue(a.stream);
  for (const Dims& bad : {Dims{9, 4}, Dims{0, 4}, Dims{2, 5}, Dims{2}, Dims{2, 4, 1}, Dims{}}) {
    CAPTURE(bad.str());
    const auto error = expect<ShapeError>([&] { a.context->set_shape(a.x, bad); });
    CHECK(error.tensor() == "x");
    CHECK(error.got() == bad);
    CHECK(std::string(error.what()).find("x") != std::string::npos);
  }
  CHECK(a.context->shape(a.x) == Dims{2, 4});
  a.context->enqueue(a.stream);
  a.context->synchronize();
  CHECK(out.read(a.stream) == expected(iota(8)));
}

TEST_CASE_FIXTURE(Session, "a wrong dtype, place, device or size names the tensor and leaves the context usable") {
  Affine a(*this);
  const Array in(a.engine->device(), iota(16));
  CHECK(a.run(iota(8)) == expected(iota(8)));
  TensorView wrong = in.view({4, 4});
  wrong.dtype = DataType::int32;
  const auto dtype = expect<DtypeError>([&] { a.context->bind(a.x, wrong); });
  CHECK(std::string(dtype.what()).find("x") != std::string::npos);
  CHECK(std::string(dtype.what()).find("int32") != std::string::npos);
  CHECK(std::string(dtype.what()).find("float32") != std::string::npos);
  wrong = in.view({4, 4});
  wrong.location = TensorLocation::host;
  expect<BindingError>([&] { a.context->bind(a.x, wrong); });
  wrong = in.view({4, 4});
  wrong.device = 1;
  expect<DeviceMismatch>([&] { a.context->bind(a.x, wrong); });
  wrong = in.view({4, 4});
  wrong.nbytes = 63;
  expect<BindingError>([&] { a.context->bind(a.x, wrong); });
  wrong = in.view({4, 4});
  wrong.data = nullptr;
  expect<BindingError>([&] { a.context->bind(a.x, wrong); });
  expect<BindingError>([&] { a.context->bind(7, in.view({4, 4})); });
  expect<BindingError>([&] { a.context->bind(-1, in.view({4, 4})); });
  CHECK(a.run(iota(8)) == expected(iota(8)));
}

TEST_CASE_FIXTURE(Session, "bind_all takes all or none") {
  Affine a(*this);
  const Array in(a.engine->device(), iota(16)), out(a.engine->device(), 16), other(a.engine->device(), 16);
  const std::vector<TensorView> inputs{in.view({4, 4})}, outputs{out.view({4, 4})};
  a.context->bind_all(inputs, outputs);
  TensorView bad = other.view({4, 4});
  bad.dtype = DataType::int8;
  const std::vector<TensorView> others{other.view({4, 4})}, wrong{bad};
  expect<DtypeError>([&] { a.context->bind_all(others, wrong); });
  CHECK(a.context->address(a.x) == in.data());
  CHECK(a.context->address(a.y) == out.data());
  a.context->enqueue(a.stream);
  a.context->synchronize();
  CHECK(out.read(a.stream) == expected(iota(16)));
  expect<BindingError>([&] { a.context->bind_all({}, outputs); });
}

TEST_CASE_FIXTURE(Session, "bind_all takes nothing where the values of a shape tensor, or the shape of an output, are refused") {
  const auto engine = load(test::reshape());
  const auto context = engine->create_context();
  const Array in(engine->device(), std::vector<float>(12, 1.0f)), other(engine->device(), 12), out(engine->device(), 12);
  std::vector<std::int32_t> good{3, 4}, bad{3, 40};
  const auto values = [](std::vector<std::int32_t>& v) {
    TensorView view;
    view.data = v.data();
    view.dtype = DataType::int32;
    view.shape = {2};
    view.location = TensorLocation::host;
    return view;
  };
  const std::vector<TensorView> inputs{in.view({12}), values(good)}, refused{other.view({12}), values(bad)}, fine{other.view({12}), values(good)};
  const std::vector<TensorView> outputs{out.view({3, 4})};
  TensorView unknown = out.view({-1, 4});
  unknown.nbytes = 0;
  const std::vector<TensorView> dynamic{unknown};
  context->bind_all(inputs, outputs);
  expect<ShapeError>([&] { context->bind_all(refused, outputs); });
  CHECK(context->address(0) == in.data());
  expect<ShapeError>([&] { context->bind_all(fine, dynamic); });
  CHECK(context->address(0) == in.data());
}

TEST_CASE_FIXTURE(Session, "a missing tensor is named at enqueue") {
  Affine a(*this);
  const Array in(a.engine->device(), iota(16)), out(a.engine->device(), 16);
  const auto none = expect<BindingError>([&] { a.context->enqueue(a.stream); });
  CHECK(std::string(none.what()).find("x") != std::string::npos);
  a.context->bind(a.x, in.view({4, 4}));
  const auto half = expect<BindingError>([&] { a.context->enqueue(a.stream); });
  CHECK(std::string(half.what()).find("y") != std::string::npos);
  const Status status = a.context->try_enqueue(a.stream);
  CHECK_FALSE(status.ok());
  CHECK(status.code() == ErrorCode::binding);
  a.context->bind(a.y, out.view({4, 4}));
  CHECK(a.context->try_enqueue(a.stream).ok());
  a.context->synchronize();
  a.context->unbind(a.y);
  expect<BindingError>([&] { a.context->enqueue(a.stream); });
}

TEST_CASE_FIXTURE(Session, "the legacy default stream is refused unless allowed") {
  Affine a(*this);
  const Array in(a.engine->device(), iota(16)), out(a.engine->device(), 16);
  a.context->bind(a.x, in.view({4, 4}));
  a.context->bind(a.y, out.view({4, 4}));
  expect<InvalidArgument>([&] { a.context->enqueue(StreamRef()); });
  expect<InvalidArgument>([&] { a.context->enqueue(StreamRef(reinterpret_cast<void*>(std::uintptr_t{1}))); });
  a.context->allow_legacy_stream(true);
  a.context->enqueue(StreamRef());
  a.context->synchronize();
  CHECK(out.read(a.stream) == expected(iota(16)));
}

TEST_CASE_FIXTURE(Session, "an array without elements has no room for an output that has some") {
  Affine a(*this);
  const Array in(a.engine->device(), iota(8)), out(a.engine->device(), 8);
  TensorView empty;
  empty.data = out.data();
  empty.shape = {0, 4};
  a.context->bind(a.x, in.view({2, 4}));
  a.context->bind(a.y, empty);
  expect<BindingError>([&] { a.context->enqueue(a.stream); });
  const std::vector<TensorView> inputs{in.view({2, 4})}, outputs{empty};
  a.context->bind_all(inputs, outputs);
  expect<BindingError>([&] { a.context->enqueue(a.stream); });
  a.context->set_address(a.y, out.data());  // not checked
  a.context->enqueue(a.stream);
  a.context->synchronize();
  CHECK(out.read(a.stream) == expected(iota(8)));
}

TEST_CASE_FIXTURE(Session, "shapes can be asked for when the stream of the last run is gone") {
  Affine a(*this, test::two_profiles());
  const Array in(a.engine->device(), iota(8)), out(a.engine->device(), 8);
  a.context->bind(a.x, in.view({2, 4}));
  a.context->bind(a.y, out.view({2, 4}));
  {
    const Stream passing(a.engine->device());
    a.context->enqueue(passing);
    a.context->synchronize();
  }
  a.context->set_shape(a.x, {10, 4});
  CHECK(a.context->shape(a.y) == Dims{10, 4});
  CHECK(a.run(iota(40)) == expected(iota(40)));
}

TEST_CASE_FIXTURE(Session, "a run on one stream waits for what prepare() put on another") {
  Affine a(*this, test::two_profiles());
  const Array in(a.engine->device(), iota(40)), scratch(a.engine->device(), 4);
  Stream first(a.engine->device()), second(a.engine->device());
  a.context->bind(a.x, in.view({10, 4}));
  a.context->allocate_output(a.y);
  sim.produce(first, scratch.data(), 4, 1.0f, 50000);
  a.context->prepare(first);
  a.context->enqueue(second);
  a.context->synchronize();
  CHECK(first.done());
}

TEST_CASE_FIXTURE(Session, "two threads in one context: one runs, the other gets ContextBusy") {
  Affine a(*this, test::slow(0));
  const Array in(a.engine->device(), std::vector<float>(16, 1.0f)), out(a.engine->device(), 16);
  a.context->bind(0, in.view({16}));
  a.context->bind(1, out.view({16}));
  a.context->enqueue(a.stream);
  std::atomic<long> busy{0}, ran{0}, other{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      while (!go) std::this_thread::yield();
      for (int i = 0; i < 300; ++i) {
        const Status status = a.context->try_enqueue(a.stream);
        if (status.ok()) ++ran;
        else if (status.code() == ErrorCode::context_busy) ++busy;
        else ++other;
      }
    });
  }
  go = true;
  for (auto& thread : threads) thread.join();
  a.context->synchronize();
  CHECK(ran > 0);
  CHECK(other == 0);
  CHECK(ran + busy == 1200);
  CHECK(sim.trt_calls("IExecutionContext::enqueueV3") == ran + 1);
}

TEST_CASE_FIXTURE(Session, "several profiles are described without a warning") {
  drain_log();
  CHECK(load(test::two_profiles())->inputs().size() == 1);
  for (const LogRecord& record : drain_log()) {
    INFO(record.text);
    CHECK(record.severity > Severity::warning);
  }
}

TEST_CASE_FIXTURE(Session, "TensorRT 8 gives a profile to one context, later releases to many") {
  const auto engine = load(test::two_profiles());
  const auto first = engine->create_context();
  ContextOptions zero;
  zero.profile = 0;
  if (test::release().major == 8) {
    const auto run = [&](ExecutionContext& context) {
      const Stream stream(engine->device());
      const Array in(engine->device(), iota(8)), out(engine->device(), 8);
      context.bind(0, in.view({2, 4}));
      context.bind(1, out.view({2, 4}));
      context.enqueue(stream);
      context.synchronize();
    };
    run(*first);
    expect<ContextBusy>([&] {
      const auto second = engine->create_context(zero);
      run(*second);
    });
    run(*first);
  } else {
    const auto second = engine->create_context(zero);
    CHECK(static_cast<bool>(second));
  }
}

TEST_CASE_FIXTURE(Session, "contexts share a workspace in order, never at the same time") {
  const std::string text = test::slow(300, R"(, "device_memory": [65536])");
  const auto engine = load(text), again = load(text);
  const auto workspace = std::make_shared<Workspace>(engine->device());
  ContextOptions options;
  options.workspace = workspace;
  const auto first = engine->create_context(options);
  // A second engine, because TensorRT 8 gives each profile to one context only.
  const auto second = again->create_context(options);
  const Stream a(engine->device()), b(engine->device());
  const Array in(engine->device(), std::vector<float>(16, 1.0f)), out(engine->device(), 16), other(engine->device(), 16);
  first->bind(0, in.view({16}));
  first->bind(1, out.view({16}));
  second->bind(0, in.view({16}));
  second->bind(1, other.view({16}));
  for (int i = 0; i < 10; ++i) {
    first->enqueue(a);
    second->enqueue(b);
  }
  first->synchronize();
  second->synchronize();
  CHECK(workspace->nbytes() >= 65536);
  CHECK(out.read(a) == std::vector<float>(16, 3.0f));
  CHECK(other.read(b) == std::vector<float>(16, 3.0f));
}

TEST_CASE_FIXTURE(Session, "profiling layers waits for the contexts that share the workspace") {
  const std::string text = test::slow(20000, R"(, "device_memory": [65536])");
  const auto engine = load(text), again = load(text);
  ContextOptions options;
  options.workspace = std::make_shared<Workspace>(engine->device());
  const auto first = engine->create_context(options), second = again->create_context(options);
  Stream a(engine->device()), b(engine->device());
  const Array in(engine->device(), 16), out(engine->device(), 16), other(engine->device(), 16);
  first->bind(0, in.view({16}));
  first->bind(1, out.view({16}));
  second->bind(0, in.view({16}));
  second->bind(1, other.view({16}));
  first->enqueue(a);
  CHECK_FALSE(second->profile_layers(b).empty());
  CHECK(a.done());
}

TEST_CASE_FIXTURE(Session, "a workspace outlives the streams on which it was used") {
  const auto engine = load(test::slow(0, R"(, "device_memory": [4096])"));
  const auto again = load(test::slow(0, R"(, "device_memory": [4096])")), larger = load(test::slow(0, R"(, "device_memory": [65536])"));
  ContextOptions options;
  options.workspace = std::make_shared<Workspace>(engine->device());
  const auto first = engine->create_context(options);
  const Array in(engine->device(), 16), out(engine->device(), 16);
  for (const auto& next : {again, larger}) {
    {
      const Stream passing(engine->device());
      first->bind(0, in.view({16}));
      first->bind(1, out.view({16}));
      first->enqueue(passing);
      first->synchronize();
    }
    const auto context = next->create_context(options);
    const Stream stream(engine->device());
    context->bind(0, in.view({16}));
    context->bind(1, out.view({16}));
    context->enqueue(stream);
    context->synchronize();
  }
}

TEST_CASE_FIXTURE(Session, "activation memory follows the strategy") {
  const std::string text = test::two_profiles(R"(, "device_memory": [4096, 65536])");
  const auto engine = load(text);
  CHECK(engine->device_memory_size() == 65536);
  CHECK(engine->device_memory_size(0) == (test::release().before(10, 0) ? 65536 : 4096));
  for (const MemoryStrategy strategy : {MemoryStrategy::static_, MemoryStrategy::profile, MemoryStrategy::exact}) {
    ContextOptions options;
    options.memory = strategy;
    Affine a(*this, text, options);
    CHECK(a.run(iota(8)) == expected(iota(8)));
    const std::size_t small = a.context->workspace_bytes();
    CHECK(a.run(iota(60 * 4)) == expected(iota(60 * 4)));
    CHECK(a.context->workspace_bytes() == 65536);
    CHECK(a.run(iota(8)) == expected(iota(8)));
    if (strategy == MemoryStrategy::static_) CHECK(small == 65536);
    if (strategy != MemoryStrategy::static_ && !test::release().before(10, 0)) CHECK(small <= 4096);
  }
}

TEST_CASE_FIXTURE(Session, "layers are timed") {
  Affine a(*this);
  const Array in(a.engine->device(), iota(16)), out(a.engine->device(), 16);
  a.context->bind(a.x, in.view({4, 4}));
  a.context->bind(a.y, out.view({4, 4}));
  const auto times = a.context->profile_layers(a.stream);
  REQUIRE(times.size() == 1);
  CHECK(times[0].name == "affine_0");
  CHECK(times[0].milliseconds > 0);
  a.context->enqueue(a.stream);
  a.context->synchronize();
  CHECK(out.read(a.stream) == expected(iota(16)));
}

TEST_CASE_FIXTURE(Session, "an aliased output has the address of its input, where the library says so") {
  const auto engine = load(test::plan(R"({"name": "alias", "tensors": [
    {"name": "x", "mode": "input", "shape": [4]}, {"name": "y", "mode": "output", "shape": [4], "alias_of": "x"}],
   "operations": [{"kind": "affine", "inputs": ["x"], "outputs": ["y"], "scale": 1, "bias": 1}]})"));
  const bool known = !test::release().before(10, 15);
  CHECK(engine->tensors()[1].alias_of == (known ? "x" : ""));
  const Stream stream(engine->device());
  const Array cache(engine->device(), std::vector<float>(4, 1.0f)), elsewhere(engine->device(), 4);
  const auto context = engine->create_context();
  context->bind(0, cache.view({4}));
  if (known) {
    expect<BindingError>([&] {
      context->bind(1, elsewhere.view({4}));
      context->enqueue(stream);
    });
  }
  context->bind(1, cache.view({4}));
  context->enqueue(stream);
  context->enqueue(stream);
  context->synchronize();
  CHECK(cache.read(stream) == std::vector<float>(4, 3.0f));
}

TEST_CASE_FIXTURE(Session, "destroying a context with work in flight waits for it") {
  const auto engine = load(test::slow(3000));
  const Stream stream(engine->device());
  const Array in(engine->device(), std::vector<float>(16, 1.0f)), out(engine->device(), 16);
  auto context = engine->create_context();
  context->bind(0, in.view({16}));
  context->bind(1, out.view({16}));
  context->enqueue(stream);
  context.reset();
  CHECK(out.read(stream) == std::vector<float>(16, 3.0f));
}
