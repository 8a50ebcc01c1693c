#include "support.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "control.h"
#include "control_trt.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CUREADY_TEST_SANITIZED 1
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*, std::size_t), void (*free_hook)(const volatile void*));
#endif

namespace test {
namespace {

// Heap counting. Only the thread that counts, and only outside the simulated libraries.
thread_local bool counting = false;
thread_local long counted = 0;
Control* control = nullptr;

void note_allocation() noexcept {
  if (!counting || control == nullptr || control->inside()) return;
  ++counted;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set: run the tests through ctest");
  return value;
}

template <class F>
F* symbol(void* library, const char* name) {
  void* address = dlsym(library, name);
  if (address == nullptr) throw std::runtime_error(std::string("no ") + name + " in a simulated library");
  return reinterpret_cast<F*>(address);
}

std::string text_of(int (*give)(char*, std::size_t), int* count) {
  std::string text(std::size_t{1} << 16, '\0');
  const int found = give(text.data(), text.size());
  if (count != nullptr) *count = found;
  return text.substr(0, text.find('\0'));
}

}  // namespace

Release release() {
  static const Release tested = [] {
    Release r;
    std::sscanf(environment("CUREADY_TEST_RELEASE").c_str(), "%d.%d", &r.major, &r.minor);
    return r;
  }();
  return tested;
}

std::string sim_folder() { return environment("CUREADY_TEST_SIM"); }
std::string library_path() { return sim_folder() + "/trt-" + release().str() + "/libnvinfer.so." + std::to_string(release().major); }

Control::Control() {
  driver_ = dlopen((sim_folder() + "/libcuda.so.1").c_str(), RTLD_NOW);
  tensorrt_ = dlopen(library_path().c_str(), RTLD_NOW);
  if (driver_ == nullptr || tensorrt_ == nullptr) throw std::runtime_error(dlerror());
  inside_ = symbol<int()>(driver_, "sim_inside");
  trt_inside_ = symbol<int()>(tensorrt_, "simtrt_inside");
  control = this;
}

Control& Control::get() {
  static Control& only = *new Control;
  return only;
}

bool Control::inside() const noexcept { return inside_() != 0 || trt_inside_() != 0; }
long Control::calls(const char* name) const { return symbol<decltype(sim_calls)>(driver_, "sim_calls")(name); }
long Control::trt_calls(const char* name) const { return symbol<decltype(simtrt_calls)>(tensorrt_, "simtrt_calls")(name); }
void Control::reset_calls() const {
  symbol<decltype(sim_reset_calls)>(driver_, "sim_reset_calls")();
  symbol<decltype(simtrt_reset_calls)>(tensorrt_, "simtrt_reset_calls")();
}
void Control::fail(const char* point, int code, long nth, long times) const { symbol<decltype(sim_fail)>(driver_, "sim_fail")(point, nth, code, times); }
void Control::trt_fail(const char* method, const char* text, const char* action, long nth, long times) const {
  symbol<decltype(simtrt_fail)>(tensorrt_, "simtrt_fail")(method, nth, times, action, text);
}
void Control::clear_faults() const {
  symbol<decltype(sim_clear_faults)>(driver_, "sim_clear_faults")();
  symbol<decltype(simtrt_clear_faults)>(tensorrt_, "simtrt_clear_faults")();
}
void Control::delay(const char* kind, long us) const { symbol<decltype(sim_set_delay_us)>(driver_, "sim_set_delay_us")(kind, us); }
void Control::release_hangs() const { symbol<decltype(sim_release_hangs)>(driver_, "sim_release_hangs")(); }
int Control::live(std::string* lines) const {
  int count = 0;
  const std::string text = text_of(symbol<decltype(sim_live)>(driver_, "sim_live"), &count);
  if (lines != nullptr) *lines = text;
  return count;
}
int Control::trt_live(std::string* lines) const {
  int count = 0;
  const std::string text = text_of(symbol<decltype(simtrt_live)>(tensorrt_, "simtrt_live"), &count);
  if (lines != nullptr) *lines = text;
  return count;
}
std::string Control::violations() const { return text_of(symbol<decltype(sim_violations)>(driver_, "sim_violations"), nullptr); }
void Control::clear_violations() const { symbol<decltype(sim_clear_violations)>(driver_, "sim_clear_violations")(); }
void Control::clear_plugins() const { symbol<decltype(simtrt_clear_plugins)>(tensorrt_, "simtrt_clear_plugins")(); }
std::size_t Control::live_bytes(int device) const { return symbol<decltype(sim_live_bytes)>(driver_, "sim_live_bytes")(device); }
void Control::produce(StreamRef stream, void* address, std::size_t count, float value, long delay_us) const {
  const cuready::DeviceGuard guard{cuready::Device(0)};
  const int code = symbol<decltype(sim_produce_f32)>(driver_, "sim_produce_f32")(stream.handle, reinterpret_cast<std::uint64_t>(address), count, value, delay_us);
  if (code != 0) throw std::runtime_error("sim_produce_f32: CUDA error " + std::to_string(code));
}

Session::Session() : sim(Control::get()) {
  cuready::SearchOptions options;
  options.path = library_path();
  library = cuready::Library::open(options);
  sim.clear_faults();
  sim.clear_violations();
  sim.reset_calls();
}

Session::~Session() {
  sim.clear_faults();
  sim.release_hangs();
  for (const char* kind : {"kernel", "copy", "memset", "host"}) sim.delay(kind, 0);
  std::string objects, vendor_objects;
  CHECK_MESSAGE(sim.live(&objects) == 0, "left behind: " << objects);
  CHECK_MESSAGE(sim.trt_live(&vendor_objects) == 0, "left behind: " << vendor_objects);
  const std::string misuse = sim.violations();
  CHECK_MESSAGE(misuse.empty(), misuse);
  cuready::drain_log();
}

std::shared_ptr<cuready::Runtime> Session::runtime(const cuready::RuntimeOptions& options) const { return cuready::Runtime::create(library, options); }
std::shared_ptr<cuready::Engine> Session::load(const std::string& text) const { return runtime()->load(bytes(text)); }

std::string plan(const std::string& json, int major, int minor) {
  std::string header(32, '\0');
  std::memcpy(header.data(), "ftrt", 4);
  header[8] = 2;
  const std::uint64_t size = header.size() + json.size();
  std::memcpy(&header[16], &size, sizeof size);
  header[24] = static_cast<char>(major < 0 ? release().major : major);
  header[25] = static_cast<char>(minor < 0 ? release().minor : minor);
  std::memcpy(&header[28], "rtrt", 4);
  return header + json;
}

namespace {
std::string affine_body(const std::string& profiles, int count, const std::string& more) {
  return R"({"name": "affine", "profiles": )" + std::to_string(count) + R"(, "tensors": [
    {"name": "x", "mode": "input", "shape": [-1, 4], "profiles": [)" + profiles + R"(]},
    {"name": "y", "mode": "output", "shape": [-1, 4]}],
   "operations": [{"kind": "affine", "inputs": ["x"], "outputs": ["y"], "scale": 2, "bias": 1}])" + more + "}";
}
constexpr const char* small_profile = R"({"min": [1, 4], "opt": [4, 4], "max": [8, 4]})";
constexpr const char* large_profile = R"({"min": [9, 4], "opt": [32, 4], "max": [64, 4]})";
}  // namespace

