"""kill -9 at every named point: the prefix is what it was, or what it should become."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from channels import Package, pure, python, tool
from env_support import Channel

from cuready.env.conda import interrupted, recover
from cuready.env.conda.faults import KILL_POINTS, VARIABLE

Tree = Callable[[Path], dict[str, str]]
DRIVER = Path(__file__).with_name("kill_driver.py")

BEFORE_THE_SWAP = KILL_POINTS[: KILL_POINTS.index("old-moved")]
IN_THE_SWAP = ("old-moved", "new-moved", "journal-swapped", "old-removed", "old-removed:2")
LATER_TIMES = ("file-cloned:4", "package-linked:2", "extract-published:2", "index-stored:2")


def drive(channel: Channel, folder: Path, action: str, *flags: str, kill: str = "") -> int:
    environment = {**os.environ}
    if kill:
        environment[VARIABLE] = kill
    command = [
        sys.executable,
        DRIVER,
        channel.url,
        folder / "cache",
        folder / "env",
        action,
        *flags,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.fixture
def old(serve: Callable[..., Channel], tmp_path: Path) -> Channel:
    """An environment that can be updated, with a file of nobody that the update brings too."""
    extra = Package("extra", files={"share/extra/a": b"a", "share/taken.txt": b"of extra"})
    channel = serve(python(), tool("1.0"), tool("2.0"), pure(), extra)
    assert drive(channel, tmp_path, "create") == 0
    (tmp_path / "env/share/taken.txt").write_bytes(b"of nobody")
    (tmp_path / "env/lib/python3.12/mine.py").write_bytes(b"mine")
    return channel


@pytest.fixture
def wanted(old: Channel, tmp_path: Path, tree: Tree) -> dict[str, str]:
    """What the update makes of the old environment."""
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "env", kept, symlinks=True)
    assert drive(old, tmp_path, "update") == 0
    made = tree(tmp_path / "env")
    shutil.rmtree(tmp_path / "env")
    kept.rename(tmp_path / "env")
    shutil.rmtree(tmp_path / "cache")
    return made


def no_leftovers(folder: Path) -> None:
    assert not [path for path in folder.rglob("*") if "cuready-work" in path.name]


@pytest.mark.parametrize("point", (*BEFORE_THE_SWAP, *LATER_TIMES))
def test_before_the_swap_the_old_environment_is_untouched(
    old: Channel, wanted: dict[str, str], tmp_path: Path, tree: Tree, point: str
) -> None:
    before = tree(tmp_path / "env")
    assert drive(old, tmp_path, "update", kill=point) == -signal.SIGKILL, "the point was not passed"
    assert tree(tmp_path / "env") == before
    expected = wanted if point == "journal-ready" else before
    recover(tmp_path / "env")
    assert tree(tmp_path / "env") == expected
    no_leftovers(tmp_path)
    assert drive(old, tmp_path, "update") == 0
    assert tree(tmp_path / "env") == wanted


@pytest.mark.parametrize("point", IN_THE_SWAP)
def test_in_the_swap_the_next_command_finishes(
    old: Channel, wanted: dict[str, str], tmp_path: Path, tree: Tree, point: str
) -> None:
    assert drive(old, tmp_path, "update", kill=point) == -signal.SIGKILL, "the point was not passed"
    if interrupted(tmp_path / "env") is not None:
        assert recover(tmp_path / "env") in ("finished", "rolled back")
    assert tree(tmp_path / "env") == wanted
    no_leftovers(tmp_path)


@pytest.mark.parametrize("point", [f"entry-moved:{number}" for number in (1, 2, 4, 6, 8)])
def test_entry_by_entry_the_next_command_finishes(
    old: Channel, wanted: dict[str, str], tmp_path: Path, tree: Tree, point: str
) -> None:
    killed = drive(old, tmp_path, "update", "inside", kill=point)
    assert killed == -signal.SIGKILL, "the point was not passed"
    assert recover(tmp_path / "env") == "finished"
    assert tree(tmp_path / "env") == wanted
    no_leftovers(tmp_path)


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
    old: Channel, tmp_path: Path, tree: Tree, point: str, flags: tuple[str, ...]
) -> None:
    before = tree(tmp_path / "env")
    killed = drive(old, tmp_path, "update", *flags, kill=point)
    assert killed == -signal.SIGKILL, "the point was not passed"
    assert recover(tmp_path / "env") == "rolled back"
    assert tree(tmp_path / "env") == before
    no_leftovers(tmp_path)


@pytest.mark.parametrize(
    "point", ["extracted", "view-made", "package-linked:2", "journal-ready", "new-moved"]
)
def test_a_create_that_was_killed_can_be_made_again(
    serve: Callable[..., Channel], tmp_path: Path, point: str
) -> None:
    channel = serve()
    assert drive(channel, tmp_path, "create", kill=point) == -signal.SIGKILL
    recover(tmp_path / "env")
    if not (tmp_path / "env").exists():
        assert drive(channel, tmp_path, "create") == 0
    assert (tmp_path / "env/bin/tool").exists()
    no_leftovers(tmp_path)


@pytest.mark.parametrize("point", ["file-cloned:3", "package-linked", "link-done", "extracted"])
def test_ctrl_c_leaves_nothing_half_done(
    old: Channel, tmp_path: Path, tree: Tree, point: str
) -> None:
    before = tree(tmp_path / "env")
    shutil.rmtree(tmp_path / "cache")
    command = [sys.executable, DRIVER, old.url, tmp_path / "cache", tmp_path / "env", "update"]
    done = subprocess.run(
        command,
        env={**os.environ, VARIABLE: f"INT@{point}"},
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    assert "KeyboardInterrupt" in done.stderr and done.returncode != 0
    assert tree(tmp_path / "env") == before
    assert interrupted(tmp_path / "env") is None
    no_leftovers(tmp_path)
    assert drive(old, tmp_path, "update") == 0


def test_two_creates_at_once_share_one_cache(
    serve: Callable[..., Channel], tmp_path: Path, tree: Tree
) -> None:
    channel = serve()
    commands = [
        [sys.executable, DRIVER, channel.url, tmp_path / "cache", tmp_path / name, "create"]
        for name in ("env-a", "env-b", "env-c")
    ]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said.decode()
    names = [set(tree(tmp_path / name)) for name in ("env-a", "env-b", "env-c")]
    assert names[0] == names[1] == names[2]
    fetched = [path for path in channel.requests if path.endswith(".conda")]
    assert len(fetched) == len(set(fetched)) == 3


def test_one_prefix_is_changed_by_one_process_at_a_time(
    old: Channel, tmp_path: Path, tree: Tree
) -> None:
    from cuready.env.conda.transaction import Transaction
    from cuready.errors import EnvError

    held = Transaction.begin(tmp_path / "env", existed=True, keep=False)
    with pytest.raises(EnvError, match="another process"):
        Transaction.begin(tmp_path / "env", existed=True, keep=False)
    assert interrupted(tmp_path / "env") is None
    held.roll_back()
