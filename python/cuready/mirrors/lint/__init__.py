"""Faults in configuration files that cost people evenings: found by line, each with its repair."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cuready.errors import InputError
from cuready.mirrors import atomic, urls
from cuready.mirrors.catalogue import Catalogue
from cuready.mirrors.editors.text import ConfigSyntaxError, Text
from cuready.mirrors.lint import condarc, pip_conf, toml_files
from cuready.mirrors.lint.finding import KINDS, Fault, Report
from cuready.mirrors.locations import Machine, Tool, layers

__all__ = ["KINDS", "Fault", "check_bytes", "check_file", "check_machine", "tool_of"]

# Variable → what it overrides in a file: a key, or the file as a whole.
_OVERRIDES: dict[Tool, dict[str, str]] = {
    "conda": {
        "CONDA_CHANNELS": r"channels\s*:",
        "CONDA_CHANNEL_ALIAS": r"channel_alias\s*:",
        "CONDA_DEFAULT_CHANNELS": r"default_channels\s*:",
        "CONDA_SSL_VERIFY": r"ssl_verify\s*:",
    },
    "pip": {
        "PIP_INDEX_URL": r"(index|pypi)[-_]url\s*[=:]",
        "PIP_EXTRA_INDEX_URL": r"extra[-_]index[-_]url\s*[=:]",
        "PIP_NO_INDEX": r"(index|pypi)[-_]url\s*[=:]",
    },
    "uv": {
        "UV_DEFAULT_INDEX": r"(default\s*=\s*true|index-url\s*=)",
        "UV_INDEX_URL": r"(default\s*=\s*true|index-url\s*=)",
        "UV_NO_INDEX": r"(default\s*=\s*true|index-url\s*=)",
    },
    "rattler": {},
}


def tool_of(path: Path) -> Tool:
    """Which tool reads a file of this name. Raises InputError for a name that none reads."""
    name = path.name.lower()
    if name in (".condarc", "condarc") or path.suffix in (".yml", ".yaml"):
        return "conda"
    if name in ("pip.conf", "pip.ini"):
        return "pip"
    if name == "uv.toml":
        return "uv"
    if name == "config.toml":
        return "rattler"
    raise InputError(
        f"{path}: no tool reads a file of this name",
        hint="say whose file it is with --as conda|pip|uv|rattler",
    )


def check_file(path: Path, tool: Tool, catalogue: Catalogue) -> list[Fault]:
    """The faults of one file. Raises ConfigError when it cannot be read at all."""
    state = atomic.read(path)
    if state.data is None:
        raise InputError(f"{path}: no such file")
    return check_bytes(state.data, path, tool, catalogue)


def check_bytes(data: bytes, path: Path, tool: Tool, catalogue: Catalogue) -> list[Fault]:
    """The faults of a file's content, by line."""
    report = Report(path, catalogue)
    try:
        text = Text.decode(data, exact=tool != "pip")
    except ConfigSyntaxError as error:
        report.error("unreadable", error.line, error.reason, error.hint or "correct the line")
        return report.faults
    if tool == "conda":
        condarc.check(text.body, report)
    elif tool == "pip":
        pip_conf.check(text.body, report, bom=text.bom)
    elif tool == "uv":
        toml_files.check_uv(text.body, report)
    else:
        toml_files.check_rattler(text.body, report)
    return sorted(report.faults, key=lambda fault: (fault.line, fault.kind))


def check_machine(
    tools: Sequence[Tool], machine: Machine, catalogue: Catalogue
) -> tuple[list[Path], list[Fault]]:
    """Every file that ``tools`` read here, and the faults, with variables that override them."""
    files: list[Path] = []
    faults: list[Fault] = []
    for tool in tools:
        for layer in layers(tool, machine):
            if layer.exists:
                files.append(layer.path)
                faults += check_file(layer.path, tool, catalogue)
                faults += _overridden(layer.path, tool, machine)
    return files, faults


def _overridden(path: Path, tool: Tool, machine: Machine) -> list[Fault]:
    body = (atomic.read(path).data or b"").decode("utf-8", errors="replace")
    faults = []
    for name, pattern in _OVERRIDES[tool].items():
        value = machine.environ.get(name)
        if not value:
            continue
        for number, line in enumerate(body.splitlines(), start=1):
            if re.match(rf"\s*{pattern}", line, re.IGNORECASE):
                message = f"{name}={urls.redact(value)} in the environment overrides this line"
                repair = f"unset {name}, or change it where it is set"
                faults.append(Fault("env-override", "warning", path, number, message, repair))
                break
    return faults
