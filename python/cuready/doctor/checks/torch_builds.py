"""Section 2c, first part: a torch without CUDA on a machine with a GPU, and why it was chosen."""

from __future__ import annotations

from packaging.version import Version

from cuready.doctor import catalogue, facts, things
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Severity
from cuready.doctor.installers import for_environment, for_package, join, reinstall_fitting
from cuready.doctor.registry import Outcome, Skipped, Unknown, check
from cuready.snapshot import CondaPackage, Distribution, Snapshot

JETSON_INDEX = "https://pypi.jetson-ai-lab.io/jp6/cu126"
SIBLINGS = ("torchvision", "torchaudio")
ONE_HOUR_S = 3600.0


def _cpu_torch(snapshot: Snapshot) -> Outcome | None:
    """Why the build of torch is no question here; None when a CPU build meets a GPU."""
    torch = snapshot.python.torch
    if torch is None:
        return Skipped("no torch here")
    if not facts.has_gpu(snapshot):
        return Skipped("no NVIDIA GPU here")
    return () if torch.cuda or torch.hip else None


def _release(snapshot: Snapshot) -> str | None:
    torch = snapshot.python.torch
    found = facts.version(torch.version) if torch is not None else None
    return found.base_version if found else None


def _version_evidence(snapshot: Snapshot) -> Evidence:
    torch = snapshot.python.torch
    assert torch is not None  # noqa: S101 - asked before
    return Evidence(
        torch.path or "torch/version.py", f"version {torch.version}, cuda = {torch.cuda}"
    )


@check("PY01", needs=("torch", "distributions"), systems=("Linux", "Windows"))
def cpu_build(snapshot: Snapshot) -> Outcome:
    """torch was built without CUDA, and there is a GPU."""
    if (decided := _cpu_torch(snapshot)) is not None:
        return decided
    torch = snapshot.python.torch
    assert torch is not None  # noqa: S101 - asked before
    return [
        catalogue.finding(
            "PY01",
            cause=f"torch {torch.version} is a CPU build; the GPU of this machine stays unused.",
            evidence=(_version_evidence(snapshot),),
            fix=reinstall_fitting(snapshot, "torch", keep=_release(snapshot))
            or (_plain_reinstall(),),
        )
    ]


def _plain_reinstall() -> Fix:
    """When the tables have no build that fits: show what they do have."""
    return Fix(("cuready compat torch",), "no build in our tables fits this driver and GPU")


def _cpu_finding(
    snapshot: Snapshot, check_id: str, cause: str, evidence: list[Evidence], fix: tuple[Fix, ...]
) -> Finding:
    return catalogue.finding(
        check_id,
        cause=cause,
        evidence=[_version_evidence(snapshot), *evidence],
        explains=("PY01", "PY02", "PY03") if check_id in ("PY04", "PY05") else ("PY01",),
        fix=fix or (_plain_reinstall(),),
    )


@check("PY02", needs=("torch", "config"), systems=("Windows",))
def windows_default_is_cpu(snapshot: Snapshot) -> Outcome:
    """On Windows the default index has CPU builds only."""
    if (decided := _cpu_torch(snapshot)) is not None:
        return decided
    torch = snapshot.python.torch
    if torch is None or "+" in torch.version or _pytorch_index(snapshot):
        return ()
    cause = "The default package index has only CPU builds of torch for Windows."
    evidence = [Evidence("pip and uv configuration", "no PyTorch index")]
    fix = reinstall_fitting(snapshot, "torch", keep=_release(snapshot))
    return [_cpu_finding(snapshot, "PY02", cause, evidence, fix)]


def _pytorch_index(snapshot: Snapshot) -> str | None:
    """A configured index of PyTorch's, which would have given a CUDA build."""
    values = [str(item.values) for item in snapshot.config.files if item.tool in ("pip", "uv")]
    values += list(snapshot.config.environment.values())
    return next((text for text in values if "download.pytorch.org" in text), None)


