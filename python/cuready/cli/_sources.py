"""The package sources that conda, pip and uv are configured to use here, and a climb to each."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cuready.mirrors import effective, urls
from cuready.mirrors.effective import Effective, Origin
from cuready.mirrors.locations import Machine
from cuready.mirrors.net.ladder import ProbeKind, diagnose

__all__ = ["Configured", "climb_all", "configured"]

CLIMB_S, STEP_S = 12.0, 5.0
MOST = 12
_OFFICIAL_CONDA = "https://repo.anaconda.com/pkgs/main"


@dataclass(frozen=True)
class Configured:
    """One address. ``role``: ``main`` (nothing works without it) or ``extra``."""

    tool: str
    url: str
    kind: ProbeKind
    role: str
    source: str  # the file or variable that names it


def configured(machine: Machine | None = None) -> list[Configured]:
    """Every source of pip, of uv where it is set up, and of conda where there is one."""
    machine = machine or Machine.current()
    found = [*_pip(effective.read("pip", machine))]
    uv = effective.read("uv", machine)
    if uv.files or uv.variables:
        found += _uv(uv)
    conda = effective.read("conda", machine)
    if conda.files or conda.variables or shutil.which("conda"):
        found += _conda(conda)
    once = {item.url: item for item in reversed(found) if urls.is_url(item.url)}
    return sorted(once.values(), key=found.index)[:MOST]


def _words(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else [str(item) for item in value]


def _pip(view: Effective) -> Iterator[Configured]:
    switched_off = view.values.get("no-index") or view.variables.get("PIP_NO_INDEX")
    if switched_off:
        return
    main = view.values["index-url"]
    yield Configured("pip", str(main.value), ProbeKind.PYPI_INDEX, "main", main.source)
    extra = view.values.get("extra-index-url")
    if "PIP_EXTRA_INDEX_URL" in view.variables:
        extra = Origin(view.variables["PIP_EXTRA_INDEX_URL"], "$PIP_EXTRA_INDEX_URL")
    for url in _words(extra.value) if extra else ():
        yield Configured("pip", url, ProbeKind.PYPI_INDEX, "extra", extra.source if extra else "")


def _uv(view: Effective) -> Iterator[Configured]:
    main = view.values["default-index"]
    yield Configured("uv", str(main.value), ProbeKind.PYPI_INDEX, "main", main.source)
    others = view.values.get("index")
    for url in others.value if others else ():
        source = others.source if others else ""
        yield Configured("uv", str(url), ProbeKind.PYPI_INDEX, "extra", source)


def _conda(view: Effective) -> Iterator[Configured]:
    channels: Mapping[str, str] = view.values["addresses"].value
    source = view.values["channels"].source
    role = "main"
    for url in channels.values():
        yield Configured("conda", url, ProbeKind.CONDA_CHANNEL, role, source)
        role = "extra"
    if "defaults" in view.values["channels"].value:
        defaults = view.values["default_channels"]
        for url in defaults.value or [_OFFICIAL_CONDA]:
            yield Configured("conda", str(url), ProbeKind.CONDA_CHANNEL, role, defaults.source)
            role = "extra"


def climb_all(sources: list[Configured]) -> list[dict[str, Any]]:
    """The ladder's report on each source, side by side, addresses without credentials."""
    reports: dict[int, dict[str, Any]] = {}

    def climb(place: int, item: Configured) -> None:
        report = diagnose(item.url, item.kind, seconds=CLIMB_S, step_seconds=STEP_S)
        told = {**report.to_dict(), "url": urls.redact(item.url)}
        reports[place] = {**told, "tool": item.tool, "role": item.role, "source": item.source}

    threads = [
        threading.Thread(target=climb, args=(place, item), daemon=True)
        for place, item in enumerate(sources)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CLIMB_S + 2)
    return [reports[place] for place in sorted(reports)]
