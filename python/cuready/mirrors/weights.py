"""`cuready weights fetch`: model weights into a framework's own cache, through mirrors.

Code that would download them at its first run then finds them and does not. Where each framework
looks is in ``weights_layout``; which hosts have mirrors is data (``net/data/weights.toml``).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache as memoize
from pathlib import Path
from typing import Any

from cuready._util import data_text, expand_user, tomllib
from cuready.errors import InputError, MirrorError
from cuready.mirrors import weights_layout as layout
from cuready.mirrors import weights_place as places
from cuready.mirrors.net.batch import fetch_all
from cuready.mirrors.net.cancel import CancelToken
from cuready.mirrors.net.client import Failure, HttpClient
from cuready.mirrors.net.fetch import Fetcher, failure_of
from cuready.mirrors.net.request import (
    EMPTY_SHA256,
    Attempt,
    Download,
    DownloadRequest,
    FileKind,
    Source,
    Verified,
)
from cuready.mirrors.urls import redact, split_url

__all__ = ["TARGETS", "Placed", "WeightsJob", "fetch_weights", "read_digest", "read_url_list"]

TARGETS = ("torch-hub", "torchvision", "insightface", "keras", "huggingface")
_HUGGINGFACE = "https://huggingface.co/"
# ETags that Hugging Face gives for no bytes: of a large file, and git's of a small one.
_EMPTY = (EMPTY_SHA256, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
_LIST_LINE = re.compile(r"((?i:https?)://\S+)(?:\s+(?:sha256[=:])?([0-9a-fA-F]{64}))?\Z")
_DIGEST = re.compile(r"(?:sha256[=:])?([0-9a-f]{64})\Z")


@dataclass(frozen=True)
class WeightsJob:
    """One file to fetch or to place.

    Attributes:
        url: where it comes from; for a local file, where it would have come from (names its place).
        target: one of TARGETS or a folder.
        local: a file that is here already.
        sha256: its digest, when known.
        name: the file's name there, when not the URL's; for insightface the pack's.
        subdir: keras' ``cache_subdir``.
        mirrors: base URLs to try as well, before the official host.
        force: replace what is there, which is another file or an unpacked pack.
    """

    url: str
    target: str
    local: Path | None = None
    sha256: str = ""
    name: str = ""
    subdir: str = "models"
    mirrors: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True)
class Placed:
    """Where a file went, and how it got here."""

    url: str
    target: str
    path: Path
    sha256: str
    size: int
    verified: str
    download: Download | None = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "url": self.url,
            "target": self.target,
            "path": str(self.path),
            "sha256": self.sha256,
            "size": self.size,
            "verified": self.verified,
            "notes": list(self.notes),
            "download": None if self.download is None else self.download.to_dict(),
        }


@dataclass(frozen=True)
class _Host:
    origin: str
    mirrors: tuple[str, ...]
    target: str


@memoize
def _hosts() -> tuple[_Host, ...]:
    text = data_text("cuready.mirrors.net", "data/weights.toml")
    entries = tomllib.loads(text)["host"]
    return tuple(_Host(e["origin"], tuple(e["mirrors"]), e["target"]) for e in entries)


def target_of(url: str) -> str:
    """The target that a well-known URL means; empty when it means none."""
    for host in _hosts():
        if any(url.startswith(base) for base in (host.origin, *host.mirrors)):
            return host.target
    return ""


def read_digest(text: str) -> str:
    """64 hexadecimal digits, with ``sha256:`` before them or not. Raises InputError."""
    match = _DIGEST.match(text.strip().lower())
    if match is None:
        raise InputError(f"not a sha256: {text!r}", hint="64 hexadecimal digits")
    return match[1]


def read_url_list(text: str, origin: str = "the list") -> list[tuple[str, str]] | None:
    """(URL, sha256 or empty) per line; None when ``text`` is no list of URLs.

    A line is ``URL``, ``URL sha256=HEX`` or ``URL HEX``; ``#`` begins a comment.
    """
    lines = [(n, line.split(" #")[0].strip()) for n, line in enumerate(text.splitlines(), start=1)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    if text and not lines:
        raise InputError(
            f"{origin} names no URL", hint="write one URL a line, or name a weights file"
        )
    if not lines or not lines[0][1].lower().startswith(("http://", "https://")):
        return None
    found: list[tuple[str, str]] = []
    for number, line in lines:
        match = _LIST_LINE.match(line)
        if match is None:
            raise InputError(
                f"{origin}, line {number}: not a URL with an optional sha256: {line[:80]}",
                hint="write one URL a line, and after it sha256=HEX where known",
            )
        found.append((match[1], (match[2] or "").lower()))
    return found


# --- sources --------------------------------------------------------------------------------------


def sources_of(job: WeightsJob, environ: Mapping[str, str] | None = None) -> tuple[Source, ...]:
    """Where the file may be, in order: the user's mirrors, HF_ENDPOINT, origin, known mirrors.

    A token (``HF_TOKEN``) goes to huggingface.co and HF_ENDPOINT only, never to a mirror.
    """
    env = os.environ if environ is None else environ
    host = next((h for h in _hosts() if job.url.startswith((h.origin, *h.mirrors))), None)
    if host is None:
        parts = split_url(job.url)
        rest = job.url[len(f"{parts.scheme}://{parts.netloc}/") :]
        urls = [*(_slash(b) + rest for b in job.mirrors), job.url]
        return tuple(Source(url) for url in dict.fromkeys(urls))
    base = next(b for b in (host.origin, *host.mirrors) if job.url.startswith(b))
    rest = job.url[len(base) :]
    own = [env["HF_ENDPOINT"]] if host.origin == _HUGGINGFACE and env.get("HF_ENDPOINT") else []
    bases = [_slash(b) for b in (*job.mirrors, *own, host.origin, *host.mirrors)]
    trusted = {_HUGGINGFACE, *(_slash(b) for b in own)}
    token = env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN") or ""
    return tuple(
        Source(
            b + rest, headers={"Authorization": f"Bearer {token}"} if token and b in trusted else {}
        )
        for b in dict.fromkeys(bases)
    )


def _slash(base: str) -> str:
    return base if base.endswith("/") else base + "/"


# --- fetching and placing ----------------------------------------------------------------------


def fetch_weights(
    fetcher: Fetcher,
    jobs: Sequence[WeightsJob],
    *,
    parallel: int | None = None,
    cancel: CancelToken | None = None,
    refresh: bool = False,
) -> list[Placed]:
    """Fetch every job's file, verify it, and put it where its framework looks.

    Nothing is placed before everything is fetched, and every place is free or may be taken.
    Raises MirrorError, InputError, CacheError.
    """
    prepared = [_prepare(fetcher.client, job) for job in jobs]
    _check_places(jobs)
    for item in prepared:
        _check_place(fetcher, item)
    wanted = [item.request for item in prepared if item.request is not None]
    downloads = iter(
        fetch_all(fetcher, wanted, jobs=parallel, cancel=cancel, refresh=refresh) if wanted else []
    )
    here = [
        (item, next(downloads) if item.request is not None else _adopt(fetcher, item))
        for item in prepared
    ]
    there = [_is_there(fetcher, item, download.sha256) for item, download in here]
    return [
        _place(fetcher, item, download, same)
        for (item, download), same in zip(here, there, strict=True)
    ]


def _check_place(fetcher: Fetcher, item: _Prepared) -> None:
    """What can be told before anything is fetched. Raises InputError."""
    job = item.job
    if job.target == "insightface":
        layout.check_pack(_folder(job) / _name(job), replace=job.force)
    elif job.sha256:
        _is_there(fetcher, item, job.sha256)
    elif job.target != "huggingface":
        places.occupied(_folder(job) / _name(job))


def _is_there(fetcher: Fetcher, item: _Prepared, sha256: str) -> bool:
    """Whether the very file is in its place. Raises InputError when another one would be lost."""
    job = item.job
    if job.target in ("huggingface", "insightface"):  # by content, and unpacked
        return False
    place = _folder(job) / _name(job)
    return places.holds(fetcher.cache, place, sha256, prefix=_name_says(job), force=job.force)


def _name_says(job: WeightsJob) -> str:
    """How the sha256 begins, by the name that torch gives the file; mostly empty."""
    torch = job.target in ("torch-hub", "torchvision")
    return layout.expected_prefix(_name(job)) if torch else ""


def _check_places(jobs: Sequence[WeightsJob]) -> None:
    """Two files of one name and folder: the later one would take the place of the first."""
    seen: dict[Path, str] = {}
    for job in jobs:
        if job.target != "huggingface":  # whose paths are those of the repository
            place = _folder(job) / _name(job)
            other = seen.setdefault(place, job.url)
            if other != job.url:
                raise InputError(
                    f"{redact(other)} and {redact(job.url)} would both be {place}",
                    hint="fetch one at a time, with --name or another --for",
                )


@dataclass(frozen=True)
class _Prepared:
    job: WeightsJob
    request: DownloadRequest | None
    file: layout.HuggingFaceFile | None = None
    commit: str = ""
    etag: str = ""


def _prepare(client: HttpClient, job: WeightsJob) -> _Prepared:
    job = replace(job, sha256=job.sha256.lower())
    if job.target == "huggingface":
        return _prepare_huggingface(client, job)
    sources = sources_of(job) if job.local is None else ()  # an address that is none is told first
    _name(job)  # a wrong one is told before anything is fetched
    if job.local is not None:
        return _Prepared(job, None)
    request = DownloadRequest(
        sources,
        sha256=job.sha256,
        kind=FileKind.WEIGHTS,
        sha256_prefix="" if job.sha256 else _name_says(job),
        canonical_url=job.url,
    )
    return _Prepared(job, request)


def _prepare_huggingface(client: HttpClient, job: WeightsJob) -> _Prepared:
    """Ask for commit and ETag, which name the file's places; of LFS files it is the sha256."""
    if job.name:
        raise InputError(
            "--name does not go with huggingface: the repository names its files",
            hint="--for a folder takes a name",
        )
    file = layout.parse_huggingface(job.url)
    if file is None:
        raise InputError(
            f"not a file of a Hugging Face repository: {job.url}",
            hint="copy the download link: https://huggingface.co/ORG/NAME/resolve/REVISION/FILE",
        )
    url = re.sub(r"/(blob|raw)/", "/resolve/", job.url, count=1)
    job = replace(job, url=url)
    sources = sources_of(job)
    head = _head(client, job, sources)
    etag, size = head["etag"], head["size"]
    if size == 0 and etag not in _EMPTY:
        size = None  # a length of 0 is also what a HEAD of a broken server says
    digest = job.sha256 or (etag if re.fullmatch(r"[0-9a-f]{64}", etag) else "")
    request = None
    if job.local is None:
        request = DownloadRequest(
            sources,
            sha256=digest,
            size=size,
            kind=FileKind.WEIGHTS,
            canonical_url=_HUGGINGFACE + split_url(url).path.lstrip("/"),
        )
    return _Prepared(replace(job, sha256=digest), request, file, head["commit"], etag)


