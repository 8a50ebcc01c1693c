"""Section 2e, first part: can an extension, or torch.compile, be built here?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cuready.doctor import catalogue, facts
from cuready.doctor.finding import Evidence, Finding, Fix, Risk, Severity
from cuready.doctor.installers import Installer, for_environment, for_package, join, system_install
from cuready.doctor.registry import Outcome, Skipped, Unknown, check
from cuready.snapshot import CudaFolder, CudaToolkit, Snapshot

HOME_VARIABLES = ("CUDA_HOME", "CUDA_PATH")


def active_toolkit(snapshot: Snapshot) -> CudaToolkit | None:
    """The toolkit that a build would take: CUDA_HOME, then nvcc on PATH, then /usr/local/cuda.

    The order is that of ``torch.utils.cpp_extension``.
    """
    for rule in (*HOME_VARIABLES, "PATH", "/usr/local"):
        for item in snapshot.toolkits:
            if rule in item.found_by and item.exists:
                return item
    return None


def _nvcc_install(snapshot: Snapshot, major_minor: str) -> Fix:
    """nvcc of that CUDA: from conda-forge in a conda environment, else NVIDIA's packages."""
    owner = for_environment(snapshot)
    if owner.is_conda:
        return Fix(
            (owner.install([f"cuda-nvcc=={major_minor}.*", f"cuda-version=={major_minor}"]),)
        )
    dashed = major_minor.replace(".", "-")
    command = system_install(snapshot.platform, {"apt": [f"cuda-toolkit-{dashed}"]})
    return Fix(
        (command, f"export CUDA_HOME=/usr/local/cuda-{major_minor}"),
        "from NVIDIA's package repository",
        needs_root=True,
        risk=Risk.MEDIUM,
    )


@check("BLD01", needs=("toolkits", "torch"))
def toolkit_of_another_major(snapshot: Snapshot) -> Outcome:
    """nvcc of one CUDA major, torch of another: torch's build helper refuses."""
    cuda, toolkit = facts.torch_cuda(snapshot), active_toolkit(snapshot)
    if cuda is None or toolkit is None:
        return Skipped("no torch built for CUDA, or no CUDA toolkit here")
    nvcc = facts.version(toolkit.nvcc_version or toolkit.version)
    if nvcc is None:
        return Unknown(f"the version of the toolkit at {toolkit.path} could not be read")
    if nvcc.release[:2] == cuda.release[:2]:
        return ()
    chosen = any(rule in toolkit.found_by for rule in (*HOME_VARIABLES, "PATH"))
    severity = Severity.INFO
    if nvcc.major != cuda.major:
        severity = Severity.ERROR if chosen else Severity.WARNING
    allowed = " (inside one major that works)" if nvcc.major == cuda.major else ""
    return [
        catalogue.finding(
            "BLD01",
            severity=severity,
            cause=f"The toolkit that a build would use is CUDA {nvcc}, torch was built with "
            f"{cuda}{allowed}.",
            evidence=(
                Evidence(toolkit.path, f"CUDA {nvcc}, found by {', '.join(toolkit.found_by)}"),
                Evidence("torch/version.py", f"cuda = {cuda}"),
            ),
            explains=("BLD02",) if severity is Severity.ERROR else (),
            about=[frozenset((toolkit.path, "torch"))],
            reach=[toolkit.path],
            fix=(_nvcc_install(snapshot, f"{cuda.major}.{cuda.minor}"),),
        )
    ]


