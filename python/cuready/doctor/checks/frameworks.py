"""Section 2c, third part: packages that must fit each other, and those that must not meet."""

from __future__ import annotations

import re

from packaging.version import Version

from cuready.doctor import catalogue, facts, things
from cuready.doctor.finding import Evidence, Fix, Severity
from cuready.doctor.installers import for_package, reinstall, reinstall_fitting
from cuready.doctor.registry import Outcome, Skipped, Unknown, check
from cuready.snapshot import Distribution, Snapshot

UNPINNED_AUDIO = (2, 11)

# How torch's own siblings write it: `torch==2.8.0`, in older metadata `torch (==2.8.0)`.
_PLAIN_PIN = re.compile(r"torch ?(?:==|\(==)([0-9]+(?:\.[0-9]+){1,3})\)?")


@check("PY12", needs=("distributions",), systems=())
def mismatched_trio(snapshot: Snapshot) -> Outcome:
    """torchvision or torchaudio made for another torch."""
    found = facts.installed(snapshot, "torch")
    torch = facts.version(found[0].version) if found else None
    if torch is None:
        return Skipped("no torch here")
    problems: list[Evidence] = []
    names: list[str] = []
    for name in ("torchvision", "torchaudio"):
        for item in facts.installed(snapshot, name):
            if _is_unpinned_audio(name, item):
                told = _unpinned_audio(snapshot, item)
                if told is not None:
                    problems.append(told)
                    names.append(name)
                continue
            wanted = _torch_wanted(item) or _torch_by_table(name, item)
            reason = None
            if wanted is not None and Version(torch.base_version) != wanted:
                reason = f"{name} {item.version} is for torch {wanted}"
            elif (theirs := _tag(item.version)) and (ours := _tag(str(torch))) and theirs != ours:
                reason = f"{name} {item.version} is a {theirs} build, torch {torch} a {ours} build"
            if reason:
                problems.append(Evidence(item.metadata_path or name, reason))
                names.append(name)
    if not problems:
        return ()
    return [
        catalogue.finding(
            "PY12",
            subject=", ".join(names),
            cause=f"{problems[0].detail}; torch {torch} is installed.",
            evidence=[Evidence(found[0].metadata_path or "torch", f"torch {torch}"), *problems],
            explains=("LIB08",),
            about=things.each(things.copies(snapshot, *names), things.copies(snapshot, "torch")),
            reach=things.copies(snapshot, *names),
            fix=_fixes(snapshot, torch, names),
        )
    ]


def _unpinned_audio(snapshot: Snapshot, item: Distribution) -> Evidence | None:
    """The last torchaudio fits every later torch of its own CUDA, and refuses any other.

    Since 2.11 it pins no torch and is built on the stable ABI; at import it compares CUDA versions
    (torchaudio/_extension/utils.py, ``_check_cuda_version``).
    """
    theirs, ours = _cuda_of_audio(item), facts.torch_cuda(snapshot)
    if theirs is None or ours is None or theirs.release[:2] == ours.release[:2]:
        return None
    return Evidence(
        item.metadata_path or item.name,
        f"torchaudio {item.version} was built with CUDA {theirs}, torch with {ours}",
    )


def _is_unpinned_audio(name: str, item: Distribution) -> bool:
    found = facts.version(item.version)
    return (name == "torchaudio" and found is not None and found.release >= UNPINNED_AUDIO
            and _torch_wanted(item) is None)  # fmt: skip


def _cuda_of_audio(item: Distribution) -> Version | None:
    """By its local version, else that of PyPI's build of its release."""
    from cuready.compat.torch import release_of

    found = facts.version(item.version)
    release = release_of(found) if found is not None else None
    if found is None or release is None:
        return None
    tag = _tag(item.version)
    return next((b.cuda for b in release.builds if (b.tag == tag if tag else b.default)), None)


