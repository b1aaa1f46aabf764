"""Writes a weekly page as Markdown, for wikis and comments. Names from outside are escaped. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from loadgen.programme.weekly.page_values import Row, Said, WeeklyPage, columns_of
from loadgen.report.exports.markdown import text
from loadgen.units import quantity

__all__ = ["as_markdown", "heading"]


def as_markdown(page: WeeklyPage) -> bytes:
    """Return the page as UTF-8 text. The same page gives the same bytes."""
    return ("\n".join(_lines(page)) + "\n").encode("utf-8", "replace")


def heading(page: WeeklyPage) -> str:
    """Return the line below the title: the time, and how complete the data are."""
    zone = ZoneInfo(page.zone)
    first, last = (datetime.fromtimestamp(at, zone) for at in (page.start, page.end - 1))
    parts = [f"{page.week}, {first.day} {first:%b} to {last.day} {last:%b %Y} ({page.zone})"]
    if page.complete_to:
        until = datetime.fromtimestamp(page.complete_to, zone)
        parts.append(f"data complete to {until.day} {until:%b %H:%M}")
    if page.late:
        parts.append(f"{len(page.late)} of {quantity(len(page.sources), 'source')} late")
    return ", ".join([*parts, f"page {page.id}"])


def _lines(page: WeeklyPage) -> Iterator[str]:
    yield f"# {text(page.title)}"
    yield from ("", text(heading(page)), "")
    yield from (f"- {_said(one, page)}" for one in page.sentences)
    yield from _table(page)
    for chart in page.charts:
        yield from ("", f"**{text(chart.title)}** ({text(chart.unit)}): {text(chart.text)}")
    for section in page.sections:
        yield from ("", f"## {text(section.title)}", "")
        if not section.items:
            yield text(section.none)
        yield from (f"- {_said(one, page)}" for one in section.items)
    if page.notes:
        yield from ("", "## What could not be read", "")
        yield from (f"- {text(note)}" for note in page.notes)
    yield from (
        "",
        "Evidence: `loadgen evidence ID` shows the inputs and the formula of a number.",
    )


def _table(page: WeeklyPage) -> Iterator[str]:
    columns = columns_of(page.rows)
    names = [name for name in columns if not page.is_public or name in ("journey", "promise", "kept")]
    yield from ("", _line([*(columns[name] for name in names), "evidence"]), _line(["---"] * (len(names) + 1)))
    for row in page.rows:
        ids = dict.fromkeys(id_ for _, cell in row.cells() for id_ in cell.evidence)
        yield _line([*(text(_cell(row, name)) for name in names), " ".join(map(text, ids))])


def _cell(row: Row, name: str) -> str:
    if name == "journey":
        return row.journey or row.says
    if name in ("owner", "promise"):
        return str(getattr(row, name))
    return dict(row.cells())[name].text


def _said(one: Said, page: WeeklyPage) -> str:
    owner = f" Owner: {text(one.owner)}." if one.owner and not page.is_public else ""
    ids = f" [{text(' '.join(one.evidence[:6]))}{' ...' if len(one.evidence) > 6 else ''}]" if one.evidence else ""
    return f"{text(one.text)}{owner}{ids}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
