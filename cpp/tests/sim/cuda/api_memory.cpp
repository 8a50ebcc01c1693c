// Driver API: device and host memory, copies, sets, pointer attributes, memory pools.
#include <algorithm>
#include <cstring>
#include <utility>

#include "api.hpp"

using namespace sim;

namespace {

struct Pool {
  int device;
};
Pool* default_pool(int device) {
  static Pool pools[64];
  pools[device].device = device;
  return &pools[device];
}

/** Pinned or registered host memory, as opposed to pageable. */
bool is_pinned(void const* address) {
  Allocation block;
  return Memory::get().find(reinterpret_cast<uint64_t>(address), &block) && block.device < 0;
}

Result view(uint64_t address, size_t size, Context& context, unsigned char** bytes) {
  *bytes = static_cast<unsigned char*>(Memory::get().view(address, size, context.device, context.peers));
  return *bytes ? SUCCESS : ILLEGAL_ADDRESS;
}

void finish_copy(unsigned char* destination, size_t size) {
  if (corrupt_this_copy && size) destination[size / 2] ^= 0x40;
}

WorkRef copy_to_device(Context& context, uint64_t to, void const* from, size_t size, bool staged) {
  auto work = std::make_shared<Work>();
  work->kind = "h2d";
  std::shared_ptr<std::vector<unsigned char>> stage;
  if (staged) {
    auto const* bytes = static_cast<unsigned char const*>(from);
    stage = std::make_shared<std::vector<unsigned char>>(bytes, bytes + size);
  } else {
    work->host.push_back({reinterpret_cast<uint64_t>(from), size});
  }
  work->run = [&context, to, from, size, stage]() -> Result {
    unsigned char* bytes = nullptr;
    SIM_TRY(view(to, size, context, &bytes));
    std::memcpy(bytes, stage ? stage->data() : from, size);
    finish_copy(bytes, size);
    return SUCCESS;
  };
  return work;
}

WorkRef copy_to_host(Context& context, void* to, uint64_t from, size_t size) {
  auto work = std::make_shared<Work>();
  work->kind = "d2h";
  work->host.push_back({reinterpret_cast<uint64_t>(to), size});
  work->run = [&context, to, from, size]() -> Result {
    unsigned char* bytes = nullptr;
    SIM_TRY(view(from, size, context, &bytes));
    std::memcpy(to, bytes, size);
    finish_copy(static_cast<unsigned char*>(to), size);
    return SUCCESS;
  };
  return work;
}

WorkRef copy_on_device(Context& context, uint64_t to, uint64_t from, size_t size, uint64_t also_peers) {
  auto work = std::make_shared<Work>();
  work->kind = also_peers ? "p2p" : "d2d";
  work->run = [&context, to, from, size, also_peers]() -> Result {
    uint64_t const peers = context.peers | also_peers;
    auto* const source = Memory::get().view(from, size, context.device, peers);
    auto* const target = static_cast<unsigned char*>(Memory::get().view(to, size, context.device, peers));
    if (!source || !target) return ILLEGAL_ADDRESS;
    std::memmove(target, source, size);
    finish_copy(target, size);
    return SUCCESS;
  };
  return work;
}

WorkRef fill(Context& context, uint64_t to, size_t width, unsigned value, size_t count) {
  auto work = std::make_shared<Work>();
  work->kind = "memset";
  work->run = [&context, to, width, value, count]() -> Result {
    unsigned char* bytes = nullptr;
    SIM_TRY(view(to, width * count, context, &bytes));
    for (size_t i = 0; i < count; ++i) std::memcpy(bytes + i * width, &value, width);
    return SUCCESS;
  };
  return work;
}

bool is_device(uint64_t address) { return Memory::get().is_device_address(address); }

/** Copy of any direction by unified addressing. */
WorkRef copy_any(Context& context, uint64_t to, uint64_t from, size_t size, bool staged) {
  if (is_device(to) && is_device(from)) return copy_on_device(context, to, from, size, 0);
  if (is_device(to)) return copy_to_device(context, to, reinterpret_cast<void const*>(from), size, staged);
  if (is_device(from)) return copy_to_host(context, reinterpret_cast<void*>(to), from, size);
  auto work = std::make_shared<Work>();
  work->kind = "h2h";
  work->host = {{to, size}, {from, size}};
  work->run = [to, from, size]() -> Result {
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<void const*>(from), size);
    return SUCCESS;
  };
  return work;
}

