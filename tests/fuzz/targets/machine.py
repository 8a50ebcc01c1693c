"""The machine's own files as the readers see them: one of them foreign, the others in order.

The first byte of the input chooses the file, the rest is what stands in it. A reader may say that
there is nothing, that it was refused, or that its answer is incomplete, and nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.fuzz.targets._support import Target, bounded_reading, part, scratch

from cuready.probe import (
    assemble,
    conda_env,
    container,
    distributions,
    dockerfile,
    driver_userland,
    host,
    installers,
    kernel_driver,
    loader_state,
    macos,
    managed,
    modules,
    pci,
    plugins,
    prefix,
    project,
    python_env,
    records,
    toolchain,
    toolkits,
    torch_build,
)  # fmt: skip
from cuready.probe.context import Context, Denied, Facts, Incomplete, Skip
from cuready.snapshot import Platform, PythonEnv, Snapshot

__all__ = ["ENVIRONMENT", "PROJECT", "SYSTEM", "TARGETS", "File", "context", "read", "root"]

Reader = Callable[[Context], Facts]
File = tuple[str, Sequence[Reader]]

_RELEASE = "6.8.0-45-generic"
_MODULES = f"/lib/modules/{_RELEASE}"
_SITE = "/env/lib/python3.12/site-packages"
_INFO = f"{_SITE}/torch-2.6.0.dist-info"
_TORCH = f"{_SITE}/torch"


def _entry_points(context: Context) -> Facts:
    assert len(plugins.find(context, [_SITE])) <= 50
    return {}


def _described(context: Context) -> Facts:
    found = prefix.describe(context, "/env")
    context = dataclasses.replace(context, interpreter=found)
    return python_env.read(context) if found is not None else {}


SYSTEM: tuple[File, ...] = (
    ("/etc/os-release", (host.read,)),
    ("/proc/version", (host.read,)),
    ("/proc/meminfo", (host.read,)),
    ("/proc/mounts", (host.read,)),
    ("/lib/x86_64-linux-gnu/libc.so.6", (host.read,)),
    ("/lib/ld-musl-x86_64.so.1", (host.read,)),
    ("/proc/1/cgroup", (container.read,)),
    ("/etc/docker/daemon.json", (container.read,)),
    ("/proc/driver/nvidia/version", (kernel_driver.read,)),
    ("/proc/driver/nvidia/gpus/0000:01:00.0/information", (kernel_driver.read, pci.read_names)),
    (f"{_MODULES}/modules.dep", (kernel_driver.read_module_files,)),
    ("/sys/bus/pci/devices/0000:01:00.0/device", (pci.read, pci.read_names)),
    ("/usr/share/misc/pci.ids", (pci.read_names,)),
    ("/proc/device-tree/compatible", (pci.read,)),
    ("/var/lib/dpkg/status", (driver_userland.read_packages,)),
    ("/var/lib/rpm/rpmdb.sqlite", (driver_userland.read_packages,)),
    ("/dev/kmsg", (driver_userland.read_messages,)),
    ("/etc/ld.so.conf", (loader_state.read, toolchain.read)),
    ("/etc/ld.so.cache", (loader_state.read, driver_userland.read_libraries)),
    ("/usr/local/cuda/version.json", (toolkits.read,)),
    ("/usr/local/cuda/version.txt", (toolkits.read,)),
    ("/usr/local/cuda/include/cuda.h", (toolkits.read,)),
    ("/usr/local/cuda/include/crt/host_config.h", (toolkits.read,)),
    ("/System/Library/CoreServices/SystemVersion.plist", (macos.read,)),
)
ENVIRONMENT: tuple[File, ...] = (
    ("/env/pyvenv.cfg", (_described,)),
    (f"{_SITE}/foreign.pth", (_described,)),
    (f"{_SITE}/__editable___torch_finder.py", (modules.read,)),
    (f"{_INFO}/METADATA", (distributions.read,)),
    (f"{_INFO}/WHEEL", (distributions.read,)),
    (f"{_INFO}/direct_url.json", (distributions.read,)),
    (f"{_INFO}/top_level.txt", (distributions.read,)),
    (f"{_INFO}/RECORD", (distributions.read, records.read)),
    (f"{_INFO}/entry_points.txt", (_entry_points,)),
    (f"{_SITE}/old-1.0.egg-info", (distributions.read,)),
    (f"{_TORCH}/version.py", (torch_build.read,)),
    (f"{_TORCH}/share/cmake/Torch/TorchConfig.cmake", (torch_build.read,)),
    ("/env/conda-meta/cudnn-9.1.0-h1_0.json", (conda_env.read,)),
    ("/env/conda-meta/history", (conda_env.read, _described)),
    ("/env/.cuready/env.json", (managed.read,)),
    ("/env/share/jupyter/kernels/python3/kernel.json", (project.read_kernelspecs,)),
)
PROJECT: tuple[File, ...] = (
    ("/project/uv.lock", (project.read_pins,)),
    ("/project/pyproject.toml", (project.read_pins, installers.read_config)),
    ("/project/requirements.txt", (project.read_pins,)),
    ("/project/environment.yml", (project.read_pins,)),
    ("/project/Dockerfile", (dockerfile.read,)),
    ("/root/.condarc", (installers.read_config,)),
    ("/root/.config/pip/pip.conf", (installers.read_config,)),
    ("/project/uv.toml", (installers.read_config,)),
)

_USUAL = {
    "/lib64/ld-linux-x86-64.so.2": "",
    "/proc/version": f"Linux version {_RELEASE} (gcc)\n",
    "/sys/module/nvidia/version": "570.86.10\n",
    "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
    "/sys/bus/pci/devices/0000:01:00.0/device": "0x2204\n",
    "/sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n",
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.10\n",
    f"{_MODULES}/updates/dkms/nvidia.ko.zst": "",
    "/usr/local/cuda/bin/nvcc": "",
    "/env/pyvenv.cfg": "home = /usr/bin\nversion = 3.12.3\n",
    "/env/conda-meta/history": "",
    "/env/lib/libcudnn.so.9": "x",
    f"{_TORCH}/__init__.py": "",
    f"{_TORCH}/version.py": "__version__ = '2.6.0+cu124'\ncuda = '12.4'\n",
    f"{_TORCH}/lib/libtorch_cuda.so": "\0sm_80 sm_90\0",
    f"{_INFO}/METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.6.0\n\n",
    f"{_INFO}/RECORD": "torch/lib/libtorch_cuda.so,sha256=x,13\n",
}


@cache
def root() -> Path:
    """The folder that stands for ``/``."""
    root = scratch("machine")
    for path, text in _USUAL.items():
        file = root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "work").mkdir()
    return root


@cache
def _so_far() -> Snapshot:
    python = PythonEnv(
        version="3.12.3", prefix="/env", base_prefix="/usr", kind="venv",
        sys_path=("/project", _SITE), site_packages=(_SITE,),
    )  # fmt: skip
    base = Snapshot(python=python, platform=Platform(system="Linux", kernel_release=_RELEASE))
    context = _context(base)
    facts = [pci.read(context), kernel_driver.read(context), distributions.read(context)]
    before = assemble.overlay(base, facts)
    return assemble.overlay(before, [modules.read(dataclasses.replace(context, so_far=before))])


def _context(so_far: Snapshot, system: str = "Linux") -> Context:
    env = {"PATH": "/usr/local/cuda/bin", "LD_LIBRARY_PATH": "/env/lib"}
    return Context(root=str(root()), env=env, cwd="/project", system=system, prefix="/env",
                   so_far=so_far)  # fmt: skip


def context(path: str) -> Context:
    """Where the readers of the file ``path`` look."""
    return _context(_so_far(), "Darwin" if path.endswith(".plist") else "Linux")


def _foreign(files: Sequence[File]) -> Target:
    def run(data: bytes) -> None:
        which, content = part(data, len(files))
        path, readers = files[which]
        place = root() / path[1:]
        here = context(path)
        usual = place.read_bytes() if place.exists() else None
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        try:
            for reader in readers:
                read(reader, here)
        finally:
            if usual is None:
                place.unlink()
            else:
                place.write_bytes(usual)

    return run


def read(reader: Reader, context: Context) -> None:
    """Run one reader and look at what it found."""
    with suppress(Skip, Denied), bounded_reading():
        try:
            facts = reader(context)
        except Incomplete as partial:
            facts = partial.facts
        assemble.check(facts)
        snapshot = assemble.overlay(Snapshot(), [facts])
        Snapshot.from_dict(snapshot.to_dict())  # what was read must survive being written down


TARGETS: dict[str, Target] = {
    "machine": _foreign(SYSTEM),
    "environment": _foreign(ENVIRONMENT),
    "project": _foreign(PROJECT),
}
