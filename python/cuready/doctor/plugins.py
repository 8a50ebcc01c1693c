"""What plugins answered, as checks and findings: pure, from ``Snapshot.plugin_facts``.

Functions of ``cuready.checks`` give findings with ids of their own; those of
``rapids_doctor_check`` pass, warn or raise. Who ran them, and where, is the readers' affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cuready._util import one_line
from cuready.doctor import catalogue
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Risk, Severity
from cuready.doctor.installers import for_package
from cuready.doctor.registry import Check, Outcome, Unknown
from cuready.snapshot import Snapshot

__all__ = ["OUTCOMES", "asked_for", "checks_of", "findings_of", "is_id", "may_be_asked_for",
           "named_for", "outcomes", "unusable"]  # fmt: skip

OUTCOMES = "cuready.plugins"
"""Key of ``Snapshot.plugin_facts``: how each plugin ended (see docs/reference/plugins.md)."""

_LONGEST = 4000
_ID = re.compile(r"^[A-Z][A-Z_]{1,11}[0-9]{2,3}$")
_GROUP = re.compile(r"^[A-Z][A-Z_]{1,11}$")
_CHECKS = "cuready.checks"


def is_id(word: str) -> bool:
    """Whether a plugin may give findings of the id ``word``: its form, and a group not of ours."""
    return bool(_ID.match(word)) and catalogue.group_of(word) not in catalogue.GROUPS


def may_be_asked_for(word: str) -> bool:
    """Whether ``word`` is an id or a group that a plugin may have."""
    return is_id(word) or bool(_GROUP.match(word) and word not in catalogue.GROUPS)


def named_for(name: str, word: str) -> bool:
    """Whether a plugin whose entry point is called ``name`` gives the id or group ``word``.

    One is named for an id of its own (``ACME01``) or for their group (``acme``), in any case.
    """
    name, word = name.upper(), word.upper()
    return word in (name, catalogue.group_of(name)) or catalogue.group_of(word) == name


def outcomes(snapshot: Snapshot, group: str | None = None) -> list[Mapping[str, Any]]:
    """How the plugins of ``group`` (None: all) ended, as far as the Snapshot knows."""
    found = snapshot.plugin_facts.get(OUTCOMES)
    items = found if isinstance(found, (list, tuple)) else ()
    known = [x for x in items if isinstance(x, Mapping) and {"group", "name", "status"} <= set(x)]
    return [x for x in known if group is None or x["group"] == group]


def checks_of(snapshot: Snapshot) -> tuple[Check, ...]:
    """One check for each id that a ``cuready.checks`` function found something under."""
    found = findings_of(snapshot)
    return tuple(Check(name, _giving(items), (), ()) for name, items in found.items())


def findings_of(snapshot: Snapshot) -> dict[str, list[Finding]]:
    """What the ``cuready.checks`` functions found, by id."""
    found: dict[str, list[Finding]] = {}
    for item in outcomes(snapshot, _CHECKS):
        for answer in _answers(item):
            read = _finding(answer, item)
            if isinstance(read, Finding):
                found.setdefault(read.id, []).append(read)
    return found


def asked_for(
    snapshot: Snapshot, words: Sequence[str], found: Sequence[Check]
) -> tuple[Check, ...]:
    """A check for each of ``words`` that no plugin has ``found`` anything under.

    Without an answer is one whose plugins gave none; of an id that no plugin is named for, that
    may have been any of them.
    """
    known = {name for item in found for name in (item.id, catalogue.group_of(item.id))}
    return tuple(
        Check(word, _nothing(snapshot, word), (), ())
        for word in words
        if word not in known and may_be_asked_for(word)
    )


def _nothing(snapshot: Snapshot, word: str) -> Any:
    ran = outcomes(snapshot, _CHECKS)
    named = [item for item in ran if named_for(str(item["name"]), word)]
    failed = [(item["name"], why) for item in named or ran if (why := unusable(item))]

    def outcome(_: Snapshot) -> Outcome:
        return Unknown(f"plugin {failed[0][0]}: {failed[0][1]}") if failed else ()

    return outcome


def _giving(items: list[Finding]) -> Any:
    return lambda _snapshot: items


def _answers(item: Mapping[str, Any]) -> list[Any]:
    answer = item.get("answer")
    return list(answer) if isinstance(answer, (list, tuple)) else []


def unusable(item: Mapping[str, Any]) -> str:
    """Why the answer of a plugin is none; empty when it is fine."""
    status, text = item["status"], str(item.get("text", ""))
    if status in ("cannot-load", "crashed", "timeout"):
        return text or str(status)
    if item["group"] != "rapids_doctor_check" and status == "failed":
        return text or "it raised an error"
    for answer in _answers(item):
        read = _finding(answer, item)
        if isinstance(read, str):
            return read
    return ""


def _finding(answer: Any, item: Mapping[str, Any]) -> Finding | str:
    """A plugin's finding, or what is wrong with it."""
    if not isinstance(answer, Mapping):
        return f"it gave {type(answer).__name__} where a finding belongs"
    name = answer.get("id")
    if not isinstance(name, str) or not _ID.match(name):
        return f"the id {name!r} is not letters and two or three digits"
    if catalogue.group_of(name) in catalogue.GROUPS:
        return f"the id {name} is cuready's own"
    if not answer.get("title") or not answer.get("cause"):
        return f"{name} has no title or no cause"
    try:
        return Finding(
            id=name,
            severity=Severity(answer.get("severity", "warning")),
            title=_text(answer["title"]),
            cause=_text(answer["cause"]),
            confidence=Confidence(answer.get("confidence", "proven")),
            evidence=tuple(
                Evidence(_text(x["source"]), _text(x["detail"])) for x in answer.get("evidence", ())
            )
            or (Evidence(f"plugin {item['name']}", str(item.get("value", ""))),),
            explains=tuple(map(str, answer.get("explains", ()))),
            fix=tuple(_fix(x) for x in answer.get("fix", ())),
            links=tuple(map(str, answer.get("links", ()))),
            subject=_text(answer.get("subject", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"{name}: {type(error).__name__}: {error}"


def _text(value: Any) -> str:
    """One printable line: what a plugin says reaches terminals and reports."""
    return one_line(value, _LONGEST)


def _fix(table: Mapping[str, Any]) -> Fix:
    return Fix(
        commands=tuple(map(_text, table["commands"])),
        note=_text(table.get("note", "")),
        needs_root=bool(table.get("needs_root", False)),
        risk=Risk(table.get("risk", "low")),
    )


def reinstall(snapshot: Snapshot, item: Mapping[str, Any]) -> Iterator[Fix]:
    """The command that brings the distribution of a plugin back."""
    name = str(item.get("distribution") or item["name"])
    yield Fix(
        (for_package(snapshot, name).install([name], reinstall=True),),
        "with everything that it requires",
    )