def _fixes(snapshot: Snapshot, torch: Version, names: list[str]) -> tuple[Fix, ...]:
    fitting = reinstall_fitting(snapshot, "torch", keep=torch.base_version)
    audio = next(
        (x for x in facts.installed(snapshot, "torchaudio") if _is_unpinned_audio("torchaudio", x)),
        None,
    )
    if audio is None or names != ["torchaudio"]:
        return fitting or (_pairs(snapshot, torch, names),)
    from cuready.compat.torch import build_of, pair_of

    owner, cuda = for_package(snapshot, "torch"), _cuda_of_audio(audio)
    remove = Fix((owner.uninstall(names),), "where nothing needs torchaudio")
    build = build_of(Version(torch.base_version), str(cuda)) if cuda else None
    if build is None or not build.index_url or owner.is_conda:
        return (remove,)
    wanted = [f"torch=={torch.base_version}"]
    vision = pair_of(torch).get("torchvision")
    if vision and facts.installed(snapshot, "torchvision"):
        wanted.append(f"torchvision=={vision}")
    same = owner.install(wanted, index_url=build.index_url, reinstall=True)
    return (Fix((same,), f"torch for CUDA {cuda}, which is torchaudio's"), remove)


def _pairs(snapshot: Snapshot, torch: Version, names: list[str]) -> Fix:
    """The siblings of the torch that is there, from the tables, else by the resolver."""
    from cuready.compat.torch import pair_of

    known = pair_of(torch)
    wanted = [f"{name}=={known[name]}" if name in known else name for name in names]
    command = for_package(snapshot, "torch").install([f"torch=={torch.base_version}", *wanted])
    return Fix((command,))


def _torch_wanted(item: Distribution) -> Version | None:
    """The torch that ``Requires-Dist`` pins with ``==``; None when it pins none."""
    for line in item.requires:
        plain = _PLAIN_PIN.fullmatch(line)
        if plain:
            pin = facts.version(plain[1])
            return Version(pin.base_version) if pin else None
        if not line.startswith("torch") or "==" not in line:
            continue
        requirement = facts.requirement(line)
        if requirement is not None and requirement.name == "torch":
            for specifier in requirement.specifier:
                if specifier.operator == "==" and not specifier.version.endswith(".*"):
                    return Version(Version(specifier.version).base_version)
    return None


def _torch_by_table(name: str, item: Distribution) -> Version | None:
    """The torch of a torchvision by the tables, where its metadata was not kept or pins nothing."""
    if item.requires:
        return None
    from cuready.compat.torch import pair_of, releases

    public = item.version.partition("+")[0]
    matching = [r.version for r in releases() if pair_of(r.version).get(name) == public]
    return matching[0] if len(matching) == 1 else None


def _tag(version: str) -> str | None:
    tag = version.partition("+")[2]
    return tag if tag.startswith(("cu", "cpu")) else None


@check("PY16", needs=("distributions",), systems=())
def two_onnxruntimes(snapshot: Snapshot) -> Outcome:
    """onnxruntime and onnxruntime-gpu write the same files; the last one installed wins."""
    twins = [
        item
        for name in (
            "onnxruntime",
            "onnxruntime-gpu",
            "onnxruntime-directml",
            "onnxruntime-openvino",
        )
        for item in facts.installed(snapshot, name)
    ]
    if len({item.name for item in twins}) < 2:
        return ()
    gpu = next((item for item in twins if item.name.endswith("gpu")), twins[-1])
    owner = for_package(snapshot, gpu.name)
    names = [item.name for item in twins]
    return [
        catalogue.finding(
            "PY16",
            subject=", ".join(names),
            severity=None if facts.has_gpu(snapshot) else Severity.WARNING,
            cause=f"{' and '.join(names)} both own the folder onnxruntime/: which of them is there "
            "depends on the order of their installation.",
            evidence=[Evidence(item.metadata_path or item.name, item.version) for item in twins],
            fix=(Fix((owner.uninstall(names), reinstall(snapshot, gpu))),),
        )
    ]


@check("PY17", needs=("distributions",), systems=())
def two_cupys(snapshot: Snapshot) -> Outcome:
    """More than one CuPy in one environment."""
    found = [
        item
        for name, item in facts.distributions(snapshot)
        if name == "cupy" or name.startswith(("cupy-cuda", "cupy-rocm"))
    ]
    if len({item.name for item in found}) < 2:
        return ()
    cuda = facts.torch_cuda(snapshot)
    fitting = [item for item in found if cuda and facts.cuda_family(item.name) == cuda.major]
    keep = (fitting or sorted(found, key=lambda item: item.name))[-1]
    owner = for_package(snapshot, keep.name)
    names = [item.name for item in found]
    return [
        catalogue.finding(
            "PY17",
            subject=", ".join(names),
            cause=f"{' and '.join(names)} are installed side by side and share the folder cupy/.",
            evidence=[Evidence(item.metadata_path or item.name, item.version) for item in found],
            fix=(Fix((owner.uninstall(names), reinstall(snapshot, keep))),),
        )
    ]


