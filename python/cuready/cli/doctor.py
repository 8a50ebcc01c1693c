"""`cuready doctor`: read the machine (or a snapshot of one), run the checks, print the answer."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from cuready.cli import _plugin_ids
from cuready.cli._common import (
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    EXIT_OK,
    document,
    emit_json,
    printable,
    progress,
    warn,
)
from cuready.doctor import catalogue, managed, plugins
from cuready.doctor.engine import Diagnosis, diagnose
from cuready.doctor.finding import Severity
from cuready.doctor.registry import all_checks
from cuready.snapshot import Snapshot

FORMATS = ("text", "json", "sarif", "junit", "github")


_OURS = frozenset({*catalogue.IDS, *catalogue.GROUPS, *managed.IDS, managed.GROUP})


def _ids(
    _ctx: click.Context, _parameter: click.Parameter, values: Sequence[str]
) -> tuple[str, ...]:
    """Ids or groups, in any case, also comma-separated. Raises BadParameter with a suggestion."""
    words = [word.strip().upper() for value in values for word in value.split(",") if word.strip()]
    if values and not words:
        raise click.BadParameter(
            "an id or a group is needed; `cuready doctor --list` names them all"
        )
    others = [word for word in words if word not in _OURS]
    # Looking for plugins opens a file for each installed package: only where ours do not suffice.
    bring_checks = bool(others) and bool(_plugin_ids.installed())
    for word in others:
        if not (bring_checks and plugins.may_be_asked_for(word)):
            close = catalogue.suggest(word)
            hint = f"did you mean {close}? " if close else ""
            raise click.BadParameter(
                f"no check is called {word!r}; {hint}`cuready doctor --list` names them all"
            )
    return tuple(words)


@click.command()
@click.option(
    "--format",
    "output_format",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="How to print the answer.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@click.option(
    "--only", multiple=True, callback=_ids, metavar="ID", help="Only these ids or groups."
)
@click.option("--skip", multiple=True, callback=_ids, metavar="ID", help="Not these ids or groups.")
@click.option("--list", "list_checks", is_flag=True, help="List the checks and stop.")
@click.option("--python", metavar="PATH", help="Diagnose another interpreter.")
@click.option("--prefix", metavar="DIR", help="Diagnose a conda or venv prefix by its files alone.")
@click.option(
    "--root", metavar="DIR", help="Read /proc /sys /dev /etc /usr below DIR; no native probes."
)
@click.option(
    "--from", "from_file", metavar="FILE", help="Diagnose a snapshot instead of this machine."
)
@click.option("--deep", is_flag=True, help="Also read what takes long: every library, every hash.")
@click.option("--network", is_flag=True, help="Also try the configured conda and pip sources.")
@click.option("--no-plugins", is_flag=True, help="Run no plugin, only what cuready brings along.")
@click.option("-v", "--verbose", is_flag=True, help="Show evidence, every fix, and each check.")
def doctor(
    output_format: str,
    strict: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    list_checks: bool,
    python: str | None,
    prefix: str | None,
    root: str | None,
    from_file: str | None,
    deep: bool,
    network: bool,
    no_plugins: bool,
    verbose: bool,
) -> int:
    """Say what is broken on this machine, why, and which command fixes it.

    Exit codes: 0 fine (warnings allowed), 1 errors found (with --strict also warnings),
    2 wrong usage, 3 nothing could be found out.
    """
    if list_checks:
        return _list(output_format, python=python, prefix=prefix, root=root)
    if from_file and (python or prefix or root or deep or network):
        raise click.UsageError(
            "--from takes a snapshot as it is: no --python, --prefix, --root, --deep or --network"
        )
    theirs = [word for word in (*only, *skip) if word not in _OURS]
    if theirs and no_plugins:
        raise click.UsageError(
            f"no check of ours is called {theirs[0]!r}, and with --no-plugins no other is run"
        )
    if network and root:
        raise click.UsageError("--network tries this machine's sources, --root is another's")
    from cuready.probe.runner import ANSWER_LIMIT_S, Budget

    budget = Budget.of(ANSWER_LIMIT_S)
    where = {"python": python, "prefix": prefix, "root": root, "deep": deep}
    snapshot = _snapshot(from_file, plugins=not no_plugins, **where)
    if network:
        snapshot = _with_sources(snapshot)
    checks = [*all_checks(), *managed.checks_for(snapshot)]
    if not no_plugins:
        # Whoever asks for the network waits for the network, whose time is not the plugins'.
        snapshot = _with_plugins(snapshot, None if network else budget.left())
        brought = plugins.checks_of(snapshot)
        nothing = plugins.asked_for(snapshot, [word for word in only if word not in _OURS], brought)
        checks += [*brought, *nothing]
        _warn_of_unnamed([item.id for item in nothing])
    diagnosis = diagnose(snapshot, only=only, skip=skip, checks=checks, strict=strict)
    _print(diagnosis, snapshot, output_format, verbose=verbose)
    if diagnosis.failed:
        return EXIT_FAILED
    return EXIT_OK if diagnosis.answered else EXIT_INCOMPLETE


def _snapshot(from_file: str | None, *, plugins: bool, **where: Any) -> Snapshot:
    if from_file is not None:
        from cuready.snapshot import load

        return load(Path(from_file))
    from cuready.probe import take
    from cuready.probe.registry import READERS

    readers = READERS if plugins else [item for item in READERS if item.name != "plugins"]
    with progress("reading the machine …"):
        return take(**where, readers=readers)


def _with_sources(snapshot: Snapshot) -> Snapshot:
    """Climb to the sources that conda, pip and uv are configured to use."""
    from cuready.cli import _sources
    from cuready.doctor.checks.network import REPORTS

    with progress("trying the configured package sources …"):
        reports = _sources.climb_all(_sources.configured())
    return dataclasses.replace(snapshot, plugin_facts={**snapshot.plugin_facts, REPORTS: reports})


def _with_plugins(snapshot: Snapshot, limit_s: float | None) -> Snapshot:
    """Let the plugins that bring checks look at the snapshot; also at one from a file."""
    with progress("running plugins …"):
        return _plugin_ids.run(snapshot, limit_s)


def _warn_of_unnamed(words: Sequence[str]) -> None:
    """Nothing was found under ``words``; where no plugin is named for one, it may be a slip."""
    found = _plugin_ids.installed() if words else []
    for word in words:
        if not _plugin_ids.whose(word, found):
            names = ", ".join(item.name for item in found)
            warn(
                f"nothing was found under {word}, and no plugin is named for it (here: {names}): "
                "such an id is known only when it is found"
            )


def _print(diagnosis: Diagnosis, snapshot: Snapshot, output_format: str, *, verbose: bool) -> None:
    if output_format != "text":
        from cuready.doctor.render import renderer

        click.echo(printable(renderer(output_format)(diagnosis)))
        return
    import shutil

    from cuready.doctor.render.text import render

    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    lines = render(
        diagnosis,
        _head(snapshot),
        verbose=verbose,
        width=shutil.get_terminal_size((100, 24)).columns,
        unicode=encoding.startswith("utf"),
    )
    click.echo(printable("\n".join(lines)))


def _head(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """The few lines about the machine that stand above the report."""
    from cuready.doctor import facts

    platform, python = snapshot.platform, snapshot.python
    system = [platform.distro_name or platform.system, platform.machine]
    system += [f"in {platform.container}"] if platform.container else []
    system += [f"WSL {platform.wsl}"] if platform.wsl else []
    yield "Machine", ", ".join(item for item in system if item) or "not known"
    gpus = facts.capabilities(snapshot)
    names = [f"{name}, compute capability {cc}" for name, cc in gpus.items()]
    names = names or [facts.gpu_name(gpu, snapshot) for gpu in snapshot.gpus]
    yield "GPU", "; ".join(names) or "none found"
    driver = snapshot.driver.version or snapshot.nvml.driver_version
    if driver:
        yield "Driver", f"{driver}{_flavour(snapshot)}"
    if python.executable or python.prefix:
        manager = f", {python.manager} installs here" if python.manager else ""
        yield "Python", f"{python.version or '?'} at {python.executable or python.prefix}{manager}"
    if python.torch is not None:
        cuda = f"CUDA {python.torch.cuda}" if python.torch.cuda else "no CUDA"
        yield "torch", f"{python.torch.version} ({cuda})"


def _flavour(snapshot: Snapshot) -> str:
    cuda = snapshot.cuda.cuda_version or snapshot.nvml.cuda_version
    parts = [snapshot.driver.flavour, f"speaks CUDA {cuda}" if cuda else None]
    text = ", ".join(item for item in parts if item)
    return f" ({text})" if text else ""


def _installed(where: dict[str, Any]) -> list[dict[str, str]]:
    """The plugins that a run would use; finding them runs nothing of theirs."""
    from cuready.probe import plugins as runner

    return [dataclasses.asdict(item) for item in runner.listed(**where)]


def _list(output_format: str, **where: Any) -> int:
    """Every check with its title and usual severity, then the plugins."""
    found = _installed(where)
    entries = [*catalogue.entries().values(), *catalogue.managed_entries().values()]
    if output_format == "json":
        checks = [
            {"id": item.id, "severity": item.severity.value, "title": item.title}
            for item in entries
        ]
        emit_json(document({"checks": checks, "plugins": found}))
        return EXIT_OK
    if output_format != "text":
        raise click.UsageError("--list prints text or json")
    colours = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
    for item in entries:
        severity = click.style(f"{item.severity.value:8}", fg=colours[item.severity])
        click.echo(f"{item.id:6} {severity} {item.title}")
    for plugin in found:
        where_from = f"{plugin['value']}, from {plugin['distribution']}"
        click.echo(f"{plugin['group']}: {plugin['name']} ({where_from})")
    return EXIT_OK
