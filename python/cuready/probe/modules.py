"""Where ``import torch`` would come from: a walk over sys.path as importlib's finders do it.

Nothing is imported and no finder is asked: a finder may run code of the environment.
"""

from __future__ import annotations

import posixpath
import re

from cuready.probe import python_env
from cuready.probe.context import Context, Facts, Skip
from cuready.snapshot import ModuleOrigin

__all__ = ["read"]

NAMES = ("torch", "torchvision", "torchaudio", "triton", "tensorflow", "jax", "jaxlib", "numpy",
         "onnxruntime", "tensorrt", "torch_tensorrt", "cupy", "nvidia", "flash_attn", "vllm",
         "xformers", "bitsandbytes")  # fmt: skip


def read(context: Context) -> Facts:
    """Origins of the modules under diagnosis, bitsandbytes' binaries, nvidia's lib folders."""
    path = context.so_far.python.sys_path
    if not path:
        raise Skip("no Python under diagnosis")
    copies: dict[str, list[tuple[str, str]]] = {name: [] for name in NAMES}
    portions: dict[str, list[tuple[str, str]]] = {name: [] for name in NAMES}
    for entry in path:
        for name, origin, namespace in _in_folder(context, entry):
            (portions if namespace else copies)[name].append((origin, entry))
    for site in context.so_far.python.site_packages:
        mapping = python_env.editable_mapping(context, site, frozenset(NAMES))
        for name, folder in mapping.items():
            copies[name].append((_package_file(context, folder), site))
    origins = [
        ModuleOrigin(
            name=name,
            path=found[0][0],
            entry=found[0][1],
            shadowed=tuple(dict.fromkeys(o for o, _ in found[1:] if o != found[0][0])),
        )
        for name in NAMES
        if (found := copies[name] or portions[name])
    ]
    return {
        "python.origins": tuple(origins),
        "python.bitsandbytes_binaries": _bitsandbytes(context, origins),
        "python.nvidia_lib_dirs": _nvidia_lib_dirs(context, portions["nvidia"] + copies["nvidia"]),
    }


def _in_folder(context: Context, entry: str) -> list[tuple[str, str, bool]]:
    """``(name, file, is a namespace portion)`` for each wanted module that ``entry`` holds.

    Inside one folder a package beats an extension module, which beats a ``.py``
    (https://docs.python.org/3/reference/import.html#path-entry-finders).
    """
    if entry.endswith(".zip") or not context.is_dir(entry):
        return []
    try:
        present = context.listdir(entry)
    except PermissionError:
        return []
    by_stem: dict[str, list[str]] = {}
    for name in present:
        stem = name.partition(".")[0]
        if stem in _WANTED:
            by_stem.setdefault(stem, []).append(name)
    found = []
    for stem, names in by_stem.items():
        folder = f"{entry}/{stem}"
        init = f"{folder}/__init__.py" if stem in names else ""
        if init and context.is_file(init):
            found.append((stem, init, False))
            continue
        single = sorted(filter(_MODULE.search, names), key=lambda n: n.endswith(".py"))
        if single:
            found.append((stem, f"{entry}/{single[0]}", False))
        elif init and context.is_dir(folder):
            found.append((stem, folder, True))
    return found


_WANTED = frozenset(NAMES)
_MODULE = re.compile(r"^\w+(?:\.cpython-\w[\w-]*|\.abi3|\.cp\d+\w*-\w+)?\.(?:so|pyd)$|^\w+\.py$")


def _package_file(context: Context, folder: str) -> str:
    init = f"{folder}/__init__.py"
    return init if context.is_file(init) else folder


def _bitsandbytes(context: Context, origins: list[ModuleOrigin]) -> tuple[str, ...]:
    for origin in origins:
        if origin.name == "bitsandbytes" and origin.path:
            names = context.listdir(posixpath.dirname(origin.path))
            return tuple(n for n in names if n.startswith("libbitsandbytes_") and ".so" in n)
    return ()


def _nvidia_lib_dirs(context: Context, portions: list[tuple[str, str]]) -> tuple[str, ...]:
    folders = []
    for origin, _ in portions:
        base = posixpath.dirname(origin) if origin.endswith(".py") else origin
        folders += [f"{base}/{name}/lib" for name in context.listdir(base)]
    return tuple(folder for folder in folders if context.is_dir(folder))
