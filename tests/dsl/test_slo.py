"""Objectives: what comparing builds, and what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import User, error_ratio, journey, p
from loadgen.dsl.plans.slo import Slo
from loadgen.measure.objectives.objective import Objective
from loadgen.units import NS_PER_MS, NS_PER_S


@journey
async def checkout(user: User) -> None: ...


def objective(slo: Slo) -> Objective:
    assert slo.faults == ()
    assert slo.objective is not None
    return slo.objective


def test_a_percentile_below_a_time() -> None:
    assert objective(p(95) < "300ms") == Objective(kind="percentile", text="p(95) < 300ms", limit=300 * NS_PER_MS, q=95)


def test_a_percentile_of_a_step_says_so_in_its_text() -> None:
    found = objective(p(99.9, step="add to cart", region="eu") < "1.5s")
    assert found.text == 'p(99.9, step="add to cart", region="eu") < 1.5s'
    assert (found.q, found.limit, found.step, found.region) == (99.9, 1.5 * NS_PER_S, "add to cart", "eu")


@pytest.mark.parametrize("named", [checkout, "checkout"])
def test_a_journey_is_given_itself_or_by_name(named: Any) -> None:
    assert objective(p(95, journey=named) < "1s").journey == "checkout"


@pytest.mark.parametrize(("limit", "text"), [("0.1%", "0.1%"), (0.001, "0.1%"), ("1 %", "1 %")])
def test_an_error_ratio_below_a_share(limit: str | float, text: str) -> None:
    found = objective(error_ratio(request="GET /") < limit)
    assert found.kind == "error_ratio"
    assert found.limit == pytest.approx(0.01 if text == "1 %" else 0.001)
    assert found.text == f'error_ratio(request="GET /") < {text}'


def test_an_objective_over_windows_says_so_in_its_text() -> None:
    found = objective(p(95, step="pay", window="1m", abort=True) < "300ms")
    assert found.text == 'p(95, step="pay", window="1m", abort=True) < 300ms'
    assert (found.window_ns, found.abort, found.step) == (60 * NS_PER_S, True, "pay")
    ratio = objective(error_ratio(journey=checkout, region="eu", window=30) < "5%")
    assert ratio.text == 'error_ratio(journey="checkout", region="eu", window="30s") < 5%'
    assert (ratio.window_ns, ratio.abort) == (30 * NS_PER_S, False)


def test_without_a_window_it_is_over_the_whole_run() -> None:
    assert objective(p(95) < "1s").window_ns == 0


def test_an_objective_survives_json() -> None:
    found = objective(p(99, step="a/b") < "1s")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Objective) == found


P: Any = p
RATIO: Any = error_ratio


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: P(95) > "300ms", "an objective must use <"),
        (lambda: P(95) >= "300ms", "an objective must use <"),
        (lambda: P(95) <= "300ms", "an objective must use <"),
        (lambda: "300ms" < P(95), "an objective must use <"),  # noqa: SIM300
        (lambda: "1ms" < P(95) < "2ms", "an objective must use <"),
        (lambda: P(95) < 300, "the limit has no unit"),
        (lambda: P(95) < "fast", 'invalid duration "fast"'),
        (lambda: P(95) < "0s", "the limit must be above 0, since no time is below 0"),
        (lambda: P(95) < None, "the limit must be a number or a text"),
        (lambda: P(95) < True, "the limit must be a number or a text"),
        (lambda: P(95) < P(99), "the limit must be a number or a text"),
        (lambda: P(0.95) < "1s", "percentiles are given in percent"),
        (lambda: P(0) < "1s", "above 0 and at most 100"),
        (lambda: P(101) < "1s", "above 0 and at most 100"),
        (lambda: P("95") < "1s", "above 0 and at most 100"),
        (lambda: P(float("nan")) < "1s", "above 0 and at most 100"),
        (lambda: P(95, step=3) < "1s", "a step must be a non-empty text"),
        (lambda: P(95, region="") < "1s", "a region must be a non-empty text"),
        (lambda: P(95, abort=True) < "1s", "abort=True) without a window"),
        (lambda: P(95, window="1m", abort=1) < "1s", "abort must be True or False"),
        (lambda: P(95, window="0s") < "1s", "a window must be longer than 0"),
        (lambda: P(95, window="500ms") < "1s", "the shortest window is 1.00 s"),
        (lambda: P(95, window="soon") < "1s", 'invalid duration "soon"'),
        (lambda: P(95, window=-1) < "1s", "invalid duration -1"),
        (lambda: P(95, window=True) < "1s", "True is not a duration"),
        (lambda: P(95, window=1e300) < "1s", "longer than any run can be"),
        (lambda: RATIO(window=[1]) < "1%", "[1] is not a duration"),
        (lambda: RATIO(abort=True) < "1%", "abort=True) without a window"),
        (lambda: RATIO() < 2, "must be from 0 to 100 %"),
        (lambda: RATIO() < 0, "the limit must be above 0, since no ratio is below 0"),
        (lambda: RATIO() < "300ms", "invalid ratio"),
        (lambda: RATIO() > "1%", "an objective must use <"),
    ],
)
def test_nonsense_is_a_fault_with_a_place_and_never_raises(build: Any, message: str) -> None:
    slo = build()
    assert isinstance(slo, Slo)
    assert message in slo.faults[0].message
    assert slo.faults[0].file == __file__
    assert slo.faults[0].hint


def test_a_fault_has_the_line_of_the_comparison_within_a_list() -> None:
    first, second = [
        p(95) < "fast",
        p(99) < "faster",
    ]
    assert second.faults[0].line == first.faults[0].line + 1


@given(st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers())))
def test_no_comparison_raises(limit: Any) -> None:
    for measured in (P(95), RATIO(), P(95, window=limit), RATIO(window=limit, abort=limit)):
        for slo in (measured < limit, measured > limit, measured <= limit, measured >= limit):
            assert (slo.objective is None) == bool(slo.faults)
