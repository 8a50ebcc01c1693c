// glibc's loader cache (glibc: sysdeps/generic/dl-cache.h, struct cache_file_new).
#include "tensorrt/ld_cache.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>

namespace cuready::tensorrt {
namespace {

std::uint32_t u32(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  if (at + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::string c_string(const std::string& bytes, std::size_t at) {
  if (at >= bytes.size()) return {};
  const std::size_t end = bytes.find('\0', at);
  return end == std::string::npos ? std::string() : bytes.substr(at, end - at);
}

}  // namespace

std::vector<CacheEntry> read_ld_cache(const std::string& cache_file, const std::string& prefix) {
  constexpr std::size_t header = 48, entry = 24;
  std::vector<CacheEntry> entries;
  std::ifstream file(cache_file, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  // Old caches begin with another table; offsets count from this magic.
  const std::size_t start = bytes.find("glibc-ld.so.cache1.1");
  if (start == std::string::npos) return entries;
  const std::uint32_t count = u32(bytes, start + 20);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::size_t at = start + header + static_cast<std::size_t>(i) * entry;
    if (at + entry > bytes.size()) break;
    const std::string soname = c_string(bytes, start + u32(bytes, at + 4));
    if (soname.compare(0, prefix.size(), prefix) != 0) continue;
    entries.push_back({soname, c_string(bytes, start + u32(bytes, at + 8))});
  }
  return entries;
}

}  // namespace cuready::tensorrt
