// Programs that fork are told, instead of waiting for ever: multiprocessing's "fork", servers that load before they
// fork, data loaders.
#include "cuda/fork.hpp"

#include <pthread.h>

#include <atomic>

#include "cuready/device.hpp"
#include "cuready/error.hpp"

namespace cuready {
namespace {
std::atomic<bool> forked{false};
}

bool in_forked_process() noexcept { return forked.load(std::memory_order_relaxed); }

namespace cuda {

void watch_forks() noexcept {
  static_cast<void>(::pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); }));
}

void refuse_fork(const char* operation) {
  if (!in_forked_process()) return;
  throw CudaContextError({operation, "this process was forked from one that used CUDA, which works in that one only",
                          "start processes with \"spawn\", or load the engine after the fork and not before"});
}

}  // namespace cuda
}  // namespace cuready
