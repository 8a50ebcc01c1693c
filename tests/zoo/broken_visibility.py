"""Faults of what a container, WSL, a variable or MIG lets a program see."""

from __future__ import annotations

import dataclasses

from tests.zoo import fault, near_miss
from tests.zoo.base import (
    NO_DEVICE,
    NOT_ASKED,
    container,
    down,
    driver_libraries,
    edit,
    failed,
    gpu_box,
    no_node,
    nodes,
    without,
)

from cuready.snapshot import (
    Dockerfile,
    DriverLibrary,
    KernelDriver,
    Snapshot,
)

UNKNOWN_ERROR = failed("cuInit", "CUDA_ERROR_UNKNOWN", 999)


# --- containers, WSL ---------------------------------------------------------------------------


@fault("CTR01")
def docker_run_without_gpus() -> Snapshot:
    """A CUDA torch in a container without --gpus."""
    box = container(down(gpu_box()))
    return edit(
        box,
        device_nodes=(no_node("/dev/nvidiactl"), no_node("/dev/nvidia-uvm")),
        driver__libraries=(),
        nvml=NOT_ASKED,
        cuda=NOT_ASKED,
    )


@near_miss("CTR01")
def container_with_gpu() -> Snapshot:
    """docker run --gpus all."""
    return container(gpu_box())


@fault("CTR02")
def docker_without_toolkit() -> Snapshot:
    """docker on a GPU host, no NVIDIA toolkit."""
    return edit(gpu_box(), platform__docker_present=True, platform__nvidia_container_toolkit=False)


@fault("CTR02")
def docker_as_snap() -> Snapshot:
    """docker from the snap store."""
    return edit(gpu_box(), platform__docker_present=True, platform__nvidia_container_toolkit=True,
                platform__docker_is_snap=True)  # fmt: skip


@near_miss("CTR02")
def docker_with_toolkit() -> Snapshot:
    """docker and the toolkit; no runtime in daemon.json, which CDI does not need."""
    return edit(gpu_box(), platform__docker_present=True, platform__nvidia_container_toolkit=True)


@fault("CTR03")
def utility_only() -> Snapshot:
    """NVIDIA_DRIVER_CAPABILITIES=utility."""
    box = container(gpu_box())
    return edit(
        box,
        environment={"NVIDIA_DRIVER_CAPABILITIES": "utility"},
        driver__libraries=box.driver.libraries[1:],
        cuda=failed("load", "libcuda.so.1: cannot open shared object file", 0),
    )


@fault("CTR03")
def compute_only() -> Snapshot:
    """NVIDIA_DRIVER_CAPABILITIES=compute: CUDA works, and there is no NVML."""
    box = container(gpu_box())
    return edit(
        box,
        environment={"NVIDIA_DRIVER_CAPABILITIES": "compute"},
        driver__libraries=box.driver.libraries[:1],
        nvml=failed("load", "libnvidia-ml.so.1: cannot open shared object file", 0),
    )


def image(base: str, capabilities: str, *wheels: str) -> Snapshot:
    """A working machine whose working folder has a Dockerfile."""
    file = Dockerfile("/project/Dockerfile", base, wheels=wheels, capabilities=capabilities)
    return edit(gpu_box(), dockerfiles=(file,))


@fault("CTR03")
def video_alone_in_a_dockerfile() -> Snapshot:
    """ENV NVIDIA_DRIVER_CAPABILITIES=video,utility: NVENC needs libcuda as well."""
    return image("ubuntu:24.04", "line 4: video,utility")


@fault("CTR03")
def compute_alone_in_a_dockerfile() -> Snapshot:
    """Without `utility` NCCL finds no NVML."""
    return image("nvidia/cuda:12.8.0-base-ubuntu24.04", "line 2: compute")


@near_miss("CTR03")
def both_in_a_dockerfile() -> Snapshot:
    """The two that CUDA and NCCL need, and one more."""
    return image("ubuntu:24.04", "line 4: compute, utility,video")


