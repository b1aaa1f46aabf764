"""The verdict on fidelity and its table as HTML. Properties without a distance are never shown as passed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from loadgen.outside_text import in_html
from loadgen.report.report_parts import PLACEHOLDER
from loadgen.traffic.fidelity.verdict import NOT_MEASURED, PROPERTIES, Result, Row, Verdict, Word, result_of

__all__ = ["badge", "fidelity_section"]

_COLOURS: Final[dict[Word, str]] = {"faithful": "good", "partly": "doubt", "not faithful": "bad", NOT_MEASURED: "doubt"}
_MEANINGS: Final[dict[Word, str]] = {
    "faithful": "Each property differs from the log by at most its limit: by chance, or too little to matter.",
    "partly": "All measured properties passed. The other ones could not be measured, so they may differ.",
    "not faithful": "At least one property differs from the log by more than its limit.",
    NOT_MEASURED: "The scenario was not compared with the log, so nothing on this page shows that they are alike.",
}
_CELLS: Final[dict[Result, str]] = {"passed": "good", "failed": "bad", NOT_MEASURED: "doubt"}
_BAR: Final = 80
_TINY: Final = 0.0001


def badge(verdict: Verdict) -> str:
    """Return the verdict as HTML."""
    word = "fidelity not measured" if verdict.word == NOT_MEASURED else verdict.word
    return f'<span class="badge {_COLOURS[verdict.word]}">{word}</span>'


def fidelity_section(verdict: Verdict) -> Iterator[str]:
    """Yield the verdict's sentences and the table as HTML."""
    yield f'<p class="plain">{_MEANINGS[verdict.word]}</p>'
    if not verdict.rows:
        return
    results = [result_of(row) for row in verdict.rows]
    counts = [(results.count(word), word) for word in ("passed", "failed", NOT_MEASURED)]
    of = "1 property" if len(verdict.rows) == 1 else f"{len(verdict.rows)} properties"
    shown = [f"{count} {word}" for count, word in counts if count or word != NOT_MEASURED]
    if verdict.failed:
        shown[1] += f" ({', '.join(verdict.failed)})"
    yield f"<p>{of}: {in_html(', '.join(shown))}.</p>"
    yield from _table(verdict.rows)
    yield (
        '<p class="note">A property passes if its distance is at most the limit. The limit is 1.25 times the distance '
        "by chance, or a fixed value if that is larger. By chance: the largest of 60 distances between two samples of "
        "the same traffic. Between halves of time: the distance between the first and the second half of the log. "
        "Another day can differ as much.</p>"
    )


def _table(rows: Sequence[Row]) -> Iterator[str]:
    heads = (
        '<th class="number">distance</th><th class="number">limit</th><th>distance to limit</th>'
        '<th class="number">by chance</th><th class="number">between halves of time</th>'
    )
    yield '<div class="scroll"><table class="fidelity"><thead><tr><th>property</th><th>result</th>'
    yield f"{heads}<th>model and log</th></tr></thead><tbody>"
    for row in rows:
        compared = PROPERTIES[row.property]
        result = result_of(row)
        unit = f' <span class="note">{compared.unit}</span>' if row.distance is not None else ""
        yield (
            f'<tr><td>{compared.name}<br><span class="note">{compared.about}</span></td>'
            f'<td class="{_CELLS[result]}">{result}</td>'
            f"{_number('distance', _figure(row.distance) + unit)}{_number('limit', _figure(row.limit))}"
            f"<td>{_bar(row)}</td>"
            f"{_number('by chance', _figure(row.floor))}{_number('halves of time', _figure(row.halves))}"
            f'<td class="text">{in_html(row.why) if row.distance is None else _parts(row)}</td></tr>'
        )
    yield "</tbody></table></div>"


def _number(name: str, figure: str) -> str:
    """Return a cell. name: shown beside the figure on a narrow screen, which has no head of the table."""
    return f'<td class="number" data-name="{name}">{figure}</td>'


def _parts(row: Row) -> str:
    return "<br>".join(
        f"{in_html(name)}: {_figure(model)} and {_figure(log)}" for name, (model, log) in row.parts.items()
    )


def _figure(value: float | None) -> str:
    """Return a figure as HTML."""
    if value is None:
        return PLACEHOLDER
    if 0 < abs(value) < _TINY:
        return f"&lt; {_TINY:g}"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _bar(row: Row) -> str:
    """Return a bar from 0 to the distance, with a mark in the middle for the limit."""
    if row.distance is None or not row.limit:
        return ""
    width = min(row.distance / row.limit / 2, 1.0) * _BAR
    return (
        f'<svg class="bar-of" viewBox="0 0 {_BAR} 12" width="{_BAR}" height="12" aria-hidden="true">'
        f'<rect class="{"good" if row.passed else "bad"}" y="3" width="{width:.1f}" height="6"/>'
        f'<path d="M{_BAR / 2:g} 0V12"/></svg>'
    )
