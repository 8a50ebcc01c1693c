// GPU code of one's own: modules that the driver loads (and compiles, for PTX), kernels, and copies between GPUs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cuready/device.hpp"

namespace cuready {

/// The number of blocks of a launch, or of threads of a block.
struct Extent {
  unsigned x = 1, y = 1, z = 1;
};

/// PTX text, or a cubin or fatbin, loaded into a device's primary context. PTX is compiled by the driver.
class CUREADY_API Module {
 public:
  /// `image`: PTX (with or without its final zero) or a binary. Throws CudaError, whose log holds the compiler's words.
  Module(const Device& device, std::string_view image);
  ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  const Device& device() const noexcept;
  void* handle() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One entry of a module, which it keeps alive.
class CUREADY_API Kernel {
 public:
  /// Throws CudaError (CUDA_ERROR_NOT_FOUND) when the module has no such entry.
  Kernel(std::shared_ptr<Module> module, const std::string& name);
  /// Asynchronous on the stream. `arguments` point to one value for each parameter; they are read before this returns.
  void launch(Extent grid, Extent block, const std::vector<void*>& arguments, StreamRef stream,
              unsigned shared_bytes = 0) const;
  const std::string& name() const noexcept { return name_; }
  const Device& device() const noexcept { return module_->device(); }

 private:
  std::shared_ptr<Module> module_;
  std::string name_;
  void* function_ = nullptr;
};

/// Whether `device` can read and write the memory of `peer` itself, over NVLink or PCIe.
CUREADY_API bool can_access_peer(const Device& device, const Device& peer);
/// Lets `device` do so from now on; fine when it does already. Throws CudaError where it can not.
CUREADY_API void enable_peer_access(const Device& device, const Device& peer);
/// Asynchronous copy between the memory of two devices; through the host where they do not reach each other.
CUREADY_API void copy_peer_async(const Device& to, void* destination, const Device& from, const void* source,
                                 std::size_t nbytes, StreamRef stream);

/// Milliseconds of device time that `count` equal copies take, one after the other on the stream, between two events.
/// Waits for them. The driver works out from the addresses which kind of copy it is.
CUREADY_API float time_copies(const Device& device, void* destination, const void* source, std::size_t nbytes,
                              int count, StreamRef stream);

}  // namespace cuready
