"""Ctrl-C where no command has begun its work: the process ends at once, and says nothing.

A KeyboardInterrupt cannot be relied on while modules are imported: raised inside a class body it
becomes a RuntimeError (Python before 3.12), inside the compiler a SyntaxError, and in a callback of
the import system it is printed and forgotten. A command imports modules too while it works; there
it is raised as soon as the import system's own code is left.
"""

from __future__ import annotations

import _thread
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is not imported here: nothing may come before the handler
    from types import FrameType
    from typing import Any

__all__ = ["EXIT_INTERRUPTED", "in_a_command", "outside_of_commands"]

EXIT_INTERRUPTED = 130  # what a shell reports for a program that SIGINT ended

# The part of `signal` that is built into the interpreter: the rest of it makes enums, and would be
# imported while Ctrl-C still raises.
_signal: Any = __import__("_signal")
_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"


def outside_of_commands() -> None:
    """From now on Ctrl-C ends the process, unless somebody else decides what it does."""
    if _signal.getsignal(_signal.SIGINT) in (_signal.default_int_handler, _raise):
        _signal.signal(_signal.SIGINT, _leave)


def in_a_command() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt again: there may be something to clean up."""
    if _signal.getsignal(_signal.SIGINT) is _leave:
        _signal.signal(_signal.SIGINT, _raise)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)


def _raise(number: int, frame: FrameType | None) -> None:
    if frame is not None and frame.f_code.co_filename == _IMPORT_SYSTEM:
        # Not by raising the signal here: it would be handled before this function has returned.
        _thread.start_new_thread(_again, (number, _thread.get_ident()))
    else:
        raise KeyboardInterrupt


def _again(number: int, main: int) -> None:
    time.sleep(0.001)
    if os.name == "nt":
        _thread.interrupt_main()
    else:
        _signal.pthread_kill(main, number)  # which also wakes it, where it waits for something
