"""Section 2b, variables: which devices does the environment hide, reorder or misname?"""

from __future__ import annotations

from collections.abc import Sequence

from cuready.doctor import catalogue, facts, things
from cuready.doctor.finding import Confidence, Evidence, Fix, Risk, Severity
from cuready.doctor.installers import join, system_command
from cuready.doctor.registry import Outcome, Skipped, check
from cuready.snapshot import Snapshot

VARIABLE = "CUDA_VISIBLE_DEVICES"
HIDING = ("", "-1", "NoDevFiles")  # what people and schedulers write to hide every device

# Variables of the field whose names look like VARIABLE, or start with CUDA_, and are right.
KNOWN = frozenset(
    {
        VARIABLE, "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH",
        "CUDA_ROOT", "CUDA_VERSION", "CUDA_LAUNCH_BLOCKING", "CUDA_CACHE_PATH",
        "CUDA_CACHE_DISABLE",
        "CUDA_CACHE_MAXSIZE", "CUDA_MODULE_LOADING", "CUDA_FORCE_PTX_JIT", "CUDA_DISABLE_PTX_JIT",
        "CUDA_INJECTION64_PATH", "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_MPS_PIPE_DIRECTORY",
        "CUDA_MPS_LOG_DIRECTORY", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL",
        "NVIDIA_DRIVER_CAPABILITIES",
    }
)  # fmt: skip
MIG = "MIG instances"
TYPO_TARGETS = (VARIABLE, "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING")


def _device_count(snapshot: Snapshot) -> int | None:
    """GPUs in the machine; NVML and /proc do not look at CUDA_VISIBLE_DEVICES, libcuda does."""
    counts = (len(snapshot.nvml.devices), len(snapshot.driver.proc_gpus), len(snapshot.gpus))
    return next((count for count in counts if count), None)


def _uuids(snapshot: Snapshot) -> list[str]:
    found = [device.uuid for device in snapshot.nvml.devices if device.uuid]
    found += [uuid for device in snapshot.nvml.devices for uuid in device.mig_uuids]
    return found or list(snapshot.driver.proc_gpu_uuids.values())


def _first_bad_token(
    tokens: Sequence[str], count: int | None, uuids: Sequence[str]
) -> tuple[int, str] | None:
    """Place and reason of the first token that the driver stops at; None when all are good.

    The driver takes the devices before the first invalid one and drops the rest, so that ``0,9,1``
    shows one device (CUDA C++ Programming Guide, environment variables).
    """
    seen: set[str] = set()
    for place, token in enumerate(tokens):
        if token in seen:
            return place, f"{token} is listed twice, which hides every device"
        seen.add(token)
        if token.lstrip("-").isdecimal():
            if token.startswith("-"):
                return place, f"{token} ends the list"
            if count is not None and (len(token) > 9 or int(token) >= count):
                return place, f"there is no device {token} (there are {count})"
        elif not token.startswith(("GPU-", "MIG-")):
            return place, f"{token!r} is neither an index nor a UUID"
        elif uuids and not any(uuid.startswith(token) for uuid in uuids):
            return place, f"no device has the UUID {token}"
    return None


@check("VIS01", needs=("variables",), systems=())
def devices_hidden(snapshot: Snapshot) -> Outcome:
    """CUDA_VISIBLE_DEVICES hides devices, on purpose or by mistake."""
    value = snapshot.environment.get(VARIABLE)
    if value is None:
        return ()
    if not facts.has_gpu(snapshot):
        return Skipped("no NVIDIA GPU here")
    fix = Fix(
        (f"unset {VARIABLE}",) if snapshot.platform.system != "Windows" else (f"set {VARIABLE}=",)
    )
    if value.strip() in HIDING:
        return [
            catalogue.finding(
                "VIS01",
                severity=Severity.WARNING,
                cause=f"{VARIABLE}={value!r} hides every device from CUDA.",
                evidence=(Evidence(VARIABLE, repr(value)),),
                about=things.each([VARIABLE]),
                fix=(fix,),
            )
        ]
    tokens = [item.strip() for item in value.split(",")]
    bad = _first_bad_token(tokens, _device_count(snapshot), _uuids(snapshot))
    if bad is None:
        return ()
    place, reason = bad
    duplicate = "twice" in reason
    none_left = place == 0 or duplicate
    effect = "no device is left" if none_left else f"only {','.join(tokens[:place])} is left"
    return [
        catalogue.finding(
            "VIS01",
            severity=None if none_left else Severity.WARNING,
            cause=f"{VARIABLE}={value!r}: {reason}; {effect}.",
            evidence=(
                Evidence(VARIABLE, repr(value)),
                Evidence("devices", str(_device_count(snapshot) or "number not known")),
            ),
            explains=("VIS03", "MIG01"),
            about=[frozenset((VARIABLE, *([MIG] if tokens[place].startswith("MIG-") else ())))],
            reach=[VARIABLE],
            fix=(fix,),
        )
    ]


