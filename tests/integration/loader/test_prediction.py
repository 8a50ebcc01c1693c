"""The predicted text is the loader's own, word for word, in every environment of ``broken``."""

from __future__ import annotations

from pathlib import Path

import pytest

from .broken import HEALTHY, SCENARIOS
from .workshop import Workshop, predicted, really


@pytest.mark.parametrize("name", SCENARIOS)
def test_prediction_equals_what_the_loader_says(name: str, tmp_path: Path) -> None:
    case = SCENARIOS[name](Workshop(tmp_path))
    answer = really(case)
    assert (answer is None) == (name in HEALTHY), (
        f"the environment is not what it should be: {answer}"
    )
    assert predicted(case) == answer


def test_there_are_enough_broken_environments() -> None:
    assert len(SCENARIOS.keys() - HEALTHY) >= 50
