// Engines: what they say about themselves, plugins, refit, weight streaming, inspection, life cycles.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "support.hpp"

using namespace cuready;
using test::expect;
using test::Session;

namespace {

/// A file that goes away.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content) : path_(std::filesystem::temp_directory_path() / ("cuready-plan-" + std::to_string(::getpid()))) {
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

std::string typed(const char* format, const char* dtype, const char* shape) {
  return test::plan(std::string(R"({"name": "typed", "tensors": [
    {"name": "x", "mode": "input", "shape": )") + shape + R"(, "dtype": ")" + dtype + R"(", "format": ")" + format + R"("},
    {"name": "y", "mode": "output", "shape": )" + shape + R"(, "dtype": ")" + dtype + R"("}],
   "operations": [{"kind": "reformat", "inputs": ["x"], "outputs": ["y"]}]})");
}

std::string refittable(bool stripped) {
  const std::string mark = stripped ? ", \"stripped\": true}" : "}";
  return test::plan(R"({"name": "refit", "refittable": true, "tensors": [
    {"name": "x", "mode": "input", "shape": [4]}, {"name": "y", "mode": "output", "shape": [4]}],
   "operations": [{"kind": "affine", "inputs": ["x"], "outputs": ["y"], "scale": "k", "bias": "c"}],
   "weights": [{"name": "k", "values": [2])" + mark + R"(, {"name": "c", "values": [1])" + mark + "]}");
}

WeightView weight(const char* name, const float* value) {
  WeightView view;
  view.name = name;
  view.data = value;
  view.count = 1;
  return view;
}

std::vector<float> run4(const std::shared_ptr<Engine>& engine, float x) {
  const Stream stream(engine->device());
  const test::Array in(engine->device(), std::vector<float>(4, x)), out(engine->device(), 4);
  const auto context = engine->create_context();
  context->bind(engine->index("x"), in.view({4}));
  context->bind(engine->index("y"), out.view({4}));
  context->enqueue(stream);
  context->synchronize();
  return out.read(stream);
}

}  // namespace

TEST_CASE_FIXTURE(Session, "an engine describes its tensors and profiles") {
  const auto engine = load(test::two_profiles());
  REQUIRE(engine->tensors().size() == 2);
  CHECK(engine->name() == "affine");
  CHECK(engine->profile_count() == 2);
  const TensorInfo& x = engine->tensors()[static_cast<std::size_t>(engine->index("x"))];
  CHECK(x.mode == TensorMode::input);
  CHECK(x.dtype == DataType::float32);
  CHECK(x.shape == Dims{-1, 4});
  REQUIRE(x.profiles.size() == 2);
  CHECK(x.profiles[0].max == Dims{8, 4});
  CHECK(x.profiles[1].min == Dims{9, 4});
  CHECK_FALSE(x.is_data_dependent);
  CHECK(x.is_linear());
  CHECK(engine->inputs() == std::vector<int>{engine->index("x")});
  CHECK(engine->find("nothing") == -1);
  const auto error = expect<BindingError>([&] { static_cast<void>(engine->index("nothing")); });
  CHECK(error.hint().find("x, y") != std::string::npos);
  const std::vector<Dims> small{{3, 4}}, large{{64, 4}}, none{{65, 4}};
  CHECK(engine->matching_profiles(small) == std::vector<int>{0});
  CHECK(engine->matching_profiles(large) == std::vector<int>{1});
  CHECK(engine->matching_profiles(none).empty());
}

TEST_CASE_FIXTURE(Session, "tensor names are any UTF-8") {
  std::string json = test::affine_json();
  for (std::size_t at = json.find("\"x\""); at != std::string::npos; at = json.find("\"x\"")) json.replace(at, 3, "\"输入/0:x\"");
  const auto engine = load(test::plan(json));
  CHECK(engine->tensors()[static_cast<std::size_t>(engine->index("输入/0:x"))].name == "输入/0:x");
}

TEST_CASE_FIXTURE(Session, "a data-dependent output and a host shape tensor are recognised") {
  const auto nonzero = load(test::nonzero());
  CHECK(nonzero->tensors()[static_cast<std::size_t>(nonzero->index("i"))].is_data_dependent);
  const auto reshape = load(test::reshape());
  const TensorInfo& shape = reshape->tensors()[static_cast<std::size_t>(reshape->index("shape"))];
  CHECK(shape.is_shape);
  CHECK(shape.location == TensorLocation::host);
  REQUIRE(shape.profiles.size() == 1);
  CHECK(shape.profiles[0].opt_values == std::vector<std::int64_t>{3, 4});
  CHECK(shape.profiles[0].max_values == std::vector<std::int64_t>{12, 12});
  CHECK_FALSE(reshape->tensors()[static_cast<std::size_t>(reshape->index("y"))].is_data_dependent);
}

