"""The plan of a repair: which commands, in which order, and which of them only a person can run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cuready.doctor.finding import Finding, Fix, Risk, Severity
from cuready.doctor.repair.programs import Lacking, nothing

__all__ = ["Step", "plan_repair", "why_manual"]


# Commands that act on the shell that they are typed into, or end it: nothing that a child process
# of ours could do for its user.
SHELL_ONLY = frozenset(
    {"export", "unset", "source", ".", "cd", "deactivate", "conda activate", "set", "setx"}
)
ENDS_THE_SESSION = frozenset({"reboot", "shutdown", "poweroff", "wsl"})
PLACEHOLDER = re.compile(r"<[^<>\s]+>|\b(?:NAME|IMAGE|CONTAINER|DISTRIBUTION|MODEL)\b|\.\.\.|…")


@dataclass(frozen=True)
class Step:
    """One command. ``manual`` says why it is left to the user; empty when it can be run."""

    command: str
    finding_ids: tuple[str, ...] = ()
    needs_root: bool = False
    risk: Risk = Risk.LOW
    note: str = ""
    manual: str = field(default="")

    def to_dict(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "findings": list(self.finding_ids),
            "needs_root": self.needs_root,
            "risk": self.risk.value,
            "note": self.note,
            "manual": self.manual,
        }


def plan_repair(
    findings: Iterable[Finding],
    *,
    only: Sequence[str] = (),
    include_infos: bool = False,
    lacking: Lacking = nothing,
) -> tuple[Step, ...]:
    """The first fix of every finding, in the doctor's order, each command once.

    Root causes come first in a diagnosis, and what they explain is not in it, so that no symptom
    is repaired on its own. ``only`` holds ids. A command that is
    ``lacking`` something is left to the user.
    """
    wanted = {item.upper() for item in only}
    steps: dict[str, Step] = {}
    for finding in findings:
        if wanted and finding.id.upper() not in wanted:
            continue
        if finding.severity is Severity.INFO and not include_infos and not wanted:
            continue
        if finding.fix:
            for step in _steps(finding.id, finding.fix[0], lacking):
                known = steps.get(step.command)
                ids = (*known.finding_ids, finding.id) if known else step.finding_ids
                steps[step.command] = replace(known or step, finding_ids=ids)
    return tuple(steps.values())


def _steps(finding_id: str, fix: Fix, lacking: Lacking) -> Iterable[Step]:
    for command in fix.commands:
        yield Step(
            command=command,
            finding_ids=(finding_id,),
            needs_root=fix.needs_root or command.startswith("sudo "),
            risk=fix.risk,
            note=fix.note,
            manual=why_manual(command, lacking),
        )


def why_manual(command: str, lacking: Lacking) -> str:
    """Why ``command`` has to be typed by a person; empty when it can be run for them."""
    try:
        words = shlex.split(command)
    except ValueError:
        return "it cannot be read as one command"
    if words[:1] == ["sudo"]:
        words = words[1:]
    if not words:
        return "it is empty"
    if words[0] in SHELL_ONLY or " ".join(words[:2]) in SHELL_ONLY:
        return "it changes the shell that it is typed into"
    if words[0] in ENDS_THE_SESSION:
        return "it ends this session"
    if PLACEHOLDER.search(command):
        return "fill in the part that only you know"
    return lacking(words)