std::string affine_json(const std::string& more) { return affine_body(small_profile, 1, more); }
std::string affine(const std::string& more) { return plan(affine_json(more)); }
std::string two_profiles(const std::string& more) { return plan(affine_body(std::string(small_profile) + ", " + large_profile, 2, more)); }

std::string nonzero() {
  return plan(R"({"name": "nonzero", "tensors": [
    {"name": "x", "mode": "input", "shape": [-1], "profiles": [{"min": [1], "opt": [8], "max": [64]}]},
    {"name": "i", "mode": "output", "shape": [1, -1], "dtype": "int32", "data_dependent": true}],
   "operations": [{"kind": "nonzero", "inputs": ["x"], "outputs": ["i"]}]})");
}

std::string reshape(bool wide) {
  const std::string type = wide ? "int64" : "int32";
  return plan(R"({"name": "reshape", "tensors": [
    {"name": "x", "mode": "input", "shape": [12]},
    {"name": "shape", "mode": "input", "shape": [2], "dtype": ")" + type + R"(", "location": "host", "shape_tensor": true,
     "profiles": [{"min": [2], "opt": [2], "max": [2], "min_values": [1, 1], "opt_values": [3, 4], "max_values": [12, 12]}]},
    {"name": "y", "mode": "output", "shape": [-1, -1]}],
   "operations": [{"kind": "reshape", "inputs": ["x", "shape"], "outputs": ["y"]}]})");
}

