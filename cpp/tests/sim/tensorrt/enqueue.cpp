// enqueueV3: the checks of a real library, output allocators, and the kernel that computes on the stream.
#include <algorithm>
#include <cstring>
#include <thread>

#include "objects.hpp"

namespace simtrt {
namespace {

constexpr char const* where = "IExecutionContext::enqueueV3";
constexpr int illegal_address = 700;

/** What one run needs once it is on the stream. */
struct Run {
    std::shared_ptr<Plan const> plan;
    std::shared_ptr<Weights const> weights;
    std::shared_ptr<ContextLife> life;
    std::vector<Shape> shapes;
    std::vector<void*> addresses;
    std::map<size_t, std::vector<int64_t>> host_values;  // host inputs, read when the run was enqueued
    uint64_t scratch = 0;
    size_t scratch_size = 0;
    uint64_t id = 0;
};

/** First and last words of the scratch memory carry the run's number while it runs: two runs in one workspace see each other. */
class ScratchClaim {
public:
    explicit ScratchClaim(Run const& run) : run_(run) {
        if (run.scratch_size < 2 * sizeof(uint64_t)) return;
        memory_ = static_cast<char*>(Driver::get().view(run.scratch, run.scratch_size));
        if (!memory_) return;
        std::memcpy(memory_, &run.id, sizeof run.id);
        std::memcpy(memory_ + run.scratch_size - sizeof run.id, &run.id, sizeof run.id);
    }
    ~ScratchClaim() {
        if (!memory_) return;
        uint64_t head = 0, tail = 0;
        std::memcpy(&head, memory_, sizeof head);
        std::memcpy(&tail, memory_ + run_.scratch_size - sizeof tail, sizeof tail);
        if (head != run_.id || tail != run_.id) misuse("two runs used one workspace at the same time");
    }
    ScratchClaim(ScratchClaim const&) = delete;
    ScratchClaim& operator=(ScratchClaim const&) = delete;
    bool ok() const { return memory_ || run_.scratch_size < 2 * sizeof(uint64_t); }

private:
    Run const& run_;
    char* memory_ = nullptr;
};

/** Views of all tensors of a run; false when one is not where it should be. */
bool operands_of(Run& run, std::vector<Operand>& operands) {
    for (size_t i = 0; i < run.plan->tensors.size(); ++i) {
        Tensor const& tensor = run.plan->tensors[i];
        size_t const bytes = bytes_of(run.shapes[i], tensor.layout, tensor.type);
        void* data = run.addresses[i];
        if (!tensor.host && bytes) data = Driver::get().view(reinterpret_cast<uint64_t>(data), bytes);
        if (!data && bytes) return false;
        operands.push_back({&tensor, run.shapes[i], data});
    }
    return true;
}

int kernel(void* argument) {
    auto& run = *static_cast<Run*>(argument);
    if (!run.life->alive) misuse("a run of a destroyed IExecutionContext was executed");
    ++run.life->runs;
    ScratchClaim const claim(run);
    std::vector<Operand> operands;
    if (!claim.ok() || !operands_of(run, operands)) return illegal_address;
    // Host inputs were read at enqueue; a copy stands in for memory that the caller may have changed since.
    std::vector<std::vector<char>> copies;
    for (auto const& entry : run.host_values) {
        Tensor const& tensor = run.plan->tensors[entry.first];
        copies.emplace_back(entry.second.size() * 8 + 8);
        for (size_t k = 0; k < entry.second.size(); ++k) store(tensor.type, copies.back().data(), static_cast<int64_t>(k), static_cast<double>(entry.second[k]));
        operands[entry.first].data = copies.back().data();
    }
    compute(*run.plan, operands, *run.weights);
    return 0;
}

bool refuse(Context& context, int code, char const* kind, std::string const& what) {
    context.voice->fail(where, code, kind, what);
    return false;
}

bool cuda(Context& context, int code) { return code == 0 || refuse(context, 1, "Cuda Runtime", Driver::get().text(code)); }

bool inputs_are_ready(Context& context) {
    auto const& tensors = context.engine->plan->tensors;
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (!tensors[i].input) continue;
        if (!context.shapes[i])
            return refuse(context, 3, "API Usage Error", "Parameter check failed, condition: allInputDimensionsSpecified(routine). The shape of input tensor " +
                          tensors[i].name + " is not specified.");
        if (!context.addresses[i])
            return refuse(context, 3, "API Usage Error", "Parameter check failed, condition: mContext.profileObliviousBindings.at(profileObliviousIndex) || getPtrOrNull(mOutputAllocators, profileObliviousIndex). Address is not set for input tensor " +
                          tensors[i].name + ". Call setInputTensorAddress or setTensorAddress before enqueue/execute.");
        if (tensors[i].host && Driver::get().is_device_address(context.addresses[i]))
            misuse(("the address of host tensor " + tensors[i].name + " is device memory").c_str());
    }
    return true;
}

bool has_data_dependent(Plan const& plan) {
    return std::any_of(plan.tensors.begin(), plan.tensors.end(), [](Tensor const& tensor) { return tensor.data_dependent; });
}

/** Data-dependent extents: the work before must be done, then the inputs are read. */
bool resolve(Context& context, Stream stream, std::vector<Shape>& shapes) {
    auto const& plan = *context.engine->plan;
    auto const& driver = Driver::get();
    int capturing = 0;
    driver.is_capturing(stream, &capturing);
#if SIM_MAJOR == 8
    // 8.6 lets such an engine be captured and keeps the size it had (see engines/README: "a wrong answer waiting to happen").
    if (capturing) {
        if (context.final_shapes.empty()) return refuse(context, 2, "Internal Error", "no shape is known while capturing");
        shapes = context.final_shapes;
        return true;
    }
#endif
    if (!cuda(context, driver.stream_synchronize(stream))) return false;
    std::vector<Operand> operands;
    std::vector<std::vector<char>> copies(plan.tensors.size());
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        Tensor const& tensor = plan.tensors[i];
        if (tensor.input && !tensor.host) {
            size_t const bytes = bytes_of(shapes[i], tensor.layout, tensor.type);
            copies[i].resize(bytes);
            if (bytes && !cuda(context, driver.to_host(copies[i].data(), reinterpret_cast<uint64_t>(context.addresses[i]), bytes))) return false;
        }
        operands.push_back({&tensor, shapes[i], copies[i].data()});
    }
    resolve_data_dependent(plan, operands);
    for (size_t i = 0; i < shapes.size(); ++i) shapes[i] = operands[i].shape;
    return true;
}

