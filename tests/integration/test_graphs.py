"""Graphs for real: each session goes the way that its number says, wherever it runs, and the target saw the same."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest
from typer.testing import CliRunner

from loadgen import Graph, Trial, reply
from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import Scenario, load
from loadgen.dsl.plans.spec import Overrides
from loadgen.units import NS_PER_MS
from loadgen_controller.cli import app
from loadgen_controller.planning.forecast import on_average
from loadgen_controller.planning.rehearsal import Stepped, rehearse, rehearse_arrival
from tests.support.run import ends_with, loadgen
from tests.support.scenarios import write
from tests.support.target import RunningTarget, running_target

ROUTES = {"home": "GET /", "list": "GET /products", "search": "GET /search", "product": "GET /products/{sku}"}
SCENARIO = """
from loadgen import Plan, User, arrivals, edge, graph, iterations, leave, node, users

SEEN = {}

def seen(user: User, name: str, trace: tuple[str, ...]) -> tuple[str, ...]:
    SEEN[user._chance_key[2]] = (*trace, name)
    return (*trace, name)

@node
async def home(user: User, trace: tuple[str, ...]) -> tuple[str, ...]:
    await user.http.get("/", expect=200)
    return seen(user, "home", trace)

@node(name="list")
async def products(user: User, trace: tuple[str, ...]) -> tuple[str, ...]:
    await user.http.get("/products", expect=200)
    user.random.random()
    return seen(user, "list", trace)

@node
async def search(user: User, trace: tuple[str, ...]) -> tuple[str, ...]:
    await user.http.get("/search?q=oak", expect=200)
    await user.http.get("/search?q=red", expect=200)
    await user.think(2)
    return seen(user, "search", trace)

@node
async def product(user: User, trace: tuple[str, ...]) -> tuple[str, ...]:
    await user.http.get("/products/sku-0001", name="/products/{sku}", expect=200)
    return seen(user, "product", trace)

shop = graph(
    {
        home: {products: .5, search: .2, leave: .3},
        products: {product: edge(.6, think="1ms"), products: .1, leave: .3},
        search: {product: .5, search: .2, leave: .3},
        product: {products: .3, product: .1, leave: .6},
    },
    state=tuple[str, ...],
    name="shop",
)
plan = Plan(target="http://127.0.0.1:1", load=LOAD, mix=shop, seed=7)
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningTarget]:
    with running_target("--no-latency") as target:
        yield target


def scenario(folder: Path, url: str, load_: str = 'arrivals("150/s").hold("2s")', *, think: bool = False) -> Scenario:
    text = SCENARIO.replace("LOAD", load_)
    return load(write(folder, text if think else text.replace("think(2)", "think(0)")), overrides=Overrides(target=url))


def graph_of(one: Scenario) -> Graph[Any]:
    (found,) = one.plan.journeys
    assert isinstance(found, Graph)
    return found


def seen(one: Scenario) -> dict[int, tuple[str, ...]]:
    """The nodes of each session by its number."""
    found: dict[int, tuple[str, ...]] = dict(graph_of(one).nodes[0].fn.__globals__["SEEN"])
    return found


@pytest.mark.parametrize(
    ("load_", "weights", "workers"),
    [
        ('arrivals("200/s").hold("500ms")', [1.0], 1),
        ('arrivals("200/s").hold("500ms")', [1.0, 2.0, 1.0], 1),
        ('arrivals("200/s").hold("500ms")', [1.0], 2),
        ("iterations(100, users=5)", [1.0, 1.0], 1),
        ('users(4).hold("200ms")', [3.0, 1.0], 1),
    ],
)
async def test_each_session_goes_its_own_way_on_any_number_of_agents(
    load_: str, weights: Sequence[float], workers: int, shop: RunningTarget, tmp_path: Path
) -> None:
    before = gc.get_threshold()  # drives side by side put back what they found, in whatever order they end
    one = scenario(tmp_path, shop.url, load_)
    shop.reset()
    t0_ns = perf_counter_ns() + 50 * NS_PER_MS
    drives = [
        Drive(one, index=i, weights=weights, worker=w, workers=workers, seed=7, emit=lambda _: None)
        for i in range(len(weights))
        for w in range(workers)
    ]
    totals = await asyncio.gather(*(drive.run(t0_ns) for drive in drives))
    gc.set_threshold(*before)
    ways, graph = seen(one), graph_of(one)

    assert sum(each.counters.iterations_finished for each in totals) == len(ways) >= 20
    assert ways == {n: graph.path(n, seed=7) for n in ways}
    if "users(4)" not in load_:
        assert sorted(ways) == list(range(100))
    assert counted(shop) == visited(ways.values())


def visited(ways: Any) -> dict[str, int]:
    """Requests by route: `search` makes two."""
    visits = Counter(name for way in ways for name in way)
    return {route: visits[name] * (2 if name == "search" else 1) for name, route in ROUTES.items()}


def counted(shop: RunningTarget) -> dict[str, int]:
    by_route: dict[str, int] = shop.stats()["by_route"]
    return {route: by_route.get(route, 0) for route in ROUTES.values()}


