#include "compute.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

namespace simtrt {
namespace {

double element(Operand const& operand, int64_t i) { return load(operand.tensor->type, operand.data, position(i, operand.shape, operand.tensor->layout)); }
void set_element(Operand& operand, int64_t i, double value) { store(operand.tensor->type, operand.data, position(i, operand.shape, operand.tensor->layout), value); }

/** Weight or constant of an operation: "scale": 2, or "scale": "weight name". Stripped weights read as zero, as they do on a GPU. */
double constant(Operation const& operation, char const* key, double fallback, Weights const& weights, int64_t i = 0) {
    Json const& value = operation.detail[key];
    if (value.kind() != Json::Kind::text) return value.real(fallback);
    auto const weight = weights.find(value.text());
    if (weight == weights.end() || weight->second.empty()) return 0;
    return weight->second[static_cast<size_t>(i) % weight->second.size()];
}

void map_elements(Operation const& operation, std::vector<Operand>& operands, std::function<double(int64_t)> const& value) {
    Operand& output = operands[operation.outputs[0]];
    int64_t const count = volume(output.shape);
    if (!output.data) return;
    for (int64_t i = 0; i < count; ++i) set_element(output, i, value(i));
}

int64_t count_nonzero(Operand const& input) {
    int64_t count = 0;
    for (int64_t i = 0, n = volume(input.shape); i < n; ++i) count += element(input, i) > 0;
    return count;
}

/** Row-major coordinates of elements > 0, one column each: [rank, n]. */
void nonzero(Operand const& input, Operand& output) {
    int64_t const columns = output.shape[1];
    int64_t column = 0;
    for (int64_t i = 0, n = volume(input.shape); i < n && column < columns; ++i) {
        if (!(element(input, i) > 0)) continue;
        int64_t rest = i;
        for (size_t axis = input.shape.size(); axis-- > 0;) {
            set_element(output, static_cast<int64_t>(axis) * columns + column, static_cast<double>(rest % input.shape[axis]));
            rest /= input.shape[axis];
        }
        ++column;
    }
}

void run(Operation const& operation, std::vector<Operand>& operands, Weights const& weights) {
    auto input = [&](size_t which) -> Operand& { return operands[operation.inputs[which]]; };
    std::string const& kind = operation.kind;
    if (kind == "sleep") {
        std::this_thread::sleep_for(std::chrono::microseconds(operation.detail["microseconds"].integer()));
    } else if (kind == "affine") {
        // Integer tensors go through double, exact below 2^53; copies of int64 use "copy".
        map_elements(operation, operands, [&](int64_t i) {
            return constant(operation, "scale", 1, weights, i) * element(input(0), i) + constant(operation, "bias", 0, weights, i);
        });
    } else if (kind == "copy") {
        Operand& output = operands[operation.outputs[0]];
        size_t const bytes = bytes_of(output.shape, output.tensor->layout, output.tensor->type);
        if (bytes && output.data != input(0).data) std::memmove(output.data, input(0).data, bytes);
    } else if (kind == "reformat" || kind == "cast") {
        map_elements(operation, operands, [&](int64_t i) { return element(input(0), i); });
    } else if (kind == "add") {
        map_elements(operation, operands, [&](int64_t i) { return element(input(0), i) + element(input(1), i); });
    } else if (kind == "reshape") {
        map_elements(operation, operands, [&](int64_t i) { return -element(input(0), i); });
    } else if (kind == "sum") {
        double total = 0;
        for (int64_t i = 0, n = volume(input(0).shape); i < n; ++i) total += element(input(0), i);
        map_elements(operation, operands, [&](int64_t) { return total; });
    } else if (kind == "shape_of") {
        map_elements(operation, operands, [&](int64_t i) { return static_cast<double>(input(0).shape[static_cast<size_t>(i)]); });
    } else if (kind == "nonzero") {
        nonzero(input(0), operands[operation.outputs[0]]);
    }
}

}  // namespace

std::vector<Shape> infer_shapes(Plan const& plan, std::vector<Shape> const& inputs, HostValues const& values) {
    std::vector<Shape> shapes;
    for (size_t i = 0; i < plan.tensors.size(); ++i) shapes.push_back(plan.tensors[i].input ? inputs[i] : plan.tensors[i].shape);
    for (auto const& operation : plan.operations) {
        if (operation.outputs.empty()) continue;
        Shape& output = shapes[operation.outputs[0]];
        Shape const& first = shapes[operation.inputs[0]];
        std::string const& kind = operation.kind;
        if (kind == "affine" || kind == "copy" || kind == "cast" || kind == "reformat" || kind == "add") output = first;
        if (kind == "nonzero") output = {static_cast<int64_t>(first.size()), -1};
        if (kind == "reshape") {
            auto const known = values.find(operation.inputs[1]);
            output.assign(plan.tensors[operation.outputs[0]].shape.size(), -1);
            if (known != values.end()) output = known->second;
        }
    }
    return shapes;
}

Shape upper_bound(Plan const& plan, size_t output, std::vector<Shape> const& shapes) {
    for (auto const& operation : plan.operations)
        if (operation.kind == "nonzero" && operation.outputs[0] == output) {
            Shape const& input = shapes[operation.inputs[0]];
            return {static_cast<int64_t>(input.size()), volume(input)};
        }
    return shapes[output];
}

void resolve_data_dependent(Plan const& plan, std::vector<Operand>& operands) {
    for (auto const& operation : plan.operations)
        if (operation.kind == "nonzero") operands[operation.outputs[0]].shape[1] = count_nonzero(operands[operation.inputs[0]]);
}

void compute(Plan const& plan, std::vector<Operand>& operands, Weights const& weights) {
    for (auto const& operation : plan.operations) run(operation, operands, weights);
}

}  // namespace simtrt
