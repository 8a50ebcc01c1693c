"""URLs in configuration files: compare them, split them, and print them without passwords."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

__all__ = ["cloud_channel", "is_url", "pkgs_part", "redact", "redact_text", "same", "split_url"]

_CREDENTIALS = re.compile(r"(?<=[A-Za-z0-9+.-])://[^/\s@'\"]+@")
_TOKEN = re.compile(r"/t/[^/\s'\"]+")
_CLOUD = re.compile(r"^(?P<base>.*/cloud)/(?P<name>[^/]+(?:/label/[^/]+)?)/?$")
_PKGS = re.compile(r"^(?P<base>.*)/pkgs/(?P<part>[^/]+)/?$")
_AT_ROOT = frozenset({"conda.anaconda.org", "repo.prefix.dev", "prefix.dev"})


def split_url(url: str) -> SplitResult:
    """``urlsplit``; an address that is none (``https://[x/``) has neither host nor path."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def is_url(text: str) -> bool:
    """Whether conda would take ``text`` for an address and not for a channel's name."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def same(one: str, other: str) -> bool:
    """Whether two URLs are one address: case of the host and a last slash do not count."""
    return _canonical(one) == _canonical(other)


def _canonical(url: str) -> str:
    parts = split_url(url.strip())
    if not parts.scheme and not parts.path:
        return url.strip()
    return urlunsplit(
        (parts.scheme.lower(), parts.netloc.lower(), parts.path.rstrip("/"), parts.query, "")
    )


def cloud_channel(url: str) -> str | None:
    """The community channel that ``url`` names: below ``/cloud``, or on Anaconda.org itself."""
    parts = split_url(url)
    if (parts.hostname or "").lower() in _AT_ROOT:
        name = parts.path.strip("/")
        return name if name and not name.startswith("pkgs/") else None
    match = _CLOUD.match(parts.path)
    return match.group("name") if match else None


def pkgs_part(url: str) -> str | None:
    """``main``, ``r``, ``msys2``, ``free`` … for an address of a part of ``defaults``."""
    match = _PKGS.match(split_url(url).path)
    return match.group("part") if match else None


def redact(url: str) -> str:
    """``url`` without user, password and Anaconda token: these never leave the machine."""
    return redact_text(url)


def redact_text(text: str) -> str:
    """The same for every URL inside ``text``."""
    hidden = _CREDENTIALS.sub("://***@", text)
    return _TOKEN.sub("/t/***", hidden)
