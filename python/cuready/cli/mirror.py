"""``cuready mirror``: list, test, use, show, restore, remove and lint sources of packages."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cuready.cli import _common, _mirror_output
from cuready.cli._mirror_output import Run
from cuready.errors import InputError
from cuready.mirrors import catalogue as catalogues
from cuready.mirrors.locations import SCOPES, TOOLS, Machine, Scope, Tool, target

if TYPE_CHECKING:
    from cuready.mirrors.catalogue import Catalogue, Mirror, Use
    from cuready.mirrors.config import Plan

F = TypeVar("F", bound=Callable[..., Any])

# conda's channels are configured in two places: .condarc, and the file of pixi and rattler.
GROUPS: dict[str, tuple[Tool, ...]] = {
    "conda": ("conda", "rattler"),
    "pip": ("pip",),
    "uv": ("uv",),
    "rattler": ("rattler",),
    "all": TOOLS,
}
NO_ENVIRONMENT_FILE: frozenset[Tool] = frozenset({"uv", "rattler"})


@click.group()
def mirror() -> None:
    """Sources of conda channels, PyPI and PyTorch's wheels.

    `use` edits .condarc, pip.conf, uv.toml and rattler's config.toml line by line; `restore` puts
    the old bytes back.
    """


def _for_option(command: F) -> F:
    return click.option(
        "--for",
        "groups",
        type=click.Choice(list(GROUPS)),
        multiple=True,
        help="Whose configuration; conda means .condarc and rattler's file.  [default: all]",
    )(command)


def _place_options(command: F) -> F:
    scope = click.option(
        "--scope",
        type=click.Choice(SCOPES),
        default="user",
        show_default=True,
        help="The user's files, the environment's, or those of the machine.",
    )
    prefix = click.option(
        "--prefix",
        type=click.Path(path_type=Path, file_okay=False),
        help="The environment of --scope env; by default the active one.",
    )
    return scope(prefix(command))


def _dry_run_option(command: F) -> F:
    text = "Show the change as a diff; write nothing."
    return click.option("--dry-run", is_flag=True, help=text)(command)


# --- list and test -----------------------------------------------------------------------------


@mirror.command("list")
@click.option("--for", "use", type=click.Choice(catalogues.USES), help="Only those that carry it.")
@click.option("--pasted", is_flag=True, help="The dead and wrong addresses of old posts instead.")
@_common.format_option()
def list_(use: Use | None, pasted: bool, output_format: str) -> None:
    """Show the known mirrors and what each carries.

    A warning names the entries that nobody has looked at for 90 days.
    """
    known = catalogues.load()
    mirrors = known.mirrors if use is None else known.for_use(use)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    warnings = _mirror_output.stale_warnings(mirrors, today)
    if output_format == "json":
        _common.emit_json(
            _common.document(
                {
                    "mirrors": [_mirror_output.mirror_document(item, today) for item in mirrors],
                    "pasted": [_mirror_output.pasted_document(rule) for rule in known.pasted],
                    "warnings": warnings,
                }
            )
        )
        return
    rows = _mirror_output.pasted_rows(known) if pasted else _mirror_output.mirror_rows(mirrors)
    for line in _mirror_output.table(rows):
        click.echo(line)
    for warning in warnings:
        _common.warn(warning)


@mirror.command()
@click.argument("names", nargs=-1)
@click.option(
    "--for",
    "uses",
    type=click.Choice(catalogues.USES),
    multiple=True,
    help="What to ask for; several are allowed.  [default: conda, pypi]",
)
@click.option("--channel", default="conda-forge", show_default=True, help="The conda channel.")
@click.option("--tag", default="cu130", show_default=True, help="The build of PyTorch's wheels.")
@_common.format_option()
def test(
    names: tuple[str, ...], uses: tuple[Use, ...], channel: str, tag: str, output_format: str
) -> int:
    """Ask mirrors, and rank those that answer rightly.

    Each is asked for real metadata and a piece of a real package: every mirror of the catalogue,
    or NAMES. Ends with 1 when none answers for some use.
    """
    from cuready.mirrors import choose
    from cuready.mirrors.net.ranking_view import LiveTable, ranking_lines

    known = catalogues.load()
    asked = [known.get(name) for name in names] or list(known.mirrors)
    rankings = {}
    for use in uses or ("conda", "pypi"):
        if not choose.candidates(use, asked, channel=channel, tag=tag):
            raise InputError(f"{catalogues.names(asked)}: none carries {use}")
        with LiveTable() as table:
            rankings[use] = choose.measure(use, asked, channel=channel, tag=tag, on_update=table)
        if output_format == "text":
            click.echo(f"{use}:")
            for line in ranking_lines(rankings[use]):
                click.echo(f"  {line}")
    if output_format == "json":
        body = {use: ranking.to_dict() for use, ranking in rankings.items()}
        _common.emit_json(_common.document({"uses": body}))
    answered = all(ranking.first is not None for ranking in rankings.values())
    return _common.EXIT_OK if answered else _common.EXIT_FAILED


# --- use, remove, restore -------------------------------------------------------------------


@mirror.command()
@click.argument("name")
@_for_option
@_place_options
@_dry_run_option
@_common.format_option()
def use(
    name: str,
    groups: tuple[str, ...],
    scope: Scope,
    prefix: Path | None,
    dry_run: bool,
    output_format: str,
) -> None:
    """Make conda, pip and uv fetch from a mirror.

    Rattler's tools, such as pixi, follow with conda. NAME is one of `cuready mirror list`, `auto`
    for the fastest that answers now, or `official`.
    """
    from cuready.mirrors import config

    machine, known = Machine.current(prefix), catalogues.load()
    if name == "official":
        targets, skipped = _targets(groups, scope, machine)
        plans = config.plan_defaults(targets, known)
        _finish(plans, Run(f"use {name}", dry_run, output_format, machine, {}, skipped))
        return
    targets, skipped = _targets(groups, scope, machine)
    chosen, more = _choose(name, targets, known, explicit=bool(groups))
    targets = {tool: path for tool, path in targets.items() if tool in chosen}
    plans = config.plan_use(targets, chosen, known)
    notes = [*skipped, *more, *([] if name == "auto" else _age_notes(chosen))]
    _finish(plans, Run(f"use {name}", dry_run, output_format, machine, chosen, notes))


@mirror.command()
@click.argument("url")
@_for_option
@_place_options
@_dry_run_option
@_common.format_option()
def remove(
    url: str,
    groups: tuple[str, ...],
    scope: Scope,
    prefix: Path | None,
    dry_run: bool,
    output_format: str,
) -> None:
    """Take one channel or index URL out, and nothing else."""
    from cuready.mirrors import config

    machine = Machine.current(prefix)
    targets, skipped = _targets(groups, scope, machine)
    plans = config.plan_remove(url, targets)
    if not any(plan.changes for plan in plans):
        looked = ", ".join(str(path) for path in targets.values())
        raise InputError(f"{url}: stands in none of {looked}", hint="see `cuready mirror show`")
    _finish(plans, Run(f"remove {url}", dry_run, output_format, machine, {}, skipped))


@mirror.command()
@click.option("--defaults", is_flag=True, help="Back to Anaconda.org and PyPI instead.")
@_for_option
@_place_options
@_dry_run_option
@_common.format_option()
def restore(
    defaults: bool,
    groups: tuple[str, ...],
    scope: Scope,
    prefix: Path | None,
    dry_run: bool,
    output_format: str,
) -> None:
    """Put back what the last change replaced.

    Every file gets its old bytes. Repeat it to take back the change before. A file that was
    edited since is left alone. --scope and --prefix choose the files of --defaults.
    """
    from cuready.mirrors import config
    from cuready.mirrors.journal import Journal

    machine, tools = Machine.current(prefix), _tools(groups)
    if defaults:
        targets, skipped = _targets(groups, scope, machine)
        plans = config.plan_defaults(targets, catalogues.load())
        _finish(
            plans,
            Run("restore --defaults", dry_run, output_format, machine, {}, skipped),
        )
        return
    journal = Journal()
    found = config.plan_restore(tools, journal)
    if found is None:
        _mirror_output.print_plans(
            [], Run("restore", dry_run, output_format, machine, {}, []), None
        )
        return
    if not dry_run:
        config.restore(found, journal)
    command = f"restore ({found.operation.command}, {found.operation.time})"
    run = Run(command, dry_run, output_format, machine, {}, [])
    _mirror_output.print_plans(found.plans, run, found.operation)


def _finish(plans: Sequence[Plan], run: Run) -> None:
    """Carry the plans out, unless it is a dry run, and say what the tools will see."""
    from cuready.mirrors import config
    from cuready.mirrors.journal import Journal

    operation = None
    if not run.dry_run:
        operation = config.apply(plans, run.command, Journal())
        run.warnings += config.not_in_force(run.machine, run.mirrors, plans)
    _mirror_output.print_plans(plans, run, operation)


def _tools(groups: Sequence[str]) -> list[Tool]:
    named = [tool for group in groups or ("all",) for tool in GROUPS[group]]
    return [tool for tool in TOOLS if tool in named]


def _targets(
    groups: Sequence[str], scope: Scope, machine: Machine
) -> tuple[dict[Tool, Path], list[str]]:
    """The file of each tool, and what is left out because the tool has no such file."""
    tools, notes = _tools(groups), []
    if scope == "env":
        without = [tool for tool in tools if tool in NO_ENVIRONMENT_FILE]
        tools = [tool for tool in tools if tool not in NO_ENVIRONMENT_FILE]
        if not tools:
            raise InputError(f"{', '.join(without)}: no configuration file of an environment")
        notes = [f"{tool} has no configuration file of an environment" for tool in without]
    return {tool: target(tool, scope, machine) for tool in tools}, notes


def _age_notes(chosen: Mapping[Tool, Mirror]) -> list[str]:
    """A warning for a mirror that nobody has looked at for long, and that was not measured now."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    stale = {item.name: item for item in chosen.values() if item.is_stale(today)}
    return [
        f"what is known of {item.name} is from {item.as_of}, more than "
        f"{catalogues.MAX_AGE.days} days ago; `cuready mirror test {item.name}` asks it"
        for item in stale.values()
    ]


