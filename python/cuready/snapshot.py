"""The machine as data: what the readers saw, versioned, as JSON and back.

The same object is what the checks look at, the bug report, the test fixture, and what
``cuready doctor --from FILE`` replays on somebody else's machine. ``None`` or an empty tuple means
"not known" or "none there"; ``readers`` says which of the two, with the reason.
Paths are as the diagnosed machine sees them, also when they were read below another root.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuready._codec import CodecError, from_json, to_json
from cuready._util import READ_LIMIT
from cuready.errors import SnapshotError

__all__ = [
    "SCHEMA_VERSION",
    "CondaPackage",
    "Config",
    "ConfigFile",
    "CudaFolder",
    "CudaToolkit",
    "DeviceNode",
    "Distribution",
    "Dockerfile",
    "DriverLibrary",
    "GpuCode",
    "KernelDriver",
    "Kernelspec",
    "LibraryFile",
    "LoaderState",
    "ModuleOrigin",
    "NativeDevice",
    "NativeProbe",
    "Packaging",
    "PciGpu",
    "PlanFile",
    "Platform",
    "PythonEnv",
    "ReaderOutcome",
    "RecordProblem",
    "Resolution",
    "Scope",
    "Snapshot",
    "Toolchain",
    "TorchBuild",
    "UnresolvedSymbol",
    "load",
]

SCHEMA_VERSION = 1

# A real snapshot of an environment with hundreds of packages is about 2 MB; anything far beyond
# that is not one, and reading it whole would only fill the memory of the machine in trouble.
MAX_FILE_BYTES = READ_LIMIT - 1  # one more is read, to see whether there is more


@dataclass(frozen=True)
class Scope:
    """Where the readers looked: this host, below another root, or an environment as files."""

    kind: str = "host"  # "host", "root" or "prefix"
    root: str | None = None
    prefix: str | None = None
    python: str | None = None
    cwd: str | None = None
    deep: bool = False


@dataclass(frozen=True)
class ReaderOutcome:
    """How one reader ended: ``ok``, ``failed``, ``timeout``, ``denied`` or ``skipped``, and why."""

    name: str
    status: str
    reason: str = ""
    ms: float = 0.0


@dataclass(frozen=True)
class Platform:
    """Operating system, libc, and what kind of box this is."""

    system: str = ""  # "Linux", "Windows", "Darwin"
    machine: str = ""  # "x86_64", "aarch64"
    kernel_release: str | None = None
    kernel_version: str | None = None  # /proc/version
    distro_id: str | None = None
    distro_like: tuple[str, ...] = ()
    distro_version: str | None = None
    distro_name: str | None = None
    libc: str | None = None  # "glibc" or "musl"
    libc_version: str | None = None
    container: str | None = None  # "docker", "podman", "kubernetes", "lxc", "apptainer", ...
    wsl: int | None = None  # 1 or 2
    scheduler: str | None = None  # "slurm", "kubernetes", "lsf", "pbs"
    secure_boot: bool | None = None
    tegra_release: str | None = None  # first line of /etc/nv_tegra_release
    cpu_count: int | None = None
    memory_bytes: int | None = None
    shm_bytes: int | None = None  # size of /dev/shm
    user_is_root: bool | None = None
    user_groups: tuple[str, ...] = ()
    init_system: str | None = None
    docker_runtimes: tuple[str, ...] = ()  # of /etc/docker/daemon.json
    docker_present: bool | None = None
    docker_is_snap: bool | None = None
    nvidia_container_toolkit: bool | None = None
    windows_driver_version: str | None = None
    vc_runtime_version: str | None = None


@dataclass(frozen=True)
class PciGpu:
    """An NVIDIA display controller on the PCI bus (class 0x03xxxx), or a Tegra's integrated GPU."""

    address: str  # "0000:65:00.0"
    device_id: str  # "0x2684", lower case
    class_code: str = ""
    driver: str | None = None  # "nvidia", "nouveau", "vfio-pci", None when unbound
    name: str | None = None
    compute_capability: str | None = None  # "8.9", where the tables know the id or name


