// Injected faults: each becomes the right type of error with the vendor's words, nothing leaks, and what can go on goes on.
//
// Session's end checks the leaks after every case. Faults that a real context does not survive are in the second half: there
// the objects must still be destroyed without a crash, and a new start after them must work.
#include <atomic>
#include <thread>

#include "support.hpp"

using namespace cuready;
using test::Array;
using test::expect;
using test::Session;
using test::says;

namespace {

constexpr int out_of_memory = 2, ecc_uncorrectable = 214, illegal_address = 700, launch_failed = 719, not_permitted = 800,
              not_supported = 801, unknown_error = 999, corrupt = -2, hang = -1;

/// An engine, a context and bound arrays that are fine until a fault is injected.
struct Ready {
  explicit Ready(const Session& session, const ContextOptions& options = {}, const std::string& text = test::slow(0, R"(, "device_memory": [4096])"))
      : engine(session.load(text)), stream(engine->device()), in(engine->device(), std::vector<float>(16, 1.0f)), out(engine->device(), 16),
        context(engine->create_context(options)) {
    context->bind(0, in.view({16}));
    context->bind(1, out.view({16}));
  }
  std::shared_ptr<Engine> engine;
  Stream stream;
  Array in, out;
  std::shared_ptr<ExecutionContext> context;

  void run() {
    context->enqueue(stream);
    context->synchronize();
  }
  bool still_works() {
    run();
    return out.read(stream) == std::vector<float>(16, 3.0f);
  }
};

void check_cuda(const Error& error, const char* name) {
  CHECK(error.cuda().name == name);
  CHECK(std::string(error.what()).find(name) != std::string::npos);
  CHECK_FALSE(error.cuda().call.empty());
}

/// After a fault that killed the context: a new start works once everything of the old one is gone.
void check_new_start(const Session& session) { CHECK(Ready(session).still_works()); }

}  // namespace

// Making a runtime.

TEST_CASE_FIXTURE(Session, "fault: createInferRuntime returns null with words") {
  sim.trt_fail("createInferRuntime_INTERNAL", "CUDA initialization failure with error: 35");
  const auto error = expect<Error>([&] { runtime(); });
  CHECK(says(error, "error: 35"));
}

TEST_CASE_FIXTURE(Session, "fault: createInferRuntime returns 0x228 instead of null") {
  sim.trt_fail("createInferRuntime_INTERNAL", "CUDA initialization failure with error: 35", "badptr");
  const auto error = expect<Error>([&] { runtime(); });
  CHECK(says(error, "error: 35"));
  CHECK(error.cuda().code == 35);
}

TEST_CASE_FIXTURE(Session, "fault: createInferRuntime returns null and says nothing") {
  sim.trt_fail("createInferRuntime_INTERNAL", "", "silent");
  const auto error = expect<TensorRTError>([&] { runtime(); });
  CHECK_FALSE(error.message().empty());
}

TEST_CASE_FIXTURE(Session, "fault: the primary context can not be had") {
  sim.fail("cuDevicePrimaryCtxRetain", out_of_memory);
  const auto error = expect<Error>([&] { runtime(); });
  check_cuda(error, "CUDA_ERROR_OUT_OF_MEMORY");
  check_new_start(*this);
}

// Loading a plan.

TEST_CASE_FIXTURE(Session, "fault: version tag mismatch found by TensorRT") {
  sim.trt_fail("IRuntime::deserializeCudaEngine", "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: Current Version: 240, Serialized Engine Version: 239");
  const auto error = expect<EngineVersionError>([&] { load(test::affine()); });
  CHECK(says(error, "Version tag does not match"));
  CHECK(error.runtime().major == test::release().major);
}

TEST_CASE_FIXTURE(Session, "fault: a plan of an older TensorRT, with the header check off") {
  const auto made = runtime();
  LoadOptions unchecked;
  unchecked.check_version = false;
  const std::string old = test::plan(test::affine_json(), 8, 0);
  const auto error = expect<EngineVersionError>([&] { made->load(test::bytes(old), unchecked); });
  CHECK(error.plan().major == 8);
  CHECK_FALSE(error.messages().empty());
}

TEST_CASE_FIXTURE(Session, "fault: a plan built for another GPU") {
  const auto error = expect<EnginePlatformError>([&] { load(test::affine(R"(, "compute": "8.6")")); });
  CHECK(says(error, "expecting compute 9.0 got compute 8.6"));
  CHECK(load(test::affine(R"(, "compute": "8.6", "hardware": "ampere_plus")"))->name() == "affine");
}

