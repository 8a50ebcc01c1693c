"""Compilers and headers that building an extension, or torch.compile, needs. None is run."""

from __future__ import annotations

import posixpath
import re

from cuready.probe import ldcache
from cuready.probe.context import Context, Facts
from cuready.snapshot import Toolchain

__all__ = ["read"]


def read(context: Context) -> Facts:
    """C and C++ compiler, Python.h of the target interpreter, the libcuda.so that ld would find."""
    cc = _compiler(context, "CC", ("cc", "gcc", "clang"))
    cxx = _compiler(context, "CXX", ("c++", "g++", "clang++"))
    return {
        "toolchain": Toolchain(
            cc=cc,
            cxx=cxx,
            gcc_version=_gcc_version(context),
            nvcc_ccbin=context.env.get("NVCC_CCBIN") or None,
            python_header=_python_header(context),
            libcuda_link=_libcuda_link(context),
        )
    }


def _compiler(context: Context, variable: str, names: tuple[str, ...]) -> str | None:
    told = context.env.get(variable, "").split(" ")[0]
    if told:
        return told if told.startswith("/") and context.exists(told) else context.which(told)
    return next((path for path in map(context.which, names) if path), None)


def _gcc_version(context: Context) -> str | None:
    """Of the gcc that ``$CC`` or PATH names, from file names: gcc-12, lib/gcc/<triple>/12.2.0."""
    path = _compiler(context, "CC", ("gcc",)) or context.which("gcc")
    if path is None:
        return None
    real = context.realpath(path)
    named = re.search(r"gcc-(\d+(?:\.\d+)*)$", real)
    if named:
        return named[1]
    prefix = posixpath.dirname(posixpath.dirname(real))
    triple = re.match(r"(.+)-gcc$", posixpath.basename(real))
    versions = [
        version
        for folder in context.glob(f"{prefix}/lib*/gcc/{triple[1] if triple else '*'}")
        for version in context.listdir(folder)
        if re.fullmatch(r"\d+(\.\d+)*", version) and context.is_dir(f"{folder}/{version}")
    ]
    return max(versions, key=lambda text: [int(part) for part in text.split(".")], default=None)


def _python_header(context: Context) -> str | None:
    python = context.so_far.python
    found = re.match(r"\d+\.\d+", python.version or "")
    if not found:
        return None
    name = f"python{found[0]}{'t' if python.free_threaded else ''}"
    for prefix in dict.fromkeys((python.prefix, python.base_prefix)):
        for header in (f"{prefix}/include/{name}/Python.h", f"{prefix}/include/Python.h"):
            if prefix and context.is_file(header):
                return header
    return None


def _libcuda_link(context: Context) -> str | None:
    """libcuda.so in LIBRARY_PATH or the folders that a linker searches by itself."""
    if context.system != "Linux":
        return None
    folders = [*ldcache.library_path(context, "LIBRARY_PATH"), *ldcache.default_dirs(context),
               "/usr/local/lib", *ldcache.conf_dirs(context)]  # fmt: skip
    links = (f"{folder}/libcuda.so" for folder in dict.fromkeys(folders))
    return next((path for path in links if context.is_file(path)), None)