@dataclass(frozen=True)
class DriverLibrary:
    """A library of the driver's userland as the loader would find it."""

    soname: str  # "libcuda.so.1", "libnvidia-ml.so.1"
    path: str  # as found
    real_path: str  # after symbolic links
    version: str | None = None  # "580.159.04", from the real file's name
    rule: str = ""  # "LD_LIBRARY_PATH", "ld.so.cache", "default", "not on the search path"
    size: int | None = None


@dataclass(frozen=True)
class KernelDriver:
    """The kernel's side of the driver, and what of its userland is on the search path."""

    module_loaded: bool | None = None
    version: str | None = None  # /sys/module/nvidia/version
    flavour: str | None = None  # "open" or "proprietary"
    proc_version: str | None = None  # first line of /proc/driver/nvidia/version
    uvm_loaded: bool | None = None
    loaded_modules: tuple[str, ...] = ()  # those of nvidia, nouveau, nova, vfio
    module_files: tuple[str, ...] = ()  # nvidia*.ko* below /lib/modules/<running kernel>
    proc_gpus: tuple[str, ...] = ()  # addresses below /proc/driver/nvidia/gpus
    proc_gpu_names: Mapping[str, str] = field(default_factory=dict)
    proc_gpu_uuids: Mapping[str, str] = field(default_factory=dict)
    nvswitch: bool | None = None
    fabric_manager_running: bool | None = None
    fabric_manager_version: str | None = None
    libraries: tuple[DriverLibrary, ...] = ()
    dev_char_links: bool | None = None  # /dev/char holds links to the nvidia nodes
    xid_messages: tuple[str, ...] = ()  # "Xid (PCI:0000:65:00): 79, ..." lines of /dev/kmsg
    kernel_messages: tuple[str, ...] = ()  # why the module refused a GPU, in its own words
    driver_packages: tuple[str, ...] = ()  # "nvidia-driver-580-open 580.159.04-..." of dpkg or rpm


@dataclass(frozen=True)
class DeviceNode:
    """A device file, whether it can be opened, and with which errno it cannot."""

    path: str
    exists: bool
    mode: str | None = None  # "crw-rw-rw-"
    owner: str | None = None  # "root:video"
    readable: bool | None = None
    writable: bool | None = None
    open_error: str | None = None  # "EPERM", "EACCES", "ENXIO"


@dataclass(frozen=True)
class NativeDevice:
    """A device as NVML or the CUDA driver reports it."""

    index: int
    name: str = ""
    uuid: str = ""
    compute_capability: str | None = None
    memory_bytes: int | None = None
    pci_address: str | None = None
    mig_mode: bool | None = None
    mig_uuids: tuple[str, ...] = ()
    fabric_state: str | None = None
    error: str | None = None  # "NVML_ERROR_GPU_IS_LOST"


@dataclass(frozen=True)
class NativeProbe:
    """One vendor library, asked in a child process: ok, failed, timeout, crashed or skipped."""

    status: str = "skipped"
    step: str = ""  # the call that failed: "load", "cuInit", "nvmlInit_v2"
    error_name: str | None = None  # "CUDA_ERROR_SYSTEM_NOT_READY"
    error_code: int | None = None
    error_text: str | None = None
    driver_version: str | None = None  # NVML: "580.159.04"
    cuda_version: str | None = None  # "13.0": newest CUDA that this driver speaks
    library: str | None = None
    devices: tuple[NativeDevice, ...] = ()


@dataclass(frozen=True)
class CudaFolder:
    """A folder of LD_LIBRARY_PATH with the CUDA runtime or compiler libraries in it."""

    entry: str  # as LD_LIBRARY_PATH has it
    path: str  # after symbolic links
    version: str | None = None  # of the toolkit: "12.4.1"
    names: tuple[str, ...] = ()  # "libcudart.so.12", "libnvJitLink.so.12"


@dataclass(frozen=True)
class LoaderState:
    """The dynamic loader's search order outside any one file."""

    ld_library_path: tuple[str, ...] = ()
    cuda_folders: tuple[CudaFolder, ...] = ()  # those of ld_library_path that hold a CUDA
    ld_preload: tuple[str, ...] = ()
    conf_dirs: tuple[str, ...] = ()  # from /etc/ld.so.conf and its includes
    cache_present: bool | None = None
    cache_entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """soname → paths, for the sonames of CUDA, cuDNN, NCCL, TensorRT, the driver and libstdc++."""


