"""Ctrl-C in the first moments of a command: the process ends, and prints no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

import cuready
from cuready.cli import _common

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a process gets no SIGINT of its own there")

# What the installed `cuready` script does. It says when the first module is asked for from inside
# `main`: what Python does before that, finding and reading `cuready.__main__`, is not ours.
SCRIPT = """
import os, re, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("cuready.") and name != "cuready.__main__":
            sys.meta_path.remove(self)
            os.write(1, b".")
sys.meta_path.insert(0, Watch())
from cuready.__main__ import main
sys.exit(main())
"""
NORMAL = {
    ("--version",): 0,
    ("explain", "LIB01"): 0,
    ("doctor", "--format", "json", "--only", "PY09"): 0,
}


def interrupted(arguments: Sequence[str], delay: float) -> tuple[int, str]:
    """The exit code and stderr of a command that gets SIGINT ``delay`` seconds after its start."""
    environment = {**os.environ, "PYTHONPATH": str(Path(cuready.__file__).resolve().parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"."
        time.sleep(delay)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    return child.returncode, err.decode()


@pytest.mark.parametrize("arguments", NORMAL, ids=" ".join)
def test_ctrl_c_at_any_early_moment_is_no_traceback(arguments: tuple[str, ...]) -> None:
    codes = []
    for step in range(25):
        code, err = interrupted(arguments, step * 0.005)
        codes.append(code)
        # Or it had done its work; or Python had taken its own handlers down already.
        assert code in (130, NORMAL[arguments], -signal.SIGINT), (step, code)
        # Click begins with an empty line, after the ^C that a terminal shows.
        assert err.strip() in ("", "cuready: error: interrupted"), (step, err)
        assert code != -signal.SIGINT or err == ""
    assert codes[0] == 130


def test_a_program_that_was_told_to_ignore_ctrl_c_goes_on() -> None:
    """As after `nohup`, or in the background of a shell without job control."""
    ignore = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    environment = {**os.environ, "PYTHONPATH": str(Path(cuready.__file__).resolve().parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", ignore + SCRIPT, "--version"],
        env=environment,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"."
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert out.startswith(b"cuready, version")


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_interrupt_that_a_class_body_turned_into_another_error_is_one(
    wrapped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python before 3.12 says `Error calling __set_name__` when a lazy import is interrupted."""

    @click.command()
    def command() -> None:
        if not wrapped:
            raise KeyboardInterrupt
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    assert _common.run(command, []) == 130
    assert capsys.readouterr().err.strip() == "cuready: error: interrupted"


def test_inside_a_command_ctrl_c_can_be_cleaned_up_after() -> None:
    """Its work gets a KeyboardInterrupt, and the process that uses us as a library its own."""
    code = """
import signal, sys
from cuready import _interrupt
from cuready.cli.main import main
_interrupt.outside_of_commands()
assert main(["explain", "LIB01"]) == 0
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    pass
else:
    raise SystemExit("nothing was raised")
mine = lambda number, frame: None
signal.signal(signal.SIGINT, mine)
_interrupt.outside_of_commands()
_interrupt.in_a_command()
assert signal.getsignal(signal.SIGINT) is mine
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(cuready.__file__).resolve().parents[1])}
    subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL
    )


def test_what_the_import_system_would_forget_is_raised_after_it() -> None:
    """Its lock is let go of in a callback, where an exception is printed and swallowed."""
    code = """
import signal, sys, time
from cuready import _interrupt
_interrupt.outside_of_commands()
_interrupt.in_a_command()
done = []
source = "def callback():\\n signal.raise_signal(signal.SIGINT)\\n done.append(len('a'))\\n"
exec(compile(source, "<frozen importlib._bootstrap>", "exec"))
try:
    callback()
    time.sleep(60)
except KeyboardInterrupt:
    raise SystemExit(7 if done else "raised inside of it")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(cuready.__file__).resolve().parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")
