"""The verdict of fidelity in `traffic.json`, and its table. Properties without a distance are never shown as passed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from loadgen.outside_text import in_html
from loadgen.report.report_parts import PLACEHOLDER

__all__ = ["ABOUT", "NOT_MEASURED", "Fidelity", "FidelityRow", "badge", "fidelity_of", "fidelity_section"]

NOT_MEASURED: Final = "not measured"
_COLOURS: Final = {"faithful": "good", "partly": "doubt", "not faithful": "bad", NOT_MEASURED: "doubt"}
_MEANINGS: Final = {
    "faithful": "Each property differs from the log by at most its limit: by chance, or too little to matter.",
    "partly": "All measured properties passed. The other ones could not be measured, so they may differ.",
    "not faithful": "At least one property differs from the log by more than its limit.",
    NOT_MEASURED: "The scenario was not compared with the log, so nothing on this page shows that they are alike.",
}
ABOUT: Final = {
    "request mix": "shares of the names of requests",
    "transitions": "successors of each name",
    "edges": "each edge with more than 1 %, divided by its bound",
    "sequences": "names after two names in a row",
    "combinations": "pairs of names in one session",
    "session length": "actions of a session",
    "session duration": "time from first to last request",
    "think": "pauses of each edge",
    "rate curve": "requests over time",
    "total": "number of requests",
    "burstiness": "how requests bunch at 1, 10 and 60 s",
    "inter-arrival": "time between starts of sessions",
    "data skew": "requests of the most requested 1 % of the values",
    "locality": "hits of a cache with 1 and 10 % of the values",
    "status": "statuses by name",
    "bytes": "sizes of answers by name",
    "concurrency": "active sessions over time",
}
_BAR: Final = 80
_TINY: Final = 0.0001


@dataclass(frozen=True)
class FidelityRow:
    """A property that was compared.

    distance: None if it could not be measured, for the reason `why`. floor: the distance that chance alone makes.
    halves: the distance between the two halves of the log's time. parts: figures of model and log that explain it.
    """

    name: str
    distance: float | None
    floor: float | None = None
    limit: float | None = None
    passed: bool = False
    why: str = ""
    unit: str = ""
    halves: float | None = None
    parts: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def result(self) -> str:
        """The result as text."""
        if self.distance is None:
            return NOT_MEASURED
        return "passed" if self.passed else "failed"


@dataclass(frozen=True)
class Fidelity:
    """All rows and the verdict: `faithful`, `partly`, `not faithful` or `not measured`."""

    verdict: str = NOT_MEASURED
    rows: tuple[FidelityRow, ...] = ()


def fidelity_of(found: Mapping[str, Any]) -> Fidelity:
    """Return the block `fidelity` of `traffic.json`. Missing figures are not measured."""
    return Fidelity(str(found.get("verdict") or NOT_MEASURED), tuple(map(_row, found.get("rows", ()))))


def _row(found: Mapping[str, Any]) -> FidelityRow:
    distance = found.get("distance")
    return FidelityRow(
        name=str(found["property"]),
        distance=distance,
        floor=found.get("floor"),
        limit=found.get("limit"),
        passed=distance is not None and found.get("passed") is True,
        why=str(found.get("why", "")),
        unit=str(found.get("unit", "")),
        halves=found.get("halves_of_time"),
        parts={str(name): (float(one), float(other)) for name, (one, other) in found.get("parts", {}).items()},
    )


def badge(fidelity: Fidelity) -> str:
    """Return the verdict as HTML."""
    colour = _COLOURS.get(fidelity.verdict, "doubt")
    word = "fidelity not measured" if fidelity.verdict == NOT_MEASURED else fidelity.verdict
    return f'<span class="badge {colour}">{in_html(word)}</span>'


def fidelity_section(fidelity: Fidelity) -> Iterator[str]:
    """Yield the verdict's sentences and the table as HTML."""
    yield f'<p class="plain">{_MEANINGS.get(fidelity.verdict, "")}</p>'
    if not fidelity.rows:
        return
    counts = [(sum(row.result == word for row in fidelity.rows), word) for word in ("passed", "failed", NOT_MEASURED)]
    of = "1 property" if len(fidelity.rows) == 1 else f"{len(fidelity.rows)} properties"
    failed = ", ".join(row.name for row in fidelity.rows if row.result == "failed")
    shown = [f"{count} {word}" for count, word in counts if count or word != NOT_MEASURED]
    if failed:
        shown[1] += f" ({failed})"
    yield f"<p>{of}: {in_html(', '.join(shown))}.</p>"
    yield from _table(fidelity.rows)
    yield (
        '<p class="note">A property passes if its distance is at most the limit. The limit is 1.25 times the distance '
        "by chance, or a fixed value if that is larger. By chance: the largest of 60 distances between two samples of "
        "the same traffic. Between halves of time: the distance between the first and the second half of the log. "
        "Another day can differ as much.</p>"
    )


def _table(rows: Sequence[FidelityRow]) -> Iterator[str]:
    heads = (
        '<th class="number">distance</th><th class="number">limit</th><th>distance to limit</th>'
        '<th class="number">by chance</th><th class="number">between halves of time</th>'
    )
    yield '<div class="scroll"><table class="fidelity"><thead><tr><th>property</th><th>result</th>'
    yield f"{heads}<th>model and log</th></tr></thead><tbody>"
    for row in rows:
        about = ABOUT.get(row.name, "")
        colour = {"passed": "good", "failed": "bad"}.get(row.result, "doubt")
        unit = f' <span class="note">{in_html(row.unit)}</span>' if row.unit and row.distance is not None else ""
        yield (
            f'<tr><td>{in_html(row.name)}<br><span class="note">{in_html(about)}</span></td>'
            f'<td class="{colour}">{row.result}</td>'
            f"{_number('distance', _figure(row.distance) + unit)}{_number('limit', _figure(row.limit))}"
            f"<td>{_bar(row)}</td>"
            f"{_number('by chance', _figure(row.floor))}{_number('halves of time', _figure(row.halves))}"
            f'<td class="text">{in_html(row.why) if row.distance is None else _parts(row)}</td></tr>'
        )
    yield "</tbody></table></div>"


def _number(name: str, figure: str) -> str:
    """Return a cell. name: shown beside the figure on a narrow screen, which has no head of the table."""
    return f'<td class="number" data-name="{name}">{figure}</td>'


def _parts(row: FidelityRow) -> str:
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


def _bar(row: FidelityRow) -> str:
    """Return a bar from 0 to the distance, with a mark in the middle for the limit."""
    if row.distance is None or not row.limit:
        return ""
    width = min(row.distance / row.limit / 2, 1.0) * _BAR
    return (
        f'<svg class="bar-of" viewBox="0 0 {_BAR} 12" width="{_BAR}" height="12" aria-hidden="true">'
        f'<rect class="{"good" if row.passed else "bad"}" y="3" width="{width:.1f}" height="6"/>'
        f'<path d="M{_BAR / 2:g} 0V12"/></svg>'
    )
