"""The stages of the self-test: their order, what each needs, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuready.errors import InputError

__all__ = ["OFFLINE", "STAGES", "Options", "Stage", "chosen", "limit"]


@dataclass(frozen=True)
class Stage:
    """``needs``: stages without which this one would prove nothing. ``module``: in `proofs`.

    ``limit_s``: after so many seconds without an end the stage hangs. ``alone``: in a process of
    its own, because it loads libraries of others or touches several GPUs.
    """

    id: str
    title: str
    proves: str
    module: str
    needs: tuple[str, ...] = ()
    limit_s: float = 60.0
    alone: bool = False


STAGES: tuple[Stage, ...] = (
    Stage("driver", "Driver answers", "libcuda loads, initialises and names its GPUs", "driver"),
    Stage("context", "Context", "a context, a stream and an event can be made", "driver",
          ("driver",), 90),
    Stage("memory", "Allocate and free", "memory of many sizes is given, filled and taken back",
          "memory", ("context",)),
    Stage("copies", "Copies", "what is copied arrives unchanged, and how fast", "copies",
          ("memory",), 120),
    Stage("compute", "Compute", "the driver compiles kernels and their numbers are right",
          "compute", ("copies",), 120),
    Stage("pattern", "Memory pattern", "a share of memory holds what is written to it", "memory",
          ("compute",), 180),
    Stage("overlap", "Streams overlap", "kernels on two streams run at the same time", "timing",
          ("compute",)),
    Stage("events", "Events measure time", "events, the GPU's timer and the host's clock agree",
          "timing", ("compute",)),
    Stage("tensorrt", "TensorRT", "TensorRT loads, runs an engine, and its numbers are right",
          "tensorrt", ("events",), 240, alone=True),
    Stage("engine", "Your engine", "the given plan loads and runs", "engine", ("events",), 240,
          alone=True),
    Stage("peers", "Several GPUs", "data reach the other GPUs unchanged", "peers", ("copies",), 120,
          alone=True),
    Stage("soak", "Soak", "results stay right while the GPU is hot", "soak",
          ("events",), 120, alone=True),
)  # fmt: skip


# Run instead of "tensorrt" where there is no GPU; the rest of that stage's proof needs one.
OFFLINE = Stage("library", "TensorRT", "TensorRT loads and says its version", "tensorrt")


LARGEST_SHARE = 0.98
"""Of the free memory; the context of a child and its own copies need the rest."""


@dataclass(frozen=True)
class Options:
    """What was asked for. ``minutes`` of soak make the mode "long"."""

    mode: str = "default"
    device: int = 0
    memory_share: float | None = None
    engine: Path | None = None
    library: Path | None = None
    minutes: float = 0.0
    stage_limit: float | None = None
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        share = self.memory_share
        if share is not None and not 0 < share <= LARGEST_SHARE:
            message = f"--memory-share {share}: a share above 0 and up to {LARGEST_SHARE} is needed"
            raise InputError(message)
        known = {stage.id for stage in STAGES}
        for name in (*self.only, *self.skip):
            if name not in known:
                hint = f"the stages are {', '.join(stage.id for stage in STAGES)}"
                raise InputError(f"no stage is called {name!r}", hint=hint)

    @property
    def share(self) -> float:
        """Share of the free memory that the pattern goes over."""
        if self.memory_share is not None:
            return self.memory_share
        return {"quick": 0.25, "default": 0.8, "long": 0.9}[self.mode]

    def to_wire(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "device": self.device,
            "share": self.share,
            "engine": str(self.engine) if self.engine else None,
            "library": str(self.library) if self.library else None,
            "minutes": self.minutes,
        }


def chosen(options: Options) -> list[Stage]:
    """The stages of a run, with those that the chosen ones stand on."""
    wanted = [stage for stage in STAGES if not options.only or stage.id in options.only]
    names = {stage.id for stage in wanted} - set(options.skip)
    if options.engine is None:
        names.discard("engine")
    if options.minutes <= 0:
        names.discard("soak")
    table = {stage.id: stage for stage in STAGES}
    reach = list(names)
    while reach:
        for need in table[reach.pop()].needs:
            if need not in names:
                names.add(need)
                reach.append(need)
    return [stage for stage in STAGES if stage.id in names]


def limit(stage: Stage, options: Options) -> float:
    """Seconds after which the stage counts as hung."""
    extra = options.minutes * 60 if stage.id == "soak" else 0.0
    return (options.stage_limit or stage.limit_s) + extra
