"""The dynamic loader's search order outside any one file, for the snapshot."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from cuready.probe import ldcache, toolkits
from cuready.probe.context import Context, Facts, Incomplete, Skip
from cuready.snapshot import CudaFolder

__all__ = ["read"]

# The sonames that a diagnosis is about; a desktop's cache has thousands of others.
_WANTED = re.compile(
    r"lib(?:cuda|nvidia|cudart|cublas|cudnn|nccl|nv|cufft|curand|cusolver|cusparse|cupti|nvinfer"
    r"|stdc\+\+|gomp|gcc_s|onnxruntime|torch|c10|cufile|nppi|nppc)"
)


# Libraries that every toolkit has, each release its own; the loader takes the first that it finds.
_TOOLKIT = re.compile(r"lib(?:cudart|nvrtc|nvJitLink|cublas|cublasLt|cupti)\.so(?:\.\d{1,3}){0,2}")
_HOMES = ("..", "../..", "../../..", "../../../..")  # lib64, targets/…/lib, extras/CUPTI/lib64


def cuda_folders(context: Context) -> Iterator[CudaFolder]:
    """The folders of LD_LIBRARY_PATH that hold libraries of a CUDA toolkit, each place once."""
    seen = set()
    for entry in ldcache.library_path(context):
        try:
            names = [name for name in context.listdir(entry) if _TOOLKIT.fullmatch(name)]
        except OSError:
            continue
        path = context.realpath(entry)
        if names and path not in seen:
            seen.add(path)
            yield CudaFolder(entry, path, _version(context, path, names), tuple(names))


def _version(context: Context, folder: str, names: list[str]) -> str | None:
    """By the toolkit's own files above the folder, else by the name behind libcudart's link."""
    for home in _HOMES:
        version = toolkits.version_of(context, posixpath.normpath(f"{folder}/{home}"))
        if version:
            return version
    for name in names:
        full = re.search(r"libcudart\.so\.(\d+\.\d+[\d.]*)$", context.realpath(f"{folder}/{name}"))
        if full:
            return full[1]
    return None


def read(context: Context) -> Facts:
    """LD_LIBRARY_PATH, LD_PRELOAD, /etc/ld.so.conf and /etc/ld.so.cache."""
    if context.system != "Linux":
        raise Skip(f"no ld.so on {context.system}")
    facts = {
        "loader.ld_library_path": ldcache.library_path(context),
        "loader.cuda_folders": tuple(cuda_folders(context)),
        "loader.ld_preload": tuple(context.env.get("LD_PRELOAD", "").replace(":", " ").split()),
        "loader.conf_dirs": ldcache.conf_dirs(context),
        "loader.cache_present": context.exists(ldcache.CACHE_PATH),
    }
    try:
        cache = ldcache.cached_paths(context) or {}
    except (ldcache.CacheError, OSError) as error:
        raise Incomplete(f"{ldcache.CACHE_PATH}: {error}", facts) from None
    entries = {name: paths for name, paths in cache.items() if _WANTED.match(name)}
    return {**facts, "loader.cache_entries": dict(sorted(entries.items()))}
