"""Section 2d, by versions and tags alone: LIB13, LIB14, LIB16, and PY21."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from cuready._util import data_text, normalize, tomllib
from cuready.doctor import catalogue, facts, things
from cuready.doctor.checks._images import musl_image
from cuready.doctor.checks.libraries import glibc_too_old
from cuready.doctor.finding import Evidence, Finding, Fix
from cuready.doctor.installers import for_package, index_of
from cuready.doctor.registry import Outcome, Skipped, check
from cuready.snapshot import Distribution, Snapshot

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_GLIBC_TAG = re.compile(r"manylinux_(\d{1,3})_(\d{1,4})_(\w+)$")
_OLD_TAGS = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
# L4T release from which JetPack runs the same aarch64 builds as servers do (JetPack 7, Thor).
# https://docs.nvidia.com/jetson/archives/r38.2/DeveloperGuide/
_SBSA_SINCE = 38


@cache
def _known_faults() -> list[dict[str, Any]]:
    text = data_text("cuready.doctor", "data/known_faults.toml")
    found: list[dict[str, Any]] = tomllib.loads(text)["fault"]
    return found


def _matching(snapshot: Snapshot, rules: Mapping[str, str]) -> list[Distribution]:
    """The distribution for each rule, or nothing when one rule does not hold."""
    from packaging.specifiers import SpecifierSet

    found = []
    for names, wanted in rules.items():
        item = next(
            (d for name in names.split("|") for d in facts.installed(snapshot, name)
             if SpecifierSet(wanted).contains(d.version.partition("+")[0], prereleases=True)), None
        )  # fmt: skip
        if item is None:
            return []
        found.append(item)
    return found


@check("LIB13", needs=("distributions",), systems=())
def known_fault(snapshot: Snapshot) -> Outcome:
    """Releases that have a published fault together."""
    gpus = facts.capabilities(snapshot)
    found = []
    for fault in _known_faults():
        items = _matching(snapshot, fault["when"])
        wrong_gpu = "capabilities" in fault and not any(
            str(gpu) in fault["capabilities"] for gpu in gpus.values()
        )
        if not items or len(gpus) < fault.get("gpus", 0) or wrong_gpu:
            continue
        found.append(_fault(snapshot, fault, items))
    return found


def _fault(snapshot: Snapshot, fault: dict[str, Any], items: list[Distribution]) -> Finding:
    names, wanted = next(iter(fault["upgrade"].items()))
    choices = names.split("|")
    name = next((n for n in choices if facts.installed(snapshot, n)), choices[0])
    command = for_package(snapshot, name).install([f"{name}{wanted}"], upgrade=True)
    together = " with ".join(f"{item.name} {item.version}" for item in items)
    return catalogue.finding(
        "LIB13",
        subject=fault["name"],
        cause=f"{together}: {fault['effect']}.",
        evidence=[Evidence(item.metadata_path or item.name, item.version) for item in items],
        about=[frozenset(map(things.copy, items))],
        fix=(Fix((command,), "torch's own pin may object; it works with the newer release"),),
        links=(fault["source"],),
    )


@check("LIB14", needs=("distributions",), systems=())
def jax_wants_newer_cudnn(snapshot: Snapshot) -> Outcome:
    """cuDNN is older than what the JAX plugin was compiled with, by its own metadata."""
    plugins = [d for n, d in facts.distributions(snapshot) if re.match(r"jax-cuda\d+-plugin$", n)]
    if not plugins:
        return Skipped("no JAX CUDA plugin here")
    found = []
    for plugin in plugins:
        for requirement in _requirements(plugin):
            name = normalize(requirement.name)
            if not name.startswith("nvidia-cudnn"):
                continue
            for item in facts.installed(snapshot, name):
                if not requirement.specifier.contains(item.version, prereleases=True):
                    wanted = f"{name}{requirement.specifier}"
                    command = for_package(snapshot, name).install([wanted], upgrade=True)
                    found.append(
                        catalogue.finding(
                            "LIB14",
                            subject=item.name,
                            cause=f"{plugin.name} {plugin.version} needs {wanted}; "
                            f"{item.version} is installed.",
                            evidence=(
                                Evidence(plugin.metadata_path or plugin.name, str(requirement)),
                            ),
                            about=[frozenset((things.copy(plugin), things.copy(item)))],
                            fix=(
                                Fix((command,), "JAX needs the cuDNN it was built with, or newer"),
                            ),
                        )
                    )
    return found


def _requirements(item: Distribution) -> list[Requirement]:
    return [found for text in item.requires if (found := facts.requirement(text)) is not None]


def _l4t_release(text: str | None) -> int | None:
    """36 of ``# R36 (release), REVISION: 4.0, …``."""
    match = re.search(r"\bR(\d{1,4})\b", text or "")
    return int(match[1]) if match else None


