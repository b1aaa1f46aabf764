"""Renders a history as one self-contained HTML file: no network, no scripts.

Charts are inline SVG in the style of a run's report (`loadgen/report/page/style.css`). The page's security policy
allows only its own style and forbids loading anything. All text from the store is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isnan
from pathlib import Path

from loadgen.history.gate.aa_test_health import Health
from loadgen.history.store.stored_run import Accepted, Key
from loadgen.history.trend.plot import plot, season_plot
from loadgen.history.trend.trends import Against, Trend
from loadgen.outside_text import in_html
from loadgen.report.static_page import static_page
from loadgen.units import format_change, format_changes

__all__ = ["html"]

Row = Sequence[str]


def html(key: Key, found: Sequence[Trend], health: Health, *, made_at: str) -> bytes:
    """Return an HTML page in UTF-8 that shows the trends of a history. The same arguments give the same bytes.

    Args:
        key: the key of the runs.
        found: the trends of these runs, from `trends`.
        health: the health of the gate.
        made_at: the time that the page shows, RFC 3339, UTC.

    Size: some 150 bytes for each name and run.
    """
    style = Path(__file__).with_name("page.css").read_bytes()
    return static_page(f"History of {key.target}", _body(key, found, health, made_at), style)


def _body(key: Key, found: Sequence[Trend], health: Health, made_at: str) -> Iterator[str]:
    yield f"<h1>History of {in_html(key.target)} at {in_html(key.rate)}</h1>"
    where = ", ".join((key.placement, key.regions, key.instances))
    yield f'<p class="note">{in_html(where)}; as of {in_html(made_at)}</p>'
    sentence = health.said()
    yield f"<p>{in_html(sentence[:1].upper() + sentence[1:])}.</p>"
    yield "<h2>Changes of level</h2>"
    changes = sorted(
        ((one, change) for one in found for change in one.changes),
        key=lambda pair: (pair[1].after.started_at, abs(pair[1].change)),
        reverse=True,
    )
    yield _table(
        ("since run", "previous run", "name", "change", "95 %", "commits", "labels"),
        (
            (
                _run(change.after),
                in_html(change.before.run_id),
                in_html(one.name),
                _coloured(change.change),
                "" if isnan(change.low) else format_changes(change.low, change.high),
                in_html(change.commits),
                in_html(change.labels),
            )
            for one, change in changes
        ),
        "No name has a change of level.",
    )
    yield "<h2>Each name</h2>"
    for one in found:
        yield from _figure(one)
    yield "<h2>Outliers</h2>"
    yield '<p class="note">Runs far from the other runs of their level. The charts and figures include them.</p>'
    yield _table(
        ("run", "name", "difference from its level", "standard deviations"),
        (
            (_run(odd.run), in_html(one.name), _coloured(odd.change), f"{odd.deviations:+.1f}")
            for one in found
            for odd in one.outliers
        ),
        "None.",
    )
    left = dict.fromkeys((run_id, why) for one in found for run_id, why in one.left_out)
    if left:
        yield "<h2>Left out</h2>"
        yield _table(("run", "why"), ((in_html(run_id), in_html(why)) for run_id, why in left), "")
    if health.newest:
        yield "<h2>A/A controls</h2>"
        yield _table(
            ("time", "outcome", "runs", "by"),
            (
                (
                    in_html(event.at),
                    in_html(event.details.get("outcome", "")),
                    in_html(", ".join(event.run_ids)),
                    in_html(event.by),
                )
                for event in health.newest
            ),
            "",
        )


def _figure(one: Trend) -> Iterator[str]:
    yield '<figure class="chart"><figcaption>'
    yield f"<h3>{in_html(one.name)}</h3>"
    now = f"{one.percentile} of each run; now {one.now_ms:.4g} ms, {len(one.runs)} runs"
    yield f'<span class="note">{now}</span>'
    for against in one.against:
        what = "it has no such name" if isnan(against.change) else _against(against)
        yield f'<span class="note">compared with {in_html(against.reference)}: {what}</span>'
    yield "</figcaption>"
    yield plot(one)
    if one.season is not None and one.season.is_clear:
        yield season_plot(one, one.season)
    elif one.season is not None:
        yield f'<p class="note">No clear season: it may be chance (p {one.season.p:.2g}).</p>'
    elif one.no_season:
        yield f'<p class="note">No season: {in_html(one.no_season)}.</p>'
    yield "</figure>"


def _table(columns: Row, rows: Iterable[Row], none: str) -> str:
    """Return an HTML table; if it has no rows, the text `none` as a paragraph, or "" if that is empty.

    columns, rows: HTML that is already escaped.
    """
    body = "".join("<tr>" + "".join(f'<td class="wide">{cell}</td>' for cell in row) + "</tr>\n" for row in rows)
    if not body:
        return f"<p>{none}</p>" if none else ""
    head = "".join(f"<th>{column}</th>" for column in columns)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _run(run: Accepted) -> str:
    at = in_html(run.started_at[:16].replace("T", " "))
    return f'{in_html(run.run_id)}<br><span class="note">{at}</span>'


def _coloured(change: float) -> str:
    return f'<span class="{"slower" if change > 0 else "faster"}">{format_change(change)}</span>'


def _against(against: Against) -> str:
    """Return the difference from a pinned release as HTML, coloured if its interval excludes 0 or is unknown."""
    if isnan(against.low):
        return _coloured(against.change)
    shown = format_change(against.change) if against.low <= 0 <= against.high else _coloured(against.change)
    return f"{shown} {format_changes(against.low, against.high)}"