def _choose(
    name: str, targets: Mapping[Tool, Path], known: Catalogue, *, explicit: bool
) -> tuple[dict[Tool, Mirror], list[str]]:
    """The mirror for each tool; a tool that NAME has nothing for is left out with a note."""
    from cuready.mirrors.config import USE_OF

    if name == "auto":
        best = _fastest({USE_OF[tool] for tool in targets}, known)
        return {tool: best[USE_OF[tool]] for tool in targets}, []
    item = known.get(name)
    chosen = {tool: item for tool in targets if USE_OF[tool] in item.uses}
    missing = [tool for tool in targets if tool not in chosen]
    if missing and (explicit or not chosen):
        others = catalogues.names(known.for_use(USE_OF[missing[0]]))
        raise InputError(
            f"{item.name} carries nothing for {', '.join(missing)}", hint=f"those that do: {others}"
        )
    return chosen, [f"{tool} left alone: {item.name} carries nothing for it" for tool in missing]


def _fastest(uses: Iterable[Use], known: Catalogue) -> dict[Use, Mirror]:
    from cuready.mirrors import choose
    from cuready.mirrors.net.ranking_view import LiveTable

    best = {}
    for use in sorted(uses):
        with LiveTable() as table:
            best[use] = choose.fastest(use, known, on_update=table)
    return best


