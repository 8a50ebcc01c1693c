"""The self-test's report as one HTML file: no script, nothing loaded, plots as SVG inside."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from cuready import __version__
from cuready.doctor.finding import Finding
from cuready.selftest.model import Report, Series, StageResult
from cuready.selftest.render.plot import plot
from cuready.selftest.render.text import amount, machine_line, usual_text

__all__ = ["page"]

STYLE = """
:root{color-scheme:light dark;--ok:#1f8a4c;--bad:#c0392b;--skip:#7a7f87;--line:#8884;--soft:#8881}
*{box-sizing:border-box}
body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}
h1{font-size:1.4rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
p{margin:.3rem 0}code{background:var(--soft);padding:.1rem .3rem;overflow-wrap:anywhere}
.verdict{font-weight:700}.passed{color:var(--ok)}.failed{color:var(--bad)}.skipped{color:var(--skip)}
details{border-top:1px solid var(--line);padding:.5rem 0}
summary{cursor:pointer;display:flex;flex-wrap:wrap;gap:.2rem .8rem;min-height:2rem}
summary b{flex:1 1 12rem}.time{color:var(--skip)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{border-bottom:1px solid var(--line);padding:.25rem .5rem;text-align:left}
td.n{text-align:right;white-space:nowrap}
.finding{border-left:.3rem solid var(--bad);
background:var(--soft);margin:.6rem 0;padding:.4rem .8rem}
.finding.warning{border-color:#c98a10}
figure{margin:1rem 0}figcaption{font-weight:600}
svg{width:100%;max-width:38rem;height:auto;display:block}
svg text{font-size:13px;fill:currentColor}.grid{stroke:var(--line)}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;margin:.3rem 0;padding:0}
.legend span{display:inline-block;width:1rem;height:.7rem;margin-right:.4rem}
"""
TITLES = {"bandwidth": "Bandwidth by size", "latency": "Latency distribution"}


def page(report: Report) -> str:
    """The whole document."""
    title = f"cuready selftest: {machine_line(report) or 'no GPU'}"
    return "\n".join((
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        *_head(report),
        *(_finding(item) for item in report.findings),
        "<h2>Stages</h2>",
        *(_stage(stage) for stage in report.stages),
        *_plots(report),
        f'<p class="time">cuready {escape(__version__)}, schema version 1</p>',
        "</body></html>",
    ))  # fmt: skip


def _head(report: Report) -> Iterator[str]:
    word = {0: "passed", 1: "failed", 3: "skipped"}[report.exit_code]
    verdict = {0: "Passed", 1: "Failed", 3: "Could not be tried"}[report.exit_code]
    yield f"<h1>{escape(machine_line(report) or 'cuready selftest')}</h1>"
    if report.note:
        yield f"<p>{escape(report.note)}</p>"
    yield (
        f'<p><span id="verdict" class="verdict {word}">{verdict}</span> '
        f"in {report.seconds:.1f} s, mode {escape(report.mode)}</p>"
    )


def _finding(item: Finding) -> str:
    parts = [f"<p><b>{escape(item.id)} {escape(item.title)}</b></p><p>{escape(item.cause)}</p>"]
    for evidence in item.evidence[1:]:
        parts.append(f"<p>{escape(evidence.source)}: {escape(evidence.detail)}</p>")
    for fix in item.fix:
        parts += [f"<p>fix: <code>{escape(command)}</code></p>" for command in fix.commands]
        if fix.note:
            parts.append(f"<p>{escape(fix.note)}</p>")
    return f'<div class="finding {item.severity.value}">{"".join(parts)}</div>'


def _stage(stage: StageResult) -> str:
    opened = " open" if stage.status.value == "failed" else ""
    head = (
        f'<summary><b>{escape(stage.title)}</b><span class="{stage.status.value}">'
        f'{stage.status.value}</span><span class="time">{stage.ms / 1000:.2f} s</span></summary>'
    )
    reason = f"<p>{escape(stage.reason)}</p>" if stage.reason else ""
    return (
        f'<details id="stage-{escape(stage.id)}"{opened}>{head}{reason}{_figures(stage)}</details>'
    )


def _figures(stage: StageResult) -> str:
    if not stage.figures:
        return ""
    rows = "".join(
        f'<tr><td>{escape(figure.name)}</td><td class="n">{escape(amount(figure))}</td>'
        f'<td class="n">{escape(usual_text(figure) or "unknown")}</td></tr>'
        for figure in stage.figures
    )
    return (
        '<div class="scroll"><table><tr><th>figure</th><th>measured</th><th>usual</th></tr>'
        f"{rows}</table></div>"
    )


def _plots(report: Report) -> Iterator[str]:
    groups: dict[str, list[Series]] = {}
    for stage in report.stages:
        for line in stage.series:
            groups.setdefault(_group(line), []).append(line)
    if groups:
        yield "<h2>Plots</h2>"
    for name, lines in groups.items():
        yield plot(TITLES.get(name, name[0].upper() + name[1:]), lines)


def _group(line: Series) -> str:
    """Device-to-device copies are tens of times faster than the bus: a plot of their own."""
    if line.plot == "bandwidth" and line.name == "device to device":
        return "bandwidth inside the GPU by size"
    return line.plot
