"""Section 2d, what the loader will refuse: LIB03, LIB04, LIB06 to LIB09, and the glibc of PY21."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator

from packaging.version import Version

from cuready.compat.tables import rows
from cuready.doctor import catalogue, facts, things
from cuready.doctor.checks.libraries_records import gone_from_record
from cuready.doctor.finding import Evidence, Finding, Fix
from cuready.doctor.installers import (
    Installer,
    for_environment,
    for_package,
    index_of,
    reinstall_fitting,
)
from cuready.doctor.registry import Outcome, Skipped, check
from cuready.snapshot import Distribution, LibraryFile, Resolution, Snapshot, UnresolvedSymbol

_CUDA_SONAME = re.compile(
    r"^lib(?:cudart|cublas|cublasLt|nvrtc|cufft|cusparse|cusolver|nvJitLink|cupti|npp\w*)"
    r"\.so\.(\d{1,3})(?:\.|$)"
)
# CUDA major of the sonames whose own number is another: libcufft.so.11 is of CUDA 12.
_MAJOR = {
    "libcufft.so.10": 11, "libcufft.so.11": 12, "libcufft.so.12": 13,
    "libcusolver.so.11": 12, "libcusolver.so.12": 13,
    "libcusparse.so.11": 11, "libcusparse.so.12": 12,
}  # fmt: skip
NOTHING_WALKED = Skipped("no framework here whose libraries could be walked")
_TORCH_LIBRARY = re.compile(r"^lib(?:torch|c10|shm)")
_TORCH_SYMBOL = re.compile(
    r"^_ZNK?(?:3c10|2at|5torch)|c10|^_ZT[IVS]N(?:3c10|2at|5torch)|^aoti_torch"
)


def owner_name(library: LibraryFile) -> str:
    """``flash-attn`` of ``flash-attn 2.8.3``; the file's name when nobody owns it."""
    return library.owner.partition(" ")[0] or library.path.rpartition("/")[2]


def evidence_of(library: LibraryFile) -> list[Evidence]:
    """The loader's words, and how the library in question was found."""
    return [Evidence(library.path, library.error_text or "cannot be loaded")]


def resolution(library: LibraryFile, path: str | None) -> Resolution | None:
    """How ``path`` came to be loaded below ``library``."""
    return next((item for item in library.resolutions if path and item.path == path), None)


def _failing(snapshot: Snapshot) -> Iterator[LibraryFile]:
    return (item for item in snapshot.libraries if item.error_text is not None)


def _symbols(
    snapshot: Snapshot, wanted: Callable[[LibraryFile, UnresolvedSymbol], bool]
) -> list[tuple[LibraryFile, UnresolvedSymbol]]:
    """The first fitting symbol of each library that fails for one."""
    found = []
    for library in _failing(snapshot):
        first = next((s for s in library.unresolved if wanted(library, s)), None)
        if first is not None and library.unresolved[0] == first:
            found.append((library, first))
    return found


def out_of_the_way(
    snapshot: Snapshot, how: Resolution | None = None, *more: Resolution
) -> tuple[Fix, ...]:
    """Take the search folder away that brought the wrong copy, and those that brought ``more``."""
    if how is None or how.path is None:
        return ()
    if how.rule == "LD_LIBRARY_PATH":
        gone = [item.entry for item in (how, *more) if item.rule == how.rule and item.entry]
        entries = [entry for entry in snapshot.loader.ld_library_path if entry not in gone]
        command = (
            f"export LD_LIBRARY_PATH={':'.join(entries)}" if entries else "unset LD_LIBRARY_PATH"
        )
        without = " and ".join(dict.fromkeys(gone)) or how.entry
        return (Fix((command,), f"without {without}; look for it in ~/.bashrc and module files"),)
    if how.rule in ("ld.so.cache", "default"):
        return (
            Fix((), f"{how.path} belongs to the system: remove its package, or use a container"),
        )
    return ()


