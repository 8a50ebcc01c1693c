"""What the commands of `cuready env` share: options, the machine, settings, proofs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cuready._util import expand_user
from cuready.cli import _common
from cuready.cli._env_output import StatusLine
from cuready.errors import InputError

if TYPE_CHECKING:
    from cuready.doctor.engine import Diagnosis
    from cuready.env.create import Proofs
    from cuready.env.plan import LockFiles, Settings
    from cuready.env.prefix import State
    from cuready.env.recipe import Recipe
    from cuready.env.target import Target
    from cuready.snapshot import Snapshot

__all__ = [
    "lock_files",
    "place",
    "proofs_for",
    "read_machine",
    "target_options",
    "transport_options",
    "verify_options",
    "working",
]

F = TypeVar("F", bound=Callable[..., Any])
BACKENDS = ("rattler", "conda", "mamba", "micromamba")


def _all(*options: Callable[[F], F]) -> Callable[[F], F]:
    def apply(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return apply


def target_options() -> Callable[[F], F]:
    """Facts of the machine that the environment is for, in place of those of this one."""
    return _all(
        click.option(
            "--cuda",
            callback=_common.not_empty,
            metavar="VERSION",
            help="CUDA that the driver speaks; none: no GPU.",
        ),
        click.option(
            "--capability",
            callback=_common.not_empty,
            metavar="X.Y",
            help="Compute capability of the GPU.",
        ),
        click.option(
            "--glibc",
            callback=_common.not_empty,
            metavar="VERSION",
            help="glibc of the machine it is for.",
        ),
        click.option(
            "--platform",
            "subdir",
            callback=_common.not_empty,
            metavar="SUBDIR",
            help="Such as linux-64.",
        ),
    )


def transport_options() -> Callable[[F], F]:
    """Where files come from."""
    return _all(
        click.option(
            "--mirror",
            "mirrors",
            callback=_common.not_empty,
            multiple=True,
            metavar="NAME",
            help="Asked first (repeatable).",
        ),
        click.option("--offline", is_flag=True, help="Use the cache alone, never the network."),
        click.option(
            "--backend",
            type=click.Choice(BACKENDS),
            default="rattler",
            show_default=True,
            help="Who solves and links conda packages.",
        ),
    )


def verify_options() -> Callable[[F], F]:
    """Whether to prove the result."""
    return click.option("--no-verify", is_flag=True, help="Do not run the recipe's proofs.")


@contextlib.contextmanager
def working(mirrors: tuple[str, ...], offline: bool, backend: str) -> Iterator[Settings]:
    """Settings whose progress is drawn on the terminal, when there is one."""
    from cuready.env.plan import Settings
    from cuready.mirrors.net.progress import ProgressEvent, TerminalProgress

    with StatusLine() as status, TerminalProgress() as bars:

        def on_progress(event: ProgressEvent) -> None:
            status.clear()
            bars(event)

        yield Settings(mirrors, offline, backend, on_progress, status)


def read_machine() -> Snapshot:
    """This machine."""
    from cuready.probe import take

    with _common.progress("reading the machine …"):
        return take()


def proofs_for(snapshot: Snapshot, wanted: bool) -> Proofs:
    """How to verify on this machine: what cannot be proved here, and the doctor for what fails."""
    from cuready.env.create import Proofs
    from cuready.env.verify import unseen_gpu

    platform = snapshot.platform
    facts = {
        "system": platform.system,
        "machine": platform.machine,
        "distro": platform.distro_name,
        "libc": platform.libc_version,
        "kernel": platform.kernel_release,
        "driver": snapshot.driver.version or snapshot.nvml.driver_version,
        "gpus": [device.name for device in snapshot.nvml.devices or snapshot.cuda.devices],
    }
    return Proofs(wanted, unseen_gpu(snapshot), diagnose_prefix, facts)


def diagnose_prefix(prefix: Path) -> Diagnosis | None:
    """What the doctor finds in the environment at ``prefix``; None when it cannot be read."""
    from cuready.doctor.engine import diagnose
    from cuready.errors import CureadyError
    from cuready.probe import take

    try:
        return diagnose(take(prefix=str(prefix)))
    except CureadyError:
        return None


def target_for(
    snapshot: Snapshot,
    cuda: str | None,
    capability: str | None,
    glibc: str | None,
    subdir: str | None,
) -> Target:
    """The machine that the environment is for."""
    from cuready.env.target import target_of

    return target_of(snapshot, cuda=cuda, capability=capability, glibc=glibc, subdir=subdir)


def place(recipe: Recipe, name: str | None, prefix: str | None) -> tuple[str, Path]:
    """(name, absolute prefix) of a new environment. Raises InputError for a name that is none."""
    from cuready.env.prefix import check_path, default_prefix
    from cuready.env.registry import name_problem

    chosen = expand_user(prefix).resolve() if prefix else None
    title = name or (chosen.name if chosen else recipe.name)
    if not name and name_problem(title):  # a folder may be called anything
        title = re.sub(r"[^\w.+-]+", "-", title).strip(".+-_")[:64] or recipe.name
    if problem := name_problem(title):
        raise InputError(f"{title!r} cannot be an environment's name: {problem}")
    path = chosen or default_prefix(title)
    check_path(path)
    return title, path


def lock_files(recipe: Recipe, name: str, folder: str | None) -> LockFiles:
    """The locks that ``--locked`` means: of ``folder``, beside the recipe, or those kept of the
    last environment of that name. Raises InputError when there are none."""
    from cuready.env.plan import LockFiles, kept_locks
    from cuready.env.recipe import shipped_dir

    choices = []
    if folder is not None:
        choices.append(LockFiles.beside(Path(folder), recipe.name))
    else:
        here = Path(recipe.path).resolve().parent
        if here != shipped_dir().resolve():
            choices.append(LockFiles.beside(here, recipe.name))
        choices += [LockFiles.beside(Path.cwd(), recipe.name), kept_locks(name)]
    for files in choices:
        needed = [files.conda] if recipe.uses_conda else []
        needed += [files.pip] if recipe.pip else []
        if all(path.is_file() for path in needed):
            return files
    places = ", ".join(str(files.pip.parent) for files in choices)
    raise InputError(
        f"no lock of {recipe.name} in {places}", hint=f"`cuready env lock {recipe.name}` makes one"
    )


def held_and_settled(prefix: Path) -> contextlib.ExitStack:
    """Hold ``prefix`` against other processes; what a killed run left there is settled first."""
    from cuready.env.create import settle
    from cuready.env.prefix import held

    stack = contextlib.ExitStack()
    stack.enter_context(held(prefix))
    try:
        told = settle(prefix)
    except BaseException:
        stack.close()
        raise
    if told:
        click.echo(f"{prefix}: {told}", err=True)
    return stack


def found_state(what: str, *, in_place: bool = False) -> tuple[Path, State]:
    """The environment that a name or path means. Raises InputError, EnvError.

    ``in_place``: it is about to be run or changed, so it must be where it was made.
    """
    from cuready.env.maintain import state_of
    from cuready.env.moved import require_in_place
    from cuready.env.registry import find

    entry = find(what)
    state = state_of(entry.prefix)
    if in_place:
        require_in_place(entry.prefix, state)
    return entry.prefix, state