@check("LIB16", needs=("host", "distributions"))
def server_build_on_jetson(snapshot: Snapshot) -> Outcome:
    """A torch for aarch64 servers is on a Jetson whose JetPack is older than the common builds."""
    tegra = snapshot.platform.tegra_release
    if tegra is None:
        return Skipped("not a Jetson")
    release = _l4t_release(tegra)
    if release is not None and release >= _SBSA_SINCE:
        return Skipped(f"L4T R{release} runs the builds for servers")
    found = []
    for name in ("torch", "torchvision", "torchaudio", "tensorflow", "onnxruntime-gpu"):
        for item in facts.installed(snapshot, name):
            generic = [tag for tag in item.tags if "manylinux" in tag and tag.endswith("aarch64")]
            if generic and ".nv" not in item.version:
                found.append(_server_build(snapshot, item, generic[0], release))
    return found


def _server_build(snapshot: Snapshot, item: Distribution, tag: str, release: int | None) -> Finding:
    jetpack, cuda = ("jp6", "cu126") if release is None or release >= 36 else ("jp5", "cu114")
    index = f"https://pypi.jetson-ai-lab.io/{jetpack}/{cuda}"
    command = for_package(snapshot, item.name).install([item.name], index_url=index, reinstall=True)
    lacking = [m.soname for lib in snapshot.libraries for m in lib.missing]
    return catalogue.finding(
        "LIB16",
        subject=item.name,
        cause=f"{item.name} {item.version} is a build for aarch64 servers ({tag}); "
        f"L4T R{release or '?'} has other CUDA libraries and another driver.",
        evidence=[
            Evidence("/etc/nv_tegra_release", snapshot.platform.tegra_release or ""),
            *(Evidence(item.name, f"{soname}: not found") for soname in lacking[:3]),
        ],
        explains=("LIB06", "LIB07", "LIB08", "LIB11"),
        reach=[things.copy(item)],
        fix=(Fix((command,), "the builds for this JetPack"),),
    )


# --- PY21 ----------------------------------------------------------------------------------------


def _wanted_glibc(tag: str) -> tuple[int, int] | None:
    """(2, 28) of ``cp312-cp312-manylinux_2_28_x86_64``."""
    platform = tag.rpartition("-")[2]
    match = _GLIBC_TAG.match(platform)
    if match:
        return int(match[1]), int(match[2])
    return next((v for name, v in _OLD_TAGS.items() if platform.startswith(name + "_")), None)


def _unfit(snapshot: Snapshot, item: Distribution) -> str | None:
    """Why no tag of a wheel fits this system, None when one does or nothing is known."""
    reasons = [_unfit_tag(snapshot, tag) for single in item.tags for tag in _spread(single)]
    return None if not reasons or any(reason is None for reason in reasons) else reasons[-1]


def _spread(tag: str) -> list[str]:
    """``cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64`` → one tag for each platform."""
    head, _, platforms = tag.rpartition("-")
    return [f"{head}-{platform}" for platform in platforms.split(".")]


