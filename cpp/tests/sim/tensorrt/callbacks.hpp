// Calls into interfaces that the caller implements, by slot number: logger, error recorder, allocators, profiler, stream reader.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "driver.hpp"
#include "elements.hpp"

namespace simtrt {

/** nvinfer1::Dims of this major. */
#if SIM_MAJOR == 8
using DimsInt = int32_t;
#else
using DimsInt = int64_t;
#endif
struct Dims {
    int32_t rank;
    DimsInt d[8];
};
static_assert(sizeof(Dims) == (SIM_MAJOR == 8 ? 36 : 72), "see the table in tensorrt-abi's README");

Dims to_dims(Shape const& shape);
Shape to_shape(Dims const& dims);

enum Severity : int { internal_error = 0, error = 1, warning = 2, info = 3, verbose = 4 };

/** A user object seen through its vtable only. */
using Object = void*;

void call_log(Object logger, int severity, std::string const& text);

/** A reference-counted IErrorRecorder. */
class Recorder {
public:
    ~Recorder() { set(nullptr); }
    void set(Object recorder);
    Object get() const { return recorder_; }

private:
    Object recorder_ = nullptr;
};
void call_report(Object recorder, int code, std::string const& text);

/** Memory for an output, from its IOutputAllocator; may be null. Throws nothing. */
void* call_reallocate_output(Object allocator, std::string const& tensor, void* current, size_t size, Stream stream);
void call_notify_shape(Object allocator, std::string const& tensor, Shape const& shape);
void* call_allocate(Object allocator, size_t size);
void call_deallocate(Object allocator, void* memory);
void call_report_layer(Object profiler, std::string const& layer, float milliseconds);
#if SIM_MAJOR >= 10
int64_t call_read_v2(Object reader, void* destination, int64_t bytes);
bool call_seek(Object reader, int64_t offset);
#endif
#if SIM_MAJOR == 10
int64_t call_read(Object reader, void* destination, int64_t bytes);
#endif

/** Where errors go: the nearest recorder, and the logger. Shared by a runtime and what is made from it. */
struct Voice {
    Object logger = nullptr;
    std::shared_ptr<Voice> parent;
    Recorder recorder;

    Object find_recorder() const;
    /** "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (...)". `kind` is the vendor's word for the code. */
    void fail(char const* where, int code, char const* kind, std::string const& what) const;
    void log(int severity, std::string const& text) const { call_log(logger, severity, text); }
};

}  // namespace simtrt
