"""VND01: NVML or libcuda crashed in the process that asked it."""

from __future__ import annotations

from collections.abc import Iterator

from cuready.doctor import catalogue, facts
from cuready.doctor.finding import Evidence, Finding, Fix, Risk, Severity
from cuready.doctor.installers import system_command
from cuready.doctor.registry import Outcome, Skipped, check
from cuready.snapshot import NativeProbe, Snapshot

_LIBRARIES = (("libcuda.so.1", "cuda"), ("libnvidia-ml.so.1", "nvml"))


@check("VND01", needs=(), systems=())
def library_crashed(snapshot: Snapshot) -> Outcome:
    """A library of the driver ended the process that asked it. One that fails says why; DRV16 has
    those that do not come back."""
    if snapshot.nvml.status == snapshot.cuda.status == "skipped":
        return Skipped("the driver's libraries were not asked")
    return [_crashed(snapshot, *found) for found in _crashes(snapshot)]


def _crashes(snapshot: Snapshot) -> Iterator[tuple[str, NativeProbe]]:
    for soname, name in _LIBRARIES:
        probe: NativeProbe = getattr(snapshot, name)
        if probe.status == "crashed":
            yield soname, probe


def _crashed(snapshot: Snapshot, soname: str, probe: NativeProbe) -> Finding:
    reason = probe.error_text or "ended without an answer"
    found = facts.library(snapshot, soname)
    evidence = [Evidence(f"a process that asked {soname}", reason)]
    if found is not None:
        evidence.append(Evidence(found.path, f"{found.real_path}, found by {found.rule}"))
    preloaded = snapshot.loader.ld_preload
    if preloaded:
        evidence.append(Evidence("LD_PRELOAD", ":".join(preloaded)))
    # torch and most programs start without NVML: with libcuda alive, it is tools that crash.
    harmless = soname != "libcuda.so.1" and snapshot.cuda.status == "ok"
    fixes = [Fix(("unset LD_PRELOAD",), "and try again")] if preloaded else []
    kernel_log = system_command(snapshot.platform, "dmesg", "--level=err,warn,info")
    fixes.append(
        Fix(
            (kernel_log,),
            "names the library in which it was killed (segfault); then install the driver again, "
            "all of its packages from one release, and reboot",
            needs_root=True,
            risk=Risk.LOW,
        )
    )
    return catalogue.finding(
        "VND01",
        subject=soname,
        severity=Severity.WARNING if harmless else None,
        cause=f"{soname} was loaded in a process of its own, which {reason}. Every program that "
        "makes the same calls ends that way.",
        evidence=evidence,
        explains=("DRV08",) if soname == "libcuda.so.1" else (),
        fix=fixes,
    )