def _wrong_copy(
    check_id: str, snapshot: Snapshot, library: LibraryFile, symbol: UnresolvedSymbol, what: str
) -> Finding:
    """A library that is found, but is not the one that its user was linked with."""
    how = resolution(library, symbol.provider)
    where = f"{symbol.provider} (found by {how.rule})" if how else symbol.provider or f"no {what}"
    hidden = f" It hides {', '.join(how.shadows[:3])}." if how and how.shadows else ""
    evidence = evidence_of(library)
    if how is not None:
        evidence.append(Evidence(how.rule, f"{how.soname} => {how.path}"))
    again = _provider_wheel(snapshot, symbol.provider, library)
    away = out_of_the_way(snapshot, how)
    if not again and not away and symbol.provider:
        again = (Fix((), f"take {symbol.provider} off the search path, or bring it up to date"),)
    return catalogue.finding(
        check_id,
        subject=what,
        cause=f"{symbol.wanted_by} needs {symbol.symbol}, and {where} does not have it.{hidden}",
        evidence=evidence,
        about=[_blamed(snapshot, library, symbol, how)],
        fix=(*away, *again),
    )


def _blamed(
    snapshot: Snapshot, library: LibraryFile, symbol: UnresolvedSymbol, how: Resolution | None
) -> frozenset[str]:
    """The copy that was found, and its user, unless a variable alone brought the two together."""
    provider = frozenset((symbol.provider,)) if symbol.provider else frozenset[str]()
    if how is not None and how.rule == "LD_LIBRARY_PATH":
        return provider
    return provider | things.owner(snapshot, library) | {symbol.wanted_by}


def _provider_wheel(
    snapshot: Snapshot, provider: str | None, library: LibraryFile
) -> tuple[Fix, ...]:
    """Reinstall the wheel whose copy was found: it is older than its user wants."""
    for name, item in facts.distributions(snapshot):
        if (
            provider
            and name.startswith("nvidia")
            and provider.startswith(item.location + "/nvidia/")
        ):
            part = provider[len(item.location) :].split("/")[2]
            if part.replace("_", "-") in name:
                owner = for_package(snapshot, item.name)
                required = _required(snapshot, library, name)
                note = "the release that it requires" if required else "the newest release"
                command = owner.install([required or item.name], upgrade=required is None)
                return (Fix((command,), note),)
    return ()


def _required(snapshot: Snapshot, library: LibraryFile, name: str) -> str | None:
    """``nvidia-nccl-cu12==2.27.3`` as the user of the library requires it, without its marker."""
    for item in facts.installed(snapshot, owner_name(library)):
        for text in item.requires:
            requirement = text.partition(";")[0].strip()
            if re.match(rf"{re.escape(name)}\s*[=<>~!(]", requirement.lower().replace("_", "-")):
                return requirement.replace(" ", "").replace("(", "").replace(")", "")
    return None


def _once(findings: list[Finding]) -> list[Finding]:
    """One finding for each subject: ten extensions fail for one library."""
    return list({item.subject: item for item in reversed(findings)}.values())[::-1]


@check("LIB03", needs=("libraries",))
def older_nccl(snapshot: Snapshot) -> Outcome:
    """torch's nccl symbols are not in the libnccl that is found."""
    if not snapshot.libraries:
        return NOTHING_WALKED
    found = _symbols(snapshot, lambda _, s: bool(re.match(r"p?nccl[A-Z]", s.symbol)))
    return _once([_wrong_copy("LIB03", snapshot, lib, s, "libnccl.so.2") for lib, s in found])


@check("LIB04", needs=("libraries",))
def another_nvjitlink(snapshot: Snapshot) -> Outcome:
    """A CUDA library finds another libnvJitLink, or part of CUDA, than its own release's."""
    if not snapshot.libraries:
        return NOTHING_WALKED
    found = _symbols(
        snapshot,
        lambda _, s: bool(re.match(r"_*nvJitLink|cublas|cusparse|cusolver|cufft|nvrtc", s.symbol)
                          or re.match(r"lib(?:nv|cu)\w+\.so", s.version or "")),
    )  # fmt: skip
    return _once(
        [
            _wrong_copy(
                "LIB04", snapshot, lib, s,
                s.provider.rpartition("/")[2] if s.provider else "libnvJitLink.so",
            )
            for lib, s in found
            if not s.symbol.startswith(("cudnn", "nccl"))
        ]
    )  # fmt: skip


