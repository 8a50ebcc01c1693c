"""Section 2e, second part: TensorRT's plans, its libraries, and its CUDA families."""

from __future__ import annotations

import re

from packaging.version import Version

from cuready.compat.capability import ComputeCapability, parse_capability
from cuready.compat.driver import floor_of, runs_cuda, spell
from cuready.compat.verdict import Verdict
from cuready.doctor import catalogue, facts, things
from cuready.doctor.checks.driver_cuda import driver_of_a_gpu
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Severity
from cuready.doctor.installers import for_package, install_driver, join
from cuready.doctor.registry import Outcome, Skipped, Unknown, check
from cuready.errors import CompatError
from cuready.snapshot import Distribution, Snapshot

PLAN_TAG = "ftrt"  # 0x74727466, little endian: the header whose bytes 24..27 hold the version
# Meta package, family package, its libraries and its bindings: one TensorRT is several of these.
_TENSORRT = re.compile(r"^tensorrt(?:-cu\d\d)?(?:-(?:libs|bindings))?$")
_NVINFER = re.compile(r"libnvinfer\.so\.\d{1,3}$")
# GPU in the name of a plan, as builders like to put it there: resnet_sm86.plan, unet-cc8.9.engine.
_GPU_IN_NAME = re.compile(r"(?:sm_?|cc_?)(\d{1,2}\.?\d)(?![\d.]*\d)", re.IGNORECASE)


def _tensorrt(snapshot: Snapshot) -> list[tuple[str, Distribution]]:
    return [(n, item) for n, item in facts.distributions(snapshot) if _TENSORRT.match(n)]


def _installed_version(snapshot: Snapshot) -> Version | None:
    found = [facts.version(item.version) for _, item in _tensorrt(snapshot)]
    known = [item for item in found if item is not None]
    return max(known) if known else None


@check("TRT01", needs=("plans", "distributions"), systems=())
def plan_of_another_version(snapshot: Snapshot) -> Outcome:
    """A plan was built by another TensorRT than the one that is installed."""
    have = _installed_version(snapshot)
    if not snapshot.plans:
        return Skipped("no plan file in the working folder")
    if have is None:
        return Skipped("no TensorRT in this environment")
    found, unreadable = [], []
    for plan in snapshot.plans:
        built = facts.version(plan.version)
        if plan.tag != PLAN_TAG or built is None:
            unreadable.append(plan.path)
            continue
        if built.release == have.release[: len(built.release)]:
            continue
        # A version-compatible plan runs on newer releases of its major; the header does not say.
        maybe = built.major == have.major and built < have
        rebuild = join(["trtexec", "--onnx=MODEL.onnx", f"--saveEngine={plan.path}"])
        version = f"tensorrt=={built}" if len(built.release) > 2 else f"tensorrt=={built}.*"
        found.append(
            catalogue.finding(
                "TRT01",
                subject=plan.path,
                severity=Severity.WARNING if maybe else None,
                confidence=Confidence.LIKELY if maybe else Confidence.PROVEN,
                cause=f"{plan.path} was built by TensorRT {built}; {have} is installed, and a "
                "plan runs "
                "on its own version only, unless it was built version-compatible.",
                evidence=(
                    Evidence(plan.path, f"header: TensorRT {built}"),
                    Evidence("tensorrt", str(have)),
                ),
                fix=(
                    Fix(
                        (rebuild,), "add --versionCompatible for one that outlives a minor release"
                    ),
                    Fix(
                        (for_package(snapshot, "tensorrt").install([version]),), "or that TensorRT"
                    ),
                ),
            )
        )
    if not found and unreadable:
        return Unknown(f"{unreadable[0]} has a header that we do not know")
    return found