@check("PY18", needs=("distributions",))
def jax_without_plugin(snapshot: Snapshot) -> Outcome:
    """jaxlib alone computes on the CPU; the CUDA plugin must have its version."""
    jaxlib = facts.installed(snapshot, "jaxlib")
    if not jaxlib:
        return Skipped("no jaxlib here")
    if not facts.has_gpu(snapshot):
        return Skipped("no NVIDIA GPU here")
    parts = {
        name: item
        for name, item in facts.distributions(snapshot)
        if name.startswith("jax-cuda") and name.endswith(("-plugin", "-pjrt"))
    }
    owner = for_package(snapshot, "jaxlib")
    here = facts.version(jaxlib[0].version)
    if here is None:
        return Unknown(f"jaxlib {jaxlib[0].version!r} is not a version")
    majors = {facts.cuda_family(name) for name in parts}
    # A plugin serves its own release and patches of it: 0.12.0.1 goes with jaxlib 0.12.0.
    other = {n: i for n, i in parts.items() if _release(i.version) != here.release[:3]}
    half = {m for m in majors for kind in ("plugin", "pjrt") if f"jax-cuda{m}-{kind}" not in parts}
    if parts and not other and not half and len(majors) == 1:
        return ()
    major = max((m for m in majors if m), default=None) or _jax_major(snapshot)
    if not parts:
        cause = f"jaxlib {here} is here without its CUDA plugin: JAX computes on the CPU."
    elif other:
        name, item = next(iter(other.items()))
        cause = f"{name} {item.version} does not go with jaxlib {here}: JAX falls back to the CPU."
    elif half:
        cause = (
            f"Of the two packages jax-cuda{major}-plugin and jax-cuda{major}-pjrt one is missing."
        )
    else:
        cause = (
            f"Plugins for CUDA {' and '.join(str(m) for m in sorted(filter(None, majors)))} "
            "are both here."
        )
    return [
        catalogue.finding(
            "PY18",
            # jaxlib alone is also what somebody installs who wants the CPU.
            severity=Severity.ERROR if parts else Severity.WARNING,
            cause=cause,
            evidence=[
                Evidence("jaxlib", str(here)),
                *(Evidence(name, item.version) for name, item in parts.items()),
            ],
            about=[things.copies(snapshot, "jaxlib", *parts)],
            fix=(Fix((owner.install([f"jax[cuda{major}]=={here.base_version}"], upgrade=True),)),),
        )
    ]


def _release(text: str) -> tuple[int, ...] | None:
    found = facts.version(text)
    return found.release[:3] if found is not None else None


def _jax_major(snapshot: Snapshot) -> int:
    driver = facts.driver_version(snapshot)
    return 13 if driver is not None and driver.major >= 580 else 12


@check("PY19", needs=("distributions",), systems=("Windows",))
def tensorflow_on_windows(snapshot: Snapshot) -> Outcome:
    """TensorFlow left native Windows GPUs with 2.11."""
    found = facts.installed(snapshot, "tensorflow") or facts.installed(snapshot, "tensorflow-intel")
    if not found or not facts.has_gpu(snapshot):
        return Skipped("no TensorFlow, or no GPU here")
    from cuready.compat.tables import table

    last = Version(table("derived")["tensorflow_windows_last_gpu"]["version"])
    have = facts.version(found[0].version)
    if have is None or have.release[:2] <= last.release[:2]:
        return ()
    return [
        catalogue.finding(
            "PY19",
            cause=f"TensorFlow {have} has no GPU support on native Windows; {last} was the last "
            "with it.",
            evidence=(Evidence(found[0].metadata_path or "tensorflow", str(have)),),
            fix=(
                Fix(
                    ("wsl --install", 'wsl -- python3 -m pip install "tensorflow[and-cuda]"'),
                    "inside WSL 2, with the driver of Windows",
                ),
            ),
        )
    ]
