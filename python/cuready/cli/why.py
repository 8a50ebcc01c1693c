"""``cuready why``: how the loader resolves a package or library here, and what it will say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import click

from cuready.cli._common import (
    EXIT_FAILED,
    EXIT_OK,
    document,
    emit_json,
    format_option,
    printable,
)
from cuready.probe.why import Explanation, Node, Step, explain

__all__ = ["why"]


@click.command()
@click.argument("name")
@click.option("--python", metavar="PATH", help="Interpreter to trace in (default: this one).")
@click.option(
    "--prefix", metavar="DIR", help="An environment to read as files, without running it."
)
@click.option("--root", metavar="DIR", help="A mounted disk or container image to read.")
@click.option("-v", "--verbose", is_flag=True, help="Show the system's own libraries too.")
@format_option()
@click.pass_context
def why(
    ctx: click.Context, name: str, python: str | None, prefix: str | None, root: str | None,
    verbose: bool, output_format: str,
) -> None:  # fmt: skip
    """Trace NAME through the dynamic loader: a package (torch, tensorrt), a soname, or a path.

    Prints every library, the rule that found it, the package that owns it, the copies that it
    hides, what will be missing, and the exact text of the error. Nothing is loaded.

    Ends with 0 when NAME loads, 1 when it does not, 2 when there is no such thing.
    """
    from cuready.probe.scope import make_context

    context = make_context(root=root, prefix=prefix, python=python)
    answer = explain(context, name)
    if output_format == "json":
        emit_json(document(_as_json(answer)))
    else:
        for line in _render(answer, verbose):
            click.echo(printable(line))
    ctx.exit(EXIT_FAILED if answer.error else EXIT_OK)


def _as_json(answer: Explanation) -> dict[str, object]:
    return {
        "name": answer.name,
        "kind": answer.kind,
        "location": answer.location,
        "python": answer.python,
        "loads": answer.error is None,
        "exception": answer.exception if answer.error else None,
        "error": answer.error,
        "warnings": list(answer.warnings),
        "notes": list(answer.notes),
        "libraries": [
            {
                "path": step.path,
                "owner": step.owner,
                "loads": step.error is None,
                "error": step.error,
                "problems": list(step.problems),
                "tree": dataclasses.asdict(step.tree),
            }
            for step in answer.steps
        ],
    }


# --- text --------------------------------------------------------------------------------------


def _render(answer: Explanation, verbose: bool) -> Iterator[str]:
    yield click.style(f"{answer.name}", bold=True) + f"  {answer.location}"
    yield from (f"  note: {text}" for text in answer.notes)
    yield from (f"  warning: {text}" for text in answer.warnings)
    for step in answer.steps:
        yield ""
        yield from _render_step(step, verbose)
    yield ""
    if answer.error is None:
        yield click.style("loads", fg="green") if answer.steps else "nothing to load"
        return
    yield click.style("fails with:", fg="red")
    yield f"  {answer.exception + ': ' if answer.exception else ''}{answer.error}"


def _render_step(step: Step, verbose: bool) -> Iterator[str]:
    owner = f"  [{step.owner}]" if step.owner else ""
    mark = click.style("✗ ", fg="red") if step.error else ""
    how = "" if step.tree.rule in ("", "path") else f"  ({step.tree.rule})"
    yield f"{mark}{step.path}{how}{owner}"
    yield from _branches(step.tree, "", verbose)
    for number, text in enumerate(step.problems):
        yield click.style(f"  {'error' if number == 0 else 'then'}: {text}", fg="red")


def _branches(node: Node, indent: str, verbose: bool) -> Iterator[str]:
    shown = [child for child in node.children if verbose or not child.system]
    for place, child in enumerate(shown):
        last = place == len(shown) - 1
        yield f"{indent}{'└─ ' if last else '├─ '}{_line(child)}"
        deeper = indent + ("   " if last else "│  ")
        yield from (f"{deeper}hides {path}" for path in child.shadows)
        yield from _branches(child, deeper, verbose)
    hidden = len(node.children) - len(shown)
    if hidden and not indent:
        yield f"{indent}   (and {hidden} of the system's own; -v shows them)"


def _line(node: Node) -> str:
    if node.path is None:
        return click.style(f"{node.name} => not found", fg="red")
    if node.again:
        return f"{node.name} (above)"
    owner = f"  [{node.owner}]" if node.owner else ""
    where = (
        f"{node.rule}, {node.entry}" if node.entry and node.entry not in node.rule else node.rule
    )
    return f"{node.name} => {node.path}  ({where}){owner}"
