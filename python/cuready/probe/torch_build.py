"""What a torch on disk says of itself: version.py as a syntax tree, the arch list as a literal."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator

from cuready._util import READ_LIMIT
from cuready.probe.context import Context, Facts, Skip
from cuready.probe.elf import ElfError, ElfFile
from cuready.snapshot import TorchBuild

__all__ = ["arch_literal", "parse_version_py", "read"]

# The literal of C10_STRINGIZE(CUDA_ARCH_FLAGS) in torch/csrc/cuda/Module.cpp.
_ARCH_WORD = rb"(?:sm|compute)_\d{2,3}[af]?"
_ARCH_LITERAL = re.compile(rb"\0(" + _ARCH_WORD + rb"(?: " + _ARCH_WORD + rb")*)\0")
_ARCH_FILES = ("lib/libtorch_python.so", "lib/libtorch_cuda.so", "lib/torch_python.dll")
_CONSTANTS = 10_000_000  # bytes for the string literals; libtorch_python.so has 1 MB
_ARCH_SCAN = READ_LIMIT - _CONSTANTS  # all files together; libtorch_python.so is about 30 MB
_CHUNK, _OVERLAP = 1 << 20, 1024


def read(context: Context) -> Facts:
    """The torch that would be imported, or the first on sys.path that has a version.py."""
    for folder in _folders(context):
        text = context.read_text(f"{folder}/version.py", 64 << 10)
        if text is None:
            continue
        values = parse_version_py(text)
        version = values.get("__version__")
        if version is None:
            continue
        cuda = values.get("cuda")
        return {
            "python.torch": TorchBuild(
                version=version,
                cuda=cuda,
                hip=values.get("hip"),
                git_version=values.get("git_version"),
                cxx11_abi=_cxx11_abi(context, folder),
                path=folder,
                arch_flags=_arch_flags(context, folder) if cuda else (),
            )
        }
    raise Skip("no torch on sys.path")


def _folders(context: Context) -> Iterator[str]:
    """Folders of all copies of torch, the one that wins first; a lone torch.py has none."""
    for origin in context.so_far.python.origins:
        if origin.name == "torch" and origin.path:
            for path in (origin.path, *origin.shadowed):
                yield posixpath.dirname(path) if path.endswith("__init__.py") else path


def parse_version_py(text: str) -> dict[str, str | None]:
    """Top-level names that are bound to a string or None. Nothing is executed."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    values: dict[str, str | None] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        if isinstance(value, ast.Constant) and (
            value.value is None or isinstance(value.value, str)
        ):
            values.update({t.id: value.value for t in targets if isinstance(t, ast.Name)})
    return values


def _cxx11_abi(context: Context, folder: str) -> bool | None:
    """From the compiler flag that torch's own CMake package hands to extensions."""
    text = context.read_text(f"{folder}/share/cmake/Torch/TorchConfig.cmake") or ""
    found = re.search(r"_GLIBCXX_USE_CXX11_ABI=([01])", text)
    return found[1] == "1" if found else None


def _arch_flags(context: Context, folder: str) -> tuple[str, ...]:
    words = _in_constants(context, f"{folder}/{_ARCH_FILES[0]}")
    if words:
        return words
    left = _ARCH_SCAN
    for name in _ARCH_FILES:
        found = context.stat(f"{folder}/{name}") if left > 0 else None
        if found is not None:
            words = arch_literal(context, f"{folder}/{name}", left)
            if words:
                return words
            left -= found.st_size
    return ()


def _in_constants(context: Context, path: str) -> tuple[str, ...]:
    """The list in ``.rodata``, a thirtieth of the file, where compilers put string literals."""
    try:
        with ElfFile(context.path(path), limit=_CONSTANTS) as file:
            for _, offset, size in file.sections(b".rodata"):
                return next((w for w in _literals(file.read(offset, size)) if len(w) > 1), ())
    except ElfError:
        pass  # no ELF, or too much of it: the plain search goes through what there is
    return ()


def arch_literal(context: Context, path: str, limit: int = _ARCH_SCAN) -> tuple[str, ...]:
    """The arch list compiled into ``path``, such as ``("sm_80", "sm_90", "compute_90")``.

    It is looked for in the first ``limit`` bytes. A build for one GPU has a list of one; the search
    then goes on, because a single word may be something else. Read in pieces, not mapped: mapped
    pages would count as this process's memory.
    """
    best: tuple[str, ...] = ()
    try:
        with open(context.path(path), "rb", buffering=0) as stream:
            tail = b""
            for _ in range(limit // _CHUNK):
                piece = stream.read(_CHUNK)
                if not piece:
                    break
                for words in _literals(tail + piece):
                    if len(words) > 1:
                        return words
                    best = best or words
                tail = piece[-_OVERLAP:]
    except OSError:
        return ()
    return best


def _literals(window: bytes) -> Iterator[tuple[str, ...]]:
    """The substring search is what makes this fast; the pattern then looks at few places."""
    place = window.find(b"\0sm_")
    while place >= 0:
        found = _ARCH_LITERAL.match(window, place)
        if found:
            yield tuple(found[1].decode().split(" "))
        place = window.find(b"\0sm_", place + 1)
