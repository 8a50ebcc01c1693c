"""What the targets share: files that live in memory, and a count of the bytes that were read."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from cuready._util import READ_LIMIT

__all__ = [
    "MEMORY",
    "READ_LIMIT",
    "SCRATCH",
    "Target",
    "bounded_reading",
    "memory_file",
    "part",
    "scratch",
]

Target = Callable[[bytes], None]

SCRATCH = "CUREADY_FUZZ_SCRATCH"
"""The variable that names the folder of a run's scratch folders, which its starter removes."""
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

_SLACK = 64 * 1024  # the counter's own reads, and a directory or two


def _bytes_read() -> int:
    """Bytes that this process got from read(2), pread(2) and their kin: proc(5), ``rchar``."""
    return int(Path("/proc/self/io").read_bytes().split(None, 2)[1])


@contextmanager
def bounded_reading(limit: int = READ_LIMIT) -> Iterator[None]:
    """Fail when the block reads more than ``limit`` bytes, from whatever files and however often.

    The kernel counts, so no way of reading is forgotten; pages of a mapped file are not in it.
    """
    before = _bytes_read()
    try:
        yield
    finally:
        count = _bytes_read() - before
        assert count <= limit + _SLACK, f"{count} bytes read for one answer"


@contextmanager
def memory_file(data: bytes, size: int | None = None) -> Iterator[str]:
    """The path of a file with ``data`` in it, continued with a hole up to ``size`` bytes."""
    descriptor = os.memfd_create("fuzz")
    try:
        os.write(descriptor, data)
        if size is not None:
            os.ftruncate(descriptor, max(size, len(data)))
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@cache
def scratch(name: str) -> Path:
    """A folder in memory, one a process and name; a target leaves in it what it found there."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-", dir=os.environ.get(SCRATCH) or MEMORY))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # libFuzzer ends without it
    return folder


def part(data: bytes, count: int) -> tuple[int, bytes]:
    """Which of ``count`` ways the first byte chooses, and the bytes that are left."""
    return (data[0] % count if data else 0), data[1:]
