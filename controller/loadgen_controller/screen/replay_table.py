"""The table of `loadgen replay-log`: what the replay sends, what it leaves out, and what it replaces."""

from __future__ import annotations

from collections.abc import Iterator

from loadgen.report.report_parts import Table
from loadgen.traffic.replays.session_lines import MOST_CALLS
from loadgen.traffic.replays.write_replay import Replay, ReplayOptions
from loadgen.units import format_count, quantity

__all__ = ["replay_table"]


def replay_table(replay: Replay, options: ReplayOptions) -> Table:
    """Return the table. Each row has a subject, its details and a number of requests, sessions or lines."""
    return Table("", ("", "details", "count"), tuple(_rows(replay, options)), words=2)


def _rows(replay: Replay, options: ReplayOptions) -> Iterator[tuple[str, str, str]]:
    accounting, replaced = replay.traffic.accounting, replay.replaced
    yield "lines read", quantity(len(replay.traffic.files), "file"), format_count(accounting.read)
    for reason, count in sorted(accounting.excluded.items()):
        yield "excluded", reason, format_count(count)
    for reason, count in sorted(accounting.rejected.items()):
        yield "rejected", reason, format_count(count)
    for method, count in replay.left_out.items():
        yield "left out", f"{method}: not sent", format_count(count)
    for method, count in replay.writes.items():
        yield "sent without body", f"{method}: the log has no bodies", format_count(count)
    if replay.with_query:
        yield "queries", "kept" if options.queries else "left out, see --queries", format_count(replay.with_query)
    if replaced.requests:
        details = f"values of {quantity(replaced.targets, 'path')} that few users sent, or that look private"
        yield "ranks as values", details, format_count(replaced.requests)
    if replaced.fields:
        yield (
            "fields left out",
            "names in queries that few users sent, or that look private",
            format_count(replaced.fields),
        )
    if replaced.mapped_requests:
        yield "ids from files", ", ".join(replaced.values_without_id), format_count(replaced.mapped_requests)
    for name, count in replaced.values_without_id.items():
        if count:
            yield "values without id", f"{name}: the file has too few rows, so they are used again", format_count(count)
    yield "sessions", "of the log", format_count(replay.sessions)
    if replay.continued:
        yield "rows in parts", f"a session with more than {MOST_CALLS:,} requests", format_count(replay.continued)
    scale = "" if options.scale == 1 else f", scale {options.scale:g}"
    yield "replayed", f"rows of {replay.file}{scale}", format_count(replay.rows)
    yield "requests", f"timing {options.timing}, speed {options.speed:g}", format_count(replay.requests)