def _head(client: HttpClient, job: WeightsJob, sources: Sequence[Source]) -> dict[str, Any]:
    """``X-Repo-Commit``, ``X-Linked-Etag`` or ``ETag``, and size: of the first that says them.

    The headers are on the first answer, before the redirect to the storage
    (huggingface_hub/file_download.py, ``get_hf_file_metadata``).
    """
    attempts: list[Attempt] = []
    for source in sources:
        try:
            with client.open(source.url, method="HEAD", headers=source.headers) as reply:
                headers = reply.first.headers
                commit = headers.get("x-repo-commit", "")
                linked = headers.get("x-linked-etag", "")
                etag = (linked or headers.get("etag", "")).removeprefix("W/").strip('"')
                if reply.status == 200 and commit and etag:
                    length = headers.get("x-linked-size") or reply.response.headers.get(
                        "content-length", ""
                    )
                    return {
                        "commit": commit,
                        "etag": etag,
                        "size": int(length) if re.fullmatch(r"[0-9]{1,19}", length) else None,
                    }
                cause = _status_cause(reply.status)
                said = f"HTTP {reply.status}, and no X-Repo-Commit header"
                attempts.append(
                    Attempt(source.mirror, source.url, cause, said, status=reply.status)
                )
        except Failure as failure:
            attempts.append(Attempt(source.mirror, source.url, failure.cause, failure.detail))
    request = DownloadRequest(tuple(sources), canonical_url=job.url, kind=FileKind.WEIGHTS)
    raise failure_of(request, attempts)


