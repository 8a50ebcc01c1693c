"""Section 2d, libraries that are opened by name at run time: LIB05, LIB10 and PY20."""

from __future__ import annotations

import posixpath

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


@check("LIB05", needs=("libraries",))
def mixed_cudnn(snapshot: Snapshot) -> Outcome:
    """cuDNN's parts, or cuDNN itself, come from another folder than the installed wheel's."""
    if not snapshot.libraries:
        return NOTHING_WALKED
    parts = {
        item.soname: item
        for _, item in _opened_by(snapshot, "libcudnn.so")
        if item.path and posixpath.dirname(item.path) != posixpath.dirname(item.wanted_by)
        and item.rule != "already loaded"
    }  # fmt: skip
    if parts:
        return [_mixed(snapshot, list(parts.values()))]
    for library in snapshot.libraries:
        broken = next((s for s in library.unresolved if s.symbol.startswith("cudnn")), None)
        if broken is not None and library.error_text:
            return [_older(snapshot, library, broken.symbol, broken.provider)]
    for library in snapshot.libraries:
        for item in library.resolutions:
            if item.soname.startswith("libcudnn.so") and _hides_a_wheel(snapshot, item):
                return [_hidden(snapshot, item)]
    return []


def _hides_a_wheel(snapshot: Snapshot, item: Resolution) -> bool:
    sites = tuple(site + "/" for site in snapshot.python.site_packages)
    return item.rule in ("LD_LIBRARY_PATH", "ld.so.cache", "default") and any(
        path.startswith(sites) for path in item.shadows
    )


def _mixed(snapshot: Snapshot, parts: list[Resolution]) -> Finding:
    first = parts[0]
    return catalogue.finding(
        "LIB05",
        subject="cudnn",
        title="The parts of cuDNN come from two places",
        cause=f"{first.wanted_by} opens {first.soname} by name, and {first.rule} gives "
        f"{first.path}: parts of two cuDNN releases do not work together.",
        evidence=[Evidence(item.rule, f"{item.soname} => {item.path}") for item in parts[:4]],
        about=[_either(item) for item in parts],
        fix=out_of_the_way(snapshot, first),
    )


def _either(item: Resolution) -> frozenset[str]:
    """What a part of the wrong release may come from: it, its opener, or its loss beside it."""
    return frozenset((item.soname, item.wanted_by, item.path or item.soname))


def _older(snapshot: Snapshot, library: LibraryFile, symbol: str, provider: str | None) -> Finding:
    how = next((item for item in library.resolutions if item.path == provider), None)
    return catalogue.finding(
        "LIB05",
        subject="cudnn",
        cause=f"{library.path} needs {symbol}, and {provider or 'the cuDNN found'} lacks it.",
        evidence=[Evidence(library.path, library.error_text or "")],
        about=[things.owner(snapshot, library) | ({provider} if provider else frozenset())],
        fix=out_of_the_way(snapshot, how),
    )


def _hidden(snapshot: Snapshot, item: Resolution) -> Finding:
    return catalogue.finding(
        "LIB05",
        subject="cudnn",
        severity=Severity.WARNING,
        confidence=Confidence.LIKELY,
        cause=f"{item.rule} gives {item.path} for {item.soname}, before {item.shadows[0]} of the "
        "installed wheel. When it is older than that, torch reports a version incompatibility.",
        evidence=[Evidence(item.rule, f"{item.soname} => {item.path}")],
        about=things.each([item.path or item.soname]),  # the wheel's may be as whole as can be
        fix=out_of_the_way(snapshot, item),
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
