"""The web server in Python against the one in C++: the same plan, clients and rate, in turns.

    python benchmarks/asgi.py model.plan --bytes 16                 # a minute each
    python benchmarks/asgi.py model.plan --bytes 16 --seconds 5     # a quick look

Latency is measured from the moment a request was due (see examples/asgi_server/load.py), so both
servers get the same number of requests at the same times; ``--rate 0`` sends as fast as answers
come instead, which compares throughput. Exit codes: 0 no errors and p99 within ``--limit``, 1 not,
2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cuready.runtime as rt

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def build_native(folder: Path) -> Path:
    """examples/cpp_http, compiled against the installed cuready ($cuready_DIR where it is set)."""
    package = os.environ.get("cuready_DIR") or str(rt.cmake_dir())  # noqa: SIM112  # CMake's name
    build = folder / "build"
    subprocess.run(
        ["cmake", "-S", EXAMPLES / "cpp_http", "-B", build, f"-Dcuready_DIR={package}",
         "-DCMAKE_BUILD_TYPE=Release"], check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    subprocess.run(["cmake", "--build", build], check=True, stdout=subprocess.DEVNULL)
    return build / "cpp_http"


@contextmanager
def server(command: list[str], folder: Path, plan: Path) -> Iterator[str]:
    """The URL of a server while it runs."""
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "CUREADY_PLAN": str(plan)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "running on http://" in line:
                break
        else:
            sys.exit("the server did not start:\n" + "".join(said))
        watchdog.cancel()
        yield line[line.index("http://") :].split()[0]
    finally:
        watchdog.cancel()
        process.terminate()
        process.communicate(timeout=30)


def send(url: str, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """What examples/asgi_server/load.py reports."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / "asgi_server" / "load.py", f"{url}/infer",
         "--bytes", str(options.bytes), "--clients", str(options.clients),
         "--rate", str(options.rate), "--seconds", str(seconds)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(f"load.py failed: {done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--bytes", type=int, required=True, help="size of one input")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=500, help="requests a second; 0: no limit")
    parser.add_argument("--seconds", type=float, default=60, help="for each server")
    parser.add_argument("--limit", type=float, default=1.3, help="of p99, Python over C++")
    options = parser.parse_args()
    if not options.plan.is_file():
        parser.error(f"{options.plan}: no such file")
    options.plan = options.plan.resolve()
    return options


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        uvicorn = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0", "--no-access-log"]
        servers = {
            "c++": ([str(build_native(Path(folder))), str(options.plan)], Path(folder)),
            "python": (uvicorn, EXAMPLES / "asgi_server"),
        }
        reports = {}
        for name, (command, where) in servers.items():
            with server(command, where, options.plan) as url:
                send(url, options, min(2.0, options.seconds))  # warm
                reports[name] = send(url, options, options.seconds)
            print(name, json.dumps(reports[name]), flush=True)
    if any(report["errors"] or not report["requests"] for report in reports.values()):
        print("there were errors")
        return 1
    ratio = reports["python"]["p99_ms"] / reports["c++"]["p99_ms"]
    print(f"p99, Python over C++: {ratio:.2f} (at most {options.limit})")
    return 0 if ratio <= options.limit else 1


if __name__ == "__main__":
    sys.exit(main())
