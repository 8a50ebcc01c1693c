"""The C++ examples, built against the installed package outside of the tree, and run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runtime_sim import plans

Run = Callable[..., Any]
Compiled = Callable[[str], Path]
Environment = dict[str, str]


def test_a_program_through_find_package_runs_a_plan(
    compiled: Compiled, run: Run, simulated: Environment, affine_plan: Path, tmp_path: Path
) -> None:
    done = run([compiled("cpp_embed"), affine_plan], simulated, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("TensorRT 10.6")
    # The input is zeros in the optimal shape (4, 4), and the plan computes 2x + 1.
    assert "y: float32 (4, 4)\n  1\n  1\n  1\n  1\n" in done.stdout
    assert done.stderr == ""


def test_without_a_plan_it_describes_the_machine(
    compiled: Compiled, run: Run, simulated: Environment, tmp_path: Path
) -> None:
    env = {**simulated, "CUREADY_SIM_DEVICES": "Simulated H100:9.0:4096"}
    done = run([compiled("cpp_embed")], env, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "GPU 0: Simulated H100, compute capability 9.0" in done.stdout
    assert simulated["CUREADY_TENSORRT"] in done.stdout


@pytest.mark.parametrize("example", ["cpp_embed", "cpp_pool"])
def test_a_missing_plan_is_one_clear_line(
    example: str, compiled: Compiled, run: Run, simulated: Environment, tmp_path: Path
) -> None:
    done = run([compiled(example), "no-such.plan"], simulated, tmp_path)
    assert done.returncode == 1
    assert "no-such.plan" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_client_threads_share_one_engine(
    compiled: Compiled, run: Run, simulated: Environment, affine_plan: Path, tmp_path: Path
) -> None:
    done = run([compiled("cpp_pool"), affine_plan, "16", "50"], simulated, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("800 requests of 16 clients, 0 wrong, ")
    assert done.stderr == ""  # the simulated driver prints every misuse that it sees


def test_the_pool_serves_engines_with_shape_tensors(
    compiled: Compiled, run: Run, simulated: Environment, tmp_path: Path
) -> None:
    plan = tmp_path / "reshape.plan"
    plan.write_bytes(plans.reshape())
    done = run([compiled("cpp_pool"), plan, "4", "10"], simulated, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("40 requests of 4 clients, 0 wrong, ")


def test_the_pool_example_notices_a_wrong_result(
    compiled: Compiled, run: Run, simulated: Environment, affine_plan: Path, tmp_path: Path
) -> None:
    # The first copies give the expected answers; a byte of a later copy to the host is changed.
    env = {**simulated, "CUREADY_SIM_FAULTS": "op.d2h@20=corrupt"}
    done = run([compiled("cpp_pool"), affine_plan, "2", "50"], env, tmp_path)
    assert done.returncode == 1, done.stdout
    assert "100 requests of 2 clients, 1 wrong, " in done.stdout


@pytest.mark.parametrize("arguments", [[], ["a", "0"], ["a", "two"], ["a", "1", "1", "1"]])
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], compiled: Compiled, run: Run, simulated: Environment, tmp_path: Path
) -> None:
    done = run([compiled("cpp_pool"), *arguments], simulated, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: cpp_pool")
