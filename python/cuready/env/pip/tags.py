"""Which wheels a platform takes, in order of preference, without asking its Python."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from cuready.env.target import Target
from cuready.errors import EnvError

__all__ = ["best_wheel", "ranks", "uv_platform"]

# The legacy names of three glibc floors (PEP 513, 571, 599).
LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
OLDEST_GLIBC = Version("2.17")

# The newest floor that `uv pip compile --python-platform` has a name for.
UV_FLOORS = (40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 28, 17)


def platforms(target: Target) -> Iterator[str]:
    """Platform tags, the most specific first."""
    system, _, machine = target.platform_tag.partition("_")
    if system == "linux":
        glibc = target.glibc or OLDEST_GLIBC
        for minor in range(glibc.minor, 4, -1):
            yield f"manylinux_2_{minor}_{machine}"
            if minor in LEGACY:
                yield f"{LEGACY[minor]}_{machine}"
        yield f"linux_{machine}"
    elif system == "macosx":
        yield from mac_platforms((15, 0), machine)
    else:
        yield target.platform_tag


def ranks(python: str, target: Target) -> dict[Tag, int]:
    """Every tag that ``python`` (``"3.12"``) takes on ``target``, with its rank; 0 is best."""
    version = Version(python)
    release = (version.major, version.minor)
    names = list(platforms(target))
    tags = [
        *cpython_tags(release, platforms=names),
        *compatible_tags(release, f"cp{release[0]}{release[1]}", platforms=names),
    ]
    return {tag: place for place, tag in enumerate(dict.fromkeys(tags))}


def best_wheel(file_names: list[str], wanted: dict[Tag, int]) -> str | None:
    """The best of several wheels, or None when none fits. Names that are none are passed over."""
    found: list[tuple[int, tuple[int, str], str]] = []
    for name in file_names:
        try:
            _, _, build, tags = parse_wheel_filename(name)
        except InvalidWheelFilename:
            continue
        fitting = [wanted[tag] for tag in tags if tag in wanted]
        if fitting:
            number, rest = build or (0, "")
            found.append((-min(fitting), (number, rest), name))
    return max(found)[2] if found else None


def uv_platform(target: Target) -> str:
    """The target in uv's words, for ``--python-platform``."""
    system, _, machine = target.platform_tag.partition("_")
    if system == "linux":
        minor = (target.glibc or OLDEST_GLIBC).minor
        floor = next((floor for floor in UV_FLOORS if floor <= minor), None)
        if floor is None:
            raise EnvError(f"glibc {target.glibc} is older than any wheel of today (2.17)")
        return f"{machine}-manylinux_2_{floor}"
    if system == "macosx":
        return "aarch64-apple-darwin" if machine == "arm64" else "x86_64-apple-darwin"
    return "x86_64-pc-windows-msvc"
