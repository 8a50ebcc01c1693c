"""File names that are no UTF-8, and texts of strangers, break no format and no terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuready.snapshot import Platform, Snapshot

NAME = b"env-\xff\xfe"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose only environment has a name that is no UTF-8."""
    site = os.fsencode(tmp_path) + b"/opt/" + NAME + b"/lib/python3.12/site-packages"
    for name in (b"/torch-2.8.0.dist-info", b"/~orch"):
        Path(os.fsdecode(site + name)).mkdir(parents=True)
    Path(os.fsdecode(site + b"/torch-2.8.0.dist-info/METADATA")).write_text(
        "Name: torch\nVersion: 2.8.0\n"
    )
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/opt/" + NAME + b"/pyvenv.cfg")).write_text(
        "home = /usr/bin\n"
    )
    return tmp_path


def run(*arguments: str | bytes, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        "PYTHONIOENCODING": encoding,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "cuready", *arguments]
    return subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("command", ["doctor", "snapshot", "report"])
def test_json_is_one_document(root: Path, command: str, encoding: str) -> None:
    options = [] if command == "snapshot" else ["--format", "json"]
    done = run(
        command, *options, "--root", str(root), "--prefix", b"/opt/" + NAME, encoding=encoding
    )
    assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr, done.stderr
    document = json.loads(done.stdout.decode(encoding))
    assert document["schema_version"] == 1


@pytest.mark.parametrize("form", ["text", "sarif", "junit", "github"])
def test_every_other_format_is_printed(root: Path, form: str) -> None:
    done = run(
        "doctor",
        "-v" if form == "text" else "--strict",
        "--format",
        form,
        "--root",
        str(root),
        "--prefix",
        b"/opt/" + NAME,
        encoding="ascii",
    )
    assert done.returncode in (0, 1), done.stderr
    assert b"internal error" not in done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]0;title\x07",
        "\x1b[2J\x1b[H",
        "\x9b2J",
        "\b\b\b",
        "\rNo problems",
        "\u202egnp.exe",
        "\0",
    ],
)
def test_what_moves_a_terminal_does_not_reach_it(text: str) -> None:
    from cuready.cli._common import printable

    shown = printable(f"before {text} after")
    assert not any(mark in shown for mark in ("\x1b", "\x07", "\x9b", "\b", "\r", "\u202e", "\0"))
    assert shown.startswith("before ")
    assert shown.endswith(" after")


def test_colours_and_lines_of_our_own_stay() -> None:
    from cuready.cli._common import printable

    text = "\x1b[31m✗\x1b[0m one\n\ttwo"
    assert printable(text) == text


def test_a_strangers_snapshot_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    machine = Snapshot(platform=Platform(system="Linux", distro_name="x\x1b]0;pwn\x07"))
    path = tmp_path / "machine.json"
    path.write_text(machine.dumps())
    for command in (["doctor", "--from"], ["report", "--from"], ["diff", str(path)]):
        done = subprocess.run(
            [sys.executable, "-m", "cuready", *command, str(path)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "\x07" not in done.stdout, command
