"""Plans with what they must compute, as a manifest.json lists them."""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RELATIVE = "relative to the largest logit: "


@dataclass(frozen=True)
class Plan:
    """One plan of a manifest, and the folder that holds it."""

    folder: Path
    entry: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.entry["file"]).removesuffix(".xz").removesuffix(".plan")

    @property
    def short(self) -> str:
        return self.name.rsplit("/", maxsplit=1)[-1]

    @property
    def release(self) -> str:
        """``"10.6"``: the TensorRT that built it."""
        return ".".join(str(self.entry["built_by"]).split(".")[:2])

    def data(self) -> bytes:
        path = self.folder / self.entry["file"]
        return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()

    @property
    def has_expected(self) -> bool:
        return bool(self.entry.get("expected"))

    def arrays(self, prefix: str) -> dict[str, np.ndarray[Any, Any]]:
        with np.load(self.folder / self.entry["expected"]) as archive:
            return {
                key.removeprefix(prefix): archive[key]
                for key in archive.files
                if key.startswith(prefix)
            }

    @property
    def inputs(self) -> dict[str, np.ndarray[Any, Any]]:
        return self.arrays("in.")

    @property
    def outputs(self) -> dict[str, np.ndarray[Any, Any]]:
        return self.arrays("out.")

    def check(self, got: dict[str, Any]) -> None:
        """Assert that ``got`` equals the expected outputs within the manifest's tolerance."""
        expected = self.outputs
        assert set(got) == set(expected)
        for name, want in expected.items():
            have = np.asarray(got[name])
            if have.dtype != want.dtype and have.dtype.itemsize == want.dtype.itemsize:
                have = have.view(want.dtype)  # bfloat16 where ml_dtypes is installed
            assert have.shape == want.shape, f"{self.name}: {name} has shape {have.shape}"
            assert have.dtype == want.dtype, f"{self.name}: {name} has type {have.dtype}"
            worst, limit = self._distance(have, want)
            assert worst <= limit, f"{self.name}: {name} is off by {worst} (limit {limit})"

    def _distance(
        self, have: np.ndarray[Any, Any], want: np.ndarray[Any, Any]
    ) -> tuple[float, float]:
        tolerance = self.entry["tolerance"]
        if have.size == 0:
            return 0.0, 0.0
        if tolerance == 0:
            return float(not np.array_equal(have, want)), 0.0
        difference = np.abs(have.astype(np.float64) - want.astype(np.float64))
        if isinstance(tolerance, str):
            assert tolerance.startswith(RELATIVE), tolerance
            logits = np.abs(want.astype(np.float64)).max()
            return float(difference.max() / logits), float(tolerance.removeprefix(RELATIVE))
        scale = np.maximum(1.0, np.abs(want.astype(np.float64)))
        return float((difference / scale).max()), float(tolerance)


def read_plans(folders: Sequence[Path]) -> list[Plan]:
    """The plans of all manifests; of two with one name, the first folder's."""
    found: dict[str, Plan] = {}
    for folder in folders:
        for entry in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["plans"]:
            plan = Plan(folder, entry)
            if (folder / entry["file"]).is_file():
                found.setdefault(plan.name, plan)
    return list(found.values())
