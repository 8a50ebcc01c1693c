"""A download reaches the good mirror whatever the thirteen before it do, and says what each did."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trustme
from tests.integration.mirrors_net.net_support import conda_bytes, digest, good, request_for
from tests.integration.mirrors_net.servers import (
    BreaksOften,
    Captive,
    FlakyStatus,
    MirrorFarm,
    MissingPackage,
    NoRanges,
    RedirectLoop,
    RefusesAgent,
    Reset,
    Status,
    Trickle,
    Truncated,
    TruncatedClean,
    WrongBytes,
)

from cuready.errors import MirrorError
from cuready.mirrors.net import Cause, Fetcher, FileKind, Verified, fetch_all, fetch_one
from cuready.mirrors.net.request import DownloadRequest, Source

NAME = "pkg-1.0-0.conda"
DATA = conda_bytes(600_000)
FILES = {NAME: DATA, "repodata.json": b'{"packages": {}}'}


def thirteen_bad(farm: MirrorFarm) -> list[tuple[str, Any]]:
    """(expected cause, mirror), in the order of the requirement."""
    stranger = farm.server_context(authority=trustme.CA(organization_name="Nobody Knows Us"))
    return [
        ("connect-refused", farm.dead()),
        ("no-response", farm.black_hole()),
        ("http-404", farm.add(Status(404))),
        ("http-403", farm.add(RefusesAgent(FILES, r"pip/|cuready"))),
        ("http-5xx", farm.add(Status(500))),
        ("captive-portal", farm.add(Captive())),
        ("http-404-file", farm.add(MissingPackage())),
        ("sha256-mismatch", farm.add(WrongBytes(FILES, 100_000))),
        ("truncated", farm.add(Truncated(FILES))),
        ("connection-reset", farm.add(Reset(FILES))),
        ("slow", farm.add(Trickle(FILES, rate=10_000))),
        ("redirect-loop", farm.add(RedirectLoop())),
        ("tls-untrusted", farm.add(good(DATA), tls=stranger)),
    ]


def test_fourteen_mirrors_of_which_the_last_is_good(farm: MirrorFarm, fetcher: Fetcher) -> None:
    bad = thirteen_bad(farm)
    last = farm.add(good(DATA))
    download = fetch_one(fetcher, request_for([mirror for _, mirror in bad] + [last], DATA))

    assert download.path.read_bytes() == DATA
    assert download.verified is Verified.SHA256
    assert download.mirror == last.name
    document = json.loads(json.dumps(download.to_dict()))
    text = [attempt.line() for attempt in download.attempts]
    for cause, mirror in bad:
        causes = {a["cause"] for a in document["attempts"] if a["mirror"] == mirror.name}
        assert causes == {cause}
        assert any(line.startswith(f"{mirror.name}: {cause}: ") for line in text)
    assert document["attempts"][-1]["cause"] is None


@pytest.mark.parametrize("position", range(13))
def test_each_bad_mirror_alone_before_a_good_one(
    farm: MirrorFarm, fetcher: Fetcher, position: int
) -> None:
    cause, mirror = thirteen_bad(farm)[position]
    download = fetch_one(fetcher, request_for([mirror, farm.add(good(DATA))], DATA))
    assert download.sha256 == digest(DATA)
    assert {str(a.cause) for a in download.attempts if a.mirror == mirror.name} == {cause}


def test_total_failure_lists_every_mirror_with_its_cause_and_the_ladder(
    farm: MirrorFarm, fetcher: Fetcher
) -> None:
    bad = thirteen_bad(farm)
    mirrors = [
        mirror for cause, mirror in bad if cause not in ("truncated", "connection-reset", "slow")
    ]
    with pytest.raises(MirrorError) as caught:
        fetch_one(fetcher, request_for(mirrors, DATA))
    error = caught.value
    assert "none of 10 mirrors" in error.message
    for cause, mirror in bad:
        if mirror in mirrors:
            assert any(line.startswith(f"{mirror.name}: {cause}") for line in error.messages)
    climbs = {report["url"]: report["cause"] for report in error.details["diagnosis"]}
    assert climbs[bad[0][1].url(NAME)] == "connect-refused"
    assert climbs[bad[1][1].url(NAME)] == "no-response"
    assert climbs[bad[12][1].url(NAME)] == "tls-untrusted"
    json.dumps(error.to_dict())


def test_a_firewall_that_refuses_pip_is_passed_with_a_short_agent_and_named(
    farm: MirrorFarm, make_fetcher: Any
) -> None:
    mirror = farm.add(RefusesAgent(FILES, r"pip/"))
    download = fetch_one(make_fetcher(user_agent="pip/26.3"), request_for([mirror], DATA))
    assert [str(a.cause) for a in download.attempts] == ["http-403-user-agent", "None"]
    assert [e.headers["user-agent"] for e in mirror.gets(NAME)] == ["pip/26.3", "cuready"]


def test_a_slow_mirror_is_used_after_all_when_it_is_the_only_one(
    farm: MirrorFarm, make_fetcher: Any
) -> None:
    data = conda_bytes(20_000)
    slow = farm.add(Trickle({NAME: data}, rate=30_000))
    download = fetch_one(make_fetcher(min_rate=500_000, rate_window=0.1), request_for([slow], data))
    assert download.sha256 == digest(data)


def test_the_fastest_of_slow_mirrors_finishes_the_file_from_where_the_others_stopped(
    farm: MirrorFarm, make_fetcher: Any
) -> None:
    data = conda_bytes(40_000)
    slower = farm.add(Trickle({NAME: data}, rate=20_000))
    slow = farm.add(Trickle({NAME: data}, rate=60_000))
    download = fetch_one(
        make_fetcher(min_rate=500_000, rate_window=0.15), request_for([slower, slow], data)
    )
    assert next(str(a.cause) for a in download.attempts) == "slow"
    assert download.mirror == slow.name
    assert slow.sent + slower.sent < 1.4 * len(data)


def test_a_passing_error_is_retried_at_the_same_mirror(farm: MirrorFarm, make_fetcher: Any) -> None:
    mirror = farm.add(FlakyStatus(FILES, 503, times=2))
    download = fetch_one(make_fetcher(retries=2), request_for([mirror], DATA))
    assert [str(a.cause) for a in download.attempts] == ["http-5xx", "http-5xx", "None"]


def test_a_link_that_breaks_often_still_finishes_while_each_try_moves_on(
    farm: MirrorFarm, make_fetcher: Any
) -> None:
    mirror = farm.add(BreaksOften(FILES, times=5))
    download = fetch_one(make_fetcher(retries=0), request_for([mirror], DATA))
    assert len(download.attempts) == 6
    assert mirror.sent == len(DATA)


def test_joined_parts_that_do_not_fit_are_fetched_again_and_the_liar_is_named(
    farm: MirrorFarm, fetcher: Fetcher
) -> None:
    """The first half is wrong and came from a mirror that then broke off; nobody could know yet."""
    wrong = {NAME: WrongBytes(FILES, 1000).files[NAME]}
    liar = farm.add(Truncated(wrong))
    honest = farm.add(good(DATA))
    download = fetch_one(fetcher, request_for([liar, honest], DATA, size=None))
    assert download.path.read_bytes() == DATA
    joined = [a for a in download.attempts if "joined from" in a.detail]
    assert joined
    blamed = [a for a in download.attempts if "was wrong from byte 1000 on" in a.detail]
    assert [a.mirror for a in blamed] == [liar.name]


def test_a_mirror_that_holds_half_the_file_and_says_so_is_called_truncated(
    farm: MirrorFarm, fetcher: Fetcher
) -> None:
    short, full = farm.add(TruncatedClean(FILES)), farm.add(good(DATA))
    download = fetch_one(fetcher, request_for([short, full], DATA))
    assert {str(a.cause) for a in download.attempts if a.mirror == short.name} == {"truncated"}
    assert full.sent == len(DATA) - len(DATA) // 2


def test_a_mirror_without_ranges_completes_what_another_began(
    farm: MirrorFarm, fetcher: Fetcher
) -> None:
    broken, plain = farm.add(Truncated(FILES)), farm.add(NoRanges(FILES))
    download = fetch_one(fetcher, request_for([broken, plain], DATA))
    assert download.path.read_bytes() == DATA


def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    farm: MirrorFarm, fetcher: Fetcher
) -> None:
    big = farm.add(good(DATA + bytes(5_000_000)))
    download = fetch_one(fetcher, request_for([big, farm.add(good(DATA))], DATA))
    assert str(download.attempts[0].cause) == "size-mismatch"
    assert download.attempts[0].received == 0


def test_a_mirror_that_failed_three_times_is_left_alone_by_the_files_that_follow(
    farm: MirrorFarm, make_fetcher: Any
) -> None:
    names = [f"p{number}-1-0.conda" for number in range(6)]
    files = {name: conda_bytes(2000, seed=i) for i, name in enumerate(names)}
    broken, fine = farm.add(Status(500)), farm.add(type(good(DATA))(files))
    fetcher = make_fetcher(retries=0, breaker_failures=3)
    requests = [request_for([broken, fine], files[name], name) for name in names]
    downloads = fetch_all(fetcher, requests, jobs=1)
    causes = [str(download.attempts[0].cause) for download in downloads]
    assert causes == ["http-5xx"] * 3 + ["circuit-open"] * 3
    assert len(broken.gets()) == 3


def test_an_open_circuit_is_tried_after_all_when_nothing_else_is_left(
    farm: MirrorFarm, make_fetcher: Any
) -> None:
    mirror = farm.add(FlakyStatus(FILES, 500, times=1))
    fetcher = make_fetcher(retries=0, breaker_failures=1)
    with pytest.raises(MirrorError):
        fetch_one(fetcher, request_for([mirror], DATA))
    download = fetch_one(fetcher, request_for([mirror], DATA))
    assert [str(a.cause) for a in download.attempts] == ["circuit-open", "None"]


def test_metadata_is_never_kept_as_the_truth_about_a_url(
    farm: MirrorFarm, fetcher: Fetcher
) -> None:
    behaviour = good(DATA)
    mirror = farm.add(behaviour)
    url = mirror.url("repodata.json")
    first = fetch_one(fetcher, DownloadRequest.from_urls([url]))
    behaviour.files["repodata.json"] = b'{"packages": {"new": {}}}'
    second = fetch_one(fetcher, DownloadRequest.from_urls([url]))
    assert (first.verified, second.verified) == (Verified.UNVERIFIED, Verified.UNVERIFIED)
    assert second.path.read_bytes() == b'{"packages": {"new": {}}}'


def test_credentials_stay_with_the_host_that_they_are_for(
    farm: MirrorFarm, fetcher: Fetcher
) -> None:
    from tests.integration.mirrors_net.servers import RedirectTo

    store = farm.add(good(DATA))
    front = farm.add(RedirectTo(store.url("")))
    source = Source(front.url(NAME), headers={"Authorization": "Bearer secret"})
    fetch_one(fetcher, DownloadRequest((source,), sha256=digest(DATA), kind=FileKind.CONDA))
    assert front.gets()[0].headers["authorization"] == "Bearer secret"
    assert "authorization" not in store.gets()[0].headers


def test_causes_in_attempts_are_the_enum_of_the_table() -> None:
    from cuready.mirrors.net import CAUSES

    assert set(CAUSES) == set(Cause)
