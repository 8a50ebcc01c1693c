"""``--format sarif``: SARIF 2.1.0, as code-scanning services take it.

Every check is a rule, every finding a result at the place of its first evidence.
Standard: https://docs.oasis-open.org/sarif/sarif/v2.1.0/.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import quote

from cuready import __version__
from cuready.doctor import catalogue
from cuready.doctor.engine import Diagnosis
from cuready.doctor.finding import CheckStatus, Confidence, Finding, Severity

__all__ = ["render", "to_sarif"]

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVEL = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def render(diagnosis: Diagnosis) -> str:
    """The answer as one SARIF log."""
    return json.dumps(to_sarif(diagnosis), indent=2)


def to_sarif(diagnosis: Diagnosis) -> dict[str, Any]:
    """The SARIF log as JSON types: one run of this tool."""
    rules = [_rule(item.id, diagnosis) for item in diagnosis.checks]
    known = {rule["id"] for rule in rules}
    for item in diagnosis.findings:  # of plugins
        if item.id not in known:
            known.add(item.id)
            rules.append({"id": item.id, "shortDescription": {"text": item.title}})
    index = {rule["id"]: place for place, rule in enumerate(rules)}
    notices = [
        {
            "level": "note",
            "associatedRule": {"id": item.id},
            "message": {"text": f"{item.id}: {item.reason or 'no answer'}"},
        }
        for item in diagnosis.checks
        if item.status is CheckStatus.UNKNOWN
    ]
    driver = {
        "name": "cuready",
        "semanticVersion": __version__,
        "informationUri": "https://cuready.readthedocs.io",
        "rules": rules,
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [
            {"executionSuccessful": diagnosis.answered, "toolExecutionNotifications": notices}
        ],
        "results": [_result(item, index[item.id]) for item in diagnosis.findings],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(check_id: str, diagnosis: Diagnosis) -> dict[str, Any]:
    if check_id not in catalogue.IDS:
        title = next((f.title for f in diagnosis.findings if f.id == check_id), check_id)
        return {"id": check_id, "shortDescription": {"text": title}}
    known = catalogue.entry(check_id)
    return {
        "id": check_id,
        "shortDescription": {"text": known.title},
        "fullDescription": {"text": known.cause},
        "help": {"text": f"How to check: {known.check}\nFix: {known.fix}"},
        "helpUri": known.links[0],
        "defaultConfiguration": {"level": _LEVEL[known.severity]},
    }


def _result(item: Finding, rule_index: int) -> dict[str, Any]:
    commands = [command for fix in item.fix[:1] for command in fix.commands]
    advice = f"\nFix: {' && '.join(commands)}" if commands else ""
    level = "note" if item.confidence is Confidence.UNKNOWN else _LEVEL[item.severity]
    identity = hashlib.sha256(f"{item.id}\0{item.subject}".encode("utf-8", "replace")).hexdigest()
    return {
        "ruleId": item.id,
        "ruleIndex": rule_index,
        "level": level,
        "message": {"text": f"{item.title}: {item.cause}{advice}"},
        "locations": [_location(item)],
        "partialFingerprints": {"cureadyFinding/v1": identity},
        "properties": item.to_dict(),
    }


def _location(item: Finding) -> dict[str, Any]:
    """The first file in the evidence; a thing that is no file becomes a logical location."""
    for evidence in item.evidence:
        path = evidence.source.replace("\\", "/")
        if path.startswith("/") or re.match(r"^[A-Za-z]:/", path):
            uri = (
                "file://"
                + ("" if path.startswith("/") else "/")
                + quote(path.encode("utf-8", "surrogateescape"), safe="/:")
            )
            return {"physicalLocation": {"artifactLocation": {"uri": uri}}}
    name = item.evidence[0].source if item.evidence else item.subject or item.id
    return {"logicalLocations": [{"fullyQualifiedName": name}]}
