"""Line plots as SVG text: no script, no font, no file beside it; readable on a phone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from cuready.selftest.model import Series

__all__ = ["plot"]

# About as many units as a phone has pixels across, so that the page's font size holds there.
WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 28, 44
COLOURS = ("#2f7ed8", "#d9822b", "#2e9e5b", "#b2469a", "#6b6ecf", "#a15c38", "#17828f")
MARKS = ("", "6 3", "2 3", "9 3 2 3", "", "6 3", "2 3")
Place = Callable[[float, float], tuple[float, float]]
LABEL_WIDTH = 56
BINARY = ("B", "KiB", "MiB", "GiB")


def plot(title: str, lines: Sequence[Series]) -> str:
    """One figure with its legend. Sizes in bytes get a logarithmic axis, everything else none."""
    lines = [line for line in lines if line.x and len(line.x) == len(line.y)]
    if not lines:
        return ""
    logarithmic = lines[0].x_unit == "bytes"
    xs = [_place(x, logarithmic) for line in lines for x in line.x]
    low_x, high_x = min(xs), max(xs)
    ticks = _round_ticks(_floor([y for line in lines for y in line.y]),
                         max(max(line.y) for line in lines) or 1.0)  # fmt: skip
    low_y, high_y = ticks[0], ticks[-1]
    if high_x == low_x:
        high_x += 1

    def at(x: float, y: float) -> tuple[float, float]:
        across = (_place(x, logarithmic) - low_x) / (high_x - low_x)
        up = (y - low_y) / (high_y - low_y or 1)
        return (LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * _inner())

    parts = [
        f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
        *_axes(lines, ticks, at, logarithmic),
        *_curves(lines, at),
        "</svg>",
    ]
    legend = "".join(
        f'<li><span style="background:{COLOURS[i % 7]}"></span>{escape(line.name)}</li>'
        for i, line in enumerate(lines)
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{''.join(parts)}"
        f'<ul class="legend">{legend}</ul></figure>'
    )


def _inner() -> int:
    return HEIGHT - TOP - BOTTOM


def _place(x: float, logarithmic: bool) -> float:
    return math.log2(max(x, 1)) if logarithmic else x


def _floor(values: list[float]) -> float:
    """Zero, unless all values lie close together far above it, as clocks do."""
    low, high = min(values), max(values)
    return 0.0 if low <= 0 or low < 0.7 * high else low - (high - low or low) * 0.2


def _round_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, from at most ``low`` to at least ``high``."""
    rough = (high - low or abs(high) or 1.0) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if rough <= power * digit * 1.000001)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * number for number in range(first, max(last, first + 1) + 1)]


def _axes(
    lines: Sequence[Series], ticks: Sequence[float], at: Place, logarithmic: bool
) -> Iterator[str]:
    first_x, low = min(min(line.x) for line in lines), ticks[0]
    for value in ticks:
        _, y = at(first_x, value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        text = f"{value:,.6g}"
        yield f'<text x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{text}</text>'
    free_from = 0.0
    for value in _ticks(lines, logarithmic):
        x, _ = at(value, low)
        if x < free_from:
            continue
        free_from = x + LABEL_WIDTH
        anchor = "end" if x > WIDTH - 40 else "middle"
        yield (
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="{anchor}">'
            f"{_size(value) if logarithmic else f'{value:g}'}</text>"
        )
    unit_x = "" if logarithmic else lines[0].x_unit
    yield (
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(unit_x)}</text>'
        f'<text x="{LEFT}" y="14">{escape(lines[0].y_unit)}</text>'
    )


def _ticks(lines: Sequence[Series], logarithmic: bool) -> list[float]:
    values = sorted({x for line in lines for x in line.x})
    if len(values) <= 6:
        return values
    if logarithmic:
        return values[:: math.ceil(len(values) / 5)]
    low, high = values[0], values[-1]
    return [round(low + (high - low) * i / 5, 1) for i in range(6)]


def _size(value: float) -> str:
    unit = 0
    while value >= 1024 and unit < 3:
        value /= 1024
        unit += 1
    return f"{value:g} {BINARY[unit]}"


def _curves(lines: Sequence[Series], at: Place) -> Iterator[str]:
    for index, line in enumerate(lines):
        colour, dash = COLOURS[index % 7], MARKS[index % 7]
        places = [at(x, y) for x, y in zip(line.x, line.y, strict=True)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield (
            f'<polyline fill="none" stroke="{colour}" stroke-width="2.5" '
            f'stroke-dasharray="{dash}" points="{points}"/>'
        )
        if len(places) <= 40:
            for (x, y), value in zip(places, line.y, strict=True):
                yield (
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
                    f"<title>{escape(line.name)}: {value:.4g} {escape(line.y_unit)}</title>"
                    "</circle>"
                )
