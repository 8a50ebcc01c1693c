"""What `cuready env` refuses, and what a removal that was cut short leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from tests.integration.env_pip.conftest import Program


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "small.toml", "--name", ""), "--name is empty"),
        (("create", "small.toml", "--prefix", ""), "--prefix is empty"),
        (("create", "small.toml", "--prefix", "~nosuchuser/x"), "~nosuchuser/x"),
        (("create", "small.toml", "--locked", "--lock-dir", ""), "--lock-dir is empty"),
        (("lock", "small.toml", "--output", ""), "--output is empty"),
        (("update", "small", "--recipe", "", "--yes"), "--recipe is empty"),
        (("export", "small", "--output", ""), "--output is empty"),
        (("clone", "small", "--name", ""), "--name is empty"),
        (("show", "~nosuchuser/x"), "~nosuchuser/x"),
    ],
)
def test_an_option_that_says_nothing_is_refused(
    program: Program, arguments: tuple[str, ...], message: str
) -> None:
    """It is mostly a variable that is not set; `create --name ""` made one of the recipe's name."""
    program.recipe()
    error = program.json("env", *arguments, code=2)["error"]
    assert message in error["message"]
    assert not program.prefix().exists()


def test_an_environment_is_not_made_inside_of_another(program: Program) -> None:
    """Whoever removed or moved the outer one would take the inner one with it."""
    recipe = program.recipe()
    program("env", "create", recipe, "--no-verify")
    inner = program.prefix() / "lib" / "inner"
    for command in (("create", recipe), ("clone", "small")):
        done = program("env", *command, "--prefix", str(inner), "--no-verify", code=1)
        assert f"inside of the environment {program.prefix()}" in done.stderr
    assert not inner.exists()


def test_an_environment_that_holds_another_is_not_removed(program: Program) -> None:
    """One that an older cuready let in."""
    program("env", "create", program.recipe(), "--no-verify")
    aside = program.home / "aside"
    program.prefix().rename(aside)
    inner = program.prefix() / "inner"
    program("env", "create", program.recipe(), "--prefix", str(inner), "--no-verify")
    for item in aside.iterdir():
        item.rename(program.prefix() / item.name)
    done = program("env", "remove", str(program.prefix()), "--yes", code=1)
    assert str(inner) in done.stderr and inner.is_dir()
    program("env", "remove", str(inner), "--yes")
    program("env", "remove", str(program.prefix()), "--yes")
    assert program.json("env", "list")["environments"] == []


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_what_a_removal_that_was_cut_short_left_goes_with_the_next(
    program: Program, ending: signal.Signals
) -> None:
    """Gigabytes would stay, under a name that nobody lists."""
    program("env", "create", program.recipe(), "--no-verify")
    stand_in = program.home / "stand-in"
    stand_in.mkdir()
    (stand_in / "sitecustomize.py").write_text(
        "import os, shutil, time\n"
        "def stop(*_, **__):\n"
        f"    open({str(program.home / 'at it')!r}, 'w').close()\n"
        "    time.sleep(60)\n"
        "shutil.rmtree = stop\n"
    )
    path = os.pathsep.join([str(stand_in), program.env["PYTHONPATH"]])
    process = subprocess.Popen(
        [sys.executable, "-m", "cuready", "env", "remove", "small", "--yes"],
        cwd=program.home,
        env={**program.env, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
    )
    while not (program.home / "at it").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(ending)
    process.communicate(timeout=60)
    folder = program.prefix().parent
    (left,) = folder.iterdir()
    (folder / ".small.notes.removed").mkdir()  # somebody else's, whatever its name
    assert left.name.endswith(".removed")
    (entry,) = program.json("env", "list")["environments"]
    assert entry["status"] == "missing"
    program("env", "remove", "small", "--yes")
    assert [item.name for item in folder.iterdir()] == [".small.notes.removed"]
    assert program.json("env", "list")["environments"] == []
