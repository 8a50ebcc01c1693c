"""Section 2a, first half: is the kernel's side of the driver there, and is it the right one?"""

from __future__ import annotations

from packaging.version import Version

from cuready.compat.capability import ComputeCapability
from cuready.compat.driver import branch, newest_branch, runs_gpu, spell
from cuready.compat.verdict import Verdict
from cuready.doctor import catalogue, facts, things
from cuready.doctor.checks._images import driver_in_image
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Risk, Severity
from cuready.doctor.installers import install_driver, system_command, system_install
from cuready.doctor.registry import Outcome, Skipped, Unknown, check
from cuready.snapshot import PciGpu, Snapshot

TURING = ComputeCapability(7, 5)
BLACKWELL = ComputeCapability(10, 0)
LAST_LEGACY_BRANCH = 580  # the last one for Maxwell, Pascal and Volta (gpu_arch.json)

# Everything that only says again that the driver does not answer.
NO_DRIVER = (
    "DRV02",
    "DRV08",
    "DRV09",
    "DRV10",
    "DRV15",
    "DRV16",
    "VND01",
    "CTR01",
    "CTR03",
    "CTR05",
)

NO_GPU = Skipped("no NVIDIA GPU on the PCI bus")


def _on_bus(snapshot: Snapshot) -> Outcome | None:
    """Why the kernel driver is no question here; None when it is one."""
    if snapshot.scope.kind == "root":
        return Skipped("a kernel is not read below another root")
    if not facts.bare_linux(snapshot):
        return Skipped("the driver of WSL and Tegra is not a PCI module")
    return None if snapshot.gpus else NO_GPU


def _names(gpus: tuple[PciGpu, ...], snapshot: Snapshot) -> str:
    return ", ".join(facts.gpu_name(gpu, snapshot) for gpu in gpus)


@check("DRV01", needs=("pci", "kernel-driver"))
def module_not_loaded(snapshot: Snapshot) -> Outcome:
    """An NVIDIA GPU, and no nvidia module in the kernel."""
    if (skipped := _on_bus(snapshot)) is not None:
        return skipped
    driver, platform = snapshot.driver, snapshot.platform
    if driver.module_loaded is None:
        return Unknown("whether the nvidia module is loaded could not be read")
    waiting = tuple(gpu for gpu in snapshot.gpus if gpu.driver in (None, "nvidia"))
    if driver.module_loaded or not waiting:
        return ()
    built, kernel = driver.module_files, platform.kernel_release or "the running kernel"
    installed = bool(driver.driver_packages or driver.libraries)
    if built:
        cause = f"The nvidia module is built for kernel {kernel} but is not loaded."
        fix = Fix(
            (system_command(platform, "modprobe", "nvidia"),), "what it prints names the reason"
        )
    elif installed:
        cause = f"The NVIDIA driver is installed, but has no module for kernel {kernel}."
        fix = _rebuild(snapshot)
    else:
        cause = f"{_names(waiting, snapshot)} is there, and no NVIDIA driver is installed."
        return [_not_loaded(cause, snapshot, install_driver(snapshot, LAST_LEGACY_BRANCH))]
    return [_not_loaded(cause, snapshot, Fix(fix.commands, fix.note, True, Risk.MEDIUM))]


def _not_loaded(cause: str, snapshot: Snapshot, fix: Fix) -> Finding:
    evidence = [
        Evidence("/sys/bus/pci/devices", _names(snapshot.gpus, snapshot)),
        Evidence("/sys/module/nvidia", "not there"),
    ]
    files = snapshot.driver.module_files
    evidence.append(Evidence("/lib/modules", ", ".join(files) if files else "no nvidia.ko"))
    return catalogue.finding(
        "DRV01", cause=cause, evidence=evidence, fix=(fix,), explains=(*NO_DRIVER, "DRV11", "DRV13")
    )


