"""Which GPU runs which code: the cubin and PTX rules of CUDA, in one place.

Machine code (SASS, a cubin) for sm_XY runs on GPUs of the same major X and a minor of at least Y;
PTX for compute_XY is compiled by the driver for any GPU from X.Y on. Exceptions are the integrated
Tegra parts, which need their own machine code, and names that end in ``a`` (that one architecture)
or ``f`` (its family). Sources: CUDA C++ Programming Guide, "Application Compatibility" and
"Compute Capabilities" (family- and architecture-specific features); PyTorch's DEVICE_REQUIREMENT
table in ``torch/cuda/__init__.py`` (2.15.0), which also tells the Tegra exceptions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.version import Version

from cuready.compat.verdict import Answer, no, unknown, yes
from cuready.errors import CompatError

__all__ = ["Arch", "ComputeCapability", "code_runs_on", "parse_arch", "parse_capability"]

SOURCE = "CUDA C++ Programming Guide, Application Compatibility; torch/cuda/__init__.py (2.15.0)"

# Integrated parts whose machine code is their own: code for others of the major does not run there
# (with the exception below), and theirs runs nowhere else. 10.1 was renamed 11.0 with CUDA 13.
TEGRA = frozenset({(5, 3), (6, 2), (7, 2), (8, 7), (10, 1), (11, 0)})
THOR = frozenset({(10, 1), (11, 0)})

# From CUDA 13.2 on, 7.0/8.0/8.6 code also loads on 7.2/8.7 (note in DEVICE_REQUIREMENT).
TEGRA_UNIFIED_SINCE = Version("13.2")


@dataclass(frozen=True, order=True)
class ComputeCapability:
    """``8.9`` as two numbers, so that 10.0 is more than 9.0."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @property
    def sm(self) -> str:
        """``sm_89``."""
        return f"sm_{self.major}{self.minor}"


@dataclass(frozen=True)
class Arch:
    """One entry of an architecture list: ``sm_90a`` or ``compute_80``."""

    capability: ComputeCapability
    suffix: str = ""  # "", "a" (this architecture only) or "f" (this family only)
    ptx: bool = False

    def __str__(self) -> str:
        prefix = "compute" if self.ptx else "sm"
        return f"{prefix}_{self.capability.major}{self.capability.minor}{self.suffix}"

    def runs_on(self, gpu: ComputeCapability, cuda: Version | None = None) -> bool:
        """Whether this code runs on ``gpu``; ``cuda`` is the toolkit that made it, if known."""
        own = (self.capability.major, self.capability.minor)
        device = (gpu.major, gpu.minor)
        if own in THOR and device in THOR:
            return True
        if self.suffix == "a":
            return own == device
        if self.ptx and not self.suffix:
            return gpu >= self.capability
        if own in TEGRA or device in TEGRA:
            return own == device or self._unified(device, cuda)
        return gpu.major == self.capability.major and gpu.minor >= self.capability.minor

    def _unified(self, device: tuple[int, int], cuda: Version | None) -> bool:
        own = (self.capability.major, self.capability.minor)
        pairs = {(7, 2): {(7, 0)}, (8, 7): {(8, 0), (8, 6)}}
        recent = cuda is not None and cuda >= TEGRA_UNIFIED_SINCE
        return recent and own in pairs.get(device, set())


_ARCH = re.compile(r"^(?:(sm|compute)_?)?(\d{2,3})([af]?)$")
_DOTTED = re.compile(r"^(\d{1,2})\.(\d)([af]?)(\+ptx)?$")


def parse_arch(text: str, *, ptx: bool = False) -> Arch:
    """``sm_86``, ``compute_90``, ``90a``, ``9.0a`` or ``8.6+PTX``. Raises :class:`CompatError`."""
    folded = text.strip().lower()
    if match := _ARCH.match(folded):
        kind, digits, suffix = match.groups()
        capability = ComputeCapability(int(digits[:-1]), int(digits[-1]))
        return Arch(capability, suffix, ptx or kind == "compute")
    if match := _DOTTED.match(folded):
        major, minor, suffix, plus = match.groups()
        return Arch(ComputeCapability(int(major), int(minor)), suffix, ptx or bool(plus))
    raise CompatError(f"{text!r} is not a GPU architecture", hint="write it like sm_86 or 8.6")


def parse_capability(text: str) -> ComputeCapability:
    """``8.9``, ``89`` or ``sm_89``. Raises :class:`CompatError`."""
    try:
        arch = parse_arch(text)
    except CompatError:
        raise CompatError(
            f"{text!r} is not a compute capability", hint="write it like 8.6"
        ) from None
    if arch.suffix:
        raise CompatError(f"{text!r} names code, not a GPU", hint="write it like 9.0")
    return arch.capability


def code_runs_on(
    sass: Iterable[str],
    ptx: Iterable[str],
    gpu: ComputeCapability,
    *,
    cuda: Version | None = None,
) -> Answer:
    """Whether code with these architectures runs on ``gpu``; ``unknown`` when none is known."""
    machine, odd = _parse_all(sass, ptx=False)
    portable, odder = _parse_all(ptx, ptx=True)
    fitting = next((item for item in reversed(machine) if item.runs_on(gpu, cuda)), None)
    if fitting is not None:
        return yes(f"{fitting} code runs on compute capability {gpu}", SOURCE)
    fitting = next((item for item in reversed(portable) if item.runs_on(gpu, cuda)), None)
    if fitting is not None:
        return yes(f"the driver compiles {fitting} PTX for compute capability {gpu}", SOURCE)
    if odd or odder:
        return unknown(f"{(odd + odder)[0]!r} in its architecture list is new to us")
    if not machine and not portable:
        return unknown("no architecture list is known")
    have = " ".join(str(item) for item in (*machine, *portable))
    return no(f"no code for compute capability {gpu} in it (it has {have})", SOURCE)


def runs_only_by_ptx(sass: Iterable[str], ptx: Iterable[str], gpu: ComputeCapability) -> bool:
    """Whether ``gpu`` is served by PTX alone, so that the driver must know the toolkit's PTX."""
    if any(item.runs_on(gpu) for item in _parse_all(sass, ptx=False)[0]):
        return False
    return any(item.runs_on(gpu) for item in _parse_all(ptx, ptx=True)[0])


def _parse_all(texts: Iterable[str], *, ptx: bool) -> tuple[list[Arch], list[str]]:
    """(architectures, entries that are none that we know)."""
    known: list[Arch] = []
    odd: list[str] = []
    for text in texts:
        try:
            known.append(parse_arch(text, ptx=ptx))
        except CompatError:
            odd.append(text)
    return known, odd
