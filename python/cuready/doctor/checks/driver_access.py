"""Section 2a, second half: the driver is loaded; can programs reach it, and is the GPU alive?"""

from __future__ import annotations

from cuready.doctor import catalogue, facts, things
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Risk, Severity
from cuready.doctor.installers import install_packages, join, system_command, system_packages
from cuready.doctor.registry import Outcome, Skipped, Unknown, check
from cuready.snapshot import DeviceNode, NativeDevice, Snapshot

CUDA_ERROR_STUB_LIBRARY = 34
CUDA_ERROR_SYSTEM_NOT_READY = 802
CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE = 804
CUDA_ERROR_UNKNOWN = 999
GPU_LOST = "NVML_ERROR_GPU_IS_LOST"

CONTROL, UVM = "/dev/nvidiactl", "/dev/nvidia-uvm"


def _reachable(snapshot: Snapshot) -> Outcome | None:
    """Why device nodes are no question here; None when they are one."""
    if snapshot.scope.kind == "root":
        return Skipped("device nodes are not read below another root")
    if not facts.bare_linux(snapshot):
        return Skipped("WSL and Tegra have other device nodes")
    if not facts.has_gpu(snapshot):
        return Skipped("no NVIDIA GPU here")
    if not snapshot.driver.module_loaded:
        return Skipped("no NVIDIA module is loaded")
    return None


@check("DRV08", needs=("kernel-driver", "device-nodes"))
def uvm_missing(snapshot: Snapshot) -> Outcome:
    """nvidia_uvm is not loaded, has no device node, or is wedged after a suspend."""
    if (skipped := _reachable(snapshot)) is not None:
        return skipped
    if snapshot.platform.container:
        return Skipped("in a container: see CTR05")
    node, probe = facts.node(snapshot, UVM), snapshot.cuda
    missing = snapshot.driver.uvm_loaded is False or (node is not None and not node.exists)
    wedged = probe.error_code == CUDA_ERROR_UNKNOWN and snapshot.nvml.status == "ok"
    if not missing and not wedged:
        return ()
    platform = snapshot.platform
    if missing:
        cause = (
            "The module nvidia_uvm is not loaded or has no device node; CUDA cannot start "
            "without it."
        )
        fix = Fix(
            (system_command(platform, "nvidia-modprobe", "-u", "-c0"),),
            needs_root=True,
            risk=Risk.LOW,
        )
    else:
        cause = (
            "cuInit answers with error 999 while NVML works: nvidia_uvm is wedged, as after "
            "a suspend."
        )
        fix = Fix(
            (
                system_command(platform, "rmmod", "nvidia_uvm"),
                system_command(platform, "modprobe", "nvidia_uvm"),
            ),
            "stop every program that uses the GPU first",
            needs_root=True,
            risk=Risk.MEDIUM,
        )
    asked = probe.status in ("failed", "crashed")
    evidence = [
        Evidence("/sys/module/nvidia_uvm", "there" if snapshot.driver.uvm_loaded else "not there"),
        Evidence(UVM, "there" if node is not None and node.exists else "not there"),
    ]
    if asked:
        evidence.append(
            Evidence(probe.step or "cuInit", f"{probe.error_name} ({probe.error_code})")
        )
    return [
        catalogue.finding(
            "DRV08",
            # The driver loads the module on first use where nvidia-modprobe is installed.
            severity=None if asked else Severity.WARNING,
            confidence=Confidence.PROVEN if asked else Confidence.LIKELY,
            cause=cause,
            evidence=evidence,
            fix=(fix,),
        )
    ]


