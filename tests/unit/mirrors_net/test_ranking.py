"""Ranking on simulated links: a virtual clock, jitter, slow start and a shared downlink."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest

from cuready.mirrors.net.causes import Cause
from cuready.mirrors.net.ladder import ProbeKind
from cuready.mirrors.net.ranking import (
    Candidate,
    Sample,
    Sighting,
    Standing,
    State,
    TestLimits,
    rank,
    steady_part,
)

SLOT = 0.02
NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)


@dataclass
class Link:
    """A path to a mirror: what it gives on average, how much that wavers, and how far it is."""

    rate: float  # bytes per second
    round_trip: float
    jitter: float  # standard deviation of the logarithm of the rate, per correlation time


class Simulation:
    """A prober on links; every byte of it comes from ``seed``."""

    def __init__(self, links: dict[str, Link], downlink: float, seed: int) -> None:
        self.links = links
        self.downlink = downlink
        self.random = random.Random(seed)

    def download(self, name: str, share: float, size: int, seconds: float) -> Sample:
        """Slow start from 14 kB, doubling each round trip (RFC 6928), then the wavering rate."""
        link = self.links[name]
        timeline: list[tuple[float, int]] = []
        moment, have, noise = 2 * link.round_trip, 0.0, 0.0
        begin = moment
        while have < size and moment - begin < seconds:
            # an AR(1) process with a memory of about 0.2 s
            noise = 0.9 * noise + self.random.gauss(0, link.jitter * math.sqrt(1 - 0.81))
            window = 14_000 * 2 ** ((moment - begin) / link.round_trip)
            rate = min(link.rate * math.exp(noise), window / link.round_trip, share)
            moment += SLOT
            have = min(size, have + rate * SLOT)
            timeline.append((moment, int(have)))
        return Sample.of(timeline)

    def look_at_all(
        self,
        candidates: Sequence[Candidate],
        limits: TestLimits,
        seen: Callable[[Candidate, Sighting], None],
    ) -> dict[str, Sighting]:
        found = {}
        share = fair_share([self.links[c.name].rate for c in candidates], self.downlink)
        for candidate in candidates:
            link = self.links[candidate.name]
            left = limits.probe_seconds - 4 * link.round_trip
            sample = self.download(candidate.name, share, limits.sample_bytes, left / 2)
            latency = 3 * link.round_trip
            found[candidate.name] = Sighting(None, "", 200, latency, "http://x/p.conda", sample)
            seen(candidate, found[candidate.name])
        return found

    def connect(self, candidates: Sequence[Candidate], limits: TestLimits) -> None:
        """Costs no time of the second round's."""

    def measure(
        self, candidate: Candidate, sighting: Sighting, limits: TestLimits, seconds: float
    ) -> Sample:
        connecting = self.links[candidate.name].round_trip
        left = max(SLOT, seconds - connecting)
        return self.download(candidate.name, self.downlink, limits.final_bytes, left)


def fair_share(rates: list[float], downlink: float) -> float:
    """What each download gets of one downlink at most: slow ones leave their rest to others."""
    share, left = downlink / len(rates), downlink
    for position, rate in enumerate(sorted(rates)):
        share = left / (len(rates) - position)
        if rate > share:
            return share
        left -= rate
    return downlink


def candidate(name: str, *domains: str) -> Candidate:
    return Candidate(
        name, ProbeKind.CONDA_CHANNEL, f"http://{name}/", frozenset(domains or (name,))
    )


def simulated_run(seed: int) -> float:
    """How far from the best the choice of one run is: 1.0 is the best itself."""
    chance = random.Random(1000 + seed)
    links = {
        f"m{number}": Link(
            rate=math.exp(chance.uniform(math.log(1e5), math.log(1e7))),
            round_trip=chance.uniform(0.005, 0.08),
            jitter=chance.uniform(0.05, 0.3),
        )
        for number in range(12)
    }
    downlink = chance.choice([2.5e6, 12.5e6, 125e6])
    simulation = Simulation(links, downlink, seed)
    chosen = rank([candidate(name) for name in links], simulation, now=NOW).first
    assert chosen is not None

    def real_cost(name: str) -> float:
        link = links[name]
        rate = min(link.rate, downlink)
        return 2e9 / rate + 100 * 3 * link.round_trip / 4

    return real_cost(chosen.candidate.name) / min(map(real_cost, links))


