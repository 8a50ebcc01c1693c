"""``cuready fix``: the plan of the repair; ``--apply`` runs it, ``--undo`` goes back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from cuready.cli import _common
from cuready.errors import InputError

if TYPE_CHECKING:
    from cuready.doctor.repair.plan import Step
    from cuready.doctor.repair.run import Outcome
    from cuready.snapshot import Snapshot


@click.command()
@click.option("--apply", "apply_it", is_flag=True, help="Run the plan, asking before each step.")
@click.option(
    "--undo",
    is_flag=True,
    help="Bring back what the last repair (of --prefix, where it is given) replaced.",
)
@click.option("--yes", "-y", is_flag=True, help="Ask nothing.")
@click.option("--root", "allow_root", is_flag=True, help="Also run steps that need root.")
@click.option("--only", multiple=True, metavar="ID", help="Repair these findings alone.")
@click.option("--python", help="The interpreter whose environment is repaired or undone.")
@click.option("--prefix", help="The environment that is repaired or undone.")
@_common.format_option()
def fix(
    apply_it: bool,
    undo: bool,
    yes: bool,
    allow_root: bool,
    only: tuple[str, ...],
    python: str | None,
    prefix: str | None,
    output_format: str,
) -> int:
    """Plan the repair of what `cuready doctor` finds.

    Without --apply nothing is changed. With it, each step is asked for first (--yes: not), what is
    needed to go back is saved before the first, and the doctor looks again after the last.
    Steps that need root are left to you unless --root is given.
    """
    from cuready.doctor.engine import diagnose
    from cuready.doctor.repair.plan import plan_repair
    from cuready.probe import take

    if (apply_it or undo) and not yes and not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: add --yes to run the steps unasked")

    def look() -> Snapshot:
        return take(python=python, prefix=prefix)

    if undo:
        named = take(python=python, prefix=prefix).python.prefix if python or prefix else None
        return _undo(named, yes, output_format)
    before = look()
    diagnosis = diagnose(before)
    steps = plan_repair(diagnosis.findings, only=_known_ids(only))
    if not apply_it:
        return _show_plan(steps, output_format, clean=not diagnosis.findings)
    outcomes = _apply(steps, before, yes=yes, allow_root=allow_root)
    return _report(outcomes, before, look, output_format)


def _known_ids(only: Sequence[str]) -> list[str]:
    from cuready.doctor import catalogue

    for item in only:
        if item.upper() not in catalogue.IDS:
            close = catalogue.suggest(item)
            hint = f"did you mean {close}?" if close else "`cuready doctor --list` names them all"
            raise InputError(f"no finding is called {item!r}", hint=hint)
    return list(only)


def _show_plan(steps: Sequence[Step], output_format: str, *, clean: bool) -> int:
    if output_format == "json":
        _common.emit_json(_common.document({"steps": [step.to_dict() for step in steps]}))
    elif steps:
        _print_steps(steps)
        click.echo("\nNothing was changed. Run it with `cuready fix --apply`.")
    elif clean:
        click.echo("Nothing to repair.")
    else:
        click.echo("No finding has a step that repairs it; see `cuready doctor -v`.")
    return _common.EXIT_FAILED if steps else _common.EXIT_OK


def _print_steps(steps: Sequence[Step]) -> None:
    for number, step in enumerate(steps, 1):
        marks = [*step.finding_ids]
        marks += ["needs root"] if step.needs_root else []
        marks += [f"risk {step.risk.value}"] if step.risk.value != "low" else []
        marks += [f"yours to run: {step.manual}"] if step.manual else []
        click.echo(_common.printable(f"{number}. [{', '.join(marks)}] {step.note}".rstrip()))
        click.echo(_common.printable(f"   $ {step.command}"))


def _apply(
    steps: Sequence[Step], before: Snapshot, *, yes: bool, allow_root: bool
) -> tuple[Outcome, ...]:
    from cuready.doctor.repair import journal
    from cuready.doctor.repair.run import run_steps

    runnable = [step.command for step in steps if not step.manual]
    record = journal.start(before, runnable) if runnable else None
    return run_steps(steps, record=record, confirm=_asker(yes), allow_root=allow_root, tell=_tell)


def _asker(yes: bool) -> Callable[[Step], bool]:
    def confirm(step: Step) -> bool:
        return yes or click.confirm(f"{step.note}\n$ {step.command}\nrun it?", err=True)

    return confirm


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _report(
    outcomes: Sequence[Outcome],
    before: Snapshot,
    look: Callable[[], Snapshot],
    output_format: str,
) -> int:
    """Look again, and say what changed."""
    from cuready.doctor.diff import compare
    from cuready.doctor.engine import diagnose

    after = look()
    difference = compare(before, after)
    left = diagnose(after)
    failed = any(outcome.status == "failed" for outcome in outcomes)
    if output_format == "json":
        body: dict[str, Any] = {
            "steps": [outcome.to_dict() for outcome in outcomes],
            "repaired": [item.to_dict() for item in difference.gone],
            "new": [item.to_dict() for item in difference.appeared],
            "left": [item.to_dict() for item in left.findings],
        }
        _common.emit_json(_common.document(body))
    else:
        for outcome in outcomes:
            click.echo(f"{outcome.status:>11}  {outcome.step.command}")
        for title, items in (
            ("repaired", difference.gone),
            ("new", difference.appeared),
            ("left", left.findings),
        ):
            for item in items:
                click.echo(f"{title:>11}  {item.id} {item.title}")
        if not outcomes:
            click.echo("Nothing to repair.")
    return _common.EXIT_FAILED if failed or left.failed else _common.EXIT_OK


def _undo(prefix: str | None, yes: bool, output_format: str) -> int:
    from dataclasses import replace

    from cuready.doctor.repair import journal
    from cuready.doctor.repair.plan import plan_return
    from cuready.doctor.repair.run import run_steps
    from cuready.probe import take

    record = journal.latest(prefix)
    now = take(python=record.python)
    steps = plan_return(record.before, now, record.conda_before)
    outcomes = run_steps(steps, record=None, confirm=_asker(yes), allow_root=False, tell=_tell)
    now = take(python=record.python)
    back = not plan_return(record.before, now, record.conda_before)
    if back:
        replace(record, undone=True).save()
    if output_format == "json":
        body = {"steps": [outcome.to_dict() for outcome in outcomes], "restored": back}
        _common.emit_json(_common.document(body))
    else:
        for outcome in outcomes:
            click.echo(f"{outcome.status:>11}  {outcome.step.command}")
        told = "again" if back else "not all"
        where = record.prefix or "The environment"
        click.echo(
            f"{where} has {told} the packages that it had before the repair of {record.taken_at}."
        )
    return _common.EXIT_OK if back else _common.EXIT_FAILED
