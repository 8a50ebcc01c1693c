#include "plan.hpp"

#include <cstring>

namespace simtrt {
namespace {

Bounds bounds_of(Json const& profile) {
    Bounds bounds;
    bounds.min = profile["min"].integers();
    bounds.opt = profile["opt"].integers();
    bounds.max = profile["max"].integers();
    bounds.min_values = profile["min_values"].integers();
    bounds.opt_values = profile["opt_values"].integers();
    bounds.max_values = profile["max_values"].integers();
    return bounds;
}

Tensor tensor_of(Json const& entry, int profiles) {
    Tensor tensor;
    tensor.name = entry["name"].text();
    tensor.input = entry["mode"].text() == "input";
    tensor.type = type_named(entry["dtype"].text("float32"));
    tensor.shape = entry["shape"].integers();
    tensor.host = entry["location"].text("device") == "host";
    tensor.shape_tensor = entry["shape_tensor"].boolean();
    tensor.data_dependent = entry["data_dependent"].boolean();
    tensor.layout = layout_named(entry["format"].text("linear"), static_cast<int>(tensor.shape.size()), tensor.type);
    tensor.alias_of = entry["alias_of"].text();
    for (auto const& profile : entry["profiles"].list()) tensor.profiles.push_back(bounds_of(profile));
    if (tensor.input && tensor.profiles.empty())
        for (int i = 0; i < profiles; ++i) tensor.profiles.push_back({tensor.shape, tensor.shape, tensor.shape, {}, {}, {}});
    return tensor;
}

std::vector<size_t> tensor_indices(Plan const& plan, Json const& names) {
    std::vector<size_t> found;
    for (auto const& name : names.list()) {
        int const index = plan.index(name.text());
        if (index < 0) throw std::runtime_error("simulated plan: operation names no tensor: " + name.text());
        found.push_back(static_cast<size_t>(index));
    }
    return found;
}

}  // namespace

size_t declared_size(void const* header) {
    if (std::memcmp(header, "ftrt", 4) != 0) return 0;
    uint64_t size = 0;
    std::memcpy(&size, static_cast<char const*>(header) + 16, sizeof size);
    return size;
}

int Plan::index(std::string const& tensor) const {
    for (size_t i = 0; i < tensors.size(); ++i)
        if (tensors[i].name == tensor) return static_cast<int>(i);
    return -1;
}

Plan Plan::parse(void const* data, size_t size) {
    auto const* bytes = static_cast<unsigned char const*>(data);
    if (size < plan_header_bytes || !declared_size(bytes)) throw std::runtime_error("magicTagRead == kPLAN_MAGIC_TAG failed.Magic tag does not match");
    if (declared_size(bytes) > size) throw std::runtime_error("size <= mRemaining failed.Unexpected end of the plan");
    Plan plan;
    for (int i = 0; i < 4; ++i) plan.version[i] = bytes[24 + i];
    Json const root = Json::parse(std::string(bytes + plan_header_bytes, bytes + declared_size(bytes)));
    plan.name = root["name"].text();
    plan.profiles = static_cast<int>(root["profiles"].integer(1));
    for (auto const& entry : root["tensors"].list()) plan.tensors.push_back(tensor_of(entry, plan.profiles));
    for (auto const& entry : root["operations"].list())
        plan.operations.push_back({entry["kind"].text(), tensor_indices(plan, entry["inputs"]), tensor_indices(plan, entry["outputs"]), entry});
    for (auto const& entry : root["weights"].list())
        plan.weights.push_back({entry["name"].text(), type_named(entry["dtype"].text("float32")), entry["values"].reals(), entry["stripped"].boolean()});
    for (auto const& entry : root["plugins"].list())
        plan.plugins.push_back({entry["name"].text(), entry["version"].text("1"), entry["namespace"].text()});
    plan.compute = root["compute"].text();
    plan.hardware = root["hardware"].text("none");
    plan.version_compatible = root["version_compatible"].boolean();
    plan.lean_inside = root["lean_inside"].boolean();
    plan.refittable = root["refittable"].boolean();
    plan.streamable = root["streamable"].integer();
    plan.weights_bytes = root["weights_bytes"].integer(1024);
    plan.device_memory = root["device_memory"].integers();
    int64_t const filler = plan.device_memory.empty() ? 0 : plan.device_memory.back();
    plan.device_memory.resize(static_cast<size_t>(plan.profiles), filler);
    plan.auxiliary_streams = static_cast<int>(root["auxiliary_streams"].integer());
    return plan;
}

}  // namespace simtrt
