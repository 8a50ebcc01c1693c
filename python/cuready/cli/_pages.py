"""Every id that has a page: the doctor's, those of our environments, and the self-test's own."""

from __future__ import annotations

from functools import cache
from typing import Any

from cuready.doctor import catalogue
from cuready.doctor.catalogue import Entry
from cuready.doctor.finding import Severity

__all__ = ["entries", "entry"]


@cache
def entries() -> dict[str, Entry]:
    """Id → what is known about it, in the order of the pages."""
    from cuready.selftest.findings import own

    tested = (_of_selftest(row) for row in own().values())
    return {
        **catalogue.entries(),
        **catalogue.managed_entries(),
        **{found.id: found for found in sorted(tested, key=lambda found: found.id)},
    }


def entry(check_id: str) -> Entry | None:
    """The entry of ``check_id`` in any case; None for an id that nobody gives."""
    wanted = check_id.strip().upper()
    if wanted in catalogue.IDS:  # the usual ones cost one file
        return catalogue.entry(wanted)
    return entries().get(wanted)


def _of_selftest(row: dict[str, Any]) -> Entry:
    note = str(row.get("note", ""))
    return Entry(
        id=row["id"],
        title=row["title"],
        severity=Severity(row.get("severity", "error")),
        symptom=f"`cuready selftest` reports {row['id']}",
        cause=f"{note[:1].upper()}{note[1:]}." if note else f"{row['title']}: a stage failed.",
        check="`cuready selftest` runs the stages again and shows what the failed one measured.",
        fix="; ".join(f"`{command}`" for command in row.get("fix", ())) or note,
        links=tuple(row.get("links", ())),
    )
