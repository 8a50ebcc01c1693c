"""The predicted text is the loader's own, word for word, in every environment of ``broken``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cuready.probe.context import Context
from cuready.probe.loader import Process

from . import broken_symbols  # noqa: F401 - its scenarios register themselves
from .broken import HEALTHY, SCENARIOS, F
from .workshop import Workshop, predicted, really, run


@pytest.mark.parametrize("name", SCENARIOS)
def test_prediction_equals_what_the_loader_says(name: str, tmp_path: Path) -> None:
    case = SCENARIOS[name](Workshop(tmp_path))
    answer = really(case)
    assert (answer is None) == (name in HEALTHY), (
        f"the environment is not what it should be: {answer}"
    )
    assert predicted(case) == answer


def started(program: Path, env: dict[str, str]) -> tuple[str, list[str]]:
    """(what a program that is started really says, what we predict)."""
    done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=30,
                          check=False)  # fmt: skip
    process = Process(Context(env=env, cwd="/"), str(program))
    return done.stderr.strip(), process.start_errors[:1] + process.warnings


def linked(w: Workshop, *libraries: Path, flags: tuple[str, ...] = ()) -> Path:
    """A program that uses ``f`` of its libraries."""
    source = w.dir("src") / "main.c"
    source.write_text("int f(void); int main(void){return f() - 1;}")
    run(["gcc", "-o", w.folder / "tool", source, *libraries, *flags])
    return w.folder / "tool"


def test_a_program_without_its_library(tmp_path: Path) -> None:
    w = Workshop(tmp_path)
    gone = w.lib("libgone.so.3", F)
    tool = linked(w, gone)
    gone.unlink()
    real, ours = started(tool, {})
    assert "error while loading shared libraries: libgone.so.3" in real
    assert ours == [real]


def test_a_program_whose_library_is_too_old(tmp_path: Path) -> None:
    w = Workshop(tmp_path)
    new = w.lib("libjit.so.1", F, into="new", versions="V2 {global: f; local: *;};")
    old = w.lib("libjit.so.1", F, into="old", versions="V1 {global: f; local: *;};")
    real, ours = started(linked(w, new), {"LD_LIBRARY_PATH": str(old.parent)})
    assert "version `V2' not found" in real
    assert ours == [real]


def test_a_library_that_cannot_be_preloaded(tmp_path: Path) -> None:
    w = Workshop(tmp_path)
    tool = linked(w, w.lib("libfine.so", F), flags=(f"-Wl,-rpath,{tmp_path}",))
    real, ours = started(tool, {"LD_PRELOAD": f"{tmp_path}/nowhere.so libnope.so.1"})
    assert real.splitlines() == ours


def test_there_are_enough_broken_environments() -> None:
    assert len(SCENARIOS.keys() - HEALTHY) >= 50
