"""What the pip half of an environment is made of: pins and locks. Plain, frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from cuready.mirrors.urls import split_url

__all__ = ["Pin", "PipLock"]


@dataclass(frozen=True)
class Pin:
    """One file that gives one package.

    Attributes:
        name: as PyPA's tools compare names: lower case, single hyphens.
        url: the canonical address, whatever mirror serves it.
        sha256: hexadecimal digits; empty only until the file was fetched once, where an index
            gives no digest.
        size: bytes, or None where the index does not say.
    """

    name: str
    version: str
    url: str
    sha256: str = ""
    size: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(canonicalize_name(self.name)))
        object.__setattr__(self, "sha256", self.sha256.lower())

    @property
    def file_name(self) -> str:
        """``numpy-2.1.0-cp312-cp312-manylinux_2_28_x86_64.whl``."""
        return unquote(PurePosixPath(split_url(self.url).path).name)

    @property
    def is_wheel(self) -> bool:
        """False for a source distribution, which has to be built first."""
        return self.file_name.endswith(".whl")

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "name": self.name,
            "version": self.version,
            "url": self.url,
            "sha256": self.sha256,
            "size": self.size,
        }


@dataclass(frozen=True)
class PipLock:
    """Every file of the pip phase, for one Python and one platform.

    Attributes:
        python: ``"3.12"``.
        platform_tag: ``linux_x86_64``, as the compatibility tables name platforms.
        torch_index: the canonical address of the torch index that was asked, if one was.
        requirements: what was asked for, to tell when a recipe has changed since.
    """

    pins: tuple[Pin, ...]
    python: str
    platform_tag: str
    recipe: str = ""
    requirements: tuple[str, ...] = ()
    torch_index: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Pin | None:
        """The pin of one package."""
        wanted = canonicalize_name(name)
        return next((pin for pin in self.pins if pin.name == wanted), None)