/** Runs work on the legacy stream and waits for it, as the synchronous copies do. */
Result now(Context& context, WorkRef work) {
  SIM_TRY(check_capture_safe());
  SIM_TRY(submit(context.legacy_stream(), std::move(work)));
  context.legacy_stream().last()->wait();
  return context.sticky();
}

Result later(void* handle, Context& context, WorkRef work, bool wait) {
  std::shared_ptr<Stream> stream;
  SIM_TRY(resolve(handle, context, &stream));
  SIM_TRY(submit(*stream, std::move(work)));
  if (wait && !capture_status(*stream, nullptr)) {
    stream->last()->wait();
    return context.sticky();
  }
  return SUCCESS;
}

}  // namespace

#define SIM_CONTEXT(name)     \
  SIM_ENTRY(name);            \
  Context* context = nullptr; \
  SIM_TRY(current(&context))

SIM_API int cuMemGetInfo_v2(size_t* free, size_t* total) {
  SIM_CONTEXT("cuMemGetInfo");
  *total = Memory::get().total(context->device);
  *free = *total - Memory::get().used(context->device);
  return SUCCESS;
}

SIM_API int cuMemAlloc_v2(uint64_t* address, size_t size) {
  SIM_CONTEXT("cuMemAlloc");
  SIM_TRY(check_capture_safe());
  return Memory::get().allocate(*context, context->device, size, MemoryKind::device, address);
}

SIM_API int cuMemFree_v2(uint64_t address) {
  SIM_CONTEXT("cuMemFree");
  SIM_TRY(check_capture_safe());
  context->synchronize();  // the real one waits for the device too
  return Memory::get().release(address, false);
}

SIM_API int cuMemAllocAsync(uint64_t* address, size_t size, void* handle) {
  SIM_CONTEXT("cuMemAllocAsync");
  std::shared_ptr<Stream> stream;
  SIM_TRY(resolve(handle, *context, &stream));
  if (check_not_capturing(*stream)) return NOT_SUPPORTED;
  return Memory::get().allocate(*context, context->device, size, MemoryKind::async, address);
}

SIM_API int cuMemFreeAsync(uint64_t address, void* handle) {
  SIM_CONTEXT("cuMemFreeAsync");
  std::shared_ptr<Stream> stream;
  SIM_TRY(resolve(handle, *context, &stream));
  if (check_not_capturing(*stream)) return NOT_SUPPORTED;
  if (!Memory::get().find(address, nullptr)) {
    violate("cuMemFreeAsync of an address that is not allocated");
    return INVALID_VALUE;
  }
  auto work = std::make_shared<Work>();
  work->kind = "free";
  work->run = [address] { return Memory::get().release(address, false); };
  return submit(*stream, work);
}

SIM_API int cuMemHostAlloc(void** address, size_t size, unsigned) {
  SIM_CONTEXT("cuMemHostAlloc");
  SIM_TRY(check_capture_safe());
  return Memory::get().allocate_host(*context, size, address);
}
SIM_API int cuMemAllocHost_v2(void** address, size_t size) {
  SIM_CONTEXT("cuMemAllocHost");
  SIM_TRY(check_capture_safe());
  return Memory::get().allocate_host(*context, size, address);
}

SIM_API int cuMemFreeHost(void* address) {
  SIM_CONTEXT("cuMemFreeHost");
  SIM_TRY(check_capture_safe());
  Allocation block;
  auto const base = reinterpret_cast<uint64_t>(address);
  if (Memory::get().find(base, &block))
    for (auto* owner : State::get().contexts())
      for (auto const& stream : owner->all_streams())
        if (stream->uses_host(base, block.size)) {
          violate("pinned memory was freed while queued work still uses it");
          owner->synchronize();
        }
  return Memory::get().release(base, true);
}

SIM_API int cuMemHostRegister_v2(void* address, size_t size, unsigned) {
  SIM_CONTEXT("cuMemHostRegister");
  return Memory::get().register_host(*context, address, size);
}

SIM_API int cuMemHostUnregister(void* address) {
  SIM_CONTEXT("cuMemHostUnregister");
  return Memory::get().unregister_host(address);
}

