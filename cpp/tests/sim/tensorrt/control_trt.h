/* Control interface of a simulated TensorRT library; exported by each of them. Methods are named as TensorRT's log names them
 * ("IExecutionContext::setInputShape"), C functions by their symbol ("createInferRuntime_INTERNAL"). */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Calls of a method since the last reset, by every thread. */
long simtrt_calls(char const* method);
void simtrt_reset_calls(void);

/** Makes the call number `nth` from now (1: the next) of `method`, and the `times - 1` after it, fail. `action`:
 *  "refuse" - log `text` as an error (recorded in the error recorder too) and return false or null;
 *  "silent" - return false or null and say nothing;
 *  "badptr" - as refuse, but a pointer below the first page is returned instead of null;
 *  "warn"   - log `text` as a warning and go on. */
void simtrt_fail(char const* method, long nth, long times, char const* action, char const* text);
void simtrt_clear_faults(void);

/** Live objects (IRuntime, ICudaEngine, IExecutionContext, ...), one kind per line; returns how many. */
int simtrt_live(char* text, size_t capacity);

/** True while this thread executes inside the library. */
int simtrt_inside(void);

/** Registers a plugin creator, as a plugin library's static initialiser does through the plugin registry. */
void simtrt_register_plugin(char const* name, char const* version, char const* space);
void simtrt_clear_plugins(void);

#ifdef __cplusplus
}
#endif