@check("TRT02", needs=("plans",), systems=())
def plan_of_another_gpu(snapshot: Snapshot) -> Outcome:
    """The name of a plan says another GPU than the one that is here."""
    gpus = set(facts.capabilities(snapshot).values())
    if not snapshot.plans or not gpus:
        return Skipped("no plan file in the working folder, or no GPU known here")
    found = []
    for plan in snapshot.plans:
        built = _gpu_in_name(plan.path)
        if built is None or built in gpus:
            continue
        here = ", ".join(str(gpu) for gpu in sorted(gpus))
        rebuild = join(["trtexec", "--onnx=MODEL.onnx", f"--saveEngine={plan.path}"])
        found.append(
            catalogue.finding(
                "TRT02",
                subject=plan.path,
                confidence=Confidence.LIKELY,
                cause=f"{plan.path} says in its name that it was built for compute capability "
                f"{built}; "
                f"here is {here}.",
                evidence=(Evidence(plan.path, f"built for {built}"), Evidence("GPU", here)),
                fix=(
                    Fix(
                        (rebuild,),
                        "on this GPU; or with --hardwareCompatibilityLevel=ampere+ once for all",
                    ),
                ),
            )
        )
    return found


def _gpu_in_name(path: str) -> ComputeCapability | None:
    match = _GPU_IN_NAME.search(path.replace("\\", "/").rpartition("/")[2])
    if match is None:
        return None
    try:
        return parse_capability(match[1])
    except CompatError:
        return None


@check("TRT03", needs=("libraries", "distributions"))
def onnxruntime_provider(snapshot: Snapshot) -> Outcome:
    """ONNX Runtime's TensorRT provider does not find the libnvinfer that it was built for."""
    have = _installed_version(snapshot)
    if have is None:
        return Skipped("no TensorRT in this environment: ONNX Runtime uses its CUDA provider")
    for item in snapshot.libraries:
        missing = [m for m in item.missing if _NVINFER.match(m.soname)]
        if item.role != "onnxruntime" or not missing:
            continue
        wanted = int(missing[0].soname.rpartition(".")[2])
        family = _families(snapshot) or {12}
        package = f"tensorrt-cu{max(family)}>={wanted},<{wanted + 1}"
        owner = for_package(snapshot, "onnxruntime-gpu")
        if have.major == wanted:
            cause = f"{missing[0].soname} is installed, but not where the loader looks for it."
            folder = (
                f"{snapshot.python.site_packages[0]}/tensorrt_libs"
                if snapshot.python.site_packages
                else "tensorrt_libs"
            )
            export = (
                f'export LD_LIBRARY_PATH={join([folder])}"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"'
            )
            fix = Fix((export,), "or `import tensorrt` before onnxruntime")
        else:
            cause = f"This ONNX Runtime is for TensorRT {wanted}; {have} is installed."
            fix = Fix((owner.install([package]),))
        return [
            catalogue.finding(
                "TRT03",
                subject=item.path,
                cause=cause,
                evidence=(
                    Evidence(item.path, item.error_text or f"needs {missing[0].soname}"),
                    Evidence("tensorrt", str(have)),
                ),
                about=things.each(m.soname for m in missing),
                fix=(fix,),
            )
        ]
    return ()


def _families(snapshot: Snapshot) -> set[int]:
    return {m for n, _ in _tensorrt(snapshot) if (m := facts.cuda_family(n)) is not None}


