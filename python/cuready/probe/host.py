"""The operating system, its libc, the boot, and the size of the machine."""

from __future__ import annotations

import os
import re
import shlex

from cuready.probe import ldcache
from cuready.probe.context import Context, Facts

__all__ = ["libc", "os_release", "read", "wsl_version"]

# https://www.freedesktop.org/wiki/Software/systemd/ReadingEfiVariables: four bytes of attributes,
# then the value.
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def read(context: Context) -> Facts:
    """Platform facts that files and the running kernel give."""
    if context.system != "Linux":
        return _elsewhere(context)
    release = os_release(context)
    version = context.first_line("/proc/version")
    kind, libc_version = libc(context)
    cpus, memory = _size(context)
    secure = _secure_boot(context)
    return {
        "platform.system": "Linux",
        "platform.machine": ldcache.machine(context),
        "platform.kernel_release": _kernel_release(context, version),
        "platform.kernel_version": version,
        "platform.distro_id": release.get("ID"),
        "platform.distro_like": tuple(release.get("ID_LIKE", "").split()),
        "platform.distro_version": release.get("VERSION_ID"),
        "platform.distro_name": release.get("PRETTY_NAME"),
        "platform.libc": kind,
        "platform.libc_version": libc_version,
        "platform.wsl": wsl_version(version),
        "platform.secure_boot": secure,
        "platform.tegra_release": context.first_line("/etc/nv_tegra_release"),
        "platform.cpu_count": cpus,
        "platform.memory_bytes": memory,
        "platform.shm_bytes": _shm_bytes(context),
        "platform.init_system": context.first_line("/proc/1/comm"),
        **_user(context),
    }


def _elsewhere(context: Context) -> Facts:
    if context.rooted:  # a mounted disk; this machine's own size and kernel say nothing of it
        return {"platform.system": context.system}
    import platform

    cpus, memory = _size(context)
    return {
        "platform.system": context.system,
        "platform.machine": ldcache.machine(context),
        "platform.kernel_release": platform.release(),
        "platform.kernel_version": platform.version(),
        "platform.distro_name": platform.platform(terse=True),
        "platform.cpu_count": cpus,
        "platform.memory_bytes": memory,
    }


def os_release(context: Context) -> dict[str, str]:
    """/etc/os-release, or /usr/lib/os-release, as os-release(5) defines it."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        text = context.read_text(path)
        if text is not None:
            return dict(filter(None, map(_assignment, text.splitlines())))
    return {}


def _assignment(line: str) -> tuple[str, str] | None:
    key, equals, value = line.strip().partition("=")
    if not equals or key.startswith("#"):
        return None
    try:
        return key, " ".join(shlex.split(value))
    except ValueError:  # an unbalanced quote
        return key, value.strip("\"'")


def _kernel_release(context: Context, version: str | None) -> str | None:
    found = context.first_line("/proc/sys/kernel/osrelease")
    if found is None and version is not None and version.startswith("Linux version "):
        found = version.split()[2]
    return found


def wsl_version(proc_version: str | None) -> int | None:
    """1 or 2 from /proc/version; WSL 1 has no kernel and calls itself ``4.4.0-…-Microsoft``."""
    text = proc_version or ""
    if "microsoft" not in text.lower():
        return None
    return 2 if "microsoft-standard" in text or "WSL2" in text else 1


def libc(context: Context) -> tuple[str | None, str | None]:
    """``("glibc", "2.39")`` or ``("musl", "1.2.5")``."""
    if not context.rooted:
        try:
            name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        except (ValueError, OSError, AttributeError):
            name = version = ""  # musl does not know the name
        if name == "glibc":
            return name, version
    name = ldcache.machine(context)
    data = context.read_bytes(f"/lib/ld-musl-{name}.so.1", 4 << 20)
    if data is not None:
        found = re.search(rb"\0(1\.\d{1,2}\.\d{1,3})[^\0]*\0", data)
        return "musl", found[1].decode() if found else None
    for folder in ldcache.default_dirs(context):
        path = f"{folder}/libc.so.6"
        if context.is_file(path):
            return "glibc", _glibc_version(context, path)
    return None, None


def _glibc_version(context: Context, path: str) -> str | None:
    named = re.search(r"libc-(\d+\.\d+)\.so$", context.realpath(path))  # until glibc 2.33
    if named:
        return named[1]
    data = context.read_bytes(path, 8 << 20) or b""
    banner = re.search(rb"GNU C Library [^\n]{0,200}version (\d+\.\d+)", data)
    return banner[1].decode() if banner else None


def _secure_boot(context: Context) -> bool | None:
    try:
        value = context.read_bytes(_SECURE_BOOT, 16)
    except OSError:
        return None
    return bool(value[-1]) if value and len(value) == 5 else None


def _size(context: Context) -> tuple[int | None, int | None]:
    """Logical CPUs and bytes of memory."""
    if context.system != "Linux":
        import psutil

        return psutil.cpu_count(), psutil.virtual_memory().total
    info = re.search(r"^MemTotal:\s+(\d{1,15}) kB", context.read_text("/proc/meminfo") or "", re.M)
    memory = int(info[1]) * 1024 if info else None
    if not context.rooted:
        return os.cpu_count(), memory
    cpus = (context.read_text("/proc/cpuinfo") or "").count("processor\t:")
    return cpus or None, memory


def _shm_bytes(context: Context) -> int | None:
    if not context.rooted:
        try:
            found = os.statvfs("/dev/shm")  # noqa: S108 - its size is the fact
        except OSError:
            return None
        return found.f_frsize * found.f_blocks
    for line in (context.read_text("/proc/mounts") or "").splitlines():
        words = line.split()
        if len(words) > 3 and words[1] == "/dev/shm":  # noqa: S108
            option = re.search(r"(?:^|,)size=(\d{1,15})([kmg]?)", words[3])
            return (
                int(option[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[option[2]] if option else None
            )
    return None


def _user(context: Context) -> Facts:
    if context.rooted or not hasattr(os, "geteuid"):
        return {}
    import grp

    names = []
    for group in os.getgroups():
        try:
            names.append(grp.getgrgid(group).gr_name)
        except (KeyError, OSError):  # a group of a container's host
            names.append(str(group))
    return {"platform.user_is_root": os.geteuid() == 0, "platform.user_groups": tuple(names)}
