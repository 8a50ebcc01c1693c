// fork() after CUDA has been initialised: the child has none of the threads, and the driver refuses it.
#pragma once

namespace cuready::cuda {

/// From now on, processes that are forked from this one know it; see in_forked_process().
void watch_forks() noexcept;
/// Throws CudaContextError in a forked process: for what would wait there for threads that do not exist.
void refuse_fork(const char* operation);

}  // namespace cuready::cuda
