"""Plan, show, carry out and take back changes of mirrors in configuration files.

A plan is computed from what the files hold and changes nothing. :func:`apply` keeps what it is
about to replace, writes each file atomically, and takes every file back when one of them fails.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cuready.errors import CureadyError
from cuready.mirrors import atomic, effective, urls
from cuready.mirrors.catalogue import Catalogue, Mirror, Use
from cuready.mirrors.editors import condarc, pip_conf, rattler_toml, uv_toml
from cuready.mirrors.editors.text import Change, ConfigSyntaxError, Text, lines
from cuready.mirrors.journal import Edit, Journal, Operation
from cuready.mirrors.locations import Machine, Tool, layers

__all__ = [
    "USE_OF",
    "Plan",
    "Restored",
    "apply",
    "not_in_force",
    "plan_defaults",
    "plan_remove",
    "plan_restore",
    "plan_use",
    "restore",
]

# Which of a mirror's uses a tool's configuration is about.
USE_OF: dict[Tool, Use] = {"conda": "conda", "rattler": "conda", "pip": "pypi", "uv": "pypi"}


@dataclass(frozen=True)
class Plan:
    """One file's change. ``after`` is None when the file is to go (it was not there before)."""

    tool: Tool
    state: atomic.FileState
    after: bytes | None
    notes: tuple[str, ...] = ()
    mode: int | None = None

    @property
    def path(self) -> Path:
        """The file as the user knows it, maybe a symbolic link."""
        return self.state.path

    @property
    def changes(self) -> bool:
        """Whether a single byte differs."""
        return self.after != self.state.data

    def diff(self) -> str:
        """A unified diff; credentials in addresses are not shown."""
        old, new = (_shown(data) for data in (self.state.data, self.after))
        before = "/dev/null" if self.state.data is None else str(self.path)
        after = "/dev/null" if self.after is None else str(self.path)
        return "".join(difflib.unified_diff(old, new, fromfile=before, tofile=after, n=2))


@dataclass(frozen=True)
class Restored:
    """What a restore would do, or did: the operation and its files."""

    operation: Operation
    plans: tuple[Plan, ...]
    edits: tuple[Edit, ...]


def plan_use(
    targets: Mapping[Tool, Path], mirrors: Mapping[Tool, Mirror], catalogue: Catalogue
) -> list[Plan]:
    """Use ``mirrors[tool]`` in each target. Raises ConfigError naming the file and the line."""

    def change(tool: Tool, body: str, newline: str) -> Change:
        mirror = mirrors[tool]
        if tool == "conda":
            return condarc.use(body, mirror, catalogue, newline)
        if tool == "rattler":
            return rattler_toml.use(body, mirror, catalogue, newline)
        if mirror.pypi is None:
            raise ValueError(f"{mirror.name} carries no PyPI")
        if tool == "pip":
            return pip_conf.use(body, mirror.pypi.index_url, newline)
        return uv_toml.use(body, mirror.pypi.index_url, newline)

    return [_plan(tool, path, change) for tool, path in targets.items()]


def plan_defaults(targets: Mapping[Tool, Path], catalogue: Catalogue) -> list[Plan]:
    """Back to Anaconda.org and PyPI in each target that exists."""

    def change(tool: Tool, body: str, newline: str) -> Change:
        if tool == "conda":
            return condarc.defaults(body, catalogue, newline)
        if tool == "rattler":
            return rattler_toml.defaults(body, catalogue)
        return pip_conf.defaults(body) if tool == "pip" else uv_toml.defaults(body)

    existing = {tool: path for tool, path in targets.items() if path.exists()}
    return [_plan(tool, path, change) for tool, path in existing.items()]


def plan_remove(url: str, targets: Mapping[Tool, Path]) -> list[Plan]:
    """Take ``url`` out of each target that exists."""

    def change(tool: Tool, body: str, newline: str) -> Change:
        if tool == "conda":
            return condarc.remove(body, url, newline)
        if tool == "rattler":
            return rattler_toml.remove(body, url)
        if tool == "pip":
            return pip_conf.remove(body, url, newline)
        return uv_toml.remove(body, url)

    existing = {tool: path for tool, path in targets.items() if path.exists()}
    return [_plan(tool, path, change) for tool, path in existing.items()]


def apply(plans: Sequence[Plan], command: str, journal: Journal) -> Operation | None:
    """Carry out ``plans``; None when no file changes.

    Raises FileRefusedError when a file is read-only or was changed since the plan was made; then
    none is changed.
    """
    todo = [plan for plan in plans if plan.changes]
    if not todo:
        return None
    with journal.lock():
        for plan in todo:
            atomic.check_writable(plan.state)
            _refuse_changed(plan)
        operation = journal.begin(command, [(p.tool, p.state, p.after) for p in todo])
        try:
            _write_all(todo)
        except BaseException:
            undone = [edit for edit in operation.edits if edit.state() == "before"]
            journal.mark_restored(operation, undone)
            raise
        _read_back(todo)
    return operation


