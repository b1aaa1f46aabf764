"""Renders the comparison of a run with its history as a section of the HTML report.

The section has sentences, plots, and a collapsed table of all figures. It brings no scripts and no styles of its own:
the report's style covers it. All text from a store is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import log
from typing import Final

from loadgen.history.run_vs_history.position import ORDER, Standing, Standings
from loadgen.history.run_vs_history.text import sentences, sorted_rows
from loadgen.history.store.stored_run import Accepted
from loadgen.history.trend.plot import SMALL, plot
from loadgen.history.trend.trends import Trend, TrendSettings, trends
from loadgen.outside_text import in_html
from loadgen.report.report_tables import milliseconds
from loadgen.units import format_change, format_changes, format_count

__all__ = ["section"]

_DRAWN: Final = 12
"""Most names with plots. The plots of one name take some 10 kB for each percentile."""
_OPEN: Final = 3
"""Names whose plots are visible at once; the others are collapsed."""
_KEY: Final = (
    "Small dots are accepted runs, oldest first; lines are their levels; rings are outliers. The large dot is this run."
    " A horizontal dashed line is a pinned release, a vertical one a change of level. The axis is logarithmic."
)
_ROWS: Final = 180
"""Most rows of the table."""


def section(found: Standings, gate: str) -> str:
    """Return the HTML elements of the report's section about a run and its history, without an enclosing element.

    gate: the command line that judges the run, which the section shows.

    Size: at most 150 kB. Cost: some ms for each plot.
    """
    return "\n".join(_parts(found, gate))


def _parts(found: Standings, gate: str) -> Iterator[str]:
    yield "<ul>"
    yield from (f"<li>{in_html(sentence)}</li>" for sentence in sentences(found, gate))
    yield "</ul>"
    names = list(dict.fromkeys(row.name for row in sorted_rows(found)))
    by_name: dict[str, dict[str, Standing]] = {}
    for row in found.rows:
        by_name.setdefault(row.name, {})[row.percentile] = row
    drawn = names[:_DRAWN]
    plots = {percentile: _trends(found, percentile, drawn) for percentile in sorted(ORDER)}
    if not drawn:
        return
    yield f'<p class="note">{_KEY}</p>'
    for name in drawn[:_OPEN]:
        yield from _plots(name, plots, by_name[name], found.run)
    if folded := drawn[_OPEN:]:
        yield f"<details><summary>Plots of {format_count(len(folded))} more</summary>"
        for name in folded:
            yield from _plots(name, plots, by_name[name], found.run)
        yield "</details>"
    yield from _table(found, len(names))


def _plots(
    name: str, plots: Mapping[str, Mapping[str, Trend]], rows: Mapping[str, Standing], run: Accepted
) -> Iterator[str]:
    yield f'<h3>{in_html(name)}</h3>\n<div class="plots">'
    for percentile, of in plots.items():
        if name in of and percentile in rows:
            yield from _figure(of[name], rows[percentile], run)
    yield "</div>"


def _trends(found: Standings, percentile: str, names: list[str]) -> dict[str, Trend]:
    pattern = re.compile(rf"\A(?:{'|'.join(map(re.escape, names))})\Z")
    look = TrendSettings(percentile, ar=True, name=pattern)
    return {one.name: one for one in trends(found.history, look, found.references)}


def _figure(trend: Trend, row: Standing, run: Accepted) -> Iterator[str]:
    text = f"{milliseconds(row.value_ms)} ms, {_change(row)}"
    yield f'<figure class="chart"><figcaption><strong>{row.percentile}</strong> <span class="note">{text}</span>'
    yield f"</figcaption>{plot(trend, (run, log(row.value_ms)), size=SMALL)}</figure>"


def _change(row: Standing) -> str:
    text = f"{format_change(row.effect.change)} ({format_changes(row.effect.low, row.effect.high)})"
    side = "slower" if row.effect.change > 0 else "faster"
    return f'<span class="{side}">{text}</span>' if row.is_clear else text


def _table(found: Standings, names: int) -> Iterator[str]:
    rows = sorted_rows(found)
    references = list(dict.fromkeys(name for row in rows for name, _ in row.against))
    yield f"<details><summary>All figures of {format_count(names)} {'name' if names == 1 else 'names'}</summary>"
    heads = ("name", "", "ms", "change, 95 %", "runs", "since", *(f"against {in_html(name)}" for name in references))
    yield f'<div class="scroll"><table><thead><tr>{"".join(f"<th>{head}</th>" for head in heads)}</tr></thead><tbody>'
    for row in rows[:_ROWS]:
        against = {name: f"{format_change(of.change)} ({format_changes(of.low, of.high)})" for name, of in row.against}
        cells = (
            in_html(row.name),
            row.percentile,
            milliseconds(row.value_ms),
            _change(row),
            str(row.effect.history),
            in_html(row.since),
            *(against.get(name, "-") for name in references),
        )
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</tbody></table></div>"
    if more := max(0, len(rows) - _ROWS):
        yield f'<p class="note">{format_count(more)} more rows are in the JSON.</p>'
    yield "</details>"
