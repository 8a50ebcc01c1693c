"""Everything that a plan links, verified in the cache and extracted, before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cuready.env.conda.faults import kill_point
from cuready.env.conda.model import Plan, Record
from cuready.env.conda.plan import check_disk
from cuready.env.conda.session import CondaSession
from cuready.env.conda.sources import sources_of
from cuready.errors import EnvError

if TYPE_CHECKING:
    from cuready.mirrors.net.cancel import CancelToken
    from cuready.mirrors.net.request import Download, DownloadRequest

__all__ = ["fetch_plan", "request_for"]


def request_for(record: Record, session: CondaSession) -> DownloadRequest:
    """The download of one package: every mirror, and the digest that it must have."""
    from cuready.mirrors.net.request import DownloadRequest, FileKind

    name = record.file_name
    return DownloadRequest(
        sources_of(record.channel, f"{record.subdir}/{name}", session),
        sha256=record.sha256,
        size=record.size,
        kind=FileKind.of(name),
        canonical_url=record.url,
        name=name,
    )


def fetch_plan(
    plan: Plan, *, session: CondaSession, cancel: CancelToken | None = None, again: bool = False
) -> list[Download]:
    """Fetch, verify and extract what ``plan`` links. Two processes may do this at once.

    ``again`` extracts packages anew that are there already (repair: somebody may have written
    through a hard link). Raises EnvError when a disk is too small or something is missing offline,
    MirrorError when no mirror gives a file; the prefix has not been touched then.
    """
    check_disk(plan)
    ours = session.options.backend == "rattler"  # the others extract for themselves
    again = again or not ours
    needed = [record for record in plan.to_link if again or not session.store.has(record)]
    if not needed:
        downloads: list[Download] = []
    elif session.options.offline:
        downloads = _offline(needed, session)
    else:
        from cuready.mirrors.net.batch import fetch_all  # brings the HTTP client

        requests = [request_for(record, session) for record in needed]
        downloads = fetch_all(session.fetcher, requests, cancel=cancel)
    kill_point("archives-fetched")
    if ours:
        _extract(needed, downloads, session, again)
    return downloads


def _offline(needed: Sequence[Record], session: CondaSession) -> list[Download]:
    from cuready.mirrors.net.request import Download, Verified

    found, missing = [], []
    for record in needed:
        path = session.cache.find(record.sha256)
        if path is None:
            missing.append(record)
            continue
        size = path.stat().st_size
        found.append(Download(record.file_name, path, record.sha256, size, Verified.SHA256))
    if missing:
        raise EnvError(
            f"{len(missing)} of {len(needed)} packages are not in the cache, and --offline was "
            f"said; the first is {missing[0].file_name}",
            messages=[record.url for record in missing[:10]],
            hint="run it once without --offline",
            details={"missing": [record.url for record in missing]},
        )
    return found


def _extract(
    needed: Sequence[Record], downloads: Sequence[Download], session: CondaSession, again: bool
) -> None:
    if not needed:
        return
    session.step(f"extracting {len(needed)} packages")
    session.engine.call(
        "extract",
        lambda event: session.step(f"extracting {event['extracted']}/{event['of']}"),
        packages=[
            {
                "name": record.file_name,
                "archive": str(download.path),
                "sha256": record.sha256,
                "target": str(session.store.folder(record)),
                "again": "yes" if again else "",
            }
            for record, download in zip(needed, downloads, strict=True)
        ],
    )