@check("DRV09", needs=("kernel-driver", "device-nodes"))
def nodes_not_usable(snapshot: Snapshot) -> Outcome:
    """The device nodes are missing on the host, or this user may not open them."""
    if (skipped := _reachable(snapshot)) is not None:
        return skipped
    control = facts.node(snapshot, CONTROL)
    if control is None:
        return Unknown("/dev was not read")
    if not control.exists:
        return () if snapshot.platform.container else [_no_nodes(snapshot)]
    nodes = [control, *facts.gpu_nodes(snapshot), *filter(None, [facts.node(snapshot, UVM)])]
    denied = [item for item in nodes if item.exists and item.open_error == "EACCES"]
    if denied:
        return [_denied(snapshot, denied)]
    return _fewer_nodes_than_gpus(snapshot)


def _no_nodes(snapshot: Snapshot) -> Finding:
    command = system_command(snapshot.platform, "nvidia-modprobe", "-c0", "-u")
    return catalogue.finding(
        "DRV09",
        title="The driver is loaded, but its device nodes are missing",
        cause=f"{CONTROL} does not exist: nothing made the device nodes after the module was "
        "loaded.",
        evidence=(Evidence(CONTROL, "not there"), Evidence("/sys/module/nvidia", "loaded")),
        explains=("DRV08",),
        fix=(Fix((command,), "nvidia-persistenced does this at boot", needs_root=True),),
    )


def _denied(snapshot: Snapshot, denied: list[DeviceNode]) -> Finding:
    groups = [item.owner.partition(":")[2] for item in denied if item.owner]
    group = next((name for name in groups if name and name != "root"), None)
    platform = snapshot.platform
    if group:
        command = f'{system_command(platform, "usermod", "-aG", group)} "$USER"'
        fix = Fix((command,), "log out and in again", needs_root=True)
    else:
        command = system_command(platform, "chmod", "a+rw", *(item.path for item in denied))
        fix = Fix((command,), "lasts until the next boot: look for a udev rule or module option "
                  "NVreg_DeviceFileMode that sets the mode", needs_root=True)  # fmt: skip
    return catalogue.finding(
        "DRV09",
        cause=f"This user may not open {', '.join(item.path for item in denied)}.",
        evidence=[
            Evidence(
                item.path, f"{item.mode or 'mode not read'} {item.owner or ''}: EACCES".strip()
            )
            for item in denied
        ],
        explains=("DRV08",),
        about=things.each(item.path for item in denied),
        fix=(fix,),
    )


def _fewer_nodes_than_gpus(snapshot: Snapshot) -> Outcome:
    """A scheduler or a container hands out some of the GPUs: that is no fault."""
    if snapshot.platform.container or snapshot.platform.scheduler:
        return ()
    expected, there = len(snapshot.driver.proc_gpus), len(facts.gpu_nodes(snapshot))
    if not expected or there >= expected:
        return ()
    return [
        catalogue.finding(
            "DRV09",
            title="Fewer device nodes than GPUs",
            cause=f"The driver knows {expected} GPUs, and /dev has {there} of their nodes.",
            evidence=(
                Evidence("/proc/driver/nvidia/gpus", f"{expected} GPUs"),
                Evidence("/dev/nvidia[0-9]*", f"{there} nodes"),
            ),
            fix=(
                Fix(
                    (system_command(snapshot.platform, "nvidia-modprobe", f"-c{expected - 1}"),),
                    needs_root=True,
                ),
            ),
        )
    ]


