"""How often `loadgen decide` is wrong about simulated releases: its gate row, and its whole answer.

All other evidence is fine, so the answer depends on the simulated runs alone: by the gate against the history, and by
the performance budget against a pinned release of three runs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from math import log1p, sqrt

import numpy as np
import pytest
from scipy import special

from loadgen.analysis.gate import judge, judge_reference
from loadgen.analysis.recommending.more_runs import LEVEL, POWER, more_runs
from loadgen.programme.recommending.assess import Known, assess
from loadgen.programme.recommending.facts import Rules, RunFact
from loadgen.programme.recommending.performance import Accepted, Newly, SlowDown
from loadgen.programme.recommending.rows import GateFact, further_runs, gate_row
from tests.programme.test_recommendation import NOW as ASKED
from tests.programme.test_recommendation import known_of
from tests.support.decide_table import LIVE

NOW = datetime(2026, 7, 27, tzinfo=UTC)


def rates(slower: float, *, runs: int, deviation: float, trials: int, seed: int = 25) -> dict[str, float]:
    """The shares of the states of the gate row over releases that are slower by this, with 20 accepted runs."""
    random = np.random.default_rng(seed)
    facts = [RunFact(f"run-{n}", NOW, "v412", "valid", frozenset({"checkout"}), ()) for n in range(runs)]
    ids = tuple(run.run_id for run in facts)
    states: Counter[str] = Counter()
    for _ in range(trials):
        old = random.normal(4.6, deviation, 20)
        new = random.normal(4.6 + log1p(slower), deviation, runs)
        found = judge({"checkout": old}, {"checkout": new})
        verdict = GateFact("G-1", NOW, str(found.outcome), ids, found.mde["checkout"], 20)
        states[gate_row("checkout", "v412", facts, [verdict], Rules())[0].state] += 1
    return {state: states[state] / trials for state in ("go", "no-go", "open")}


def answers(
    slower: float, *, runs: int, deviation: float, trials: int, spent: bool = False, seed: int = 26
) -> dict[str, float]:
    """The shares of the answers about releases that are slower by this.

    spent: accepted changes have spent the performance budget, though the history is as fast as the pinned release.
    """
    random = np.random.default_rng(seed)
    fine = known_of(replace(LIVE, runs=(LIVE.runs[0],) * runs))
    found: Counter[str] = Counter()
    for _ in range(trials):
        old = random.normal(4.6, deviation, 20)
        new = random.normal(4.6 + log1p(slower), deviation, runs)
        found[assess(_with(fine, old, new, spent=spent), Rules(), ASKED).recommendation] += 1
    return {answer: found[answer] / trials for answer in ("GO", "NO-GO", "INCONCLUSIVE")}


def _with(fine: Known, old: np.ndarray, new: np.ndarray, *, spent: bool) -> Known:
    """Evidence from simulated runs: the newest 20 of the history, the oldest three of which are pinned."""
    gate = judge({"checkout": old}, {"checkout": new})
    against = judge_reference({"checkout": old[:3]}, {"checkout": new}, {"checkout": old}).names[0]
    one = gate.names[0]
    ids = tuple(run.run_id for run in fine.runs)
    decisions = (Accepted(fine.verdicts[0].at, 1.11),) if spent else ()
    slow_down = SlowDown(
        "1.4",
        against.change,
        against.low,
        against.high,
        decisions=decisions,
        newly=Newly(one.change, one.low, one.high),
    )
    verdict = GateFact("G-1", fine.verdicts[0].at, str(gate.outcome), ids, gate.mde["checkout"], 20)
    return replace(fine, verdicts=(verdict,), slow_downs={"checkout": slow_down})


CELLS = [(3, 0.01), (5, 0.01), (10, 0.015)]


@pytest.mark.parametrize(("runs", "deviation"), CELLS)
def test_slow_releases_are_hardly_ever_a_go_and_unchanged_ones_hardly_ever_a_no_go(runs: int, deviation: float) -> None:
    trials = 150

    assert rates(0.10, runs=runs, deviation=deviation, trials=trials)["go"] <= 0.03
    assert rates(0.05, runs=runs, deviation=deviation, trials=trials)["go"] <= 0.15
    same = rates(0.0, runs=runs, deviation=deviation, trials=trials)
    assert same["no-go"] <= 0.08
    assert same["go"] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "deviation"), [*CELLS, (3, 0.02), (10, 0.02), (3, 0.04)])
def test_the_promised_error_rates_hold(runs: int, deviation: float) -> None:
    trials = 3_000

    assert rates(0.10, runs=runs, deviation=deviation, trials=trials)["go"] <= 0.01
    assert rates(0.05, runs=runs, deviation=deviation, trials=trials)["go"] <= 0.10
    assert rates(0.0, runs=runs, deviation=deviation, trials=trials)["no-go"] <= 0.05


@pytest.mark.parametrize(("runs", "deviation"), CELLS[:2])
def test_the_whole_answer_is_hardly_ever_wrong(runs: int, deviation: float) -> None:
    trials = 120

    slow = answers(0.10, runs=runs, deviation=deviation, trials=trials)
    assert slow["GO"] <= 0.03
    assert slow["NO-GO"] >= 0.95
    assert answers(0.05, runs=runs, deviation=deviation, trials=trials)["GO"] <= 0.15
    same = answers(0.0, runs=runs, deviation=deviation, trials=trials)
    assert same["NO-GO"] <= 0.08
    assert same["GO"] > 0.5


POWERS = {
    # runs, deviation: how often a release is a NO-GO that is 5 % slower, and 10 % slower; docs/decide.md
    (3, 0.01): (0.99, 0.99),
    (5, 0.01): (0.99, 0.99),
    (10, 0.015): (0.99, 0.99),
    (3, 0.02): (0.87, 0.99),
    (10, 0.02): (0.97, 0.99),
    (3, 0.04): (0.29, 0.87),
}


@pytest.mark.slow
@pytest.mark.parametrize("spent", [False, True])
@pytest.mark.parametrize(("runs", "deviation"), POWERS)
def test_the_promised_error_rates_and_power_hold_for_the_whole_answer(runs: int, deviation: float, spent: bool) -> None:
    trials = 1_000
    found = {
        slower: answers(slower, runs=runs, deviation=deviation, trials=trials, spent=spent)
        for slower in (0.0, 0.03, 0.05, 0.10)
    }
    print(runs, deviation, spent, found)

    assert found[0.10]["GO"] <= 0.01
    assert found[0.05]["GO"] <= 0.10
    assert found[0.0]["NO-GO"] <= 0.05
    at_5, at_10 = POWERS[runs, deviation]
    assert found[0.05]["NO-GO"] >= at_5
    assert found[0.10]["NO-GO"] >= at_10


PROMISES = [(20, 0.02, 0.05), (20, 0.02, 0.03), (20, 0.08, 0.10), (20, 0.01, 0.03), (40, 0.04, 0.05)]


def power_of(history: int, deviation: float, limit: float, *, trials: int) -> tuple[float, float]:
    """The shares of releases, slower by the limit, that the promised test finds, and that the gate FAILs."""
    random = np.random.default_rng(27)
    runs = more_runs(history, deviation, limit)
    assert runs is not None
    found = failed = 0
    for _ in range(trials):
        old = random.normal(4.6, deviation, history)
        new = random.normal(4.6 + log1p(limit), deviation, runs)
        squares = old.var() * history + new.var() * runs
        error = sqrt(squares / (history + runs - 2) * (1 / history + 1 / runs))
        found += (new.mean() - old.mean()) / error > special.stdtrit(history + runs - 2, 1 - LEVEL)
        failed += str(judge({"checkout": old}, {"checkout": new}).outcome) == "FAIL"
    return found / trials, failed / trials


def test_further_runs_find_what_they_promise() -> None:
    found, failed = power_of(20, 0.02, 0.05, trials=400)

    assert found == pytest.approx(POWER, abs=0.05)
    assert failed == pytest.approx(POWER, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("history", "deviation", "limit"), PROMISES)
def test_the_promised_power_holds(history: int, deviation: float, limit: float) -> None:
    found, failed = power_of(history, deviation, limit, trials=3_000)
    print(history, deviation, limit, more_runs(history, deviation, limit), found, failed)

    assert found == pytest.approx(POWER, abs=0.05)
    # The gate's own limit is 3 %: of releases that are slower by exactly that, it fails half.
    assert limit == 0.03 or failed >= POWER - 0.15


@pytest.mark.slow
def test_the_further_runs_that_decide_names_let_the_gate_decide() -> None:
    random, decided = np.random.default_rng(28), 0
    trials = 300
    for _ in range(trials):
        old = random.normal(4.6, 0.025, 20)
        first = judge({"checkout": old}, {"checkout": random.normal(4.6, 0.025, 3)}).names[0]
        advice = further_runs(3, 20, first.detectable, 0.05, 1)
        if first.detectable <= 0.05:
            decided += 1
        elif advice is not None and advice.runs is not None:
            again = judge({"checkout": old}, {"checkout": random.normal(4.6, 0.025, advice.runs)}).names[0]
            decided += again.detectable <= 0.055
        else:
            decided += 1  # it said that no number of runs is enough
    print(decided / trials)

    # The number is exact for the deviation that the first runs show. New runs estimate it anew: 71 % of 300 could.
    assert decided / trials >= 0.6
