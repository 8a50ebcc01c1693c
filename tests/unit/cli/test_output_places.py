"""What ``--output`` names may be a pipe or a device: it is written to, and never replaced.

No test may name a device of the machine's own (``/dev/null``): a mistake would replace it.
"""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from cuready._util import write_atomically


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "through a link"])
def test_a_pipe_is_written_to(tmp_path: Path, linked: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    way = pipe
    if linked:
        way = tmp_path / "link"
        way.symlink_to(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_atomically(way, b"words")
    reader.join(10)
    assert read == [b"words"]
    assert stat.S_ISFIFO(pipe.stat().st_mode) and way.is_symlink() == linked


def test_a_device_is_written_to(tmp_path: Path) -> None:
    """A null device of the test's own."""
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        device.open("wb").close()
    except OSError:
        pytest.skip("only root makes devices, and only where the disk allows it")
    write_atomically(device, b"words")
    assert stat.S_ISCHR(device.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


def test_a_folder_stays_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / ".", b"words")
    assert list(tmp_path.iterdir()) == []
