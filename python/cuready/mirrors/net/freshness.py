"""How fresh a mirror's copy is, from what the site publishes: MirrorZ JSON or tunasync's status.

MirrorZ data format 1.4: https://github.com/mirrorz-org/mirrorz#data-format-v14-draft
(`mirrors[].cname`, `.status`: letters with Unix times). tunasync: a list of objects with `name`,
`status`, `last_update_ts` (https://github.com/tuna/tunasync).
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

from cuready._util import parse_json
from cuready.mirrors.net.ladder import ProbeKind

__all__ = ["NAMES", "read_status"]

# The names under which sites list each collection (mirrorz `cname.json` maps most to these).
NAMES: dict[ProbeKind, tuple[str, ...]] = {
    ProbeKind.CONDA_CHANNEL: ("anaconda",),
    ProbeKind.PYPI_INDEX: ("pypi",),
    ProbeKind.TORCH_WHEELS: ("pytorch-wheels", "pytorch"),
    ProbeKind.FILE: (),
}
_STATUS = re.compile(r"([A-Z])(\d{9,11})?")


def read_status(document: bytes, style: str, kind: ProbeKind) -> datetime | None:
    """When the collection was last copied whole; None when the document does not say."""
    try:
        data = parse_json(document)
    except ValueError:
        return None
    entries = data.get("mirrors") if style == "mirrorz" and isinstance(data, dict) else data
    if not isinstance(entries, list):
        return None
    key, read = ("cname", _mirrorz) if style == "mirrorz" else ("name", _tunasync)
    for wanted in NAMES[kind]:
        for entry in entries:
            if isinstance(entry, dict) and str(entry.get(key, "")).lower() == wanted:
                return read(entry)
    return None


def _mirrorz(entry: dict[str, object]) -> datetime | None:
    """``S…`` is the last success; while syncing or failed, ``O…`` is the one before."""
    times = dict(_STATUS.findall(str(entry.get("status", ""))))
    return _time(times.get("S") or times.get("O"))


def _tunasync(entry: dict[str, object]) -> datetime | None:
    return _time(entry.get("last_update_ts"))


def _time(value: object) -> datetime | None:
    try:
        seconds = int(str(value))
        return datetime.fromtimestamp(seconds, timezone.utc) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
