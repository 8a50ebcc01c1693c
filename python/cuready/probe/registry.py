"""The readers, in the order in which their facts are laid over each other.

To add one: write ``def read(context: Context) -> Facts`` in a module of this package and add a line
here. A reader names others in ``after`` when it needs their facts (``context.so_far``); everything
else runs side by side.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from cuready.probe.context import Context, Facts

__all__ = ["READERS", "Reader"]


@dataclass(frozen=True)
class Reader:
    """A reader's name, where its function is, and how long it may take.

    ``target`` is ``module:function``, imported in the reader's own thread: a module that cannot be
    imported costs that reader alone. ``isolated``: it calls into the kernel's NVIDIA driver, which
    can hang beyond any signal, so on a live machine it runs in a child process.
    """

    name: str
    target: str | Callable[[Context], Facts]
    limit_s: float = 3.0
    after: tuple[str, ...] = ()
    isolated: bool = False

    def load(self) -> Callable[[Context], Facts]:
        """The function. Raises ImportError or AttributeError."""
        if callable(self.target):
            return self.target
        module, _, attribute = self.target.partition(":")
        function = getattr(importlib.import_module(f"cuready.probe.{module}"), attribute)
        assert callable(function)  # noqa: S101 - a test resolves every entry of the table
        return function  # type: ignore[no-any-return]


READERS: tuple[Reader, ...] = ()
