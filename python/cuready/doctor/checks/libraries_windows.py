"""Section 2d on Windows: LIB15, a DLL of torch that lacks another."""

from __future__ import annotations

from cuready.doctor import catalogue, facts
from cuready.doctor.finding import Evidence, Fix
from cuready.doctor.installers import for_package, reinstall
from cuready.doctor.registry import Outcome, Skipped, check
from cuready.snapshot import Snapshot

# Which install brings a DLL back. The Visual C++ runtime's names are Microsoft's
# (https://learn.microsoft.com/en-us/cpp/windows/latest-supported-vc-redist); libomp140 comes with
# Visual Studio's tools only, and torch 2.4.1 stopped needing it (pytorch#131662).
_RUNTIME = ("vcruntime140", "msvcp140", "concrt140", "vcomp140")
_OPENMP = ("libomp140",)


@check("LIB15", needs=("dlls",), systems=("Windows",))
def dll_without_its_own(snapshot: Snapshot) -> Outcome:
    """torch's DLLs import others that are in none of the folders that Windows looks at."""
    broken = [
        item for item in snapshot.libraries if item.missing and item.path.lower().endswith(".dll")
    ]
    if not snapshot.libraries:
        return Skipped("no DLL of torch here")
    if not broken:
        return []
    names = list(dict.fromkeys(m.soname for item in broken for m in item.missing))
    fixes = []
    if any(name.lower().startswith(_RUNTIME) for name in names):
        fixes.append(
            Fix(
                ("winget install --id Microsoft.VCRedist.2015+.x64",),
                "the Visual C++ runtime; https://aka.ms/vs/17/release/vc_redist.x64.exe by hand",
                needs_root=True,
            )
        )
    if any(name.lower().startswith(_OPENMP) for name in names):
        command = for_package(snapshot, "torch").install(["torch>=2.4.1"], upgrade=True)
        fixes.append(Fix((command,), "2.4.1 and later do not need it"))
    if not fixes:
        have = facts.installed(snapshot, "torch")
        # PyPI's torch for Windows is a CPU build: the one that is here may be another.
        command = (
            reinstall(snapshot, have[0])
            if have
            else for_package(snapshot, "torch").install(["torch"], reinstall=True)
        )
        fixes.append(Fix((command,), "brings torch's own DLLs back"))
    return [
        catalogue.finding(
            "LIB15",
            subject="torch",
            cause=f"{', '.join(item.path for item in broken[:3])} cannot be loaded: "
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} nowhere Windows looks.",
            evidence=[
                Evidence(item.path, f"imports {', '.join(m.soname for m in item.missing)}")
                for item in broken[:4]
            ],
            fix=fixes,
        )
    ]
