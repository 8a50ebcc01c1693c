// Percentiles as trtexec reports them.
#pragma once

#include <vector>

#include "cuready/benchmark.hpp"

namespace cuready {

/// Of samples in any order; all zero when there are none. A percentile p is the smallest sample that at least p percent
/// do not exceed.
Percentiles summarize(std::vector<double> samples);

}  // namespace cuready
