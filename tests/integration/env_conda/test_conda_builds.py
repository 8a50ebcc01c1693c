"""Which build a machine gets: driver, compute capability and glibc against conda-forge's builds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from env_support import QUICK, Serves
from gpu_channel import gpu_channel
from packaging.version import Version
from servers import MirrorFarm

from cuready.compat.capability import parse_capability
from cuready.env.conda import CondaOptions, CondaSession, solve_recipe
from cuready.env.recipe import Recipe, find
from cuready.env.target import Target, decide
from cuready.errors import EnvError, SolveError


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CondaSession]:
    """One engine and one channel for all questions."""
    with MirrorFarm() as farm:
        mirror = farm.add(Serves(gpu_channel()))
        cache = tmp_path_factory.mktemp("cache")
        options = CondaOptions(
            mirrors=(mirror.base,), only_mirrors=True, cache_dir=cache, net=QUICK
        )
        with CondaSession(options) as running:
            yield running


def machine(cuda: str | None, capability: str | None, glibc: str | None) -> Target:
    return Target(
        subdir="linux-64",
        platform_tag="linux_x86_64",
        cuda=Version(cuda) if cuda else None,
        capability=parse_capability(capability) if capability else None,
        glibc=Version(glibc) if glibc else None,
    )


def recipe(name: str, **changes: object) -> Recipe:
    return replace(find(name), channels=("made-up",), **changes)


def build_of(session: CondaSession, wanted: Recipe, target: Target, name: str = "pytorch") -> str:
    solution = solve_recipe(wanted, target, decide(wanted, target), session=session)
    record = solution.get(name)
    assert record is not None
    return record.build.split("_")[0]


@pytest.mark.parametrize(
    ("cuda", "capability", "glibc", "expected"),
    [
        ("13.0", "8.6", "2.35", "cuda130"),  # RTX 30
        ("13.0", "9.0", "2.28", "cuda130"),  # H100, the oldest glibc that fits
        ("13.1", "12.0", "2.39", "cuda130"),  # RTX 50
        ("13.0", "7.5", "2.31", "cuda130"),  # T4, the oldest GPU that fits
        ("13.0", None, "2.35", "cuda130"),  # a GPU that nobody could read
        ("13.0", "7.0", "2.31", "cuda129"),  # V100 under a new driver
        ("13.0", "6.1", "2.35", "cuda129"),  # GTX 10xx
        ("13.0", "6.0", "2.35", "cuda129"),  # P100
        ("13.0", "5.2", "2.35", "cuda129"),  # Maxwell
        ("13.0", "8.6", "2.17", "cuda129"),  # CentOS 7 under a new driver
        ("13.0", "8.6", "2.27", "cuda129"),  # Ubuntu 18.04
        ("13.0", "9.0", None, "cuda129"),  # glibc not known: the oldest is assumed
        ("12.9", "8.9", "2.35", "cuda129"),
        ("12.4", "9.0", "2.35", "cuda129"),  # minor version compatibility
        ("12.2", "8.0", "2.31", "cuda129"),
        ("12.0", "7.0", "2.17", "cuda129"),
    ],
)
def test_each_machine_gets_the_build_that_runs_on_it(
    session: CondaSession, cuda: str, capability: str | None, glibc: str | None, expected: str
) -> None:
    target = machine(cuda, capability, glibc)
    assert build_of(session, recipe("pytorch"), target) == expected
    assert build_of(session, recipe("pytorch"), target, "torchvision") == expected


@pytest.mark.parametrize(
    ("cuda", "capability", "glibc", "said"),
    [
        ("11.8", "8.6", "2.35", "needs a driver that speaks CUDA 12"),
        ("11.4", "7.0", "2.31", "needs a driver that speaks CUDA 12"),
        (None, None, "2.35", "no NVIDIA driver"),
        (None, "8.6", "2.35", "no NVIDIA driver"),
        ("12.9", "3.7", "2.35", "before Maxwell"),
    ],
)
def test_each_machine_that_cannot_work_is_told_why(
    session: CondaSession, cuda: str | None, capability: str | None, glibc: str, said: str
) -> None:
    with pytest.raises(EnvError, match=said):
        build_of(session, recipe("pytorch"), machine(cuda, capability, glibc))


@pytest.mark.parametrize("cuda", [None, "11.4", "12.2", "13.0"])
def test_a_cpu_recipe_gets_the_cpu_build_everywhere(
    session: CondaSession, cuda: str | None
) -> None:
    assert build_of(session, recipe("pytorch-cpu"), machine(cuda, "8.6", "2.35")) == "cpu"


@pytest.mark.parametrize("cuda", [None, "11.4"])
def test_a_silent_cpu_build_is_refused_before_anything_is_fetched(
    session: CondaSession, cuda: str | None
) -> None:
    """As people write it: no pytorch-gpu, no least driver. The solver takes the CPU build."""
    naive = recipe("pytorch", specs=("pytorch",), gpu_require=False, min_driver_cuda=None)
    with pytest.raises(EnvError, match=r"only 2\.13\.0 cpu_mkl") as caught:
        build_of(session, naive, machine(cuda, "8.6", "2.35"))
    assert "__cuda" in " ".join(caught.value.messages)
    assert "--cuda" in caught.value.hint
    assert not list((session.cache.root / "sha256").rglob("*.conda"))


def test_an_older_release_is_solved_with_its_own_cuda(session: CondaSession) -> None:
    older = recipe("pytorch", specs=("pytorch-gpu 2.7.*",))
    assert build_of(session, older, machine("12.2", "8.0", "2.35")) == "cuda126"


def test_what_cannot_be_solved_gives_the_solvers_reasons(session: CondaSession) -> None:
    impossible = recipe("pytorch", specs=("pytorch-gpu", "cuda-version 11.8.*"))
    with pytest.raises(SolveError) as caught:
        build_of(session, impossible, machine("13.0", "8.6", "2.35"))
    said = "\n".join(caught.value.messages)
    assert "cuda-version" in said and "pytorch" in said


def test_a_name_that_is_not_there_brings_one_that_is(session: CondaSession) -> None:
    wrong = recipe("pytorch", specs=("pytorch-gpuu",), expect={})
    with pytest.raises(SolveError) as caught:
        build_of(session, wrong, machine("13.0", "8.6", "2.35"))
    assert "did you mean pytorch-gpu?" in caught.value.hint


def test_a_spec_that_is_no_spec_is_named(session: CondaSession) -> None:
    wrong = recipe("pytorch", specs=("pytorch >=2.1,,<",), expect={})
    with pytest.raises(EnvError, match="not a conda spec"):
        build_of(session, wrong, machine("13.0", "8.6", "2.35"))
