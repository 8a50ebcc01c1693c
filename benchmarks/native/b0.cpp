// B0, the yardstick of benchmarks/runtime.py: the same calls as the core's, made straight on
// TensorRT's and CUDA's interfaces, and timed here.
//
// It knows nothing of cuready. It takes raw pointers (IExecutionContext*, CUstream, CUgraphExec,
// buffers) through a C interface, so that one process can time a call of ours and then the same
// call of B0's, alternately, on the same context and stream: two processes of one program differ by
// 30 %, two neighbours in one loop do not.
//
// It is given the object behind IExecutionContext (its VExecutionContext): a call is one load of
// that object's vtable and one indirect call, which is what a compiler makes of the inline wrappers
// in TensorRT's headers. The three slots per major version are facts about its binary interface
// (8.5-8.6, 10.0-10.16, 11.0-11.1).
#include <dlfcn.h>
#include <utility>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#define B0_API __attribute__((visibility("default")))

namespace {

using Clock = std::chrono::steady_clock;

double elapsed_ns(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::nano>(end - begin).count();
}

struct Slots {
  int set_input_shape;
  int set_tensor_address;
  int enqueue_v3;
};

Slots const* slots_of(int major) {
  static constexpr Slots k8{29, 32, 44};
  static constexpr Slots k10{21, 24, 37};
  static constexpr Slots k11{20, 23, 36};
  return major == 8 ? &k8 : major == 10 ? &k10 : major == 11 ? &k11 : nullptr;
}

struct VendorObject {
  void** vtable;
};

struct Dims32 {
  int32_t rank;
  int32_t d[8];
};

struct Dims64 {
  int32_t rank;
  int64_t d[8];
};

/// The driver's entry points, from the libcuda.so.1 that the process has loaded already.
struct Driver {
  int (*stream_synchronize)(void*) = nullptr;
  int (*graph_launch)(void*, void*) = nullptr;
  int (*copy_to_device)(uint64_t, void const*, size_t, void*) = nullptr;
  int (*copy_to_host)(void*, uint64_t, size_t, void*) = nullptr;
  int (*begin_capture)(void*, int) = nullptr;
  int (*end_capture)(void*, void**) = nullptr;
  int (*instantiate)(void**, void*, unsigned long long) = nullptr;
  int (*graph_destroy)(void*) = nullptr;
  int (*primary_retain)(void**, int) = nullptr;
  int (*context_set)(void*) = nullptr;
  int (*context_get)(void**) = nullptr;
  std::string error;
};

Driver& driver() {
  static Driver table = [] {
    Driver d;
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == nullptr) {
      d.error = dlerror();
      return d;
    }
    auto bind = [&](auto& entry, char const* name) {
      entry = reinterpret_cast<std::decay_t<decltype(entry)>>(dlsym(library, name));
      if (entry == nullptr) d.error = std::string("libcuda.so.1 has no ") + name;
    };
    bind(d.stream_synchronize, "cuStreamSynchronize");
    bind(d.graph_launch, "cuGraphLaunch");
    bind(d.copy_to_device, "cuMemcpyHtoDAsync_v2");
    bind(d.copy_to_host, "cuMemcpyDtoHAsync_v2");
    bind(d.begin_capture, "cuStreamBeginCapture_v2");
    bind(d.end_capture, "cuStreamEndCapture");
    bind(d.instantiate, "cuGraphInstantiateWithFlags");
    bind(d.graph_destroy, "cuGraphDestroy");
    bind(d.primary_retain, "cuDevicePrimaryCtxRetain");
    bind(d.context_set, "cuCtxSetCurrent");
    bind(d.context_get, "cuCtxGetCurrent");
    return d;
  }();
  return table;
}

struct Tensor {
  std::string name;
  bool is_input;
  Dims32 dims32;
  Dims64 dims64;
  size_t bytes;
  std::vector<void*> device;  // one address per set
  void* pinned = nullptr;
};

}  // namespace

/// One execution context with what is bound to it.
struct b0_context {
  VendorObject* object;
  void* stream;
  void* cuda_context;
  int major;
  Slots slots;
  std::vector<Tensor> tensors;

