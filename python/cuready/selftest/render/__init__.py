"""Renderers of a self-test report: text, JUnit and one HTML file."""

from __future__ import annotations

from cuready.selftest.model import Report

__all__ = ["render"]


def render(report: Report, output_format: str) -> str:
    """The report as ``text``, ``junit`` or ``html``; JSON is `Report.to_dict`."""
    if output_format == "html":
        from cuready.selftest.render.html import page

        return page(report)
    if output_format == "junit":
        from cuready.selftest.render.junit import document

        return document(report)
    from cuready.selftest.render.text import lines

    return "\n".join(lines(report))
