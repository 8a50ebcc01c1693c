#include "slots.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "slots_generated.inc"

namespace simtrt {

int version() {
    // CUREADY_SIM_TRT_VERSION gives another release of the same major, e.g. 10.6.0.
    static int const number = [] {
        char const* const text = std::getenv("CUREADY_SIM_TRT_VERSION");
        int ma = 0, mi = 0, pa = 0;
        if (!text || std::sscanf(text, "%d.%d.%d", &ma, &mi, &pa) < 2 || ma != library_version / 10000) return library_version;
        return ma * 10000 + mi * 100 + pa;
    }();
    return number;
}
int major_version() { return version() / 10000; }
int minor_version() { return version() / 100 % 100; }
int patch_version() { return version() % 100; }

void missing_slot(char const* cls, int number, char const* name, char const* since) {
    int ma = 0, mi = 0, pa = 0;
    std::sscanf(since, "%d.%d.%d", &ma, &mi, &pa);
    if (ma * 10000 + mi * 100 + pa > version())
        std::fprintf(stderr, "simulated TensorRT: %s slot %d (%s) does not exist in %d.%d.%d, it came with %s\n", cls, number, name,
                     major_version(), minor_version(), patch_version(), since);
    else
        std::fprintf(stderr, "simulated TensorRT: %s slot %d (%s) was called, which the simulation does not implement\n", cls, number, name);
    std::abort();
}

namespace {

[[noreturn]] void beyond_the_end() {
    std::fprintf(stderr, "simulated TensorRT: a slot past the end of a vtable was called\n");
    std::abort();
}

template <class F>
void* address(F* function) {
    return reinterpret_cast<void*>(function);
}

constexpr int margin = 32;

void** table(int count) {
    // Two words before slot 0 (offset to top, type information), as the Itanium ABI has them.
    auto** const words = static_cast<void**>(std::calloc(static_cast<size_t>(count + margin + 2), sizeof(void*)));
    for (int i = 2; i < count + margin + 2; ++i) words[i] = address(&beyond_the_end);
    return words + 2;
}

[[noreturn]] void destroyed_by_wrong_slot() {
    std::fprintf(stderr, "simulated TensorRT: an object was destroyed through the complete destructor or its implementation's destructor\n");
    std::abort();
}

}  // namespace

void** make_vtable(char const* cls, std::initializer_list<Method> methods) {
    for (auto const& entry : classes) {
        if (std::strcmp(entry.name, cls) != 0) continue;
        void** const vptr = table(entry.count + 2);
        vptr[0] = vptr[1] = address(&destroyed_by_wrong_slot);
        for (int i = 0; i < entry.count; ++i) vptr[entry.slots[i].number] = address(entry.slots[i].miss);
        for (auto const& implemented : methods)
            for (int i = 0; i < entry.count; ++i)
                if (!std::strcmp(entry.slots[i].name, implemented.name) && entry.slots[i].since <= version())
                    vptr[entry.slots[i].number] = implemented.function;
        return vptr;
    }
    std::fprintf(stderr, "simulated TensorRT: abi.json has no class %s for this major\n", cls);
    std::abort();
}

void** make_public_vtable(void (*destroy)(Public*)) {
    static auto& made = *new std::map<void (*)(Public*), void**>;
    static auto& lock = *new std::mutex;
    std::lock_guard<std::mutex> hold(lock);
    void**& vptr = made[destroy];
    if (vptr) return vptr;
    vptr = table(2);
    vptr[0] = address(&destroyed_by_wrong_slot);
    vptr[1] = address(destroy);
    return vptr;
}

}  // namespace simtrt
