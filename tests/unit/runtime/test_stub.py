"""What is said of the native core is so: its stub has its names, and each of them has a docstring."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cuready import _core
from cuready import runtime as rt

ROOT = Path(__file__).parents[3]
STUB = ast.parse((ROOT / "python" / "cuready" / "_core.pyi").read_text(encoding="utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}


def members(node: ast.ClassDef) -> set[str]:
    names = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    return {name for name in names if not name.startswith("_")}


def documented() -> Iterator[tuple[str, Any, ast.FunctionDef | None]]:
    """Every function, class and member that the core gives to ``cuready.runtime``."""
    for name in rt.__all__:
        thing = getattr(rt, name)
        if thing is not getattr(_core, name, None):
            continue
        yield name, thing, FUNCTIONS.get(name)
        node = CLASSES.get(name)
        for item in node.body if node is not None else ():
            if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
                yield f"{name}.{item.name}", getattr(thing, item.name), item


DOCUMENTED = list(documented())


def test_the_stub_has_the_names_that_the_module_has() -> None:
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert public == {name for name in {*CLASSES, *FUNCTIONS} if not name.startswith("_")}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_of_the_stub_has_the_members_that_the_module_s_has(name: str) -> None:
    there = {member for member in vars(getattr(_core, name)) if not member.startswith("_")}
    assert members(CLASSES[name]) == there


@pytest.mark.parametrize(
    ("name", "thing", "stub"), DOCUMENTED, ids=[item[0] for item in DOCUMENTED]
)
def test_every_public_name_says_what_it_is(
    name: str, thing: Any, stub: ast.FunctionDef | None
) -> None:
    signature, _, words = (inspect.getdoc(thing) or "").partition("\n")
    if not re.match(r"\w+\(.*\)", signature):  # a class or a property has no signature
        assert signature
        return
    assert words.strip(), f"{name} has a signature and no words"
    assert "::" not in signature, "a type of C++ that nobody can look up"
    assert stub is not None
    if "self:" in signature:  # pybind11's own, which has every parameter
        arguments = [*stub.args.posonlyargs, *stub.args.args, *stub.args.kwonlyargs]
        assert {item.arg for item in arguments} == set(re.findall(r"(\w+): ", signature)), name


def test_the_page_of_the_runtime_has_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "ci")
    sys.modules.pop("docs_native", None)
    import docs_native

    page = docs_native.page()
    for name, thing, _ in DOCUMENTED:
        if callable(thing):
            assert re.search(rf"^##+ {re.escape(name)}$", page, re.M), name
        assert docs_native.words(thing) in page, name
