"""A machine of its own for every test: no file and no variable of the real one is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cuready.mirrors import catalogue
from cuready.mirrors.catalogue import Catalogue, Mirror
from cuready.mirrors.journal import Journal
from cuready.mirrors.locations import Machine

DATA = Path(__file__).parents[2] / "data" / "mirrors"
HIDDEN = ("CONDA", "MAMBA", "PIP_", "UV_", "PIXI_", "RATTLER_", "XDG_", "VIRTUAL_ENV")


@pytest.fixture
def known() -> Catalogue:
    """The shipped catalogue, without anybody's own mirrors."""
    return catalogue.load(Path("/nonexistent/mirrors.toml"))


@pytest.fixture
def tuna(known: Catalogue) -> Mirror:
    return known.get("tuna")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A Linux machine below ``tmp_path``."""
    home, root = tmp_path / "home", tmp_path / "root"
    home.mkdir()
    root.mkdir()
    return Machine(home, {}, "linux", root=root)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for the command line, which reads the real environment."""
    for name in list(os.environ):
        if name.startswith(HIDDEN):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "xdg"))
    monkeypatch.chdir(folder)
    return folder
