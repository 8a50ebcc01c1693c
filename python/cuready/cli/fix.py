"""``cuready fix``: the plan of the repair; ``--apply`` runs it, ``--undo`` goes back."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from cuready.cli import _common
from cuready.errors import IncompleteError, InputError

if TYPE_CHECKING:
    from cuready.doctor.repair.plan import Step
    from cuready.doctor.repair.run import Outcome
    from cuready.doctor.repair.undo import Return
    from cuready.snapshot import Snapshot


@click.command()
@click.option("--apply", "apply_it", is_flag=True, help="Run the plan, asking before each step.")
@click.option(
    "--undo",
    is_flag=True,
    help="Take back what the last repair (of --prefix, where it is given) changed.",
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
    from cuready.doctor.repair.programs import lacking_in
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
    lacking = lacking_in(before, shutil.which)
    steps = plan_repair(diagnosis.findings, only=_known_ids(only), lacking=lacking)
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
        theirs = all(step.manual for step in steps)
        how = "Every step is yours to run." if theirs else "Run it with `cuready fix --apply`."
        click.echo(f"\nNothing was changed. {how}")
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
    from dataclasses import replace

    from cuready.doctor.repair import journal
    from cuready.doctor.repair.run import run_steps

    def look() -> Snapshot | None:
        try:
            return _installed(before.python.executable, before.python.prefix)
        except (IncompleteError, InputError):
            return None  # an undo will say that it cannot know

    runnable = [step.command for step in steps if not step.manual]
    record = None
    if runnable:
        installed = _installed(before.python.executable, before.python.prefix).python
        python = replace(
            before.python,
            distributions=installed.distributions,
            conda_packages=installed.conda_packages,
        )
        record = journal.start(replace(before, python=python), runnable)
    return run_steps(
        steps, record=record, confirm=_asker(yes), allow_root=allow_root, tell=_tell, look=look
    )


_INSTALLED = ("host", "python", "distributions", "conda", "installers")


def _installed(python: str | None, prefix: str | None) -> Snapshot:
    """What is installed, read alike whenever two such readings are compared.

    Raises IncompleteError where a part could not be read: what is not seen is not gone.
    """
    from cuready.probe import take
    from cuready.probe.registry import READERS

    readers = [reader for reader in READERS if reader.name in _INSTALLED]
    found = take(python=python, prefix=None if python else prefix, readers=readers)
    for outcome in found.readers:
        skipped = outcome.status == "skipped"  # conda, where there is no conda environment
        if outcome.name in ("distributions", "conda") and not skipped and outcome.reason:
            raise IncompleteError(
                f"what is installed could not be read: {outcome.reason}",
                hint="nothing is changed that could not be put back",
            )
    return found


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
        _print_outcomes(outcomes)
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


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        reason = f"  ({outcome.step.manual})" if outcome.step.manual else ""
        click.echo(_common.printable(f"{outcome.status:>11}  {outcome.step.command}{reason}"))


def _undo(prefix: str | None, yes: bool, output_format: str) -> int:
    from dataclasses import replace

    from cuready.doctor.repair import journal
    from cuready.doctor.repair.programs import lacking_in
    from cuready.doctor.repair.run import run_steps
    from cuready.doctor.repair.undo import plan_return

    record = journal.latest(prefix)

    def plan() -> Return:
        now = _installed(record.python, record.prefix)
        return plan_return(record, now, lacking=lacking_in(now, shutil.which))

    steps = plan().steps
    outcomes = run_steps(steps, record=None, confirm=_asker(yes), allow_root=False, tell=_tell)
    rest = plan()
    back = not rest.steps
    if back:
        replace(record, undone=True).save()
    if output_format == "json":
        body = {
            "steps": [outcome.to_dict() for outcome in outcomes],
            "restored": back,
            "left": list(rest.left),
        }
        _common.emit_json(_common.document(body))
    else:
        _print_return(outcomes, rest, f"{record.prefix or 'the environment'} of {record.taken_at}")
    return _common.EXIT_OK if back else _common.EXIT_FAILED


def _print_return(outcomes: Sequence[Outcome], rest: Return, repair: str) -> None:
    _print_outcomes(outcomes)
    for line in rest.left:
        click.echo(_common.printable(f"{'left alone':>11}  {line}"))
    told = "not all of it" if rest.steps else "but for that" if rest.left else "all of it"
    click.echo(f"The repair of {repair} is undone: {told}.")
