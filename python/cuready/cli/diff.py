"""``cuready diff A B``: what changed between two snapshots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cuready._util import one_line
from cuready.cli import _common

if TYPE_CHECKING:
    from cuready.doctor.diff import Difference

MARKS = {"added": "+", "removed": "-", "changed": "~"}


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--exit-code", is_flag=True, help="Exit with 1 when anything differs, as git does.")
@_common.format_option()
def diff(before: Path, after: Path, exit_code: bool, output_format: str) -> int:
    """Say what changed from the snapshot BEFORE to the snapshot AFTER."""
    from cuready.doctor.diff import compare
    from cuready.snapshot import load

    difference = compare(load(before), load(after))
    if output_format == "json":
        _common.emit_json(_common.document(difference.to_dict()))
    else:
        click.echo(_common.printable(_text(difference)))
    differs = bool(difference.changes or difference.appeared or difference.gone)
    return _common.EXIT_FAILED if exit_code and differs else _common.EXIT_OK


def _text(difference: Difference) -> str:
    lines = []
    for change in difference.changes:
        mark = MARKS[change.kind]
        if change.kind == "changed":
            lines.append(f"{mark} {change.path}: {_short(change.before)} → {_short(change.after)}")
        else:
            value = change.after if change.kind == "added" else change.before
            lines.append(f"{mark} {change.path}: {_short(value)}")
    for title, findings in (("appeared", difference.appeared), ("gone", difference.gone)):
        lines += [f"{title}: {item.id} {item.title}: {item.cause}" for item in findings]
    return "\n".join(lines) or "no difference"


def _short(value: Any) -> str:
    if isinstance(value, dict) and "version" in value:
        return str(value["version"])
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 120)
