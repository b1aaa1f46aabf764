"""The rows of promises, of the performance budget and of the checklist: their sentences, arithmetic and commands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from math import log

import pytest

from loadgen.history.store.stored_run import Event
from loadgen.programme.recommending.checklist import CHECKED, DONE, REFUSED, checklist_row, checks_of
from loadgen.programme.recommending.explained import explained, order_said
from loadgen.programme.recommending.facts import Rules
from loadgen.programme.recommending.performance import (
    Accepted,
    Newly,
    NoSlowDown,
    SlowDown,
    budget_row,
    drift_row,
    quarter_at,
)
from loadgen.programme.recommending.promise import PromiseFact, promise_row
from loadgen.programme.recommending.recommendation import Evidence, Piece, Policy, recommend

NOW = datetime(2026, 7, 27, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def kept(slo: str = "fast", left: float = 0.4, age: timedelta = HOUR, word: str = "kept") -> PromiseFact:
    return PromiseFact(slo, word, f"{slo}: {word}", left, NOW - age, f"S-{slo}", 1, "99 / 100 = 99 %")


def test_a_journey_without_a_promise_names_the_commands_that_make_one() -> None:
    row, missing = promise_row("checkout", (), Rules(), "", NOW)

    assert row.state == "open"
    assert [one.command for one in missing] == ["loadgen slo new checkout", "loadgen slo pull"]


def test_an_old_promise_does_not_hide_a_broken_one() -> None:
    broken, old = kept("slow", -0.2, word="not kept"), kept(age=30 * HOUR)

    row, _ = promise_row("checkout", (old, broken), Rules(), "", NOW)

    assert row.state == "no-go"
    assert row.at == NOW - HOUR
    assert row.id == "S-fast, S-slow"


def test_a_policy_for_the_budget_leaves_a_kept_promise_open() -> None:
    row, missing = promise_row("checkout", (kept(left=0.1),), Rules(budget_left=0.2), "", NOW)

    assert row.state == "open"
    assert "10 % of its error budget is left, needed 20 %" in row.says
    assert missing[0].command == "loadgen slo pull"


def test_an_override_opens_a_broken_promise_and_never_makes_it_go() -> None:
    row, missing = promise_row("checkout", (kept(word="not kept"),), Rules(), "D-7 is overridden by maria", NOW)

    assert (row.state, missing) == ("open", ())
    assert row.says.endswith("D-7 is overridden by maria")


@pytest.mark.parametrize(
    ("fact", "says", "command"),
    [
        (kept(age=25 * HOUR), "its counts end 25 h ago, and at most 24 h are allowed", "loadgen slo pull"),
        (kept(age=-2 * HOUR), "dated in the future", "loadgen slo pull"),
        (PromiseFact("fast", "kept", "fast", 0.5, NOW, "S-1", 2), "from 2 sources", "loadgen slo status --explain"),
        (PromiseFact("fast", "not judged", "fast: not judged"), "not judged", "loadgen slo check"),
        (PromiseFact("fast", "no data", "fast: no data"), "no data", "loadgen slo pull"),
    ],
)
def test_what_is_not_known_is_open_with_the_command_that_helps(fact: PromiseFact, says: str, command: str) -> None:
    row, missing = promise_row("checkout", (fact,), Rules(), "", NOW)

    assert row.state == "open"
    assert says in row.says
    assert missing[0].command == command


# -- the performance budget -----------------------------------------------------------------------


def slower(change: float, *ratios: float, newly: Newly | None = None) -> SlowDown:
    decisions = tuple(Accepted(NOW, one, "taxes") for one in ratios)
    return SlowDown("1.4", change, change - 0.01, change + 0.01, decisions=decisions, newly=newly)


def test_five_accepted_changes_of_2_percent_spend_103_9_percent() -> None:
    found = slower(0.03, *[1.02] * 5, newly=Newly(0.0, -0.01, 0.01))

    row, _ = budget_row("checkout", "v412", (), found, Rules())

    assert row.state == "go"
    assert f"{5 * log(1.02) / log(1.10) * 100:.1f}" == "103.9"
    assert "by decisions: 103.9 % of the budget is spent in 5 accepted changes" in row.says


def test_a_spent_budget_stops_a_slow_down_that_the_gate_would_pass() -> None:
    found = slower(0.03, *[1.02] * 5, newly=Newly(0.01, 0.004, 0.016))

    row, _ = budget_row("checkout", "v412", (), found, Rules())

    assert row.state == "no-go"
    assert "certainly slower: +1.0 % (+0.4 to +1.6 %)" in row.says
    assert "pin a release anew with a reason" in row.says


def quarters(change: float, *given: tuple[int, float], newly: Newly | None = None) -> SlowDown:
    """Accepted changes, each with the month of 2026 in which it was accepted."""
    decisions = tuple(Accepted(datetime(2026, month, 15, tzinfo=UTC), ratio, "taxes") for month, ratio in given)
    return SlowDown("1.4", change, change - 0.01, change + 0.01, decisions=decisions, newly=newly)


def test_each_quarter_has_a_budget_of_its_own_and_both_sums_are_shown() -> None:
    found = quarters(0.03, (2, 1.06), (5, 1.06))

    row, _ = budget_row("checkout", "v412", (), found, Rules())

    assert not found.is_spent(0.10)
    assert row.state == "go"
    assert (
        "by decisions: 61.1 % of the budget is spent in 1 accepted change of 2026-Q2"
        " (122.3 % of one budget in 2 since the pin)"
    ) in row.says
    assert "by decisions of 2026-Q2: (log 1.0600) / log 1.1 = 61.1 %; since the pin: (" in row.arithmetic


def test_a_new_quarter_does_not_end_a_budget_that_an_older_one_has_spent() -> None:
    found = quarters(0.03, *[(3, 1.02)] * 5, (4, 1.001), newly=Newly(0.01, 0.004, 0.016))

    row, _ = budget_row("checkout", "v412", (), found, Rules())

    assert row.state == "no-go"
    assert "103.9 % of the budget is spent in 5 accepted changes of 2026-Q1" in row.says


def test_quarters_that_drift_past_the_limit_are_spent_by_measurement() -> None:
    found = quarters(0.12, (2, 1.06), (5, 1.06), newly=Newly(0.01, 0.004, 0.016))
    assert found.is_spent(0.10)
    assert budget_row("checkout", "v412", (), found, Rules())[0].state == "no-go"


def test_the_quarter_of_a_decision_is_that_of_utc() -> None:
    assert quarter_at(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == "2026-Q4"
    assert quarter_at(datetime(2027, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))) == "2026-Q4"


def test_half_of_an_improvement_is_given_back() -> None:
    found = slower(0.03, 1.1, 1 / 1.1)

    assert found.by_decisions(0.10).spent == pytest.approx(0.5)


def test_drift_is_shown_only_if_it_is_certain_and_only_informs() -> None:
    nobody = drift_row("checkout", "v412", slower(0.04), Rules())
    accepted = drift_row("checkout", "v412", slower(0.04, 1.04), Rules())

    assert nobody is not None
    assert not nobody.required
    assert "drift that nobody accepted: +4.0 %" in nobody.says
    assert accepted is None
    assert drift_row("checkout", "v412", NoSlowDown("none is pinned"), Rules()) is None


# -- the checklist --------------------------------------------------------------------------------


def answer(item: str, word: str, release: str = "v412", at: datetime = NOW) -> Event:
    details = {"item": item, "answer": word, "release": release}
    return Event(CHECKED, at.isoformat(), "maria", because="it broke", details=details)


def test_the_newest_answer_to_an_item_counts_and_only_of_this_release() -> None:
    items = {"rollback": "it was done", "alerts": "they were tested"}
    events = [
        answer("rollback", REFUSED),
        answer("rollback", DONE),
        answer("alerts", DONE, "v411"),
        answer("alerts", DONE, at=NOW + HOUR),
        answer("nothing", DONE),
        answer("alerts", "perhaps"),
    ]

    checks = checks_of(items, events, "v412", NOW)
    row, missing = checklist_row("v412", checks)

    assert [one.answer for one in checks] == ["done", "open"]
    assert (row.state, row.says) == ("open", "1 of 2 items signed; open: alerts")
    assert [one.command for one in missing] == ["loadgen decide --check alerts --release v412 --by NAME"]


def test_a_refused_item_names_who_and_why() -> None:
    row, _ = checklist_row("v412", checks_of({"rollback": "done"}, [answer("rollback", REFUSED)], "v412", NOW))

    assert (row.state, row.says) == ("no-go", "0 of 1 item signed; rollback was refused by maria, because it broke")


# -- explained ------------------------------------------------------------------------------------


def test_each_row_is_explained_by_its_rule_and_its_figures() -> None:
    piece = Piece("promise", "checkout")
    row, _ = promise_row("checkout", (kept(),), Rules(budget_left=0.2), "", NOW)
    missing = Piece("budget", "checkout")
    found = recommend([row], Policy("v412", (piece, missing)), NOW)

    lines = explained(found, Rules(budget_left=0.2))

    assert lines[piece] == (
        "rule: go if every promise is kept with at least 20 % of its error budget left; no-go if one is not kept or its"
        " budget is gone, without an override; counts are at most 24 h old",
        "figures: fast: 99 / 100 = 99 %",
        "result: go, as of 2026-07-27 08:00 UTC",
    )
    assert lines[missing][-1] == "result: open"
    assert order_said(found).endswith("1 row go, 0 rows no-go, 1 row open gives INCONCLUSIVE")


def test_a_row_that_informs_has_no_rule_of_go() -> None:
    impact = Evidence("impact", "F-1", "open", "says", required=False, arithmetic="a x b")
    found = recommend([impact], Policy("v412", (Piece("gate"),)), NOW)

    assert explained(found, Rules())[impact.piece] == (
        "rule: value x requests x change of the mean x elasticity; it never changes the recommendation",
        "figures: a x b",
    )
