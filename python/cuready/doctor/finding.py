"""A finding as a value: what is wrong, how we know, what it explains, which commands fix it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CheckResult",
    "CheckStatus",
    "Confidence",
    "Evidence",
    "Finding",
    "Fix",
    "Risk",
    "Severity",
]


class Severity(str, enum.Enum):
    """How much it matters to somebody who wants to run something on the GPU."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Confidence(str, enum.Enum):
    """``PROVEN``: read here. ``LIKELY``: a rule says so. ``UNKNOWN``: newer than our tables."""

    PROVEN = "proven"
    LIKELY = "likely"
    UNKNOWN = "unknown"


class Risk(str, enum.Enum):
    """What a fix can cost: nothing outside one environment, a changed system, or a reboot."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class CheckStatus(str, enum.Enum):
    """How a check ended. ``UNKNOWN``: the facts it needs could not be read."""

    PASSED = "passed"
    FOUND = "found"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Evidence:
    """What was read (``detail``) and where (``source``: a path, a variable, a library call)."""

    source: str
    detail: str

    def to_dict(self) -> dict[str, Any]:
        return {"source": self.source, "detail": self.detail}


@dataclass(frozen=True)
class Fix:
    """One way to repair it: commands in order, for the installer that owns the environment."""

    commands: tuple[str, ...]
    note: str = ""
    needs_root: bool = False
    risk: Risk = Risk.LOW

    def to_dict(self) -> dict[str, Any]:
        return {
            "commands": list(self.commands),
            "needs_root": self.needs_root,
            "risk": self.risk.value,
            "note": self.note,
        }


@dataclass(frozen=True)
class Finding:
    """One root cause. ``explains`` names the ids that are only its symptoms here.

    ``image``, ``about`` and ``reach`` say which findings of those ids: they serve the merge, and
    are in no report.
    """

    id: str
    severity: Severity
    title: str
    cause: str
    confidence: Confidence = Confidence.PROVEN
    evidence: tuple[Evidence, ...] = ()
    explains: tuple[str, ...] = ()
    fix: tuple[Fix, ...] = ()
    links: tuple[str, ...] = ()
    subject: str = field(default="")
    """What it is about when one id can fire more than once (a library, a package, a variable)."""
    image: str = ""
    """The Dockerfile whose image it is about; empty: this machine. What works or is broken here
    says nothing of an image."""
    about: tuple[frozenset[str], ...] = ()
    """Each thing that is wrong, as the names of what it may come from (see ``things``). A root
    cause swallows the finding where each of them is reached; empty: nothing tells it apart."""
    reach: frozenset[str] = frozenset()
    """The things whose trouble it explains, of the ids in ``explains``; empty: all of them."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "severity": self.severity.value,
            "confidence": self.confidence.value,
            "title": self.title,
            "subject": self.subject,
            "cause": self.cause,
            "evidence": [item.to_dict() for item in self.evidence],
            "explains": list(self.explains),
            "fix": [item.to_dict() for item in self.fix],
            "links": list(self.links),
        }


@dataclass(frozen=True)
class CheckResult:
    """How one check ended, and how long it took in milliseconds."""

    id: str
    status: CheckStatus
    reason: str = ""
    ms: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status.value,
            "reason": self.reason,
            "ms": round(self.ms, 3),
        }
