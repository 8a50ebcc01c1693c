"""NVML and libcuda, asked in child processes: they can hang for minutes and crash at any call."""

from __future__ import annotations

from typing import Any

from cuready._codec import CodecError, from_json
from cuready.probe import children
from cuready.probe.context import Context, Denied, Facts, Incomplete, Skip
from cuready.probe.driver_userland import NOT_FOUND
from cuready.probe.registry import Reader
from cuready.snapshot import NativeProbe, Snapshot

__all__ = ["call_reader", "read_cuda", "read_nvml"]

ANSWER_LIMIT_S = 6.5


def read_nvml(context: Context) -> Facts:
    """NVML's view: driver version, devices, MIG, fabric."""
    return {"nvml": _ask(context, "nvml", "libnvidia-ml.so.1")}


def read_cuda(context: Context) -> Facts:
    """libcuda's view, which obeys CUDA_VISIBLE_DEVICES: devices, or the call that failed."""
    return {"cuda": _ask(context, "cuda", "libcuda.so.1")}


def _ask(context: Context, job: str, soname: str) -> NativeProbe:
    if not context.native:
        return NativeProbe(error_text="not asked: the files are another machine's")
    if context.system == "Linux" and not _on_search_path(context, soname):
        return NativeProbe(step="load", error_text=f"{soname} is {NOT_FOUND}")
    answer = children.call(job, None, limit_s=ANSWER_LIMIT_S, env=context.env)
    if answer.status != "ok":
        return NativeProbe(status=answer.status, error_text=answer.reason)
    try:
        return from_json(NativeProbe, answer.document)
    except CodecError as error:
        return NativeProbe(status="failed", error_text=str(error))


def _on_search_path(context: Context, soname: str) -> bool:
    libraries = context.so_far.driver.libraries
    return any(found.soname == soname and found.rule != NOT_FOUND for found in libraries)


# --- readers that enter the kernel's driver ------------------------------------------------------


def call_reader(reader: Reader, context: Context) -> Facts:
    """Run ``reader`` here, or in a child where it would enter a live NVIDIA kernel driver."""
    if not (reader.isolated and context.native and _driver_is_live(context)):
        return reader.load()(context)
    argument = {
        "reader": reader.name,
        "env": dict(context.env),
        "cwd": context.cwd,
        "home": context.home,
        "system": context.system,
    }
    answer = children.call("reader", argument, limit_s=reader.limit_s - 0.5, env=context.env)
    if answer.status == "timeout":
        raise TimeoutError(answer.reason)
    if answer.status != "ok":
        raise RuntimeError(f"{answer.status}: {answer.reason}")
    return _facts(answer.document)


def _driver_is_live(context: Context) -> bool:
    return context.exists("/proc/driver/nvidia") or context.exists("/dev/nvidiactl")


def _facts(document: Any) -> Facts:
    """The child's facts; what ended its reader is raised here as it was raised there."""
    ended, reason = document["ended"], document.get("reason", "")
    if ended == "skipped":
        raise Skip(reason)
    if ended == "denied":
        raise Denied(reason)
    snapshot = Snapshot.from_dict(document["snapshot"])
    facts = {key: _field(snapshot, key) for key in document["keys"]}
    if ended == "incomplete":
        raise Incomplete(reason, facts)
    return facts


def _field(snapshot: Snapshot, key: str) -> Any:
    section, _, name = key.partition(".")
    value = getattr(snapshot, section)
    return getattr(value, name) if name else value
