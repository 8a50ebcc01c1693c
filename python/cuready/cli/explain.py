"""``cuready explain``: the cause, the check and the fix for a pasted error or a finding's id."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from cuready._util import READ_LIMIT
from cuready.cli import _common
from cuready.errors import InputError

if TYPE_CHECKING:
    from cuready.doctor.engine import Diagnosis
    from cuready.doctor.explain import Explanation
    from cuready.snapshot import Snapshot

# What pip prints for every way in which an index can fail to list a project.
_LONGEST_ID = 12
_LONGEST_PATH = 250
_MOST_BYTES = READ_LIMIT - (1 << 20)  # a buffered stream reads a little ahead
_FROM_VERSIONS = re.compile(r"from versions: none|Retrying \(Retry\(")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="TEXT|ID|-")
@click.option("--here", is_flag=True, help="Look at this machine too.")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Look at this snapshot.")
@_common.format_option()
def explain(words: tuple[str, ...], here: bool, source: Path | None, output_format: str) -> int:
    """Say what an error means: paste it, name a finding's id, or pipe a log into `explain -`.

    What no rule matches is said to be unknown: this command never guesses. Exit code 1 then.
    """
    from cuready.cli import _pages
    from cuready.doctor.explain import explain_entry, explain_text

    text = _text(words)
    snapshot = _snapshot(here, source)
    diagnosis = None if snapshot is None else _diagnosis(snapshot)
    known = _pages.entry(text) if len(text) < _LONGEST_ID else None
    theirs = _of_a_plugin(text, snapshot) if known is None else None
    if known is not None:
        answers: tuple[Explanation, ...] = (explain_entry(known, diagnosis),)
    elif theirs is not None:
        answers = (theirs,)
    else:
        answers = explain_text(text, diagnosis)
    ladders = _ask_addresses(text, answers) if here else {}
    if output_format == "json":
        body = {"explanations": [item.to_dict() for item in answers], "addresses": ladders}
        _common.emit_json(_common.document(body))
    elif answers:
        told = (_render(item, asked=diagnosis is not None) for item in answers)
        click.echo(_common.printable("\n\n".join(told)))
        for url, ladder in ladders.items():
            click.echo(_common.printable(f"\n{url}\n  {_verdict(ladder)}"))
    else:
        click.echo("No known cause matches this text.")
        _suggest(text)
    return _common.EXIT_OK if answers else _common.EXIT_FAILED


def _text(words: tuple[str, ...]) -> str:
    if not words or words == ("-",):
        if not words and sys.stdin.isatty():
            raise click.UsageError("paste an error, name a finding's id, or use `-` to read stdin")
        text = _standard_input()
    else:
        text = " ".join(words)
    if not text.strip():
        raise InputError("nothing to explain: the text is empty")
    return text.strip()


def _standard_input() -> str:
    """A pasted log. What is not looked at is said on stderr, so that nobody takes it for clean."""
    from cuready.doctor.explain import HEAD, TAIL

    raw, whole = _both_ends(sys.stdin.buffer, HEAD * 4, TAIL * 4)  # UTF-8 has up to four bytes
    if not whole:
        _common.warn(f"only the first {_MOST_BYTES / 1e6:.0f} MB of the input were read")
    text = raw.decode("utf-8", errors="replace")
    if len(text) > HEAD + TAIL:
        _common.warn(f"looked at the first {HEAD:,} and the last {TAIL:,} characters of it")
    return text


def _both_ends(stream: BinaryIO, head: int, tail: int) -> tuple[bytes, bool]:
    """The input, and whether its end is in it.

    Of a long file the first ``head`` and the last ``tail`` bytes; a long pipe ends at the limit.
    """
    if stream.seekable():
        start = stream.tell()
        if stream.seek(0, os.SEEK_END) - start > head + tail:
            stream.seek(start)
            first = stream.read(head)
            stream.seek(-tail, os.SEEK_END)
            return first + b"\n" + stream.read(tail), True
        stream.seek(start)
    raw = stream.read(_MOST_BYTES)
    return raw, len(raw) < _MOST_BYTES or not stream.read(1)


def _snapshot(here: bool, source: Path | None) -> Snapshot | None:
    if source is not None:
        from cuready.snapshot import load

        return load(source)
    if not here:
        return None
    from cuready.probe import take

    return take()


def _diagnosis(snapshot: Snapshot) -> Diagnosis:
    from cuready.doctor.engine import diagnose

    return diagnose(snapshot)


def _of_a_plugin(text: str, snapshot: Snapshot | None) -> Explanation | None:
    """The page of an id that a plugin gives; with ``snapshot``, of what it finds there."""
    from cuready.doctor import plugins

    if not plugins.is_id(text.upper()):
        return None
    from cuready.cli import _plugin_ids

    return _plugin_ids.explanation(text, None if snapshot is None else _plugin_ids.run(snapshot))


# Answers about sources; pip's message names no address, so the configured one is asked.
_ABOUT_SOURCES = frozenset({"NET01", "NET02"})


def _ask_addresses(text: str, answers: tuple[Explanation, ...]) -> dict[str, dict[str, Any]]:
    """Climb to the addresses that the messages name, or to the sources of the tool that spoke."""
    named = {item.details["url"] for item in answers if "url" in item.details}
    if named:
        from cuready.mirrors.net.ladder import diagnose as climb

        return {url: climb(url).to_dict() for url in sorted(named)}
    if not _ABOUT_SOURCES & {item.id for item in answers} and not _FROM_VERSIONS.search(text):
        return {}
    from cuready.cli import _sources

    tool = "conda" if "conda" in text.lower() else "pip"
    wanted = [item for item in _sources.configured() if item.tool == tool]
    return {report["url"]: report for report in _sources.climb_all(wanted)}


def _verdict(ladder: dict[str, Any]) -> str:
    """One line: what the climb found, and what to do."""
    if ladder["ok"]:
        return "answers as it should"
    hint = f"; {ladder['hint']}" if ladder["hint"] else ""
    return f"{ladder['title']}: {ladder['detail']}{hint}"


def _render(item: Explanation, *, asked: bool) -> str:
    lines = [f"{item.id}  {item.title}"]
    if item.matched:
        lines.append(f"  seen    {item.matched.splitlines()[0][:200]}")
    if item.details:
        named = ", ".join(f"{name} {value}" for name, value in item.details.items())
        lines.append(f"  names   {named}")
    lines.append(f"  cause   {item.cause}")
    lines.append(f"  check   {item.check}")
    if item.here is not None:
        lines.append(f"  here    {item.here.id}: {item.here.cause}")
        lines += [f"          {proof.source}: {proof.detail}" for proof in item.here.evidence]
        commands = [command for fix in item.here.fix for command in fix.commands]
        lines += [f"  fix     $ {command}" for command in commands]
    else:
        if asked:
            lines.append("  here    not found on this machine now")
        lines += [f"  fix     {step}" for step in item.fix]
    if item.alternatives:
        lines.append(f"  also    {', '.join(item.alternatives)} print the same message")
    lines += [f"  link    {link}" for link in item.links]
    return "\n".join(lines)


def _suggest(text: str) -> None:
    from cuready.doctor import catalogue, plugins

    if plugins.is_id(text.upper()):
        from cuready.cli import _plugin_ids

        found = _plugin_ids.installed()
        if found:
            click.echo(
                _common.printable(
                    f"  no plugin is named for {text.upper()}; what ids a plugin has is then known "
                    f"only when it finds something: cuready doctor --only {text.upper()}\n"
                    f"  plugins here: {_plugin_ids.named(found)}"
                )
            )
            return
    close = catalogue.suggest(text) if len(text) < 12 else None
    hint = "run `cuready doctor` to look at the machine itself"
    if close:
        hint = f"did you mean {close}?"
    elif len(text) < _LONGEST_PATH and Path(text).is_file():
        hint = f"that is a file; to have it read: cuready explain - < {text}"
    click.echo(f"  {hint}")
