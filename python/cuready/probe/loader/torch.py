"""What ``import torch`` opens before its own extension, and how it helps itself when that fails.

``torch/__init__.py`` opens ``libtorch_global_deps.so`` with ctypes. When the error names a CUDA
library, it opens the copies in the nvidia wheels by path, in the order of a table in that file, and
tries again; since 2.6 it opens nvrtc and nvJitLink in any case. The table and the behaviour are
read from the ``__init__.py`` that is installed, as text.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cuready.probe.context import Context
from cuready.probe.loader.extension import import_extension
from cuready.probe.loader.linkmap import LinkMap, LoadFailure
from cuready.probe.loader.process import Opened, Process

__all__ = ["TorchImport", "import_torch", "preload_table"]

_PAIR = re.compile(r"""["'](\w+)["']\s*[:,]\s*["'](lib[\w.*\[\]-]*\.so[^"']*)["']""")
_INIT_LIMIT = 1 << 20


@dataclass(frozen=True)
class TorchImport:
    """How ``import torch`` goes. ``steps``: every library opened, in order; ``error`` as shown."""

    steps: tuple[Opened, ...]
    error: str | None
    healed: tuple[LoadFailure, ...] = ()


def preload_table(text: str) -> list[tuple[str, str]]:
    """(folder below ``nvidia``, file pattern) for each library that torch opens by path."""
    start = text.find("cuda_libs")
    return _PAIR.findall(text[start : start + 4000]) if start >= 0 else []


def import_torch(
    process: Process, folder: str, sys_path: Sequence[str], caller: LinkMap | None
) -> TorchImport:
    """Open what ``import torch`` opens, for the torch in ``folder``. ``caller``: ctypes' module."""
    context = process.context
    text = context.read_text(f"{folder}/__init__.py", _INIT_LIMIT) or ""
    steps: list[Opened] = []
    healed: tuple[LoadFailure, ...] = ()
    deps = f"{folder}/lib/libtorch_global_deps.so"
    if context.exists(deps):
        first = process.dlopen(deps, caller=caller, to_global=True)
        steps.append(first)
        if first.error is not None:
            error = _heal(process, text, first, sys_path, caller, steps)
            if error is not None:
                return TorchImport(tuple(steps), error)
            healed = first.failures
        elif "/proc/self/maps" in text and process.find("libcudart.so.12"):
            for name in ("libnvrtc.so.*[0-9]", "libnvJitLink.so.*[0-9]"):
                part = "cuda_nvrtc" if "nvrtc" in name else "nvjitlink"
                path = _locate(context, sys_path, part, name)
                if path is not None:
                    steps.append(process.dlopen(path, caller=caller))
    extension = _extension(context, folder)
    if extension is None:
        wanted = "torch._C" in text  # every torch does; a stand-in of that name may not
        return TorchImport(tuple(steps), "No module named 'torch._C'" if wanted else None, healed)
    last = import_extension(process, extension)
    steps.append(last)
    return TorchImport(tuple(steps), last.error, healed)


def _heal(
    process: Process, text: str, first: Opened, sys_path: Sequence[str],
    caller: LinkMap | None, steps: list[Opened],
) -> str | None:  # fmt: skip
    """``_preload_cuda_deps``: None when the second attempt works, else what the user sees."""
    table = preload_table(text)
    error = first.error or ""
    if not any(pattern.split(".")[0] in error for _, pattern in table):
        return error
    for part, pattern in table:
        path = _locate(process.context, sys_path, part, pattern)
        if path is None:
            return f"{pattern} not found in the system path {list(sys_path)}"
        opened = process.dlopen(path, caller=caller)
        steps.append(opened)
        if opened.error is not None:
            return opened.error
    again = process.dlopen(first.name, caller=caller, to_global=True)
    steps.append(again)
    return again.error


def _locate(context: Context, sys_path: Sequence[str], part: str, pattern: str) -> str | None:
    """The first file that matches, in the folders that torch looks at below each entry."""
    for entry in sys_path:
        if not context.is_dir(f"{entry}/nvidia"):
            continue
        folders = [f"{entry}/nvidia/{part}/lib"]
        folders += [f"{entry}/nvidia/cu{major}/lib" for major in (12, 13, 14)]
        for folder in folders:
            try:
                names = context.listdir(folder)
            except OSError:
                continue
            for name in names:
                if fnmatch.fnmatchcase(name, pattern):
                    return f"{folder}/{name}"
    return None


def _extension(context: Context, folder: str) -> str | None:
    """``torch/_C.cpython-312-x86_64-linux-gnu.so``."""
    try:
        names = context.listdir(folder)
    except OSError:
        return None
    found = [name for name in names if name.startswith("_C.") and name.endswith(".so")]
    return f"{folder}/{found[0]}" if found else None
