"""What a Dockerfile of the working folder does to the GPU in its image: DRV02, CTR03 and PY21."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cuready.doctor import catalogue
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Severity
from cuready.snapshot import Dockerfile, Snapshot

__all__ = ["CAPABILITIES", "driver_in_image", "half_a_driver_in_image", "musl_image", "wanting"]

# What the container toolkit knows (SupportedDriverCapabilities in its internal/config/image); any
# other word stops the container. Unset or empty stands for utility,compute.
# https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
CAPABILITIES = ("compute", "utility", "graphics", "video", "display", "ngx", "compat32")

_CUDA_IMAGE = re.compile(r"cuda|torch|tensorflow|jax|tensorrt|triton|vllm|rapids", re.IGNORECASE)
_FITS = "python:3.12-slim"
_TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/index.html"


def driver_in_image(snapshot: Snapshot) -> list[Finding]:
    """The driver belongs to the host: one in the image differs from it sooner or later."""
    return [
        catalogue.finding(
            "DRV02",
            subject=item.path,
            image=item.path,
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


def wanting(asked: str) -> tuple[str, ...]:
    """Which of ``compute`` and ``utility`` a list of capabilities leaves out.

    Nothing where the list is empty (the default has both) or has a word that is not known.
    """
    words = {word.strip() for word in asked.split(",")} - {""}
    if not words or "all" in words or words - {*CAPABILITIES, "none"}:
        return ()
    return tuple(word for word in ("compute", "utility") if word not in words)


def with_both(asked: str) -> str:
    """The list with ``compute`` and ``utility`` in it."""
    words = [word.strip() for word in asked.split(",")]
    return ",".join(dict.fromkeys(("compute", "utility", *(w for w in words if w in CAPABILITIES))))


def half_a_driver_in_image(snapshot: Snapshot) -> list[Finding]:
    """NVIDIA_DRIVER_CAPABILITIES of an image that keeps libcuda or NVML out of its containers."""
    return [found for item in snapshot.dockerfiles for found in _half_a_driver(item)]


def _half_a_driver(item: Dockerfile) -> Iterator[Finding]:
    line, _, asked = item.capabilities.partition(": ")
    lacking = wanting(asked)
    if not lacking:
        return
    cuda = "compute" in lacking
    # An image for OpenGL or Vulkan does without CUDA on purpose, unless something in it needs CUDA.
    drawing = {"graphics", "display"} & set(asked.replace(" ", "").split(","))
    on_purpose = drawing and not item.wheels and not _CUDA_IMAGE.search(item.base)
    effect = (
        "libcuda is not handed in, and CUDA finds no driver"
        if cuda
        else "NVML and nvidia-smi are not handed in, and NCCL does not start without NVML"
    )
    variable = f"NVIDIA_DRIVER_CAPABILITIES={with_both(asked)}"
    yield catalogue.finding(
        "CTR03",
        subject=item.path,
        image=item.path,
        severity=Severity.INFO if on_purpose else Severity.WARNING,
        confidence=Confidence.LIKELY,
        title=f"A Dockerfile asks for no {lacking[0]} capability",
        cause=f"{item.path} sets NVIDIA_DRIVER_CAPABILITIES to {asked!r}, without "
        f"{' and '.join(lacking)}: {effect} in its containers.",
        evidence=[Evidence(item.path, f"{line}: ENV NVIDIA_DRIVER_CAPABILITIES={asked}")],
        fix=(
            Fix(
                ("docker build -t NAME .", "docker run --rm --gpus all NAME nvidia-smi"),
                f"once {line} of {item.path} says ENV {variable}",
            ),
            Fix((f"docker run --gpus all -e {variable} NAME",), "or for one run, as it is"),
        ),
    )


def musl_image(snapshot: Snapshot) -> list[Finding]:
    """Alpine has musl, for which the frameworks have no wheels."""
    return [
        catalogue.finding(
            "PY21",
            subject=item.path,
            image=item.path,
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
