// The self-test's kernels in C++: what their PTX computes, written a second time.
#include "kernels.hpp"

#include <chrono>
#include <cmath>
#include <thread>

#include "api.hpp"

namespace sim {
namespace {

template <class T>
T* view(Launch const& launch, size_t index, uint64_t count) {
    return static_cast<T*>(sim_view(launch.parameter<uint64_t>(index), count * sizeof(T)));
}

float from_half(uint16_t bits) {
    int const exponent = bits >> 10 & 31, fraction = bits & 1023;
    float const size = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                     : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
    return bits & 0x8000 ? -size : size;
}

/** Normal numbers and zero only: the self-test uses no others. */
uint16_t to_half(float value) {
    uint16_t const sign = std::signbit(value) ? 0x8000 : 0;
    if (value == 0) return sign;
    int exponent = 0;
    float const fraction = std::frexp(std::fabs(value), &exponent);  // [0.5, 1)
    auto const scaled = static_cast<int>(std::nearbyint(fraction * 2048));
    return static_cast<uint16_t>(sign | (((exponent + 14) << 10) + (scaled - 1024)));
}

struct Vector {
    uint32_t words[4];
};

Vector pattern(uint64_t index, uint32_t seed) {
    uint32_t const v = static_cast<uint32_t>(index) * 0x9E3779B1u + static_cast<uint32_t>(index >> 32) * 0x85EBCA6Bu + seed;
    return {{v, v ^ 0x55555555u, ~v, v + 0x9E3779B9u}};
}

Result write_pattern(Launch const& launch) {
    auto const count = launch.parameter<uint64_t>(1), first = launch.parameter<uint64_t>(2);
    auto const seed = launch.parameter<uint32_t>(3);
    auto* const target = view<Vector>(launch, 0, count);
    if (!target) return ILLEGAL_ADDRESS;
    for (uint64_t i = 0; i < count; ++i) target[i] = pattern(first + i, seed);
    return SUCCESS;
}

Result check_pattern(Launch const& launch) {
    auto const count = launch.parameter<uint64_t>(1), first = launch.parameter<uint64_t>(2);
    auto const seed = launch.parameter<uint32_t>(3);
    auto const* const source = view<Vector>(launch, 0, count);
    auto* const result = view<uint64_t>(launch, 4, 2);
    if (!source || !result) return ILLEGAL_ADDRESS;
    for (uint64_t i = 0; i < count; ++i) {
        Vector const wanted = pattern(first + i, seed);
        if (!std::memcmp(&wanted, source + i, sizeof wanted)) continue;
        ++result[0];
        if (first + i < result[1]) result[1] = first + i;
    }
    return SUCCESS;
}

Result fma_f32(Launch const& launch) {
    auto const n = launch.parameter<uint32_t>(3);
    auto const a = launch.parameter<float>(2);
    auto* const y = view<float>(launch, 0, n);
    auto const* const x = view<float>(launch, 1, n);
    if (!x || !y) return ILLEGAL_ADDRESS;
    for (uint32_t i = 0; i < n && i < launch.threads(); ++i) y[i] = std::fma(a, x[i], y[i]);
    return SUCCESS;
}

Result fma_f16(Launch const& launch) {
    auto const n = 2 * launch.parameter<uint32_t>(3);
    float const a = from_half(static_cast<uint16_t>(launch.parameter<uint32_t>(2)));
    auto* const y = view<uint16_t>(launch, 0, n);
    auto const* const x = view<uint16_t>(launch, 1, n);
    if (!x || !y) return ILLEGAL_ADDRESS;
    for (uint32_t i = 0; i < n && i < 2 * launch.threads(); ++i) y[i] = to_half(a * from_half(x[i]) + from_half(y[i]));
    return SUCCESS;
}

Result tensor_f16(Launch const& launch) {
    auto const tiles = launch.parameter<uint32_t>(3);
    auto* const d = view<float>(launch, 0, tiles * 256u);
    auto const* const a = view<uint16_t>(launch, 1, tiles * 256u);
    auto const* const b = view<uint16_t>(launch, 2, tiles * 256u);
    if (!a || !b || !d) return ILLEGAL_ADDRESS;
    for (uint32_t tile = 0; tile < tiles && tile < launch.grid[0]; ++tile)
        for (unsigned row = 0; row < 16; ++row)
            for (unsigned column = 0; column < 16; ++column) {
                float sum = 0;
                for (unsigned k = 0; k < 16; ++k)
                    sum += from_half(a[tile * 256 + row * 16 + k]) * from_half(b[tile * 256 + column * 16 + k]);
                d[tile * 256 + row * 16 + column] = sum;
            }
    return SUCCESS;
}

/** What every thread of the two loops for speed ends with. */
Result fill(Launch const& launch, float value) {
    auto* const y = view<float>(launch, 0, launch.threads());
    if (!y) return ILLEGAL_ADDRESS;
    for (unsigned i = 0; i < launch.threads(); ++i) y[i] = value;
    return SUCCESS;
}

Result spin(Launch const& launch) {
    auto* const result = view<uint64_t>(launch, 0, 2);
    if (!result) return ILLEGAL_ADDRESS;
    auto const wanted = launch.parameter<uint64_t>(1);
    auto const begin = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(std::chrono::nanoseconds(wanted));
    auto const passed = std::chrono::steady_clock::now() - begin;
    result[0] = static_cast<uint64_t>(std::chrono::nanoseconds(passed).count());
    result[1] = result[0] * 3 / 2;  // cycles of a clock of 1.5 GHz
    return SUCCESS;
}

}  // namespace

bool run_selftest_kernel(std::string const& name, Launch const& launch, Result* result) {
    if (name == "selftest_pattern_write") *result = write_pattern(launch);
    else if (name == "selftest_pattern_check") *result = check_pattern(launch);
    else if (name == "selftest_fma_f32") *result = fma_f32(launch);
    else if (name == "selftest_fma_f16x2") *result = fma_f16(launch);
    else if (name == "selftest_tensor_f16") *result = tensor_f16(launch);
    else if (name == "selftest_rate_f32") *result = fill(launch, 8 * launch.parameter<float>(2) / (1 - launch.parameter<float>(1)));
    else if (name == "selftest_rate_tensor") *result = fill(launch, 4 * static_cast<float>(launch.parameter<uint32_t>(3)) / 64);
    else if (name == "selftest_spin") *result = spin(launch);
    else return false;
    return true;
}

}  // namespace sim
