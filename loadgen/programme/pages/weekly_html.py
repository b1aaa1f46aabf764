"""Writes a weekly page as one HTML file without scripts, which loads nothing.

On a screen the first sentences and the table stand first, then charts, sections and the evidence of each number. On a
telephone each row of the table is a card. Printed, a page of at most `ONE_SHEET` rows is one sheet of A4, landscape:
the evidence is left out, and sections print their first items with the number of those that were left out.

A public page has promises and attainment only, whatever else its values have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from loadgen.outside_text import in_html, one_line
from loadgen.programme.pages.charts_svg import chart_html
from loadgen.programme.pages.dates_in_words import days_text, moment_text, period_name, zone_of
from loadgen.programme.pages.evidence_html import EvidenceLinks, evidence_html, unique
from loadgen.programme.weekly.page_values import COLUMNS, Row, Said, Section, Shown, WeeklyPage
from loadgen.report.static_page import static_page

__all__ = ["ONE_SHEET", "weekly_html"]

ONE_SHEET: Final = 12
"""Pages with as many rows are printed on one sheet."""
_PUBLIC: Final = ("journey", "promise", "kept")
_PRINTED_ITEMS: Final = ((5, 6), (8, 5), (ONE_SHEET, 3))
"""(rows, items): as many items of a section are printed below a table of at most so many rows."""


def weekly_html(page: WeeklyPage) -> bytes:
    """Return the page in UTF-8. The same page gives the same bytes."""
    folder = Path(__file__).parent
    style = b"".join((folder / name).read_bytes() for name in ("page.css", "weekly.css"))
    title = f"{page.title}, {period_name(page.week)}"
    return static_page(title, _body(page), style)


def _body(page: WeeklyPage) -> Iterator[str]:
    is_public = page.is_public
    links = EvidenceLinks(() if is_public else page.evidence)
    yield f'<div class="sheet{" one" if len(page.rows) <= ONE_SHEET else ""}{" public" if is_public else ""}">'
    yield from _head(page)
    yield '<section class="first" aria-label="In short">'
    yield from (_sentence(one, links, is_public=is_public) for one in page.sentences)
    yield "</section>"
    yield from _table(page, links)
    if not is_public:
        zone = zone_of(page.zone)
        if page.charts:
            yield '<section class="charts" aria-label="Charts">'
            yield from (chart_html(one, zone, _small(one.evidence, links)) for one in page.charts)
            yield "</section>"
        yield from _sections(page, links)
    yield from _foot(page)
    yield "</div>"
    if not is_public:
        yield '<section id="evidence"><h2>Evidence</h2>'
        yield '<p class="note">Every number above comes from an entry here. Each entry has the command that shows it.</p>'
        yield from evidence_html(page.evidence)
        if page.revisions:
            yield f'<p class="note">Revisions of the ledger: {in_html(", ".join(page.revisions))}.</p>'
        yield "</section>"


def _head(page: WeeklyPage) -> Iterator[str]:
    zone = zone_of(page.zone)
    parts = [days_text(page.start, page.end, zone)]
    if page.complete_to:
        parts.append(f"data complete to {moment_text(page.complete_to, zone)} {page.zone}")
    else:
        parts.append("how complete the data are is not known")
    if not page.is_public and page.sources:
        late = len(page.late)
        count = f"{late} of {len(page.sources)} sources late: {', '.join(page.late)}"
        parts.append(count if late else f"all {len(page.sources)} sources on time")
    parts.append(f"page {page.id}")
    name = period_name(page.week)
    yield f'<header class="head"><h1>{in_html(page.title)}</h1>'
    yield f"<p><b>{in_html(name[:1].upper() + name[1:])}</b> {' · '.join(map(in_html, parts))}</p></header>"


def _sentence(one: Said, links: EvidenceLinks, *, is_public: bool) -> str:
    text = in_html(one.text)
    if not is_public:
        owner = f' <small class="call">Call {_owner(one.owner)}.</small>' if one.owner else ""
        text += f"{owner}{_small(one.evidence, links)}"
    return f'<p class="is-{one.tone}">{text}</p>'


def _table(page: WeeklyPage, links: EvidenceLinks) -> Iterator[str]:
    names = [name for name in COLUMNS if name in _PUBLIC] if page.is_public else [*COLUMNS]
    heads = {name: COLUMNS[name] for name in names} | ({} if page.is_public else {"evidence": "evidence"})
    yield '<section class="promises" aria-label="Promises, worst first"><table>'
    cells = "".join(f'<th scope="col" class="c-{name}">{in_html(text)}</th>' for name, text in heads.items())
    yield f"<thead><tr>{cells}</tr></thead>\n<tbody>"
    for row in page.rows:
        if row.journey:
            yield from _row(row, names, links, is_public=page.is_public)
        else:
            yield f'<tr class="is-{row.tone} summary"><td colspan="{len(heads)}">{in_html(row.says)}</td></tr>'
    if not page.rows:
        yield f'<tr class="summary"><td colspan="{len(heads)}">There are no promises.</td></tr>'
    yield "</tbody></table></section>"


def _row(row: Row, names: Sequence[str], links: EvidenceLinks, *, is_public: bool) -> Iterator[str]:
    shown = dict(row.cells())
    cells = [f'<th scope="row" class="c-journey"><span>{in_html(row.journey)}</span></th>']
    for name in names[1:]:
        if name in shown:
            cells.append(_cell(name, shown[name], links, is_public=is_public))
        elif name == "promise":
            method = f" <small>{in_html(row.method)}</small>"
            cells.append(_td(name, f"<span>{in_html(row.promise)}</span>{method if row.method else ''}"))
        else:
            cells.append(_td(name, f"<span>{_owner(row.owner) if row.owner else 'nobody'}</span>"))
    if not is_public:
        every = unique(one for cell in shown.values() for one in cell.evidence)
        cells.append(_td("evidence", f"<small>{links.of(every)}</small>"))
    has_more = bool(row.says) and not is_public
    yield f'<tr class="is-{row.tone}{" has-more" if has_more else ""}">{"".join(cells)}</tr>'
    if has_more:
        yield f'<tr class="is-{row.tone} more"><td colspan="{len(cells)}">{in_html(row.says)}</td></tr>'


def _cell(name: str, cell: Shown, links: EvidenceLinks, *, is_public: bool) -> str:
    text = f"{cell.text}{' (estimate)' if cell.is_estimate and 'estimate' not in cell.text else ''}"
    if is_public or not cell.evidence:
        return _td(name, f"<span>{in_html(text)}</span>", cell.tone if cell.evidence else "none")
    return _td(name, f"<span>{links.link(cell.evidence[0], text, 'n')}</span>", cell.tone)


def _td(name: str, html: str, tone: str = "plain") -> str:
    return f'<td class="c-{name} is-{tone}" data-name="{in_html(COLUMNS.get(name, name))}">{html}</td>'


def _owner(owner: str) -> str:
    """Return an owner as HTML. A narrow column breaks an address at its sign."""
    return in_html(owner).replace("@", "@<wbr>")


def _sections(page: WeeklyPage, links: EvidenceLinks) -> Iterator[str]:
    unread = Section("What could not be read", tuple(Said(one, "open") for one in page.notes))
    sections = (*page.sections, unread) if page.notes else page.sections
    if not sections:
        return
    most = next((items for rows, items in _PRINTED_ITEMS if len(page.rows) <= rows), 1_000_000)
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
                yield f'<p class="note on-paper">{left} more on the page as HTML.</p>'
        yield "</section>"
    yield "</section>"


def _item(one: Said, links: EvidenceLinks, *, is_printed: bool) -> str:
    owner = f" <b>{_owner(one.owner)}</b>" if one.owner else ""
    hidden = "" if is_printed else " on-screen"
    return (
        f'<li class="is-{one.tone}{hidden}"><span>{in_html(one.text)}{owner}{_small(one.evidence, links)}</span></li>'
    )


def _small(ids: Sequence[str], links: EvidenceLinks) -> str:
    return f" <small>{links.of(ids)}</small>" if ids else ""


def _foot(page: WeeklyPage) -> Iterator[str]:
    yield '<footer class="note">'
    if not page.is_public:
        yield (
            "<p>A solid bar marks what is broken, a dotted bar what the data do not decide. "
            "<code>loadgen evidence ID</code> shows how a number was computed.</p>"
        )
    yield f"<p>As known at {in_html(one_line(page.as_of))}. Page {in_html(page.id)}.</p></footer>"
