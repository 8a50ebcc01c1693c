// Outputs: the context's own buffers, data-dependent sizes, shape tensors, packed formats.
#include <cstring>

#include "support.hpp"

using namespace cuready;
using test::Array;
using test::expect;
using test::Session;

namespace {

std::vector<std::int32_t> read_ints(const Device& device, const OutputView& view, StreamRef stream) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(view.shape.volume()));
  copy_async(device, values.data(), view.data, values.size() * sizeof(std::int32_t), stream);
  stream_synchronize(device, stream);
  return values;
}

struct NonZero {
  explicit NonZero(const Session& session) : engine(session.load(test::nonzero())), stream(engine->device()), context(engine->create_context()) {
    context->allocate_output(engine->index("i"));
  }
  std::shared_ptr<Engine> engine;
  Stream stream;
  std::shared_ptr<ExecutionContext> context;

  std::vector<std::int32_t> run(const std::vector<float>& values) {
    const Array in(engine->device(), values);
    context->bind(0, in.view({static_cast<std::int64_t>(values.size())}));
    context->enqueue(stream);
    context->synchronize();
    const OutputView found = context->output(1);
    CHECK(found.shape.rank() == 2);
    CHECK(found.shape[0] == 1);
    CHECK(found.nbytes == static_cast<std::size_t>(found.shape.volume()) * 4);
    return read_ints(engine->device(), found, stream);
  }
};

}  // namespace

TEST_CASE_FIXTURE(Session, "a data-dependent output has its exact size after the run") {
  NonZero n(*this);
  const Array nine(n.engine->device(), 9);
  n.context->bind(0, nine.view({9}));
  CHECK(n.context->shape(1) == Dims{1, -1});
  CHECK(n.context->nbytes(1) == 9 * 4);  // the most that nine elements can give
  CHECK(n.run({1, -1, 2, 0, 3}) == std::vector<std::int32_t>{0, 2, 4});
  CHECK(n.run({-1, -1}).empty());
  CHECK(n.run(std::vector<float>(64, 1.0f)).size() == 64);
  CHECK(n.run({-1, 5}) == std::vector<std::int32_t>{1});
}

TEST_CASE_FIXTURE(Session, "a data-dependent output can be taken, and the next run gets memory of its own") {
  NonZero n(*this);
  n.run({1, 1, 1});
  const OutputView before = n.context->output(1);
  const auto taken = n.context->take_output(1);
  REQUIRE(static_cast<bool>(taken));
  CHECK(taken->data() == before.data);
  CHECK(n.run({-1, 1}) == std::vector<std::int32_t>{1});
  CHECK(n.context->output(1).data != taken->data());
  std::int32_t values[3];
  taken->copy_to_host(values, sizeof values, n.stream);
  n.stream.synchronize();
  CHECK(values[2] == 2);
}

TEST_CASE_FIXTURE(Session, "a shape tensor's values decide the shape of an output") {
  for (const bool wide : {false, true}) {
    if (wide && test::release().before(10, 0)) continue;
    const auto engine = load(test::reshape(wide));
    const Stream stream(engine->device());
    const auto context = engine->create_context();
    const int x = engine->index("x"), shape = engine->index("shape"), y = engine->index("y");
    std::vector<float> values(12);
    for (int i = 0; i < 12; ++i) values[static_cast<std::size_t>(i)] = static_cast<float>(i);
    const Array in(engine->device(), values), out(engine->device(), 12);
    context->bind(x, in.view({12}));
    for (const auto& dims : {std::vector<std::int64_t>{3, 4}, {12, 1}, {2, 6}}) {
      context->set_shape_values(shape, dims);
      CHECK(context->shape(y) == Dims{dims[0], dims[1]});
      context->bind(y, out.view({dims[0], dims[1]}));
      context->enqueue(stream);
      context->synchronize();
      const auto result = out.read(stream);
      CHECK(result[5] == -5.0f);
    }
    const std::vector<std::int64_t> outside{13, 1}, short_one{3};
    expect<ShapeError>([&] { context->set_shape_values(shape, short_one); });
    CHECK(context->shape(y) == Dims{2, 6});
    const auto error = expect<ShapeError>([&] {
      context->set_shape_values(shape, outside);
      context->enqueue(stream);
    });
    CHECK(std::string(error.what()).find("13") != std::string::npos);
    const std::vector<std::int64_t> good{4, 3};
    const std::vector<std::int64_t> wraps{4, (std::int64_t{1} << 32) + 3};  // 3 in 32 bits
    expect<ShapeError>([&] { context->set_shape_values(shape, wraps); });
    context->set_shape_values(shape, good);
    context->enqueue(stream);
    context->synchronize();
  }
}

