"""The readers, in the order in which their facts are laid over each other.

To add one: write ``def read(context: Context) -> Facts`` in a module of this package and add a line
here. A reader names others in ``after`` when it needs their facts (``context.so_far``); everything
else runs side by side.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from cuready.probe.context import Context, Facts

__all__ = ["READERS", "Reader"]


@dataclass(frozen=True)
class Reader:
    """A reader's name, where its function is, and how long it may take.

    ``target`` is ``module:function``, imported in the reader's own thread: a module that cannot be
    imported costs that reader alone. ``isolated``: it calls into the kernel's NVIDIA driver, which
    can hang beyond any signal, so on a live machine it runs in a child process.
    """

    name: str
    target: str | Callable[[Context], Facts]
    limit_s: float = 3.0
    after: tuple[str, ...] = ()
    isolated: bool = False

    def load(self) -> Callable[[Context], Facts]:
        """The function. Raises ImportError or AttributeError."""
        if callable(self.target):
            return self.target
        module, _, attribute = self.target.partition(":")
        function = getattr(importlib.import_module(f"cuready.probe.{module}"), attribute)
        assert callable(function)  # noqa: S101 - a test resolves every entry of the table
        return function  # type: ignore[no-any-return]


READERS: tuple[Reader, ...] = (
    # the machine
    Reader("host", "host:read"),
    Reader("container", "container:read"),
    Reader("variables", "variables:read"),
    Reader("pci", "pci:read"),
    # the driver
    Reader("kernel-driver", "kernel_driver:read", isolated=True),
    Reader("device-nodes", "device_nodes:read", isolated=True),
    Reader("module-files", "kernel_driver:read_module_files", after=("host",)),
    Reader("driver-libraries", "driver_userland:read_libraries"),
    Reader("driver-packages", "driver_userland:read_packages"),
    Reader("kernel-log", "driver_userland:read_messages"),
    Reader(
        "fabric-manager",
        "driver_userland:read_fabric_manager",
        after=("kernel-driver", "driver-packages"),
    ),
    Reader("nvml", "vendor:read_nvml", limit_s=7.0, after=("driver-libraries",)),
    Reader("cuda", "vendor:read_cuda", limit_s=7.0, after=("driver-libraries",)),
    Reader("gpu-names", "pci:read_names", after=("pci", "kernel-driver", "nvml", "cuda")),
    # libraries and tools on disk
    Reader("loader", "loader_state:read"),
    Reader("toolkits", "toolkits:read", after=("python",)),
    Reader("toolchain", "toolchain:read", after=("python",)),
    # the Python under diagnosis
    Reader("python", "python_env:read"),
    Reader("distributions", "distributions:read", limit_s=5.0, after=("python",)),
    Reader("modules", "modules:read", after=("python",)),
    Reader("torch", "torch_build:read", limit_s=5.0, after=("modules",)),
    Reader("conda", "conda_env:read", limit_s=5.0, after=("python",)),
    Reader("managed", "managed:read"),
    # what the loader and the GPU will make of it
    Reader("records", "records:read", limit_s=5.0, after=("distributions",)),
    Reader(
        "libraries",
        "libraries:read",
        limit_s=7.0,
        after=("distributions", "modules", "records", "torch"),
    ),
    Reader("dlls", "pe:read", limit_s=5.0, after=("host", "modules")),
    Reader("windows", "windows:read", after=("host", "modules", "torch")),
    Reader("macos", "macos:read", after=("host",)),
    Reader("gpu-code", "gpu_code:read", limit_s=5.0, after=("distributions", "modules", "torch")),
    Reader("kernelspecs", "project:read_kernelspecs", after=("python",)),
    Reader("installers", "installers:read_available", after=("python",)),
    Reader("config", "installers:read_config", after=("python",)),
    # packages that extend the diagnosis
    Reader("plugins", "plugins:read", limit_s=7.0, after=("python",)),
    # the working folder
    Reader("pins", "project:read_pins"),
    Reader("plans", "project:read_plans"),
    Reader("dockerfiles", "dockerfile:read"),
)
