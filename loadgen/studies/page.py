"""Renders a study as one HTML file without scripts, which loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from loadgen.outside_text import in_html
from loadgen.report.static_page import static_page, table_html
from loadgen.studies.study import Study

__all__ = ["as_page"]


def as_page(study: Study) -> bytes:
    """Return the page of a study in UTF-8. The same study gives the same bytes."""
    style = Path(__file__).with_name("page.css").read_bytes()
    return static_page(f"{study.kind}: {study.title}", _body(study), style)


def _body(study: Study) -> Iterator[str]:
    yield f"<h1>{in_html(study.title)}</h1>"
    yield f'<p class="note">loadgen {in_html(study.kind)}</p>'
    yield f'<p class="answer {study.result.replace(" ", "-")}">{_sentence(study.headline)}.</p>'
    if study.lines:
        yield '<ul class="list">' + "".join(f"<li>{_sentence(line)}</li>" for line in study.lines) + "</ul>"
    for drawing in study.drawings:
        yield f'<figure class="chart"><h3>{_sentence(drawing.title)}</h3>'
        yield f'<div class="drawn">{drawing.html}</div>'
        yield f'<figcaption class="note">{in_html(drawing.text)}</figcaption></figure>'
    for table in study.tables:
        if table.title:
            yield f"<h2>{in_html(table.title)}</h2>"
        yield table_html(table)
    if study.foot:
        yield "<h2>Notes</h2>"
        yield "<pre>" + "\n".join(map(in_html, study.foot)) + "</pre>"


def _sentence(text: str) -> str:
    """Return a text with a capital at its start, escaped."""
    return in_html(text[:1].upper() + text[1:])
