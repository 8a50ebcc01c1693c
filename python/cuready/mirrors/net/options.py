"""The limits of the download layer, in one place, with the reason for each default."""

from __future__ import annotations

from dataclasses import dataclass

from cuready import __version__

__all__ = ["PIP_USER_AGENT", "NetOptions"]

# What pip 26.3 sends, shortened to what firewalls match on; used to ask a mirror what *pip* would
# be told (https://github.com/pypa/pip/blob/main/src/pip/_internal/network/session.py, user_agent).
PIP_USER_AGENT = 'pip/26.3 {"installer":{"name":"pip","version":"26.3"}}'


@dataclass(frozen=True)
class NetOptions:
    """Limits and habits.

    Attributes:
        connect_timeout: seconds for DNS, TCP and TLS each.
        stall_timeout: seconds without a single byte before a try is given up. There is no limit on
            the whole: a 2 GB wheel over a slow link takes what it takes.
        min_rate, rate_window: bytes per second over that many seconds, below which a mirror is left
            while another one remains. The last one left is never too slow.
        retries: more tries at the same mirror after a passing fault; a try that moved at least
            ``progress_bytes`` or 1 % of the file does not count.
        backoff, backoff_cap: seconds; the n-th wait is random in [0, backoff·2ⁿ], at most the cap.
        jobs: files under way at once. Mirrors ban clients that open many connections.
        breaker_failures, breaker_cooldown: this many faults of a mirror in a row open its circuit
            for that many seconds.
        user_agent, short_user_agent: after a 403 the short one is tried once (firewalls of 2026
            refuse by User-Agent, tuna/issues#2603).
        diagnose: on total failure, climb the probe ladder for mirrors that gave no HTTP answer.
        diagnose_seconds: limit for all of that.
    """

    connect_timeout: float = 10.0
    stall_timeout: float = 20.0
    min_rate: float = 16 * 1024.0
    rate_window: float = 15.0
    retries: int = 2
    progress_bytes: int = 1024 * 1024
    max_tries_per_mirror: int = 60
    backoff: float = 0.5
    backoff_cap: float = 8.0
    max_redirects: int = 10
    jobs: int = 4
    breaker_failures: int = 3
    breaker_cooldown: float = 60.0
    user_agent: str = f"cuready/{__version__} (+https://cuready.readthedocs.io)"
    short_user_agent: str = "cuready"
    diagnose: bool = True
    diagnose_seconds: float = 8.0
