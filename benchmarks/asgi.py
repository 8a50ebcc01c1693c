"""The web server in Python against the one in C++: the same plan, clients and rate, in turns.

    python benchmarks/asgi.py model.plan                 # a minute each, in six turns
    python benchmarks/asgi.py model.plan --seconds 5     # a quick look

Both servers run all the time and are asked in turn: so neither has the quieter machine. Each is one
process with the plan loaded once, or ``--processes`` of them, among which the clients are dealt
out. The load comes from benchmarks/native/load.cpp on threads of its own; latency counts from the
moment a request was due, and ``late_p99_us`` says what the generator adds itself. ``--rate 0``
sends as fast as answers come instead. A third server, an application that does nothing, says how
much of Python's time is the HTTP server's. Prints one line of JSON. Exit codes: 0 no errors and p99
within ``--limit``, 1 not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import cuready.runtime as rt

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
SERVERS = ("c++", "python")
FLOOR = "python without the engine"
Report = dict[str, Any]


def build_server(folder: Path) -> Path:
    """examples/cpp_http, compiled against the installed cuready ($cuready_DIR where it is set)."""
    package = os.environ.get("cuready_DIR") or str(rt.cmake_dir())  # noqa: SIM112  # CMake's name
    build = folder / "build"
    subprocess.run(
        ["cmake", "-S", EXAMPLES / "cpp_http", "-B", build, f"-Dcuready_DIR={package}",
         "-DCMAKE_BUILD_TYPE=Release"], check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    subprocess.run(["cmake", "--build", build], check=True, stdout=subprocess.DEVNULL)
    return build / "cpp_http"


def build_load(folder: Path) -> Path:
    target = folder / "load"
    source = ROOT / "benchmarks" / "native" / "load.cpp"
    subprocess.run([os.environ.get("CXX", "c++"), "-std=c++17", "-O2", source, "-o", target,
                    "-pthread"], check=True)  # fmt: skip
    return target


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python_server(name: str, port: int, application: str) -> list[str]:
    """The command that serves an ASGI application of the current folder."""
    options = {
        "granian": ["--interface", "asgi", "--http", "1", "--no-ws", "--log-level", "warning"],
        "uvicorn": ["--no-access-log", "--log-level", "warning"],
    }[name]
    return [sys.executable, "-m", name, "--port", str(port), *options, application]


@contextmanager
def server(command: list[str], port: int, folder: Path, plan: Path) -> Iterator[int]:
    """The port of a server, once it answers, while it runs."""
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "CUREADY_PLAN": str(plan)}, text=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the server did not start: {' '.join(map(str, command))}")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def make_body(plan: Path, rows: int) -> bytes:
    """``rows`` random rows of the plan's input, as the servers take them."""
    engine = rt.Runtime().load(plan)
    (tensor,) = engine.inputs.values()
    largest = tensor.profiles[-1][2] if tensor.profiles else tensor.shape
    count = math.prod(largest[1:]) * rows if -1 in tensor.shape else math.prod(largest)
    values = np.random.default_rng(7).random(count, dtype=np.float32)
    return values.astype(np.dtype(tensor.dtype)).tobytes()


