// A simulated plan: the 32 bytes of header that a real plan has, then JSON that says what the engine has and computes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "elements.hpp"
#include "json.hpp"

namespace simtrt {

struct Bounds {
    Shape min, opt, max;
    std::vector<int64_t> min_values, opt_values, max_values;  // shape tensors
};

struct Tensor {
    std::string name;
    bool input = false;
    Type type = Type::f32;
    Shape shape;  // -1: dynamic
    bool host = false;
    bool shape_tensor = false;
    bool data_dependent = false;
    Layout layout;
    std::string alias_of;
    std::vector<Bounds> profiles;
};

struct Operation {
    std::string kind;
    std::vector<size_t> inputs;
    std::vector<size_t> outputs;
    Json detail;
};

struct Weight {
    std::string name;
    Type type = Type::f32;
    std::vector<double> values;
    bool stripped = false;
};

struct PluginId {
    std::string name, version, space;
};

struct Plan {
    std::string name;
    std::vector<Tensor> tensors;
    std::vector<Operation> operations;
    std::vector<Weight> weights;
    std::vector<PluginId> plugins;
    int profiles = 1;
    int version[4] = {0, 0, 0, 0};
    std::string compute;                  // "9.0", or empty: any
    std::string hardware = "none";        // none, ampere_plus, same_compute_capability
    bool version_compatible = false, lean_inside = false, refittable = false;
    int64_t streamable = 0, weights_bytes = 1024;
    std::vector<int64_t> device_memory;   // one per profile
    int auxiliary_streams = 0;

    int index(std::string const& tensor) const;
    /** Reads header and JSON; throws std::runtime_error that says what is wrong. */
    static Plan parse(void const* data, size_t size);
};

constexpr size_t plan_header_bytes = 32;
/** The size that the header gives for header and payload together, or 0 when it is no plan. */
size_t declared_size(void const* header);

}  // namespace simtrt