def _status_cause(status: int) -> Any:
    from cuready.mirrors.net.causes import Cause
    from cuready.mirrors.net.classify import cause_of_status

    return cause_of_status(status) or Cause.WRONG_CONTENT


def _adopt(fetcher: Fetcher, item: _Prepared) -> Download:
    """A local file into the cache, checked against whatever is known of it."""
    job = item.job
    assert job.local is not None  # noqa: S101 - the caller saw to it
    try:
        size = job.local.stat().st_size
        digest = _copy_into_cache(fetcher, job.local, size)
    except OSError as error:
        raise InputError(f"cannot read {job.local}: {error.strerror or error}") from error
    prefix = _name_says(job)
    if (job.sha256 and digest != job.sha256) or not digest.startswith(prefix):
        expected = job.sha256 or prefix
        raise MirrorError(
            f"{job.local}: sha256 is {digest}, not {expected}",
            hint="the file is damaged or another one; fetch it again",
        )
    if digest == EMPTY_SHA256 and not (job.sha256 or prefix or item.etag in _EMPTY):
        raise MirrorError(
            f"{job.local} is empty: neither weights nor a list of URLs",
            hint=f"copy it again; if 0 bytes are right, say --sha256 {EMPTY_SHA256}",
        )
    ground = (
        Verified.SHA256 if job.sha256 else Verified.SHA256_PREFIX if prefix else Verified.FIRST_USE
    )
    return Download(job.local.name, fetcher.cache.path_of(digest), digest, size, ground)


