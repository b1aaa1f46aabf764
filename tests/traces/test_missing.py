"""Found rates of slow and fast traces, corrected weights, and where no correction is possible."""

from __future__ import annotations

import pytest

from loadgen.analysis.attribute_tests import fisher
from loadgen.traces.missing import Missing, compared
from loadgen.traces.timed import Observed
from tests.support.small_trees import MS, request


def asked(slow: int = 60, fast: int = 60) -> list[Observed]:
    """Slow requests of 100, 101, ... ms; fast ones of 10 ms, each of which stands for 5."""
    quick = [request(n, 10, weight=5).observed for n in range(fast)]
    return [*quick, *(request(1_000 + n, 100 + n).observed for n in range(slow))]


def missing(requests: list[Observed], found: set[str], usable: set[str] | None = None) -> Missing:
    return compared(requests, found, found if usable is None else usable, fisher, 80 * MS, 20 * MS)


def ids(requests: list[Observed]) -> set[str]:
    return {one.trace for one in requests}


def test_equal_rates_do_not_differ_and_all_factors_are_equal() -> None:
    requests = asked()
    found = ids(requests[::2])
    result = missing(requests, found)
    assert (result.rates.slow, result.rates.fast) == (0.5, 0.5)
    assert not result.rates.differ
    assert set(result.factors.values()) == {2.0}


def test_lost_slow_traces_are_reported_and_made_up_for() -> None:
    requests = asked()
    found = ids(requests[:60]) | ids(requests[60::2])
    result = missing(requests, found)
    assert (result.rates.slow, result.rates.fast) == (0.5, 1.0)
    assert result.rates.differ
    assert result.rates.p == pytest.approx(fisher(30, 30, 60, 0))
    # Found traces stand for as many requests as were asked for.
    weights = sum(one.weight * result.factors[one.trace] for one in requests if one.trace in found)
    assert weights == pytest.approx(sum(one.weight for one in requests))


def test_slowest_third_has_a_correction_of_its_own() -> None:
    requests = asked()
    # Of the slowest 20 only 5 are found, of the other slow ones all.
    found = ids(requests[:100]) | ids(requests[100::4])
    result = missing(requests, found)
    assert result.factors[requests[100].trace] == 4.0
    assert result.factors[requests[60].trace] == 1.0


def test_class_of_which_almost_nothing_was_found_is_beyond_correction() -> None:
    requests = asked()
    found = ids(requests[:100]) | ids(requests[100:102])
    result = missing(requests, found)
    assert result.beyond_correction == "only 2 of 20 traces of 140 to 159 ms can be read"


def test_found_traces_that_cannot_be_used_count_as_found_but_are_made_up_for() -> None:
    requests = asked()
    result = missing(requests, ids(requests), usable=ids(requests[:60]) | ids(requests[60::3]))
    assert result.rates.slow == 1.0
    assert result.factors[requests[60].trace] == pytest.approx(20 / 7)


def test_few_slow_requests_are_one_class() -> None:
    requests = asked(slow=9)
    result = missing(requests, ids(requests[:60]) | ids(requests[60:63]))
    assert {result.factors[one.trace] for one in requests[60:63]} == {3.0}


def test_failed_requests_are_asked_for_but_not_compared() -> None:
    requests = [*asked(), request(9_999, 5_000, outcome="timeout").observed]
    result = missing(requests, ids(requests))
    assert (result.rates.asked, result.rates.slow_asked, result.rates.fast_asked) == (121, 60, 60)


def test_without_slow_requests_there_is_no_rate() -> None:
    result = missing(asked(slow=0), set())
    assert result.rates.slow is None
    assert not result.rates.differ