  template <class F>
  F method(int slot) const {
    return reinterpret_cast<F>(object->vtable[slot]);
  }
  bool enqueue() const { return method<bool (*)(void*, void*)>(slots.enqueue_v3)(object, stream); }
  bool bind(size_t set) const {
    auto set_shape = method<bool (*)(void*, char const*, void const*)>(slots.set_input_shape);
    auto set_address = method<bool (*)(void*, char const*, void*)>(slots.set_tensor_address);
    bool fine = true;
    for (Tensor const& t : tensors) {
      void const* dims = major == 8 ? static_cast<void const*>(&t.dims32) : static_cast<void const*>(&t.dims64);
      if (t.is_input) fine &= set_shape(object, t.name.c_str(), dims);
      fine &= set_address(object, t.name.c_str(), t.device[set]);
    }
    return fine;
  }
  /// Only the addresses, where no shape changes: the least that other arrays at each call need.
  bool readdress(size_t set) const {
    auto set_address = method<bool (*)(void*, char const*, void*)>(slots.set_tensor_address);
    bool fine = true;
    for (Tensor const& t : tensors) fine &= set_address(object, t.name.c_str(), t.device[set]);
    return fine;
  }
  bool copy_in() const {
    bool fine = true;
    for (Tensor const& t : tensors)
      if (t.is_input)
        fine &= driver().copy_to_device(reinterpret_cast<uint64_t>(t.device[0]), t.pinned, t.bytes, stream) == 0;
    return fine;
  }
  bool copy_out() const {
    bool fine = true;
    for (Tensor const& t : tensors)
      if (!t.is_input)
        fine &= driver().copy_to_host(t.pinned, reinterpret_cast<uint64_t>(t.device[0]), t.bytes, stream) == 0;
    return fine;
  }
  bool wait() const { return driver().stream_synchronize(stream) == 0; }
};

