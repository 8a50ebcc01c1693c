"""PyTorch builds: which release and CUDA variant runs on a driver, a GPU and a Python."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from packaging.version import Version

from cuready.compat.tables import rows

__all__ = ["TorchBuild", "TorchRelease", "build_of", "pair_of", "release_of", "releases"]


@dataclass(frozen=True)
class TorchBuild:
    """One CUDA variant of a release: ``cu128`` of 2.8.0."""

    tag: str
    cuda: Version
    cudnn: str | None
    nccl: str | None
    arch_list: tuple[str, ...]
    ptx: tuple[str, ...]
    arch_list_aarch64: tuple[str, ...]
    index_url: str | None
    find_links: str | None
    default: bool
    platforms: tuple[str, ...]  # empty: those of the release
    note: str
    source: str

    def arch_on(self, platform: str) -> tuple[str, ...]:
        """Machine code in the build for ``platform``; empty when not known."""
        return self.arch_list_aarch64 if platform.endswith("aarch64") else self.arch_list


@dataclass(frozen=True)
class TorchRelease:
    """One release with its variants, newest CUDA first."""

    version: Version
    builds: tuple[TorchBuild, ...]
    torchvision: str | None
    torchaudio: str | None
    python: dict[str, tuple[str, ...]]  # platform → versions on the default index
    requires_python: str | None
    default_is_cuda: dict[str, bool]  # platform → whether a plain `pip install torch` has CUDA
    conda_channel: bool  # whether the `pytorch` conda channel has it
    source: str

    def build(self, tag: str) -> TorchBuild | None:
        """The variant ``cu128``, or None."""
        return next((item for item in self.builds if item.tag == tag), None)


@cache
def releases() -> tuple[TorchRelease, ...]:
    """All releases of the tables, newest first."""
    found = [_release(row) for row in rows("torch_builds", "releases")]
    return tuple(sorted(found, key=lambda item: item.version, reverse=True))


def release_of(version: Version) -> TorchRelease | None:
    """The release with the public version of ``version`` (``2.8.0+cu128`` finds 2.8.0)."""
    public = Version(version.base_version)
    return next((item for item in releases() if item.version == public), None)


def build_of(version: Version, cuda: str | None) -> TorchBuild | None:
    """The variant of an installed torch: by its local tag, else by the CUDA that it names."""
    release = release_of(version)
    if release is None:
        return None
    if version.local and (tagged := release.build(version.local.split(".")[0])):
        return tagged
    if cuda is None:
        return None
    wanted = Version(cuda).release[:2]
    return next((item for item in release.builds if item.cuda.release[:2] == wanted), None)


def pair_of(version: Version) -> dict[str, str]:
    """``{"torchvision": "0.23.0", "torchaudio": "2.8.0"}`` that go with this torch."""
    release = release_of(version)
    if release is None:
        return {}
    pairs = {"torchvision": release.torchvision, "torchaudio": release.torchaudio}
    return {name: value for name, value in pairs.items() if value}


def _release(row: dict[str, Any]) -> TorchRelease:
    builds = [_build(tag, item) for tag, item in row["cuda_variants"].items()]
    python = {
        platform: tuple(row[f"pypi_python_{platform}"])
        for platform in ("linux_x86_64", "linux_aarch64", "win_amd64")
        if row.get(f"pypi_python_{platform}")
    }
    return TorchRelease(
        version=Version(row["torch"]),
        builds=tuple(sorted(builds, key=lambda item: item.cuda, reverse=True)),
        torchvision=row.get("torchvision"),
        torchaudio=row.get("torchaudio"),
        python=python,
        requires_python=row.get("requires_python_metadata"),
        default_is_cuda={
            "linux_x86_64": row.get("pip_default_tag") is not None,
            "linux_aarch64": bool(row.get("pypi_linux_aarch64_is_cuda")),
            "win_amd64": not row.get("pypi_windows_is_cpu_only", True),
        },
        conda_channel=bool(row.get("conda_pytorch_channel", {}).get("values")),
        source=row["source"],
    )


def _build(tag: str, row: dict[str, Any]) -> TorchBuild:
    ptx = row.get("ptx")
    return TorchBuild(
        tag=tag,
        cuda=Version(row["cuda"]),
        cudnn=row.get("cudnn"),
        nccl=row.get("nccl"),
        arch_list=tuple(row["arch_list"]),
        ptx=(ptx,) if isinstance(ptx, str) else tuple(ptx or ()),
        arch_list_aarch64=tuple(row.get("arch_list_aarch64", ())),
        index_url=row.get("index_url"),
        find_links=row.get("find_links"),
        default=bool(row.get("pip_default")),
        platforms=tuple(row.get("platforms", ())),
        note=row.get("note", ""),
        source=row["arch_source"],
    )
