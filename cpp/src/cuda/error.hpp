// CUresults become typed errors in one place.
#pragma once

#include <string>

#include "cuda/table.hpp"
#include "cuready/error.hpp"

namespace cuready::cuda {

/// What to do about a CUresult, or empty when there is nothing general to say.
std::string hint_for(CUresult code);
/// The driver's name and description of a code.
CudaStatus describe(CUresult code, const char* call);
/// The same, asked of one table: before the process's own one exists.
CudaStatus describe(const Table& table, CUresult code, const char* call);
/// Throws the type that fits: OutOfMemory (2), CudaContextError (201, 709), CudaError.
[[noreturn]] void raise(CUresult code, const char* call, const std::string& operation, std::size_t requested = 0);

/// Every result of the driver goes through here. `operation` is what the caller was doing, in its own words.
inline void check(CUresult code, const char* call, const char* operation, std::size_t requested = 0) {
  if (__builtin_expect(code != success, 0)) raise(code, call, operation, requested);
}
/// For destructors: a failure to free has nobody to tell.
inline void discard(CUresult) noexcept {}

}  // namespace cuready::cuda
