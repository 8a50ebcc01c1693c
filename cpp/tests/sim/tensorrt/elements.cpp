#include "elements.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace simtrt {
namespace {

/** A small float of `exponent` and `mantissa` bits (IEEE-like; e4m3 has no infinity, all exponents count). */
double decode_small(unsigned bits, int exponent, int mantissa, bool ieee) {
    int const bias = (1 << (exponent - 1)) - 1;
    unsigned const sign = bits >> (exponent + mantissa) & 1;
    unsigned const e = bits >> mantissa & ((1u << exponent) - 1);
    unsigned const m = bits & ((1u << mantissa) - 1);
    double value;
    if (ieee && e == (1u << exponent) - 1)
        value = m ? NAN : INFINITY;
    else if (e == 0)
        value = std::ldexp(m, 1 - bias - mantissa);
    else
        value = std::ldexp(m + (1u << mantissa), static_cast<int>(e) - bias - mantissa);
    return sign ? -value : value;
}

/** Nearest, ties to even; saturates to the largest finite value where there is no infinity. */
unsigned encode_small(double value, int exponent, int mantissa, bool ieee) {
    int const bias = (1 << (exponent - 1)) - 1;
    unsigned const sign = std::signbit(value) ? 1u << (exponent + mantissa) : 0;
    double const magnitude = std::fabs(value);
    unsigned const top = ((1u << exponent) - 1) << mantissa;
    if (std::isnan(value)) return sign | top | (ieee ? 1u << (mantissa - 1) : (1u << mantissa) - 1);
    if (magnitude == 0) return sign;
    int power = std::max(std::ilogb(magnitude), 1 - bias);
    double const scaled = std::nearbyint(std::ldexp(magnitude, mantissa - power));
    auto steps = static_cast<unsigned long long>(scaled);
    unsigned long long code;
    if (steps < 1ull << mantissa)
        code = steps;  // subnormal
    else
        code = (static_cast<unsigned long long>(power + bias) << mantissa) + (steps - (1ull << mantissa));
    unsigned const limit = ieee ? top : (exponent == 4 && mantissa == 3 ? 0x7Eu : (1u << (exponent + mantissa)) - 1);
    return sign | static_cast<unsigned>(std::min<unsigned long long>(code, limit));
}

unsigned nibble(void const* base, int64_t index) {
    auto const byte = static_cast<unsigned char const*>(base)[index / 2];
    return index % 2 ? byte >> 4 : byte & 15;
}

void set_nibble(void* base, int64_t index, unsigned value) {
    auto& byte = static_cast<unsigned char*>(base)[index / 2];
    byte = static_cast<unsigned char>(index % 2 ? (byte & 0x0F) | value << 4 : (byte & 0xF0) | value);
}

template <class T>
T get(void const* base, int64_t index) {
    T value;
    std::memcpy(&value, static_cast<char const*>(base) + index * static_cast<int64_t>(sizeof(T)), sizeof value);
    return value;
}

template <class T>
void put(void* base, int64_t index, T value) {
    std::memcpy(static_cast<char*>(base) + index * static_cast<int64_t>(sizeof(T)), &value, sizeof value);
}

}  // namespace

Type type_named(std::string const& name) {
    static char const* const names[] = {"float32", "float16", "int8", "int32", "bool", "uint8", "float8", "bfloat16", "int64", "int4", "float4", "float8_e8m0"};
    for (int i = 0; i < 12; ++i)
        if (name == names[i]) return static_cast<Type>(i);
    throw std::runtime_error("simulated plan: unknown data type " + name);
}

int bits_of(Type type) {
    static int const bits[] = {32, 16, 8, 32, 8, 8, 8, 16, 64, 4, 4, 8};
    return bits[static_cast<int>(type)];
}

int64_t load_integer(Type type, void const* base, int64_t index) {
    return type == Type::i64 ? get<int64_t>(base, index) : static_cast<int64_t>(load(type, base, index));
}

double load(Type type, void const* base, int64_t index) {
    switch (type) {
        case Type::f32: return static_cast<double>(get<float>(base, index));
        case Type::f16: return decode_small(get<uint16_t>(base, index), 5, 10, true);
        case Type::bf16: return decode_small(get<uint16_t>(base, index), 8, 7, true);
        case Type::f8: return decode_small(get<uint8_t>(base, index), 4, 3, false);
        case Type::e8m0: return std::ldexp(1.0, get<uint8_t>(base, index) - 127);
        case Type::f4: return decode_small(nibble(base, index), 2, 1, false);
        case Type::i4: return static_cast<int>(nibble(base, index) ^ 8) - 8;
        case Type::i8: return get<int8_t>(base, index);
        case Type::u8: return get<uint8_t>(base, index);
        case Type::boolean: return get<uint8_t>(base, index) != 0;
        case Type::i32: return get<int32_t>(base, index);
        case Type::i64: return static_cast<double>(get<int64_t>(base, index));
    }
    return 0;
}

