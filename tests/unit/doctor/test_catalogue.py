"""The catalogue is complete, and every entry says all that its page needs."""

from __future__ import annotations

import re

import pytest

from cuready.doctor import catalogue
from cuready.doctor.registry import all_checks


def test_catalogue_has_the_76_ids_and_those_of_other_systems_sources_and_plugins() -> None:
    groups = ["DRV", "CTR", "WSL", "VIS", "MIG", "PY", "LIB", "BLD", "TRT"]
    assert sum(catalogue.GROUPS[group][1] for group in groups) == 76
    assert set(catalogue.GROUPS) - set(groups) == catalogue.QUIET_GROUPS
    assert list(catalogue.entries()) == list(catalogue.IDS)


@pytest.mark.parametrize("check_id", catalogue.IDS)
def test_entry_is_whole(check_id: str) -> None:
    entry = catalogue.entry(check_id)
    for text in (entry.title, entry.symptom, entry.cause, entry.check, entry.fix):
        assert len(text) > 10
    assert not entry.title.endswith(".")
    assert entry.links
    for link in entry.links:
        assert re.match(r"^https://[a-z0-9.-]+/\S+$", link), link
        if "github.com" in link:
            pattern = (
                r"^https://github\.com/[\w.-]+/[\w.-]+((/issues|/pull)/\d+|/blob/\S+|#[\w-]+)?$"
            )
            assert re.match(pattern, link), link
    assert set(entry.disproved_by) <= {"cuda", "nvml"}


def test_every_check_has_an_entry_and_says_what_it_looks_for() -> None:
    for check in all_checks():
        assert check.id in catalogue.IDS
        assert check.function.__doc__, check.id


@pytest.mark.parametrize(
    ("typed", "meant"), [("DRV1", "DRV01"), ("drv01", "DRV01"), ("PYO1", "PY01"), ("zzz", None)]
)
def test_suggestion_for_a_misspelt_id(typed: str, meant: str | None) -> None:
    assert catalogue.suggest(typed) == meant
