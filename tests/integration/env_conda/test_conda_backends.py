"""conda, mamba and micromamba under our plan: what they are asked, and what is made of the answer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from channels import pure, python, tool
from env_support import CHANNEL, Channel, solved

from cuready.env.conda import (
    CondaSession,
    apply_plan,
    fetch_plan,
    installed_records,
    interrupted,
    make_plan,
    restore_previous,
    write_lock,
)
from cuready.errors import EnvError, MissingExtra, SolveError

Open = Callable[..., CondaSession]
Serve = Callable[..., Channel]
FAKE = Path(__file__).with_name("fake_conda.py")


@pytest.fixture(params=["conda", "mamba", "micromamba"])
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program of this name on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / request.param
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_CONDA_LOG", str(tmp_path / "calls"))
    monkeypatch.setenv("FAKE_CONDA_NAME", request.param)
    return str(request.param)


def calls(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **document: Any) -> None:
    (tmp_path / "says.json").write_text(json.dumps(document))
    monkeypatch.setenv("FAKE_CONDA_SAYS", str(tmp_path / "says.json"))


def make(session: CondaSession, prefix: Path, **fields: Any) -> None:
    solution = solved(session, "tool", "pure", "python", virtual_packages={"__cuda": "12.4"})
    plan = make_plan(solution, prefix, session=session)
    fetch_plan(plan, session=session)
    apply_plan(plan, session=session, **fields)


def test_it_solves_over_our_index_and_links_our_archives(
    program: str, serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    channel = serve()
    session = open_session(channel.url, backend=program)
    make(session, tmp_path / "env")
    solve, link = calls(tmp_path)
    assert solve["args"][0] == "create" and "--dry-run" in solve["args"]
    assert "--override-channels" in solve["args"]
    assert [item for item in solve["args"] if item.startswith("http")] == []
    assert solve["variables"]["CONDA_OVERRIDE_CUDA"] == "12.4"
    for own in ("CONDA", "MAMBA"):
        assert solve["variables"][f"{own}_ADD_PIP_AS_PYTHON_DEPENDENCY"] == "false"
        assert solve["variables"][f"{own}_CHANNEL_PRIORITY"] == "strict"
    assert "--offline" in link["args"] and link["variables"]["CONDA_OFFLINE"] == "true"
    installed = {record.name: record for record in installed_records(tmp_path / "env")}
    assert set(installed) == {"tool", "pure", "python"}
    assert installed["tool"].url == f"{CHANNEL}/linux-64/tool-1.0-0.conda"
    assert interrupted(tmp_path / "env") is None


def test_what_it_chooses_is_verified_as_everything_else(
    program: str, serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    session = open_session(serve().url, backend=program)
    records = solved(session).records
    assert all(len(record.sha256) == 64 for record in records)
    assert all(record.url.startswith(CHANNEL) for record in records)


def test_what_it_chooses_becomes_the_same_lock(
    program: str, serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    channel = serve()
    for backend in ("rattler", program):
        session = open_session(channel.url, backend=backend)
        write_lock(solved(session), tmp_path / f"{backend}.lock", session=session)
    ours = (tmp_path / "rattler.lock").read_bytes()
    assert (tmp_path / f"{program}.lock").read_bytes() == ours


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        ("python", "python[version='*',build='*']"),
        ("python>=3.9,<3.13", "python[version='>=3.9,<3.13',build='*']"),
        ("python 3.12.* *_cpython", "python[version='3.12.*',build='*_cpython']"),
        ("python[version='>=3.9']", "python[version='>=3.9']"),
        ("python=3.12=h1_0", "python=3.12=h1_0"),
        ("python_abi 3.12.*", "python_abi 3.12.*"),
    ],
)
def test_mamba_is_not_asked_for_python_by_the_word_that_brings_pip(
    program: str, serve: Serve, open_session: Open, tmp_path: Path, spec: str, asked: str
) -> None:
    solved(open_session(serve().url, backend=program), spec)
    assert calls(tmp_path)[0]["args"][-1] == (spec if program == "conda" else asked)


@pytest.mark.parametrize("version", ["2.0.0", "2.3.1"])
def test_a_mamba_that_computes_wrong_digests_is_refused(
    program: str, serve: Serve, open_session: Open, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("FAKE_CONDA_VERSION", version)
    session = open_session(serve().url, backend=program)
    if program == "conda":  # its versions are its own
        assert solved(session).records
        return
    with pytest.raises(EnvError, match=f"{program} {version} computes wrong digests") as caught:
        solved(session)
    assert "2.3.2" in caught.value.hint


@pytest.mark.parametrize("version", ["mamba 1.5.8\nconda 23.11.0", "2.3.2"])
def test_a_mamba_that_computes_them_well_is_taken(
    program: str, serve: Serve, open_session: Open, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("FAKE_CONDA_VERSION", version)
    assert solved(open_session(serve().url, backend=program)).records


# The documents are those of conda 26.9 with its libmamba solver, and of its classic one.
@pytest.mark.parametrize(
    "document",
    [
        {
            "exception_name": "LibMambaUnsatisfiableError",
            "message": "Encountered problems while solving:\n  - nothing provides __cuda needed by gpu-1.0-0\n",
            "error": "LibMambaUnsatisfiableError: Encountered problems while solving",
        },
        {
            "exception_name": "PackagesNotFoundError",
            "message": "The following packages are not available from current channels:\n\n  - nothere\n",
        },
        {"success": False, "solver_problems": ["nothing provides requested nothere"]},
    ],
)
def test_its_refusal_is_a_solve_error(
    program: str,
    serve: Serve,
    open_session: Open,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    document: dict[str, Any],
) -> None:
    says(tmp_path, monkeypatch, **document)
    with pytest.raises(SolveError, match=program):
        solved(open_session(serve().url, backend=program))


def test_its_failure_while_linking_puts_the_old_environment_back(
    program: str, serve: Serve, open_session: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    tree: Callable[[Path], dict[str, str]],
) -> None:  # fmt: skip
    session = open_session(serve(python(), tool("1.0")).url, backend=program)
    make(session, tmp_path / "env")
    before = tree(tmp_path / "env")
    later = open_session(serve(python(), tool("2.0"), pure()).url, backend=program, refresh=True)
    monkeypatch.setenv("FAKE_CONDA_DIES", "tool")
    with pytest.raises(EnvError):
        make(later, tmp_path / "env")
    assert tree(tmp_path / "env") == before
    says(tmp_path, monkeypatch, exception_name="ChecksumMismatchError", message="a mismatch")
    monkeypatch.setenv("FAKE_CONDA_FAILS", "--file")
    with pytest.raises(EnvError, match="a mismatch"):
        make(later, tmp_path / "env")
    assert tree(tmp_path / "env") == before


def test_what_it_linked_is_compared_with_the_plan(
    program: str, serve: Serve, open_session: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CONDA_FORGETS", "1")
    with pytest.raises(EnvError, match="something else than was planned") as caught:
        make(open_session(serve().url, backend=program), tmp_path / "env")
    assert "missing: tool-1.0-0" in caught.value.messages
    assert not (tmp_path / "env").exists()


def test_the_previous_environment_can_come_back(
    program: str, serve: Serve, open_session: Open, tmp_path: Path,
    tree: Callable[[Path], dict[str, str]],
) -> None:  # fmt: skip
    make(open_session(serve(python(), tool("1.0")).url, backend=program), tmp_path / "env")
    before = tree(tmp_path / "env")
    later = open_session(serve(python(), tool("2.0")).url, backend=program, refresh=True)
    make(later, tmp_path / "env", keep_previous=True)
    assert tree(tmp_path / "env") != before
    assert restore_previous(tmp_path / "env")
    assert tree(tmp_path / "env") == before


def test_a_program_that_is_not_there_is_named(
    serve: Serve, open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingExtra, match="--backend mamba"):
        solved(open_session(serve().url, backend="mamba"))
