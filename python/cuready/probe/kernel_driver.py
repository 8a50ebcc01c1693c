"""The NVIDIA kernel module: loaded or not, version and flavour, and what it says of its GPUs."""

from __future__ import annotations

import re

from cuready.probe import pci
from cuready.probe.context import Context, Facts, Skip

__all__ = ["flavour", "read", "read_module_files"]

_PROC = "/proc/driver/nvidia"
_MODULES = ("nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia_peermem",
            "nouveau", "nova_core", "nova_drm", "vfio_pci", "nvgpu")  # fmt: skip
# nvidiafb, i2c-nvidia-gpu and nvidia-wmi-ec-backlight are the kernel's own and drive no GPU.
_MODULE_FILE = re.compile(
    r"(?:^|/)(nvidia(?:[-_](?:uvm|drm|modeset|peermem|current))?\.ko(?:\.\w+)?)$"
)
# Where DKMS, distributions and NVIDIA's installer put modules below /lib/modules/<release>.
_MODULE_DIRS = ("updates/dkms", "updates", "extra", "extra/nvidia", "extramodules", "misc",
                "kernel/drivers/video", "kernel/drivers/video/nvidia", "weak-updates")  # fmt: skip


def read(context: Context) -> Facts:
    """Loaded modules, /proc/driver/nvidia, NVSwitch."""
    if context.system != "Linux":
        raise Skip(f"no kernel modules to read on {context.system}")
    if not context.is_dir("/sys/module"):
        raise Skip("/sys/module is not there")
    loaded = tuple(name for name in _MODULES if context.exists(f"/sys/module/{name}"))
    proc = context.first_line(f"{_PROC}/version")
    names, uuids = _gpus(context)
    version = context.first_line("/sys/module/nvidia/version") or _version(proc)
    return {
        "driver.module_loaded": "nvidia" in loaded or proc is not None,
        "driver.version": version,
        "driver.flavour": flavour(proc),
        "driver.proc_version": proc,
        "driver.uvm_loaded": "nvidia_uvm" in loaded,
        "driver.loaded_modules": loaded,
        "driver.proc_gpus": tuple(names),
        "driver.proc_gpu_names": {key: name for key, name in names.items() if name},
        "driver.proc_gpu_uuids": uuids,
        "driver.nvswitch": _nvswitch(context),
        "driver.dev_char_links": _char_links(context),
    }


def flavour(proc_version: str | None) -> str | None:
    """``open`` or ``proprietary`` from the first line of /proc/driver/nvidia/version."""
    if proc_version is None or "NVRM" not in proc_version:
        return None
    return "open" if "Open Kernel Module" in proc_version else "proprietary"


def _version(proc_version: str | None) -> str | None:
    found = re.search(r"\s(\d{3}\.\d+(?:\.\d+)?)\s", proc_version or "")
    return found[1] if found else None


def _gpus(context: Context) -> tuple[dict[str, str], dict[str, str]]:
    names: dict[str, str] = {}
    uuids: dict[str, str] = {}
    for address in context.listdir(f"{_PROC}/gpus"):
        text = context.read_text(f"{_PROC}/gpus/{address}/information") or ""
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        names[address] = fields.get("Model", "").strip()
        uuid = fields.get("GPU UUID", "").strip()
        if uuid and "?" not in uuid:  # the driver prints question marks until the GPU is first used
            uuids[address] = uuid
    return names, uuids


def _nvswitch(context: Context) -> bool:
    if context.exists("/proc/driver/nvidia-nvswitch"):
        return True
    # Bridges, class 0x0680xx, of NVIDIA's that the nvswitch driver binds.
    return any(
        gpu.class_code.startswith("0x0680") and (gpu.driver or "").startswith("nvidia")
        for gpu in pci.devices(context)
    )


def _char_links(context: Context) -> bool | None:
    """The links that runc needs after a daemon-reload: NVIDIA/nvidia-container-toolkit#48."""
    if not context.is_dir("/dev/char"):
        return None
    return any(name.startswith("195:") for name in context.listdir("/dev/char"))  # NVIDIA's major


def read_module_files(context: Context) -> Facts:
    """nvidia*.ko* of the running kernel, from modules.dep and the places that depmod would look."""
    release = context.so_far.platform.kernel_release
    if not release or not pci.has_nvidia(context):
        raise Skip("no NVIDIA device" if release else "the kernel release is not known")
    for base in (
        f"/lib/modules/{release}",
        f"/run/booted-system/kernel-modules/lib/modules/{release}",
    ):
        if context.is_dir(base):
            break
    else:
        raise Skip(f"/lib/modules/{release} is not there")
    found: dict[str, None] = {}
    listed = context.read_text(f"{base}/modules.dep", 8 << 20) or ""
    for line in listed.splitlines():
        path = line.partition(":")[0]
        if _MODULE_FILE.search(path) and context.exists(f"{base}/{path}"):
            found[f"{base}/{path}"] = None
    for folder in (*_MODULE_DIRS, *_nvidia_folders(context, base)):
        for name in context.listdir(f"{base}/{folder}"):
            if _MODULE_FILE.search(name):
                found[f"{base}/{folder}/{name}"] = None
    return {"driver.module_files": tuple(found)}


def _nvidia_folders(context: Context, base: str) -> list[str]:
    """Ubuntu's signed modules: kernel/nvidia-580-open, kernel/nvidia-580-server."""
    names = context.listdir(f"{base}/kernel")
    return [f"kernel/{name}" for name in names if name.startswith("nvidia")]