def plan_restore(tools: Iterable[Tool], journal: Journal) -> Restored | None:
    """The newest operation on ``tools`` that is in force; None when there is nothing to restore.

    Raises FileRefusedError when one of its files was changed since, because restoring would lose
    that change.
    """
    wanted = set(tools)
    for operation in reversed(journal.operations()):
        open_edits = [e for e in operation.edits if e.tool in wanted and not e.restored]
        states = {edit: edit.state() for edit in open_edits}
        for edit, state in states.items():
            if state == "changed":
                raise atomic.FileRefusedError(
                    f"{edit.path}: was changed since cuready wrote it on {operation.time}; "
                    "nothing was restored",
                    hint="undo that change, or edit the file by hand; the bytes from before are "
                    f"in {journal.root / operation.id}",
                )
        edits = tuple(edit for edit, state in states.items() if state == "after")
        if edits:
            plans = tuple(_restoring(journal, operation, edit) for edit in edits)
            return Restored(operation, plans, edits)
    return None


def restore(found: Restored, journal: Journal) -> None:
    """Put back, byte for byte, what ``found`` replaced.

    Raises FileRefusedError like :func:`apply`.
    """
    with journal.lock():
        for plan in found.plans:
            atomic.check_writable(plan.state)
            _refuse_changed(plan)
        _write_all(found.plans)
        journal.mark_restored(found.operation, found.edits)


def not_in_force(
    machine: Machine, mirrors: Mapping[Tool, Mirror], plans: Sequence[Plan]
) -> list[str]:
    """Reasons why a tool will not use its mirror after all, from what it will read back."""
    warnings = []
    for tool, mirror in mirrors.items():
        view = effective.read(tool, machine)
        warnings += view.errors
        if tool in ("pip", "uv"):
            origin = view.values["index-url" if tool == "pip" else "default-index"]
            wanted = mirror.pypi.index_url if mirror.pypi else ""
        elif tool == "conda":
            address = effective.channel_url("conda-forge", view.values)
            origin = effective.Origin(address, view.values["custom_channels"].source)
            wanted = (mirror.conda.channel_url("conda-forge") if mirror.conda else None) or address
        else:
            first = view.values["mirrors"].value.get(f"{rattler_toml.UPSTREAM}/conda-forge", [""])
            origin = effective.Origin(first[0], view.values["mirrors"].source)
            wanted = (mirror.conda.channel_url("conda-forge") if mirror.conda else None) or ""
        read_files = {layer.path for layer in layers(tool, machine)}
        mine = next((plan.path for plan in plans if plan.tool == tool), None)
        if mine is not None and mine not in read_files:
            warnings.append(f"{tool} does not read {mine} here")
        elif not urls.same(str(origin.value), wanted):
            value = urls.redact(str(origin.value))
            warnings.append(f"{tool} will still use {value}, set by {origin.source}")
    return warnings


def _plan(tool: Tool, path: Path, change: Callable[[Tool, str, str], Change]) -> Plan:
    state = atomic.read(path)
    try:
        text = Text.decode(state.data or b"", exact=tool != "pip")
        result = change(tool, text.body, text.newline)
    except ConfigSyntaxError as error:
        raise error.at(path) from None
    if result.body == text.body:
        return Plan(tool, state, state.data, result.notes)
    return Plan(tool, state, text.encode(result.body), result.notes)


def _restoring(journal: Journal, operation: Operation, edit: Edit) -> Plan:
    state = atomic.read(Path(edit.path))
    tool = next(tool for tool in USE_OF if tool == edit.tool)
    return Plan(tool, state, journal.before(operation, edit), mode=edit.mode)


def _refuse_changed(plan: Plan) -> None:
    if atomic.read(plan.path).digest != plan.state.digest:
        raise atomic.FileRefusedError(
            f"{plan.path}: was changed by another program just now; nothing was written",
            hint="run the command again",
        )


def _write_all(plans: Sequence[Plan]) -> None:
    """Write every file, or none: the ones already written go back when a later one fails."""
    done: list[Plan] = []
    try:
        for plan in plans:
            _put(plan.state, plan.after, plan.mode)
            done.append(plan)
    except BaseException:
        for plan in reversed(done):
            _put(atomic.read(plan.path), plan.state.data, plan.state.mode)
        raise


def _put(state: atomic.FileState, data: bytes | None, mode: int | None) -> None:
    if data is None:
        atomic.remove(state)
    else:
        atomic.write(state, data, mode=mode)


def _read_back(plans: Sequence[Plan]) -> None:
    """What was written must be what is there, and the tool's parser must take it."""
    for plan in plans:
        if atomic.read(plan.path).data != plan.after:
            raise CureadyError(f"{plan.path}: does not hold what was just written to it")


def _shown(data: bytes | None) -> list[str]:
    """Lines for a diff. Ends of lines that are not LF are written out, or they would not show."""
    if data is None:
        return []
    text = urls.redact_text(Text.decode(data, exact=False).body)
    text = text.encode("utf-8", errors="backslashreplace").decode()
    shown = []
    for line in lines(text):
        bare = line.rstrip("\r\n")
        end = "" if line.endswith("\n") else "\n\\ No newline at end of file"
        shown.append(f"{bare}{end}\n")
    return shown
