"""The scenarios that ship are run for real, each for a second or a few: what they report is what the shop counted."""

from __future__ import annotations

import ast
import csv
import runpy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import pytest

from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.distributions import fixed
from loadgen.dsl.graphs.graph import Graph
from loadgen.dsl.loading.loader import Scenario, load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import Row
from loadgen.profiles.profile import ArrivalProfile
from loadgen.units import NS_PER_MS
from tests.support.target import RunningTarget, running_target

SCENARIOS = Path(__file__).parents[2] / "scenarios"
DATA = SCENARIOS / "data"


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningTarget]:
    with running_target() as target:
        yield target


async def run(name: str, shop: RunningTarget, plan: str = "plan", **overrides: Any) -> tuple[Counters, Merge]:
    """Drive all of a plan in this process, for a second unless said otherwise.

    The overrides come after the loader: a run this short has windows of objectives that are longer than itself.
    """
    scenario = load(SCENARIOS / name, plan, Overrides(target=shop.url))
    return await drive(scenario, shop, **overrides)


async def drive(scenario: Scenario, shop: RunningTarget, **overrides: Any) -> tuple[Counters, Merge]:
    shop.reset()
    short = scenario.plan.with_overrides(Overrides(target=shop.url, **{"duration_s": 1, **overrides}))
    scenario = replace(scenario, plan=short)
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


async def test_flash_sale_lets_in_whoever_its_queue_page_says(shop: RunningTarget) -> None:
    counters, _ = await run("flash_sale.py", shop, duration_s=8)
    stats = shop.stats()

    assert counters.iterations_due == counters.iterations_finished == 1_000
    assert counters.iterations_errors == counters.requests_errors == counters.script_faults == 0
    assert stats["requests"] == counters.requests_finished == 4_000
    assert stats["by_route"]["POST /checkout"] == 1_000


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


async def test_oauth_orders_reads_every_page_and_refreshes_each_token_that_expires(shop: RunningTarget) -> None:
    counters, merge = await run("oauth_orders.py", shop, peak=4, duration_s=6)
    stats = shop.stats()
    pages, tokens = "GET /api/orders", "POST /oauth/token"
    expired = stats["by_status"]["401"]

    assert counters.iterations_errors == counters.requests_errors == counters.script_faults == 0
    assert stats["requests"] == counters.requests_finished
    assert stats["by_route"][pages] == merge.count("request", request=pages)
    assert stats["by_route"][tokens] == merge.count("request", request=tokens)
    assert stats["by_route"][tokens] == 4 + expired  # one login a user, and a refresh after each 401
    assert expired >= 4
    assert stats["by_route"][pages] == 3 * counters.iterations_finished + expired > 3 * 4


async def test_graphql_import_has_one_sample_for_the_wait_and_the_polls_apart(shop: RunningTarget) -> None:
    counters, merge = await run("graphql_import.py", shop, peak=10)
    stats = shop.stats()
    wait, _ = merge.select("request", request="import job", metric="response")

    assert counters.iterations_due == counters.iterations_finished == 10
    assert counters.iterations_errors == counters.requests_errors == counters.script_faults == 0
    assert merge.count("request", request="gql CreateImport") == stats["by_route"]["POST /graphql"] == 10
    assert merge.count("request", request="/uploads/{id}") == stats["by_route"]["PUT /uploads/{id}"] == 10
    assert merge.count("request", request="import job") == wait.total == 10
    assert merge.count("request", request="import job (poll)") == stats["by_route"]["GET /jobs/{id}"] > 3 * 10
    assert 0.75e6 <= wait.percentile_us(0) <= wait.percentile_us(100) < 2e6  # a job takes 1 s from its upload


async def test_mixed_traffic_has_its_spike_its_cache_hits_and_its_own_metrics_apart() -> None:
    scenario = load(SCENARIOS / "mixed_traffic.py")
    scenario.plan.journeys[0].fn.__globals__["THINK"] = fixed(0.05)  # who thinks for 20 s would have to be waited for
    with running_target() as shop:  # one that was not searched before
        counters, merge = await drive(scenario, shop, peak=80, duration_s=5)
        stats = shop.stats()
    searches = Row("request", "search", None, "GET /search")
    by_tag = merge.row_tags(searches)
    journeys = merge.row_tags(Row("journey", "search"))
    finds = merge.custom.of("searches that find something")
    orders = merge.custom.of("orders")
    assert finds is not None
    assert orders is not None
    begun = [window.k for window in merge.windows() if window.row_tags(Row("journey", "search")).get("load")]

    assert counters.iterations_errors == counters.requests_errors == counters.script_faults == 0
    assert stats["requests"] == counters.requests_finished
    assert stats["by_route"]["POST /checkout"] == merge.count("journey", journey="buy") == orders.total == 10
    assert stats["by_route"]["GET /search"] == 2 * merge.count("journey", journey="search") == finds.n
    assert 0 < finds.total < finds.n  # nobody sells pianos
    assert by_tag["x-cache"] == {"hit": finds.n - 5, "miss": 5}  # five different words
    assert journeys["load"]["spike"] == 30  # 60/s for 0.5 s
    assert min(begun) == 2  # as 2 minutes of 5


async def test_shop_sessions_visits_the_pages_that_each_session_was_foretold(shop: RunningTarget) -> None:
    scenario = load(SCENARIOS / "shop_sessions.py")
    sessions = scenario.plan.journeys[0]
    assert isinstance(sessions, Graph)
    for row in (sessions.walk.entry, *(stop.row for stop in sessions._stops.values())):
        for hop in row.hops:
            hop.think = None  # who thinks for seconds would have to be waited for
    counters, merge = await drive(scenario, shop, peak=150)
    stats = shop.stats()
    ways = [sessions.path(n, seed=7) for n in range(counters.iterations_due)]
    visits = Counter(name for way in ways for name in way)
    by_route = {"home": "GET /", "search": "GET /search", "product": "GET /products/{sku}", "cart": "POST /cart"}

    assert counters.iterations_due == 150
    assert counters.iterations_errors == counters.requests_errors == counters.script_faults == 0
    assert stats["requests"] == counters.requests_finished
    assert {name: merge.count("step", step=name) for name in visits} == visits
    assert {name: stats["by_route"][route] for name, route in by_route.items()} == {n: visits[n] for n in by_route}
    assert stats["by_route"]["POST /login"] == sum("cart" in way for way in ways) > 0
    assert stats["by_route"].get("POST /checkout", 0) == visits["pay"]


@pytest.mark.parametrize("name", ["oauth_orders.py", "graphql_import.py", "mixed_traffic.py"])
def test_scenario_of_the_whole_language_has_at_most_25_lines_beside_imports_and_docstring(name: str) -> None:
    text = (SCENARIOS / name).read_text()
    tree = ast.parse(text)
    apart: set[int] = set()
    for node in (tree.body[0], *(n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom))):
        apart.update(range(node.lineno, (node.end_lineno or 0) + 1))

    lines = [line for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in apart]

    assert len(lines) <= 25


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


def test_ach_sets_both_pools_before_the_load_and_can_start_payouts_in_the_second_half() -> None:
    params = {"settle": "8", "payout": "8", "seconds": "200"}
    plan, shifts = (
        load(SCENARIOS / "ach.py", name, Overrides(params=params)).plan.spec() for name in ("plan", "shifts")
    )

    assert (plan.params["settle"], plan.params["payout"]) == (8, 8)
    assert plan.has_set_up
    assert plan.has_tear_down
    assert [(lane.name, lane.after_ns / 1e9) for lane in shifts.lanes] == [("ach", 0.0), ("payout", 100.0)]
