"""States and weights of journeys: a known answer by hand, and that taking a piece away never makes a state better."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.programme.board.board import Board, board_of, last_weeks
from loadgen.programme.board.coverage import weights_of
from loadgen.programme.board.facts import JourneyTable, Known, SeenCapacity, SeenPromise, SeenRun, SeenVerdict
from loadgen.programme.board.headline import share_text
from loadgen.programme.board.standard_file import RuleException, Standard, StandardFile
from loadgen.programme.board.strip import coverage_evidence, coverage_strip

NOW: Final = datetime(2026, 7, 26, 12, tzinfo=UTC)
DAY: Final = timedelta(days=1)
RANK: Final = ("not", "partly", "covered")


def ends(*ages_days: float) -> Any:
    return np.array(sorted(int((NOW - age * DAY).timestamp()) for age in ages_days), np.int64)


def run(n: int, *journeys: str, age: float = 1, **more: Any) -> SeenRun:
    at = NOW - age * DAY
    fields: dict[str, Any] = {"objectives": ((None, "passed"),), "file": "shop.py:plan"} | more
    return SeenRun(f"run-{n}", at, at, frozenset(journeys), **fields)


def verdict(n: int, *journeys: str, age: float = 1, outcome: str = "PASS") -> SeenVerdict:
    return SeenVerdict(f"G-{n}", NOW - age * DAY, outcome, frozenset(journeys))


def capacity(n: int, *journeys: str, age: float = 30) -> SeenCapacity:
    return SeenCapacity(f"C-{n}", NOW - age * DAY, frozenset(journeys), 500.0, 550.0, "shop.py:plan")


def promise(journey: str, requests: int | None, **more: Any) -> SeenPromise:
    fields: dict[str, Any] = {"owner": "shop@shop.example", "word": "kept", "ends": ends(0.01, 10)} | more
    return SeenPromise(f"{journey}-fast", journey, requests=requests, **fields)


def by_hand() -> Known:
    """checkout and search have everything; login lacks a fresh gate; refund has a promise and no owner; ach nothing."""
    three = ("checkout", "search", "login")
    return Known(
        NOW,
        {
            "checkout": JourneyTable(team="payments", value=10.0, currency="EUR"),
            "search": JourneyTable(value=1.0, currency="EUR"),
            "refund": JourneyTable(value=5.0, currency="EUR"),
            "ach": JourneyTable(owner="ach@shop.example"),
        },
        tuple(run(n, *three, age=n) for n in (1, 2, 3)),
        (verdict(1, "login", age=8), verdict(2, "checkout", "search"), verdict(3, "login", outcome="INCONCLUSIVE")),
        (capacity(1, *three),),
        (
            promise("checkout", 600),
            promise("checkout", 590),
            promise("search", 110),
            promise("login", 200),
            promise("refund", 90, owner=""),
        ),
    )


def board(known: Known, **standard: Any) -> Board:
    return board_of(known, StandardFile(Standard(**standard), (), known.journeys))


def test_the_known_answer_by_hand() -> None:
    found = board(by_hand())

    # 710 of 1,000 requests; values 6,000 + 110 of 6,560 = 93.1 %.
    assert found.headline == (
        "covered 71 % of counted requests, 93 % of value; "
        "largest gap: login (20 %), the last PASS or FAIL of the gate is 8 days old"
    )
    assert {row.journey: row.state for row in found.rows} == {
        "ach": "not",
        "login": "partly",
        "refund": "partly",
        "checkout": "covered",
        "search": "covered",
    }
    assert {row.journey: row.share for row in found.rows} == {
        "ach": None,
        "login": 0.2,
        "refund": 0.09,
        "checkout": 0.6,
        "search": 0.11,
    }
    refund = next(row for row in found.rows if row.journey == "refund")
    assert [gap.piece for gap in refund.missing] == ["owner", "scenario", "objective in test", "gate", "capacity"]
    assert found.notes == (
        "no counted requests, so no share: ach",
        "no share of value, since value or requests are missing: ach, login",
    )


def test_all_covered_has_no_gap() -> None:
    known = by_hand()
    names = {"checkout", "search"}
    known = replace(
        known,
        journeys={name: known.journeys[name] for name in names},
        runs=tuple(run(n, *names, age=n) for n in (1, 2, 3)),
        promises=tuple(one for one in known.promises if one.journey in names),
    )

    found = board(known)

    assert found.headline == "covered 100 % of requests, 100 % of value"
    assert not found.findings
    assert coverage_strip(found).tone == "good"


def test_the_strip_names_the_owner_of_the_largest_gap_and_its_evidence() -> None:
    found = board(by_hand())
    said = coverage_strip(found)

    assert said.text == f"C{found.headline[1:]}."
    assert said.owner == "shop@shop.example"
    assert said.evidence == (coverage_evidence(found).id,)
    assert coverage_evidence(found).id.startswith("F-")
    assert dict(coverage_evidence(found).inputs)["refund"].startswith("partly; 90 requests")


def test_without_counts_nothing_is_weighted_and_it_is_said() -> None:
    found = board(replace(by_hand(), promises=()))

    assert found.headline.startswith(
        "covered 0 of 5 journeys; no requests are counted, so nothing is weighted; largest"
    )
    assert all(row.share is None for row in found.rows)


def test_the_log_weighs_only_if_the_ledger_counts_nothing() -> None:
    of_log = {"checkout": 30, "refund": 10}

    both = weights_of(replace(by_hand(), log_requests=of_log), ["checkout", "refund"])
    log = weights_of(replace(by_hand(), log_requests=of_log, promises=()), ["checkout", "refund"])

    assert both.requests == {"checkout": 600, "refund": 90}
    assert (log.source, log.shares) == ("of the log", {"checkout": 0.75, "refund": 0.25})


def test_values_in_several_currencies_are_not_added() -> None:
    known = by_hand()
    known = replace(known, journeys={**known.journeys, "search": JourneyTable(value=1.0, currency="USD")})

    found = weights_of(known, ["checkout", "search"])

    assert (found.values, found.why_no_value) == ({}, "values have several currencies: EUR, USD")


def test_an_owner_who_left_owns_nothing() -> None:
    known = replace(by_hand(), present_owners=frozenset({"ach@shop.example"}))

    found = board(known)

    lacking = {row.journey for row in found.rows if row.lacks("owner")}
    assert lacking == {"checkout", "search", "login", "refund"}
    left = [one.says for one in found.orphans if one.kind == "owner"]
    assert left == ["shop@shop.example is not in the list of owners, and owns checkout, login, search"]


def test_a_promise_without_data_for_seven_days_is_an_orphan_and_no_objective() -> None:
    known = by_hand()
    silent = replace(known.promises[2], ends=ends(7.1))
    found = board(replace(known, promises=(*known.promises[:2], silent, *known.promises[3:])))

    assert [one.name for one in found.orphans if one.kind == "promise without data"] == ["search-fast"]
    search = next(row for row in found.rows if row.journey == "search")
    assert [gap.piece for gap in search.missing] == ["objective in production"]


def test_runs_without_production_are_orphans_unless_the_journey_is_not_live() -> None:
    known = replace(by_hand(), runs=(*by_hand().runs, run(9, "old_checkout"), run(10, "next")))
    known = replace(known, journeys={**known.journeys, "next": JourneyTable(is_live=False)})

    found = board(known)

    assert [one.name for one in found.orphans if one.kind == "journey without production"] == ["old_checkout"]


def test_old_runs_without_recorded_objectives_are_unknown_and_not_a_pass() -> None:
    known = by_hand()
    old = tuple(replace(one, objectives=None) for one in known.runs)

    found = board(replace(known, runs=old))

    states = {(one.journey, one.state) for one in found.findings if one.rule == "objective"}
    assert ("checkout", "unknown") in states
    assert next(row for row in found.rows if row.journey == "checkout").state == "partly"


def test_the_standard_names_a_command_for_each_broken_rule() -> None:
    found = board(by_hand(), headroom=1.25)

    commands = {(one.journey, one.rule): one.command for one in found.findings}
    assert commands["refund", "owner"] == "write owner into [journeys.refund] of programme.toml"
    assert commands["login", "gate"] == "loadgen gate shop.py:plan --runs 3"
    assert commands["ach", "objective"].startswith("loadgen slo new ach")
    assert next(one.state for one in found.findings if one.rule == "headroom") == "unknown"
    assert all(one.command for one in found.findings)


def test_headroom_is_judged_by_the_lower_end_of_the_capacity() -> None:
    known = by_hand()
    until = NOW + DAY

    def with_forecast(high: float, until: datetime = until) -> list[tuple[str, str]]:
        table = replace(known.journeys["checkout"], forecast_high=high, forecast_until=until)
        found = board(replace(known, journeys={**known.journeys, "checkout": table}), headroom=1.25)
        return [(one.state, one.says) for one in found.findings if (one.journey, one.rule) == ("checkout", "headroom")]

    assert with_forecast(400.0) == []
    assert with_forecast(401.0)[0][0] == "broken"
    assert with_forecast(400.0, NOW - DAY)[0][0] == "unknown"


def test_an_exception_holds_until_its_end_and_then_the_rule_is_broken_again() -> None:
    known = by_hand()
    exception = RuleException("login", "gate", "new bank", "maria", NOW + DAY)

    def state(when: datetime) -> tuple[str, bool]:
        file = StandardFile(Standard(), (exception,), known.journeys)
        found = board_of(replace(known, now=when), file)
        one = next(one for one in found.findings if (one.journey, one.rule) == ("login", "gate"))
        return one.state, one.exception is not None

    assert state(NOW) == ("excepted", True)
    assert state(NOW + 2 * DAY) == ("broken", True)


def test_an_exception_of_an_unknown_journey_is_said() -> None:
    exception = RuleException("refunds", "gate", "x", "maria", NOW + DAY)

    found = board_of(by_hand(), StandardFile(Standard(), (exception,), by_hand().journeys))

    assert 'an exception names the unknown journey refunds; did you mean "refund"?' in found.notes


def test_the_trend_uses_what_had_happened_by_the_end_of_each_week() -> None:
    known = by_hand()
    known = replace(known, capacities=(capacity(1, "checkout", "search", "login", age=10),))
    known = replace(known, verdicts=(verdict(1, "checkout", age=12), verdict(2, "checkout", "search", age=1)))
    known = replace(known, promises=tuple(replace(one, ends=ends(*range(30))) for one in known.promises))
    known = replace(known, runs=tuple(run(n, "checkout", "search", age=n) for n in (1, 2, 14)))

    found = board_of(known, StandardFile(journeys=known.journeys), weeks=3)

    assert [week.week for week in found.weeks] == ["2026-W27", "2026-W28", "2026-W29"]
    # Week 29 ended 6.5 days before: capacity, and the gate of checkout, but not of search.
    assert [week.covered for week in found.weeks] == [0, 0, 1]
    assert [week.share for week in found.weeks] == [0, 0, pytest.approx(0.6)]


def test_weeks_end_on_monday_at_midnight() -> None:
    monday = datetime(2026, 7, 20, tzinfo=UTC)

    assert last_weeks(NOW, 2) == [monday - 7 * DAY, monday]
    assert last_weeks(monday, 1) == [monday]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.9999, "99 %"), (1.0, "100 %"), (0.71, "71 %"), (0.0, "0 %"), (0.004, "< 1 %"), (0.29, "29 %")],
)
def test_covered_shares_are_rounded_down(share: float, text: str) -> None:
    assert share_text(share) == text


# -- properties -----------------------------------------------------------------------------------

NAMES = ("a", "b", "c")
SOME = st.sets(st.sampled_from(NAMES), max_size=3)
AGE = st.floats(0, 100)
COUNT = st.none() | st.integers(0, 10**9)
RUNS = st.builds(
    lambda n, names, age, objectives: run(n, *names, age=age, objectives=objectives),
    st.integers(0, 99),
    SOME,
    AGE,
    st.sampled_from([None, (), ((None, "passed"),), (("a", "failed"),), ((None, "not judged"),)]),
)
VERDICTS = st.builds(
    lambda names, age, outcome: verdict(1, *names, age=age, outcome=outcome),
    SOME,
    AGE,
    st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"]),
)
CAPACITIES = st.builds(
    lambda names, age, low: replace(capacity(1, *names, age=age), low=low), SOME, AGE, st.sampled_from([None, 5.0])
)
PROMISES = st.builds(
    lambda name, requests, age, owner, word: promise(name, requests, ends=ends(age), owner=owner, word=word),
    st.sampled_from(NAMES),
    COUNT,
    st.floats(0, 12),
    st.sampled_from(["", "maria", "left"]),
    st.sampled_from(["kept", "not judged"]),
)
TABLES = st.builds(
    lambda owner, value, scenario: JourneyTable(owner=owner, value=value, has_scenario=scenario),
    st.sampled_from(["", "maria", "left"]),
    st.none() | st.floats(0.01, 100),
    st.booleans(),
)
KNOWN = st.builds(
    lambda tables, runs, verdicts, capacities, promises: Known(
        NOW,
        {name: tables.get(name, JourneyTable()) for name in NAMES},
        tuple(runs),
        tuple(verdicts),
        tuple(capacities),
        tuple(promises),
        present_owners=frozenset({"maria"}),
    ),
    st.dictionaries(st.sampled_from(NAMES), TABLES),
    st.lists(RUNS, max_size=4),
    st.lists(VERDICTS, max_size=4),
    st.lists(CAPACITIES, max_size=3),
    st.lists(PROMISES, max_size=4),
)


def quick(known: Known) -> Board:
    """A board without a trend."""
    return board_of(known, StandardFile(journeys=known.journeys), weeks=0)


ANYTHING = settings(max_examples=60, deadline=None)


@ANYTHING
@given(KNOWN)
def test_weights_sum_to_one_or_are_said_to_be_unknown(known: Known) -> None:
    found = quick(known)

    for shares, missing in (
        (found.weights.shares, found.weights.no_requests),
        (found.weights.values, found.weights.no_value),
    ):
        assert not shares or sum(shares.values()) == pytest.approx(1, abs=1e-9)
        assert set(shares) | set(missing) == set(NAMES)
        assert not set(shares) & set(missing)
        assert not missing or found.notes


@ANYTHING
@given(KNOWN, st.sampled_from(["runs", "verdicts", "capacities", "promises", "journeys"]), st.integers(0, 3))
def test_taking_a_piece_away_never_makes_a_state_better(known: Known, what: str, n: int) -> None:
    before = {row.journey: row.state for row in quick(known).rows}
    if what == "journeys":
        less = replace(known, journeys={**known.journeys, NAMES[n % 3]: JourneyTable()})
    else:
        pieces = list(getattr(known, what))
        del pieces[n : n + 1]
        changed: dict[str, Any] = {what: tuple(pieces)}
        less = replace(known, **changed)

    after = {row.journey: row.state for row in quick(less).rows}

    assert all(RANK.index(after[name]) <= RANK.index(before[name]) for name in NAMES)


@ANYTHING
@given(KNOWN)
def test_ageing_everything_never_makes_a_state_better(known: Known) -> None:
    before = {row.journey: row.state for row in quick(known).rows}
    later = {row.journey: row.state for row in quick(replace(known, now=NOW + 30 * DAY)).rows}

    assert all(RANK.index(later[name]) <= RANK.index(before[name]) for name in NAMES)
