"""The process that imports TensorRT's Python package and builds a plan with it.

``python -m cuready.selftest.builder_child`` reads a request from stdin and writes JSON lines. It
works with TensorRT 8.6, 10, 11 and TensorRT for RTX: what a release lacks is looked for, not
assumed, and an option that it cannot give is an error that names the release.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

# Precisions that a strongly typed network has from its model → how a model gets them.
# https://docs.nvidia.com/deeplearning/tensorrt/11.4.1/api/migration/tensorrt-10x-to-11x-python-api-reference.html
AUTOCAST = (
    "convert the model first, with `python -m modelopt.onnx.autocast --onnx_path MODEL "
    "--low_precision_type {0}` (pip install 'nvidia-modelopt[onnx]'), and leave --precision out"
)
QUANTIZE = (
    "quantize the model first, so that it has QuantizeLinear and DequantizeLinear nodes "
    "(`python -m modelopt.onnx.quantization --onnx_path MODEL`), and leave --precision out"
)
TYPE_IT = {"fp16": AUTOCAST, "bf16": AUTOCAST, "int8": QUANTIZE, "fp8": QUANTIZE}


class RefusedError(Exception):
    """The request cannot be done by this TensorRT; the message says why, the hint what helps."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class Build:
    """One build: the imported package, its logger, and the line writer."""

    def __init__(self, request: Mapping[str, Any], answers: TextIO) -> None:
        self.request = request
        self.answers = answers
        self.trt: Any = importlib.import_module(str(request["module"]))
        self.is_rtx = str(request["module"]).startswith("tensorrt_rtx")
        self.release = str(self.trt.__version__)
        self.name = f"{'TensorRT for RTX' if self.is_rtx else 'TensorRT'} {self.release}"
        self.logger = self._make_logger()

    def say(self, event: str, **message: Any) -> None:
        self.answers.write(json.dumps({"event": event, **message}) + "\n")
        self.answers.flush()

    def _make_logger(self) -> Any:
        trt, say = self.trt, self.say
        base = trt.ILogger

        class Logger(base):  # type: ignore[misc,valid-type]
            def __init__(self) -> None:
                base.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    say("log", severity="error", text=message)
                elif severity == trt.ILogger.WARNING:
                    say("log", severity="warning", text=message)

        return Logger()

    def run(self) -> dict[str, Any]:
        """Build and write the plan; returns facts about it. Raises RefusedError."""
        trt = self.trt
        for path in self.request.get("plugins", ()):
            import ctypes

            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        if hasattr(trt, "init_libnvinfer_plugins"):
            trt.init_libnvinfer_plugins(self.logger, "")
        builder = self._make_builder()
        network = builder.create_network(self._network_flags())
        if self.request["kind"] == "onnx":
            self._parse(network)
        else:
            self._affine(network)
        config = builder.create_builder_config()
        self._precision(config)
        self._compatibility(config)
        self._profiles(builder, network, config)
        cache = self._timing_cache(config)
        self._watch(config)
        if self.request.get("workspace"):
            limit = int(self.request["workspace"])
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limit)
        self.say("progress", phase="build", done=0, total=0)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise RefusedError("TensorRT built nothing")
        data = bytes(plan)
        target = Path(self.request["output"])
        part = target.with_name(f".{target.name}.part")
        part.write_bytes(data)
        part.replace(target)
        if cache is not None:
            self._save_cache(config, cache)
        return {"release": self.release, "bytes": len(data), "layers": network.num_layers,
                "inputs": self._tensors(network, "input"),
                "outputs": self._tensors(network, "output")}  # fmt: skip

    def _make_builder(self) -> Any:
        """A null pointer from TensorRT is a TypeError of pybind11's; its log says why."""
        try:
            return self.trt.Builder(self.logger)
        except TypeError as error:
            raise RefusedError(f"{self.name} made no builder") from error

    def _tensors(self, network: Any, kind: str) -> dict[str, list[int]]:
        count, get = getattr(network, f"num_{kind}s"), getattr(network, f"get_{kind}")
        return {get(i).name: list(get(i).shape) for i in range(count)}

    def _network_flags(self) -> int:
        """Explicit batch is a flag up to 9 and the only way since 10; strong typing since 11."""
        flag = self.trt.NetworkDefinitionCreationFlag
        flags = 0
        if self.release.startswith(("8.", "9.")) and hasattr(flag, "EXPLICIT_BATCH"):
            flags |= 1 << int(flag.EXPLICIT_BATCH)
        strong = "strong" in self.request.get("precision", ())
        if strong:
            if not hasattr(flag, "STRONGLY_TYPED"):
                raise RefusedError(
                    f"TensorRT {self.release} has no strongly typed networks (since 9.1)"
                )
            flags |= 1 << int(flag.STRONGLY_TYPED)
        return flags

    def _parse(self, network: Any) -> None:
        parser = self.trt.OnnxParser(network, self.logger)
        path = str(self.request["model"])
        parsed = parser.parse_from_file(path)
        if parsed:
            return
        for index in range(parser.num_errors):
            error = parser.get_error(index)
            node = getattr(error, "node_name", lambda: "")()
            where = f" (node {node})" if node else ""
            self.say("log", severity="error", text=f"{error.desc()}{where}")
        raise RefusedError(f"the ONNX parser of TensorRT {self.release} does not take {path}")

    def _affine(self, network: Any) -> None:
        """y = scale * x + bias over one vector, made with the network's own functions."""
        from array import array

        trt, size = self.trt, int(self.request["size"])
        x = network.add_input("x", trt.float32, (size,))
        kept = []

        def constant(value: float) -> Any:
            data = array("f", [value] * size)
            kept.append(data)  # TensorRT reads it while it builds
            weights = trt.Weights(trt.float32, data.buffer_info()[0], size)
            return network.add_constant((size,), weights).get_output(0)

        times, plus = trt.ElementWiseOperation.PROD, trt.ElementWiseOperation.SUM
        scaled = network.add_elementwise(x, constant(self.request["scale"]), times).get_output(0)
        y = network.add_elementwise(scaled, constant(self.request["bias"]), plus).get_output(0)
        y.name = "y"
        network.mark_output(y)
        self.kept = kept

    def _precision(self, config: Any) -> None:
        names = {"fp16": "FP16", "bf16": "BF16", "int8": "INT8", "fp8": "FP8", "tf32": "TF32"}
        for wanted in self.request.get("precision", ()):
            if wanted in ("fp32", "strong"):
                continue
            flag = getattr(self.trt.BuilderFlag, names[wanted], None)
            if flag is not None:
                config.set_flag(flag)
            elif hasattr(self.trt.BuilderFlag, "FP16") or wanted not in TYPE_IT:
                raise RefusedError(f"{self.name} does not build in {wanted}")
            else:
                raise RefusedError(
                    f"{self.name} takes the precision from the model's own types, not from an "
                    f"option: it cannot be told to use {wanted}",
                    TYPE_IT[wanted].format(wanted),
                )
        if "fp32" in self.request.get("precision", ()) and hasattr(self.trt.BuilderFlag, "TF32"):
            config.clear_flag(self.trt.BuilderFlag.TF32)

    def _compatibility(self, config: Any) -> None:
        if self.request.get("version_compatible"):
            flag = getattr(self.trt.BuilderFlag, "VERSION_COMPATIBLE", None)
            if flag is None:
                raise RefusedError(f"TensorRT {self.release} builds no version-compatible plans")
            config.set_flag(flag)
        level = self.request.get("hardware_compatible")
        if level:
            levels = getattr(self.trt, "HardwareCompatibilityLevel", None)
            wanted = {"ampere+": "AMPERE_PLUS", "same": "SAME_COMPUTE_CAPABILITY"}[level]
            value = getattr(levels, wanted, None)
            if value is None:
                raise RefusedError(
                    f"TensorRT {self.release} has no hardware compatibility {level!r}"
                )
            config.hardware_compatibility_level = value
        if self.request.get("refit"):
            config.set_flag(self.trt.BuilderFlag.REFIT)
        optimization = self.request.get("optimization")
        if optimization is not None:
            config.builder_optimization_level = int(optimization)

    def _profiles(self, builder: Any, network: Any, config: Any) -> None:
        """One profile for each given one; open sizes without any are refused by name."""
        inputs = {network.get_input(i).name: network.get_input(i)
                  for i in range(network.num_inputs)}  # fmt: skip
        given: list[dict[str, Any]] = list(self.request.get("profiles", ()))
        for name in {name for profile in given for name in profile}:
            if name not in inputs:
                raise RefusedError(f"the model has no input {name!r}; it has {', '.join(inputs)}")
        is_open = [name for name, one in inputs.items() if any(size < 0 for size in one.shape)]
        missing = [name for name in is_open if not all(name in profile for profile in given)]
        if is_open and (not given or missing):
            shapes = ", ".join(
                f"{name} {tuple(inputs[name].shape)}" for name in (missing or is_open)
            )
            raise RefusedError(
                f"no sizes are given for the open inputs {shapes}: use --min, --opt and --max"
            )
        for number, bounds in enumerate(given):
            profile = builder.create_optimization_profile()
            for name, (low, best, high) in bounds.items():
                shape = inputs[name].shape
                for bound in (low, best, high):
                    if len(bound) != len(shape):
                        raise RefusedError(f"{name} has {len(shape)} dimensions, not {len(bound)}")
                profile.set_shape(name, low, best, high)
            if not given or config.add_optimization_profile(profile) < 0:
                raise RefusedError(f"TensorRT does not take profile {number}")

    def _timing_cache(self, config: Any) -> Path | None:
        path = self.request.get("timing_cache")
        if not path or not hasattr(config, "create_timing_cache"):
            return None
        file = Path(path)
        data = file.read_bytes() if file.is_file() else b""
        cache = config.create_timing_cache(data)
        if not config.set_timing_cache(cache, ignore_mismatch=False):
            self.say("log", severity="warning", text=f"{file} is of another TensorRT or GPU")
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
        return file

    def _save_cache(self, config: Any, file: Path) -> None:
        cache = config.get_timing_cache()
        if cache is None:
            return
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(bytes(cache.serialize()))
        part.replace(file)

    def _watch(self, config: Any) -> None:
        """Progress as the builder reports it (since 9.0)."""
        base = getattr(self.trt, "IProgressMonitor", None)
        if base is None or not hasattr(config, "progress_monitor"):
            return
        say = self.say

        class Monitor(base):  # type: ignore[misc,valid-type]
            def __init__(self) -> None:
                base.__init__(self)  # type: ignore[misc]
                self.totals: dict[str, int] = {}

            def phase_start(self, name: str, parent: str | None, steps: int) -> None:
                self.totals[name] = steps
                say("progress", phase=name, parent=parent, done=0, total=steps)

            def step_complete(self, name: str, step: int) -> bool:
                say("progress", phase=name, done=step + 1, total=self.totals.get(name, 0))
                return True

            def phase_finish(self, name: str) -> None:
                total = self.totals.get(name, 0)
                say("progress", phase=name, done=total, total=total)

        self.monitor = Monitor()
        config.progress_monitor = self.monitor


def main() -> int:
    request = json.load(sys.stdin)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # TensorRT prints where it likes

        def end(ok: bool, **more: Any) -> None:
            answers.write(json.dumps({"event": "end", "ok": ok, **more}) + "\n")
            answers.flush()

        try:
            facts = Build(request, answers).run()
        except RefusedError as refused:
            end(False, reason=str(refused), hint=refused.hint)
        except ImportError as error:
            end(False, reason=f"{request['module']} cannot be imported: {error}")
        except OSError as error:
            end(False, reason=str(error))
        except Exception as error:  # the bindings raise TypeError and RuntimeError
            end(False, reason=f"{type(error).__name__}: {error}")
        else:
            end(True, facts=facts)
        os._exit(0)  # its destructors need a GPU that may be gone


if __name__ == "__main__":
    sys.exit(main())
