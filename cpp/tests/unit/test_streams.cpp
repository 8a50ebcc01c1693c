// Order between streams: producers that are slow, streams that change, staging memory that is reused.
#include <cstring>
#include <thread>

#include "support.hpp"

using namespace cuready;
using test::Array;
using test::Session;

namespace {

/// Runs y = 2x + 1 where another stream writes x only after a while.
long wrong_results(const Session& session, int runs, long delay_us) {
  const auto engine = session.load(test::slow(0));
  const Stream producer(engine->device()), stream(engine->device());
  const Array in(engine->device(), 16), out(engine->device(), 16);
  const PinnedBuffer host(engine->device(), 16 * sizeof(float));
  const auto context = engine->create_context();
  context->bind(0, in.view({16}));
  context->bind(1, out.view({16}));
  Stream& consumer = const_cast<Stream&>(stream);
  Stream& source = const_cast<Stream&>(producer);
  long wrong = 0;
  for (int i = 0; i < runs; ++i) {
    const auto value = static_cast<float>(i % 1000);
    session.sim.produce(producer, in.data(), 16, value, i % 7 == 0 ? delay_us : 0);
    consumer.wait(producer.ref());
    context->enqueue(stream);
    copy_async(engine->device(), host.data(), out.data(), host.nbytes(), stream);
    source.wait(stream.ref());  // the next value may not overwrite this one
    stream_synchronize(engine->device(), stream);
    const auto* values = static_cast<const float*>(host.data());
    wrong += values[0] != 2 * value + 1 || values[15] != 2 * value + 1;
  }
  context->synchronize();
  return wrong;
}

}  // namespace

TEST_CASE_FIXTURE(Session, "a slow producer on another stream never gives a wrong result") {
  CHECK(wrong_results(*this, 300, 500) == 0);
  CHECK(sim.calls("cuCtxSynchronize") == 0);
}

TEST_CASE_FIXTURE(Session, "the simulation would notice a missing wait") {
  const auto engine = load(test::slow(0));
  const Stream producer(engine->device()), stream(engine->device());
  const Array in(engine->device(), 16), out(engine->device(), 16);
  const auto context = engine->create_context();
  context->bind(0, in.view({16}));
  context->bind(1, out.view({16}));
  sim.produce(producer, in.data(), 16, 5.0f, 50000);
  context->enqueue(stream);  // on purpose without stream_wait
  context->synchronize();
  const auto early = out.read(stream);
  stream_synchronize(engine->device(), producer);
  CHECK(early[0] != 11.0f);
}

TEST_CASE_FIXTURE(Session, "when the stream changes, the new one waits for the old one") {
  const auto engine = load(test::slow(2000));
  const Stream first(engine->device()), second(engine->device());
  const Array a(engine->device(), std::vector<float>(16, 1.0f)), b(engine->device(), 16), c(engine->device(), 16);
  const auto context = engine->create_context();
  context->bind(0, a.view({16}));
  context->bind(1, b.view({16}));
  context->enqueue(first);
  context->bind(0, b.view({16}));
  context->bind(1, c.view({16}));
  context->enqueue(second);
  context->synchronize();
  CHECK(c.read(second) == std::vector<float>(16, 7.0f));
  CHECK(context->last_stream() == second.ref());
  CHECK(context->done());
}

TEST_CASE_FIXTURE(Session, "an event tells when inputs have been consumed") {
  const auto engine = load(test::slow(1000));
  const Stream stream(engine->device());
  const Array in(engine->device(), std::vector<float>(16, 1.0f)), out(engine->device(), 16);
  const auto consumed = std::make_shared<Event>(engine->device());
  const auto context = engine->create_context();
  context->bind(0, in.view({16}));
  context->bind(1, out.view({16}));
  context->set_input_consumed_event(consumed);
  context->enqueue(stream);
  consumed->synchronize();
  sim.produce(stream, in.data(), 16, 9.0f, 0);
  context->synchronize();
  CHECK(out.read(stream)[0] == 3.0f);
  context->set_input_consumed_event(nullptr);
  context->enqueue(stream);
  context->synchronize();
  CHECK(out.read(stream)[0] == 19.0f);
}

TEST_CASE_FIXTURE(Session, "a staging slot is reused only after its copy is done") {
  const Device device(0);
  const Stream stream(device);
  sim.delay("copy", 300);
  StagingRing ring(device, 2);
  std::vector<std::unique_ptr<DeviceBuffer>> buffers;
  for (int i = 0; i < 12; ++i) {
    const std::vector<float> values(64, static_cast<float>(i));
    buffers.push_back(std::make_unique<DeviceBuffer>(device, 256));
    ring.upload(buffers.back()->data(), values.data(), 256, stream);
  }
  for (int i = 0; i < 12; ++i) CHECK(test::read_floats(device, buffers[static_cast<std::size_t>(i)]->data(), 64, stream)[63] == static_cast<float>(i));
}

TEST_CASE_FIXTURE(Session, "staging and pinned memory that still has copies in flight is not freed under them") {
  const Device device(0);
  const Stream stream(device);
  sim.delay("copy", 3000);
  const DeviceBuffer target(device, 256);
  {
    StagingRing ring(device, 2);
    const std::vector<float> values(64, 4.0f);
    ring.upload(target.data(), values.data(), 256, stream);
  }
  CHECK(test::read_floats(device, target.data(), 64, stream)[0] == 4.0f);
}

TEST_CASE_FIXTURE(Session, "stream-ordered memory is freed in its stream's order") {
  const Device device(0);
  const auto stream = std::make_shared<Stream>(device);
  float result[4] = {};
  {
    DeviceBuffer buffer(stream, 16);
    sim.produce(*stream, buffer.data(), 4, 8.0f, 2000);
    buffer.copy_to_host(result, 16, *stream);
  }
  stream->synchronize();
  CHECK(result[3] == 8.0f);
  CHECK(sim.live_bytes() == 0);
}

TEST_CASE_FIXTURE(Session, "the caller's current context is left as it was") {
  CHECK_FALSE(context_is_current());
  {
    const auto engine = load(test::affine());
    const auto context = engine->create_context();
    CHECK_FALSE(context_is_current());
    const DeviceGuard guard(engine->device());
    CHECK(context_is_current());
  }
  CHECK_FALSE(context_is_current());
}

TEST_CASE_FIXTURE(Session, "engines run from a thread that has never seen CUDA") {
  const auto engine = load(test::slow(0));
  std::vector<float> result;
  std::thread([&] {
    const Stream stream(engine->device());
    const Array in(engine->device(), std::vector<float>(16, 2.0f)), out(engine->device(), 16);
    const auto context = engine->create_context();
    context->bind(0, in.view({16}));
    context->bind(1, out.view({16}));
    context->enqueue(stream);
    context->synchronize();
    result = out.read(stream);
  }).join();
  CHECK(result == std::vector<float>(16, 5.0f));
}

TEST_SUITE("stress") {
  TEST_CASE_FIXTURE(Session, "10,000 runs with a slow producer on another stream: 0 wrong") { CHECK(wrong_results(*this, 10000, 200) == 0); }
}
