"""The page of the native core's classes: signatures from the stub, words from the docstrings.

mkdocstrings reads sources, and the sources of these classes are C++.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "python" / "cuready" / "_core.pyi"
LEGEND = """\
`_Array` is what has DLPack, `__cuda_array_interface__` or the buffer protocol: an array of numpy,
torch, cupy, … `_Stream` is a `Stream`, an integer handle, or an object with `__cuda_stream__`,
`.cuda_stream` or `.ptr`. `_Path` is a `str` or a path, `_Shape` a tuple of `int`, and `_GraphMode`
is `"off"`, `"auto"` or `"require"`.
"""


def core() -> ModuleType:
    """``cuready._core`` of the environment: a checkout holds all of the package but the core."""
    import cuready

    installed = Path(sysconfig.get_path("platlib")) / "cuready"
    if str(installed) not in cuready.__path__:
        cuready.__path__.append(str(installed))
    try:
        return importlib.import_module("cuready._core")
    except ImportError as error:
        raise SystemExit(f"{error}: the pages need an installed cuready (pip install .)") from None


def words(thing: object) -> str:
    """The docstring without the signatures that pybind11 and CPython put above it."""
    first, _, rest = (inspect.getdoc(thing) or "").partition("\n")
    text = rest.strip() if re.match(r"\w+\(.*\)", first) else f"{first}\n{rest}".strip()
    return re.sub(r"(?<!`)\b(__\w+__)\b(?!`)", r"`\1`", text)


def is_public(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and not node.name.startswith("_")


def is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list)


def is_setter(node: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Attribute) for mark in node.decorator_list)


def call(node: ast.FunctionDef, name: str, returns: bool = True) -> str:
    """A code block with the call as the stub has it, without ``self``."""
    arguments = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    result = f" -> {ast.unparse(node.returns)}" if returns and node.returns else ""
    return f"```python\n{name}({arguments}){result}\n```\n"


def class_page(node: ast.ClassDef, thing: type) -> Iterator[str]:
    yield f"## {node.name}\n"
    yield f"{words(thing)}\n"
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    yield from (call(item, node.name, False) for item in functions if item.name == "__init__")
    listed = [item for item in functions if is_public(item) and not is_setter(item)]
    for item in listed:
        if is_property(item):
            kind = ast.unparse(item.returns) if item.returns else "Any"
            yield f"- `{item.name}: {kind}`: {words(getattr(thing, item.name))}"
    yield ""
    for item in listed:
        if not is_property(item):
            yield f"### {node.name}.{item.name}\n"
            yield call(item, item.name)
            yield f"{words(getattr(thing, item.name))}\n"


def native() -> list[str]:
    """The public names of ``cuready.runtime`` that the core defines."""
    module = core()
    runtime = importlib.import_module("cuready.runtime")
    return [x for x in runtime.__all__ if getattr(runtime, x) is getattr(module, x, None)]


def page() -> str:
    """Markdown for all of them, in the order of the stub."""
    module, public, parts = core(), native(), [LEGEND]
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name in public:
            parts += class_page(node, getattr(module, node.name))
        elif isinstance(node, ast.FunctionDef) and node.name in public:
            parts += [f"## {node.name}\n", call(node, node.name)]
            parts.append(f"{words(getattr(module, node.name))}\n")
    return "\n".join(parts)
