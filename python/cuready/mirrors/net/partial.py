"""A download under way: a file that only grows, and a journal of who sent which part of it.

The journal is written before the first byte of each segment, so its last entry covers everything
up to the end of the file whatever happens: the file's own length is the only length. A crash needs
no
repair, and nothing in here is ever taken for whole: only ``Cache.publish`` makes a whole file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from cuready._util import parse_json, write_atomically
from cuready.mirrors.net.cache import disk_error, hash_file
from cuready.mirrors.net.faults import kill_point

__all__ = ["Partial", "Segment"]

_SCHEMA = 1


@dataclass(frozen=True)
class Segment:
    """From ``start`` on, bytes came from ``mirror``; ``validator``: its ETag or date, if strong."""

    mirror: str
    start: int
    validator: str = ""


class Partial:
    """The ``.part`` file of one key. Made and used while the key's lock is held, by one thread."""

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"{key}.part"
        self.suspect_path = folder / f"{key}.suspect"
        self._journal = folder / f"{key}.json"
        self.segments: list[Segment] = []
        self.total: int | None = None
        self.suspects: list[Segment] = []
        self._hasher = hashlib.sha256()
        self._stream: FileIO | None = None
        self._size = 0
        self._load()

    @property
    def size(self) -> int:
        """Bytes that are on disk."""
        return self._size

    @property
    def mirrors(self) -> list[str]:
        """Who sent a part of what is on disk, in order, each once."""
        parts = _with_ends(self.segments, self._size)
        return list(dict.fromkeys(part.mirror for part, end in parts if end > part.start))

    @property
    def validator(self) -> str:
        """ETag or date of the mirror that sent the last part; empty when it had no strong one."""
        return self.segments[-1].validator if self.segments else ""

    def sha256(self) -> str:
        """Digest of what is on disk."""
        return self._hasher.hexdigest()

    def _load(self) -> None:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            size = 0
        segments, total, suspects = self._read_journal()
        usable = bool(segments) and segments[0].start == 0 and segments[-1].start <= size
        if size and not usable:  # nobody knows where these bytes are from
            self.discard()
            return
        self.segments, self.total, self.suspects = segments, total, suspects
        if size:
            hash_file(self.path, self._hasher)
            self._size = size

    def _read_journal(self) -> tuple[list[Segment], int | None, list[Segment]]:
        try:
            journal: dict[str, Any] = parse_json(self._journal.read_bytes())
            if journal["schema"] != _SCHEMA:
                return [], None, []
            segments = _segments(journal["segments"])
            suspects = _segments(journal["suspects"])
            total = journal["total"]
            return segments, total if _is_count(total) else None, suspects
        except (OSError, ValueError, KeyError, TypeError):
            return [], None, []

    def _write_journal(self) -> None:
        body = {
            "schema": _SCHEMA,
            "total": self.total,
            "segments": [vars(segment) for segment in self.segments],
            "suspects": [vars(segment) for segment in self.suspects],
        }
        write_atomically(self._journal, json.dumps(body).encode())

    def begin(self, mirror: str, total: int | None, validator: str = "") -> None:
        """From here on, bytes come from ``mirror``. Raises CacheError."""
        try:
            if total is not None:
                self.total = total
            self.segments = [s for s in self.segments if s.start < self._size]
            self.segments.append(Segment(mirror, self._size, validator))
            kill_point("before-journal")
            self._write_journal()
            kill_point("journal-written")
            self._stream = self.path.open("ab", buffering=0)
            kill_point("part-opened")
        except OSError as error:
            raise disk_error(error, self.path.parent) from error

    def append(self, chunk: bytes) -> None:
        """Write ``chunk`` at the end. Raises CacheError when the disk is full."""
        assert self._stream is not None  # noqa: S101 - begin() comes first
        view = memoryview(chunk)
        try:
            while view:
                written = self._stream.write(view)
                self._hasher.update(view[:written])
                self._size += written
                view = view[written:]
        except OSError as error:
            missing = None if self.total is None else self.total - self._size
            raise disk_error(error, self.path.parent, missing) from error

    def end(self) -> None:
        """Close the file; what is in it stays."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def discard(self) -> None:
        """Start from zero."""
        self.end()
        self.path.unlink(missing_ok=True)
        kill_point("part-discarded")
        self._forget_content()

    def set_aside(self) -> None:
        """Start from zero, but keep the bytes to find out later who sent the wrong ones."""
        self.end()
        self.suspects = list(self.segments)
        self.path.replace(self.suspect_path)
        self._forget_content()

    def _forget_content(self) -> None:
        self.segments, self.total, self._size = [], None, 0
        self._hasher = hashlib.sha256()
        if self.suspects:
            self._write_journal()
        else:
            self._journal.unlink(missing_ok=True)

    def liars(self, good: Path) -> list[tuple[str, int]]:
        """(mirror, first wrong byte) for each mirror whose part of the file set aside differs."""
        if not self.suspects or not self.suspect_path.exists():
            return []
        found: dict[str, int] = {}
        size = self.suspect_path.stat().st_size
        with self.suspect_path.open("rb") as bad, good.open("rb") as right:
            for segment, end in _with_ends(self.suspects, size):
                wrong = _first_difference(bad, right, segment.start, end)
                if wrong is not None:
                    found.setdefault(segment.mirror, wrong)
        return list(found.items())

    def clean(self) -> None:
        """The content is published (or given up): remove what belongs to the download."""
        self.end()
        for path in (self.path, self.suspect_path, self._journal):
            path.unlink(missing_ok=True)
        kill_point("journal-removed")


def _segments(entries: list[Any]) -> list[Segment]:
    """Segments in their order. Raises ValueError or TypeError for anything else than that."""
    found = [Segment(**entry) for entry in entries]
    for segment in found:
        texts = (segment.mirror, segment.validator)
        if not all(isinstance(text, str) for text in texts) or not _is_count(segment.start):
            raise ValueError(f"no segment: {segment}")
    starts = [segment.start for segment in found]
    if starts != sorted(starts):
        raise ValueError("segments out of order")
    return found


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _with_ends(segments: list[Segment], size: int) -> list[tuple[Segment, int]]:
    """Each segment with the byte after its last one; a file may have lost its last segments."""
    ends = [min(segment.start, size) for segment in segments[1:]]
    return list(zip(segments, [*ends, size], strict=True)) if segments else []


def _first_difference(bad: Any, right: Any, start: int, end: int) -> int | None:
    """Offset of the first byte in [start, end) that differs between two open files, or None."""
    if start >= end:
        return None
    bad.seek(start)
    right.seek(start)
    position = start
    while position < end:
        count = min(1024 * 1024, end - position)
        ours, theirs = bad.read(count), right.read(count)
        if ours != theirs:
            pairs = enumerate(zip(ours, theirs, strict=False))
            first = next((index for index, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
            return position + first
        position += count
    return None
