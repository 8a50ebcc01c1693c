"""One function a parser: bytes in, nothing out; only the parser's own error may escape it.

``fuzz.py`` drives them with coverage guidance, ``tests/unit/loader/test_fuzz_corpus.py`` with the
kept corpus and simple mutations, so that every run of the tests covers a little of it.
"""

from __future__ import annotations

import importlib

from tests.fuzz.targets._support import Target

__all__ = ["MODULES", "Target", "load"]

MODULES: dict[str, tuple[str, ...]] = {
    "binaries": (
        "elf", "dlopen", "fatbin", "fatbin_section", "ldcache", "pe", "plan", "rpm",
        "arch_literal",
    ),
    "machine": ("machine", "environment", "project"),
    "configs": ("condarc", "pip_conf", "uv_toml", "rattler_toml"),
    "documents": (
        "snapshot", "recipe", "environment_yml", "requirements", "pixi", "install_line",
        "pip_lock", "conda_lock", "repodata",
    ),
    "network": (
        "headers", "index_page", "mirror_status", "certificate", "partial", "address",
    ),
    "texts": ("explain", "redact", "search_path", "record", "question"),
}  # fmt: skip
"""Module of this package → its targets: a process imports what its target needs, and no more."""


def load(name: str) -> Target:
    """The target called ``name``. Raises KeyError."""
    for module, names in MODULES.items():
        if name in names:
            target: Target = importlib.import_module(f"{__name__}.{module}").TARGETS[name]
            return target
    raise KeyError(name)
