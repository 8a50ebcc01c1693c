// /etc/ld.so.cache, read without running ldconfig.
#pragma once

#include <string>
#include <vector>

namespace cuready::tensorrt {

struct CacheEntry {
  std::string soname;
  std::string path;
};
/// Entries whose name begins with `prefix`, in the cache's order. Empty when there is no readable cache in glibc's
/// format.
std::vector<CacheEntry> read_ld_cache(const std::string& cache_file, const std::string& prefix);

}  // namespace cuready::tensorrt
