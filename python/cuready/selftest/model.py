"""What a self-test says, as values: figures, series, stages, the whole report, and its JSON."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cuready.doctor.finding import Finding

__all__ = ["Figure", "Report", "Series", "StageResult", "Status"]


class Status(str, enum.Enum):
    """How a stage ended. A skipped stage proved nothing and says why."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Figure:
    """One measured number. ``usual`` is what such a GPU gives, or None: not known."""

    name: str
    value: float
    unit: str
    usual: tuple[float, float] | None = None
    source: str = ""

    @property
    def low(self) -> bool:
        """Whether it is below half of what is usual: worth a warning, not a failure."""
        return self.usual is not None and self.value < self.usual[0] / 2

    def to_dict(self) -> dict[str, Any]:
        usual = list(self.usual) if self.usual is not None else "unknown"
        return {
            "name": self.name,
            "value": round(self.value, 6),
            "unit": self.unit,
            "usual": usual,
            "source": self.source,
        }


@dataclass(frozen=True)
class Series:
    """Points of one line of a plot; ``plot`` groups lines: bandwidth, latency, clocks, …"""

    plot: str
    name: str
    x: Sequence[float]
    y: Sequence[float]
    x_unit: str = ""
    y_unit: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "plot": self.plot,
            "name": self.name,
            "x": list(self.x),
            "y": list(self.y),
            "x_unit": self.x_unit,
            "y_unit": self.y_unit,
        }


@dataclass
class StageResult:
    """One stage. ``ms`` is host time; ``error`` is the error's dictionary when it raised one."""

    id: str
    title: str
    status: Status
    reason: str = ""
    figures: list[Figure] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    unanswered: bool = False
    """A skipped stage that was asked for and could not be run: the run ends with code 3."""
    ms: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "status": self.status.value,
            "reason": self.reason,
            "unanswered": self.unanswered,
            "ms": round(self.ms, 1),
            "figures": [item.to_dict() for item in self.figures],
            "series": [item.to_dict() for item in self.series],
            "facts": self.facts,
            "error": self.error,
            "findings": self.findings,
        }

    @classmethod
    def from_wire(cls, title: str, message: Mapping[str, Any]) -> StageResult:
        """What a child process wrote as one JSON line."""
        return cls(
            id=message["stage"],
            title=title,
            status=Status(message["status"]),
            reason=message.get("reason", ""),
            figures=[Figure(**item) for item in message.get("figures", ())],
            series=[Series(**item) for item in message.get("series", ())],
            facts=dict(message.get("facts", {})),
            error=dict(message.get("error", {})),
            unanswered=bool(message.get("unanswered", False)),
            ms=float(message.get("ms", 0.0)),
        )


@dataclass
class Report:
    """All stages of one run, and what they found."""

    mode: str
    device: int
    machine: dict[str, Any] = field(default_factory=dict)
    stages: list[StageResult] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    note: str = ""
    """One line above everything else, such as that there is no GPU here."""

    @property
    def failed(self) -> bool:
        return any(stage.status is Status.FAILED for stage in self.stages)

    @property
    def unanswered(self) -> bool:
        return any(stage.unanswered for stage in self.stages)

    @property
    def exit_code(self) -> int:
        """1 when a stage failed; 3 when what was asked for could not be tried; else 0."""
        if self.failed:
            return 1
        return 3 if self.unanswered else 0

    def stage(self, stage_id: str) -> StageResult:
        return next(stage for stage in self.stages if stage.id == stage_id)

    def count(self, status: Status) -> int:
        return sum(stage.status is status for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "device": self.device,
            "machine": self.machine,
            "note": self.note,
            "seconds": round(self.seconds, 2),
            "summary": {status.value: self.count(status) for status in Status},
            "stages": [stage.to_dict() for stage in self.stages],
            "findings": [item.to_dict() for item in self.findings],
        }
