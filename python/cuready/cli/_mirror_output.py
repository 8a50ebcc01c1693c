"""How ``cuready mirror`` prints: tables, diffs and JSON documents."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cuready.cli import _common
from cuready.mirrors import catalogue as catalogues
from cuready.mirrors.locations import Machine, Tool

if TYPE_CHECKING:
    from cuready.mirrors.catalogue import Catalogue, Mirror
    from cuready.mirrors.config import Plan
    from cuready.mirrors.journal import Operation
    from cuready.mirrors.lint import Fault

__all__ = [
    "Run",
    "mirror_document",
    "mirror_rows",
    "pasted_document",
    "pasted_rows",
    "print_faults",
    "print_plans",
    "shown",
    "stale_warnings",
    "table",
]


def stale_warnings(mirrors: Sequence[Mirror], today: datetime.date) -> list[str]:
    """One line that names every entry older than the limit; empty when there is none."""
    stale = sorted((item for item in mirrors if item.is_stale(today)), key=lambda item: item.as_of)
    if not stale:
        return []
    days = catalogues.MAX_AGE.days
    names = ", ".join(f"{item.name} ({item.as_of})" for item in stale)
    return [
        f"{len(stale)} of {len(mirrors)} entries are older than {days} days: {names}; "
        "`cuready mirror test` says what they do today"
    ]


def mirror_rows(mirrors: Sequence[Mirror]) -> list[list[str]]:
    """The table of `list`, its head first."""
    rows = [["NAME", "CONDA", "PYPI", "TORCH", "FAILS WITH", "AS OF", "OPERATOR"]]
    for item in mirrors:
        conda = "-"
        if item.conda is not None:
            count = len(item.conda.channels) + len(item.conda.channel_bases)
            shards = ", shards" if item.conda.shards else ""
            conda = "all" + shards if item.conda.any_channel else f"{count}{shards}"
        torch = item.torch.layout if item.torch else "-"
        fate = ", ".join([item.failure_domain, *item.falls_back_to][:3])
        more = "…" if len(item.falls_back_to) > 2 else ""
        pypi, as_of = "yes" if item.pypi else "-", str(item.as_of)
        rows.append([item.name, conda, pypi, torch, fate + more, as_of, item.title])
    return rows


def pasted_rows(known: Catalogue) -> list[list[str]]:
    """The table of `list --pasted`, its head first."""
    rows = [["ADDRESS", "STATE", "INSTEAD"]]
    for rule in known.pasted:
        address = f"{rule.host or 'any mirror'}{rule.path}"
        rows.append([address, f"{rule.kind}: {rule.state}", rule.instead])
    return rows


def table(rows: list[list[str]]) -> Iterable[str]:
    """Rows as lines, columns aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


def mirror_document(item: Mirror, today: datetime.date) -> dict[str, Any]:
    """One mirror in JSON."""
    document: dict[str, Any] = {
        "name": item.name,
        "title": item.title,
        "country": item.country,
        "home": item.home,
        "failure_domain": item.failure_domain,
        "falls_back_to": list(item.falls_back_to),
        "official": item.official,
        "as_of": item.as_of.isoformat(),
        "stale": item.is_stale(today),
        "sources": list(item.sources),
        "notes": item.notes,
    }
    if item.conda is not None:
        document["conda"] = {
            "base": item.conda.base,
            "cloud": item.conda.cloud,
            "channels": "any" if item.conda.any_channel else list(item.conda.channels),
            "channel_bases": dict(item.conda.channel_bases),
            "pkgs": list(item.conda.pkgs),
            "shards": item.conda.shards,
        }
    if item.pypi is not None:
        document["pypi"] = {"index_url": item.pypi.index_url}
    if item.torch is not None:
        document["torch"] = {"url": item.torch.url_template, "layout": item.torch.layout}
    if item.status is not None:
        document["status"] = {"url": item.status.url, "format": item.status.format}
    return document


def pasted_document(rule: catalogues.Pasted) -> dict[str, Any]:
    """One dead or wrong address in JSON."""
    return {
        "host": rule.host,
        "path": rule.path,
        "kind": rule.kind,
        "state": rule.state,
        "instead": rule.instead,
        "as_of": rule.as_of.isoformat(),
        "sources": list(rule.sources),
    }


