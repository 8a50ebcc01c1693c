"""From a pasted error, a traceback or a whole log to causes: regular expressions as data.

Nothing that matches means that nothing is said: this module never guesses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from packaging.version import InvalidVersion, Version

from cuready._util import data_text, tomllib
from cuready.doctor import catalogue
from cuready.doctor.engine import Diagnosis
from cuready.doctor.finding import Finding

__all__ = [
    "HEAD",
    "TAIL",
    "Explanation",
    "Rule",
    "explain_entry",
    "explain_id",
    "explain_text",
    "rules",
]

# The end of a long log holds the failure, or its beginning does: an import that fails, a warning.
HEAD, TAIL = 1_000_000, 3_000_000

DEFAULT_PRIORITY = 50


@dataclass(frozen=True)
class Rule:
    """One message and the causes that print it, most likely first."""

    key: str
    ids: tuple[str, ...]
    pattern: re.Pattern[str]
    priority: int
    messages: tuple[str, ...]
    near: tuple[str, ...]
    title: str = ""
    cause: str = ""
    check: str = ""
    fix: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # where the messages were seen
    yields: bool = False  # says nothing of words that a rule of higher priority has explained
    # "newer", "older", "around": how what is on offer lies to what was wanted; "withheld": left out
    offered: str = ""


@dataclass(frozen=True)
class Explanation:
    """One possible cause of what was pasted.

    ``matched`` is the line that gave it away, ``details`` what the message itself names (a symbol,
    a version, a URL). ``here`` is the finding of this machine with the same id, when there is one.
    """

    id: str
    title: str
    cause: str
    check: str
    fix: tuple[str, ...]
    links: tuple[str, ...]
    matched: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    alternatives: tuple[str, ...] = ()
    here: Finding | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "cause": self.cause,
            "check": self.check,
            "fix": list(self.fix),
            "links": list(self.links),
            "matched": self.matched,
            "details": dict(self.details),
            "alternatives": list(self.alternatives),
            "here": None if self.here is None else self.here.to_dict(),
        }


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule, in the order of the data file."""
    text = data_text("cuready.doctor", "data/explain.toml")
    return tuple(_rule(table) for table in tomllib.loads(text)["rule"])


def _rule(table: Mapping[str, Any]) -> Rule:
    ids = tuple(table.get("ids", ()))
    return Rule(
        key=table.get("key") or ids[0],
        ids=ids,
        pattern=re.compile(table["pattern"]),
        priority=table.get("priority", DEFAULT_PRIORITY),
        messages=tuple(table["messages"]),
        near=tuple(table.get("near", ())),
        title=table.get("title", ""),
        cause=table.get("cause", ""),
        check=table.get("check", ""),
        fix=tuple(table.get("fix", ())),
        links=tuple(table.get("links", ())),
        sources=tuple(table.get("source", ())),
        yields=table.get("yields", False),
        offered=table.get("offered", ""),
    )


def explain_id(check_id: str, diagnosis: Diagnosis | None = None) -> Explanation:
    """The catalogue's entry of ``check_id``. Raises KeyError for an unknown id."""
    return explain_entry(catalogue.entry(check_id), diagnosis)


def explain_entry(known: catalogue.Entry, diagnosis: Diagnosis | None = None) -> Explanation:
    """One id's entry as an explanation."""
    return Explanation(
        id=known.id,
        title=known.title,
        cause=known.cause,
        check=known.check,
        fix=(known.fix,),
        links=known.links,
        here=_here((known.id,), diagnosis),
    )