@check("DRV10", needs=("kernel-driver",))
def fabric_manager(snapshot: Snapshot) -> Outcome:
    """NVSwitch machines start CUDA only when Fabric Manager of the driver's version runs."""
    driver, platform = snapshot.driver, snapshot.platform
    not_ready = snapshot.cuda.error_code == CUDA_ERROR_SYSTEM_NOT_READY
    if not driver.nvswitch and not not_ready:
        return Skipped("no NVSwitch in this machine")
    ours, theirs = driver.version, driver.fabric_manager_version
    # A container sees neither the host's processes nor its packages.
    stopped = driver.fabric_manager_running is False and not platform.container
    mismatch = bool(ours and theirs and ours != theirs)
    state = "running" if driver.fabric_manager_running else "not seen running"
    if not (not_ready or stopped or mismatch):
        return ()
    branch = (ours or "580").split(".")[0]
    packages = system_packages("fabric-manager", platform, branch=branch, version=ours or branch)
    start = system_command(platform, "systemctl", "enable", "--now", "nvidia-fabricmanager")
    install = install_packages(platform, packages)
    commands = (start,) if theirs and not mismatch else (*install, start)
    if mismatch:
        cause = f"Fabric Manager is {theirs}, the driver is {ours}: it serves only its own version."
    elif stopped:
        cause = "This machine has NVSwitches, and nv-fabricmanager is not running."
    else:
        cause = (
            "cuInit answers 802 (system not yet initialized): the NVSwitch fabric is not set up."
        )
    return [
        catalogue.finding(
            "DRV10",
            cause=cause,
            evidence=(
                Evidence("NVSwitch", "present" if driver.nvswitch else "not visible here"),
                Evidence("nv-fabricmanager", f"{state}, version {theirs or 'not known'}"),
                Evidence("cuInit", snapshot.cuda.error_name or snapshot.cuda.status),
            ),
            explains=("DRV08",),
            fix=(Fix(commands, "on the host, when this is a container", True, Risk.MEDIUM),),
        )
    ]  # fmt: skip


@check("DRV13", needs=("driver-libraries",))
def compat_libcuda(snapshot: Snapshot) -> Outcome:
    """A forward-compatibility libcuda wins where it cannot work."""
    found = facts.library(snapshot, "libcuda.so.1")
    refused = snapshot.cuda.error_code == CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE
    if found is None:
        return Skipped("no libcuda.so.1 on the search path")
    if not facts.COMPAT_FOLDER.search(found.real_path) and not facts.COMPAT_FOLDER.search(
        found.path
    ):
        return ()
    base, compat = facts.version(snapshot.driver.version), facts.version(found.version)
    consumer = _consumer_gpus(snapshot)
    older = bool(base and compat and compat < base)
    if not (refused or older or consumer):
        return ()
    if older:
        cause = (
            f"{found.path} is libcuda {found.version}, older than the driver "
            f"{snapshot.driver.version}: "
            "a compat library must not stand before a newer driver."
        )
    else:
        cause = (
            f"{found.path} is a forward-compatibility libcuda, which works on data-centre GPUs "
            "only; "
            f"this is {', '.join(consumer) or 'another GPU'}."
        )
    return [
        catalogue.finding(
            "DRV13",
            cause=cause,
            evidence=(
                Evidence(found.path, f"libcuda {found.version or '?'}, found by {found.rule}"),
                Evidence("/sys/module/nvidia/version", snapshot.driver.version or "not read"),
            ),
            explains=("DRV02", "DRV08", "DRV11", "DRV12"),
            fix=(_off_the_path(snapshot, found.path.rpartition("/")[0], found.rule),),
        )
    ]  # fmt: skip


def _consumer_gpus(snapshot: Snapshot) -> list[str]:
    from cuready.compat import gpus

    names = []
    for gpu in snapshot.gpus:
        known = gpus.by_pci_id(gpu.device_id)
        name = gpu.name or (known.name if known else "")
        if "geforce" in name.lower() or (known is not None and known.geforce):
            names.append(facts.gpu_name(gpu, snapshot))
    return names if len(names) == len(snapshot.gpus) else []


def _off_the_path(snapshot: Snapshot, folder: str, rule: str) -> Fix:
    """Take ``folder`` off the loader's search path, wherever it was put there."""
    entries = list(snapshot.loader.ld_library_path)
    if rule == "LD_LIBRARY_PATH" or folder in entries:
        kept = ":".join(item for item in entries if item.rstrip("/") != folder.rstrip("/"))
        command = f"export LD_LIBRARY_PATH={join([kept])}" if kept else "unset LD_LIBRARY_PATH"
        return Fix((command,), "and where your shell or service sets it")
    return Fix(
        (
            join(["grep", "-rl", folder, "/etc/ld.so.conf.d"]),
            system_command(snapshot.platform, "ldconfig"),
        ),
        "take the folder out of the file that grep names, then run ldconfig",
        needs_root=True,
        risk=Risk.MEDIUM,
    )