def _copy_into_cache(fetcher: Fetcher, source: Path, size: int) -> str:
    """sha256 of ``source``, whose bytes are then in the cache."""
    import shutil
    import tempfile

    fetcher.cache.prepare(size)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=fetcher.cache.partial_dir, delete=False) as copy:
        path = Path(copy.name)
        try:
            with source.open("rb") as stream:
                shutil.copyfileobj(stream, copy, 1024 * 1024)
            copy.flush()
            with path.open("rb") as again:
                while chunk := again.read(1024 * 1024):
                    digest.update(chunk)
            fetcher.cache.publish(path, digest.hexdigest())
        finally:
            path.unlink(missing_ok=True)
    return digest.hexdigest()


def _place(fetcher: Fetcher, item: _Prepared, download: Download, same: bool) -> Placed:
    job = item.job
    notes: list[str] = []
    if same:
        notes.append("it was in its place already, and is left as it was")
    if download.verified is Verified.FIRST_USE and job.local is None:
        notes.append(
            "nothing was known to check it against: its sha256 is recorded now; give --sha256"
        )
    if job.target == "huggingface" and item.file is not None:
        path = layout.place_huggingface(
            fetcher.cache,
            download.sha256,
            item.file,
            commit=item.commit,
            etag=item.etag,
            root=layout.huggingface_cache(),
        )
    elif job.target == "insightface":
        root = layout.insightface_home()
        path = layout.place_insightface(download.path, _name(job), root=root, replace=job.force)
    else:
        path = _folder(job) / _name(job)
        if not same:
            fetcher.cache.place(download.sha256, path)
    return Placed(
        job.url,
        job.target,
        path,
        download.sha256,
        download.size,
        download.verified.value,
        None if job.local is not None else download,
        tuple(notes),
    )


def _folder(job: WeightsJob) -> Path:
    if job.target in ("torch-hub", "torchvision"):
        return layout.torch_hub_checkpoints()
    if job.target == "insightface":
        return layout.insightface_home() / "models"
    if job.target == "keras":
        return layout.keras_home() / job.subdir
    return expand_user(job.target)


def _name(job: WeightsJob) -> str:
    """What a file is called where it goes; for insightface the pack. Raises InputError."""
    name = job.name or layout.file_name(job.url)
    if job.target == "insightface" and not job.name:
        name = name.removesuffix(".zip")
    return layout.checked_name(name)
