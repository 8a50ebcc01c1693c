// Driver API: modules and kernel launches. Kernels are known by the name of their PTX entry and run as C++ on the
// stream's worker.
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "api.hpp"
#include "kernels.hpp"

using namespace sim;

namespace {

/** A parameter list as the PTX entry declares it: the size of each in bytes. */
std::vector<size_t> parameter_sizes(std::string const& image, std::string const& kernel) {
  std::vector<size_t> sizes;
  auto const start = image.find(".entry " + kernel);
  if (start == std::string::npos) return sizes;
  auto const open = image.find('(', start), close = image.find(')', start);
  if (open == std::string::npos || close == std::string::npos) return sizes;
  std::string const list = image.substr(open, close - open);
  for (size_t at = list.find(".param"); at != std::string::npos; at = list.find(".param", at + 1)) {
    auto const type = list.find('.', at + 6);
    if (type == std::string::npos) break;
    size_t digits = type + 2;
    size_t const bits = static_cast<size_t>(std::atoi(list.c_str() + digits));
    sizes.push_back(bits / 8);
  }
  return sizes;
}

std::vector<std::string> entries(std::string const& image) {
  std::vector<std::string> names;
  std::string const mark = ".entry ";
  for (size_t at = image.find(mark); at != std::string::npos; at = image.find(mark, at + 1)) {
    size_t end = at + mark.size();
    while (end < image.size() &&
           (std::isalnum(static_cast<unsigned char>(image[end])) || image[end] == '_' || image[end] == '$'))
      ++end;
    names.push_back(image.substr(at + mark.size(), end - at - mark.size()));
  }
  return names;
}

/** y[i] = a * x[i] + y[i]; parameters: n or pointers in the order that the PTX of such kernels has: (y, x, a, n). */
Result run_saxpy(Launch const& launch) {
  auto const n = launch.parameter<unsigned>(3);
  auto const a = launch.parameter<float>(2);
  auto* const y = static_cast<float*>(sim_view(launch.parameter<uint64_t>(0), n * sizeof(float)));
  auto const* const x = static_cast<float const*>(sim_view(launch.parameter<uint64_t>(1), n * sizeof(float)));
  if (!x || !y) return ILLEGAL_ADDRESS;
  for (unsigned i = 0; i < n; ++i) y[i] = std::fma(a, x[i], y[i]);
  return SUCCESS;
}

Result run_known(std::string const& name, Launch const& launch) {
  if (name.find("saxpy") != std::string::npos) return run_saxpy(launch);
  Result result = SUCCESS;
  if (run_selftest_kernel(name, launch, &result)) return result;
  violate("launch of a kernel that the simulation does not know: " + name);
  return NOT_SUPPORTED;
}

}  // namespace

SIM_API int cuModuleLoadData(void** handle, void const* image) {
  SIM_ENTRY("cuModuleLoadData");
  Context* context = nullptr;
  SIM_TRY(current(&context));
  if (!image) return INVALID_VALUE;
  std::string text(static_cast<char const*>(image));
  if (text.find(".version") == std::string::npos) return INVALID_IMAGE;
  auto module = std::make_shared<Module>();
  module->kernels = entries(text);
  module->image = std::move(text);
  if (module->kernels.empty()) return INVALID_PTX;
  *handle = State::get().modules.add(std::move(module));
  return SUCCESS;
}
SIM_API int cuModuleLoadDataEx(void** handle, void const* image, unsigned, int*, void**) {
  SIM_ENTRY("cuModuleLoadDataEx");
  return cuModuleLoadData(handle, image);
}
SIM_API int cuModuleUnload(void* handle) {
  SIM_ENTRY("cuModuleUnload");
  return State::get().modules.take(handle) ? SUCCESS : INVALID_HANDLE;
}
SIM_API int cuModuleGetFunction(void** function, void* handle, char const* name) {
  SIM_ENTRY("cuModuleGetFunction");
  auto const module = State::get().modules.find(handle);
  if (!module) return INVALID_HANDLE;
  for (auto const& kernel : module->kernels)
    if (kernel == name) {
      auto found = std::make_shared<Function>(Function{module, kernel});
      *function = State::get().functions.add(std::move(found));
      return SUCCESS;
    }
  return NOT_FOUND;
}

SIM_API int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                           unsigned, void* handle, void** parameters, void**) {
  SIM_ENTRY("cuLaunchKernel");
  Context* context = nullptr;
  SIM_TRY(current(&context));
  std::shared_ptr<Stream> stream;
  SIM_TRY(resolve(handle, *context, &stream));
  auto const kernel = State::get().functions.find(function);
  if (!kernel) return INVALID_HANDLE;
  if (!gx || !gy || !gz || !bx || !by || !bz || bx * by * bz > 1024) return INVALID_VALUE;
  auto launch = std::make_shared<Launch>(Launch{{gx, gy, gz}, {bx, by, bz}, {}});
  size_t index = 0;
  for (size_t const size : parameter_sizes(kernel->module->image, kernel->name)) {
    auto const* bytes = static_cast<unsigned char const*>(parameters[index++]);
    launch->parameters.emplace_back(bytes, bytes + size);
  }
  auto work = std::make_shared<Work>();
  work->run = [kernel, launch] { return run_known(kernel->name, *launch); };
  return submit(*stream, work);
}
