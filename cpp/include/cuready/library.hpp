// TensorRT libraries: where they are, what they are, and one of them opened.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuready/error.hpp"
#include "cuready/plan.hpp"

namespace cuready {

namespace tensorrt {
class Adapter;
}

/// full: everything; lean: runs version-compatible plans; dispatch: hands a plan to the lean runtime inside it; rtx:
/// TensorRT-RTX, another product.
enum class LibraryKind { full, lean, dispatch, rtx, unknown };
CUREADY_API const char* name(LibraryKind kind) noexcept;

/// A candidate on disk. Nothing has been loaded.
struct LibraryInfo {
  std::string path;
  LibraryKind kind = LibraryKind::unknown;
  int major = 0;         ///< from the file name's version suffix; 0 when it has none
  std::string found_by;  ///< "argument", "CUREADY_TENSORRT", "search directory DIR", "conda prefix", "ld.so cache",
                         ///< "system directory DIR", "LD_LIBRARY_PATH"
  std::string problem;   ///< why it can not be opened (not ELF, another architecture), or empty
};

struct SearchOptions {
  std::string path;                      ///< a file or a folder: nothing else is looked at
  std::vector<std::string> search_dirs;  ///< e.g. site-packages/tensorrt_libs of the running interpreter; in order
  bool environment = true;               ///< $CUREADY_TENSORRT, $LD_LIBRARY_PATH, $CONDA_PREFIX/lib
  bool system = true;                    ///< ld.so cache and the usual SDK places
  std::vector<LibraryKind> kinds = {LibraryKind::full, LibraryKind::lean,
                                    LibraryKind::dispatch};  ///< in order of preference inside one place
  int major = 0;                                             ///< only this major; 0: any
};

/// Every candidate in the order in which open() would try them, with how it was found. Loads nothing.
CUREADY_API std::vector<LibraryInfo> find_libraries(const SearchOptions& options = {});

/// A TensorRT library, opened and never closed (it keeps threads and registries). Share it between threads.
class CUREADY_API Library : public std::enable_shared_from_this<Library> {
 public:
  /// Opens the first candidate that works. Throws LibraryNotFound (with every place that was looked at) or, when the
  /// one that was asked for by path or environment can not be used, UnsupportedLibrary. Opening the same file twice
  /// gives the same Library.
  static std::shared_ptr<Library> open(const SearchOptions& options = {});
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  const std::string& path() const noexcept;
  const std::string& found_by() const noexcept;
  LibraryKind kind() const noexcept;
  Version version() const noexcept;
  /// Throws EngineVersionError (or PlanInvalid) when this plan can not run on this library; needs no GPU. A plan that
  /// might run (same major.minor, or the lean runtime is inside it) passes, and TensorRT itself decides when it is
  /// loaded.
  void check_plan(const PlanInfo& plan) const;
  /// Opens a plugin library with its symbols local to it and initialises it (initLibNvInferPlugins where it has that).
  /// Idempotent.
  void load_plugins(const std::string& path);
  /// libnvinfer_plugin of the same version beside this library, or empty.
  std::string sibling_plugin_library() const;
  /// Plugin libraries that were loaded through load_plugins(), in order.
  std::vector<std::string> plugin_libraries() const;
  const tensorrt::Adapter& adapter() const noexcept;

 private:
  struct Impl;
  explicit Library(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cuready