TEST_CASE_FIXTURE(Session, "the caller may change a shape tensor's memory after bind") {
  const auto engine = load(test::reshape());
  const Stream stream(engine->device());
  const auto context = engine->create_context();
  const Array in(engine->device(), std::vector<float>(12, 1.0f));
  std::int32_t dims[2] = {3, 4};
  TensorView view;
  view.data = dims;
  view.dtype = DataType::int32;
  view.shape = {2};
  view.location = TensorLocation::host;
  context->bind(engine->index("x"), in.view({12}));
  context->bind(engine->index("shape"), view);
  dims[0] = 99;
  context->allocate_output(engine->index("y"));
  context->enqueue(stream);
  context->synchronize();
  CHECK(context->output(engine->index("y")).shape == Dims{3, 4});
}

TEST_CASE_FIXTURE(Session, "outputs without memory are allocated by the context and grow with the shapes") {
  const auto engine = load(test::two_profiles());
  const Stream stream(engine->device());
  const auto context = engine->create_context();
  context->allocate_output(1);
  for (const std::int64_t rows : {2, 40, 3, 64}) {
    const Array in(engine->device(), std::vector<float>(static_cast<std::size_t>(rows) * 4, 2.0f));
    context->bind(0, in.view({rows, 4}));
    context->enqueue(stream);
    context->synchronize();
    const OutputView out = context->output(1);
    CHECK(out.shape == Dims{rows, 4});
    CHECK(out.nbytes == static_cast<std::size_t>(rows) * 16);
    CHECK(test::read_floats(engine->device(), out.data, static_cast<std::size_t>(rows) * 4, stream).back() == 5.0f);
  }
}

TEST_CASE_FIXTURE(Session, "taken outputs are the caller's: later runs do not write them") {
  const auto engine = load(test::slow(200));
  const Stream stream(engine->device());
  const auto context = engine->create_context();
  context->allocate_output(1);
  std::vector<std::shared_ptr<DeviceBuffer>> taken;
  for (int i = 0; i < 8; ++i) {
    const Array in(engine->device(), std::vector<float>(16, static_cast<float>(i)));
    context->bind(0, in.view({16}));
    context->enqueue(stream);
    taken.push_back(context->take_output(1));
    context->synchronize();
  }
  for (int i = 0; i < 8; ++i) CHECK(test::read_floats(engine->device(), taken[static_cast<std::size_t>(i)]->data(), 16, stream)[15] == static_cast<float>(2 * i + 1));
}

TEST_CASE_FIXTURE(Session, "a packed input reads every element from its padded place") {
  const auto engine = load(test::plan(R"({"name": "packed", "tensors": [
    {"name": "x", "mode": "input", "shape": [1, 3, 2, 2], "dtype": "float32", "format": "chw4"},
    {"name": "y", "mode": "output", "shape": [1, 3, 2, 2]}],
   "operations": [{"kind": "reformat", "inputs": ["x"], "outputs": ["y"]}]})"));
  const Stream stream(engine->device());
  // [N, C/4, H, W, 4]: element (c, h, w) lies at (h * 2 + w) * 4 + c.
  std::vector<float> packed(16, -1.0f);
  for (int c = 0; c < 3; ++c)
    for (int p = 0; p < 4; ++p) packed[static_cast<std::size_t>(p * 4 + c)] = static_cast<float>(c * 4 + p);
  const Array in(engine->device(), packed), out(engine->device(), 12), small(engine->device(), 12);
  const auto context = engine->create_context();
  expect<BindingError>([&] { context->bind(0, small.view({1, 3, 2, 2})); });
  context->bind(0, in.view({1, 3, 2, 2}));
  context->bind(1, out.view({1, 3, 2, 2}));
  context->enqueue(stream);
  context->synchronize();
  const auto result = out.read(stream);
  for (int i = 0; i < 12; ++i) CHECK(result[static_cast<std::size_t>(i)] == static_cast<float>(i));
}

TEST_CASE_FIXTURE(Session, "an empty tensor runs") {
  const auto engine = load(test::plan(R"({"name": "empty", "tensors": [
    {"name": "x", "mode": "input", "shape": [-1, 4], "profiles": [{"min": [0, 4], "opt": [1, 4], "max": [4, 4]}]},
    {"name": "y", "mode": "output", "shape": [-1, 4]}],
   "operations": [{"kind": "affine", "inputs": ["x"], "outputs": ["y"], "scale": 2, "bias": 1}]})"));
  const Stream stream(engine->device());
  const auto context = engine->create_context();
  TensorView nothing;
  nothing.shape = {0, 4};
  nothing.device = 0;
  context->bind(0, nothing);
  context->allocate_output(1);
  context->enqueue(stream);
  context->synchronize();
  CHECK(context->output(1).shape == Dims{0, 4});
  CHECK(context->output(1).nbytes == 0);
}
