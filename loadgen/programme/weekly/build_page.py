"""Builds the weekly page from what was gathered. Pure: the same input gives the same page, with the same id."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Final

from loadgen.history.gate.aa_test_health import health_of
from loadgen.outside_text import one_line
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.weekly.as_json import as_document
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.run_cells import key_of
from loadgen.programme.weekly.changed import changes_of, drifts_of, trends_of
from loadgen.programme.weekly.chart_data import charts_of
from loadgen.programme.weekly.first_sentences import Facts, first_sentences, late_of
from loadgen.programme.weekly.gather import Gathered
from loadgen.programme.weekly.page_values import NOTHING, Row, Said, Section, WeeklyPage
from loadgen.programme.weekly.rows import FromOthers, rows_of
from loadgen.programme.weekly.sections import sections_of

__all__ = ["build_page", "public", "used_ids"]

_DIGITS: Final = 4


def build_page(
    gathered: Gathered, others: FromOthers | None = None, *, is_public: bool = False, team: str = ""
) -> WeeklyPage:
    """Return the page. is_public: only promises and attainment. team: the only one whose promises were gathered."""
    others, book = others or FromOthers(), EvidenceBook()
    rows = rows_of(gathered, book, others)
    trends = trends_of(gathered)
    changes = changes_of(gathered, trends, book)
    keys = {key for one in gathered.promises if (key := key_of(gathered.runs, one.journey))}
    health = health_of(gathered.controls, next(iter(keys)) if len(keys) == 1 else None)
    facts = Facts(gathered, rows, changes, health)
    sentences = first_sentences(facts, book)
    late = late_of(gathered)
    ends = [end for name, end in gathered.sources.items() if name not in late]
    page = WeeklyPage(
        title=one_line(gathered.settings.title, 80),
        week=gathered.period.name,
        zone=gathered.settings.zone,
        start=gathered.period.start,
        end=gathered.period.end,
        as_of=gathered.as_of,
        id="",
        complete_to=min(ends, default=0),
        sources=tuple(one_line(one, 100) for one in gathered.sources),
        late=tuple(one_line(one, 100) for one in late),
        sentences=sentences,
        rows=tuple(one.row for one in rows),
        charts=charts_of(gathered, rows, trends, changes),
        sections=sections_of(facts, drifts_of(trends, book), book, others),
        revisions=gathered.revisions,
        notes=tuple(f"{text}." for text in gathered.troubles),
        team=one_line(team, 80),
    )
    page = public(page, [one.promise.state.word for one in rows]) if is_public else page
    entries = {one.id: one for one in (*book.entries(used_ids(page)), *others.evidence)}
    used = used_ids(page)
    page = replace(
        page, evidence=tuple(_public_entry(entries[one], is_public) for one in sorted(used & entries.keys()))
    )
    return replace(page, id=_id_of(page))


def public(page: WeeklyPage, words: list[str]) -> WeeklyPage:
    """Return a page for customers: promises and attainment only; no owner, money, commit, run, or name of a system."""
    kept = sum(word == "kept" for word in words)
    judged = sum(word != "not judged" for word in words)
    evidence = tuple(dict.fromkeys(id_ for row in page.rows for id_ in row.kept.evidence))
    tone = "bad" if "not kept" in words else "good" if kept == judged else "open"
    text = f"{kept} of {judged} promises {'was' if kept == 1 else 'were'} kept."
    rows = tuple(
        Row(row.journey, row.slo, "", row.promise, row.method, row.kept.tone, row.kept, *(NOTHING,) * 7)
        for row in page.rows
    )
    said = Said("Attainment is a fact of all requests of the window; missing time gives two bounds.", key="methods")
    return replace(
        page,
        sentences=(Said(text, tone, evidence, "", "promises"),),  # type: ignore[arg-type]
        rows=rows,
        charts=(),
        sections=(Section("How sure we are", (said,)),),
        sources=(),
        late=(),
        revisions=(),
        notes=(),
        is_public=True,
    )


def used_ids(page: WeeklyPage) -> set[str]:
    """Return the ids of all evidence that a page refers to."""
    found = {id_ for one in page.sentences for id_ in one.evidence}
    found |= {id_ for row in page.rows for _, cell in row.cells() for id_ in cell.evidence}
    found |= {id_ for chart in page.charts for id_ in chart.evidence}
    return found | {id_ for section in page.sections for one in section.items for id_ in one.evidence}


_PUBLIC: Final = frozenset(
    {"slo", "from", "to", "as_of", "method", "target", "good", "total", "missing_s", "slice_s", "slice_target"}
)
"""The inputs of evidence that a page for customers has."""


def _public_entry(entry: EvidenceEntry, is_public: bool) -> EvidenceEntry:
    if not is_public:
        return entry
    inputs = tuple(one for one in entry.inputs if one[0] in _PUBLIC)
    return replace(entry, inputs=inputs, revisions=(), run_ids=(), see="")


def _id_of(page: WeeklyPage) -> str:
    """Return the id from the content: "w30-4f1a". The time of `--as-of` does not count, so a page of which nothing
    changed keeps its id.
    """
    evidence = tuple(replace(one, inputs=tuple(i for i in one.inputs if i[0] != "as_of")) for one in page.evidence)
    document = as_document(replace(page, as_of="", id="", evidence=evidence))
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    digits = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    return f"{page.week[5:].lower()}-{digits}"
