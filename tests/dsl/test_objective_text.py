"""Objectives as text, as options of the command line give them: the same values as in a scenario, and no evaluation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.plans.objectives.goodput import goodput
from loadgen.dsl.plans.objectives.slo import Slo, any_of, error_ratio, p
from loadgen.dsl.steered.objective_text import MAX_LENGTH, read_objective

SAME = {
    "p(99)<300ms": p(99) < "300ms",
    " p( 99.9 ) < '1.5s' ": p(99.9) < "1.5s",
    'p(95, request="GET /a(b)<c") < 80ms': p(95, request="GET /a(b)<c") < "80ms",
    "p(95, metric='ttft', journey='ask')<500ms": p(95, metric="ttft", journey="ask") < "500ms",
    "error_ratio()<0.1%": error_ratio() < "0.1%",
    "error_ratio(step='pay', tags={'tenant': any_of('gold', 'silver')}) < 1%": error_ratio(
        step="pay", tags={"tenant": any_of("gold", "silver")}
    )
    < "1%",
    'goodput(ttft="500ms", tpot="50ms")>95%': goodput(ttft="500ms", tpot="50ms") > "95%",
}


@pytest.mark.parametrize("text", SAME)
def test_a_text_gives_the_objective_of_the_language(text: str) -> None:
    assert read_objective(text, "--of").objective == SAME[text].objective


WRONG = {
    "": "the objective is empty",
    "p(99)": '"p(99)" is not an objective',
    "300ms": "is not an objective",
    "p(99)<300": 'invalid duration "300"',
    "p(99)<1%": "unit of another metric",
    "p(0.99)<1s": "percentiles are given in percent",
    "p(99)==1s": "an objective is above or below its limit",
    "p(99)<=1s": "must use < or >",
    "p(x)<1s": 'the argument "x" is not a plain value',
    "p(99, bogus=1)<1s": "unexpected keyword argument 'bogus'",
    "p(**{'q': 99})<1s": "** is not supported",
    "p(99, tags={{1: 2}: 3})<1s": "unhashable",
    "mean()<1s": 'a load cannot follow "mean"',
    "q.p(99)<1s": "is not one of p, error_ratio, goodput",
    "__import__('os').system('true')<1s": "is not one of p, error_ratio, goodput",
    "p(__import__('os'))<1s": "is not a plain value",
    "p(99)<1s and p(95)<2s": "cannot be read",
    "p(99" * 400 + ")<1s": "too long",
    "((((p(99)))<1s": "cannot be read",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_text_that_is_no_objective_is_a_fault_that_names_the_option(text: str) -> None:
    slo = read_objective(text, "--of")

    assert slo.objective is None
    assert WRONG[text] in "; ".join(fault.message for fault in slo.faults)
    assert {fault.file for fault in slo.faults} == {"--of"}
    assert all(fault.hint for fault in slo.faults)


@given(st.text(max_size=MAX_LENGTH + 5) | st.text("p()<>=9ms'\"{}[],.-*:% \\\n", max_size=60))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    slo = read_objective(text, "--of")

    assert isinstance(slo, Slo)
    assert (slo.objective is None) == bool(slo.faults)
