"""The dynamic loader's search order outside any one file, for the snapshot."""

from __future__ import annotations

import re

from cuready.probe import ldcache
from cuready.probe.context import Context, Facts, Incomplete, Skip

__all__ = ["read"]

# The sonames that a diagnosis is about; a desktop's cache has thousands of others.
_WANTED = re.compile(
    r"lib(?:cuda|nvidia|cudart|cublas|cudnn|nccl|nv|cufft|curand|cusolver|cusparse|cupti|nvinfer"
    r"|stdc\+\+|gomp|gcc_s|onnxruntime|torch|c10|cufile|nppi|nppc)"
)


def read(context: Context) -> Facts:
    """LD_LIBRARY_PATH, LD_PRELOAD, /etc/ld.so.conf and /etc/ld.so.cache."""
    if context.system != "Linux":
        raise Skip(f"no ld.so on {context.system}")
    facts = {
        "loader.ld_library_path": ldcache.library_path(context),
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