void store(Type type, void* base, int64_t index, double value) {
    switch (type) {
        case Type::f32: return put(base, index, static_cast<float>(value));
        case Type::f16: return put(base, index, static_cast<uint16_t>(encode_small(value, 5, 10, true)));
        case Type::bf16: return put(base, index, static_cast<uint16_t>(encode_small(value, 8, 7, true)));
        case Type::f8: return put(base, index, static_cast<uint8_t>(encode_small(value, 4, 3, false)));
        case Type::e8m0: return put(base, index, static_cast<uint8_t>(std::ilogb(value) + 127));
        case Type::f4: return set_nibble(base, index, encode_small(value, 2, 1, false));
        case Type::i4: return set_nibble(base, index, static_cast<unsigned>(static_cast<int>(value)) & 15);
        case Type::i8: return put(base, index, static_cast<int8_t>(value));
        case Type::u8: return put(base, index, static_cast<uint8_t>(value));
        case Type::boolean: return put(base, index, static_cast<uint8_t>(value != 0));
        case Type::i32: return put(base, index, static_cast<int32_t>(value));
        case Type::i64: return put(base, index, static_cast<int64_t>(value));
    }
}

Layout layout_named(std::string const& name, int rank, Type type) {
    struct Row {
        char const* name;
        int number, vector;
        bool last;
        int spatial;  // dimensions after the channel
        char const* text;
    };
    static Row const rows[] = {
        {"linear", 0, 1, false, 0, "Row major linear"},
        {"chw2", 1, 2, false, 2, "Two wide channel vectorized row major"},
        {"hwc8", 2, 8, true, 2, "Channel major format where C is vectorized by 8"},
        {"chw4", 3, 4, false, 2, "Four wide channel vectorized row major"},
        {"chw16", 4, 16, false, 2, "Sixteen wide channel vectorized row major"},
        {"chw32", 5, 32, false, 2, "Thirty-two wide channel vectorized row major"},
        {"dhwc8", 6, 8, true, 3, "Channel major format where C is vectorized by 8, with depth"},
        {"cdhw32", 7, 32, false, 3, "Thirty-two wide channel vectorized row major, with depth"},
        {"hwc", 8, 1, true, 2, "Channel major format"},
        {"hwc16", 11, 16, true, 2, "Channel major format where C is vectorized by 16"},
        {"dhwc", 12, 1, true, 3, "Channel major format, with depth"},
    };
    for (auto const& row : rows)
        if (name == row.name) {
            Layout layout{row.number, row.vector, row.number == 0 ? -1 : rank - row.spatial - 1, row.last, row.text};
            layout.text += bits_of(type) == 32 ? " FP32 format" : bits_of(type) == 16 ? " FP16 format" : " INT8 format";
            return layout;
        }
    throw std::runtime_error("simulated plan: unknown format " + name);
}

int64_t volume(Shape const& shape) {
    int64_t product = 1;
    for (int64_t const extent : shape) product *= extent;
    return product;
}

namespace {
int64_t padded(int64_t extent, int vector) { return (extent + vector - 1) / vector * vector; }
}  // namespace

int64_t padded_volume(Shape const& shape, Layout const& layout) {
    if (layout.dimension < 0) return volume(shape);
    int64_t product = 1;
    for (size_t i = 0; i < shape.size(); ++i) product *= static_cast<int>(i) == layout.dimension ? padded(shape[i], layout.vector) : shape[i];
    return product;
}

size_t bytes_of(Shape const& shape, Layout const& layout, Type type) {
    return static_cast<size_t>((padded_volume(shape, layout) * bits_of(type) + 7) / 8);
}

int64_t position(int64_t linear, Shape const& shape, Layout const& layout) {
    if (layout.dimension < 0) return linear;
    Shape index(shape.size());
    for (size_t i = shape.size(); i-- > 0;) {
        index[i] = linear % shape[i];
        linear /= shape[i];
    }
    auto const c = static_cast<size_t>(layout.dimension);
    int64_t const channels = padded(shape[c], layout.vector);
    int64_t at = 0;
    for (size_t i = 0; i < c; ++i) at = at * shape[i] + index[i];
    if (layout.channels_last) {
        for (size_t i = c + 1; i < shape.size(); ++i) at = at * shape[i] + index[i];
        return at * channels + index[c];
    }
    at = at * (channels / layout.vector) + index[c] / layout.vector;
    for (size_t i = c + 1; i < shape.size(); ++i) at = at * shape[i] + index[i];
    return at * layout.vector + index[c] % layout.vector;
}

std::string text_of(Shape const& shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); ++i) text += (i ? "," : "") + std::to_string(shape[i]);
    return text + "]";
}

}  // namespace simtrt
