"""A builder that is watched: what it logs is told as it comes, also when it never comes back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.gpu_suite.scripts import CI

import cuready

pytest.importorskip("onnx")
UNIT = Path(__file__).parents[1]
PACKAGE = f"""
import os, sys, time
sys.path.insert(0, {str(UNIT)!r})
from pathlib import Path
from types import SimpleNamespace
from fake_binding import Binding
Binding("11.2", Path(os.devnull)).fill(sys.modules[__name__])
def Builder(logger):
    logger.log(SimpleNamespace(name="VERBOSE"), "loading kernels\\nof two lines")
"""
NOT_INSTALLED = (
    "Unable to load library: libnvinfer_builder_resource_sm90.so.11.2.1: cannot open shared object"
)
Build = Callable[..., tuple[int, str, float]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """``build(what Builder() does)`` → exit code, what was printed, seconds."""

    def run(ends: str, seconds: float = 60) -> tuple[int, str, float]:
        (tmp_path / "tensorrt.py").write_text(f"{PACKAGE}    {ends}\n", encoding="utf-8")
        path = os.pathsep.join([str(tmp_path), str(Path(cuready.__file__).parents[1]), *sys.path])
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(CI / "gpu_builder.py"), "--release", "11.2", "--path", path,
             "--watch", "--optimization", "0", "--seconds", str(seconds), str(tmp_path / "built")],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        return done.returncode, done.stdout, time.monotonic() - begin

    return run


def test_a_builder_that_hangs_says_where_and_no_other_model_is_tried(build: Build) -> None:
    code, told, seconds = build("time.sleep(100)", seconds=2)
    assert (code, seconds < 30) == (1, True)
    assert re.search(r"^\| +\d+\.\d\d VERBOSE loading kernels\n\| +\d+\.\d\d VERBOSE of two lines$",
                     told, re.M)  # fmt: skip
    (failed,) = re.findall("^FAILED: (.*)", told, re.M)
    assert failed.startswith("smallest: exit 1: Timeout (0:00:02)!")
    assert "in Builder" in failed
    assert failed.endswith("no other model was tried")


def test_a_builder_that_refuses_does_so_for_each_model(build: Build) -> None:
    code, told, _ = build(f"logger.log(SimpleNamespace(name='ERROR'), {NOT_INSTALLED!r})\n"
                          "    raise TypeError('nullptr')")  # fmt: skip
    assert code == 1
    assert f" ERROR {NOT_INSTALLED}" in told
    failed = re.findall(r"^FAILED: (\w+): exit 1: cuready: error: kernels of a GPU", told, re.M)
    assert failed == ["smallest", "pointwise", "wide"]


def test_a_builder_that_aborts_is_told_by_its_signal(build: Build) -> None:
    code, told, _ = build("os.abort()")
    assert code == 1
    assert "FAILED: smallest: exit -6: " in told


def test_the_process_s_work_is_told() -> None:
    from tests.unit.gpu_suite.scripts import script

    told, used = script("gpu_builder").pulse(os.getpid(), 0.0, None)
    assert used > 0
    assert f"{used:.1f} s in all; state R" in told
    assert told.endswith("PTX compiler not loaded")


@pytest.mark.parametrize("name", ["wide", "convolution", "product", "smallest", "pointwise"])
def test_what_the_models_must_compute_is_what_onnx_says(name: str) -> None:
    import numpy as np
    from onnx.reference import ReferenceEvaluator
    from tests.unit.gpu_suite.scripts import script

    case = script("gpu_builder").CASES[name](np.random.default_rng(5))
    given = ReferenceEvaluator(case.model).run(None, case.inputs)
    for want, have in zip(case.outputs.values(), given, strict=True):
        assert have.shape == want.shape
        assert have.dtype == want.dtype
        np.testing.assert_allclose(have, want, rtol=case.tolerance, atol=case.tolerance)
