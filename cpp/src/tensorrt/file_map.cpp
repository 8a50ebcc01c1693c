// mmap, with errors that name the file.
#include "tensorrt/file_map.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "cuready/error.hpp"

namespace cuready::tensorrt {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& why) {
  throw PlanInvalid({"read a plan", path + ": " + why});
}

std::string reason() { return std::generic_category().message(errno); }

}  // namespace

FileMap::FileMap(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe without a writer would wait
  if (fd < 0) fail(path, reason());
  struct stat info{};
  std::string why;
  if (::fstat(fd, &info) != 0) {
    why = reason();
  } else if (!S_ISREG(info.st_mode)) {
    why = "is no regular file";
  } else if (info.st_size == 0) {
    why = "is empty";
  } else {
    void* map = ::mmap(nullptr, static_cast<std::size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
      why = reason();
    } else {
      data_ = static_cast<const std::byte*>(map);
      size_ = static_cast<std::size_t>(info.st_size);
    }
  }
  ::close(fd);
  if (data_ == nullptr) fail(path, why);
}

FileMap::~FileMap() { ::munmap(const_cast<std::byte*>(data_), size_); }

void FileMap::will_read_all() const noexcept {
  static_cast<void>(::madvise(const_cast<std::byte*>(data_), size_, MADV_SEQUENTIAL));
}

}  // namespace cuready::tensorrt
