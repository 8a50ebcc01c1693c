"""Commands for whoever owns a package: pip, uv, conda, mamba, pixi, or the distribution.

A fix is only worth printing when it can be pasted: every command names the interpreter or prefix
that it changes, and every argument is quoted for the shell of the diagnosed machine.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from cuready._util import data_text, normalize, tomllib
from cuready.doctor.facts import capabilities, driver_version, platform_tag, python_tag
from cuready.doctor.finding import Fix, Risk
from cuready.snapshot import Distribution, Platform, Snapshot

if TYPE_CHECKING:  # the tables are read when something was found, and not before
    from cuready.compat.query import Judged, Question

__all__ = [
    "Installer",
    "best_build",
    "came_from",
    "can_be_run",
    "for_environment",
    "for_package",
    "index_of",
    "join",
    "reinstall",
    "reinstall_fitting",
    "system_command",
    "system_install",
    "windows_driver",
]

# From PyPI name to conda-forge name, where they differ.
CONDA_NAMES = {
    "torch": "pytorch",
    "opencv-python": "opencv",
    "nvidia-cudnn-cu12": "cudnn",
    "nvidia-cudnn-cu13": "cudnn",
    "nvidia-nccl-cu12": "nccl",
    "nvidia-nccl-cu13": "nccl",
}


_CMD = re.compile(r"[<>|&^()]")
_TORCH_TAG = re.compile(r"cu\d{2,3}|cpu|xpu|rocm\d+(?:\.\d+)*")
_ARCHIVES = (".whl", ".tar.gz", ".zip")


def join(arguments: Sequence[str], system: str = "Linux") -> str:
    """``arguments`` as one command line for a POSIX shell, or for cmd.exe on Windows."""
    if system == "Windows":
        import subprocess  # it has Windows' rule

        # list2cmdline quotes for programs; cmd.exe takes `>` of `torch>=2.4` for a redirection.
        quoted = (subprocess.list2cmdline([word]) for word in arguments)
        return " ".join(
            f'"{word}"' if _CMD.search(word) and '"' not in word else word for word in quoted
        )
    return shlex.join(arguments)


@dataclass(frozen=True)
class Installer:
    """Who changes an environment, and how it is told which one."""

    manager: str  # "pip", "uv", "conda", "mamba", "micromamba", "pixi", "apt"
    python: str = "python"
    prefix: str | None = None
    system: str = "Linux"
    externally_managed: bool = False

    @property
    def is_conda(self) -> bool:
        """Whether packages come from conda channels."""
        return self.manager in ("conda", "mamba", "micromamba", "pixi")

    def install(
        self,
        requirements: Sequence[str],
        *,
        index_url: str | None = None,
        find_links: str | None = None,
        reinstall: bool = False,
        dependencies: bool = True,
        upgrade: bool = False,
        user: bool = False,
    ) -> str:
        """One command that installs ``requirements`` (pip's syntax, also for conda).

        ``user``: into the user's own site-packages, which only pip does.
        """
        if self.is_conda:
            return self._conda_install(requirements, reinstall=reinstall, dependencies=dependencies)
        if self.manager == "uv" and not user:
            arguments = ["uv", "pip", "install", "--python", self.python]
            arguments += ["--reinstall"] if reinstall else []
        else:
            arguments = [self.python, "-m", "pip", "install"]
            arguments += ["--force-reinstall"] if reinstall else []
        arguments += ["--upgrade"] if upgrade else []
        arguments += ["--user"] if user else []
        arguments += [] if dependencies else ["--no-deps"]
        arguments += list(requirements)
        arguments += ["--index-url", index_url] if index_url else []
        arguments += ["--find-links", find_links] if find_links else []
        return join(arguments, self.system)

    def uninstall(self, names: Sequence[str]) -> str:
        """One command that removes ``names``."""
        if self.manager == "pixi":
            return join(["pixi", "remove", *map(conda_name, names)], self.system)
        if self.is_conda:
            arguments = [self.manager, "remove", "-y", *self._where(), *map(conda_name, names)]
            return join(arguments, self.system)
        if self.manager == "uv":
            return join(["uv", "pip", "uninstall", "--python", self.python, *names], self.system)
        return join([self.python, "-m", "pip", "uninstall", "-y", *names], self.system)

    def install_exactly(self, specs: Sequence[str], channels: Sequence[str]) -> str:
        """One command of conda's for these builds (``name=version=build``) and nothing else."""
        flags = [word for channel in channels for word in ("-c", channel)]
        arguments = [self.manager, "install", "-y", *self._where(), "--no-deps", *flags, *specs]
        return join(arguments, self.system)

    def uninstall_exactly(self, names: Sequence[str]) -> str:
        """One command that removes these conda packages and none that needs them."""
        arguments = [self.manager, "remove", "-y", *self._where(), "--force", *names]
        return join(arguments, self.system)

    def _where(self) -> list[str]:
        return ["-p", self.prefix] if self.prefix else []

    def _conda_install(
        self, requirements: Sequence[str], *, reinstall: bool, dependencies: bool
    ) -> str:
        specs = [conda_spec(item) for item in requirements]
        if self.manager == "pixi":
            return join(["pixi", "add", *specs], self.system)
        arguments = [self.manager, "install", "-y", *self._where(), "-c", "conda-forge"]
        arguments += ["--force-reinstall"] if reinstall else []
        arguments += [] if dependencies else ["--no-deps"]
        return join([*arguments, *specs], self.system)

    def run(self, module: str, *arguments: str) -> str:
        """``python -m module …`` of this environment."""
        return join([self.python, "-m", module, *arguments], self.system)


def conda_name(name: str) -> str:
    """The conda-forge package that has what PyPI calls ``name``."""
    return CONDA_NAMES.get(normalize(name), normalize(name))


def conda_spec(requirement: str) -> str:
    """``torch==2.8.0`` → ``pytorch==2.8.0``, without extras and local version."""
    match = re.match(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?(.*)$", requirement)
    assert match is not None  # noqa: S101 - requirements here are written by us
    name, rest = match.groups()
    return conda_name(name) + rest.split("+", maxsplit=1)[0]


def for_environment(snapshot: Snapshot) -> Installer:
    """The installer that owns the diagnosed environment."""
    python = snapshot.python
    manager = python.manager or ("conda" if python.kind == "conda" else "pip")
    if manager == "conda" and snapshot.packaging.available:
        manager = next(
            (
                name
                for name in ("conda", "mamba", "micromamba")
                if name in snapshot.packaging.available
            ),
            "conda",
        )
    owner = Installer(
        manager=manager,
        python=python.executable or "python",
        prefix=python.prefix,
        system=snapshot.platform.system or "Linux",
        externally_managed=bool(python.externally_managed),
    )
    return can_be_run(snapshot, owner)


def can_be_run(snapshot: Snapshot, installer: Installer) -> Installer:
    """``installer``, or the other one of pip and uv where only that one is here.

    They read and write the same records. uv's environments hold no pip, and uv need not be on the
    PATH of whoever uses one.
    """
    available = snapshot.packaging.available
    other = {"pip": "uv", "uv": "pip"}.get(installer.manager)
    if other in available and installer.manager not in available:
        return replace(installer, manager=other)
    return installer


def for_package(snapshot: Snapshot, name: str) -> Installer:
    """The installer that put ``name`` there: pip inside a conda environment stays pip."""
    owner = for_environment(snapshot)
    recorded = [
        item.installer
        for item in snapshot.python.distributions
        if normalize(item.name) == normalize(name) and item.installer
    ]
    who = recorded[0].lower() if recorded else None
    if who == "uv":
        return can_be_run(snapshot, replace(owner, manager="uv"))
    if who == "pip" and owner.manager != "uv":
        return can_be_run(snapshot, replace(owner, manager="pip"))
    if owner.manager in ("apt", "dnf", "pacman", "zypper", "system"):
        return can_be_run(snapshot, replace(owner, manager="pip"))
    return owner


# --- a build that fits -------------------------------------------------------------------------


def question_of(snapshot: Snapshot) -> Question:
    """What the compatibility tables are asked about this machine (its weakest GPU counts)."""
    from cuready.compat.query import Question

    known = capabilities(snapshot)
    return Question(
        driver=driver_version(snapshot),
        capability=min(known.values()) if known else None,
        python=python_tag(snapshot),
        platform=platform_tag(snapshot),
    )


def best_build(snapshot: Snapshot, package: str, *, keep: str | None = None) -> Judged | None:
    """The newest build that runs here; with ``keep`` a build of that very release if one fits."""
    from cuready.compat.query import judge

    fitting = [item for item in judge(package, question_of(snapshot)) if item.answer.ok]
    same = [item for item in fitting if keep and str(item.build.version) == keep]
    ranked = [item for item in (same or fitting) if not item.build.note] or same or fitting
    return ranked[0] if ranked else None


def reinstall_fitting(
    snapshot: Snapshot, package: str = "torch", *, keep: str | None = None
) -> tuple[Fix, ...]:
    """Replace ``package`` by a build that runs here, in the installer that owns it."""
    installer = for_package(snapshot, package)
    best = best_build(snapshot, package, keep=keep)
    if best is None:
        return ()
    build = best.build
    if installer.is_conda and package == "torch":
        cuda = f"{build.cuda.major}.{build.cuda.minor}" if build.cuda else "12"
        specs = [f"pytorch-gpu=={build.version}", f"cuda-version={cuda}"]
        command = replace(installer)._conda_install(specs, reinstall=False, dependencies=True)
        note = f"a CUDA {cuda} build from conda-forge"
        return (Fix((command,), note=note),)
    command = installer.install(
        build.requirements, index_url=build.index_url, find_links=build.find_links, reinstall=True
    )
    detail = f"CUDA {build.cuda}" if build.cuda else "CUDA"
    note = f"{package} {build.version} for {detail}{_why_it_fits(snapshot)}"
    if installer.externally_managed:
        return (in_new_venv(installer, build.requirements, build.index_url, note),)
    return (Fix((command,), note=note),)


def _why_it_fits(snapshot: Snapshot) -> str:
    """What the build was chosen by: nothing is claimed of a driver or GPU that nobody saw."""
    seen = ["driver"] if driver_version(snapshot) else []
    seen += ["GPU"] if capabilities(snapshot) else []
    return f", which runs on this {' and '.join(seen)}" if seen else ""


def index_of(version: str) -> str | None:
    """PyTorch's own index of a build (``2.8.0+cu128``); None for what PyPI may have.

    https://pytorch.org/get-started/previous-versions/ has one index for each of these tags. Other
    local versions (flash-attn's ``+cu12torch2.8cxx11abiTRUE``) are no folder of it.
    """
    local = version.partition("+")[2]
    return f"https://download.pytorch.org/whl/{local}" if _TORCH_TAG.fullmatch(local) else None


def came_from(item: Distribution) -> tuple[str, str | None]:
    """The requirement that gives this very build again, and the index that has it (None: PyPI).

    What was installed from an address (PEP 610) comes from there. That of a repository does not
    say which tool fetches it, so only archives count.
    """
    url = item.direct_url or ""
    if url.startswith(("https://", "http://")) and url.partition("#")[0].endswith(_ARCHIVES):
        return f"{item.name} @ {url}", None
    return f"{item.name}=={item.version}", index_of(item.version)


def reinstall(snapshot: Snapshot, item: Distribution) -> str:
    """The command that puts the files of one distribution back, and touches nothing else."""
    owner = for_package(snapshot, item.name)
    requirement, index = came_from(item)
    if owner.is_conda or (index is None and " @ " not in requirement):
        # Nobody is known to have this build: that of PyPI is of the same release.
        requirement = f"{item.name}=={item.version.partition('+')[0]}"
    return owner.install([requirement], reinstall=True, dependencies=False, index_url=index)


def in_new_venv(
    installer: Installer, requirements: Iterable[str], index_url: str | None, note: str
) -> Fix:
    """The same install in a virtual environment, for a Python that the distribution manages."""
    venv = replace(installer, manager="pip", python=".venv/bin/python", externally_managed=False)
    create = join([installer.python, "-m", "venv", ".venv"], installer.system)
    install = venv.install(list(requirements), index_url=index_url)
    return Fix((create, install), note=f"this Python belongs to the distribution; {note}")


# --- the system's own packages -----------------------------------------------------------------

_FAMILIES = {
    "apt": ("debian", "ubuntu", "linuxmint", "pop"),
    "dnf": ("fedora", "rhel", "centos", "rocky", "almalinux", "amzn", "ol"),
    "zypper": ("suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed", "sles"),
    "pacman": ("arch", "manjaro", "endeavouros"),
}

_INSTALL = {
    "apt": ("apt-get", "install", "-y"),
    "dnf": ("dnf", "install", "-y"),
    "zypper": ("zypper", "--non-interactive", "install"),
    "pacman": ("pacman", "-S", "--needed", "--noconfirm"),
}


def system_manager(platform: Platform) -> str:
    """``apt``, ``dnf``, ``zypper`` or ``pacman`` of the distribution; ``apt`` when not known."""
    names = (platform.distro_id or "", *platform.distro_like)
    for manager, family in _FAMILIES.items():
        if any(name in family for name in names):
            return manager
    return "apt"


def system_command(platform: Platform, *arguments: str) -> str:
    """A command of the administrator's, with ``sudo`` where it is needed."""
    words = list(arguments) if platform.user_is_root else ["sudo", *arguments]
    return join(words)


def system_install(platform: Platform, packages: Mapping[str, Sequence[str]]) -> str:
    """Install ``packages`` (names for each package manager; ``apt``'s when one is missing)."""
    manager = system_manager(platform)
    names = packages.get(manager, packages["apt"])
    return system_command(platform, *_INSTALL[manager], *names)


@dataclass(frozen=True)
class SystemPackages:
    """What a distribution calls something. ``needs``: the repository that has it, if not its own.

    ``from_aur``: pacman cannot install it; it is built from the Arch User Repository.
    """

    names: tuple[str, ...]
    needs: str = ""
    from_aur: bool = False


@cache
def _system_packages() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(data_text("cuready.doctor", "data/system_packages.toml"))


def system_packages(purpose: str, platform: Platform, **values: object) -> SystemPackages:
    """The packages of ``purpose`` (a table of ``system_packages.toml``) in this distribution.

    ``values`` fill the braces of a name; where there is no row for a package manager, apt's is
    taken, as for a distribution that is not known.
    """
    rows = _system_packages()[purpose]
    row = rows.get(system_manager(platform), rows["apt"])
    names = tuple(name.format(**values) for name in row["packages"])
    needs = str(row.get("needs", "")).format(**values)
    return SystemPackages(names, needs, row.get("from") == "aur")


def install_packages(platform: Platform, packages: SystemPackages) -> tuple[str, ...]:
    """The commands that install ``packages``."""
    if packages.from_aur:
        clones = (f"git clone https://aur.archlinux.org/{name}.git" for name in packages.names)
        builds = (f"sh -c 'cd {name} && makepkg -si'" for name in packages.names)
        return tuple(word for pair in zip(clones, builds, strict=True) for word in pair)
    manager = system_manager(platform)
    return (system_command(platform, *_INSTALL[manager], *packages.names),)


def windows_driver() -> tuple[str, str]:
    """The pages of NVIDIA's driver for Windows, and of the program that installs it."""
    row = tomllib.loads(data_text("cuready.doctor", "data/windows_driver.toml"))
    return row["page"], row["app"]


def install_driver(
    snapshot: Snapshot, branch: int, *, flavour: str = "open", note: str = ""
) -> Fix:
    """Install a driver branch with the distribution's package manager, then reboot."""
    platform = snapshot.platform
    packages = system_packages(f"driver-{flavour}", platform, branch=branch)
    where = f"from {packages.needs}" if packages.needs else ""
    return Fix(
        (*install_packages(platform, packages), system_command(platform, "reboot")),
        note="; ".join(filter(None, (note, where))),
        needs_root=True,
        risk=Risk.HIGH,
    )
