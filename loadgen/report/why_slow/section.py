"""The section "Why slow" of a run's page, as ready-made HTML: without scripts, and with every text escaped.

It has the ranked paths, a bar that goes from a fast request to a slow one in steps that add up, and one slow and one
fast trace as waterfalls with one scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import Final

from loadgen.outside_text import in_html
from loadgen.report.charts.round_places import round_places
from loadgen.report.short_texts import cut_in_middle
from loadgen.report.why_slow.cause_file import CauseFile, Example, Ranked, WaterfallRow
from loadgen.report.why_slow.lines import (
    added_text,
    database_lines,
    detail_parts,
    example_title,
    foot_lines,
    headline,
    ms_text,
    path_text,
    pool_lines,
    sure_text,
    without_text,
)
from loadgen.units import NS_PER_MS, quantity

__all__ = ["TITLE", "section"]

TITLE: Final = "Why slow"
_WIDE: Final = 1000
"""Units of a line's drawing, which the page stretches to its width."""
_HIGH: Final = 18
_MOST_RANKED: Final = 10
_MOST_STEPS: Final = 14
"""Most steps of the bar; the smallest ones become one step."""
_LEAST_STEP: Final = 0.0005
"""A step that is a smaller part of the difference is not drawn."""
_LONGEST: Final = 280
"""Most characters of a path."""
_LINE: Final = 450
"""Most characters of a line about a statement, a lock or a pool."""
_WITH_LINES: Final = 3
"""Ranked paths that have such lines."""
_NAME: Final = 100
"""Most characters of a span's name."""
_DEEPEST: Final = 12
"""Deepest indent of a row; deeper spans are drawn there, too."""
_FEWEST_PLACES: Final = 2


def section(causes: CauseFile, together: Sequence[str] = ()) -> str:
    """Return the elements of the section, without an enclosing element.

    together: lines about series of the target that go with slow requests; they stand below the ranked paths.

    Size: at most 150 kB, without these lines.
    """
    return "\n".join(_parts(causes, together))


def _parts(causes: CauseFile, together: Sequence[str]) -> Iterator[str]:
    yield f'<p class="why-head">{in_html(headline(causes))}</p>'
    if causes.chosen.why:
        yield f'<p class="note">Chosen: {in_html(causes.chosen.why)}.</p>'
    if causes.ranked:
        yield '<ol class="causes">'
        for number, one in enumerate(causes.ranked[:_MOST_RANKED]):
            yield from _ranked(one, causes, database_lines(one, causes) if number < _WITH_LINES else ())
        yield "</ol>"
    yield '<ul class="why-foot">'
    yield from (f"<li>{in_html(cut_in_middle(line, _LINE))}</li>" for line in (*pool_lines(causes), *together))
    yield from (f"<li>{in_html(_short(line))}</li>" for line in foot_lines(causes))
    yield "</ul>"
    if causes.difference_ns and (causes.lines or causes.unexplained):
        yield from _bridge(causes)
    if causes.slow_example is not None:
        yield from _waterfalls(causes.slow_example, causes.fast_example, causes.against)


def _ranked(one: Ranked, causes: CauseFile, more: Iterable[str]) -> Iterator[str]:
    figures = [text for text in (added_text(one, causes), without_text(one, causes), sure_text(one, causes)) if text]
    yield f"<li><p><strong>{in_html(_short(path_text(one.path)))}</strong></p>"
    yield f"<p>{in_html('; '.join(figures))}</p>"
    parts = [*map(_short, detail_parts(one, causes)), *(cut_in_middle(line, _LINE) for line in more)]
    details = "".join(f"<li>{in_html(part)}</li>" for part in parts)
    yield f'<ul class="note">{details}</ul></li>'


def _short(text: str) -> str:
    return cut_in_middle(text, _LONGEST)


# -- the bar ------------------------------------------------------------------------------------------


def _bridge(causes: CauseFile) -> Iterator[str]:
    steps = _steps(causes)
    fast, slow = causes.fast_mean_ns, causes.fast_mean_ns + causes.difference_ns
    ends = [0.0, fast]
    for _, added in steps:
        ends.append(ends[-1] + added)
    low, high = min(0.0, *ends), max(*ends, slow, 1.0)

    def x(ns: float) -> float:
        return (ns - low) / (high - low) * _WIDE

    other, this = (f"run {causes.against}", "this run") if causes.against else ("fast requests", "slow requests")
    title = f"From {other} to this run" if causes.against else "From a fast request to a slow one"
    yield f'<figure class="chart wide" id="why-bar"><figcaption><h3>{in_html(title)}</h3>'
    yield (
        '<span class="note">differences of mean times on the critical path, by path; the steps add up</span>'
        '</figcaption><ol class="spans">'
    )
    yield _step(f"{other}, mean", f"{ms_text(fast)} ms", "step-whole", x(0), x(fast))
    at = fast
    for name, added in steps:
        kind = "step-less" if added < 0 else "step-more"
        yield _step(name, f"{ms_text(added, sign=True)} ms", kind, x(at), x(at + added))
        at += added
    yield _step(f"{this}, mean", f"{ms_text(slow)} ms", "step-whole", x(0), x(slow))
    yield "</ol></figure>"


