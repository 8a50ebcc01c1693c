"""Builds plans with ``cuready engine build`` and a TensorRT builder that the GPU suite was given.

FOLDER becomes one that the suite and the benchmarks read: manifest.json, plans in a folder for each
release, and what the models must compute, worked out with numpy in float64. ``wide``, with 64
inputs and 64 outputs, is made on request: it takes a minute and a half, and tests/data/engines has
it. What no builder takes must be refused in words that a person can use.

The models are made in this process; the command runs in the interpreter that the builder's Python
binding is for.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Arrays = dict[str, "np.ndarray[Any, Any]"]
CLI = (
    "-c", "import sys; from cuready.cli.main import main; sys.exit(main())", "engine", "build",
)  # fmt: skip
WATCHED = Path(__file__).with_name("gpu_watched.py")
PTX_COMPILER = "libnvidia-ptxjitcompiler"  # the driver loads it when there is PTX to compile
PULSE_S = 10.0
ENDING_S = 20.0  # for the process to end by itself after its own time limit
WIDE = 64
BUILT_BY = "the GPU that built it"
STRONGLY_TYPED = 11  # since this major, a model's own types are what is computed in


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
    hardware: str = BUILT_BY


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


def convolution(random: np.random.Generator, *, typed: bool = False) -> Case:
    """In fp16 where the builder likes; ``typed``: in fp16 by the model's own types."""
    kernel = random.normal(size=(4, 3, 3, 3)).astype(np.float32) / 5
    x = random.normal(size=(2, 3, 8, 8)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(2, 3))
    y = np.maximum(np.einsum("ncijkl,ockl->noij", windows, kernel.astype(np.float64)), 0)
    name = "图像/0:x"
    if typed:
        nodes = [
            helper.make_node("Cast", [name], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("Conv", ["half", "kernel"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("Cast", ["r"], ["y"], to=TensorProto.FLOAT),
        ]
    else:
        nodes = [
            helper.make_node("Conv", [name, "kernel"], ["c"]),
            helper.make_node("Relu", ["c"], ["y"]),
        ]
    bounds = ("--min", f"{name}=1x3x8x8", "--opt", f"{name}=4x3x8x8", "--max", f"{name}=8x3x8x8")
    return Case(
        "conv_open_batch", f"convolution and ReLU, batch 1-8, {'in' if typed else 'allowed'} fp16",
        model(nodes, [floats(name, ("n", 3, 8, 8))], [floats("y", ("n", 4, 6, 6))],
              {"kernel": kernel.astype(np.float16 if typed else np.float32)}),
        {name: x}, {"y": y.astype(np.float32)}, 2e-2,
        bounds if typed else ("--precision", "fp16", *bounds),
    )  # fmt: skip


def typed_convolution(random: np.random.Generator) -> Case:
    return convolution(random, typed=True)


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


def plain_product(random: np.random.Generator) -> Case:
    case = product(random)
    return replace(case, name="matmul", about="x W", options=(), hardware=BUILT_BY)


def smallest(random: np.random.Generator) -> Case:
    x, bias = random.normal(size=(2, 16)).astype(np.float32)
    return Case(
        "smallest", "x + b over 16 values",
        model([helper.make_node("Add", ["x", "b"], ["y"])], [floats("x", (16,))],
              [floats("y", (16,))], {"b": bias}),
        {"x": x}, {"y": x + bias}, 1e-6,
    )  # fmt: skip


def pointwise(random: np.random.Generator) -> Case:
    """Open batch, in fp16 by the model's own types; nothing that a ready kernel is needed for."""
    scale = random.normal(size=64).astype(np.float16)
    x = random.normal(size=(5, 64)).astype(np.float32)
    halves = x.astype(np.float16).astype(np.float64) * scale.astype(np.float64)
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["half", "scale"], ["product"]),
        helper.make_node("Sigmoid", ["product"], ["s"]),
        helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
    ]
    return Case(
        "pointwise", "sigmoid(a x), batch 1-256, in fp16",
        model(nodes, [floats("x", ("n", 64))], [floats("y", ("n", 64))], {"scale": scale}),
        {"x": x}, {"y": (1 / (1 + np.exp(-halves))).astype(np.float32)}, 4e-3,
        ("--min", "x=1x64", "--opt", "x=32x64", "--max", "x=256x64"),
    )  # fmt: skip


CASES: dict[str, Callable[[np.random.Generator], Case]] = {
    "wide": wide,
    "convolution": convolution,
    "product": product,
    "plain": plain_product,
    "smallest": smallest,
    "pointwise": pointwise,
}
USUAL = ("plain", "convolution", "product")
# TensorRT compiles what these need itself. Products, convolutions and softmax are kernels that come
# with it.
NO_KERNELS = ("smallest", "pointwise", "wide")


@dataclass(frozen=True)
class Command:
    """``cuready engine build`` with one release of TensorRT; ``watch``: each line as it comes."""

    python: Path
    environment: dict[str, str]
    seconds: float
    """For one model."""
    watch: bool = False

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        more = (*arguments, "--timeout", f"{self.seconds:g}", "--format", "json")
        if self.watch:
            return self.watched([str(self.python), str(WATCHED), *more])
        return subprocess.run(
            [str(self.python), *CLI, *more], env=self.environment, capture_output=True, text=True,
            check=False, timeout=self.seconds + ENDING_S,
        )  # fmt: skip

    def watched(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Prints what TensorRT logs, and every few seconds what the process is at."""
        words: list[str] = []

        def follow(lines: Iterable[str]) -> None:
            for line in lines:
                print(line, end="", flush=True)
                if not line.startswith("| "):  # the command's own
                    words.append(line)

        begin, before = time.monotonic(), 0.0
        with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:
            process = subprocess.Popen(command, env=self.environment, stdout=answer, text=True,
                                       stderr=subprocess.PIPE, errors="replace")  # fmt: skip
            reader = threading.Thread(target=follow, args=(process.stderr,), daemon=True)
            reader.start()
            while process.poll() is None:
                try:
                    process.wait(timeout=PULSE_S)
                except subprocess.TimeoutExpired:
                    taken = time.monotonic() - begin
                    told, used = pulse(process.pid, before, self.cache)
                    before = used
                    print(f"| {taken:7.2f} PULSE {told}", flush=True)
                    if taken > self.seconds + ENDING_S:
                        process.kill()
            reader.join(timeout=5)
            answer.seek(0)
            return subprocess.CompletedProcess(command, process.returncode, answer.read(),
                                               "".join(words))  # fmt: skip

    @property
    def cache(self) -> Path | None:
        path = self.environment.get("CUDA_CACHE_PATH")
        return Path(path) if path else None


def pulse(pid: int, before: float, cache: Path | None) -> tuple[str, float]:
    """Whether a process works or waits, in words, and its processor seconds (proc(5))."""
    process = Path("/proc") / str(pid)
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        libraries = (process / "maps").read_text()
        threads = len(list((process / "task").iterdir()))
    except OSError:  # it has just ended
        return "ended", before
    used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    memory = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") >> 20
    told = (f"{used - before:.1f} s of processor time more, {used:.1f} s in all; "
            f"state {fields[0]}, {threads} threads, {memory} MiB; "
            f"PTX compiler {'' if PTX_COMPILER in libraries else 'not '}loaded")  # fmt: skip
    if cache is not None:
        size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        told += f"; {size >> 10} KiB in the driver's cache of what it compiled"
    return told, used


def build(command: Command, case: Case, folder: Path) -> dict[str, Any]:
    """The manifest's entry of a plan that was built; raises RuntimeError when it was not."""
    source, target = folder / f"{case.name}.onnx", folder / f"{case.name}.plan"
    onnx.save(case.model, source)
    done = command(str(source), "-o", str(target), *case.options)
    if done.returncode != 0:
        raise RuntimeError(f"{case.name}: exit {done.returncode}: {words(done)}")
    report = json.loads(done.stdout)
    arrays = {f"in.{name}": array for name, array in case.inputs.items()}
    arrays |= {f"out.{name}": array for name, array in case.outputs.items()}
    np.savez(folder / f"{case.name}.npz", **arrays)
    print(f"built {case.name}: {target.stat().st_size} bytes; {json.dumps(report)[:400]}")
    return {
        "file": f"{folder.name}/{target.name}",
        "built_by": report["release"],
        "about": case.about,
        "native": case.hardware == BUILT_BY,
        "version_compatible": False,
        "hardware": case.hardware,
        "lean_runtime_inside": False,
        "tolerance": case.tolerance,
        "expected": f"{folder.name}/{case.name}.npz",
    }


def words(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr or done.stdout).split())[:1500]


def refuses(command: Command, folder: Path, what: str, case: Case, word: str) -> None:
    """Raises RuntimeError unless the case is refused with ``word`` and leaves no plan."""
    path, target = folder / "refused.onnx", folder / "refused.plan"
    onnx.save(case.model, path)
    done = command(str(path), "-o", str(target), *case.options)
    said = words(done)
    if done.returncode != 1 or word not in said or "Traceback" in said:
        raise RuntimeError(f"{what}: exit {done.returncode}, not refused with {word!r}: {said}")
    if target.exists():
        raise RuntimeError(f"{what}: a refused model left a plan behind")
    print(f"{what}: refused as it should: {said}")


def refusals(command: Command, folder: Path, random: np.random.Generator, *, typed: bool) -> None:
    odd = helper.make_node("NoSuchOperator", ["x"], ["y"], name="the_odd_one")
    unknown = model([odd], [floats("x", (4,))], [floats("y", (4,))], {})
    allowed = convolution(random)
    refuses(command, folder, "an unknown operator", Case("", "", unknown, {}, {}, 0),
            "no operator NoSuchOperator")  # fmt: skip
    refuses(command, folder, "an open size without bounds", replace(allowed, options=()), "--opt")
    if typed:
        refuses(command, folder, "a precision as an option", allowed, "modelopt.onnx.autocast")


def write_manifest(folder: Path, release: str, entries: list[dict[str, Any]]) -> None:
    """The plans of other releases that the folder has stay in its manifest."""
    path = folder / "manifest.json"
    before = json.loads(path.read_text(encoding="utf-8"))["plans"] if path.is_file() else []
    manifest = {
        "as_of": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "note": "built by ci/gpu_builder.py",
        "plans": [one for one in before if not one["file"].startswith(f"{release}/")] + entries,
    }
    path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", required=True, help="of the TensorRT, such as 11.2")
    parser.add_argument("--python", type=Path, default=Path(sys.executable),
                        help="the interpreter that the binding is for")  # fmt: skip
    parser.add_argument("--path", help="PYTHONPATH: the binding, cuready and click")
    parser.add_argument("--libraries", help="the folders of libnvinfer and its parts")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--case", action="append", choices=CASES, dest="cases",
                        help=f"a model to build ({', '.join(USUAL)}); can be repeated")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=150.0, help="for one model, at most")
    parser.add_argument("--optimization", choices="012345", help="how hard the builder tries")
    parser.add_argument("--watch", action="store_true",
                        help="models that need no ready kernels, the smallest first, and all that "
                        "TensorRT logs, as it comes; where the first takes too long, no other is "
                        "tried")  # fmt: skip
    return parser.parse_args()


