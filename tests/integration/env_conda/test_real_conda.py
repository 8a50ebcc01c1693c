"""What a real conda, mamba or micromamba makes of our environments. Opt-in: none is on PyPI.

    CUREADY_TEST_CONDA=$(which conda) python -m pytest -k real_conda tests/integration

A conda without conda-libmamba-solver also needs CONDA_SOLVER=classic.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from channels import Package, pure, python, tool
from env_support import Channel, solved

from cuready.env.conda import (
    CondaSession,
    apply_plan,
    fetch_plan,
    installed_records,
    make_plan,
)
from cuready.env.conda.history import announce

# Read before the fixtures clear what the user has set.
REAL = os.environ.get("CUREADY_TEST_CONDA", "")
MAMBA = "mamba" in Path(REAL).name
SOLVER = os.environ.get("CONDA_SOLVER", "")

pytestmark = pytest.mark.skipif(not REAL, reason="CUREADY_TEST_CONDA names a real conda")

Open = Callable[..., CondaSession]
Serve = Callable[..., Channel]


@pytest.fixture(autouse=True)
def _real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(REAL).parent}{os.pathsep}{os.environ['PATH']}")
    if SOLVER:
        monkeypatch.setenv("CONDA_SOLVER", SOLVER)


def conda(*args: str | Path) -> str:
    """What it prints; it must end well."""
    done = subprocess.run(
        [REAL, *map(str, args)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make(session: CondaSession, prefix: Path, *specs: str) -> None:
    plan = make_plan(solved(session, *specs), prefix, session=session)
    fetch_plan(plan, session=session)
    apply_plan(plan, session=session)


def test_real_conda_solves_and_links_as_a_backend(
    serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    extra = Package("extra", files={"share/extra.txt": b"x"})
    session = open_session(serve(python(), tool(), extra).url, backend=Path(REAL).name)
    make(session, tmp_path / "env", "tool", "python", "extra")
    names = {record.name for record in installed_records(tmp_path / "env")}
    assert names == {"tool", "python", "extra"}
    newer = serve(python(), tool("2.0"), pure())
    later = open_session(newer.url, backend=Path(REAL).name, refresh=True)
    make(later, tmp_path / "env", "tool", "python", "pure")
    there = {record.dist for record in installed_records(tmp_path / "env")}
    assert there == {"tool-2.0-0", "python-3.12.7-h1_0_cpython", "pure-1.0-pyhd8_0"}
    assert not (tmp_path / "env/share/extra.txt").exists()


@pytest.mark.parametrize("name", ["env", "with space é"])
def test_real_conda_lists_and_runs_what_we_made(
    serve: Serve, open_session: Open, tmp_path: Path, name: str
) -> None:
    prefix = tmp_path / name
    make(open_session(serve().url), prefix, "tool", "pure", "python >=3.8")
    listed = {item["name"]: item for item in json.loads(conda("list", "-p", prefix, "--json"))}
    assert set(listed) == {"tool", "pure", "python"}
    assert listed["tool"]["version"] == "1.0" and listed["tool"]["channel"] == "made-up"
    assert conda("run", "-p", prefix, "tool").strip() == "tool 1.0"


def two_revisions(serve: Serve, open_session: Open, prefix: Path) -> list[dict[str, Any]]:
    """What the program makes of an environment that got a newer ``tool`` and lost ``pure``."""
    first = open_session(serve(python(), tool("1.0"), pure()).url)
    make(first, prefix, "tool", "pure", "python >=3.8")
    later = open_session(serve(python(), tool("2.0"), pure()).url, refresh=True)
    make(later, prefix, "tool", "python >=3.8")
    revisions: list[dict[str, Any]] = json.loads(
        conda("list", "-p", prefix, "--revisions", "--json")
    )
    return revisions


@pytest.mark.skipif(MAMBA, reason="mamba has a form of its own")
def test_real_conda_reads_our_history(serve: Serve, open_session: Open, tmp_path: Path) -> None:
    prefix = tmp_path / "env"
    revisions = two_revisions(serve, open_session, prefix)
    assert [len(item["install"]) for item in revisions] == [3, 0]
    assert revisions[1]["remove"] == ["pure-1.0-pyhd8_0-made-up/noarch"]
    assert [item["new"] for item in revisions[1]["upgrade"]] == ["tool-2.0-0-made-up/linux-64"]
    asked = conda("env", "export", "-p", prefix, "--from-history")
    assert "- tool" in asked and "python[version='>=3.8']" in asked and "pure" not in asked


@pytest.mark.skipif(not MAMBA, reason="conda has a form of its own")
def test_real_mamba_reads_our_history(serve: Serve, open_session: Open, tmp_path: Path) -> None:
    prefix = tmp_path / "env"
    revisions = two_revisions(serve, open_session, prefix)
    revisions.sort(key=lambda item: item["rev"])
    assert [len(item["install"]) for item in revisions] == [3, 1]
    assert "made-up/noarch::pure-1.0-pyhd8_0" in revisions[1]["remove"]
    asked = conda("env", "export", "-p", prefix, "--from-history")
    assert "- tool" in asked and "- python>=3.8" in asked and "pure" not in asked


@pytest.mark.skipif(
    os.geteuid() == 0 and not MAMBA, reason="for root conda reads the home of /etc/passwd"
)
def test_real_conda_finds_the_environment(serve: Serve, open_session: Open, tmp_path: Path) -> None:
    make(open_session(serve().url), tmp_path / "env", "tool", "python")
    announce(tmp_path / "env")
    assert str(tmp_path / "env") in json.loads(conda("env", "list", "--json"))["envs"]
