"""Issuer, owner and dates of a certificate that was not trusted, for the message that says why.

The ssl module decodes only certificates that it has verified, and those are not the ones of
interest. So the four fields are read from the DER bytes here (X.509: RFC 5280, 4.1; DER: X.690, 8
and 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

__all__ = ["CertificateFacts", "read_certificate"]

_COMMON_NAME = bytes((0x55, 0x04, 0x03))  # OID 2.5.4.3
_ORGANIZATION = bytes((0x55, 0x04, 0x0A))  # OID 2.5.4.10
_SEQUENCE, _SET, _OID, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x31, 0x06, 0x17, 0x18, 0xA0


@dataclass(frozen=True)
class CertificateFacts:
    """Names are the common name, or the organisation where there is none; dates are UTC."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime

    def to_dict(self) -> dict[str, str]:
        """For JSON output."""
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
        }


def read_certificate(der: bytes) -> CertificateFacts | None:
    """The facts of a DER certificate; None when the bytes are none."""
    try:
        certificate = _expect(_element(der, 0), _SEQUENCE)
        fields = _children(_expect(_element(certificate, 0), _SEQUENCE))
        if fields[0][0] == _VERSION:
            fields = fields[1:]
        # serialNumber, signature, issuer, validity, subject
        issuer, validity, subject = fields[2][1], _children(fields[3][1]), fields[4][1]
        return CertificateFacts(
            _name(subject), _name(issuer), _time(validity[0]), _time(validity[1])
        )
    except (IndexError, ValueError, OverflowError):
        return None


def _element(data: bytes, position: int) -> tuple[int, bytes, int]:
    """(tag, content, where the next element begins)."""
    tag, length = data[position], data[position + 1]
    position += 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise ValueError("length")
        length = int.from_bytes(data[position : position + count], "big")
        position += count
    end = position + length
    if end > len(data):
        raise ValueError("too short")
    return tag, data[position:end], end


def _expect(element: tuple[int, bytes, int], tag: int) -> bytes:
    if element[0] != tag:
        raise ValueError("tag")
    return element[1]


def _children(content: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    position = 0
    while position < len(content):
        tag, inner, position = _element(content, position)
        found.append((tag, inner))
    return found


def _name(content: bytes) -> str:
    """The common name out of a Name; else the organisation; else empty."""
    values: dict[bytes, str] = {}
    for tag, relative in _children(content):
        if tag != _SET:
            continue
        for _, pair in _children(relative):
            oid, value = _children(pair)[:2]
            if oid[0] == _OID:
                values[oid[1]] = value[1].decode("utf-8", "replace")
    return values.get(_COMMON_NAME) or values.get(_ORGANIZATION, "")


def _time(element: tuple[int, bytes]) -> datetime:
    tag, content = element
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits: 50 to 99 are 19xx (RFC 5280, 4.1.2.5.1)
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
