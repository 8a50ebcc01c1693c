// The context pool: many threads, bounded depth, futures, errors of one request, closing.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "support.hpp"

using namespace cuready;
using test::Array;
using test::expect;
using test::Session;

namespace {

/// TensorRT 8 gives each profile to one context: a pool there has one context.
int contexts() { return test::release().before(10, 0) ? 1 : 3; }

PoolOptions options(int count = contexts()) {
  PoolOptions made;
  made.contexts = count;
  made.spin = false;
  return made;
}

TensorView host_view(std::vector<float>& values, const Dims& shape) {
  TensorView view;
  view.data = values.data();
  view.shape = shape;
  view.location = TensorLocation::host;
  return view;
}

PoolRequest request(std::vector<float>& values, const Dims& shape) {
  PoolRequest made;
  made.inputs = {host_view(values, shape)};
  made.outputs_to_host = true;
  return made;
}

std::vector<float> floats(const PoolOutput& output) {
  const auto* data = static_cast<const float*>(output.view.data);
  return {data, data + output.view.shape.volume()};
}

}  // namespace

TEST_CASE_FIXTURE(Session, "a request comes back with its own numbers") {
  const auto pool = ContextPool::create(load(test::affine()), options());
  std::vector<float> values{1, 2, 3, 4};
  const Future future = pool->submit(request(values, {1, 4}));
  const auto& outputs = future.get();
  REQUIRE(outputs.size() == 1);
  CHECK(outputs[0].view.location == TensorLocation::host);
  CHECK(outputs[0].view.shape == Dims{1, 4});
  CHECK(floats(outputs[0]) == std::vector<float>{3, 5, 7, 9});
  CHECK(future.done());
  CHECK(future.status().ok());
}

TEST_CASE_FIXTURE(Session, "a thread that waits anyway launches its own request") {
  for (const bool spin : {false, true}) {
    PoolOptions one = options(1);
    one.spin = spin;
    const auto pool = ContextPool::create(load(test::affine()), one);
    std::vector<float> values{1, 2, 3, 4};
    // The thread that completes a request lets go of what it kept alive.
    std::thread::id completed_by;
    PoolRequest mine = request(values, {1, 4});
    mine.keep_alive = std::shared_ptr<void>(nullptr, [&](void*) { completed_by = std::this_thread::get_id(); });
    const Future future = pool->run(std::move(mine));
    CHECK(future.done());
    CHECK(floats(future.get()[0]) == std::vector<float>{3, 5, 7, 9});
    CHECK((completed_by == std::this_thread::get_id()) == spin);  // else it is the poller's to look at the GPU
    pool->drain();
    CHECK(pool->stats().completed == 1);
    CHECK(pool->stats().in_flight == 0);
  }
}

TEST_CASE_FIXTURE(Session, "a request that is started comes back with its own numbers, whoever launched it") {
  const auto pool = ContextPool::create(load(test::affine()), options());
  std::atomic<int> wrong{0};
  const auto ask = [&](float x) {
    std::vector<float> values(4, x);
    const Future future = pool->submit(request(values, {1, 4}));
    const bool started = future.start();
    if (floats(future.get()[0]) != std::vector<float>(4, 2 * x + 1)) ++wrong;
    if (future.start()) ++wrong;  // it is done
    return started;
  };
  int started = 0;
  for (int i = 0; i < 200; ++i) started += ask(static_cast<float>(i)) ? 1 : 0;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  CHECK(started > 0);  // elsewhere a launch may take longer than what is quick
#endif
  std::atomic<int> ended{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      try {
        for (int i = 0; i < 1000; ++i) ask(static_cast<float>(10 * i + t));
      } catch (const Cancelled&) {
      }
      ++ended;
    });
  }
  while (pool->stats().completed < 350) std::this_thread::yield();
  pool->close();
  for (std::thread& thread : threads) thread.join();
  CHECK(ended == 3);
  CHECK(wrong == 0);
  CHECK(pool->stats().in_flight == 0);
}

