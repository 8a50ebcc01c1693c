"""Fixtures for conda environments: a channel behind loopback mirrors, a session, trees of digests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "mirrors_net")]  # servers.py is shared

from channels import Package, channel, pure, python, tool  # noqa: E402
from env_support import QUICK, Channel, Serves, tree_of  # noqa: E402
from servers import MirrorFarm  # noqa: E402

from cuready.env.conda import CondaOptions, CondaSession  # noqa: E402


@pytest.fixture(autouse=True)
def _own_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither proxies nor mirrors of whoever runs the tests may decide them."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("CONDA", "MAMBA", "CUREADY")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    monkeypatch.setenv("TEST_PYTHON", sys.executable)


@pytest.fixture
def farm() -> Iterator[MirrorFarm]:
    with MirrorFarm() as running:
        yield running


@pytest.fixture
def serve(farm: MirrorFarm) -> Callable[..., Channel]:
    """A running channel of these packages; the usual three when none are named."""

    def make(*packages: Package, **fields: Any) -> Channel:
        files = channel(*(packages or (python(), tool(), pure())), **fields)
        return Channel(farm.add(Serves(files)), files)

    return make


@pytest.fixture
def open_session(tmp_path: Path) -> Iterator[Callable[..., CondaSession]]:
    """Sessions that know only the given mirrors, on one cache."""
    sessions: list[CondaSession] = []

    def make(*mirrors: str, **fields: Any) -> CondaSession:
        fields.setdefault("cache_dir", tmp_path / "cache")
        fields.setdefault("net", QUICK)
        options = CondaOptions(mirrors=mirrors, only_mirrors=True, **fields)
        sessions.append(CondaSession(options))
        return sessions[-1]

    yield make
    for session in sessions:
        session.__exit__(None, None, None)


@pytest.fixture
def tree() -> Callable[[Path], dict[str, str]]:
    """``tree_of``, for tests that take fixtures anyway."""
    return tree_of
