"""Section 2b, containers and WSL: is the host's driver handed in?"""

from __future__ import annotations

from collections.abc import Iterator

from cuready.doctor import catalogue, facts
from cuready.doctor.checks._images import half_a_driver_in_image, with_both
from cuready.doctor.finding import Evidence, Finding, Fix, Risk, Severity
from cuready.doctor.installers import join, system_command, system_install, windows_driver
from cuready.doctor.registry import Outcome, Skipped, Unknown, check
from cuready.snapshot import Snapshot

GPUS_FLAG = "docker run --gpus all IMAGE"
NOT_IN_CONTAINER = Skipped("not in a container")
SHM = "/dev/shm"  # noqa: S108 - a mount point that is named, not a file that is made
ENOUGH_SHM_BYTES = 512 * 1024 * 1024
WSL_LIBRARIES = "/usr/lib/wsl/lib"


def _host_driver_visible(snapshot: Snapshot) -> bool:
    """/proc and /sys of a container show the host's kernel, module included."""
    return bool(snapshot.driver.module_loaded and snapshot.driver.proc_version)


@check("CTR01", needs=("container", "kernel-driver", "device-nodes"))
def no_gpu_in_container(snapshot: Snapshot) -> Outcome:
    """The host has a driver, and the container was started without it."""
    if not snapshot.platform.container:
        return NOT_IN_CONTAINER
    if snapshot.platform.wsl is not None:
        return Skipped("WSL hands GPUs in through /dev/dxg")
    control = facts.node(snapshot, "/dev/nvidiactl")
    if control is None:
        return Unknown("/dev was not read")
    if control.exists or not _host_driver_visible(snapshot):
        return ()
    kubernetes = (
        snapshot.platform.container == "kubernetes" or snapshot.platform.scheduler == "kubernetes"
    )
    command = (
        "kubectl set resources deployment NAME --limits=nvidia.com/gpu=1"
        if kubernetes
        else GPUS_FLAG
    )
    return [
        catalogue.finding(
            "CTR01",
            severity=None if facts.wants_cuda(snapshot) else Severity.INFO,
            cause=f"This {snapshot.platform.container} container runs on a host with NVIDIA driver "
            f"{snapshot.driver.version or ''} and was started without access to it.",
            evidence=(
                Evidence("/proc/driver/nvidia/version", snapshot.driver.proc_version or ""),
                Evidence("/dev/nvidiactl", "not there"),
            ),
            explains=("DRV08", "DRV09", "DRV10", "CTR03", "CTR05"),
            fix=(Fix((command,), "or with CDI: --device nvidia.com/gpu=all (podman, docker 28)"),),
        )
    ]


@check("CTR02", needs=("host",))
def toolkit_missing(snapshot: Snapshot) -> Outcome:
    """docker is here, a GPU is here, and nothing that brings them together."""
    platform = snapshot.platform
    if platform.container or not facts.has_gpu(snapshot) or platform.wsl is not None:
        return Skipped("no host with a GPU")
    if not platform.docker_present:
        return Skipped("no docker here")
    if platform.nvidia_container_toolkit is None:
        return Unknown("whether the NVIDIA container toolkit is installed could not be read")
    snap = bool(platform.docker_is_snap)
    toolkit = "found" if platform.nvidia_container_toolkit else "not found"
    if platform.nvidia_container_toolkit and not snap:
        return ()
    configure = (
        system_command(platform, "nvidia-ctk", "runtime", "configure", "--runtime=docker"),
        system_command(platform, "systemctl", "restart", "docker"),
    )
    commands: tuple[str, ...]
    if snap:
        cause = "docker is installed as a snap, which does not see the host's NVIDIA runtime."
        commands = (
            system_command(platform, "snap", "remove", "docker"),
            system_install(platform, {"apt": ["docker.io", "nvidia-container-toolkit"]}),
            *configure,
        )
    else:
        cause = "docker is installed without the NVIDIA container toolkit: `--gpus` has no driver."
        commands = (
            system_install(platform, {"apt": ["nvidia-container-toolkit"]}),
            *configure,
        )
    return [
        catalogue.finding(
            "CTR02",
            cause=cause,
            evidence=(
                Evidence("docker", "a snap" if snap else "installed"),
                Evidence("nvidia-ctk", toolkit),
            ),
            fix=(
                Fix(
                    commands,
                    "the toolkit comes from NVIDIA's repository, see the link",
                    needs_root=True,
                    risk=Risk.MEDIUM,
                ),
            ),
        )
    ]  # fmt: skip


