"""What conda knows of a prefix: one JSON file a package, and the commands that made it.

These files list every path of a package and reach megabytes, and a prefix has hundreds of them, so
the few fields wanted are searched as text, and only suspects are parsed.
"""

from __future__ import annotations

import re
from typing import Any

from cuready._util import parse_json
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
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
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
    missing: list[str] = []
    altered: list[str] = []
    if context.deep or _CHECKED.match(parts[1]):
        missing, altered = _differences(context, prefix, parse_json(data))
    return CondaPackage(
        name=parts[1],
        version=parts[2],
        build=parts[3],
        channel=channel[1].decode("utf-8", "replace") if channel else "",
        subdir=subdir[1].decode("utf-8", "replace") if subdir else "",
        requested=_REQUESTED.search(data) is not None,
        missing_files=tuple(missing),
        altered_files=tuple(altered),
    )


def _differences(
    context: Context, prefix: str, record: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """``(missing, altered)``: paths of the record that are gone, or of another size.

    Links have no size of their own, and conda rewrites the prefix inside some files, so that only
    plain files are compared. With ``--deep`` their SHA-256 is, too.
    """
    listed = record.get("paths_data", {}).get("paths") or [
        {"_path": path} for path in record.get("files", ())
    ]
    missing, altered = [], []
    for entry in listed:
        path = str(entry["_path"])
        found = context.stat(f"{prefix}/{path}", follow=False)
        if found is None:
            missing.append(path)
        elif _is_plain(entry) and (
            found.st_size != entry.get("size_in_bytes", found.st_size)
            or (context.deep and _hash_differs(context, f"{prefix}/{path}", entry))
        ):
            altered.append(path)
    return missing, altered


def _is_plain(entry: dict[str, Any]) -> bool:
    return entry.get("path_type", "hardlink") == "hardlink" and "prefix_placeholder" not in entry


def _hash_differs(context: Context, path: str, entry: dict[str, Any]) -> bool:
    wanted = entry.get("sha256_in_prefix") or entry.get("sha256")
    if not wanted:
        return False
    import hashlib

    digest = hashlib.sha256()
    with open(context.path(path), "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() != str(wanted)
