"""Arrays of other libraries, as far as the protocols show them: most offer exactly one."""

from __future__ import annotations

import ctypes
from typing import Any

from runtime_sim import SimDriver

import cuready.runtime as rt


class PassingStream:
    """Like CuPy's: its stream is destroyed with the object."""

    def __init__(self, driver: SimDriver) -> None:
        self._driver = driver
        self.ptr = driver.stream()

    def __del__(self) -> None:
        self._driver.destroy_stream(self.ptr)


class OnlyCudaArrayInterface:
    def __init__(self, buffer: rt.DeviceBuffer, stream: int | None = None, **more: Any) -> None:
        self._buffer, self._stream, self._more = buffer, stream, more

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface = {**self._buffer.__cuda_array_interface__, "stream": self._stream}
        return {**interface, **self._more}


class OnlyDlpack:
    """Records the stream that the consumer asked for."""

    def __init__(self, buffer: rt.DeviceBuffer, *, old: bool = False) -> None:
        self._buffer, self._old = buffer, old
        self.streams: list[int] = []

    def __dlpack__(self, *, stream: int | None = None, **more: Any) -> Any:
        if self._old and more:
            raise TypeError("a producer from before DLPack 1.0")
        assert stream is not None
        self.streams.append(stream)
        return self._buffer.__dlpack__(stream=stream, **more)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._buffer.__dlpack_device__()


class RefusingBuffer(bytearray):
    """Like CuPy's arrays: device memory behind device protocols, and a buffer that refuses."""

    def __init__(self, buffer: rt.DeviceBuffer) -> None:
        super().__init__(4)  # what a reader of the buffer would take for the array
        self._buffer = buffer

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self._buffer.__cuda_array_interface__, "stream": None}


class RefusingDlpack(RefusingBuffer):
    """Its ``__dlpack__`` refuses as well; only the interface is left."""

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("no DLPack today")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


class RefusesAll:
    """Promises two protocols and keeps neither."""

    def __dlpack_device__(self) -> tuple[int, int]:
        raise RuntimeError("the device is a secret")

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("no DLPack today")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise AttributeError("only on a GPU")


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    ]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_FROM_OBJECT = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(_Tensor))
_WORK_STREAM = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p)
)


class _Api(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("previous", ctypes.c_void_p),
        ("allocate", ctypes.c_void_p),
        ("managed_from_object", ctypes.c_void_p),
        ("managed_to_object", ctypes.c_void_p),
        ("tensor_from_object", _FROM_OBJECT),
        ("current_work_stream", _WORK_STREAM),
    ]


class ExchangeArray:
    """Offers DLPack's C exchange API, as torch does since 2.10; ``work_stream`` is its stream."""

    work_stream = 0

    def __init__(self, buffer: rt.DeviceBuffer) -> None:
        self.buffer = buffer
        self.shape = (ctypes.c_int64 * len(buffer.shape))(*buffer.shape)


@_FROM_OBJECT
def _tensor_from_object(array: ExchangeArray, out: Any) -> int:
    tensor = out.contents
    tensor.data = array.buffer.ptr
    tensor.device.type, tensor.device.id = 2, 0
    tensor.ndim = len(array.shape)
    tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = 2, 32, 1
    tensor.shape = ctypes.cast(array.shape, ctypes.POINTER(ctypes.c_int64))
    tensor.strides = None
    tensor.byte_offset = 0
    return 0


@_WORK_STREAM
def _current_work_stream(_type: int, _id: int, out: Any) -> int:
    out[0] = ExchangeArray.work_stream
    return 0


_API = _Api(1, 3, None, None, None, None, _tensor_from_object, _current_work_stream)
_NAME = ctypes.c_char_p(b"dlpack_exchange_api")
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
ExchangeArray.__dlpack_c_exchange_api__ = _new_capsule(  # type: ignore[attr-defined]
    ctypes.addressof(_API), _NAME, None
)
