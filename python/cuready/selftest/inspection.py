"""An engine from the inside: tensors, profiles, and its layers as a table or a graph."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cuready.runtime as rt

__all__ = ["Layer", "describe", "layers_of", "table"]


@dataclass
class Layer:
    """One layer of the engine; ``inputs`` and ``outputs`` are tensor names."""

    name: str
    type: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)


def layers_of(report: Any) -> list[Layer]:
    """Layers from the engine inspector's JSON.

    How much it holds depends on the profiling verbosity at build time: names alone (strings), or
    objects with types and tensors, whose names are strings or objects with ``Name``.
    """
    if isinstance(report, str):
        report = json.loads(report)
    return [_layer(entry) for entry in report.get("Layers", [])]


def _layer(entry: Any) -> Layer:
    if isinstance(entry, str):
        return Layer(entry)
    return Layer(
        name=str(entry.get("Name", "")),
        type=str(entry.get("LayerType", "")),
        inputs=[_name(one) for one in entry.get("Inputs", [])],
        outputs=[_name(one) for one in entry.get("Outputs", [])],
        detail={key: value for key, value in entry.items()
                if key not in ("Name", "LayerType", "Inputs", "Outputs")},
    )  # fmt: skip


def _name(tensor: Any) -> str:
    return str(tensor.get("Name", "")) if isinstance(tensor, dict) else str(tensor)


def describe(engine: rt.Engine) -> dict[str, Any]:
    """Everything as JSON types."""
    return {
        "name": engine.name,
        "built_by": str(engine.plan.built_by),
        "layers": [vars(layer) for layer in layers_of(engine.inspect())],
        "num_layers": engine.num_layers,
        "device_memory": engine.device_memory_size(),
        "refittable": engine.is_refittable,
        "inputs": [_tensor(info) for info in engine.inputs.values()],
        "outputs": [_tensor(info) for info in engine.outputs.values()],
        "profiles": [
            {"index": one.index, "min": _shapes(one.min), "opt": _shapes(one.opt),
             "max": _shapes(one.max)} for one in engine.profiles
        ],
    }  # fmt: skip


def _tensor(info: rt.TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "dtype": info.dtype, "shape": list(info.shape),
            "location": info.location, "format": info.format}  # fmt: skip


def _shapes(shapes: Any) -> dict[str, list[int]]:
    return {name: list(shape) for name, shape in shapes.items()}


def table(facts: dict[str, Any]) -> Iterator[str]:
    """The same for a terminal."""
    yield f"{facts['name'] or 'engine'}, built by TensorRT {facts['built_by']}"
    for kind in ("inputs", "outputs"):
        for tensor in facts[kind]:
            shape = "x".join(map(str, tensor["shape"])) or "scalar"
            where = " on the host" if tensor["location"] == "host" else ""
            yield f"  {kind[:-1]:6} {tensor['name']}: {tensor['dtype']} {shape}{where}"
    for profile in facts["profiles"]:
        for name in profile["opt"]:
            low, best, high = (
                "x".join(map(str, profile[bound][name])) for bound in ("min", "opt", "max")
            )
            yield f"  profile {profile['index']} {name}: {low} to {high}, best {best}"
    count = facts["num_layers"]
    yield f"{count} layer{'' if count == 1 else 's'}"
    for number, layer in enumerate(facts["layers"]):
        arrow = f"  {', '.join(layer['inputs'])} → {', '.join(layer['outputs'])}"
        arrow = arrow if layer["inputs"] or layer["outputs"] else ""
        yield f"  {number:4} {layer['type'] or '-':16} {layer['name']}{arrow}"