def explain_text(text: str, diagnosis: Diagnosis | None = None) -> tuple[Explanation, ...]:
    """The causes that ``text`` names, the most telling first; empty when no rule matches.

    Of a text longer than ``HEAD + TAIL`` characters the middle is not looked at.

    With ``diagnosis`` a cause that was found on this machine goes before those that were not.
    """
    window = text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"
    hits: list[tuple[int, int, int, Rule, re.Match[str]]] = []
    told: list[tuple[int, int]] = []
    order = sorted(enumerate(rules()), key=lambda item: (-item[1].priority, item[0]))
    for place, rule in order:
        match = _first(rule, window, told)
        if match is not None:
            told.append(match.span())
            hits.append((-rule.priority, match.start(), place, rule, match))
    hits.sort(key=lambda hit: hit[:3])
    answers: dict[str, Explanation] = {}
    for _, _, _, rule, match in hits:
        answer = _answer(rule, match, window, diagnosis)
        answers.setdefault(answer.id, answer)
    return tuple(sorted(answers.values(), key=lambda answer: answer.here is None))


def _first(rule: Rule, window: str, told: list[tuple[int, int]]) -> re.Match[str] | None:
    """The first place where ``rule`` has something to say; ``told``: what others have explained."""
    for match in rule.pattern.finditer(window):
        start, end = match.span()
        if rule.yields and any(first < end and start < last for first, last in told):
            continue
        if not rule.offered or rule.offered == _offered(match):
            return match
    return None


def _offered(match: re.Match[str]) -> str:
    """How the ``versions`` that an installer lists lie to the one that was ``wanted``."""
    if "withheld" in match.re.groupindex:
        return "withheld" if match["wanted"] in _withheld(match["withheld"]) else ""
    try:
        wanted = Version(match["wanted"])
        versions = [Version(item) for item in match["versions"].split(", ")]
    except InvalidVersion:
        return ""
    if wanted in versions or (wanted.local and not any(item.local for item in versions)):
        return ""  # a build with a local version is not missed by its number
    if wanted < min(versions):
        return "newer"
    return "older" if wanted > max(versions) else "around"


def _withheld(listed: str) -> dict[str, str]:
    """``1.26.1 Requires-Python >=3.9,<3.13; …``: the version, and the Pythons that it runs on."""
    pairs = (item.strip().partition(" Requires-Python ") for item in listed.split(";"))
    return {version: pythons for version, _, pythons in pairs if pythons}


def _details(match: re.Match[str]) -> dict[str, str]:
    """What the message names, without the number that keeps groups apart."""
    named = {key.rstrip("0123456789"): value for key, value in match.groupdict().items() if value}
    if "withheld" in named:
        named["python"] = _withheld(named.pop("withheld"))[named["wanted"]]
    if "versions" in named:  # a list of hundreds tells no more than its ends
        listed = named.pop("versions").split(", ")
        named["offered"] = f"{listed[0]} to {listed[-1]}" if len(listed) > 1 else listed[0]
    return named


def _answer(
    rule: Rule, match: re.Match[str], text: str, diagnosis: Diagnosis | None
) -> Explanation:
    start = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    line = text[start : end if end >= 0 else len(text)].strip()
    details = _details(match)
    if not rule.ids:
        return Explanation(
            rule.key, rule.title, rule.cause, rule.check, rule.fix, rule.links, line, details
        )
    here = _here(rule.ids, diagnosis)
    # What this machine really has goes first, also when it is the cause behind a listed one.
    chosen = here.id if here is not None and here.id in catalogue.IDS else rule.ids[0]
    base = explain_id(chosen)
    return Explanation(
        id=base.id,
        title=base.title,
        cause=base.cause,
        check=base.check,
        fix=base.fix,
        links=base.links,
        matched=line,
        details=details,
        alternatives=tuple(name for name in rule.ids if name != chosen),
        here=here,
    )


def _here(ids: Sequence[str], diagnosis: Diagnosis | None) -> Finding | None:
    """The finding of this machine that has one of ``ids``, or that explains one of them."""
    if diagnosis is None:
        return None
    for wanted in ids:
        for finding in diagnosis.findings:
            if finding.id == wanted:
                return finding
    for wanted in ids:
        for finding in diagnosis.findings:
            if wanted in finding.explains:
                return finding
    return None
