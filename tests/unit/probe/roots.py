"""Builds the files of a machine below a folder, as ``--root`` reads them.

root = make_root(tmp_path, gpus=["RTX 4090"], driver="580.95.05", flavour="open")
site = add_python(root, "3.12")
add_torch(site, "2.9.1+cu128", cuda="12.8")
snapshot = cuready.probe.take(root=str(root), env={"PATH": "/usr/bin"})
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# name -> (PCI device id, PCI class), from https://pci-ids.ucw.cz
PCI = {
    "GTX 1080": ("0x1b80", "0x030000"),
    "Tesla V100": ("0x1db1", "0x030200"),
    "Tesla T4": ("0x1eb8", "0x030200"),
    "RTX 3070": ("0x2484", "0x030000"),
    "A100": ("0x20b0", "0x030200"),
    "RTX 4090": ("0x2684", "0x030000"),
    "H100": ("0x2330", "0x030200"),
    "B200": ("0x2901", "0x030200"),
    "RTX 5090": ("0x2b85", "0x030000"),
    "GB10": ("0x2e12", "0x030000"),
}

MODELS = {
    "GTX 1080": "NVIDIA GeForce GTX 1080",
    "Tesla V100": "Tesla V100-SXM2-16GB",
    "Tesla T4": "Tesla T4",
    "RTX 3070": "NVIDIA GeForce RTX 3070",
    "A100": "NVIDIA A100-SXM4-40GB",
    "RTX 4090": "NVIDIA GeForce RTX 4090",
    "H100": "NVIDIA H100 80GB HBM3",
    "B200": "NVIDIA B200",
    "RTX 5090": "NVIDIA GeForce RTX 5090",
    "GB10": "NVIDIA GB10",
}

DISTROS = {
    "ubuntu": 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04.1 LTS"\n',
    "debian": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "fedora": 'ID=fedora\nVERSION_ID=41\nPRETTY_NAME="Fedora Linux 41"\n',
    "rocky": 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n',
}

LIB = "usr/lib/x86_64-linux-gnu"
KERNEL = "6.8.0-45-generic"


def write(root: Path, path: str, content: str | bytes = "") -> Path:
    """Write ``content`` to ``path`` below ``root``, making the folders."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


