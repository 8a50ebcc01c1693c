// Finding a library is a list of small steps in a visible order; every candidate says which step found it.
#include "tensorrt/discovery.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "tensorrt/elf.hpp"
#include "tensorrt/ld_cache.hpp"

namespace cuready {
namespace tensorrt {
namespace {

namespace fs = std::filesystem;

struct NameRule {
  const char* prefix;
  LibraryKind kind;
};
constexpr NameRule name_rules[] = {{"libnvinfer.so", LibraryKind::full},
                                   {"libnvinfer_lean.so", LibraryKind::lean},
                                   {"libnvinfer_dispatch.so", LibraryKind::dispatch},
                                   {"libtensorrt_rtx.so", LibraryKind::rtx},
                                   {"libnvinfer_rtx.so", LibraryKind::rtx}};

// Where SDK archives, Debian and RPM packages and NVIDIA's containers put it.
#if defined(__aarch64__)
constexpr const char* multiarch = "/usr/lib/aarch64-linux-gnu";
#else
constexpr const char* multiarch = "/usr/lib/x86_64-linux-gnu";
#endif

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

class Search {
 public:
  Search(const SearchOptions& options, std::vector<std::string>& places) : options_(options), places_(places) {}

  /// A file or a folder that somebody named: taken whatever its name is.
  void named(const std::string& path, const std::string& found_by) {
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      if (folder(path, found_by) == 0) folder((fs::path(path) / "lib").string(), found_by);
      return;
    }
    LibraryInfo info = classify_name(path);
    info.found_by = found_by;
    info.problem = why_not_loadable(path);
    places_.push_back(found_by + ": " + path + (info.problem.empty() ? "" : ": " + info.problem));
    keep(std::move(info));
  }

  /// Libraries of a folder: kinds in the caller's order of preference, newest major first. Returns how many there were.
  std::size_t folder(const std::string& path, const std::string& found_by) {
    std::error_code error;
    std::vector<LibraryInfo> found;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
      LibraryInfo info = classify_name(it->path().string());
      if (wanted(info)) found.push_back(std::move(info));
    }
    if (error) {
      places_.push_back(found_by + ": " + path + ": " + error.message());
      return 0;
    }
    std::sort(found.begin(), found.end(), [this](const LibraryInfo& a, const LibraryInfo& b) {
      if (rank(a.kind) != rank(b.kind)) return rank(a.kind) < rank(b.kind);
      if (a.major != b.major) return a.major > b.major;
      return a.path < b.path;  // libnvinfer.so.10 before libnvinfer.so.10.6.0: the same file
    });
    std::size_t count = 0;
    for (LibraryInfo& info : found) {
      info.found_by = found_by;
      info.problem = why_not_loadable(info.path);
      if (keep(std::move(info))) ++count;
    }
    places_.push_back(found_by + ": " + path +
                      (found.empty() ? ": no TensorRT library" : ": " + std::to_string(found.size()) + " found"));
    return count;
  }

  void path_list(const std::string& list, const std::string& found_by) {
    std::size_t begin = 0;
    while (begin <= list.size()) {
      const std::size_t end = std::min(list.find(':', begin), list.size());
      if (end > begin) folder(list.substr(begin, end - begin), found_by);
      begin = end + 1;
    }
  }

  void loader_cache() {
    std::size_t count = 0;
    for (const char* prefix : {"libnvinfer", "libtensorrt_rtx"}) {
      for (const CacheEntry& entry : read_ld_cache("/etc/ld.so.cache", prefix)) {
        LibraryInfo info = classify_name(entry.path);
        if (!wanted(info)) continue;
        info.found_by = "ld.so cache";
        info.problem = why_not_loadable(info.path);
        if (keep(std::move(info))) ++count;
      }
    }
    places_.push_back("ld.so cache: " +
                      (count == 0 ? std::string("no TensorRT library") : std::to_string(count) + " found"));
  }

  std::vector<LibraryInfo> take() { return std::move(found_); }

 private:
  std::size_t rank(LibraryKind kind) const {
    const auto at = std::find(options_.kinds.begin(), options_.kinds.end(), kind);
    return static_cast<std::size_t>(at - options_.kinds.begin());
  }
  bool wanted(const LibraryInfo& info) const {
    if (info.kind == LibraryKind::unknown) return false;
    if (options_.major != 0 && info.major != 0 && info.major != options_.major) return false;
    return info.kind == LibraryKind::rtx || rank(info.kind) < options_.kinds.size();
  }
  bool keep(LibraryInfo info) {
    std::error_code error;
    const fs::path real = fs::canonical(info.path, error);
    if (!seen_.insert(error ? info.path : real.string()).second) return false;
    found_.push_back(std::move(info));
    return true;
  }

  const SearchOptions& options_;
  std::vector<std::string>& places_;
  std::vector<LibraryInfo> found_;
  std::set<std::string> seen_;
};

}  // namespace

LibraryInfo classify_name(const std::string& path) {
  LibraryInfo info;
  info.path = path;
  const std::string file = fs::path(path).filename().string();
  for (const NameRule& rule : name_rules) {
    const std::string prefix = rule.prefix;
    if (file.compare(0, prefix.size(), prefix) != 0) continue;
    const std::string rest = file.substr(prefix.size());
    if (!rest.empty() && (rest[0] != '.' || rest.find_first_not_of(".0123456789") != std::string::npos)) continue;
    info.kind = rule.kind;
    if (rest.size() > 1) info.major = std::atoi(rest.c_str() + 1);
    return info;
  }
  return info;
}

std::vector<LibraryInfo> discover(const SearchOptions& options, std::vector<std::string>& places) {
  Search search(options, places);
  if (!options.path.empty()) {
    search.named(options.path, "argument");
    return search.take();
  }
  if (options.environment) {
    if (const std::string path = environment("CUREADY_TENSORRT"); !path.empty()) search.named(path, "CUREADY_TENSORRT");
  }
  for (const std::string& dir : options.search_dirs) search.folder(dir, "search directory " + dir);
  if (options.environment) {
    if (const std::string prefix = environment("CONDA_PREFIX"); !prefix.empty()) {
      search.folder(prefix + "/lib", "conda prefix");
      search.folder(prefix + (std::string(multiarch).find("aarch64") == std::string::npos ? "/targets/x86_64-linux/lib"
                                                                                          : "/targets/sbsa-linux/lib"),
                    "conda prefix");
    }
    if (const std::string list = environment("LD_LIBRARY_PATH"); !list.empty())
      search.path_list(list, "LD_LIBRARY_PATH");
  }
  if (options.system) {
    search.loader_cache();
    for (const std::string& dir :
         {std::string(multiarch), std::string("/usr/lib64"), std::string("/usr/local/tensorrt/lib"),
          std::string("/opt/tensorrt/lib"), std::string("/usr/local/TensorRT/lib"), std::string("/usr/local/lib")}) {
      search.folder(dir, "system directory " + dir);
    }
  }
  return search.take();
}

}  // namespace tensorrt

std::vector<LibraryInfo> find_libraries(const SearchOptions& options) {
  std::vector<std::string> places;
  return tensorrt::discover(options, places);
}

const char* name(LibraryKind kind) noexcept {
  switch (kind) {
    case LibraryKind::full:
      return "full";
    case LibraryKind::lean:
      return "lean";
    case LibraryKind::dispatch:
      return "dispatch";
    case LibraryKind::rtx:
      return "rtx";
    case LibraryKind::unknown:
      break;
  }
  return "unknown";
}

}  // namespace cuready
