// See gate.hpp.
#include "cuda/gate.hpp"

#include <condition_variable>
#include <mutex>

#include "cuda/context.hpp"
#include "cuda/error.hpp"

namespace cuready::cuda {

struct Gate::State {
  std::mutex mutex;
  std::condition_variable opened;
  std::chrono::steady_clock::time_point end;
  bool open = false, late = false;

  /// On a thread of the driver's, where no CUDA call is allowed.
  static void hold(void* given) {
    const std::unique_ptr<std::shared_ptr<State>> mine(static_cast<std::shared_ptr<State>*>(given));
    State& state = **mine;
    std::unique_lock<std::mutex> lock(state.mutex);
    state.late = !state.opened.wait_until(lock, state.end, [&] { return state.open; });
  }
};

Gate::Gate(const Stream& stream, std::chrono::steady_clock::duration at_most) : state_(std::make_shared<State>()) {
  const PrimaryContext& primary = *stream.device().primary();
  const auto launch = primary.table().cuLaunchHostFunc;
  if (launch == nullptr) {
    throw UnsupportedFeature(
        {"cuLaunchHostFunc", "the CUDA driver has no cuLaunchHostFunc", "update the NVIDIA driver"});
  }
  state_->end = std::chrono::steady_clock::now() + at_most;
  const ThrowingGuard guard(primary);
  auto argument = std::make_unique<std::shared_ptr<State>>(state_);
  check(launch(stream.handle(), &State::hold, argument.get()), "cuLaunchHostFunc", "hold a stream");
  static_cast<void>(argument.release());  // the function's now
}

bool Gate::open() noexcept {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->open = true;
  state_->opened.notify_one();
  return !state_->late;
}

}  // namespace cuready::cuda
