"""After a total failure: climb the ladder for the mirrors that gave no HTTP answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

from cuready.errors import MirrorError
from cuready.mirrors.net.causes import CAUSES, Cause
from cuready.mirrors.net.client import HttpClient
from cuready.mirrors.net.ladder import LadderReport, diagnose

__all__ = ["add_diagnosis"]

_MOST = 6  # climbs; a seventh dead mirror teaches nothing new


def add_diagnosis(client: HttpClient, errors: Sequence[MirrorError]) -> None:
    """Put ``details["diagnosis"]`` and one line per climb into each error. Takes bounded time."""
    if not client.options.diagnose:
        return
    wanted: dict[str, str] = {}
    for error in errors:
        for attempt in error.details.get("attempts", []):
            cause = attempt["cause"]
            if cause is not None and CAUSES[Cause(cause)].transport:
                wanted.setdefault(_origin(attempt["url"]), attempt["url"])
    reports = _climb_all(list(wanted.values())[:_MOST], client)
    for error in errors:
        _add(error, reports)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _climb_all(urls: Sequence[str], client: HttpClient) -> dict[str, LadderReport]:
    reports: dict[str, LadderReport] = {}
    limit = client.options.diagnose_seconds
    context = client.ssl_context

    def climb(url: str) -> None:
        reports[_origin(url)] = diagnose(
            url,
            seconds=limit,
            step_seconds=min(limit, client.options.connect_timeout),
            context=context,
        )

    threads = [threading.Thread(target=climb, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit + 1)
    return dict(reports)


def _add(error: MirrorError, reports: dict[str, LadderReport]) -> None:
    causes: dict[str, set[str]] = {}
    for attempt in error.details.get("attempts", []):
        causes.setdefault(_origin(attempt["url"]), set()).add(attempt["cause"])
    mine = [(origin, report) for origin, report in reports.items() if origin in causes]
    error.details["diagnosis"] = [report.to_dict() for _, report in mine]
    lines = [
        f"{urlsplit(report.url).netloc}: {report.rungs[-1].name}: {report.detail}"
        for origin, report in mine
        if _says_more(report, causes[origin])
    ]
    error.messages = (*error.messages, *lines)


def _says_more(report: LadderReport, known: set[str]) -> bool:
    """Another cause than the download saw, or the certificate that it did not."""
    if report.cause is None:
        return False
    return report.cause.value not in known or "certificate" in report.rungs[-1].evidence
