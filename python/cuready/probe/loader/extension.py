"""What ``import`` of an extension module says: the loader's words, or Python's own after them."""

from __future__ import annotations

import posixpath

from cuready.probe.elf_symbols import Wanted
from cuready.probe.loader.linkmap import LoadFailure
from cuready.probe.loader.process import Opened, Process

__all__ = ["import_extension", "init_function"]


def init_function(path: str) -> str:
    """The function that Python calls in ``path``: ``PyInit_`` and the name before the first dot.

    https://docs.python.org/3/extending/building.html; a name that is not ASCII is encoded there.
    """
    name = posixpath.basename(path).split(".", 1)[0]
    if name.isascii():
        return f"PyInit_{name}"
    return "PyInitU_" + name.encode("punycode").decode("ascii").replace("-", "_")


def import_extension(process: Process, path: str) -> Opened:
    """``dlopen`` of the extension ``path`` as the interpreter does it, then its init function."""
    opened = process.dlopen(path)
    if opened.failures or opened.map is None:
        return opened
    function = init_function(path)
    if opened.map.provider.defines(Wanted(function.encode())):
        return opened
    text = f"dynamic module does not define module export function ({function})"
    failure = LoadFailure(text, kind="init", name=function, wanted_by=path)
    return Opened(opened.name, opened.map, (failure,), opened.new)
