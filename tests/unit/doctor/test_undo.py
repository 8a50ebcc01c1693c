"""An undo takes back what the repair changed, and nothing that somebody changed afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cuready.doctor.repair.journal import Record
from cuready.doctor.repair.programs import lacking_in
from cuready.doctor.repair.undo import Return, plan_return
from cuready.snapshot import CondaPackage, Distribution, Packaging, PythonEnv, Snapshot

SITE = "/env/lib/site-packages"
USER = "/home/user/.local/site-packages"


def dist(
    name: str,
    version: str,
    installer: str | None = "pip",
    url: str | None = None,
    location: str = SITE,
) -> Distribution:
    return Distribution(name, version, location, installer=installer, direct_url=url)


def environment(
    *distributions: Distribution,
    conda: Sequence[CondaPackage] = (),
    manager: str = "pip",
    available: tuple[str, ...] = (),
) -> Snapshot:
    python = PythonEnv(
        executable="/env/bin/python",
        prefix="/env",
        user_site=USER,
        kind="conda" if conda else "venv",
        manager=manager,
        distributions=distributions,
        conda_packages=tuple(conda),
    )
    return Snapshot(python=python, packaging=Packaging(available=available))


def record(before: Snapshot, after: Snapshot | None) -> Record:
    """What the journal remembers of a repair between the two."""
    started = Record(before=before.python.distributions, conda_before=before.python.conda_packages)
    return started.seen(after)


def commands(plan: Return) -> list[str]:
    return [step.command for step in plan.steps]


def test_what_came_goes_and_what_went_comes_back() -> None:
    before = environment(
        dist("torch", "2.5.1+cu121"),
        dist("numpy", "1.26.4"),
        dist("mine", "1.0", url="https://example.org/mine-1.0-py3-none-any.whl"),
        dist("same", "3"),
    )
    after = environment(dist("torch", "2.11.0"), dist("extra", "9"), dist("same", "3"))
    plan = plan_return(record(before, after), after)
    first, second, third, fourth = commands(plan)
    assert first == "/env/bin/python -m pip uninstall -y extra"
    assert second.endswith("'mine @ https://example.org/mine-1.0-py3-none-any.whl'")
    assert third.endswith("--no-deps numpy==1.26.4")
    assert "torch==2.5.1+cu121" in fourth
    assert "--index-url https://download.pytorch.org/whl/cu121" in fourth
    assert plan.left == ()


def test_what_was_installed_upgraded_or_removed_later_is_left_alone() -> None:
    before = environment(dist("numpy", "2.1.0"), dist("old", "1"), dist("going", "1"))
    after = environment(dist("numpy", "1.26.4"), dist("old", "1"), dist("going", "1"))
    now = environment(dist("numpy", "1.26.4"), dist("old", "2"), dist("later", "1"))
    plan = plan_return(record(before, after), now)
    assert [command.split()[-1] for command in commands(plan)] == ["numpy==2.1.0"]
    assert plan.left == ()


@pytest.mark.parametrize(
    ("before", "after", "now", "line"),
    [
        (("1",), ("2",), ("3",), "it 2 (1 before), and it was changed again since: 3 now"),
        (("1",), ("2",), (), "it 2 (1 before), and it was changed again since: not installed now"),
        (("1",), (), ("3",), "it not installed (1 before), and it was changed again since: 3 now"),
        ((), ("2",), ("3",), "it 2 (not installed before), and it was changed again since: 3 now"),
    ],
)
def test_what_was_changed_again_is_named_and_not_overwritten(
    before: tuple[str, ...], after: tuple[str, ...], now: tuple[str, ...], line: str
) -> None:
    states = [environment(*(dist("torch", item) for item in state)) for state in (before, after)]
    plan = plan_return(record(*states), environment(*(dist("torch", item) for item in now)))
    assert plan == Return((), (f"torch: the repair made {line}",))


def test_the_same_version_from_elsewhere_was_changed_again() -> None:
    before, after = environment(dist("torch", "1")), environment(dist("torch", "2"))
    now = environment(dist("torch", "2", url="editable+file:///project/torch"))
    plan = plan_return(record(before, after), now)
    assert plan.steps == () and len(plan.left) == 1


@pytest.mark.parametrize("now", [(dist("a", "1"),), (dist("A", "1"), dist("later", "1"))])
def test_what_is_back_already_needs_nothing(now: tuple[Distribution, ...]) -> None:
    before, after = environment(dist("a", "1")), environment(dist("a", "2"))
    assert plan_return(record(before, after), environment(*now)) == Return(())


@pytest.mark.parametrize(
    ("url", "requirement"),
    [
        ("editable+file:///project/mine", "-e file:///project/mine"),
        ("git+https://example.org/mine@0123", "'mine @ git+https://example.org/mine@0123'"),
        ("file:///gone/mine-1-py3-none-any.whl", "mine==1"),
    ],
)
def test_what_came_from_elsewhere_comes_back_from_there(url: str, requirement: str) -> None:
    before = environment(dist("mine", "1", url=url))
    (command,) = commands(plan_return(record(before, environment()), environment()))
    assert command.endswith(f"install --no-deps {requirement}")


def test_a_copy_in_the_users_site_comes_back_there() -> None:
    own = dist("torch", "2.5")
    before, after = environment(dist("torch", "2.4", location=USER), own), environment(own)
    (command,) = commands(plan_return(record(before, after), after))
    assert command == "/env/bin/python -m pip install --user --no-deps torch==2.4"


def test_a_copy_that_pip_would_put_elsewhere_is_named() -> None:
    before = environment(dist("torch", "2.4", location="/env2/site-packages"))
    plan = plan_return(record(before, environment()), environment())
    assert plan.steps == () and "/env2/site-packages" in plan.left[0]


def test_a_double_install_does_not_come_back() -> None:
    before, after = environment(dist("a", "1"), dist("a", "2")), environment(dist("a", "2"))
    plan = plan_return(record(before, after), after)
    assert plan == Return((), ("a: no installer can install it twice, as it was",))


def test_nobody_saw_how_a_killed_repair_ended_so_nothing_is_run() -> None:
    before, now = environment(dist("a", "1")), environment(dist("a", "2"), dist("later", "1"))
    plan = plan_return(record(before, None), now)
    assert [command.split()[-1] for command in commands(plan)] == ["later", "a==1"]
    assert all("cut short" in step.manual for step in plan.steps)


# --- uv -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available", "start"),
    [
        (("uv",), "uv pip "),
        (("pip", "uv"), "uv pip "),
        (("pip",), "/env/bin/python -m pip "),  # it reads and writes the same records
        (("apt-get",), "uv pip "),
    ],
)
def test_uvs_packages_come_and_go_with_what_is_here(available: tuple[str, ...], start: str) -> None:
    before = environment(dist("a", "1", "uv"))
    after = environment(dist("b", "1", "uv"), manager="uv", available=available)
    plan = plan_return(record(before, after), after)
    assert [command.startswith(start) for command in commands(plan)] == [True, True]


def test_what_pip_put_into_an_environment_without_pip_is_uvs_to_bring_back() -> None:
    before = environment(dist("a", "1", "pip"))
    now = environment(manager="uv", available=("uv",))
    (command,) = commands(plan_return(record(before, now), now))
    assert command == "uv pip install --python /env/bin/python --no-deps a==1"


def test_without_uv_the_way_back_is_left_to_the_user() -> None:
    before = environment(dist("a", "1", "uv"))
    now = environment(manager="uv", available=("apt-get",))
    plan = plan_return(record(before, now), now, lacking=lacking_in(now, lambda name: None))
    assert plan.steps[0].manual.startswith("uv is not on PATH")


# --- conda ----------------------------------------------------------------------------------------

CUDA = CondaPackage("pytorch", "2.5.1", "cuda126_py312_h1", "conda-forge")
CPU = CondaPackage("pytorch", "2.5.1", "cpu_py312_h2", "conda-forge")
EXTRA = CondaPackage("_openmp_mutex", "4.5", "h0", "conda-forge")
LATER = CondaPackage("later", "1", "h0", "conda-forge")
TORCH = dist("torch", "2.5.1", "conda")


def test_conda_packages_come_back_by_their_exact_builds_and_nothing_else_goes() -> None:
    """`conda remove` alone would also take what needs the package: the user's own too."""
    before = environment(TORCH, conda=[CUDA], manager="conda")
    after = environment(TORCH, conda=[CPU, EXTRA], manager="conda")
    now = environment(TORCH, conda=[CPU, EXTRA, LATER], manager="conda")
    plan = plan_return(record(before, after), now)
    assert commands(plan) == [
        "conda remove -y -p /env --force _openmp_mutex",
        "conda install -y -p /env --no-deps -c conda-forge pytorch=2.5.1=cuda126_py312_h1",
    ]
    assert plan.left == ()


