"""`cuready mirror test` against twelve real servers on loopback."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone

import pytest
import trustme
from tests.integration.mirrors_net.net_support import conda_bytes
from tests.integration.mirrors_net.servers import (
    Behaviour,
    Captive,
    Handler,
    MirrorFarm,
    Pages,
    RefusesAgent,
    Status,
)

from cuready.mirrors.net.ladder import ProbeKind
from cuready.mirrors.net.prober import HttpProber
from cuready.mirrors.net.ranking import Candidate, Standing, TestLimits, rank
from cuready.mirrors.net.ranking_view import LiveTable, ranking_lines

PACKAGE = conda_bytes(3_000_000)
REPODATA = json.dumps(
    {
        "info": {"subdir": "noarch"},
        "packages": {"small-1-0.tar.bz2": {"name": "small", "size": 10}},
        "packages.conda": {"large-1-0.conda": {"name": "large", "size": len(PACKAGE)}},
    }
).encode()
SYNCED = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=1)  # else it is stale
MIRRORZ = json.dumps(
    {"mirrors": [{"cname": "anaconda", "status": f"Y1X9O{int(SYNCED.timestamp())}"}]}
).encode()


class Paced(Behaviour):
    """A channel whose packages come at ``rate`` bytes a second."""

    def __init__(self, rate: float, package: bytes = PACKAGE) -> None:
        super().__init__()
        self.rate, self.package = rate, package

    def answer(self, handler: Handler, exchange: object) -> None:
        pages = {
            "repodata.json": REPODATA,
            "large-1-0.conda": self.package,
            "mirrorz.json": MIRRORZ,
        }
        data = pages.get(handler.name)
        if data is None:
            handler.reply(404, b"no")
            return
        status, body, headers = handler.wanted(data)
        handler.head(status, len(body), **headers)
        piece = max(1, int(self.rate * 0.01))
        begun = time.monotonic()
        for start in range(0, len(body), piece):
            handler.body(body[start : start + piece])
            ahead = (start + piece) / self.rate - (time.monotonic() - begun)
            if ahead > 0 and self.released.wait(ahead):
                return


def channel(name: str, url: str, **fields: str) -> Candidate:
    return Candidate(name, ProbeKind.CONDA_CHANNEL, url, frozenset({name}), **fields)


def test_twelve_mirrors_in_six_seconds_with_the_wrong_ones_left_out(farm: MirrorFarm) -> None:
    stranger = farm.server_context(authority=trustme.CA())
    fast = farm.add(Paced(3_000_000))
    servers = {
        "fast": fast,
        "middle": farm.add(Paced(700_000)),
        "slow": farm.add(Paced(150_000)),
        "trickle": farm.add(Paced(10_000)),
        "dead": farm.dead(),
        "black hole": farm.black_hole(),
        "404": farm.add(Status(404)),
        "403": farm.add(Status(403)),
        "500": farm.add(Status(500)),
        "captive": farm.add(Captive()),
        "not a package": farm.add(Paced(3_000_000, package=b"junk" * 100_000)),
        "tls": farm.add(Paced(3_000_000), tls=stranger),
    }
    candidates = [channel(name, f"{mirror.base}/conda-forge") for name, mirror in servers.items()]
    candidates[0] = channel(
        "fast",
        f"{fast.base}/conda-forge",
        status_url=f"{fast.base}/mirrorz.json",
        status_format="mirrorz",
    )
    told: list[Standing] = []
    began = time.monotonic()
    with HttpProber(context=farm.trust()) as prober, LiveTable() as table:
        ranking = rank(candidates, prober, on_update=lambda s: (told.append(s), table(s))[0])
    # The requirement's own number: every part of the test has a deadline, and they add up to it.
    assert time.monotonic() - began < 6.0

    assert [s.candidate.name for s in ranking.ranked][:3] == ["fast", "middle", "slow"]
    causes = {s.candidate.name: str(s.sighting.cause) for s in ranking.standings if s.rank is None}
    assert causes == {
        "dead": "connect-refused",
        "black hole": "no-response",
        "404": "http-404",
        "403": "http-403",
        "500": "http-5xx",
        "captive": "captive-portal",
        "not a package": "wrong-content",
        "tls": "tls-untrusted",
    }
    best = ranking.first
    assert best is not None and best.sighting.fresh_as_of == SYNCED
    assert best.sighting.fresh_source == "mirrorz"
    assert best.rate == pytest.approx(3_000_000, rel=0.5)
    json.dumps(ranking.to_dict())
    text = "\n".join(ranking_lines(ranking))
    assert "best: fast" in text and "captive-portal" in text


PIP_PAGE = b'<!DOCTYPE html><html><a href="../../w/pip-1-py3-none-any.whl#sha256=0">pip</a></html>'
TORCH_PAGE = (
    b'<html><body><a href="/whl/cu130/torch-2.9.0%2Bcu130-cp312.whl">torch</a></body></html>'
)
WHEEL = ("application/octet-stream", conda_bytes(400_000))


@pytest.mark.parametrize(
    ("kind", "path", "pages"),
    [
        (
            ProbeKind.PYPI_INDEX,
            "/pypi/simple",
            {"/pypi/simple/pip/": ("text/html", PIP_PAGE), "/pypi/w/pip-1-py3-none-any.whl": WHEEL},
        ),
        (
            ProbeKind.TORCH_WHEELS,
            "/whl/cu130",
            {
                "/whl/cu130/torch/": ("text/html", TORCH_PAGE),
                "/whl/cu130/torch-2.9.0%2Bcu130-cp312.whl": WHEEL,
            },
        ),
        (
            ProbeKind.TORCH_WHEELS,
            "/flat/cu130",
            {
                "/flat/cu130/": ("text/html", TORCH_PAGE.replace(b"/whl/", b"/flat/")),
                "/flat/cu130/torch-2.9.0%2Bcu130-cp312.whl": WHEEL,
            },
        ),
    ],
    ids=["pypi", "torch index", "torch flat folder"],
)
def test_each_use_is_tested_with_its_own_metadata_and_package(
    farm: MirrorFarm, kind: ProbeKind, path: str, pages: dict[str, tuple[str, bytes]]
) -> None:
    mirror = farm.add(Pages(pages))
    with HttpProber(context=farm.trust()) as prober:
        ranking = rank([Candidate("m", kind, mirror.base + path)], prober)
    assert ranking.first is not None
    assert ranking.first.sighting.package_url.endswith(".whl")
    assert mirror.gets(".whl")


def test_a_firewall_against_pip_is_seen_as_pip_would_see_it(farm: MirrorFarm) -> None:
    mirror = farm.add(RefusesAgent({}, r"^pip/"))
    candidate = Candidate("m", ProbeKind.PYPI_INDEX, f"{mirror.base}/simple")
    with HttpProber(context=farm.trust()) as prober:
        ranking = rank([candidate], prober, TestLimits(probe_seconds=1.5))
    assert str(ranking.standings[0].sighting.cause) == "http-403"
