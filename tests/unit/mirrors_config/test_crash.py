"""kill -9 at every line of an edit and of a restore: the old file or the new one, never neither."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHILD = Path(__file__).with_name("kill_at_every_line.py")


@pytest.fixture(scope="module", params=["use", "restore"])
def report(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a few hundred deaths left behind, for one of the two commands."""
    folder = tmp_path_factory.mktemp("crash")
    done = subprocess.run(
        [sys.executable, str(CHILD), str(folder), request.param],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {"step": request.param, **json.loads(done.stdout)}


def test_a_kill_at_any_line_leaves_each_file_old_or_new(report: dict[str, Any]) -> None:
    died = [run for run in report["runs"] if run["died"]]
    assert len(died) >= 100, "the trace saw too little: the test no longer tests"
    last = report["runs"][-1]
    assert not last["died"]
    for name, original in report["before"].items():
        versions = {run["files"][name] for run in died}
        assert len(versions) == 2, "a version that is neither the old nor the new one"
        assert original in versions
        assert last["files"][name] in versions
        assert "absent" not in versions


def test_after_a_kill_the_next_run_finishes_and_restore_still_gives_the_old_bytes(
    report: dict[str, Any],
) -> None:
    finished = report["runs"][-1]
    for run in report["runs"]:
        if report["step"] == "use":
            assert run["again"] == finished["again"], run["line"]
        assert run["end"] == report["before"], run["line"]
        assert run["litter"] == [], run["line"]
