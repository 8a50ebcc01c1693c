"""Colours are for a terminal, and for nobody who set NO_COLOR (https://no-color.org)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pty = pytest.importorskip("pty")


def on_a_terminal(**environ: str) -> bytes:
    """What `cuready doctor --list` writes to a terminal."""
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cuready", "doctor", "--list"]
    child = subprocess.Popen(command, stdout=theirs, env={**kept, **environ})
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says EIO when nobody has the other end
            piece = b""
        if not piece:
            break
        written += piece
    os.close(ours)
    assert child.wait() == 0
    return written


@pytest.mark.parametrize(("value", "coloured"), [(None, True), ("", True), ("1", False)])
def test_no_color_is_honoured_on_a_terminal(value: str | None, coloured: bool) -> None:
    written = on_a_terminal(**({} if value is None else {"NO_COLOR": value}))
    assert b"DRV01" in written
    assert (b"\x1b[" in written) == coloured