@dataclass(frozen=True)
class CudaToolkit:
    """A CUDA toolkit on disk. ``found_by``: CUDA_HOME, CUDA_PATH, PATH, /usr/local, conda, pip."""

    path: str
    found_by: tuple[str, ...] = ()
    version: str | None = None  # "12.4.1"
    nvcc: str | None = None
    nvcc_version: str | None = None
    host_gcc_max: int | None = None  # from crt/host_config.h
    exists: bool = True


@dataclass(frozen=True)
class Toolchain:
    """Compilers and headers that building an extension, or torch.compile, needs."""

    cc: str | None = None
    cxx: str | None = None
    gcc_version: str | None = None
    nvcc_ccbin: str | None = None
    python_header: str | None = None  # Python.h of the target interpreter, None when missing
    libcuda_link: str | None = None  # libcuda.so that a linker would find


@dataclass(frozen=True)
class RecordProblem:
    """Files that a RECORD promises. ``kind``: missing, altered, shared."""

    kind: str
    path: str  # relative to site-packages
    others: tuple[str, ...] = ()  # distributions that own the same path
    matches: str | None = None  # the distribution whose file lies on disk
    expected_size: int | None = None
    actual_size: int | None = None
    proof: str = "content"
    """What says that a shared path is two files: their content (hash or size), or the paths alone,
    because RECORD gives neither; with ``dates`` the times of the files say whose is there."""


@dataclass(frozen=True)
class Distribution:
    """An installed distribution, from its dist-info or egg-info."""

    name: str  # as in METADATA
    version: str
    location: str  # site-packages folder
    metadata_path: str = ""
    installer: str | None = None  # "pip", "uv", "conda"
    direct_url: str | None = None
    requires: tuple[str, ...] = ()  # Requires-Dist, only of packages that the checks look at
    requires_python: str | None = None
    tags: tuple[str, ...] = ()  # of WHEEL
    top_level: tuple[str, ...] = ()
    record_present: bool | None = None
    file_count: int | None = None
    mtime: float | None = None
    problems: tuple[RecordProblem, ...] = ()


@dataclass(frozen=True)
class CondaPackage:
    """One conda-meta/*.json."""

    name: str
    version: str
    build: str = ""
    channel: str = ""
    subdir: str = ""
    requested: bool = False
    missing_files: tuple[str, ...] = ()
    altered_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModuleOrigin:
    """Where ``import name`` would come from, found by walking sys.path, not by importing."""

    name: str
    path: str | None
    entry: str | None = None  # the sys.path entry that won
    shadowed: tuple[str, ...] = ()  # later copies, in search order


@dataclass(frozen=True)
class TorchBuild:
    """What a torch on disk says of itself, read as text."""

    version: str
    cuda: str | None = None  # None: CPU build
    hip: str | None = None
    git_version: str | None = None
    cxx11_abi: bool | None = None
    path: str = ""
    arch_flags: tuple[str, ...] = ()  # "sm_86", "compute_90": the literal compiled into torch
    msvc: str | None = None  # "14.39": the Visual C++ toolset that linked it, on Windows


@dataclass(frozen=True)
class Kernelspec:
    """A Jupyter kernel and the interpreter that it starts."""

    name: str
    path: str
    argv: tuple[str, ...] = ()
    interpreter_exists: bool | None = None


