"""What conda knows of a prefix: one JSON file a package, and the commands that made it.

These files list every path of a package and reach megabytes, and a prefix has hundreds of them, so
the few fields wanted are searched as text, and only suspects are parsed.
"""

from __future__ import annotations

import json
import re

from cuready.probe.context import Context, Facts, Incomplete, Skip
from cuready.snapshot import CondaPackage

__all__ = ["read"]

_JSON_LIMIT = 32 << 20
_NAME = re.compile(r"(.+)-([^-]+)-([^-]+)\.json$")
_CHANNEL = re.compile(rb'"channel"\s*:\s*"([^"]*)"')
_SUBDIR = re.compile(rb'"subdir"\s*:\s*"([^"]*)"')
_REQUESTED = re.compile(rb'"requested_specs?"\s*:\s*(?:"(?!None")[^"]+"|\[\s*")')
# Packages whose files are worth looking for: the ones that a diagnosis is about.
_CHECKED = re.compile(
    r"(?:pytorch|libtorch|cudnn|nccl|cuda-|cudatoolkit|libcu|libnv|tensorrt|libmagma)"
)
_HISTORY_LINES = 50


def read(context: Context) -> Facts:
    """Packages and history of the diagnosed prefix, when conda made it."""
    prefix = context.so_far.python.prefix
    if not prefix or not context.is_dir(f"{prefix}/conda-meta"):
        raise Skip("not a conda prefix")
    packages, problems = [], []
    for name in context.listdir(f"{prefix}/conda-meta"):
        if not name.endswith(".json"):
            continue
        path = f"{prefix}/conda-meta/{name}"
        try:
            packages.append(_package(context, prefix, path, name))
        except (OSError, ValueError) as error:
            problems.append(f"{path}: {error}")
    facts = {
        "python.conda_packages": tuple(package for package in packages if package),
        "python.conda_history": _history(context, prefix),
    }
    if problems:
        raise Incomplete(problems[0], facts)
    return facts


def _history(context: Context, prefix: str) -> tuple[str, ...]:
    text = context.read_text(f"{prefix}/conda-meta/history", 8 << 20) or ""
    return tuple(re.findall(r"^# cmd: (.+)$", text, re.M)[-_HISTORY_LINES:])


def _package(context: Context, prefix: str, path: str, file_name: str) -> CondaPackage | None:
    parts = _NAME.match(file_name)
    data = context.read_bytes(path, _JSON_LIMIT)
    if not parts or data is None:
        return None
    if not data.rstrip().endswith(b"}"):
        raise ValueError("cut short")
    channel, subdir = _CHANNEL.search(data), _SUBDIR.search(data)
    checked = context.deep or _CHECKED.match(parts[1]) is not None
    return CondaPackage(
        name=parts[1],
        version=parts[2],
        build=parts[3],
        channel=channel[1].decode("utf-8", "replace") if channel else "",
        subdir=subdir[1].decode("utf-8", "replace") if subdir else "",
        requested=_REQUESTED.search(data) is not None,
        missing_files=_missing(context, prefix, data) if checked else (),
    )


def _missing(context: Context, prefix: str, data: bytes) -> tuple[str, ...]:
    files = json.loads(data).get("files")
    if not isinstance(files, list):
        return ()
    paths = (path for path in files if isinstance(path, str))
    return tuple(path for path in paths if context.stat(f"{prefix}/{path}", follow=False) is None)
