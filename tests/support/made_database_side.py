"""Made-up requests to a shop whose stock service has a database, and made-up notes of the probes of that database.

Slow requests take 400 ms more than fast ones. `in_statement` decides whether that is in the span of the statement, or
in the time of stock before it: the wait for a connection of a pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from loadgen.probes.journal import Begin, NewRows, NewSeries, NoteRecord, ProbeOfRun, Record, Sample, Zero
from loadgen.probes.pgbouncer.pools import ROWS
from loadgen.probes.postgres.statements import Counters, Increase, StatementKey, body_of
from loadgen.probes.rows import Series
from loadgen.report.why_slow.cause_file import CauseFile, NotRanked, ObjectivePart, Ranked
from loadgen.report.why_slow.study import Told
from loadgen.traces.compact_trace import CompactTrace, compact_of
from loadgen.traces.timed import Observed
from tests.support.made_spans import span, tree

__all__ = [
    "LEDGER",
    "LEDGER_PATH",
    "MS",
    "POOL_PATH",
    "S",
    "chain",
    "counters",
    "increase",
    "journal",
    "made_request",
    "note",
    "plan_note",
    "pool_samples",
    "texts",
    "told_of",
    "waiter",
    "without_a_rank",
]

MS, S = 1_000_000, 1_000_000_000
T0_NS = 1_000 * S
"""T0 on the clock of the controller."""
LEDGER = StatementKey(10, 5, -7)
SENT = "UPDATE ledger SET n = n + %s WHERE account = %s"
"""The statement as the application sends it."""
KNOWN = "UPDATE ledger SET n = n + $1 WHERE account = $2"
"""The statement as the server has it."""
POOL_PATH = ("shop: POST /ach", "stock: reserve")
LEDGER_PATH = (*POOL_PATH, "stock: UPDATE ledger")
_DATABASE = {"db.system.name": "postgresql", "db.namespace": "shop", "db.query.summary": "UPDATE ledger"}


def made_request(
    number: int, at_s: float, *, is_slow: bool, in_statement: bool = True, text: str = SENT, **attributes: str
) -> CompactTrace:
    """Return a request that is due at a time. attributes: of the database span, with `__` in place of dots."""
    more = 400 * MS if is_slow else 0
    pool, statement = (0, more) if in_statement else (more, 0)
    begin = 20 * MS + pool
    end = begin + 5 * MS + statement
    own = {key.replace("__", "."): value for key, value in attributes.items()}
    whole = tree(
        span("a", 0, end + 10 * MS, service="shop", name="POST /ach", kind="server"),
        span("b", 10 * MS, end + 5 * MS, "a", service="stock", name="reserve", kind="server"),
        span(
            "c", begin, end, "b", service="stock", name="UPDATE ledger", kind="client",
            attributes={**_DATABASE, **({"db.query.text": text} if text else {}), **own},
        ),
    )  # fmt: skip
    took = end + 12 * MS
    observed = Observed(
        trace=f"{number:032x}", journey="pay", step="", request="ach", outcome="ok", region="eu",
        at_s=at_s, response_ns=took, service_ns=took, weight=1.0,
    )  # fmt: skip
    return compact_of(observed, whole)


def told_of(slow: Sequence[CompactTrace], fast: Sequence[CompactTrace], **ranked: Any) -> Told:
    """Return an answer of `loadgen trace` that ranks one path: with 1,000 requests, of which 2 % are slow by 400 ms."""
    line = Ranked(**{"path": LEDGER_PATH, "added_ns": 400.0 * MS, "kind": "slower calls", **ranked})
    causes = CauseFile(run="r", objective=ObjectivePart(name="ach", share_over=0.02, requests=1_000), ranked=(line,))
    return Told(causes, msgspec.to_builtins(causes), slow, fast)


def without_a_rank(told: Told) -> Told:
    """Return the answer with its path as a candidate whose order is not reliable."""
    not_ranked = NotRanked(reason="no single path", candidates=told.causes.ranked)
    causes = msgspec.structs.replace(told.causes, ranked=(), not_ranked=not_ranked)
    return Told(causes, msgspec.to_builtins(causes), told.slow, told.fast)


# -- the journal of probes ----------------------------------------------------------------------------


def journal(*notes: NoteRecord, pool: Iterable[Record] = (), kind: str = "postgres") -> list[Record]:
    """Return the records of a run with a probe of PostgreSQL and one of PgBouncer."""
    probes = (
        ProbeOfRun("shopdb", "db:5432", S, kind=kind),
        ProbeOfRun("pool", "db:6432", S, kind="pgbouncer"),
    )
    return [Begin(2, "2026-11-29T10:00:00Z", T0_NS - 60 * S, probes), Zero(T0_NS), *pool, *notes]


def note(at_s: float, kind: str, body: Mapping[str, Any], error_ms: float = 0.0) -> NoteRecord:
    error = {"error_ns": round(error_ms * MS)} if error_ms else {}
    return NoteRecord(0, T0_NS + round(at_s * S), kind, {**body, **error})


def counters(calls: float, exec_ms: float) -> Counters:
    return Counters(calls, exec_ms, calls, 0, 0, 0, 0, 0.0)


def increase(from_s: float, to_s: float, by: Mapping[StatementKey, Counters], why: str = "") -> NoteRecord:
    one = Increase(T0_NS + round(from_s * S), T0_NS + round(to_s * S), by, why)
    return note(to_s, "statements", body_of(one))


def texts(text: str = KNOWN, key: StatementKey = LEDGER, *, database: str = "shop") -> NoteRecord:
    row = {"user_id": key.user, "database_id": key.database, "query_id": str(key.query), "text": text}
    return note(70, "statements", {"texts": [{**row, "database": database, "user": "shop"}], "own": []})


def plan_note(*findings: str, key: StatementKey = LEDGER) -> NoteRecord:
    body = {"user_id": key.user, "database_id": key.database, "query_id": str(key.query)}
    return note(70, "plan", {**body, "findings": [{"text": text} for text in findings]})


def waiter(waits_s: float, pid: int = 7, **more: Any) -> dict[str, Any]:
    return {
        "pid": pid, "application": "settle", "relation": "ledger", "waits_s": waits_s,
        "statement": "UPDATE ledger SET n = n + ? WHERE account = ?", "query_id": "-7", **more,
    }  # fmt: skip


def chain(at_s: float, *waiters: Mapping[str, Any], error_ms: float = 2.0, root: str = "payout") -> NoteRecord:
    tree_ = {
        "pid": 3, "application": root, "state": "idle in transaction", "statement": "SELECT balance FROM account",
        "earlier": ["UPDATE ledger SET n = ?"], "holds": ["ledger (RowExclusiveLock)"], "waiters": list(waiters),
    }  # fmt: skip
    return note(at_s, "locks", {"trees": [tree_]}, error_ms)


def pool_samples(waiting: Mapping[float, float], query_ms: float = 0.4, every_s: float = 1.0) -> list[Record]:
    """Return samples of PgBouncer's probe, of which each is 4 ms long. waiting: clients that wait, by time from T0."""
    names = ("cl_waiting", "maxwait", "queries", "query_time", "of")
    series = (
        Series("cl_waiting", "value", "cl_waiting"),
        Series("maxwait", "value", "maxwait"),
        Series("queries", "value", "queries"),
        Series("query_time", "value", "query_time_s"),
        Series("query_time", "of", "queries"),
    )
    found: list[Record] = [NewRows(1, ROWS), NewSeries(1, 0, series)]
    count = 0.0
    for at_s, clients in sorted(waiting.items()):
        count += 100 * every_s
        values = (clients, clients / 10, count, count * query_ms / 1e3, count)
        at_ns = T0_NS + round(at_s * S)
        found.append(Sample(1, at_ns - 2 * MS, at_ns + 2 * MS, tuple(range(len(names))), values))
    return found
