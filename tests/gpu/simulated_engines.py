"""Writes plans for the simulated TensorRT under the names of the real ones, with a manifest.

usage: simulated_engines.py FOLDER

With them the GPU suite and the benchmarks run on a machine without a GPU, so that what runs on the
rare machine that has one has been tried before.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
from runtime_sim import plans

Arrays = dict[str, "np.ndarray[Any, Any]"]


def multi_io(version: str) -> bytes:
    tensors = [plans.tensor(f"x{i}", "input", (16,)) for i in range(4)]
    tensors += [plans.tensor(f"y{i}", "output", (16,)) for i in range(4)]
    work = [
        {"kind": "affine", "inputs": [f"x{i}"], "outputs": [f"y{i}"], "scale": i + 1, "bias": 0}
        for i in range(4)
    ]
    return plans.plan(tensors, work, version=version)


def cases(version: str) -> dict[str, tuple[bytes, Arrays, Arrays]]:
    x = np.arange(16, dtype=np.float32) - 7
    batch = x.reshape(4, 4)
    bf16 = (x.view(np.uint32) >> 16).astype(np.uint16)
    many = {f"x{i}": x + i for i in range(64)}
    shape = {"x": np.arange(12, dtype=np.float32), "shape": np.array([2, 6], np.int32)}
    found = np.nonzero(x > 0)[0].astype(np.int32)[None, :]
    made: dict[str, tuple[bytes, Arrays, Arrays]] = {
        "affine": (plans.affine(version=version), {"x": batch}, {"y": 2 * batch + 1}),
        "mlp": (plans.two_profiles(version=version), {"x": batch}, {"y": 2 * batch + 1}),
        "cnn": (plans.slow(40, version=version), {"x": x}, {"y": 2 * x + 1}),
        "resnet50_fp16": (plans.slow(600, version=version), {"x": x}, {"y": 2 * x + 1}),
        "busy": (plans.slow(2000, version=version), {}, {}),
        "negate_scalar": (
            plans.affine(version=version, shape=(1,), scale=-1, bias=0),
            {"x": x[:1]},
            {"y": -x[:1]},
        ),
        "multi_io": (
            multi_io(version),
            {f"x{i}": x for i in range(4)},
            {f"y{i}": (i + 1) * x for i in range(4)},
        ),
        "wide": (
            plans.copies(64, version=version),
            many,
            {f"y{i}": x + i for i in range(64)},
        ),
        "nonzero": (plans.nonzero(version=version), {"x": x}, {"indices": found}),
        "reshape": (plans.reshape(version=version), shape, {"y": -shape["x"].reshape(2, 6)}),
        "mlp_refit": (plans.refittable(version=version), {"x": x[:4]}, {"y": 2 * x[:4] + 1}),
    }
    if not version.startswith("8."):
        made["bf16_double"] = (
            plans.affine(version=version, shape=(16,), dtype="bfloat16", scale=2, bias=0),
            {"x": bf16},
            {"y": ((2 * x).view(np.uint32) >> 16).astype(np.uint16)},
        )
    return made


def write(folder: Path) -> None:
    entries = []
    for release, version in (("8.6", "8.6.0"), ("10.6", "10.6.0")):
        for name, (data, inputs, outputs) in cases(version).items():
            plan = folder / release / f"{name}.plan"
            plan.parent.mkdir(parents=True, exist_ok=True)
            plan.write_bytes(data)
            entry: dict[str, Any] = {
                "file": f"{release}/{name}.plan",
                "built_by": version,
                "tolerance": 0,
            }
            if outputs:
                arrays = {f"in.{key}": value for key, value in inputs.items()}
                arrays |= {f"out.{key}": value for key, value in outputs.items()}
                entry["expected"] = f"expected/{release}/{name}.npz"
                target = folder / entry["expected"]
                target.parent.mkdir(parents=True, exist_ok=True)
                np.savez(target, **arrays)  # type: ignore[arg-type]
            entries.append(entry)
    (folder / "manifest.json").write_text(json.dumps({"plans": entries}), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
