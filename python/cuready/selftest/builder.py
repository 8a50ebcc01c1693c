"""Builds plans through the installed TensorRT's own Python package, in a child process."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # building needs no native core
    from cuready.runtime import Version

__all__ = ["Builder", "Outcome", "find", "installed", "readable", "run_child"]

# Product → packages that have its builder, the usual one first. The second are what the first
# import: they are all that is there where only NVIDIA's *-bindings wheels were installed.
PACKAGES = {
    "TensorRT": ("tensorrt", "tensorrt_bindings"),
    "TensorRT for RTX": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Builder:
    """An installed Python builder: the package to import, and its version by its metadata."""

    module: str
    product: str
    version: str


@dataclass
class Outcome:
    """How a build ended. ``errors`` are TensorRT's own lines; ``reason`` is ours."""

    ok: bool
    reason: str = ""
    hint: str = ""
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def find(product: str | None = None) -> list[Builder]:
    """The builders of this environment, by their files alone; nothing is imported."""
    found = []
    for name, modules in PACKAGES.items():
        present = [module for module in modules if importlib.util.find_spec(module) is not None]
        if present and product in (None, name):
            found.append(Builder(present[0], name, _version(present[0])))
    return found


def _version(module: str) -> str:
    names = importlib.metadata.packages_distributions().get(module, [])
    versions = []
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(importlib.metadata.version(name))
    return versions[0] if versions else ""


def installed(version: Version) -> Builder | None:
    """The builder whose release is that of a library; None when there is none."""
    wanted = f"{version.major}.{version.minor}.{version.patch}"
    for builder in find("TensorRT"):
        if ".".join(builder.version.split(".")[:3]) == wanted:
            return builder
    return None