@check("CTR03", needs=("container", "driver-libraries"))
def compute_capability_not_asked(snapshot: Snapshot) -> Outcome:
    """NVIDIA_DRIVER_CAPABILITIES leaves out what brings libcuda here, or half of it to an image."""
    planned = half_a_driver_in_image(snapshot)
    if not snapshot.platform.container:
        return planned or NOT_IN_CONTAINER
    return [*_half_a_driver(snapshot), *planned]


# What each capability brings in, and what is lost without it.
_BROUGHT = {
    "compute": ("libcuda.so.1", "libcuda is left out of the container, nvidia-smi still works."),
    "utility": (
        "libnvidia-ml.so.1",
        "NVML and nvidia-smi are left out of the container: CUDA works, NCCL does not start.",
    ),
}


def _half_a_driver(snapshot: Snapshot) -> Iterator[Finding]:
    """One of the driver's two libraries is there, and the other was not asked for."""
    asked = snapshot.environment.get("NVIDIA_DRIVER_CAPABILITIES")
    if asked is None:
        return
    found = {name: facts.library(snapshot, soname) for name, (soname, _) in _BROUGHT.items()}
    words = {item.strip() for item in asked.split(",")}
    for capability, other in (("compute", "utility"), ("utility", "compute")):
        if words & {capability, "all"} or found[capability] is not None or found[other] is None:
            continue
        soname, effect = _BROUGHT[capability]
        variable = f"NVIDIA_DRIVER_CAPABILITIES={with_both(asked)}"
        yield catalogue.finding(
            "CTR03",
            subject=soname,
            severity=None if capability == "compute" else Severity.WARNING,
            title=f"The container asked for no {capability} capability",
            cause=f"NVIDIA_DRIVER_CAPABILITIES is {asked!r}: {effect}",
            evidence=(
                Evidence("NVIDIA_DRIVER_CAPABILITIES", asked),
                Evidence(soname, "not found"),
                Evidence(_BROUGHT[other][0], "found"),
            ),
            explains=("DRV08",),
            fix=(Fix((f"docker run --gpus all -e {variable} IMAGE",)),),
        )


@check("CTR04", needs=("container", "device-nodes"))
def cgroup_lost(snapshot: Snapshot) -> Outcome:
    """The nodes are there, their mode allows it, the kernel says EPERM: the device cgroup."""
    if not snapshot.platform.container:
        return NOT_IN_CONTAINER
    control = facts.node(snapshot, "/dev/nvidiactl")
    if control is None or not control.exists or control.open_error != "EPERM":
        return ()
    refused = [item.path for item in snapshot.device_nodes if item.open_error == "EPERM"]
    links = snapshot.driver.dev_char_links
    return [
        catalogue.finding(
            "CTR04",
            cause="The container's device cgroup refuses the NVIDIA nodes, although their mode "
            "allows it: a `systemctl daemon-reload` on the host rewrote it.",
            evidence=(
                *(Evidence(path, "EPERM") for path in refused),
                Evidence("/dev/char", "links to the NVIDIA nodes" if links else "no links to them"),
            ),
            explains=("DRV08", "DRV09", "CTR05"),
            fix=(
                Fix(
                    (
                        "sudo nvidia-ctk system create-dev-char-symlinks --create-all",
                        "docker restart CONTAINER",
                    ),
                    "on the host; CDI, or the cgroupfs driver, avoids it for good",
                    needs_root=True,
                    risk=Risk.MEDIUM,
                ),
            ),
        )
    ]


@check("CTR05", needs=("container", "device-nodes"))
def uvm_not_passed(snapshot: Snapshot) -> Outcome:
    """The GPU's nodes were passed one by one, and /dev/nvidia-uvm was forgotten."""
    if not snapshot.platform.container:
        return NOT_IN_CONTAINER
    control, uvm = facts.node(snapshot, "/dev/nvidiactl"), facts.node(snapshot, "/dev/nvidia-uvm")
    if control is None or uvm is None:
        return Unknown("/dev was not read")
    if not control.exists or uvm.exists:
        return ()
    return [
        catalogue.finding(
            "CTR05",
            cause="The container has /dev/nvidiactl but no /dev/nvidia-uvm: nvidia-smi works, "
            "CUDA does not.",
            evidence=(
                Evidence("/dev/nvidiactl", "there"),
                Evidence("/dev/nvidia-uvm", "not there"),
            ),
            explains=("DRV08",),
            fix=(
                Fix(
                    (GPUS_FLAG,),
                    "or add --device /dev/nvidia-uvm --device /dev/nvidia-uvm-tools to your "
                    "command",
                ),
            ),
        )
    ]


