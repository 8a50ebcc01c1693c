"""The GPU suite: what it runs on is said by the environment, which ci/gpu.sh sets.

``CUREADY_GPU_LIBRARY``  the TensorRT library under test
``CUREADY_GPU_ENGINES``  folders with a manifest.json and plans, separated by ``:``
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gpu_plans import Plan, read_plans

import cuready.runtime as rt

HERE = Path(__file__).parent
SMALL_PLANS = HERE.parent / "data" / "engines"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


def _library() -> rt.Library:
    path = os.environ.get("CUREADY_GPU_LIBRARY")
    if not path:
        pytest.exit("tests/gpu needs CUREADY_GPU_LIBRARY: run ci/gpu.sh", returncode=4)
    return rt.load(path)


def _plans() -> list[Plan]:
    folders = os.environ.get("CUREADY_GPU_ENGINES") or str(SMALL_PLANS)
    return read_plans([Path(folder) for folder in folders.split(":")])


def _release(library: rt.Library) -> str:
    return f"{library.version.major}.{library.version.minor}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``own_plan``: plans that this library built; ``foreign_plan``: all others."""
    for fixture in ("own_plan", "foreign_plan"):
        if fixture in metafunc.fixturenames:
            library = _library()
            own = fixture == "own_plan"
            chosen = [
                plan
                for plan in _plans()
                if (plan.release == _release(library) and library.kind == "full") == own
            ]
            parameters = [
                pytest.param(plan, id=plan.name, marks=_missing_plugins(plan, library, own=own))
                for plan in chosen
            ]
            metafunc.parametrize(fixture, parameters)


def _missing_plugins(plan: Plan, library: rt.Library, *, own: bool) -> list[pytest.MarkDecorator]:
    needs = "plugin" in plan.name and own and not library.sibling_plugin_library
    return [pytest.mark.skip(reason="libnvinfer_plugin was not given")] if needs else []


@pytest.fixture(scope="session")
def library() -> rt.Library:
    return _library()


@pytest.fixture(scope="session")
def runtime(library: rt.Library) -> rt.Runtime:
    return rt.Runtime(library)


@pytest.fixture(scope="session")
def plans(library: rt.Library) -> dict[str, Plan]:
    """The plans of this library's own release, by short name ("mlp")."""
    return {plan.short: plan for plan in _plans() if plan.release == _release(library)}
