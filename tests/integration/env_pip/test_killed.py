"""kill -9 at every step: what is there afterwards is the old environment or the new one, whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.integration.env_pip.conftest import Program, tree
from tests.integration.env_pip.package_index import PackageIndex

NET = "CUREADY_KILL_AT"
LINK = "CUREADY_ENV_KILL_AT"

# (variable, point): nothing of the old environment may have been touched yet.
UNTOUCHED = [
    (NET, "everything-fetched"),
    (NET, "locks-made"),
    (LINK, "work-made"),
    (LINK, "file-cloned:40"),
    (NET, "venv-cloned"),
    (NET, "file-removed"),
    (NET, "old-packages-removed"),
    (NET, "wheel-file:3"),
    (NET, "wheel-installed"),
    (NET, "pip-done"),
    (LINK, "journal-ready"),
]
# The swap, the proofs and the marker: the next command takes it back, or finishes it.
SWAPPING = [
    (LINK, "old-moved"),
    (LINK, "new-moved"),
    (LINK, "journal-swapped"),
    (NET, "verified"),
    (NET, "marker-written"),
    (NET, "locks-kept"),
    (NET, "done-marked"),
    (LINK, "old-removed"),
]
CREATING = ["prefix-made", "journal-written", "wheel-file:2", "venv-made", "pip-done",
            "marker-written"]  # fmt: skip


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, index: PackageIndex) -> Path:
    """A home with hello 1.0 installed; each test works on a copy at the same path."""
    home = tmp_path_factory.mktemp("killed") / "home"
    home.mkdir()
    program = Program(home)
    program.use(index.url)
    program("env", "create", program.recipe("==1.0", "1.0"))
    program.recipe()
    saved = home.with_name("saved")
    shutil.copytree(home, saved, symlinks=True)
    return saved


@pytest.fixture
def program(old: Path) -> Program:
    """The home as it was, at the path that its scripts name."""
    home = old.with_name("home")
    shutil.rmtree(home)
    shutil.copytree(old, home, symlinks=True)
    return Program(home)


def beside(program: Program) -> list[str]:
    """What lies beside the environment, such as a work folder."""
    return sorted(item.name for item in program.prefix().parent.iterdir())


def kept_lock(program: Program) -> str:
    """The lock that outlives the environment: it must always be that of what stands."""
    return (program.home / "data/cuready/kept-locks/small/pylock.small.toml").read_text()


@pytest.mark.parametrize(("variable", "point"), UNTOUCHED)
def test_update_killed_before_the_swap_touched_nothing(
    program: Program, variable: str, point: str
) -> None:
    before = tree(program.prefix())
    done = program("env", "update", "small", "--yes", code=None, **{variable: point})
    assert done.returncode == -9, f"{point} is never passed: {done.stdout} {done.stderr}"
    assert tree(program.prefix()) == before
    program("env", "repair", "small", "--offline")
    assert tree(program.prefix()) == before
    assert beside(program) == ["small"]
    assert "hello-1.0" in kept_lock(program)


@pytest.mark.parametrize(("variable", "point"), SWAPPING)
def test_update_killed_in_the_swap_is_taken_back_or_finished(
    program: Program, variable: str, point: str
) -> None:
    before = tree(program.prefix())
    done = program("env", "update", "small", "--yes", code=None, **{variable: point})
    assert done.returncode == -9, f"{point} is never passed: {done.stdout} {done.stderr}"
    told = program("env", "repair", "small", "--offline", code=None)
    if program.prefix().exists():
        assert told.returncode == 0, told.stderr
    else:  # no folder, no environment of that name: the path still leads there
        told = program("env", "repair", str(program.prefix()), "--offline")
    after = tree(program.prefix())
    new = any(name.endswith("only_2_0.py") for name in after)
    assert new or after == before
    said = "2.0" if new else "1.0"
    shown = program.json("env", "show", "small")
    assert {item["name"]: item["version"] for item in shown["packages"]}["hello"] == said
    assert program.json("env", "repair", "small", "--dry-run")["damaged"] == []
    assert beside(program) == ["small"]
    assert f"hello-{said}" in kept_lock(program)


@pytest.mark.parametrize("point", CREATING)
def test_create_killed_leaves_what_the_next_command_removes_or_finishes(
    program: Program, point: str
) -> None:
    recipe = program.recipe()
    create = ("env", "create", recipe, "--name", "fresh", "--no-verify") if point != "verified" else (
        "env", "create", recipe, "--name", "fresh")  # fmt: skip
    done = program(*create, code=None, **{NET: point})
    assert done.returncode == -9, f"{point} is never passed: {done.stdout} {done.stderr}"
    fresh = program.prefix("fresh")
    again = program(*create, code=None)
    if point == "marker-written":  # all was done but for the last line
        assert "is an environment already" in again.stderr and "finished" in again.stderr
    else:
        assert again.returncode == 0, again.stderr
    assert program.json("env", "repair", "fresh", "--dry-run")["damaged"] == []
    assert not (fresh / ".cuready/journal.json").exists()
    assert beside(program) == ["fresh", "small"]
