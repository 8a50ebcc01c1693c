"""The Qt window, off screen: results reach it, and what it draws is the engine's output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.network


@pytest.fixture
def offscreen(simulated: dict[str, str], pyside: Path) -> dict[str, str]:
    return {
        **simulated,
        "PYTHONPATH": os.pathsep.join([simulated["PYTHONPATH"], str(pyside)]),
        "QT_QPA_PLATFORM": "offscreen",
    }


@pytest.fixture
def live(examples: Path) -> list[str]:
    return [sys.executable, str(examples / "qt_live" / "live.py")]


def colours(picture: Path, environment: dict[str, str]) -> dict[str, int]:
    """How many pixels of a picture have the curve's colour, and how many its background."""
    program = (
        "import sys\n"
        "from PySide6.QtGui import QImage\n"
        "image = QImage(sys.argv[1])\n"
        "names = [image.pixelColor(x, y).name() for x in range(image.width())"
        " for y in range(image.height())]\n"
        "print(names.count('#76b900'), names.count('#10141a'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, picture],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    curve, background = map(int, done.stdout.split())
    return {"curve": curve, "background": background}


def test_the_window_shows_the_engine_s_output(
    run: Any, live: list[str], offscreen: dict[str, str], affine_plan: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "window.png"
    done = run([*live, affine_plan, "--frames", "20", "--screenshot", picture], offscreen, tmp_path)
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"20 results, \d+/s, from (\S+) to (\S+)\n", done.stdout)
    assert found, done.stdout
    low, high = map(float, found.groups())
    # A sine goes in and 2x + 1 comes out: between -1 and 3, and nearly as far as that.
    assert -1 <= low < -0.9
    assert 2.9 < high <= 3
    seen = colours(picture, offscreen)
    assert seen["curve"] > 200
    assert seen["background"] > 50_000


def test_an_engine_that_fails_is_said_in_the_window(
    run: Any, live: list[str], offscreen: dict[str, str], affine_plan: Path, tmp_path: Path
) -> None:
    faults = "IExecutionContext::enqueueV3@3=refuse:the vendor's own words"
    env = {**offscreen, "CUREADY_SIM_TRT_FAULTS": faults}
    done = run([*live, affine_plan, "--frames", "20"], env, tmp_path)
    assert done.returncode == 1
    assert "the vendor's own words" in done.stdout


def test_a_missing_plan_is_one_clear_line(
    run: Any, live: list[str], offscreen: dict[str, str], tmp_path: Path
) -> None:
    done = run([*live, "no-such.plan"], offscreen, tmp_path)
    assert done.returncode == 1
    assert "no-such.plan" in done.stderr
    assert "Traceback" not in done.stderr
