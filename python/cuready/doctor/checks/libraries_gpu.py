"""Section 2d, GPU code: LIB11, LIB12, and PY15 where uv chose the build."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from cuready._util import normalize
from cuready.compat.capability import ComputeCapability, code_runs_on
from cuready.compat.verdict import Answer, Verdict
from cuready.doctor import catalogue, facts, things
from cuready.doctor.checks.libraries import cuda_major_of
from cuready.doctor.finding import Evidence, Finding, Fix, Severity
from cuready.doctor.installers import for_package, reinstall_fitting
from cuready.doctor.registry import Outcome, Skipped, Unknown, check
from cuready.snapshot import GpuCode, Snapshot


def torch_code(snapshot: Snapshot) -> tuple[list[str], list[str], str]:
    """(machine code, PTX, where it was read) of torch: its CUDA libraries, else its own list."""
    torch = snapshot.python.torch
    if torch is None:
        return [], [], ""
    scanned = [
        code for code in snapshot.gpu_code
        if code.path.startswith(f"{torch.path}/lib/libtorch_cuda") and code.status == "ok"
    ]  # fmt: skip
    if scanned:
        sass = [arch for code in scanned for arch in code.sass]
        return sass, [arch for code in scanned for arch in code.ptx], scanned[0].path
    sass = [flag for flag in torch.arch_flags if flag.startswith("sm_")]
    ptx = [flag for flag in torch.arch_flags if flag.startswith("compute_")]
    return sass, ptx, f"{torch.path}: list of architectures"


def _answers(
    snapshot: Snapshot, sass: Iterable[str], ptx: Iterable[str]
) -> dict[str, tuple[ComputeCapability, Answer]]:
    cuda = facts.torch_cuda(snapshot)
    sass, ptx = list(sass), list(ptx)
    return {
        name: (gpu, code_runs_on(sass, ptx, gpu, cuda=cuda))
        for name, gpu in facts.capabilities(snapshot).items()
    }


def _torch_lacks(snapshot: Snapshot) -> dict[str, tuple[ComputeCapability, Answer]] | str:
    """GPU → why torch has no code for it; or, as text, why that cannot be said."""
    if facts.torch_cuda(snapshot) is None:
        return "no torch built for CUDA here"
    if not facts.capabilities(snapshot):
        return "no GPU whose compute capability is known"
    sass, ptx, _ = torch_code(snapshot)
    answers = _answers(snapshot, sass, ptx)
    return {name: both for name, both in answers.items() if both[1].verdict is Verdict.INCOMPATIBLE}


def _lacking(check_id: str, snapshot: Snapshot, lacking: dict[str, tuple[ComputeCapability, Answer]]
             ) -> list[Finding]:  # fmt: skip
    torch = snapshot.python.torch
    assert torch is not None  # noqa: S101 - _torch_lacks has looked
    _, _, where = torch_code(snapshot)
    all_of_them = len(lacking) == len(facts.capabilities(snapshot))
    names = ", ".join(f"{name} ({gpu})" for name, (gpu, _) in lacking.items())
    reason = next(iter(lacking.values()))[1].reason
    return [
        catalogue.finding(
            check_id,
            subject="torch",
            severity=None if all_of_them else Severity.WARNING,
            cause=f"torch {torch.version} was built without code for {names}.",
            evidence=[Evidence(where, reason)],
            explains=("LIB11", "LIB12", "DRV12") if check_id == "PY15" else ("LIB12", "DRV12"),
            about=[things.copies(snapshot, "torch") or frozenset(("torch",))],
            # What is installed again together with torch.
            reach=things.copies(snapshot, "torch", "torchvision", "torchaudio") | {"torch"},
            fix=reinstall_fitting(snapshot, "torch"),
        )
    ]


def _by_uv(snapshot: Snapshot) -> bool:
    return any(item.installer == "uv" for item in facts.installed(snapshot, "torch"))


@check("PY15", needs=("torch", "distributions"))
def chosen_by_driver_alone(snapshot: Snapshot) -> Outcome:
    """uv installed a torch that the driver can run and the GPU cannot."""
    if not _by_uv(snapshot):
        return Skipped("uv did not install torch here")
    lacking = _torch_lacks(snapshot)
    if isinstance(lacking, str):
        return Skipped(lacking)
    return _lacking("PY15", snapshot, lacking) if lacking else ()


@check("LIB11", needs=("torch",), systems=("Linux", "Windows"))
def torch_without_code(snapshot: Snapshot) -> Outcome:
    """torch has neither machine code nor PTX that a GPU here can run."""
    lacking = _torch_lacks(snapshot)
    if isinstance(lacking, str):
        return Skipped(lacking)
    sass, ptx, _ = torch_code(snapshot)
    if not sass and not ptx:
        return Unknown("which GPUs torch has code for could not be read")
    return _lacking("LIB11", snapshot, lacking) if lacking else ()


@check("LIB12", needs=("gpu-code",))
def extension_without_code(snapshot: Snapshot) -> Outcome:
    """A package has GPU code, and none of it runs on any GPU here."""
    if not facts.capabilities(snapshot):
        return Skipped("no GPU whose compute capability is known")
    groups: dict[str, list[GpuCode]] = {}
    for code in snapshot.gpu_code:
        if code.status == "ok" and not _of_torch(snapshot, code) and _for_this_cuda(snapshot, code):
            groups.setdefault(code.owner or posixpath.dirname(code.path), []).append(code)
    found = []
    for owner, codes in groups.items():
        # A package may keep optional kernels for newer GPUs in a library of their own; what counts
        # is whether any of its libraries serves the GPU.
        sass = [arch for code in codes for arch in code.sass]
        ptx = [arch for code in codes for arch in code.ptx]
        answers = _answers(snapshot, sass, ptx)
        no = {
            name: both for name, both in answers.items() if both[1].verdict is Verdict.INCOMPATIBLE
        }
        if no and len(no) == len(answers):
            found.append(_extension(snapshot, owner, codes, no))
    unknown = [code for code in snapshot.gpu_code if code.status == "unknown"]
    if not found and unknown and not groups:
        return Unknown(f"{unknown[0].path}: {unknown[0].reason}")
    return found


def _of_torch(snapshot: Snapshot, code: GpuCode) -> bool:
    name = normalize(code.owner.partition(" ")[0]) if code.owner else ""
    torch = snapshot.python.torch
    inside = torch is not None and code.path.startswith(f"{torch.path}/")
    return name == "torch" or name.startswith("nvidia-") or inside


def _for_this_cuda(snapshot: Snapshot, code: GpuCode) -> bool:
    """bitsandbytes brings one library for each CUDA and opens the one that fits torch's."""
    torch = facts.torch_cuda(snapshot)
    name = posixpath.basename(code.path)
    if torch is None or not name.startswith("libbitsandbytes_cuda"):
        return cuda_major_of(name) is None
    return name.startswith(f"libbitsandbytes_cuda{torch.major}")


def _extension(
    snapshot: Snapshot, owner: str, codes: list[GpuCode],
    no: dict[str, tuple[ComputeCapability, Answer]],
) -> Finding:  # fmt: skip
    name = owner.partition(" ")[0]
    gpu, answer = next(iter(no.values()))
    arch = f"{gpu.major}.{gpu.minor}"
    install = for_package(snapshot, name).install(
        [f"--no-binary={name}", "--no-build-isolation", name], reinstall=True, dependencies=False
    )
    return catalogue.finding(
        "LIB12",
        subject=name,
        cause=f"{owner} has GPU code, and none that {', '.join(no)} can run.",
        evidence=[Evidence(codes[0].path, answer.reason)],
        about=[things.copies(snapshot, name) | {codes[0].path}],
        fix=(Fix((f"export TORCH_CUDA_ARCH_LIST={arch}", install), "builds it for this GPU"),),
    )
