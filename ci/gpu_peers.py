"""Several GPUs in one machine: the self-test on each, copies between them, engines on both."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_plain import ROOT, Row, compared, make_current, plain_library

PEER_SHARE, ROUNDS, MIB = 0.05, 7, 1 << 20
SIZE, TIMES = 256 * MIB, 20
TESTS = ROOT / "tests" / "gpu"

Cuready = Callable[..., tuple[int, str, float]]


def peer_rows(
    cuready: Cuready, options: list[str], library: Path | None, plan: Path, out: Path
) -> list[Row]:
    """``options``: --library FILE, or nothing. ``plan`` is run on each of two GPUs."""
    import cuready.runtime as rt

    count = rt.device_count()
    if count < 2:
        return [{"what": "peers", "result": "there is one GPU: nothing was tried", "met": None}]
    rows = [selftest(cuready, options, ordinal, out) for ordinal in range(count)]
    rows += [machine(cuready, count), turned(cuready)]
    rows.append(same_numbers(cuready, options, plan))
    rows.append(second_gpu(cuready, options, plan))
    rows.append(both_at_once(library))
    for source, target in ((0, 1), (1, 0)):
        rows.append(copies(rt.Device(source), rt.Device(target)))
    return rows


def selftest(cuready: Cuready, options: list[str], ordinal: int, out: Path) -> Row:
    code, text, seconds = cuready("selftest", "--quick", "--device", str(ordinal),
                                  "--format", "json", *options)  # fmt: skip
    report = json.loads(text)
    (out / f"selftest-gpu-{ordinal}.json").write_text(text)
    stages = {stage["id"]: stage for stage in report["stages"]}
    peers = stages["peers"]
    told = [f"{stage['id']}: {stage['status']}, {stage['reason']}" for stage in report["stages"]
            if stage["status"] != "passed"]  # fmt: skip
    told += [f"{figure['name']}: {figure['value']:.1f} {figure['unit']}"
             for figure in peers["figures"]]  # fmt: skip
    return {"what": f"selftest --quick on GPU {ordinal}", "problems": told,
            "result": f"exit {code} in {seconds:.1f} s; peers: {peers['reason']}",
            "met": code == 0 and peers["status"] == "passed"}  # fmt: skip


def machine(cuready: Cuready, count: int) -> Row:
    """NVML's GPUs, as the doctor reads them, are those that CUDA names: by UUID."""
    import cuready.runtime as rt

    code, text, _ = cuready("snapshot")
    nvml = json.loads(text).get("nvml") or {}
    seen = {device.get("uuid") for device in nvml.get("devices", ())}
    cuda = {rt.Device(ordinal).describe()["uuid"] for ordinal in range(count)}
    doctor, _, seconds = cuready("doctor", "--format", "json")
    fine = code == 0 and cuda <= seen and len(cuda) == count and doctor in (0, 1)
    return {"what": "snapshot and doctor", "met": fine,
            "result": f"{len(seen)} GPUs by NVML, {count} by CUDA, {len(cuda & seen)} of one UUID; "
                      f"doctor: exit {doctor} in {seconds:.1f} s"}  # fmt: skip


def turned(cuready: Cuready) -> Row:
    """With CUDA_VISIBLE_DEVICES=1,0 the self-test's GPU 0 is the other one, by its UUID."""
    import cuready.runtime as rt

    wanted = [rt.Device(ordinal).describe()["uuid"] for ordinal in (1, 0)]
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = before.split(",") if before else ["0", "1"]
    os.environ["CUDA_VISIBLE_DEVICES"] = f"{names[1]},{names[0]}"
    try:
        code, text, _ = cuready("selftest", "--quick", "--only", "peers", "--format", "json")
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
    report = json.loads(text)
    facts = next(stage["facts"] for stage in report["stages"] if stage["id"] == "peers")
    found = [gpu["uuid"] for gpu in facts.get("gpus", ())]
    fine = code == 0 and found == wanted and report["machine"].get("uuid") == wanted[0]
    return {"what": "CUDA_VISIBLE_DEVICES turned round", "met": fine,
            "result": f"exit {code}, the order of the GPUs is "
                      f"{'turned, too' if found == wanted else found}"}  # fmt: skip