def _lacking(
    snapshot: Snapshot, wanted: Callable[[str], bool]
) -> Iterator[tuple[LibraryFile, str]]:
    """Each library that fails for want of others, with the first of them that is ``wanted``."""
    told = gone_from_record(snapshot)
    for library in _failing(snapshot):
        lacking = (m.soname for m in library.missing if m.soname not in told)
        soname = next((name for name in lacking if wanted(name)), None)
        if soname is None:
            continue
        if library.role == "onnxruntime" and any("nvinfer" in m.soname for m in library.missing):
            continue  # TRT03 says it
        yield library, soname


@check("LIB06", needs=("libraries",))
def cudnn_8_wanted(snapshot: Snapshot) -> Outcome:
    """A package needs a cuDNN of a major that is not installed, or not where it is looked for."""
    if not snapshot.libraries:
        return NOTHING_WALKED
    have = [i for n, i in facts.distributions(snapshot) if n.startswith("nvidia-cudnn-")]
    found = []
    for library, soname in _lacking(snapshot, lambda name: name.startswith("libcudnn")):
        wanted = soname.rpartition(".")[2]
        same = next((item for item in have if item.version.partition(".")[0] == wanted), None)
        # Without any cuDNN and without CUDA's libraries LIB07 names the wheels of both; and where
        # there is no driver, parts of the right cuDNN do not load for want of libcuda.so.1.
        told = not have and any(cuda_major_of(m.soname) for m in library.missing)
        if not told and (same is None or facts.has_gpu(snapshot)):
            found.append(_no_cudnn(snapshot, library, soname, have, same))
    return _once(found)


def _no_cudnn(
    snapshot: Snapshot, library: LibraryFile, lacking: str, have: list[Distribution],
    same: Distribution | None,
) -> Finding:  # fmt: skip
    name, wanted = owner_name(library), lacking.rpartition(".")[2]
    installed = f"; {have[0].name} {have[0].version} is installed" if have else ""
    cause = (
        f"{name} was linked with cuDNN {wanted} ({lacking}){installed}. "
        "Different majors of cuDNN do not stand in for each other."
    )
    title: str | None = None
    if same is not None:
        title = f"cuDNN {wanted} is installed where the loader does not look"
        cause = (
            f"{name} needs {lacking} of cuDNN {wanted}; {same.name} {same.version} is installed, "
            "and its folder is on no search path of that library."
        )
        folder = shlex.quote(f"{same.location}/nvidia/cudnn/lib")
        command = f"export LD_LIBRARY_PATH={folder}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
        fix = Fix((command,), "lets the loader find the wheel's libraries")
    elif have:
        command = for_package(snapshot, name).install([name], upgrade=True)
        fix = Fix((command,), f"a release built for the cuDNN here, or cuDNN {wanted}")
    else:
        title = f"A package needs cuDNN {wanted}, and none is found"
        wheel = _cudnn_wheel(snapshot, library, wanted)
        command = for_package(snapshot, name).install([wheel])
        fix = Fix((command,), f"a release built for the cuDNN here, or cuDNN {wanted}")
    return catalogue.finding(
        "LIB06",
        subject=name,
        title=title,
        cause=cause,
        evidence=evidence_of(library),
        about=[things.owner(snapshot, library) | {lacking}],
        fix=(fix,),
    )


def _cudnn_wheel(snapshot: Snapshot, library: LibraryFile, major: str) -> str:
    """The requirement for cuDNN ``major``, in the family of the CUDA that ``library`` needs."""
    own = next((found for name in library.needed if (found := cuda_major_of(name))), None)
    torch = facts.torch_cuda(snapshot)
    return f"nvidia-cudnn-cu{own or (torch.major if torch else 12)}=={major}.*"


def cuda_major_of(soname: str) -> int | None:
    """CUDA major of a library's name: 12 of ``libcudart.so.12`` and of ``libcufft.so.11``."""
    match = _CUDA_SONAME.match(soname)
    if match is None:
        return None
    short = ".".join(soname.split(".")[:3])
    return _MAJOR.get(short, int(match[1]))


