"""The driver's libraries as the loader finds them, its packages, and the kernel's complaints."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping

from cuready.probe import ldcache, pci
from cuready.probe.context import Context, Facts, Incomplete, Skip
from cuready.snapshot import DriverLibrary

__all__ = ["RpmError", "read_fabric_manager", "read_libraries", "read_messages", "read_packages",
           "rpm_header"]  # fmt: skip

_SONAMES = ("libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1")
NOT_FOUND = "not on the search path"
# Where the driver's libraries lie on machines whose loader is told by other means, or not at all.
_OTHER_PLACES = (
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",  # Kubernetes device plugin, COS
    "/usr/lib64-nvidia",  # Colab
    "/run/opengl-driver/lib",  # NixOS
    "/usr/lib/x86_64-linux-gnu/nvidia/current",  # Debian's alternatives
    "/usr/local/cuda/compat",
    "/.singularity.d/libs",
)
_PACKAGE = re.compile(
    r"^(?:lib)?nvidia|^(?:lib)?cuda-(?:drivers|compat)|^libcuda1|^xserver-xorg-video-n"
)


def read_libraries(context: Context) -> Facts:
    """Each library of the driver: the file, the rule that picks it, the version in its name."""
    if context.system != "Linux":
        raise Skip(f"the driver's libraries are found another way on {context.system}")
    problem = ""
    try:
        cache = ldcache.cached_paths(context)
    except (ldcache.CacheError, OSError) as error:
        cache, problem = None, f"{ldcache.CACHE_PATH}: {error}"
    found = [_library(context, soname, cache) for soname in _SONAMES]
    facts = {"driver.libraries": tuple(library for library in found if library)}
    if problem:
        raise Incomplete(problem, facts)
    return facts


def _library(
    context: Context, soname: str, cache: Mapping[str, tuple[str, ...]] | None
) -> DriverLibrary | None:
    place = ldcache.find_library(context, soname, cache)
    if place is None:
        candidates = (f"{folder}/{soname}" for folder in _OTHER_PLACES)
        path = next((path for path in candidates if context.is_file(path)), None)
        if path is None:
            return None
        place = path, NOT_FOUND
    path, rule = place
    real = context.realpath(path)
    version = re.search(r"\.so\.(\d{3,}\.\d+(?:\.\d+)*)$", real)
    found = context.stat(real)
    return DriverLibrary(
        soname=soname,
        path=path,
        real_path=real,
        version=version[1] if version else None,
        rule=rule,
        size=found.st_size if found else None,
    )


# --- packages ----------------------------------------------------------------------------------


def read_packages(context: Context) -> Facts:
    """The driver's packages, from the databases of dpkg, rpm or pacman; none of them is run."""
    if context.system != "Linux" or not pci.has_nvidia(context):
        raise Skip("no NVIDIA device")
    found = {*_dpkg(context), *_pacman(context)}
    problem = ""
    try:
        found |= set(_rpm(context))
    except RpmError as error:
        problem = str(error)
    names = tuple(f"{name} {version}" for name, version in sorted(found))
    if problem:
        raise Incomplete(problem, {"driver.driver_packages": names})
    return {"driver.driver_packages": names}


def _dpkg(context: Context) -> Iterator[tuple[str, str]]:
    text = context.read_text("/var/lib/dpkg/status", 32 << 20) or ""
    for block in text.split("\n\n"):
        name = block.lstrip("\n")[9:].partition("\n")[0] if "Package: " in block[:10] else ""
        if not _PACKAGE.match(name) or "\nStatus: install ok installed" not in block:
            continue
        version = re.search(r"^Version: (.+)$", block, re.M)
        yield name, version[1] if version else "?"


def _pacman(context: Context) -> Iterator[tuple[str, str]]:
    for entry in context.listdir("/var/lib/pacman/local"):
        name, _, rest = entry.rpartition("-")  # name-version-release
        name, _, version = name.rpartition("-")
        if _PACKAGE.match(name):
            yield name, f"{version}-{rest}"


class RpmError(ValueError):
    """rpm's database, or a header in it, is not laid out as rpm lays it out."""


def _rpm(context: Context) -> Iterator[tuple[str, str]]:
    """rpm's SQLite database (since 4.16): a Name index, and headers as blobs."""
    for path in ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite"):
        if context.is_file(path):
            yield from _rpm_database(context, path)
            return


