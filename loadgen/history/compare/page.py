"""Renders comparisons as one self-contained HTML file: no scripts and no network. Names in it are never markup."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from loadgen.history.compare.comparison import Comparison, Verdict
from loadgen.history.compare.quantile_plot import svg
from loadgen.history.compare.quantiles import Curve
from loadgen.history.compare.text import report_of
from loadgen.outside_text import in_html
from loadgen.report.report_tables import Table

__all__ = ["page"]

_CLASSES: Final = {
    str(Verdict.SLOWER): "bad",
    str(Verdict.MORE_ERRORS): "bad",
    "invalid": "bad",
    "not fit": "bad",
    str(Verdict.FASTER): "good",
    str(Verdict.FEWER_ERRORS): "good",
    str(Verdict.UNKNOWN): "doubt",
    "suspect": "doubt",
}
_STYLE: Final = """
:root { color-scheme: light dark; --ink: light-dark(#16191c, #e6e8ea); --quiet: light-dark(#5a636b, #9aa4ad);
  --paper: light-dark(#ffffff, #14171a); --grid: light-dark(#e3e6e8, #2c3238); --good: light-dark(#00694d, #4cc9a0);
  --bad: light-dark(#b03a00, #ff8a57); --doubt: light-dark(#7a5a00, #e3bd4f); --line: light-dark(#0072b2, #56b4e9);
  --band: light-dark(#0072b22e, #56b4e93d); }
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1100px; padding: 20px 16px 48px; font-variant-numeric: tabular-nums; }
h1 { font-size: 19px; margin: 24px 0 8px; } h2 { font-size: 14px; margin: 26px 0 6px; }
p { margin: 4px 0; max-width: 90ch; } .note, figcaption { color: var(--quiet); font-size: 12px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: 2px 14px 2px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th.word, td.word { text-align: left; } th { color: var(--quiet); font-weight: 500; }
.good { color: var(--good); } .bad { color: var(--bad); } .doubt { color: var(--doubt); }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); gap: 16px; }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; }
svg text { font-size: 12px; fill: var(--quiet); }
.end { text-anchor: end; } .mid { text-anchor: middle; } .grid { stroke: var(--grid); } .zero { stroke: var(--quiet); }
.line { fill: none; stroke: var(--line); stroke-width: 2; } .band { fill: var(--band); }
"""


def page(comparisons: Sequence[Comparison], curves: Sequence[Sequence[Curve]]) -> bytes:
    """Return an HTML page in UTF-8 that shows the comparisons. The same arguments give the same bytes.

    curves: for each comparison, its curves of differences by quantile.
    """
    title = "; ".join(f"{one.new.label} compared with {one.base.label}" for one in comparisons)
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    lines = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>loadgen: {in_html(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        *(line for each in zip(comparisons, curves, strict=True) for line in _section(*each)),
        "</body>\n</html>\n",
    ]
    return "\n".join(lines).encode("utf-8", "replace")


def _section(comparison: Comparison, curves: Sequence[Curve]) -> Iterator[str]:
    report = report_of(comparison, all_rows=True)
    yield f'<h1 class="{_CLASSES.get(report.result, "")}">{in_html(report.headline)}</h1>'
    yield from (f"<p>{in_html(line)}</p>" for line in report.lines)
    figures, *others = report.tables
    yield from _table(figures)
    yield from _curves(curves)
    for table in others:
        yield from _table(table)


def _curves(curves: Sequence[Curve]) -> Iterator[str]:
    if not curves:
        return
    yield "<h2>Difference at each quantile</h2>"
    bands = " ".join(dict.fromkeys(curve.band for curve in curves))
    yield f'<p class="note">Above 0, the new side is slower. {in_html(bands)}</p>'
    yield '<div class="curves">'
    for curve in curves:
        yield f"<figure>{svg(curve)}<figcaption>{in_html(curve.name)}</figcaption></figure>"
    yield "</div>"


def _table(table: Table) -> Iterator[str]:
    yield f'<h2>{in_html(table.title)}</h2>\n<div class="wide"><table>'
    heads = "".join(f"<th{_word(table, n)}>{in_html(column)}</th>" for n, column in enumerate(table.columns))
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for row in table.rows:
        yield f"<tr>{''.join(_cell(table, n, cell) for n, cell in enumerate(row))}</tr>"
    yield "</tbody></table></div>"
    if table.note:
        yield f'<p class="note">{in_html(table.note)}</p>'


def _cell(table: Table, n: int, cell: str) -> str:
    classes = " ".join(filter(None, ("word" if n < table.words else "", _CLASSES.get(cell, "") if n == 2 else "")))
    return f'<td class="{classes}">{in_html(cell)}</td>'


def _word(table: Table, n: int) -> str:
    return ' class="word"' if n < table.words else ""
