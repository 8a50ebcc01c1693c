"""What is wrong with a recipe beyond its form: retired channels, versions that never were."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cuready._util import check_numbers, one_line, parse_toml
from cuready.env.importing.modernise import modernise
from cuready.env.importing.request import Request, parse_conda_spec, requirement_name
from cuready.env.interpreters import PYTHON_LIKE
from cuready.env.ranges import version_range
from cuready.env.recipe import Recipe, find, from_document, problems, text_of
from cuready.errors import RecipeError

__all__ = ["Problem", "lint_file", "lint_recipe"]

ONE_OF = (
    ({"onnxruntime", "onnxruntime-gpu"}, "both own onnxruntime/: the later one wins"),
    ({"opencv-python", "opencv-python-headless"}, "both own cv2/: the later one wins"),
    ({"tensorflow", "tensorflow-cpu", "tensorflow-gpu"}, "all own tensorflow/"),
)


@dataclass(frozen=True)
class Problem:
    """One thing to change. ``severity``: error or warning."""

    severity: str
    where: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return {"severity": self.severity, "where": self.where, "message": self.message}


def lint_file(path: Path) -> list[Problem]:
    """Every problem of a recipe file, its form first. Raises RecipeError when it cannot be read."""
    text = text_of(path)
    try:
        document = parse_toml(text)
    except ValueError as error:
        return [Problem("error", str(path), f"not TOML: {error}")]
    found = [_from_schema(path, told) for told in problems(document, text)]
    if found:
        return found
    return lint_recipe(from_document(document, path=str(path), text=text))


def _from_schema(path: Path, told: str) -> Problem:
    """``:5: conda.sepcs: unknown key`` with the file's name before it."""
    where, _, message = told.partition(" ")
    return Problem("error", f"{path}{where.rstrip(':')}", message)


def lint_recipe(recipe: Recipe) -> list[Problem]:
    """Problems of a recipe that has the right form."""
    rules = (_sources, _specs, _requirements, _facts, _versions, _gpu_rules, _proofs, _shape)
    return [problem for rule in rules for problem in rule(recipe)]


def _sources(recipe: Recipe) -> Iterator[Problem]:
    """Channels that retired, and addresses of mirrors where a name belongs."""
    request = Request("conda", channels=list(recipe.channels), only_channels=True)
    for change in modernise(request).changes:
        message = f"{change.was}: {change.why}; use {change.now}"
        yield Problem("error", f"{recipe.path}: channels", message)
    for url in recipe.extra_indexes:
        if not url.startswith("https://"):
            yield Problem("error", f"{recipe.path}: pip.extra_indexes", f"{url}: not https")


def _specs(recipe: Recipe) -> Iterator[Problem]:
    where = f"{recipe.path}: conda.specs"
    for text in recipe.specs:
        try:
            spec = parse_conda_spec(text)
        except RecipeError as error:
            yield Problem("error", where, error.message)
            continue
        if spec.channel:
            message = f"{text}: a channel stands under `channels`, not before a package"
            yield Problem("error", where, message)
        if spec.name in ("cudatoolkit", "pytorch-cuda") and not _is_cuda_11(spec.version):
            yield Problem("error", where, f"{text}: ended with CUDA 11; say cuda-version instead")


def _is_cuda_11(version: str) -> bool:
    try:
        return Version(version.strip("=*.")) < Version("12")
    except ValueError:  # InvalidVersion, too many digits for int()
        return False


def _requirements(recipe: Recipe) -> Iterator[Problem]:
    where = f"{recipe.path}: pip.requirements"
    for text in recipe.pip:
        try:
            check_numbers(Requirement(text).specifier)
        except ValueError as error:
            yield Problem("error", where, f"{one_line(text)}: {str(error).splitlines()[0]}")
    names = {requirement_name(text) for text in recipe.pip}
    for group, why in ONE_OF:
        if len(names & group) > 1:
            yield Problem("error", where, f"{' and '.join(sorted(names & group))}: {why}")
    request = Request("requirements.txt", pip=list(recipe.pip))
    for change in modernise(request).changes:
        if not change.was:  # a bound that is missing; a name that works is the author's choice
            yield Problem("error", where, f"{change.now} is missing: {change.why}")


