"""A broken objective of a running run shows how many traces of its slow requests can be read."""

from __future__ import annotations

from typing import Any

import pytest

from loadgen.measure.deltas.exemplar import Exemplar, ExemplarTable
from loadgen.measure.objectives.terms import Objective, SloResult
from loadgen.report.why_slow.readable_so_far import readable_text
from loadgen.units import NS_PER_MS

TEXT = 'p(99, request="GET /") < 300ms'


def result(**of: Any) -> SloResult:
    given = {"objective": TEXT, "journey": "shop", "request": "GET /", "observed": 400.0, "unit": "ms", "count": 9}
    return SloResult(**{**given, "good": 1, "verdict": "failed", "limit_ms": 300.0, **of})


def table() -> ExemplarTable:
    made = ExemplarTable()
    for step, request, number in (("", "", 2), ("pay", "", 3), ("pay", "GET /", 4), ("look", "GET /", 5)):
        one = Exemplar("shop", step, request, "ok", "over", 0, 1, 1, 400 * NS_PER_MS, sampled=True, stands_for=1.0)
        made.add("eu", "a", [one] * number)
    return made


@pytest.mark.parametrize(
    ("of", "text"),
    [
        ({}, "9 traces above 300 ms so far"),
        ({"step": "pay"}, "4 traces above 300 ms so far"),
        ({"step": "pay", "request": None}, "3 traces above 300 ms so far"),
        ({"request": None, "journey": None}, "2 traces above 300 ms so far"),
        ({"limit_ms": 500.0}, "0 traces above 500 ms so far"),
        ({"verdict": "passed"}, ""),
        ({"limit_ms": None, "unit": "ratio"}, ""),
        ({"region": "eu"}, ""),
        ({"detail": "p99 of the time to first token"}, ""),
    ],
)
def test_number_is_that_of_the_objectives_series_above_its_limit(of: dict[str, Any], text: str) -> None:
    assert readable_text(result(**of), (), table()) == text


def test_an_objective_on_one_load_has_no_number() -> None:
    planned = Objective(kind="percentile", text=TEXT, limit=300e6, q=99.0, load="peak")
    assert readable_text(result(), (planned,), table()) == ""
