"""Gives an engine the GPU arrays of torch or cupy, and takes its outputs back, without a copy.

    python zero_copy.py model.plan --library torch

The engine must have one float32 input and one float32 output. ``--library cuready`` uses cuready's
own buffers, so that nothing else has to be installed. Exit codes: 0 fine, 1 a result was wrong or
something could not be done, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

import cuready.runtime as rt
from cuready.errors import CureadyError

Shape = tuple[int, ...]


class TorchArrays:
    """torch tensors, on a stream of torch's: its default stream orders more than it should."""

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.stream = torch.cuda.Stream()

    def empty(self, shape: Shape) -> Any:
        return self.torch.empty(shape, dtype=self.torch.float32, device="cuda")

    def fill(self, array: Any, value: float) -> None:
        with self.torch.cuda.stream(self.stream):
            array.fill_(value)

    def numpy(self, array: Any) -> np.ndarray:
        with self.torch.cuda.stream(self.stream):
            return np.asarray(array.cpu())

    def adopt(self, buffer: rt.DeviceBuffer) -> Any:
        with self.torch.cuda.stream(self.stream):
            return self.torch.from_dlpack(buffer)

    def address(self, array: Any) -> int:
        return int(array.data_ptr())


class CupyArrays:
    """cupy arrays."""

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        self.stream = cupy.cuda.Stream(non_blocking=True)

    def empty(self, shape: Shape) -> Any:
        return self.cupy.empty(shape, self.cupy.float32)

    def fill(self, array: Any, value: float) -> None:
        with self.stream:
            array.fill(value)

    def numpy(self, array: Any) -> np.ndarray:
        return np.asarray(self.cupy.asnumpy(array, stream=self.stream))

    def adopt(self, buffer: rt.DeviceBuffer) -> Any:
        with self.stream:
            return self.cupy.from_dlpack(buffer)

    def address(self, array: Any) -> int:
        return int(array.data.ptr)


class CureadyArrays:
    """cuready's own device buffers: they offer DLPack and ``__cuda_array_interface__``."""

    def __init__(self) -> None:
        self.stream = rt.Stream()

    def empty(self, shape: Shape) -> rt.DeviceBuffer:
        return rt.DeviceBuffer(shape, "float32", stream=self.stream)

    def fill(self, array: rt.DeviceBuffer, value: float) -> None:
        array.copy_from(np.full(array.shape, value, np.float32), stream=self.stream)

    def numpy(self, array: rt.DeviceBuffer) -> np.ndarray:
        result: np.ndarray = array.numpy()
        return result

    def adopt(self, buffer: rt.DeviceBuffer) -> rt.DeviceBuffer:
        return buffer

    def address(self, array: rt.DeviceBuffer) -> int:
        return array.ptr


LIBRARIES = {"torch": TorchArrays, "cupy": CupyArrays, "cuready": CureadyArrays}


def check(what: str, holds: bool) -> bool:
    print(f"{what}: {'yes' if holds else 'NO'}")
    return holds


def demonstrate(engine: rt.Engine, arrays: Any) -> bool:
    """True when arrays were used in place and every result is what host arrays give."""
    (source,) = engine.inputs.values()
    (target,) = engine.outputs.values()
    shape = source.profiles[0][1] if source.profiles else source.shape
    host = engine.create_context()  # the same runs with numpy arrays, which are copied
    context = engine.create_context()

    def expected(value: float) -> np.ndarray:
        result: np.ndarray = host.run({source.name: np.full(shape, value, np.float32)})[target.name]
        return result

    # Memory of the other library's for both ends, bound once; then only its contents change.
    x, y = arrays.empty(shape), arrays.empty(expected(0).shape)
    context.bind({source.name: x, target.name: y}, stream=arrays.stream)
    good = True
    for value in (0.25, 0.5):
        arrays.fill(x, value)
        context.enqueue(arrays.stream)  # after the fill: it is the same stream
        good &= check(f"bound once, input {value}, right", same(arrays.numpy(y), expected(value)))

    # An output that the engine's side allocated becomes an array of the other library.
    context = engine.create_context()
    context.bind({source.name: x}, stream=arrays.stream)
    context.enqueue(arrays.stream)
    buffer = context.take_output(target.name)
    adopted = arrays.adopt(buffer)
    good &= check("output adopted at the same address", arrays.address(adopted) == buffer.ptr)
    return good & check("and right", same(arrays.numpy(adopted), expected(0.5)))


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """The same kernels on the same numbers: any difference is a copy that went wrong."""
    return one.shape == other.shape and bool((one == other).all())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan")
    parser.add_argument("--library", choices=LIBRARIES, default="torch")
    options = parser.parse_args()
    try:
        engine = rt.Runtime().load(options.plan)
        return 0 if demonstrate(engine, LIBRARIES[options.library]()) else 1
    except ImportError as error:
        print(f"--library {options.library}: {error}", file=sys.stderr)
    except (CureadyError, ValueError) as error:
        print(error, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
