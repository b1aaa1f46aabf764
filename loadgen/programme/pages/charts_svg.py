"""Draws the charts of a weekly page as SVG. `xy_chart` has the drawing; this module decides what stands on it.

A chart is readable in grey and without a legend: each line has its label at its end, and lines differ by dashes. Lines
with bad news are thick. A chart with many lines labels those with bad news and the first others, and draws the rest
thin and plain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from math import ceil, isfinite
from typing import Final, TypeGuard, TypeVar

from loadgen.outside_text import in_html, one_line
from loadgen.programme.pages.dates_in_words import short_date
from loadgen.programme.weekly.page_values import Chart, ChartLine, Tone
from loadgen.studies.xy_chart import Axis, Band, Line, Mark, Points, Rule, Size, xy_chart

__all__ = ["SIZE", "chart_html", "chart_svg"]

SIZE: Final = Size(440, 170, left=52, right=118, bottom=20)
_LABELLED: Final = 8
"""As many labels fit beside a chart of `SIZE` and are still read."""
_RANK: Final[dict[Tone, int]] = {"bad": 0, "open": 1, "plain": 2, "good": 3}
_STYLES: Final = {"bad": 1, "open": 2, "limit": 7, "mark": 8}
"""Colours of lines by tone; other lines take 3 to 5 in turn, and 6 is for lines without a label."""
_DAYS: Final = (1, 2, 7, 14, 28, 91)
_PLACES: Final = 5
_ROOM_OF_LABELS: Final = 0.15
"""Share of the height above the highest value that labels of places need, so that they do not stand on lines."""
_CHARACTER: Final = 7
"""Room for a character of a label, in px: a bold one of a wide font, such as DejaVu Sans at 11 px."""
_MOST_RIGHT: Final = 190
_T = TypeVar("_T")


def chart_html(chart: Chart, zone: tzinfo, after: str = "") -> str:
    """Return a chart with its title and its text as HTML. after: HTML that follows the text."""
    drawn = chart_svg(chart, zone) or '<p class="note">Nothing to draw: no data.</p>'
    title = f"{in_html(chart.title)}{f' <span>{in_html(chart.unit)}</span>' if chart.unit else ''}"
    return (
        f'<figure class="chart"><h3>{title}</h3>\n{drawn}\n'
        f"<figcaption>{in_html(chart.text or chart.title)}{after}</figcaption></figure>"
    )


def chart_svg(chart: Chart, zone: tzinfo) -> str:
    """Return a chart as SVG; "" without any value. zone: of the dates at the axis. Cost: linear in the points."""
    lines = sorted(chart.lines, key=lambda line: _RANK[line.tone])
    marks = [mark for n, line in enumerate(lines) for mark in _marks(line, n)]
    if not marks:
        return ""
    found = dict.fromkeys((one.at, one.label) for line in lines for one in line.marks)
    places = [Rule("", at, style=_STYLES["mark"], label=label) for at, label in found]
    marks += places
    if chart.limit is not None and isfinite(chart.limit):
        marks.append(
            Rule("", chart.limit, is_horizontal=True, style=_STYLES["limit"], label=chart.limit_name or "limit")
        )
    x = Axis("", places=_dates([at for line in lines for at, _ in line.points], zone))
    # Dashes and labels at the ends replace keys, so that a printed page in grey needs no colours.
    labels = [mark.label for mark in marks if isinstance(mark, Line | Rule) and mark not in places]
    size = replace(SIZE, right=min(_MOST_RIGHT, max(64, 18 + _CHARACTER * max(map(len, labels), default=0))))
    y = Axis("", room_above=_ROOM_OF_LABELS if places else 0.0)
    return xy_chart(chart.title, marks, x=x, y=y, size=size, text=chart.text or chart.title, has_keys=False)


def _marks(line: ChartLine, rank: int) -> Iterator[Mark]:
    """Yield the band, the parts between gaps, and single points of a line. rank: its place, the worst is 0."""
    is_labelled = rank < _LABELLED
    style = _STYLES.get(line.tone, 3 + rank % 3 if is_labelled else 6)
    dash = rank % 5 if is_labelled else 0
    if len(line.low) == len(line.high) == len(line.points):
        whole = [
            None if not (_is_number(low) and _is_number(high)) else (float(at), low, high)
            for (at, _), low, high in zip(line.points, line.low, line.high, strict=True)
        ]
        yield from (Band("", part, style=style) for part in _parts(whole))
    parts = _parts([(float(at), value) if _is_number(value) else None for at, value in line.points])
    for n, part in enumerate(parts, 1):
        label = one_line(line.name) if is_labelled and n == len(parts) else ""
        yield Line("", part, style=style, dash=dash, label=label)
        if len(part) == 1:
            yield Points("", part, style=style)


def _parts(values: Sequence[_T | None]) -> list[list[_T]]:
    """Return the parts of a list between its gaps."""
    found: list[list[_T]] = [[]]
    for value in values:
        if value is not None:
            found[-1].append(value)
        elif found[-1]:
            found.append([])
    return [part for part in found if part]


def _dates(times: Sequence[int], zone: tzinfo) -> tuple[tuple[float, str], ...]:
    """Return at most `_PLACES` midnights within the times, each with its date: "20 Jul"."""
    if not times:
        return ()
    first, last = (datetime.fromtimestamp(at, zone) for at in (min(times), max(times)))
    days = (last.date() - first.date()).days
    step = next((step for step in _DAYS if days / step < _PLACES), max(1, ceil(days / (_PLACES - 1))))
    found = []
    # Backwards from the last day, since the newest date is what people look for.
    for n in range(0, days + 1, step):
        day = last.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None) - timedelta(days=n)
        at = day.replace(tzinfo=zone).timestamp()
        if at >= min(times):
            found.append((at, short_date(day)))
    return tuple(reversed(found)) or ((float(min(times)), short_date(first)),)


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and isfinite(value)
