#include "callbacks.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "points.hpp"
#include "slots.hpp"
#include "user_slots_generated.inc"

namespace simtrt {
namespace {

/** Calls slot `slot` of a user object with the signature R(A...). */
template <class R, class Slot, class... A>
R call(Object object, Slot slot, A... arguments) {
    Outside mark;
    void** const vptr = *static_cast<void***>(object);
    auto* const function = reinterpret_cast<R (*)(Object, A...)>(vptr[static_cast<int>(slot)]);
    return function(object, arguments...);
}

/** IVersionedInterface: what the object says it is must be what it is used as. */
void check_interface([[maybe_unused]] Object object, [[maybe_unused]] char const* kind) {
#if SIM_MAJOR >= 10
    struct Info {
        char const* kind;
        int32_t major, minor;
    };
    auto const language = call<int32_t>(object, 0);
    auto const about = call<Info>(object, 1);
    if (language == 0 && about.kind && !std::strcmp(about.kind, kind) && about.major == 1 && about.minor == 0) return;
    std::fprintf(stderr, "simulated TensorRT: an object given as %s says it is %s %d.%d (language %d)\n", kind,
                 about.kind ? about.kind : "(null)", about.major, about.minor, language);
    std::abort();
#endif
}

}  // namespace

Dims to_dims(Shape const& shape) {
    Dims dims{};
    dims.rank = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size() && i < 8; ++i) dims.d[i] = static_cast<DimsInt>(shape[i]);
    return dims;
}

Shape to_shape(Dims const& dims) {
    Shape shape;
    for (int i = 0; i < dims.rank && i < 8; ++i) shape.push_back(dims.d[i]);
    return shape;
}

void call_log(Object logger, int severity, std::string const& text) {
    if (!logger) return;
    if (user::ILogger_is_versioned) check_interface(logger, "ILogger");
    call<void>(logger, user::ILogger::log, static_cast<int32_t>(severity), text.c_str());
}

void Recorder::set(Object recorder) {
    if (recorder == recorder_) return;
    if (recorder && user::IErrorRecorder_is_versioned) check_interface(recorder, "IErrorRecorder");
    if (recorder) call<int32_t>(recorder, user::IErrorRecorder::incRefCount);
    if (recorder_) call<int32_t>(recorder_, user::IErrorRecorder::decRefCount);
    recorder_ = recorder;
}

void call_report(Object recorder, int code, std::string const& text) {
    // The real recorder's description is at most 127 characters and a zero.
    std::string const shortened = text.substr(0, 127);
    if (recorder) call<bool>(recorder, user::IErrorRecorder::reportError, static_cast<int32_t>(code), shortened.c_str());
}

void* call_reallocate_output(Object allocator, std::string const& tensor, void* current, size_t size, [[maybe_unused]] Stream stream) {
    if (user::IOutputAllocator_is_versioned) check_interface(allocator, "IOutputAllocator");
    uint64_t const alignment = 256;
#if SIM_MAJOR == 8
    if (call<int32_t>(allocator, user::IOutputAllocator::getInterfaceVersion) != 1) {
        std::fprintf(stderr, "simulated TensorRT: IOutputAllocator::getInterfaceVersion must be 1\n");
        std::abort();
    }
    return call<void*>(allocator, user::IOutputAllocator::reallocateOutput, tensor.c_str(), current, static_cast<uint64_t>(size), alignment);
#else
    return call<void*>(allocator, user::IOutputAllocator::reallocateOutputAsync, tensor.c_str(), current, static_cast<uint64_t>(size), alignment, stream);
#endif
}

void call_notify_shape(Object allocator, std::string const& tensor, Shape const& shape) {
    Dims const dims = to_dims(shape);
    call<void>(allocator, user::IOutputAllocator::notifyShape, tensor.c_str(), &dims);
}

void* call_allocate(Object allocator, size_t size) {
#if SIM_MAJOR == 8
    return call<void*>(allocator, user::IGpuAllocator::allocate, static_cast<uint64_t>(size), uint64_t{256}, uint32_t{0});
#else
    return call<void*>(allocator, user::IGpuAllocator::allocateAsync, static_cast<uint64_t>(size), uint64_t{256}, uint32_t{0}, Stream{nullptr});
#endif
}

void call_deallocate(Object allocator, void* memory) {
#if SIM_MAJOR == 8
    call<bool>(allocator, user::IGpuAllocator::deallocate, memory);
#else
    call<bool>(allocator, user::IGpuAllocator::deallocateAsync, memory, Stream{nullptr});
#endif
}

void call_report_layer(Object profiler, std::string const& layer, float milliseconds) {
    if (user::IProfiler_is_versioned) check_interface(profiler, "IProfiler");
    call<void>(profiler, user::IProfiler::reportLayerTime, layer.c_str(), milliseconds);
}

#if SIM_MAJOR >= 10
int64_t call_read_v2(Object reader, void* destination, int64_t bytes) {
    check_interface(reader, "IStreamReaderV2");
    return call<int64_t>(reader, user::IStreamReaderV2::read, destination, bytes, Stream{nullptr});
}
bool call_seek(Object reader, int64_t offset) { return call<bool>(reader, user::IStreamReaderV2::seek, offset, int32_t{0}); }
#endif
#if SIM_MAJOR == 10
int64_t call_read(Object reader, void* destination, int64_t bytes) {
    check_interface(reader, "IStreamReader");
    return call<int64_t>(reader, user::IStreamReader::read, destination, bytes);
}
#endif

Object Voice::find_recorder() const {
    if (recorder.get()) return recorder.get();
    return parent ? parent->find_recorder() : nullptr;
}

void Voice::fail(char const* where, int code, char const* kind, std::string const& what) const {
    std::string line;
#if SIM_MAJOR == 8
    // 8.x names the source file instead: "3: [executionContext.cpp::setInputShape::2037] Error Code 3: ..."
    std::string const method = std::strstr(where, "::") ? std::strstr(where, "::") + 2 : where;
    std::string const file = std::strncmp(where, "IExecutionContext", 17) == 0 ? "executionContext.cpp" : std::strncmp(where, "ICudaEngine", 11) == 0 ? "engine.cpp" : "runtime.cpp";
    line = std::to_string(code) + ": [" + file + "::" + method + "::1] Error Code " + std::to_string(code) + ": " + kind + " (" + what + ")";
#else
    line = std::string(where) + ": Error Code " + std::to_string(code) + ": " + kind + " (" + what + ")";
#endif
    call_report(find_recorder(), code, line);
    call_log(logger, code == 2 ? internal_error : error, line);
}

}  // namespace simtrt
