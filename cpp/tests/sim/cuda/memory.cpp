#include "memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sim {
namespace {

constexpr size_t guard = 512;      // bytes on each side; also the alignment that cuMemAlloc gives
constexpr unsigned char guard_fill = 0xFA, poison = 0xDD, fresh = 0xCD;
constexpr size_t poison_limit = size_t{1} << 20;  // larger blocks give their pages back instead
constexpr size_t quarantine_blocks = 64, quarantine_bytes = size_t{16} << 20;

size_t round_up(size_t value) { return (value + guard - 1) / guard * guard; }

std::string hex(uint64_t value) {
    char text[32];
    std::snprintf(text, sizeof text, "0x%" PRIx64, value);
    return text;
}

size_t first_difference(unsigned char const* bytes, size_t count, unsigned char expected) {
    for (size_t i = 0; i < count; ++i)
        if (bytes[i] != expected) return i;
    return count;
}

}  // namespace

Arena::Arena(int device, size_t bytes) : device_(device), bytes_(bytes) {
    file_ = memfd_create("simulated-device-memory", MFD_CLOEXEC);
    if (file_ < 0 || ftruncate(file_, static_cast<off_t>(bytes)) != 0) std::abort();
    void* const shield = mmap(nullptr, bytes, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file_, 0);
    void* const view = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file_, 0);
    if (shield == MAP_FAILED || view == MAP_FAILED) std::abort();
    shield_ = reinterpret_cast<uint64_t>(shield);
    view_ = static_cast<unsigned char*>(view);
    free_[0] = bytes;
}

uint64_t Arena::allocate(size_t size) {
    size_t const span = round_up(size) + 2 * guard;
    auto fits = [&] {
        return std::find_if(free_.begin(), free_.end(), [&](auto const& hole) { return hole.second >= span; });
    };
    auto hole = fits();
    while (hole == free_.end() && !quarantine_.empty()) {
        reuse(quarantine_.front());
        quarantine_.pop_front();
        hole = fits();
    }
    if (hole == free_.end()) return 0;
    uint64_t const start = hole->first;
    size_t const rest = hole->second - span;
    free_.erase(hole);
    if (rest) free_[start + span] = rest;
    std::memset(view_ + start, guard_fill, guard);
    std::memset(view_ + start + guard, fresh, std::min(size, poison_limit));
    std::memset(view_ + start + guard + size, guard_fill, span - guard - size);
    return shield_ + start + guard;
}

void Arena::check_guards(Allocation const& block) const {
    unsigned char const* const start = view(block.base);
    size_t const tail = round_up(block.size) + guard - block.size;
    size_t const below = first_difference(start - guard, guard, guard_fill);
    if (below < guard)
        violate("out of bounds: byte " + std::to_string(guard - below) + " before " + hex(block.base) + " was overwritten");
    size_t const above = first_difference(start + block.size, tail, guard_fill);
    if (above < tail)
        violate("out of bounds: byte " + std::to_string(above) + " past the end of " + hex(block.base) + " (" +
                std::to_string(block.size) + " bytes) was overwritten");
}

void Arena::release(Allocation const& block) {
    check_guards(block);
    uint64_t const start = block.base - shield_ - guard;
    size_t const span = round_up(block.size) + 2 * guard;
    if (block.size <= poison_limit)
        std::memset(view(block.base), poison, block.size);
    else
        fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(start + guard), static_cast<off_t>(block.size));
    quarantine_.push_back({start, span, block.size});
    resting_bytes_ += span;
    while (quarantine_.size() > quarantine_blocks || resting_bytes_ > quarantine_bytes) {
        reuse(quarantine_.front());
        quarantine_.pop_front();
    }
}

