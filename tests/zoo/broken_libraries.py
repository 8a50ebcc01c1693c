"""Faults of shared libraries and GPU code: the snapshots that their own tests are made of."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.loader.snapshots import CASES, MORE_FIRING, MORE_SILENT
from tests.zoo import fault, near_miss

from cuready.snapshot import Snapshot


def _exhibit(name: str, snapshot: Snapshot) -> Callable[[], Snapshot]:
    def build() -> Snapshot:
        return snapshot

    build.__name__ = name
    return build


for _id, (_fires, _silent) in CASES.items():
    fault(_id)(_exhibit(f"{_id.lower()}_fires", _fires))
    near_miss(_id)(_exhibit(f"{_id.lower()}_is_close", _silent))
for _number, (_id, _snapshot) in enumerate(MORE_FIRING):
    fault(_id)(_exhibit(f"{_id.lower()}_fires_too_{_number}", _snapshot))
for _number, (_id, _snapshot) in enumerate(MORE_SILENT):
    near_miss(_id)(_exhibit(f"{_id.lower()}_is_close_too_{_number}", _snapshot))