@check("BLD02", needs=("toolkits", "toolchain"))
def compiler_too_new(snapshot: Snapshot) -> Outcome:
    """nvcc refuses host compilers beyond the bound in its own header."""
    toolkit, chain = active_toolkit(snapshot), snapshot.toolchain
    if toolkit is None or toolkit.host_gcc_max is None:
        return Skipped("no CUDA toolkit here, or no bound in its host_config.h")
    gcc = facts.version(chain.gcc_version)
    if gcc is None:
        return Skipped("no gcc here")
    if gcc.major <= toolkit.host_gcc_max or chain.nvcc_ccbin:
        return ()
    bound = toolkit.host_gcc_max
    packages = {
        "apt": [f"g++-{bound}"],
        "dnf": [f"gcc{bound}-c++"],
        "zypper": [f"gcc{bound}-c++"],
        "pacman": [f"gcc{bound}"],
    }
    owner = for_environment(snapshot)
    if owner.is_conda:
        fix = Fix((owner.install([f"gxx=={bound}.*"]),))
    else:
        command = system_install(snapshot.platform, packages)
        fix = Fix((command, f"export NVCC_CCBIN=/usr/bin/g++-{bound}"), needs_root=True)
    return [
        catalogue.finding(
            "BLD02",
            cause=f"nvcc {toolkit.nvcc_version or toolkit.version} takes gcc up to {bound}; gcc "
            "here is "
            f"{chain.gcc_version}.",
            evidence=(
                Evidence(f"{toolkit.path}/include/crt/host_config.h", f"gcc up to {bound}"),
                Evidence(chain.cxx or chain.cc or "gcc", str(chain.gcc_version)),
            ),
            about=[frozenset((toolkit.path,))],
            fix=(fix,),
        )
    ]


@check("BLD03", needs=("toolkits", "variables"))
def stale_cuda_home(snapshot: Snapshot) -> Outcome:
    """CUDA_HOME is wrong or disagrees with PATH, or LD_LIBRARY_PATH names two toolkits."""
    return [*_wrong_home(snapshot), *_two_in_library_path(snapshot)]


def _wrong_home(snapshot: Snapshot) -> list[Finding]:
    named = [(tuple(v for v in HOME_VARIABLES if v in item.found_by), item)
             for item in snapshot.toolkits]  # fmt: skip
    useless = [
        _useless(snapshot, variables, item)
        for variables, item in named
        if variables and not (item.exists and item.nvcc)
    ]
    usable = [(" and ".join(v), item) for v, item in named if v and item.exists and item.nvcc]
    usable.sort(
        key=lambda pair: not pair[0].startswith(HOME_VARIABLES[0])
    )  # a build takes it first
    return [*useless, *_disagreeing(snapshot, usable)]


def _disagreeing(snapshot: Snapshot, usable: list[tuple[str, CudaToolkit]]) -> Iterator[Finding]:
    """The nvcc on PATH and a second variable, where they are not of the toolkit of the first."""
    if not usable:
        return
    variable, chosen = usable[0]
    on_path = next((item for item in snapshot.toolkits if "PATH" in item.found_by), None)
    if on_path is not None and _differ(chosen.version, on_path.nvcc_version):
        yield _two_at_once(variable, chosen, on_path)
    for other, item in usable[1:]:
        if _differ(chosen.version, item.version):
            yield _two_variables(variable, chosen, other, item)


def _differ(ours: str | None, theirs: str | None) -> bool:
    first, second = facts.version(ours), facts.version(theirs)
    return bool(first and second and first.release[:2] != second.release[:2])


def _useless(snapshot: Snapshot, variables: tuple[str, ...], item: CudaToolkit) -> Finding:
    """One folder, which one variable names or both: it is the folder that is wrong."""
    reason = "has no nvcc (a runtime-only install)" if item.exists else "does not exist"
    better = next((t for t in snapshot.toolkits if t.exists and t.nvcc), None)
    if better is not None:
        fix = Fix(
            tuple(f"export {variable}={join([better.path])}" for variable in variables),
            f"CUDA {better.version or ''}".strip(),
        )
    else:
        fix = Fix(
            (f"unset {' '.join(variables)}",), "and where it is set; nothing here has an nvcc"
        )
    return catalogue.finding(
        "BLD03",
        subject=item.path,
        cause=f"{' and '.join(variables)}={item.path} {reason}.",
        evidence=(
            *(Evidence(variable, item.path) for variable in variables),
            Evidence(item.path, reason),
        ),
        explains=("BLD01", "BLD02"),
        reach=[item.path],
        fix=(fix,),
    )


