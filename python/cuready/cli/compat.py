"""`cuready compat`: which builds run on a driver, a GPU and a Python, and how to install them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click
from packaging.version import Version

from cuready.cli._common import (
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    EXIT_OK,
    document,
    emit_json,
    format_option,
)
from cuready.compat import gpus
from cuready.compat.capability import parse_capability
from cuready.compat.driver import spell
from cuready.compat.query import Judged, Question, judge, newest_per_release, package_name
from cuready.compat.tables import as_of, parse_version
from cuready.compat.verdict import Verdict
from cuready.snapshot import Snapshot

ANY = "any"
PLATFORMS = ("linux_x86_64", "linux_aarch64", "win_amd64")
PACKAGES = ("torch", "tensorflow", "jax", "onnxruntime", "tensorrt", "cudnn", "cuda")
# The readers that know the driver, the GPU and the Python: the others cost time for nothing here.
READERS = frozenset(
    {"host", "pci", "kernel-driver", "driver-libraries", "nvml", "gpu-names", "python"}
)


@dataclass(frozen=True)
class Asked:
    """The question, and for each part of it where it comes from."""

    question: Question
    parts: tuple[tuple[str, str, str], ...]  # (what, value, "given" or "this machine")


@click.command()
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...")
@click.option(
    "--driver", metavar="VERSION", help="NVIDIA driver, such as 580.95.05; 'any' to leave it out."
)
@click.option("--gpu", metavar="NAME", help="GPU by name, such as 'GeForce RTX 3070'.")
@click.option(
    "--capability",
    metavar="X.Y",
    help="Compute capability, instead of --gpu; 'any' to leave it out.",
)
@click.option(
    "--python", metavar="X.Y", help="Python version, such as 3.12 or 3.13t; 'any' to leave it out."
)
@click.option("--cuda", metavar="X[.Y]", help="Only builds for this CUDA.")
@click.option("--platform", type=click.Choice(PLATFORMS), help="Platform of the builds.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=5, show_default=True, help="Releases to list."
)
@click.option(
    "--all", "show_all", is_flag=True, help="Also list what does not fit, with the reason."
)
@format_option()
def compat(
    packages: tuple[str, ...],
    driver: str | None,
    gpu: str | None,
    capability: str | None,
    python: str | None,
    cuda: str | None,
    platform: str | None,
    limit: int,
    show_all: bool,
    output_format: str,
) -> int:
    """List the newest builds of PACKAGE that run, and the command that installs them.

    PACKAGE: torch, tensorflow, jax, onnxruntime, tensorrt, cudnn, cuda; all of them when none is
    named. What is not given is taken from this machine.

    Exit codes: 0 something fits, 1 nothing fits, 2 wrong usage, 3 our tables cannot say.
    """
    if gpu and capability:
        raise click.UsageError("--gpu and --capability say the same thing: give one of them")
    names = [package_name(item) for item in packages or PACKAGES]
    asked = _ask(driver, gpu, capability, python, cuda, platform)
    answers = {name: list(judge(name, asked.question)) for name in dict.fromkeys(names)}
    if output_format == "json":
        emit_json(document(_document(asked, answers, limit, show_all)))
    else:
        _print_head(asked)
        for name, judged in answers.items():
            _print_package(name, judged, limit if packages else 1, show_all)
    return _exit_code(answers)


def _exit_code(answers: dict[str, list[Judged]]) -> int:
    verdicts = {item.answer.verdict for judged in answers.values() for item in judged}
    if Verdict.COMPATIBLE in verdicts:
        return EXIT_OK
    return EXIT_INCOMPLETE if Verdict.UNKNOWN in verdicts else EXIT_FAILED


# --- the question ------------------------------------------------------------------------------


def _ask(
    driver: str | None,
    gpu: str | None,
    capability: str | None,
    python: str | None,
    cuda: str | None,
    platform: str | None,
) -> Asked:
    complete = bool(driver and (gpu or capability) and python and platform)
    here = Snapshot() if complete else _this_machine()
    parts: list[tuple[str, str, str]] = []

    def note(what: str, value: str | None, given: bool) -> None:
        if value:
            parts.append((what, value, "given" if given else "this machine"))

    version = _driver(driver, here)
    note("driver", spell(version) if version else None, driver is not None)
    chosen, words = _capability(gpu, capability, here)
    note("GPU", words, bool(gpu or capability))
    snake = _python(python, here)
    note("Python", snake, python is not None)
    where = platform or _platform_of(here)
    note("platform", where, platform is not None)
    toolkit = parse_version(_dotted_cuda(cuda), "CUDA version") if cuda else None
    note("CUDA", str(toolkit) if toolkit else None, True)
    return Asked(Question(version, chosen, snake, where, toolkit), tuple(parts))


def _this_machine() -> Snapshot:
    from cuready.probe import take
    from cuready.probe.registry import READERS as ALL

    return take(readers=[reader for reader in ALL if reader.name in READERS])


def _platform_of(here: Snapshot) -> str:
    from cuready.doctor.facts import platform_tag

    return platform_tag(here)


def _driver(given: str | None, here: Snapshot) -> Version | None:
    from cuready.doctor.facts import driver_version

    if given == ANY:
        return None
    if given is None:
        return driver_version(here)
    version = parse_version(given, "driver version")
    if not 300 <= version.major <= 9999:
        raise click.BadParameter(
            f"{given!r} is no NVIDIA driver: they look like 580.95.05", param_hint="--driver"
        )
    return version


def _capability(gpu: str | None, capability: str | None, here: Snapshot) -> tuple[Any, str | None]:
    """(compute capability, how to say it); the weakest GPU here when nothing is given."""
    from cuready.doctor.facts import capabilities

    if capability == ANY:
        return None, None
    if capability:
        chosen = parse_capability(capability)
        return chosen, f"compute capability {chosen}"
    if gpu:
        known = gpus.by_name(gpu)
        return known.capability, f"{known.name}, compute capability {known.capability}"
    found = capabilities(here)
    if not found:
        return None, None
    name = min(found, key=lambda item: found[item])
    return found[name], f"{name}, compute capability {found[name]}"


def _python(given: str | None, here: Snapshot) -> str | None:
    from cuready.doctor.facts import python_tag

    if given == ANY:
        return None
    if given is None:
        return python_tag(here)
    threads = given.rstrip().endswith("t")
    version = parse_version(given.rstrip().rstrip("t"), "Python version")
    if len(version.release) < 2:
        raise click.BadParameter(f"{given!r}: give it like 3.12", param_hint="--python")
    return f"{version.major}.{version.minor}{'t' if threads else ''}"


def _dotted_cuda(text: str) -> str:
    """``cu124`` and ``124`` → ``12.4``; anything else as it is."""
    digits = text.lower().removeprefix("cu").removeprefix("da")
    if digits.isdigit() and len(digits) == 3:
        return f"{digits[:2]}.{digits[2]}"
    return digits


# --- the answer ----------------------------------------------------------------------------------


def _print_head(asked: Asked) -> None:
    for what, value, source in asked.parts:
        label = click.style(f"{what}:", bold=True)
        click.echo(f"{label} {value}{'' if source == 'given' else ' (this machine)'}")


def _print_package(name: str, judged: list[Judged], limit: int, show_all: bool) -> None:
    best = newest_per_release(judged)
    fitting = [item for item in best if item.answer.ok]
    click.echo(f"\n{click.style(name, bold=True)} (tables of {as_of(_table_of(name))})")
    if not fitting:
        _print_nothing(name, best)
        if not show_all:
            return
    for item in (best if show_all else fitting)[:limit]:
        click.echo(f"  {_line(item)}")
    if not show_all and len(fitting) > limit:
        click.echo(f"  … and {len(fitting) - limit} older releases (--limit {len(fitting)})")
    if fitting:
        for who, command in _install_commands(fitting[0]).items():
            click.echo(f"  {who:6} {click.style(command, fg='cyan')}")


def _line(item: Judged) -> str:
    build = item.build
    parts = [f"{build.version!s:12}"]
    parts.append(f"CUDA {build.cuda!s:6}" if build.cuda else " " * 11)
    parts.append(f"{build.variant:18}" if build.variant else "")
    parts.append(f"cuDNN {build.cudnn}" if build.cudnn else "")
    text = " ".join(part for part in parts if part).rstrip()
    if not item.answer.ok:
        word = "does not fit" if item.answer.verdict is Verdict.INCOMPATIBLE else "not known"
        return f"{text}  {click.style(word, fg='red')}: {item.answer.reason}"
    return f"{text}  {build.note}".rstrip()


def _print_nothing(name: str, best: list[Judged]) -> None:
    unknown = [item for item in best if item.answer.verdict is Verdict.UNKNOWN]
    if unknown:
        click.echo(f"  no build is known to fit: {unknown[0].answer.reason}")
    elif best:
        newest = best[0]
        click.echo(f"  no build of {name} fits; {newest.build.version}: {newest.answer.reason}")
    else:
        click.echo(f"  our tables have no GPU build of {name} for this platform")


def _install_commands(item: Judged) -> dict[str, str]:
    """pip, uv and, where it has such builds, conda-forge."""
    from cuready.doctor.installers import Installer, join

    build = item.build
    if not build.requirements:
        return {"note": build.note}
    pip = Installer("pip").install(
        build.requirements, index_url=build.index_url, find_links=build.find_links
    )
    uv = ["uv", "pip", "install", *build.requirements]
    uv += ["--index-url", build.index_url] if build.index_url else []
    uv += ["--find-links", build.find_links] if build.find_links else []
    commands = {"pip": pip, "uv": join(uv)}
    conda = {
        "torch": "pytorch-gpu",
        "tensorflow": "tensorflow-gpu",
        "jax": "jax",
        "cudnn": "cudnn",
        "cuda": "cuda-toolkit",
    }
    name = conda.get(build.package)
    if name and build.cuda and build.cuda.major >= 11:
        cuda = (
            f"{build.cuda.major}.{build.cuda.minor}"
            if len(build.cuda.release) > 1
            else f"{build.cuda.major}"
        )
        commands["conda"] = join(
            ["conda", "install", "-c", "conda-forge", name, f"cuda-version={cuda}"]
        )
    return commands


def _table_of(name: str) -> str:
    tables = {"torch": "torch_builds", "onnxruntime": "onnxruntime_gpu", "cuda": "cuda_driver"}
    return tables.get(name, name)


def _document(
    asked: Asked, answers: dict[str, list[Judged]], limit: int, show_all: bool
) -> dict[str, Any]:
    packages = []
    for name, judged in answers.items():
        best = newest_per_release(judged)
        fitting = [item for item in best if item.answer.ok]
        packages.append(
            {
                "package": name,
                "as_of": as_of(_table_of(name)),
                "fitting": len(fitting),
                "builds": [item.to_dict() for item in (best if show_all else fitting)[:limit]],
                "newest": best[0].to_dict() if best else None,
                "install": _install_commands(fitting[0]) if fitting else {},
            }
        )
    question = [
        {"what": what, "value": value, "from": source} for what, value, source in asked.parts
    ]
    return {"question": question, "packages": packages}
