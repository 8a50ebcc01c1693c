// Counts heap allocations of the calling thread, when it is preloaded: LD_PRELOAD=alloc_count.so.
//
// benchmarks/runtime.py runs the same enqueueV3 through cuready and straight (B0) in one process;
// what the first allocates beyond the second is cuready's own.
#include <dlfcn.h>

#include <cstddef>

namespace {

thread_local unsigned long count __attribute__((tls_model("initial-exec"))) = 0;

template <class F>
F next(char const* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) unsigned long alloc_count() { return count; }

// glibc's own entry points: dlsym itself may allocate, and must not come back here.
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t items, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);

__attribute__((visibility("default"))) void* malloc(std::size_t size) {
  ++count;
  return __libc_malloc(size);
}

__attribute__((visibility("default"))) void* calloc(std::size_t items, std::size_t size) {
  ++count;
  return __libc_calloc(items, size);
}

__attribute__((visibility("default"))) void* realloc(void* old, std::size_t size) {
  ++count;
  return __libc_realloc(old, size);
}

__attribute__((visibility("default"))) int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  static auto* original = next<int (*)(void**, std::size_t, std::size_t)>("posix_memalign");
  ++count;
  return original(out, alignment, size);
}

}  // extern "C"