std::string slow(int microseconds, const std::string& more) {
  return plan(R"({"name": "slow", "tensors": [{"name": "x", "mode": "input", "shape": [16]}, {"name": "y", "mode": "output", "shape": [16]}],
   "operations": [{"kind": "sleep", "microseconds": )" + std::to_string(microseconds) + R"(},
                  {"kind": "affine", "inputs": ["x"], "outputs": ["y"], "scale": 2, "bias": 1}])" + more + "}");
}

std::string copies(int count) {
  std::string tensors, operations;
  for (const char* side : {"input", "output"}) {
    for (int i = 0; i < count; ++i) {
      const std::string name = (side[0] == 'i' ? "x" : "y") + std::to_string(i);
      tensors += (tensors.empty() ? "" : ", ") + std::string(R"({"name": ")") + name + R"(", "mode": ")" + side + R"(", "shape": [16]})";
    }
  }
  for (int i = 0; i < count; ++i) {
    const std::string n = std::to_string(i);
    operations += (operations.empty() ? "" : ", ") + std::string(R"({"kind": "copy", "inputs": ["x)") + n + R"("], "outputs": ["y)" + n + R"("]})";
  }
  return plan(R"({"name": "copies", "tensors": [)" + tensors + R"(], "operations": [)" + operations + "]}");
}

cuready::Span<const std::byte> bytes(const std::string& text) { return {reinterpret_cast<const std::byte*>(text.data()), text.size()}; }

Array::Array(const cuready::Device& device, std::vector<float> values) : count_(values.size()), buffer_(device, values.size() * sizeof(float)) {
  const cuready::Stream stream(device);
  buffer_.copy_from_host(values.data(), values.size() * sizeof(float), stream);
  cuready::stream_synchronize(device, stream);
}

std::vector<float> Array::read(const cuready::Stream& stream) const { return read_floats(buffer_.device(), data(), count_, stream); }

TensorView Array::view(const Dims& shape) const {
  TensorView view;
  view.data = data();
  view.shape = shape;
  view.device = buffer_.device().ordinal();
  view.nbytes = buffer_.nbytes();
  return view;
}

std::vector<float> read_floats(const cuready::Device& device, const void* data, std::size_t count, StreamRef stream) {
  std::vector<float> values(count);
  cuready::stream_synchronize(device, stream);
  cuready::copy_async(device, values.data(), data, count * sizeof(float), stream);
  cuready::stream_synchronize(device, stream);
  return values;
}

bool says(const cuready::Error& error, const std::string& words) {
  for (const cuready::LogRecord& record : error.messages())
    if (record.text.find(words) != std::string::npos) return true;
  return false;
}

long allocations_during(const std::function<void()>& call) {
#ifdef CUREADY_TEST_SANITIZED
  static const int installed = __sanitizer_install_malloc_and_free_hooks([](const volatile void*, std::size_t) { note_allocation(); },
                                                                         [](const volatile void*) {});
  static_cast<void>(installed);
#endif
  counted = 0;
  counting = true;
  call();
  counting = false;
  return counted;
}

}  // namespace test

#ifndef CUREADY_TEST_SANITIZED
// glibc's allocator under its own name, so that every malloc of the process passes here, also those behind operator new.
extern "C" void* __libc_malloc(std::size_t size);
extern "C" void* __libc_calloc(std::size_t count, std::size_t size);
extern "C" void* __libc_realloc(void* old, std::size_t size);
extern "C" void* malloc(std::size_t size) {
  test::note_allocation();
  return __libc_malloc(size);
}
extern "C" void* calloc(std::size_t count, std::size_t size) {
  test::note_allocation();
  return __libc_calloc(count, size);
}
extern "C" void* realloc(void* old, std::size_t size) {
  test::note_allocation();
  return __libc_realloc(old, size);
}
#endif
