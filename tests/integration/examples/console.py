"""The commands that the documentation shows, and a shell that runs a page's as a reader would."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BLOCK = re.compile(r"^```(console|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LIMIT_S = 280


@dataclass(frozen=True)
class Command:
    """One line after a prompt, and where it stands."""

    page: str
    text: str


@dataclass(frozen=True)
class Ran:
    """What a command printed (both streams), and its exit status."""

    text: str
    output: str
    code: int


def pages() -> list[Path]:
    """Every page that people read: the README, the rules for contributors, docs/, the examples'."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    found += sorted((ROOT / "docs").rglob("*.md"))
    return found + sorted((ROOT / "examples").rglob("README.md"))


def commands() -> Iterator[Command]:
    """What a reader would type, in reading order: the lines after a prompt in ```console blocks,
    and all lines of ```sh blocks."""
    for page in pages():
        for kind, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            prompt = "$ " if kind == "console" else ""
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith(prompt) and line.strip():
                    yield Command(str(page.relative_to(ROOT)), line.removeprefix(prompt).strip())


def inline_commands() -> Iterator[Command]:
    """`cuready …` between backticks in running text and tables."""
    for page in pages():
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for span in INLINE.findall(text):
            if span.startswith(("cuready ", "sudo cuready ")):
                yield Command(str(page.relative_to(ROOT)), span.replace("\\|", "|"))


def run_in_one_shell(
    lines: list[str], folder: Path, environment: Mapping[str, str], services: Mapping[str, int]
) -> list[Ran]:
    """All ``lines`` in one bash, so that ``cd`` and ``eval`` act on those that follow.

    ``services`` are lines that do not end by themselves, and the port that each then answers on:
    they go on in the background until the shell ends.
    """
    script = ["set +e"]
    for number, line in enumerate(lines):
        script.append(f"printf '\\n\\036begin %d\\n' {number}")
        if line in services:
            script += [
                f"{line} &",
                f"for _ in $(seq 300); do (: < /dev/tcp/127.0.0.1/{services[line]}) 2>/dev/null "
                "&& break; sleep 0.1; done",
                f"(: < /dev/tcp/127.0.0.1/{services[line]})",
            ]
        else:
            script.append(line)
        script.append(f"printf '\\n\\036end %d %d\\n' {number} $?")
    process = subprocess.Popen(
        ["bash", "--noprofile", "--norc", "-c", "\n".join(script)],
        cwd=folder, env=dict(environment), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        watch = subprocess.Popen(
            ["sh", "-c", f"sleep {LIMIT_S}; kill -KILL -{process.pid}"], start_new_session=True
        )
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if line.startswith(f"\036end {len(lines) - 1} "):
                break
        os.killpg(watch.pid, signal.SIGKILL)
        watch.wait()
    finally:
        # The services outlive the shell: its process group is theirs.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    text = "".join(said)
    made = []
    for number, line in enumerate(lines):
        found = re.search(rf"\036begin {number}\n(.*)\n\036end {number} (\d+)\n", text, re.DOTALL)
        assert found, f"the shell ended in `{line}`:\n{text[-3000:]}"
        made.append(Ran(line, found[1], int(found[2])))
    return made
