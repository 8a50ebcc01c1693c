"""Inputs for an engine: .npy and image files, random or zero, in the engine's own shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuready._util import one_line
from cuready.errors import InputError, MissingExtra

if TYPE_CHECKING:
    import cuready.runtime as rt

__all__ = ["assignments", "make_inputs", "numpy", "parse_shape", "parse_shapes", "save"]

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
NUMPY_NAMES = {
    "float32": "float32",
    "float16": "float16",
    "int8": "int8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
    "uint8": "uint8",
    "bfloat16": "uint16",
}
LARGEST_INTEGER = 10
LARGEST_RANK = 8
LARGEST_ARRAY = 1 << 60
"""Elements: numpy counts the bytes of an array in 63 bits, and random numbers are of eight each."""


def numpy() -> Any:
    """numpy, or MissingExtra with the command that installs it."""
    try:
        import numpy
    except ImportError as error:
        message = f"running an engine on files needs numpy: {error}"
        raise MissingExtra(message, hint="pip install 'cuready[runtime]'") from None
    return numpy


def assignments(values: Sequence[str], option: str) -> dict[str, str]:
    """``NAME=VALUE`` words as a dictionary. Raises InputError naming the word."""
    parts = {}
    for value in values:
        name, sign, rest = value.partition("=")
        if not sign or not name or not rest:
            message = f"{option} {value!r}: NAME=… is needed"
            raise InputError(message)
        parts[name] = rest
    return parts


def parse_shape(text: str, option: str) -> tuple[int, ...]:
    """``1x3x224x224`` → ``(1, 3, 224, 224)``."""
    try:
        shape = tuple(int(part) for part in text.lower().replace(",", "x").split("x"))
    except ValueError:
        shape = (-1,)
    if any(size < 0 for size in shape):
        message = f"{option}: {text!r} is no shape such as 1x3x224x224"
        raise InputError(message)
    return shape


def parse_shapes(values: Sequence[str], option: str) -> dict[str, tuple[int, ...]]:
    return {
        name: parse_shape(text, f"{option} {name}")
        for name, text in assignments(values, option).items()
    }


def make_inputs(
    engine: rt.Engine,
    given: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    seed: int = 0,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    profile: int = 0,
) -> dict[str, Any]:
    """An array for each input; those that are not given are random, and a shape tensor's values
    are what the profile was optimised for.

    Raises InputError for a name that the engine does not have, a file that cannot be read, and a
    shape that is still open or larger than any array.
    """
    np = numpy()
    for name in (*given, *shapes):
        if name not in engine.inputs:
            names = ", ".join(engine.inputs)
            message = f"the engine has no input {name!r}; it has {names}"
            raise InputError(message)
    random = np.random.default_rng(seed)
    arrays = {}
    for name, info in engine.inputs.items():
        source = given.get(name, "random")
        if source.endswith(".npy"):
            arrays[name] = _load(np, name, Path(source))
            continue
        shape = shapes.get(name) or _own_shape(engine, info, profile)
        dtype = np.dtype(NUMPY_NAMES.get(info.dtype, "uint8"))
        if not _is_possible(shape):
            message = f"the shape {'x'.join(map(str, shape))} of {name} is larger than any array"
            raise InputError(message)
        if source == "zeros":
            arrays[name] = np.zeros(shape, dtype)
        elif source == "random":
            values = _shape_values(engine, info, shape, profile)
            arrays[name] = (
                _random(random, shape, dtype, info.dtype)
                if values is None
                else np.array(values, dtype).reshape(shape)
            )
        elif Path(source).suffix.lower() in IMAGES:
            arrays[name] = _image(np, name, Path(source), shape, dtype, mean, std)
        else:
            message = f"--input {name}={source}: random, zeros, a .npy or an image file is needed"
            raise InputError(message)
    return arrays


def _own_shape(engine: rt.Engine, info: rt.TensorInfo, profile: int) -> tuple[int, ...]:
    """The engine's shape; where it is open, what the profile was optimised for."""
    shape = tuple(info.shape)
    if any(size < 0 for size in shape):
        shape = tuple(engine.profiles[profile].opt.get(info.name, shape))
    if any(size < 0 for size in shape):
        message = f"the shape of {info.name} is open: give --shape {info.name}=…"
        raise InputError(message)
    return shape


