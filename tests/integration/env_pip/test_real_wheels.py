"""Real wheels of PyPI: the face3d recipe's own proofs, end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.env_pip.conftest import Program, tree

from cuready.env.recipe import find

pytestmark = pytest.mark.network

HEAD = """
schema = 1
name = "face3d-wheels"
summary = "the parts of face3d that PyPI has wheels of"
[python]
version = ">=3.10"
[pip]
requirements = ["numpy", "scipy", "h5py"]
[verify]
imports = ["numpy", "scipy", "h5py"]
"""


def recipe_text() -> str:
    """The first two proofs of the shipped recipe: the mesh, and the morphable-model-like file."""
    proofs = [proof for proof in find("face3d").proofs if "Cython" not in proof.name]
    assert len(proofs) == 2
    tables = [
        f"[[verify.run]]\nname = {json.dumps(proof.name)}\ncode = {json.dumps(proof.code)}\n"
        for proof in proofs
    ]
    return HEAD + "".join(tables)


def test_face3d_proofs_pass_and_a_locked_copy_is_the_same(
    real_program: Callable[[], Program], tmp_path: Path
) -> None:
    program = real_program()
    file = tmp_path / "face3d-wheels.toml"
    file.write_text(recipe_text())
    made = program.json("env", "create", str(file))
    found = made["verification"]
    assert (found["passed"], found["failed"], found["skipped"]) == (5, 0, 0)
    lock = (
        program.home / "data/cuready/kept-locks/face3d-wheels/pylock.face3d-wheels.toml"
    ).read_text()
    urls = [line for line in lock.splitlines() if "url = " in line]
    assert urls and all("https://files.pythonhosted.org/packages/" in line for line in urls)
    before = tree(program.prefix("face3d-wheels"))
    program("env", "remove", "face3d-wheels", "--yes")
    program("env", "create", str(file), "--locked", "--offline", "--no-verify")
    assert tree(program.prefix("face3d-wheels")) == before
