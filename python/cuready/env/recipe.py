"""Recipes: one TOML file an environment, read, checked and offered as typed values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from packaging.version import Version

from cuready._util import data_text, one_line, parse_toml, read_at_most
from cuready.env.ranges import version_range
from cuready.errors import RecipeError

__all__ = [
    "GpuRule",
    "Proof",
    "Recipe",
    "find",
    "from_document",
    "load",
    "loads",
    "schema",
    "shipped",
    "shipped_dir",
    "text_of",
]

MAX_BYTES = 1 << 20
DEFAULT_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class GpuRule:
    """What follows on a kind of machine. All conditions must hold; one not known does not."""

    capability: str | None = None
    driver_cuda: str | None = None
    glibc: str | None = None
    constraints: tuple[str, ...] = ()
    refuse: str = ""
    instead: str = ""

    def applies(
        self,
        *,
        capability: Version | None = None,
        driver_cuda: Version | None = None,
        glibc: Version | None = None,
    ) -> bool:
        """Whether every condition of the rule is known to hold.

        Raises :class:`RecipeError` that names the condition which is no range of versions.
        """
        conditions = (
            ("capability", self.capability, capability),
            ("driver_cuda", self.driver_cuda, driver_cuda),
            ("glibc", self.glibc, glibc),
        )
        # All are read, also where the first one decides: a typing error is one on every machine.
        held = [_within(name, text, value) for name, text, value in conditions if text is not None]
        return all(held)


def _within(field: str, text: str, value: Version | None) -> bool:
    wanted = version_range(text, f"gpu.rule.when.{field}", like=">=7.5 or >=12,<13")
    return value is not None and value in wanted


@dataclass(frozen=True)
class Proof:
    """A piece of Python that does the thing itself. ``timeout`` in seconds."""

    name: str
    code: str
    gpu: bool = False
    timeout: float = DEFAULT_TIMEOUT_S
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """One environment. ``path`` is where it was read from, ``text`` what stands there."""

    name: str
    summary: str
    notes: str = ""
    source: tuple[str, ...] = ()
    as_of: str = ""
    channels: tuple[str, ...] = ("conda-forge",)
    platforms: tuple[str, ...] = ()
    uses_conda: bool = False
    conda_python: str | None = None
    specs: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    host_python: str | None = None
    pip: tuple[str, ...] = ()
    pip_index: str = "pypi"
    extra_indexes: tuple[str, ...] = ()
    only_binary: bool = True
    hashes: bool = True
    gpu_require: bool = False
    gpu_forbid: bool = False
    min_driver_cuda: str | None = None
    rules: tuple[GpuRule, ...] = ()
    expect: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    weights: tuple[Mapping[str, str], ...] = ()
    imports: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()
    path: str = ""
    text: str = ""

    def all_specs(self) -> tuple[str, ...]:
        """What is asked of the conda solver, Python included."""
        python = (f"python {self.conda_python}",) if self.conda_python else ()
        return (*python, *self.specs)


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of recipes."""
    text = data_text("cuready.env", "data/recipe.schema.json")
    document: dict[str, Any] = json.loads(text)
    return document


