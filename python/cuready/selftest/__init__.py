"""Staged proofs on a GPU: each stage proves one thing, and the first that fails has the blame.

Nothing of the GPU is touched in this process: the proofs run in child processes that may hang,
crash or lose their device (`supervise`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cuready.selftest.model import Report
    from cuready.selftest.stages import Options

__all__ = ["Options", "Report", "selftest"]


def __getattr__(name: str) -> Any:
    if name == "selftest":
        from cuready.selftest.run import selftest

        return selftest
    if name == "Options":
        from cuready.selftest.stages import Options

        return Options
    if name == "Report":
        from cuready.selftest.model import Report

        return Report
    raise AttributeError(name)
