"""Many files at once, with a bound; the calling thread stays free for Ctrl-C."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from cuready.errors import MirrorError
from cuready.mirrors.net.cancel import Cancelled, CancelToken
from cuready.mirrors.net.diagnosis import add_diagnosis
from cuready.mirrors.net.fetch import Fetcher
from cuready.mirrors.net.request import Download, DownloadRequest

__all__ = ["fetch_all", "fetch_one"]

_GRACE = 0.5  # seconds that workers get to close their files after a cancellation


@dataclass
class _Job:
    request: DownloadRequest
    future: Future[Download]


def fetch_all(
    fetcher: Fetcher,
    requests: Sequence[DownloadRequest],
    *,
    jobs: int | None = None,
    cancel: CancelToken | None = None,
    refresh: bool = False,
) -> list[Download]:
    """Fetch every request, at most ``jobs`` at a time; the results are in the requests' order.

    The first file that no mirror gives calls the others off (what they have stays resumable) and
    its MirrorError is raised, with the tries of every file that failed in ``details["files"]``.
    Raises CacheError, Cancelled, and KeyboardInterrupt within a second of Ctrl-C.
    """
    token = cancel or CancelToken()
    queue = deque(_Job(request, Future()) for request in requests)
    work = list(queue)
    wanted = min(jobs or fetcher.options.jobs, len(work))
    lock = threading.Lock()
    # Daemon threads: one that is stuck in name resolution must not hold up the end of the program.
    threads = [
        threading.Thread(
            target=_work,
            args=(fetcher, queue, lock, token, refresh),
            daemon=True,
            name=f"download-{number}",
        )
        for number in range(max(1, wanted))
    ]
    for thread in threads:
        thread.start()
    try:
        _await(threads)
    except BaseException:
        token.cancel()
        for thread in threads:
            thread.join(_GRACE / len(threads))
        raise
    return _results(fetcher, work)


def fetch_one(
    fetcher: Fetcher,
    request: DownloadRequest,
    *,
    cancel: CancelToken | None = None,
    refresh: bool = False,
) -> Download:
    """One file, as ``fetch_all`` does it."""
    return fetch_all(fetcher, [request], jobs=1, cancel=cancel, refresh=refresh)[0]


def _await(threads: Sequence[threading.Thread]) -> None:
    """Join with a timeout: a plain join cannot be interrupted on Windows."""
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)


def _work(
    fetcher: Fetcher, queue: deque[_Job], lock: threading.Lock, token: CancelToken, refresh: bool
) -> None:
    while True:
        with lock:
            if not queue:
                return
            job = queue.popleft()
        try:
            job.future.set_result(fetcher.fetch(job.request, token, refresh=refresh))
        except BaseException as error:
            job.future.set_exception(error)
            token.cancel()
            if not isinstance(error, Exception):
                return


def _results(fetcher: Fetcher, work: Sequence[_Job]) -> list[Download]:
    errors = [job.future.exception() for job in work if job.future.done()]
    real = [error for error in errors if error is not None and not isinstance(error, Cancelled)]
    if real:
        failed = [error for error in real if isinstance(error, MirrorError)]
        if failed and failed[0] is real[0]:
            add_diagnosis(fetcher.client, failed)
            if len(failed) > 1:
                failed[0].details["files"] = [error.to_dict() for error in failed]
        raise real[0]
    if len(errors) < len(work) or any(error is not None for error in errors):
        raise Cancelled
    return [job.future.result() for job in work]