def test_a_run_with_agents_walks_what_the_target_has_counted_and_the_report_has_it_by_node(
    shop: RunningTarget, tmp_path: Path
) -> None:
    one = scenario(tmp_path, shop.url)
    graph = graph_of(one)
    ways = [graph.path(n, seed=7) for n in range(300)]
    visits = Counter(name for way in ways for name in way)
    shop.reset()

    done = loadgen(
        "run", str(one.path), "--target", shop.url, "--regions", "a=2,b=1", "--quiet", runs_dir=tmp_path / "r"
    )

    assert ends_with(done.exit_code, done.summary, 0), done.out + done.err
    assert counted(shop) == visited(ways)
    assert done.summary["iterations"]["finished"] == done.row("journey", journey="shop")["count"] == 300
    assert {name: done.row("step", step=name)["count"] for name in ROUTES} == visits
    share = {name: count / visits.total() for name, count in visits.items()}
    expected = {name: count / sum(graph.visits.values()) for name, count in graph.visits.items()}
    assert all(abs(share[name] - expected[name]) < 0.06 for name in expected), "4 standard errors of 300 sessions"


async def test_a_trial_a_rehearsal_of_an_arrival_and_a_run_go_the_same_way(shop: RunningTarget, tmp_path: Path) -> None:
    one = scenario(tmp_path, shop.url)
    graph = graph_of(one)
    replies = {route.replace("{sku}", "sku-0001"): reply(200) for route in ROUTES.values()}

    for n in (0, 41, 299):
        (again,) = [done async for done in rehearse_arrival(one, 7, 0, n)]
        assert tuple(step.name for step in again.steps) == graph.path(n, seed=7)
    trial: Trial = await graph.trial(replies=replies, seed=7)
    assert tuple(step.name for step in trial.steps) == graph.path(0, seed=7)


async def test_a_check_visits_every_node_and_says_what_was_in_each(shop: RunningTarget, tmp_path: Path) -> None:
    one = scenario(tmp_path, shop.url, think=True)
    done = [each async for each in rehearse(one)]

    assert {name for each in done for name in each.path} == set(ROUTES)
    assert all(each.has_passed and tuple(step.name for step in each.steps) == each.path for each in done)
    by_name = {step.name: step for each in done for step in each.steps}
    assert {name: (step.requests, step.thought_s) for name, step in by_name.items()} == {
        "home": (1, 0.0),
        "list": (1, 0.0),
        "search": (2, 2.0),
        "product": (1, 0.0),
    }


def test_check_shows_its_sessions_by_their_nodes(shop: RunningTarget, tmp_path: Path) -> None:
    one = scenario(tmp_path, shop.url)
    result = CliRunner().invoke(app, ["check", str(one.path), "--target", shop.url])

    assert result.exit_code == 0, result.output
    assert "shop: home, list, product: ok after 3 requests" in result.output
    assert re.search(r"shop: home, search\b.*: ok after", result.output)


def test_a_node_that_fails_in_a_check_is_named(shop: RunningTarget, tmp_path: Path) -> None:
    text = SCENARIO.replace("LOAD", 'arrivals("10/s").hold("2s")').replace("sku-0001", "no-such")
    result = CliRunner().invoke(app, ["check", str(write(tmp_path, text)), "--target", shop.url])

    assert result.exit_code == 1, result.output
    assert "failed: expect status" in result.output


def test_plan_says_how_often_each_node_is_visited_and_what_a_session_takes_on_average(
    shop: RunningTarget, tmp_path: Path
) -> None:
    one = scenario(tmp_path, shop.url, think=True)
    visits = graph_of(one).visits
    requests = sum(visits.values()) + visits["search"]

    as_json = json.loads(CliRunner().invoke(app, ["plan", str(one.path), "--no-trial", "--json"]).stdout)
    without = CliRunner().invoke(app, ["plan", str(one.path), "--no-trial"])
    tried = CliRunner().invoke(app, ["plan", str(one.path), "--target", shop.url])

    assert without.exit_code == tried.exit_code == 0, tried.output
    lines = without.output.splitlines()
    assert f"visits     shop: search: {visits['search']:.3g} a session" in lines
    assert f"visits     shop: in all: {sum(visits.values()):.3g} a session" in lines
    assert as_json["visits"] == {"shop": pytest.approx(visits)}
    assert f"tried      shop: {requests:.3g} requests, response" in tried.output
    assert f"estimate   {round(300 * requests)} requests in all" in tried.output


def test_a_session_on_average_is_its_nodes_as_often_as_they_are_visited() -> None:
    steps = [Stepped("a", 2, 0.1, 0.0), Stepped("a", 4, 0.3, 1.0), Stepped("b", 1, 0.5, 0.0)]
    tried = on_average("shop", {"a": 2.0, "b": 0.5}, 3.0, steps)

    assert (tried.requests, tried.response_s, tried.think_s) == pytest.approx((6.5, 0.65, 4.0))
