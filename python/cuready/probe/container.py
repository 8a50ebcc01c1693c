"""What this machine runs inside of, and what it runs containers with."""

from __future__ import annotations

import re
from typing import Any

from cuready._util import parse_json
from cuready.probe.context import Context, Facts, Incomplete

__all__ = ["container", "read", "scheduler"]

# Variables that a scheduler sets in every job.
_SCHEDULERS = {
    "SLURM_JOB_ID": "slurm",
    "SLURM_JOBID": "slurm",
    "LSB_JOBID": "lsf",
    "PBS_JOBID": "pbs",
    "JOB_ID": "sge",
    "KUBERNETES_SERVICE_HOST": "kubernetes",
}

# A path component of /proc/1/cgroup (cgroup v1, or a v2 cgroup that is not namespaced).
_CGROUPS = (
    (re.compile(r"kubepods"), "kubernetes"),
    (re.compile(r"libpod"), "podman"),
    (re.compile(r"[/-](docker|moby)[/-]"), "docker"),
    (re.compile(r"/lxc[./]"), "lxc"),
    (re.compile(r"cri-containerd|/containerd"), "containerd"),
)

_DAEMON_JSON = (
    "/etc/docker/daemon.json",
    "/var/snap/docker/current/config/daemon.json",
)


def read(context: Context) -> Facts:
    """Container, scheduler, Docker and the NVIDIA Container Toolkit."""
    if context.system != "Linux":
        return {}
    facts: dict[str, Any] = {
        "platform.container": container(context),
        "platform.scheduler": scheduler(context),
        "platform.docker_present": _docker(context) is not None
        or context.exists("/run/docker.sock")
        or context.exists("/var/run/docker.sock"),
        "platform.docker_is_snap": context.exists("/snap/docker/current")
        or context.exists("/snap/bin/docker"),
        "platform.nvidia_container_toolkit": _has_toolkit(context),
    }
    runtimes, problem = _runtimes(context)
    facts["platform.docker_runtimes"] = runtimes
    if problem:
        raise Incomplete(problem, facts)
    return facts


def container(context: Context) -> str | None:
    """``docker``, ``podman``, ``kubernetes``, ``lxc``, ``apptainer``, …; None outside of one."""
    env = context.env
    if context.exists("/.singularity.d") or "APPTAINER_CONTAINER" in env:
        return "apptainer"
    if "KUBERNETES_SERVICE_HOST" in env or context.exists(
        "/var/run/secrets/kubernetes.io/serviceaccount"
    ):
        return "kubernetes"
    if context.exists("/run/.containerenv"):
        return "podman"
    if context.exists("/.dockerenv"):
        return "docker"
    told = env.get("container") or context.first_line("/run/systemd/container")
    if told:
        return told
    text = _try_text(context, "/proc/1/cgroup")
    return next((name for pattern, name in _CGROUPS if pattern.search(text)), None)


def _try_text(context: Context, path: str) -> str:
    try:
        return context.read_text(path) or ""
    except OSError:
        return ""


def scheduler(context: Context) -> str | None:
    """The batch system or orchestrator that started this process."""
    return next((name for key, name in _SCHEDULERS.items() if context.env.get(key)), None)


def _docker(context: Context) -> str | None:
    return context.which("docker") or (
        "/usr/bin/docker" if context.exists("/usr/bin/docker") else None
    )


def _has_toolkit(context: Context) -> bool:
    names = ("nvidia-ctk", "nvidia-container-runtime", "nvidia-container-toolkit")
    return any(context.which(name) or context.exists(f"/usr/bin/{name}") for name in names)


def _runtimes(context: Context) -> tuple[tuple[str, ...], str]:
    """Runtimes that Docker's configuration names, and why a configuration could not be read."""
    found: dict[str, None] = {}
    problem = ""
    for path in (*_DAEMON_JSON, f"{context.home}/.config/docker/daemon.json"):
        try:
            text = context.read_text(path)
            document = parse_json(text) if text and text.strip() else {}
        except (OSError, ValueError) as error:
            if context.exists(path):  # else nobody knows: its folder is closed to us
                problem = f"{path}: {error}"
            continue
        runtimes = document.get("runtimes") if isinstance(document, dict) else None
        if isinstance(runtimes, dict):
            found.update(dict.fromkeys(map(str, runtimes)))
    return tuple(found), problem
