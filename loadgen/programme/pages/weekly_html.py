"""Writes a weekly page as one HTML file without scripts, which loads nothing.

On a screen the first sentences and the table stand first, then charts, sections and the evidence of each number. On a
telephone each row of the table is a card. On paper a page is one sheet of A4, landscape: the evidence is left out, and
sections print their first items with the number of those that were left out. Rows beyond `ONE_SHEET` are on a second
sheet.

A public page has promises and attainment only, whatever else its values have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from loadgen.outside_text import in_html
from loadgen.programme.pages.charts_svg import chart_html
from loadgen.programme.pages.dates_in_words import days_text, moment_text, period_name, time_text, zone_of
from loadgen.programme.pages.evidence_html import EvidenceLinks, evidence_html, unique
from loadgen.programme.pages.promise_table import ONE_SHEET, PromiseTable, owner_html
from loadgen.programme.weekly.page_values import Said, Section, WeeklyPage
from loadgen.report.static_page import static_page
from loadgen.units import quantity

__all__ = ["ONE_SHEET", "weekly_html"]

_SHOWN_IDS: Final = 3
_LAUNCH: Final = "launch"
_LEAST_ITEMS: Final = 8
_PRINTED_ITEMS: Final = ((5, 30), (8, 18))
"""(rows, items): the items of sections for which a sheet has room below a table of at most `rows` rows."""
_DENSE: Final = 8
"""A sheet with more rows has lower charts."""


def weekly_html(page: WeeklyPage) -> bytes:
    """Return the page in UTF-8. The same page gives the same bytes."""
    folder = Path(__file__).parent
    style = b"".join((folder / name).read_bytes() for name in ("page.css", "weekly.css"))
    title = f"{page.title}, {period_name(page.week)}"
    return static_page(title, _body(page), style)


def _body(page: WeeklyPage) -> Iterator[str]:
    is_public = page.is_public
    links = EvidenceLinks(() if is_public else page.evidence)
    table = PromiseTable(page.rows, links, is_public)
    kinds = {"dense": len(page.rows) > _DENSE, "long": table.has_second_sheet, "public": is_public}
    yield f'<div class="{" ".join(["sheet", *(name for name, holds in kinds.items() if holds)])}">'
    yield from _head(page, links)
    yield '<section class="first" aria-label="In short">'
    yield from (_sentence(one, links, is_public=is_public) for one in page.sentences)
    yield "</section>"
    yield from table.html()
    if not is_public:
        zone = zone_of(page.zone)
        if page.charts:
            yield '<section class="charts" aria-label="Charts">'
            yield from (chart_html(one, zone, _small(one.evidence, links)) for one in page.charts)
            yield "</section>"
        yield from _sections(page, links)
    yield from _foot(page)
    yield "</div>"
    if table.has_second_sheet:
        yield '<div class="second on-paper">'
        yield from table.second_sheet()
        yield from () if is_public else _sections_of_second_sheet(page, links)
        yield "</div>"
    if not is_public:
        yield '<section id="evidence"><h2>Evidence</h2>'
        yield '<p class="note">Every number above comes from an entry here; each has the command that shows it.</p>'
        yield from evidence_html(page.evidence)
        if page.revisions:
            yield f'<p class="note">Revisions of the ledger: {in_html(", ".join(page.revisions))}.</p>'
        yield "</section>"


def _head(page: WeeklyPage, links: EvidenceLinks) -> Iterator[str]:
    """Yield title, time and state of the data; and the launch, if worse news left no room for it in the sentences.

    A GO stays in its section: the sentences are bad news then, and good news never stands above bad news.
    """
    zone = zone_of(page.zone)
    parts = [days_text(page.start, page.end, zone)]
    if page.complete_to:
        parts.append(f"data complete to {moment_text(page.complete_to, zone)} {page.zone}")
    else:
        parts.append("how complete the data are is not known")
    if not page.is_public and page.sources:
        late = len(page.late)
        sources = quantity(len(page.sources), "source")
        count = f"{late} of {sources} late: {', '.join(page.late)}"
        parts.append(count if late else f"{'all ' if len(page.sources) > 1 else ''}{sources} on time")
    parts.append(f"page {page.id}")
    name = period_name(page.week)
    yield f'<header class="head"><h1>{in_html(page.title)}</h1>'
    yield f"<p><b>{in_html(name[:1].upper() + name[1:])}</b> {' · '.join(map(in_html, parts))}</p>"
    if not page.is_public and (launch := _launch_of(page)):
        yield f'<p class="launch is-{launch.tone}">{in_html(launch.text)}{_small(launch.evidence, links)}</p>'
    yield "</header>"


def _launch_of(page: WeeklyPage) -> Said | None:
    """Return a recommendation without a GO, if worse news left no room for it in the first sentences: may we launch is
    one of the questions that the first screen answers.
    """
    if any(one.key == _LAUNCH for one in page.sentences):
        return None
    found = (one for section in page.sections for one in section.items if one.key == _LAUNCH)
    return next((one for one in found if one.tone != "good"), None)


def _sentence(one: Said, links: EvidenceLinks, *, is_public: bool) -> str:
    text = in_html(one.text)
    if not is_public:
        owner = f' <small class="call">Call {owner_html(one.owner)}.</small>' if one.owner else ""
        text += f"{owner}{_small(one.evidence, links)}"
    return f'<p class="is-{one.tone}">{text}</p>'


def _sections(page: WeeklyPage, links: EvidenceLinks) -> Iterator[str]:
    sections, most = _all_sections(page), _most_printed(page)
    place = "on the second sheet" if len(page.rows) > ONE_SHEET else "on the page as HTML"
    if not sections:
        return
    yield '<section class="parts" aria-label="Details">'
    for section in sections:
        yield f"<section><h2>{in_html(section.title)}</h2>"
        if not section.items:
            yield f'<p class="note none">{in_html(section.none)}</p>'
        else:
            yield "<ul>"
            yield from (_item(one, links, is_printed=n < most) for n, one in enumerate(section.items))
            yield "</ul>"
            if (left := len(section.items) - most) > 0:
                yield f'<p class="note on-paper">{left} more {place}.</p>'
        yield "</section>"
    yield "</section>"


def _sections_of_second_sheet(page: WeeklyPage, links: EvidenceLinks) -> Iterator[str]:
    """Yield the items of sections for which the first sheet has no room."""
    most = _most_printed(page)
    yield '<div class="parts">'
    for section in _all_sections(page):
        if len(section.items) > most:
            yield f"<section><h2>{in_html(section.title)}, continued</h2><ul>"
            yield from (_item(one, links, is_printed=True) for one in section.items[most:])
            yield "</ul></section>"
    yield "</div>"


def _all_sections(page: WeeklyPage) -> tuple[Section, ...]:
    unread = Section("Unreadable", tuple(Said(one, "open") for one in page.notes))
    return (*page.sections, unread) if page.notes else page.sections


def _most_printed(page: WeeklyPage) -> int:
    """Return how many items of a section the first sheet has."""
    room = next((items for rows, items in _PRINTED_ITEMS if len(page.rows) <= rows), _LEAST_ITEMS)
    return max(1, room // max(1, len(_all_sections(page))))


def _item(one: Said, links: EvidenceLinks, *, is_printed: bool) -> str:
    owner = f" <b>{owner_html(one.owner)}</b>" if one.owner else ""
    hidden = "" if is_printed else " on-screen"
    return (
        f'<li class="is-{one.tone}{hidden}"><span>{in_html(one.text)}{owner}{_small(one.evidence, links)}</span></li>'
    )


def _small(ids: Sequence[str], links: EvidenceLinks) -> str:
    """Return links to the first pieces of evidence of a sentence. A sentence about all promises has one of each."""
    shown = unique(ids)
    if not shown:
        return ""
    more = f" and {len(shown) - _SHOWN_IDS} more" if len(shown) > _SHOWN_IDS else ""
    return f" <small>{links.of(shown[:_SHOWN_IDS])}{more}</small>"


def _foot(page: WeeklyPage) -> Iterator[str]:
    yield '<footer class="note">'
    if not page.is_public:
        yield (
            "<p>A solid bar marks what is broken, a dotted bar what the data do not decide. "
            "<code>loadgen evidence ID</code> shows how a number was computed.</p>"
        )
    yield f"<p>As known at {in_html(time_text(page.as_of))}. Page {in_html(page.id)}.</p></footer>"