def _rebuild(snapshot: Snapshot) -> Fix:
    """Headers for the running kernel, then let DKMS build the module again."""
    platform = snapshot.platform
    release = platform.kernel_release or "$(uname -r)"
    headers = {
        "apt": [f"linux-headers-{release}"],
        "dnf": [f"kernel-devel-{release}"],
        "zypper": ["kernel-default-devel"],
        "pacman": ["linux-headers"],
    }
    return Fix(
        (
            "dkms status",
            system_install(platform, headers),
            system_command(platform, "dkms", "autoinstall"),
            system_command(platform, "modprobe", "nvidia"),
        ),
        note="if DKMS is not in use, reinstall the driver package, then reboot",
        needs_root=True,
        risk=Risk.MEDIUM,
    )


@check("DRV02", needs=("kernel-driver", "driver-libraries"))
def library_mismatch(snapshot: Snapshot) -> Outcome:
    """The loaded module and the driver's libraries are of two versions, here or in an image."""
    here, planned = _mismatch(snapshot), driver_in_image(snapshot)
    if isinstance(here, (Skipped, Unknown)):
        return planned or here
    return [*here, *planned]


def _mismatch(snapshot: Snapshot) -> Outcome:
    loaded = facts.version(snapshot.driver.version)
    if not facts.bare_linux(snapshot):
        return Skipped("the driver of WSL and Tegra is not a PCI module")
    if loaded is None:
        return Skipped("no NVIDIA module is loaded")
    differing = []
    for soname, probe in (("libnvidia-ml.so.1", snapshot.nvml), ("libcuda.so.1", snapshot.cuda)):
        found = facts.library(snapshot, soname)
        if found is None or probe.status == "ok" or facts.COMPAT_FOLDER.search(found.real_path):
            continue
        version = facts.version(found.version)
        if version is not None and version != loaded:
            differing.append(found)
    if not differing:
        return ()
    first = differing[0]
    cause = (
        f"The kernel still runs the nvidia module {snapshot.driver.version}, while {first.soname} "
        f"is already {first.version}: the driver was changed without a reboot."
    )
    evidence = [
        Evidence("/sys/module/nvidia/version", str(snapshot.driver.version)),
        *(Evidence(lib.real_path, f"{lib.soname} {lib.version} ({lib.rule})") for lib in differing),
    ]
    reload = (
        system_command(snapshot.platform, "rmmod", "nvidia_uvm", "nvidia_drm", "nvidia_modeset",
                       "nvidia"),
        system_command(snapshot.platform, "modprobe", "nvidia"),
    )  # fmt: skip
    return [
        catalogue.finding(
            "DRV02",
            cause=cause,
            evidence=evidence,
            explains=("DRV08", "DRV09", "DRV11", "DRV12", "DRV16", "VND01"),
            fix=(
                Fix(
                    (system_command(snapshot.platform, "reboot"),),
                    needs_root=True,
                    risk=Risk.HIGH,
                ),
                Fix(reload, "without a reboot, once nothing uses the GPU", True, Risk.MEDIUM),
            ),
        )
    ]


@check("DRV03", needs=("pci", "kernel-driver", "module-files", "host"))
def rejected_by_secure_boot(snapshot: Snapshot) -> Outcome:
    """Secure Boot is on, the module is there, and it is not loaded: unsigned, or an unknown key."""
    if (skipped := _on_bus(snapshot)) is not None:
        return skipped
    driver, platform = snapshot.driver, snapshot.platform
    if driver.module_loaded is not False:
        return ()
    if platform.secure_boot is None:
        return Unknown("whether Secure Boot is on could not be read")
    if any(gpu.driver not in (None, "nvidia") for gpu in snapshot.gpus):
        return ()
    if not platform.secure_boot or not driver.module_files:
        return ()
    key = (
        "/var/lib/shim-signed/mok/MOK.der"
        if "ubuntu" in _family(snapshot)
        else "/var/lib/dkms/mok.pub"
    )
    return [
        catalogue.finding(
            "DRV03",
            cause="Secure Boot is on, and the kernel does not load an nvidia module whose key it "
            "does not know.",
            evidence=(
                Evidence("/sys/firmware/efi/efivars/SecureBoot-*", "on"),
                Evidence("/sys/module/nvidia", "not there"),
                Evidence("/lib/modules", ", ".join(driver.module_files)),
            ),
            confidence=Confidence.LIKELY,
            explains=("DRV01", *NO_DRIVER, "DRV11"),
            fix=(
                Fix(
                    (
                        system_command(platform, "mokutil", "--import", key),
                        system_command(platform, "reboot"),
                    ),
                    "the firmware asks for the password once, on the next boot",
                    needs_root=True,
                    risk=Risk.HIGH,
                ),
            ),
        )
    ]


