// Describes devices through a table of entry points.
#pragma once

#include "cuda/table.hpp"
#include "cuready/driver.hpp"

namespace cuready::cuda {

/// Throws CudaError when the driver does not answer the questions that every driver answers.
DeviceReport describe_device(const Table& table, int ordinal);

}  // namespace cuready::cuda
