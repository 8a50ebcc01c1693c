"""Two small libraries for a builder whose parts did not all travel; each says what it stands for.

The plans that come out are TensorRT's own. Neither stand-in holds a kernel.

``plugins``: TensorRT's Python binding links to libnvinfer_plugin, and that of 8.6 to cuBLAS and
cuDNN, 1 GB that the builder does not use of itself since 8.6 (release notes of 8.5.2). This one has
no plugins in it.

``kernels``: in new releases the builder's kernels are one library for each GPU architecture, and
the one for the GPU at hand is asked for by name. Maven's package has only ``_ptx``, the kernels as
PTX. This one answers for the architecture and hands out what ``_ptx`` has.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

PLUGINS = """
extern "C" bool initLibNvInferPlugins(void*, char const*) { return true; }
"""

# The names and what they take are those of 11.2's libnvinfer_builder_resource_ptx, which knows the
# key "ptx" and has nothing for "sm90".
KERNELS = """
#include <dlfcn.h>
#include <string>
namespace {
struct Section { char const* begin; char const* end; };
void* ptx(char const* name) {
    static void* const library = dlopen("@PTX@", RTLD_NOW | RTLD_LOCAL);
    return library ? dlsym(library, name) : nullptr;
}
std::string const kPtx = "ptx";
}  // namespace
extern "C" int getNbCaskKLibs_INTERNAL(std::string const&) {
    auto count = reinterpret_cast<int (*)(std::string const&)>(ptx("getNbCaskKLibs_INTERNAL"));
    return count ? count(kPtx) : -1;
}
extern "C" Section getCaskKLibSection_INTERNAL(int number, std::string const&) {
    auto section = reinterpret_cast<Section (*)(int, std::string const&)>(
        ptx("getCaskKLibSection_INTERNAL"));
    return section ? section(number, kPtx) : Section{};
}
"""

NO_KERNELS = """
#include <string>
struct Section { char const* begin; char const* end; };
extern "C" int getNbCaskKLibs_INTERNAL(std::string const&) { return 0; }
extern "C" Section getCaskKLibSection_INTERNAL(int, std::string const&) { return {}; }
"""

# A plan for Ampere and newer is built with all of these, and with _ptx (read in libnvinfer 11.2.1).
ARCHITECTURES = ("sm80", "sm86", "sm89", "sm90", "sm100", "sm120")


def plugins(library: Path, folder: Path) -> Path | None:
    """An empty libnvinfer_plugin in ``folder``; None where there is one beside libnvinfer."""
    name = library.name.replace("libnvinfer", "libnvinfer_plugin")
    return None if library.with_name(name).exists() else _compile(PLUGINS, folder / name)


def kernels(library: Path, folder: Path, capabilities: Iterable[str]) -> list[Path]:
    """Libraries for GPUs ("9.0") that hand out PTX, and empty ones for the other architectures.

    None where more than PTX is there.
    """
    there = sorted(library.parent.glob("libnvinfer_builder_resource*.so.*"))
    if len(there) != 1 or "_ptx.so." not in there[0].name:
        return []
    own = {f"sm{one.replace('.', '')}" for one in capabilities}
    return [
        _compile(
            KERNELS.replace("@PTX@", str(there[0])) if name in own else NO_KERNELS,
            folder / there[0].name.replace("_ptx.", f"_{name}."),
        )
        for name in sorted(own.union(ARCHITECTURES))
    ]


def _compile(source: str, target: Path) -> Path:
    subprocess.run(
        ["c++", "-std=c++17", "-O1", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(target),
         f"-Wl,-soname,{target.name}", "-ldl"],
        input=source, text=True, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return target