@dataclass(frozen=True)
class PythonEnv:
    """The interpreter under diagnosis and what is installed in it."""

    executable: str | None = None
    version: str | None = None  # "3.12.3"
    implementation: str | None = None
    free_threaded: bool | None = None
    bits: int | None = None
    prefix: str | None = None
    base_prefix: str | None = None
    kind: str | None = None  # "venv", "conda", "system", "pixi", "uv"
    manager: str | None = None  # who installs here: "pip", "uv", "conda", "mamba", "pixi", "apt"
    externally_managed: bool | None = None
    sys_path: tuple[str, ...] = ()
    site_packages: tuple[str, ...] = ()
    user_site: str | None = None
    user_site_enabled: bool | None = None
    distributions: tuple[Distribution, ...] = ()
    conda_packages: tuple[CondaPackage, ...] = ()
    conda_history: tuple[str, ...] = ()
    invalid_distributions: tuple[str, ...] = ()  # "~orch-2.5.1.dist-info"
    origins: tuple[ModuleOrigin, ...] = ()
    torch: TorchBuild | None = None
    kernelspecs: tuple[Kernelspec, ...] = ()
    bitsandbytes_binaries: tuple[str, ...] = ()
    nvidia_lib_dirs: tuple[str, ...] = ()
    project_pins: Mapping[str, str] = field(default_factory=dict)
    """``uv.lock torch`` → version: what lock files of the working folder say."""


@dataclass(frozen=True)
class ConfigFile:
    """One configuration file that conda, pip or uv reads here."""

    tool: str
    path: str
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Config:
    """Configuration of conda, pip and uv, lowest precedence first."""

    files: tuple[ConfigFile, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)  # PIP_*, UV_*, CONDA_*


@dataclass(frozen=True)
class Packaging:
    """Installers that can be run here, so that a fix names one that exists."""

    available: tuple[
        str, ...
    ] = ()  # "pip", "uv", "conda", "mamba", "micromamba", "pixi", "apt-get"
    conda_root: str | None = None


@dataclass(frozen=True)
class GpuCode:
    """GPU code inside one library. ``status``: ok, none, or unknown with a reason."""

    path: str
    owner: str = ""  # distribution or conda package
    sass: tuple[str, ...] = ()  # "8.0", "9.0a"
    ptx: tuple[str, ...] = ()
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class UnresolvedSymbol:
    """A symbol that no library in scope defines, or a version that its provider lacks."""

    symbol: str  # "ncclCommResume", or "GLIBCXX_3.4.30" for a version
    wanted_by: str  # path of the library that needs it
    provider: str | None = None  # path of the library that should have it
    version: str | None = None


@dataclass(frozen=True)
class Resolution:
    """How one needed soname is found. ``path`` None: the loader will not find it."""

    soname: str
    wanted_by: str
    path: str | None = None
    rule: str = (
        ""  # "RPATH of …", "RUNPATH", "LD_LIBRARY_PATH", "ld.so.cache", "default", "already loaded"
    )
    entry: str | None = None  # the search folder that won
    shadows: tuple[str, ...] = ()


@dataclass(frozen=True)
class LibraryFile:
    """One library whose loading was worked out, with everything that would go wrong."""

    path: str
    owner: str = ""
    role: str = ""  # "torch", "extension", "onnxruntime", "tensorrt", "tensorflow", "jax"
    soname: str | None = None
    needed: tuple[str, ...] = ()
    resolutions: tuple[Resolution, ...] = ()  # of the whole tree below it, wherever worth reporting
    missing: tuple[Resolution, ...] = ()
    unresolved: tuple[UnresolvedSymbol, ...] = ()
    error_text: str | None = None  # what the loader will say, word for word
    dlopens: tuple[Resolution, ...] = ()  # libraries it opens by name later on
    unknown: str | None = None  # why no verdict was possible