TEST_CASE_FIXTURE(Session, "waiting in any order, with and without a limit, from many threads") {
  PoolOptions spinning = options();
  spinning.spin = true;
  const auto pool = ContextPool::create(load(test::affine(R"(, "device_memory": [4096])")), spinning);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 30; ++i) {
        std::vector<std::vector<float>> values;
        for (int k = 0; k < 3; ++k) values.emplace_back(4, static_cast<float>(t * 1000 + i * 10 + k));
        std::vector<Future> futures;
        for (std::vector<float>& array : values) futures.push_back(pool->submit(request(array, {1, 4})));
        static_cast<void>(futures[2].wait(std::chrono::nanoseconds(1)));
        static_cast<void>(futures[1].wait(std::chrono::nanoseconds(0)));
        for (std::size_t k = futures.size(); k-- > 0;)
          wrong += floats(futures[k].get()[0]) != std::vector<float>(4, 2 * values[k][0] + 1);
        const Future last = pool->run(request(values[0], {1, 4}));
        wrong += floats(last.get()[0]) != std::vector<float>(4, 2 * values[0][0] + 1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  pool->drain();
  CHECK(pool->stats().completed == 4 * 30 * 4);
}

TEST_CASE_FIXTURE(Session, "a pool that closes lets waiting threads finish what they launched") {
  sim.delay("kernel", 2000);
  PoolOptions spinning = options(1);
  spinning.spin = true;
  const auto pool = ContextPool::create(load(test::affine()), spinning);
  std::atomic<int> ended{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      std::vector<float> values{1, 2, 3, 4};
      for (int i = 0; i < 1000; ++i) {
        try {
          static_cast<void>(pool->run(request(values, {1, 4})).get());
        } catch (const Cancelled&) {
          break;
        }
      }
      ++ended;
    });
  }
  while (pool->stats().completed < 5) std::this_thread::yield();
  pool->close();
  for (std::thread& thread : threads) thread.join();
  CHECK(ended == 3);
  CHECK(pool->stats().in_flight == 0);
}

