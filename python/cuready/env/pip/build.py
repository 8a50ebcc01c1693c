"""Source distributions into wheels, for recipes that allow them; each is built once a Python."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

from cuready._util import one_line
from cuready.env.pip.install import Wheel
from cuready.env.pip.model import Pin
from cuready.env.pip.uv import run_uv
from cuready.errors import EnvError
from cuready.mirrors.net.cache import Cache, hash_file

__all__ = ["built_wheel"]


def built_wheel(
    pin: Pin,
    source: Path,
    cache: Cache,
    *,
    python: Path | None,
    index: str = "",
    offline: bool = False,
) -> Wheel:
    """The wheel of a source distribution, from an earlier build of the same bytes if there is one.

    A build runs the package's own code, and its tools come from the index, so it stands before the
    link phase. Raises EnvError with the end of what the build printed.
    """
    if python is None:
        raise EnvError(
            f"{pin.file_name} is source code: it can only be built where its Python is",
            hint="take a version that has a wheel, or a recipe without [conda]",
        )
    tag = hash_file(python.resolve())[:16]
    folder = cache.root.parent / "built" / f"{pin.sha256}-{tag}"
    ready = sorted(folder.glob("*.whl"))
    if not ready:
        if offline:
            raise EnvError(
                f"{pin.file_name} has not been built here yet", hint="run it without --offline"
            )
        _build(pin, source, folder, python, index)
        ready = sorted(folder.glob("*.whl"))
    named = dataclasses.replace(pin, url=ready[0].as_uri())
    return Wheel(named, ready[0])


def _build(pin: Pin, source: Path, folder: Path, python: Path, index: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        work = Path(name)
        shutil.copyfile(source, work / pin.file_name)  # the name says which format it is
        tools = ("--default-index", index) if index else ()
        arguments = ["build", "--wheel", "--python", str(python), "--out-dir", "dist", *tools]
        done = run_uv([*arguments, pin.file_name], cwd=work)
        made = sorted((work / "dist").glob("*.whl"))
        if done.returncode != 0 or len(made) != 1:
            tail = [one_line(line) for line in done.stderr.strip().splitlines()[-8:]]
            raise EnvError(f"{pin.file_name} cannot be built", messages=tail)
        if not folder.is_dir():
            for extra in (work / "dist").iterdir():
                if extra.suffix != ".whl":
                    extra.unlink()
            (work / "dist").rename(folder)
