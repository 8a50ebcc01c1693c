// Symbol visibility of the public API.
#pragma once

// The library is compiled with hidden visibility: only what is marked CUREADY_API leaves a shared build, and nothing
// leaves a program that links the static one (CUREADY_STATIC is set by the CMake target for its users).
#if defined(CUREADY_STATIC)
#define CUREADY_API
#else
#define CUREADY_API [[gnu::visibility("default")]]
#endif