@dataclass(frozen=True)
class PlanFile:
    """A TensorRT plan lying in the working folder: what its header says."""

    path: str
    tag: str = ""
    version: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile of the working folder: what the image of its last stage is made of."""

    path: str
    base: str = ""  # the image that it starts from, with the stages in between left out
    drivers: tuple[str, ...] = ()  # "line 3: nvidia-driver-535"
    wheels: tuple[str, ...] = ()  # "line 2: torch": installed by pip, and made for glibc only
    capabilities: str = ""  # "line 4: video,utility": NVIDIA_DRIVER_CAPABILITIES, where it is known


@dataclass(frozen=True)
class Snapshot:
    """Everything that the checks may look at."""

    schema_version: int = SCHEMA_VERSION
    tool_version: str = ""
    taken_at: str = ""  # ISO 8601, UTC
    scope: Scope = field(default_factory=Scope)
    readers: tuple[ReaderOutcome, ...] = ()
    platform: Platform = field(default_factory=Platform)
    gpus: tuple[PciGpu, ...] = ()
    driver: KernelDriver = field(default_factory=KernelDriver)
    device_nodes: tuple[DeviceNode, ...] = ()
    nvml: NativeProbe = field(default_factory=NativeProbe)
    cuda: NativeProbe = field(default_factory=NativeProbe)
    loader: LoaderState = field(default_factory=LoaderState)
    environment: Mapping[str, str] = field(default_factory=dict)
    toolkits: tuple[CudaToolkit, ...] = ()
    toolchain: Toolchain = field(default_factory=Toolchain)
    python: PythonEnv = field(default_factory=PythonEnv)
    packaging: Packaging = field(default_factory=Packaging)
    config: Config = field(default_factory=Config)
    gpu_code: tuple[GpuCode, ...] = ()
    libraries: tuple[LibraryFile, ...] = ()
    plans: tuple[PlanFile, ...] = ()
    dockerfiles: tuple[Dockerfile, ...] = ()
    plugin_facts: Mapping[str, Any] = field(default_factory=dict)
    """What plugins read, under their entry-point names."""
    managed: Mapping[str, Any] = field(default_factory=dict)
    """The recipe, lock and drift of an environment that `cuready env` made."""

    def reader(self, name: str) -> ReaderOutcome | None:
        """How the reader ``name`` ended, or None when it did not run."""
        return next((outcome for outcome in self.readers if outcome.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON types; fields at their default are left out."""
        document = to_json(self)
        assert isinstance(document, dict)  # noqa: S101 - a dataclass always gives an object
        document.setdefault("schema_version", self.schema_version)
        return {"schema_version": document.pop("schema_version"), **document}

    def dumps(self) -> str:
        """The snapshot as a JSON document, which any UTF-8 stream can take.

        A path that is no UTF-8 has lone surrogates in its name; they are written as JSON escapes.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    @classmethod
    def from_dict(cls, document: Any) -> Snapshot:
        """Read a snapshot. Raises :class:`SnapshotError` when ``document`` is none.

        Fields that a newer cuready added are kept and written back. A newer ``schema_version``
        means that fields of ours changed their meaning, so that one is refused.
        """
        version = document.get("schema_version") if isinstance(document, dict) else None
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise SnapshotError("not a cuready snapshot: no schema_version in it")
        if version > SCHEMA_VERSION:
            raise SnapshotError(
                f"schema_version is {version}, this cuready reads {SCHEMA_VERSION}",
                hint="install the newer cuready that wrote it: pip install --upgrade cuready",
            )
        try:
            return from_json(cls, document)
        except CodecError as error:
            raise SnapshotError(f"not a cuready snapshot: {error}") from None


def load(path: Path) -> Snapshot:
    """Read the snapshot file ``path``.

    Raises :class:`SnapshotError` with one line that names the file when it cannot be read, is too
    large, is not JSON, is truncated, or is no snapshot.
    """
    hint = "write one with `cuready snapshot > FILE`"
    try:
        with path.open("rb") as stream:  # no size is asked: it may be a pipe, or /dev/zero
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise SnapshotError(f"{path}: too large for a snapshot (64 MB or more)", hint=hint)
        document = json.loads(data)
    except (OSError, MemoryError) as error:
        why = getattr(error, "strerror", None) or error or "not enough memory"
        raise SnapshotError(f"{path}: {why}", hint=hint) from None
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"{path}: not JSON, or cut short: {error}", hint=hint) from None
    try:
        return Snapshot.from_dict(_unwrapped(document))
    except SnapshotError as error:
        raise SnapshotError(f"{path}: {error.message}", hint=error.hint or hint) from None


def _unwrapped(document: Any) -> Any:
    """The snapshot inside a bundle of ``cuready report``; everything else as it is.

    Unknown keys are kept, so that other JSON of ours would pass for an empty machine without a
    fault: it is refused by name. Raises :class:`SnapshotError`.
    """
    if isinstance(document, dict) and isinstance(document.get("snapshot"), dict):
        return document["snapshot"]
    if isinstance(document, dict) and "findings" in document:
        raise SnapshotError("a diagnosis, not the snapshot that it was made from")
    return document