def run_child(
    request: Mapping[str, Any], *, limit_s: float = 3600.0, on_progress: Progress | None = None
) -> Outcome:
    """Build in a process of its own: TensorRT may crash, or take the GPU's memory with it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "cuready.selftest.builder_child"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        text=True, encoding="utf-8", errors="replace", start_new_session=True,
    )  # fmt: skip
    words: list[str] = []
    timer = threading.Timer(limit_s, process.kill)
    timer.daemon = True
    timer.start()
    begin = time.monotonic()
    try:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101
        reader = threading.Thread(target=_collect, args=(process.stderr, words), daemon=True)
        reader.start()
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(json.dumps(request))
        outcome = _follow(process.stdout, on_progress)
        code = process.wait()
        reader.join(timeout=5)
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
    outcome.seconds = time.monotonic() - begin
    if not outcome.ok and not outcome.reason:
        late = outcome.seconds >= limit_s
        outcome.reason = (
            f"the build took longer than {limit_s:g} s" if late
            else f"the builder's process ended with code {code}"
        )  # fmt: skip
        outcome.errors += [line.strip() for line in words if line.strip()][-5:]
    if not outcome.ok and not outcome.hint:
        # TensorRT 10 aborts on a machine without a GPU: its last words say why. TensorRT 8.6 only
        # warns of it, and then gives no builder.
        outcome.reason, outcome.hint = readable(outcome.reason, outcome.errors, outcome.warnings)
    return outcome


def _collect(stream: Any, words: list[str]) -> None:
    for line in stream:
        words.append(line.rstrip())
        del words[:-50]


def _follow(lines: Any, on_progress: Progress | None) -> Outcome:
    outcome = Outcome(ok=False)
    for line in lines:
        message = json.loads(line)
        event = message.pop("event")
        if event == "log":
            kept = outcome.errors if message["severity"] == "error" else outcome.warnings
            kept.append(message["text"])
        elif event == "end":
            outcome.ok = bool(message["ok"])
            outcome.facts = dict(message.get("facts", {}))
            outcome.reason = message.get("reason", "")
            outcome.hint = message.get("hint", "")
        elif on_progress is not None:
            on_progress(message)
    return outcome


# What the builder says → what it means and what to do. The patterns are TensorRT's and the ONNX
# parser's own words; `{0}` is what the pattern's group found.
MEANINGS: tuple[tuple[str, str, str], ...] = (
    (r"\[(\w+) -> [^\]]*\](?s:.*)(?:Plugin not found|No importer registered)"
     r"|No importer registered for op: (\w+)|getPluginCreator could not find plugin:? (\w+)",
     "this TensorRT has no operator {0}, and no plugin of that name is loaded",
     "load the library that has it with --plugin, or replace the operator before the export"),
    (r"Network has dynamic or shape inputs, but no optimization profile",
     "the model has inputs of open size, and no profile says which sizes to build for",
     "give --min, --opt and --max for each of them, such as --opt x=8x3x224x224"),
    (r"Unsupported SM: (0x[0-9a-fA-F]+)|target GPU SM (\d+) is not supported",
     "this TensorRT does not build for the GPU of this machine ({0})",
     "`cuready compat` lists the TensorRT releases for this GPU"),
    (r"(libnvinfer_builder_resource[\w.]*\w): cannot enable executable stack",
     "the C library does not let TensorRT's builder load {0}, which asks for an executable stack",
     "glibc 2.41 and newer refuse that: run `patchelf --clear-execstack` on the file, or take a "
     "newer TensorRT"),
    (r"Unable to load library: (libnvinfer_builder_resource_sm\d[\w.]*\w)",
     "kernels of a GPU architecture that the builder needs are not installed: {0} is missing",
     "install the complete TensorRT of this version; libnvinfer_builder_resource_*.so lie beside "
     "libnvinfer, one for each architecture, and a plan for Ampere and newer needs them all"),
    (r"Unable to load library: (libnvinfer_builder_resource[\w.]*\w)",
     "a part of TensorRT's builder is missing: {0}",
     "install the complete TensorRT of this version; its builder resources lie beside libnvinfer"),
    (r"cannot be imported: (lib(?:cublas|cublasLt|cudnn)\.so\.\d+): cannot open shared object",
     "TensorRT's Python package needs {0}, which the loader does not find",
     "TensorRT 8.6 needs cuBLAS 12 and cuDNN 8: "
     "pip install nvidia-cublas-cu12 'nvidia-cudnn-cu12<9'; `cuready why tensorrt` shows the rest"),
    (r"cannot be imported: (lib[\w.+-]*\w): cannot open shared object",
     "TensorRT's Python package needs {0}, which the loader does not find",
     "`cuready why tensorrt` shows where it is looked for"),
    (r"CUDA initialization failure with error:? (\d+)",
     "TensorRT cannot use the GPU (CUDA error {0})", "run `cuready doctor`"),
    (r"PTX was compiled with an unsupported toolchain|(?i:unsupported_?ptx_?version)",
     "the GPU's driver is older than the CUDA that this TensorRT's kernels were made with",
     "update the driver, or take the TensorRT that `cuready compat` names for this one"),
    (r"[Oo]ut of memory|OutOfMemory|Requested amount of GPU memory",
     "the GPU's memory ran out while building",
     "use a smaller --max shape or --workspace, or free the memory of other processes"),
    (r"Could not find any implementation for node (.+?)[.\]]?(?m:$)",
     "no kernel of this TensorRT fits the layer {0}",
     "give it more memory with --workspace, or allow another precision"),
    (r"Failed to open file: (\S+)|Failed to parse external weights|[Ww]eights .*not found: (\S+)",
     "the model's weights lie in another file that cannot be opened ({0})",
     "put the external data file beside the model, under the name that the model gives"),
    (r"Unable to load library: (libnvinfer_lean\S+?):",
     "a version-compatible plan holds TensorRT's lean runtime, and {0} is not installed",
     "install the lean runtime of this TensorRT, or leave --version-compatible out"),
    (r"MODEL_DESERIALIZE_FAILED|Could not parse ONNX|Failed to parse (?:the )?ONNX model|protobuf",
     "the file is no ONNX model, or a damaged one", "export the model again"),
    (r"While parsing node number \d+ \[(\w+)",
     "the ONNX parser of this TensorRT stops at an operator {0}",
     "the builder's own words say why; another opset or a simplified model often helps"),
)  # fmt: skip


def readable(reason: str, errors: Sequence[str], warnings: Sequence[str] = ()) -> tuple[str, str]:
    """The first of the builder's errors that we know, in plain words, and what to do about it.

    Warnings count only where no error is known.
    """
    for text in ("\n".join((*errors, reason)), "\n".join(warnings)):
        for pattern, meaning, hint in MEANINGS:
            match = re.search(pattern, text)
            if match is not None:
                name = next((group for group in match.groups() if group), "")
                return meaning.format(name).replace(" ()", ""), hint
    return reason, ""
