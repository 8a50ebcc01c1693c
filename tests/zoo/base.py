"""The bases that the machines of the zoo are edited from, and the edits themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

from cuready.snapshot import (
    CondaPackage,
    DeviceNode,
    Distribution,
    DriverLibrary,
    KernelDriver,
    LoaderState,
    ModuleOrigin,
    NativeDevice,
    NativeProbe,
    Packaging,
    PciGpu,
    Platform,
    PythonEnv,
    Scope,
    Snapshot,
    Toolchain,
    TorchBuild,
)

SITE = "/home/u/proj/.venv/lib/python3.12/site-packages"
X86 = "/usr/lib/x86_64-linux-gnu"


def edit(snapshot: Snapshot, **changes: Any) -> Snapshot:
    """A copy with fields replaced; ``driver__version="…"`` reaches into a section."""
    for name, value in changes.items():
        section, _, field = name.partition("__")
        part = getattr(snapshot, section)
        new = dataclasses.replace(part, **{field: value}) if field else value
        snapshot = dataclasses.replace(snapshot, **{section: new})
    return snapshot


# --- pieces ------------------------------------------------------------------------------------


def dist(name: str, version: str, installer: str = "pip", **more: Any) -> Distribution:
    """An installed distribution with a dist-info of its own."""
    site = more.pop("location", SITE)
    return Distribution(
        name=name,
        version=version,
        location=site,
        metadata_path=more.pop(
            "metadata_path", f"{site}/{name.replace('-', '_')}-{version}.dist-info"
        ),
        installer=installer,
        record_present=more.pop("record_present", True),
        **more,
    )


def conda(name: str, version: str, build: str = "", channel: str = "conda-forge") -> CondaPackage:
    return CondaPackage(name, version, build, f"https://conda.anaconda.org/{channel}", "linux-64")


def node(path: str, **more: Any) -> DeviceNode:
    """A device node that everybody may open, unless ``more`` says otherwise."""
    facts = {
        "exists": True,
        "mode": "crw-rw-rw-",
        "owner": "root:root",
        "readable": True,
        "writable": True,
    }
    return DeviceNode(path, **{**facts, **more})


def no_node(path: str) -> DeviceNode:
    return DeviceNode(path, exists=False)


def nodes(gpus: int = 1) -> tuple[DeviceNode, ...]:
    names = ("/dev/nvidiactl", "/dev/nvidia-uvm", *(f"/dev/nvidia{n}" for n in range(gpus)))
    return tuple(node(name) for name in names)


def without(found: tuple[DeviceNode, ...], path: str) -> tuple[DeviceNode, ...]:
    """``found`` with ``path`` looked for and not there."""
    return tuple(no_node(path) if item.path == path else item for item in found)


def driver_libraries(version: str, folder: str = X86) -> tuple[DriverLibrary, ...]:
    return tuple(
        DriverLibrary(f"{name}.so.1", f"{folder}/{name}.so.1", f"{folder}/{name}.so.{version}", version,
                      "ld.so.cache")
        for name in ("libcuda", "libnvidia-ml")
    )  # fmt: skip


def proc_version(version: str, flavour: str) -> str:
    opened = " Open Kernel Module for x86_64" if flavour == "open" else " x86_64 Kernel Module"
    return f"NVRM version: NVIDIA UNIX{opened}  {version}  Release Build"


def kernel_driver(
    version: str, flavour: str, addresses: tuple[str, ...], **more: Any
) -> KernelDriver:
    facts: dict[str, Any] = {
        "module_loaded": True,
        "version": version,
        "flavour": flavour,
        "proc_version": proc_version(version, flavour),
        "uvm_loaded": True,
        "loaded_modules": ("nvidia", "nvidia_uvm"),
        "proc_gpus": addresses,
        "libraries": driver_libraries(version),
        "driver_packages": (
            f"nvidia-driver-{version.split('.', maxsplit=1)[0]} {version}-0ubuntu1",
        ),
    }
    return KernelDriver(**{**facts, **more})


def failed(step: str, name: str, code: int) -> NativeProbe:
    """What a vendor library answered in its child process when it failed."""
    return NativeProbe(status="failed", step=step, error_name=name, error_code=code)


NVML_DOWN = failed("nvmlInit_v2", "NVML_ERROR_DRIVER_NOT_LOADED", 9)
NO_DEVICE = failed("cuInit", "CUDA_ERROR_NO_DEVICE", 100)
NOT_ASKED = NativeProbe()


# --- whole machines ----------------------------------------------------------------------------


def platform(**more: Any) -> Platform:
    facts: dict[str, Any] = {
        "system": "Linux",
        "machine": "x86_64",
        "kernel_release": "6.8.0-51-generic",
        "distro_id": "ubuntu",
        "distro_like": ("debian",),
        "distro_version": "24.04",
        "distro_name": "Ubuntu 24.04",
        "libc": "glibc",
        "libc_version": "2.39",
        "secure_boot": False,
        "shm_bytes": 16 << 30,
        "user_is_root": False,
        "docker_present": False,
        "nvidia_container_toolkit": False,
    }
    return Platform(**{**facts, **more})


def venv(*distributions: Distribution, torch: TorchBuild | None = None, **more: Any) -> PythonEnv:
    """A virtual environment that pip installs into."""
    facts: dict[str, Any] = {
        "executable": "/home/u/proj/.venv/bin/python",
        "version": "3.12.3",
        "implementation": "CPython",
        "bits": 64,
        "prefix": "/home/u/proj/.venv",
        "base_prefix": "/usr",
        "kind": "venv",
        "manager": "pip",
        "site_packages": (SITE,),
        "sys_path": ("/usr/lib/python3.12", SITE),
        "user_site": "/home/u/.local/lib/python3.12/site-packages",
        "distributions": distributions,
        "torch": torch,
        "origins": (ModuleOrigin("torch", f"{SITE}/torch/__init__.py", SITE),) if torch else (),
    }
    return PythonEnv(**{**facts, **more})


def torch_build(version: str, cuda: str | None, *archs: str) -> TorchBuild:
    return TorchBuild(version, cuda, path=f"{SITE}/torch/version.py", arch_flags=archs)


ARCH_CU128 = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")


def torch_env(
    version: str = "2.8.0", cuda: str | None = "12.8", tag: str = "", **more: Any
) -> PythonEnv:
    """A venv with a matching torch, torchvision and torchaudio, and triton."""
    pairs = {
        "2.8.0": ("0.23.0", "2.8.0"),
        "2.7.1": ("0.22.1", "2.7.1"),
        "2.3.1": ("0.18.1", "2.3.1"),
    }
    vision, audio = pairs.get(version, ("0.23.0", "2.8.0"))
    packages = (
        dist("torch", version + tag),
        dist("torchvision", vision + tag, requires=(f"torch=={version}",)),
        dist("torchaudio", audio + tag, requires=(f"torch=={version}",)),
        dist("triton", "3.4.0"),
        dist("numpy", "1.26.4"),
    )
    archs = more.pop("archs", ARCH_CU128 if cuda else ())
    extra = tuple(more.pop("extra", ()))
    return venv(*packages, *extra, torch=torch_build(version + tag, cuda, *archs), **more)


def laptop() -> Snapshot:
    """No GPU, a CPU build of torch."""
    return Snapshot(
        scope=Scope(cwd="/home/u/proj"),
        platform=platform(),
        driver=KernelDriver(module_loaded=False, uvm_loaded=False, nvswitch=False),
        device_nodes=(no_node("/dev/nvidiactl"), no_node("/dev/nvidia-uvm")),
        loader=LoaderState(cache_present=True),
        toolchain=Toolchain(cc="/usr/bin/cc", cxx="/usr/bin/c++", gcc_version="13.3.0",
                            python_header="/usr/include/python3.12/Python.h"),
        packaging=Packaging(available=("pip", "apt-get")),
        python=torch_env("2.8.0", None, "+cpu"),
    )  # fmt: skip


def gpu_box(
    device_id: str = "0x2684",
    name: str = "NVIDIA GeForce RTX 4090",
    capability: str = "8.9",
    driver: str = "580.95.05",
    cuda: str = "13.0",
    flavour: str = "open",
    count: int = 1,
    python: PythonEnv | None = None,
) -> Snapshot:
    """A machine with ``count`` equal GPUs on which everything works."""
    addresses = tuple(f"0000:{n + 1:02x}:00.0" for n in range(count))
    devices = tuple(
        NativeDevice(
            n, name, f"GPU-{n:08x}-0000-0000-0000-000000000000", capability, 24 << 30, address
        )
        for n, address in enumerate(addresses)
    )
    return edit(
        laptop(),
        gpus=tuple(PciGpu(a, device_id, "0x030000", "nvidia", name) for a in addresses),
        driver=kernel_driver(driver, flavour, addresses),
        device_nodes=nodes(count),
        nvml=NativeProbe("ok", driver_version=driver, cuda_version=cuda, devices=devices),
        cuda=NativeProbe("ok", cuda_version=cuda, library=f"{X86}/libcuda.so.1", devices=devices),
        python=torch_env() if python is None else python,
    )


def down(snapshot: Snapshot) -> Snapshot:
    """The same machine where neither NVML nor CUDA came up."""
    return edit(snapshot, nvml=NVML_DOWN, cuda=NO_DEVICE)


def container(snapshot: Snapshot, kind: str = "docker") -> Snapshot:
    """The same machine as a container sees it that was given the GPU."""
    return edit(
        snapshot, platform__container=kind, platform__shm_bytes=8 << 30, driver__driver_packages=()
    )