@check("VIS02", needs=("variables",), systems=())
def misspelt_variable(snapshot: Snapshot) -> Outcome:
    """CUDA_VISABLE_DEVICES and friends: a name that nobody reads."""
    found = []
    for name, value in snapshot.environment.items():
        upper = name.upper()
        if name in KNOWN or any(name.startswith(f"{target}_") for target in TYPO_TARGETS):
            continue
        if not upper.startswith(("CUDA", "CUD_", "CUAD")):
            continue
        import difflib  # almost nobody has such a variable

        close = difflib.get_close_matches(upper, TYPO_TARGETS, n=1, cutoff=0.88)
        if close:
            command = f"export {close[0]}={join([value])}; unset {name}"
            found.append(
                catalogue.finding(
                    "VIS02",
                    subject=name,
                    cause=f"{name} is read by nobody; {close[0]} was probably meant.",
                    evidence=(Evidence(name, repr(value)),),
                    confidence=Confidence.LIKELY,
                    fix=(Fix((command,), "and where it is set"),),
                )
            )
    return found


@check("VIS03", needs=("variables",), systems=())
def order_by_speed(snapshot: Snapshot) -> Outcome:
    """Different GPUs, chosen by index, counted in CUDA's order: not that of nvidia-smi."""
    value = snapshot.environment.get(VARIABLE, "")
    if not any(token.strip().isdecimal() for token in value.split(",")):
        return ()
    if snapshot.environment.get("CUDA_DEVICE_ORDER"):
        return ()
    names = {device.name for device in snapshot.nvml.devices if device.name}
    names = names or {gpu.device_id for gpu in snapshot.gpus}
    if len(names) < 2:
        return ()
    return [
        catalogue.finding(
            "VIS03",
            cause=f"{VARIABLE}={value} counts the GPUs fastest first; nvidia-smi counts them by "
            "bus "
            f"address. They differ here: {', '.join(sorted(names))}.",
            evidence=(Evidence(VARIABLE, value), Evidence("CUDA_DEVICE_ORDER", "not set")),
            fix=(Fix(("export CUDA_DEVICE_ORDER=PCI_BUS_ID",), "or list GPUs by UUID"),),
        )
    ]


@check("MIG01", needs=("nvml",))
def mig_instances(snapshot: Snapshot) -> Outcome:
    """MIG is on, and no instance was made, or more than one was asked for."""
    if snapshot.nvml.status != "ok":
        return Skipped("NVML was not asked or did not answer")
    on = [device for device in snapshot.nvml.devices if device.mig_mode]
    if not on:
        return Skipped("MIG is off")
    value = snapshot.environment.get(VARIABLE, "")
    asked = [token.strip() for token in value.split(",") if token.strip().startswith("MIG-")]
    if len(asked) > 1:
        return [
            catalogue.finding(
                "MIG01",
                severity=Severity.WARNING,
                title="A process sees one MIG instance",
                cause=f"{VARIABLE} lists {len(asked)} MIG instances; CUDA takes the first one "
                "only.",
                evidence=(Evidence(VARIABLE, value),),
                about=things.each([VARIABLE]),
                fix=(Fix((f"export {VARIABLE}={asked[0]}",), "one instance for each process"),),
            )
        ]
    empty = [device for device in on if not device.mig_uuids]
    if len(empty) < len(snapshot.nvml.devices):
        return ()
    return [
        catalogue.finding(
            "MIG01",
            cause="MIG mode is on and no instance exists: CUDA finds no device.",
            evidence=[Evidence("NVML", f"{d.name} {d.index}: MIG on, no instance") for d in empty],
            explains=("DRV08", "VIS01"),
            about=things.each([MIG]),
            reach=[MIG],
            fix=(
                Fix(
                    (
                        system_command(snapshot.platform, "nvidia-smi", "mig", "-lgip"),
                        system_command(snapshot.platform, "nvidia-smi", "mig", "-cgi", "0", "-C"),
                    ),
                    "profile 0 is the whole GPU; or switch MIG off: nvidia-smi -mig 0",
                    needs_root=True,
                    risk=Risk.MEDIUM,
                ),
            ),
        )
    ]


@check("VIS04", needs=("variables",), systems=())
def debug_variables(snapshot: Snapshot) -> Outcome:
    """Left over from debugging or profiling: slow, or another library under everything."""
    if not snapshot.environment and snapshot.scope.kind != "host":
        return Skipped("the environment of that machine is not known")
    set_to = {
        name: value
        for name in ("CUDA_INJECTION64_PATH", "COMPUTE_PROFILE", "CUDA_LAUNCH_BLOCKING")
        if (value := snapshot.environment.get(name)) not in (None, "", "0")
    }
    preload = snapshot.environment.get("LD_PRELOAD")
    if not set_to and not preload:
        return ()
    names = [*set_to, *(["LD_PRELOAD"] if preload else [])]
    evidence = [Evidence(name, repr(snapshot.environment[name])) for name in names]
    return [
        catalogue.finding(
            "VIS04",
            severity=None if set_to else Severity.INFO,
            subject=", ".join(names),
            cause=f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} set: "
            "every CUDA program runs with it.",
            evidence=evidence,
            fix=(Fix((f"unset {' '.join(names)}",), "when it is not meant to be there"),),
        )
    ]
