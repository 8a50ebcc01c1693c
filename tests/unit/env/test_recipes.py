"""Recipes: their form, their rules, and that those we ship are right."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from tests.hang import no_hang

from cuready._util import check_numbers
from cuready.compat.capability import parse_capability
from cuready.env.importing.write import EXPORTS
from cuready.env.interpreters import choose
from cuready.env.lint import lint_file, lint_recipe
from cuready.env.pip.lock import read_lock
from cuready.env.recipe import GpuRule, Recipe, find, load, loads, shipped
from cuready.env.target import Target, decide
from cuready.errors import CureadyError, RecipeError

MINIMAL = """
schema = 1
name = "x"
summary = "y"
[python]
version = ">=3.10"
[pip]
requirements = ["six"]
[verify]
imports = ["six"]
"""


@pytest.mark.parametrize("recipe", shipped(), ids=lambda recipe: recipe.name)
def test_a_shipped_recipe_has_nothing_to_change(recipe: Recipe) -> None:
    assert lint_recipe(recipe) == []
    assert recipe.name == Path(recipe.path).stem
    assert recipe.source and recipe.as_of
    assert recipe.proofs
    for proof in recipe.proofs:
        calls = [node for node in ast.walk(ast.parse(proof.code)) if isinstance(node, ast.Assert)]
        checked = [word for word in ("check=True", "assert") if word in proof.code]
        assert calls or checked, f"{proof.name}: proves nothing"


def test_the_recipes_that_were_promised_are_there() -> None:
    names = {recipe.name for recipe in shipped()}
    assert names >= {
        "pytorch", "pytorch-cpu", "pytorch-pip", "tensorflow", "tensorflow-2.4-legacy", "keras",
        "keras-legacy", "tensorrt", "tensorrt-lean", "pyqt5", "pyside6", "vision-basics", "face3d",
        "insightface", "deepfacelab-like", "onnxruntime-gpu", "jax",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (("requirements", "requirments"), ":8: pip.requirments: unknown key; did you mean requirements?"),
        (('name = "x"', ""), "name: is missing"),
        (('imports = ["six"]', ""), ":9: verify: needs imports or run"),
        (('"six"]\n[verify', '5]\n[verify'), ":8: pip.requirements.0: 5 is not of type 'string'"),
        (('"six"]\n[verify', '""]\n[verify'), ":8: pip.requirements.0: is empty"),
        (('"six"]\n[verify', '" "]\n[verify'), ":8: pip.requirements.0: is empty"),
        (("schema = 1", "schema = 2"), ":2: schema: 1 was expected"),
        (('">=3.10"', '"3.10"'), ":6: python.version:"),
        (("summary", "[summary"), "not TOML"),
        (("schema = 1", f"schema = {'9' * 5000}"), "not TOML"),
        (("schema = 1", f"schema = {'[' * 9999}"), "not TOML: nested too deeply"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_by_file_line_and_key(edit: tuple[str, str], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loads(MINIMAL.replace(*edit), "my.toml")
    assert caught.value.message.startswith("my.toml")
    assert told in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "name", ["pytorhc", "", " ", "..", "a" * 300, "Pytorch", "py\ntorch"], ids=lambda name: name[:9]
)
def test_a_name_that_no_recipe_has_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="no recipe is called") as caught:
        find(name)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_lint_names_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(MINIMAL.replace("summary", "sumary").replace("imports", "import"))
    told = [problem.where + problem.message for problem in lint_file(path)]
    assert len(told) == 4
    assert any("sumary: unknown key; did you mean summary?" in line for line in told)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('channels = ["pytorch"]', "stopped at 2.5"),
        ('channels = ["https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud/conda-forge"]', "transport"),
        ('specs = ["conda-forge::numpy"]', "stands under `channels`"),
        ('specs = ["cudatoolkit 12.4.*"]', "ended with CUDA 11"),
    ],
)  # fmt: skip
def test_lint_knows_what_retired(line: str, told: str) -> None:
    head, conda = 'schema = 1\nname = "x"\nsummary = "y"\n', '[conda]\nspecs = ["a"]\n'
    text = head + (line + "\n" + conda if line.startswith("channels") else f"[conda]\n{line}\n")
    problems = lint_recipe(loads(text + '[verify]\nimports = ["a"]\n'))
    assert [told in problem.message for problem in problems] == [True]


@pytest.mark.parametrize(
    ("requirements", "told"),
    [
        ('["onnxruntime", "onnxruntime-gpu"]', "the later one wins"),
        ('["tensorflow==2.4.0"]', "protobuf<3.21 is missing"),
        ('["torch==2.99.0"]', None),
        ('["torch==2.2.9"]', "no such release"),
        ('["torch =="]', "torch =="),
    ],
)
def test_lint_asks_the_tables(requirements: str, told: str | None) -> None:
    problems = lint_recipe(loads(MINIMAL.replace('["six"]', requirements, 1)))
    errors = [problem.message for problem in problems if problem.severity == "error"]
    assert any(told in message for message in errors) if told else errors == []


def test_a_rule_applies_only_where_it_is_known_to() -> None:
    rule = GpuRule(capability="<7.5", constraints=("cuda-version 12.*",))
    assert rule.applies(capability=Version("7.0"))
    assert not rule.applies(capability=Version("7.5"))
    assert not rule.applies(capability=None, glibc=Version("2.17"))
    both = GpuRule(capability="<7.5", driver_cuda=">=13")
    assert both.applies(capability=Version("6.1"), driver_cuda=Version("13.0"))
    assert not both.applies(capability=Version("6.1"), driver_cuda=Version("12.9"))


# More digits than int() takes: in any place of a range, reached by a comparison or not.
ENDLESS = "9" * 5000
ENDLESS_RANGES = [
    f">={ENDLESS}",
    f">=3.10,<4{ENDLESS}",
    f"<4{ENDLESS},>=3.10",
    f">=99,<4{ENDLESS}",
    f"<1,>=3.{ENDLESS}",
    f">=99,==3.{ENDLESS}.*",
    f">=99,~=3.{ENDLESS}",
    f">=99,!=3.1rc{ENDLESS}",
    f">=99,<{ENDLESS}!3",
    f">=99,==3+{ENDLESS}",
    f">=99,==={ENDLESS}",
]


@pytest.mark.parametrize("bad", ENDLESS_RANGES)
def test_a_number_without_end_is_found_wherever_it_stands(bad: str) -> None:
    with pytest.raises(RecipeError, match=r"python\.version: .*is not a range of versions"):
        choose(bad)
    rule = GpuRule(capability=bad, constraints=("cuda-version 12.*",))
    for version in (None, Version("8.0")):
        with pytest.raises(RecipeError, match=r"gpu\.rule\.when\.capability: "):
            rule.applies(capability=version)
    recipe = loads(MINIMAL.replace('["six"]', f'["six{bad}"]', 1), "mine.toml")
    assert any("pip.requirements" in problem.where for problem in lint_recipe(recipe))
    with pytest.raises(RecipeError, match=r"pip\.requirements: "):
        EXPORTS["pixi.toml"](recipe)


def test_any_text_may_be_compared_literally() -> None:
    check_numbers(SpecifierSet("===mine"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"host_python": f">=99,<{ENDLESS}"}, "python.version: "),
        ({"host_python": "three"}, "python.version: "),
        ({"rules": (GpuRule(glibc="2.17"),)}, "gpu.rule.when.glibc: '2.17' is not a range"),
        ({"min_driver_cuda": "twelve"}, "'twelve' is not a version"),
        ({"min_driver_cuda": ENDLESS}, "is not a version"),
        ({"specs": (f"cudatoolkit {ENDLESS}",)}, "ended with CUDA 11"),
    ],
)
def test_lint_names_what_creating_would_refuse(changes: dict[str, Any], told: str) -> None:
    recipe = dataclasses.replace(loads(MINIMAL, "mine.toml"), **changes)
    assert any(told in problem.message for problem in lint_recipe(recipe))


@pytest.mark.parametrize("bad", ["7.5", ">=7,5", "newer than 7.5", ">=" + "9" * 5000])
@pytest.mark.parametrize("field", ["capability", "driver_cuda", "glibc"])
def test_a_condition_that_is_no_range_is_named(field: str, bad: str) -> None:
    good = {"capability": ">=9", "driver_cuda": ">=12", "glibc": ">=2.17"}
    rule = GpuRule(**{**good, field: bad}, constraints=("cuda-version 12.*",))
    recipe = dataclasses.replace(loads(MINIMAL, "mine.toml"), rules=(rule,))
    version = Version("8.0")  # the first condition does not hold: the others are read all the same
    with pytest.raises(RecipeError) as caught:
        rule.applies(capability=version, driver_cuda=version, glibc=version)
    assert caught.value.message.startswith(f"gpu.rule.when.{field}: {bad[:50]!r}"[:-1])
    target = Target("linux-64", "linux_x86_64", Version("12.4"), glibc=Version("2.36"))
    with pytest.raises(RecipeError, match=rf"mine\.toml: gpu\.rule\.when\.{field}: ") as told:
        decide(recipe, dataclasses.replace(target, capability=parse_capability("8.0")))
    assert told.value.exit_code == 2
    assert "\n" not in told.value.message
    assert ">=7.5" in told.value.hint


@pytest.mark.parametrize(
    "bad", ["torch ==", "torch=2.8", "torch==2.8 and more", "torch==" + "9" * 5000, "six @@ 1"]
)
def test_a_requirement_that_is_none_is_named(bad: str) -> None:
    recipe = loads(MINIMAL.replace('["six"]', f"[{bad!r}]", 1), "mine.toml")
    recipe = dataclasses.replace(recipe, pip_index="torch")
    target = Target("linux-64", "linux_x86_64", Version("12.4"), glibc=Version("2.36"))
    with pytest.raises(RecipeError, match=r"mine\.toml: pip\.requirements: ") as told:
        decide(recipe, target)
    assert bad[:50] in told.value.message
    assert "\n" not in told.value.message
    assert told.value.exit_code == 2
    assert lint_recipe(recipe)  # says so too, and ends


@pytest.mark.parametrize("bad", ["three", ">=3,10", ">=" + "9" * 5000])
def test_a_range_of_pythons_that_is_none_is_named(bad: str) -> None:
    with pytest.raises(RecipeError, match=r"python\.version: ") as told:
        choose(bad)
    assert bad[:50] in told.value.message
    assert told.value.exit_code == 2


def test_a_driver_bound_that_is_no_version_is_named() -> None:
    recipe = dataclasses.replace(loads(MINIMAL, "mine.toml"), min_driver_cuda="twelve")
    with pytest.raises(RecipeError, match=r"mine\.toml: gpu\.min_driver_cuda: 'twelve'"):
        decide(recipe, Target("linux-64", "linux_x86_64", Version("12.4")))


def test_a_name_that_is_nearly_right_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        find("pytroch")
    assert caught.value.hint == "did you mean pytorch?"
    with pytest.raises(RecipeError, match="No such file"):
        load(tmp_path / "gone.toml")
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load(tmp_path / "bin.toml")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless file here")
@pytest.mark.parametrize("read", [load, lint_file, read_lock])
def test_a_file_without_end_is_refused(read: Callable[[Path], Any], tmp_path: Path) -> None:
    endless = tmp_path / "endless.toml"
    endless.symlink_to("/dev/zero")
    with no_hang(), pytest.raises(CureadyError, match=r"endless\.toml: too large for a"):
        read(endless)
