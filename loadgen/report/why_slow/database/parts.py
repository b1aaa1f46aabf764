"""What the probes of a run add to `cause.json`: the statement of a path, locks, and pools of PgBouncer.

Texts come from the server and from the target's spans, without values. Times are ms, as the server has them, unless a
name ends in another unit; shares are 0 to 1.
"""

from __future__ import annotations

import msgspec

__all__ = ["AdvicePart", "Below", "LockPart", "PoolPart", "StatementPart"]


class AdvicePart(msgspec.Struct, frozen=True, kw_only=True):
    """Index advice of `--advise`: a hypothesis of the planner, for a generic plan.

    text: the whole advice, or why there is none. index: "(tenant) of item"; "" if none is proposed. cost, cost_with: of
    the statement without and with the index. rows: of the table. writers: statements that write to the table.
    """

    text: str
    index: str = ""
    columns: tuple[str, ...] = ()
    cost: float | None = None
    cost_with: float | None = None
    rows: float = 0.0
    size_bytes: int = 0
    writers: int = 0


class StatementPart(msgspec.Struct, frozen=True, kw_only=True):
    """The server's statement with the fingerprint of a path's span.

    text: without values. query_id: that of the server; "" if the server's list does not have it, and `why` says so.
    statements: of the server that belong to the path, such as one for each user; figures are sums over them.
    how: "fingerprint"; "beginning", if the span's text was cut off; "summary", if only verb and tables agree.
    added_ms: execution time that the load has added; share: of that of all statements. calls, exec_ms: during the load.
    mean_before_ms: before the load; None without calls. mean_until_ms, mean_since_ms: before and since the path became
    slower, if that is known. waited_ms: what all slow requests together waited longer for this path, by their number
    and the mean of the traces; None if unknown. is_elsewhere: the server executed the statement for less than half of
    that in all, so the time is not in its execution.
    unknown_s: seconds of the load whose counters are unknown. plan: in words. is_search: the plan is that of the search
    of an UPDATE or DELETE.
    """

    probe: str
    text: str = ""
    query_id: str = ""
    statements: int = 0
    how: str = ""
    why: str = ""
    added_ms: float = 0.0
    share: float = 0.0
    calls: float = 0.0
    exec_ms: float = 0.0
    mean_ms: float | None = None
    mean_before_ms: float | None = None
    mean_until_ms: float | None = None
    mean_since_ms: float | None = None
    waited_ms: float | None = None
    is_elsewhere: bool = False
    unknown_s: float = 0.0
    plan: tuple[str, ...] = ()
    is_search: bool = False
    why_no_plan: str = ""
    advice: AdvicePart | None = None


class Below(msgspec.Struct, frozen=True, kw_only=True):
    """The database spans right below a path whose own time is longer: their mean time a request, slow and fast.

    is_unchanged: their difference is at most a tenth of the path's added time, so the database is not to blame.
    """

    paths: tuple[tuple[str, ...], ...]
    slow_ns: float
    fast_ns: float
    is_unchanged: bool


class LockPart(msgspec.Struct, frozen=True, kw_only=True):
    """Lock chains whose waiters execute the statement of a path, seen in the time of its slow requests.

    root, waiter: their applications. root_state: the most frequent one. root_statement: the last statement of the root,
    which need not be the one that took the lock; root_earlier: others of its transaction. root_holds: tables and modes.
    looks: samples with such a chain; waits: waiting sessions, each counted once. median_wait_ms, longest_wait_ms: how
    long they had waited when they were last seen; the real wait was longer. requests: slow traces in whose time a
    session waited; around: those of them that were open during a whole wait, so that they can contain it. error_ms: by
    which the times may be off.
    how: "query id", "fingerprint", "beginning" of a statement that was cut off, or "summary": the same verb and tables.
    """

    probe: str
    path: tuple[str, ...]
    root: str
    waiter: str
    relation: str = ""
    root_state: str = ""
    root_statement: str = ""
    root_earlier: tuple[str, ...] = ()
    root_holds: tuple[str, ...] = ()
    statement: str = ""
    how: str = ""
    looks: int = 0
    waits: int = 0
    median_wait_ms: float | None = None
    longest_wait_ms: float | None = None
    requests: int = 0
    around: int = 0
    error_ms: float = 0.0


class PoolPart(msgspec.Struct, frozen=True, kw_only=True):
    """Clients that waited for a connection of PgBouncer in the time of slow requests.

    most: waiting clients in one sample. waiting, samples: samples with waiting clients and all samples in the time of
    slow requests; other_waiting, other_samples: the rest of the load. longest_s: the longest wait that was seen.
    query_ms: mean time of a query in the time of slow requests; other_query_ms: in the rest.
    """

    probe: str
    most: float
    waiting: int
    samples: int
    other_waiting: int = 0
    other_samples: int = 0
    longest_s: float | None = None
    query_ms: float | None = None
    other_query_ms: float | None = None
    error_ms: float = 0.0