@check("PY03", needs=("torch", "host"))
def aarch64_default_was_cpu(snapshot: Snapshot) -> Outcome:
    """On aarch64 the default index had CPU builds only, until torch 2.11."""
    if snapshot.platform.machine not in ("aarch64", "arm64"):
        return Skipped("not on aarch64")
    if (decided := _cpu_torch(snapshot)) is not None:
        return decided
    torch = snapshot.python.torch
    if torch is None or "+" in torch.version or facts.conda_package(snapshot, "pytorch"):
        return ()
    if snapshot.platform.tegra_release:
        cause = "PyPI's torch for aarch64 does not serve Jetson; NVIDIA builds its own."
        install = for_package(snapshot, "torch").install(
            ["torch", "torchvision"], index_url=JETSON_INDEX, reinstall=True
        )
        fix: tuple[Fix, ...] = (Fix((install,), f"for {snapshot.platform.tegra_release}"),)
    else:
        cause = "PyPI's torch for aarch64 is a CPU build before 2.11."
        fix = reinstall_fitting(snapshot, "torch")
    return [_cpu_finding(snapshot, "PY03", cause, [Evidence("uname -m", "aarch64")], fix)]


@check("PY04", needs=("torch", "distributions"), systems=("Linux", "Windows"))
def silently_replaced(snapshot: Snapshot) -> Outcome:
    """The torch that is there is not the one that its siblings, or the lock file, were made for."""
    torch = snapshot.python.torch
    if torch is None:
        return Skipped("no torch here")
    found = facts.installed(snapshot, "torch")
    evidence = _sibling_tags(snapshot, torch.cuda) or _lock_says_otherwise(snapshot, torch.version)
    if not evidence and torch.cuda is None and found:
        evidence = _newer_than_siblings(snapshot, found[0])
    if not evidence:
        return ()
    lost = torch.cuda is None and torch.hip is None and facts.has_gpu(snapshot)
    wanted = _wanted_release(snapshot) or _release(snapshot)
    cause = f"torch {torch.version} was installed over another build: {evidence[0].detail}."
    finding = _cpu_finding(
        snapshot, "PY04", cause, evidence, reinstall_fitting(snapshot, "torch", keep=wanted)
    )
    if lost:
        return [finding]
    return [
        catalogue.finding(
            "PY04",
            severity=Severity.WARNING,
            confidence=Confidence.LIKELY,
            cause=cause,
            evidence=finding.evidence,
            fix=finding.fix,
        )
    ]


def _sibling_tags(snapshot: Snapshot, cuda: str | None) -> list[Evidence]:
    """torchvision and torchaudio that carry a CUDA tag other than the CUDA of torch."""
    ours = f"cu{cuda.replace('.', '')}" if cuda else "cpu"
    found = []
    for name in SIBLINGS:
        for item in facts.installed(snapshot, name):
            tag = item.version.partition("+")[2]
            if tag.startswith("cu") and tag != ours:
                found.append(Evidence(name, f"{name} {item.version} goes with a {tag} build"))
    return found


def _lock_says_otherwise(snapshot: Snapshot, installed: str) -> list[Evidence]:
    here = installed.partition("+")
    found = []
    for source, pinned in snapshot.python.project_pins.items():
        if not source.endswith(" torch"):
            continue
        base, _, tag = pinned.partition("+")
        if tag.startswith("cu") and (base, tag) != (here[0], here[2]):
            found.append(Evidence(source.removesuffix(" torch"), f"it pins torch {pinned}"))
    return found


def _newer_than_siblings(snapshot: Snapshot, torch: Distribution) -> list[Evidence]:
    """A CPU torch that came later than the CUDA libraries that an earlier torch had brought."""
    brought = [
        item
        for name, item in facts.distributions(snapshot)
        if name.startswith("nvidia-cudnn-cu") and item.mtime is not None
    ]
    if torch.mtime is None or not brought:
        return []
    newest = max(brought, key=lambda item: item.mtime or 0.0)
    if torch.mtime - (newest.mtime or 0.0) < ONE_HOUR_S:
        return []
    return [
        Evidence(
            torch.metadata_path or torch.location,
            f"it is newer than {newest.name} {newest.version}, which a CUDA build had brought",
        )
    ]


