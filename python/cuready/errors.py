"""The one tree of errors: what was being done, the vendor's own words, and what to do about it.

The C++ library has the same tree; ``cuready._core`` raises these classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "BindingError",
    "Cancelled",
    "CaptureError",
    "CompatError",
    "ConfigError",
    "ContextBusy",
    "CudaContextError",
    "CudaError",
    "CureadyError",
    "DeviceMismatch",
    "DriverNotFound",
    "DtypeError",
    "EnginePlatformError",
    "EngineVersionError",
    "EnvError",
    "IncompleteError",
    "InputError",
    "InvalidArgument",
    "LibraryNotFound",
    "MirrorError",
    "MissingExtra",
    "NotRefitted",
    "OutOfMemory",
    "PlanInvalid",
    "PluginNotFound",
    "RecipeError",
    "ShapeError",
    "SnapshotError",
    "SolveError",
    "TensorRTError",
    "UnsupportedFeature",
    "UnsupportedLibrary",
]


class CureadyError(Exception):
    """Base of every error that cuready raises on purpose.

    Attributes:
        operation: what was being done, such as ``"deserialize plan"``; may be empty.
        messages: the vendor's words (TensorRT's log lines, CUDA's error name), oldest first.
        hint: what the reader should do next; empty when nothing honest can be said.
        details: facts for JSON output (paths, versions, URLs); values must be JSON types.
        exit_code: what the command line ends with: 1 failed, 2 wrong usage, 3 could not finish.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        messages: Sequence[str] = (),
        hint: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.messages = tuple(messages)
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})

    @property
    def message(self) -> str:
        """The first line: what went wrong, with the name of the thing it went wrong with."""
        return str(self.args[0]) if self.args else ""

    def to_dict(self) -> dict[str, Any]:
        """The error as it stands in ``--format json`` documents."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "operation": self.operation,
            "messages": list(self.messages),
            "hint": self.hint,
            "details": self.details,
        }


# --- input and the tool itself -------------------------------------------------------------


class InputError(CureadyError):
    """What the user gave cannot be used: a file that is not what it should be, a bad option."""

    exit_code = 2


class InvalidArgument(InputError):
    """An argument that no call could take."""


class PlanInvalid(InputError):
    """A file or buffer that is no TensorRT plan, or one that was cut short."""


class IncompleteError(CureadyError):
    """cuready could not finish; the message says what it could not find out."""

    exit_code = 3


class MissingExtra(CureadyError):
    """An optional dependency is not installed; the hint holds the install command."""

    exit_code = 3


class SnapshotError(InputError):
    """A snapshot file is truncated, not JSON, or not a snapshot."""


class CompatError(InputError):
    """A compatibility question that cannot be read: a bad version, an unknown GPU or package."""


class ConfigError(InputError):
    """A conda, pip, uv or rattler configuration file cannot be read or must not be changed."""


class RecipeError(InputError):
    """A recipe is not valid; the message names the file, the key and the line where known."""


# --- networks and environments -----------------------------------------------------------------


class MirrorError(CureadyError):
    """Every mirror failed; ``details['attempts']`` lists each with its cause."""


class SolveError(CureadyError):
    """No set of packages satisfies the request; ``messages`` holds the solver's reasons."""


class EnvError(CureadyError):
    """An environment could not be created, changed or verified; nothing is left half done."""


# --- CUDA and TensorRT -----------------------------------------------------------------------


class CudaError(CureadyError):
    """The CUDA driver said no; ``name`` is its error name, such as ``CUDA_ERROR_NO_DEVICE``."""

    def __init__(self, message: str, *, name: str = "", code: int = 0, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.name = name
        self.code = code
        self.details.setdefault("cuda", {"name": name, "code": code})


class DriverNotFound(CudaError):
    """No usable CUDA driver; ``details["step"]`` says how far it came: open, symbol, init, …"""


class CudaContextError(CudaError):
    """The current CUDA context is not the device's primary one."""


class OutOfMemory(CudaError):
    """Device or pinned memory ran out; details hold requested, free and total bytes."""


class DeviceMismatch(CudaError):
    """An array or stream belongs to another device or context than the engine."""


class CaptureError(CudaError):
    """A CUDA graph was required and could not be captured; the message gives the reason."""


class TensorRTError(CureadyError):
    """TensorRT refused a call; ``messages`` holds its log lines of that call."""


class LibraryNotFound(TensorRTError):
    """No such library where it was looked for; the message lists the places."""


class UnsupportedLibrary(TensorRTError):
    """A file that is no library, of another architecture, an unknown major, or another product."""


class EngineVersionError(TensorRTError):
    """A plan was built by another TensorRT than the one that should run it."""


class EnginePlatformError(TensorRTError):
    """A plan was built for another GPU or operating system."""


class PluginNotFound(TensorRTError):
    """A plan needs a plugin creator that no loaded library registers."""


class NotRefitted(TensorRTError):
    """A plan's weights were stripped and have not been supplied: its results would be wrong."""


class UnsupportedFeature(TensorRTError):
    """This TensorRT version has no such function; the message names the first one that has."""


class Cancelled(TensorRTError):
    """A pool was closed before the request ran."""


class BindingError(TensorRTError):
    """A tensor is missing, unknown, not contiguous, or of a kind that cannot be bound."""


class ShapeError(BindingError):
    """A shape that the engine or the active optimization profile does not allow."""


class DtypeError(BindingError):
    """A data type other than the tensor's."""


class ContextBusy(TensorRTError):
    """An execution context was entered from a second thread while a call was under way."""
