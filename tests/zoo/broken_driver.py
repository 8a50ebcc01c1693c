"""Faults of the driver, and machines that are close to each."""

from __future__ import annotations

import dataclasses

from tests.zoo import fault, near_miss
from tests.zoo.base import (
    NO_DEVICE,
    NOT_ASKED,
    X86,
    dist,
    down,
    driver_libraries,
    edit,
    failed,
    gpu_box,
    no_node,
    nodes,
    torch_env,
    venv,
    without,
)

from cuready.snapshot import (
    Dockerfile,
    DriverLibrary,
    KernelDriver,
    LoaderState,
    NativeProbe,
    Snapshot,
)

MODULE_FILE = "/lib/modules/6.8.0-51-generic/updates/dkms/nvidia.ko.zst"
UNKNOWN_ERROR = failed("cuInit", "CUDA_ERROR_UNKNOWN", 999)


def unloaded() -> Snapshot:
    """A driver that is installed and not loaded."""
    box = down(gpu_box())
    return edit(
        box,
        gpus=(dataclasses.replace(box.gpus[0], driver=None),),
        driver=KernelDriver(
            module_loaded=False,
            uvm_loaded=False,
            libraries=driver_libraries("580.95.05"),
            driver_packages=("nvidia-driver-580-open 580.95.05-0ubuntu1",),
        ),
        device_nodes=(no_node("/dev/nvidiactl"), no_node("/dev/nvidia-uvm")),
    )


@fault("DRV01")
def kernel_update_without_module() -> Snapshot:
    """The kernel was updated, DKMS did not follow."""
    return unloaded()


@fault("DRV01")
def no_driver_at_all() -> Snapshot:
    """A GPU, and nobody installed a driver."""
    return edit(
        unloaded(), driver=KernelDriver(module_loaded=False), nvml=NOT_ASKED, cuda=NOT_ASKED
    )


@near_miss("DRV01")
def module_is_loaded() -> Snapshot:
    """The GPU is on the bus and the module is loaded."""
    return gpu_box()


@near_miss("DRV01")
def seen_to_work_though_sysfs_is_hidden() -> Snapshot:
    """A sandbox hides /sys/module; CUDA was asked and works."""
    return edit(gpu_box(), driver__module_loaded=False)


@fault("DRV02")
def upgraded_without_reboot() -> Snapshot:
    """Unattended upgrade of the libraries."""
    return edit(down(gpu_box()), driver__libraries=driver_libraries("580.105.08"))


@fault("DRV02")
def driver_in_a_dockerfile() -> Snapshot:
    """A Dockerfile of the working folder installs the driver into its image."""
    file = Dockerfile("/project/Dockerfile", "python:3.12-slim", ("line 3: nvidia-driver-535",))
    return edit(gpu_box(), dockerfiles=(file,))


@near_miss("DRV02")
def dockerfile_without_a_driver() -> Snapshot:
    """An image that leaves the driver to the host."""
    file = Dockerfile("/project/Dockerfile", "python:3.12-slim", wheels=("line 2: torch",))
    return edit(gpu_box(), dockerfiles=(file,))


@near_miss("DRV02")
def same_version_everywhere() -> Snapshot:
    """Libraries and module agree, although NVML is down."""
    return down(gpu_box())


@fault("DRV03")
def key_was_rejected() -> Snapshot:
    """Secure Boot, module built by DKMS, key not enrolled."""
    return edit(unloaded(), platform__secure_boot=True, driver__module_files=(MODULE_FILE,))


@near_miss("DRV03")
def not_loaded_without_secure_boot() -> Snapshot:
    """The same with Secure Boot off: DRV01."""
    return edit(unloaded(), driver__module_files=(MODULE_FILE,))


@fault("DRV04")
def nouveau_bound() -> Snapshot:
    """nouveau came first at boot."""
    box = unloaded()
    return edit(
        box,
        gpus=(dataclasses.replace(box.gpus[0], driver="nouveau"),),
        driver__loaded_modules=("nouveau",),
        driver__module_files=(MODULE_FILE,),
    )


