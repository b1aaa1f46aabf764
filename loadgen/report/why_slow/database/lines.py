"""What probes of databases and pools saw, as lines below the ranked paths. The words for findings are those of
`loadgen.ladder`. The lines may have texts of the target: outputs make them harmless, as they do with all lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from loadgen.ladder import NOT_PROOF, Rung, sentence
from loadgen.report.report_parts import milliseconds
from loadgen.report.short_texts import cut_in_middle
from loadgen.report.why_slow.database.parts import AdvicePart, Below, LockPart, PoolPart, StatementPart
from loadgen.units import NS_PER_MS, format_count, format_duration, quantity

__all__ = ["below_text", "lock_text", "path_lines", "pool_text", "statement_text"]

_TEXT: Final = 110
"""Most characters of a statement in a line; cause.json has all of it."""
_SHORT: Final = 70
_ADVICE: Final = 200
_PROBE: Final = 40
_PLAN: Final = 2
_LOCKS: Final = 2
_NAMED: Final = 3
_CLEAR_ERROR_MS: Final = 1.0
"""A smaller error of a time is not shown."""


def path_lines(
    path: Sequence[str], statement: StatementPart | None, below: Below | None, locks: Sequence[LockPart]
) -> Iterator[str]:
    """Yield the lines of one ranked path."""
    if below is not None:
        yield below_text(below)
    if statement is not None:
        yield statement_text(statement)
    ours = [one for one in locks if one.path == tuple(path)]
    yield from (lock_text(one) for one in ours[:_LOCKS])
    if len(ours) > _LOCKS:
        yield f"and {quantity(len(ours) - _LOCKS, 'more lock chain')}, in cause.json"


def statement_text(one: StatementPart) -> str:
    """Return the statement of a path: "SELECT ...: +61 % of added database time; full scan of 100,000 rows"."""
    text = cut_in_middle(one.text, _TEXT)
    if not one.query_id:
        return f"{text}: no figures from probe {one.probe}, because {one.why}"
    parts = [f"{one.share * 100:+.0f} % of added database time, {_calls_text(one)}"]
    if one.is_elsewhere and one.waited_ms is not None:
        parts.append(
            f"slow requests waited about {_time(one.waited_ms)} longer for it in all, but the server executed it for"
            f" only {_time(one.exec_ms)}: the time is before or after the database, such as in a pool"
        )
    search = "its search: " if one.is_search else ""
    parts += [f"{search if n == 0 else ''}{finding}" for n, finding in enumerate(one.plan[:_PLAN])]
    if one.advice is not None:
        parts.append(_advice_text(one.advice))
    if one.how == "summary":
        parts.append(
            f"{quantity(one.statements, 'statement')} with this verb and these tables, because the span has no text"
        )
    elif one.how == "beginning":
        parts.append("recognised by its beginning, because the span's text is cut off")
    if one.unknown_s:
        parts.append(f"the server's counters of {one.unknown_s:.0f} s are unknown")
    return f"{text}: {'; '.join(parts)}"


def _calls_text(one: StatementPart) -> str:
    text = f"{quantity(round(one.calls), 'call')}"
    if one.mean_ms is None:
        return text
    before = ""
    if one.mean_until_ms is not None and one.mean_since_ms is not None:
        before = f" ({_ms(one.mean_until_ms)} until it became slower, {_ms(one.mean_since_ms)} since then)"
    elif one.mean_before_ms is not None:
        before = f" ({_ms(one.mean_before_ms)} before the load)"
    return f"{text}, mean {_ms(one.mean_ms)} ms{before}"


def _advice_text(one: AdvicePart) -> str:
    if not one.index or one.cost is None or one.cost_with is None:
        return cut_in_middle(one.text, _ADVICE)
    writers = f"{quantity(one.writers, 'statement')} {'writes' if one.writers == 1 else 'write'} to the table"
    costs = f"cost {_cost(one.cost)} to {_cost(one.cost_with)} for the generic plan"
    return f"index {one.index}: {costs}, a hypothesis; {writers}"


def below_text(one: Below) -> str:
    """Return where the own time of a path lies, as seen from its database spans."""
    names = [path[-1] for path in one.paths]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    spans = f"{'database span' if len(names) == 1 else 'database spans'} {', '.join(names[:_NAMED])}{more}"
    times = f"{_ms(one.slow_ns / NS_PER_MS)} ms in slow requests, {_ms(one.fast_ns / NS_PER_MS)} ms in fast ones"
    if one.is_unchanged:
        return f"this time is not in its {spans} ({times}): the wait for a connection of a pool is such a time"
    return f"this time is outside of its {spans} ({times})"


def lock_text(one: LockPart) -> str:
    """Return a lock chain: "UPDATE ledger of settle is held up by payout (idle in transaction, ...)"."""
    about = [one.root_state] if one.root_state else []
    if one.root_statement:
        about.append(f"last statement {cut_in_middle(one.root_statement, _SHORT)}")
    if one.root_earlier:
        about.append(f"before it {cut_in_middle(one.root_earlier[0], _SHORT)}")
    if one.root_holds:
        about.append(f"holds {one.root_holds[0]}")
    name = one.root or "a session without a name"
    root = f"{name} ({', '.join(about)})" if about else name
    span = cut_in_middle(one.path[-1], _SHORT)
    waiter = f"{span} of {one.waiter}" if one.waiter else span
    table = f" on {one.relation}" if one.relation else ""
    figures = [f"{quantity(one.waits, 'wait')}{table} in {quantity(one.looks, 'look')}"]
    if one.median_wait_ms is not None and one.longest_wait_ms is not None:
        figures.append(f"median wait {_time(one.median_wait_ms)} by then, longest {_time(one.longest_wait_ms)}")
    error = f" (± {_ms(one.error_ms)} ms)" if one.error_ms >= _CLEAR_ERROR_MS else ""
    can = f", of which {format_count(one.around)} can contain a wait" if one.around < one.requests else ""
    figures.append(f"in the time of {quantity(one.requests, 'slow trace')}{error}{can}")
    if one.how == "summary":
        figures.append("recognised by verb and tables only")
    return f"{sentence(Rung.HELD_UP, waiter, root)}: {'; '.join(figures)}"


def pool_text(one: PoolPart) -> str:
    """Return what a probe of PgBouncer saw in the time of slow requests."""
    other = f"clients that wait for a connection in PgBouncer (probe {cut_in_middle(one.probe, _PROBE)})"
    parts = [f"in {format_count(one.waiting)} of {quantity(one.samples, 'sample')} of that time"]
    if one.other_samples:
        parts[0] += f" and {format_count(one.other_waiting)} of {format_count(one.other_samples)} others"
    parts.append(f"at most {quantity(round(one.most), 'client')}")
    if one.longest_s:
        parts.append(f"longest wait {_time(one.longest_s * 1e3)}")
    if one.query_ms is not None:
        otherwise = "" if one.other_query_ms is None else f", otherwise {_ms(one.other_query_ms)} ms"
        parts.append(f"mean time of a query {_ms(one.query_ms)} ms{otherwise}")
    error = f" (± {_ms(one.error_ms)} ms)" if one.error_ms >= _CLEAR_ERROR_MS else ""
    return f"{sentence(Rung.COINCIDES, 'the time of slow requests', other)}{error}: {'; '.join(parts)}; {NOT_PROOF}"


def _ms(ms: float) -> str:
    return milliseconds(ms) if abs(ms) >= 0.005 else "0"


def _time(ms: float) -> str:
    return format_duration(ms * NS_PER_MS)


def _cost(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:,.1f}"
