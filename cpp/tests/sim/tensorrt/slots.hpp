// Vtables of the simulated TensorRT objects, built from the facts in abi.json, and how an object looks in memory.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace simtrt {

/** major * 10000 + minor * 100 + patch of the simulated library. */
extern int const library_version;
extern char const* const library_kind;  // "full", "lean", "dispatch"
int version();
int major_version();
int minor_version();
int patch_version();

struct Slot {
    int number;
    char const* name;   // a second overload is "name#1"
    int since;
    void (*miss)();
};
struct Class {
    char const* name;
    Slot const* slots;
    int count;
};

/** What the caller holds: [0] vptr with the two destructors, [8] the object that all calls go to. */
struct Public {
    void** vptr;
    void* impl;
};

struct Method {
    char const* name;
    void* function;
};

/** vptr of a V-class whose named methods are implemented; every other slot aborts with its class, number and name. */
void** make_vtable(char const* cls, std::initializer_list<Method> methods);
/** vptr of a public object; slot 1 is `destroy(object)`. The same for the same function. */
void** make_public_vtable(void (*destroy)(Public*));
[[noreturn]] void missing_slot(char const* cls, int number, char const* name, char const* since);

template <class R, class... A>
Method method(char const* name, R (*function)(A...)) {
    return {name, reinterpret_cast<void*>(function)};
}

}  // namespace simtrt