def shipped_dir() -> Path:
    """The folder of the recipes that come with cuready: in the package, or beside the sources."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent.parent / "recipes"


def shipped() -> tuple[Recipe, ...]:
    """Every recipe that comes with cuready, by name."""
    return tuple(load(path) for path in sorted(shipped_dir().glob("*.toml")))


def find(name: str) -> Recipe:
    """The recipe called ``name``, or the one in the file of that path.

    Raises :class:`RecipeError` with a suggestion when there is neither.
    """
    import difflib

    if name.endswith(".toml") or "/" in name or "\\" in name:
        return load(Path(name))
    candidate = shipped_dir() / f"{name}.toml"
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name) and candidate.is_file():
        return load(candidate)
    names = [path.stem for path in sorted(shipped_dir().glob("*.toml"))]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else "`cuready recipe list` names them"
    raise RecipeError(f"no recipe is called {name!r}", hint=hint)


def load(path: Path) -> Recipe:
    """Read a recipe file. Raises :class:`RecipeError` naming the file, the key and the line."""
    return loads(text_of(path), str(path))


def text_of(path: Path) -> str:
    """What stands in a recipe file. Raises :class:`RecipeError` when it can be none."""
    try:
        data = read_at_most(path, MAX_BYTES)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}") from None
    if data is None:
        raise RecipeError(f"{path}: too large for a recipe (over 1 MiB)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 at byte {error.start}") from None


def loads(text: str, path: str = "recipe") -> Recipe:
    """A recipe from TOML text; ``path`` is how errors name it."""
    try:
        document = parse_toml(text)
    except ValueError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from None
    return from_document(document, path=path, text=text)


def from_document(document: Mapping[str, Any], *, path: str = "recipe", text: str = "") -> Recipe:
    """A recipe from parsed TOML. Raises :class:`RecipeError` for the first thing that is wrong."""
    for problem in problems(document, text):
        raise RecipeError(f"{path}{problem}", hint="`cuready recipe lint` names every problem")
    conda, pip = document.get("conda", {}), document.get("pip", {})
    gpu, verify = document.get("gpu", {}), document["verify"]
    return Recipe(
        name=document["name"],
        summary=document["summary"],
        notes=document.get("notes", ""),
        source=tuple(document.get("source", ())),
        as_of=document.get("as_of", ""),
        channels=tuple(document.get("channels", ("conda-forge",))),
        platforms=tuple(document.get("platforms", ())),
        uses_conda="conda" in document,
        conda_python=conda.get("python"),
        specs=tuple(conda.get("specs", ())),
        constraints=tuple(conda.get("constraints", ())),
        host_python=document.get("python", {}).get("version"),
        pip=tuple(pip.get("requirements", ())),
        pip_index=pip.get("index", "pypi"),
        extra_indexes=tuple(pip.get("extra_indexes", ())),
        only_binary=pip.get("only_binary", True),
        hashes=pip.get("hashes", True),
        gpu_require=gpu.get("require", False),
        gpu_forbid=gpu.get("forbid", False),
        min_driver_cuda=gpu.get("min_driver_cuda"),
        rules=tuple(_rule(rule) for rule in gpu.get("rule", ())),
        expect=dict(document.get("build", {}).get("expect", {})),
        variables=dict(document.get("activate", {}).get("variables", {})),
        weights=tuple(document.get("weights", ())),
        imports=tuple(verify.get("imports", ())),
        proofs=tuple(_proof(item) for item in verify.get("run", ())),
        path=path,
        text=text,
    )


def _rule(table: Mapping[str, Any]) -> GpuRule:
    when = table["when"]
    return GpuRule(
        capability=when.get("capability"),
        driver_cuda=when.get("driver_cuda"),
        glibc=when.get("glibc"),
        constraints=tuple(table.get("constraints", ())),
        refuse=table.get("refuse", ""),
        instead=table.get("instead", ""),
    )


def _proof(table: Mapping[str, Any]) -> Proof:
    return Proof(
        name=table["name"],
        code=table["code"],
        gpu=table.get("gpu", False),
        timeout=float(table.get("timeout", DEFAULT_TIMEOUT_S)),
        variables=dict(table.get("variables", {})),
    )


# --- what is wrong with a document -------------------------------------------------------------


def problems(document: Mapping[str, Any], text: str = "") -> Iterator[str]:
    """Every way in which ``document`` does not fit the schema, as ``:LINE: KEY: what``.

    The line is that of the key in ``text``, where it can be found.
    """
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(document), key=lambda error: list(map(str, error.path)))
    for error in errors:
        yield from _told(error, text)


def _told(error: Any, text: str) -> Iterator[str]:
    where = [str(part) for part in error.absolute_path]
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", ()))
        for key in error.instance:
            if key not in known:
                yield _line(text, [*where, key]) + _unknown(".".join([*where, key]), key, known)
        return
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        yield f": {'.'.join([*where, missing[0]])}: is missing"
        return
    if error.validator == "anyOf":
        wanted = " or ".join(".".join(option["required"]) for option in error.validator_value)
        yield _line(text, where) + f" {'.'.join(where)}: needs {wanted}"
        return
    blank = error.validator == "pattern" and not error.instance.strip()
    what = "is empty" if blank else one_line(error.message, 160)
    yield _line(text, where) + f" {'.'.join(where)}: {what}"


def _unknown(path: str, key: str, known: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    return f" {path}: unknown key; {hint}"


def _line(text: str, where: Sequence[str]) -> str:
    """``:12:`` when the last named key of ``where`` stands on line 12 of ``text``."""
    keys = [part for part in where if not part.isdigit()]
    if not keys or not text:
        return ":"
    key = re.escape(keys[-1])
    header = rf"\[\[?\s*(?:[\w.\"-]+\.)?{key}\s*\]"
    pattern = re.compile(rf"^[ \t]*(?:{header}|\"?{key}\"?\s*=)|[{{,]\s*{key}\s*=", re.M)
    match = pattern.search(text)
    return f":{text.count(chr(10), 0, match.start()) + 1}:" if match else ":"
