"""How often `loadgen decide` is wrong about simulated releases: its gate row, from the gate's own judgement."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from math import log1p

import numpy as np
import pytest

from loadgen.analysis.gate import judge
from loadgen.programme.recommending.facts import Rules, RunFact
from loadgen.programme.recommending.rows import GateFact, gate_row

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
