"""`engine build` on each TensorRT: what the releases' own bindings have decides what it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_binding import releases

from cuready.selftest.builder import Outcome, run_child

Build = Callable[..., tuple[Outcome, list[list[str]]]]
HERE = Path(__file__).parents[1]
RELEASES = sorted(releases())
PACKAGE = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from fake_binding import Binding
Binding({release!r}, Path({calls!r})).fill(sys.modules[__name__])
"""
# So the real ones end where no driver is: 8.6 with a warning, 11.2 with an error, both with this.
NO_BUILDER = """
def Builder(logger):
    logger.log(ILogger.{severity}, "CUDA initialization failure with error: 35. Please check")
    raise TypeError("pybind11::init(): factory function returned nullptr")
"""


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """``build(release, …)`` → how it ended, and what was asked of the package."""

    def run(release: str, *, more: str = "", **request: Any) -> tuple[Outcome, list[list[str]]]:
        module = "tensorrt_rtx" if release.startswith("rtx") else "tensorrt"
        calls = tmp_path / "calls.jsonl"
        package = PACKAGE.format(here=str(HERE), release=release, calls=str(calls)) + more
        (tmp_path / f"{module}.py").write_text(package, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        outcome = run_child({
            "kind": "onnx", "module": module, "model": "m.onnx", "output": str(tmp_path / "m.plan"),
            "profiles": [{"x": [[1, 4], [2, 4], [8, 4]]}], **request,
        }, limit_s=60)  # fmt: skip
        lines = calls.read_text(encoding="utf-8").splitlines() if calls.is_file() else []
        return outcome, [json.loads(line) for line in lines]

    return run


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_builds(build: Build, tmp_path: Path, release: str) -> None:
    outcome, calls = build(
        release, workspace=1 << 20, hardware_compatible="ampere+", version_compatible=True,
        refit=True, optimization=3, precision=["fp32"], timing_cache=None,
    )  # fmt: skip
    assert (outcome.ok, outcome.reason) == (True, "")
    assert (tmp_path / "m.plan").read_bytes() == b"a plan"
    explicit_batch = 1 if release == "8.6" else 0  # a network without it has no open shapes
    assert ["create_network", str(explicit_batch)] in calls
    assert "IBuilderConfig.hardware_compatibility_level=" in [call[0] for call in calls]
    watched = "IBuilderConfig.progress_monitor=" in [call[0] for call in calls]
    assert watched == (release != "8.6")


@pytest.mark.parametrize("release", ["8.6", "10.6"])
def test_fp16_is_an_option_up_to_10(build: Build, release: str) -> None:
    outcome, calls = build(release, precision=["fp16"])
    assert outcome.ok
    assert [call[0] for call in calls].count("IBuilderConfig.set_flag") == 1


@pytest.mark.parametrize("release", ["11.2", "rtx-1.7"])
@pytest.mark.parametrize(
    ("precision", "advice"),
    [
        ("fp16", "modelopt.onnx.autocast --onnx_path MODEL --low_precision_type fp16"),
        ("bf16", "--low_precision_type bf16"),
        ("int8", "modelopt.onnx.quantization --onnx_path MODEL"),
    ],
)
def test_since_11_the_model_decides_and_the_conversion_is_named(
    build: Build, release: str, precision: str, advice: str
) -> None:
    outcome, _ = build(release, precision=[precision])
    assert not outcome.ok
    assert f"cannot be told to use {precision}" in outcome.reason
    assert advice in outcome.hint


def test_the_command_needs_no_native_core_and_no_numpy(build: Build, tmp_path: Path) -> None:
    """So that it runs in the old interpreter that an old binding is for."""
    build("8.6")  # writes the package
    (tmp_path / "m.onnx").write_bytes(b"x")
    program = (
        "import sys; sys.modules.update({'cuready._core': None, 'numpy': None})\n"
        "from cuready.cli.main import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "engine", "build", "m.onnx", "-o", "n.plan", "--opt", "x=1x4"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "built by TensorRT 8.6.0" in done.stdout


def test_what_8_6_has_not_is_refused_by_name(build: Build) -> None:
    for precision, words in (("bf16", "does not build in bf16"), ("strong", "strongly typed")):
        outcome, _ = build("8.6", precision=[precision])
        assert (outcome.ok, "TensorRT 8.6.0" in outcome.reason) == (False, True)
        assert words in outcome.reason
    outcome, _ = build("8.6", hardware_compatible="same")
    assert "no hardware compatibility 'same'" in outcome.reason


@pytest.mark.parametrize(("release", "severity"), [("8.6", "WARNING"), ("11.2", "ERROR")])
def test_a_builder_that_was_not_made_is_explained(
    build: Build, release: str, severity: str
) -> None:
    outcome, _ = build(release, more=NO_BUILDER.format(severity=severity))
    assert outcome.reason == "TensorRT cannot use the GPU (CUDA error 35)"
    assert outcome.hint == "run `cuready doctor`"


def test_a_builder_that_gives_no_reason_is_not_given_one(build: Build) -> None:
    silent = NO_BUILDER.format(severity="WARNING").replace("CUDA init", "Something: init")
    outcome, _ = build("8.6", more=silent)
    assert outcome.reason == "TensorRT 8.6.0 made no builder"