def _two_at_once(variable: str, named: CudaToolkit, on_path: CudaToolkit) -> Finding:
    return catalogue.finding(
        "BLD03",
        title=f"{variable} and PATH name two CUDA toolkits",
        cause=f"{variable} is CUDA {named.version}, and the nvcc on PATH is another, of CUDA "
        f"{on_path.nvcc_version}: torch's extensions are built with the first, CMake with the "
        "second.",
        evidence=(
            Evidence(variable, named.path),
            Evidence("nvcc on PATH", on_path.nvcc or on_path.path),
        ),
        fix=(Fix((f"export PATH={join([named.path + '/bin'])}:$PATH",), "or the other way round"),),
    )


def _two_variables(variable: str, chosen: CudaToolkit, other: str, item: CudaToolkit) -> Finding:
    return catalogue.finding(
        "BLD03",
        subject=other,
        title=f"{variable} and {other} name two CUDA toolkits",
        cause=f"{variable} is CUDA {chosen.version}, {other} is CUDA {item.version}: torch's "
        f"extensions are built with the first, what reads {other} alone with the second.",
        evidence=(Evidence(variable, chosen.path), Evidence(other, item.path)),
        fix=(Fix((f"export {other}={join([chosen.path])}",), "or the other way round"),),
    )


def _two_in_library_path(snapshot: Snapshot) -> list[Finding]:
    """Libraries of two CUDA releases in LD_LIBRARY_PATH.

    Where both have one soname, the first is loaded for programs of the second: a warning. Where
    only the bare ``libcudart.so`` is common (of two majors), it matters to what opens that name.
    It is one variable that is wrong, whatever number of toolkits it names: one finding.
    """
    pairs = []
    known = [(item, facts.version(item.version)) for item in snapshot.loader.cuda_folders]
    release = {item.path: version.release[:2] for item, version in known if version}
    for place, (second, _) in enumerate(known):
        for first, _ in known[:place]:
            ours, theirs = release.get(first.path), release.get(second.path)
            common = sorted(
                set(first.names) & set(second.names), key=lambda name: (len(name), name)
            )
            if ours and theirs and ours != theirs and common:
                pairs.append((first, second, common))
                break  # the first that hides it
    # Programs find the libraries of another major by their own names: no reason to lose those.
    real = [pair for pair in pairs if not _sonames(pair[2])[0].endswith(".so")]
    return [_shadowed(snapshot, real or pairs)] if pairs else []


def _shadowed(snapshot: Snapshot, pairs: list[tuple[CudaFolder, CudaFolder, list[str]]]) -> Finding:
    told: list[str] = []
    evidence: dict[str, str] = {}
    for first, second, common in pairs:
        shown = ", ".join(_sonames(common)[:3])
        told.append(
            f"{shown} of CUDA {first.version} in {first.entry} comes before that of CUDA "
            f"{second.version} in {second.entry}"
        )
        for item in (first, second):
            evidence.setdefault(item.path, f"CUDA {item.version}: {shown}")
    hidden = {second.entry for _, second, _ in pairs}
    entries = [entry for entry in snapshot.loader.ld_library_path if entry not in hidden]
    kept = " and ".join(dict.fromkeys(str(first.version) for first, _, _ in pairs
                                      if first.entry not in hidden))  # fmt: skip
    return catalogue.finding(
        "BLD03",
        subject="LD_LIBRARY_PATH",
        title="LD_LIBRARY_PATH names two CUDA toolkits"
        if len(pairs) == 1
        else "LD_LIBRARY_PATH names several CUDA toolkits",
        severity=Severity.INFO if _sonames(pairs[0][2])[0].endswith(".so") else Severity.WARNING,
        cause=f"{'; '.join(told)}: programs of either get the first.",
        evidence=(
            Evidence("LD_LIBRARY_PATH", ":".join(snapshot.loader.ld_library_path)),
            *(Evidence(path, detail) for path, detail in evidence.items()),
        ),
        fix=(
            Fix(
                (f"export LD_LIBRARY_PATH={join([':'.join(entries)])}",),
                f"keeps CUDA {kept}, which is found now; wheels of torch need neither",
            ),
        ),
    )


