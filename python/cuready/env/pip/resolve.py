"""From requirements to exact files: uv resolves them for a Python that need not exist yet."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuready._util import one_line, tomllib
from cuready.env.pip.indexes import PYPI, Way, canonical
from cuready.env.pip.model import Pin, PipLock
from cuready.env.pip.tags import best_wheel, ranks, uv_platform
from cuready.env.pip.uv import run_uv
from cuready.env.target import Target
from cuready.errors import EnvError, MirrorError, SolveError
from cuready.mirrors.net.trust import proxy_for
from cuready.mirrors.urls import redact

__all__ = ["PipRequest", "resolve"]

_NO_WHEEL = re.compile(r"([a-z0-9-]+)==\S+ has no usable wheels")


@dataclass(frozen=True)
class PipRequest:
    """What is asked of the resolver.

    Attributes:
        python: ``"3.12"``.
        present: packages that the conda half brings, by name: they bind the resolver and are not
            installed again.
    """

    requirements: tuple[str, ...]
    python: str
    target: Target
    only_binary: bool = True
    present: Mapping[str, str] | None = None
    recipe: str = ""
    torch_index: str = ""


def resolve(
    request: PipRequest,
    every: Sequence[Way],
    *,
    offline: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> PipLock:
    """Ask each way in turn until one gives an answer.

    A mirror may be dead, stale or a login page, so its answer "there is no such version" counts
    only when no later way has a better one; PyPI's own counts.

    Raises SolveError with the resolver's reasons when an index
    answered and nothing fits, MirrorError when none could be asked, MissingExtra without uv.
    """
    failures: list[tuple[Way, str]] = []
    silent: set[str] = set()
    for number, way in enumerate(every):
        if silent & {way.torch, *way.extra}:
            continue  # it leads to an index that has just not answered, and nobody copies that one
        output, error = _ask_without_sources(request, way, offline)
        if output is not None:
            return _lock(request, output, way)
        failures.append((way, error))
        final = "No solution found" in error and not _unreachable(error)
        if offline or (final and way.pypi == PYPI):
            break  # PyPI itself knows no such version: no copy of it does
        if not final:
            silent |= {url for url in (way.torch, *way.extra) if url and url in error}
        following = [item for item in every[number + 1 :] if not silent & {item.torch, *item.extra}]
        if following:
            say(f"{way.name}: {one_line(_last_line(error))}; asking {following[0].name}")
    raise _failure(request, failures, offline)


def _ask_without_sources(
    request: PipRequest, way: Way, offline: bool
) -> tuple[dict[str, Any] | None, str]:
    """Ask; leave out what the conda half brings and PyPI has as source code only, and ask again.

    tensorflow 2.4 wants termcolor 1.1, which never had a wheel: there is nothing to build when
    conda's own is there already.
    """
    left_out: set[str] = set()
    while True:
        with tempfile.TemporaryDirectory(prefix="cuready-") as folder:
            output, error = _ask(request, way, Path(folder), offline, left_out)
        sources = set(_NO_WHEEL.findall(error)) & set(request.present or ()) - left_out
        if output is not None or not sources:
            return output, error
        left_out |= sources


def _ask(
    request: PipRequest, way: Way, folder: Path, offline: bool, left_out: set[str]
) -> tuple[dict[str, Any] | None, str]:
    """The resolver's answer as pylock data, or None and what it printed."""
    arguments = [
        *("pip", "compile", "requirements.in", "--quiet", "--no-header", "--no-annotate"),
        *("--format", "pylock.toml", "--output-file", "pylock.toml"),
        *("--python", sys.executable, "--python-version", request.python),
        *("--python-platform", uv_platform(request.target)),
        *("--default-index", way.pypi),
        *(item for url in (way.torch, *way.extra) if url for item in ("--index", url)),
        *(("--only-binary", ":all:") if request.only_binary else ()),
        *(("--offline",) if offline else ()),
    ]
    (folder / "requirements.in").write_text("\n".join(request.requirements) + "\n", "utf-8")
    if request.present:
        pins = (f"{name}=={version}" for name, version in sorted(request.present.items()))
        (folder / "present.txt").write_text("\n".join(pins) + "\n", "utf-8")
        arguments += ["--constraints", "present.txt"]
    if left_out:
        (folder / "excludes.txt").write_text("\n".join(sorted(left_out)) + "\n", "utf-8")
        arguments += ["--excludes", "excludes.txt"]
    done = run_uv(arguments, cwd=folder)
    if done.returncode != 0:
        return None, done.stderr.strip() or f"uv ended with {done.returncode}"
    return tomllib.loads((folder / "pylock.toml").read_text("utf-8")), ""