@near_miss("DRV04")
def nouveau_on_the_module_list_only() -> Snapshot:
    """nouveau is loaded for another card; ours is bound to nvidia."""
    return edit(gpu_box(), driver__loaded_modules=("nvidia", "nvidia_uvm", "nouveau"))


def blackwell(flavour: str) -> Snapshot:
    return gpu_box("0x2b85", "NVIDIA GeForce RTX 5090", "12.0", flavour=flavour)


@fault("DRV05")
def blackwell_with_proprietary_module() -> Snapshot:
    """RTX 5090 on the proprietary flavour."""
    return down(blackwell("proprietary"))


@near_miss("DRV05")
def ada_with_proprietary_module() -> Snapshot:
    """RTX 4090 may have either flavour."""
    return down(gpu_box(flavour="proprietary"))


def pascal(driver: str, flavour: str) -> Snapshot:
    env = torch_env("2.8.0", "12.6", "+cu126", archs=("sm_50", "sm_60", "sm_70", "sm_80", "sm_90"))
    return gpu_box("0x1b80", "NVIDIA GeForce GTX 1080", "6.1", driver, "13.0", flavour, python=env)


@fault("DRV06")
def pascal_with_open_module() -> Snapshot:
    """GTX 1080 on the open flavour."""
    return down(pascal("580.95.05", "open"))


@near_miss("DRV06")
def turing_with_open_module() -> Snapshot:
    """A T4 has the GSP that the open flavour needs."""
    return down(gpu_box("0x1eb8", "Tesla T4", "7.5"))


@fault("DRV07")
def pascal_on_595() -> Snapshot:
    """R590 and newer ignore Pascal."""
    return down(pascal("595.58.03", "proprietary"))


@fault("DRV07")
def blackwell_on_550() -> Snapshot:
    """The driver is older than the GPU."""
    env = torch_env("2.8.0", "12.8", "+cu128")
    return down(
        gpu_box("0x2b85", "NVIDIA GeForce RTX 5090", "12.0", "550.54.15", "12.4", python=env)
    )


@near_miss("DRV07")
def pascal_on_580_is_fine() -> Snapshot:
    """The last branch for it."""
    return pascal("580.95.05", "proprietary")


@fault("DRV08")
def uvm_not_loaded() -> Snapshot:
    """No nvidia_uvm, and nothing that loads it."""
    box = edit(gpu_box(), driver__uvm_loaded=False, cuda=UNKNOWN_ERROR)
    return edit(box, device_nodes=without(nodes(), "/dev/nvidia-uvm"))


@fault("DRV08")
def uvm_wedged_after_suspend() -> Snapshot:
    """Everything is there; cuInit answers 999 while NVML works."""
    return edit(gpu_box(), cuda=UNKNOWN_ERROR)


