"""Writes a launch page as one HTML file without scripts, which loads nothing: the recommendation in one large line,
then the evidence, what is missing, what is at stake, the checklist, and what people answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from loadgen.outside_text import in_html
from loadgen.programme.pages.dates_in_words import time_text
from loadgen.programme.pages.launch_values import LaunchPage, MissingEvidence
from loadgen.programme.weekly.page_values import Said
from loadgen.report.static_page import static_page

__all__ = ["launch_html"]

_MEANING: Final = {
    "GO": "All required evidence is there, is about this release, and speaks for it.",
    "NO-GO": "At least one required piece of evidence speaks against it.",
    "INCONCLUSIVE": "Nothing speaks against it, but evidence is missing or undecided. That is not a pass.",
}
_RANK: Final = {"bad": 0, "open": 1}
"""Bad news first, then what is missing."""
_Cell = tuple[str, str, str]
"""A cell: the heading of its column, its text, and its class."""


def launch_html(page: LaunchPage) -> bytes:
    """Return the page in UTF-8. The same page gives the same bytes. All texts are escaped."""
    folder = Path(__file__).parent
    style = b"".join((folder / name).read_bytes() for name in ("page.css", "launch.css"))
    return static_page(page.title, _body(page), style)


def _body(page: LaunchPage) -> Iterator[str]:
    yield f'<header class="head"><h1>{in_html(page.title)}</h1>'
    facts = [
        f"release {page.release}",
        f"journeys: {', '.join(page.journeys)}" if page.journeys else "",
        page.id or "not stored: a signature needs a stored recommendation",
        time_text(page.at),
    ]
    yield f"<p>{' · '.join(in_html(one) for one in facts if one)}</p></header>"
    yield f'<section class="answer is-{page.tone}"><p class="verdict">{in_html(page.recommendation)}</p>'
    yield f'<p class="reason">{in_html(page.reason)}</p></section>'
    yield from _evidence(page)
    yield from _missing(page.missing)
    yield from _said("At stake", page.impact, "Nothing is known about what is at stake.")
    yield from _checklist(page)
    yield from _said("Overrides and signatures", page.answers, "Nobody has signed or overridden this recommendation.")
    if page.notes:
        yield from _said("Remarks", [Said(one) for one in page.notes], "")
    yield '<footer class="note"><div><h2>How to read this page</h2>'
    yield "".join(f"<p><b>{name}</b>: {in_html(text)}</p>" for name, text in _MEANING.items())
    yield "<p>A recommendation is not a decision: a person decides, and signs with name and reason.</p>"
    yield "<p><code>loadgen evidence ID</code> shows how each piece of evidence was computed.</p></div></footer>"


def _evidence(page: LaunchPage) -> Iterator[str]:
    yield "<section><h2>Evidence</h2>"
    rows = (
        (
            one.tone,
            (
                ("evidence", f"{one.kind} of {one.journey}" if one.journey else one.kind, "name"),
                ("state", one.state, f"state is-{one.tone}"),
                ("what it says", one.says[:1].upper() + one.says[1:], "says"),
                ("id", one.id or "none", "ids"),
            ),
        )
        for one in sorted(page.evidence, key=lambda one: _RANK.get(one.tone, 2))
    )
    yield from _table(("evidence", "state", "what it says", "id"), rows, "There is no evidence at all.")
    yield "</section>"


def _checklist(page: LaunchPage) -> Iterator[str]:
    if not page.checklist:
        return
    yield "<section><h2>Checklist</h2>"
    rows = (
        (
            one.tone,
            (
                ("item", one.item, "name"),
                ("state", one.state, f"state is-{one.tone}"),
                ("remark", one.says, "says"),
                ("by", " ".join(filter(None, (one.by, one.at))), "ids"),
            ),
        )
        for one in page.checklist
    )
    yield from _table(("item", "state", "remark", "by"), rows, "")
    yield "</section>"


def _table(heads: Sequence[str], rows: Iterable[tuple[str, Sequence[_Cell]]], none: str) -> Iterator[str]:
    """Yield a table. rows: the tone of each, and its cells, of which the first is its name."""
    yield (
        "<table><thead><tr>"
        + "".join(f'<th scope="col">{in_html(head)}</th>' for head in heads)
        + "</tr></thead><tbody>"
    )
    is_empty = True
    for tone, ((_, first, _), *others) in rows:
        is_empty = False
        cells = "".join(
            f'<td class="{style if text else "empty"}" data-name="{in_html(head)}"><span>{in_html(text)}</span></td>'
            for head, text, style in others
        )
        yield f'<tr class="is-{tone}"><th scope="row" class="name">{in_html(first)}</th>{cells}</tr>'
    if is_empty:
        yield f'<tr class="summary"><td colspan="{len(heads)}">{in_html(none)}</td></tr>'
    yield "</tbody></table>"


def _missing(missing: Sequence[MissingEvidence]) -> Iterator[str]:
    yield "<section><h2>What is missing</h2>"
    if not missing:
        yield '<p class="note">Nothing that a command could add.</p></section>'
        return
    known = [one.minutes for one in missing if one.minutes is not None]
    rest = len(missing) - len(known)
    total = f"{len(missing)} command{'s' if len(missing) > 1 else ''}, {_minutes(sum(known))} together"
    yield f'<p class="note">{total}{f" without the {rest} of unknown time" if rest else ""}:</p><ol class="missing">'
    for one in missing:
        time = "time not known" if one.minutes is None else _minutes(one.minutes)
        yield f"<li><code>{in_html(one.command)}</code> <b>{time}</b> <span>{in_html(one.why)}</span></li>"
    yield "</ol></section>"


def _minutes(minutes: float) -> str:
    """Return a time: "12 min", "2 h 5 min". Times are rounded up, to at least 1 min."""
    whole = max(1, -int(-minutes // 1))
    hours, rest = divmod(whole, 60)
    return " ".join(filter(None, (f"{hours} h" if hours else "", f"{rest} min" if rest else "")))


def _said(title: str, items: Sequence[Said], none: str) -> Iterator[str]:
    yield f"<section><h2>{in_html(title)}</h2>"
    if not items:
        yield f'<p class="note">{in_html(none)}</p>'
    else:
        yield "<ul>"
        for one in items:
            owner = f" <b>{in_html(one.owner)}</b>" if one.owner else ""
            ids = f" <small>{in_html(' '.join(one.evidence))}</small>" if one.evidence else ""
            yield f'<li class="is-{one.tone}">{in_html(one.text)}{owner}{ids}</li>'
        yield "</ul>"
    yield "</section>"