@check("CTR06", needs=("container", "host"))
def small_shm(snapshot: Snapshot) -> Outcome:
    """Shared memory of 64 MB: workers of a DataLoader and NCCL die with a bus error."""
    if not snapshot.platform.container:
        return NOT_IN_CONTAINER
    size = snapshot.platform.shm_bytes
    if size is None:
        return Unknown("the size of /dev/shm could not be read")
    if size >= ENOUGH_SHM_BYTES or not facts.has_gpu(snapshot):
        return ()
    return [
        catalogue.finding(
            "CTR06",
            severity=None if snapshot.python.torch is not None else Severity.INFO,
            cause=f"{SHM} has {size // (1024 * 1024)} MiB; DataLoader workers and NCCL share "
            "memory through it.",
            evidence=(Evidence(SHM, f"{size} bytes"),),
            fix=(Fix(("docker run --shm-size=8g --gpus all IMAGE",), "or --ipc=host"),),
        )
    ]


@check("WSL01", needs=("host",))
def wsl_without_driver(snapshot: Snapshot) -> Outcome:
    """WSL 1, or a WSL 2 without the Windows driver's libcuda."""
    platform = snapshot.platform
    if platform.wsl is None:
        return Skipped("not in WSL")
    wanted = facts.wants_cuda(snapshot)
    links: tuple[str, ...] = ()
    if platform.wsl == 1:
        cause = "This is WSL 1, which has no GPU; CUDA needs WSL 2."
        fix = Fix(
            ("wsl.exe --list --verbose", "wsl.exe --set-version DISTRIBUTION 2"),
            "in PowerShell on Windows",
            risk=Risk.MEDIUM,
        )
        evidence = [Evidence("/proc/version", platform.kernel_version or "WSL 1")]
    else:
        from_windows = [
            lib for lib in snapshot.driver.libraries if lib.real_path.startswith("/usr/lib/wsl/")
        ]
        dxg = facts.node(snapshot, "/dev/dxg")
        if from_windows and (dxg is None or dxg.exists):
            return ()
        cause = (
            "WSL 2 has no libcuda from Windows: the NVIDIA driver for Windows is missing or "
            "too old."
        )
        page, app = windows_driver()
        links = (page,)
        fix = Fix(
            ("wsl.exe --update", "wsl.exe --shutdown"),
            f"once the driver is installed in Windows, from {page} or by the NVIDIA App ({app}); "
            "never install a Linux driver inside WSL",
            risk=Risk.MEDIUM,
        )
        state = "not read" if dxg is None else ("there" if dxg.exists else "not there")
        evidence = [Evidence("/dev/dxg", state), Evidence(WSL_LIBRARIES, "no libcuda.so.1")]
    return [
        catalogue.finding(
            "WSL01",
            severity=None if wanted else Severity.INFO,
            cause=cause,
            evidence=evidence,
            explains=("WSL02", "DRV13"),
            fix=(fix,),
            links=links,
        )
    ]


@check("WSL02", needs=("host", "driver-libraries"))
def linux_driver_in_wsl(snapshot: Snapshot) -> Outcome:
    """Inside WSL another libcuda or libnvidia-ml comes before that of Windows."""
    platform = snapshot.platform
    if platform.wsl != 2:
        return Skipped("not in WSL 2")
    foreign = [
        item
        for soname in ("libcuda.so.1", "libnvidia-ml.so.1")
        if (item := facts.library(snapshot, soname)) is not None
        and not item.real_path.startswith("/usr/lib/wsl/")
    ]
    if not foreign:
        return ()
    named = (line.partition(" ")[0] for line in snapshot.driver.driver_packages)
    packages = [name for name in named if name]
    fixes = []
    if packages:
        purge = system_command(platform, "apt-get", "purge", "-y", *packages)
        fixes.append(
            Fix((purge, system_command(platform, "ldconfig")), needs_root=True, risk=Risk.MEDIUM)
        )
    kept = [item for item in snapshot.loader.ld_library_path if item != WSL_LIBRARIES]
    export = f"export LD_LIBRARY_PATH={join([':'.join([WSL_LIBRARIES, *kept])])}"
    fixes.append(Fix((export,), "puts the Windows driver first"))
    return [
        catalogue.finding(
            "WSL02",
            cause=f"{foreign[0].path} stands before the driver that Windows provides in "
            f"{WSL_LIBRARIES}.",
            evidence=[
                Evidence(item.path, f"{item.soname}, found by {item.rule}") for item in foreign
            ],
            explains=("DRV02", "DRV13", "WSL01"),
            fix=fixes,
        )
    ]
