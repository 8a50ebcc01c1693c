"""What an interrupted download costs the second time, and when parts may be joined."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.mirrors_net.net_support import conda_bytes, digest, good, request_for
from tests.integration.mirrors_net.servers import Good, MirrorFarm, Truncated

from cuready.errors import MirrorError
from cuready.mirrors.net import Cache, Fetcher, FileKind, Verified, fetch_one
from cuready.mirrors.net.request import DownloadRequest, Source

NAME = "pkg-1.0-0.conda"
DATA = conda_bytes(300_000)
FIFTY_MB = 50 * 1000 * 1000


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same mirror", "another mirror"])
def test_fifty_megabytes_cut_at_half_cost_at_most_55_percent_on_the_retry(
    farm: MirrorFarm, make_fetcher: Any, elsewhere: bool
) -> None:
    data = conda_bytes(FIFTY_MB)
    broken = farm.add(Truncated({NAME: data}))
    with pytest.raises(MirrorError):
        fetch_one(make_fetcher(retries=0, diagnose=False), request_for([broken], data))
    assert broken.sent == FIFTY_MB // 2

    second = farm.add(good(data)) if elsewhere else broken
    second.sent = 0
    if not elsewhere:
        broken.behaviour = good(data)
    download = fetch_one(make_fetcher(), request_for([second], data))
    assert download.sha256 == digest(data)
    assert download.resumed_from >= 0.45 * FIFTY_MB
    assert second.sent <= 0.55 * FIFTY_MB


def test_without_a_digest_parts_of_two_mirrors_are_never_joined(
    farm: MirrorFarm, fetcher: Fetcher
) -> None:
    broken, fine = farm.add(Truncated({NAME: DATA})), farm.add(Good({NAME: DATA}, etag='"a"'))
    download = fetch_one(fetcher, request_for([broken, fine], DATA, sha256="", size=None))
    assert download.verified is Verified.FIRST_USE
    assert "range" not in fine.gets()[0].headers
    assert fine.sent == len(DATA)


def test_without_a_digest_a_strong_etag_lets_the_same_mirror_go_on(
    farm: MirrorFarm, make_fetcher: Any
) -> None:
    class Cut(Good):
        def give(self, handler: Any, data: bytes) -> None:
            if handler.headers.get("Range"):
                super().give(handler, data)
                return
            handler.head(200, len(data), ETag='"v1"')
            handler.body(data[:100_000])
            handler.hang_up()

    mirror = farm.add(Cut({NAME: DATA}, etag='"v1"'))
    request = request_for([mirror], DATA, sha256="", size=None)
    download = fetch_one(make_fetcher(), request)
    assert mirror.gets()[1].headers["if-range"] == '"v1"'
    assert mirror.sent == len(DATA)
    assert download.path.read_bytes() == DATA


def test_a_file_that_changed_at_the_mirror_starts_from_zero(
    farm: MirrorFarm, make_fetcher: Any
) -> None:
    new = conda_bytes(300_000, seed=9)

    class Replaced(Good):
        def give(self, handler: Any, data: bytes) -> None:
            if not handler.headers.get("If-Range"):
                handler.head(200, len(data), ETag='"old"')
                handler.body(data[:100_000])
                handler.hang_up()
                return
            self.etag = '"new"'
            super().give(handler, new)

    mirror = farm.add(Replaced({NAME: DATA}))
    download = fetch_one(make_fetcher(), request_for([mirror], DATA, sha256="", size=None))
    assert download.path.read_bytes() == new


def test_what_a_url_was_at_first_use_is_what_it_must_be_later(
    farm: MirrorFarm, fetcher: Fetcher, cache: Cache
) -> None:
    behaviour = good(DATA)
    mirror = farm.add(behaviour)
    request = request_for([mirror], DATA, sha256="", size=None)
    first = fetch_one(fetcher, request)
    assert fetch_one(fetcher, request).cached
    first.path.unlink()
    behaviour.files[NAME] = conda_bytes(300_000, seed=2)
    with pytest.raises(MirrorError) as caught:
        fetch_one(fetcher, request)
    assert "sha256-mismatch" in caught.value.messages[0]
    changed = fetch_one(fetcher, request, refresh=True)
    assert changed.verified is Verified.FIRST_USE
    assert changed.sha256 != first.sha256


def test_leading_digits_of_a_digest_are_enough_to_refuse(
    farm: MirrorFarm, fetcher: Fetcher
) -> None:
    mirror = farm.add(good(DATA))
    right = request_for([mirror], DATA, sha256="", sha256_prefix=digest(DATA)[:8])
    assert fetch_one(fetcher, right).verified is Verified.SHA256_PREFIX
    other = DownloadRequest(
        (Source(mirror.url(NAME) + "?x"),), sha256_prefix="00000000", kind=FileKind.CONDA
    )
    with pytest.raises(MirrorError, match=NAME):
        fetch_one(fetcher, other)


def test_a_cached_file_that_rotted_is_fetched_again(
    farm: MirrorFarm, fetcher: Fetcher, cache: Cache
) -> None:
    mirror = farm.add(good(DATA))
    download = fetch_one(fetcher, request_for([mirror], DATA))
    download.path.chmod(0o644)
    download.path.write_bytes(DATA[:-1] + b"?")
    again = fetch_one(fetcher, request_for([mirror], DATA))
    assert not again.cached
    assert again.path.read_bytes() == DATA


def test_a_part_without_a_journal_is_not_trusted(
    farm: MirrorFarm, fetcher: Fetcher, cache: Cache
) -> None:
    cache.prepare()
    request = request_for([farm.add(good(DATA))], DATA)
    (cache.partial_dir / f"{request.key}.part").write_bytes(b"\0" * 1000)
    download = fetch_one(fetcher, request)
    assert download.resumed_from == 0
    assert len(download.attempts) == 1


def test_a_garbled_journal_is_not_trusted(farm: MirrorFarm, fetcher: Fetcher, cache: Cache) -> None:
    cache.prepare()
    request = request_for([farm.add(good(DATA))], DATA)
    (cache.partial_dir / f"{request.key}.part").write_bytes(DATA[:1000])
    for text in ("", "[]", "{", '{"schema":1,"segments":[{"start":-5}],"total":1,"suspects":[]}'):
        (cache.partial_dir / f"{request.key}.json").write_text(text)
        assert fetch_one(fetcher, request).path.read_bytes() == DATA
        fetch_one(fetcher, request).path.unlink()