def test_another_build_since_is_left_alone() -> None:
    before = environment(TORCH, conda=[CUDA], manager="conda")
    after = environment(TORCH, conda=[CPU], manager="conda")
    newer = CondaPackage("pytorch", "2.5.1", "cpu_py312_h3", "conda-forge")
    plan = plan_return(record(before, after), environment(conda=[newer], manager="conda"))
    assert plan.steps == ()
    assert plan.left == (
        "pytorch: the repair made it 2.5.1=cpu_py312_h2 (2.5.1=cuda126_py312_h1 before), "
        "and it was changed again since: 2.5.1=cpu_py312_h3 now",
    )


def test_pips_torch_over_condas_comes_back_with_pip() -> None:
    before = environment(dist("torch", "2.6.0"), conda=[CUDA], manager="conda")
    after = environment(TORCH, conda=[CUDA], manager="conda")
    plan = plan_return(record(before, after), after)
    assert commands(plan) == ["/env/bin/python -m pip install --no-deps torch==2.6.0"]


def test_pixi_brings_back_what_its_files_say() -> None:
    before = environment(TORCH, conda=[CUDA], manager="pixi")
    after = environment(TORCH, conda=[CPU], manager="pixi")
    (step,) = plan_return(record(before, after), after).steps
    assert step.command == "pixi install" and "manifest and lock" in step.manual
