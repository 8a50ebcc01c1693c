"""The process that touches the GPU: runs stages one after the other, one JSON line for each event.

``python -m cuready.selftest.child`` reads a request from stdin. It may hang, crash or be killed;
whoever started it knows from the last line in which stage.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from cuready.errors import CureadyError
from cuready.selftest.job import Job, StageFailedError, StageSkippedError
from cuready.selftest.stages import OFFLINE, STAGES


def main() -> int:
    request = json.load(sys.stdin)
    # Drivers and TensorRT print to stdout when they like: only our lines may go there.
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as answers:
        os.dup2(2, 1)

        def say(message: Mapping[str, Any]) -> None:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

        table = {stage.id: stage for stage in (*STAGES, OFFLINE)}
        session: dict[str, Any] = {}
        for name in request["stages"]:
            say({"event": "start", "stage": name})
            job = Job(name, request["options"], session, say)
            answer = run_stage(table[name].module, job)
            say({"event": "end", "stage": name, **answer})
            if answer["status"] == "failed":
                break  # a failed call may have cost the context: the rest gets a new process
        # Not through the destructors: a driver that is lost can hang in every one of them.
        answers.flush()
        os._exit(0)


def run_stage(module: str, job: Job) -> dict[str, Any]:
    """Run one stage and say how it ended; no error leaves this function."""
    begin = time.perf_counter()
    status, reason, error, unanswered = "passed", "", {}, False
    try:
        proof = importlib.import_module(f"cuready.selftest.proofs.{module}")
        getattr(proof, f"prove_{job.stage}")(job)
    except StageSkippedError as skipped:
        status, reason, unanswered = "skipped", str(skipped), skipped.unanswered
    except StageFailedError as failed:
        status, reason, error = "failed", str(failed), {"kind": failed.kind, **failed.details}
    except CureadyError as failure:
        status, reason, error = "failed", _in_words(failure), failure.to_dict()
    except MemoryError:
        status, reason = "failed", "the host has no memory left"
    except Exception as failure:
        status, reason = "failed", f"{type(failure).__name__}: {failure}"
        error = {"type": type(failure).__name__, "kind": "internal"}
    return {
        "status": status,
        "reason": reason or job.reason,
        "error": error,
        "unanswered": unanswered,
        "figures": job.figures,
        "series": job.series,
        "facts": job.facts,
        "ms": (time.perf_counter() - begin) * 1000,
    }


def _in_words(error: CureadyError) -> str:
    """The message with CUDA's own name for the code, where it has one."""
    name = getattr(error, "name", "")
    return f"{error.message} ({name})" if name and name not in error.message else error.message


if __name__ == "__main__":
    sys.exit(main())