def _wanted_release(snapshot: Snapshot) -> str | None:
    for source, pinned in snapshot.python.project_pins.items():
        if source.endswith(" torch"):
            return pinned.partition("+")[0]
    return None


def _conda_torch(snapshot: Snapshot) -> CondaPackage | None:
    packages = snapshot.python.conda_packages
    return next((p for p in packages if p.name in ("pytorch", "libtorch", "pytorch-cpu")), None)


@check("PY05", needs=("conda", "torch"))
def conda_chose_cpu(snapshot: Snapshot) -> Outcome:
    """The solver saw no `__cuda` and took the CPU build."""
    package = _conda_torch(snapshot)
    if package is None:
        return Skipped("no conda torch here")
    if (decided := _cpu_torch(snapshot)) is not None:
        return decided
    if "cpu" not in package.build:
        return ()
    driver = facts.driver_version(snapshot)
    from cuready.compat.driver import cuda_of_driver

    cuda = (cuda_of_driver(driver) if driver else None) or Version("12.8")
    owner = for_environment(snapshot)
    install = owner.install(["pytorch-gpu"])
    override = f"CONDA_OVERRIDE_CUDA={cuda.major}.{cuda.minor} {install}"
    cause = (
        f"conda installed {package.name} {package.version} in the build {package.build}: the "
        "solver "
        "saw no GPU (`__cuda`) when it ran."
    )
    evidence = [Evidence(f"conda-meta/{package.name}", f"build {package.build}, {package.channel}")]
    fix = (Fix((override,), "also when the install runs on a login node without a GPU"),)
    return [_cpu_finding(snapshot, "PY05", cause, evidence, fix)]


@check("PY06", needs=("conda",))
def dead_conda_channel(snapshot: Snapshot) -> Outcome:
    """Packages of the `pytorch` conda channel, which ended with 2.5.1."""
    packages = snapshot.python.conda_packages
    if not packages:
        return Skipped("no conda environment")
    old = [
        item
        for item in packages
        if item.name in ("pytorch", "torchvision", "torchaudio", "pytorch-cuda")
        and item.channel.rstrip("/").rpartition("/")[2] == "pytorch"
    ]
    if not old:
        return ()
    owner = for_environment(snapshot)
    return [
        catalogue.finding(
            "PY06",
            cause=f"{old[0].name} {old[0].version} comes from the conda channel `pytorch`, "
            "which gets "
            "no releases after 2.5.1.",
            evidence=[
                Evidence(f"conda-meta/{p.name}", f"{p.version} from {p.channel}") for p in old
            ],
            fix=(
                Fix(
                    (
                        owner.uninstall([item.name for item in old]),
                        owner.install(["pytorch-gpu"]),
                    ),
                    "conda-forge has the current releases; pip does too",
                ),
            ),
        )
    ]


@check("PY13", needs=("distributions",), systems=())
def numpy_two(snapshot: Snapshot) -> Outcome:
    """NumPy 2 under a torch that was compiled with NumPy 1."""
    from cuready.compat.tables import table

    numpy, torch = facts.installed(snapshot, "numpy"), facts.installed(snapshot, "torch")
    if not numpy or not torch:
        return Skipped("no torch with numpy here")
    have, needs = facts.version(numpy[0].version), facts.version(torch[0].version)
    if have is None or needs is None:
        return Unknown("the version of numpy or torch cannot be read")
    rule = table("derived")["numpy2_first_torch"]
    first = Version(rule["windows" if snapshot.platform.system == "Windows" else "linux"])
    if have.major < 2 or Version(needs.base_version) >= first:
        return ()
    owner = for_package(snapshot, "numpy")
    return [
        catalogue.finding(
            "PY13",
            cause=f"numpy {have} has another ABI than the NumPy 1 that torch {needs} was "
            "compiled with.",
            evidence=(Evidence("numpy", str(have)), Evidence("torch", str(needs))),
            about=[frozenset((things.copy(numpy[0]), things.copy(torch[0])))],
            fix=(
                Fix((owner.install(["numpy<2"]),)),
                Fix(
                    (join(["cuready", "compat", "torch"]),),
                    "or a newer torch that fits this machine",
                ),
            ),
        )
    ]