def link(root: Path, path: str, to: str) -> None:
    """A symbolic link ``path`` below ``root`` with the text ``to``."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(to)


def make_root(
    folder: Path,
    *,
    gpus: Sequence[str] = (),
    pci_driver: str | None = "nvidia",
    driver: str | None = None,
    userland: str | None = None,
    flavour: str = "open",
    module_loaded: bool = True,
    uvm: bool = True,
    device_nodes: Iterable[str] | None = None,
    proc_visible: bool = True,
    distro: str = "ubuntu",
    kernel: str = KERNEL,
    container: str | None = None,
    wsl: int | None = None,
    secure_boot: bool | None = None,
    module_files: bool = True,
    fabric_manager: str | None = None,
    nvswitch: bool = False,
) -> Path:
    """A Linux machine of x86-64 below ``folder/root``; returns that root.

    ``driver``: version of the loaded kernel module; ``userland``: of libcuda and libnvidia-ml
    (``driver`` when None, ``""`` for none at all). ``pci_driver``: what the GPUs are bound to.
    ``device_nodes``: names below /dev, or None for what the driver would make.
    ``proc_visible``: /proc/driver/nvidia is there. ``container``: ``docker``, ``podman``.
    """
    root = folder / "root"
    _base(root, distro, kernel, wsl, container)
    for index, gpu in enumerate(gpus):
        add_pci(root, f"0000:{index + 1:02x}:00.0", *PCI[gpu], driver=pci_driver)
    if nvswitch:
        add_pci(root, "0000:c0:00.0", "0x22a3", "0x068000", driver="nvidia-nvswitch")
        write(root, "/proc/driver/nvidia-nvswitch/permissions", "")
    if driver and not wsl:
        if module_loaded:
            _module(root, driver, uvm)
            if proc_visible:
                _proc_driver(root, driver, flavour, gpus, kernel)
        if module_files:
            write(root, f"/lib/modules/{kernel}/updates/dkms/nvidia.ko.zst", b"\x28\xb5\x2f\xfd")
    version = driver if userland is None else userland
    if version and not wsl:
        add_driver_libraries(root, version)
    made = _usual_nodes(gpus, driver, uvm, wsl) if device_nodes is None else device_nodes
    for name in made:
        write(root, f"/dev/{name}")
    if secure_boot is not None:
        guid = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
        value = bytes([6, 0, 0, 0, int(secure_boot)])
        write(root, f"/sys/firmware/efi/efivars/{guid}", value)
    if fabric_manager:
        write(root, "/proc/777/comm", "nv-fabricmanage\n")
        add_dpkg(root, "nvidia-fabricmanager-" + fabric_manager.split(".")[0], fabric_manager)
    write_ld_cache(root)
    return root


def _base(root: Path, distro: str, kernel: str, wsl: int | None, container: str | None) -> None:
    if wsl:
        kernel = "4.4.0-19041-Microsoft" if wsl == 1 else "5.15.153.1-microsoft-standard-WSL2"
    write(root, "/proc/version", f"Linux version {kernel} (build@host) (gcc 13.2.0) #45 SMP\n")
    write(root, "/proc/sys/kernel/osrelease", f"{kernel}\n")
    write(root, "/etc/os-release", DISTROS[distro])
    write(root, "/lib64/ld-linux-x86-64.so.2", b"\x7fELF")
    write(root, f"/{LIB}/libc.so.6", b"\x7fELF\0GNU C Library (x) stable release version 2.39.\n\0")
    (root / "sys/bus/pci/devices").mkdir(parents=True, exist_ok=True)
    (root / "sys/module").mkdir(parents=True, exist_ok=True)
    (root / "dev/shm").mkdir(parents=True, exist_ok=True)
    if wsl:
        write(root, "/dev/dxg")
        if wsl == 2:
            for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
                write(root, f"/usr/lib/wsl/lib/{name}", b"\x7fELF")
            write(root, "/etc/ld.so.conf.d/ld.wsl.conf", "/usr/lib/wsl/lib\n")
            write(root, "/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n")
    if container == "docker":
        write(root, "/.dockerenv")
    elif container == "podman":
        write(root, "/run/.containerenv", 'engine="podman-5.0"\n')


def add_pci(
    root: Path,
    address: str,
    device: str,
    class_code: str,
    *,
    driver: str | None,
    vendor: str = "0x10de",
) -> None:
    """A PCI device below /sys, bound to ``driver``."""
    base = f"/sys/bus/pci/devices/{address}"
    write(root, f"{base}/vendor", f"{vendor}\n")
    write(root, f"{base}/device", f"{device}\n")
    write(root, f"{base}/class", f"{class_code}\n")
    if driver:
        (root / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        link(root, f"{base}/driver", f"../../../../bus/pci/drivers/{driver}")


def _module(root: Path, version: str, uvm: bool) -> None:
    write(root, "/sys/module/nvidia/version", f"{version}\n")
    if uvm:
        write(root, "/sys/module/nvidia_uvm/version", f"{version}\n")


def _proc_driver(root: Path, version: str, flavour: str, gpus: Sequence[str], kernel: str) -> None:
    kind = "Open Kernel Module for x86_64" if flavour == "open" else "x86_64 Kernel Module"
    text = f"NVRM version: NVIDIA UNIX {kind}  {version}  Release Build\nGCC version:  gcc 13\n"
    write(root, "/proc/driver/nvidia/version", text)
    for index, gpu in enumerate(gpus):
        uuid = f"GPU-00000000-0000-0000-0000-{index:012d}"
        info = f"Model: \t\t {MODELS[gpu]}\nIRQ:   \t\t 100\nGPU UUID: \t {uuid}\n"
        write(root, f"/proc/driver/nvidia/gpus/0000:{index + 1:02x}:00.0/information", info)


def _usual_nodes(gpus: Sequence[str], driver: str | None, uvm: bool, wsl: int | None) -> list[str]:
    if not driver or wsl:
        return []
    names = [f"nvidia{index}" for index in range(len(gpus))] + ["nvidiactl"]
    return [*names, "nvidia-uvm", "nvidia-uvm-tools"] if uvm else names


def add_driver_libraries(root: Path, version: str, folder: str = "/" + LIB) -> None:
    """libcuda.so.1 and libnvidia-ml.so.1, links to files that carry the version, as packages do."""
    for stem in ("libcuda.so", "libnvidia-ml.so"):
        write(root, f"{folder}/{stem}.{version}", b"\x7fELF" + bytes(64))
        link(root, f"{folder}/{stem}.1", f"{stem}.{version}")


def write_ld_cache(root: Path, folders: Sequence[str] = (f"/{LIB}", "/usr/lib/wsl/lib")) -> None:
    """/etc/ld.so.cache over the shared libraries in ``folders``, first folder first."""
    entries = []
    for folder in folders:
        for file in sorted((root / folder.lstrip("/")).glob("*.so*")):
            entries.append((file.name, f"{folder}/{file.name}"))
    write(root, "/etc/ld.so.cache", ld_cache(entries))


def ld_cache(
    entries: Sequence[tuple[str, str]], *, flags: int = 0x0303, old: bool = False
) -> bytes:
    """Bytes of an ld.so.cache with ``(soname, path)`` entries, as glibc lays them out."""
    strings, rows = b"", []
    first = 48 + 24 * len(entries)
    for soname, path in entries:
        key = first + len(strings)
        strings += soname.encode() + b"\0"
        value = first + len(strings)
        strings += path.encode() + b"\0"
        rows.append(struct.pack("<iIIIQ", flags, key, value, 0, 0))
    header = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", len(entries), len(strings), 2, 0)
    prefix = struct.pack("<12sI", b"ld.so-1.7.0\0", 0) if old else b""
    return prefix + header + b"".join(rows) + strings


def add_dpkg(root: Path, package: str, version: str, status: str = "install ok installed") -> None:
    """One more package in /var/lib/dpkg/status."""
    path = root / "var/lib/dpkg/status"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        stream.write(f"Package: {package}\nStatus: {status}\nVersion: {version}\n\n")


# --- Python environments ---------------------------------------------------------------------


def add_python(
    root: Path, version: str = "3.12", prefix: str = "/opt/venv", base: str = "/usr"
) -> Path:
    """A venv at ``prefix`` over ``base``'s Python; returns its site-packages folder."""
    minor = ".".join(version.split(".")[:2])
    write(root, f"{base}/bin/python{minor}", b"\x7fELF").chmod(0o755)
    write(root, f"{base}/lib/python{minor}/os.py")
    write(root, f"{prefix}/pyvenv.cfg", f"home = {base}/bin\nversion = {minor}.4\n")
    link(root, f"{prefix}/bin/python", f"{base}/bin/python{minor}")
    site = root / prefix.lstrip("/") / f"lib/python{minor}/site-packages"
    site.mkdir(parents=True, exist_ok=True)
    return site


