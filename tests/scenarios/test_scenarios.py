"""The scenarios that ship are run for real, each for a second: what they report is what the shop counted."""

from __future__ import annotations

import csv
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import pytest

from loadgen.dsl.loader import load
from loadgen.dsl.spec import Overrides
from loadgen.local import Drive
from loadgen.measure.delta import Counters, Delta
from loadgen.measure.histogram import Histogram
from loadgen.measure.merge import Merge
from loadgen.profile import ArrivalProfile
from loadgen.units import NS_PER_MS
from tests.support.target import RunningTarget, running_target

SCENARIOS = Path(__file__).parents[2] / "scenarios"
DATA = SCENARIOS / "data"


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningTarget]:
    with running_target() as target:
        yield target


async def run(name: str, shop: RunningTarget, plan: str = "plan", **overrides: Any) -> tuple[Counters, Merge]:
    """Drive all of a plan in this process, for a second unless said otherwise."""
    shop.reset()
    scenario = load(SCENARIOS / name, plan, Overrides(target=shop.url, **{"duration_s": 1, **overrides}))
    deltas: list[Delta] = []
    totals = await Drive(scenario, seed=7, emit=deltas.append).run(perf_counter_ns() + 50 * NS_PER_MS)
    merge = Merge()
    for delta in deltas:
        merge.accept("local", replace(delta, agent="only"))
    return totals.counters, merge


def served(stats: dict[str, Any], route: str) -> Histogram:
    """How long the shop says that it held its answers back."""
    histogram = Histogram()
    histogram.add(np.array(stats["served"][route]["slots"]), np.array(stats["served"][route]["counts"]))
    return histogram


async def test_checkout_reports_what_the_shop_counted_and_nothing_shorter_than_it_served(shop: RunningTarget) -> None:
    counters, merge = await run("checkout.py", shop, peak=20)
    stats = shop.stats()

    assert counters.iterations_due == counters.iterations_finished > 10
    assert counters.iterations_errors == counters.requests_errors == counters.script_faults == 0
    assert stats["requests"] == stats["answered"] == counters.requests_finished
    assert stats["by_route"] == dict.fromkeys(
        ("POST /login", "GET /products/{sku}", "POST /cart"), counters.iterations_finished
    )
    for step, route in {"login": "POST /login", "browse": "GET /products/{sku}", "add to cart": "POST /cart"}.items():
        observed, censored = merge.select("request", step=step, metric="service")
        truth = served(stats, route)
        assert (observed.total, censored.total) == (truth.total, 0)
        assert all(observed.percentile_us(q) >= truth.percentile_us(q) for q in range(101))


async def test_smoke_buys_with_each_iteration(shop: RunningTarget) -> None:
    counters, _ = await run("smoke.py", shop)
    stats = shop.stats()

    assert counters.requests_errors == counters.iterations_errors == 0
    assert stats["by_status"]["201"] == 2 * counters.iterations_finished > 0
    assert stats["requests"] == counters.requests_finished == 5 * counters.iterations_finished
    assert stats["connections"]["opened"] == 2 + 1  # of the two users, and ours for this answer


@pytest.mark.parametrize("plan", ["plan", "spike"])
async def test_search_mix_shares_its_arrivals_exactly(shop: RunningTarget, plan: str) -> None:
    counters, merge = await run("search_mix.py", shop, plan, peak=100)
    stats = shop.stats()
    finished = {j: merge.count("journey", journey=j) for j in ("search", "browse", "buy")}

    assert counters.iterations_errors == counters.requests_errors == 0
    assert counters.iterations_due == sum(finished.values())
    for journey, weight in {"search": 0.6, "browse": 0.3, "buy": 0.1}.items():
        assert abs(finished[journey] - weight * counters.iterations_due) < 1
    assert stats["requests"] == counters.requests_finished
    assert stats["by_route"]["GET /search"] == finished["search"]
    assert stats["by_route"]["GET /"] == finished["browse"]
    assert stats["by_route"]["POST /checkout"] == finished["buy"]


def test_checkout_has_a_row_for_each_of_its_arrivals() -> None:
    plan = load(SCENARIOS / "checkout.py").plan
    profile = plan.profile
    assert isinstance(profile, ArrivalProfile)

    with (DATA / "shoppers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= max(1000, profile.total())
    assert len({row["email"] for row in rows}) == len(rows)
    assert plan.regions == {"us-east-1": 0.5, "eu-west-1": 0.3, "ap-south-1": 0.2}


def test_the_shoppers_are_those_that_the_script_makes() -> None:
    made = runpy.run_path(str(DATA / "make_shoppers.py"))["shoppers_csv"]()

    assert (DATA / "shoppers.csv").read_text() == made