class Run:
    """What a changing command prints besides its plans."""

    def __init__(
        self,
        command: str,
        dry_run: bool,
        output_format: str,
        machine: Machine,
        mirrors: Mapping[Tool, Mirror],
        notes: Sequence[str],
    ) -> None:
        self.command = command
        self.dry_run = dry_run
        self.json = output_format == "json"
        self.machine = machine
        self.mirrors = mirrors
        self.warnings = list(notes)


def print_plans(plans: Sequence[Plan], run: Run, operation: Operation | None) -> None:
    """What was done, or would be, and every warning."""
    run.warnings += [f"{plan.path}: {note}" for plan in plans for note in plan.notes]
    run.warnings += _remaining_faults(plans)
    if run.json:
        _common.emit_json(_common.document(_plans_document(plans, run, operation)))
        return
    for plan in plans:
        if run.dry_run:
            click.echo(plan.diff(), nl=False)
        else:
            verb = _verb(plan, restored=run.command.startswith("restore ("))
            source = run.mirrors.get(plan.tool)
            click.echo(f"{verb:9}  {plan.path}{f'  ({source.name})' if source else ''}")
    if not any(plan.changes for plan in plans):
        click.echo("nothing to change" if plans else "nothing to restore or change here")
    elif operation is not None and not run.command.startswith("restore ("):
        click.echo("undo with `cuready mirror restore`")
    for warning in run.warnings:
        _common.warn(warning)


def _verb(plan: Plan, *, restored: bool) -> str:
    if not plan.changes:
        return "unchanged"
    if plan.after is None:
        return "removed"
    return "restored" if restored else "wrote"


def _plans_document(plans: Sequence[Plan], run: Run, operation: Operation | None) -> dict[str, Any]:
    from cuready.mirrors import effective

    files = [
        {
            "tool": plan.tool,
            "path": str(plan.path),
            "changed": plan.changes,
            "mirror": run.mirrors[plan.tool].name if plan.tool in run.mirrors else None,
            "notes": list(plan.notes),
            "diff": plan.diff(),
        }
        for plan in plans
    ]
    tools = dict.fromkeys(plan.tool for plan in plans)
    return {
        "command": run.command,
        "dry_run": run.dry_run,
        "operation": operation.id if operation else None,
        "files": files,
        "effective": [effective.read(tool, run.machine).document() for tool in tools],
        "warnings": run.warnings,
    }


def _remaining_faults(plans: Sequence[Plan]) -> list[str]:
    """Errors that lint still finds in the files as they are after the change."""
    from cuready.mirrors import lint

    known = catalogues.load()
    found = []
    for plan in plans:
        if plan.after is not None:
            faults = lint.check_bytes(plan.after, plan.path, plan.tool, known)
            found += [fault for fault in faults if fault.severity == "error"]
    return [
        f"{fault.path}:{fault.line}: {fault.message}; repair: {fault.repair}" for fault in found
    ]


def shown(value: Any) -> str:
    """A value of a configuration on one line, without credentials."""
    from cuready.mirrors import urls

    if isinstance(value, dict):
        return ", ".join(f"{shown(key)} → {shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(urls.redact(str(item)) for item in value)
    return urls.redact(str(value))


def print_faults(checked: Sequence[Path], faults: Sequence[Fault], *, as_json: bool) -> None:
    """The findings of `lint` and their number."""
    from cuready.mirrors import urls

    if as_json:
        body = {
            "files": [str(path) for path in checked],
            "findings": [fault.document() for fault in faults],
        }
        _common.emit_json(_common.document(body))
        return
    for fault in faults:
        message = urls.redact_text(fault.message)
        click.echo(f"{fault.path}:{fault.line}: {fault.severity}: {message} [{fault.kind}]")
        click.echo(f"    repair: {urls.redact_text(fault.repair)}")
    errors = sum(fault.severity == "error" for fault in faults)
    summary = f"{errors} errors, {len(faults) - errors} warnings in {len(checked)} files"
    click.echo(summary)
