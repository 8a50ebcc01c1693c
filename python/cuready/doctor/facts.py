"""What several checks ask of a Snapshot: which GPUs, which driver, what is installed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.version import Version

from cuready._util import check_numbers, normalize
from cuready.compat import gpus as gpu_tables
from cuready.compat.capability import ComputeCapability, parse_capability
from cuready.errors import CompatError
from cuready.snapshot import (
    DeviceNode,
    Distribution,
    DriverLibrary,
    ModuleOrigin,
    PciGpu,
    Snapshot,
)

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = [
    "bare_linux",
    "capabilities",
    "conda_package",
    "cuda_family",
    "cuda_packages",
    "distributions",
    "driver_version",
    "gpu_capability",
    "has_gpu",
    "installed",
    "library",
    "node",
    "origin",
    "platform_tag",
    "python_tag",
    "requirement",
    "torch_cuda",
    "version",
    "wants_cuda",
]

# Where a forward-compatibility package (cuda-compat-12-8, conda's cuda-compat) keeps its libcuda.
COMPAT_FOLDER = re.compile(r"/(?:cuda-)?compat(?:/|$)")


def requirement(text: str) -> Requirement | None:
    """A line of ``Requires-Dist``; None when it is none, or holds a number that Python refuses."""
    from packaging.requirements import Requirement  # a parser to build

    try:
        found = Requirement(text)
        check_numbers(found.specifier)
    except ValueError:  # InvalidRequirement, and what int() says to thousands of digits
        return None
    return found


def version(text: str | None) -> Version | None:
    """``text`` as a version; None when it is none."""
    try:
        return Version(text) if text else None
    except ValueError:  # InvalidVersion, and what int() says to thousands of digits
        return None


# --- GPUs and driver -------------------------------------------------------------------------


def has_gpu(snapshot: Snapshot) -> bool:
    """Whether an NVIDIA GPU is known to be in this machine, by any of the ways to see one."""
    return bool(
        any(not (gpu.driver or "").startswith("vfio") for gpu in snapshot.gpus)  # a guest has it
        or snapshot.driver.proc_gpus
        or snapshot.nvml.devices
        or snapshot.cuda.devices
        or snapshot.platform.tegra_release
        or snapshot.platform.windows_driver_version
        or (snapshot.platform.wsl == 2 and _wsl_driver(snapshot))
    )


def _wsl_driver(snapshot: Snapshot) -> bool:
    """In WSL2 the GPU is not on the PCI bus; the Windows driver's libcuda is what shows it."""
    return any(lib.real_path.startswith("/usr/lib/wsl/") for lib in snapshot.driver.libraries)


def bare_linux(snapshot: Snapshot) -> bool:
    """Whether the NVIDIA module must be loaded into the kernel here: not WSL, no Tegra."""
    platform = snapshot.platform
    return platform.wsl is None and platform.tegra_release is None


def gpu_capability(gpu: PciGpu, snapshot: Snapshot) -> ComputeCapability | None:
    """Compute capability of a PCI GPU: as read, by its PCI id, or by the driver's name for it."""
    if (read := _capability(gpu.compute_capability)) is not None:
        return read
    for device in (*snapshot.cuda.devices, *snapshot.nvml.devices):
        asked = _capability(device.compute_capability)
        if asked is not None and same_address(device.pci_address, gpu.address):
            return asked
    known = gpu_tables.by_pci_id(gpu.device_id)
    if known is not None:
        return known.capability
    name = gpu.name or snapshot.driver.proc_gpu_names.get(gpu.address)
    return _capability_by_name(name) if name else None


def same_address(left: str | None, right: str) -> bool:
    """Whether two PCI addresses are one: NVML writes eight digits of the domain, sysfs four."""
    return left is not None and left.lower().lstrip("0") == right.lower().lstrip("0")


def _capability(text: str | None) -> ComputeCapability | None:
    """``8.9`` as read by somebody else; None when it is none."""
    try:
        return parse_capability(text) if text else None
    except CompatError:
        return None


def _capability_by_name(name: str) -> ComputeCapability | None:
    try:
        return gpu_tables.by_name(name).capability
    except CompatError:
        return None


def gpu_name(gpu: PciGpu, snapshot: Snapshot) -> str:
    """What to call a PCI GPU in a sentence."""
    known = gpu_tables.by_pci_id(gpu.device_id)
    name = gpu.name or snapshot.driver.proc_gpu_names.get(gpu.address) or (known and known.name)
    return f"{name} ({gpu.address})" if name else f"GPU {gpu.device_id} ({gpu.address})"


def capabilities(snapshot: Snapshot) -> dict[str, ComputeCapability]:
    """GPU in words → compute capability. What the driver itself says comes before the tables."""
    for probe in (snapshot.cuda, snapshot.nvml):
        found = {
            device.name or f"GPU {device.index}": capability
            for device in probe.devices
            if (capability := _capability(device.compute_capability)) is not None
        }
        if found:
            return found
    by_bus = {
        gpu_name(gpu, snapshot): capability
        for gpu in snapshot.gpus
        if (capability := gpu_capability(gpu, snapshot)) is not None
    }
    if by_bus:
        return by_bus
    names = snapshot.driver.proc_gpu_names.values()
    return {name: cc for name in names if (cc := _capability_by_name(name)) is not None}


