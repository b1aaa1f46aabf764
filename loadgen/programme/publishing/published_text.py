"""The texts of messages about a weekly page and about a recommendation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from loadgen.notify.event import Event, EventKind
from loadgen.programme.weekly.page_values import NOTHING, QUARTER_COLUMNS, Row, Said, WeeklyPage

__all__ = ["PublishedText", "text_of_page", "text_of_recommendation"]

_WORST_FIRST: Final = ("bad", "open", "good", "plain")
_AS_FIRST: Final = ("journey", "owner", "promise")


@dataclass(frozen=True, slots=True)
class PublishedText:
    """The content of a message, without its link.

    headline: one sentence without a full stop. sentences: with full stops. rows: one line each, the worst first.
    result: one word for programs, such as "bad" or "NO-GO".
    """

    kind: EventKind
    title: str
    headline: str
    sentences: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    result: str = ""
    exit_code: int | None = None

    def event(self, at: str, link: str, secrets: Iterable[str] = ()) -> Event:
        """Return the event of a message. at: RFC 3339. secrets: known values, which are masked."""
        return Event.of(
            self.kind,
            self.title,
            self.headline,
            at,
            result=self.result,
            exit_code=self.exit_code,
            reasons=self.sentences,
            rows=self.rows,
            link=link,
            secrets=secrets,
        )


def text_of_page(page: WeeklyPage) -> PublishedText:
    """Return the text of a message about a weekly page: its first sentences, then its rows."""
    first, *others = page.sentences or (Said("The page has no sentences."),)
    tones = {one.tone for one in page.sentences} | {one.tone for one in page.rows}
    return PublishedText(
        EventKind.REPORT,
        f"{page.title}, {page.week}",
        _with_owner(first).rstrip("."),
        tuple(_with_owner(one) for one in others),
        tuple(_row_text(row) for row in page.rows),
        next((tone for tone in _WORST_FIRST if tone in tones), "plain"),
    )


def _with_owner(one: Said) -> str:
    return f"{one.text.rstrip('.')} (owner: {one.owner})." if one.owner else one.text


def _row_text(row: Row) -> str:
    if not row.journey:
        return row.says
    owner = f" ({row.owner})" if row.owner else ""
    cells = [
        f"{QUARTER_COLUMNS[name]}: {cell.text}"
        for name, cell in row.cells()
        if name not in _AS_FIRST and cell != NOTHING
    ]
    return "; ".join((f"{row.journey}{owner}, {row.promise}", *cells))


def text_of_recommendation(document: Mapping[str, Any], headline: str) -> PublishedText:
    """Return the text of a message about a recommendation.

    document: as `recommending.shown.as_document` returns it. headline: as `recommending.shown.headline` returns it.
    """
    journeys = ", ".join(map(str, document.get("journeys", ())))
    rows = [_evidence_text(one) for one in document.get("evidence", ())]
    rows += [f"missing, {one['minutes']:g} min: {one['command']}" for one in document.get("missing", ())]
    return PublishedText(
        EventKind.RECOMMENDATION,
        " ".join(
            filter(None, ("Launch of", str(document.get("release", "")), "of", journeys, document.get("id") or ""))
        ),
        headline,
        (),
        tuple(rows),
        str(document.get("recommendation", "")),
        document.get("exit_code"),
    )


def _evidence_text(one: Mapping[str, Any]) -> str:
    name = f"{one['kind']} of {one['journey']}" if one.get("journey") else str(one["kind"])
    id_ = f" [{one['id']}]" if one.get("id") else ""
    informs = "" if one.get("required", True) else ", informs"
    return f"{one['state']}{informs}: {name}: {one['says']}{id_}"
