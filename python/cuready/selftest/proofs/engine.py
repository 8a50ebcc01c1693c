"""Proves that the user's own plan loads, runs twice with the same result, and how fast it is."""

from __future__ import annotations

from pathlib import Path

import cuready.runtime as rt
from cuready.selftest.job import Job, StageFailedError


def prove_engine(job: Job) -> None:
    path = Path(job.options["engine"])
    plan = rt.probe(path)
    job.fact("plan", {"path": str(path), "built_by": str(plan.built_by), "size": plan.size})
    library = rt.load(job.options["library"])
    engine = rt.Runtime(library, device=job.device).load(path)
    opt = {name: tuple(shape) for name, shape in engine.profiles[0].opt.items()}
    job.fact("tensors", {name: list(opt.get(name, info.shape))
                         for name, info in engine.inputs.items()})  # fmt: skip
    if not any(info.location == "host" for info in engine.inputs.values()):
        repeatable(job, engine, opt)
    report = engine.benchmark(duration=0.5 if job.quick else 2.0, warmup=0.2)
    job.figure("throughput", report.throughput, "runs/s")
    for name in ("enqueue", "gpu", "latency"):
        job.figure(f"{name}, median", getattr(report, name).median, "ms")
    if report.queued_iterations:
        job.figure("gpu without waiting for the host, median", report.gpu_queued.median, "ms")
    latency = report.latency
    marks = (0, 50, 90, 95, 99)
    values = (latency.min, latency.median, latency.p90, latency.p95, latency.p99)
    job.line("latency", path.name, marks, values, ("percentile", "ms"))
    job.reason = f"{path.name} runs on TensorRT {library.version}; bound by {report.bound_by}"


def repeatable(job: Job, engine: rt.Engine, opt: dict[str, tuple[int, ...]]) -> None:
    """The same input twice must give the same bytes, where the outputs have a known size."""
    if any(info.is_data_dependent for info in engine.outputs.values()):
        return
    stream = job.stream()
    feeds = {}
    for name, info in engine.inputs.items():
        shape = opt.get(name, info.shape)
        feeds[name] = rt.DeviceBuffer(shape, info.dtype, device=job.device)
        # 0.011 in float32 and bfloat16, 1.06 in float16; 0 elsewhere: a valid index and boolean.
        rt.fill(feeds[name], 0x3C if "float" in info.dtype else 0, stream=stream)
    stream.synchronize()
    results = []
    for _ in range(2):
        context = engine.create_context(profile=0)
        shapes = context.shapes({name: buffer.shape for name, buffer in feeds.items()})
        outputs = {name: rt.DeviceBuffer(shapes[name], info.dtype, device=job.device)
                   for name, info in engine.outputs.items()}  # fmt: skip
        context.run(feeds, outputs, stream=stream)
        stream.synchronize()
        results.append({name: _bytes(buffer, stream) for name, buffer in outputs.items()})
        del context
    differing = [name for name in results[0] if results[0][name] != results[1][name]]
    if differing:
        raise StageFailedError(
            f"two runs on the same input differ in {', '.join(differing)}", kind="engine_unstable"
        )


def _bytes(buffer: rt.DeviceBuffer, stream: rt.Stream) -> bytes:
    pinned = rt.PinnedBuffer(buffer.shape, buffer.dtype, device=buffer.device)
    buffer.copy_to(pinned, stream=stream)
    return bytes(memoryview(pinned).cast("B"))