TEST_CASE_FIXTURE(Session, "fault: a plugin creator is missing") {
  const auto error = expect<PluginNotFound>([&] { load(test::affine(R"(, "plugins": [{"name": "Missing_TRT", "version": "1"}])")); });
  CHECK(error.plugin() == "Missing_TRT");
}

TEST_CASE_FIXTURE(Session, "fault: deserialize returns null with an internal error") {
  sim.trt_fail("IRuntime::deserializeCudaEngine", "Assertion engine->deserialize(start, size, allocator, runtime) failed. ");
  const auto error = expect<TensorRTError>([&] { load(test::affine()); });
  CHECK(says(error, "Assertion engine->deserialize"));
  CHECK(error.operation().find("deserialize") != std::string::npos);
}

TEST_CASE_FIXTURE(Session, "fault: an error while a thread ends still has TensorRT's words") {
  struct Late {
    std::function<void()> call;
    ~Late() {
      if (call) call();
    }
  };
  const auto made = runtime();
  const std::string text = test::affine();
  sim.trt_fail("IRuntime::deserializeCudaEngine", "Assertion engine->deserialize(start, size, allocator, runtime) failed. ", "refuse", 1, 2);
  std::string words;
  std::thread([&] {
    static_cast<void>(made->device().memory());  // the simulated driver has something of this thread too, which goes last
    static thread_local Late late;
    late.call = [&] {  // when the thread's other variables are gone
      try {
        made->load(test::bytes(text));
      } catch (const Error& error) {
        words = error.what();
      }
    };
    expect<TensorRTError>([&] { made->load(test::bytes(text)); });
  }).join();
  CHECK(words.find("Assertion engine->deserialize") != std::string::npos);
}

TEST_CASE_FIXTURE(Session, "fault: deserialize returns a pointer below the first page") {
  sim.trt_fail("IRuntime::deserializeCudaEngine", "a cast moved a null", "badptr");
  const auto error = expect<TensorRTError>([&] { load(test::affine()); });
  CHECK(says(error, "a cast moved a null"));
}

TEST_CASE_FIXTURE(Session, "fault: deserialize returns null and says nothing") {
  sim.trt_fail("IRuntime::deserializeCudaEngine", "", "silent");
  expect<TensorRTError>([&] { load(test::affine()); });
}

TEST_CASE_FIXTURE(Session, "fault: no memory for the weights") {
  sim.fail("cuMemAlloc", out_of_memory);
  const auto error = expect<OutOfMemory>([&] { load(test::affine()); });
  CHECK(says(error, "Requested size was 1024 bytes"));
  CHECK(error.requested() == 1024);
  check_new_start(*this);
}

TEST_CASE_FIXTURE(Session, "fault: a damaged plan body") {
  std::string damaged = test::affine();
  damaged[40] = '\x01';
  expect<Error>([&] { load(damaged); });
  damaged = test::affine();
  damaged.replace(32, 1, "!");
  expect<Error>([&] { load(damaged); });
}

TEST_CASE_FIXTURE(Session, "fault: a plan with host code that is not allowed") {
  const auto made = runtime();
  LoadOptions unchecked;
  unchecked.check_version = false;
  if (test::release().before(10, 1)) return;  // an older plan of the same simulation is needed
  const std::string inside = test::plan(test::affine_json(R"(, "version_compatible": true, "lean_inside": true)"), 8, 6);
  const auto error = expect<UnsupportedFeature>([&] { made->load(test::bytes(inside), unchecked); });
  CHECK(says(error, "getEngineHostCodeAllowed"));
  RuntimeOptions allowed;
  allowed.allow_host_code = true;
  CHECK(runtime(allowed)->load(test::bytes(inside), unchecked)->name() == "affine");
}

// Making a context.

TEST_CASE_FIXTURE(Session, "fault: createExecutionContext returns null with words") {
  const auto engine = load(test::affine());
  for (const char* method : {"ICudaEngine::createExecutionContext", "ICudaEngine::createExecutionContextWithoutDeviceMemory", "ICudaEngine::createExecutionContextWithRuntimeConfig"})
    sim.trt_fail(method, "Assertion context failed");
  expect<TensorRTError>([&] { engine->create_context(); });
  sim.clear_faults();
  CHECK(static_cast<bool>(engine->create_context()));
}

