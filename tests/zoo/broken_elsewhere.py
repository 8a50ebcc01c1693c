"""Faults of Windows, macOS, package sources and plugins, and machines that are close to each."""

from __future__ import annotations

import dataclasses
from typing import Any

from tests.zoo import fault, near_miss
from tests.zoo.base import dist, edit, gpu_box, laptop, platform, torch_env, venv

from cuready.snapshot import DriverLibrary, ReaderOutcome, Snapshot

SYSTEM = "C:/Windows/System32"


def windows_box(dll: str = "576.52", *, runtime: str = "14.44.35211.0", **more: Any) -> Snapshot:
    env = torch_env("2.8.0", "12.8", "+cu128", executable="C:\\proj\\.venv\\Scripts\\python.exe")
    assert env.torch is not None
    env = dataclasses.replace(env, torch=dataclasses.replace(env.torch, msvc="14.39"))
    box = Snapshot(
        platform=platform(system="Windows", machine="AMD64", distro_id=None, distro_like=(),
                          windows_driver_version="576.52", vc_runtime_version=runtime),
        python=env,
        readers=(ReaderOutcome("windows", "ok"),),
    )  # fmt: skip
    library = DriverLibrary("nvcuda.dll", f"{SYSTEM}/nvcuda.dll", f"{SYSTEM}/nvcuda.dll", dll)
    return edit(box, driver__libraries=(library,), **more)


@fault("WIN01")
def copied_nvcuda() -> Snapshot:
    """nvcuda.dll of 552.22 under driver 576.52."""
    return windows_box("552.22")


@near_miss("WIN01")
def old_driver_left_in_the_store() -> Snapshot:
    """Two drivers in the store, and nvcuda.dll is of one of them."""
    store = ("driver store 552.22", "driver store 576.52")
    return windows_box(platform__windows_driver_version=None, driver__driver_packages=store)


@fault("WIN02")
def old_runtime() -> Snapshot:
    """Runtime 14.29 under a torch of toolset 14.39."""
    return windows_box(runtime="14.29.30139.0")


@near_miss("WIN02")
def runtime_of_the_same_minor() -> Snapshot:
    """Runtime 14.39 and toolset 14.39."""
    return windows_box(runtime="14.39.33523.0")


@fault("WIN03")
def jax_on_windows() -> Snapshot:
    """JAX beside an NVIDIA driver on Windows."""
    return windows_box(python=venv(dist("jax", "0.7.1"), dist("jaxlib", "0.7.1")))


@near_miss("WIN03")
def torch_on_windows() -> Snapshot:
    """torch has GPU builds for Windows."""
    return windows_box()


@fault("MAC01")
def macbook() -> Snapshot:
    """A Mac with Apple silicon."""
    return Snapshot(
        platform=platform(
            system="Darwin", machine="arm64", distro_id="macos", distro_like=(), libc=None,
            distro_name="macOS 15.5",
        ),
        python=torch_env("2.8.0", None),
    )  # fmt: skip


@near_miss("MAC01")
def linux_laptop() -> Snapshot:
    """No GPU, and not a Mac."""
    return laptop()


def source(role: str, cause: str | None, **more: Any) -> dict[str, Any]:
    rung = {
        "name": "dns",
        "ok": cause is None,
        "detail": "resolves" if cause is None else "NXDOMAIN",
    }
    return {"url": "https://pypi.example/simple", "tool": "pip", "role": role, "ok": cause is None,
            "source": "/home/u/.config/pip/pip.conf", "cause": cause, "rungs": [rung],
            "title": "the host name does not resolve" if cause else "", "detail": "NXDOMAIN",
            "pip_says": "(from versions: none)", "hint": "check the spelling", **more}  # fmt: skip


def with_sources(*reports: dict[str, Any]) -> Snapshot:
    return edit(gpu_box(), plugin_facts={"cuready.network": list(reports)})


@fault("NET01")
def index_that_does_not_resolve() -> Snapshot:
    """pip's only index has no address."""
    return with_sources(source("main", "dns-failure"))


@near_miss("NET01")
def index_that_answers() -> Snapshot:
    """Every rung holds."""
    return with_sources(source("main", None))


@fault("NET02")
def extra_index_that_does_not_resolve() -> Snapshot:
    """The index answers, an extra one does not."""
    return with_sources(source("main", None), source("extra", "dns-failure"))


@near_miss("NET02")
def only_one_index() -> Snapshot:
    """There is no extra index."""
    return with_sources(source("main", None))


def with_plugin(group: str, status: str, **more: Any) -> Snapshot:
    outcome = {"group": group, "name": "acme", "value": "acme.health:check", "distribution": "acme",
               "status": status, "text": "", **more}  # fmt: skip
    return edit(gpu_box(), plugin_facts={"cuready.plugins": [outcome]})


@fault("PLG01")
def plugin_that_cannot_be_imported() -> Snapshot:
    """An entry point into a module that is gone."""
    text = "ModuleNotFoundError: No module named 'acme.health'"
    return with_plugin("rapids_doctor_check", "cannot-load", text=text)


@near_miss("PLG01")
def plugin_that_passes() -> Snapshot:
    """It ran and found nothing."""
    return with_plugin("cuready.checks", "passed", answer=[])


@fault("PLG02")
def rapids_check_that_raises() -> Snapshot:
    """A RAPIDS check that says what is wrong."""
    return with_plugin("rapids_doctor_check", "failed", text="ValueError: cuDF needs CUDA 12")


@near_miss("PLG02")
def rapids_check_that_passes() -> Snapshot:
    """A RAPIDS check that returned a line."""
    return with_plugin("rapids_doctor_check", "passed", text="cuDF 25.10 works")
