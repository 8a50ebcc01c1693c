"""Runs the steps of a repair one by one, asking first, and remembers how each ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cuready.doctor.repair.journal import Record
from cuready.doctor.repair.plan import Step
from cuready.snapshot import Snapshot

__all__ = ["Outcome", "run_steps"]

# Asked once a step; False declines it and the run goes on with the next.
Confirm = Callable[[Step], bool]
# Told how a step begins and ends.
Tell = Callable[[str], None]
# What is installed now; None where that cannot be read.
Look = Callable[[], Snapshot | None]


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
    look: Look = lambda: None,
) -> tuple[Outcome, ...]:
    """Run ``steps`` in order and stop at the first that fails: later ones build on it.

    The installers' own output goes to stderr, so that a document on stdout stays whole. ``record``
    is brought up to date before and after each step, with what ``look`` sees then; its entries are
    those of the runnable steps, in order.
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
            code, record = _remembered(step.command, record, place, look)
            status = "done" if code == 0 else "failed"
            failed = code != 0
        elif record is not None and status != "not reached":
            record = record.mark(place, status)
        outcomes.append(Outcome(step, status, code))
    return tuple(outcomes)


def _remembered(
    command: str, record: Record | None, place: int, look: Look
) -> tuple[int, Record | None]:
    """Run ``command``; the record says all the while how far it came, also if we are killed."""
    if record is None:
        return _run(command), None
    record = record.seen(None).mark(place, "running")
    status, code = "interrupted", None
    try:
        code = _run(command)
        status = "done" if code == 0 else "failed"
    finally:
        record = record.seen(look()).mark(place, status, code)
    return code, record


def _decide(step: Step, failed: bool, allow_root: bool, confirm: Confirm) -> str:
    if failed:
        return "not reached"
    if step.needs_root and not allow_root:
        return "refused"
    return "run" if confirm(step) else "declined"


def _run(command: str) -> int:
    """The exit code of ``command`` in the system's shell; the commands are our own, quoted."""
    shell = ("cmd", "/d", "/c") if os.name == "nt" else ("/bin/sh", "-c")
    with subprocess.Popen([*shell, command], stdout=2, stdin=subprocess.DEVNULL) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.wait()  # Ctrl-C reached it as well: it puts back what it had moved, then ends
            raise
