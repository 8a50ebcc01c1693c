"""What a Dockerfile of the working folder does to the GPU in its image: DRV02 and PY21."""

from __future__ import annotations

from cuready.doctor import catalogue
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Severity
from cuready.snapshot import Snapshot

__all__ = ["driver_in_image", "musl_image"]

_FITS = "python:3.12-slim"
_TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/index.html"


def driver_in_image(snapshot: Snapshot) -> list[Finding]:
    """The driver belongs to the host: one in the image differs from it sooner or later."""
    return [
        catalogue.finding(
            "DRV02",
            subject=item.path,
            severity=Severity.WARNING,
            confidence=Confidence.LIKELY,
            title="The NVIDIA driver is installed into an image by a Dockerfile",
            cause="The container runtime hands the host's driver in, which has to fit the host's "
            "kernel module. Where the image brings a newer one, its libcuda is found first, and "
            "NVML and CUDA report that driver and library differ.",
            evidence=[Evidence(item.path, text) for text in item.drivers],
            links=(_TOOLKIT,),
            fix=(
                Fix(
                    ("docker build -t NAME .", "docker run --rm --gpus all NAME nvidia-smi"),
                    f"once it is out of {item.path}: --gpus brings the host's driver, and the "
                    "image needs CUDA's toolkit at most (cuda-toolkit-12-4)",
                ),
            ),
        )
        for item in snapshot.dockerfiles
        if item.drivers
    ]


def musl_image(snapshot: Snapshot) -> list[Finding]:
    """Alpine has musl, for which the frameworks have no wheels."""
    return [
        catalogue.finding(
            "PY21",
            subject=item.path,
            severity=Severity.WARNING,
            confidence=Confidence.LIKELY,
            title="A Dockerfile installs wheels for glibc into an image with musl",
            cause=f"The base image {item.base} is Alpine, which has musl: neither NVIDIA's driver "
            "nor these wheels run on it.",
            evidence=[
                Evidence(item.path, f"FROM {item.base}"),
                *(Evidence(item.path, text) for text in item.wheels),
            ],
            fix=(
                Fix(
                    ("docker build -t NAME .",),
                    f"once {item.path} starts from a base image with glibc, such as {_FITS}",
                ),
            ),
        )
        for item in snapshot.dockerfiles
        if item.wheels and "alpine" in item.base.lower()
    ]