def environment_for(arguments: argparse.Namespace) -> dict[str, str]:
    environment = dict(os.environ)
    if arguments.path:
        environment["PYTHONPATH"] = arguments.path
    if arguments.libraries:  # first; TensorRT 11 may look for the toolkit's NVRTC behind them
        folders = (arguments.libraries, environment.get("LD_LIBRARY_PATH"))
        environment["LD_LIBRARY_PATH"] = ":".join(filter(None, folders))
    if arguments.watch:  # what the driver has compiled once serves the next model and call
        environment.setdefault("CUDA_CACHE_PATH", str(arguments.folder.with_name("compute-cache")))
        environment.setdefault("CUDA_CACHE_MAXSIZE", str(4 << 30))
        environment.setdefault("CUDA_MODULE_LOADING", "LAZY")
    return environment


def build_all(
    command: Command, cases: Iterable[Case], folder: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """Entries of the manifest, which is written after each model, and what went wrong."""
    entries: list[dict[str, Any]] = []
    problems = []
    write_manifest(folder.parent, folder.name, entries)
    for case in cases:
        print(f"--- {case.name}, at most {command.seconds:g} s", flush=True)
        begin = time.monotonic()
        try:
            entries.append(build(command, case, folder))
            write_manifest(folder.parent, folder.name, entries)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            taken = time.monotonic() - begin
            problems.append(f"{error} (after {taken:.0f} s)")
            if command.watch and not entries and taken >= command.seconds:
                problems[-1] += "; no other model was tried"
                break
    return entries, problems


def main() -> int:
    arguments = parse()
    command = Command(arguments.python, environment_for(arguments), arguments.seconds,
                      arguments.watch)  # fmt: skip
    folder = arguments.folder / arguments.release
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier call left says nothing of this one
    folder.mkdir(parents=True)
    typed = int(arguments.release.split(".")[0]) >= STRONGLY_TYPED
    random = np.random.default_rng(5)
    names = arguments.cases or (NO_KERNELS if arguments.watch else USUAL)
    cases = [typed_convolution(random) if typed and name == "convolution" else CASES[name](random)
             for name in dict.fromkeys(names)]  # fmt: skip
    if arguments.optimization:
        level = ("--optimization", arguments.optimization)
        cases = [replace(case, options=(*case.options, *level)) for case in cases]
    entries, problems = build_all(command, cases, folder)
    if entries or not command.watch:  # a watched builder that built nothing says no more here
        try:
            refusals(replace(command, watch=False), folder, random, typed=typed)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            problems.append(str(error))
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
