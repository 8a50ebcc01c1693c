"""Runs the steps of a repair one by one, asking first, and remembers how each ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cuready.doctor.repair.journal import Record
from cuready.doctor.repair.plan import Step

__all__ = ["Outcome", "run_steps"]

# Asked once a step; False declines it and the run goes on with the next.
Confirm = Callable[[Step], bool]
# Told how a step begins and ends.
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a step ended: done, failed, declined, manual, refused (needs root), or not reached."""

    step: Step
    status: str
    exit_code: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**self.step.to_dict(), "status": self.status, "exit_code": self.exit_code}


def run_steps(
    steps: Sequence[Step],
    *,
    record: Record | None,
    confirm: Confirm,
    allow_root: bool,
    tell: Tell,
) -> tuple[Outcome, ...]:
    """Run ``steps`` in order and stop at the first that fails: later ones build on it.

    The installers' own output goes to stderr, so that a document on stdout stays whole. ``record``
    is brought up to date after each step; its entries are those of the runnable steps, in order.
    """
    outcomes: list[Outcome] = []
    place = -1
    failed = False
    for step in steps:
        if step.manual:
            outcomes.append(Outcome(step, "manual"))
            continue
        place += 1
        status, code = _decide(step, failed, allow_root, confirm), None
        if status == "run":
            tell(f"$ {step.command}")
            code = _run(step.command)
            status = "done" if code == 0 else "failed"
            failed = code != 0
        if record is not None and status != "not reached":
            record = record.mark(place, status, code)
        outcomes.append(Outcome(step, status, code))
    return tuple(outcomes)


def _decide(step: Step, failed: bool, allow_root: bool, confirm: Confirm) -> str:
    if failed:
        return "not reached"
    if step.needs_root and not allow_root:
        return "refused"
    return "run" if confirm(step) else "declined"


def _run(command: str) -> int:
    """The exit code of ``command`` in the system's shell; the commands are our own, quoted."""
    shell = ("cmd", "/d", "/c") if os.name == "nt" else ("/bin/sh", "-c")
    done = subprocess.run([*shell, command], stdout=2, stdin=subprocess.DEVNULL, check=False)
    return done.returncode
