"""CUDA toolkits on disk: where each lies, who points at it, its version and host compiler bound."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from cuready._util import parse_json
from cuready.probe.context import Context, Facts
from cuready.snapshot import CudaToolkit

__all__ = ["read", "version_of"]

_HOST_CONFIG = ("include/crt/host_config.h", "targets/x86_64-linux/include/crt/host_config.h",
                "targets/sbsa-linux/include/crt/host_config.h")  # fmt: skip
_GCC_BOUND = re.compile(r"unsupported GNU version! gcc versions later than (\d{1,3})\b")
NVCC_LIMIT_S = 2.0


def read(context: Context) -> Facts:
    """Every toolkit that a build could pick up, in the order in which torch and CMake look."""
    found: dict[str, list[str]] = {}
    for path, found_by in _candidates(context):
        found.setdefault(context.realpath(path), []).append(f"{found_by}\0{path}")
    toolkits = []
    for entries in found.values():
        path = entries[0].partition("\0")[2]
        names = tuple(dict.fromkeys(entry.partition("\0")[0] for entry in entries))
        toolkits.append(_toolkit(context, path, names))
    return {"toolkits": tuple(toolkits)}


def _candidates(context: Context) -> Iterator[tuple[str, str]]:
    """``(folder, found by)``. What a variable names is listed even when it is not there."""
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        folder = context.env.get(variable, "").rstrip("/")
        if folder:
            yield folder, variable
    nvcc = context.which("nvcc")
    if nvcc:
        yield _home_of(context, nvcc), "PATH"
    for folder in ("/usr/local/cuda", *context.glob("/usr/local/cuda-*"), "/opt/cuda"):
        if context.is_dir(folder):
            yield folder, posixpath.dirname(folder)
    for folder in context.glob("/opt/nvidia/hpc_sdk/Linux_*/*/cuda"):
        yield folder, "hpc_sdk"
    prefix = context.so_far.python.prefix
    if prefix and context.is_dir(f"{prefix}/conda-meta"):
        names = ("bin/nvcc", "include/cuda.h", "targets/x86_64-linux/include/cuda.h")
        if any(context.exists(f"{prefix}/{name}") for name in names):
            yield prefix, "conda"
    for site in context.so_far.python.site_packages:
        for folder in context.glob(f"{_escape(site)}/nvidia/*"):
            if context.exists(f"{folder}/bin/nvcc"):
                yield folder, "pip"


def _escape(path: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", path)


def _home_of(context: Context, nvcc: str) -> str:
    """/usr/local/cuda-12.4/bin/nvcc → /usr/local/cuda-12.4. Debian's nvcc is a link or a script."""
    real = context.realpath(nvcc)
    home = posixpath.dirname(posixpath.dirname(real))
    return "/usr/lib/cuda" if home == "/usr" and context.is_dir("/usr/lib/cuda") else home


def _toolkit(context: Context, path: str, found_by: tuple[str, ...]) -> CudaToolkit:
    if not context.is_dir(path):
        return CudaToolkit(path=path, found_by=found_by, exists=False)
    components = _version_json(context, path)
    version = version_of(context, path, components)
    nvcc: str | None = f"{path}/bin/nvcc" if context.exists(f"{path}/bin/nvcc") else None
    if nvcc is None and "PATH" in found_by:  # Debian keeps its toolkit in pieces
        nvcc = context.which("nvcc")
    nvcc_version = components.get("cuda_nvcc") or _conda_nvcc(context, path)
    if nvcc and not nvcc_version:
        nvcc_version = version or _ask_nvcc(context, nvcc)
    return CudaToolkit(
        path=path,
        found_by=found_by,
        version=version or nvcc_version,
        nvcc=nvcc,
        nvcc_version=nvcc_version,
        host_gcc_max=_gcc_bound(context, path),
    )


def version_of(
    context: Context, path: str, components: Mapping[str, str] | None = None
) -> str | None:
    """The release of the toolkit in the folder ``path``, by its version files or cuda.h."""
    known = _version_json(context, path) if components is None else components
    return known.get("cuda") or _version_txt(context, path) or _cuda_h(context, path)


def _version_json(context: Context, path: str) -> dict[str, str]:
    """Component → version of version.json, which toolkits have since CUDA 11.1."""
    try:
        document = parse_json(context.read_text(f"{path}/version.json") or "{}")
        return {key: str(entry["version"]) for key, entry in document.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _version_txt(context: Context, path: str) -> str | None:
    found = re.search(
        r"CUDA Version (\d+(?:\.\d+)+)", context.read_text(f"{path}/version.txt") or ""
    )
    return found[1] if found else None


def _cuda_h(context: Context, path: str) -> str | None:
    """``#define CUDA_VERSION 12040`` → ``12.4``."""
    for header in ("include/cuda.h", "targets/x86_64-linux/include/cuda.h",
                   "targets/sbsa-linux/include/cuda.h"):  # fmt: skip
        found = re.search(
            r"#define\s+CUDA_VERSION\s+(\d{4,6})\b", context.read_text(f"{path}/{header}") or ""
        )
        if found:
            number = int(found[1])
            return f"{number // 1000}.{number % 1000 // 10}"
    return None


def _conda_nvcc(context: Context, path: str) -> str | None:
    for name in context.listdir(f"{path}/conda-meta"):
        found = re.match(r"cuda-nvcc(?:-impl|_linux-64)?-(\d+\.\d+[\d.]*)-", name)
        if found:
            return found[1]
    return None


def _gcc_bound(context: Context, path: str) -> int | None:
    for header in _HOST_CONFIG:
        found = _GCC_BOUND.search(context.read_text(f"{path}/{header}") or "")
        if found:
            return int(found[1])
    return None


def _ask_nvcc(context: Context, nvcc: str) -> str | None:
    """Last resort, on this machine only: no file tells the version."""
    if context.rooted or context.prefix is not None:
        return None
    import subprocess

    try:
        done = subprocess.run(
            [nvcc, "--version"], capture_output=True, text=True, timeout=NVCC_LIMIT_S, check=False
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    found = re.search(r"release \d+\.\d+, V(\d+\.\d+\.\d+)", done.stdout)
    return found[1] if found else None