def add_conda(root: Path, version: str = "3.12.4", prefix: str = "/opt/conda") -> Path:
    """A conda prefix with its own Python; returns its site-packages folder."""
    minor = ".".join(version.split(".")[:2])
    write(root, f"{prefix}/conda-meta/history", "# cmd: conda create -n x python\n")
    write(root, f"{prefix}/bin/python{minor}", b"\x7fELF").chmod(0o755)
    link(root, f"{prefix}/bin/python", f"python{minor}")
    add_conda_package(root, prefix, "python", version, "h955ad1f_1_cpython")
    site = root / prefix.lstrip("/") / f"lib/python{minor}/site-packages"
    site.mkdir(parents=True, exist_ok=True)
    return site


def add_conda_package(
    root: Path,
    prefix: str,
    name: str,
    version: str,
    build: str = "0",
    *,
    channel: str = "https://conda.anaconda.org/conda-forge/linux-64",
    subdir: str = "linux-64",
    files: Sequence[str] = (),
    paths: Sequence[Mapping[str, object]] = (),
    requested: bool = False,
) -> None:
    """``conda-meta/name-version-build.json``, keys in conda's order.

    ``paths``: entries of ``paths_data``, with ``_path``, ``size_in_bytes``, ``sha256`` and so on.
    """
    document = {
        "build": build,
        "build_number": 0,
        "channel": channel,
        "depends": [],
        "files": list(files),
        "name": name,
        "paths_data": {"paths": list(paths), "paths_version": 1},
        "requested_spec": name if requested else "None",
        "subdir": subdir,
        "version": version,
    }
    text = json.dumps(document, indent=2, sort_keys=True)
    write(root, f"{prefix}/conda-meta/{name}-{version}-{build}.json", text)


def add_dist(
    site: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    installer: str | None = "pip",
    files: Mapping[str, str | bytes] | None = None,
    record: bool = True,
    tags: Sequence[str] = ("py3-none-any",),
    direct_url: Mapping[str, object] | None = None,
) -> Path:
    """An installed distribution: its files, and a dist-info with the usual members."""
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    write(site, f"{folder}/METADATA", "\n".join(lines) + "\n\nThe long description.\n")
    wheel = "".join(f"Tag: {tag}\n" for tag in tags)
    write(site, f"{folder}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\n{wheel}")
    if installer:
        write(site, f"{folder}/INSTALLER", f"{installer}\n")
    if direct_url:
        write(site, f"{folder}/direct_url.json", json.dumps(direct_url))
    for path, content in (files or {}).items():
        write(site, path, content)
    if record:
        names = [*(files or {}), f"{folder}/METADATA", f"{folder}/WHEEL", f"{folder}/RECORD"]
        write(site, f"{folder}/RECORD", "".join(f"{path},,\n" for path in names))
    return site / folder


def add_torch(
    site: Path,
    version: str = "2.9.1+cu128",
    *,
    cuda: str | None = "12.8",
    arch: Sequence[str] = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"),
    requires: Sequence[str] = (),
    installer: str | None = "pip",
) -> Path:
    """A torch as far as readers look: version.py, a library with its arch literal, dist-info."""
    version_py = (
        "from typing import Optional\n\n"
        "__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip']\n"
        f"__version__ = '{version}'\ndebug = False\ncuda: Optional[str] = {cuda!r}\n"
        "git_version = '0123456789abcdef0123456789abcdef01234567'\nhip: Optional[str] = None\n"
    )
    files: dict[str, str | bytes] = {
        "torch/__init__.py": "raise ImportError('a doctor must not import torch')\n",
        "torch/version.py": version_py,
    }
    if cuda:
        literal = " ".join(arch).encode()
        files["torch/lib/libtorch_python.so"] = b"\x7fELF" + bytes(60) + b"\0" + literal + b"\0"
        files["torch/lib/libtorch_cuda.so"] = b"\x7fELF" + bytes(60)
    return add_dist(site, "torch", version, requires=requires, installer=installer, files=files)