void Arena::reuse(Resting const& block) {
    resting_bytes_ -= block.span;
    if (block.size <= poison_limit) {
        size_t const at = first_difference(view_ + block.start + guard, block.size, poison);
        if (at < block.size) violate("use after free: byte " + std::to_string(at) + " of freed " + hex(shield_ + block.start + guard) + " was written");
    }
    auto const here = free_.emplace(block.start, block.span).first;
    auto const next = std::next(here);
    if (next != free_.end() && here->first + here->second == next->first) {
        here->second += next->second;
        free_.erase(next);
    }
    if (here != free_.begin()) {
        auto const before = std::prev(here);
        if (before->first + before->second == here->first) {
            before->second += here->second;
            free_.erase(here);
        }
    }
}

Memory& Memory::get() {
    static auto& memory = *new Memory;
    return memory;
}

void Memory::configure(std::vector<size_t> const& device_bytes) {
    std::lock_guard<std::mutex> hold(lock_);
    if (device_bytes == totals_) return;
    arenas_.clear();  // mappings stay: a stale pointer must keep crashing instead of hitting something new
    totals_ = device_bytes;
    used_.assign(totals_.size(), 0);
    blocks_.clear();
    for (size_t i = 0; i < totals_.size(); ++i)
        // Room for guard zones and quarantine on top of what the device claims to have.
        arenas_.push_back(std::make_unique<Arena>(static_cast<int>(i), totals_[i] + totals_[i] / 4 + (size_t{64} << 20)));
}

Result Memory::allocate(Context& context, int device, size_t size, MemoryKind kind, uint64_t* address) {
    if (!address || size == 0) return INVALID_VALUE;
    std::lock_guard<std::mutex> hold(lock_);
    auto const index = static_cast<size_t>(device);
    if (used_[index] + size > totals_[index]) return OUT_OF_MEMORY;
    uint64_t const base = arenas_[index]->allocate(size);
    if (!base) return OUT_OF_MEMORY;
    used_[index] += size;
    blocks_[base] = Allocation{base, size, device, kind, &context, next_id_++};
    *address = base;
    return SUCCESS;
}

Result Memory::allocate_host(Context& context, size_t size, void** address) {
    if (!address || size == 0) return INVALID_VALUE;
    void* block = nullptr;
    if (posix_memalign(&block, 4096, round_up(size) + 4096 + guard) != 0) return OUT_OF_MEMORY;
    auto* const start = static_cast<unsigned char*>(block) + 4096;
    std::memset(start - guard, guard_fill, guard);
    std::memset(start + size, guard_fill, round_up(size) + guard - size);
    std::lock_guard<std::mutex> hold(lock_);
    auto const base = reinterpret_cast<uint64_t>(start);
    blocks_[base] = Allocation{base, size, -1, MemoryKind::pinned, &context, next_id_++};
    *address = start;
    return SUCCESS;
}

Result Memory::register_host(Context& context, void* address, size_t size) {
    if (!address || size == 0) return INVALID_VALUE;
    std::lock_guard<std::mutex> hold(lock_);
    auto const base = reinterpret_cast<uint64_t>(address);
    auto const next = blocks_.lower_bound(base);
    bool const overlaps_next = next != blocks_.end() && next->first < base + size;
    Allocation before;
    if (overlaps_next || find_locked(base, &before)) return HOST_MEMORY_ALREADY_REGISTERED;
    blocks_[base] = Allocation{base, size, -1, MemoryKind::registered, &context, next_id_++};
    return SUCCESS;
}

Result Memory::unregister_host(void* address) {
    std::lock_guard<std::mutex> hold(lock_);
    auto const block = blocks_.find(reinterpret_cast<uint64_t>(address));
    if (block == blocks_.end() || block->second.kind != MemoryKind::registered) return HOST_MEMORY_NOT_REGISTERED;
    blocks_.erase(block);
    return SUCCESS;
}

Result Memory::release(uint64_t address, bool host) {
    std::lock_guard<std::mutex> hold(lock_);
    return release_locked(address, host);
}

