"""Generates the pages that must not be written by hand: findings, CLI, Python and C++ reference.

Run by mkdocs (gen-files plugin). Every page comes from what the program itself uses: the catalogue
of findings, the Click commands, the modules' docstrings, the public headers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "ci")]

import docs_native  # noqa: E402

from cuready.cli import _pages  # noqa: E402
from cuready.cli.main import COMMANDS  # noqa: E402

# Public modules of the API reference, in reading order.
MODULES = ("cuready.runtime", "cuready.errors", "cuready.snapshot", "cuready.doctor.finding")
SECTIONS = {
    "tutorial": "Tutorial",
    "how-to": "How-to guides",
    "explanation": "Explanation",
}


def write(path: str, text: str) -> None:
    with mkdocs_gen_files.open(path, "w") as stream:
        stream.write(text)


def title_of(page: Path) -> str:
    """The first heading of a page written by hand."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            return line.removeprefix("# ").strip()
    raise SystemExit(f"{page}: no heading")


def findings() -> list[str]:
    """One page an id, and the table of all."""
    nav, rows = [], ["# Findings\n", "| id | severity | what |", "|---|---|---|"]
    for check_id, entry in _pages.entries().items():
        rows.append(f"| [{check_id}]({check_id}.md) | {entry.severity.value} | {entry.title} |")
        links = "\n".join(f"- <{link}>" for link in entry.links)
        write(
            f"reference/findings/{check_id}.md",
            f"# {check_id}: {entry.title}\n\n"
            f"Severity: {entry.severity.value}. "
            f"Print this page with `cuready explain {check_id}`.\n\n"
            f"## What you see\n\n{entry.symptom}\n\n## Cause\n\n{entry.cause}\n\n"
            f"## How to check\n\n{entry.check}\n\n## Fix\n\n{entry.fix}\n"
            + (f"\n## Reports\n\n{links}\n" if links else ""),
        )
        nav.append(f"        * [{check_id}](reference/findings/{check_id}.md)")
    write("reference/findings/index.md", "\n".join(rows) + "\n")
    return ["    * [Findings](reference/findings/index.md)", *nav]


def commands() -> list[str]:
    """The command line, from the Click commands themselves."""
    parts = ["# Command line\n"]
    parts.append("Exit codes: `0` fine, `1` problems found or failed, `2` wrong usage,")
    parts.append("`3` cuready itself could not finish and says what it could not find out.\n")
    for name, (module, attribute, _) in COMMANDS.items():
        parts.append(
            f"::: mkdocs-click\n    :module: cuready.cli.{module}\n    :command: {attribute}\n"
            f"    :prog_name: cuready {name}\n    :depth: 1\n    :style: plain\n"
        )
    write("reference/cli.md", "\n".join(parts))
    return ["    * [Command line](reference/cli.md)"]


def python_api() -> list[str]:
    """One page a public module."""
    nav = []
    for module in MODULES:
        below = f"\n{docs_native.page()}" if module == "cuready.runtime" else ""
        write(f"reference/api/{module}.md", f"# {module}\n\n::: {module}\n{below}")
        nav.append(f"        * [{module}](reference/api/{module}.md)")
    return ["    * Python API", *nav]


def cpp_api() -> list[str]:
    """The public headers, which are written to be read, one page each."""
    nav = []
    for header in sorted((ROOT / "cpp" / "include" / "cuready").glob("*.hpp")):
        lines = header.read_text(encoding="utf-8").splitlines()
        about = lines[0].removeprefix("//").strip()
        code = "\n".join(lines)
        write(
            f"reference/cpp/{header.stem}.md",
            f"# `cuready/{header.name}`\n\n{about}\n\n```cpp\n{code}\n```\n",
        )
        nav.append(f"        * [{header.name}](reference/cpp/{header.stem}.md)")
    return ["    * C++ API", *nav]


def hand_written() -> list[str]:
    nav = []
    for folder, title in SECTIONS.items():
        pages = sorted((ROOT / "docs" / folder).glob("*.md"))
        if pages:
            nav.append(f"* {title}")
            nav += [f"    * [{title_of(page)}]({folder}/{page.name})" for page in pages]
    return nav


def reference_pages() -> list[str]:
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    return [f"    * [{title_of(page)}](reference/{page.name})" for page in pages]


def measurements() -> list[str]:
    page = ROOT / "docs" / "performance.md"
    return [f"* [{title_of(page)}](performance.md)"] if page.exists() else []


navigation = ["* [cuready](index.md)", *hand_written(), "* Reference"]
navigation += [*reference_pages(), *commands(), *findings(), *python_api(), *cpp_api()]
navigation += measurements()
write("SUMMARY.md", "\n".join(navigation) + "\n")
