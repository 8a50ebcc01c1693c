"""No check crashes when facts are missing or odd: what it cannot answer it says."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from tests.zoo import exhibits
from tests.zoo.base import gpu_box

from cuready.doctor.engine import diagnose
from cuready.snapshot import Distribution, Snapshot

MACHINES = [item for kind in ("healthy", "fault", "near miss") for item in exhibits(kind)]
ODD = (
    "",
    "unknown",
    "12",
    "1.2.3.4.5.6",
    "not a version",
    "漢字",
    "../../..",
    "0x",
    "-1",
    "∞" * 50,
)


def damage(value: Any, dice: random.Random, odds: float) -> Any:
    """``value`` where each leaf is, with probability ``odds``, missing or an odd text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if dice.random() < odds and not dataclasses.is_dataclass(item):
                optional = field.default is None
                changes[field.name] = _odd(item, dice, optional)
            else:
                changes[field.name] = damage(item, dice, odds)
        return dataclasses.replace(value, **changes)
    if isinstance(value, tuple):
        return tuple(damage(item, dice, odds) for item in value if dice.random() > odds / 2)
    return value


def _odd(item: Any, dice: random.Random, optional: bool) -> Any:
    if optional and dice.random() < 0.5:
        return None
    if isinstance(item, str):
        return dice.choice(ODD)
    if isinstance(item, bool):
        return not item
    if isinstance(item, tuple):
        return ()
    if isinstance(item, int | float):
        return dice.choice((0, 1, 10**12))
    return item


@pytest.mark.parametrize("odds", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(40))
def test_damaged_machine_crashes_no_check(seed: int, odds: float) -> None:
    dice = random.Random(seed * 1000 + int(odds * 100))
    for item in dice.sample(MACHINES, 8):
        snapshot = damage(item.build(), dice, odds)
        assert isinstance(snapshot, Snapshot)
        for result in diagnose(snapshot).checks:
            assert not result.reason.startswith("the check itself failed"), (item.name, result)


@pytest.mark.parametrize(
    "wanted",
    [
        f"torch=={'9' * 5000}",
        f"torch>=99,<{'9' * 5000}",
        f"torch==2.8.0,!={'9' * 5000}",
        f"numpy>=99,<{'9' * 5000}",
    ],
)
def test_a_requirement_with_a_number_without_end_crashes_no_check(wanted: str) -> None:
    """Python's int() takes 4300 digits, and says so with a ValueError of its own."""
    box = gpu_box()
    names = ("torch-tensorrt", "torchvision", "torchaudio", "tensorflow", "onnxruntime-gpu")
    site = box.python.site_packages[0] if box.python.site_packages else "/site"
    odd = tuple(Distribution(name, "2.8.0", site, requires=(wanted,)) for name in names)
    python = dataclasses.replace(
        box.python,
        distributions=tuple(
            dataclasses.replace(item, requires=(wanted,)) for item in box.python.distributions
        )
        + odd,
    )
    for result in diagnose(dataclasses.replace(box, python=python)).checks:
        assert not result.reason.startswith("the check itself failed"), result
