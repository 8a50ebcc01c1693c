"""Builds plans with ``cuready engine build`` and the TensorRT builder that the GPU suite was given.

usage: gpu_builder.py FOLDER [CASE...]

FOLDER becomes one that the suite and the benchmarks read: manifest.json, plans, and what the models
must compute, worked out with numpy in float64. ``wide``, with 64 inputs and 64 outputs, is made on
request: it takes a minute and a half, and tests/data/engines has it. What no builder takes must be
refused in words that a person can use.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Arrays = dict[str, "np.ndarray[Any, Any]"]
CLI = (
    sys.executable, "-c", "import sys; from cuready.cli.main import main; sys.exit(main())",
    "engine", "build",
)  # fmt: skip
WIDE = 64


@dataclass
class Case:
    """A model, how it is built, and what it must compute."""

    name: str
    about: str
    model: onnx.ModelProto
    inputs: Arrays
    outputs: Arrays
    tolerance: float
    options: Sequence[str] = field(default=())
    hardware: str = "the GPU that built it"


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: Arrays) -> Any:
    graph = helper.make_graph(
        nodes, "graph", inputs, outputs,
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8  # what TensorRT 8.6 reads, too
    return made


def floats(name: str, shape: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def wide(random: np.random.Generator) -> Case:
    nodes, weights, inputs, outputs = [], {}, {}, {}
    for index in range(WIDE):
        scale, bias = random.normal(size=2).astype(np.float32)
        weights |= {f"scale{index}": np.array(scale), f"bias{index}": np.array(bias)}
        nodes += [
            helper.make_node("Mul", [f"x{index}", f"scale{index}"], [f"product{index}"]),
            helper.make_node("Add", [f"product{index}", f"bias{index}"], [f"y{index}"]),
        ]
        x = random.normal(size=1024).astype(np.float32)
        inputs[f"x{index}"] = x
        outputs[f"y{index}"] = (x.astype(np.float64) * scale + bias).astype(np.float32)
    return Case(
        "wide", f"y = a x + b for {WIDE} inputs and outputs of 1024 values",
        model(nodes, [floats(n, (1024,)) for n in inputs], [floats(n, (1024,)) for n in outputs],
              weights),
        inputs, outputs, 1e-5,
    )  # fmt: skip


def convolution(random: np.random.Generator) -> Case:
    kernel = random.normal(size=(4, 3, 3, 3)).astype(np.float32) / 5
    x = random.normal(size=(2, 3, 8, 8)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(2, 3))
    y = np.maximum(np.einsum("ncijkl,ockl->noij", windows, kernel.astype(np.float64)), 0)
    nodes = [
        helper.make_node("Conv", ["图像/0:x", "kernel"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    name = "图像/0:x"
    return Case(
        "conv_open_batch", "convolution and ReLU, batch 1-8, fp16 allowed",
        model(nodes, [floats(name, ("n", 3, 8, 8))], [floats("y", ("n", 4, 6, 6))],
              {"kernel": kernel}),
        {name: x}, {"y": y.astype(np.float32)}, 2e-2,
        ("--precision", "fp16", "--min", f"{name}=1x3x8x8", "--opt", f"{name}=4x3x8x8",
         "--max", f"{name}=8x3x8x8"),
    )  # fmt: skip


def product(random: np.random.Generator) -> Case:
    weight = random.normal(size=(64, 32)).astype(np.float32) / 8
    x = random.normal(size=(5, 64)).astype(np.float32)
    y = x.astype(np.float64) @ weight.astype(np.float64)
    return Case(
        "matmul_ampere", "x W, for Ampere and newer",
        model([helper.make_node("MatMul", ["x", "w"], ["y"])], [floats("x", (5, 64))],
              [floats("y", (5, 32))], {"w": weight}),
        {"x": x}, {"y": y.astype(np.float32)}, 2e-3, ("--hardware-compatible", "ampere+"),
        "Ampere or newer",
    )  # fmt: skip


CASES = {"wide": wide, "convolution": convolution, "product": product}
USUAL = ("convolution", "product")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *arguments, "--format", "json"], capture_output=True, text=True, check=False,
        timeout=400,
    )  # fmt: skip


def build(case: Case, folder: Path) -> dict[str, Any]:
    """The manifest's entry of a plan that was built; raises RuntimeError when it was not."""
    source, target = folder / f"{case.name}.onnx", folder / f"{case.name}.plan"
    onnx.save(case.model, source)
    done = run(str(source), "-o", str(target), *case.options)
    if done.returncode != 0:
        raise RuntimeError(f"{case.name}: exit {done.returncode}: {done.stdout} {done.stderr}")
    report = json.loads(done.stdout)
    arrays = {f"in.{name}": array for name, array in case.inputs.items()}
    arrays |= {f"out.{name}": array for name, array in case.outputs.items()}
    np.savez(folder / f"{case.name}.npz", **arrays)
    print(f"built {case.name}: {target.stat().st_size} bytes; {json.dumps(report)[:400]}")
    return {
        "file": target.name,
        "built_by": import_version(),
        "about": case.about,
        "native": case.hardware == "the GPU that built it",
        "version_compatible": False,
        "hardware": case.hardware,
        "lean_runtime_inside": False,
        "tolerance": case.tolerance,
        "expected": f"{case.name}.npz",
    }


def import_version() -> str:
    from cuready.selftest import builder

    (found,) = builder.find("TensorRT")
    return found.version


def refuses(folder: Path, what: str, made: onnx.ModelProto, word: str, *options: str) -> None:
    path, target = folder / "refused.onnx", folder / "refused.plan"
    onnx.save(made, path)
    done = run(str(path), "-o", str(target), *options)
    words = done.stdout + done.stderr
    if done.returncode != 1 or word not in words or "Traceback" in words:
        raise RuntimeError(f"{what}: exit {done.returncode}, {words[-600:]}")
    if target.exists():
        raise RuntimeError(f"{what}: a refused model left a plan behind")
    print(f"{what}: refused as it should: {words.strip()[:600]}")


def main() -> int:
    folder, chosen = Path(sys.argv[1]), sys.argv[2:] or USUAL
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    entries = [build(CASES[name](random), folder) for name in chosen]
    odd = helper.make_node("NoSuchOperator", ["x"], ["y"], name="the_odd_one")
    unknown = model([odd], [floats("x", (4,))], [floats("y", (4,))], {})
    refuses(folder, "an unknown operator", unknown, "NoSuchOperator")
    refuses(folder, "an open size without bounds", convolution(random).model, "--opt")
    manifest = {
        "as_of": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "note": "built by ci/gpu_builder.py",
        "plans": entries,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
