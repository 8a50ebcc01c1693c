// Element types and memory layouts of simulated tensors: how many bytes a tensor takes, where an element lies, what it is worth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace simtrt {

using Shape = std::vector<int64_t>;

/** TensorRT's DataType numbers, which do not move between majors. */
enum class Type : int { f32 = 0, f16 = 1, i8 = 2, i32 = 3, boolean = 4, u8 = 5, f8 = 6, bf16 = 7, i64 = 8, i4 = 9, f4 = 10, e8m0 = 11 };

Type type_named(std::string const& name);
int bits_of(Type type);
/** Elements of an element type as numbers; sub-byte types are packed low nibble first. */
double load(Type type, void const* base, int64_t index);
void store(Type type, void* base, int64_t index, double value);
int64_t load_integer(Type type, void const* base, int64_t index);

/** One of TensorRT's TensorFormats: which dimension is packed in vectors of how many, and whether channels come last. */
struct Layout {
    int number = 0;        // TensorFormat
    int vector = 1;        // elements per vector, 1: not vectorised
    int dimension = -1;    // the packed one
    bool channels_last = false;
    std::string text;      // TensorRT's description
};

Layout layout_named(std::string const& name, int rank, Type type);
int64_t volume(Shape const& shape);
/** Elements of the buffer, padding included. */
int64_t padded_volume(Shape const& shape, Layout const& layout);
size_t bytes_of(Shape const& shape, Layout const& layout, Type type);
/** Position of an element in the buffer. `linear` counts elements in C order of the shape. */
int64_t position(int64_t linear, Shape const& shape, Layout const& layout);
std::string text_of(Shape const& shape);

}  // namespace simtrt
