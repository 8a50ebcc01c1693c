// What a simulated engine computes: output shapes from input shapes, and the numbers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "plan.hpp"

namespace simtrt {

/** Current values of the named weights; empty values stand for weights that were stripped. */
using Weights = std::map<std::string, std::vector<double>>;

/** One tensor of a run. `data` is readable memory. */
struct Operand {
    Tensor const* tensor = nullptr;
    Shape shape;
    void* data = nullptr;
};

/** Values of host shape tensors, by tensor index; missing when they are not known. */
using HostValues = std::map<size_t, std::vector<int64_t>>;

/** Shape of every tensor from those of the inputs. Extents that depend on data (or on host values that are not known) are -1. */
std::vector<Shape> infer_shapes(Plan const& plan, std::vector<Shape> const& inputs, HostValues const& values);

/** The most elements along each extent that a data-dependent output can have. */
Shape upper_bound(Plan const& plan, size_t output, std::vector<Shape> const& shapes);

/** Exact shapes of data-dependent outputs, from the data of the inputs. */
void resolve_data_dependent(Plan const& plan, std::vector<Operand>& operands);

/** Runs all operations. */
void compute(Plan const& plan, std::vector<Operand>& operands, Weights const& weights);

}  // namespace simtrt
