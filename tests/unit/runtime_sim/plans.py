"""Writes plans for the simulated TensorRT: the header of a real plan, then JSON.

A plan says which tensors the engine has and what it computes; cpp/tests/sim/README.md has the list
of operations. Functions return bytes unless they say otherwise. ``version`` is the TensorRT that "built" the plan.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

HEADER_BYTES = 32
Shape = Sequence[int]
Tensor = Mapping[str, Any]


def header(size: int, version: str) -> bytes:
    """The 32 bytes before a plan of ``size`` bytes (header included), as 10.6 writes them."""
    parts = [int(part) for part in version.split(".")]
    parts += [0] * (4 - len(parts))
    return struct.pack("<4sIQQ4B4s", b"ftrt", 0, 2, size, *parts, b"rtrt")


def plan(
    tensors: Iterable[Tensor],
    operations: Iterable[Mapping[str, Any]],
    *,
    version: str = "10.6.0",
    **more: Any,
) -> bytes:
    """A plan from its parts; ``more``: further keys of the JSON (profiles, weights, plugins...)."""
    body = {"name": "simulated", "tensors": list(tensors), "operations": list(operations), **more}
    text = json.dumps(body, ensure_ascii=False).encode()
    return header(HEADER_BYTES + len(text), version) + text


def tensor(
    name: str,
    mode: str,
    shape: Shape,
    dtype: str = "float32",
    *,
    profiles: Sequence[tuple[Shape, Shape, Shape]] = (),
    **more: Any,
) -> dict[str, Any]:
    """One tensor; each profile is (min, opt, max). ``more``: location, format, shape_tensor, ..."""
    bounds = [dict(zip(("min", "opt", "max"), map(list, one), strict=True)) for one in profiles]
    entry: dict[str, Any] = {"name": name, "mode": mode, "shape": list(shape), "dtype": dtype}
    if bounds:
        entry["profiles"] = bounds
    return {**entry, **more}


def affine(
    *,
    version: str = "10.6.0",
    shape: Shape = (-1, 4),
    dtype: str = "float32",
    scale: float = 2,
    bias: float = 1,
    profiles: Sequence[tuple[Shape, Shape, Shape]] = (((1, 4), (4, 4), (8, 4)),),
    names: tuple[str, str] = ("x", "y"),
    **more: Any,
) -> bytes:
    """y = scale * x + bias, with a dynamic batch of 1 to 8 unless said otherwise."""
    dynamic = any(extent < 0 for extent in shape)
    bounds = profiles if dynamic else ()
    return plan(
        [
            tensor(names[0], "input", shape, dtype, profiles=bounds),
            tensor(names[1], "output", shape, dtype),
        ],
        [
            {
                "kind": "affine",
                "inputs": [names[0]],
                "outputs": [names[1]],
                "scale": scale,
                "bias": bias,
            }
        ],
        version=version,
        profiles=max(1, len(bounds)),
        **more,
    )


def two_profiles(*, version: str = "10.6.0", **more: Any) -> bytes:
    """y = 2x + 1; profile 0 takes batches 1 to 8, profile 1 takes 9 to 64."""
    bounds = (((1, 4), (4, 4), (8, 4)), ((9, 4), (32, 4), (64, 4)))
    return affine(version=version, profiles=bounds, **more)


def nonzero(*, version: str = "10.6.0", dtype: str = "int32", largest: int = 64) -> bytes:
    """Data-dependent output: indices of x > 0, [1, n]."""
    return plan(
        [
            tensor("x", "input", (-1,), profiles=[((1,), (8,), (largest,))]),
            tensor("indices", "output", (1, -1), dtype, data_dependent=True),
        ],
        [{"kind": "nonzero", "inputs": ["x"], "outputs": ["indices"]}],
        version=version,
    )


def reshape(*, version: str = "10.6.0", dtype: str = "int32", elements: int = 12) -> bytes:
    """Shape tensor on the host: y = -x, reshaped to the two values of ``shape``."""
    values = {"min_values": [1, 1], "opt_values": [3, 4], "max_values": [elements, elements]}
    shape = tensor("shape", "input", (2,), dtype, profiles=[((2,), (2,), (2,))],
                   location="host", shape_tensor=True)  # fmt: skip
    shape["profiles"][0].update(values)
    return plan(
        [
            tensor("x", "input", (elements,)),
            shape,
            tensor("y", "output", (-1, -1)),
        ],
        [{"kind": "reshape", "inputs": ["x", "shape"], "outputs": ["y"]}],
        version=version,
    )


def vectorised(
    *, version: str = "10.6.0", format: str = "chw4", dtype: str = "float16", channels: int = 3
) -> bytes:
    """y = x, with x in a packed layout ("chw4", "hwc8", "chw32") and y linear: [1, C, 2, 2]."""
    shape = (1, channels, 2, 2)
    return plan(
        [
            tensor("x", "input", shape, dtype, format=format),
            tensor("y", "output", shape, dtype),
        ],
        [{"kind": "reformat", "inputs": ["x"], "outputs": ["y"]}],
        version=version,
    )


def copies(count: int, *, version: str = "10.6.0", dtype: str = "float32") -> bytes:
    """``count`` inputs x0... and as many outputs y0..., each a copy of 16 elements."""
    tensors = [tensor(f"x{i}", "input", (16,), dtype) for i in range(count)]
    tensors += [tensor(f"y{i}", "output", (16,), dtype) for i in range(count)]
    work = [{"kind": "copy", "inputs": [f"x{i}"], "outputs": [f"y{i}"]} for i in range(count)]
    return plan(tensors, work, version=version)


def slow(microseconds: int, *, version: str = "10.6.0", **more: Any) -> bytes:
    """y = 2x + 1 over 16 floats; each run takes ``microseconds`` on the stream."""
    return plan(
        [tensor("x", "input", (16,)), tensor("y", "output", (16,))],
        [
            {"kind": "sleep", "microseconds": microseconds},
            {"kind": "affine", "inputs": ["x"], "outputs": ["y"], "scale": 2, "bias": 1},
        ],
        version=version,
        **more,
    )


def refittable(*, version: str = "10.6.0", stripped: bool = False) -> bytes:
    """y = k * x + c over 4 floats with named weights "k" and "c" (2 and 1 as built)."""
    weights = [
        {"name": name, "values": [value], "stripped": stripped}
        for name, value in (("k", 2.0), ("c", 1.0))
    ]
    return plan(
        [tensor("x", "input", (4,)), tensor("y", "output", (4,))],
        [{"kind": "affine", "inputs": ["x"], "outputs": ["y"], "scale": "k", "bias": "c"}],
        version=version,
        refittable=True,
        weights=weights,
    )


def with_plugin(
    name: str, *, plugin_version: str = "1", namespace: str = "", version: str = "10.6.0"
) -> bytes:
    """y = 2x + 1, and a plugin creator that must be registered before the plan loads."""
    needs = [{"name": name, "version": plugin_version, "namespace": namespace}]
    return affine(version=version, plugins=needs)


def aliased(*, version: str = "10.15.1") -> bytes:
    """In place: output y has the memory of input x; y = x + 1 over 4 floats."""
    return plan(
        [tensor("x", "input", (4,)), tensor("y", "output", (4,), alias_of="x")],
        [{"kind": "affine", "inputs": ["x"], "outputs": ["y"], "scale": 1, "bias": 1}],
        version=version,
    )


def for_selftest(folder: Path, *, bias: float = 1.0) -> None:
    """What $CUREADY_SELFTEST_PLANS may name: a plan and the answers of y = 2x + 1. Another ``bias``
    makes the plan compute something else than its answers say."""
    folder.mkdir(parents=True)
    (folder / "a.plan").write_bytes(affine(bias=bias))
    x = [float(i) for i in range(8)]
    answers = {
        "inputs": {"x": {"shape": [2, 4], "values": x}},
        "outputs": {"y": {"shape": [2, 4], "values": [2 * value + 1 for value in x]}},
    }
    (folder / "a.json").write_text(json.dumps(answers))
    row = {"file": "a.plan", "expected": "a.json", "built_by": "10.6.0", "tolerance": 0,
           "minimum_compute_capability": "8.0", "about": "y = 2x + 1"}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"plans": [row]}))
