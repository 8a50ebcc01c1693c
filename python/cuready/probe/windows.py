"""Windows: the driver's nvcuda.dll beside the driver store, the Visual C++ runtime, WSL's folder.

Files say all of it, so a mounted Windows disk can be read as well as the running system; only the
driver that is in use is asked of the registry, when there is one. Version resources:
https://learn.microsoft.com/en-us/windows/win32/api/verrsrc/ns-verrsrc-vs_fixedfileinfo.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import struct

from cuready._util import READ_LIMIT
from cuready.probe import targets
from cuready.probe.context import Context, Facts, Skip
from cuready.probe.pe import PeError, image, mapped
from cuready.snapshot import DriverLibrary

__all__ = ["driver_of", "file_version", "read", "toolset"]

_RESOURCES = 2  # index of the data directory
_SIGNATURE = b"\xbd\x04\xef\xfe"  # VS_FIXEDFILEINFO
_STORE = "System32/DriverStore/FileRepository"
# The display adapters' setup class; each adapter's values stand in a numbered key below it.
_DISPLAY_CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"


def read(context: Context) -> Facts:
    """Driver versions, the C++ runtime, the toolset of torch's DLLs, and what WSL would get."""
    if context.system != "Windows":
        raise Skip(f"read on Windows only, and this is {context.system}")
    windows = _windows(context)
    system = f"{windows}/System32"
    store = _store_versions(context, windows)
    in_use = _registry_version(context) or (store[-1] if len(store) == 1 else None)
    libraries = tuple(
        DriverLibrary(name, path, path, driver_of(file_version(context, path)), rule, None)
        for name, path, rule in (
            ("nvcuda.dll", f"{system}/nvcuda.dll", "System32"),
            ("nvml.dll", f"{system}/nvml.dll", "System32"),
            ("libcuda.so.1", f"{system}/lxss/lib/libcuda.so.1", "WSL"),
        )
        if context.is_file(path)
    )
    facts: dict[str, object] = {
        "platform.windows_driver_version": in_use,
        "platform.vc_runtime_version": file_version(context, f"{system}/vcruntime140.dll"),
        "driver.version": in_use,
        "driver.driver_packages": tuple(f"driver store {version}" for version in store),
        "driver.libraries": libraries,
    }
    torch, folder = context.so_far.python.torch, targets.module_folder(context, "torch")
    if torch is not None and folder is not None:
        made_by = toolset(context, f"{folder}/lib/torch_cpu.dll")
        facts["python.torch"] = dataclasses.replace(torch, msvc=made_by)
    return facts


def _windows(context: Context) -> str:
    if context.rooted:
        return "/Windows"
    return context.env.get("SystemRoot", "C:/Windows").replace("\\", "/")


def _store_versions(context: Context, windows: str) -> list[str]:
    """Versions of the NVIDIA drivers that lie in the driver store; old ones may stay there."""
    found = set()
    for path in context.glob(f"{windows.removeprefix('/')}/{_STORE}/nv*.inf_*/nvcuda64.dll"):
        version = driver_of(file_version(context, path))
        if version:
            found.add(version)
    return sorted(found, key=lambda text: [int(part) for part in text.split(".")])


def _registry_version(context: Context) -> str | None:
    """DriverVersion of the NVIDIA adapter, on the running system."""
    if context.rooted or os.name != "nt":
        return None
    import importlib

    registry = importlib.import_module("winreg")
    with (
        contextlib.suppress(OSError),
        registry.OpenKey(registry.HKEY_LOCAL_MACHINE, _DISPLAY_CLASS) as displays,
    ):
        for number in range(16):
            with contextlib.suppress(OSError), registry.OpenKey(displays, f"{number:04d}") as key:
                if "NVIDIA" in str(registry.QueryValueEx(key, "ProviderName")[0]):
                    return driver_of(str(registry.QueryValueEx(key, "DriverVersion")[0]))
    return None


def driver_of(version: str | None) -> str | None:
    """``576.52`` of ``32.0.15.7652``: NVIDIA's number is the last five digits."""
    parts = re.match(r"^\d+\.\d+\.(\d+)\.(\d{1,4})$", version or "")
    if parts is None:
        return None
    digits = parts[1][-1] + parts[2].zfill(4)
    return f"{digits[:3]}.{digits[3:]}"


def file_version(context: Context, path: str) -> str | None:
    """``14.44.35211.0``: the file version in a DLL's resources, None without one."""
    try:
        with mapped(context, path) as data:
            place, size = image(data).directory(_RESOURCES)
            found = data.find(_SIGNATURE, place, place + min(size, READ_LIMIT))
            if found < 0 or found + 16 > len(data):
                return None
            _, _, high, low = struct.unpack_from("<IIII", data, found)
    except (OSError, PeError):
        return None
    return f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}"


def toolset(context: Context, path: str) -> str | None:
    """``14.39``: the linker that made a DLL, which is the toolset that its runtime must match."""
    try:
        with mapped(context, path) as data:
            return image(data).linker
    except (OSError, PeError):
        return None
