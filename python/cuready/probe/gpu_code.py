"""GPU code of torch and of every extension that carries any, as the Snapshot keeps it."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator

from cuready.probe import fatbin, targets
from cuready.probe.context import Context, Facts, Incomplete, Skip
from cuready.probe.owners import Owners
from cuready.snapshot import GpuCode

__all__ = ["read"]

TIME_LIMIT_S = 3.0
LIBRARY_LIMIT = 80
_TORCH = ("libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_python.so", "libtorch.so")
_WITHOUT = ("libc10", "libgomp", "libshm", "libcaffe2", "libtorch_global_deps", "libtorch_cpu")


def read(context: Context) -> Facts:
    """Scan torch's CUDA libraries and all extensions; files without GPU code are left out."""
    if not context.so_far.python.sys_path:
        raise Skip("no Python under diagnosis")
    owners = Owners(context)
    found: list[GpuCode] = []
    started, left_out = time.monotonic(), 0
    for path in dict.fromkeys(_libraries(context)):
        if len(found) >= LIBRARY_LIMIT or (
            not context.deep and time.monotonic() - started > TIME_LIMIT_S
        ):
            left_out += 1
            continue
        scanned = fatbin.scan_file(context.path(path))
        if scanned.status == "none" or (scanned.status == "ok" and not scanned.sass + scanned.ptx):
            continue
        found.append(GpuCode(path, owners.of(path), scanned.sass, scanned.ptx,
                             scanned.status, scanned.reason))  # fmt: skip
    facts: Facts = {"gpu_code": tuple(found)}
    if left_out:
        raise Incomplete(f"no time left for {left_out} libraries", facts)
    return facts


def _libraries(context: Context) -> Iterator[str]:
    torch = targets.module_folder(context, "torch")
    if torch is not None:
        yield from (path for name in _TORCH if context.is_file(path := f"{torch}/lib/{name}"))
    yield from (path for path, _ in targets.extensions(context))
    for _, path, opened in targets.frameworks(context):
        yield path
        yield from (item for item in opened if posixpath.basename(item).startswith("libnvinfer"))