@near_miss("DRV08")
def uvm_there() -> Snapshot:
    """cuInit fails for another reason."""
    return edit(gpu_box(), cuda=failed("cuInit", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", 803))


@fault("DRV09")
def nodes_for_root_only() -> Snapshot:
    """NVreg_DeviceFileMode=0660 and a user who is not in the group."""
    box = edit(gpu_box(), cuda=NO_DEVICE, nvml=failed("nvmlInit_v2", "NVML_ERROR_NO_PERMISSION", 4))
    denied = tuple(
        dataclasses.replace(item, mode="crw-rw----", owner="root:video", readable=False,
                            writable=False, open_error="EACCES")
        for item in nodes()
    )  # fmt: skip
    return edit(box, device_nodes=denied)


@fault("DRV09")
def no_nodes_were_made() -> Snapshot:
    """The module is loaded, /dev is empty."""
    box = edit(gpu_box(), cuda=NO_DEVICE, nvml=failed("nvmlInit_v2", "NVML_ERROR_UNKNOWN", 999))
    return edit(box, device_nodes=(no_node("/dev/nvidiactl"), no_node("/dev/nvidia-uvm")))


@near_miss("DRV09")
def some_gpus_of_a_job() -> Snapshot:
    """A scheduler handed out one of four GPUs."""
    return edit(
        gpu_box(count=4), platform__scheduler="slurm", device_nodes=nodes(1), cuda=NOT_ASKED
    )


@fault("DRV10")
def fabric_manager_stopped() -> Snapshot:
    """HGX without Fabric Manager."""
    box = gpu_box("0x2330", "NVIDIA H100 80GB HBM3", "9.0", count=8)
    return edit(
        box,
        cuda=failed("cuInit", "CUDA_ERROR_SYSTEM_NOT_READY", 802),
        driver__nvswitch=True,
        driver__fabric_manager_running=False,
        driver__fabric_manager_version="580.95.05",
    )


@fault("DRV10")
def fabric_manager_of_another_version() -> Snapshot:
    """The driver was upgraded, Fabric Manager was not."""
    return edit(fabric_manager_stopped(), driver__fabric_manager_version="580.65.06",
                driver__fabric_manager_running=False)  # fmt: skip


@near_miss("DRV10")
def h100_without_nvswitch() -> Snapshot:
    """Two H100 PCIe: no fabric."""
    box = gpu_box("0x2331", "NVIDIA H100 PCIe", "9.0", count=2)
    return edit(box, driver__nvswitch=False, driver__fabric_manager_running=False)


@fault("DRV11")
def cu130_on_r570() -> Snapshot:
    """The default wheel of today on a driver of yesterday."""
    env = venv(
        dist("torch", "2.12.0"), dist("torchvision", "0.27.0", requires=("torch==2.12.0",)),
        dist("numpy", "2.1.0"),
        torch=dataclasses.replace(torch_env().torch, version="2.12.0", cuda="13.0",
                                  arch_flags=("sm_75", "sm_80", "sm_86", "sm_90")),
    )  # fmt: skip
    box = gpu_box(driver="570.124.06", cuda="12.8", python=env)
    return edit(box, cuda__cuda_version="12.8")


@fault("DRV11")
def tensorflow_on_r470() -> Snapshot:
    """TensorFlow for CUDA 12 on R470."""
    env = venv(dist("tensorflow", "2.19.1"), dist("numpy", "2.1.3"))
    return gpu_box(
        "0x20b2", "NVIDIA A100-SXM4-80GB", "8.0", "470.256.02", "11.4", "proprietary", python=env
    )


@near_miss("DRV11")
def cu128_on_r535() -> Snapshot:
    """12.8 on a driver that reports 12.2: one major."""
    return gpu_box("0x20b2", "NVIDIA A100-SXM4-80GB", "8.0", "535.183.01", "12.2", "proprietary")


@fault("DRV12")
def only_ptx_for_this_gpu() -> Snapshot:
    """cu132 with PTX for 12.0 only, R580, and a GPU that has no machine code in it."""
    env = torch_env(cuda="12.9", tag="+cu129", archs=("sm_80", "sm_90", "compute_90"))
    return gpu_box("0x2b85", "NVIDIA GeForce RTX 5090", "12.0", "570.124.06", "12.8", python=env)


@near_miss("DRV12")
def ptx_that_the_driver_knows() -> Snapshot:
    """The same on a driver that speaks 13.0."""
    env = torch_env(cuda="12.9", tag="+cu129", archs=("sm_80", "sm_90", "compute_90"))
    return gpu_box("0x2b85", "NVIDIA GeForce RTX 5090", "12.0", python=env)


def with_libcuda(box: Snapshot, folder: str, version: str) -> Snapshot:
    """``box`` where a libcuda in ``folder`` is found first, through LD_LIBRARY_PATH."""
    first = DriverLibrary("libcuda.so.1", f"{folder}/libcuda.so.1", f"{folder}/libcuda.so.{version}",
                          version, "LD_LIBRARY_PATH")  # fmt: skip
    rest = tuple(lib for lib in box.driver.libraries if lib.soname != "libcuda.so.1")
    return edit(
        box, driver__libraries=(first, *rest), loader=LoaderState(ld_library_path=(folder,))
    )


@fault("DRV13")
def compat_on_geforce() -> Snapshot:
    """cuda-compat 13.0 before the driver of an RTX 3070."""
    box = gpu_box("0x2484", "NVIDIA GeForce RTX 3070", "8.6", "535.183.01", "12.2", "proprietary")
    broken = edit(box, cuda=failed("cuInit", "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", 804))
    return with_libcuda(broken, "/usr/local/cuda-13.0/compat", "580.95.05")


@fault("DRV13")
def compat_older_than_driver() -> Snapshot:
    """An image's compat libcuda on a newer host."""
    box = gpu_box("0x20b2", "NVIDIA A100-SXM4-80GB", "8.0")
    broken = edit(box, cuda=failed("cuInit", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", 803))
    return with_libcuda(broken, "/usr/local/cuda-12.4/compat", "550.54.15")


@near_miss("DRV13")
def compat_on_a100() -> Snapshot:
    """A data-centre GPU with a newer compat."""
    box = gpu_box("0x20b2", "NVIDIA A100-SXM4-80GB", "8.0", "535.183.01", "12.2", "proprietary")
    return with_libcuda(edit(box, cuda=NOT_ASKED), "/usr/local/cuda-13.0/compat", "580.95.05")


@fault("DRV14")
def stub_on_the_path() -> Snapshot:
    """LD_LIBRARY_PATH holds the stubs folder."""
    broken = edit(gpu_box(), cuda=failed("cuInit", "CUDA_ERROR_STUB_LIBRARY", 34))
    box = with_libcuda(broken, "/usr/local/cuda/lib64/stubs", "")
    first = dataclasses.replace(box.driver.libraries[0], version=None)
    return edit(box, driver__libraries=(first, *box.driver.libraries[1:]))


@near_miss("DRV14")
def stubs_after_the_driver() -> Snapshot:
    """The folder is on the path, the driver's own comes first."""
    return edit(gpu_box(), loader=LoaderState(ld_library_path=(X86, "/usr/local/cuda/lib64/stubs")))


@fault("DRV15")
def fell_off_the_bus() -> Snapshot:
    """One of two GPUs is lost."""
    box = gpu_box(count=2)
    lost = dataclasses.replace(box.nvml.devices[1], error="NVML_ERROR_GPU_IS_LOST")
    return edit(
        box,
        nvml__devices=(box.nvml.devices[0], lost),
        cuda__devices=box.cuda.devices[:1],
        driver__xid_messages=("NVRM: Xid (PCI:0000:02:00): 79, GPU has fallen off the bus.",),
    )


@near_miss("DRV15")
def another_xid() -> Snapshot:
    """Xid 31 is a program's page fault."""
    return edit(gpu_box(), driver__xid_messages=("NVRM: Xid (PCI:0000:01:00): 31, MMU Fault",))


@fault("DRV16")
def driver_does_not_answer() -> Snapshot:
    """nvmlInit hangs."""
    hang = NativeProbe("timeout", "nvmlInit_v2", error_text="no answer within 5 s")
    return edit(gpu_box(), nvml=hang, cuda=dataclasses.replace(hang, step="cuInit"))


@near_miss("DRV16")
def driver_fails_quickly() -> Snapshot:
    """An answer, if a bad one."""
    return edit(gpu_box(), cuda=failed("cuInit", "CUDA_ERROR_NO_DEVICE", 100))


@fault("VND01")
def libcuda_crashes() -> Snapshot:
    """cuInit ends the process; NVML answers."""
    crash = NativeProbe("crashed", error_text="ended by SIGSEGV")
    return edit(gpu_box(), cuda=crash)


@near_miss("VND01")
def libcuda_says_why_it_fails() -> Snapshot:
    """An error code is an answer."""
    return edit(gpu_box(), cuda=failed("cuInit", "CUDA_ERROR_OPERATING_SYSTEM", 304))
