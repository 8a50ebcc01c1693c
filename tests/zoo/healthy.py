"""Machines with nothing wrong: any error on one of them is a false alarm."""

from __future__ import annotations

import dataclasses

from tests.zoo import healthy
from tests.zoo.base import (
    NOT_ASKED,
    SITE,
    X86,
    conda,
    container,
    dist,
    edit,
    gpu_box,
    kernel_driver,
    laptop,
    no_node,
    node,
    platform,
    torch_build,
    torch_env,
    venv,
)

from cuready.snapshot import (
    CudaToolkit,
    DriverLibrary,
    KernelDriver,
    Kernelspec,
    LibraryFile,
    LoaderState,
    ModuleOrigin,
    NativeProbe,
    PciGpu,
    Snapshot,
)


@healthy
def laptop_without_gpu() -> Snapshot:
    """No GPU, a CPU build of torch: as it should be."""
    return laptop()


@healthy
def empty_python() -> Snapshot:
    """A fresh virtual environment on a server without GPU."""
    return edit(laptop(), python=venv())


@healthy
def r535_with_cu128() -> Snapshot:
    """R535 reports CUDA 12.2 and runs a cu128 build: minor-version compatibility."""
    return gpu_box("0x20b2", "NVIDIA A100-SXM4-80GB", "8.0", "535.183.01", "12.2", "proprietary")


@healthy
def rtx4090_without_sm89() -> Snapshot:
    """An 8.9 GPU and a build that lists sm_86 and sm_90: sm_86 code runs on it."""
    return gpu_box(python=torch_env(archs=("sm_75", "sm_80", "sm_86", "sm_90")))


@healthy
def gb10_with_sm120() -> Snapshot:
    """DGX Spark, aarch64, compute capability 12.1, code for sm_120."""
    env = torch_env("2.12.0", "13.0", archs=("sm_80", "sm_90", "sm_100", "sm_110", "sm_120"),
                    extra=())  # fmt: skip
    vision = tuple(
        dataclasses.replace(item, version="0.27.0", requires=("torch==2.12.0",))
        if item.name == "torchvision"
        else item
        for item in env.distributions
        if item.name != "torchaudio"
    )
    env = dataclasses.replace(env, distributions=vision)
    box = gpu_box("0x2e12", "NVIDIA GB10", "12.1", "580.95.05", "13.0", python=env)
    return edit(box, platform__machine="aarch64")


@healthy
def wsl2() -> Snapshot:
    """WSL 2: no PCI device, no kernel module, libcuda from Windows."""
    folder = "/usr/lib/wsl/lib"
    libraries = tuple(
        DriverLibrary(name, f"{folder}/{name}", f"{folder}/{name}", None, "ld.so.cache")
        for name in ("libcuda.so.1", "libnvidia-ml.so.1")
    )
    box = gpu_box(driver="566.36", cuda="12.7")
    return edit(
        box,
        gpus=(),
        platform__wsl=2,
        platform__kernel_release="5.15.167.4-microsoft-standard-WSL2",
        driver=KernelDriver(module_loaded=False, libraries=libraries),
        device_nodes=(node("/dev/dxg"), no_node("/dev/nvidiactl")),
    )


@healthy
def mig_h100() -> Snapshot:
    """An H100 split into two MIG instances, one of them chosen."""
    box = gpu_box("0x2330", "NVIDIA H100 80GB HBM3", "9.0")
    device = dataclasses.replace(
        box.nvml.devices[0], mig_mode=True, mig_uuids=("MIG-aaaa", "MIG-bbbb")
    )
    return edit(box, nvml__devices=(device,), environment={"CUDA_VISIBLE_DEVICES": "MIG-aaaa"})


