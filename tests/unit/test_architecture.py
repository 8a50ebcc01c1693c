"""The arrows of the design: who may import whom, and that nothing imports what it diagnoses."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cuready

PACKAGE = Path(cuready.__file__).resolve().parent

# layer -> the layers it may import. `errors`, `_util`, `_codec`, `_cmake`, `_interrupt` and the
# version stand under all.
# `env` reaches `mirrors` because everything it installs comes through them; `selftest` and `cli`
# reach `probe` to take the Snapshot that the pure layers work on.
ALLOWED: dict[str, set[str]] = {
    "cli": {"doctor", "env", "mirrors", "selftest", "compat", "snapshot", "runtime", "probe"},
    "doctor": {"compat", "snapshot"},
    "env": {"compat", "snapshot", "mirrors", "doctor"},
    "mirrors": {"compat", "snapshot"},
    "selftest": {"compat", "snapshot", "runtime", "doctor", "probe"},
    "probe": {"snapshot", "compat", "_core"},
    "compat": set(),
    "snapshot": set(),
    "runtime": {"_core"},
}
FOUNDATION = {"errors", "_util", "_codec", "_cmake", "_interrupt", "__version__", ""}
UNDER_DIAGNOSIS = {"torch", "tensorflow", "jax", "jaxlib", "onnxruntime", "cupy", "tensorrt", "cv2"}
# The one place that talks to somebody else's builder, in a child process of its own.
BUILDER_PROCESS = {"selftest/builder_child.py"}


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    """Every module with its layer (the first name below ``cuready``)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        layer = relative.parts[0].removesuffix(".py")
        yield layer, path, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module, path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import, type-checking ones left out."""
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    package = ("cuready", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = package[: len(package) - node.level + 1]
                base = ".".join((*kept, base)).rstrip(".")
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}" if base == "cuready" else base


def violations() -> list[str]:
    found = []
    for layer, path, tree in modules():
        for line, name in imports(tree, path):
            parts = name.split(".")
            where = f"{path.relative_to(PACKAGE)}:{line}"
            if (
                parts[0] in UNDER_DIAGNOSIS
                and str(path.relative_to(PACKAGE)) not in BUILDER_PROCESS
            ):
                found.append(f"{where} imports {name}, which is under diagnosis")
            if parts[0] != "cuready" or layer not in ALLOWED:
                continue
            target = parts[1] if len(parts) > 1 else ""
            if target not in ALLOWED[layer] | FOUNDATION | {layer}:
                found.append(f"{where}: {layer} must not import {name}")
    return found


def test_imports_follow_the_arrows() -> None:
    assert violations() == []


def test_the_check_sees_a_wrong_arrow() -> None:
    """A check that cannot fail proves nothing: feed it one wrong import of each kind."""
    path = PACKAGE / "doctor" / "made_up.py"
    tree = ast.parse("from cuready import runtime\nfrom ..probe import x\nimport cuready._core\n")
    assert [name for _, name in imports(tree, path)] == [
        "cuready.runtime",
        "cuready.probe",
        "cuready._core",
    ]


@pytest.mark.parametrize("module", ["cuready.cli.main", "cuready.doctor", "cuready.mirrors"])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    heavy = {"numpy", "rattler", "rich", "httpx", "jsonschema", "cuready._core", "pynvml"}
    code = f"import {module}, sys; print(*sorted(set(sys.modules) & {heavy | UNDER_DIAGNOSIS!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []
