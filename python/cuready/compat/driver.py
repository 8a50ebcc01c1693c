"""Driver against CUDA: minor-version compatibility, the limit of PTX, and forward compatibility.

To run a CUDA x.y program (x ≥ 11) the driver must reach the floor of the major x; to have every
feature, PTX included, it must be at least as new as the driver of that toolkit. The tables are in
``data/cuda_driver.json``; their sources are NVIDIA's release notes and compatibility guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from packaging.version import Version

from cuready.compat.capability import ComputeCapability
from cuready.compat.tables import parse_version, rows, table
from cuready.compat.verdict import Answer, no, unknown, yes

__all__ = [
    "Floor",
    "compiles_ptx_of",
    "cuda_of_driver",
    "driver_reaches",
    "floor_of",
    "forward_compat",
    "newest_branch",
    "runs_cuda",
    "runs_gpu",
    "spell",
    "toolkit_driver",
]

GUIDE = "https://docs.nvidia.com/deploy/cuda-compatibility/"


@dataclass(frozen=True)
class Floor:
    """The oldest driver that runs every program of one CUDA major."""

    cuda_major: int
    linux: str | None
    windows: str | None
    source: str

    def on(self, platform: str) -> str | None:
        """The floor on ``platform`` (``linux_x86_64``, ``win_amd64``, …)."""
        return self.windows if platform.startswith("win") else self.linux


def driver_reaches(driver: Version, floor: Version) -> bool:
    """Whether ``driver`` is at least ``floor``, compared in the digits that ``driver`` has.

    People know their driver as ``580`` or ``470.57``; a branch alone means any of its drivers.
    """
    digits = len(driver.release)
    return driver.release >= floor.release[:digits]


def spell(driver: Version) -> str:
    """The driver's version as NVIDIA writes it: ``580.95.05``, not ``580.95.5``."""
    first, *rest = driver.release
    return ".".join([str(first), *(f"{part:02d}" for part in rest)])


def branch(driver: Version) -> int:
    """``580`` of 580.159.04."""
    return driver.major


@cache
def floor_of(cuda_major: int) -> Floor | None:
    """The floor of ``cuda_major``; None when the tables have none (before 11, or newer)."""
    for row in rows("cuda_driver", "minor_version_compat"):
        if row["cuda_major"] == cuda_major and row.get("min_driver_linux"):
            return Floor(
                cuda_major, row["min_driver_linux"], row.get("min_driver_windows"), row["source"]
            )
    return None


@cache
def _branches() -> tuple[tuple[int, Version], ...]:
    found = [
        (int(row["branch"].lstrip("R")), Version(row["max_cuda_reported"]))
        for row in rows("cuda_driver", "driver_branches")
    ]
    return tuple(sorted(found))


def newest_branch() -> int:
    """The newest driver branch that the tables know."""
    return _branches()[-1][0]


def newest_cuda_major() -> int:
    """The newest CUDA major that the tables know."""
    return max(int(row["cuda_major"]) for row in rows("cuda_driver", "minor_version_compat"))


def cuda_of_driver(driver: Version) -> Version | None:
    """The newest CUDA that ``driver`` speaks, as nvidia-smi prints it.

    None when the driver is older or newer than the tables.
    """
    if branch(driver) > newest_branch():
        return None
    older = [cuda for number, cuda in _branches() if number <= branch(driver)]
    return older[-1] if older else None


@cache
def _toolkits() -> tuple[dict[str, Any], ...]:
    return tuple(rows("cuda_driver", "toolkits"))


def toolkit_driver(cuda: Version, platform: str = "linux_x86_64") -> Version | None:
    """The driver that came with toolkit ``cuda``: its first release when only x.y is given."""
    key = "toolkit_driver_windows" if platform.startswith("win") else "toolkit_driver_linux"
    fitting = [
        Version(row[key])
        for row in _toolkits()
        if row[key] and Version(row["cuda"]).release[: len(cuda.release)] == cuda.release
    ]
    return min(fitting) if fitting else None


def runs_cuda(driver: Version, cuda: Version, platform: str = "linux_x86_64") -> Answer:
    """Whether programs built with ``cuda`` start on ``driver`` (machine code only)."""
    floor = floor_of(cuda.major)
    if floor is None and cuda.major > newest_cuda_major():
        return unknown(f"CUDA {cuda.major} is newer than our tables")
    if floor is None:
        return _runs_old_cuda(driver, cuda, platform)
    needed = floor.on(platform)
    if needed is None:
        return unknown(f"the driver floor of CUDA {cuda.major} on {platform} is not known")
    if driver_reaches(driver, Version(needed)):
        return yes(
            f"driver {spell(driver)} is at least {needed}, enough for any CUDA {cuda.major}", GUIDE
        )
    return no(f"CUDA {cuda.major} needs driver {needed} or newer, this is {spell(driver)}", GUIDE)


def _runs_old_cuda(driver: Version, cuda: Version, platform: str) -> Answer:
    """Before CUDA 11 each toolkit needs its own driver or a newer one."""
    needed = toolkit_driver(cuda, platform)
    if needed is None:
        return unknown(f"the driver of CUDA {cuda} is not in our tables")
    if driver_reaches(driver, needed):
        return yes(f"driver {spell(driver)} is at least {needed}, that of CUDA {cuda}", GUIDE)
    return no(f"CUDA {cuda} needs driver {needed} or newer, this is {spell(driver)}", GUIDE)


def compiles_ptx_of(driver: Version, cuda: Version, platform: str = "linux_x86_64") -> Answer:
    """Whether ``driver`` compiles PTX of toolkit ``cuda``, which minor versions do not cover."""
    speaks = cuda_of_driver(driver)
    if speaks is not None and speaks.release[:2] >= cuda.release[:2]:
        return yes(f"driver {spell(driver)} speaks CUDA {speaks}", GUIDE)
    if speaks is None and branch(driver) > newest_branch():
        return unknown(f"driver {spell(driver)} is newer than our tables")
    needed = toolkit_driver(cuda, platform)
    if needed is None and cuda > Version("11"):
        newest = Version(str(_branches()[-1][1]))
        if cuda.release[:2] > newest.release[:2]:
            return unknown(f"CUDA {cuda} is newer than our tables")
    detail = f" (its toolkit came with {needed})" if needed else ""
    return no(
        f"driver {spell(driver)} speaks CUDA {speaks or 'older'} and cannot compile PTX of "
        f"CUDA {cuda}{detail}",
        GUIDE,
    )


def forward_compat(driver: Version, cuda: Version, *, data_centre: bool | None) -> Answer:
    """Whether a ``cuda-compat`` package lets this older ``driver`` run ``cuda``.

    ``data_centre`` says whether the GPU is a data-centre or certified workstation part, the only
    ones that it works on (error 804 on GeForce); None when not known.
    """
    facts = table("cuda_driver")["forward_compat"]
    source = str(facts["source"])
    if data_centre is False:
        return no("forward compatibility is not supported on GeForce (error 804)", source)
    package = f"cuda-compat-{cuda.major}-{cuda.minor}"
    window = _base_branches(cuda)
    if window is None:
        return unknown(f"the base drivers that {package} supports are not in our tables", source)
    if str(branch(driver)) not in window:
        return no(
            f"{package} supports base drivers {', '.join(window)}, not {spell(driver)}", source
        )
    if data_centre is None:
        return unknown(f"{package} works on data-centre GPUs only; the GPU is not known", source)
    return yes(f"{package} runs CUDA {cuda} on driver branch {branch(driver)}", source)


def _base_branches(cuda: Version) -> tuple[str, ...] | None:
    for row in table("cuda_driver")["forward_compat"]["base_driver_windows"]:
        label = str(row["cuda"]).split(" ", maxsplit=1)[0]
        series = [part.replace(".x", "") for part in label.split("/")]
        if any(Version(item).release[:2] == cuda.release[:2] for item in series):
            return tuple(row["base_driver_branches"])
    return None


def runs_gpu(driver: Version, gpu: ComputeCapability, platform: str = "linux_x86_64") -> Answer:
    """Whether ``driver`` still, or already, supports a GPU of this compute capability."""
    row = next((r for r in rows("gpu_arch", "architectures") if r["cc"] == str(gpu)), None)
    if row is None:
        return unknown(f"compute capability {gpu} is not in our tables")
    last = row.get("last_driver_branch")
    if last and branch(driver) > int(last.lstrip("R")):
        return no(
            f"{row['arch']} (compute capability {gpu}) was last supported by driver {last}, "
            f"this is {spell(driver)}",
            row["source"],
        )
    first = row.get("min_driver_windows" if platform.startswith("win") else "min_driver_linux")
    if first and first[0].isdigit() and not driver_reaches(driver, parse_version(first, "driver")):
        return no(
            f"{row['arch']} needs driver {first} or newer, this is {spell(driver)}", row["source"]
        )
    return yes(f"driver {spell(driver)} supports {row['arch']}", row["source"])