/** Where each output goes: the allocator's answer, or the address that was set. */
bool place_outputs(Context& context, Stream stream, std::vector<Shape> const& shapes, std::vector<void*>& addresses) {
    auto const& tensors = context.engine->plan->tensors;
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (tensors[i].input) continue;
        size_t const bytes = bytes_of(shapes[i], tensors[i].layout, tensors[i].type);
        if (context.allocators[i]) {
            void* const given = call_reallocate_output(context.allocators[i], tensors[i].name, addresses[i], bytes, stream);
            if (!given && bytes)
                return refuse(context, 2, "OutOfMemory", "IOutputAllocator::reallocateOutput returned nullptr for output tensor " + tensors[i].name + ", size " + std::to_string(bytes) + ".");
            addresses[i] = given;
            call_notify_shape(context.allocators[i], tensors[i].name, shapes[i]);
        } else if (!addresses[i]) {
            return refuse(context, 3, "API Usage Error", "Parameter check failed, condition: mContext.profileObliviousBindings.at(profileObliviousIndex) || getPtrOrNull(mOutputAllocators, profileObliviousIndex). Neither address or allocator is set for output tensor " +
                          tensors[i].name + ". Call setOutputTensorAddress, setTensorAddress or setOutputAllocator before enqueue/execute.");
        } else if (!tensors[i].alias_of.empty()) {
            int const input = context.engine->plan->index(tensors[i].alias_of);
            if (addresses[static_cast<size_t>(input)] != addresses[i])
                return refuse(context, 3, "API Usage Error", "Output tensor " + tensors[i].name + " must have the address of the input tensor that it aliases, " + tensors[i].alias_of + ".");
        }
    }
    return true;
}

uint64_t next_run() {
    static std::atomic<uint64_t> count{1};
    return count++;
}

}  // namespace

bool enqueue(Context& context, Stream stream) {
    auto const& driver = Driver::get();
    Engine& engine = *context.engine;
    int device = -1;
    if (driver.current_device(&device) != 0) {
        misuse("enqueueV3 was called with no CUDA context current");
        return refuse(context, 1, "Cuda Runtime", driver.text(201));
    }
    if (device != engine.device) {
        misuse("enqueueV3 was called with the context of another device current");
        return refuse(context, 1, "Cuda Runtime", driver.text(400));
    }
    if (context.profile < 0) return refuse(context, 2, "Internal Error", "Assertion mOptimizationProfile >= 0 failed. ");
    if (!inputs_are_ready(context)) return false;
    auto const needed = context.exact_scratch >= 0 ? context.exact_scratch : scratch_bytes(*engine.plan, context.profile);
    if (context.user_memory && needed && (!context.memory || context.memory_size < needed))
        return refuse(context, 3, "API Usage Error", "Parameter check failed, condition: mDeviceMemory != nullptr. Device memory was not set or is too small.");
    bool const on_default = reinterpret_cast<uintptr_t>(stream) <= 1;
    if (on_default)
        context.voice->log(warning, "Using default stream in enqueueV3() may lead to performance issues due to additional calls to cudaStreamSynchronize() by TensorRT to ensure correct synchronization. Please use non-default stream instead.");

    auto run = std::make_unique<Run>();
    run->shapes = current_shapes(context);
    run->addresses = context.addresses;
    if (has_data_dependent(*engine.plan)) {
        if (!resolve(context, stream, run->shapes)) return false;
        context.final_shapes = run->shapes;
    }
    if (!place_outputs(context, stream, run->shapes, run->addresses)) return false;
    run->plan = engine.plan;
    {
        std::lock_guard<std::mutex> hold(engine.lock);
        run->weights = engine.weights;
    }
    run->life = context.life;
    run->host_values = host_values(context);
    run->scratch = context.memory;
    run->scratch_size = static_cast<size_t>(std::min<int64_t>(context.memory_size, needed));
    run->id = next_run();
    int const code = driver.launch(stream, "enqueueV3", kernel, run.release(), [](void* argument) { delete static_cast<Run*>(argument); });
    if (!cuda(context, code)) return false;
    context.last_stream = stream;
    if (context.consumed_event && !cuda(context, driver.event_record(context.consumed_event, stream))) return false;
    int capturing = 0;
    driver.is_capturing(stream, &capturing);
    if (on_default && !capturing && !cuda(context, driver.stream_synchronize(stream))) return false;
    if (context.profiler && context.emits_profile && !capturing) {
        driver.stream_synchronize(stream);
        for (auto const& layer : engine.layers) call_report_layer(context.profiler, layer, 0.25f);
    }
    return true;
}

}  // namespace simtrt
