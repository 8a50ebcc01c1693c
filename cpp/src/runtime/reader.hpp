// Hands a plan file to TensorRT in pieces, so that it is never in host memory as a whole.
#pragma once

#include <string>
#include <vector>

#include "cuready/device.hpp"
#include "tensorrt/port.hpp"

namespace cuready {

class FileReader final : public tensorrt::PlanReader {
 public:
  /// Throws PlanInvalid when the file can not be opened.
  FileReader(const Device& device, const std::string& path);
  ~FileReader() override;
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;
  std::int64_t read(void* destination, std::int64_t nbytes, void* stream) noexcept override;
  bool seek(std::int64_t offset, int where) noexcept override;

 private:
  bool copy_to_device(void* destination, std::int64_t nbytes, void* stream, std::int64_t& done);
  Device device_;
  int fd_ = -1;
  std::vector<std::byte> staging_;
};

}  // namespace cuready
