"""Values that the runtime returns: versions, profiles, benchmark reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# No dataclasses here: they import inspect, which would be a third of this package's import time.

__all__ = ["BenchmarkReport", "Percentiles", "Profile", "Version"]

Shape = tuple[int, ...]


class Version(NamedTuple):
    """A TensorRT version; compares as a tuple, prints as ``10.16.1`` or ``8.6.0.12``."""

    major: int
    minor: int = 0
    patch: int = 0
    build: int = 0

    def __str__(self) -> str:
        parts = [self.major, self.minor, self.patch]
        if self.build:
            parts.append(self.build)
        return ".".join(str(part) for part in parts)


class Profile:
    """One optimization profile: what it allows for each input.

    Attributes:
        index: its number, as `ExecutionContext.set_profile` takes it.
        min, opt, max: name → shape; for a shape tensor, whose *values* are bounded, its values.
    """

    __slots__ = ("index", "max", "min", "opt")

    def __init__(
        self,
        index: int,
        min: Mapping[str, Shape],  # TensorRT's own words
        opt: Mapping[str, Shape],
        max: Mapping[str, Shape],
    ) -> None:
        self.index = index
        self.min = min
        self.opt = opt
        self.max = max

    def __repr__(self) -> str:
        return f"Profile(index={self.index}, min={self.min}, opt={self.opt}, max={self.max})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and self._key() == other._key()

    __hash__ = None  # type: ignore[assignment]  # its mappings are not hashable

    def _key(self) -> tuple[object, ...]:
        return (self.index, self.min, self.opt, self.max)


class Percentiles(NamedTuple):
    """Milliseconds over all runs; ``cov`` is the coefficient of variation in percent."""

    min: float
    max: float
    mean: float
    median: float
    p90: float
    p95: float
    p99: float
    cov: float


class BenchmarkReport(NamedTuple):
    """What `benchmark` measured: trtexec's stages, in milliseconds.

    ``enqueue`` is host time of the submitting call; ``h2d``, ``gpu`` and ``d2h`` are device time
    between events; ``latency`` is their sum for each run. ``bound_by`` names the stage that limits
    the throughput and ``diagnosis`` says what to try.

    ``gpu`` is the time between an event before the run and one behind it, while two runs are under
    way: where the host submits more slowly than the GPU computes, the GPU's waiting for the host
    is in it. ``gpu_queued`` is the same of runs that were queued, ``queued_at_once`` behind one
    another, before the GPU began: the GPU's own time. It is all zero where ``queued_iterations``
    is 0, and ``queued_reason`` then says why. Times between events come in steps of the GPU's
    timer; the medians are mid-distribution ones, which such steps do not round.
    """

    iterations: int
    seconds: float
    throughput: float
    enqueue: Percentiles
    h2d: Percentiles
    gpu: Percentiles
    d2h: Percentiles
    latency: Percentiles
    bound_by: str
    diagnosis: str
    graph: bool
    graph_fallback_reason: str
    gpu_queued: Percentiles
    queued_iterations: int
    queued_at_once: int
    queued_reason: str

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            name: value._asdict() if isinstance(value, Percentiles) else value
            for name, value in self._asdict().items()
        }

    def summary(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.iterations} runs in {self.seconds:.2f} s: {self.throughput:.1f} runs/s"
            + (" (CUDA graph)" if self.graph else ""),
            f"{'stage':11} {'min':>9} {'median':>9} {'mean':>9} {'p95':>9} {'p99':>9}  ms",
        ]
        names = ["enqueue", "h2d", "gpu", "d2h", "latency"]
        if self.queued_iterations:
            names.insert(3, "gpu_queued")
        for name in names:
            stage: Percentiles = getattr(self, name)
            lines.append(
                f"{name.replace('_', ', '):11} {stage.min:9.4f} {stage.median:9.4f} "
                f"{stage.mean:9.4f} {stage.p95:9.4f} {stage.p99:9.4f}"
            )
        if self.queued_iterations:
            lines.append(f"gpu, queued: {self.queued_iterations} runs, {self.queued_at_once} at a "
                         "time, queued before the GPU begins: no waiting for the host")  # fmt: skip
        elif self.queued_reason:
            lines.append(f"no gpu, queued: {self.queued_reason}")
        if self.graph_fallback_reason:
            lines.append(f"no CUDA graph: {self.graph_fallback_reason}")
        lines.append(f"bound by {self.bound_by}: {self.diagnosis}")
        return "\n".join(lines)
