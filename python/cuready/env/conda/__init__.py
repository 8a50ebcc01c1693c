"""Conda environments without conda: solve, lock, fetch through mirrors, link with the network off.

The engine is py-rattler (extra ``conda``) in a child process; nothing here imports it into this
one. ``model`` shows how the phases follow each other.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cuready.env.conda.fetch import fetch_plan
    from cuready.env.conda.link import apply_plan
    from cuready.env.conda.lock import read_lock, write_lock
    from cuready.env.conda.model import (
        Applied,
        Installed,
        Interruption,
        Plan,
        Record,
        Solution,
        SolveRequest,
        text_of_change,
    )
    from cuready.env.conda.plan import installed_records, make_plan
    from cuready.env.conda.session import CondaOptions, CondaSession
    from cuready.env.conda.solve import solve_recipe
    from cuready.env.conda.transaction import (
        discard_previous,
        interrupted,
        recover,
        restore_previous,
    )

_WHERE = {
    "Applied": "model",
    "CondaOptions": "session",
    "CondaSession": "session",
    "Installed": "model",
    "Interruption": "model",
    "Plan": "model",
    "Record": "model",
    "Solution": "model",
    "SolveRequest": "model",
    "apply_plan": "link",
    "discard_previous": "transaction",
    "fetch_plan": "fetch",
    "installed_records": "plan",
    "interrupted": "transaction",
    "make_plan": "plan",
    "read_lock": "lock",
    "recover": "transaction",
    "restore_previous": "transaction",
    "solve_recipe": "solve",
    "text_of_change": "model",
    "write_lock": "lock",
}

__all__ = [
    "Applied",
    "CondaOptions",
    "CondaSession",
    "Installed",
    "Interruption",
    "Plan",
    "Record",
    "Solution",
    "SolveRequest",
    "apply_plan",
    "discard_previous",
    "fetch_plan",
    "installed_records",
    "interrupted",
    "make_plan",
    "read_lock",
    "recover",
    "restore_previous",
    "solve_recipe",
    "text_of_change",
    "write_lock",
]


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