def _sonames(names: list[str]) -> list[str]:
    """Those with a version; where there is none, the bare names that only linkers read."""
    return [name for name in names if not name.endswith(".so")] or names


@check("BLD04", needs=("toolchain", "distributions"))
def no_compiler(snapshot: Snapshot) -> Outcome:
    """torch.compile on a GPU needs a C compiler and Python.h (through Triton)."""
    triton = facts.installed(snapshot, "triton") or facts.installed(snapshot, "pytorch-triton")
    if not triton or facts.torch_cuda(snapshot) is None:
        return Skipped("no torch with Triton here")
    if not facts.has_gpu(snapshot):
        return Skipped("no NVIDIA GPU here")
    if snapshot.scope.kind != "host":
        return Skipped("the compilers of that place are not known")
    chain, owner = snapshot.toolchain, for_environment(snapshot)
    no_cc, no_header = chain.cc is None, chain.python_header is None
    if not no_cc and not (no_header and owner.manager in ("apt", "dnf", "zypper", "system")):
        return ()
    missing = "a C compiler" if no_cc else "Python.h"
    return [
        catalogue.finding(
            "BLD04",
            cause=f"torch.compile needs {missing}, and there is none here.",
            evidence=(
                Evidence("PATH", f"C compiler: {chain.cc or 'none'}"),
                Evidence("sysconfig include", f"Python.h: {chain.python_header or 'not found'}"),
            ),
            fix=(_compiler(snapshot, owner),),
        )
    ]


def _compiler(snapshot: Snapshot, owner: Installer) -> Fix:
    if owner.is_conda:
        return Fix((owner.install(["gxx"]),))
    packages = {
        "apt": ["gcc", "python3-dev"],
        "dnf": ["gcc", "python3-devel"],
        "zypper": ["gcc", "python3-devel"],
        "pacman": ["gcc"],
    }
    return Fix((system_install(snapshot.platform, packages),), needs_root=True)


_BNB = re.compile(r"libbitsandbytes_cuda(\d{2})(\d)")


@check("BLD05", needs=("distributions", "torch"), systems=())
def bitsandbytes_binary(snapshot: Snapshot) -> Outcome:
    """bitsandbytes brings one binary for each CUDA version; none fits that of torch."""
    found, cuda = facts.installed(snapshot, "bitsandbytes"), facts.torch_cuda(snapshot)
    binaries = snapshot.python.bitsandbytes_binaries
    if not found or cuda is None:
        return Skipped("no bitsandbytes with a CUDA torch here")
    if not binaries:
        return Unknown("the binaries of bitsandbytes were not listed")
    versions = {f"{m[1]}.{m[2]}" for name in binaries if (m := _BNB.search(name))}
    forced = snapshot.environment.get("BNB_CUDA_VERSION")
    if forced:
        wanted = f"{forced[:-1]}.{forced[-1]}"
        if wanted in versions and int(forced[:-1]) == cuda.major:
            return ()
        cause = f"BNB_CUDA_VERSION={forced} asks for a binary for CUDA {wanted}; torch has {cuda}."
        fix = Fix(("unset BNB_CUDA_VERSION",))
    else:
        if any(int(item.split(".")[0]) == cuda.major for item in versions):
            return ()
        cause = (
            f"bitsandbytes {found[0].version} has binaries for CUDA {', '.join(sorted(versions))}, "
            f"torch was built with {cuda}."
        )
        fix = Fix((for_package(snapshot, "bitsandbytes").install(["bitsandbytes"], upgrade=True),))
    return [
        catalogue.finding(
            "BLD05",
            cause=cause,
            evidence=(
                Evidence("bitsandbytes", ", ".join(binaries)),
                Evidence("torch/version.py", f"cuda = {cuda}"),
                *((Evidence("BNB_CUDA_VERSION", forced),) if forced else ()),
            ),
            fix=(fix,),
        )
    ]