@check("LIB07", needs=("libraries",))
def other_cuda_major(snapshot: Snapshot) -> Outcome:
    """An extension needs a CUDA runtime of another major than torch's."""
    if not snapshot.libraries:
        return NOTHING_WALKED
    torch = facts.torch_cuda(snapshot)
    return _once(
        [
            _other_major(snapshot, library, soname, torch)
            for library, soname in _lacking(snapshot, lambda name: cuda_major_of(name) is not None)
        ]
    )


def _other_major(
    snapshot: Snapshot, library: LibraryFile, lacking: str, torch: Version | None
) -> Finding:
    major, name = cuda_major_of(lacking), owner_name(library)
    same = torch is None or torch.major == major
    own = library.role == "torch"
    installer = for_package(snapshot, name)
    if same:
        wheels = _wheels_of(snapshot, library, major or 12)
        others = len(library.missing) - 1
        more = f" and {others} more {'library' if others == 1 else 'libraries'}" if others else ""
        cause = (
            f"{name} needs {lacking}{more}, which no package brings and the loader finds nowhere."
        )
        fix = Fix((installer.install(wheels),), _NOTES.get(library.role, f"brings {lacking}{more}"))
        title = f"{lacking} is not installed"
    else:
        cause = (
            f"{name} was built for CUDA {major} ({lacking}); torch here is built for CUDA {torch}."
        )
        command = installer.install([name], reinstall=True, dependencies=False)
        fix = Fix(
            (command,), f"with the build for CUDA {torch.major if torch else ''}; see its own index"
        )
        title = ""
    fitting = reinstall_fitting(snapshot, "torch") if own and not same else ()
    # An extension for torch's own CUDA counts on torch to have loaded the library before it.
    through_torch = things.copies(snapshot, "torch") if same and torch else frozenset[str]()
    return catalogue.finding(
        "LIB07",
        subject=name,
        title=title or None,
        cause=cause,
        evidence=evidence_of(library),
        about=[things.owner(snapshot, library) | {lacking} | through_torch],
        fix=fitting or (fix,),
    )


# https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#preload-dlls
_NOTES = {
    "onnxruntime": "what ONNX Runtime's provider needs; a program loads it with "
    "onnxruntime.preload_dlls() (1.21 and newer), or by importing torch first"
}


def _wheels_of(snapshot: Snapshot, library: LibraryFile, major: int) -> list[str]:
    """Requirements that bring everything that ``library`` lacks of CUDA and cuDNN, each once."""
    own = facts.installed(snapshot, owner_name(library)) if library.role == "onnxruntime" else ()
    for item in own:
        if any('extra == "cuda"' in text for text in item.requires):
            return [f"{item.name}[cuda,cudnn]=={item.version}"]
    found: dict[str, None] = {}
    for soname in (item.soname for item in library.missing):
        if soname.startswith("libcudnn"):
            found[_cudnn_wheel(snapshot, library, soname.rpartition(".")[2])] = None
        elif (wheel := wheel_of(soname, major)) is not None:
            found[wheel] = None
    return list(found) or [f"cuda-toolkit=={major}.*"]


def wheel_of(soname: str, major: int) -> str | None:
    """The NVIDIA wheel for CUDA ``major`` that has ``soname``; None when no known one has."""
    for row in rows("wheels_nvidia", "packages"):
        libraries = (row.get("linux") or {}).get("libs", ())
        if row["cuda_major"] == str(major) and any(x.endswith("/" + soname) for x in libraries):
            return str(row["package"])
    return None


@check("LIB08", needs=("libraries",))
def other_torch(snapshot: Snapshot) -> Outcome:
    """An extension refers to symbols or libraries that this torch does not have."""
    if not snapshot.libraries:
        return NOTHING_WALKED
    found = []
    for library in _failing(snapshot):
        lacking = next((m.soname for m in library.missing if _TORCH_LIBRARY.match(m.soname)), None)
        symbol = next((s for s in library.unresolved if _TORCH_SYMBOL.search(s.symbol)), None)
        if library.role == "torch" or (lacking is None and symbol is None):
            continue
        found.append(_other_torch(snapshot, library, lacking, symbol))
    return _once(found)


