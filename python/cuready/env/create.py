"""Making and changing environments: fetch everything, link, pip phase, verify, done marker.

Nothing of an environment is touched before every file is verified in the cache. A new one that
cannot be finished is removed; a changed one stands beside its old self until its proofs are done,
and the old one comes back when they fail. A run that is killed leaves a journal, and the next
command acts on it (:func:`settle`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuready._util import one_line, write_atomically
from cuready.env import prefix as files
from cuready.env import registry
from cuready.env.conda import discard_previous, interrupted, recover, restore_previous
from cuready.env.conda.clone import clone_tree
from cuready.env.conda.history import announce
from cuready.env.conda.transaction import Transaction
from cuready.env.pip import records
from cuready.env.pip.fetch import fetch_pins, room_for, wheels_of
from cuready.env.pip.install import (
    Wheel,
    install_wheels,
    remove_files,
    require_installer,
    unpacked_size,
)
from cuready.env.pip.model import Pin
from cuready.env.plan import (
    EnvPlan,
    Settings,
    decision_document,
    keep_locks,
    lock_texts,
    target_document,
)
from cuready.env.prefix import State
from cuready.env.verify import Verification, explained, verify
from cuready.errors import EnvError
from cuready.mirrors.net.cache import Cache
from cuready.mirrors.net.faults import kill_point

if TYPE_CHECKING:
    from cuready.doctor.engine import Diagnosis
    from cuready.env.conda import CondaSession

__all__ = ["Made", "Proofs", "carry_out", "settle"]


@dataclass(frozen=True)
class Proofs:
    """How to verify. ``no_gpu``: why proofs on the GPU are skipped; ``diagnose``: the doctor."""

    wanted: bool = True
    no_gpu: str = ""
    diagnose: Callable[[Path], Diagnosis | None] = lambda _: None
    machine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """What was done. ``verification`` is None when none was wanted; ``restored``: it failed, and
    the environment is what it was before."""

    state: State
    prefix: Path
    verification: Verification | None
    restored: bool = False
    changed: tuple[str, ...] = ()


def settle(prefix: Path) -> str:
    """Finish or take back what a killed run left at ``prefix``; empty when there was nothing.

    Call it while the prefix is held. Returns what was done, for people.
    """
    done = recover(prefix) if interrupted(prefix) is not None else ""
    entry = files.read_journal(prefix)
    if entry is not None:
        if not files.marked(prefix):
            files.remove_tree(prefix)
            registry.forget(prefix)
            done = "rolled back"
        else:
            files.clear_journal(prefix)
            done = done or "finished"
    state = files.read_state(prefix) if done else None
    if state is not None:
        keep_locks(state)  # it may have been cut short between the marker and this
    return f"an interrupted run was {done}" if done else ""


def carry_out(
    plan: EnvPlan,
    settings: Settings,
    proofs: Proofs,
    *,
    session: CondaSession | None = None,
    reinstall: Sequence[str] = (),
) -> Made:
    """Make the environment of ``plan``, or change the one that is there into it.

    ``reinstall``: pip packages to unpack anew although they seem to be in place. The caller holds
    the prefix and has settled it. Raises EnvError, MirrorError and what else the phases raise;
    the prefix is then what it was before.
    """
    require_installer()
    cache = Cache()
    before = files.read_state(plan.prefix)
    if before is None:
        files.check_place(plan.prefix)
    elif plan.kind == "venv":
        files.require_python(plan.prefix)
    pins = _fetch(plan, settings, session, cache)
    build_with = plan.python.path if plan.python else None
    tools = plan.every_way[0].pypi if plan.every_way else ""
    wheels = wheels_of(pins, cache, python=build_with, index=tools, offline=settings.offline)
    room_for(plan.prefix, unpacked_size(item.path for item in wheels) + (32 << 20))
    kill_point("everything-fetched")
    locks = lock_texts(plan, pins, session)
    kill_point("locks-made")
    if plan.kind == "conda":
        return _conda(plan, wheels, settings, proofs, session, before, locks, reinstall)
    if before is None:
        return _new_venv(plan, wheels, settings, proofs, locks)
    return _changed_venv(plan, wheels, settings, proofs, before, locks, reinstall)


def _fetch(
    plan: EnvPlan, settings: Settings, session: CondaSession | None, cache: Cache
) -> list[Pin]:
    for path, needed in plan.disk_needed.items():
        room_for(path, needed)
    if plan.conda is not None and session is not None:
        from cuready.env.conda import fetch_plan

        fetch_plan(plan.conda, session=session)
    return fetch_pins(
        plan.pip.pins,
        plan.every_way,
        cache,
        offline=settings.offline,
        on_progress=settings.on_progress,
    )


# --- the three ways to link ----------------------------------------------------------------------


def _new_venv(
    plan: EnvPlan,
    wheels: Sequence[Wheel],
    settings: Settings,
    proofs: Proofs,
    locks: tuple[str, str],
) -> Made:
    """A venv holds its own path, so it is made in place, with the journal beside it."""
    prefix = plan.prefix
    try:
        _begin(plan)
        settings.say(f"making {prefix}")
        _make_venv(plan)
        kill_point("venv-made")
        install_wheels(wheels, prefix, files.python_of(prefix), on_package=settings.say)
        kill_point("pip-done")
        state = _state(plan, None, locks)
        verification = _prove(plan, state, proofs, settings)
        state = _finish(plan, state, verification, proofs)
    except BaseException:
        registry.forget(prefix)
        files.remove_tree(prefix)
        raise
    return Made(state, prefix, verification, changed=_names(wheels))


def _begin(plan: EnvPlan) -> None:
    try:
        plan.prefix.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvError(f"{plan.prefix}: {error.strerror or error}") from None
    kill_point("prefix-made")
    files.write_journal(plan.prefix, {"operation": "create", "recipe": plan.recipe.name})
    registry.remember(plan.name, plan.prefix)
    kill_point("journal-written")


def _make_venv(plan: EnvPlan) -> None:
    """The standard library's venv with the pip that Python itself bundles: no network.

    The bundled wheel is unpacked as every other one, which takes a fifth of ensurepip's time and
    compiles nothing; a Python that hides it is left to its own ways.
    """
    assert plan.python is not None  # noqa: S101 - a plan of this kind has one
    bundled = plan.python.pip_wheel
    command = [str(plan.python.path), "-I", "-m", "venv", str(plan.prefix)]
    command += ["--without-pip"] if bundled else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        lines = [one_line(line) for line in (done.stdout + done.stderr).splitlines() if line]
        raise EnvError(f"{plan.python.path} -m venv {plan.prefix} failed", messages=lines[-8:])
    if bundled:
        wheel = Wheel(Pin("pip", plan.python.pip, bundled.as_uri()), bundled)
        install_wheels([wheel], plan.prefix, files.python_of(plan.prefix))


def _changed_venv(
    plan: EnvPlan,
    wheels: Sequence[Wheel],
    settings: Settings,
    proofs: Proofs,
    before: State,
    locks: tuple[str, str],
    reinstall: Sequence[str],
) -> Made:
    """The new environment is built beside the old one from hard links, then takes its place."""
    prefix = plan.prefix
    fresh, gone = _difference(plan, wheels, before, reinstall)
    if not fresh and not gone:
        state = _state(plan, before, locks)
        verification = _prove(plan, state, proofs, settings)
        state = _finish(plan, state, verification, proofs)
        return Made(state, prefix, verification)
    transaction = Transaction.begin(prefix, existed=True, keep=True)
    try:
        settings.say(f"copying {prefix} by hard links")
        clone_tree(prefix, transaction.new)
        kill_point("venv-cloned")
        _swap_packages(fresh, gone, prefix, transaction.new, settings)
        kill_point("pip-done")
        transaction.ready()
    except BaseException:
        transaction.roll_back()
        raise
    transaction.swap()
    transaction.release()
    kill_point("venv-swapped")
    return _accept(plan, before, locks, proofs, settings, (*_names(fresh), *gone))


def _conda(
    plan: EnvPlan,
    wheels: Sequence[Wheel],
    settings: Settings,
    proofs: Proofs,
    session: CondaSession | None,
    before: State | None,
    locks: tuple[str, str],
    reinstall: Sequence[str],
) -> Made:
    from cuready.env.conda import apply_plan

    if plan.conda is None or session is None:
        raise EnvError(f"{plan.recipe.name} has conda packages: it needs a conda session")
    prefix = plan.prefix
    registry.remember(plan.name, prefix)
    try:
        applied = apply_plan(plan.conda, session=session, keep_previous=True)
    except BaseException:
        if before is None:
            registry.forget(prefix)
        raise
    try:
        fresh, gone = _difference(plan, wheels, before, reinstall)
        _swap_packages(fresh, gone, prefix, prefix, settings)
        _conda_variables(plan)
        kill_point("pip-done")
    except BaseException:
        restore_previous(prefix)
        if before is None:
            registry.forget(prefix)
        raise
    linked = [f"{record.name} {record.version}" for record in plan.conda.to_link]
    changed = (*linked, *_names(fresh), *gone) if applied.linked or fresh or gone else ()
    return _accept(plan, before, locks, proofs, settings, changed)


def _accept(
    plan: EnvPlan,
    before: State | None,
    locks: tuple[str, str],
    proofs: Proofs,
    settings: Settings,
    changed: Sequence[str],
) -> Made:
    """Prove what stands at the prefix now; go back to what was before when that fails."""
    prefix = plan.prefix
    try:
        state = _state(plan, before, locks)
        verification = _prove(plan, state, proofs, settings)
        if verification is not None and verification.failed and before is not None:
            restore_previous(prefix)
            return Made(before, prefix, verification, restored=True)
        state = _finish(plan, state, verification, proofs)
        kill_point("done-marked")
    except BaseException:
        restore_previous(prefix)
        if before is None:
            registry.forget(prefix)
        else:
            with contextlib.suppress(EnvError):
                keep_locks(before)
        raise
    discard_previous(prefix)
    return Made(state, prefix, verification, changed=tuple(changed))


def _conda_variables(plan: EnvPlan) -> None:
    """The recipe's variables where conda, mamba and rattler look: ``conda-meta/state``.

    https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html
    """
    path = plan.prefix / "conda-meta" / "state"
    if not plan.recipe.variables and not path.exists():
        return
    document = {"version": 1, "env_vars": dict(plan.recipe.variables)}
    write_atomically(path, json.dumps(document).encode(), mode=0o644)


# --- packages ------------------------------------------------------------------------------------


def _difference(
    plan: EnvPlan, wheels: Sequence[Wheel], before: State | None, reinstall: Sequence[str]
) -> tuple[list[Wheel], list[str]]:
    """(wheels to unpack, names to remove): what somebody added by hand stays."""
    there = records.installed(plan.prefix)
    marks = before.records if before else {}
    fresh = []
    for wheel in wheels:
        name = wheel.pin.name
        found = there.get(name)
        same = found is not None and records.record_digest(found) == marks.get(name)
        if not same or name in reinstall or found is None or found.version != wheel.pin.version:
            fresh.append(wheel)
    wanted = {wheel.pin.name for wheel in wheels}
    return fresh, [name for name in marks if name not in wanted and name in there]


def _swap_packages(
    fresh: Sequence[Wheel], gone: Sequence[str], prefix: Path, root: Path, settings: Settings
) -> None:
    """Take old packages out of ``root`` and unpack new ones there."""
    there = records.installed(root)
    names = [*gone, *(wheel.pin.name for wheel in fresh)]
    for name in names:
        if name in there:
            settings.say(f"removing {name} {there[name].version}")
            remove_files(records.files_of(there[name], root), root)
    kill_point("old-packages-removed")
    python = files.python_of(prefix)
    install_wheels(fresh, prefix, python, root=root, on_package=settings.say)


def _names(wheels: Sequence[Wheel]) -> tuple[str, ...]:
    return tuple(f"{wheel.pin.name} {wheel.pin.version}" for wheel in wheels)


# --- verify, and the done marker -----------------------------------------------------------------


def _state(plan: EnvPlan, before: State | None, locks: tuple[str, str]) -> State:
    """What stands at the prefix now."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    there = records.installed(plan.prefix)
    ours = {pin.name for pin in plan.pip.pins}
    conda_lock, pip_lock = locks
    return State(
        name=plan.name,
        kind=plan.kind,
        recipe=plan.recipe.name,
        recipe_text=plan.recipe.text,
        recipe_path=plan.recipe.path,
        python=plan.pip.python,
        created=before.created if before else now,
        changed=now,
        # Whatever else leads here now: the scripts name the path that it was made by.
        prefix=(before and before.prefix) or str(plan.prefix.absolute()),
        decision=decision_document(plan.decision),
        target=target_document(plan.target),
        variables=dict(plan.recipe.variables),
        pip_lock=pip_lock,
        conda_lock=conda_lock,
        records={name: records.record_digest(item) for name, item in there.items() if name in ours},
        packages={
            "pip": {pin.name: pin.version for pin in plan.pip.pins},
            "conda": {
                record.name: f"{record.version} {record.build}"
                for record in (plan.conda.solution.records if plan.conda else ())
            },
        },
    )


def _prove(plan: EnvPlan, state: State, proofs: Proofs, settings: Settings) -> Verification | None:
    if not proofs.wanted:
        return None
    found = verify(
        plan.recipe,
        plan.prefix,
        state,
        no_gpu=proofs.no_gpu,
        on_check=lambda name: settings.say(f"proving: {name}"),
    )
    kill_point("verified")
    return explained(found, proofs.diagnose(plan.prefix)) if found.failed else found


def _finish(
    plan: EnvPlan, state: State, verification: Verification | None, proofs: Proofs
) -> State:
    """Write the done marker, keep the locks, and take the journal away."""
    document = verification.to_dict() if verification is not None else {}
    done = dataclasses.replace(state, machine=dict(proofs.machine), verified=document)
    files.write_state(plan.prefix, done)
    kill_point("marker-written")
    keep_locks(done)
    kill_point("locks-kept")
    files.clear_journal(plan.prefix)
    registry.remember(plan.name, plan.prefix)
    if plan.kind == "conda":
        with contextlib.suppress(
            OSError, UnicodeDecodeError
        ):  # conda's list is a help, not what was asked for
            announce(plan.prefix)
    return done
