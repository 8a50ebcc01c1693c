// Where TensorRT libraries may be, in order. Looks at names and ELF headers only.
#pragma once

#include <string>
#include <vector>

#include "cuready/library.hpp"

namespace cuready::tensorrt {

/// Kind and major by the file's name: libnvinfer.so.10 → full 10, libnvinfer_lean.so.11.4.0 → lean 11,
/// libtensorrt_rtx.so.1 → rtx 1. Kind unknown when the name is another.
LibraryInfo classify_name(const std::string& path);

/// All candidates in order. `places` gets one line for each place that was looked at, with what was found there.
std::vector<LibraryInfo> discover(const SearchOptions& options, std::vector<std::string>& places);

}  // namespace cuready::tensorrt