@healthy
def container_with_gpus_all() -> Snapshot:
    """docker run --gpus all."""
    box = container(gpu_box())
    return edit(
        box,
        environment={
            "NVIDIA_VISIBLE_DEVICES": "all",
            "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        },
    )


@healthy
def container_without_gpu() -> Snapshot:
    """A build container with a CPU torch on a host without GPU."""
    return edit(laptop(), platform__container="docker", platform__shm_bytes=64 << 20)


@healthy
def cpu_container_on_gpu_host() -> Snapshot:
    """A container without `--gpus` on a GPU host, with nothing for CUDA in it."""
    box = container(gpu_box(python=venv(dist("numpy", "2.1.0"))))
    return edit(
        box,
        device_nodes=(no_node("/dev/nvidiactl"), no_node("/dev/nvidia-uvm")),
        driver__libraries=(),
        nvml=NOT_ASKED,
        cuda=NOT_ASKED,
    )


@healthy
def conda_forge() -> Snapshot:
    """torch from conda-forge: its dist-info says conda, and there is one of it."""
    prefix = "/home/u/miniforge3/envs/dl"
    site = f"{prefix}/lib/python3.12/site-packages"
    env = venv(
        dist("torch", "2.8.0", "conda", location=site),
        dist("torchvision", "0.23.0", "conda", location=site, requires=("torch==2.8.0",)),
        dist("numpy", "2.3.0", "conda", location=site),
        torch=torch_build("2.8.0", "12.9", "sm_70", "sm_80", "sm_86", "sm_89", "sm_90", "sm_120"),
        kind="conda",
        manager="conda",
        prefix=prefix,
        executable=f"{prefix}/bin/python",
        site_packages=(site,),
        conda_packages=(
            conda("pytorch", "2.8.0", "cuda129_mkl_py312_h1234567_300"),
            conda("libtorch", "2.8.0", "cuda129_mkl_h1234567_300"),
        ),
        origins=(ModuleOrigin("torch", f"{site}/torch/__init__.py", site),),
    )
    return gpu_box(python=env)


@healthy
def nvcc_of_another_minor() -> Snapshot:
    """CUDA 12.4 at /usr/local, torch with 12.8: building works inside one major."""
    kit = CudaToolkit("/usr/local/cuda-12.4", ("CUDA_HOME", "PATH", "/usr/local"), "12.4.1",
                      "/usr/local/cuda-12.4/bin/nvcc", "12.4.131", 13)  # fmt: skip
    return edit(gpu_box(), toolkits=(kit,))


@healthy
def pascal_on_580() -> Snapshot:
    """GTX 1080 on the last branch for it, with the CUDA 12.6 build that still has sm_60."""
    env = torch_env("2.8.0", "12.6", "+cu126", archs=("sm_50", "sm_60", "sm_70", "sm_80", "sm_90"))
    return gpu_box("0x1b80", "NVIDIA GeForce GTX 1080", "6.1", flavour="proprietary", python=env)


@healthy
def rtx5090_open() -> Snapshot:
    """Blackwell with the open modules and a cu128 build."""
    return gpu_box("0x2b85", "NVIDIA GeForce RTX 5090", "12.0", "580.95.05", "13.0")


@healthy
def hgx_h100() -> Snapshot:
    """Eight H100 with NVSwitch, Fabric Manager running in the driver's version."""
    box = gpu_box("0x2330", "NVIDIA H100 80GB HBM3", "9.0", count=8)
    return edit(
        box,
        driver__nvswitch=True,
        driver__fabric_manager_running=True,
        driver__fabric_manager_version="580.95.05",
    )


@healthy
def hgx_container() -> Snapshot:
    """A container on such a machine sees the NVSwitch and not the host's Fabric Manager."""
    return container(edit(hgx_h100(), driver__fabric_manager_running=False,
                          driver__fabric_manager_version=None))  # fmt: skip


@healthy
def volta_cu121() -> Snapshot:
    """V100, R535, torch 2.3."""
    env = torch_env(
        "2.3.1", "12.1", archs=("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
    )
    return gpu_box(
        "0x1db4", "Tesla V100-PCIE-16GB", "7.0", "535.183.01", "12.2", "proprietary", python=env
    )


@healthy
def kepler_470() -> Snapshot:
    """K80 on R470 with a CUDA 11 build."""
    env = venv(
        dist("torch", "1.12.1+cu113"),
        dist("numpy", "1.23.5"),
        torch=torch_build("1.12.1+cu113", "11.3", "sm_37", "sm_50", "sm_60", "sm_70"),
        version="3.10.12",
    )
    return gpu_box("0x102d", "Tesla K80", "3.7", "470.256.02", "11.4", "proprietary", python=env)


@healthy
def slurm_login_node() -> Snapshot:
    """No GPU on the login node, a CUDA torch for the nodes behind it."""
    return edit(laptop(), platform__scheduler="slurm", python=torch_env())


@healthy
def slurm_two_of_eight() -> Snapshot:
    """A job that was given two of eight GPUs: the other nodes answer EPERM."""
    box = gpu_box("0x20b2", "NVIDIA A100-SXM4-80GB", "8.0", count=8)
    denied = tuple(
        dataclasses.replace(item, readable=False, writable=False, open_error="EPERM")
        if item.path[-1] in "234567"
        else item
        for item in box.device_nodes
    )
    two = box.cuda.devices[:2]
    return edit(
        box,
        platform__scheduler="slurm",
        device_nodes=denied,
        cuda__devices=two,
        environment={"CUDA_VISIBLE_DEVICES": "0,1"},
    )


@healthy
def windows() -> Snapshot:
    """Windows with torch from PyTorch's own index."""
    env = torch_env("2.8.0", "12.8", "+cu128", executable="C:\\proj\\.venv\\Scripts\\python.exe")
    return Snapshot(
        platform=platform(system="Windows", machine="AMD64", distro_id=None, distro_like=(),
                          windows_driver_version="581.29"),
        python=env,
    )  # fmt: skip


@healthy
def macos() -> Snapshot:
    """A Mac: no CUDA, and nothing wrong with that."""
    return Snapshot(
        platform=platform(
            system="Darwin", machine="arm64", distro_id=None, distro_like=(), libc=None
        ),
        python=torch_env("2.8.0", None),
    )


@healthy
def jetson_orin() -> Snapshot:
    """Jetson with NVIDIA's own torch."""
    env = torch_env("2.8.0", "12.6", archs=("sm_87",))
    box = gpu_box("0x2684", "Orin", "8.7", "540.4.0", "12.6", python=env)
    return edit(
        box,
        gpus=(),
        platform__machine="aarch64",
        platform__tegra_release="# R36 (release), REVISION: 4.3",
        nvml=NativeProbe("failed", "nvmlInit_v2", "NVML_ERROR_DRIVER_NOT_LOADED", 9),
    )


@healthy
def grace_hopper() -> Snapshot:
    """GH200: aarch64 and open modules."""
    env = torch_env("2.8.0", "12.8", "+cu128", archs=("sm_80", "sm_90"))
    return edit(
        gpu_box("0x2342", "NVIDIA GH200 480GB", "9.0", python=env), platform__machine="aarch64"
    )


@healthy
def forward_compatibility() -> Snapshot:
    """A100 on R535 with cuda-compat for CUDA 13: what data centres do."""
    compat = "/usr/local/cuda-13.0/compat"
    libraries = (
        DriverLibrary("libcuda.so.1", f"{compat}/libcuda.so.1", f"{compat}/libcuda.so.580.95.05",
                      "580.95.05", "LD_LIBRARY_PATH"),
        DriverLibrary("libnvidia-ml.so.1", f"{X86}/libnvidia-ml.so.1",
                      f"{X86}/libnvidia-ml.so.535.183.01", "535.183.01", "ld.so.cache"),
    )  # fmt: skip
    env = torch_env("2.9.0", "13.0", "+cu130", archs=("sm_75", "sm_80", "sm_90"))
    env = dataclasses.replace(env, distributions=env.distributions[:1])
    box = gpu_box(
        "0x20b2", "NVIDIA A100-SXM4-80GB", "8.0", "535.183.01", "13.0", "proprietary", python=env
    )
    return edit(box, driver__libraries=libraries, loader=LoaderState(ld_library_path=(compat,)))


@healthy
def gpu_passed_through() -> Snapshot:
    """The host of a virtual machine: its GPU belongs to vfio-pci."""
    gpu = PciGpu("0000:01:00.0", "0x2684", "0x030000", "vfio-pci")
    return edit(laptop(), gpus=(gpu,), driver__loaded_modules=("vfio_pci",))


@healthy
def desktop_on_nouveau() -> Snapshot:
    """A desktop that draws with nouveau and has nothing for CUDA."""
    gpu = PciGpu("0000:01:00.0", "0x1b80", "0x030000", "nouveau")
    return edit(laptop(), gpus=(gpu,), python=venv(), driver__loaded_modules=("nouveau",))


@healthy
def uv_default_wheels() -> Snapshot:
    """uv: torch from the default index has no tag, torchvision from PyTorch's has; same CUDA."""
    env = torch_env(manager="uv")
    mixed = tuple(
        dataclasses.replace(item, installer="uv",
                            version=item.version + ("+cu128" if item.name == "torchvision" else ""))
        for item in env.distributions
    )  # fmt: skip
    return gpu_box(python=dataclasses.replace(env, distributions=mixed))


@healthy
def tensorflow_and_cuda() -> Snapshot:
    """tensorflow[and-cuda]."""
    env = venv(
        dist("tensorflow", "2.19.1"), dist("nvidia-cudnn-cu12", "9.3.0.75"), dist("numpy", "2.1.3")
    )
    return gpu_box(python=env)


@healthy
def jax_cuda13() -> Snapshot:
    """jax[cuda13], whose plugin is a patch ahead."""
    env = venv(
        dist("jax", "0.12.0"),
        dist("jaxlib", "0.12.0"),
        dist("jax-cuda13-plugin", "0.12.0.1"),
        dist("jax-cuda13-pjrt", "0.12.0.1"),
        dist("numpy", "2.1.3"),
    )
    return gpu_box(python=env)


@healthy
def onnxruntime_with_tensorrt() -> Snapshot:
    """onnxruntime-gpu beside TensorRT of one family: a meta package, libraries and bindings."""
    env = venv(
        dist("onnxruntime-gpu", "1.23.2"),
        dist("tensorrt", "10.13.2.6"),
        dist("tensorrt-cu12", "10.13.2.6"),
        dist("tensorrt-cu12-libs", "10.13.2.6"),
        dist("tensorrt-cu12-bindings", "10.13.2.6"),
    )
    provider = LibraryFile(f"{SITE}/onnxruntime/capi/libonnxruntime_providers_tensorrt.so",
                           "onnxruntime-gpu", "onnxruntime")  # fmt: skip
    return edit(gpu_box(python=env), libraries=(provider,))


@healthy
def newer_than_the_tables() -> Snapshot:
    """A driver branch, a GPU and a torch that came after this release of cuready."""
    env = venv(
        dist("torch", "3.1.0+cu150"),
        dist("numpy", "2.9.0"),
        torch=torch_build("3.1.0+cu150", "15.0", "sm_140"),
    )
    box = gpu_box("0x4fff", "NVIDIA GeForce RTX 8090", "14.0", "720.10", "15.0", python=env)
    return edit(box, gpus=(PciGpu("0000:01:00.0", "0x4fff", "0x030000", "nvidia"),))


@healthy
def newer_and_not_asked() -> Snapshot:
    """The same from files alone: unknown, never an error."""
    return edit(newer_than_the_tables(), nvml=NOT_ASKED, cuda=NOT_ASKED)


@healthy
def managed_system_python() -> Snapshot:
    """Debian's own Python, nothing installed."""
    return edit(laptop(), python=venv(kind="system", manager="apt", externally_managed=True,
                                      executable="/usr/bin/python3", prefix="/usr"))  # fmt: skip


@healthy
def mixed_rig_in_bus_order() -> Snapshot:
    """Two kinds of GPU, chosen by index, with CUDA_DEVICE_ORDER set."""
    box = gpu_box(count=2)
    second = dataclasses.replace(box.nvml.devices[1], name="NVIDIA GeForce RTX 3060")
    return edit(
        box,
        nvml__devices=(box.nvml.devices[0], second),
        environment={"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    )


@healthy
def fedora_signed_module() -> Snapshot:
    """Secure Boot with a signed module that is loaded."""
    box = gpu_box()
    return edit(box, platform=platform(distro_id="fedora", distro_like=(), secure_boot=True),
                driver__module_files=("/lib/modules/6.8/extra/nvidia/nvidia.ko.xz",))  # fmt: skip


@healthy
def kernels_of_other_environments() -> Snapshot:
    """Jupyter with kernels of several environments beside its own."""
    env = torch_env(
        extra=(dist("ipykernel", "6.29.5"),),
        kernelspecs=(
            Kernelspec("python3", "/home/u/proj/.venv/share/jupyter/kernels/python3",
                       ("/home/u/proj/.venv/bin/python", "-m", "ipykernel_launcher"), True),
            Kernelspec("other", "/home/u/.local/share/jupyter/kernels/other",
                       ("/home/u/other/bin/python", "-m", "ipykernel_launcher"), True),
        ),
    )  # fmt: skip
    return gpu_box(python=env)


@healthy
def fresh_boot_from_files() -> Snapshot:
    """Headless, just booted: the driver loads nvidia_uvm on first use, and nobody has used it."""
    box = gpu_box()
    return edit(
        box,
        driver__uvm_loaded=False,
        device_nodes=tuple(
            no_node("/dev/nvidia-uvm") if item.path == "/dev/nvidia-uvm" else item
            for item in box.device_nodes
        ),
    )


@healthy
def nothing_was_read() -> Snapshot:
    """An empty snapshot: nothing is known, so nothing is wrong."""
    return Snapshot()


@healthy
def image_on_disk() -> Snapshot:
    """A container image below --root: no kernel, no devices, a CUDA torch."""
    box = edit(laptop(), python=torch_env())
    return edit(box, driver=KernelDriver(), device_nodes=(), scope__kind="root", cuda=NOT_ASKED)


@healthy
def cuda_saw_no_device_on_purpose() -> Snapshot:
    """A driver box whose CUDA probe was not run, device chosen by UUID prefix."""
    box = gpu_box()
    return edit(box, environment={"CUDA_VISIBLE_DEVICES": "GPU-00000000"}, cuda=NOT_ASKED)


@healthy
def headless_driver_only() -> Snapshot:
    """An inference server without any Python package for CUDA."""
    box = gpu_box("0x2330", "NVIDIA H100 80GB HBM3", "9.0", python=venv())
    return edit(box, driver=kernel_driver("580.95.05", "open", ("0000:01:00.0",)))
