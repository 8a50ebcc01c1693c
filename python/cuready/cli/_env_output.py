"""What `cuready env` prints: plans, outcomes, verifications, and one line of progress."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from cuready._util import format_bytes, one_line
from cuready.cli import _common

if TYPE_CHECKING:
    from cuready.env.create import Made
    from cuready.env.plan import EnvPlan
    from cuready.env.verify import Outcome, Verification

__all__ = [
    "StatusLine",
    "failed_proofs",
    "may_ask",
    "plan_lines",
    "print_made",
    "verification_lines",
]

MARKS = {"passed": "ok", "failed": "FAILED", "timeout": "FAILED", "skipped": "skipped"}
COLOURS = {"passed": "green", "failed": "red", "timeout": "red", "skipped": "yellow"}


class StatusLine:
    """One line on a terminal's stderr that says what is being done; nothing anywhere else."""

    def __init__(self) -> None:
        self._active = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, text: str) -> None:
        """Show ``text`` in place of what stood there."""
        if self._active:
            width = 100
            sys.stderr.write(f"\r\x1b[K{one_line(text, width)}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._active:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def may_ask() -> bool:
    """Whether a person sits at both ends, so that a question can be asked."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def plan_lines(plan: EnvPlan) -> Iterator[str]:
    """The plan for people: what, where, how much."""
    yield f"{plan.name}: recipe {plan.recipe.name}, {plan.kind}, at {plan.prefix}"
    if plan.python is not None:
        yield f"Python {plan.python.version} from {plan.python.path}"
    yield from (f"note: {note}" for note in plan.notes)
    if plan.conda is not None:
        from cuready.env.conda import text_of_change

        yield from (f"  {line}" for line in text_of_change(plan.conda))
    for pin in plan.pip.pins:
        size = format_bytes(pin.size) if pin.size is not None else "size not known"
        yield f"  {pin.name} {pin.version} (pip, {size})"
    yield f"to download: {format_bytes(plan.bytes_to_fetch)}"
    for path, needed in plan.disk_needed.items():
        yield f"disk needed: {format_bytes(needed)} at {path}"


def verification_lines(found: Verification, *, verbose: bool = False) -> Iterator[str]:
    """One line a check; for a failure its own last words, and the causes that they name."""
    for outcome in found.outcomes:
        mark = click.style(f"{MARKS[outcome.status]:8}", fg=COLOURS[outcome.status])
        reason = f": {one_line(outcome.reason, 200)}" if outcome.reason else ""
        time = f" ({outcome.seconds:.1f} s)" if outcome.seconds >= 0.1 else ""
        yield f"{mark} {outcome.name}{time}{reason}"
        if verbose and outcome.output:
            yield from (f"           | {line}" for line in outcome.output.splitlines())
        if outcome.failed:
            yield from _failure(outcome, verbose)
    skipped = found.count("skipped")
    passed = found.count("passed")
    text = f"{passed} passed, {len(found.outcomes) - skipped - passed} failed"
    yield text + (f", {skipped} skipped: that is not proved here" if skipped else "")


def _failure(outcome: Outcome, verbose: bool) -> Iterator[str]:
    if not verbose:
        yield from (f"           | {line}" for line in outcome.output.splitlines()[-6:])
    for cause in outcome.causes[:3]:
        here = " (found on this machine)" if cause.here is not None else ""
        told = cause.here.cause if cause.here is not None else cause.cause
        yield f"           {cause.id} {cause.title}{here}"
        yield f"             {one_line(told, 400)}"
        commands = [
            command
            for fix in (cause.here.fix[:1] if cause.here else ())
            for command in fix.commands
        ]
        for line in commands or cause.fix:
            yield f"             fix: {one_line(line, 400)}"


def failed_proofs(found: Verification | None) -> list[str]:
    """The names of the proofs that failed."""
    return [outcome.name for outcome in found.outcomes if outcome.failed] if found else []


def print_made(made: Made, output_format: str, verb: str) -> int:
    """The outcome; exit code 1 when a proof failed."""
    from cuready.env.prefix import default_prefix

    found = made.verification
    failed = failed_proofs(found)
    if output_format == "json":
        body: dict[str, Any] = {
            "environment": made.state.name,
            "prefix": str(made.prefix),
            "changed": list(made.changed),
            "restored": made.restored,
            "failed_proofs": failed,
            "verification": found.to_dict() if found is not None else None,
        }
        _common.emit_json(_common.document(body))
        return _common.EXIT_FAILED if failed else _common.EXIT_OK
    if found is not None:
        for line in verification_lines(found):
            click.echo(line)
    name, proofs = made.state.name, ", ".join(failed)
    if made.restored:
        click.echo(f"{name} was put back as it was: the new one failed its proofs: {proofs}")
        return _common.EXIT_FAILED
    same = verb == "updated" and not made.changed
    done = f"no package had to change in {name}" if same else f"{verb} {name}"
    what = name if made.prefix == default_prefix(name) else shlex.quote(str(made.prefix))
    if failed:
        click.echo(f"{done} at {made.prefix}, but its proofs fail: {proofs}")
        click.echo(f"run them again: cuready env verify {what}")
    else:
        click.echo(f"{done} at {made.prefix}")
        click.echo(f'use it: eval "$(cuready env activate {what})"')
    return _common.EXIT_FAILED if failed else _common.EXIT_OK
