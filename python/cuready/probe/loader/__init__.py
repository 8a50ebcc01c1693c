"""Predicts the dynamic loader: which file answers each name, and the words it fails with."""

from cuready.probe.loader.linkmap import LinkMap, LoadFailure
from cuready.probe.loader.machine import Interpreter, read_interpreter
from cuready.probe.loader.process import Opened, Process
from cuready.probe.loader.symbols import SymbolFailure, VersionFailure

__all__ = [
    "Interpreter",
    "LinkMap",
    "LoadFailure",
    "Opened",
    "Process",
    "SymbolFailure",
    "VersionFailure",
    "read_interpreter",
]
