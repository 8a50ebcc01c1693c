"""``cuready snapshot``: what the readers see of a machine, as one JSON document."""

from __future__ import annotations

from pathlib import Path

import click

from cuready.cli import _common

__all__ = ["snapshot"]


@click.command()
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help="File to write; default stdout."
)
@click.option("--python", metavar="PATH", help="Diagnose this interpreter instead.")
@click.option("--prefix", metavar="DIR", help="Read this venv or conda prefix; run nothing in it.")
@click.option("--root", metavar="DIR", help="Read the machine whose files lie below DIR.")
@click.option("--deep", is_flag=True, help="Also look at what takes seconds.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["json"]),
    default="json",
    help="A snapshot is always JSON.",
)
def snapshot(
    output: str | None,
    python: str | None,
    prefix: str | None,
    root: str | None,
    deep: bool,
    output_format: str,  # noqa: ARG001 - every command has --format
) -> None:
    """Write what cuready reads of this machine as JSON.

    `cuready doctor --from FILE` diagnoses it on any other machine, `cuready diff` compares two.
    It names paths, versions and variables of this machine: look it over before you publish it, or
    use `cuready report`, which redacts.
    """
    from cuready._util import write_atomically
    from cuready.errors import InputError
    from cuready.probe import take

    with _common.progress("reading the machine …"):
        document = take(python=python, prefix=prefix, root=root, deep=deep).dumps()
    if output is None or output == "-":
        click.echo(document, nl=False)
        return
    try:
        write_atomically(Path(output), document.encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror or error}") from None
    click.echo(f"wrote {output}", err=True)
