"""A channel with the CUDA builds of PyTorch as conda-forge has them: names, demands, constraints.

Build strings, build numbers, `__cuda` among the dependencies and the constraints between
`pytorch-cpu` and `pytorch-gpu`: https://github.com/conda-forge/pytorch-cpu-feedstock
(recipe/meta.yaml). `cuda-version` and its `run_constrained`:
https://github.com/conda-forge/cuda-version-feedstock. CUDA 13 builds are made against glibc 2.28,
CUDA 12 builds against 2.17.

Two CUDA builds of one release have one build number: where both run, the solver takes the one that
was built last, here that of the newer CUDA.
"""

from __future__ import annotations

from channels import Package, channel, python

GPU = "https://conda.anaconda.org/made-up"


def cuda_version(version: str) -> Package:
    """The package that keeps every CUDA library on one release."""
    return Package(
        "cuda-version",
        version,
        "hbda6634_3",
        constrains=(
            f"cudatoolkit {version}|{version}.*",
            f"__cuda >={version.split('.', maxsplit=1)[0]}",
        ),
        noarch="generic",
        build_number=3,
    )


def torch(
    version: str, cuda: str = "", *, hash_: str = "hb5b0f7a", number: int = 0
) -> list[Package]:
    """`pytorch` and its `pytorch-gpu` or `pytorch-cpu`; ``cuda`` is ``12.9`` or empty."""
    glibc = "__glibc >=2.28,<3.0.a0" if cuda.startswith("13") else "__glibc >=2.17,<3.0.a0"
    built = 1_700_000_000_000 + int(float(cuda or 0) * 3_600_000)
    if cuda:
        number += 300
        build = f"cuda{cuda.replace('.', '')}_mkl_py312_{hash_}_{number}"
        major = int(cuda.split(".", maxsplit=1)[0])
        depends = (
            f"cuda-version >={cuda},<{major + 1}",
            "__cuda",
            glibc,
            "python >=3.12,<3.13.0a0",
        )
        rest = (f"pytorch-gpu =={version}", "pytorch-cpu ==99999999")
        meta = Package("pytorch-gpu", version, f"cuda{cuda.replace('.', '')}_mkl_{hash_}_{number}",
                       depends=(f"pytorch =={version} {build}",), build_number=number, timestamp=built)  # fmt: skip
    else:
        number += 100
        build = f"cpu_mkl_py312_{hash_}_{number}"
        depends = (glibc, "python >=3.12,<3.13.0a0")
        rest = (f"pytorch-cpu =={version}", "pytorch-gpu ==99999999")
        meta = Package("pytorch-cpu", version, f"cpu_mkl_{hash_}_{number}", track_features="pytorch-cpu",
                       depends=(f"pytorch =={version} {build}",), build_number=number, timestamp=built)  # fmt: skip
    main = Package(
        "pytorch",
        version,
        build,
        depends=depends,
        constrains=rest,
        build_number=number,
        timestamp=built,
    )
    return [main, meta]


def gpu_channel() -> dict[str, bytes]:
    """The whole channel."""
    packages = [python("3.12.7"), *map(cuda_version, ("11.8", "12.6", "12.9", "13.0"))]
    for cuda in ("", "12.9", "13.0"):
        packages += torch("2.13.0", cuda)
    for cuda in ("", "12.6"):
        packages += torch("2.7.1", cuda)
    # torchvision follows pytorch's variants; torchaudio asks for the version only.
    for cuda in ("cpu", "cuda129", "cuda130"):
        wanted = ("pytorch * cpu*",) if cuda == "cpu" else (f"pytorch * {cuda}*",)
        packages.append(
            Package(
                "torchvision",
                "0.28.0",
                f"{cuda}_py312_h1a2b3c4_0",
                depends=("pytorch >=2.13.0,<2.14.0a0", *wanted),
            )
        )
    packages.append(
        Package("torchaudio", "2.13.0", "py312_0", depends=("pytorch >=2.13.0,<2.14.0a0",))
    )
    return channel(*packages)
