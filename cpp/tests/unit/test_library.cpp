// Finding and opening TensorRT libraries; plan headers.
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "support.hpp"

using namespace cuready;
using test::expect;
using test::Session;

namespace {

SearchOptions only(const std::string& path) {
  SearchOptions options;
  options.path = path;
  return options;
}

std::string fake(const char* name) { return test::sim_folder() + "/fake-" + name + "/libnvinfer.so.10"; }

}  // namespace

TEST_CASE_FIXTURE(Session, "the version of the opened library is read from the library") {
  CHECK(library->version().major == test::release().major);
  CHECK(library->version().minor == test::release().minor);
  CHECK(library->kind() == LibraryKind::full);
  CHECK(library->found_by() == "argument");
  CHECK(library->path() == test::library_path());
}

TEST_CASE_FIXTURE(Session, "opening the same file twice gives the same library") {
  CHECK(Library::open(only(test::library_path())) == library);
}

TEST_CASE_FIXTURE(Session, "a folder is searched for the library, preferring the full one") {
  const auto opened = Library::open(only(std::filesystem::path(test::library_path()).parent_path().string()));
  CHECK(opened->kind() == LibraryKind::full);
  CHECK(opened == library);
}

TEST_CASE_FIXTURE(Session, "lean and dispatch libraries are told from the full one") {
  if (test::release().major != 10 || test::release().minor != 16) return;
  const std::string folder = test::sim_folder() + "/trt-10.16/";
  CHECK(Library::open(only(folder + "libnvinfer_lean.so.10"))->kind() == LibraryKind::lean);
  CHECK(Library::open(only(folder + "libnvinfer_dispatch.so.10"))->kind() == LibraryKind::dispatch);
}

TEST_CASE_FIXTURE(Session, "a major that is not known is refused and named") {
  const auto error = expect<UnsupportedLibrary>([] { Library::open(only(fake("unknown_major"))); });
  CHECK(error.message().find("12.0") != std::string::npos);
  CHECK_FALSE(error.hint().empty());
  expect<UnsupportedLibrary>([] { Library::open(only(fake("old_major"))); });
}

TEST_CASE_FIXTURE(Session, "a library without TensorRT's entry points is refused, naming the function") {
  const auto error = expect<UnsupportedLibrary>([] { Library::open(only(fake("no_symbol"))); });
  CHECK(error.message().find("createInferRuntime_INTERNAL") != std::string::npos);
}

TEST_CASE_FIXTURE(Session, "TensorRT-RTX is recognised as another product") {
  const auto error = expect<UnsupportedLibrary>([] { Library::open(only(fake("rtx"))); });
  CHECK(error.message().find("RTX") != std::string::npos);
}

TEST_CASE_FIXTURE(Session, "a file that is no library is refused") {
  const auto path = std::filesystem::temp_directory_path() / ("cuready-not-a-library-" + std::to_string(::getpid())) / "libnvinfer.so.10";
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << "this is text";
  expect<UnsupportedLibrary>([&] { Library::open(only(path.string())); });
  std::filesystem::remove_all(path.parent_path());
}

TEST_CASE_FIXTURE(Session, "a path that does not exist is not found") {
  const auto error = expect<LibraryNotFound>([] { Library::open(only("/nonexistent/libnvinfer.so.10")); });
  CHECK(std::string(error.what()).find("/nonexistent/libnvinfer.so.10") != std::string::npos);
}

TEST_CASE_FIXTURE(Session, "a plan's header says who built it without any library") {
  const std::string text = test::plan("{}", 10, 6);
  const PlanInfo info = probe_plan(test::bytes(text));
  CHECK(info.kind == PlanInfo::Kind::tensorrt);
  CHECK(info.built_by.major == 10);
  CHECK(info.built_by.minor == 6);
  CHECK(info.tag == "ftrt");
  CHECK(info.size == text.size());
  CHECK(info.declared_size == text.size());
  CHECK_FALSE(info.truncated);
}

TEST_CASE_FIXTURE(Session, "another plan family is unknown, not broken; short bytes say so") {
  const std::string other = "vtrt" + std::string(60, '\0');
  CHECK(probe_plan(test::bytes(other)).kind == PlanInfo::Kind::unknown);
  for (const std::size_t length : {0, 1, 3, 4, 27, 28, 31}) {
    const std::string cut = test::plan("{}", 10, 6).substr(0, length);
    const PlanInfo info = probe_plan(test::bytes(cut));
    CHECK((info.truncated || info.kind == PlanInfo::Kind::unknown));
  }
}
