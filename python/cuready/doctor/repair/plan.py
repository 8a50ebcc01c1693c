"""The plan of a repair: which commands, in which order, and which of them only a person can run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cuready._util import normalize
from cuready.doctor.finding import Finding, Fix, Risk, Severity
from cuready.doctor.installers import came_from, for_environment, for_package, join
from cuready.snapshot import CondaPackage, Distribution, Snapshot

__all__ = ["Step", "plan_repair", "plan_return"]

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
    findings: Iterable[Finding], *, only: Sequence[str] = (), include_infos: bool = False
) -> tuple[Step, ...]:
    """The first fix of every finding, in the doctor's order, each command once.

    Root causes come first in a diagnosis, and what they explain is not in it, so that no symptom
    is repaired on its own. ``only`` holds ids.
    """
    wanted = {item.upper() for item in only}
    steps: dict[str, Step] = {}
    for finding in findings:
        if wanted and finding.id.upper() not in wanted:
            continue
        if finding.severity is Severity.INFO and not include_infos and not wanted:
            continue
        if finding.fix:
            for step in _steps(finding.id, finding.fix[0]):
                known = steps.get(step.command)
                ids = (*known.finding_ids, finding.id) if known else step.finding_ids
                steps[step.command] = replace(known or step, finding_ids=ids)
    return tuple(steps.values())


def _steps(finding_id: str, fix: Fix) -> Iterable[Step]:
    for command in fix.commands:
        yield Step(
            command=command,
            finding_ids=(finding_id,),
            needs_root=fix.needs_root or command.startswith("sudo "),
            risk=fix.risk,
            note=fix.note,
            manual=_manual(command),
        )


def _manual(command: str) -> str:
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
    return ""


def plan_return(
    before: Sequence[Distribution], now: Snapshot, conda_before: Sequence[CondaPackage] = ()
) -> tuple[Step, ...]:
    """What brings the installed packages of ``now`` back to those that were there before.

    Conda's packages go first, because they may hold the interpreter. Added ones are removed, then
    the old versions come back without their dependencies: those are in the list themselves.
    """
    conda_steps = _conda_return(conda_before, now)
    by_conda: set[str] = {
        normalize(item.name) for item in (*conda_before, *now.python.conda_packages)
    }
    old = {normalize(item.name): item for item in before if not _is_conda(item, by_conda)}
    new = {
        normalize(item.name): item
        for item in now.python.distributions
        if not _is_conda(item, by_conda)
    }
    added = sorted(name for name in new if name not in old)
    steps = [*conda_steps]
    for manager, names in _by_manager(now, added).items():
        installer = replace(for_environment(now), manager=manager)
        steps.append(Step(installer.uninstall(names), note="was not there before"))
    for name, item in sorted(old.items()):
        present = new.get(name)
        if present is not None and present.version == item.version:
            continue
        installer = for_package(now, item.name)
        if item.installer and item.installer.lower() in ("pip", "uv"):
            installer = replace(installer, manager=item.installer.lower())
        requirement, index = came_from(item)
        command = installer.install([requirement], index_url=index, dependencies=False)
        was = "is gone" if present is None else f"is {present.version} now"
        steps.append(Step(command, note=f"was {item.version}, {was}"))
    return tuple(steps)


def _is_conda(item: Distribution, by_conda: set[str]) -> bool:
    """Whether conda owns the distribution: its dist-info came with a conda package."""
    return item.installer == "conda" or (
        item.installer is None and normalize(item.name) in by_conda
    )


def _conda_return(before: Sequence[CondaPackage], now: Snapshot) -> list[Step]:
    """One command each way, with exact builds: conda's own solver then has nothing to decide."""
    old = {item.name: item for item in before}
    new = {item.name: item for item in now.python.conda_packages}
    installer = for_environment(now)
    steps = []
    added = sorted(set(new) - set(old))
    if old and added:
        steps.append(Step(installer.uninstall(added), note="was not there before"))
    changed = [
        item
        for name, item in sorted(old.items())
        if name not in new or (new[name].version, new[name].build) != (item.version, item.build)
    ]
    if changed:
        specs = [f"{item.name}={item.version}={item.build}" for item in changed]
        where = ["-p", installer.prefix] if installer.prefix else []
        channels = [word for item in changed if item.channel for word in ("-c", item.channel)]
        unique = list(dict.fromkeys(zip(channels[::2], channels[1::2], strict=True)))
        flags = [word for pair in unique for word in pair]
        command = [installer.manager, "install", "-y", *where, "--no-deps", *flags, *specs]
        steps.append(Step(join(command, installer.system), note="the builds that were there"))
    return steps


def _by_manager(now: Snapshot, names: Sequence[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(for_package(now, name).manager, []).append(name)
    return groups