def _is_possible(shape: tuple[int, ...]) -> bool:
    """Whether TensorRT has shapes of this rank and numpy arrays of this size, in any memory."""
    return len(shape) <= LARGEST_RANK and max((*shape, math.prod(shape))) < LARGEST_ARRAY


def _shape_values(
    engine: rt.Engine, info: rt.TensorInfo, shape: tuple[int, ...], profile: int
) -> Sequence[int] | None:
    """The optimum of a tensor whose values other shapes come from: random ones would be refused, or
    make the engine compute something that it was not built for."""
    if not info.is_shape or info.location != "host" or profile >= len(engine.profiles):
        return None
    values = engine.profiles[profile].opt.get(info.name, ())
    return values if len(values) == math.prod(shape) else None


def _random(random: Any, shape: tuple[int, ...], dtype: Any, name: str) -> Any:
    if name == "bfloat16":  # the upper half of a float32
        bits = random.standard_normal(shape).astype("float32").view("uint32") >> 16
        return bits.astype(dtype)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    return random.integers(0, LARGEST_INTEGER, shape).astype(dtype)


def _load(np: Any, name: str, path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return np.ascontiguousarray(np.lib.format.read_array(file, allow_pickle=False))
    except OSError as error:
        message = f"--input {name}={path}: {error.strerror or error}"
        raise InputError(message) from None
    except (ValueError, EOFError) as error:
        message = f"--input {name}={path}: no .npy file of numbers: {one_line(str(error))}"
        raise InputError(message) from None


def _image(
    np: Any, name: str, path: Path, shape: tuple[int, ...], dtype: Any,
    mean: Sequence[float], std: Sequence[float],
) -> Any:  # fmt: skip
    """An RGB or grey picture, resized to the tensor, 0 to 1 in floats: NCHW or NHWC."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        message = f"--input {name}={path}: reading images needs Pillow"
        raise MissingExtra(message, hint="pip install 'cuready[images]'") from None
    dims = shape[-3:] if len(shape) > 1 else (0, 0, 0)
    first = dims[0] in (1, 3) if len(dims) == 3 else False
    channels = dims[0] if first else (dims[-1] if len(dims) == 3 else 1)
    if channels not in (1, 3):
        message = f"--input {name}={path}: shape {shape} holds no picture of 1 or 3 channels"
        raise InputError(message)
    height, width = (dims[1], dims[2]) if first else (dims[-3:-1] if len(dims) == 3 else dims)
    for option, values in (("--mean", mean), ("--std", std)):
        if len(values) not in (1, channels):
            message = f"{option}: {len(values)} numbers, and the picture has {channels} channels"
            raise InputError(message)
    if 0 in std:
        raise InputError("--std: 0 divides nothing")
    try:
        with Image.open(path) as opened:
            picture = opened.convert("L" if channels == 1 else "RGB").resize((width, height))
    except (OSError, UnidentifiedImageError) as error:
        message = f"--input {name}={path}: {error}"
        raise InputError(message) from None
    pixels = np.asarray(picture).reshape(height, width, channels)
    if dtype.kind == "f":
        pixels = (pixels / 255.0 - np.asarray(mean)) / np.asarray(std)
    if len(dims) == 2:
        pixels = pixels[:, :, 0]
    elif first:
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(np.broadcast_to(pixels, shape).astype(dtype))


def save(outputs: Mapping[str, Any], targets: Mapping[str, str]) -> None:
    """Write the outputs that were asked for as .npy files."""
    np = numpy()
    for name, path in targets.items():
        if name not in outputs:
            message = f"the engine has no output {name!r}; it has {', '.join(outputs)}"
            raise InputError(message)
        try:
            with Path(path).open("wb") as file:
                np.save(file, np.asarray(outputs[name]), allow_pickle=False)
        except OSError as error:
            message = f"--output {name}={path}: {error.strerror}"
            raise InputError(message) from None
