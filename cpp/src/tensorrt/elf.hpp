// What a file is, by its ELF header: asked before dlopen, whose own words are less clear.
#pragma once

#include <string>

namespace cuready::tensorrt {

/// Why this file can not be a shared library of this machine, or empty.
std::string why_not_loadable(const std::string& path);

}  // namespace cuready::tensorrt
