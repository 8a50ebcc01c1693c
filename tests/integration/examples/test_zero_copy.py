"""The zero-copy example on the simulated GPU, which also watches over the memory."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def script(examples: Path) -> list[str]:
    return [sys.executable, str(examples / "zero_copy" / "zero_copy.py")]


def test_device_arrays_are_used_in_place(
    run: Any, script: list[str], simulated: dict[str, str], affine_plan: Path, tmp_path: Path
) -> None:
    done = run([*script, affine_plan, "--library", "cuready"], simulated, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "bound once, input 0.25, right: yes",
        "bound once, input 0.5, right: yes",
        "output adopted at the same address: yes",
        "and right: yes",
    ]
    assert done.stderr == ""  # the simulated driver prints every misuse that it sees


def test_a_corrupted_copy_is_noticed(
    run: Any, script: list[str], simulated: dict[str, str], affine_plan: Path, tmp_path: Path
) -> None:
    env = {**simulated, "CUREADY_SIM_FAULTS": "op.d2h@2=corrupt"}
    done = run([*script, affine_plan, "--library", "cuready"], env, tmp_path)
    assert done.returncode == 1
    assert "NO" in done.stdout


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_a_library_that_is_not_there_is_named(
    library: str, run: Any, script: list[str], simulated: dict[str, str],
    affine_plan: Path, tmp_path: Path,
) -> None:  # fmt: skip
    if importlib.util.find_spec(library):
        pytest.skip(f"{library} is installed here")
    done = run([*script, affine_plan, "--library", library], simulated, tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"--library {library}: No module named '{library}'\n"
