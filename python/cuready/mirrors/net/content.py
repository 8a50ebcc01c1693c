"""Do the first bytes belong to the kind of file that was asked for, or is this a login page?"""

from __future__ import annotations

from cuready.mirrors.net.causes import Cause
from cuready.mirrors.net.request import FileKind

__all__ = ["HEAD_BYTES", "check_head", "looks_like_html"]

HEAD_BYTES = 512

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # APPNOTE.TXT 4.3.7 and 4.3.16: local header, empty archive
_GZIP = (b"\x1f\x8b",)  # RFC 1952, 2.3.1
_BZIP2 = (b"BZh",)
_ZSTD = (b"\x28\xb5\x2f\xfd",)  # RFC 8878, 3.1.1

# A `.conda` file is a ZIP archive since its first version (conda-package-streaming docs); a wheel
# is one by PEP 427; repodata is JSON, plain or compressed.
_MAGIC: dict[FileKind, tuple[bytes, ...]] = {
    FileKind.CONDA: _ZIP,
    FileKind.WHEEL: _ZIP,
    FileKind.TAR_BZ2: _BZIP2,
    FileKind.SDIST: _GZIP,
    FileKind.METADATA: (b"{", b"[", *_ZSTD, *_BZIP2, *_GZIP),
}

_HTML_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<meta", b"<title")


def looks_like_html(head: bytes) -> bool:
    """True when ``head``, the first bytes of a body, begins an HTML page."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!--", b"<?xml")):  # a comment or XHTML's declaration may come first
        return any(start in text for start in _HTML_STARTS[:2])
    return text.startswith(_HTML_STARTS)


def check_head(kind: FileKind, head: bytes, content_type: str) -> tuple[Cause, str] | None:
    """Judge the first ``HEAD_BYTES`` bytes of a body; None when they may be the file.

    Never trusts ``Content-Type`` alone: servers call packages ``text/html`` and login pages
    ``application/octet-stream``.
    """
    declared = content_type.partition(";")[0].strip().lower()
    if kind is FileKind.HTML_INDEX:
        return None
    if looks_like_html(head):
        return Cause.CAPTIVE_PORTAL, f"HTML came ({declared or 'no content type'})"
    magic = _MAGIC.get(kind)
    if magic is None:
        return None
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n") if kind is FileKind.METADATA else head
    if start.startswith(magic):
        return None
    if declared == "text/html":
        return Cause.CAPTIVE_PORTAL, "the server calls it text/html, and it is no " + kind.value
    shown = head[:8].hex(" ") if head else "nothing"
    return Cause.WRONG_CONTENT, f"a {kind.value} file cannot begin with {shown}"