@near_miss("CTR03")
def all_in_a_dockerfile() -> Snapshot:
    """`all` has both."""
    return image("ubuntu:24.04", "line 4: all")


@near_miss("CTR03")
def base_image_says_it() -> Snapshot:
    """A CUDA image sets the variable itself."""
    return image("nvidia/cuda:12.8.0-base-ubuntu24.04", "", "line 2: torch")


@near_miss("CTR03")
def a_word_that_is_newer_than_we_are() -> Snapshot:
    """Nothing is said of a capability that is not in the toolkit's list."""
    return image("ubuntu:24.04", "line 4: utility,telepathy")


@near_miss("CTR03")
def compute_and_utility() -> Snapshot:
    """Both are asked for."""
    return edit(container(gpu_box()), environment={"NVIDIA_DRIVER_CAPABILITIES": "utility,compute"})


@fault("CTR04")
def after_daemon_reload() -> Snapshot:
    """EPERM although the mode allows it."""
    denied = tuple(
        dataclasses.replace(item, readable=False, writable=False, open_error="EPERM")
        for item in nodes()
    )
    box = container(down(gpu_box()))
    return edit(box, device_nodes=denied, driver__dev_char_links=False,
                nvml=failed("nvmlInit_v2", "NVML_ERROR_UNKNOWN", 999))  # fmt: skip


@near_miss("CTR04")
def one_gpu_of_two_denied() -> Snapshot:
    """The cgroup shuts out a GPU of somebody else; the control node opens."""
    box = container(gpu_box(count=2))
    last = dataclasses.replace(box.device_nodes[-1], readable=False, open_error="EPERM")
    return edit(box, device_nodes=(*box.device_nodes[:-1], last), cuda=NOT_ASKED)


@fault("CTR05")
def node_by_node() -> Snapshot:
    """--device /dev/nvidia0 --device /dev/nvidiactl."""
    box = container(edit(gpu_box(), cuda=UNKNOWN_ERROR))
    return edit(box, device_nodes=without(nodes(), "/dev/nvidia-uvm"))


@near_miss("CTR05")
def all_nodes_passed() -> Snapshot:
    """All three."""
    return container(edit(gpu_box(), cuda=NOT_ASKED))


@fault("CTR06")
def default_shm() -> Snapshot:
    """64 MB of shared memory."""
    return edit(container(gpu_box()), platform__shm_bytes=64 << 20)


@near_miss("CTR06")
def enough_shm() -> Snapshot:
    """One GiB."""
    return edit(container(gpu_box()), platform__shm_bytes=1 << 30)


def wsl(version: int = 2, folder: str | None = "/usr/lib/wsl/lib") -> Snapshot:
    libraries = tuple(
        DriverLibrary(name, f"{folder}/{name}", f"{folder}/{name}", None, "ld.so.cache")
        for name in ("libcuda.so.1", "libnvidia-ml.so.1")
    )
    box = gpu_box(driver="581.29")
    return edit(
        box,
        gpus=(),
        platform__wsl=version,
        driver=KernelDriver(module_loaded=False, libraries=libraries if folder else ()),
        device_nodes=(),
        nvml=NOT_ASKED,
        cuda=NOT_ASKED,
    )


@fault("WSL01")
def wsl_without_windows_driver() -> Snapshot:
    """WSL 2, nothing in /usr/lib/wsl/lib."""
    return wsl(2, None)


@fault("WSL01")
def wsl_one() -> Snapshot:
    """WSL 1."""
    return wsl(1, None)


@near_miss("WSL01")
def wsl_two_with_driver() -> Snapshot:
    """WSL 2 as it should be."""
    return wsl()


@fault("WSL02")
def linux_driver_inside_wsl() -> Snapshot:
    """apt install nvidia-driver inside WSL."""
    box = wsl(2, None)
    return edit(
        box,
        driver__libraries=(
            *driver_libraries("580.95.05"),
            DriverLibrary("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1",
                          "/usr/lib/wsl/lib/libcuda.so.1", None, "ld.so.cache"),
        ),
        driver__driver_packages=("libnvidia-compute-580 580.95.05-0ubuntu1",),
    )  # fmt: skip


