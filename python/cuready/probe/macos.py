"""macOS: which release this is. There is no CUDA to look for; the doctor says what there is."""

from __future__ import annotations

from cuready.probe.context import Context, Facts, Incomplete, Skip

__all__ = ["read"]

_VERSION = "/System/Library/CoreServices/SystemVersion.plist"


def read(context: Context) -> Facts:
    """Product name and version from the system's own property list."""
    if context.system != "Darwin":
        raise Skip(f"read on macOS only, and this is {context.system}")
    data = context.read_bytes(_VERSION)
    if data is None:
        raise Skip(f"{_VERSION} is not there")
    import plistlib  # and expat with it

    try:
        document = plistlib.loads(data)
        name, version = str(document["ProductName"]), str(document["ProductVersion"])
    except Exception as error:  # expat, binary plists and dates each have errors of their own
        raise Incomplete(f"{_VERSION}: {error}", {"platform.distro_id": "macos"}) from None
    return {
        "platform.distro_id": "macos",
        "platform.distro_version": version,
        "platform.distro_name": f"{name} {version}",
    }