@check("DRV14", needs=("driver-libraries",))
def stub_libcuda(snapshot: Snapshot) -> Outcome:
    """The toolkit's link-time stub of libcuda is what programs load."""
    found = facts.library(snapshot, "libcuda.so.1")
    stub = found is not None and "/stubs/" in found.path
    if not stub and snapshot.cuda.error_code != CUDA_ERROR_STUB_LIBRARY:
        return ()
    path = found.path if found is not None else snapshot.cuda.library or "libcuda.so.1"
    rule = found.rule if found is not None else ""
    return [
        catalogue.finding(
            "DRV14",
            cause=f"{path} is the toolkit's stub, made for linking; it stands before the real "
            "libcuda.",
            evidence=(Evidence(path, f"found by {rule or 'the loader'}"),),
            explains=("DRV02", "DRV08", "DRV11", "DRV13"),
            fix=(_off_the_path(snapshot, path.rpartition("/")[0], rule),),
        )
    ]


@check("DRV15", needs=("nvml",))
def gpu_lost(snapshot: Snapshot) -> Outcome:
    """A GPU fell off the bus: NVML says lost, or the kernel logged Xid 79."""
    lost = [device for device in snapshot.nvml.devices if device.error == GPU_LOST]
    xid = [line for line in snapshot.driver.xid_messages if "Xid" in line and " 79" in line]
    whole = snapshot.nvml.error_name == GPU_LOST
    if not (lost or xid or whole):
        return ()
    names = ", ".join(_device_name(device) for device in lost) or "A GPU"
    reset = system_command(snapshot.platform, "nvidia-smi", "--gpu-reset")
    return [
        catalogue.finding(
            "DRV15",
            cause=f"{names} fell off the PCI bus and does not answer any more.",
            evidence=[
                *(Evidence("NVML", f"{_device_name(device)}: {device.error}") for device in lost),
                *([Evidence("NVML", GPU_LOST)] if whole and not lost else []),
                *(Evidence("/dev/kmsg", line) for line in xid[:3]),
            ],
            about=things.each(things.gpu(x.pci_address) for x in lost if x.pci_address),
            explains=("DRV08", "DRV16"),
            fix=(
                Fix(
                    (reset, system_command(snapshot.platform, "reboot")),
                    "when it comes back again and again: power supply, seating, temperature",
                    needs_root=True,
                    risk=Risk.HIGH,
                ),
            ),
        )
    ]


def _device_name(device: NativeDevice) -> str:
    return f"{device.name or 'GPU'} {device.pci_address or device.index}"


@check("DRV16", needs=())
def driver_hangs(snapshot: Snapshot) -> Outcome:
    """A call into the driver did not come back within its time limit."""
    asked = (("NVML", snapshot.nvml), ("the CUDA driver", snapshot.cuda))
    hanging = [(name, probe) for name, probe in asked if probe.status == "timeout"]
    if all(probe.status == "skipped" for _, probe in asked):
        return Skipped("the driver's libraries were not asked")
    if not hanging:
        return ()
    names = " and ".join(name for name, _ in hanging)
    return [
        catalogue.finding(
            "DRV16",
            cause=f"{names} did not answer within the time limit: the driver is stuck.",
            evidence=[
                Evidence(name, f"{probe.step or 'call'}: {probe.error_text or 'timed out'}")
                for name, probe in hanging
            ],
            explains=("DRV08",),
            fix=(
                Fix(
                    (
                        system_command(snapshot.platform, "dmesg", "--level=err,warn"),
                        system_command(snapshot.platform, "reboot"),
                    ),
                    "look for NVRM and Xid lines before the reboot",
                    needs_root=True,
                    risk=Risk.HIGH,
                ),
            ),
        )
    ]
