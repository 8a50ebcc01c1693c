// What Runtime, Engine and ExecutionContext know of each other.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/context.hpp"
#include "cuready/engine.hpp"
#include "tensorrt/call.hpp"
#include "tensorrt/port.hpp"

namespace cuready {

struct Runtime::Impl {
  std::shared_ptr<Library> library;
  Device device;
  std::mutex mutex;  // one plan at a time: plugins may be loaded in between
  std::unique_ptr<tensorrt::RuntimePort> port;

  tensorrt::Subject subject() const { return {library->version(), {}}; }
};

struct Engine::Impl {
  std::shared_ptr<Runtime> runtime;
  PlanInfo plan;
  std::unique_ptr<tensorrt::EnginePort> port;
  std::string name;
  std::vector<TensorInfo> tensors;
  std::vector<int> inputs, outputs;
  std::map<std::string, int, std::less<>> by_name;
  int profiles = 0, layers = 0;
  bool refittable = false;
  std::atomic<bool> needs_refit{false};
  bool has_data_dependent = false, has_alias = false;
  mutable std::mutex mutex;          // guards the port's calls that change it, and what follows
  int contexts = 0;                  // alive
  std::vector<int> profile_holders;  // 8.x: contexts that hold each profile (0 or 1); empty otherwise

  const Device& device() const noexcept { return runtime->device(); }
  tensorrt::Subject subject() const { return {runtime->library()->version(), plan.built_by}; }
  void read_tensors();
  void find_data_dependent();
  void ask_refit_state();
  bool fits(int profile, int tensor, const Dims& shape) const noexcept;
  /// 8.x: takes a profile for one context, or throws ContextBusy. Does nothing on later versions.
  void hold_profile(int profile);
  void release_profile(int profile) noexcept;
};

}  // namespace cuready
