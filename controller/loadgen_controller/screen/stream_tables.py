"""Tables of one answer of an AI model for `loadgen check`: its events, and its figures as each tool defines them."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Final

from loadgen.engine.recording.kept_streams import StreamEvents
from loadgen.measure.conventions import CONVENTIONS, Event, Figures, chunks_of, figures
from loadgen.measure.streams import KINDS
from loadgen.report.report_parts import Table
from loadgen.units import NS_PER_MS, format_count

__all__ = ["stream_tables"]

_FIRST, _LAST = 12, 4
_COLUMNS: Final = ("ttft_ms", "itl_ms", "tpot_ms", "e2e_ms")


def stream_tables(title: str, events: StreamEvents, asked_ns: int) -> Iterator[Table]:
    """Yield the tables of a stream. asked_ns: the call of the request, from which all times count.

    A long stream is shortened to its first and last events.
    """
    if not len(events.kinds):
        return
    t_ns = [t - asked_ns for t in events.t_ns]
    rows: list[tuple[str, ...]] = []
    for n, (at, kind, tokens) in enumerate(zip(t_ns, events.kinds, events.tokens, strict=True)):
        gap = "-" if not n else _ms(at - t_ns[n - 1])
        rows.append((KINDS[kind], _ms(at), gap, "-" if tokens < 0 else format_count(tokens)))
    hidden = len(rows) - _FIRST - _LAST
    if hidden > 1:
        rows[_FIRST:-_LAST] = [(f"{format_count(hidden)} more", "", "", "")]
    yield Table(f"{title}: events of the stream", ("kind", "ms", "gap", "tokens"), tuple(rows))
    listed: list[Event] = [
        (at, KINDS[kind], tokens) for at, kind, tokens in zip(t_ns, events.kinds, events.tokens, strict=True)
    ]
    chunks = chunks_of(events.joined, len(listed))
    found = {name: figures(listed, name, chunks=chunks, hidden_tokens=events.hidden_tokens) for name in CONVENTIONS}
    head = ("as defined by", "ttft", "itl mean", "tpot", "e2e")
    shown = tuple((name, *(_figure(of, column) for column in _COLUMNS)) for name, of in found.items())
    yield Table(f"{title}: figures of the stream, ms", head, shown)


def _figure(found: Figures, name: str) -> str:
    value = found.get(name)
    if isinstance(value, list):
        value = fmean(value) if value else None
    return "-" if value is None else f"{value:.4g}" if value < 1_000 else format_count(round(value))


def _ms(ns: int) -> str:
    return f"{ns / NS_PER_MS:,.3f}"
