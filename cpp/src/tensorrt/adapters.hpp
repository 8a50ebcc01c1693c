// The adapters that exist, one per major.
#pragma once

#include <memory>

#include "tensorrt/port.hpp"

namespace cuready::tensorrt {

std::unique_ptr<Adapter> make_adapter_v8(const Symbols& symbols, const Version& version);
std::unique_ptr<Adapter> make_adapter_v10(const Symbols& symbols, const Version& version);
std::unique_ptr<Adapter> make_adapter_v11(const Symbols& symbols, const Version& version);

inline std::unique_ptr<Adapter> make_adapter(const Symbols& symbols, const Version& version) {
  switch (version.major) {
    case 8:
      return make_adapter_v8(symbols, version);
    case 10:
      return make_adapter_v10(symbols, version);
    case 11:
      return make_adapter_v11(symbols, version);
    default:
      return nullptr;
  }
}

}  // namespace cuready::tensorrt
