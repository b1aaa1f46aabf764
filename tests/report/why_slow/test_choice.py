"""Which requests are explained: those of a broken objective, or of the request on which the most time was spent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from loadgen.errors import IncompleteError, UsageError
from loadgen.measure.objectives.terms import Objective, TagSelector
from loadgen.report.summary_reader import Summary
from loadgen.report.why_slow.choice import Wanted, chosen_of, narrowed


def row(request: str, mean: float | str, count: int, *, region: str = "*", p95: float | str = 400.0) -> dict[str, Any]:
    return {
        "kind": "request",
        "journey": "checkout",
        "step": "pay",
        "request": request,
        "outcome": "*",
        "region": region,
        "count": count,
        "response_ms": {"mean": mean, "p95": p95},
    }


def slo(request: str | None, *, verdict: str = "failed", budget: float = 2.9, **more: Any) -> dict[str, Any]:
    return {
        "objective": f"p(99) of {request} < 300ms",
        "verdict": verdict,
        "observed": 812.0,
        "unit": "ms",
        "count": 84_120,
        "request": request,
        "margin": -1.7,
        "budget": budget,
        "allowed": 0.01,
        "limit_ms": 300.0,
        "bad_share_low": 0.026,
        "bad_share_high": 0.033,
        **more,
    }


ROWS = [row("POST /pay", 100.0, 1_000), row("GET /cart", 20.0, 9_000), row("GET /cart", 20.0, 4_000, region="eu")]


def summary_of(*slos: dict[str, Any], series: list[dict[str, Any]] | None = None) -> Summary:
    values = {"format": 1, "run_id": "r", "result": "failed", "exit_code": 1, "slos": slos}
    agents = [{"id": "a1", "region": "eu", "complete": True}, {"id": "a2", "region": "us", "complete": True}]
    return msgspec.convert(
        {"scenario": "shop.py", "plan": "plan", "placement": "", "started_at": "", "duration_s": 1.0}
        | values
        | {"series": ROWS if series is None else series, "agents": agents},
        Summary,
    )


def test_broken_objective_that_used_the_most_of_its_budget_is_chosen() -> None:
    chosen = chosen_of(summary_of(slo("GET /cart", budget=1.2), slo("POST /pay", budget=2.9)), Wanted())
    assert (chosen.request, chosen.limit_ns, chosen.percentile) == ("POST /pay", 300_000_000, "p99")
    assert chosen.above == pytest.approx(0.029)
    assert "2 broken objectives" in chosen.why


def test_passed_objectives_and_those_on_other_metrics_are_not_chosen() -> None:
    others = (
        slo("GET /cart", verdict="passed"),
        slo("GET /cart", detail="p95 of ttfb: 12.0 ms"),
        slo("GET /cart", limit_ms=None),
    )
    chosen = chosen_of(summary_of(*others), Wanted())
    assert (chosen.text, chosen.request) == ("", "GET /cart")


def test_without_a_broken_objective_it_is_the_slowest_part_of_the_request_with_the_most_time() -> None:
    chosen = chosen_of(summary_of(), Wanted())
    assert (chosen.request, chosen.limit_ns) == ("GET /cart", 400_000_000)
    assert (chosen.above, chosen.allowed) == (None, 0.05)
    assert "most total response time" in chosen.why


def test_lower_bounds_are_compared_by_their_bound() -> None:
    series = [row("POST /pay", "> 1,500.5", 1_000, p95="> 60,000"), row("GET /cart", 20.0, 9_000)]
    chosen = chosen_of(summary_of(series=series), Wanted())
    assert (chosen.request, chosen.limit_ns) == ("POST /pay", 60_000_000_000)


def test_chosen_request_wins_over_broken_objectives_of_others() -> None:
    chosen = chosen_of(summary_of(slo("GET /cart")), Wanted(request="POST /pay"))
    assert (chosen.request, chosen.text) == ("POST /pay", "")


def test_objective_over_all_regions_also_explains_one_region() -> None:
    assert chosen_of(summary_of(slo("POST /pay")), Wanted(region="eu")).region == "eu"


def test_one_region_of_an_objective_over_all_has_no_share_of_its_own() -> None:
    chosen = chosen_of(summary_of(slo("POST /pay")), Wanted(region="eu"))
    assert (chosen.above, chosen.observed_ms, chosen.count) == (None, None, 0)


def test_objective_on_a_tag_or_load_is_explained_by_its_own_requests() -> None:
    tags = (TagSelector(name="tenant", values=("gold",)),)
    planned = Objective(
        kind="percentile",
        text="p(99) of POST /pay < 300ms",
        limit=3e8,
        q=99,
        request="POST /pay",
        tags=tags,
        load="day",
    )
    broken = slo("POST /pay", detail="p99 of 100 requests: 812 ms", limit_ms=None)
    chosen = chosen_of(summary_of(broken), Wanted(), [planned])
    assert (chosen.load, chosen.tags, chosen.limit_ns) == ("day", tags, 300_000_000)


def test_lower_limits_and_other_metrics_of_the_plan_are_not_chosen() -> None:
    for values in ({"operator": ">"}, {"metric": "ttfb"}, {"kind": "mean"}):
        text = "p(99) of GET /cart < 300ms"
        planned = msgspec.convert({"kind": "percentile", "text": text, "limit": 3e8, **values}, Objective)
        assert chosen_of(summary_of(slo("GET /cart")), Wanted(), [planned]).text == ""


def test_objective_in_windows_has_no_share_over_the_whole_run() -> None:
    chosen = chosen_of(summary_of(slo("POST /pay", window_s=10.0, observed=0.2, unit="ratio")), Wanted())
    assert (chosen.above, chosen.observed_ms) == (None, None)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(request="POST /pya"), '--request: run r has no request "POST /pya"'),
        (Wanted(step="x"), '--step: run r has no step "x"'),
        (Wanted(journey="x"), '--journey: run r has no journey "x"'),
        (Wanted(region="mars"), '--region: run r has no region "mars"'),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(wanted: Wanted, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen_of(summary_of(), wanted)
    assert caught.value.message == said
    assert caught.value.hint.startswith("choose one of: ")


def test_run_without_requests_has_nothing_to_explain() -> None:
    with pytest.raises(IncompleteError):
        chosen_of(summary_of(series=[]), Wanted())


def test_journey_without_whole_traces_is_narrowed_to_its_request_with_the_most_time() -> None:
    summary = summary_of(slo(None, journey="checkout"))
    chosen = chosen_of(summary, Wanted())
    assert (chosen.name, chosen.is_broken) == ("checkout", True)
    request = narrowed(summary, chosen)
    assert request is not None
    assert (request.request, request.is_broken, request.limit_ns) == ("GET /cart", False, 400_000_000)
    assert "no complete trace of it can be read" in request.why
    assert narrowed(summary, request) is None