def test_the_choice_is_within_ten_percent_of_the_best_in_95_of_100_runs() -> None:
    close = [simulated_run(seed) <= 1.10 for seed in range(100)]
    assert sum(close) >= 95


class Scripted:
    """A prober with fixed answers."""

    def __init__(
        self, sightings: dict[str, Sighting], alone: dict[str, float] | None = None
    ) -> None:
        self.sightings, self.alone = sightings, alone or {}
        self.measured: list[str] = []

    def look_at_all(self, candidates, limits, seen):  # type: ignore[no-untyped-def]
        return {c.name: self.sightings[c.name] for c in candidates}

    def connect(self, candidates, limits):  # type: ignore[no-untyped-def]
        return None

    def measure(self, candidate, sighting, limits, seconds):  # type: ignore[no-untyped-def]
        self.measured.append(candidate.name)
        rate = self.alone.get(candidate.name)
        return None if rate is None else Sample(1, int(rate), 1.0)


def seen(rate: float, *, fresh: datetime | None = None, cause: Cause | None = None) -> Sighting:
    return Sighting(cause, "", 200, 0.1, "http://x", Sample(1000, int(rate), 1.0), fresh)


def test_who_gave_the_wrong_content_is_never_ranked_however_fast() -> None:
    prober = Scripted({"fast": seen(1e9, cause=Cause.CAPTIVE_PORTAL), "slow": seen(1e4)})
    ranking = rank([candidate("fast"), candidate("slow")], prober, now=NOW)
    assert [s.candidate.name for s in ranking.ranked] == ["slow"]
    assert ranking.standings[-1].state is State.FAILED
    assert ranking.to_dict()["mirrors"][1]["cause"] == "captive-portal"


def test_the_second_choice_does_not_go_down_with_the_first() -> None:
    rates = {"tuna": 9e6, "ustc": 8e6, "sjtu": 1e6}
    prober = Scripted({name: seen(rate) for name, rate in rates.items()}, rates)
    domains = {"tuna": ("tuna",), "ustc": ("ustc", "tuna"), "sjtu": ("sjtu",)}
    ranking = rank([candidate(n, *domains[n]) for n in rates], prober, now=NOW)
    assert ranking.first is not None and ranking.first.candidate.name == "tuna"
    assert ranking.second is not None and ranking.second.candidate.name == "sjtu"


def test_a_stale_copy_comes_after_every_fresh_one() -> None:
    prober = Scripted(
        {
            "fast but old": seen(9e6, fresh=NOW - timedelta(days=30)),
            "slow and fresh": seen(1e5, fresh=NOW - timedelta(hours=5)),
        }
    )
    ranking = rank([candidate("fast but old"), candidate("slow and fresh")], prober, now=NOW)
    assert [s.candidate.name for s in ranking.ranked] == ["slow and fresh", "fast but old"]
    assert ranking.ranked[1].stale


def test_only_the_fastest_few_are_timed_alone_and_that_time_counts() -> None:
    first = {f"m{number}": 1e6 + number for number in range(8)}
    alone = dict.fromkeys(first, 1000000.0) | {"m4": 5e6}
    prober = Scripted({name: seen(rate) for name, rate in first.items()}, alone)
    ranking = rank(
        [candidate(name) for name in first], prober, TestLimits(most_finalists=5), now=NOW
    )
    assert prober.measured == ["m7", "m6", "m5", "m4", "m3"]
    assert ranking.first is not None and ranking.first.candidate.name == "m4"


def test_nobody_right_means_no_choice() -> None:
    ranking = rank([candidate("a")], Scripted({"a": Sighting(Cause.DNS)}), now=NOW)
    assert (ranking.first, ranking.second) == (None, None)


def test_every_change_is_told() -> None:
    told: list[Standing] = []
    prober = Scripted({"a": seen(1e6), "b": Sighting(Cause.DNS)})
    rank([candidate("a"), candidate("b")], prober, on_update=told.append, now=NOW)
    assert told[0].state is State.ASKED
    assert {s.candidate.name: s.state for s in told} == {"a": State.RANKED, "b": State.FAILED}


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [
        ([], 0.0),
        ([(1.0, 100)], 100.0),
        ([(1.0, 10), (2.0, 20), (3.0, 1000), (4.0, 2000)], 990.0),
    ],
)
def test_the_ramp_is_left_out_of_the_rate(
    timeline: list[tuple[float, int]], expected: float
) -> None:
    size, seconds = steady_part(timeline)
    assert (size / seconds if seconds else 0.0) == pytest.approx(expected)