@near_miss("WSL02")
def only_the_windows_driver() -> Snapshot:
    """The libraries of Windows come first."""
    return wsl()


# --- visibility, MIG -----------------------------------------------------------------------------


@fault("VIS01")
def device_that_does_not_exist() -> Snapshot:
    """CUDA_VISIBLE_DEVICES=4 with one GPU."""
    return edit(gpu_box(), environment={"CUDA_VISIBLE_DEVICES": "4"}, cuda=NO_DEVICE)


@fault("VIS01")
def hidden_on_purpose() -> Snapshot:
    """An empty value: a warning."""
    return edit(gpu_box(), environment={"CUDA_VISIBLE_DEVICES": ""}, cuda=NO_DEVICE)


@fault("VIS01")
def listed_twice() -> Snapshot:
    """0,0 hides everything."""
    return edit(gpu_box(count=2), environment={"CUDA_VISIBLE_DEVICES": "0,0"}, cuda=NO_DEVICE)


@near_miss("VIS01")
def valid_subset() -> Snapshot:
    """1,0 of two GPUs."""
    return edit(gpu_box(count=2), environment={"CUDA_VISIBLE_DEVICES": "1,0"})


@fault("VIS02")
def visable() -> Snapshot:
    """CUDA_VISABLE_DEVICES."""
    return edit(gpu_box(), environment={"CUDA_VISABLE_DEVICES": "0"})


@near_miss("VIS02")
def variables_of_others() -> Snapshot:
    """Names that look alike and are right."""
    names = ("CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES_SAVED",
             "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_HOME")  # fmt: skip
    return edit(gpu_box(), environment=dict.fromkeys(names, "1"))


def mixed_rig() -> Snapshot:
    box = gpu_box(count=2)
    second = dataclasses.replace(box.nvml.devices[1], name="NVIDIA GeForce RTX 3060")
    return edit(box, nvml__devices=(box.nvml.devices[0], second))


@fault("VIS03")
def index_on_mixed_rig() -> Snapshot:
    """CUDA_VISIBLE_DEVICES=1 on two kinds of GPU."""
    return edit(mixed_rig(), environment={"CUDA_VISIBLE_DEVICES": "1"})


@near_miss("VIS03")
def index_on_equal_gpus() -> Snapshot:
    """The same on two equal GPUs."""
    return edit(gpu_box(count=2), environment={"CUDA_VISIBLE_DEVICES": "1"})


def mig(uuids: tuple[str, ...], visible: str | None = None) -> Snapshot:
    box = gpu_box("0x20b2", "NVIDIA A100-SXM4-80GB", "8.0")
    device = dataclasses.replace(box.nvml.devices[0], mig_mode=True, mig_uuids=uuids)
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return edit(box, nvml__devices=(device,), environment=environment)


@fault("MIG01")
def no_instances() -> Snapshot:
    """MIG on, nothing created."""
    return edit(mig(()), cuda=NO_DEVICE)


@fault("MIG01")
def two_instances_asked_for() -> Snapshot:
    """Two UUIDs for one process."""
    return mig(("MIG-a", "MIG-b"), "MIG-a,MIG-b")


@near_miss("MIG01")
def one_instance_asked_for() -> Snapshot:
    """One UUID of two."""
    return mig(("MIG-a", "MIG-b"), "MIG-b")


@fault("VIS04")
def launch_blocking() -> Snapshot:
    """CUDA_LAUNCH_BLOCKING=1 in the profile."""
    return edit(gpu_box(), environment={"CUDA_LAUNCH_BLOCKING": "1"})


@near_miss("VIS04")
def launch_blocking_off() -> Snapshot:
    """The same with 0."""
    return edit(gpu_box(), environment={"CUDA_LAUNCH_BLOCKING": "0"})
