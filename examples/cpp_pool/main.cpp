// Client threads that share one engine through a pool of contexts.
//
//   cpp_pool PLAN [CLIENTS [REQUESTS]]    8 threads, each sends 100 requests, unless said otherwise
//
// Every client sends an input of its own, over and over. What comes back must be, byte for byte, what the engine gave
// for that input while nobody else was there.
// Exit codes: 0 fine, 1 a result was wrong or something could not be done, 2 wrong usage.
#include <cstddef>
#include <cstdint>
#include <cuready/cuready.hpp>
#include <utility>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<unsigned char>;

/// The inputs of one client, in ordinary memory: the pool stages and copies them.
struct ClientInputs {
  std::vector<Bytes> memory;
  std::vector<cuready::TensorView> views;
};

/// Shape tensors are int32 or int64; TensorRT's bounds for them are always int64.
void write_integers(const std::vector<std::int64_t>& values, cuready::DataType dtype, Bytes& to) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == cuready::DataType::int64) {
      std::memcpy(to.data() + i * sizeof(std::int64_t), &values[i], sizeof(std::int64_t));
    } else {
      const auto narrow = static_cast<std::int32_t>(values[i]);
      std::memcpy(to.data() + i * sizeof narrow, &narrow, sizeof narrow);
    }
  }
}

/// Inputs in the shapes that the engine was tuned for; the floats in them tell the clients apart.
ClientInputs make_inputs(const cuready::Engine& engine, int client) {
  ClientInputs inputs;
  for (int index : engine.inputs()) {
    const cuready::TensorInfo& info = engine.tensors()[static_cast<std::size_t>(index)];
    const cuready::Dims shape = info.shape.is_dynamic() ? info.profiles.at(0).opt : info.shape;
    Bytes bytes(info.bytes_for(shape));
    if (info.location == cuready::TensorLocation::host) {
      write_integers(info.profiles.at(0).opt_values, info.dtype, bytes);
    } else if (info.dtype == cuready::DataType::float32) {
      for (std::size_t i = 0; i < bytes.size() / sizeof(float); ++i) {
        const float value = 0.01F * static_cast<float>(client + 1) * static_cast<float>(i % 100);
        std::memcpy(bytes.data() + i * sizeof value, &value, sizeof value);
      }
    }
    inputs.memory.push_back(std::move(bytes));
    cuready::TensorView view;
    view.data = inputs.memory.back().data();  // moving the vector of vectors later does not move these bytes
    view.dtype = info.dtype;
    view.shape = shape;
    view.location = cuready::TensorLocation::host;
    view.nbytes = inputs.memory.back().size();
    inputs.views.push_back(view);
  }
  return inputs;
}

/// One request, there and back.
std::vector<Bytes> infer(cuready::ContextPool& pool, const ClientInputs& inputs) {
  cuready::PoolRequest request;
  request.inputs = inputs.views;
  request.outputs_to_host = true;
  const cuready::Future future = pool.submit(std::move(request));
  std::vector<Bytes> outputs;
  for (const cuready::PoolOutput& output : future.get()) {
    const auto* first = static_cast<const unsigned char*>(output.view.data);
    outputs.emplace_back(first, first + output.view.nbytes);
  }
  return outputs;
}

/// What one client saw. Each thread writes its own.
struct ClientReport {
  int wrong = 0;
  std::string error;
  std::vector<double> milliseconds;
};

void run_client(cuready::ContextPool& pool, const ClientInputs& inputs, const std::vector<Bytes>& expected,
                int requests, ClientReport& report) {
  try {
    for (int i = 0; i < requests; ++i) {
      const Clock::time_point start = Clock::now();
      const std::vector<Bytes> outputs = infer(pool, inputs);
      report.milliseconds.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
      if (outputs != expected) ++report.wrong;
    }
  } catch (const std::exception& error) {  // must not leave the thread
    report.error = error.what();
  }
}

/// Prints the sums of all reports; returns the exit code.
int summarize(const std::vector<ClientReport>& reports, double seconds) {
  std::vector<double> all;
  int wrong = 0;
  bool failed = false;
  for (const ClientReport& report : reports) {
    all.insert(all.end(), report.milliseconds.begin(), report.milliseconds.end());
    wrong += report.wrong;
    if (report.error.empty()) continue;
    failed = true;
    std::fprintf(stderr, "a client stopped: %s\n", report.error.c_str());
  }
  std::sort(all.begin(), all.end());
  const auto percentile = [&all](std::size_t p) { return all.empty() ? 0.0 : all[(all.size() - 1) * p / 100]; };
  std::printf("%zu requests of %zu clients, %d wrong, %.0f requests/s, latency p50 %.3f ms, p99 %.3f ms\n", all.size(),
              reports.size(), wrong, static_cast<double>(all.size()) / seconds, percentile(50), percentile(99));
  return wrong == 0 && !failed ? 0 : 1;
}

int serve(const std::string& plan, int clients, int requests) {
  const auto engine = cuready::load_engine(cuready::Library::open(), plan);
  cuready::PoolOptions options;
  options.contexts = 2;  // two hide the copies of one behind the kernels of the other; more seldom help
  options.spin = false;  // leave the cores to the clients
  const auto pool = engine->create_pool(options);

  std::vector<ClientInputs> inputs;
  std::vector<std::vector<Bytes>> expected;
  for (int client = 0; client < clients; ++client) {
    inputs.push_back(make_inputs(*engine, client));
    expected.push_back(infer(*pool, inputs.back()));
  }

  std::vector<ClientReport> reports(static_cast<std::size_t>(clients));
  std::vector<std::thread> threads;
  const Clock::time_point start = Clock::now();
  for (std::size_t i = 0; i < reports.size(); ++i) {
    threads.emplace_back([&, i] { run_client(*pool, inputs[i], expected[i], requests, reports[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  return summarize(reports, std::chrono::duration<double>(Clock::now() - start).count());
}

/// A whole number from 1 to a million, or 0 for anything else.
int count_of(const char* text) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  return *end == '\0' && value > 0 && value <= 1000000 ? static_cast<int>(value) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const int clients = argc > 2 ? count_of(argv[2]) : 8;
  const int requests = argc > 3 ? count_of(argv[3]) : 100;
  if (argc < 2 || argc > 4 || clients == 0 || requests == 0) {
    std::fprintf(stderr, "usage: cpp_pool PLAN [CLIENTS [REQUESTS]]\n");
    return 2;
  }
  try {
    return serve(argv[1], clients, requests);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
