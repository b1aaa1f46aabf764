"""Format the times of messages as a table: for each call its first message, gaps, answers, ages, and their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from loadgen.report.report_parts import PLACEHOLDER, Table, milliseconds
from loadgen.report.stream_tables import stream_name
from loadgen.report.summary_reader import PhaseFigures, Series, Summary
from loadgen.units import format_count, quantity

__all__ = ["message_tables"]

MOST_ROWS: Final = 15
"""The most calls of the table; summary.json has all."""
_ALL: Final = "*"
_NAMES: Final = {"first_message": "first message", "message_gap": "gap", "answer": "answer", "message_age": "age"}
_EARLY: Final = "ws: stamps in the future"
"""The counter of `clients/ws_client/counts.py`."""
_MEANINGS: Final = {
    "first_message": "first message: from the call to the first message of the target, one value a call",
    "message_gap": "gap: between two of its messages",
    "answer": "answer: from a message of ours to its answer (key=)",
    "message_age": "age: from the time that the target wrote into a message (stamp=) to its arrival, by the clocks of"
    " both machines",
}
_AGE_NOTE: Final = (
    "The error of the target's clock is unknown, so ages have no error bound, unless target and agent share a machine."
)


def message_tables(summary: Summary) -> Iterator[Table]:
    """Yield the table of messages; nothing if the run had no calls with messages."""
    rows = [s for s in summary.series if s.region == _ALL and s.outcome == _ALL and s.message_ms and not s.tags]
    if not rows:
        return
    several = len({s.journey for s in rows}) > 1
    left_out = f"summary.json has {quantity(len(rows) - MOST_ROWS, 'more call')}." if rows[MOST_ROWS:] else ""
    ages = [_AGE_NOTE, _early(summary)] if any("message_age" in s.message_ms for s in rows) else []
    yield Table(
        "Messages, ms",
        ("", "time", "count", "p50", "p95", "p99", "max"),
        tuple(line for s in rows[:MOST_ROWS] for line in _lines(stream_name(s, several), s)),
        2,
        "\n".join(filter(None, (_note(rows), *ages, left_out))),
    )


def _note(rows: Iterable[Series]) -> str:
    """Return the meaning of the times that occur."""
    found = {metric for s in rows for metric in s.message_ms}
    meanings = "; ".join(text for metric, text in _MEANINGS.items() if metric in found)
    return f"Calls with messages, of all outcomes. {meanings}. messages: how many came."


def _early(summary: Summary) -> str:
    """Return how many messages had a stamp later than their arrival; "" without any."""
    count = next((one.total or 0 for one in summary.custom if one.name == _EARLY and one.region == _ALL), 0)
    if not count:
        return ""
    late = "1 message has" if count == 1 else f"{format_count(count)} messages have"
    return f"{late} a stamp later than the arrival, so the clocks of target and agent differ; such ages count as 0."


def _lines(name: str, s: Series) -> Iterator[tuple[str, ...]]:
    nothing = PhaseFigures()
    for metric, title in _NAMES.items():
        found = s.message_ms.get(metric)
        if found is not None:
            shown = map(milliseconds, (found.p50, found.p95, found.p99, found.max))
            yield name, title, format_count(found.count), *shown
            name = ""
    count = sum(s.message_ms.get(metric, nothing).count for metric in ("first_message", "message_gap"))
    yield name, "messages", format_count(count), *[PLACEHOLDER] * 4