def _rpm_database(context: Context, path: str) -> Iterator[tuple[str, str]]:
    import sqlite3

    # immutable: no lock is taken and no journal is made on a disk that is not ours to write.
    database = sqlite3.connect(f"file:{context.path(path)}?mode=ro&immutable=1", uri=True)
    query = (
        "SELECT DISTINCT p.blob FROM Packages p JOIN Name n ON n.hnum = p.hnum "
        "WHERE n.key LIKE '%nvidia%' OR n.key LIKE 'cuda-%'"
    )
    try:
        for (blob,) in database.execute(query):
            name, version = rpm_header(blob)
            if _PACKAGE.match(name):
                yield name, version
    # ValueError: its text is not UTF-8. MemoryError: SQLite believed a size in a damaged page.
    except (sqlite3.Error, ValueError, MemoryError) as error:
        raise RpmError(f"{path}: {error or 'a damaged database'}") from None
    finally:
        database.close()


def rpm_header(blob: bytes) -> tuple[str, str]:
    """Name and ``version-release`` of a header: tags 1000 to 1002 in the index before the data.

    Raises :class:`RpmError`.
    Layout: https://rpm-software-management.github.io/rpm/manual/format_header.html
    """
    texts = {}
    try:
        entries, _ = struct.unpack_from(">II", blob)
        data = 8 + 16 * entries
        for index in range(entries):
            tag, _, offset, _ = struct.unpack_from(">IIII", blob, 8 + 16 * index)
            if tag in (1000, 1001, 1002):
                start = data + offset
                texts[tag] = blob[start : blob.index(b"\0", start)].decode("utf-8", "replace")
    except (struct.error, ValueError, TypeError, AttributeError):  # cut short, or no blob at all
        raise RpmError("a header that leaves its own data") from None
    return texts.get(1000, ""), f"{texts.get(1001, '?')}-{texts.get(1002, '?')}"


# --- Fabric Manager ------------------------------------------------------------------------------

_FABRIC_MANAGER = "nv-fabricmanager"[:15]  # as the kernel keeps it: proc_pid_comm(5)


def read_fabric_manager(context: Context) -> Facts:
    """Whether nv-fabricmanager runs, and its package's version; asked only where NVSwitches are."""
    if not context.so_far.driver.nvswitch:
        raise Skip("no NVSwitch")
    packages = dict(line.split(" ", 1) for line in context.so_far.driver.driver_packages)
    versions = (
        re.match(r"(?:\d+:)?(\d+\.\d+(?:\.\d+)?)", version)
        for name, version in packages.items()
        if re.match(r"nvidia-fabric-?manager", name) and not name.endswith("-dev")
    )
    return {
        "driver.fabric_manager_running": _FABRIC_MANAGER in set(_process_names(context)),
        "driver.fabric_manager_version": next((found[1] for found in versions if found), None),
    }


def _process_names(context: Context) -> Iterator[str]:
    """The name of each process, of which ``comm`` has the first 15 bytes."""
    for name in context.listdir("/proc"):
        if name.isdigit():
            yield context.first_line(f"/proc/{name}/comm") or ""


# --- the kernel's log ----------------------------------------------------------------------------

_KMSG_RECORD = 8192  # the longest record that /dev/kmsg hands out
_KMSG_RECORDS = 50_000
_XID = re.compile(r"NVRM: (Xid .*)")
_COMPLAINT = re.compile(
    r"RmInitAdapter failed|requires use of the NVIDIA open kernel modules|fallen off the bus"
    r"|not supported by open nvidia\.ko|will ignore this GPU|API mismatch|Legacy drivers"
)


def read_messages(context: Context) -> Facts:
    """Xid lines and the module's reasons for refusing a GPU, where /dev/kmsg may be read."""
    if context.system != "Linux" or not pci.has_nvidia(context):
        raise Skip("no NVIDIA device")
    lines = _kmsg(context)
    xids = [found[1].strip() for found in map(_XID.search, lines) if found]
    complaints = [line.strip() for line in lines if _COMPLAINT.search(line)]
    return {
        "driver.xid_messages": tuple(xids[-50:]),
        "driver.kernel_messages": tuple(dict.fromkeys(complaints))[-50:],
    }


def _kmsg(context: Context) -> list[str]:
    if context.rooted:
        for path in ("/dev/kmsg", "/var/log/dmesg", "/var/log/kern.log"):
            text = context.read_text(path, 8 << 20)
            if text is not None:
                return text.splitlines()
        raise Skip("no kernel log below the root")
    try:
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Skip("/dev/kmsg is not there") from None
    lines = []
    try:
        for _ in range(_KMSG_RECORDS):
            try:
                record = os.read(descriptor, _KMSG_RECORD)
            except BlockingIOError:
                break
            except BrokenPipeError:  # records were overwritten while we read: go on with the next
                continue
            if not record:
                break
            # "6,1234,5678901,-;text", then lines of key=value that start with a space
            lines.append(record.partition(b";")[2].partition(b"\n")[0].decode("utf-8", "replace"))
    finally:
        os.close(descriptor)
    return lines
