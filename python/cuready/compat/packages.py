"""The other packages as rows of one shape: what each release needs of driver, GPU and Python.

TensorFlow, JAX, ONNX Runtime, TensorRT, cuDNN and the CUDA toolkit differ in how they publish
their requirements; here each becomes :class:`Build`, so that one rule answers for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from cuready.compat import torch
from cuready.compat.tables import rows, table

__all__ = ["PACKAGES", "Build", "builds_of"]


@dataclass(frozen=True)
class Build:
    """One installable build and its requirements. None or empty: not known or not required."""

    package: str
    version: Version
    cuda: Version | None  # the CUDA it was built with; only the major may be meaningful
    variant: str = ""  # "cu128", "tensorrt-cu13"
    sass: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()
    min_capability: str | None = None
    min_driver: str | None = None  # beyond the floor of the CUDA major
    python: tuple[str, ...] = ()  # "3.12", "3.13t"
    platforms: tuple[str, ...] = ()
    cudnn: str | None = None
    requirements: tuple[str, ...] = ()  # what pip is asked for
    index_url: str | None = None
    find_links: str | None = None
    needs_default_index: bool = True  # an --index-url replaces the default index
    note: str = ""
    source: str = ""


def builds_of(package: str, platform: str) -> list[Build]:
    """Every build of ``package`` for ``platform``, newest release and newest CUDA first."""
    found = list(PACKAGES[package](platform))
    return sorted(found, key=lambda b: (b.version, b.cuda or Version("0")), reverse=True)


def _torch(platform: str) -> Iterator[Build]:
    for release in torch.releases():
        for build in release.builds:
            if build.platforms and platform not in build.platforms:
                continue
            default = build.default and release.default_is_cuda.get(platform, False)
            if platform.endswith("aarch64") and not build.arch_list_aarch64 and not default:
                continue
            pairs = torch.pair_of(release.version)
            tag = f"+{build.tag}" if build.find_links and not build.index_url else ""
            yield Build(
                "torch",
                release.version,
                build.cuda,
                build.tag,
                sass=build.arch_on(platform),
                ptx=build.ptx,
                python=release.python.get(platform, ()),
                platforms=(platform,),
                cudnn=build.cudnn,
                requirements=(
                    f"torch=={release.version}{tag}",
                    *(
                        f"{name}=={value}{tag if name == 'torchvision' else ''}"
                        for name, value in pairs.items()
                    ),
                ),
                index_url=None if default else build.index_url,
                find_links=None if default or build.index_url else build.find_links,
                note=build.note,
                source=build.source,
            )


def _tensorflow(platform: str) -> Iterator[Build]:
    for row in rows("tensorflow", "releases"):
        if platform.startswith("win") and not row["windows_gpu"]:
            continue
        codes = row.get("build_info", {}).get("compute_capabilities", ())
        version = row["tensorflow"]
        bundled = "[and-cuda]" in row["install"]
        package = "tensorflow-gpu" if row["gpu_package"] == "tensorflow-gpu" else "tensorflow"
        extra = "[and-cuda]" if bundled else ""
        yield Build(
            "tensorflow",
            Version(version),
            Version(row["cuda"]),
            sass=tuple(code for code in codes if code.startswith("sm_")),
            ptx=tuple(code for code in codes if code.startswith("compute_")),
            python=tuple(row["python_wheels"]),
            platforms=("linux_x86_64", "win_amd64") if row["windows_gpu"] else ("linux_x86_64",),
            cudnn=row["cudnn"],
            requirements=(f"{package}{extra}=={version}",),
            note="" if bundled else f"needs CUDA {row['cuda']} and cuDNN {row['cudnn']} installed",
            source=row["source"],
        )


def _jax(_platform: str) -> Iterator[Build]:
    for row in rows("jax", "plugins"):
        major = row["cuda_major"]
        extra = f"cuda{major}" if Version(row["jax"]) >= Version("0.4.24") else f"cuda{major}_pip"
        yield Build(
            "jax",
            Version(row["jax"]),
            Version(major),
            row["plugin"],
            min_capability=row["min_compute_capability"],
            min_driver=row["min_driver_linux"],
            python=tuple(row["python_wheels"]),
            platforms=("linux_x86_64", "linux_aarch64"),
            cudnn=row.get("cudnn"),
            requirements=(f"jax[{extra}]=={row['jax']}",),
            source=row["source"],
        )


def _onnxruntime(_platform: str) -> Iterator[Build]:
    rules = table("derived")["onnxruntime_min_gpu"]
    for row in rows("onnxruntime_gpu", "releases"):
        version = Version(row["onnxruntime_gpu"])
        minimum = next((rule["cc"] for rule in rules if version >= Version(rule["from"])), None)
        extras = "[cuda,cudnn]" if row.get("extras") else ""
        yield Build(
            "onnxruntime",
            version,
            Version(row.get("cuda_build") or row["cuda_major"]),
            sass=tuple(row.get("binary_sass", ())),
            ptx=tuple(row.get("binary_ptx", ())),
            min_capability=None if row.get("binary_sass") else minimum,
            python=tuple(row["python_wheels"]),
            platforms=tuple(row["platforms"]),
            cudnn=row["cudnn_major"],
            requirements=(f"onnxruntime-gpu{extras}=={version}",),
            note=f"TensorRT provider: TensorRT {row['tensorrt_major']}",
            source=row["source"],
        )


def _tensorrt(platform: str) -> Iterator[Build]:
    for row in rows("tensorrt", "releases"):
        wheels = row.get("python_wheels", {})
        for package, by_platform in wheels.items():
            pythons = by_platform.get(platform)
            if pythons is None:
                continue
            major = package.rpartition("-cu")[2] if "-cu" in package else row["pip_cuda"]
            floor = row["min_driver"].get(f"cuda{major}", {})
            side = "windows" if platform.startswith("win") else "linux"
            yield Build(
                "tensorrt",
                Version(row["tensorrt"]),
                Version(major),
                package,
                min_capability=row["min_compute_capability"],
                min_driver=floor.get(side, "").lstrip("rR") or None,
                python=tuple(pythons),
                platforms=tuple(by_platform),
                requirements=(f"{package}=={row['tensorrt']}",),
                source=row["source"],
            )


def _cudnn(platform: str) -> Iterator[Build]:
    side = "windows" if platform.startswith("win") else "linux"
    for row in rows("cudnn", "releases"):
        for package, detail in row["packages"].items():
            if row.get("yanked") or platform not in detail["platforms"]:
                continue
            major = package.rpartition("-cu")[2]
            floor = row["min_driver_by_cuda_major"].get(major, {})
            yield Build(
                "cudnn",
                Version(row["cudnn"]),
                Version(major),
                package,
                min_capability=row["min_compute_capability"].split(" ")[0],
                min_driver=floor.get(side),
                platforms=tuple(detail["platforms"]),
                requirements=(f"{package}=={row['cudnn']}",),
                source=row["source"],
            )


def _cuda(_platform: str) -> Iterator[Build]:
    published = {row["cuda_toolkit"] for row in rows("wheels_nvidia", "cuda_toolkit_meta")}
    for row in rows("cuda_driver", "toolkits"):
        version = Version(row["cuda"])
        wheel = row["cuda"] in published
        yield Build(
            "cuda",
            version,
            version,
            min_capability=_oldest_gpu(version),
            platforms=("linux_x86_64", "linux_aarch64", "win_amd64"),
            requirements=(f"cuda-toolkit[all]=={row['cuda']}",) if wheel else (),
            note="" if wheel else "no wheels; conda-forge or NVIDIA's installer has it",
            source=row["source"],
        )


def _oldest_gpu(cuda: Version) -> str | None:
    by_major = table("gpu_arch")["meta"]["min_cc_by_cuda_major"]
    found = by_major.get(str(cuda.major))
    return str(found) if found else None


PACKAGES: dict[str, Callable[[str], Iterator[Build]]] = {
    "torch": _torch,
    "tensorflow": _tensorflow,
    "jax": _jax,
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
    "cudnn": _cudnn,
    "cuda": _cuda,
}


def newest_known(package: str, platform: str) -> Any:
    """The newest version of ``package`` in the tables."""
    return builds_of(package, platform)[0].version
