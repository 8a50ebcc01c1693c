"""What is known about each finding's id: title, severity, symptom, cause, how to check, fix, links.

The prose is data (``data/catalogue.toml``), read only when something was found or asked for: a
healthy machine never pays for it. Ids and their order are needed on every run and stand here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from cuready._util import data_text, tomllib
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Severity

__all__ = [
    "GROUPS",
    "IDS",
    "QUIET_GROUPS",
    "Entry",
    "entries",
    "entry",
    "finding",
    "group_of",
    "managed_entries",
    "order",
    "suggest",
]

# group → (title of the line in the report, number of ids)
GROUPS: dict[str, tuple[str, int]] = {
    "DRV": ("Driver and kernel", 16),
    "CTR": ("Containers", 6),
    "WSL": ("Windows Subsystem for Linux", 2),
    "VIS": ("Visible devices and variables", 4),
    "MIG": ("Multi-Instance GPU", 1),
    "PY": ("Python environment and packages", 21),
    "LIB": ("Shared libraries and GPU code", 16),
    "BLD": ("Build toolchain", 5),
    "TRT": ("TensorRT", 5),
    "WIN": ("Windows", 3),
    "MAC": ("macOS", 1),
    "NET": ("Package sources", 2),
    "PLG": ("Plugins", 2),
    "VND": ("Crashes of the driver's libraries", 1),
}

# Groups that have a line in the report only where they have something to say.
QUIET_GROUPS = frozenset({"WIN", "MAC", "NET", "PLG", "VND"})

IDS: tuple[str, ...] = tuple(
    f"{group}{number:02d}" for group, (_, count) in GROUPS.items() for number in range(1, count + 1)
)

_ORDER = {check_id: place for place, check_id in enumerate(IDS)}


@dataclass(frozen=True)
class Entry:
    """One id of the catalogue, in words. ``disproved_by`` names the native probes (``cuda``,
    ``nvml``) whose success shows that a finding of this id is not true here."""

    id: str
    title: str
    severity: Severity
    symptom: str
    cause: str
    check: str
    fix: str
    links: tuple[str, ...]
    sources: tuple[str, ...] = ()
    disproved_by: tuple[str, ...] = ()


def order(check_id: str) -> tuple[int, str]:
    """Sort key: the catalogue's order, ids of others (plugins) after it by name."""
    return (_ORDER.get(check_id, len(_ORDER)), check_id)


def group_of(check_id: str) -> str:
    """``DRV`` of ``DRV01``."""
    return check_id.rstrip("0123456789")


@cache
def entries() -> dict[str, Entry]:
    """The whole catalogue by id, in order."""
    document = _document("catalogue.toml")
    return {check_id: _entry(check_id, document[check_id]) for check_id in IDS}


@cache
def managed_entries() -> dict[str, Entry]:
    """The ids of environments that `cuready env` made; they are checked only where there is one."""
    return {check_id: _entry(check_id, row) for check_id, row in _document("managed.toml").items()}


def _document(name: str) -> dict[str, Any]:
    text = data_text("cuready.doctor", f"data/{name}")
    return tomllib.loads(text)


@cache
def entry(check_id: str) -> Entry:
    """The entry of ``check_id``. Raises KeyError for an id that is not of the catalogue.

    Only its own table is parsed: a run finds two or three things, and the whole takes a while.
    """
    if check_id not in _ORDER:
        raise KeyError(check_id)
    _, _, rest = data_text("cuready.doctor", "data/catalogue.toml").partition(f"\n[{check_id}]\n")
    return _entry(check_id, tomllib.loads(rest.partition("\n[")[0]))


def _entry(check_id: str, table: dict[str, Any]) -> Entry:
    return Entry(
        id=check_id,
        title=table["title"],
        severity=Severity(table["severity"]),
        symptom=table["symptom"],
        cause=table["cause"],
        check=table["check"],
        fix=table["fix"],
        links=tuple(table["links"]),
        sources=tuple(table.get("sources", ())),
        disproved_by=tuple(table.get("disproved_by", ())),
    )


def finding(
    check_id: str,
    *,
    cause: str,
    evidence: Iterable[Evidence],
    fix: Iterable[Fix] = (),
    explains: Iterable[str] = (),
    subject: str = "",
    severity: Severity | None = None,
    confidence: Confidence = Confidence.PROVEN,
    title: str | None = None,
    links: Iterable[str] = (),
    image: str = "",
    about: Iterable[frozenset[str]] = (),
    reach: Iterable[str] = (),
) -> Finding:
    """A finding of ``check_id`` whose title, severity and links come from the catalogue.

    ``cause`` says what is wrong *here*, with the names and versions of this machine. ``links`` are
    put before those of the catalogue.
    """
    known = entry(check_id)
    return Finding(
        id=check_id,
        severity=known.severity if severity is None else severity,
        title=known.title if title is None else title,
        cause=cause,
        confidence=confidence,
        evidence=tuple(evidence),
        explains=tuple(explains),
        fix=tuple(fix),
        links=tuple(dict.fromkeys((*links, *known.links))),
        subject=subject,
        image=image,
        about=tuple(about),
        reach=frozenset(reach),
    )


def suggest(check_id: str) -> str | None:
    """The id that somebody who typed ``check_id`` may have meant, or None."""
    import difflib
    import re

    folded = check_id.strip().upper()
    # DRV1, DRV-01 and DRVO1 are what people type.
    parts = re.match(r"^([A-Z]+?)[-_ ]?([0-9O]+)$", folded)
    if parts is not None:
        padded = f"{parts[1]}{parts[2].replace('O', '0').zfill(2)}"
        if padded in _ORDER:
            return padded
    close = difflib.get_close_matches(folded, IDS, n=1, cutoff=0.6)
    return close[0] if close else None