def _facts(recipe: Recipe) -> Iterator[Problem]:
    """Exact versions that the tables do not know, and Pythons that a version has no wheels for."""
    from cuready.compat.packages import PACKAGES, builds_of, newest_known

    for text in recipe.pip:
        name = _table_name(requirement_name(text))
        version = _exact(text)
        if name not in PACKAGES or version is None:
            continue
        builds = builds_of(name, "linux_x86_64")
        known = [build for build in builds if _same_release(build.version, version)]
        if not known and version <= newest_known(name, "linux_x86_64"):
            message = f"{text}: the tables know no such release of {name}"
            yield Problem("error", f"{recipe.path}: pip.requirements", message)
        python = (recipe.conda_python or "").strip("=*.")
        listed = {tag for build in known for tag in build.python}
        if known and python and listed and python not in listed:
            message = f"{text} has wheels for Python {', '.join(sorted(listed))}, not {python}"
            yield Problem("error", f"{recipe.path}: conda.python", message)


def _table_name(name: str) -> str:
    return {"onnxruntime-gpu": "onnxruntime", "tensorflow-gpu": "tensorflow"}.get(name, name)


def _exact(text: str) -> Version | None:
    try:
        pins = [item.version for item in Requirement(text).specifier if item.operator == "=="]
        return Version(pins[0]) if len(pins) == 1 and "*" not in pins[0] else None
    except ValueError:  # InvalidRequirement, InvalidVersion, too many digits for int()
        return None


def _same_release(build: Any, wanted: Version) -> bool:
    return isinstance(build, Version) and build.release == wanted.release


def _gpu_rules(recipe: Recipe) -> Iterator[Problem]:
    where = f"{recipe.path}: gpu"
    if recipe.gpu_require and recipe.gpu_forbid:
        yield Problem("error", where, "require and forbid contradict each other")
    for rule in recipe.rules:
        if rule.instead:
            try:
                find(rule.instead)
            except RecipeError as error:
                yield _refused(f"{where}.rule.instead", error)
    conda_names = {canonicalize_name(text.split()[0]) for text in recipe.specs}
    if (
        recipe.gpu_require
        and conda_names & {"pytorch", "tensorflow", "jaxlib"}
        and not recipe.expect
    ):
        message = "no build.expect: an old driver would silently get the CPU build"
        yield Problem("warning", where, message)


def _versions(recipe: Recipe) -> Iterator[Problem]:
    """Ranges and versions that are none: `env create` would refuse them."""
    for rule in recipe.rules:
        try:
            rule.applies()
        except RecipeError as error:
            yield _refused(recipe.path, error)
    try:
        version_range(recipe.host_python or "", "python.version", like=PYTHON_LIKE)
    except RecipeError as error:
        yield _refused(recipe.path, error)
    if recipe.min_driver_cuda is not None:
        try:
            Version(recipe.min_driver_cuda)
        except ValueError:
            told = one_line(recipe.min_driver_cuda, 60)
            where = f"{recipe.path}: gpu.min_driver_cuda"
            yield Problem("error", where, f"{told!r} is not a version, like 12.4")


def _refused(where: str, error: RecipeError) -> Problem:
    return Problem("error", where, f"{error.message}; {error.hint}")


def _proofs(recipe: Recipe) -> Iterator[Problem]:
    for proof in recipe.proofs:
        try:
            ast.parse(proof.code)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f" line {error.lineno}" if isinstance(error, SyntaxError) else ""
            yield Problem(
                "error", f"{recipe.path}: verify.run {proof.name!r}", f"not Python:{line}"
            )
    if recipe.gpu_require and not any(proof.gpu for proof in recipe.proofs):
        yield Problem("warning", f"{recipe.path}: verify", "no proof runs on the GPU it requires")


def _shape(recipe: Recipe) -> Iterator[Problem]:
    if not recipe.uses_conda and not recipe.pip:
        yield Problem("error", recipe.path, "installs nothing: neither [conda] nor [pip]")
    if not recipe.uses_conda and not recipe.host_python:
        yield Problem("error", recipe.path, "without [conda] it needs [python] version")
    if recipe.uses_conda and recipe.host_python:
        yield Problem("error", recipe.path, "[python] is for recipes without [conda]")
