"""`cuready mirror test`: real metadata and a real range from everybody, then the best timed alone.

Two rounds, because twelve downloads at once measure the user's own link and one small file measures
the start of TCP:

1. all at once: metadata, then up to ``sample_bytes`` of a real package. Whoever does not answer 200
   or 206 with the right content is out, and is never ranked.
2. the fastest few, one after another, in ``final_seconds`` altogether, the ramp at the start left
   out.

The order is by the estimated time for a typical environment; copies that are stale come after fresh
ones. This module decides; a ``Prober`` does the asking (over HTTP in ``prober``, simulated in
tests).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from enum import Enum
from itertools import pairwise
from statistics import median
from typing import Any, Protocol

from cuready.mirrors.net.causes import CAUSES, Cause
from cuready.mirrors.net.ladder import ProbeKind

__all__ = [
    "Candidate",
    "Prober",
    "Ranking",
    "Sample",
    "Sighting",
    "Standing",
    "State",
    "TestLimits",
    "joined_rate",
    "rank",
    "steady_part",
]

STALE_AFTER = timedelta(days=7)  # the big mirrors sync conda and PyPI at least daily

# What an environment costs: bytes and requests of a conda `pytorch-gpu`, in round numbers.
_TYPICAL_BYTES = 2_000_000_000
_TYPICAL_REQUESTS = 100


@dataclass(frozen=True)
class Candidate:
    """A mirror for one use.

    Attributes:
        name: what the user calls it.
        kind: what ``url`` is: a conda channel, a PyPI index, a folder of torch wheels.
        failure_domains: what it goes down together with, itself included.
        status_url, status_format: where it publishes how fresh it is; ``mirrorz`` or ``tunasync``.
    """

    name: str
    kind: ProbeKind
    url: str
    failure_domains: frozenset[str] = frozenset()
    status_url: str = ""
    status_format: str = ""


@dataclass(frozen=True)
class TestLimits:
    """Caps on bytes and time. The defaults keep twelve mirrors under six seconds and 100 MB."""

    __test__ = False  # pytest: not a test

    probe_seconds: float = 2.2
    sample_bytes: int = 4 * 1024 * 1024
    final_seconds: float = 3.1
    connect_seconds: float = 0.25
    final_bytes: int = 6 * 1024 * 1024
    least_finalists: int = 3
    most_finalists: int = 7
    finalist_share: float = 0.6


@dataclass(frozen=True)
class Sample:
    """A timed piece of a package.

    Attributes:
        size: bytes read in all.
        steady_bytes, steady_seconds: the part after the ramp, see ``steady_part``.
    """

    size: int
    steady_bytes: int
    steady_seconds: float

    @classmethod
    def of(cls, timeline: Sequence[tuple[float, int]]) -> Sample:
        """From (seconds since the request, bytes so far) at each chunk."""
        return cls(timeline[-1][1] if timeline else 0, *steady_part(timeline))

    @property
    def rate(self) -> float:
        """Bytes per second after the ramp."""
        return self.steady_bytes / self.steady_seconds if self.steady_seconds > 0 else 0.0


def joined_rate(samples: Sequence[Sample]) -> float:
    """The rate over several samples of one mirror, the last of them taken alone.

    One taken in company counts only when it came near the last: else others stood in its way.
    """
    last = samples[-1]
    fair = [sample for sample in samples if sample.rate >= 0.75 * last.rate]
    size = sum(sample.steady_bytes for sample in fair)
    seconds = sum(sample.steady_seconds for sample in fair)
    return size / seconds if seconds > 0 else last.rate


@dataclass(frozen=True)
class Sighting:
    """What the first round saw of one candidate. ``cause`` is None when all was right."""

    cause: Cause | None = None
    detail: str = ""
    status: int | None = None
    latency: float = 0.0  # seconds to the first byte of the metadata, connection included
    package_url: str = ""
    sample: Sample | None = None
    fresh_as_of: datetime | None = None
    fresh_source: str = ""  # mirrorz, tunasync or last-modified


class Prober(Protocol):
    """Does the asking. ``look`` and ``measure`` never raise for what the network does."""

    def look_at_all(
        self,
        candidates: Sequence[Candidate],
        limits: TestLimits,
        seen: Callable[[Candidate, Sighting], None],
    ) -> dict[str, Sighting]:
        """The first round, all at once; answers by name. ``seen`` is called as each one is done."""
        ...

    def connect(self, candidates: Sequence[Candidate], limits: TestLimits) -> None:
        """Open connections for the second round, all at once, so that it times no handshake."""
        ...

    def measure(
        self, candidate: Candidate, sighting: Sighting, limits: TestLimits, seconds: float
    ) -> Sample | None:
        """The second round for one candidate, alone, in ``seconds``; None when it failed now."""
        ...


class State(str, Enum):
    """How far a candidate is."""

    ASKED = "asked"
    ANSWERED = "answered"
    MEASURING = "measuring"
    RANKED = "ranked"
    FAILED = "failed"


@dataclass(frozen=True)
class Standing:
    """One candidate and what was found out. ``rank`` counts from 1; None when not ranked."""

    candidate: Candidate
    state: State = State.ASKED
    sighting: Sighting = Sighting()
    samples: tuple[Sample, ...] = ()
    rate: float = 0.0
    measured_alone: bool = False
    stale: bool = False
    rank: int | None = None

    @property
    def estimate(self) -> float:
        """Seconds that a typical environment would take from here; infinite when unknown."""
        if self.rate <= 0:
            return float("inf")
        return _TYPICAL_BYTES / self.rate + _TYPICAL_REQUESTS * self.sighting.latency / 4

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        seen = self.sighting
        return {
            "name": self.candidate.name,
            "kind": self.candidate.kind.value,
            "url": self.candidate.url,
            "rank": self.rank,
            "status": seen.status,
            "cause": None if seen.cause is None else seen.cause.value,
            "title": "" if seen.cause is None else CAUSES[seen.cause].title,
            "detail": seen.detail,
            "hint": "" if seen.cause is None else CAUSES[seen.cause].hint,
            "latency_seconds": round(seen.latency, 4),
            "bytes_per_second": round(self.rate),
            "measured_alone": self.measured_alone,
            "sampled_bytes": 0 if seen.sample is None else seen.sample.size,
            "package_url": seen.package_url,
            "fresh_as_of": None if seen.fresh_as_of is None else seen.fresh_as_of.isoformat(),
            "fresh_source": seen.fresh_source,
            "stale": self.stale,
            "failure_domains": sorted(self.candidate.failure_domains),
        }


@dataclass(frozen=True)
class Ranking:
    """The ranked ones in order, then those that failed."""

    standings: tuple[Standing, ...]

    @property
    def ranked(self) -> tuple[Standing, ...]:
        """Only those that gave the right content, best first."""
        return tuple(standing for standing in self.standings if standing.rank is not None)

    @property
    def first(self) -> Standing | None:
        """The best; None when nobody answered rightly."""
        return self.ranked[0] if self.ranked else None

    @property
    def second(self) -> Standing | None:
        """The best of those that do not go down together with the first."""
        first = self.first
        if first is None:
            return None
        fate = first.candidate.failure_domains
        others = (s for s in self.ranked[1:] if s.candidate.failure_domains.isdisjoint(fate))
        return next(others, None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "first": None if self.first is None else self.first.candidate.name,
            "second": None if self.second is None else self.second.candidate.name,
            "mirrors": [standing.to_dict() for standing in self.standings],
        }


OnStanding = Callable[[Standing], None]


def rank(
    candidates: Sequence[Candidate],
    prober: Prober,
    limits: TestLimits | None = None,
    *,
    on_update: OnStanding | None = None,
    now: datetime | None = None,
) -> Ranking:
    """Test ``candidates`` (names must differ) and put them in order.

    ``on_update`` is called from other threads, for each change of a candidate.
    """
    bounds = limits or TestLimits()
    tell = on_update or (lambda _: None)
    for candidate in candidates:
        tell(Standing(candidate))
    sightings = prober.look_at_all(
        candidates, bounds, lambda candidate, seen: tell(_first_round(candidate, seen))
    )
    standings = [_first_round(candidate, sightings[candidate.name]) for candidate in candidates]
    alive = [standing for standing in standings if standing.state is State.ANSWERED]
    alive = _second_round(alive, prober, bounds, tell)
    alive = _mark_stale(alive, now or datetime.now(timezone.utc))
    alive.sort(key=lambda standing: (standing.stale, standing.estimate))
    ranked = [
        replace(standing, rank=position, state=State.RANKED)
        for position, standing in enumerate(alive, start=1)
    ]
    failed = [standing for standing in standings if standing.state is State.FAILED]
    for standing in (*ranked, *failed):
        tell(standing)
    return Ranking((*ranked, *failed))


def _first_round(candidate: Candidate, seen: Sighting) -> Standing:
    good = seen.cause is None and seen.sample is not None and seen.sample.rate > 0
    if not good or seen.sample is None:
        return Standing(candidate, State.FAILED, seen)
    return Standing(candidate, State.ANSWERED, seen, (seen.sample,), seen.sample.rate)


def _second_round(
    alive: list[Standing], prober: Prober, limits: TestLimits, tell: OnStanding
) -> list[Standing]:
    """Time the fastest alone. The others keep their rate of the first round.

    When many look alike, most likely the user's own link was the limit, and any of them may be the
    best: so everybody near the top is timed, each for a shorter while.
    """
    by_speed = sorted(alive, key=lambda standing: -standing.rate)
    if len(by_speed) < 2:
        return by_speed
    near = sum(s.rate >= limits.finalist_share * by_speed[0].rate for s in by_speed)
    count = min(max(near, limits.least_finalists), limits.most_finalists, len(by_speed))
    prober.connect([standing.candidate for standing in by_speed[:count]], limits)
    share = limits.final_seconds / count
    finalists = [_timed(s, prober, limits, share, tell) for s in by_speed[:count]]
    return finalists + by_speed[count:]


def _timed(
    standing: Standing, prober: Prober, limits: TestLimits, seconds: float, tell: OnStanding
) -> Standing:
    """``standing`` after one more sample, taken alone."""
    tell(replace(standing, state=State.MEASURING))
    sample = prober.measure(standing.candidate, standing.sighting, limits, seconds)
    result = standing
    if sample is not None and sample.rate > 0:
        samples = (*standing.samples, sample)
        result = replace(standing, samples=samples, rate=joined_rate(samples), measured_alone=True)
    tell(result)
    return result


def _mark_stale(standings: Iterable[Standing], now: datetime) -> list[Standing]:
    marked: list[Standing] = []
    for standing in standings:
        as_of = standing.sighting.fresh_as_of
        stale = as_of is not None and now - as_of > STALE_AFTER
        marked.append(replace(standing, stale=stale))
    return marked


def steady_part(timeline: Sequence[tuple[float, int]]) -> tuple[int, float]:
    """(bytes, seconds) once the ramp is over, from (seconds since the request, bytes so far).

    A connection in slow start doubles what it sends every round trip (RFC 5681, 3.1), which says
    little about what a large file gets. The ramp ends with the first slice of time that is nearly
    as fast as those after it are in the median.
    """
    if not timeline:
        return 0, 0.0
    points = _slices(timeline)
    end_time, total = points[-1]
    if len(points) < 3:
        return total, max(end_time, 1e-6)
    rates = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(points)]
    start = next(
        (i for i, rate in enumerate(rates[:-1]) if rate >= 0.7 * median(rates[i + 1 :])),
        len(rates) - 1,
    )
    return total - points[start][1], end_time - points[start][0]


def _slices(timeline: Sequence[tuple[float, int]], count: int = 16) -> list[tuple[float, int]]:
    """The first point, then the first one in each of ``count`` equal parts of the time."""
    points = [timeline[0]]
    begin, end = timeline[0][0], timeline[-1][0]
    for point in timeline[1:]:
        # The tolerance keeps a point that lies on the border in its own part.
        part = int((point[0] - begin) / (end - begin) * count + 1e-6) if end > begin else 0
        before = int((points[-1][0] - begin) / (end - begin) * count + 1e-6) if end > begin else 0
        if part > before:
            points.append(point)
    return points
