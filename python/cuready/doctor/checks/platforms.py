"""Windows and macOS: WIN01–WIN03, MAC01."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from cuready._util import data_text, tomllib
from cuready.doctor import catalogue, facts
from cuready.doctor.finding import Evidence, Fix, Risk
from cuready.doctor.registry import Outcome, Skipped, Unknown, check
from cuready.snapshot import Snapshot


@cache
def _linux_only() -> tuple[Mapping[str, str], ...]:
    """Packages whose GPU builds are for Linux only, from data. TensorFlow is PY19's."""
    text = data_text("cuready.doctor", "data/native_windows.toml")
    return tuple(tomllib.loads(text)["package"])


@check("WIN01", needs=("windows",), systems=("Windows",))
def other_drivers_nvcuda(snapshot: Snapshot) -> Outcome:
    """System32's nvcuda.dll against the driver in use, or all drivers in the store."""
    dll = next((x for x in snapshot.driver.libraries if x.soname == "nvcuda.dll"), None)
    if dll is None:
        return Skipped("no nvcuda.dll: no NVIDIA driver is installed")
    in_use = snapshot.platform.windows_driver_version
    store = [
        text.removeprefix("driver store ")
        for text in snapshot.driver.driver_packages
        if text.startswith("driver store ")
    ]
    known = [in_use] if in_use else store
    if dll.version is None or not known:
        return Unknown("the version of nvcuda.dll, or of the driver, could not be read")
    if dll.version in known:
        return []
    where = "the registry or the driver store" if in_use else "the driver store"
    return [
        catalogue.finding(
            "WIN01",
            subject="nvcuda.dll",
            cause=f"nvcuda.dll is of driver {dll.version}, installed is {', '.join(known)}.",
            evidence=(
                Evidence(dll.path, f"file version of driver {dll.version}"),
                Evidence(where, f"driver {', '.join(known)}"),
            ),
            fix=(
                Fix(
                    ("pnputil /enum-drivers /class Display",),
                    "shows what is installed; then install the driver again, clean, and restart",
                    needs_root=True,
                    risk=Risk.HIGH,
                ),
            ),
        )
    ]


@check("WIN02", needs=("windows", "torch"), systems=("Windows",))
def runtime_older_than_toolset(snapshot: Snapshot) -> Outcome:
    """vcruntime140.dll against the linker version in torch's DLLs."""
    torch, runtime = snapshot.python.torch, snapshot.platform.vc_runtime_version
    if torch is None:
        return Skipped("no torch here")
    if torch.msvc is None or runtime is None:
        return Unknown("the toolset of torch's DLLs, or the runtime's version, could not be read")
    if _minor(runtime) >= _minor(torch.msvc):
        return []
    return [
        catalogue.finding(
            "WIN02",
            subject="vcruntime140.dll",
            cause=f"torch {torch.version} was linked with the toolset {torch.msvc}, and the "
            f"runtime here is {runtime}.",
            evidence=(
                Evidence("C:/Windows/System32/vcruntime140.dll", f"file version {runtime}"),
                Evidence(f"{torch.path}/lib/torch_cpu.dll", f"linker version {torch.msvc}"),
            ),
            fix=(
                Fix(
                    ("winget install --id Microsoft.VCRedist.2015+.x64",),
                    "https://aka.ms/vs/17/release/vc_redist.x64.exe by hand",
                    needs_root=True,
                ),
            ),
        )
    ]


def _minor(version: str) -> tuple[int, ...]:
    """(14, 39) of ``14.39`` and of ``14.39.33523.0``: patches of one minor are compatible."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal() and len(part) < 9)


@check("WIN03", needs=("distributions",), systems=("Windows",))
def no_gpu_build_for_windows(snapshot: Snapshot) -> Outcome:
    """Packages whose GPU builds are for Linux, on a machine whose driver serves WSL too."""
    found = [row for row in _linux_only() if facts.installed(snapshot, row["name"])]
    if not found:
        return []
    for_wsl = [x for x in snapshot.driver.libraries if x.rule == "WSL"]
    if not snapshot.platform.windows_driver_version and not for_wsl:
        return Skipped("no NVIDIA driver is installed")
    evidence = [Evidence(row["source"], f"{row['name']} {row['there']}") for row in found]
    evidence += [Evidence(item.path, "the driver's library for WSL 2") for item in for_wsl]
    return [
        catalogue.finding(
            "WIN03",
            subject=", ".join(row["name"] for row in found),
            cause="On native Windows "
            + "; ".join(f"{x['name']} {x['there']}" for x in found)
            + ".",
            evidence=evidence,
            fix=(Fix(("wsl --install",), "then install it inside, without a Linux driver"),),
        )
    ]


@check("MAC01", systems=("Darwin",))
def no_cuda_on_macos(snapshot: Snapshot) -> Outcome:
    """Every Mac: nothing is broken, and nothing can be installed."""
    platform = snapshot.platform
    if platform.system != "Darwin":
        return Skipped("the operating system is not known")
    name = platform.distro_name or "macOS"
    return [
        catalogue.finding(
            "MAC01",
            cause=f"{name} has no CUDA. torch uses this Mac's own GPU as device mps; "
            "CUDA needs another machine.",
            evidence=(Evidence("platform", f"{name}, {platform.machine or 'unknown processor'}"),),
            fix=(
                Fix(
                    ("python -c 'import torch; print(torch.backends.mps.is_available())'",),
                    "says whether torch can use this Mac's GPU",
                ),
            ),
        )
    ]
