"""What an environment is, as ``.cuready/env.json`` has it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cuready import __version__

__all__ = ["SCHEMA_VERSION", "State"]

SCHEMA_VERSION = 1
KINDS = ("venv", "conda")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")  # as in recipe.schema.json


@dataclass(frozen=True)
class State:
    """What an environment is. ``kind``: ``venv`` or ``conda``.

    Attributes:
        decision, target: what the recipe's rules meant, and on what machine.
        machine: the facts of the machine that it was made on.
        pip_lock, conda_lock: the locks as text; empty where that half has nothing.
        records: sha256 of each pip package's RECORD, by name.
        packages: ``{"pip": {name: version}, "conda": {name: "version build"}}``, as locked.
        verified: the last verification's document; empty when there was none.
        prefix: the folder that it was made in; empty where an older cuready made it.
    """

    name: str
    kind: str
    recipe: str
    recipe_text: str
    python: str
    created: str
    changed: str
    recipe_path: str = ""
    decision: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    pip_lock: str = ""
    conda_lock: str = ""
    records: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    verified: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    tool_version: str = __version__
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> State:
        """Read it back; fields of a newer cuready are left out.

        Raises TypeError or ValueError for what is none, so that nobody trips over it later.
        """
        known = {
            item.name: document[item.name]
            for item in dataclasses.fields(cls)
            if item.name in document
        }
        made = cls(**known)
        for item in dataclasses.fields(cls):
            form = {"str": str, "int": int}.get(str(item.type), Mapping)
            if not isinstance(getattr(made, item.name), form):
                raise TypeError(f"{item.name}: not a {form.__name__}")
        _check(made)
        return made


def _check(state: State) -> None:
    """Raise ValueError for values that no environment has."""
    target, verified = state.target, state.verified
    texts = ("cuda", "driver", "capability", "glibc")
    right = {
        "kind": state.kind in KINDS,
        "variables": _are_texts(state.variables) and all(map(_VARIABLE.match, state.variables)),
        "records": _are_texts(state.records),
        "target": isinstance(target.get("subdir"), str)
        and _is_list(target.get("said", []))
        and all(isinstance(target.get(name) or "", str) for name in texts),
        "decision": _is_list(state.decision.get("reasons", [])),
        "verified": not verified
        or all(isinstance(verified.get(key), int) for key in ("passed", "failed", "skipped")),
    }
    wrong = [name for name, fits in right.items() if not fits]
    if wrong:
        raise ValueError(f"{wrong[0]}: not what cuready writes")


def _are_texts(table: Mapping[Any, Any]) -> bool:
    return all(isinstance(item, str) and "\0" not in item for item in table.values())


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