TEST_CASE_FIXTURE(Session, "packed formats need padded buffers") {
  struct Row { const char* format; const char* dtype; const char* shape; std::size_t bytes; int vector; int dimension; };
  const Row rows[] = {
      {"chw4", "int8", "[1, 3, 2, 2]", 16, 4, 1},     {"chw32", "int8", "[2, 33, 2, 2]", 2 * 64 * 4, 32, 1},
      {"hwc8", "float16", "[1, 3, 5, 5]", 8 * 25 * 2, 8, 1}, {"chw16", "float16", "[1, 16, 1, 1]", 32, 16, 1},
      {"chw2", "float16", "[1, 3, 4, 4]", 4 * 16 * 2, 2, 1}, {"linear", "float32", "[1, 3, 2, 2]", 48, 1, -1},
  };
  for (const Row& row : rows) {
    CAPTURE(std::string(row.format));
    const auto engine = load(typed(row.format, row.dtype, row.shape));
    const TensorInfo& x = engine->tensors()[static_cast<std::size_t>(engine->index("x"))];
    CHECK(x.bytes_for(x.shape) == row.bytes);
    CHECK(x.vectorized_dim == row.dimension);
    CHECK(std::max(x.components_per_element, 1) == row.vector);
    CHECK(x.is_linear() == (std::string(row.format) == "linear"));
  }
}

TEST_CASE_FIXTURE(Session, "sub-byte types take half a byte, rank 0 takes one element, an empty extent none") {
  if (test::release().before(10, 0)) return;
  const auto engine = load(typed("linear", "int4", "[3, 5]"));
  const TensorInfo& x = engine->tensors()[0];
  CHECK(x.dtype == DataType::int4);
  CHECK(x.bytes_for({3, 5}) == 8);
  const auto scalar = load(typed("linear", "int64", "[]"));
  CHECK(scalar->tensors()[0].shape.rank() == 0);
  CHECK(scalar->tensors()[0].bytes_for(scalar->tensors()[0].shape) == 8);
  CHECK(x.bytes_for({0, 5}) == 0);
}

TEST_CASE_FIXTURE(Session, "plans load from a path, from memory, and in pieces where the library can") {
  const TemporaryFile file(test::affine());
  const auto made = runtime();
  CHECK(made->load(file.path())->name() == "affine");
  LoadOptions pieces;
  pieces.reader = LoadOptions::Reader::stream;
  if (test::release().before(10, 7)) {
    expect<UnsupportedFeature>([&] { made->load(file.path(), pieces); });
  } else {
    CHECK(made->load(file.path(), pieces)->name() == "affine");
    CHECK(sim.trt_calls("IRuntime::deserializeCudaEngineV2") == 1);
  }
  CHECK(load_engine(library, file.path())->name() == "affine");
}

TEST_CASE_FIXTURE(Session, "runtime, engine and context may be destroyed in any order") {
  const std::string text = test::affine();
  int order[] = {0, 1, 2, 3};
  do {
    auto made = runtime();
    auto engine = made->load(test::bytes(text));
    auto context = engine->create_context();
    auto second = engine;
    for (const int which : order) {
      if (which == 0) made.reset();
      if (which == 1) engine.reset();
      if (which == 2) context.reset();
      if (which == 3) second.reset();
    }
    CHECK(sim.trt_live() == 0);
  } while (std::next_permutation(std::begin(order), std::end(order)));
}

TEST_CASE_FIXTURE(Session, "loading, running and destroying many times leaves nothing behind") {
  const std::string text = test::slow(0, R"(, "device_memory": [4096])");
  for (int i = 0; i < 50; ++i) {
    const auto engine = load(text);
    const Stream stream(engine->device());
    const test::Array in(engine->device(), std::vector<float>(16, 1.0f)), out(engine->device(), 16);
    const auto context = engine->create_context();
    context->bind(0, in.view({16}));
    context->bind(1, out.view({16}));
    context->enqueue(stream);
    context->synchronize();
  }
  CHECK(sim.live_bytes() == 0);
}

TEST_CASE_FIXTURE(Session, "the plugin library beside the library is loaded when a plan asks for a creator of it") {
  sim.clear_plugins();
  const auto engine = load(test::affine(R"(, "plugins": [{"name": "EfficientNMS_TRT", "version": "1"}])"));
  CHECK(engine->name() == "affine");
}

TEST_CASE_FIXTURE(Session, "a plugin that nobody has is named, with its version and namespace") {
  const auto error = expect<PluginNotFound>([&] { load(test::affine(R"(, "plugins": [{"name": "NoSuchPlugin", "version": "3", "namespace": "here"}])")); });
  CHECK(error.plugin() == "NoSuchPlugin");
  CHECK(error.version() == "3");
  CHECK(error.plugin_namespace() == "here");
  CHECK(test::says(error, "IPluginCreator not found in Plugin Registry"));
}

