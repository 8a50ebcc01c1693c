"""``cuready report``: a redacted bundle for a bug report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cuready.cli import _common
from cuready.errors import InputError

if TYPE_CHECKING:
    from cuready.doctor.engine import Diagnosis
    from cuready.snapshot import Snapshot


@click.command()
@click.option(
    "--from", "source", type=click.Path(path_type=Path), help="Report on a snapshot file."
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write the JSON bundle here.")
@click.option("--python", help="Another interpreter to look at.")
@click.option("--prefix", help="An environment to read as files.")
@_common.format_option()
def report(
    source: Path | None,
    output: Path | None,
    python: str | None,
    prefix: str | None,
    output_format: str,
) -> int:
    """Write a bug report that names no person and no machine.

    The text form is Markdown to paste into an issue; the bundle (--output, or --format json) holds
    the redacted snapshot too, and `cuready doctor --from` replays it.
    """
    from cuready.doctor.engine import diagnose
    from cuready.doctor.redact import Redactor, this_identity

    snapshot = _snapshot(source, python, prefix)
    diagnosis = diagnose(snapshot)
    redactor = Redactor(this_identity())
    bundle = _common.document(redactor.document(_body(snapshot, diagnosis)))
    if output is not None:
        _write(output, bundle)
        click.echo(f"wrote {output}", err=True)
    if output_format == "json":
        _common.emit_json(bundle)
    elif output is None:
        click.echo(_common.printable(redactor.text(_markdown(snapshot, diagnosis))), nl=False)
    return _common.EXIT_OK


def _snapshot(source: Path | None, python: str | None, prefix: str | None) -> Snapshot:
    from cuready.snapshot import load

    if source is not None:
        return load(source)
    from cuready.probe import take

    return take(python=python, prefix=prefix)


def _body(snapshot: Snapshot, diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "summary": diagnosis.summary(),
        "findings": [finding.to_dict() for finding in diagnosis.findings],
        "snapshot": snapshot.to_dict(),
    }


def _write(path: Path, bundle: dict[str, Any]) -> None:
    from cuready._util import write_atomically

    try:
        write_atomically(path, (json.dumps(bundle, indent=1) + "\n").encode())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def _markdown(snapshot: Snapshot, diagnosis: Diagnosis) -> str:
    python = snapshot.python
    gpus = ", ".join(gpu.name or gpu.device_id for gpu in snapshot.gpus) or "none on the PCI bus"
    rows = {
        "system": " ".join(
            filter(None, (snapshot.platform.distro_name, snapshot.platform.kernel_release))
        ),
        "driver": snapshot.driver.version or "not loaded",
        "GPUs": gpus,
        "Python": f"{python.version} ({python.kind or 'kind unknown'})",
        "torch": python.torch.version if python.torch else "not installed",
        "cuready": snapshot.tool_version,
    }
    lines = ["## cuready report", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value or 'unknown'} |" for name, value in rows.items()]
    lines += ["", f"{len(diagnosis.findings)} finding(s)", ""]
    for finding in diagnosis.findings:
        subject = f" ({finding.subject})" if finding.subject else ""
        lines.append(f"- **{finding.id}** {finding.severity.value}: {finding.title}{subject}")
        lines.append(f"  - {finding.cause}")
        lines += [f"  - `{item.source}`: {item.detail}" for item in finding.evidence]
    return "\n".join(lines) + "\n"