# --- show and lint ------------------------------------------------------------------------------


@mirror.command()
@_for_option
@click.option("--prefix", type=click.Path(path_type=Path, file_okay=False), help="An environment.")
@_common.format_option()
def show(groups: tuple[str, ...], prefix: Path | None, output_format: str) -> None:
    """Show what each tool will use, and who says so.

    All files and environment variables of conda, rattler, pip and uv are taken together by each
    tool's own rules.
    """
    from cuready.mirrors import effective, urls

    machine = Machine.current(prefix)
    views = [effective.read(tool, machine) for tool in _tools(groups)]
    if output_format == "json":
        _common.emit_json(_common.document({"tools": [view.document() for view in views]}))
        return
    for view in views:
        click.echo(view.tool)
        for layer in view.files:
            click.echo(
                f"  reads {layer.path} ({layer.scope}{', ' if layer.why else ''}{layer.why})"
            )
        for key, origin in view.values.items():
            if origin.value:
                click.echo(f"  {key}: {_mirror_output.shown(origin.value)}  [{origin.source}]")
        for variable, value in view.variables.items():
            click.echo(f"  ${variable}={urls.redact(value)} overrides the files")
        for error in view.errors:
            _common.warn(error)


@mirror.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@_for_option
@click.option("--as", "tool", type=click.Choice(TOOLS), help="Whose files FILES are.")
@click.option("--prefix", type=click.Path(path_type=Path, file_okay=False), help="An environment.")
@click.option("--strict", is_flag=True, help="End with 1 for warnings too.")
@_common.format_option()
def lint(
    files: tuple[Path, ...],
    groups: tuple[str, ...],
    tool: Tool | None,
    prefix: Path | None,
    strict: bool,
    output_format: str,
) -> int:
    """Find faults in configuration files, by line.

    Looks at FILES, or at every file that is read here. Ends with 1 when there is an error. Each
    finding names its line and the repair.
    """
    from cuready.mirrors import lint as linter

    known = catalogues.load()
    if files:
        checked, faults = list(files), []
        for path in files:
            faults += linter.check_file(path, tool or linter.tool_of(path), known)
    else:
        checked, faults = linter.check_machine(_tools(groups), Machine.current(prefix), known)
    _mirror_output.print_faults(checked, faults, as_json=output_format == "json")
    errors = sum(fault.severity == "error" for fault in faults)
    return _common.EXIT_FAILED if errors or (strict and faults) else _common.EXIT_OK
