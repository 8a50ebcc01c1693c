// What the tests share: the simulated libraries of this process, plans for them, and the end-of-test account.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuready/cuready.hpp"

namespace test {

using cuready::DataType;
using cuready::Dims;
using cuready::StreamRef;
using cuready::TensorView;

/// Major and minor of the TensorRT that this process tests.
struct Release {
  int major = 0, minor = 0;
  bool before(int ma, int mi) const { return major < ma || (major == ma && minor < mi); }
  std::string str() const { return std::to_string(major) + "." + std::to_string(minor); }
};
Release release();
/// Folder of the simulated libraries.
std::string sim_folder();
/// Path of a library of this release: "libnvinfer.so.10".
std::string library_path();

/// The simulated driver's and TensorRT's control functions (see cpp/tests/sim).
class Control {
 public:
  static Control& get();
  long calls(const char* driver_function) const;
  long trt_calls(const char* method) const;
  void reset_calls() const;
  void fail(const char* point, int code, long nth = 1, long times = 1) const;
  void trt_fail(const char* method, const char* text, const char* action = "refuse", long nth = 1, long times = 1) const;
  void clear_faults() const;
  void delay(const char* kind, long microseconds) const;
  void release_hangs() const;
  int live(std::string* lines = nullptr) const;
  int trt_live(std::string* lines = nullptr) const;
  std::string violations() const;
  void clear_violations() const;
  void clear_plugins() const;
  std::size_t live_bytes(int device = 0) const;
  /// Writes `count` floats at a device address on a stream, `delay_us` later.
  void produce(StreamRef stream, void* address, std::size_t count, float value, long delay_us) const;
  /// True while this thread is inside a simulated library: its heap use is not the core's.
  bool inside() const noexcept;

 private:
  Control();
  void* driver_ = nullptr;
  void* tensorrt_ = nullptr;
  int (*inside_)() = nullptr;
  int (*trt_inside_)() = nullptr;
};

/// Base of the fixtures: opens the library; at the end nothing may be alive, and nothing may have been misused.
class Session {
 public:
  Session();
  ~Session();
  Control& sim;
  std::shared_ptr<cuready::Library> library;
  /// A runtime on device 0.
  std::shared_ptr<cuready::Runtime> runtime(const cuready::RuntimeOptions& options = {}) const;
  std::shared_ptr<cuready::Engine> load(const std::string& plan) const;
  /// Misuse that this test provokes on purpose is not held against it.
  void forgive_violations() const { sim.clear_violations(); }
};

// Plans: bytes for the simulated TensorRT of this process.

/// `json` behind a header that says which TensorRT built it (default: the one that is tested).
std::string plan(const std::string& json, int major = -1, int minor = -1);
/// y = 2x + 1 over [-1, 4], batch 1 to 8. `more` are further members of the JSON, each with a comma before it.
std::string affine_json(const std::string& more = "");
std::string affine(const std::string& more = "");
/// The same with a second profile for batches 9 to 64.
std::string two_profiles(const std::string& more = "");
/// Data-dependent: indices of x > 0, int32 [1, n]; x has 1 to 64 elements.
std::string nonzero();
/// y = -x in the shape of a host shape tensor; 12 elements. int32 values for 8.x, int64 where `wide`.
std::string reshape(bool wide = false);
/// y = 2x + 1 over 16 floats, `microseconds` on the stream.
std::string slow(int microseconds, const std::string& more = "");
/// `count` pairs x0/y0 ... of 16 floats, copied.
std::string copies(int count);

cuready::Span<const std::byte> bytes(const std::string& text);

/// Device memory with helpers that wait: tests read results through these.
class Array {
 public:
  Array(const cuready::Device& device, std::vector<float> values);
  Array(const cuready::Device& device, std::size_t count) : Array(device, std::vector<float>(count)) {}
  void* data() const { return buffer_.data(); }
  std::vector<float> read(const cuready::Stream& stream) const;
  TensorView view(const Dims& shape) const;

 private:
  std::size_t count_;
  cuready::DeviceBuffer buffer_;
};

/// Reads device memory: waits for the stream, copies, waits again.
std::vector<float> read_floats(const cuready::Device& device, const void* data, std::size_t count, StreamRef stream);

/// Runs `call`, which must throw E; returns the exception for further checks.
template <class E, class F>
E expect(F&& call) {
  try {
    call();
  } catch (const cuready::Error& error) {
    if constexpr (std::is_same_v<E, cuready::Error>) return error;
    else if (const auto* wanted = dynamic_cast<const E*>(&error)) return *wanted;
    else FAIL("another type of error (" << std::string(cuready::name(error.code())) << "): " << std::string(error.what()));
  }
  FAIL("nothing was thrown");
  throw std::logic_error("unreachable");
}

/// True when any of an error's TensorRT lines has `words`.
bool says(const cuready::Error& error, const std::string& words);

/// Heap allocations of this thread outside the simulated libraries while `call` runs.
long allocations_during(const std::function<void()>& call);

}  // namespace test
