"""Frozen dataclasses to JSON and back, keeping the fields that a newer version added.

A small codec of ours instead of a library: the ones that are fast enough for a tool that has to
start in a tenth of a second drop unknown fields, and those that keep them are too heavy.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

__all__ = ["CodecError", "from_json", "to_json"]

T = TypeVar("T")

# Fields that this version does not know, kept where they were found.
EXTRA = "_extra"


class CodecError(ValueError):
    """The JSON does not fit the model; the message starts with the path of the misfit."""


def to_json(value: Any) -> Any:
    """Plain JSON types from dataclasses, enums, tuples and mappings. Empty fields are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        document = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if not _is_default(field, item):
                document[field.name] = to_json(item)
        document.update(getattr(value, EXTRA, {}))
        return document
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    return value


def from_json(model: type[T], document: Any, path: str = "$") -> T:
    """An instance of the dataclass ``model``. Raises :class:`CodecError` naming the misfit's path.

    Keys that ``model`` does not have are kept and written back by :func:`to_json`.
    """
    if not isinstance(document, Mapping):
        raise CodecError(f"{path}: expected an object, got {type(document).__name__}")
    hints = _hints(typing.cast("typing.Hashable", model))
    known, extra = {}, {}
    for key, item in document.items():
        if key in hints:
            known[key] = _decode(hints[key], item, f"{path}.{key}")
        else:
            extra[key] = item
    try:
        instance = model(**known)
    except TypeError as error:
        raise CodecError(f"{path}: {error}") from None
    if extra:
        object.__setattr__(instance, EXTRA, extra)
    return instance


@cache
def _hints(model: type) -> dict[str, Any]:
    resolved = typing.get_type_hints(model)
    return {field.name: resolved[field.name] for field in dataclasses.fields(model)}


def _is_default(field: dataclasses.Field[Any], item: Any) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(item == field.default) and type(item) is type(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return bool(item == field.default_factory())
    return False


def _decode(hint: Any, item: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(hint, item, path)
    if origin is tuple:
        element = typing.get_args(hint)[0]
        if not isinstance(item, list):
            raise CodecError(f"{path}: expected an array, got {type(item).__name__}")
        return tuple(
            _decode(element, value, f"{path}[{index}]") for index, value in enumerate(item)
        )
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        element = typing.get_args(hint)[1]
        if not isinstance(item, Mapping):
            raise CodecError(f"{path}: expected an object, got {type(item).__name__}")
        return {key: _decode(element, value, f"{path}.{key}") for key, value in item.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, item, path)
    return _decode_scalar(hint, item, path)


def _decode_union(hint: Any, item: Any, path: str) -> Any:
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if item is None:
        return None
    return _decode(options[0], item, path)


def _decode_scalar(hint: Any, item: Any, path: str) -> Any:
    if hint is Any:
        return item
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        try:
            return hint(item)
        except ValueError:
            raise CodecError(f"{path}: unknown value {item!r}") from None
    if hint is float and isinstance(item, int) and not isinstance(item, bool):
        return float(item)
    if not isinstance(item, hint) or (hint is int and isinstance(item, bool)):
        raise CodecError(f"{path}: expected {hint.__name__}, got {type(item).__name__}")
    return item
