"""Three-valued answers: compatible, incompatible, or not known, each with a reason and a source."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "Verdict", "combine"]


class Verdict(str, enum.Enum):
    """``UNKNOWN`` is what anything newer than the tables gets; it is never an error."""

    COMPATIBLE = "compatible"
    INCOMPATIBLE = "incompatible"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """A verdict with the reason for it, in one sentence, and where the fact comes from."""

    verdict: Verdict
    reason: str
    source: str = ""

    @property
    def ok(self) -> bool:
        """Whether the tables say yes."""
        return self.verdict is Verdict.COMPATIBLE

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict.value, "reason": self.reason, "source": self.source}


def yes(reason: str, source: str = "") -> Answer:
    """Compatible, because ``reason``."""
    return Answer(Verdict.COMPATIBLE, reason, source)


def no(reason: str, source: str = "") -> Answer:
    """Incompatible, because ``reason``."""
    return Answer(Verdict.INCOMPATIBLE, reason, source)


def unknown(reason: str, source: str = "") -> Answer:
    """Not known, because ``reason``."""
    return Answer(Verdict.UNKNOWN, reason, source)


def combine(answers: Iterable[Answer]) -> Answer:
    """All of ``answers`` at once: one no is a no, otherwise one unknown is an unknown.

    Reasons of the deciding kind are joined; an empty list is compatible.
    """
    collected = list(answers)
    for verdict in (Verdict.INCOMPATIBLE, Verdict.UNKNOWN):
        deciding = [item for item in collected if item.verdict is verdict]
        if deciding:
            break
    else:
        verdict, deciding = Verdict.COMPATIBLE, collected
    reasons = dict.fromkeys(item.reason for item in deciding if item.reason)
    sources = dict.fromkeys(item.source for item in deciding if item.source)
    return Answer(verdict, "; ".join(reasons), "; ".join(sources))
