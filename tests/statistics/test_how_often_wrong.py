"""The goals of docs/how-often-wrong.md, over the tables of `tools/how_often_wrong`, with other seeds than the page has.

Each cell may miss its goal by two standard errors, since each is a share of as many trials.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import pytest

from tools.how_often_wrong import gate, intervals

TRIALS, SEED = 1_000, 1_700
Seen = Callable[[str, object], None]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]


def error(share: float, trials: int) -> float:
    return sqrt(share * (1 - share) / trials)


def test_gate_has_few_false_alarms_and_finds_10_percent(record_property: Seen) -> None:
    """At most 5 in 100 in every cell; +10 % at 2 % noise in 93 of 100 gates of 60 names, but where the page says so."""
    cells = gate.cells(TRIALS, SEED)
    record_property("seen", "; ".join(f"{one.noise}, {one.names}: {one.failed}, {one.found}" for one in cells))
    assert [one for one in cells if one.failed / TRIALS > 0.05 + 2 * error(0.05, TRIALS)] == []
    least = 0.93 - 2 * error(0.93, TRIALS)
    missed = {one.noise for one in cells if one.names == 60 and "2% noise" in one.noise and one.found / TRIALS < least}
    assert missed <= gate.HARDER_TO_FIND


def test_what_a_gate_says_that_it_would_have_found_is_found_in_88_to_95_of_100_cases(record_property: Seen) -> None:
    cells = gate.detectable_cells(TRIALS, SEED)
    record_property("seen", "; ".join(f"{one.noise}, {one.names}: {one.found}" for one in cells))
    slack = 2 * error(0.9, TRIALS)
    assert [one for one in cells if not 0.88 - slack <= one.found / TRIALS <= 0.95 + slack] == []


def test_gate_on_real_machines_fails_in_at_most_5_of_100_windows_without_a_change(record_property: Seen) -> None:
    found = list(gate.real_cells(TRIALS, SEED))
    record_property("seen", str(found))
    assert [one for one in found if one[2] / TRIALS > 0.05] == []
    assert [one for one in found if one[3] / TRIALS < 0.95] == []


def test_intervals_contain_the_truth_in_92_of_100_runs_but_those_that_are_named(record_property: Seen) -> None:
    cells = intervals.cells(TRIALS, SEED)
    record_property("seen", "; ".join(f"{o.traffic}, {o.seconds} s, p{o.q:g}: {o.covered} of {o.shown}" for o in cells))
    least = 0.92 - 2 * error(0.92, TRIALS)
    low = {(one.traffic, one.seconds) for one in cells if one.coverage < least}
    assert low <= intervals.BEYOND_ANY_METHOD
    # The number of requests of a queue varies, and p99 needs 1,000.
    steady = [one for one in cells if not one.traffic.startswith("M/M/1")]
    assert [one for one in steady if one.shown < 0.95 * TRIALS] == []
    # Runs of five minutes: every percentile of every kind, and all of them together.
    long = [one for one in cells if one.seconds == 300]
    assert sum(one.covered for one in long) / sum(one.shown for one in long) >= 0.95
    assert [one for one in long if one.coverage < 0.93 - 2 * error(0.93, TRIALS)] == []
