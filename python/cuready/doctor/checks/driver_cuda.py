"""DRV11 and DRV12: is the driver new enough for the CUDA of the installed packages?"""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import Version

from cuready.compat.capability import runs_only_by_ptx
from cuready.compat.driver import (
    branch,
    compiles_ptx_of,
    cuda_of_driver,
    floor_of,
    runs_cuda,
    spell,
)
from cuready.compat.verdict import Answer, Verdict
from cuready.doctor import catalogue, facts, things
from cuready.doctor.finding import Confidence, Evidence, Fix
from cuready.doctor.installers import install_driver, reinstall_fitting
from cuready.doctor.registry import Outcome, Skipped, Unknown, check
from cuready.snapshot import Snapshot


def driver_of_a_gpu(snapshot: Snapshot) -> Version | Skipped | Unknown:
    """The driver that CUDA would run on here, or why there is nothing to compare with it."""
    if not facts.has_gpu(snapshot):
        return Skipped("no NVIDIA GPU here")
    driver = facts.driver_version(snapshot)
    if driver is not None:
        return driver
    if snapshot.driver.module_loaded is False:
        return Skipped("no driver is loaded")
    return Unknown("the driver's version is not known")


@check("DRV11", needs=("kernel-driver", "distributions"), systems=("Linux", "Windows"))
def driver_too_old(snapshot: Snapshot) -> Outcome:
    """A package was built for a CUDA major that this driver does not reach."""
    needed = facts.cuda_packages(snapshot)
    if not needed:
        return Skipped("nothing here was built for CUDA")
    driver = driver_of_a_gpu(snapshot)
    if not isinstance(driver, Version):
        return driver
    # TensorRT has an id of its own (TRT04), which is a symptom of this one.
    asked = {name: cuda for name, cuda in needed.items() if not name.startswith("tensorrt")}
    answers = {name: _answer(snapshot, driver, cuda) for name, cuda in asked.items()}
    failing = {n: a for n, a in answers.items() if a.verdict is Verdict.INCOMPATIBLE}
    if not failing:
        doubts = [a.reason for a in answers.values() if a.verdict is Verdict.UNKNOWN]
        return Unknown(doubts[0]) if doubts else ()
    worst = max(asked[name] for name in failing)
    first = next(iter(failing.values()))
    return [
        catalogue.finding(
            "DRV11",
            subject=", ".join(failing),
            cause=f"{_list(failing)} built for CUDA {worst.major}; {first.reason}.",
            evidence=[
                Evidence("driver", f"{spell(driver)}, speaks CUDA {cuda_of_driver(driver) or '?'}"),
                *(Evidence(name, f"built for CUDA {asked[name]}") for name in failing),
            ],
            explains=("DRV12", "TRT04", "PY18", "PY15", "BLD01"),
            about=things.each(failing, [things.DRIVER]),
            reach=things.copies(snapshot, *failing) | {*failing, things.DRIVER},
            fix=tuple(_fixes(snapshot, list(failing), worst)),
        )
    ]


def _list(failing: dict[str, Answer]) -> str:
    names = list(failing)
    return f"{names[0]} was" if len(names) == 1 else f"{', '.join(names)} were"


def _answer(snapshot: Snapshot, driver: Version, cuda: Version) -> Answer:
    """What the driver itself says it speaks comes before what its number predicts."""
    speaks = facts.version(snapshot.cuda.cuda_version or snapshot.nvml.cuda_version)
    if speaks is not None and speaks.major >= cuda.major:
        return Answer(Verdict.COMPATIBLE, f"the driver says that it speaks CUDA {speaks}")
    return runs_cuda(driver, cuda, facts.platform_tag(snapshot))


def _fixes(snapshot: Snapshot, failing: list[str], cuda: Version) -> Iterator[Fix]:
    tables = {"torch": "torch", "tensorflow": "tensorflow", "onnxruntime-gpu": "onnxruntime"}
    for name in failing:
        package = tables.get(name) or ("jax" if name.startswith("jax-") else None)
        if package is not None:
            keep = facts.installed(snapshot, name)
            yield from reinstall_fitting(
                snapshot, package, keep=keep[0].version.split("+")[0] if keep else None
            )
    if snapshot.platform.system == "Windows":
        return
    floor = floor_of(cuda.major)
    if floor is not None and floor.linux is not None:
        yield install_driver(
            snapshot,
            max(branch(Version(floor.linux)), 580 if cuda.major >= 13 else 535),
            note=f"or a driver that runs CUDA {cuda.major} ({floor.linux} or newer)",
        )


@check("DRV12", needs=("kernel-driver", "distributions"))
def ptx_too_new(snapshot: Snapshot) -> Outcome:
    """The GPU is served by PTX only, and the driver is older than the toolkit that made it."""
    cuda, torch = facts.torch_cuda(snapshot), snapshot.python.torch
    if cuda is None or torch is None:
        return Skipped("no torch built for CUDA here")
    driver, gpus = facts.driver_version(snapshot), facts.capabilities(snapshot)
    if driver is None or not gpus:
        return Skipped("no GPU or no driver known here")
    sass, ptx, source = _torch_code(snapshot)
    if not sass and not ptx:
        return Unknown(f"the architectures of torch {torch.version} are not known")
    found = []
    for name, capability in gpus.items():
        if not runs_only_by_ptx(sass, ptx, capability):
            continue
        answer = compiles_ptx_of(driver, cuda, facts.platform_tag(snapshot))
        if answer.verdict is Verdict.INCOMPATIBLE:
            found.append(
                catalogue.finding(
                    "DRV12",
                    subject="torch",
                    confidence=Confidence.LIKELY,
                    cause=f"torch {torch.version} has only PTX for {name} ({capability}), and "
                    f"{answer.reason}.",
                    evidence=(
                        Evidence(source, f"machine code {' '.join(sass)}; PTX {' '.join(ptx)}"),
                        Evidence("driver", spell(driver)),
                    ),
                    explains=("LIB11",),
                    about=[things.copies(snapshot, "torch") | {"torch", things.DRIVER}],
                    reach=things.copies(snapshot, "torch") | {"torch"},
                    fix=(
                        *reinstall_fitting(snapshot, "torch"),
                        install_driver(snapshot, _branch_for(cuda), note="or a newer driver"),
                    ),
                )
            )
    return found[:1]


def _branch_for(cuda: Version) -> int:
    from cuready.compat.driver import newest_branch, toolkit_driver

    needed = toolkit_driver(Version(f"{cuda.major}.{cuda.minor}"))
    return branch(needed) if needed else newest_branch()


def _torch_code(snapshot: Snapshot) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Machine code and PTX of torch: as scanned, as its own list says, or as the tables say."""
    torch = snapshot.python.torch
    assert torch is not None  # noqa: S101 - asked by the caller
    for code in snapshot.gpu_code:
        if code.status == "ok" and code.owner == "torch" and "libtorch_cuda" in code.path:
            return code.sass, code.ptx, code.path
    if torch.arch_flags:
        sass = tuple(flag for flag in torch.arch_flags if not flag.startswith("compute_"))
        return sass, tuple(f for f in torch.arch_flags if f.startswith("compute_")), torch.path
    from cuready.compat.torch import build_of

    version = facts.version(torch.version)
    build = build_of(version, torch.cuda) if version else None
    if build is None:
        return (), (), ""
    return build.arch_on(facts.platform_tag(snapshot)), build.ptx, build.source