Result Memory::release_locked(uint64_t address, bool host) {
    if (address == 0) return host ? INVALID_VALUE : SUCCESS;
    auto const block = blocks_.find(address);
    if (block == blocks_.end()) {
        bool const twice = std::find(freed_.begin(), freed_.end(), address) != freed_.end();
        violate((twice ? "double free of " : "free of an unknown address ") + hex(address));
        return INVALID_VALUE;
    }
    Allocation const freed = block->second;
    if (host != (freed.kind == MemoryKind::pinned)) {
        violate(std::string(host ? "cuMemFreeHost" : "cuMemFree") + " of memory of another kind: " + hex(address));
        return INVALID_VALUE;
    }
    blocks_.erase(block);
    freed_.push_back(address);
    if (freed_.size() > 256) freed_.pop_front();
    if (freed.device >= 0) {
        used_[static_cast<size_t>(freed.device)] -= freed.size;
        arenas_[static_cast<size_t>(freed.device)]->release(freed);
    } else {
        auto* const start = reinterpret_cast<unsigned char*>(address);
        if (first_difference(start - guard, guard, guard_fill) < guard || first_difference(start + freed.size, guard, guard_fill) < guard)
            violate("out of bounds: memory around pinned " + hex(address) + " (" + std::to_string(freed.size) + " bytes) was overwritten");
        std::free(start - 4096);
    }
    return SUCCESS;
}

bool Memory::find(uint64_t address, Allocation* found) {
    std::lock_guard<std::mutex> hold(lock_);
    return find_locked(address, found);
}

bool Memory::find_locked(uint64_t address, Allocation* found) {
    auto next = blocks_.upper_bound(address);
    if (next == blocks_.begin()) return false;
    Allocation const& block = std::prev(next)->second;
    if (address >= block.base + block.size) return false;
    if (found) *found = block;
    return true;
}

bool Memory::is_device_address(uint64_t address) {
    std::lock_guard<std::mutex> hold(lock_);
    return std::any_of(arenas_.begin(), arenas_.end(), [&](auto const& arena) { return arena->owns(address); });
}

void* Memory::view(uint64_t address, size_t size, int device, uint64_t peers) {
    std::lock_guard<std::mutex> hold(lock_);
    Allocation block;
    if (!find_locked(address, &block)) {
        bool const freed = std::any_of(freed_.begin(), freed_.end(), [&](uint64_t old) { return old == address; });
        violate((freed ? "use after free: access to " : "illegal address: access to ") + hex(address) + " (" + std::to_string(size) + " bytes)");
        return nullptr;
    }
    if (address + size > block.base + block.size) {
        violate("out of bounds: access to " + std::to_string(size) + " bytes at offset " + std::to_string(address - block.base) + " of " +
                hex(block.base) + " (" + std::to_string(block.size) + " bytes)");
        return nullptr;
    }
    if (block.device < 0) return reinterpret_cast<void*>(address);
    if (block.device != device && !(peers >> block.device & 1)) {
        violate("wrong device: access from device " + std::to_string(device) + " to memory of device " + std::to_string(block.device));
        return nullptr;
    }
    return arenas_[static_cast<size_t>(block.device)]->view(address);
}

size_t Memory::used(int device) {
    std::lock_guard<std::mutex> hold(lock_);
    return used_.at(static_cast<size_t>(device));
}

size_t Memory::total(int device) {
    std::lock_guard<std::mutex> hold(lock_);
    return totals_.at(static_cast<size_t>(device));
}

std::vector<Allocation> Memory::live() {
    std::lock_guard<std::mutex> hold(lock_);
    std::vector<Allocation> all;
    for (auto const& block : blocks_) all.push_back(block.second);
    return all;
}

void Memory::check_guards() {
    std::lock_guard<std::mutex> hold(lock_);
    for (auto const& block : blocks_)
        if (block.second.device >= 0) arenas_[static_cast<size_t>(block.second.device)]->check_guards(block.second);
}

void Memory::drop_context(Context const& context) {
    std::lock_guard<std::mutex> hold(lock_);
    std::vector<Allocation> mine;
    for (auto const& block : blocks_)
        if (block.second.context == &context) mine.push_back(block.second);
    for (auto const& block : mine) {
        if (block.kind == MemoryKind::registered)
            blocks_.erase(block.base);
        else
            release_locked(block.base, block.kind == MemoryKind::pinned);
    }
}

}  // namespace sim