def _other_torch(
    snapshot: Snapshot, library: LibraryFile, lacking: str | None, symbol: UnresolvedSymbol | None
) -> Finding:
    torch, name = snapshot.python.torch, owner_name(library)
    here = f"torch {torch.version}" if torch else "no torch"
    if lacking is not None:
        cpu = " (a CPU build)" if torch and torch.cuda is None else ""
        reason = f"needs {lacking}, which {here}{cpu} does not bring"
    elif (
        symbol is not None
        and torch
        and torch.cxx11_abi is not None
        and _other_abi(symbol, torch.cxx11_abi)
    ):
        reason = f"was built with the other C++11 ABI than {here}"
    else:
        reason = f"was built against another torch: {here} has no {symbol.symbol if symbol else ''}"
    owner = for_package(snapshot, name)
    # torch's own siblings are on its index, in the build that goes with it.
    index = index_of(torch.version) if torch and name in ("torchvision", "torchaudio") else None
    again = owner.install([name], reinstall=True, dependencies=False, index_url=index)
    return catalogue.finding(
        "LIB08",
        subject=name,
        cause=f"{library.owner or name} {reason}.",
        evidence=evidence_of(library),
        about=[things.owner(snapshot, library) | things.copies(snapshot, "torch")],
        fix=(
            Fix(
                (again,),
                f"a wheel for {here}, or built from source against it (--no-build-isolation)",
            ),
        ),
    )


def _other_abi(symbol: UnresolvedSymbol, torch_new_abi: bool) -> bool:
    """Names with std::__cxx11 in them come from the new ABI, plain ``Ss`` from the old one."""
    new = "__cxx11" in symbol.symbol
    old = bool(re.search(r"(?:RK|R|P)?Ss(?![a-z])", symbol.symbol))
    return (new and not torch_new_abi) or (old and not new and torch_new_abi)


@check("LIB09", needs=("libraries",))
def old_libstdcxx(snapshot: Snapshot) -> Outcome:
    """The libstdc++ that is found lacks a version that a library wants."""
    if not snapshot.libraries:
        return NOTHING_WALKED
    found = _symbols(
        snapshot, lambda _, s: bool(re.match(r"(?:GLIBCXX|CXXABI|GCC)_", s.version or ""))
    )
    return _once([_old_libstdcxx(snapshot, library, symbol) for library, symbol in found])


def _old_libstdcxx(snapshot: Snapshot, library: LibraryFile, symbol: UnresolvedSymbol) -> Finding:
    how = resolution(library, symbol.provider)
    owner: Installer = for_environment(snapshot)
    fixes = list(out_of_the_way(snapshot, how)) if how and how.rule == "LD_LIBRARY_PATH" else []
    if owner.is_conda:
        fixes.append(
            Fix((owner.install(["libstdcxx-ng"], upgrade=True),), "conda's newest libstdc++")
        )
    elif not fixes:
        fixes.append(Fix((), "a newer distribution, or a conda environment with its own libstdc++"))
    evidence = evidence_of(library)
    if how is not None:
        evidence.append(Evidence(how.rule, f"{how.soname} => {how.path}"))
    return catalogue.finding(
        "LIB09",
        subject=symbol.provider or "libstdc++.so.6",
        cause=f"{symbol.wanted_by} wants {symbol.version}; {symbol.provider} does not define it.",
        evidence=evidence,
        about=[_blamed(snapshot, library, symbol, how)],
        fix=fixes,
    )


def glibc_too_old(snapshot: Snapshot) -> list[tuple[LibraryFile, str]]:
    """(library, version) for each that wants a glibc newer than the one here."""
    return [(library, symbol.version or "") for library, symbol in _symbols(
        snapshot, lambda _, s: bool(re.match(r"GLIBC_\d", s.version or ""))
    )]  # fmt: skip


def nothing_walked(snapshot: Snapshot) -> Skipped | None:
    """The outcome of a check about libraries where none was walked."""
    return (
        None if snapshot.libraries else Skipped("no framework here whose libraries could be walked")
    )