TEST_CASE_FIXTURE(Session, "fault: no memory for the activations") {
  const auto engine = load(test::slow(0, R"(, "device_memory": [4096])"));
  for (const char* call : {"cuMemAlloc", "cuMemAllocAsync"}) sim.fail(call, out_of_memory, 1, 100);
  const auto error = expect<OutOfMemory>([&] {
    const Stream stream(engine->device());
    engine->create_context()->prepare(stream);
  });
  CHECK(error.requested() >= 4096);
  CHECK(error.cuda().name == "CUDA_ERROR_OUT_OF_MEMORY");
  CHECK(error.total() > 0);
  sim.clear_faults();
  CHECK(static_cast<bool>(engine->create_context()));
}

TEST_CASE_FIXTURE(Session, "fault: a shared workspace that can not grow stays good for the contexts that have it") {
  ContextOptions options;
  Device device(0);
  options.workspace = std::make_shared<Workspace>(device);
  Ready ready(*this, options);
  CHECK(ready.still_works());
  {
    Ready larger(*this, options, test::slow(0, R"(, "device_memory": [65536])"));
    for (const char* call : {"cuMemAlloc", "cuMemAllocAsync"}) sim.fail(call, out_of_memory, 1, 100);
    expect<OutOfMemory>([&] { larger.run(); });
    sim.clear_faults();
    CHECK(ready.still_works());
    CHECK(larger.still_works());
  }
  CHECK(ready.still_works());
}

// Binding.

TEST_CASE_FIXTURE(Session, "fault: setInputShape returns false") {
  const auto engine = load(test::affine());
  const Stream stream(engine->device());
  const Array in(engine->device(), 16), out(engine->device(), 16);
  const auto context = engine->create_context();
  sim.trt_fail("IExecutionContext::setInputShape", "Static dimension mismatch while setting input shape for x.");
  const auto error = expect<Error>([&] {
    context->bind(0, in.view({4, 4}));
    context->bind(1, out.view({4, 4}));
    context->enqueue(stream);
  });
  CHECK(says(error, "Static dimension mismatch"));
  context->bind(0, in.view({4, 4}));
  context->bind(1, out.view({4, 4}));
  context->enqueue(stream);
  context->synchronize();
}

TEST_CASE_FIXTURE(Session, "fault: setTensorAddress returns false") {
  Ready r(*this);
  sim.trt_fail("IExecutionContext::setTensorAddress", "the address is not aligned");
  const auto error = expect<Error>([&] { r.run(); });
  CHECK(says(error, "not aligned"));
  CHECK(r.still_works());
}

TEST_CASE_FIXTURE(Session, "fault: setOptimizationProfileAsync returns false") {
  const auto engine = load(test::two_profiles());
  const Stream stream(engine->device());
  const Array in(engine->device(), 160), out(engine->device(), 160);
  const auto context = engine->create_context();
  sim.trt_fail("IExecutionContext::setOptimizationProfileAsync", "profile refused");
  const auto bind_and_run = [&] {
    context->bind(0, in.view({40, 4}));
    context->bind(1, out.view({40, 4}));
    context->enqueue(stream);
    context->synchronize();
  };
  const auto error = expect<Error>(bind_and_run);
  CHECK(says(error, "profile refused"));
  bind_and_run();
}

TEST_CASE_FIXTURE(Session, "fault: the memory of an output can not be had") {
  const auto engine = load(test::affine());
  const Stream stream(engine->device());
  const Array in(engine->device(), 16);
  const auto context = engine->create_context();
  context->bind(0, in.view({4, 4}));
  for (const char* call : {"cuMemAlloc", "cuMemAllocAsync"}) sim.fail(call, out_of_memory, 1, 100);
  expect<OutOfMemory>([&] {
    context->allocate_output(1);
    context->enqueue(stream);
  });
  sim.clear_faults();
  context->allocate_output(1);
  context->enqueue(stream);
  context->synchronize();
}

TEST_CASE_FIXTURE(Session, "fault: the output allocator has no memory for a data-dependent output") {
  const auto engine = load(test::nonzero());
  const Stream stream(engine->device());
  const Array in(engine->device(), std::vector<float>(64, 1.0f));
  const auto context = engine->create_context();
  context->allocate_output(1);
  context->bind(0, in.view({64}));
  for (const char* call : {"cuMemAlloc", "cuMemAllocAsync"}) sim.fail(call, out_of_memory, 1, 100);
  const auto error = expect<OutOfMemory>([&] {
    context->enqueue(stream);
    context->synchronize();
  });
  CHECK(error.requested() > 0);
  sim.clear_faults();
  context->enqueue(stream);
  context->synchronize();
  CHECK(context->output(1).shape == Dims{1, 64});
}

// Running.

