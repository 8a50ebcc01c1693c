"""The cache on a disk that is full, read-only, or no folder; and placing files."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from tests.integration.mirrors_net.net_support import conda_bytes, digest, good, request_for
from tests.integration.mirrors_net.servers import MirrorFarm

from cuready.mirrors.net import Cache, CacheError, Fetcher, fetch_one
from cuready.mirrors.net.partial import Partial

DATA = conda_bytes(200_000)
Usage = namedtuple("Usage", "total used free")


def test_a_disk_too_small_for_the_file_is_said_before_a_byte_is_written(
    farm: MirrorFarm, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = farm.add(good(DATA))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(CacheError) as caught:
        fetch_one(fetcher, request_for([mirror], DATA))
    needed = len(DATA) + 16 * 1024 * 1024
    assert f"{needed} bytes" in caught.value.message
    assert "1000 bytes" in caught.value.message
    assert caught.value.details["needed_bytes"] == needed
    assert caught.value.exit_code == 3


def test_a_disk_that_fills_up_on_the_way_keeps_what_is_there(
    farm: MirrorFarm, fetcher: Fetcher, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for([farm.add(good(DATA))], DATA)
    original = Partial.begin

    class FullAfter:
        def __init__(self, stream: Any) -> None:
            self.stream, self.left = stream, 100_000

        def write(self, view: Any) -> int:
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            count = self.stream.write(view[: self.left])
            self.left -= count
            return int(count)

        def close(self) -> None:
            self.stream.close()

    def begin(self: Partial, *args: Any) -> None:
        original(self, *args)
        self._stream = FullAfter(self._stream)  # type: ignore[assignment]

    monkeypatch.setattr(Partial, "begin", begin)
    with pytest.raises(CacheError, match=r"100000 bytes .* needed"):
        fetch_one(fetcher, request)
    monkeypatch.setattr(Partial, "begin", original)
    download = fetch_one(fetcher, request)
    assert download.resumed_from == 100_000
    assert download.path.read_bytes() == DATA


def test_a_cache_that_cannot_be_a_folder_is_named(
    farm: MirrorFarm, fetcher: Fetcher, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    fetcher.cache = Cache(tmp_path / "file" / "cache")
    with pytest.raises(CacheError, match=str(tmp_path / "file")) as caught:
        fetch_one(fetcher, request_for([farm.add(good(DATA))], DATA))
    assert "CUREADY_CACHE_DIR" in caught.value.hint


def test_a_read_only_cache_gives_what_it_has_and_names_itself_for_the_rest(
    farm: MirrorFarm, fetcher: Fetcher, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the refusal of the file system is put in at its own call."""
    request = request_for([farm.add(good(DATA))], DATA)
    fetch_one(fetcher, request)

    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert fetch_one(fetcher, request).cached
    with pytest.raises(CacheError, match="Read-only file system"):
        fetch_one(fetcher, request_for([farm.add(good(DATA))], DATA, sha256="0" * 64))


def test_cached_files_are_read_only_and_placed_copies_are_not(
    farm: MirrorFarm, fetcher: Fetcher, cache: Cache, tmp_path: Path
) -> None:
    download = fetch_one(fetcher, request_for([farm.add(good(DATA))], DATA))
    assert stat.S_IMODE(download.path.stat().st_mode) == 0o444
    placed = cache.place(download.sha256, tmp_path / "a folder" / "größe.conda")
    assert placed.read_bytes() == DATA
    assert placed.stat().st_mode & stat.S_IWUSR
    linked = cache.place(download.sha256, tmp_path / "linked.conda", link=True)
    assert linked.stat().st_ino == download.path.stat().st_ino
    assert [p.name for p in placed.parent.iterdir()] == ["größe.conda"]


def test_a_placed_file_replaces_the_old_one_whole_or_not_at_all(
    farm: MirrorFarm,
    fetcher: Fetcher,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    download = fetch_one(fetcher, request_for([farm.add(good(DATA))], DATA))
    target = tmp_path / "model.pth"
    target.write_bytes(b"old")

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(CacheError, match="no space left"):
        cache.place(download.sha256, target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model.pth"]
    assert digest(DATA) == download.sha256
