"""kill -9 at every named point: the prefix is what it was, or what it should become."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from channels import Package, channel, pure, python, tool
from env_support import Channel, Serves, tree_of
from servers import MirrorFarm

from cuready.env.conda import interrupted, recover
from cuready.env.conda.faults import KILL_POINTS, VARIABLE

DRIVER = Path(__file__).with_name("kill_driver.py")

BEFORE_THE_SWAP = KILL_POINTS[: KILL_POINTS.index("old-moved")]
IN_THE_SWAP = ("old-moved", "new-moved", "journal-swapped", "old-removed", "old-removed:2")
LATER_TIMES = ("file-cloned:4", "package-linked:2", "extract-published:2", "index-stored:2")


def drive(running: Channel, folder: Path, action: str, *flags: str, kill: str = "") -> int:
    """One command in a process of its own; its exit code."""
    environment = {**os.environ, VARIABLE: kill, "TEST_PYTHON": sys.executable}
    command = [sys.executable, DRIVER, running.url, folder / "cache", folder / "env", action]
    done = subprocess.run(
        [*command, *flags],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def no_leftovers(folder: Path) -> None:
    assert not [path for path in folder.rglob("*") if "cuready-work" in path.name]


@dataclass(frozen=True)
class Prepared:
    """An environment that can be updated, what is in it, and what an update makes of it."""

    channel: Channel
    folder: Path
    before: dict[str, str]
    wanted: dict[str, str]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """Made once. The prefix stands in its own scripts, so every test has to be at one path."""
    folder = tmp_path_factory.mktemp("kill")
    extra = Package("extra", files={"share/extra/a": b"a", "share/taken.txt": b"of extra"})
    files = channel(python(), tool("1.0"), tool("2.0"), pure(), extra)
    with MirrorFarm() as farm:
        running = Channel(farm.add(Serves(files)), files)
        assert drive(running, folder, "create") == 0
        # A file of nobody that the update brings too, and one that it does not.
        (folder / "env/share/taken.txt").write_bytes(b"of nobody")
        (folder / "env/lib/python3.12/mine.py").write_bytes(b"mine")
        for name in ("env", "cache"):
            shutil.copytree(folder / name, folder / f"{name}-kept", symlinks=True)
        before = tree_of(folder / "env")
        assert drive(running, folder, "update") == 0
        yield Prepared(running, folder, before, tree_of(folder / "env"))


@pytest.fixture
def old(prepared: Prepared) -> Prepared:
    """The same environment and the same cache again, for each test."""
    for path in prepared.folder.iterdir():
        if not path.name.endswith("-kept"):
            shutil.rmtree(path)
    for name in ("env", "cache"):
        shutil.copytree(prepared.folder / f"{name}-kept", prepared.folder / name, symlinks=True)
    assert tree_of(prepared.folder / "env") == prepared.before
    return prepared


def killed(old: Prepared, point: str, *flags: str) -> Path:
    """Kill an update at ``point``; the prefix."""
    code = drive(old.channel, old.folder, "update", *flags, kill=point)
    assert code == -signal.SIGKILL, "the point was not passed"
    return old.folder / "env"


@pytest.mark.parametrize("point", [*BEFORE_THE_SWAP, *LATER_TIMES])
def test_before_the_swap_the_old_environment_is_untouched(old: Prepared, point: str) -> None:
    prefix = killed(old, point)
    assert tree_of(prefix) == old.before
    recover(prefix)
    assert tree_of(prefix) == (old.wanted if point == "journal-ready" else old.before)
    no_leftovers(old.folder)


@pytest.mark.parametrize("point", ["index-fetched", "extracted", "clone-done", "package-linked:2"])
def test_after_a_kill_the_same_command_comes_to_its_end(old: Prepared, point: str) -> None:
    recover(killed(old, point))
    assert drive(old.channel, old.folder, "update") == 0
    assert tree_of(old.folder / "env") == old.wanted


@pytest.mark.parametrize("point", IN_THE_SWAP)
def test_in_the_swap_the_next_command_finishes(old: Prepared, point: str) -> None:
    prefix = killed(old, point)
    if interrupted(prefix) is not None:
        assert recover(prefix) in ("finished", "rolled back")
    assert tree_of(prefix) == old.wanted
    no_leftovers(old.folder)


@pytest.mark.parametrize("number", [1, 2, 4, 6, 8])
def test_entry_by_entry_the_next_command_finishes(old: Prepared, number: int) -> None:
    prefix = killed(old, f"entry-moved:{number}", "inside")
    assert recover(prefix) == "finished"
    assert tree_of(prefix) == old.wanted
    no_leftovers(old.folder)


@pytest.mark.parametrize(
    ("point", "flags"),
    [
        ("journal-ready", ("keep",)),
        ("old-moved", ("keep",)),
        ("new-moved", ("keep",)),
        ("journal-swapped", ("keep",)),
        ("entry-moved:3", ("keep", "inside")),
        ("journal-swapped", ("keep", "inside")),
        ("new-moved-back", ("keep", "back")),
        ("entry-moved-back:1", ("keep", "inside", "back")),
        ("entry-moved-back:6", ("keep", "inside", "back")),
    ],
)
def test_what_was_not_accepted_is_rolled_back(
    old: Prepared, point: str, flags: tuple[str, ...]
) -> None:
    prefix = killed(old, point, *flags)
    assert recover(prefix) == "rolled back"
    assert tree_of(prefix) == old.before
    no_leftovers(old.folder)


@pytest.mark.parametrize(
    "point", ["extracted", "view-made", "package-linked:2", "journal-ready", "new-moved"]
)
def test_a_create_that_was_killed_can_be_made_again(
    serve: Callable[..., Channel], tmp_path: Path, point: str
) -> None:
    made = serve()
    assert drive(made, tmp_path, "create", kill=point) == -signal.SIGKILL
    recover(tmp_path / "env")
    if not (tmp_path / "env").exists():
        assert drive(made, tmp_path, "create") == 0
    assert (tmp_path / "env/bin/tool").exists()
    no_leftovers(tmp_path)


@pytest.mark.parametrize("point", ["file-cloned:3", "package-linked", "link-done", "extracted"])
def test_ctrl_c_leaves_nothing_half_done(old: Prepared, point: str) -> None:
    folder = old.folder
    command = [sys.executable, DRIVER, old.channel.url, folder / "cache", folder / "env", "update"]
    done = subprocess.run(
        command,
        env={**os.environ, VARIABLE: f"INT@{point}"},
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert "KeyboardInterrupt" in done.stderr and done.returncode != 0
    assert tree_of(folder / "env") == old.before
    assert interrupted(folder / "env") is None
    no_leftovers(folder)


def test_two_creates_at_once_share_one_cache(serve: Callable[..., Channel], tmp_path: Path) -> None:
    running_channel = serve()
    commands = [
        [sys.executable, DRIVER, running_channel.url, tmp_path / "cache", tmp_path / name, "create"]
        for name in ("env-a", "env-b", "env-c")
    ]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said.decode()
    names = [set(tree_of(tmp_path / name)) for name in ("env-a", "env-b", "env-c")]
    assert names[0] == names[1] == names[2]
    fetched = [path for path in running_channel.requests if path.endswith(".conda")]
    assert len(fetched) == len(set(fetched)) == 3


def test_one_prefix_is_changed_by_one_process_at_a_time(tmp_path: Path) -> None:
    from cuready.env.conda.transaction import Transaction
    from cuready.errors import EnvError

    (tmp_path / "env/conda-meta").mkdir(parents=True)
    held = Transaction.begin(tmp_path / "env", existed=True, keep=False)
    with pytest.raises(EnvError, match="another process"):
        Transaction.begin(tmp_path / "env", existed=True, keep=False)
    assert interrupted(tmp_path / "env") is None
    held.roll_back()
