"""Dates as HTTP headers write them (RFC 9110, 5.6.7)."""

from __future__ import annotations

import email.utils
from datetime import datetime, timezone

__all__ = ["from_http_date"]


def from_http_date(value: str) -> datetime | None:
    """``Last-Modified``, ``Date``, ``Retry-After`` as a time in UTC; None when it is none."""
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):  # OverflowError: a year of thirty digits
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)
