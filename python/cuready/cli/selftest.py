"""`cuready selftest`: prove driver, memory, copies, compute and TensorRT, stage by stage."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cuready.cli._common import C_INT, WEEK_S, FiniteRange, document
from cuready.errors import InputError
from cuready.selftest.model import Report
from cuready.selftest.run import selftest as run_selftest
from cuready.selftest.stages import LARGEST_SHARE, STAGES, Options

FORMATS = ("text", "json", "junit", "html")


@click.command()
@click.option("--quick", is_flag=True, help="At most ten seconds: smaller sizes, fewer rounds.")
@click.option("--long", "minutes", metavar="MINUTES",
              type=FiniteRange(min=0, max=WEEK_S / 60, min_open=True),
              help="After everything else, load the GPU for MINUTES and watch it.")  # fmt: skip
@click.option("--device", type=click.IntRange(0, C_INT), default=0, show_default=True,
              help="Number of the GPU, as CUDA counts.")  # fmt: skip
@click.option("--engine", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A TensorRT plan of your own to run too.")  # fmt: skip
@click.option("--library", type=click.Path(exists=True, path_type=Path),
              help="The TensorRT library to use instead of the one that is found.")  # fmt: skip
@click.option("--memory-share", metavar="SHARE",
              type=FiniteRange(min=0, max=LARGEST_SHARE, min_open=True),
              help="Share of the free memory that the pattern goes over, such as 0.9.")  # fmt: skip
@click.option("--only", multiple=True, metavar="STAGE", help="Only this stage and what it needs.")
@click.option("--skip", multiple=True, metavar="STAGE", help="Not this stage.")
@click.option("--stage-limit", type=FiniteRange(0.1, WEEK_S), metavar="SECONDS",
              help="A stage without an answer for so long counts as hung.")  # fmt: skip
@click.option("--list", "list_stages", is_flag=True, help="List the stages and stop.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(FORMATS),
    default=None,
    help="How to print the answer; by default from the name of --output, else text.",
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the report to FILE and print a summary.")  # fmt: skip
def selftest(
    quick: bool,
    minutes: float | None,
    device: int,
    engine: Path | None,
    library: Path | None,
    memory_share: float | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    stage_limit: float | None,
    list_stages: bool,
    output_format: str | None,
    output: Path | None,
) -> int:
    """Prove driver, memory, copies, compute, streams and TensorRT on this machine's GPU.

    Every stage proves one thing and stands on those before it: the first that fails has the blame.
    The work is done in child processes with a time limit, so a driver that hangs cannot hang this.

    Exit codes: 0 everything that could be tried is fine, 1 a stage failed, 2 wrong usage, 3 there
    is no GPU to try it on.
    """
    if list_stages:
        return _list(output_format or "text")
    if quick and minutes:
        raise click.UsageError("--quick and --long exclude each other")
    mode = "quick" if quick else "long" if minutes else "default"
    options = Options(mode, device, memory_share, engine, library, minutes or 0.0, stage_limit,
                      only, skip)  # fmt: skip
    chosen = output_format or _format_of(output)
    if output is not None and not output.parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {output.parent}")
    report = run_selftest(options, _progress())
    _write(report, chosen, output)
    return report.exit_code


def _list(output_format: str) -> int:
    if output_format == "json":
        body = [
            {
                "id": stage.id,
                "title": stage.title,
                "proves": stage.proves,
                "needs": list(stage.needs),
                "limit_s": stage.limit_s,
            }
            for stage in STAGES
        ]
        click.echo(json.dumps(document({"stages": body}), indent=2))
        return 0
    for stage in STAGES:
        click.echo(f"{stage.id:10} {stage.proves}")
    return 0


def _format_of(output: Path | None) -> str:
    names = {".json": "json", ".xml": "junit", ".html": "html", ".htm": "html"}
    return names.get(output.suffix.lower(), "text") if output is not None else "text"


def _progress() -> Any:
    """A line on a terminal's stderr for the stage that runs; quiet elsewhere."""
    if not sys.stderr.isatty():
        return None

    def show(stage: str, message: Mapping[str, Any]) -> None:
        if message["event"] == "start":
            click.echo(f"\r\x1b[K{stage} …", err=True, nl=False)
        elif message["event"] == "progress":
            sample = message.get("sample", {})
            text = ", ".join(f"{name} {value:g}" for name, value in sample.items())
            click.echo(f"\r\x1b[K{stage} … {text}", err=True, nl=False)
        else:
            click.echo("\r\x1b[K", err=True, nl=False)

    return show


def _write(report: Report, output_format: str, output: Path | None) -> None:
    from cuready._util import write_atomically
    from cuready.selftest.render import render

    if output_format == "json":
        text = json.dumps(document(report.to_dict()), indent=2, ensure_ascii=False)
    else:
        text = render(report, output_format)
    if output is None:
        click.echo(text)
        return
    try:
        write_atomically(output, (text + "\n").encode())
    except OSError as error:
        raise InputError(f"--output {output}: {error.strerror}") from None
    click.echo(render(report, "text"))
    click.echo(f"the report is in {output}")
