// Memory of the simulated devices: one sparse arena per device, seen twice.
//
// A device pointer lies in a mapping that nobody may touch (PROT_NONE), so host code that dereferences one crashes at
// once, as it would with a real GPU. The driver itself works on a second, readable view of the same pages.
// Every allocation stands between guard zones, freed memory is poisoned and rests in quarantine before it is used again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "codes.hpp"

namespace sim {

struct Context;

enum class MemoryKind { device, async, pinned, registered };

struct Allocation {
    uint64_t base = 0;  // address the caller sees
    size_t size = 0;
    int device = -1;  // -1: host memory
    MemoryKind kind = MemoryKind::device;
    Context* context = nullptr;
    uint64_t id = 0;
};

class Arena {
public:
    Arena(int device, size_t bytes);

    /** Address of a new block of `size` bytes aligned to 512, or 0. Guard zones are in place on both sides. */
    uint64_t allocate(size_t size);
    /** Checks the guards, poisons, and puts the block into quarantine. */
    void release(Allocation const& block);
    bool owns(uint64_t address) const { return address >= shield_ && address < shield_ + bytes_; }
    unsigned char* view(uint64_t address) const { return view_ + (address - shield_); }
    void check_guards(Allocation const& block) const;

private:
    struct Resting {
        uint64_t start;
        size_t span, size;
    };
    void reuse(Resting const& block);

    int device_;
    size_t bytes_;
    int file_;
    uint64_t shield_;
    unsigned char* view_;
    std::map<uint64_t, size_t> free_;  // offset -> length
    std::deque<Resting> quarantine_;
    size_t resting_bytes_ = 0;
};

/** All allocations of the process. Thread-safe. */
class Memory {
public:
    static Memory& get();

    void configure(std::vector<size_t> const& device_bytes);
    Result allocate(Context& context, int device, size_t size, MemoryKind kind, uint64_t* address);
    Result allocate_host(Context& context, size_t size, void** address);
    Result register_host(Context& context, void* address, size_t size);
    /** Frees a device or pinned block. `host`: which of the two the caller believes it is. */
    Result release(uint64_t address, bool host);
    Result unregister_host(void* address);

    /** The live allocation that holds `address`. */
    bool find(uint64_t address, Allocation* found);
    bool is_device_address(uint64_t address);
    /** Readable view of a range that must lie inside one live allocation of `device` (or pinned host memory, or memory
     *  of a peer in `peers`); null and a violation otherwise. */
    void* view(uint64_t address, size_t size, int device, uint64_t peers);
    size_t used(int device);
    size_t total(int device);
    std::vector<Allocation> live();
    void check_guards();
    /** Frees everything that belongs to a context that goes away. */
    void drop_context(Context const& context);

private:
    Result release_locked(uint64_t address, bool host);
    bool find_locked(uint64_t address, Allocation* found);

    std::mutex lock_;
    std::vector<std::unique_ptr<Arena>> arenas_;
    std::vector<size_t> totals_, used_;
    std::map<uint64_t, Allocation> blocks_;
    std::deque<uint64_t> freed_;  // recent ones, to tell a double free from a wild pointer
    uint64_t next_id_ = 1;
};

/** Records one misuse; see sim_violations in control.h. */
void violate(std::string const& what);

}  // namespace sim
