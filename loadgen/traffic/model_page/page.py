"""Renders the report of a model as one HTML file without scripts, from the verdict to how to reproduce it.

Names in it come from logs and are never markup. The page depends only on the contents of the logs and on the options:
the same lines in any order give the same bytes.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from loadgen.outside_text import in_html
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.report.static_page import static_page, table_html
from loadgen.traffic.model_page.facts import PageFacts, file_name
from loadgen.traffic.model_page.fidelity import badge, fidelity_section
from loadgen.traffic.model_page.lines_of_logs import accounting_section, left_out_section, missing_sentences
from loadgen.traffic.model_page.request_shares import expected_shares
from loadgen.traffic.model_page.sessions_of_logs import (
    kinds_section,
    pauses_section,
    starts_section,
    timeout_section,
)
from loadgen.traffic.names.naming import OTHER
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.scenario.options_json import options_json
from loadgen.traffic.scenario.write_scenario import content_hash, csv_text
from loadgen.units import NS_PER_US, format_count, format_duration, format_rate, format_share, quantity

__all__ = ["model_page"]

_TOP: Final = 20
_MOST_FILES: Final = 20


def model_page(facts: PageFacts) -> str:
    """Return the page. Size: 60 to 200 kB; all its lists have limits, so it is below 1 MB."""
    style = Path(__file__).with_name("page.css").read_bytes()
    return static_page(f"Model of access logs, {_span(facts)}", _body(facts), style).decode()


def _body(facts: PageFacts) -> Iterator[str]:
    yield f'<div class="headline">{badge(facts.verdict)}<h1>Model of access logs</h1></div>'
    yield f'<p class="note">{_span(facts)}</p>'
    yield from (f'<p class="doubt">{in_html(note)}</p>' for note in facts.notes)
    yield from _tiles(facts)
    parts = (
        ("fidelity", "Fidelity", fidelity_section(facts.verdict)),
        ("lines", "Every line of the logs", accounting_section(facts.traffic)),
        ("missing", "Not in the logs", _listed(missing_sentences(facts))),
        ("starts", "Starts of sessions", starts_section(facts)),
        ("names", "Busiest names of requests", _names(facts)),
        ("pauses", "Pauses of the busiest edges", pauses_section(facts)),
        ("timeout", "Time-out of sessions", timeout_section(facts)),
        ("kinds", "Kinds of sessions", kinds_section(facts)),
        ("left-out", "Left out of the scenario", left_out_section(facts)),
        ("reproduce", "How to reproduce this", _reproduce(facts)),
    )
    links = (f'<a href="#{name}">{title}</a>' for name, title, _ in parts)
    yield f"<nav>{''.join(links)}</nav>"
    for name, title, part in parts:
        yield f'<section id="{name}"><h2>{title}</h2>'
        yield from part
        yield "</section>"


def _span(facts: PageFacts) -> str:
    first, last = (
        datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")
        for us in (facts.traffic.first_us, facts.traffic.last_us)
    )
    return f"{first} to {last[11:] if first[:10] == last[:10] else last} UTC"


def _tiles(facts: PageFacts) -> Iterator[str]:
    traffic = facts.traffic
    span_us = traffic.last_us - traffic.first_us
    sessions, taken = traffic.sessions.count, traffic.accounting.taken
    rate = format_rate(taken / max(1.0, span_us / 1e6))
    kinds = len(facts.draft.graphs)
    yield '<div class="overview">'
    for name, figure, of in (
        ("requests", format_count(taken), f"{rate} on average, over {format_duration(span_us * NS_PER_US)}"),
        ("sessions", format_count(sessions), f"of {quantity(traffic.sessions.users, 'user')}"),
        ("requests for each session", f"{traffic.sessions.lengths.sum() / sessions:.2f}", "on average"),
        ("kinds of sessions", str(kinds), "each with a graph and a load of its own" if kinds > 1 else "one graph"),
    ):
        yield f'<div class="tile"><p class="name">{name}</p><p class="figure">{figure}</p><p class="of">{of}</p></div>'
    yield "</div>"


def _listed(sentences: list[str]) -> Iterator[str]:
    yield '<ul class="list">'
    yield from (f"<li>{in_html(sentence)}</li>" for sentence in sentences)
    yield "</ul>"


def _names(facts: PageFacts) -> Iterator[str]:
    names, taken = facts.traffic.names, facts.traffic.accounting.taken
    expected = expected_shares(facts.draft, facts.sessions)
    rows = [
        (
            name.name,
            format_count(name.count),
            format_share(name.count / taken),
            _expected(expected, name.name),
            format_count(name.users),
            format_count(firsts),
        )
        for name, firsts in zip(names.kept[:_TOP], facts.traffic.sessions.first_names, strict=False)
    ]
    shown = sum(name.count for name in names.kept[:_TOP])
    if taken > shown:
        more = len(names.kept[_TOP:]) + names.other_names
        rest = max(0.0, 1 - sum(expected.get(name.name, 0.0) for name in names.kept[:_TOP]))
        label = f"all {quantity(more, 'other name')}"
        share = format_share((taken - shown) / taken)
        rows.append((label, format_count(taken - shown), share, format_share(rest), "", ""))
    columns = ("name", "requests", "share in the log", "share in the scenario", "users", "first of a session")
    note = (
        "The share in the scenario is the expected one of its graphs. Graphs have only whole sessions and no steps "
        f"below 0.5 %, so it differs a little from the log. {OTHER.capitalize()}: rare names, and names of few users."
    )
    yield table_html(Table("", columns, tuple(rows), note=note))


def _expected(expected: Mapping[str, float], name: str) -> str:
    return format_share(expected[name]) if name in expected else PLACEHOLDER


def _reproduce(facts: PageFacts) -> Iterator[str]:
    files = [file_name(path) for path in facts.traffic.files]
    yield "<p>This command reads the logs that traffic.json names, with its options, and writes the same figures:</p>"
    yield f"<pre>{in_html(shlex.join(['loadgen', 'model', 'update', facts.scenario]))}</pre>"
    more = f" and {format_count(len(files) - _MOST_FILES)} more" if len(files) > _MOST_FILES else ""
    yield f"<p>Logs: {in_html(', '.join(files[:_MOST_FILES]))}{more}. loadgen {in_html(facts.version)}.</p>"
    given, usual = _flat(options_json(facts.options)), _flat(options_json(LogOptions(model=ModelRules())))
    changed = tuple((name, value) for name, value in given.items() if value != usual.get(name))
    if changed:
        yield table_html(Table("", ("option", "value"), changed, words=2))
    rest = tuple((name, value) for name, value in given.items() if value == usual.get(name))
    table = table_html(Table("", ("option", "default"), rest, words=2))
    yield f"<details><summary>{quantity(len(rest), 'option')} with their defaults</summary>{table}</details>"
    rows = [
        (file.path, format_count(len(file.rows) - 1), content_hash(csv_text(file))) for file in facts.draft.data_files
    ]
    digest = hashlib.sha256(facts.traffic_json.encode()).hexdigest()
    rows.append(("traffic.json", "", digest))
    yield table_html(
        Table(
            "",
            ("file beside this page", "SHA-256", "rows"),
            tuple((path, digest, rows_) for path, rows_, digest in rows),
            words=2,
            note="The first 8 digits of a data file. Files of logs have no hash here: their lines may be in any order.",
        )
    )


def _flat(options: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return the options as texts, those of parts with the name of the part before."""
    found: dict[str, str] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return found
