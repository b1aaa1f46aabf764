"""Build the JSON document of a run over time, which the live page and the HTML report show.

docs/live-page.md lists its keys. `document` returns the whole document. `changes`
returns the changes after a sequence number: changed slots, and all parts that are not
per slot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from loadgen.report.charts.timeline_data import History
from loadgen.report.run_page_table import Table

__all__ = ["FORMAT", "Facts", "changes", "document", "encode"]

FORMAT: Final = 1

_Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The parts of the document that do not come from histograms, in the document's form."""

    run: Mapping[str, object]
    verdict: Mapping[str, object] | None = None
    slos: Sequence[Mapping[str, object]] = ()
    warmup_s: float = 0.0
    trace_url: str | None = None
    marks: Sequence[Mapping[str, object]] = ()
    agents: Sequence[Mapping[str, object]] = ()
    done: Mapping[str, bool] = field(default_factory=dict)
    """The agents of the run, each with True if it is done and reports no more."""
    notes: Sequence[str] = ()
    metrics: Mapping[str, object] = field(default_factory=dict)
    """`metrics` of the document: the lanes of `target_side.metrics_file`; empty if the run has none."""
    databases: Sequence[Mapping[str, object]] = ()
    """`databases` of the document: `target_side.database_tables.page_databases`; empty if the run has none."""
    kept_streams: Mapping[str, object] = field(default_factory=dict)
    """`kept_streams` of the document: `charts.kept_streams.kept_of_page`; empty if the run has none."""


def document(history: History, table: Table, facts: Facts) -> _Json:
    """Return the whole document. Cost: 2 ms, and 0.1 ms for each slot that changed since the last call."""
    return {
        "format": FORMAT,
        **_now(table, facts),
        "slots": {"length_s": history.length_s, "count": history.count, **history.columns(facts.done)},
        "warmup_s": [0, facts.warmup_s] if facts.warmup_s else None,
        "response": history.response(),
        "errors": history.errors(),
        "heatmap": {"edges_ms": history.heat_edges_ms(), **_heatmap(history)},
        "trace_url": facts.trace_url,
        "seq": history.seq,
    }


def changes(history: History, table: Table, facts: Facts, after_seq: int) -> Iterator[tuple[str, _Json]]:
    """Yield (event, data) pairs that update a document of `after_seq` to the current one, in this order.

    The event `again` means that no update is possible and the whole document must be fetched.
    """
    if not history.longer_seq <= after_seq <= history.seq:
        yield "again", {"seq": history.seq}
        return
    for first, end in history.slots_after(after_seq):
        yield (
            "slots",
            {
                "seq": history.seq,
                "from": first,
                "to": end,
                "slots": history.columns(facts.done, first, end),
                "response": history.response(first, end),
                "errors": history.errors(first, end),
                "heatmap": _heatmap(history, first, end),
            },
        )
    yield "now", {"seq": history.seq, **_now(table, facts)}


def encode(value: object) -> bytes:
    """Return `value` as compact JSON."""
    return msgspec.json.encode(value)


def _heatmap(history: History, first: int = 0, end: int | None = None) -> _Json:
    """Return the cells of slots [first, end): of requests, and by metric of streams if the run has any."""
    streams = history.stream_heat(first, end)
    return {"slots": history.heat(first, end), **({"streams": streams} if streams else {})}


def _now(table: Table, facts: Facts) -> _Json:
    return {
        "run": facts.run,
        "verdict": facts.verdict,
        "slos": facts.slos,
        **table.as_json(),
        "marks": facts.marks,
        "agents": facts.agents,
        "notes": facts.notes,
        "metrics": facts.metrics or None,
        **({"databases": facts.databases} if facts.databases else {}),
        **({"kept_streams": facts.kept_streams} if facts.kept_streams else {}),
    }