def answer(port: int, body: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/infer", body)
        got = connection.getresponse()
        data = got.read()
    finally:
        connection.close()
    if got.status != 200:
        sys.exit(f"HTTP {got.status}: {data[:200]!r}")
    return data


class Load:
    """One load generator, and what came of each turn."""

    def __init__(self, program: Path, body: Path, options: argparse.Namespace) -> None:
        self.program, self.body, self.options = program, body, options
        self.turns: dict[str, list[Report]] = {name: [] for name in (*SERVERS, FLOOR)}
        self.times: dict[str, list[np.ndarray]] = {name: [] for name in (*SERVERS, FLOOR)}

    def send(self, ports: list[int], seconds: float) -> tuple[Report, np.ndarray]:
        samples = self.body.with_suffix(".samples")
        done = subprocess.run(
            [self.program, ",".join(map(str, ports)), self.body, str(self.options.clients),
             str(self.options.rate), str(seconds), str(self.options.threads), samples],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in (0, 1) or not done.stdout:
            sys.exit(f"the load generator failed ({done.returncode}): {done.stderr}")
        report: Report = json.loads(done.stdout)
        return report, np.fromfile(samples, np.float64)

    def turn(self, name: str, ports: list[int], seconds: float) -> None:
        report, times = self.send(ports, seconds)
        self.turns[name].append(report)
        self.times[name].append(times)

    def summary(self, name: str) -> Report:
        """All turns of one server as if they had been one run."""
        times = np.concatenate(self.times[name]) / 1000
        turns = self.turns[name]
        errors: dict[str, int] = {}
        for report in turns:
            for what, count in report["errors"].items():
                errors[what] = errors.get(what, 0) + count
        per_second = statistics.mean(report["per_second"] for report in turns)
        made = {"requests": len(times), "errors": errors, "per_second": round(per_second, 1)}
        if len(times):
            for share in (50, 90, 99, 99.9, 100):
                made[f"p{share:g}_ms"] = round(float(np.percentile(times, share)), 4)
        made["late_p99_us"] = max(report["late_p99_us"] for report in turns)
        made["turns_p99_ms"] = [report["p99_ms"] for report in turns]
        made["slow_when"] = slow_when(self.times[name])
        return made


def slow_when(turns: list[np.ndarray]) -> list[int]:
    """How many of each turn's slowest hundredth fell into each tenth of its requests.

    Even numbers: it can happen to any request. A first number that stands out: connections,
    threads and the GPU's clocks that have just begun.
    """
    tenths = np.zeros(10, int)
    for times in turns:
        slow = np.argsort(times)[len(times) - max(1, len(times) // 100) :]
        tenths += np.bincount(slow * 10 // len(times), minlength=10)[:10]
    return [int(count) for count in tenths]


def measure(options: argparse.Namespace) -> Report:
    """Both servers in turns, then the HTTP server alone for one turn of five seconds at most."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as running:
        folder = Path(place)
        body = make_body(options.plan, options.rows)
        (folder / "body").write_bytes(body)
        native = build_server(folder)
        servers: dict[str, tuple[Callable[[int], list[str]], Path]] = {
            "c++": (lambda port: [str(native), str(options.plan), str(port)], folder),
            "python": (lambda port: python_server(options.server, port, "app:app"),
                       EXAMPLES / "asgi_server"),
            FLOOR: (lambda port: python_server(options.server, port, "asgi_floor:app"),
                    ROOT / "benchmarks"),
        }  # fmt: skip
        if not options.floor:
            del servers[FLOOR]
        ports: dict[str, list[int]] = {name: [] for name in servers}
        for name, (command, where) in servers.items():
            for port in [free_port() for _ in range(options.processes)]:
                one = server(command(port), port, where, options.plan)
                ports[name].append(running.enter_context(one))
        answers = {name: answer(ports[name][0], body) for name in SERVERS}
        load = Load(build_load(folder), folder / "body", options)
        seconds = options.seconds / options.turns
        lengths = {"c++": seconds * options.native_share, "python": seconds}
        for each in ports.values():
            load.send(each, min(1.5, seconds))  # warm
        for number in range(options.turns):
            for name in SERVERS if number % 2 == 0 else reversed(SERVERS):
                load.turn(name, ports[name], lengths[name])
        if options.floor:
            load.turn(FLOOR, ports[FLOOR], min(seconds, 5))
        made = {name: load.summary(name) for name in ports}
    return {
        "plan": options.plan.name, "body_bytes": len(body), "clients": options.clients,
        "rate": options.rate, "seconds_each": options.seconds,
        "seconds_native": options.seconds * options.native_share, "turns": options.turns,
        "processes": options.processes, "server": options.server,
        "beside_it": installed("uvloop", "httptools"),
        "same_answer": answers["c++"] == answers["python"], **made,
    }  # fmt: skip


def installed(*modules: str) -> str:
    """Those that are there: the faster parts are taken by the server where they are."""
    return " + ".join(name for name in modules if importlib.util.find_spec(name) is not None)


def judge(report: Report, limit: float) -> bool:
    """Adds the verdict to ``report``; true when everything that is asked holds."""
    sides = [report[name] for name in SERVERS]
    fine = report["same_answer"] and all(
        not side["errors"] and side["requests"] >= report["clients"] for side in sides
    )
    if all(side["requests"] for side in sides):
        report["p99_ratio"] = round(sides[1]["p99_ms"] / sides[0]["p99_ms"], 3)
        report["p50_ratio"] = round(sides[1]["p50_ms"] / sides[0]["p50_ms"], 3)
        # Side by side, too: one hiccup of the machine must not decide, for either.
        turns = zip(sides[1]["turns_p99_ms"], sides[0]["turns_p99_ms"], strict=True)
        report["p99_ratio_in_turns"] = round(statistics.median(a / b for a, b in turns), 3)
        fine = fine and max(report["p99_ratio"], report["p99_ratio_in_turns"]) <= limit
    floor = report.get(FLOOR, {})
    if floor.get("requests") and sides[0]["requests"]:
        # What the HTTP server alone would give: no application on it can be better than this.
        report["floor_p99_ratio"] = round(floor["p99_ms"] / sides[0]["p99_ms"], 3)
        report["floor_p50_ratio"] = round(floor["p50_ms"] / sides[0]["p50_ms"], 3)
    report.update(limit=limit, met=fine)
    return bool(fine)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--rows", type=int, default=1, help="rows of a dynamic input")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=500, help="requests a second; 0: no limit")
    parser.add_argument("--seconds", type=float, default=60, help="for each server")
    parser.add_argument("--native-share", type=float, default=1.0,
                        help="of that time, for the C++ server")  # fmt: skip
    parser.add_argument("--server", choices=("granian", "uvicorn"),
                        default="granian" if installed("granian") else "uvicorn",
                        help="that runs the Python application")  # fmt: skip
    parser.add_argument("--processes", type=int, default=1, help="of each server")
    parser.add_argument("--no-floor", dest="floor", action="store_false",
                        help="leave the server without an engine out")  # fmt: skip
    parser.add_argument("--turns", type=int, default=6, help="of each server")
    parser.add_argument("--threads", type=int, default=min(4, max(1, (os.cpu_count() or 1) // 4)),
                        help="of the load generator")  # fmt: skip
    parser.add_argument("--limit", type=float, default=1.3, help="of p99, Python over C++")
    options = parser.parse_args()
    if not options.plan.is_file():
        parser.error(f"{options.plan}: no such file")
    counts = (options.rows, options.clients, options.processes, options.turns, options.threads)
    if min(counts) < 1:
        parser.error("rows, clients, processes, turns and threads must be at least 1")
    if options.seconds <= 0 or options.rate < 0:
        parser.error("seconds must be above 0, and the rate not below")
    if not 0 < options.native_share <= 1:
        parser.error("--native-share is above 0 and at most 1")
    options.plan = options.plan.resolve()
    return options


def main() -> int:
    options = parse()
    report = measure(options)
    met = judge(report, options.limit)
    print(json.dumps(report))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
