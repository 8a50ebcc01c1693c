// A plan file's header: which TensorRT built it, read without loading any TensorRT.
#pragma once

#include <cstddef>
#include <string>

#include "cuready/types.hpp"

namespace cuready {

/// What the first bytes of a plan say.
struct PlanInfo {
  enum class Kind { tensorrt, unknown } kind = Kind::unknown;
  std::string tag;                ///< the four bytes of the tag, "ftrt" for the family whose header is known
  Version built_by;               ///< all zero when the kind is unknown
  std::size_t size = 0;           ///< bytes of the file or buffer
  std::size_t declared_size = 0;  ///< bytes that the header says the plan has
  bool truncated = false;         ///< shorter than it says
  /// Compute capability of the GPU that built it, and whether it was built to run on other ones; read from the first
  /// records of the plan, -1 when they do not look as they do in the plans seen (8.6, 10.6).
  int compute_major = -1, compute_minor = -1;
  int hardware_compatibility =
      -1;  ///< 0: that compute capability only, 1: Ampere and newer, 2: same compute capability; -1 unknown
  bool has_host_code = false;  ///< holds a host ELF image: the lean runtime of the version that built it
  std::string reason;          ///< why the kind is unknown, or empty
};

/// Reads the header of a file. Throws PlanInvalid when it can not be read; an unknown kind is not an error.
CUREADY_API PlanInfo probe_plan(const std::string& path);
/// The same for plan bytes in memory.
CUREADY_API PlanInfo probe_plan(Span<const std::byte> plan);

}  // namespace cuready