TEST_CASE_FIXTURE(Session, "many threads, mixed shapes: every future has its own numbers") {
  sim.delay("kernel", 50);
  const auto pool = ContextPool::create(load(test::affine(R"(, "device_memory": [4096])")), options());
  std::atomic<int> wrong{0}, done{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const int rows = 1 + (i + t) % 8;
        std::vector<float> values(static_cast<std::size_t>(rows * 4), static_cast<float>(t * 1000 + i));
        const Future future = pool->submit(request(values, {rows, 4}));
        const auto result = floats(future.get()[0]);
        wrong += result != std::vector<float>(values.size(), 2 * values[0] + 1);
        ++done;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(done == 400);
  CHECK(wrong == 0);
  const PoolStats stats = pool->stats();
  CHECK(stats.submitted == 400);
  CHECK(stats.completed == 400);
  CHECK(stats.failed == 0);
  CHECK(stats.contexts == contexts());
}

TEST_CASE_FIXTURE(Session, "device inputs wait for their producer") {
  const auto engine = load(test::slow(0));
  const auto pool = ContextPool::create(engine, options());
  const Stream producer(engine->device());
  const Array in(engine->device(), 16), out(engine->device(), 16);
  for (int i = 0; i < 20; ++i) {
    sim.produce(producer, in.data(), 16, static_cast<float>(i), 2000);
    PoolRequest made;
    made.inputs = {in.view({16})};
    made.outputs = {out.view({16})};
    made.wait_for_producer = true;
    made.producer = producer;
    pool->submit(std::move(made)).get();
    CHECK(out.read(producer)[0] == static_cast<float>(2 * i + 1));
  }
}

TEST_CASE_FIXTURE(Session, "a wrong request fails at submit, by name, and the pool goes on") {
  const auto pool = ContextPool::create(load(test::affine()), options());
  std::vector<float> values(40);
  const auto error = expect<ShapeError>([&] { pool->submit(request(values, {10, 4})); });
  CHECK(error.tensor() == "x");
  expect<BindingError>([&] { pool->submit(PoolRequest{}); });
  std::vector<float> good(4, 1.0f);
  CHECK(floats(pool->submit(request(good, {1, 4})).get()[0]) == std::vector<float>(4, 3.0f));
}

TEST_CASE_FIXTURE(Session, "an error of one run is that request's alone") {
  const auto pool = ContextPool::create(load(test::affine()), options(1));
  std::vector<float> values(4, 1.0f);
  pool->submit(request(values, {1, 4})).get();
  sim.trt_fail("IExecutionContext::enqueueV3", "its own words");
  const Future failed = pool->submit(request(values, {1, 4}));
  const auto error = expect<Error>([&] { failed.get(); });
  CHECK(test::says(error, "its own words"));
  CHECK_FALSE(failed.status().ok());
  CHECK(floats(pool->submit(request(values, {1, 4})).get()[0]) == std::vector<float>(4, 3.0f));
  CHECK(pool->stats().failed == 1);
}

TEST_CASE_FIXTURE(Session, "a full queue pushes back") {
  PoolOptions small = options(1);
  small.max_pending = 1;
  small.in_flight = 1;
  const auto pool = ContextPool::create(load(test::slow(0)), small);
  std::vector<float> values(16, 1.0f);
  std::vector<Future> futures;
  sim.fail("op.kernel", -1);  // the first run hangs until it is released
  for (int refusals = 0; refusals < 20;) {
    Future future = pool->try_submit(request(values, {16}));
    if (future.valid()) {
      futures.push_back(std::move(future));
      refusals = 0;
    } else {
      ++refusals;  // full, also after the dispatcher had time to take what it can
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  CHECK(futures.size() >= 2);
  CHECK(futures.size() <= 4);
  expect<ContextBusy>([&] { pool->submit(request(values, {16}), std::chrono::milliseconds(1)); });
  CHECK_FALSE(futures.back().wait(std::chrono::nanoseconds(1)));
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    sim.release_hangs();
  });
  futures.push_back(pool->submit(request(values, {16})));  // blocks until there is room
  later.join();
  for (const Future& future : futures) CHECK(floats(future.get()[0])[0] == 3.0f);
}

TEST_CASE_FIXTURE(Session, "callbacks run once, also on a future that is done") {
  const auto pool = ContextPool::create(load(test::slow(1000)), options(1));
  std::vector<float> values(16, 1.0f);
  const Future future = pool->submit(request(values, {16}));
  std::mutex lock;
  std::condition_variable changed;
  int calls = 0;
  const auto note = [&] {
    const std::lock_guard<std::mutex> hold(lock);
    ++calls;
    changed.notify_all();
  };
  future.on_done(note);
  future.get();
  future.on_done(note);
  std::unique_lock<std::mutex> hold(lock);
  CHECK(changed.wait_for(hold, std::chrono::seconds(20), [&] { return calls == 2; }));
}

TEST_CASE_FIXTURE(Session, "what a request keeps alive is released when it is done") {
  const auto pool = ContextPool::create(load(test::slow(1000)), options(1));
  std::weak_ptr<std::vector<float>> watched;
  Future future;
  {
    auto values = std::make_shared<std::vector<float>>(16, 1.0f);
    watched = values;
    PoolRequest made = request(*values, {16});
    made.keep_alive = values;
    future = pool->submit(std::move(made));
  }
  future.get();
  pool->drain();
  for (int i = 0; i < 2000 && !watched.expired(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(watched.expired());
}

TEST_CASE_FIXTURE(Session, "closing finishes what is in flight and cancels what waits") {
  PoolOptions small = options(1);
  small.max_pending = 8;
  small.in_flight = 1;
  const auto pool = ContextPool::create(load(test::slow(20000)), small);
  std::vector<float> values(16, 1.0f);
  std::vector<Future> futures;
  for (int i = 0; i < 6; ++i) futures.push_back(pool->submit(request(values, {16})));
  while (pool->stats().in_flight == 0) std::this_thread::yield();
  pool->close();
  pool->close();
  int finished = 0, cancelled = 0;
  for (const Future& future : futures) {
    if (future.status().ok() && future.done()) ++finished;
    if (future.status().code() == ErrorCode::cancelled) ++cancelled;
  }
  CHECK(finished >= 1);
  CHECK(cancelled >= 1);
  CHECK(finished + cancelled == 6);
  expect<Cancelled>([&] { pool->submit(request(values, {16})); });
}

TEST_CASE_FIXTURE(Session, "a pool may be dropped with work in flight; its futures stay good") {
  std::vector<float> values(16, 1.0f);
  Future future;
  {
    const auto pool = ContextPool::create(load(test::slow(5000)), options(1));
    future = pool->submit(request(values, {16}));
    while (pool->stats().in_flight == 0 && !future.done()) std::this_thread::yield();
  }
  CHECK(future.done());
  CHECK(floats(future.get()[0]) == std::vector<float>(16, 3.0f));
}

TEST_CASE_FIXTURE(Session, "data-dependent outputs come back with their sizes") {
  const auto pool = ContextPool::create(load(test::nonzero()), options());
  std::vector<Future> futures;
  std::vector<std::vector<float>> inputs;
  for (int n = 1; n <= 20; ++n) inputs.emplace_back(static_cast<std::size_t>(n), 1.0f);
  for (auto& input : inputs) futures.push_back(pool->submit(request(input, {static_cast<std::int64_t>(input.size())})));
  for (std::size_t i = 0; i < futures.size(); ++i) CHECK(futures[i].get()[0].view.shape == Dims{1, static_cast<std::int64_t>(i + 1)});
}

TEST_CASE_FIXTURE(Session, "contexts with one shared workspace never use it at the same time") {
  PoolOptions shared = options();
  shared.shared_workspace = true;
  const auto pool = ContextPool::create(load(test::slow(200, R"(, "device_memory": [65536])")), shared);
  std::vector<float> values(16, 1.0f);
  std::vector<Future> futures;
  for (int i = 0; i < 30; ++i) futures.push_back(pool->submit(request(values, {16})));
  for (const Future& future : futures) CHECK(floats(future.get()[0]) == std::vector<float>(16, 3.0f));
}

TEST_CASE_FIXTURE(Session, "a shared workspace that grows while others use it, with and without graphs") {
  for (const GraphMode mode : {GraphMode::off, GraphMode::automatic}) {
    PoolOptions shared = options();
    shared.shared_workspace = true;
    shared.context.memory = MemoryStrategy::exact;
    shared.context.graph = mode;
    const auto pool = ContextPool::create(load(test::two_profiles(R"(, "device_memory": [8192, 65536])")), shared);
    std::vector<std::vector<float>> inputs;
    for (int i = 0; i < 60; ++i) inputs.emplace_back(static_cast<std::size_t>(4 * (i % 3 == 2 && i > 20 ? 60 : 1 + i % 8)), static_cast<float>(i));
    std::vector<Future> futures;
    for (auto& input : inputs) futures.push_back(pool->submit(request(input, {static_cast<std::int64_t>(input.size() / 4), 4})));
    for (std::size_t i = 0; i < futures.size(); ++i)
      CHECK(floats(futures[i].get()[0]) == std::vector<float>(inputs[i].size(), 2 * inputs[i][0] + 1));
  }
}

TEST_SUITE("stress") {
  TEST_CASE_FIXTURE(Session, "a request may be the last to hold its pool, whichever thread completes it") {
  for (const bool waiting : {false, true}) {
    for (const bool held_by_callback : {false, true}) {
      std::vector<float> values(16, 1.0f);
      Future future;
      {
        PoolOptions made = options(1);
        made.spin = waiting;
        auto pool = ContextPool::create(load(test::slow(5000)), made);
        PoolRequest last = request(values, {16});
        if (!held_by_callback) last.keep_alive = pool;
        future = pool->submit(std::move(last));
        if (held_by_callback) future.on_done([pool] {});
      }
      CHECK(floats(future.get()[0]) == std::vector<float>(16, 3.0f));
      future = Future();
      while (sim.live() + sim.trt_live() != 0) std::this_thread::yield();  // until another thread has closed the pool
    }
  }
}

TEST_CASE_FIXTURE(Session, "8 threads, 4 contexts, 4,000 requests: all right") {
    const auto pool = ContextPool::create(load(test::affine()), options(4));
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        std::vector<std::vector<float>> inputs(5);
        for (int i = 0; i < 100; ++i) {
          std::vector<Future> futures;
          for (std::size_t k = 0; k < inputs.size(); ++k) {
            const int rows = 1 + (i + t + static_cast<int>(k)) % 8;
            inputs[k].assign(static_cast<std::size_t>(rows * 4), static_cast<float>(t * 500 + i * 5) + static_cast<float>(k));
            futures.push_back(pool->submit(request(inputs[k], {rows, 4})));
          }
          for (std::size_t k = 0; k < inputs.size(); ++k)
            wrong += floats(futures[k].get()[0]) != std::vector<float>(inputs[k].size(), 2 * inputs[k][0] + 1);
        }
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
  }
}
