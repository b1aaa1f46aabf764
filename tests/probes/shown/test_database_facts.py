"""The facts about a database: what is listed, what is only summed, and what is unknown."""

from __future__ import annotations

from typing import Any

import pytest

from loadgen.probes.journal import Begin, NewRows, NewSeries, NoteRecord, ProbeOfRun, Record, Sample, Zero
from loadgen.probes.postgres.statements import Counters, Increase, StatementKey, body_of
from loadgen.probes.recorded import Recorded
from loadgen.probes.rows import Row, Series
from loadgen.probes.shown.database_facts import DatabaseFacts, databases_of
from loadgen.probes.shown.metrics_file import foreign_parts, metrics_document
from loadgen.units import NS_PER_S as S

T0 = 100
CONNECTIONS = Row(key="connections", title="connections", kind="gauge", names=("connections",), unit="%")


def of(calls: int, exec_ms: float) -> Counters:
    return Counters(calls, exec_ms, calls, 0, 0, 0, 0, 0.0)


def statements(from_s: int, to_s: int, counters: dict[int, Counters], **more: Any) -> NoteRecord:
    by_key = {StatementKey(10, 5, query): one for query, one in counters.items()}
    return NoteRecord(0, to_s * S, "statements", body_of(Increase(from_s * S, to_s * S, by_key, **more)))


def recorded(*notes: NoteRecord, kind: str = "postgres", samples: int = 0) -> Recorded:
    series = Series("connections", "value", "connections")
    records: list[Record] = [
        Begin(2, "2026-11-29T10:00:00.000Z", 90 * S, (ProbeOfRun("shopdb", "db:5432", S, kind=kind),)),
        Zero(T0 * S),
        NewRows(0, (CONNECTIONS,)),
        NewSeries(0, 0, (series,)),
    ]
    records += [Sample(0, (T0 + n) * S - 5, (T0 + n) * S + 5, (0,), (20.0,)) for n in range(samples)]
    return Recorded([*records, *notes])


def facts(*notes: NoteRecord, **more: Any) -> DatabaseFacts:
    (found,) = databases_of(recorded(*notes, **more))
    return found


def test_the_time_before_the_load_is_subtracted_and_the_sum_is_that_of_the_server() -> None:
    text = {"user_id": 10, "database_id": 5, "query_id": "1", "text": "SELECT ?", "user": "shop", "database": "shop"}
    plan = {"user_id": 10, "database_id": 5, "query_id": "1", "findings": [{"text": "full scan of item"}]}
    found = facts(
        statements(90, 100, {1: of(10, 100.0)}),
        statements(100, 110, {1: of(30, 400.0), 2: of(5, 100.0)}),
        NoteRecord(0, 112 * S, "statements", {"texts": [text]}),
        NoteRecord(0, 112 * S, "plan", plan),
    )

    assert [(one.query_id, one.text, one.calls, one.added_ms, one.share) for one in found.statements] == [
        ("1", "SELECT ?", 30, 300.0, 0.75),
        ("2", "", 5, 100.0, 0.25),
    ]
    assert found.statements[0].mean_ms == pytest.approx(13.333333)
    assert found.statements[0].plan == ("full scan of item",)
    assert (found.baseline_s, found.during_s, found.others) == (10.0, 10.0, None)


def test_a_statement_without_text_has_that_of_a_session_in_a_lock_chain() -> None:
    node = {"pid": 2, "query_id": "1", "statement": "UPDATE ledger SET n = ?"}
    found = facts(
        statements(100, 110, {1: of(1, 1.0)}),
        NoteRecord(0, 103 * S, "locks", {"trees": [{"pid": 1, "waiters": [node]}]}),
    )

    assert found.statements[0].text == "UPDATE ledger SET n = ?"


def test_beyond_twenty_statements_the_others_are_one_sum() -> None:
    found = facts(statements(100, 110, {n: of(1, float(n)) for n in range(1, 31)}))

    assert [one.query_id for one in found.statements] == [str(n) for n in range(30, 10, -1)]
    assert found.others is not None
    assert (found.others.count, found.others.calls, found.others.added_ms) == (10, 10, 55.0)
    assert sum(one.share for one in found.statements) + found.others.share == pytest.approx(1, abs=1e-4)


def test_forgotten_and_unknown_statements_are_counted() -> None:
    found = facts(
        statements(100, 110, {1: of(1, 1.0)}, evicted=7, restarted=2),
        statements(110, 120, {}, why="the statistics were reset"),
    )

    assert (found.evicted, found.restarted, found.unknown_s) == (7, 2, 10.0)
    assert found.why_unknown == ("the statistics were reset",)


def test_active_sessions_are_means_over_all_samples() -> None:
    groups = [["active", "Lock:tuple", "1", "shop", 2], ["active", "", "1", "shop", 1]]
    notes = [NoteRecord(0, (T0 + n) * S, "sessions", {"groups": groups}) for n in range(0, 30, 2)]
    broken = NoteRecord(0, T0 * S, "sessions", {"groups": [["active"]]})

    found = facts(*notes, broken, samples=30)

    assert found.samples == 29  # until the last note
    assert {one.event: one.sessions for one in found.waits} == {
        "Lock:tuple": pytest.approx(30 / 29, abs=1e-4),
        "": pytest.approx(15 / 29, abs=1e-4),
    }


def test_chains_and_trees_have_times_from_the_start_of_the_load() -> None:
    tree = {"pid": 1, "application": "settle", "waiters": [{"pid": 2, "application": "payout", "waits_s": 0.5}]}
    found = facts(NoteRecord(0, (T0 + 3) * S, "locks", {"trees": [tree]}))

    (chain,) = found.chains
    assert (chain.root, chain.waiter, chain.waited, chain.first_s) == ("settle", "payout", 1, 3.0)
    assert chain.text == "payout is held up by settle: locks"
    assert found.trees[0].at_s == 3.0


@pytest.mark.parametrize("kind", ["postgres", "metrics"])
def test_without_findings_there_is_no_database(kind: str) -> None:
    assert databases_of(recorded(samples=3, kind=kind)) == []
    assert databases_of(Recorded()) == []


def test_the_end_of_the_run_bounds_what_is_counted() -> None:
    made = recorded(statements(100, 110, {1: of(1, 5.0)}), statements(200, 210, {1: of(9, 900.0)}))

    (found,) = databases_of(made, end_s=20.0)

    assert found.statements[0].added_ms == 5.0


def test_a_file_that_is_made_again_keeps_the_parts_of_others_and_has_those_of_probes_once() -> None:
    made = recorded(
        statements(100, 110, {1: of(1, 5.0)}),
        NoteRecord(0, (T0 + 5) * S, "mark", {"text": "the server was restarted"}),
        samples=3,
    )
    scaled = {"name": "web", "at_s": 2.0, "title": "one more machine"}
    cpu = {"name": "CPU", "at_s": [0.0], "values": [1.0]}
    first = metrics_document(made, metrics=[cpu], marks=[scaled], other="cloudwatch")

    again = metrics_document(made, metrics=foreign_parts(first)[0], marks=foreign_parts(first)[1], other="cloudwatch")

    assert again == first
    assert first["source"] == "cloudwatch, probes"
    assert [one["name"] for one in first["metrics"]] == ["CPU", "connections"]
    assert [one.get("text") or one["title"] for one in first["marks"]] == [
        "one more machine",
        "the server was restarted",
    ]
    assert [one["probe"] for one in first["databases"]] == ["shopdb"]
    assert foreign_parts(first)[2] == "cloudwatch"