TEST_CASE_FIXTURE(Session, "fault: enqueueV3 returns false with words") {
  Ready r(*this);
  CHECK(r.still_works());
  sim.trt_fail("IExecutionContext::enqueueV3", "invalid resource handle");
  const auto error = expect<Error>([&] { r.run(); });
  CHECK(says(error, "invalid resource handle"));
  CHECK(error.operation().find("enqueueV3") != std::string::npos);
  CHECK_FALSE(r.context->last_messages().empty());
  CHECK(r.still_works());
}

TEST_CASE_FIXTURE(Session, "fault: enqueueV3 returns false and says nothing") {
  Ready r(*this);
  sim.trt_fail("IExecutionContext::enqueueV3", "", "silent");
  expect<TensorRTError>([&] { r.run(); });
  sim.trt_fail("IExecutionContext::enqueueV3", "", "silent");
  CHECK(r.context->try_enqueue(r.stream).code() == ErrorCode::tensorrt);
  CHECK(r.still_works());
}

TEST_CASE_FIXTURE(Session, "fault: a warning is not an error, and reaches the log") {
  Ready r(*this);
  sim.trt_fail("IRuntime::deserializeCudaEngine", "Using an engine plan file across different models of devices is not recommended", "warn");
  drain_log();
  load(test::affine());
  bool found = false;
  for (const LogRecord& record : drain_log()) found = found || record.text.find("across different models") != std::string::npos;
  CHECK(found);
}

TEST_CASE_FIXTURE(Session, "fault: the launch inside TensorRT fails") {
  Ready r(*this);
  CHECK(r.still_works());
  sim.fail("cuLaunchKernel", launch_failed);
  const auto error = expect<Error>([&] { r.run(); });
  CHECK(says(error, "unspecified launch failure"));
  CHECK(r.still_works());
}

TEST_CASE_FIXTURE(Session, "fault: beginning a capture is refused") {
  ContextOptions options;
  options.graph = GraphMode::automatic;
  Ready r(*this, options);
  sim.fail("cuStreamBeginCapture", not_permitted, 1, 100);
  for (int i = 0; i < 4; ++i) CHECK(r.still_works());
  CHECK(r.context->graph_stats().fallback_reason.find("CUDA_ERROR_NOT_PERMITTED") != std::string::npos);
  r.context->set_graph_mode(GraphMode::require);
  expect<CaptureError>([&] {
    for (int i = 0; i < 3; ++i) r.run();
  });
}

TEST_CASE_FIXTURE(Session, "fault: a graph launch fails") {
  ContextOptions options;
  options.graph = GraphMode::automatic;
  Ready r(*this, options);
  for (int i = 0; i < 3; ++i) CHECK(r.still_works());
  sim.fail("cuGraphLaunch", unknown_error);
  const auto error = expect<Error>([&] { r.run(); });
  check_cuda(error, "CUDA_ERROR_UNKNOWN");
  CHECK(r.still_works());
}

TEST_CASE_FIXTURE(Session, "fault: a stream can not be made") {
  const Device device(0);
  sim.fail("cuStreamCreateWithPriority", out_of_memory);
  check_cuda(expect<Error>([&] { const Stream stream(device); }), "CUDA_ERROR_OUT_OF_MEMORY");
  sim.fail("cuEventCreate", out_of_memory);
  check_cuda(expect<Error>([&] { const Event event(device); }), "CUDA_ERROR_OUT_OF_MEMORY");
}

TEST_CASE_FIXTURE(Session, "fault: pinned memory can not be had") {
  const Device device(0);
  sim.fail("cuMemHostAlloc", out_of_memory);
  const auto error = expect<OutOfMemory>([&] { const PinnedBuffer buffer(device, 4096); });
  CHECK(error.requested() == 4096);
}

TEST_CASE_FIXTURE(Session, "fault: a copy is refused by the driver") {
  const Device device(0);
  const Stream stream(device);
  const DeviceBuffer a(device, 64), b(device, 64);
  for (const char* call : {"cuMemcpyAsync", "cuMemcpyDtoDAsync"}) sim.fail(call, not_supported);
  check_cuda(expect<CudaError>([&] { copy_async(device, a.data(), b.data(), 64, stream); }), "CUDA_ERROR_NOT_SUPPORTED");
}

TEST_CASE_FIXTURE(Session, "fault: event record and stream wait fail") {
  const Device device(0);
  const Stream a(device), b(device);
  sim.fail("cuEventRecord", unknown_error);
  check_cuda(expect<CudaError>([&] { stream_wait(device, a, b); }), "CUDA_ERROR_UNKNOWN");
  sim.fail("cuStreamWaitEvent", unknown_error);
  check_cuda(expect<CudaError>([&] { stream_wait(device, a, b); }), "CUDA_ERROR_UNKNOWN");
  stream_wait(device, a, b);
}

