"""Renderers: a Diagnosis as text, JSON, SARIF, JUnit XML or GitHub annotations."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from cuready.doctor.engine import Diagnosis

__all__ = ["FORMATS", "renderer"]

# Format → module of this package; each has ``render(diagnosis) -> str``. Text takes more and is
# written by the command itself.
FORMATS = {"json": "document", "sarif": "sarif", "junit": "junit", "github": "github"}


def renderer(name: str) -> Callable[[Diagnosis], str]:
    """The function that turns a Diagnosis into the format ``name``. Raises KeyError."""
    module = importlib.import_module(f"cuready.doctor.render.{FORMATS[name]}")
    render = module.render
    assert callable(render)  # noqa: S101 - the table above is ours
    return render  # type: ignore[no-any-return]
