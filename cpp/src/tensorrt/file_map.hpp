// A file mapped read-only, or the reason why not.
#pragma once

#include <cstddef>
#include <string>

#include "cuready/types.hpp"

namespace cuready::tensorrt {

class FileMap {
 public:
  /// Throws PlanInvalid naming the file and the system's reason.
  explicit FileMap(const std::string& path);
  ~FileMap();
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;
  Span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  /// Tells the kernel that all of it will be read once, from front to back.
  void will_read_all() const noexcept;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace cuready::tensorrt
