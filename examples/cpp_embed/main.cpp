// Runs a TensorRT plan once on made-up input and prints the outputs' shapes and first values.
//
//   cpp_embed                      which driver and which TensorRT libraries are here
//   cpp_embed model.plan           run it with the first library that is found
//   cpp_embed model.plan LIBRARY   run it with this one (a file or a folder)
//
// Exit codes: 0 fine, 1 something could not be done (and what is said on stderr), 2 wrong usage.
#include <cstddef>
#include <cuready/cuready.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace {

int describe_machine() {
  try {
    const cuready::DriverReport driver = cuready::driver_report();
    std::printf("CUDA driver %d.%d (%s)\n", driver.version.major, driver.version.minor, driver.library.c_str());
    for (const cuready::DeviceReport& device : driver.devices) {
      std::printf("  GPU %d: %s, compute capability %d.%d\n", device.ordinal, device.name.c_str(), device.compute_major,
                  device.compute_minor);
    }
  } catch (const cuready::DriverNotFound& error) {
    std::printf("no CUDA driver: %s\n", error.message().c_str());
  }
  for (const cuready::LibraryInfo& library : cuready::find_libraries()) {
    std::printf("TensorRT (%s) %s, by %s\n", cuready::name(library.kind), library.path.c_str(),
                library.found_by.c_str());
  }
  return 0;
}

int run(const std::string& plan, const std::string& library_path) {
  cuready::SearchOptions search;
  search.path = library_path;
  const auto library = cuready::Library::open(search);
  std::printf("TensorRT %s (%s)\n", library->version().str().c_str(), library->path().c_str());

  const auto engine = cuready::load_engine(library, plan);
  const auto context = engine->create_context();
  cuready::Stream stream(engine->device());

  std::vector<std::unique_ptr<cuready::DeviceBuffer>> inputs;
  for (int index : engine->inputs()) {
    const cuready::TensorInfo& info = engine->tensors()[static_cast<std::size_t>(index)];
    const cuready::Dims shape = info.shape.is_dynamic() ? info.profiles.at(0).opt : info.shape;
    context->set_shape(index, shape);
    if (info.location == cuready::TensorLocation::host) {
      context->set_shape_values(index, info.profiles.at(0).opt_values);
      continue;
    }
    inputs.push_back(std::make_unique<cuready::DeviceBuffer>(engine->device(), info.bytes_for(shape)));
    inputs.back()->fill(0, stream);
    context->set_address(index, inputs.back()->data(), inputs.back()->nbytes());
  }
  for (int index : engine->outputs()) context->allocate_output(index);
  context->enqueue(stream);
  context->synchronize();

  for (int index : engine->outputs()) {
    const cuready::OutputView output = context->output(index);
    std::printf("%s: %s %s\n", engine->tensors()[static_cast<std::size_t>(index)].name.c_str(),
                cuready::name(output.dtype).c_str(), output.shape.str().c_str());
    if (output.dtype != cuready::DataType::float32 || output.nbytes < sizeof(float)) continue;
    cuready::PinnedBuffer host(engine->device(), output.nbytes);
    cuready::copy_async(engine->device(), host.data(), output.data, output.nbytes, stream);
    stream.synchronize();
    for (std::size_t i = 0; i < std::min<std::size_t>(4, output.nbytes / sizeof(float)); ++i) {
      float value = 0;
      std::memcpy(&value, static_cast<const char*>(host.data()) + i * sizeof value, sizeof value);
      std::printf("  %g\n", static_cast<double>(value));
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 3) {
    std::fprintf(stderr, "usage: cpp_embed [PLAN [LIBRARY]]\n");
    return 2;
  }
  try {
    return argc == 1 ? describe_machine() : run(argv[1], argc == 3 ? argv[2] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
