"""TensorRT for RTX, from PyPI, builds a real ONNX model without a GPU; errors are readable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.network
RELEASE = "1.7.1.116"
Command = Callable[..., subprocess.CompletedProcess[str]]


def model(path: Path, operator: str = "Relu") -> Path:
    """y = operator(x · w), with an open batch."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node(operator, ["h"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", kind, ["n", 8])],
        [helper.make_tensor_value_info("y", kind, ["n", 4])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, path)
    return path


@pytest.fixture
def engine(pypi_unpacked: Callable[..., Path], tmp_path: Path) -> Command:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    sites = [pypi_unpacked(f"tensorrt-rtx-cu13-libs=={RELEASE}"),
             pypi_unpacked(f"tensorrt-rtx-cu13-bindings=={RELEASE}", python)]  # fmt: skip

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([*map(str, sites), *(entry for entry in sys.path if entry)])
        return subprocess.run([sys.executable, "-m", "cuready", "engine", *arguments], cwd=tmp_path,
                              env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
                              timeout=200, check=False)  # fmt: skip

    return run


def test_a_model_is_built_and_its_plan_is_named(engine: Command, tmp_path: Path) -> None:
    model(tmp_path / "m.onnx")
    done = engine("build", "m.onnx", "--min", "x=1x8", "--opt", "x=4x8", "--max", "x=16x8",
                  "--timing-cache", "times.bin", "--format", "json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["release"], facts["inputs"]) == (RELEASE, {"x": [-1, 8]})
    assert (tmp_path / "m.plan").stat().st_size == facts["bytes"]
    assert (tmp_path / "times.bin").stat().st_size > 0
    info = json.loads(engine("info", "m.plan", "--format", "json").stdout)
    assert (info["kind"], info["built_by"]) == ("tensorrt-rtx", RELEASE)
    (library,) = [entry for entry in info["libraries"] if entry["kind"] == "rtx"]
    assert "a program that does may take this plan" in library["why"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no sizes are given for the open inputs x (-1, 8)"),
        (("--opt", "q=1x8"), "the model has no input 'q'; it has x"),
        (("--opt", "x=4"), "x has 2 dimensions, not 1"),
        (("--opt", "x=4x8", "--precision", "fp16"), "takes the precision from the model"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(
    engine: Command, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    model(tmp_path / "m.onnx")
    done = engine("build", "m.onnx", *arguments)
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[0]
    assert not (tmp_path / "m.plan").exists()


def test_an_unknown_operator_is_named(engine: Command, tmp_path: Path) -> None:
    model(tmp_path / "m.onnx", operator="NoSuchOp")
    done = engine("build", "m.onnx", "--opt", "x=4x8")
    assert done.returncode == 1
    assert "no operator NoSuchOp" in done.stderr.splitlines()[0]


def test_a_file_that_is_no_model_is_named(engine: Command, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("no model")
    done = engine("build", "m.onnx")
    assert done.returncode == 1
    assert "no ONNX model" in done.stderr.splitlines()[0]
