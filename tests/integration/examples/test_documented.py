"""What the documentation says about the examples is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cuready.cli.engine import build

ROOT = Path(__file__).resolve().parents[3]


def test_the_guide_names_every_example_and_no_other() -> None:
    guide = (ROOT / "docs" / "how-to" / "embed.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\| `examples/(\w+)` \|", guide))
    there = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    assert named == there


def test_the_project_s_build_command_is_one_that_cuready_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "examples" / "torch_project" / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\$ cuready engine build (.*)$", text, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "model.onnx").touch()
    context = build.make_context("build", shlex.split(line, comments=True))
    assert context.params["max_shapes"] == ("x=256x16",)
    assert context.params["output"] == Path("runs/model.plan")
