"""NET01, NET02: the configured package sources, from ladder reports in the Snapshot.

The command that was asked for them climbs (``--network``) and puts the reports under
``plugin_facts``; the checks only read them, so that they replay from a file as everything does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cuready.doctor import catalogue
from cuready.doctor.finding import Evidence, Finding, Fix
from cuready.doctor.registry import Outcome, Skipped, check
from cuready.snapshot import Snapshot

__all__ = ["REPORTS"]

REPORTS = "cuready.network"
"""Key of ``Snapshot.plugin_facts``: a list of ladder reports, each with ``tool``, ``role``
(``main`` or ``extra``) and ``source`` (the file or variable that names the address)."""


@check("NET01", systems=())
def main_source_fails(snapshot: Snapshot) -> Outcome:
    """A source that an installer cannot do without."""
    return _failing(snapshot, "NET01", "main")


@check("NET02", systems=())
def extra_source_fails(snapshot: Snapshot) -> Outcome:
    """A source beside others."""
    return _failing(snapshot, "NET02", "extra")


def _failing(snapshot: Snapshot, check_id: str, role: str) -> Outcome:
    reports = snapshot.plugin_facts.get(REPORTS)
    if not isinstance(reports, (list, tuple)):
        return Skipped("not asked for: --network climbs to the configured sources")
    mine = [x for x in reports if isinstance(x, Mapping) and x.get("role") == role]
    if not mine:
        return Skipped("no such source is configured")
    return list(_findings(check_id, mine))


def _findings(check_id: str, reports: list[Mapping[str, Any]]) -> Iterator[Finding]:
    for report in reports:
        if report.get("ok"):
            continue
        url, tool = str(report.get("url")), str(report.get("tool"))
        detail = str(report.get("detail") or report.get("cause"))
        climbed = report.get("rungs")
        rungs = climbed if isinstance(climbed, (list, tuple)) else ()
        rungs = [x for x in rungs if isinstance(x, Mapping)]
        says = str(report.get("conda_says" if tool == "conda" else "pip_says") or "")
        yield catalogue.finding(
            check_id,
            subject=url,
            title=f"{tool} cannot use {url}: {report.get('title') or detail}",
            cause=f"{detail.rstrip('.')}." + (f" {tool} says: {says.rstrip('.')}." if says else ""),
            evidence=[
                Evidence(str(report.get("source")), f"names {url}"),
                *(Evidence(f"rung {x.get('name')}", str(x.get("detail"))) for x in rungs),
            ],
            fix=[Fix(("cuready mirror test",), str(report.get("hint") or "rank the mirrors"))],
        )
