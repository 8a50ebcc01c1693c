// Holds a stream back while work is queued behind it, so that the GPU then finds all of it there.
#pragma once

#include <chrono>
#include <memory>

#include "cuready/device.hpp"

namespace cuready::cuda {

/// A host function on a stream that returns when the gate is opened, or when its time is over: a host that is blocked
/// by what it queues (a full queue, a call that waits for the stream) is blocked for so long, and never for good.
/// What trtexec's --sleepTime does (TrtCudaStream::sleep in samples/common/sampleDevice.h), with an end that is ours.
class Gate {
 public:
  /// Throws UnsupportedFeature where the driver has no cuLaunchHostFunc (before CUDA 10).
  Gate(const Stream& stream, std::chrono::steady_clock::duration at_most);
  ~Gate() { open(); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  /// Lets the stream go on. False when it had gone on already, because the time was over. Idempotent.
  bool open() noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cuready::cuda
