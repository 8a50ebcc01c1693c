"""An engine's layers as a picture: rows by how far from the inputs, edges by tensor names, SVG."""

from __future__ import annotations

from html import escape
from typing import Any

from cuready.selftest.inspection import Layer

__all__ = ["picture"]

BOX_W, BOX_H, GAP_X, GAP_Y, MARGIN = 220, 46, 26, 44, 20
LETTERS = 28


def picture(facts: dict[str, Any]) -> str:
    """One SVG document. Layers without tensor names are put one below the other."""
    layers = [Layer(**entry) for entry in facts["layers"]]
    inputs = [Layer(one["name"], "input", [], [one["name"]]) for one in facts["inputs"]]
    outputs = [Layer(one["name"], "output", [one["name"]], []) for one in facts["outputs"]]
    edges_known = any(layer.inputs for layer in layers)
    nodes = [*inputs, *layers, *outputs] if edges_known else layers
    edges = _edges(nodes) if edges_known else [(i, i + 1) for i in range(len(nodes) - 1)]
    rows = _rows(len(nodes), edges)
    order = _order(rows, edges)
    places = _places(order)
    width = max((x for x, _ in places.values()), default=0) + BOX_W + MARGIN
    height = max((y for _, y in places.values()), default=0) + BOX_H + MARGIN
    lines = [_edge(places[a], places[b]) for a, b in edges]
    boxes = [_box(nodes[i], *place) for i, place in places.items()]
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
        f"<title>{escape(str(facts['name'] or 'engine'))}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>', *lines, *boxes, "</svg>",
    ))  # fmt: skip


def _edges(nodes: list[Layer]) -> list[tuple[int, int]]:
    made: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.outputs:
            made.setdefault(name, index)
    return sorted(
        {(made[name], index) for index, node in enumerate(nodes) for name in node.inputs
         if name in made and made[name] != index}
    )  # fmt: skip


def _rows(count: int, edges: list[tuple[int, int]]) -> list[int]:
    """Longest way from a source; an edge of a loop is cut after ``count`` rounds."""
    rows = [0] * count
    for _ in range(count):
        changed = False
        for a, b in edges:
            if rows[b] < rows[a] + 1 <= count:
                rows[b], changed = rows[a] + 1, True
        if not changed:
            break
    return rows


def _order(rows: list[int], edges: list[tuple[int, int]]) -> list[list[int]]:
    """Nodes of each row, sorted by the mean place of what they come from: fewer crossings."""
    parents: dict[int, list[int]] = {}
    for a, b in edges:
        parents.setdefault(b, []).append(a)
    order: list[list[int]] = [[] for _ in range(max(rows, default=-1) + 1)]
    for node, row in enumerate(rows):
        order[row].append(node)
    place: dict[int, float] = {}
    for row_nodes in order:
        row_nodes.sort(key=lambda node: _mean([place.get(p, 0.0) for p in parents.get(node, [])]))
        for position, node in enumerate(row_nodes):
            place[node] = position - len(row_nodes) / 2
    return order


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _places(order: list[list[int]]) -> dict[int, tuple[int, int]]:
    widest = max((len(row) for row in order), default=1)
    places = {}
    for number, row in enumerate(order):
        left = MARGIN + (widest - len(row)) * (BOX_W + GAP_X) // 2
        for position, node in enumerate(row):
            places[node] = (left + position * (BOX_W + GAP_X), MARGIN + number * (BOX_H + GAP_Y))
    return places


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + BOX_W // 2, start[1] + BOX_H
    x2, y2 = end[0] + BOX_W // 2, end[1]
    bend = (y1 + y2) // 2
    return (
        f'<path class="edge" d="M{x1},{y1} C{x1},{bend} {x2},{bend} {x2},{y2}" fill="none" '
        'stroke="#8a94a6" stroke-width="1.5"/>'
    )


def _box(node: Layer, x: int, y: int) -> str:
    colour = {"input": "#d9ead3", "output": "#fce5cd"}.get(node.type, "#dce8f7")
    name = node.name if len(node.name) <= LETTERS else f"{node.name[: LETTERS - 1]}…"
    return (
        f'<g class="layer"><title>{escape(node.name)}</title>'
        f'<rect x="{x}" y="{y}" width="{BOX_W}" height="{BOX_H}" rx="6" fill="{colour}" '
        'stroke="#5b6b82"/>'
        f'<text x="{x + 8}" y="{y + 19}">{escape(name)}</text>'
        f'<text x="{x + 8}" y="{y + 37}" fill="#5b6b82">{escape(node.type)}</text></g>'
    )