extern "C" {

/// Null when fine, else why CUDA's driver could not be bound.
B0_API char const* b0_error() { return driver().error.empty() ? nullptr : driver().error.c_str(); }

/// Null for a major version that has no slots here. The
/// calling thread's CUDA context is used in every thread of b0_throughput.
B0_API b0_context* b0_open(void* execution_context, void* stream, int tensorrt_major) {
  Slots const* slots = slots_of(tensorrt_major);
  if (slots == nullptr || execution_context == nullptr || b0_error() != nullptr) return nullptr;
  void* cuda_context = nullptr;
  driver().context_get(&cuda_context);
  if (cuda_context == nullptr) {  // device 0's primary context, as cudart would leave it
    if (driver().primary_retain(&cuda_context, 0) != 0) return nullptr;
    if (driver().context_set(cuda_context) != 0) return nullptr;
  }
  return new b0_context{
      static_cast<VendorObject*>(execution_context), stream, cuda_context, tensorrt_major, *slots, {}};
}

B0_API void b0_close(b0_context* c) { delete c; }

/// Adds a tensor of `bytes` bytes. `device` holds `sets` addresses; `pinned` is the host side of
/// its copies, or null.
B0_API void b0_add_tensor(b0_context* c, char const* name, int is_input, int rank, int64_t const* dims, size_t bytes,
                          void* const* device, int sets, void* pinned) {
  Tensor t{name, is_input != 0, {rank, {}}, {rank, {}}, bytes, {device, device + sets}, pinned};
  for (int i = 0; i < rank && i < 8; ++i) {
    t.dims64.d[i] = dims[i];
    t.dims32.d[i] = static_cast<int32_t>(dims[i]);
  }
  c->tensors.push_back(std::move(t));
}

/// What two reads of the clock cost with nothing between them, in ns.
B0_API double b0_empty_ns() {
  auto const begin = Clock::now();
  return elapsed_ns(begin, Clock::now());
}

/// One enqueueV3, in ns; negative when it returned false.
B0_API double b0_enqueue_ns(b0_context* c) {
  auto const begin = Clock::now();
  bool const fine = c->enqueue();
  auto const end = Clock::now();
  return fine ? elapsed_ns(begin, end) : -1;
}

/// setInputShape and setTensorAddress for every tensor with the addresses of `set`, then enqueueV3,
/// in ns; negative when one returned false.
B0_API double b0_rebind_ns(b0_context* c, int set) {
  auto const begin = Clock::now();
  bool const fine = c->bind(static_cast<size_t>(set)) && c->enqueue();
  auto const end = Clock::now();
  return fine ? elapsed_ns(begin, end) : -1;
}

/// setTensorAddress alone for every tensor with the addresses of `set`, then enqueueV3, in ns; negative
/// when one returned false. What no caller can go below when every array is another one.
B0_API double b0_readdress_ns(b0_context* c, int set) {
  auto const begin = Clock::now();
  bool const fine = c->readdress(static_cast<size_t>(set)) && c->enqueue();
  auto const end = Clock::now();
  return fine ? elapsed_ns(begin, end) : -1;
}

/// Captures one enqueueV3 of what is bound into a CUgraphExec; null when that fails.
B0_API void* b0_capture(b0_context* c) {
  constexpr int kThreadLocal = 1;
  void* graph = nullptr;
  void* executable = nullptr;
  if (!c->bind(0) || !c->enqueue() || !c->wait()) return nullptr;  // warm-up
  if (driver().begin_capture(c->stream, kThreadLocal) != 0) return nullptr;
  bool const fine = c->enqueue();
  if (driver().end_capture(c->stream, &graph) != 0 || !fine || graph == nullptr) return nullptr;
  int const status = driver().instantiate(&executable, graph, 0);
  driver().graph_destroy(graph);
  return status == 0 ? executable : nullptr;
}

/// One cuGraphLaunch, in ns; negative when it failed.
B0_API double b0_graph_launch_ns(void* graph_exec, void* stream) {
  auto const begin = Clock::now();
  int const status = driver().graph_launch(graph_exec, stream);
  auto const end = Clock::now();
  return status == 0 ? elapsed_ns(begin, end) : -1;
}

/// Pageable arrays in, pageable arrays out, through the pinned buffers: what run() does, in ns;
/// negative when a step failed. `host` has one pointer per tensor.
B0_API double b0_run_ns(b0_context* c, void* const* host) {
  auto const begin = Clock::now();
  bool fine = true;
  for (size_t i = 0; i < c->tensors.size(); ++i)
    if (c->tensors[i].is_input) std::memcpy(c->tensors[i].pinned, host[i], c->tensors[i].bytes);
  fine &= c->copy_in() && c->enqueue() && c->copy_out() && c->wait();
  for (size_t i = 0; i < c->tensors.size(); ++i)
    if (!c->tensors[i].is_input) std::memcpy(host[i], c->tensors[i].pinned, c->tensors[i].bytes);
  auto const end = Clock::now();
  return fine ? elapsed_ns(begin, end) : -1;
}

B0_API int b0_synchronize(b0_context* c) { return c->wait() ? 0 : -1; }

/// Runs per second over `count` contexts, one thread each: copy in, enqueueV3, copy out, and a wait
/// after each run (`wait_each`) or once at the end, as a batch of `iterations` per context.
/// Negative when any call failed.
B0_API double b0_throughput(b0_context* const* contexts, int count, int iterations, int copies, int wait_each) {
  std::atomic<int> ready{0}, failed{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (int k = 0; k < count; ++k)
    threads.emplace_back([&, c = contexts[k]] {
      driver().context_set(c->cuda_context);
      ready.fetch_add(1);
      while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
      for (int i = 0; i < iterations; ++i) {
        bool fine = copies == 0 || c->copy_in();
        fine = fine && c->enqueue() && (copies == 0 || c->copy_out()) && (wait_each == 0 || c->wait());
        if (!fine) failed.fetch_add(1);
      }
      if (!c->wait()) failed.fetch_add(1);
    });
  while (ready.load() < count) std::this_thread::yield();
  auto const begin = Clock::now();
  go.store(true, std::memory_order_release);
  for (std::thread& t : threads) t.join();
  double const seconds = elapsed_ns(begin, Clock::now()) / 1e9;
  return failed.load() != 0 ? -1 : count * static_cast<double>(iterations) / seconds;
}

}  // extern "C"
