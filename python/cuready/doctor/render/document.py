"""``--format json``: one document, described by ``data/doctor.schema.json``."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from cuready import __version__
from cuready._util import data_text
from cuready.doctor.engine import Diagnosis

__all__ = ["SCHEMA_VERSION", "render", "schema", "to_document"]

SCHEMA_VERSION = 1


def to_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """The answer as JSON types."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "cuready", "version": __version__},
        "summary": diagnosis.summary(),
        "findings": [item.to_dict() for item in diagnosis.findings],
        "checks": [item.to_dict() for item in diagnosis.checks],
        "elapsed_ms": round(diagnosis.elapsed_ms, 3),
    }


def render(diagnosis: Diagnosis) -> str:
    """The answer as one JSON document, in ASCII: it can be printed under any locale."""
    return json.dumps(to_document(diagnosis), indent=2)


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document."""
    loaded = json.loads(data_text("cuready.doctor", "data/doctor.schema.json"))
    assert isinstance(loaded, dict)  # noqa: S101 - our own file
    return loaded
