"""The two peers of benchmarks/runtime.py: B0, C++ on the bare interface; B1, NVIDIA's binding."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_char_p, c_double, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import cuready.runtime as rt


class B0:
    """benchmarks/native/b0.cpp: times single calls in C++, in this process."""

    def __init__(self, library: Path) -> None:
        # PyDLL keeps the GIL: a single call must not pay for a hand-back that ours may not pay.
        quick, slow = ctypes.PyDLL(str(library)), ctypes.CDLL(str(library))
        quick.b0_error.restype = c_char_p
        if (problem := quick.b0_error()) is not None:
            raise RuntimeError(problem.decode())
        self.open = self._bind(quick.b0_open, c_void_p, c_void_p, c_void_p, c_int)
        self.close = self._bind(quick.b0_close, None, c_void_p)
        self.add_tensor = self._bind(
            quick.b0_add_tensor, None, c_void_p, c_char_p, c_int, c_int, POINTER(c_int64),
            c_size_t, POINTER(c_void_p), c_int, c_void_p,
        )  # fmt: skip
        self.empty_ns = self._bind(quick.b0_empty_ns, c_double)
        self.enqueue_ns = self._bind(quick.b0_enqueue_ns, c_double, c_void_p)
        self.rebind_ns = self._bind(quick.b0_rebind_ns, c_double, c_void_p, c_int)
        self.readdress_ns = self._bind(quick.b0_readdress_ns, c_double, c_void_p, c_int)
        self.capture = self._bind(quick.b0_capture, c_void_p, c_void_p)
        self.graph_launch_ns = self._bind(quick.b0_graph_launch_ns, c_double, c_void_p, c_void_p)
        self.run_ns = self._bind(slow.b0_run_ns, c_double, c_void_p, POINTER(c_void_p))
        self.synchronize = self._bind(slow.b0_synchronize, c_int, c_void_p)
        self.throughput = self._bind(
            slow.b0_throughput, c_double, POINTER(c_void_p), c_int, c_int, c_int, c_int
        )

    @staticmethod
    def _bind(function: Any, result: Any, *arguments: Any) -> Any:
        function.restype = result
        function.argtypes = list(arguments)
        return function


class B0Context:
    """One TensorRT context in B0's hands, with device and pinned memory for each tensor."""

    def __init__(
        self,
        b0: B0,
        context: rt.ExecutionContext,
        shapes: Mapping[str, Sequence[int]],
        sets: int = 1,
    ) -> None:
        self.b0, self.context = b0, context
        engine = context.engine
        every = context.shapes({name: list(shapes[name]) for name in engine.inputs})
        self.device: dict[str, list[rt.DeviceBuffer]] = {}
        self.pinned: dict[str, rt.PinnedBuffer] = {}
        for name, info in {**engine.inputs, **engine.outputs}.items():
            self.device[name] = [rt.DeviceBuffer(every[name], info.dtype) for _ in range(sets)]
            self.pinned[name] = rt.PinnedBuffer(every[name], info.dtype)
        context.bind({name: buffers[0] for name, buffers in self.device.items()})
        context.enqueue()
        context.synchronize()
        object_, _ = context._native_handle()
        major = engine.runtime.library.version.major
        self.handle = b0.open(object_, context.stream.handle, major)
        if not self.handle:
            raise RuntimeError(f"B0 cannot drive TensorRT {major}")
        for name, buffers in self.device.items():
            extents = every[name]
            b0.add_tensor(
                self.handle, name.encode(), int(name in engine.inputs), len(extents),
                (c_int64 * len(extents))(*extents), buffers[0].nbytes,
                (c_void_p * sets)(*(buffer.ptr for buffer in buffers)), sets,
                self.pinned[name].ptr,
            )  # fmt: skip

    @property
    def names(self) -> list[str]:
        return list(self.device)

    def host_pointers(self, arrays: Mapping[str, Any]) -> Any:
        return (c_void_p * len(self.device))(*(arrays[name].ctypes.data for name in self.device))


class B1:
    """NVIDIA's Python binding on the same library, in this process."""

    def __init__(self, folder: Path) -> None:
        sys.path.insert(0, str(folder))
        import tensorrt_lean_bindings as trt  # type: ignore[import-not-found]

        self.trt = trt
        self.runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))

    def context(self, plan: bytes) -> B1Context:
        return B1Context(self, plan)


class B1Context:
    def __init__(self, b1: B1, plan: bytes) -> None:
        self.engine = b1.runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise RuntimeError("NVIDIA's binding refused the plan")
        self.context = self.engine.create_execution_context()
        count = self.engine.num_io_tensors
        self.names = [self.engine.get_tensor_name(index) for index in range(count)]
        input_mode = b1.trt.TensorIOMode.INPUT
        self.inputs = {n for n in self.names if self.engine.get_tensor_mode(n) == input_mode}

    def bind(self, arrays: Mapping[str, Any]) -> None:
        """Shapes and addresses of every tensor: what other arrays at each call need."""
        for name in self.names:
            array = arrays[name]
            if name in self.inputs:
                self.context.set_input_shape(name, tuple(array.shape))
            self.context.set_tensor_address(name, address(array))

    def enqueue(self, stream: int) -> None:
        self.context.execute_async_v3(stream)


def address(array: Any) -> int:
    """Where a torch tensor or one of our buffers lies."""
    return int(array.data_ptr()) if hasattr(array, "data_ptr") else int(array.ptr)


def time_ns(call: Any, *arguments: Any) -> int:
    begin = time.perf_counter_ns()
    call(*arguments)
    return time.perf_counter_ns() - begin
