"""Device files of the driver: there or not, and whether this user and this cgroup may open them.

``access(2)`` runs the same checks as ``open(2)``, the device cgroup's included, without entering
the driver: opening /dev/nvidia0 for real can take seconds, because it may start the GPU.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from cuready.probe.context import Context, Facts, Skip
from cuready.snapshot import DeviceNode

__all__ = ["read"]

# Named even when missing: their absence is the fact that checks look for.
_EXPECTED = ("nvidiactl", "nvidia0", "nvidia-uvm")
_NAME = re.compile(
    r"nvidia(?:\d+|ctl|-uvm(?:-tools)?|-modeset|-nvswitch(?:ctl|\d+)|-nvlink)|dxg|nvmap|nvhost-gpu"
)
# Opening these does not start a GPU, and says ENXIO or ENODEV when no driver stands behind them.
_CHEAP_TO_OPEN = ("nvidiactl", "nvidia-uvm")


def read(context: Context) -> Facts:
    """/dev/nvidia*, /dev/nvidia-caps/*, /dev/dxg and the Tegra's."""
    if context.system != "Linux":
        raise Skip(f"no device files on {context.system}")
    if not context.is_dir("/dev"):
        raise Skip("/dev is not there")
    present = [name for name in context.listdir("/dev") if _NAME.fullmatch(name)]
    caps = [f"nvidia-caps/{name}" for name in context.listdir("/dev/nvidia-caps")]
    missing = [name for name in _EXPECTED if name not in present]
    nodes = [_node(context, f"/dev/{name}") for name in (*present, *caps)]
    nodes += [DeviceNode(f"/dev/{name}", exists=False) for name in missing]
    return {"device_nodes": tuple(sorted(nodes, key=lambda node: node.path))}


def _node(context: Context, path: str) -> DeviceNode:
    found = context.stat(path)
    if found is None:  # a dangling link
        return DeviceNode(path, exists=False)
    real = context.path(path)
    readable, writable = os.access(real, os.R_OK), os.access(real, os.W_OK)
    return DeviceNode(
        path=path,
        exists=True,
        mode=stat.filemode(found.st_mode),
        owner=_owner(context, found),
        readable=readable,
        writable=writable,
        open_error=_open_error(context, path, readable and writable),
    )


def _open_error(context: Context, path: str, allowed: bool) -> str | None:
    """Name of the errno that opening for read and write gives, None when it works."""
    if allowed and (context.rooted or os.path.basename(path) not in _CHEAP_TO_OPEN):
        return None
    if context.rooted:
        return "EACCES"  # never open a device file of another machine: it would be this one's
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    return None


def _owner(context: Context, found: os.stat_result) -> str:
    if context.rooted:
        return f"{found.st_uid}:{found.st_gid}"
    import grp
    import pwd

    try:
        user = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        user = str(found.st_uid)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return f"{user}:{group}"
