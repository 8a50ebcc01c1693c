"""kill -9, Ctrl-C and two processes at once: no partial file is ever taken for whole."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.mirrors_net.net_support import conda_bytes, digest, good, request_for
from tests.integration.mirrors_net.servers import Good, MirrorFarm, Stall, Truncated, WrongBytes

from cuready.mirrors.net import Cache, Cancelled, CancelToken, Fetcher, fetch_all
from cuready.mirrors.net.faults import KILL_POINTS

NAME = "pkg-1.0-0.conda"
DATA = conda_bytes(400_000)
CHILD = Path(__file__).with_name("child.py")
PYTHON = Path(__file__).parents[3] / "python"


def start(
    cache: Path,
    urls: list[str],
    destination: Path | str = "-",
    *,
    sha256: str = digest(DATA),
    size: str = str(len(DATA)),
    **environment: str,
) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILD), str(cache), NAME, sha256, size, str(destination), *urls]
    variables = {**os.environ, "PYTHONPATH": str(PYTHON), **environment}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
    )


def whole_files(cache: Path) -> list[Path]:
    return [path for path in (cache / "sha256").rglob("*") if path.is_file()]


KILLS = [*((name, "1") for name in KILL_POINTS), ("chunk-written", "3"), ("request-sent", "2")]


@pytest.mark.parametrize(("point", "count"), KILLS)
def test_kill_at_any_point_leaves_nothing_that_passes_for_whole(
    farm: MirrorFarm, tmp_path: Path, point: str, count: str
) -> None:
    """The mirrors lie, break off and then tell the truth, so that one run passes every point."""
    mirrors = [
        farm.add(WrongBytes({NAME: DATA}, 5000)),
        farm.add(Truncated({NAME: DATA})),
        farm.add(Good({NAME: DATA})),
    ]
    urls = [mirror.url(NAME) for mirror in mirrors]
    cache, target = tmp_path / "cache", tmp_path / "placed" / NAME
    # No digest is given where the point is in the recording of a first use.
    known = "-" if point in ("before-record", "recorded") else digest(DATA)
    urls = urls[2:] if known == "-" else urls

    killed = start(cache, urls, target, sha256=known, CUREADY_KILL_AT=f"{point}:{count}")
    _, errors = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, (point, errors)

    for path in whole_files(cache):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert not target.exists() or target.read_bytes() == DATA

    again = start(cache, urls, target, sha256=known)
    output, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert f"sha256={digest(DATA)}" in output
    assert target.read_bytes() == DATA
    assert not list((cache / "partial").glob("*.part"))


def test_the_kill_points_are_at_least_twenty() -> None:
    assert len(set(KILL_POINTS)) >= 20


def test_ctrl_c_ends_within_a_second_and_what_is_there_can_be_resumed(
    farm: MirrorFarm, tmp_path: Path
) -> None:
    behaviour = Stall({NAME: DATA}, first=200_000)
    mirror = farm.add(behaviour)
    child = start(tmp_path / "cache", [mirror.url(NAME)])
    assert behaviour.stalled.wait(30)
    _until(lambda: _part_size(tmp_path / "cache") == 200_000)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert time.monotonic() - began < 2.0  # the interpreter's own exit included
    assert child.returncode != 0
    assert whole_files(tmp_path / "cache") == []

    fine = farm.add(good(DATA))
    again = start(tmp_path / "cache", [fine.url(NAME)])
    _output, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert fine.sent == len(DATA) - 200_000


def test_two_processes_that_want_the_same_file_fetch_it_once(
    farm: MirrorFarm, tmp_path: Path
) -> None:
    gate = Gate({NAME: DATA})
    mirror = farm.add(gate)
    children = [start(tmp_path / "cache", [mirror.url(NAME)]) for _ in range(2)]
    first_words = set()
    for child in children:  # both have begun, and one waits for the other
        assert child.stdout is not None
        first_words.add(child.stdout.readline().strip())
    gate.open.set()
    assert first_words == {"started", "waiting"}
    for child in children:
        output, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
        assert f"sha256={digest(DATA)}" in output
    assert len(mirror.gets(NAME)) == 1


def test_the_same_file_twice_in_one_batch_is_fetched_once(
    farm: MirrorFarm, fetcher: Fetcher
) -> None:
    mirror = farm.add(good(DATA))
    request = request_for([mirror], DATA)
    downloads = fetch_all(fetcher, [request, request], jobs=2)
    assert [download.sha256 for download in downloads] == [digest(DATA)] * 2
    assert len(mirror.gets(NAME)) == 1


def test_cancel_from_another_thread_stops_every_download(
    farm: MirrorFarm, fetcher: Fetcher, cache: Cache, make_fetcher: Callable[..., Fetcher]
) -> None:
    import threading

    stalls = [Stall({NAME: DATA}) for _ in range(3)]
    mirrors = [farm.add(stall) for stall in stalls]
    requests = [request_for([m], DATA, sha256=f"{i:064x}") for i, m in enumerate(mirrors)]
    token = CancelToken()

    def cancel() -> None:
        for stall in stalls:
            stall.stalled.wait(30)
        token.cancel()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(Cancelled):
        fetch_all(make_fetcher(stall_timeout=30.0), requests, jobs=3, cancel=token)
    assert whole_files(cache.root) == []


def test_never_more_files_at_once_than_asked_for(farm: MirrorFarm, fetcher: Fetcher) -> None:
    import threading

    class Counting(Good):
        now = most = 0
        guard = threading.Lock()

        def give(self, handler: object, data: bytes) -> None:
            with self.guard:
                self.now += 1
                self.most = max(self.most, self.now)
            super().give(handler, data)  # type: ignore[arg-type]
            with self.guard:
                self.now -= 1

    names = [f"p{number}-1-0.conda" for number in range(12)]
    files = {name: conda_bytes(50_000, seed=i) for i, name in enumerate(names)}
    behaviour = Counting(files)
    mirror = farm.add(behaviour)
    done = fetch_all(fetcher, [request_for([mirror], files[n], n) for n in names], jobs=3)
    assert [download.name for download in done] == names
    assert 1 <= behaviour.most <= 3


class Gate(Good):
    """Answers when ``open`` is set."""

    def __init__(self, files: dict[str, bytes]) -> None:
        import threading

        super().__init__(files)
        self.open = threading.Event()

    def give(self, handler: object, data: bytes) -> None:
        self.open.wait(30)
        super().give(handler, data)  # type: ignore[arg-type]


def _part_size(cache: Path) -> int:
    parts = list((cache / "partial").glob("*.part"))
    return parts[0].stat().st_size if parts else 0


def _until(condition: Callable[[], bool]) -> None:
    """Spin until ``condition`` holds; fails after 30 s."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()