def driver_version(snapshot: Snapshot) -> Version | None:
    """The driver that programs here will run on: the loaded module's, else what NVML says.

    A forward-compatibility libcuda counts as the newer driver that it stands for.
    """
    base = (
        version(snapshot.driver.version)
        or version(snapshot.nvml.driver_version)
        or version(snapshot.platform.windows_driver_version)
    )
    libcuda = library(snapshot, "libcuda.so.1")
    if libcuda is not None and COMPAT_FOLDER.search(libcuda.real_path):
        compat = version(libcuda.version)
        if compat is not None and (base is None or compat > base):
            return compat
    return base


def library(snapshot: Snapshot, soname: str) -> DriverLibrary | None:
    """The driver library that the loader finds first, or None when it finds none."""
    for item in snapshot.driver.libraries:
        if item.soname == soname and item.rule != "not on the search path":
            return item
    return None


def node(snapshot: Snapshot, path: str) -> DeviceNode | None:
    """The device node ``path`` as read, or None when nobody looked."""
    return next((item for item in snapshot.device_nodes if item.path == path), None)


def gpu_nodes(snapshot: Snapshot) -> list[DeviceNode]:
    """``/dev/nvidia0`` and its siblings that exist."""
    pattern = re.compile(r"^/dev/nvidia\d+$")
    return [item for item in snapshot.device_nodes if item.exists and pattern.match(item.path)]


# --- the Python environment --------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _normalised(name: str) -> str:
    """Every check asks for the same few hundred names."""
    return normalize(name)


def distributions(snapshot: Snapshot) -> Iterator[tuple[str, Distribution]]:
    """(normalised name, distribution) of everything installed."""
    for item in snapshot.python.distributions:
        yield _normalised(item.name), item


def installed(snapshot: Snapshot, name: str) -> list[Distribution]:
    """Every distribution called ``name``, in the order of ``sys.path``."""
    wanted = normalize(name)
    return [item for key, item in distributions(snapshot) if key == wanted]


def conda_package(snapshot: Snapshot, name: str) -> object | None:
    """The conda package ``name`` of the environment, or None."""
    return next((item for item in snapshot.python.conda_packages if item.name == name), None)


def origin(snapshot: Snapshot, name: str) -> ModuleOrigin | None:
    """Where ``import name`` would come from, or None when nobody looked."""
    return next((item for item in snapshot.python.origins if item.name == name), None)


def torch_cuda(snapshot: Snapshot) -> Version | None:
    """The CUDA that the installed torch was built with; None for CPU builds and without torch."""
    torch = snapshot.python.torch
    return version(torch.cuda) if torch is not None else None


_FAMILY = re.compile(r"-cu(?:da)?(\d\d)\d?x?(?:-|$)")


def cuda_family(name: str) -> int | None:
    """CUDA major in a distribution's name: 12 of ``tensorrt-cu12-libs`` and ``cupy-cuda12x``."""
    match = _FAMILY.search(normalize(name))
    return int(match[1]) if match else None


def cuda_packages(snapshot: Snapshot) -> dict[str, Version]:
    """Frameworks here that were built for CUDA → the CUDA they need, as far as it can be told."""
    found: dict[str, Version] = {}
    torch = torch_cuda(snapshot)
    if torch is not None:
        found["torch"] = torch
    for name, item in distributions(snapshot):
        family = cuda_family(name)
        if family and name.startswith(("jax-cuda", "tensorrt-cu", "cupy-cuda")):
            found.setdefault(name, Version(str(family)))
        elif name in ("tensorflow", "onnxruntime-gpu"):
            needed = _needed_by_release(name, item)
            if needed is not None:
                found.setdefault(name, needed)
    return found


def _needed_by_release(name: str, item: Distribution) -> Version | None:
    from cuready.compat.tables import rows

    table, key = (
        ("tensorflow", "tensorflow")
        if name == "tensorflow"
        else ("onnxruntime_gpu", "onnxruntime_gpu")
    )
    row = next((r for r in rows(table, "releases") if r[key] == item.version), None)
    if row is None:
        return None
    return version(str(row.get("cuda") or row.get("cuda_build") or row.get("cuda_major")))


def wants_cuda(snapshot: Snapshot) -> bool:
    """Whether anything installed in the environment was built for CUDA."""
    return bool(cuda_packages(snapshot)) or any(
        cuda_family(name) for name, _ in distributions(snapshot)
    )


def platform_tag(snapshot: Snapshot) -> str:
    """``linux_x86_64``, ``linux_aarch64`` or ``win_amd64``: as the compatibility tables name it."""
    if snapshot.platform.system == "Windows":
        return "win_amd64"
    return "linux_aarch64" if snapshot.platform.machine in ("aarch64", "arm64") else "linux_x86_64"


def python_tag(snapshot: Snapshot) -> str | None:
    """``3.12``, or ``3.13t`` for a free-threaded build."""
    found = version(snapshot.python.version)
    if found is None:
        return None
    return f"{found.major}.{found.minor}{'t' if snapshot.python.free_threaded else ''}"
