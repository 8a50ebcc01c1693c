// The simulated TensorRT objects. Each begins with its vptr; the caller holds a Public that points to it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "callbacks.hpp"
#include "compute.hpp"
#include "plan.hpp"
#include "points.hpp"
#include "slots.hpp"

namespace simtrt {

/** First word of every V-object, then the handle that the caller has. */
struct Base {
    void** vptr = nullptr;
    Public handle{nullptr, nullptr};
};

/** Counts live objects of each kind (simtrt_live). */
class Census {
public:
    explicit Census(char const* kind) : kind_(kind) { add(kind_, 1); }
    ~Census() { add(kind_, -1); }
    Census(Census const&) = delete;
    Census& operator=(Census const&) = delete;
    static std::string text(int* total);

private:
    static void add(std::string const& kind, int change);
    char const* kind_;
};

/** Device memory of the library's own: from the caller's IGpuAllocator when it gave one, else from the driver. */
class DeviceBlock {
public:
    DeviceBlock() = default;
    ~DeviceBlock() { release(); }
    DeviceBlock(DeviceBlock const&) = delete;
    DeviceBlock& operator=(DeviceBlock const&) = delete;
    /** False when there is no memory. */
    bool allocate(Object allocator, size_t size);
    void release();
    uint64_t address() const { return address_; }
    size_t size() const { return size_; }

private:
    uint64_t address_ = 0;
    size_t size_ = 0;
    Object allocator_ = nullptr;
};

struct Runtime : Base {
    Census census{"IRuntime"};
    std::shared_ptr<Voice> voice = std::make_shared<Voice>();
    Object allocator = nullptr;
    int max_threads = 1;
    bool host_code_allowed = false;
    std::string temporary_directory;
    uint32_t tempfile_flags = 3;
    std::shared_ptr<std::atomic<int>> engines = std::make_shared<std::atomic<int>>(0);
};

struct Engine : Base {
    Census census{"ICudaEngine"};
    std::shared_ptr<Voice> voice = std::make_shared<Voice>();
    std::shared_ptr<Plan const> plan;
    int device = 0;
    Object allocator = nullptr;
    std::shared_ptr<std::atomic<int>> runtime_engines;
    std::shared_ptr<std::atomic<int>> contexts = std::make_shared<std::atomic<int>>(0);
    DeviceBlock weight_memory;
    std::mutex lock;
    std::shared_ptr<Weights const> weights;  // guarded by lock
    std::set<std::string> missing;           // guarded by lock
    std::set<int> profiles_in_use;           // 8.x: one context per profile
    int64_t budget = 0;
    std::vector<std::string> layers;
};

/** What a kernel that is queued or captured shares with its context. */
struct ContextLife {
    std::atomic<bool> alive{true};
    std::atomic<uint64_t> runs{0};
};

struct Context : Base {
    Census census{"IExecutionContext"};
    std::shared_ptr<Voice> voice = std::make_shared<Voice>();
    Engine* engine = nullptr;
    std::shared_ptr<std::atomic<int>> engine_contexts;
    std::shared_ptr<ContextLife> life = std::make_shared<ContextLife>();
    std::atomic<bool> busy{false};
    std::string name;
    int profile = 0;
    bool debug_sync = false, emits_profile = true, user_memory = false;
    int strategy = 0;
    DeviceBlock own_memory;
    uint64_t memory = 0;
    int64_t memory_size = 0;
    int64_t exact_scratch = -1;                // what updateDeviceMemorySizeForShapes said for the current shapes
    Object profiler = nullptr, temporary_allocator = nullptr, debug_listener = nullptr, runtime_config = nullptr;
    void* consumed_event = nullptr;
    size_t cache_limit = 0;
    int nvtx = 0;
    std::vector<std::optional<Shape>> shapes;  // inputs, once set
    std::vector<void*> addresses;
    std::vector<Object> allocators;
    std::vector<Shape> final_shapes;           // after a run with data-dependent outputs
    Stream last_stream = nullptr;
};

struct Inspector : Base {
    Census census{"IEngineInspector"};
    Engine* engine = nullptr;
    Public const* context = nullptr;
    std::string text;
    Recorder recorder;
};

struct Refitter : Base {
    Census census{"IRefitter"};
    Engine* engine = nullptr;
    Object logger = nullptr;
    Recorder recorder;
    std::map<std::string, std::vector<double>> supplied;
    std::vector<std::string> names;  // keeps what getMissingWeights hands out
    int max_threads = 1;
    bool validation = true;
};

struct RuntimeConfig : Base {
    Census census{"IRuntimeConfig"};
    int strategy = 0;
};

struct HostMemory : Base {
    Census census{"IHostMemory"};
    std::string bytes;
};

/** Null, or the small non-null pointer that a real library gives when a cast has moved a null. */
inline Public* refused(Fault const& fault) { return fault.action == Action::bad_pointer ? reinterpret_cast<Public*>(0x228) : nullptr; }

void set_handle(Base& object, void** vptr, void (*destroy)(Public*));

Public* make_runtime(Object logger);
/** Gives a loaded engine its vtable and handle. */
void finish_engine(Engine& engine);
Public* make_context(Engine& engine, int strategy, bool user_memory);
Public* make_inspector(Engine& engine);
Public* make_refitter(Engine& engine, Object logger);
Public* make_runtime_config();
Public* make_host_memory(std::string bytes);
bool plugin_is_registered(PluginId const& plugin);

/** Bytes of scratch memory that a profile needs (-1: the most any needs). */
int64_t scratch_bytes(Plan const& plan, int profile);
std::vector<Shape> current_shapes(Context& context);
/** Values of host inputs that have an address and a shape. */
HostValues host_values(Context& context);
bool enqueue(Context& context, Stream stream);

}  // namespace simtrt