SIM_API int cuMemHostGetDevicePointer_v2(uint64_t* device, void* address, unsigned) {
  SIM_CONTEXT("cuMemHostGetDevicePointer");
  if (!is_pinned(address)) return INVALID_VALUE;
  *device = reinterpret_cast<uint64_t>(address);
  return SUCCESS;
}

SIM_API int cuMemcpyHtoD_v2(uint64_t to, void const* from, size_t size) {
  SIM_CONTEXT("cuMemcpyHtoD");
  return size ? now(*context, copy_to_device(*context, to, from, size, false)) : SUCCESS;
}
SIM_API int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t size) {
  SIM_CONTEXT("cuMemcpyDtoH");
  return size ? now(*context, copy_to_host(*context, to, from, size)) : SUCCESS;
}
SIM_API int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t size) {
  SIM_CONTEXT("cuMemcpyDtoD");
  return size ? now(*context, copy_on_device(*context, to, from, size, 0)) : SUCCESS;
}
SIM_API int cuMemcpy(uint64_t to, uint64_t from, size_t size) {
  SIM_CONTEXT("cuMemcpy");
  return size ? now(*context, copy_any(*context, to, from, size, false)) : SUCCESS;
}

// Pageable sources are staged before the call returns, pageable destinations are filled before it returns.
SIM_API int cuMemcpyHtoDAsync_v2(uint64_t to, void const* from, size_t size, void* stream) {
  SIM_CONTEXT("cuMemcpyHtoDAsync");
  return size ? later(stream, *context, copy_to_device(*context, to, from, size, !is_pinned(from)), false) : SUCCESS;
}
SIM_API int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t size, void* stream) {
  SIM_CONTEXT("cuMemcpyDtoHAsync");
  return size ? later(stream, *context, copy_to_host(*context, to, from, size), !is_pinned(to)) : SUCCESS;
}
SIM_API int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t size, void* stream) {
  SIM_CONTEXT("cuMemcpyDtoDAsync");
  return size ? later(stream, *context, copy_on_device(*context, to, from, size, 0), false) : SUCCESS;
}
SIM_API int cuMemcpyAsync(uint64_t to, uint64_t from, size_t size, void* stream) {
  SIM_CONTEXT("cuMemcpyAsync");
  if (!size) return SUCCESS;
  bool const staged = is_device(to) && !is_device(from) && !is_pinned(reinterpret_cast<void*>(from));
  bool const wait = !is_device(to) && !is_pinned(reinterpret_cast<void*>(to));
  return later(stream, *context, copy_any(*context, to, from, size, staged), wait);
}
SIM_API int cuMemcpyPeerAsync(uint64_t to, void*, uint64_t from, void*, size_t size, void* stream) {
  SIM_CONTEXT("cuMemcpyPeerAsync");
  return size ? later(stream, *context, copy_on_device(*context, to, from, size, ~uint64_t{0}), false) : SUCCESS;
}

SIM_API int cuMemsetD8_v2(uint64_t to, unsigned char value, size_t count) {
  SIM_CONTEXT("cuMemsetD8");
  return count ? now(*context, fill(*context, to, 1, value, count)) : SUCCESS;
}
SIM_API int cuMemsetD32_v2(uint64_t to, unsigned value, size_t count) {
  SIM_CONTEXT("cuMemsetD32");
  return count ? now(*context, fill(*context, to, 4, value, count)) : SUCCESS;
}
SIM_API int cuMemsetD8Async(uint64_t to, unsigned char value, size_t count, void* stream) {
  SIM_CONTEXT("cuMemsetD8Async");
  return count ? later(stream, *context, fill(*context, to, 1, value, count), false) : SUCCESS;
}
SIM_API int cuMemsetD16Async(uint64_t to, unsigned short value, size_t count, void* stream) {
  SIM_CONTEXT("cuMemsetD16Async");
  return count ? later(stream, *context, fill(*context, to, 2, value, count), false) : SUCCESS;
}
SIM_API int cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void* stream) {
  SIM_CONTEXT("cuMemsetD32Async");
  return count ? later(stream, *context, fill(*context, to, 4, value, count), false) : SUCCESS;
}

SIM_API int cuMemGetAddressRange_v2(uint64_t* base, size_t* size, uint64_t address) {
  SIM_CONTEXT("cuMemGetAddressRange");
  Allocation block;
  if (!Memory::get().find(address, &block)) return NOT_FOUND;
  if (base) *base = block.base;
  if (size) *size = block.size;
  return SUCCESS;
}