TEST_CASE_FIXTURE(Session, "a plugin library of the user's own is loaded before the plan") {
  const std::string needs = test::affine(R"(, "plugins": [{"name": "MyPlugin", "version": "2", "namespace": "mine"}])");
  RuntimeOptions options;
  options.plugins = {test::sim_folder() + "/trt-" + test::release().str() + "/libmyplugin.so"};
  CHECK(runtime(options)->load(test::bytes(needs))->name() == "affine");
}

TEST_CASE_FIXTURE(Session, "named weights are replaced by refit") {
  const auto engine = load(refittable(false));
  CHECK(engine->is_refittable());
  CHECK_FALSE(engine->needs_refit());
  CHECK(engine->refittable_weights().size() == 2);
  CHECK(run4(engine, 3) == std::vector<float>(4, 7.0f));
  const float k = 10, c = -1;
  const std::vector<WeightView> fresh{weight("k", &k), weight("c", &c)};
  CHECK(engine->refit(fresh).missing.empty());
  CHECK(run4(engine, 3) == std::vector<float>(4, 29.0f));
  const std::vector<WeightView> unknown{weight("nothing", &k)};
  expect<BindingError>([&] { engine->refit(unknown); });
  if (!test::release().before(10, 0)) CHECK(engine->weight_prototype("k").count == 1);
}

TEST_CASE_FIXTURE(Session, "a stripped plan refuses to run until its weights are there") {
  const auto engine = load(refittable(true));
  CHECK(engine->needs_refit());
  CHECK(engine->missing_weights().size() == 2);
  expect<NotRefitted>([&] { run4(engine, 3); });
  const float k = 2, c = 1;
  const std::vector<WeightView> half{weight("k", &k)}, both{weight("k", &k), weight("c", &c)};
  CHECK(engine->refit(half).missing == std::vector<std::string>{"c"});
  CHECK(engine->needs_refit());
  CHECK(engine->refit(both).missing.empty());
  CHECK_FALSE(engine->needs_refit());
  CHECK(run4(engine, 3) == std::vector<float>(4, 7.0f));
}

TEST_CASE_FIXTURE(Session, "an engine that is not refittable says so") {
  const auto engine = load(test::affine());
  const float k = 1;
  const std::vector<WeightView> weights{weight("k", &k)};
  expect<UnsupportedFeature>([&] { engine->refit(weights); });
}

TEST_CASE_FIXTURE(Session, "weight streaming has a budget, until contexts exist") {
  const auto plain = load(test::affine());
  const auto streamed = load(test::affine(R"(, "streamable": 1000)"));
  if (test::release().before(10, 0)) {
    CHECK(streamed->streamable_weights_size() == 0);
    expect<UnsupportedFeature>([&] { streamed->set_weight_budget(10); });
    return;
  }
  CHECK(plain->streamable_weights_size() == 0);
  expect<UnsupportedFeature>([&] { plain->set_weight_budget(10); });
  CHECK(streamed->streamable_weights_size() == 1000);
  streamed->set_weight_budget(300);
  CHECK(streamed->weight_budget() == 300);
  const auto context = streamed->create_context();
  expect<ContextBusy>([&] { streamed->set_weight_budget(100); });
  CHECK(streamed->weight_budget() == 300);
}

TEST_CASE_FIXTURE(Session, "an engine's layers are inspected as JSON") {
  const auto engine = load(test::affine());
  CHECK(engine->layer_count() == 1);
  const std::string json = engine->inspect();
  CHECK(json.find("\"Layers\"") != std::string::npos);
  CHECK(json.find("affine_0") != std::string::npos);
  const auto context = engine->create_context();
  CHECK(engine->inspect(context.get()).find("affine_0") != std::string::npos);
}

TEST_CASE_FIXTURE(Session, "a plan of another version is refused before TensorRT or the GPU are touched") {
  const auto made = runtime();
  sim.reset_calls();
  const std::string old = test::plan(test::affine_json(), 9, 1);
  const auto error = expect<EngineVersionError>([&] { made->load(test::bytes(old)); });
  CHECK(error.plan().major == 9);
  CHECK(error.runtime().major == test::release().major);
  CHECK(std::string(error.what()).find("9.1") != std::string::npos);
  CHECK(sim.trt_calls("IRuntime::deserializeCudaEngine") == 0);
  CHECK(sim.calls("cuMemAlloc") == 0);
}

TEST_CASE_FIXTURE(Session, "a cut or foreign plan is refused as such") {
  const auto made = runtime();
  const std::string whole = test::affine();
  const std::string cut = whole.substr(0, whole.size() / 2);
  expect<PlanInvalid>([&] { made->load(test::bytes(cut)); });
  expect<PlanInvalid>([&] { made->load(std::string("/nonexistent.plan")); });
}
