"""``cuready weights``: model weights into a framework's own cache."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cuready._util import format_bytes
from cuready.cli import _common
from cuready.errors import InputError

if TYPE_CHECKING:
    from cuready.mirrors.weights import Placed, WeightsJob

__all__ = ["weights"]


@click.group()
def weights() -> None:
    """Model weights, placed where torch, keras, insightface and huggingface look for them."""


@weights.command()
@click.argument("what", metavar="URL|FILE", nargs=-1, required=True)
@click.option(
    "--for",
    "target",
    callback=_common.not_empty,
    metavar="TARGET",
    help="torch-hub, torchvision, insightface, keras, huggingface, or a folder. "
    "Without it, well-known URLs name their own.",
)
@click.option(
    "--sha256",
    callback=_common.not_empty,
    metavar="HEX",
    help="The file's digest (one URL or file only).",
)
@click.option(
    "--as",
    "origin",
    callback=_common.not_empty,
    metavar="URL",
    help="For a local file: the URL that the framework would fetch.",
)
@click.option(
    "--name",
    callback=_common.not_empty,
    help="File name there; for insightface the model pack's name.",
)
@click.option("--subdir", default="models", show_default=True, help="keras: its cache_subdir.")
@click.option(
    "--mirror",
    "mirrors",
    callback=_common.not_empty,
    multiple=True,
    metavar="URL",
    help="A host with the same paths, asked first (may be repeated).",
)
@click.option(
    "--jobs", type=click.IntRange(1, 16), default=4, show_default=True, help="Files at once."
)
@click.option(
    "--refresh", is_flag=True, help="Accept that a URL's content changed since first seen."
)
@click.option(
    "--force", is_flag=True, help="Replace another file, or an insightface pack, that is there."
)
@_common.format_option()
def fetch(
    what: tuple[str, ...],
    target: str | None,
    sha256: str | None,
    origin: str | None,
    name: str | None,
    subdir: str,
    mirrors: tuple[str, ...],
    jobs: int,
    refresh: bool,
    force: bool,
    output_format: str,
) -> int:
    """Fetch weights, verify them, and put them where code looks.

    URL is fetched (resumed where an earlier run stopped). FILE is a text file with one URL a line,
    each with its sha256 behind it where known, or a weights file that is here already.
    """
    from cuready.mirrors.net.cache import Cache
    from cuready.mirrors.net.client import HttpClient
    from cuready.mirrors.net.fetch import Fetcher
    from cuready.mirrors.net.progress import TerminalProgress
    from cuready.mirrors.weights import fetch_weights, read_digest

    _check_addresses(origin, mirrors)
    digest = read_digest(sha256) if sha256 else ""
    common = {"name": name or "", "subdir": subdir, "mirrors": mirrors, "force": force}
    found: list[WeightsJob] = []
    for item in what:
        found += _jobs_of(item, target, digest, origin or "", common)
    if len(found) > 1 and (sha256 or name or origin):
        raise click.UsageError(
            "--sha256, --name and --as are for one file; a list has its own digests"
        )
    with HttpClient() as client, TerminalProgress() as progress:
        fetcher = Fetcher(client, Cache(), on_progress=progress)
        placed = fetch_weights(fetcher, found, parallel=jobs, refresh=refresh)
    if output_format == "json":
        _common.emit_json(_common.document({"files": [one.to_dict() for one in placed]}))
    else:
        _print(placed)
    return _common.EXIT_OK


def _check_addresses(origin: str | None, mirrors: tuple[str, ...]) -> None:
    """See that they are addresses, before anything is asked. Raises InputError."""
    from cuready.mirrors.net.request import Source

    for url in (*mirrors, *([origin] if origin else [])):
        Source(url)


def _jobs_of(
    item: str, target: str | None, sha256: str, origin: str, common: dict[str, object]
) -> list[WeightsJob]:
    """The jobs that one argument stands for: a URL, a list of URLs, or a file to place."""
    from cuready.mirrors.weights import WeightsJob, read_url_list

    is_url = item[:8].lower().startswith(("http://", "https://"))
    if not is_url and not Path(item).is_file():
        raise InputError(f"neither a URL nor a file: {item!r}", hint="URLs begin with https://")
    path = Path(item)
    urls = None if is_url else read_url_list(_text(path), str(path))
    if origin and (is_url or urls is not None):
        raise InputError("--as goes with a file that is here already, and not with a URL")
    if is_url:
        return [WeightsJob(item, _target(item, target), sha256=sha256, **common)]  # type: ignore[arg-type]
    if urls is not None:
        return [
            WeightsJob(url, _target(url, target), sha256=digest or sha256, **common)  # type: ignore[arg-type]
            for url, digest in urls
        ]
    url = origin or path.resolve().as_uri()
    place = _target(url, target)
    if place == "huggingface" and not origin:
        raise InputError(f"which repository is {path} of?", hint="name its URL with --as")
    return [WeightsJob(url, place, local=path, sha256=sha256, **common)]  # type: ignore[arg-type]


def _text(path: Path) -> str:
    """The file when it can be a list of URLs (text, up to a megabyte), else nothing."""
    try:
        with path.open("rb") as stream:
            head = stream.read(1024 * 1024)
            if stream.read(1):
                return ""
            if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # PowerShell's `>`
                return head.decode("utf-16")
            return "" if b"\0" in head else head.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _target(url: str, target: str | None) -> str:
    from cuready.mirrors.weights import TARGETS, target_of

    known = ", ".join(TARGETS)
    if target is None:
        target = target_of(url)
        if not target:
            raise InputError(f"for whom is {url}?", hint=f"say --for {known} or a folder")
        return target
    if target in TARGETS or "/" in target or Path(target).is_dir() or target in (".", ".."):
        return target
    raise InputError(
        f"--for {target}: not a framework that is known, and not a folder",
        hint=f"one of {known}; a folder is written with a slash (./{target})",
    )


def _print(placed: list[Placed]) -> None:
    for one in placed:
        download = one.download
        how = "here already" if download is None or download.cached else f"from {download.mirror}"
        click.echo(f"{one.path}")
        click.echo(f"  {format_bytes(one.size)}, {how}, sha256 {one.sha256} ({one.verified})")
        for attempt in download.attempts if download is not None else ():
            if attempt.cause is not None:
                click.echo(f"  {attempt.line()}", err=True)
        for note in one.notes:
            click.echo(f"  note: {note}")
