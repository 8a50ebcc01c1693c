"""The link phase: from extracted packages to an environment in its place, with the network off."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cuready.env.conda.clone import clone_tree, remove_conflicts
from cuready.env.conda.faults import kill_point
from cuready.env.conda.history import append_history
from cuready.env.conda.model import Applied, Plan, Record
from cuready.env.conda.plan import check_disk, check_prefix
from cuready.env.conda.session import CondaSession
from cuready.env.conda.transaction import Transaction
from cuready.errors import CureadyError, EnvError

__all__ = ["apply_plan"]


def apply_plan(plan: Plan, *, session: CondaSession, keep_previous: bool = False) -> Applied:
    """Make the prefix what ``plan`` says. No request leaves this process or the engine.

    With ``keep_previous`` the old environment stays beside until ``discard_previous`` or
    ``restore_previous``. Any error or Ctrl-C before the new environment is whole leaves the
    prefix as it was, byte by byte; ``recover`` does the same after a kill. Raises EnvError.
    """
    if plan.empty and not keep_previous:
        return Applied(plan.prefix, 0, 0)
    if check_prefix(plan.prefix) != plan.exists:
        raise EnvError(f"{plan.prefix}: has changed since it was planned", hint="run it again")
    check_disk(plan)
    if session.options.backend != "rattler":
        from cuready.env.conda.backends import apply_with

        return apply_with(plan, session, keep_previous)
    _check_store(plan.to_link, session)
    existed = plan.prefix.is_dir() and plan.exists
    transaction = Transaction.begin(plan.prefix, existed=existed, keep=keep_previous)
    try:
        notes = _build(plan, transaction, session)
        session.engine.dismiss()  # it gives its memory back while the journal is flushed
        transaction.ready()
    except BaseException as error:
        session.engine.kill()  # else it goes on linking into a folder that is being removed
        transaction.roll_back()
        if isinstance(error, OSError):
            where = error.filename or plan.prefix
            raise EnvError(f"{where}: {error.strerror or error}; nothing was changed") from error
        if isinstance(error, CureadyError):
            error.details.setdefault("prefix", str(plan.prefix))
        raise
    transaction.swap()
    previous = transaction.old if keep_previous and existed else None
    if keep_previous:
        transaction.release()
    else:
        transaction.finish()
    return Applied(plan.prefix, len(plan.to_link), len(plan.to_unlink), previous, tuple(notes))


def _check_store(records: Sequence[Record], session: CondaSession) -> None:
    missing = [record for record in records if not session.store.has(record)]
    if missing:
        raise EnvError(
            f"{len(missing)} packages have not been fetched, the first is {missing[0].file_name}",
            hint="fetch_plan comes before apply_plan",
        )


def _build(plan: Plan, transaction: Transaction, session: CondaSession) -> list[str]:
    """The whole new environment in ``transaction.new``."""
    notes = []
    new, solution = transaction.new, plan.solution
    if plan.exists:
        session.step(f"copying {plan.prefix} by hard links")
        kill_point("clone-begun")
        clone_tree(plan.prefix, new, plan.to_unlink)
        kill_point("clone-done")
        python = solution.get("python")
        minor = ".".join(python.version.split(".")[:2]) if python else ""
        taken = remove_conflicts(new, plan.to_link, session.store, minor)
        if taken:
            notes.append(f"{len(taken)} files that no package owned were replaced: {taken[0]} …")
    else:
        new.mkdir()
    if plan.to_link:
        _link(plan, new, _view(plan, session), session)
        for record in plan.to_link:  # rattler makes these for their owner alone
            os.chmod(f"{new}/conda-meta/{record.dist}.json", 0o644)  # noqa: PTH101
    append_history(new, plan)
    kill_point("meta-polished")
    return notes


def _view(plan: Plan, session: CondaSession) -> Path:
    """A folder in which the store's packages have the names that rattler looks for.

    The store is by digest and a view belongs to one prefix: neither a package of the same name
    from another channel nor a second process can come between. It stays, because ``conda-meta``
    names it, and because it says which packages of the store are in use.
    """
    view = session.view_of(plan.prefix)
    view.mkdir(parents=True, exist_ok=True)
    for record in plan.to_link:
        wanted = session.store.folder(record)
        if _points_to(f"{view}/{record.dist}", str(wanted)):
            continue
        there = view / record.dist
        for stale in (there, view / f"{record.dist}.lock"):
            stale.unlink(missing_ok=True)
        there.symlink_to(wanted, target_is_directory=True)
    kill_point("view-made")
    return view


def _points_to(path: str, wanted: str) -> bool:
    try:
        return os.readlink(path) == wanted  # noqa: PTH115 - asked for hundreds of packages
    except OSError:
        return False


def _link(plan: Plan, new: Path, view: Path, session: CondaSession) -> None:
    solution = plan.solution
    session.engine.call(
        "link",
        lambda event: session.step(f"linking {event['linked']}/{event['of']} {event['name']}"),
        records=[dict(record.raw) for record in solution.records],
        staging=str(new),
        prefix=str(plan.prefix),
        cache=str(view),
        subdir=solution.request.subdir,
        specs=list(solution.request.specs),
        to_link=len(plan.to_link),
        watched=session.options.on_step is not None,
    )