def _family(snapshot: Snapshot) -> tuple[str, ...]:
    return (snapshot.platform.distro_id or "", *snapshot.platform.distro_like)


@check("DRV04", needs=("pci",))
def nouveau_took_it(snapshot: Snapshot) -> Outcome:
    """nouveau, or its successor nova, is bound to the GPU."""
    if (skipped := _on_bus(snapshot)) is not None:
        return skipped
    taken = tuple(
        gpu for gpu in snapshot.gpus if gpu.driver and gpu.driver.startswith(("nouveau", "nova"))
    )
    if not taken:
        return ()
    wanted = bool(
        snapshot.driver.driver_packages or snapshot.driver.libraries or facts.wants_cuda(snapshot)
    )
    names = sorted({str(gpu.driver) for gpu in taken})
    platform = snapshot.platform
    blacklist = f"printf 'blacklist {names[0]}\\noptions {names[0]} modeset=0\\n'"
    tee = system_command(platform, "tee", f"/etc/modprobe.d/blacklist-{names[0]}.conf")
    rebuild = ("update-initramfs", "-u") if "debian" in _family(snapshot) else ("dracut", "--force")
    return [
        catalogue.finding(
            "DRV04",
            severity=None if wanted else Severity.INFO,
            cause=f"The open driver {' and '.join(names)} is bound to "
            f"{_names(taken, snapshot)}, so "
            "NVIDIA's driver cannot take it.",
            evidence=[
                Evidence(f"/sys/bus/pci/devices/{gpu.address}/driver", str(gpu.driver))
                for gpu in taken
            ],
            explains=("DRV01", "DRV03", *NO_DRIVER, "DRV11"),
            reach=things.gpus(snapshot, taken),
            fix=(
                Fix(
                    (
                        f"{blacklist} | {tee}",
                        system_command(platform, *rebuild),
                        system_command(platform, "reboot"),
                    ),
                    needs_root=True,
                    risk=Risk.HIGH,
                ),
            ),
        )
    ]


def _with_capability(snapshot: Snapshot) -> list[tuple[PciGpu, ComputeCapability]]:
    found = [(gpu, facts.gpu_capability(gpu, snapshot)) for gpu in snapshot.gpus]
    return [(gpu, cc) for gpu, cc in found if cc is not None]


def _judgeable(snapshot: Snapshot) -> Outcome | None:
    """Why the flavour or branch of the driver cannot be judged here; None when it can."""
    if (skipped := _on_bus(snapshot)) is not None:
        return skipped
    if not snapshot.driver.module_loaded:
        return Skipped("no NVIDIA module is loaded")
    if not _with_capability(snapshot):
        return Unknown("the PCI id of the GPU is not in our tables")
    return None


@check("DRV05", needs=("pci", "kernel-driver"))
def proprietary_on_blackwell(snapshot: Snapshot) -> Outcome:
    """Blackwell and newer, and Grace Hopper, work with the open kernel modules only."""
    if (skipped := _judgeable(snapshot)) is not None:
        return skipped
    if snapshot.driver.flavour is None:
        return Unknown("whether the module is the open one could not be read")
    if snapshot.driver.flavour != "proprietary":
        return ()
    current = facts.version(snapshot.driver.version) or Version(str(newest_branch()))
    refused = [
        gpu
        for gpu, capability in _with_capability(snapshot)
        if capability >= BLACKWELL or (gpu.name or "").startswith("GH200")
    ]
    return [
        catalogue.finding(
            "DRV05",
            subject=gpu.address,
            cause=f"{facts.gpu_name(gpu, snapshot)} needs NVIDIA's open kernel modules; the loaded "
            f"module {snapshot.driver.version} is the proprietary one.",
            evidence=_flavour_evidence(snapshot, gpu),
            explains=("DRV08", "DRV09", "DRV15", "DRV16", "VND01", "DRV01"),
            about=things.each([things.gpu(gpu.address)]),
            reach=things.gpus(snapshot, refused),
            fix=(install_driver(snapshot, max(branch(current), 570)),),
        )
        for gpu in refused
    ]


