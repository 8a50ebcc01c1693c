// A plan file as TensorRT's stream reader.
#include "runtime/reader.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "tensorrt/abi/common.hpp"

namespace cuready {
namespace {

std::int64_t read_fully(int fd, void* destination, std::int64_t nbytes) {
  std::int64_t done = 0;
  while (done < nbytes) {
    const ssize_t got = ::read(fd, static_cast<char*>(destination) + done, static_cast<std::size_t>(nbytes - done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += got;
  }
  return done;
}

}  // namespace

FileReader::FileReader(const Device& device, const std::string& path)
    : device_(device), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (fd_ < 0) throw PlanInvalid({"read a plan", path + ": " + std::generic_category().message(errno)});
}

FileReader::~FileReader() { ::close(fd_); }

std::int64_t FileReader::read(void* destination, std::int64_t nbytes, void* stream) noexcept {
  try {
    if (nbytes < 0) return -1;
    if (pointer_info(destination).location == TensorLocation::host) return read_fully(fd_, destination, nbytes);
    std::int64_t done = 0;
    return copy_to_device(destination, nbytes, stream, done) ? done : -1;
  } catch (...) {
    return -1;  // TensorRT reports the failed read
  }
}

bool FileReader::copy_to_device(void* destination, std::int64_t nbytes, void* stream, std::int64_t& done) {
  constexpr std::int64_t piece = std::int64_t{16} << 20;
  staging_.resize(static_cast<std::size_t>(std::min(piece, nbytes)));
  while (done < nbytes) {
    const std::int64_t wanted = std::min(nbytes - done, static_cast<std::int64_t>(staging_.size()));
    const std::int64_t got = read_fully(fd_, staging_.data(), wanted);
    if (got < 0) return false;
    copy_async(device_, static_cast<char*>(destination) + done, staging_.data(), static_cast<std::size_t>(got),
               StreamRef(stream));
    stream_synchronize(device_, StreamRef(stream));  // the staging memory is used again
    done += got;
    if (got < wanted) break;
  }
  return true;
}

bool FileReader::seek(std::int64_t offset, int where) noexcept {
  const int whence = where == tensorrt::seek_set ? SEEK_SET : where == tensorrt::seek_cur ? SEEK_CUR : SEEK_END;
  return ::lseek(fd_, offset, whence) >= 0;
}

}  // namespace cuready
