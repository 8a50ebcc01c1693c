"""Writes bindings.json: what each release's real Python binding has of what `engine build` uses.

usage: record_bindings.py OUT PACKAGE...    PACKAGE: RELEASE=PYTHON:MODULE:SITE:LIBRARIES

Each binding is imported in the interpreter that it is for, with its real libraries; no GPU needed.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

CLASSES = ("BuilderFlag", "NetworkDefinitionCreationFlag", "HardwareCompatibilityLevel",
           "MemoryPoolType", "Builder", "IBuilderConfig", "INetworkDefinition", "OnnxParser",
           "ParserError", "IOptimizationProfile", "ILogger")  # fmt: skip
TOP = ("IProgressMonitor", "init_libnvinfer_plugins", "Weights", "float32", "ElementWiseOperation")
PROGRAM = """
import importlib, json, sys
trt = importlib.import_module(sys.argv[1])
classes, top = json.loads(sys.argv[2])
found = {name: " ".join(one for one in dir(getattr(trt, name)) if not one.startswith("_"))
         for name in classes if hasattr(trt, name)}
there = " ".join(name for name in top if hasattr(trt, name))
print(json.dumps([trt.__version__, {"": there, **found}]))
"""


def main() -> int:
    out, packages = Path(sys.argv[1]), sys.argv[2:]
    releases = {}
    for package in packages:
        name, _, where = package.partition("=")
        python, module, site, libraries = where.split(":", maxsplit=3)
        done = subprocess.run(
            [python, "-c", PROGRAM, module, json.dumps([CLASSES, TOP])],
            env={**os.environ, "PYTHONPATH": site, "LD_LIBRARY_PATH": libraries},
            check=True, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        version, names = json.loads(done.stdout.splitlines()[-1])
        releases[name] = {"version": version, "module": module, "names": names}
    document = {
        "source": "dir() of NVIDIA's own Python bindings, imported with their libraries",
        "as_of": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "releases": releases,
    }
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
