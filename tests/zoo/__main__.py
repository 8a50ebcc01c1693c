"""Prints both tables of the zoo; exit code 1 when a machine does not get the diagnosis it should."""

from __future__ import annotations

import sys

from tests.zoo import Exhibit, exhibits

from cuready.doctor.engine import Diagnosis, diagnose
from cuready.doctor.finding import Severity


def verdict(item: Exhibit, diagnosis: Diagnosis) -> str | None:
    """What is wrong with the diagnosis of ``item``; None when it is right."""
    crashed = [r.reason for r in diagnosis.checks if r.reason.startswith("the check itself failed")]
    if crashed:
        return crashed[0]
    errors = [f for f in diagnosis.findings if f.severity is Severity.ERROR]
    if item.kind == "healthy":
        return f"{errors[0].id}: {errors[0].cause}" if errors else None
    if item.kind == "near miss":
        found = [f for f in diagnosis.findings if f.id == item.id]
        return f"{item.id} fired: {found[0].cause}" if found else None
    found = [f for f in diagnosis.findings if f.id == item.id]
    if not found:
        status = next((r for r in diagnosis.checks if r.id == item.id), None)
        return f"{item.id} did not fire: {status.status.value if status else 'no such check'} {status.reason if status else ''}"
    others = [f"{f.id}: {f.cause}" for f in errors if f.id != item.id]
    if others:
        return f"another error beside it: {others[0]}"
    return (
        f"{len(found)} findings of it" if len([f for f in errors if f.id == item.id]) > 1 else None
    )


def main() -> int:
    wrong = 0
    for kind in ("healthy", "fault", "near miss"):
        found = exhibits(kind)
        print(f"\n{kind}: {len(found)} machines")
        print(
            f"  {'machine':34} {'expected':9} {'errors':>6} {'warn':>5} {'info':>5} {'unknown':>7}  verdict"
        )
        for item in found:
            diagnosis = diagnose(item.build())
            counts = diagnosis.summary()
            problem = verdict(item, diagnosis)
            wrong += problem is not None
            expected = {"healthy": "0 errors", "fault": item.id, "near miss": f"no {item.id}"}[kind]
            print(
                f"  {item.name[:34]:34} {expected:9} {counts['errors']:6} {counts['warnings']:5} "
                f"{counts['infos']:5} {counts['unknown']:7}  {problem or 'ok'}"
            )
    ids = {item.id for item in exhibits("fault")}
    print(f"\n{len(ids)} ids have a fault, {wrong} machines are diagnosed wrongly")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
