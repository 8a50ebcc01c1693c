"""Section 2d, libraries that are opened by name at run time: LIB05, LIB10 and PY20."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from cuready.doctor import catalogue, facts, things
from cuready.doctor.checks.libraries import NOTHING_WALKED, out_of_the_way, owner_name
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Severity
from cuready.doctor.installers import for_package, reinstall
from cuready.doctor.registry import Outcome, Skipped, check
from cuready.snapshot import LibraryFile, Resolution, Snapshot


def _opened_by(snapshot: Snapshot, opener: str) -> list[tuple[LibraryFile, Resolution]]:
    return [
        (library, item)
        for library in snapshot.libraries
        for item in library.dlopens
        if posixpath.basename(item.wanted_by).startswith(opener)
    ]


@dataclass(frozen=True)
class _Hit:
    """One thing that a wrong copy of cuDNN does, and the finding that it would be by itself."""

    place: str  # what brings the copy: the variable, or a folder of the system
    folders: frozenset[str]  # those of the files that do not go together
    brought: tuple[Resolution, ...]
    tell: Callable[[tuple[Fix, ...]], Finding]


@check("LIB05", needs=("libraries",))
def mixed_cudnn(snapshot: Snapshot) -> Outcome:
    """cuDNN's parts, or cuDNN itself, come from another folder than the installed wheel's.

    One place that brings the wrong copy is one finding, of the worst that the copy does.
    """
    if not snapshot.libraries:
        return NOTHING_WALKED
    worst: dict[str, _Hit] = {}
    brought: dict[str, list[Resolution]] = {}
    for hit in (*_foreign_parts(snapshot), *_lacking(snapshot), *_hiding(snapshot)):
        known = hit.place
        if known not in worst:  # the other side of what was told already is no second fault
            known = next((k for k, told in worst.items() if told.folders & hit.folders), known)
        worst.setdefault(known, hit)
        brought.setdefault(known, []).extend(hit.brought)
    return [hit.tell(out_of_the_way(snapshot, *brought[place])) for place, hit in worst.items()]


def _place(how: Resolution) -> str:
    return how.rule if how.rule == "LD_LIBRARY_PATH" else posixpath.dirname(how.path or "")


def _foreign_parts(snapshot: Snapshot) -> Iterator[_Hit]:
    parts = {
        (item.soname, item.path): item
        for _, item in _opened_by(snapshot, "libcudnn.so")
        if item.path and posixpath.dirname(item.path) != posixpath.dirname(item.wanted_by)
        and item.rule != "already loaded"
    }  # fmt: skip
    grouped: dict[str, list[Resolution]] = {}
    for item in parts.values():
        grouped.setdefault(_place(item), []).append(item)
    for place, items in grouped.items():
        folders = frozenset(posixpath.dirname(item.path or "") for item in items)
        yield _Hit(place, folders, tuple(items), partial(_mixed, place, items))


def _lacking(snapshot: Snapshot) -> Iterator[_Hit]:
    for library in snapshot.libraries:
        broken = next((s for s in library.unresolved if s.symbol.startswith("cudnn")), None)
        if broken is None or not library.error_text:
            continue
        how = next((item for item in library.resolutions if item.path == broken.provider), None)
        provider = posixpath.dirname(broken.provider or "")
        yield _Hit(
            _place(how) if how else provider,
            frozenset(filter(None, (provider, posixpath.dirname(broken.wanted_by)))),
            () if how is None else (how,),
            partial(_older, snapshot, library, broken.symbol, broken.provider),
        )


def _hiding(snapshot: Snapshot) -> Iterator[_Hit]:
    for library in snapshot.libraries:
        for item in library.resolutions:
            if item.soname.startswith("libcudnn.so") and _hides_a_wheel(snapshot, item):
                folder = frozenset((posixpath.dirname(item.path or ""),))
                yield _Hit(_place(item), folder, (item,), partial(_hidden, item))


def _hides_a_wheel(snapshot: Snapshot, item: Resolution) -> bool:
    sites = tuple(site + "/" for site in snapshot.python.site_packages)
    return item.rule in ("LD_LIBRARY_PATH", "ld.so.cache", "default") and any(
        path.startswith(sites) for path in item.shadows
    )


def _mixed(place: str, parts: list[Resolution], fix: tuple[Fix, ...]) -> Finding:
    first = parts[0]
    return catalogue.finding(
        "LIB05",
        subject=place,
        title="The parts of cuDNN come from two places",
        cause=f"{first.wanted_by} opens {first.soname} by name, and {first.rule} gives "
        f"{first.path}: parts of two cuDNN releases do not work together.",
        evidence=[Evidence(item.rule, f"{item.soname} => {item.path}") for item in parts[:4]],
        about=[_either(item) for item in parts],
        fix=fix,
    )


def _either(item: Resolution) -> frozenset[str]:
    """What a part of the wrong release may come from: it, its opener, or its loss beside it."""
    return frozenset((item.soname, item.wanted_by, item.path or item.soname))


def _older(
    snapshot: Snapshot,
    library: LibraryFile,
    symbol: str,
    provider: str | None,
    fix: tuple[Fix, ...],
) -> Finding:
    return catalogue.finding(
        "LIB05",
        subject=posixpath.dirname(provider or "") or "cudnn",
        cause=f"{library.path} needs {symbol}, and {provider or 'the cuDNN found'} lacks it.",
        evidence=[Evidence(library.path, library.error_text or "")],
        about=[things.owner(snapshot, library) | ({provider} if provider else frozenset())],
        fix=fix,
    )


def _hidden(item: Resolution, fix: tuple[Fix, ...]) -> Finding:
    return catalogue.finding(
        "LIB05",
        subject=_place(item),
        severity=Severity.WARNING,
        confidence=Confidence.LIKELY,
        cause=f"{item.rule} gives {item.path} for {item.soname}, before {item.shadows[0]} of the "
        "installed wheel. When it is older than that, torch reports a version incompatibility.",
        evidence=[Evidence(item.rule, f"{item.soname} => {item.path}")],
        about=things.each([item.path or item.soname]),  # the wheel's may be as whole as can be
        fix=fix,
    )


@check("LIB10", needs=("libraries",))
def nvrtc_without_builtins(snapshot: Snapshot) -> Outcome:
    """libnvrtc is there, and the builtins of its own release are not."""
    if not snapshot.libraries:
        return NOTHING_WALKED
    found: dict[str, Finding] = {}
    for _, item in _opened_by(snapshot, "libnvrtc.so"):
        if item.path is not None:
            continue
        wheel = next(
            (d for n, d in facts.distributions(snapshot) if n.startswith("nvidia-cuda-nvrtc")
             and item.wanted_by.startswith(d.location)), None
        )  # fmt: skip
        name = "nvidia-cuda-nvrtc-cu12"
        command = (
            reinstall(snapshot, wheel)
            if wheel
            else for_package(snapshot, name).install([name], reinstall=True, dependencies=False)
        )
        found[item.soname] = catalogue.finding(
            "LIB10",
            subject=item.soname,
            cause=f"{item.wanted_by} opens {item.soname} by name when it first compiles a kernel; "
            "it is neither beside it nor on the search path.",
            evidence=[Evidence(item.wanted_by, f"nvrtc: error: failed to open {item.soname}")],
            about=[
                frozenset((item.soname, item.wanted_by, *([things.copy(wheel)] if wheel else ())))
            ],
            fix=(Fix((command,), "brings libnvrtc and its builtins in one release"),),
        )
    return list(found.values())


@check("PY20", needs=("libraries", "distributions"))
def tensorflow_cannot_open(snapshot: Snapshot) -> Outcome:
    """TensorFlow opens CUDA's libraries by name, and some are not found."""
    walked = [item for item in snapshot.libraries if item.role == "tensorflow"]
    if not walked:
        return Skipped("no TensorFlow whose libraries could be walked")
    if not facts.has_gpu(snapshot):
        return Skipped("no NVIDIA GPU: TensorFlow runs on the CPU here")
    missing = [item for library in walked for item in library.dlopens if item.path is None]
    if not missing:
        return []
    names = list(dict.fromkeys(item.soname for item in missing))
    owner = owner_name(walked[0])
    version = next((d.version for d in facts.installed(snapshot, "tensorflow")), None)
    wanted = f"tensorflow[and-cuda]=={version}" if version else "tensorflow[and-cuda]"
    return [
        catalogue.finding(
            "PY20",
            subject=owner,
            cause=f"TensorFlow opens {', '.join(names)} by name, and the loader finds "
            f"{'none of them' if len(names) == len(walked[0].dlopens) else 'them nowhere'}.",
            evidence=[Evidence(m.wanted_by, f"{m.soname}: not found") for m in missing[:8]],
            about=things.each(names),
            fix=(Fix((for_package(snapshot, "tensorflow").install([wanted]),),
                     "brings the CUDA libraries of the release that TensorFlow was built with"),),
        )
    ]  # fmt: skip
