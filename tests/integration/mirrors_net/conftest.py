"""Fixtures for download tests: a farm of mirrors, a cache, a fetcher."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.mirrors_net.net_support import QUICK
from tests.integration.mirrors_net.servers import MirrorFarm

from cuready.mirrors.net import Cache, Fetcher, HttpClient


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests must not decide them."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def farm() -> Iterator[MirrorFarm]:
    with MirrorFarm() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def fetcher(farm: MirrorFarm, cache: Cache) -> Iterator[Fetcher]:
    with HttpClient(QUICK, verify=farm.trust()) as client:
        yield Fetcher(client, cache, rng=random.Random(1))


@pytest.fixture
def make_fetcher(farm: MirrorFarm, cache: Cache) -> Iterator[Callable[..., Fetcher]]:
    clients: list[HttpClient] = []

    def make(**changes: Any) -> Fetcher:
        client = HttpClient(replace(QUICK, **changes), verify=farm.trust())
        clients.append(client)
        return Fetcher(client, cache, rng=random.Random(1))

    yield make
    for client in clients:
        client.close()