def same_numbers(cuready: Cuready, options: list[str], plan: Path) -> Row:
    """`engine run` gives the same on both GPUs, which are of one kind or nearly so."""
    import numpy as np

    import cuready.runtime as rt

    engine = rt.Runtime(options[1] if options else None).load(plan)
    (name, info), made = next(iter(engine.inputs.items())), next(iter(engine.outputs))
    shape = engine.profiles[0].opt.get(name, info.shape) if engine.profiles else info.shape
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        values = np.random.default_rng(7).random([max(1, n) for n in shape])
        np.save(folder / "x.npy", values.astype(info.dtype))
        results, codes = [], []
        for ordinal in (0, 1):
            target = folder / f"y{ordinal}.npy"
            code, _, _ = cuready("engine", "run", str(plan), "--device", str(ordinal),
                                 "--input", f"{name}={folder / 'x.npy'}",
                                 "--output", f"{made}={target}", *options)  # fmt: skip
            codes.append(code)
            if code == 0:
                results.append(np.load(target).astype(np.float64))
    if codes != [0, 0]:
        return {"what": "engine run on GPU 0 and 1", "result": f"exit {codes}", "met": False}
    off = float(np.abs(results[0] - results[1]).max() / max(np.abs(results[0]).max(), 1e-30))
    return {"what": "engine run on GPU 0 and 1", "met": off <= 1e-3,
            "result": f"{made} differs by {off:.2g} of the largest", "limit": "1e-3"}  # fmt: skip


def second_gpu(cuready: Cuready, options: list[str], plan: Path) -> Row:
    medians = []
    for ordinal in (0, 1):
        code, text, _ = cuready("engine", "bench", str(plan), "--device", str(ordinal),
                                "--duration", "1", "--format", "json", *options)  # fmt: skip
        if code != 0:
            return {"what": f"engine bench on GPU {ordinal}", "result": f"exit {code}",
                    "met": False}  # fmt: skip
        report = json.loads(text)
        medians.append(report["gpu_queued" if report["queued_iterations"] else "gpu"]["median"])
    return {"what": "engine bench on GPU 1", "met": medians[1] > 0,
            "result": f"GPU time {1000 * medians[1]:.4g} µs (GPU 0: {1000 * medians[0]:.4g} µs, "
                      "another process)"}  # fmt: skip


def both_at_once(library: Path | None) -> Row:
    """tests/gpu/test_devices.py: nothing of it may be skipped here."""
    environment = dict(os.environ)
    if library is not None:
        environment["CUREADY_GPU_LIBRARY"] = str(library)
    with tempfile.TemporaryDirectory() as place:
        ini = Path(place) / "pytest.ini"
        ini.write_text("[pytest]\nmarkers =\n    gpu: needs a GPU\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-c", str(ini), "--rootdir", str(TESTS),
             str(TESTS / "test_devices.py")],
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    print(done.stdout[-4000:], done.stderr[-2000:])
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    return {"what": "engines on two GPUs in one process", "result": last.strip("= "),
            "met": done.returncode == 0 and "skipped" not in last}  # fmt: skip


def copies(source: Any, target: Any) -> Row:
    """The self-test's way of copying and a loop of cuMemcpyPeerAsync, in turns, in one process."""
    from cuready.selftest.proofs.peers import Route

    size = min(SIZE, min(device.memory[0] for device in (source, target)) // 8)
    # Both ways, as the self-test has it: the plain loop profits from the access as ours does.
    routes = Route(source, target, size), Route(target, source, size)
    route = routes[0]
    contexts = make_current(source), make_current(target)  # the target's is current now
    route.timed(2)
    ours, plain = [], []
    for _ in range(ROUNDS):
        ours.append(TIMES * size / route.timed(TIMES) / 1e6)
        ms = plain_library().plain_peer_copies(route.arrived.ptr, contexts[1], route.sent.ptr,
                                               contexts[0], size, TIMES,
                                               route.stream.handle)  # fmt: skip
        if ms <= 0:
            raise RuntimeError(f"the plain loop gave {ms}")
        plain.append(TIMES * size / ms / 1e6)
    route.check()
    return compared(f"{route.name}, {route.how}", statistics.median(ours),
                    statistics.median(plain), PEER_SHARE, "GB/s")  # fmt: skip
