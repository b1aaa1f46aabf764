"""Statements, locks and pools of probes beside the ranked paths: what belongs to them, what does not, and the words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from loadgen.probes.journal import Record
from loadgen.probes.postgres.statements import StatementKey
from loadgen.probes.recorded import Recorded
from loadgen.report.why_slow.database.lines import lock_text, pool_text, statement_text
from loadgen.report.why_slow.database.of_run import DatabaseSide, database_side
from loadgen.report.why_slow.database.parts import AdvicePart, LockPart, StatementPart
from loadgen.report.why_slow.database.slow_times import SlowTimes
from loadgen.report.why_slow.database.statements import same_beginning
from loadgen.report.why_slow.lines import all_lines, foot_lines
from loadgen.report.why_slow.study import Told
from tests.support.made_database_side import (
    LEDGER,
    LEDGER_PATH,
    MS,
    POOL_PATH,
    chain,
    counters,
    increase,
    journal,
    made_request,
    note,
    plan_note,
    pool_samples,
    texts,
    told_of,
    waiter,
    without_a_rank,
)

OTHER, SUM = StatementKey(10, 5, 8), StatementKey(10, 5, 9)
SLOW = [made_request(n, 10 + n, is_slow=True) for n in range(10)]
"""Due at 10, 11, ..., 19 s; each is open for 447 ms."""
FAST = [made_request(100 + n, 30 + n, is_slow=False) for n in range(20)]
STATEMENTS = (
    increase(-10, 0, {LEDGER: counters(20, 20.0), OTHER: counters(10, 100.0)}),
    increase(0, 10, {LEDGER: counters(500, 1_000.0), OTHER: counters(10, 100.0)}),
    increase(10, 20, {LEDGER: counters(500, 5_200.0), OTHER: counters(10, 2_300.0)}),
    texts(),
)


def side_of(told: Told, records: Sequence[Record], end_s: float = 60, error_s: float = 0.0) -> DatabaseSide:
    return database_side(told, Recorded(records), end_s, error_s)


def statement_in(side: DatabaseSide) -> StatementPart:
    (line,) = side.told.causes.lines
    assert line.statement is not None
    return line.statement


# -- statements ---------------------------------------------------------------------------------------


def test_the_statement_of_a_path_has_its_part_of_the_added_time_and_its_means() -> None:
    plan = plan_note("full scan of 100,000 rows of ledger")
    one = statement_in(side_of(told_of(SLOW, FAST), journal(*STATEMENTS, plan)))
    assert (one.probe, one.query_id, one.how, one.statements) == ("shopdb", "-7", "fingerprint", 1)
    # 6,200 ms during the load minus 40 ms that 20 s at the rate before it take; of the other statement 2,400 - 200.
    assert one.added_ms == pytest.approx(6_160)
    assert one.share == pytest.approx(6_160 / (6_160 + 2_200))
    assert (one.calls, one.exec_ms, one.mean_ms) == (1_000, 6_200, 6.2)
    assert one.mean_before_ms == pytest.approx(1.0)
    assert one.plan == ("full scan of 100,000 rows of ledger",)
    assert statement_text(one).startswith(
        "UPDATE ledger SET n = n + $1 WHERE account = $2: +74 % of added database time, 1,000 calls, mean 6.20 ms"
        " (1.00 before the load)"
    )


def test_means_before_and_since_the_path_became_slower_leave_out_the_interval_with_the_change() -> None:
    told = told_of(SLOW, FAST, since_s=10.0, since_error_s=0.0)
    exact = statement_in(side_of(told, journal(*STATEMENTS)))
    assert (exact.mean_until_ms, exact.mean_since_ms) == (2.0, 10.4)
    # Within its error, the change may lie in either interval.
    unsure = statement_in(side_of(told_of(SLOW, FAST, since_s=10.0, since_error_s=5.0), journal(*STATEMENTS)))
    assert (unsure.mean_until_ms, unsure.mean_since_ms) == (None, None)


def test_a_statement_that_took_less_time_at_the_server_than_slow_requests_waited_is_not_blamed() -> None:
    # 20 slow requests waited 400 ms longer each: 8 s. The server executed the statement for 0.5 s in all.
    quick = increase(0, 20, {LEDGER: counters(1_000, 500.0)})
    one = statement_in(side_of(told_of(SLOW, FAST), journal(quick, texts())))
    assert one.waited_ms == pytest.approx(8_000)
    assert one.is_elsewhere
    assert "but the server executed it for only 500 ms: the time is before or after the database" in statement_text(one)
    slow = increase(0, 20, {LEDGER: counters(1_000, 8_500.0)})
    assert not statement_in(side_of(told_of(SLOW, FAST), journal(slow, texts()))).is_elsewhere


def test_nothing_is_concluded_from_the_sum_if_counters_of_the_load_are_unknown() -> None:
    reset = increase(20, 30, {}, why="the statistics of statements were reset")
    quick = increase(0, 20, {LEDGER: counters(1_000, 500.0)})
    one = statement_in(side_of(told_of(SLOW, FAST), journal(quick, reset, texts())))
    assert not one.is_elsewhere
    assert "the server's counters of 10 s are unknown" in statement_text(one)


def test_a_statement_that_the_server_does_not_list_has_no_figures_and_a_reason() -> None:
    others = texts("SELECT 1 FROM other", OTHER)
    one = statement_in(side_of(told_of(SLOW, FAST), journal(*STATEMENTS[:3], others)))
    assert (one.query_id, one.added_ms) == ("", 0.0)
    assert "the server's list of statements with the most added time does not have it" in statement_text(one)
    untold = statement_in(side_of(told_of(SLOW, FAST), journal(*STATEMENTS[:3])))
    assert untold.why == "the probe has read no texts of statements"


def test_a_span_without_text_is_joined_by_verb_and_tables_and_the_line_says_so() -> None:
    slow = [made_request(n, 10 + n, is_slow=True, text="") for n in range(10)]
    one = statement_in(side_of(told_of(slow, FAST), journal(*STATEMENTS)))
    assert (one.how, one.query_id) == ("summary", "-7")
    assert "1 statement with this verb and these tables, because the span has no text" in statement_text(one)


def test_a_span_whose_text_differs_is_not_joined_by_its_summary() -> None:
    slow = [made_request(n, 10 + n, is_slow=True, text="UPDATE ledger SET note = %s") for n in range(10)]
    assert statement_in(side_of(told_of(slow, FAST), journal(*STATEMENTS))).query_id == ""


def test_a_statement_of_several_users_is_summed_and_that_of_another_database_left_out() -> None:
    mine, other = StatementKey(11, 5, -7), StatementKey(11, 6, -7)
    by = {LEDGER: counters(100, 300.0), mine: counters(50, 100.0), other: counters(900, 9_000.0)}
    known = [texts(), texts(key=mine), texts(key=other, database="archive")]
    one = statement_in(side_of(told_of(SLOW, FAST), journal(increase(0, 20, by), *known)))
    assert (one.statements, one.calls, one.exec_ms) == (2, 150, 400.0)


def test_spans_of_other_kinds_of_databases_have_no_statement() -> None:
    slow = [made_request(n, 10 + n, is_slow=True, db__system__name="mysql") for n in range(10)]
    side = side_of(told_of(slow, FAST), journal(*STATEMENTS, chain(11.3, waiter(1.0))))
    (line,) = side.told.causes.ranked
    assert line.statement is None
    assert side.wanted() == {}


def test_a_run_without_probes_of_databases_changes_nothing() -> None:
    told = told_of(SLOW, FAST)
    for records in ([], journal(*STATEMENTS, kind="metrics")):
        side = side_of(told, records)
        assert side.told.causes == told.causes
        assert list(all_lines(side.told.causes)) == list(all_lines(told.causes))


def test_candidates_whose_order_is_not_reliable_have_statements_too() -> None:
    side = side_of(without_a_rank(told_of(SLOW, FAST)), journal(*STATEMENTS))
    assert statement_in(side).query_id == "-7"
    assert any(line.startswith("UPDATE ledger SET") for line in foot_lines(side.told.causes))


def test_a_statement_that_was_cut_off_is_recognised_by_its_beginning() -> None:
    whole = "SELECT a, b, c FROM item WHERE tenant = $1 AND status = $2 AND name = $3"
    assert same_beginning("SELECT a, b, c /* x */ FROM item WHERE tenant = 'acme' AND sta", whole)
    assert not same_beginning("SELECT a, b, d FROM item WHERE tenant = 'acme' AND sta", whole)
    assert not same_beginning("SELECT a", whole)


# -- own time before the database ---------------------------------------------------------------------


def test_a_wait_for_the_applications_own_pool_is_not_blamed_on_the_database() -> None:
    slow = [made_request(n, 10 + n, is_slow=True, in_statement=False) for n in range(10)]
    told = told_of(slow, FAST, path=POOL_PATH, kind="own time before children")
    records = journal(*STATEMENTS, chain(11.3, waiter(1.0)))
    (line,) = side_of(told, records).told.causes.ranked
    assert line.statement is None
    assert line.below is not None
    assert (line.below.paths, line.below.is_unchanged) == ((LEDGER_PATH,), True)
    (text,) = [one for one in all_lines(side_of(told, records).told.causes) if one.startswith("1. ")]
    assert "own time before children" in text
    assert "this time is not in its database span stock: UPDATE ledger (5.00 ms in slow requests, 5.00 ms in" in text
    assert "held up" not in text


def test_database_spans_that_also_became_slower_are_not_called_unchanged() -> None:
    told = told_of(SLOW, FAST, path=POOL_PATH, kind="own time before children", added_ns=50.0 * MS)
    (line,) = side_of(told, journal()).told.causes.ranked
    assert line.below is not None
    assert not line.below.is_unchanged


# -- locks --------------------------------------------------------------------------------------------


def test_the_root_of_a_lock_chain_is_named_with_state_statements_and_waits() -> None:
    looks = [chain(10.4, waiter(0.3)), chain(11.4, waiter(0.38, pid=8)), chain(12.4, waiter(0.4, pid=9))]
    (lock,) = side_of(told_of(SLOW, FAST), journal(*STATEMENTS, *looks)).told.causes.locks
    assert (lock.root, lock.waiter, lock.relation, lock.how) == ("payout", "settle", "ledger", "query id")
    assert (lock.looks, lock.waits, lock.requests) == (3, 3, 3)
    assert lock.median_wait_ms == pytest.approx(380)
    assert lock.longest_wait_ms == pytest.approx(400)
    assert lock_text(lock) == (
        "stock: UPDATE ledger of settle is held up by payout (idle in transaction, last statement SELECT balance FROM"
        " account, before it UPDATE ledger SET n = ?, holds ledger (RowExclusiveLock)): 3 waits on ledger in 3 looks;"
        " median wait 380 ms by then, longest 400 ms; in the time of 3 slow traces (± 2.00 ms)"
    )


def test_a_wait_that_was_seen_twice_counts_once_with_its_longer_time() -> None:
    looks = [chain(10.4, waiter(0.3)), chain(11.4, waiter(1.3))]
    (lock,) = side_of(told_of(SLOW, FAST), journal(*STATEMENTS, *looks)).told.causes.locks
    assert (lock.looks, lock.waits) == (2, 1)
    assert lock.longest_wait_ms == pytest.approx(1_300)


@pytest.mark.parametrize(
    ("at_s", "waits_s", "error_ms", "error_s", "is_named"),
    [
        (10.6, 0.3, 0.0, 0.0, True),
        (10.9, 0.3, 0.0, 0.0, False),  # the request was over at 10.447
        (10.9, 0.5, 0.0, 0.0, True),
        (10.9, 0.3, 200.0, 0.0, True),  # within the error of the look, they may overlap
        (10.9, 0.3, 0.0, 0.2, True),  # and within that of the agents' clocks
        (9.9, 0.3, 0.0, 0.0, False),
        (9.9, 0.3, 150.0, 0.0, True),
    ],
)
def test_only_waits_in_the_time_of_slow_requests_count_within_the_errors_of_clocks(
    at_s: float, waits_s: float, error_ms: float, error_s: float, is_named: bool
) -> None:
    records = journal(*STATEMENTS, chain(at_s, waiter(waits_s), error_ms=error_ms))
    side = side_of(told_of(SLOW[:1], FAST), records, error_s=error_s)
    assert bool(side.told.causes.locks) is is_named


def test_only_a_request_that_was_open_during_the_whole_wait_can_contain_it() -> None:
    records = journal(*STATEMENTS, chain(12.2, waiter(3.0)), chain(15.4, waiter(0.3, pid=8)))
    (lock,) = side_of(told_of(SLOW, FAST), records).told.causes.locks
    assert (lock.waits, lock.requests, lock.around) == (2, 4, 1)
    assert lock_text(lock).endswith("in the time of 4 slow traces (± 2.00 ms), of which 1 can contain a wait")


def test_waiters_with_another_statement_do_not_count() -> None:
    other = waiter(0.4, query_id="8", statement="DELETE FROM ledger WHERE account = ?")
    assert side_of(told_of(SLOW, FAST), journal(*STATEMENTS, chain(10.4, other))).told.causes.locks == ()


@pytest.mark.parametrize("query_id", ["0", ""])
def test_without_query_ids_waiters_are_recognised_by_their_statement(query_id: str) -> None:
    records = journal(chain(10.4, waiter(0.4, query_id=query_id)))
    (lock,) = side_of(told_of(SLOW, FAST), records).told.causes.locks
    assert lock.how == "fingerprint"


def test_sessions_deeper_in_a_chain_are_held_up_by_the_root() -> None:
    between = waiter(0.4, application="report", query_id="5", statement="LOCK TABLE ledger", waiters=[waiter(0.2)])
    (lock,) = side_of(told_of(SLOW, FAST), journal(*STATEMENTS, chain(10.4, between))).told.causes.locks
    assert (lock.root, lock.waiter) == ("payout", "settle")


def test_a_comparison_with_another_run_has_statements_but_no_locks_and_pools() -> None:
    told = told_of(SLOW, FAST)
    between = Told(replace(told.causes, against="other"), {**told.document, "against": "other"}, SLOW, FAST)
    records = journal(*STATEMENTS, chain(10.4, waiter(0.4)), pool=pool_samples({10.2: 4}))
    side = side_of(between, records)
    assert statement_in(side).query_id == "-7"
    assert statement_in(side).waited_ms is None
    assert (side.told.causes.locks, side.told.causes.pools) == ((), ())


# -- pools --------------------------------------------------------------------------------------------


def test_waiting_clients_of_pgbouncer_coincide_with_slow_requests() -> None:
    waiting = {float(k) + 0.2: 6.0 if 10 <= k < 14 else 0.0 for k in range(60)}
    (pool,) = side_of(told_of(SLOW, FAST), journal(pool=pool_samples(waiting))).told.causes.pools
    assert (pool.waiting, pool.samples, pool.other_waiting, pool.other_samples, pool.most) == (4, 10, 0, 50, 6)
    assert pool.query_ms == pytest.approx(0.4)
    assert pool_text(pool) == (
        "the time of slow requests coincides with clients that wait for a connection in PgBouncer (probe pool)"
        " (± 2.00 ms): in 4 of 10 samples of that time and 0 of 50 others; at most 6 clients; longest wait 600 ms; mean"
        " time of a query 0.40 ms, otherwise 0.40 ms; not proof"
    )


@pytest.mark.parametrize(
    "waiting",
    [
        {float(k) + 0.2: 0.0 for k in range(60)},
        {float(k) + 0.2: 6.0 if k >= 20 else 0.0 for k in range(60)},  # clients waited, but not then
        {float(k) + 0.2: 6.0 if k == 10 or k >= 20 else 0.0 for k in range(60)},  # less often than otherwise
        {-5.0: 6.0, 70.0: 6.0},  # outside of the load
        {},
    ],
)
def test_clients_that_did_not_wait_in_the_time_of_slow_requests_give_no_line(waiting: dict[float, float]) -> None:
    assert side_of(told_of(SLOW, FAST), journal(pool=pool_samples(waiting))).told.causes.pools == ()


# -- the whole ----------------------------------------------------------------------------------------


def test_cause_json_has_the_same_values_and_keeps_keys_that_only_the_document_has() -> None:
    told = told_of(SLOW, FAST)
    told = Told(told.causes, {**told.document, "same_shape_ns": 5.0}, told.slow, told.fast)
    records = journal(*STATEMENTS, chain(10.4, waiter(0.4)), pool=pool_samples({10.2: 4}))
    side = side_of(told, records)
    document: Any = side.with_advice({("shopdb", "-7"): AdvicePart(text="none")}, ("a note",)).document
    assert document["same_shape_ns"] == 5.0
    assert document["notes"] == ["a note"]
    (line,) = document["ranked"]
    assert line["statement"]["advice"]["text"] == "none"
    assert {"text", "query_id", "added_ms", "share", "calls", "plan", "advice"} <= set(line["statement"])
    assert document["locks"][0]["root"] == "payout"
    assert document["pools"][0]["probe"] == "pool"


def test_advice_is_told_as_a_hypothesis_with_both_costs() -> None:
    side = side_of(told_of(SLOW, FAST), journal(*STATEMENTS, plan_note("full scan of 100,000 rows")))
    assert side.wanted() == {"shopdb": [LEDGER]}
    part = AdvicePart(text="...", index="(account) of ledger", cost=2_435.0, cost_with=8.4, writers=3)
    (line,) = [one for one in all_lines(side.with_advice({("shopdb", "-7"): part}).causes) if one.startswith("1. ")]
    assert (
        "full scan of 100,000 rows; index (account) of ledger: cost 2,435 to 8.4 for the generic plan, a hypothesis;"
        " 3 statements write to the table"
    ) in line


def test_only_the_last_rung_speaks_of_a_cause() -> None:
    records = journal(*STATEMENTS, chain(10.4, waiter(0.4)), pool=pool_samples({10.2: 4}))
    text = "\n".join(all_lines(side_of(told_of(SLOW, FAST), records).told.causes))
    assert "is held up by" in text
    assert "coincides with" in text
    assert "caused" not in text
    assert "cause of" not in text


KINDS = st.sampled_from(["statements", "plan", "locks"])
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["trees", "waiters", "waits_s", "pid", "query_id", "statement", "earlier", "holds", "state"]
            )
            | st.sampled_from(["rows", "texts", "own", "findings", "error_ns", "from_ns", "to_ns"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    st.sampled_from(["statements", "plan", "locks"]),
    st.dictionaries(st.sampled_from(["trees", "texts", "rows"]), NESTED),
)
def test_damaged_notes_never_hide_the_others(kind: str, body: dict[str, Any]) -> None:
    records = journal(note(10.4, kind, body), *STATEMENTS, chain(10.4, waiter(0.4)))
    side = side_of(told_of(SLOW, FAST), records)
    assert statement_in(side).query_id == "-7"
    assert "payout" in {lock.root for lock in side.told.causes.locks}


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 10**10)), max_size=20),
    st.floats(-5, 105),
    st.floats(0, 20),
    st.floats(0, 2),
)
def test_requests_in_a_time_are_those_that_overlap_it(
    requests: list[tuple[float, int]], begin: float, length: float, error: float
) -> None:
    class Seen:
        def __init__(self, at_s: float, response_ns: int) -> None:
            self.at_s, self.response_ns, self.observed = at_s, response_ns, self

    made: Any = [Seen(*one) for one in requests]
    spans = sorted((at, at + ns / 1e9) for at, ns in requests)
    wanted = [n for n, (a, b) in enumerate(spans) if b >= begin - error and a <= begin + length + error]
    assert SlowTimes(made).during(begin, begin + length, error) == wanted
    around = [n for n, (a, b) in enumerate(spans) if a <= begin + error and b >= begin + length - error]
    assert SlowTimes(made).around(begin, begin + length, error) == around


def test_a_lock_without_names_still_reads_as_a_sentence() -> None:
    text = lock_text(LockPart(probe="db", path=LEDGER_PATH, root="", waiter="", waits=1, looks=1, requests=1))
    assert text.startswith("stock: UPDATE ledger is held up by a session without a name: 1 wait in 1 look;")