@check("TRT04", needs=("distributions", "kernel-driver"), systems=("Linux", "Windows"))
def tensorrt_for_newer_cuda(snapshot: Snapshot) -> Outcome:
    """TensorRT for CUDA 13 on a driver that does not reach CUDA 13."""
    families = _families(snapshot)
    if not families:
        return Skipped("no TensorRT of a known CUDA family here")
    driver = driver_of_a_gpu(snapshot)
    if not isinstance(driver, Version):
        return driver
    worst = max(families)
    answer = runs_cuda(driver, Version(str(worst)), facts.platform_tag(snapshot))
    if answer.verdict is Verdict.UNKNOWN:
        return Unknown(answer.reason)
    if answer.ok:
        return ()
    have = _installed_version(snapshot)
    names = [item.name for n, item in _tensorrt(snapshot)]
    ours = things.copies(snapshot, *names)
    owner = for_package(snapshot, names[0])
    lower = worst - 1
    pin = f"tensorrt-cu{lower}=={have}" if have else f"tensorrt-cu{lower}"
    floor = floor_of(worst)
    fixes = [Fix((owner.uninstall(names), owner.install([pin])))]
    if snapshot.platform.system != "Windows":
        note = f"or driver {floor.linux if floor else ''} or newer"
        fixes.append(install_driver(snapshot, 580, note=note))
    return [
        catalogue.finding(
            "TRT04",
            subject=f"tensorrt-cu{worst}",
            cause=f"TensorRT {have or ''} here is built for CUDA {worst}; {answer.reason}.",
            evidence=(
                *(Evidence(n, item.version) for n, item in _tensorrt(snapshot)),
                Evidence("driver", spell(driver)),
            ),
            about=things.each([f"tensorrt-cu{worst}"], [things.DRIVER], ours),
            fix=fixes,
        )
    ]  # fmt: skip


@check("TRT05", needs=("distributions",), systems=())
def mixed_families(snapshot: Snapshot) -> Outcome:
    """tensorrt-cu12 and tensorrt-cu13 side by side, or a Torch-TensorRT for another torch."""
    families, bridge = _families(snapshot), _torch_tensorrt(snapshot)
    if len(families) < 2:
        return bridge
    other = () if isinstance(bridge, (Skipped, Unknown)) else bridge
    return [_both_families(snapshot, families), *other]


def _both_families(snapshot: Snapshot, families: set[int]) -> Finding:
    found = _tensorrt(snapshot)
    names = [item.name for _, item in found]
    cuda = facts.torch_cuda(snapshot)
    keep = cuda.major if cuda and cuda.major in families else max(families)
    version = next(item.version for n, item in found if facts.cuda_family(n) == keep)
    owner = for_package(snapshot, names[0])
    return catalogue.finding(
        "TRT05",
        subject=", ".join(f"cu{family}" for family in sorted(families)),
        cause="TensorRT for CUDA "
        + " and for CUDA ".join(str(family) for family in sorted(families))
        + " are installed together: they share tensorrt_libs/.",
        evidence=[Evidence(item.metadata_path or item.name, item.version) for _, item in found],
        explains=("LIB01", "LIB02", "TRT04"),
        reach=map(things.copy, (item for _, item in found)),
        fix=(Fix((owner.uninstall(names), owner.install([f"tensorrt-cu{keep}=={version}"]))),),
    )


def _torch_tensorrt(snapshot: Snapshot) -> Outcome:
    bridge = facts.installed(snapshot, "torch-tensorrt")
    torch = facts.installed(snapshot, "torch")
    if not bridge or not torch:
        return Skipped("one TensorRT family, no Torch-TensorRT") if not bridge else ()
    have = facts.version(torch[0].version)
    if have is None:
        return Unknown(f"torch {torch[0].version!r} is not a version")
    for line in bridge[0].requires:
        requirement = facts.requirement(line)
        if requirement is None or requirement.name != "torch":
            continue
        if requirement.specifier.contains(have.base_version, True):
            continue
        owner = for_package(snapshot, "torch-tensorrt")
        fitting = f"torch-tensorrt=={have.major}.{have.minor}.*"
        return [
            catalogue.finding(
                "TRT05",
                subject="torch-tensorrt",
                title="Torch-TensorRT is for another torch",
                cause=f"torch-tensorrt {bridge[0].version} needs torch {requirement.specifier}; "
                f"{have} is installed.",
                evidence=(
                    Evidence(bridge[0].metadata_path or "torch-tensorrt", line),
                    Evidence(torch[0].metadata_path or "torch", str(have)),
                ),
                fix=(Fix((owner.install([fitting]),)),),
            )
        ]
    return ()
