"""Measures the inference core against its peers, as ratios inside one process.

usage: runtime.py --library LIB --engines DIR... [--native DIR] [--b1 DIR] [--out FILE]
       runtime.py --simulated     (no GPU: tries every step on the simulated driver and TensorRT)

B0 is the same calls in C++ straight on the interface (native/b0.cpp), interleaved call by call;
B1 is NVIDIA's Python binding on the same library file. Numbers are medians. Two processes of the
same program differ by 30 % and more, so only what was measured in one process is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "gpu"), str(ROOT / "tests" / "unit")]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, help="the TensorRT library")
    parser.add_argument("--engines", type=Path, nargs="+", help="folders with a manifest.json")
    parser.add_argument("--native", type=Path, help="folder with b0.so and alloc_count.so")
    parser.add_argument("--b1", type=Path, help="folder with tensorrt_lean_bindings/")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    parser.add_argument("--only", nargs="+", default=[], help="rows to measure")
    parser.add_argument("--quick", action="store_true", help="few repetitions: does it work?")
    parser.add_argument("--simulated", action="store_true", help="use the simulated libraries")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def enter_simulation(arguments: argparse.Namespace) -> None:
    """Simulated driver, TensorRT 10.6 and plans; numbers from here mean nothing but 'it works'."""
    from runtime_sim import build

    libraries = build()
    os.environ["CUREADY_LIBCUDA"] = str(libraries.driver)
    os.environ["CUREADY_SIM_DEVICES"] = "Simulated H200:9.0:65536"
    arguments.library = libraries.tensorrt("10.6")
    if arguments.engines is None:
        folder = Path(tempfile.mkdtemp(prefix="cuready-simulated-engines-"))
        subprocess.run(
            [sys.executable, str(ROOT / "tests" / "gpu" / "simulated_engines.py"), str(folder)],
            check=True,
        )
        arguments.engines = [folder]
    arguments.quick = True


def native_folder(arguments: argparse.Namespace) -> Path:
    if arguments.native is None:
        arguments.native = Path(tempfile.mkdtemp(prefix="cuready-native-"))
    if not (arguments.native / "b0.so").exists():
        subprocess.run(["sh", str(HERE / "native" / "build.sh"), str(arguments.native)], check=True)
    return Path(arguments.native)


def environment() -> dict[str, Any]:
    import cuready.runtime as rt

    report = rt.driver_report()
    return {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "driver_cuda": report["cuda_version"],
        "devices": [device["name"] for device in report["devices"]],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A markdown table; the last column is yes, no, or n/a for a row that has no limit here."""
    lines = ["| what | ours | peer | result | limit | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        met = {True: "yes", False: "**no**", None: "n/a"}[row.get("met")]
        cells = (row.get(key, "") for key in ("what", "ours", "peer", "result", "limit"))
        lines.append("| " + " | ".join(str(cell) for cell in cells) + f" | {met} |")
    return "\n".join(lines)


def failed_row(name: str, error: BaseException) -> dict[str, Any]:
    words = " ".join(f"{type(error).__name__}: {error}".split())[:160]
    return {"row": name, "what": name, "result": f"failed: {words}", "met": False}


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    import runtime_memory
    import runtime_rows

    bench = runtime_rows.Bench(
        library=arguments.library,
        engines=arguments.engines,
        native=native_folder(arguments),
        b1_folder=arguments.b1,
        quick=arguments.quick,
        script=Path(__file__),
    )
    rows: list[dict[str, Any]] = []
    for name, function in selected({**runtime_rows.ROWS, **runtime_memory.ROWS}, arguments.only):
        sys.stderr.write(f"measuring {name}\n")
        try:
            for row in function(bench):
                rows.append({"row": name, **row})
                sys.stderr.write(f"  {row['what']}: {row['result']}\n")
        except Exception as error:
            rows.append(failed_row(name, error))
            sys.stderr.write(f"  failed: {error!r}\n")
    return rows


def selected(
    rows: dict[str, Callable[..., Any]], only: list[str]
) -> Iterator[tuple[str, Callable[..., Any]]]:
    unknown = set(only) - set(rows)
    if unknown:
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(rows)}")
    for name, function in rows.items():
        if not only or name in only:
            yield name, function


def main() -> int:
    arguments = parse_arguments()
    if arguments.simulated:
        enter_simulation(arguments)
    if arguments.library is None or not arguments.engines:
        raise SystemExit("--library and --engines are needed (or --simulated)")
    if arguments.child:
        import runtime_memory

        print(json.dumps(runtime_memory.CHILDREN[arguments.child](arguments)))
        return 0
    rows = measure(arguments)
    document = {"schema_version": 1, "environment": environment(), "rows": rows}
    document["simulated"] = arguments.simulated
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    return 0 if all(row.get("met") is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