def _lock(request: PipRequest, document: Mapping[str, Any], way: Way) -> PipLock:
    wanted = ranks(request.python, request.target)
    present = request.present or {}
    pins = []
    for table in document.get("packages", ()):
        name, version = str(table["name"]), str(table.get("version", ""))
        if present.get(name) == version:
            continue
        pins.append(_pin(name, version, list(_files(table)), wanted, way))
    return PipLock(
        pins=tuple(sorted(pins, key=lambda pin: pin.name)),
        python=request.python,
        platform_tag=request.target.platform_tag,
        recipe=request.recipe,
        requirements=request.requirements,
        torch_index=request.torch_index,
    )


def _files(table: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from table.get("wheels", ())
    if "sdist" in table:
        yield table["sdist"]


def _pin(name: str, version: str, files: list[Mapping[str, Any]], wanted: Any, way: Way) -> Pin:
    """The file of one package that fits best; a source distribution only when no wheel does."""
    pins = {}
    for file in files:
        hashes = file.get("hashes", {})
        if "url" in file:
            url = canonical(str(file["url"]), way)
            pin = Pin(name, version, url, str(hashes.get("sha256", "")), file.get("size"))
            pins[pin.file_name] = pin
    best = best_wheel([item for item in pins if item.endswith(".whl")], wanted)
    if best is not None:
        return pins[best]
    sources = [pin for pin in pins.values() if not pin.is_wheel]
    if not sources:
        raise EnvError(f"{name} {version} has no file that can be fetched by its address")
    return sources[0]


# --- why nothing was found -----------------------------------------------------------------------


def _last_line(error: str) -> str:
    """The cause, which uv prints last, and the address that it was about."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    cause = lines[-1].removeprefix("cause:").removeprefix("Caused by:").strip() if lines else error
    address = re.search(r"https?://[^\s`)]+", error)
    return f"{redact(address[0])}: {cause}" if address and address[0] not in cause else cause


def _failure(
    request: PipRequest, failures: Sequence[tuple[Way, str]], offline: bool
) -> EnvError | MirrorError | SolveError:
    wanted = ", ".join(request.requirements)
    for way, error in reversed(failures):
        if "No solution found" in error and not _unreachable(error):
            return SolveError(
                f"no set of wheels for Python {request.python} satisfies {one_line(wanted, 120)}",
                messages=_reasons(error),
                hint="" if not offline else "without --offline newer wheels can be asked for",
                details={"index": redact(way.pypi)},
            )
    if offline:
        return EnvError(
            f"what {one_line(wanted, 120)} means cannot be found out offline",
            hint="use --locked, or run once with the network",
        )
    attempts = [
        {
            "mirror": way.name,
            "url": redact(way.pypi),
            "detail": one_line(_last_line(error)) + _through(way.pypi),
        }
        for way, error in failures
    ]
    return MirrorError(
        "no index could be asked for the wheels",
        messages=[f"{item['mirror']}: {item['detail']}" for item in attempts],
        hint="`cuready mirror test` says which index answers, and why the others do not",
        details={"attempts": attempts},
    )


def _through(url: str) -> str:
    """uv names the index also where it was the proxy that refused or could not be found."""
    proxy = proxy_for(url)
    return f" (asked through the proxy {redact(proxy)})" if proxy else ""


def _unreachable(error: str) -> bool:
    return re.search(r"network was disabled|Could not connect|Failed to fetch", error) is not None


def _reasons(error: str) -> list[str]:
    """The resolver's words without its drawing characters, one line a reason."""
    text = re.sub(r"[╰│├─▶×]+", " ", error)
    folded = re.sub(r"\s+", " ", text.partition("No solution found")[2])
    reason = folded.partition(":")[2].strip() or folded.strip()
    return [part.strip() for part in re.split(r"(?<=\.) (?=And|Because|So|hint:)", reason) if part]