@check("DRV06", needs=("pci", "kernel-driver"))
def open_on_old_gpu(snapshot: Snapshot) -> Outcome:
    """The open kernel modules need the GSP of Turing and newer."""
    if (skipped := _judgeable(snapshot)) is not None:
        return skipped
    if snapshot.driver.flavour is None:
        return Unknown("whether the module is the open one could not be read")
    if snapshot.driver.flavour != "open":
        return ()
    note = f"branch {LAST_LEGACY_BRANCH} is the last one for Maxwell, Pascal and Volta"
    fix = install_driver(snapshot, LAST_LEGACY_BRANCH, flavour="proprietary", note=note)
    old = [both for both in _with_capability(snapshot) if both[1] < TURING]
    return [
        catalogue.finding(
            "DRV06",
            subject=gpu.address,
            cause=f"{facts.gpu_name(gpu, snapshot)} has compute capability {capability}; NVIDIA's "
            "open kernel modules start at Turing (7.5).",
            evidence=_flavour_evidence(snapshot, gpu),
            explains=("DRV08", "DRV09", "DRV15", "DRV16", "VND01"),
            about=things.each([things.gpu(gpu.address)]),
            reach=things.gpus(snapshot, [gpu for gpu, _ in old]),
            fix=(fix,),
        )
        for gpu, capability in old
    ]


def _flavour_evidence(snapshot: Snapshot, gpu: PciGpu) -> list[Evidence]:
    return [
        Evidence(
            "/proc/driver/nvidia/version",
            snapshot.driver.proc_version or snapshot.driver.flavour or "",
        ),
        Evidence(f"/sys/bus/pci/devices/{gpu.address}/device", gpu.device_id),
    ]


@check("DRV07", needs=("pci", "kernel-driver"))
def branch_without_gpu(snapshot: Snapshot) -> Outcome:
    """The driver's branch no longer, or not yet, supports the GPU."""
    if (skipped := _judgeable(snapshot)) is not None:
        return skipped
    driver = facts.version(snapshot.driver.version)
    if driver is None:
        return Unknown("the version of the loaded module could not be read")
    answers = [(gpu, cc, runs_gpu(driver, cc)) for gpu, cc in _with_capability(snapshot)]
    refused = [item for item in answers if item[2].verdict is Verdict.INCOMPATIBLE]
    found = []
    for gpu, capability, answer in refused:
        old = capability < TURING
        target = LAST_LEGACY_BRANCH if old else newest_branch()
        found.append(
            catalogue.finding(
                "DRV07",
                subject=gpu.address,
                title=None if old else "The driver is too old to know this GPU",
                cause=f"{facts.gpu_name(gpu, snapshot)}: {answer.reason}.",
                evidence=(
                    Evidence("/sys/module/nvidia/version", spell(driver)),
                    Evidence(f"/sys/bus/pci/devices/{gpu.address}/device", gpu.device_id),
                ),
                confidence=Confidence.PROVEN if old else Confidence.LIKELY,
                explains=("DRV05", "DRV06", "DRV08", "DRV09", "DRV15", "DRV16", "VND01", "DRV11"),
                about=things.each([things.gpu(gpu.address)]),
                reach=things.gpus(snapshot, [item[0] for item in refused]),
                fix=(install_driver(snapshot, target, flavour="proprietary" if old else "open"),),
            )
        )
    return found
