"""NVIDIA GPUs and NVSwitches on the PCI bus, and the driver that each is bound to."""

from __future__ import annotations

import dataclasses
import posixpath
import re

from cuready.probe.context import Context, Facts, Skip
from cuready.snapshot import PciGpu

__all__ = ["devices", "has_nvidia", "read", "read_names"]

NVIDIA = "0x10de"
_DEVICES = "/sys/bus/pci/devices"
_PCI_IDS = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids", "/usr/share/pci.ids")


def read(context: Context) -> Facts:
    """GPUs (class 0x03xxxx) of vendor 10de, and a Tegra's integrated one."""
    if context.system != "Linux":
        raise Skip(f"no {_DEVICES} on {context.system}")
    tegra = _tegra(context)
    if not context.is_dir(_DEVICES) and not tegra:
        raise Skip(f"{_DEVICES} is not there")
    found = tuple(gpu for gpu in devices(context) if gpu.class_code.startswith("0x03"))
    return {"gpus": found + tegra}


def devices(context: Context) -> list[PciGpu]:
    """Every function of NVIDIA's on the bus: GPUs, their audio, bridges and NVSwitches."""
    found = []
    for address in context.listdir(_DEVICES):
        base = f"{_DEVICES}/{address}"
        if context.first_line(f"{base}/vendor") != NVIDIA:
            continue
        bound = context.readlink(f"{base}/driver")
        found.append(
            PciGpu(
                address=address,
                device_id=(context.first_line(f"{base}/device") or "").lower(),
                class_code=(context.first_line(f"{base}/class") or "").lower(),
                driver=posixpath.basename(bound) if bound else None,
            )
        )
    return found


def _tegra(context: Context) -> tuple[PciGpu, ...]:
    """The integrated GPU of a Jetson is no PCI device; the device tree names the chip."""
    data = context.read_bytes("/proc/device-tree/compatible", 4096) or b""
    chip = re.search(rb"nvidia,(tegra\d+)", data)
    if not chip:
        return ()
    model = context.first_line("/proc/device-tree/model")
    name = model.strip("\0") if model else None
    return (PciGpu(address="tegra", device_id=chip[1].decode(), driver="nvgpu", name=name),)


def has_nvidia(context: Context) -> bool:
    """True when anything of NVIDIA's can be asked: without it, most readers can save their time."""
    signs = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/proc/driver/nvidia/version",
             "/sys/module/nvidia", "/etc/nv_tegra_release")  # fmt: skip
    return any(map(context.exists, signs)) or any(
        gpu.class_code.startswith("0x03") for gpu in devices(context)
    )


def read_names(context: Context) -> Facts:
    """Names and compute capabilities of the GPUs, best source first: NVML, the driver, pci.ids."""
    gpus = context.so_far.gpus
    if not gpus:
        raise Skip("no NVIDIA GPU on the PCI bus")
    native = {
        _short(device.pci_address): device
        for device in (*context.so_far.cuda.devices, *context.so_far.nvml.devices)
        if device.pci_address
    }
    named = []
    for gpu in gpus:
        device = native.get(_short(gpu.address))
        name = (
            (device.name if device else None)
            or context.so_far.driver.proc_gpu_names.get(gpu.address)
            or gpu.name
            or _from_pci_ids(context, gpu.device_id)
        )
        capability = (device.compute_capability if device else None) or gpu.compute_capability
        named.append(dataclasses.replace(gpu, name=name, compute_capability=capability))
    return {"gpus": tuple(named)}


def _short(address: str) -> str:
    """NVML writes an 8-digit domain, the kernel a 4-digit one."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain.lstrip('0') or '0'}:{rest}"


def _from_pci_ids(context: Context, device_id: str) -> str | None:
    """The name in the distribution's copy of https://pci-ids.ucw.cz, in NVIDIA's block of it."""
    for path in _PCI_IDS:
        data = context.read_bytes(path, 4 << 20)
        if not data:
            continue
        start = data.find(b"\n10de ")
        end = re.compile(rb"\n[0-9a-f]{4} ").search(data, start + 1) if start >= 0 else None
        block = data[start : end.start() if end else len(data)] if start >= 0 else b""
        wanted = re.escape(device_id.removeprefix("0x").encode())
        line = re.search(rb"\n\t" + wanted + rb"  ([^\n]+)", block)
        if line:
            return line[1].decode("utf-8", "replace")
    return None