TEST_CASE_FIXTURE(Session, "fault: a corrupt byte in a copy is not hidden by anything") {
  Ready r(*this);
  r.run();
  sim.fail("op.d2h", corrupt);
  CHECK(r.out.read(r.stream) != std::vector<float>(16, 3.0f));
  CHECK(r.out.read(r.stream) == std::vector<float>(16, 3.0f));
}

TEST_CASE_FIXTURE(Session, "fault: a kernel hangs: waiting with a time limit comes back") {
  const auto engine = load(test::slow(0));
  PoolOptions options;
  options.contexts = 1;
  options.spin = false;
  const auto pool = ContextPool::create(engine, options);
  std::vector<float> values(16, 1.0f);
  TensorView view;
  view.data = values.data();
  view.shape = {16};
  view.location = TensorLocation::host;
  PoolRequest request;
  request.inputs = {view};
  request.outputs_to_host = true;
  sim.fail("op.kernel", hang);
  const Future future = pool->submit(request);
  CHECK_FALSE(future.wait(std::chrono::milliseconds(50)));
  CHECK_FALSE(future.done());
  sim.release_hangs();
  CHECK(future.get().size() == 1);
}

// What a context does not survive.

TEST_CASE_FIXTURE(Session, "fault: an asynchronous error is seen only when waiting, and stays") {
  {
    Ready r(*this);
    CHECK(r.still_works());
    sim.fail("op.kernel", launch_failed);
    r.context->enqueue(r.stream);
    const auto error = expect<CudaError>([&] { r.context->synchronize(); });
    check_cuda(error, "CUDA_ERROR_LAUNCH_FAILED");
    CHECK_FALSE(error.hint().empty());
    expect<Error>([&] { r.run(); });
  }
  check_new_start(*this);
}

TEST_CASE_FIXTURE(Session, "fault: an ECC error") {
  {
    Ready r(*this);
    sim.fail("op.kernel", ecc_uncorrectable);
    r.context->enqueue(r.stream);
    check_cuda(expect<CudaError>([&] { r.context->synchronize(); }), "CUDA_ERROR_ECC_UNCORRECTABLE");
  }
  check_new_start(*this);
}

TEST_CASE_FIXTURE(Session, "fault: an illegal address: memory that the caller freed too early") {
  {
    const auto engine = load(test::slow(0));
    const Stream stream(engine->device());
    const Array out(engine->device(), 16);
    const auto context = engine->create_context();
    {
      const Array in(engine->device(), 16);
      context->bind(0, in.view({16}));
    }
    context->bind(1, out.view({16}));
    context->enqueue(stream);
    check_cuda(expect<CudaError>([&] { context->synchronize(); }), "CUDA_ERROR_ILLEGAL_ADDRESS");
    CHECK(sim.violations().find("use after free") != std::string::npos);
    forgive_violations();
  }
  check_new_start(*this);
}

TEST_CASE_FIXTURE(Session, "fault: a copy fails on the device") {
  {
    const Device device(0);
    const Stream stream(device);
    const DeviceBuffer buffer(device, 64);
    float values[16] = {};
    sim.fail("op.d2h", illegal_address);
    check_cuda(expect<CudaError>([&] {
                 buffer.copy_to_host(values, 64, stream);
                 stream_synchronize(device, stream);
               }),
               "CUDA_ERROR_ILLEGAL_ADDRESS");
  }
  check_new_start(*this);
}

TEST_CASE_FIXTURE(Session, "fault: the device is lost while a pool works: every future ends, the pool closes") {
  {
    PoolOptions options;
    options.contexts = test::release().before(10, 0) ? 1 : 2;
    options.spin = false;
    const auto pool = ContextPool::create(load(test::slow(200)), options);
    std::vector<float> values(16, 1.0f);
    TensorView view;
    view.data = values.data();
    view.shape = {16};
    view.location = TensorLocation::host;
    sim.fail("op.kernel", ecc_uncorrectable, 5);
    std::vector<Future> futures;
    for (int i = 0; i < 12; ++i) {
      PoolRequest request;
      request.inputs = {view};
      request.outputs_to_host = true;
      try {
        futures.push_back(pool->submit(std::move(request)));
      } catch (const Error&) {
        break;  // the pool may say at once that it can not
      }
    }
    int failed = 0;
    for (const Future& future : futures) {
      REQUIRE(future.wait(std::chrono::seconds(60)));
      failed += !future.status().ok();
    }
    CHECK(failed >= 1);
  }
  check_new_start(*this);
}