def _steps(causes: CauseFile) -> list[tuple[str, float]]:
    """Return the parts of the difference: ranked and unexplained paths, largest first, and all others as the last."""
    named = [(path_text(one.path), one.added_ns) for one in causes.lines]
    named += [(path_text(one.path), one.added_ns) for one in causes.unexplained]
    least = _LEAST_STEP * max(abs(causes.difference_ns), 1.0)
    named = sorted((one for one in named if abs(one[1]) > least), key=lambda one: -abs(one[1]))[:_MOST_STEPS]
    rest = causes.difference_ns - sum(added for _, added in named)
    shown = sorted(named, key=lambda one: -one[1])
    is_rest = abs(rest) > least
    return [*shown, ("all other paths", rest)] if is_rest else shown


def _step(name: str, text: str, kind: str, begin: float, end: float) -> str:
    left, width = min(begin, end), max(abs(end - begin), 1.0)
    rect = f'<rect class="{kind}" x="{left:.1f}" y="3" width="{width:.1f}" height="{_HIGH - 6}"/>'
    about = f"<strong>{in_html(text)}</strong> {in_html(cut_in_middle(name, 2 * _NAME))}"
    return f'<li><p class="about">{about}</p>{_svg(rect)}</li>'


def _svg(inside: str) -> str:
    return f'<svg viewBox="0 0 {_WIDE} {_HIGH}" preserveAspectRatio="none" aria-hidden="true">{inside}</svg>'


# -- waterfalls ---------------------------------------------------------------------------------------


def _waterfalls(slow: Example, fast: Example | None, against: str) -> Iterator[str]:
    kinds = ("request of this run", "request of the other run") if against else ("slow request", "fast request")
    examples = [(kind, one) for kind, one in zip(kinds, (slow, fast), strict=True) if one is not None]
    low = min(0, *(row.begin_ns for _, one in examples for row in one.rows))
    high = max(1, *(one.response_ns for _, one in examples), *(row.end_ns for _, one in examples for row in one.rows))
    places = _places(low, high)
    yield '<figure class="chart wide" id="why-traces"><figcaption><h3>Two requests</h3>'
    yield '<span class="note">from the due time of each request; one scale for both; ms on the critical path</span>'
    yield '</figcaption><ul class="legend key">'
    for kind, text in (
        ("span-open", "the span was open"),
        ("span-waited", "the response waited for this span and for none below it"),
        ("span-ours", "the request as the client saw it"),
    ):
        yield f'<li class="line"><span class="swatch {kind}"></span>{text}</li>'
    yield "</ul>"
    for kind, one in examples:
        yield f'<p class="why-trace">{in_html(example_title(one, kind))}</p><ol class="spans">'
        yield _client_row(one, low, high, places)
        yield from (_span_row(row, low, high, places) for row in one.rows)
        yield "</ol>"
        if one.left_out:
            yield f'<p class="note">{quantity(one.left_out, "span")} with less time are not drawn.</p>'
    yield f'<ol class="spans axis"><li><p class="about"></p>{_axis(low, high, places)}</li></ol></figure>'


def _x(ns: int, low: int, high: int) -> float:
    return round((ns - low) / (high - low) * _WIDE, 1)


def _places(low: int, high: int) -> list[int]:
    places = [round(ms * NS_PER_MS) for ms in round_places(low / NS_PER_MS, high / NS_PER_MS) if isfinite(ms)]
    return [place for place in places if low <= place <= high]


def _grid(low: int, high: int, places: Sequence[int]) -> str:
    lines = "".join(f"M{_x(place, low, high):g} 0V{_HIGH}" for place in places)
    return f'<path class="grid-line" d="{lines}"/>'


def _client_row(one: Example, low: int, high: int, places: Sequence[int]) -> str:
    begin, end = _x(0, low, high), _x(one.response_ns, low, high)
    rect = f'<rect class="span-ours" x="{begin:g}" y="7" width="{max(end - begin, 1):g}" height="4"/>'
    about = f'<p class="about"><strong>{ms_text(one.response_ns)}</strong> loadgen: due to done</p>'
    return f"<li>{about}{_svg(_grid(low, high, places) + rect)}</li>"


def _span_row(row: WaterfallRow, low: int, high: int, places: Sequence[int]) -> str:
    begin, end = _x(row.begin_ns, low, high), _x(row.end_ns, low, high)
    drawn = f'<rect class="span-open" x="{begin:g}" y="6" width="{max(end - begin, 0.5):g}" height="6"/>'
    lines = []
    for first, last in row.pieces:
        left = _x(first, low, high)
        lines.append(f"M{left:g} {_HIGH // 2}h{max(_x(last, low, high) - left, 0.5):.4g}")
    if lines:
        drawn += f'<path class="span-waited" d="{"".join(lines)}"/>'
    indent = "\u00a0\u00a0" * min(row.depth, _DEEPEST)
    name = in_html(cut_in_middle(row.name, _NAME))
    more = f" <em>{row.more + 1} spans</em>" if row.more else ""
    error = ' <em class="failed">error</em>' if row.is_error else ""
    own = f"<strong>{ms_text(row.own_ns)}</strong> " if row.own_ns else ""
    return f'<li><p class="about">{indent}{own}{name}{more}{error}</p>{_svg(_grid(low, high, places) + drawn)}</li>'


def _axis(low: int, high: int, places: Sequence[int]) -> str:
    texts = []
    for place in places:
        at = (place - low) / (high - low) * 100
        anchor = "start" if at < 6 else "end" if at > 94 else "middle"
        texts.append(f'<text x="{at:.1f}%" y="12" text-anchor="{anchor}">{place / NS_PER_MS:,.10g} ms</text>')
    return f'<svg class="axis" aria-hidden="true">{"".join(texts)}</svg>'
