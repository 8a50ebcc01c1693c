"""The machine that an environment is for, and what a recipe's GPU rules mean on it. Pure.

Facts come from a Snapshot, and each can be replaced: an environment is often made on a login node
or in a container build, where no GPU can be seen.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from packaging.version import InvalidVersion, Version

from cuready._util import one_line
from cuready.compat.capability import ComputeCapability, parse_capability
from cuready.compat.driver import cuda_of_driver
from cuready.compat.query import Judged, Question, judge
from cuready.doctor.facts import capabilities, driver_version
from cuready.env.recipe import Recipe
from cuready.errors import EnvError, InputError, RecipeError
from cuready.snapshot import Snapshot

__all__ = ["Decision", "Target", "decide", "target_of"]

# sys.platform and machine as conda's subdirs and the tables' platform tags name them.
SUBDIRS = {
    ("Linux", "x86_64"): ("linux-64", "linux_x86_64"),
    ("Linux", "aarch64"): ("linux-aarch64", "linux_aarch64"),
    ("Windows", "AMD64"): ("win-64", "win_amd64"),
    ("Darwin", "x86_64"): ("osx-64", "macosx_x86_64"),
    ("Darwin", "arm64"): ("osx-arm64", "macosx_arm64"),
}


@dataclass(frozen=True)
class Target:
    """What an environment has to run on. None: not there, or not known.

    ``cuda`` is the newest CUDA that the driver speaks (conda's ``__cuda``), ``capability`` that of
    the weakest GPU, ``said`` the facts that were given and not read.
    """

    subdir: str
    platform_tag: str
    cuda: Version | None = None
    driver: Version | None = None
    capability: ComputeCapability | None = None
    glibc: Version | None = None
    said: tuple[str, ...] = ()

    def virtual_packages(self) -> dict[str, str]:
        """conda's virtual packages and their versions, in conda's own names."""
        packages = {}
        if self.subdir.startswith("linux"):
            packages = {"__unix": "0", "__linux": "0", "__glibc": str(self.glibc or "2.17")}
        elif self.subdir.startswith("osx"):
            packages = {"__unix": "0", "__osx": "11.0"}
        elif self.subdir.startswith("win"):
            packages = {"__win": "0"}
        if self.cuda is not None:
            packages["__cuda"] = str(self.cuda)
        return packages


@dataclass(frozen=True)
class Decision:
    """What the rules of a recipe mean on one target."""

    constraints: tuple[str, ...] = ()
    torch_tag: str | None = None
    torch_index: str | None = None
    reasons: tuple[str, ...] = field(default=())


def target_of(
    snapshot: Snapshot,
    *,
    cuda: str | None = None,
    capability: str | None = None,
    glibc: str | None = None,
    subdir: str | None = None,
) -> Target:
    """The target that ``snapshot`` describes, with the given facts in place of the read ones.

    ``cuda``: ``"12.4"``, or ``"none"`` for a machine without a driver. Raises InputError naming
    what cannot be read.
    """
    system, machine = snapshot.platform.system or "Linux", snapshot.platform.machine or "x86_64"
    read = SUBDIRS.get((system, machine))
    if read is None and subdir is None:
        raise InputError(f"no conda packages are known for {system} on {machine}")
    tags = dict(SUBDIRS.values())
    chosen = subdir or (read[0] if read else "")
    if chosen not in tags:
        raise InputError(f"unknown platform {chosen!r}", hint=f"known: {', '.join(tags)}")
    driver = driver_version(snapshot)
    said = [
        name
        for name, given in (("cuda", cuda), ("capability", capability), ("glibc", glibc))
        if given is not None
    ]
    known = capabilities(snapshot)
    weakest = min(known.values()) if known else None
    return Target(
        subdir=chosen,
        platform_tag=tags[chosen],
        cuda=_cuda(snapshot, driver) if cuda is None else _given("cuda", cuda),
        driver=driver if cuda is None else None,
        capability=weakest if capability is None else parse_capability(capability),
        glibc=_glibc(snapshot) if glibc is None else _given("glibc", glibc),
        said=tuple(said),
    )


def _given(name: str, text: str) -> Version | None:
    if text.lower() == "none":
        return None
    try:
        return Version(text)
    except InvalidVersion:
        hint = "write it like 12.4, or none for a machine without a driver"
        raise InputError(f"--{name} {text!r} is not a version", hint=hint) from None


def _cuda(snapshot: Snapshot, driver: Version | None) -> Version | None:
    """What the driver itself says comes before the tables."""
    for probe in (snapshot.cuda, snapshot.nvml):
        if probe.status == "ok" and probe.cuda_version:
            return Version(probe.cuda_version)
    return cuda_of_driver(driver) if driver is not None else None


def _glibc(snapshot: Snapshot) -> Version | None:
    if snapshot.platform.libc != "glibc" or not snapshot.platform.libc_version:
        return None
    return Version(snapshot.platform.libc_version)


def decide(recipe: Recipe, target: Target, *, python: str | None = None) -> Decision:
    """Which constraints and wheels ``recipe`` needs on ``target``.

    Raises EnvError when it cannot work there, with the reason and what to do instead.
    """
    _platform_fits(recipe, target)
    if recipe.gpu_forbid:
        return Decision(reasons=("a CPU environment: the GPU is not looked at",))
    if recipe.gpu_require and target.cuda is None:
        raise EnvError(
            f"{recipe.name} needs a GPU, and no NVIDIA driver can be seen here",
            hint="give what it will run on, such as --cuda 12.9 --capability 8.6; "
            "`cuready doctor` says why none is seen",
        )
    _driver_fits(recipe, target)
    constraints, reasons = _rules(recipe, target)
    tag, index = None, None
    if recipe.pip_index == "torch" and not recipe.gpu_forbid:
        best = _torch_build(recipe, target, python)
        tag, index = best.build.variant, best.build.index_url
        reasons.append(f"torch {best.build.version} {tag}: {best.answer.reason}")
    return Decision(tuple(constraints), tag, index, tuple(reasons))


def _platform_fits(recipe: Recipe, target: Target) -> None:
    if recipe.platforms and target.subdir not in recipe.platforms:
        raise EnvError(
            f"{recipe.name} is for {', '.join(recipe.platforms)}, not for {target.subdir}",
            hint=recipe.notes.strip().splitlines()[0] if recipe.notes.strip() else "",
        )


def _driver_fits(recipe: Recipe, target: Target) -> None:
    """A driver that is too old would silently get the CPU build: refuse, and say what is needed."""
    if recipe.min_driver_cuda is None or target.cuda is None:
        return
    try:
        wanted = Version(recipe.min_driver_cuda)
    except ValueError:
        told = one_line(recipe.min_driver_cuda, 60)
        raise RecipeError(
            f"{recipe.path}: gpu.min_driver_cuda: {told!r} is not a version", hint="like 12.4"
        ) from None
    if target.cuda < wanted:
        driver = f" (driver {target.driver})" if target.driver else ""
        raise EnvError(
            f"{recipe.name} needs a driver that speaks CUDA {wanted}; "
            f"this one speaks {target.cuda}{driver}",
            hint="update the driver, or ask `cuready compat` for a build that it runs",
        )


def _rules(recipe: Recipe, target: Target) -> tuple[list[str], list[str]]:
    capability = Version(str(target.capability)) if target.capability is not None else None
    constraints = list(recipe.constraints)
    reasons = []
    for rule in recipe.rules:
        try:
            if not rule.applies(capability=capability, driver_cuda=target.cuda, glibc=target.glibc):
                continue
        except RecipeError as error:
            raise RecipeError(f"{recipe.path}: {error.message}", hint=error.hint) from None
        if rule.refuse:
            instead = f"use the recipe {rule.instead}" if rule.instead else ""
            raise EnvError(
                f"{recipe.name} cannot work on compute capability {target.capability}: "
                f"{rule.refuse}",
                hint=instead,
            )
        constraints += [item for item in rule.constraints if item not in constraints]
        when = {"compute capability": rule.capability, "CUDA of the driver": rule.driver_cuda}
        told = [f"{name} {wanted}" for name, wanted in when.items() if wanted]
        told += [f"glibc {rule.glibc}"] if rule.glibc else []
        reasons.append(f"{' and '.join(told)}: {', '.join(rule.constraints)}")
    return constraints, reasons


def _torch_build(recipe: Recipe, target: Target, python: str | None) -> Judged:
    """The newest torch whose wheel runs on this driver and this GPU."""
    question = Question(
        driver=target.driver,
        capability=target.capability,
        python=python or f"{sys.version_info.major}.{sys.version_info.minor}",
        platform=target.platform_tag,
    )
    wanted = _torch_pin(recipe)
    refused = ""
    for item in judge("torch", question):
        build = item.build
        if wanted is not None and build.version.release != wanted.release:
            continue
        if build.cuda is None or build.note or not build.index_url:
            continue
        if (
            target.driver is None
            and target.cuda is not None
            and build.cuda.major > target.cuda.major
        ):
            refused = refused or f"{build.version} {build.variant} needs CUDA {build.cuda.major}"
            continue
        if item.answer.ok:
            return item
        refused = refused or f"{build.version} {build.variant}: {item.answer.reason}"
    raise EnvError(
        f"no torch wheel fits this driver, GPU and Python; the newest: {refused or 'none known'}",
        hint="`cuready compat torch` lists them all",
    )


def _torch_pin(recipe: Recipe) -> Version | None:
    """The torch that the recipe's requirements pin. Raises RecipeError for text that is none."""
    from packaging.requirements import Requirement

    for text in recipe.pip:
        try:
            requirement = Requirement(text)
            if requirement.name == "torch":
                pins = [item.version for item in requirement.specifier if item.operator == "=="]
                return Version(pins[0].removesuffix(".*")) if pins else None
        except ValueError as error:  # InvalidRequirement, InvalidVersion, too many digits for int()
            why = str(error).partition("\n")[0]
            raise RecipeError(
                f"{recipe.path}: pip.requirements: {one_line(text, 60)!r} is not a requirement "
                f"({one_line(why, 120)})",
                hint="write it as pip takes it, such as torch==2.8.0",
            ) from None
    return None
