// Kernels that the simulation knows by the name of their PTX entry; they run as C++ on the stream's worker.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "codes.hpp"

namespace sim {

struct Launch {
    unsigned grid[3], block[3];
    std::vector<std::vector<unsigned char>> parameters;

    template <class T>
    T parameter(size_t index) const {
        T value{};
        if (index < parameters.size()) std::memcpy(&value, parameters[index].data(), sizeof value);
        return value;
    }
    unsigned threads() const { return grid[0] * block[0]; }
};

/** Runs one of cuready's own self-test kernels; false when `name` is none. */
bool run_selftest_kernel(std::string const& name, Launch const& launch, Result* result);

}  // namespace sim
