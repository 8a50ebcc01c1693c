"""The table of `cuready mirror test`: live on a terminal while it runs, plain text afterwards."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING

from cuready._util import format_bytes
from cuready.mirrors.net.ranking import Ranking, Standing, State

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

__all__ = ["LiveTable", "ranking_lines"]

_COLUMNS = ("", "mirror", "state", "first byte", "speed", "copied", "remark")


class LiveTable:
    """Use as a context manager and pass as ``on_update``; draws nothing when not on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole

        self._console = console or RichConsole(stderr=True)
        self._standings: dict[str, Standing] = {}
        self._lock = threading.Lock()
        self._live: Live | None = None

    def __enter__(self) -> LiveTable:
        from rich.live import Live

        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, standing: Standing) -> None:
        """Draw the change of one candidate."""
        with self._lock:
            self._standings[standing.candidate.name] = standing
            if self._live is not None:
                self._live.update(self._table())

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for title in _COLUMNS:
            table.add_column(title)
        ordered = sorted(self._standings.values(), key=lambda s: (s.rank is None, s.rank or 0))
        for standing in ordered:
            table.add_row(*_cells(standing), style="dim" if standing.state is State.FAILED else "")
        return table


def ranking_lines(ranking: Ranking) -> list[str]:
    """The result as plain text, one line a mirror, then the first and second choice."""
    rows = [_COLUMNS, *(_cells(standing) for standing in ranking.standings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        lines.append("  ".join(cells).rstrip())
    if ranking.first is None:
        lines.append("no mirror gave the right answer")
    else:
        lines.append(f"best: {ranking.first.candidate.name}")
        second = ranking.second
        lines.append(
            f"second, of another operator: {second.candidate.name}"
            if second is not None
            else "second: none that is independent of the first"
        )
    return lines


def _cells(standing: Standing) -> tuple[str, ...]:
    seen = standing.sighting
    answered = standing.state not in (State.ASKED, State.FAILED)
    remark = seen.cause.value if seen.cause is not None and standing.state is State.FAILED else ""
    if remark and seen.detail:
        remark += f": {seen.detail}"
    if standing.stale:
        remark = "stale copy"
    return (
        "" if standing.rank is None else str(standing.rank),
        standing.candidate.name,
        "ok" if standing.state is State.RANKED else standing.state.value,
        f"{seen.latency * 1000:.0f} ms" if answered else "",
        f"{format_bytes(standing.rate)}/s" if answered and standing.rate else "",
        _age(seen.fresh_as_of) if answered else "",
        remark,
    )


def _age(moment: datetime | None) -> str:
    if moment is None:
        return ""
    hours = (datetime.now(timezone.utc) - moment).total_seconds() / 3600
    return f"{hours:.0f} h ago" if hours < 48 else f"{hours / 24:.0f} d ago"
