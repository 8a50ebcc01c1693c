"""Proves that TensorRT is found, loads, runs an engine, and that the engine's numbers are right."""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from importlib import resources
from pathlib import Path
from typing import Any

import cuready.runtime as rt
from cuready.errors import InputError, LibraryNotFound
from cuready.selftest import builder
from cuready.selftest.job import Job, StageFailedError, StageSkippedError

RUNS = 20
# The network that is built on the spot when no shipped plan fits: y = 2x + 1.
AFFINE = {"inputs": {"x": [float(i % 17) - 8 for i in range(64)]}, "scale": 2.0, "bias": 1.0}


def prove_tensorrt(job: Job) -> None:
    library = open_library(job)
    fitting = [plan for plan in shipped() if plan["built_by"] == release(library)]
    capability = job.compute_capability
    usable = [
        plan for plan in fitting
        if capability >= tuple(map(int, plan["minimum_compute_capability"].split(".")))
    ]  # fmt: skip
    if library.kind == "dispatch":
        raise StageSkippedError(f"{library.path} is the dispatch library: it runs nothing itself")
    if usable:
        run_shipped(job, library, usable)
    else:
        built_here(job, library)


def open_library(job: Job) -> rt.Library:
    asked = job.options["library"]
    try:
        library = rt.load(asked)
    except LibraryNotFound as error:
        if asked is None:
            raise StageSkippedError(f"no TensorRT here: {error.message}") from None
        raise
    job.fact("library", {"path": library.path, "version": str(library.version),
                         "kind": library.kind, "found_by": library.found_by})  # fmt: skip
    return library


def shipped() -> list[dict[str, Any]]:
    """The plans that come with cuready, or those of $CUREADY_SELFTEST_PLANS, and their answers."""
    given = os.environ.get("CUREADY_SELFTEST_PLANS")
    own = resources.files("cuready.selftest").joinpath("data/plans")
    folder = Path(given) if given else own
    try:
        plans = json.loads(folder.joinpath("manifest.json").read_text("utf-8"))["plans"]
    except (OSError, ValueError, KeyError) as error:
        message = f"CUREADY_SELFTEST_PLANS={given}: no manifest.json with plans there ({error})"
        raise InputError(message) from None
    for plan in plans:
        plan["plan"] = folder.joinpath(plan["file"])
        plan["answers"] = folder.joinpath(plan["expected"])
    return list(plans)


def release(library: rt.Library) -> str:
    """A plan is bound to major.minor.patch; the build number after them does not matter."""
    return ".".join(map(str, library.version[:3]))


def run_shipped(job: Job, library: rt.Library, plans: list[dict[str, Any]]) -> None:
    runtime = rt.Runtime(library, device=job.device)
    names = []
    for plan in plans:
        answers = json.loads(plan["answers"].read_text("utf-8"))
        inputs = {name: array("f", tensor["values"]) for name, tensor in answers["inputs"].items()}
        shapes = {name: tensor["shape"] for name, tensor in answers["inputs"].items()}
        wanted = {name: tensor["values"] for name, tensor in answers["outputs"].items()}
        engine = runtime.load(plan["plan"].read_bytes())
        check_run(job, engine, inputs, shapes, wanted, float(plan["tolerance"]), plan["file"])
        names.append(plan["about"])
    job.reason = f"TensorRT {library.version}: {' and '.join(names)} right"


def built_here(job: Job, library: rt.Library) -> None:
    """No shipped plan fits: build one with this TensorRT's own builder, in a process of its own."""
    version = str(library.version)
    lines = ", ".join(sorted({plan["built_by"] for plan in shipped()}))
    why = f"TensorRT {version} loads; no shipped plan is for it (they are for {lines})"
    python = builder.installed(library.version)
    if library.kind != "full" or python is None:
        raise StageSkippedError(f"{why}, and no builder of that version is installed to make one")
    with tempfile.TemporaryDirectory(prefix="cuready-selftest-") as folder:
        target = Path(folder) / "selftest.plan"
        request = {"kind": "affine", "module": python.module, "scale": AFFINE["scale"],
                   "bias": AFFINE["bias"], "size": 64, "output": str(target)}  # fmt: skip
        outcome = builder.run_child(request, limit_s=150)
        if not outcome.ok:
            reason = f"{why}; building one failed: {outcome.reason}"
            raise StageFailedError(reason, kind="trt_build",
                              messages=outcome.errors[-5:])  # fmt: skip
        engine = rt.Runtime(library, device=job.device).load(target.read_bytes())
    x = array("f", AFFINE["inputs"]["x"])  # type: ignore[index]
    wanted = [2 * value + 1 for value in x]
    check_run(job, engine, {"x": x}, {"x": [64]}, {"y": wanted}, 0.0, "an engine built here")
    job.reason = f"TensorRT {version}: an engine built here is right"


def check_run(
    job: Job,
    engine: rt.Engine,
    inputs: dict[str, array[float]],
    shapes: dict[str, list[int]],
    wanted: dict[str, list[float]],
    tolerance: float,
    name: str,
) -> None:
    """Run it and compare every element; |difference| ≤ tolerance · (1 + |wanted|)."""
    context = engine.create_context(profile=0)
    feeds = {key: device_array(job, shapes[key], data) for key, data in inputs.items()}
    outputs = {key: rt.DeviceBuffer(context.shapes(shapes)[key], engine.outputs[key].dtype,
                                    device=job.device) for key in wanted}  # fmt: skip
    stream = job.stream()
    times = []
    for _ in range(RUNS):
        start, end = (rt.Event(timing=True, device=job.device) for _ in range(2))
        start.record(stream)
        context.run(feeds, outputs, stream=stream)
        end.record(stream)
        end.synchronize()
        times.append(end.milliseconds_since(start))
    for key, values in wanted.items():
        got = array("f", bytes(outputs[key].nbytes))
        outputs[key].copy_to(got, stream=stream)
        wrong = [i for i, (a, b) in enumerate(zip(got, values, strict=True))
                 if not abs(a - b) <= tolerance * (1 + abs(b))]  # fmt: skip
        if wrong:
            first = wrong[0]
            raise StageFailedError(
                f"{name}: {len(wrong)} of {len(values)} values of {key} are wrong; number {first} "
                f"is {got[first]!r} and should be {values[first]!r}", kind="trt_wrong",
            )  # fmt: skip
    job.figure(f"{name}, median run", sorted(times)[len(times) // 2] * 1000, "µs")


def device_array(job: Job, shape: list[int], data: array[float]) -> rt.DeviceBuffer:
    buffer = rt.DeviceBuffer(shape, "float32", device=job.device)
    flat = rt.PinnedBuffer(shape, "float32", device=job.device)
    memoryview(flat).cast("B")[:] = data.tobytes()
    stream = job.stream()
    buffer.copy_from(flat, stream=stream)
    stream.synchronize()
    return buffer


def prove_library(job: Job) -> None:
    """Without a GPU: which library is here, which version, and which shipped plans it would run."""
    library = open_library(job)
    names = [plan["file"] for plan in shipped() if plan["built_by"] == release(library)]
    job.fact("plans", names)
    job.reason = f"TensorRT {library.version} loads ({library.path}); not run: no GPU"