namespace {
/** CUpointer_attribute numbers that the simulation knows. */
Result pointer_attribute(void* value, int attribute, Allocation const& block, uint64_t address) {
  bool const host = block.device < 0;
  switch (attribute) {
    case 1:
      *static_cast<void**>(value) = block.context;
      return SUCCESS;
    case 2:
      *static_cast<unsigned*>(value) = host ? 1 : 2;
      return SUCCESS;
    case 3:
      *static_cast<uint64_t*>(value) = address;
      return SUCCESS;
    case 4:
      if (!host) return INVALID_VALUE;
      *static_cast<uint64_t*>(value) = address;
      return SUCCESS;
    case 7:
      *static_cast<uint64_t*>(value) = block.id;
      return SUCCESS;
    case 8:
      *static_cast<unsigned char*>(value) = 0;
      return SUCCESS;
    case 9:
      *static_cast<int*>(value) = host ? block.context->device : block.device;
      return SUCCESS;
    case 11:
      *static_cast<uint64_t*>(value) = block.base;
      return SUCCESS;
    case 12:
      *static_cast<size_t*>(value) = block.size;
      return SUCCESS;
    case 13:
      *static_cast<unsigned char*>(value) = 1;
      return SUCCESS;
    default:
      return INVALID_VALUE;
  }
}
}  // namespace

SIM_API int cuPointerGetAttribute(void* value, int attribute, uint64_t address) {
  SIM_ENTRY("cuPointerGetAttribute");
  if (!State::get().initialized()) return NOT_INITIALIZED;
  Allocation block;
  if (!value || !Memory::get().find(address, &block)) return INVALID_VALUE;
  return pointer_attribute(value, attribute, block, address);
}

SIM_API int cuPointerGetAttributes(unsigned count, int* attributes, void** values, uint64_t address) {
  SIM_ENTRY("cuPointerGetAttributes");
  if (!State::get().initialized()) return NOT_INITIALIZED;
  Allocation block;
  bool const known = Memory::get().find(address, &block);
  for (unsigned i = 0; i < count; ++i) {
    if (known && pointer_attribute(values[i], attributes[i], block, address) == SUCCESS) continue;
    size_t const width = attributes[i] == 8 || attributes[i] == 13  ? 1
                         : attributes[i] == 2 || attributes[i] == 9 ? 4
                                                                    : 8;
    std::memset(values[i], 0, width);
    if (attributes[i] == 9) *static_cast<int*>(values[i]) = -2;
  }
  return SUCCESS;
}

SIM_API int cuDeviceGetDefaultMemPool(void** pool, int device) {
  SIM_ENTRY("cuDeviceGetDefaultMemPool");
  if (device < 0 || static_cast<size_t>(device) >= State::get().devices().size()) return INVALID_DEVICE;
  *pool = default_pool(device);
  return SUCCESS;
}
SIM_API int cuDeviceGetMemPool(void** pool, int device) { return cuDeviceGetDefaultMemPool(pool, device); }
SIM_API int cuMemPoolSetAttribute(void* pool, int, void*) {
  SIM_ENTRY("cuMemPoolSetAttribute");
  return pool ? SUCCESS : INVALID_VALUE;
}
SIM_API int cuMemPoolGetAttribute(void* pool, int, void* value) {
  SIM_ENTRY("cuMemPoolGetAttribute");
  if (!pool) return INVALID_VALUE;
  *static_cast<uint64_t*>(value) = Memory::get().used(static_cast<Pool*>(pool)->device);
  return SUCCESS;
}
SIM_API int cuMemPoolTrimTo(void* pool, size_t) {
  SIM_ENTRY("cuMemPoolTrimTo");
  return pool ? SUCCESS : INVALID_VALUE;
}
SIM_API int cuMemAllocFromPoolAsync(uint64_t* address, size_t size, void* pool, void* stream) {
  SIM_ENTRY("cuMemAllocFromPoolAsync");
  return pool ? cuMemAllocAsync(address, size, stream) : INVALID_VALUE;
}

SIM_API void* sim_view(uint64_t address, size_t size) {
  Context* const context = running_context();
  return context ? Memory::get().view(address, size, context->device, context->peers) : nullptr;
}