def _unfit_tag(snapshot: Snapshot, tag: str) -> str | None:
    python, abi, platform = [*tag.split("-"), "", ""][:3]
    here = snapshot.platform
    wanted = _wanted_glibc(tag)
    have = facts.version(here.libc_version)
    if wanted and here.libc == "musl":
        return f"{tag} is for glibc, and this system has musl"
    if platform.startswith("musllinux") and here.libc == "glibc":
        return f"{tag} is for musl, and this system has glibc"
    if wanted and have is not None and have.release[:2] < wanted:
        return f"{tag} needs glibc {wanted[0]}.{wanted[1]}; here is {here.libc_version}"
    if here.system == "Linux" and platform.startswith(("win", "macosx")):
        return f"{tag} is for another operating system"
    if here.machine and platform.endswith(("x86_64", "aarch64")) and not platform.endswith(
        here.machine
    ):  # fmt: skip
        return f"{tag} is for another processor than {here.machine}"
    return _unfit_python(snapshot, python, abi, tag)


def _unfit_python(snapshot: Snapshot, python: str, abi: str, tag: str) -> str | None:
    version = facts.version(snapshot.python.version)
    match = re.match(r"cp(\d)(\d{1,3})(t?)$", abi)
    if version is None or match is None or not python.startswith("cp"):
        return None
    major, minor = int(match[1]), int(match[2])
    free_threaded = bool(snapshot.python.free_threaded)
    if (major, minor) != version.release[:2] or bool(match[3]) != free_threaded:
        kind = "free-threaded Python" if free_threaded else "Python"
        return f"{tag} is not for {kind} {snapshot.python.version}"
    return None


@check("PY21", needs=("distributions", "host"))
def wheel_for_another_system(snapshot: Snapshot) -> Outcome:
    """A wheel's tags, or the versions that its libraries want, do not fit this glibc or Python."""
    return [*_unfit_here(snapshot), *musl_image(snapshot)]


def _unfit_here(snapshot: Snapshot) -> list[Finding]:
    unfit = {
        item.name: (item, reason)
        for _, item in facts.distributions(snapshot)
        if (reason := _unfit(snapshot, item)) is not None
    }
    if unfit:
        return [_another_system(snapshot, list(unfit.values()))]
    newer = glibc_too_old(snapshot)
    if newer:
        library, version = newer[0]
        return [_needs_glibc(snapshot, library.path, version, library.error_text or "")]
    return []


def _another_system(snapshot: Snapshot, unfit: list[tuple[Distribution, str]]) -> Finding:
    first, reason = unfit[0]
    groups: dict[str | None, list[Distribution]] = {}
    for item, _ in unfit:
        groups.setdefault(index_of(item.version), []).append(item)
    again = tuple(
        for_package(snapshot, items[0].name).install(
            [item.name for item in items], reinstall=True, dependencies=False, index_url=index
        )
        for index, items in groups.items()
    )
    more = f", and {len(unfit) - 1} more" if len(unfit) > 1 else ""
    return catalogue.finding(
        "PY21",
        subject=first.name,
        cause=f"{first.name} {first.version}{more}: {reason}.",
        evidence=[Evidence(item.metadata_path or item.name, why) for item, why in unfit[:6]],
        explains=("LIB09",),
        reach=map(things.copy, (item for item, _ in unfit)),
        fix=(Fix(again, "lets the installer choose wheels for this system; without one that "
                 "fits, a newer distribution or a container is needed"),),
    )  # fmt: skip


def _needs_glibc(snapshot: Snapshot, path: str, version: str, text: str) -> Finding:
    here = snapshot.platform.libc_version or "older"
    return catalogue.finding(
        "PY21",
        subject=path,
        cause=f"{path} wants {version}; the glibc here is {here}.",
        evidence=(Evidence(path, text),),
        # glibc cannot be upgraded on its own: a newer userland, with the host's driver handed in.
        fix=(
            Fix(
                ('docker run --rm -it --gpus all -v "$PWD":/work -w /work ubuntu:24.04',),
                "or a newer distribution",
            ),
        ),
    )
