"""The question that `cuready compat` asks of the tables, and its answer for every build."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from cuready.compat.capability import (
    ComputeCapability,
    code_runs_on,
    parse_capability,
    runs_only_by_ptx,
)
from cuready.compat.driver import compiles_ptx_of, driver_reaches, runs_cuda, runs_gpu, spell
from cuready.compat.packages import PACKAGES, Build, builds_of
from cuready.compat.tables import parse_version, rows, table
from cuready.compat.verdict import Answer, Verdict, combine, no, unknown, yes
from cuready.errors import CompatError

__all__ = ["ALIASES", "Judged", "Question", "judge", "newest_per_release", "package_name"]

# What people type → what the tables call it.
ALIASES = {
    "pytorch": "torch",
    "tf": "tensorflow",
    "jaxlib": "jax",
    "ort": "onnxruntime",
    "onnxruntime-gpu": "onnxruntime",
    "trt": "tensorrt",
    "libcudnn": "cudnn",
    "cuda-toolkit": "cuda",
    "cudatoolkit": "cuda",
}


@dataclass(frozen=True)
class Question:
    """What the builds have to fit. None: not asked."""

    driver: Version | None = None
    capability: ComputeCapability | None = None
    python: str | None = None  # "3.12", "3.13t"
    platform: str = "linux_x86_64"
    cuda: Version | None = None  # a major (12) or x.y


@dataclass(frozen=True)
class Judged:
    """A build and what the tables say about it here."""

    build: Build
    answer: Answer

    def to_dict(self) -> dict[str, Any]:
        build = self.build
        return {
            "package": build.package,
            "version": str(build.version),
            "cuda": None if build.cuda is None else str(build.cuda),
            "variant": build.variant,
            "cudnn": build.cudnn,
            "arch_list": [*build.sass, *build.ptx],
            "min_capability": build.min_capability,
            "python": list(build.python),
            **self.answer.to_dict(),
            "note": build.note,
            "facts_source": build.source,
        }


def package_name(text: str) -> str:
    """The package that ``text`` names. Raises :class:`CompatError` with a suggestion."""
    import difflib

    folded = text.strip().lower().replace("_", "-")
    name = ALIASES.get(folded, folded)
    if name in PACKAGES:
        return name
    close = difflib.get_close_matches(folded, [*PACKAGES, *ALIASES], n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise CompatError(
        f"package {text!r} is not in our tables", hint=f"{hint}known: {', '.join(PACKAGES)}"
    )


def judge(package: str, question: Question) -> Iterator[Judged]:
    """Every build of ``package``, newest first, with its answer to ``question``."""
    if question.platform not in ("linux_x86_64", "linux_aarch64", "win_amd64"):
        raise CompatError(
            f"platform {question.platform!r} is not in our tables",
            hint="known: linux_x86_64, linux_aarch64, win_amd64",
        )
    for build in builds_of(package, question.platform):
        yield Judged(build, combine(_answers(build, question)))


def newest_per_release(judged: list[Judged]) -> list[Judged]:
    """One line a release: its best variant (compatible, then default index, then newest CUDA)."""
    best: dict[Version, Judged] = {}
    for item in judged:
        kept = best.get(item.build.version)
        if kept is None or _preference(item) > _preference(kept):
            best[item.build.version] = item
    return list(best.values())


def _preference(item: Judged) -> tuple[int, bool, bool, Version]:
    rank = {Verdict.COMPATIBLE: 2, Verdict.UNKNOWN: 1, Verdict.INCOMPATIBLE: 0}
    build = item.build
    plain = build.index_url is None and build.find_links is None
    return (rank[item.answer.verdict], not build.note, plain, build.cuda or Version("0"))


def _answers(build: Build, question: Question) -> Iterator[Answer]:
    if build.platforms and question.platform not in build.platforms:
        yield no(f"no build for {question.platform}", build.source)
    if question.cuda is not None:
        yield _cuda_answer(build, question.cuda)
    if question.python is not None:
        yield _python_answer(build, question.python)
    if question.driver is not None and build.cuda is not None:
        yield from _driver_answers(build, question.driver, question)
    if question.capability is not None:
        yield from _gpu_answers(build, question.capability)


def _cuda_answer(build: Build, wanted: Version) -> Answer:
    if build.cuda is None:
        return unknown("the CUDA of this build is not known")
    digits = min(len(wanted.release), len(build.cuda.release), 2)
    if build.cuda.release[:digits] == wanted.release[:digits]:
        return yes(f"built with CUDA {build.cuda}", build.source)
    return no(f"built with CUDA {build.cuda}, not {wanted}", build.source)


def _python_answer(build: Build, python: str) -> Answer:
    if build.package in ("cuda", "cudnn"):
        return yes("does not depend on Python")
    if not build.python:
        return unknown("the Python versions of its wheels are not known")
    if python in build.python:
        return yes(f"has wheels for Python {python}", build.source)
    return no(f"no wheel for Python {python} (it has {', '.join(build.python)})", build.source)


def _driver_answers(build: Build, driver: Version, question: Question) -> Iterator[Answer]:
    assert build.cuda is not None  # noqa: S101 - asked by the caller
    yield runs_cuda(driver, build.cuda, question.platform)
    if build.min_driver and not driver_reaches(driver, Version(build.min_driver)):
        yield no(f"needs driver {build.min_driver} or newer, this is {spell(driver)}", build.source)
    gpu = question.capability
    if gpu is not None:
        yield runs_gpu(driver, gpu, question.platform)
        if (build.sass or build.ptx) and runs_only_by_ptx(build.sass, build.ptx, gpu):
            yield compiles_ptx_of(driver, build.cuda, question.platform)


def _gpu_answers(build: Build, gpu: ComputeCapability) -> Iterator[Answer]:
    if gpu > newest_capability():
        yield unknown(f"compute capability {gpu} is newer than our tables")
        return
    if build.sass or build.ptx:
        yield code_runs_on(build.sass, build.ptx, gpu, cuda=build.cuda)
    elif build.min_capability is not None:
        yield _at_least(build, gpu, build.min_capability)
    elif build.package != "cuda":
        yield unknown(f"the architectures of {build.package} {build.version} are not known")
    if build.cuda is not None:
        yield _toolkit_knows(build.cuda, gpu)
    if build.package == "torch" and build.cudnn:
        yield _cudnn_serves(build.cudnn, gpu)


def newest_capability() -> ComputeCapability:
    """The newest GPU that the tables know."""
    return max(parse_capability(row["cc"]) for row in rows("gpu_arch", "architectures"))


def _at_least(build: Build, gpu: ComputeCapability, minimum: str) -> Answer:
    major, minor = (int(part) for part in minimum.split("."))
    if gpu >= ComputeCapability(major, minor):
        return yes(f"needs compute capability {minimum} or newer", build.source)
    return no(f"needs compute capability {minimum} or newer, this is {gpu}", build.source)


def _toolkit_knows(cuda: Version, gpu: ComputeCapability) -> Answer:
    """Whether the CUDA libraries of that major still serve the GPU (new ones are left to PTX)."""
    by_major = table("gpu_arch")["meta"]["min_cc_by_cuda_major"]
    minimum = by_major.get(str(cuda.major))
    if minimum is None:
        return yes("")
    major, minor = (int(part) for part in minimum.split("."))
    if gpu >= ComputeCapability(major, minor):
        return yes(f"CUDA {cuda.major} serves compute capability {minimum} and newer")
    source = str(table("gpu_arch")["meta"]["min_cc_source"])
    return no(f"CUDA {cuda.major} starts at compute capability {minimum}, this is {gpu}", source)


def _cudnn_serves(cudnn: str, gpu: ComputeCapability) -> Answer:
    version = parse_version(cudnn, "cuDNN")
    for rule in table("derived")["cudnn_min_gpu"]:
        if version >= Version(rule["from"]):
            major, minor = (int(part) for part in rule["cc"].split("."))
            if gpu >= ComputeCapability(major, minor):
                return yes("", rule["source"])
            return no(
                f"its cuDNN {cudnn} starts at compute capability {rule['cc']}: "
                f"convolutions fail on {gpu}",
                rule["source"],
            )
    return yes("")


def known_pythons(package: str, platform: str) -> set[str]:
    """Every Python that some build of ``package`` has a wheel for."""
    return {version for build in builds_of(package, platform) for version in build.python}


def toolkits() -> list[str]:
    """The CUDA releases of the tables, newest first."""
    return [row["cuda"] for row in rows("cuda_driver", "toolkits")]
