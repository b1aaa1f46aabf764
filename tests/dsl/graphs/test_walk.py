"""Sessions of graphs: where they go, what travels along, what is timed, and how they end."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from loadgen import Graph, Node, User, counter, edge, feed, graph, journey, leave, lognormal, node, reply
from loadgen.dsl.graphs.run_graph_session import _key, _uniform
from loadgen.dsl.users.user_runner import BoundJourney
from loadgen.errors import UsageError
from tests.support.lives import REPLIES, Bench, JumpTime, bound

SESSIONS = 20_000


@dataclass
class Trace:
    """A state that says where it was."""

    names: list[str] = field(default_factory=list)


def nodes(count: int) -> list[Node[Any]]:
    """n0, n1 ...: each writes its name into the trace."""

    def made(name: str) -> Node[Any]:
        @node(name=name)
        async def at(user: User, trace: Trace) -> Trace:
            trace.names.append(name)
            return trace

        return at

    return [made(f"n{i}") for i in range(count)]


def graph_of(matrix: np.ndarray, entry: Iterable[float] = (1.0,), **more: Any) -> Graph[None]:
    """rows: (n, n + 1), the last column leaves."""
    at = nodes(len(matrix))
    rows: dict[Any, dict[Any, float]] = {
        one: {(at[j] if j < len(at) else leave): float(p) for j, p in enumerate(row) if p}
        for one, row in zip(at, matrix, strict=True)
    }
    start: dict[Any, float] = {one: float(p) for one, p in zip(at, entry, strict=False) if p}
    made: Graph[None] = graph(rows, start=start, state=Trace, **more)
    assert made.faults == ()
    return made


SHOP = np.array(
    [  # home, list, product, cart, pay, help; leave
        [0.00, 0.55, 0.15, 0.00, 0.00, 0.02, 0.28],
        [0.05, 0.25, 0.45, 0.00, 0.00, 0.01, 0.24],
        [0.02, 0.38, 0.15, 0.22, 0.00, 0.01, 0.22],
        [0.00, 0.20, 0.15, 0.05, 0.35, 0.05, 0.20],
        [0.00, 0.00, 0.00, 0.10, 0.00, 0.10, 0.80],
        [0.10, 0.20, 0.00, 0.00, 0.10, 0.20, 0.40],
    ]
)
"""Six states, as of a shop's log."""


def walked(one: Graph[Any], sessions: int, seed: int = 7) -> Iterator[tuple[str, ...]]:
    return (one.path(n, seed=seed) for n in range(sessions))


def transitions(one: Graph[Any], sessions: int, seed: int = 7) -> np.ndarray:
    """(n, n + 1): how often each edge was taken, the last column leaves."""
    count = np.zeros((len(one.nodes), len(one.nodes) + 1))
    for names in walked(one, sessions, seed):
        at = [int(name[1:]) for name in names]
        for a, b in pairwise([*at, len(one.nodes)]):
            count[a, b] += 1
    return count


def random_chain(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of 2 to 8 nodes, and where its sessions begin."""
    draw = np.random.default_rng(seed)
    places = int(draw.integers(2, 9))
    rows = draw.dirichlet(np.full(places + 1, 0.8), size=places)
    rows[:, -1] += 0.1
    return rows / rows.sum(axis=1, keepdims=True), draw.dirichlet(np.ones(places))


# -- where they go --------------------------------------------------------------------------------


def test_a_known_chain_of_six_states_is_walked_as_its_matrix_says() -> None:
    """20,000 sessions: the share of each edge, of those from its node and of all, and of leaving, within .01."""
    one = graph_of(SHOP)
    count = transitions(one, SESSIONS)
    expected = np.array(list(one.visits.values()))[:, None] * SHOP
    shares, truth = count / count.sum(), expected / expected.sum()

    assert np.abs(shares - truth).max() < 0.01
    assert abs(shares[:, -1].sum() - truth[:, -1].sum()) < 0.01
    for i, row in enumerate(count):
        error = np.sqrt(SHOP[i] * (1 - SHOP[i]) / row.sum())
        assert np.all(np.abs(row / row.sum() - SHOP[i]) <= np.maximum(0.01, 4 * error)), i
    assert np.all(count[SHOP == 0] == 0)


def test_the_mix_of_nodes_is_the_stationary_one_of_the_matrix() -> None:
    """Of the chain that begins anew where it leaves; its left eigenvector, by another way than `visits`."""
    one = graph_of(SHOP, [0.7, 0.2, 0.1])
    again = SHOP[:, :-1] + np.outer(SHOP[:, -1], [0.7, 0.2, 0.1, 0, 0, 0])
    values, vectors = np.linalg.eig(again.T)
    stationary = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    stationary /= stationary.sum()

    count = Counter(name for names in walked(one, SESSIONS) for name in names)
    mix = np.array([count[f"n{i}"] for i in range(6)]) / count.total()

    assert np.abs(mix - stationary).max() < 0.01
    expected = np.array(list(one.visits.values()))
    assert expected / expected.sum() == pytest.approx(stationary)


@pytest.mark.parametrize("seed", range(12))
def test_random_chains_are_walked_as_their_matrices_say(seed: int) -> None:
    """Chi-square over all transitions (Billingsley 1961: as for independent rows), and each node's visits, beyond 1 in
    10,000 at either end."""
    matrix, entry = random_chain(seed)
    one = graph_of(matrix, entry)
    count = transitions(one, 2_000, seed)
    expected = count.sum(axis=1, keepdims=True) * matrix
    seen = expected >= 5
    chi_square = float(((count - expected)[seen] ** 2 / expected[seen]).sum())
    freedom = int((seen.sum(axis=1) - 1).sum())

    assert abs(z_of(chi_square, freedom)) < NormalDist().inv_cdf(1 - 1e-4)
    by_session = np.array([[names.count(f"n{i}") for i in range(len(matrix))] for names in walked(one, 2_000, seed)])
    error = by_session.std(axis=0) / sqrt(2_000)
    assert np.all(np.abs(by_session.mean(axis=0) - list(one.visits.values())) <= 4.5 * error + 1e-12)


def z_of(chi_square: float, freedom: int) -> float:
    """A chi-square value as a standard normal one (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * freedom)
    return float(((chi_square / freedom) ** (1 / 3) - (1 - spread)) / sqrt(spread))


@pytest.mark.parametrize("visit", [0, 1, 17])
def test_the_numbers_of_a_visit_are_uniform_over_sessions_and_free_of_their_neighbours(visit: int) -> None:
    """Kolmogorov-Smirnov at 1 in 1,000; and correlations with the next session, visit and seed within 4 errors."""
    count = 20_000

    def drawn(seed: int = 7, load: int = 0, more: int = 0, later: int = 0) -> np.ndarray:
        return np.array([_uniform(_key(seed, load, n + more), visit + later) for n in range(count)])

    u = drawn()
    ranked = np.sort(u)
    distance = max(
        np.abs(ranked - np.arange(count) / count).max(), np.abs(ranked - np.arange(1, count + 1) / count).max()
    )
    assert distance < 1.95 / sqrt(count)
    for other in (drawn(more=1), drawn(later=1), drawn(seed=8), drawn(load=1), drawn(more=1, later=-visit)):
        assert abs(float(np.corrcoef(u, other)[0, 1])) < 4 / sqrt(count)


def test_a_way_depends_on_seed_load_and_number_alone() -> None:
    one = graph_of(SHOP)
    ways = list(walked(one, 200))

    assert [one.path(n, seed=7) for n in reversed(range(200))] == ways[::-1]
    assert list(walked(graph_of(SHOP), 200)) == ways
    assert list(walked(one, 200, seed=8)) != ways
    assert [one.path(n, seed=7, load=1) for n in range(200)] != ways
    assert one.path((3 << 32) + 5, seed=2**70)[0] == "n0"  # of a closed load; and any whole number is a seed


async def test_sessions_go_the_way_that_was_foretold_whatever_their_nodes_draw() -> None:
    one = graph_of(SHOP)
    greedy = graph_of(SHOP)
    for stop in greedy._stops.values():
        stop.fn = drawing(stop.fn)

    for each in (one, greedy):
        seen: list[Trace] = []
        each.walk.begin = keeping(seen)
        await Bench(bound(each.fn)).run(300)
        assert [tuple(trace.names) for trace in seen] == list(walked(one, 300))


def drawing(fn: Callable[..., Any]) -> Callable[..., Any]:
    async def draws(user: User, trace: Trace) -> Any:
        user.random.random()
        return await fn(user, trace)

    return draws


def keeping(seen: list[Trace]) -> Callable[[Any], Trace]:
    """Begins sessions with a new trace, and keeps it."""

    def begin(row: object) -> Trace:
        seen.append(Trace())
        return seen[-1]

    return begin


# -- what travels along ---------------------------------------------------------------------------


@dataclass
class Cart:
    skus: tuple[str, ...] = ()


@node
async def browse(user: User, cart: Cart) -> Cart:
    await user.http.get("/", expect=200)
    return Cart((*cart.skus, f"sku-{len(cart.skus)}"))


@node
async def broken(user: User, cart: Cart) -> Cart:
    try:
        await user.http.get("/broken", expect=200)
    except Exception:
        return Cart((*cart.skus, "after an exception"))
    raise AssertionError("it is broken")


@journey
async def home(user: User) -> None:
    await user.http.get("/")


bought: list[Cart] = []


@node
async def buy(user: User, cart: Cart) -> Cart:
    bought.append(cart)
    return cart


async def test_what_a_node_returns_is_what_the_next_gets_also_after_an_exception_and_past_a_journey() -> None:
    shop = graph(
        {browse: {broken: 1}, broken: {home: 1}, home: {browse: 0.5, buy: 0.5}, buy: {leave: 1}},
        state=lambda: Cart(("first",)),
    )
    bought.clear()
    trial = await shop.trial(replies=REPLIES, path=[browse, broken, home, browse, broken, home, buy])

    assert trial.outcome == "ok"
    assert bought == [Cart(("first", "sku-1", "after an exception", "sku-3", "after an exception"))]


async def test_each_session_begins_with_a_state_of_its_own() -> None:
    shop = graph({browse: {buy: 1}, buy: {leave: 1}}, state=Cart)
    bought.clear()
    await Bench(bound(shop.fn), fresh=False).run(3)

    assert bought == [Cart(("sku-0",))] * 3


async def test_with_data_the_row_is_the_state_or_makes_it() -> None:
    rows = feed.rows([Cart(("row",))])
    bought.clear()
    for shop in (
        graph({buy: {leave: 1}}, data=rows),
        graph({buy: {leave: 1}}, data=rows, state=lambda row: Cart((*row.skus, "made"))),
    ):
        assert (await shop.trial(Cart(("row",)), replies={})).outcome == "ok"

    assert bought == [Cart(("row",)), Cart(("row", "made"))]


async def test_a_node_that_returns_nothing_is_a_fault_of_the_scenario_and_says_where() -> None:
    async def forgets(user: User, cart: Cart) -> Any: ...

    bench = Bench(bound(graph({node(forgets): {leave: 1}}, state=Cart).fn))
    assert (await bench.run()).outcome == "script UsageError"
    assert "node forgets (" in bench.said[0]
    assert "test_walk.py:" in bench.said[0]
    assert "returned None" in bench.said[0]


async def test_a_state_that_cannot_be_made_of_a_row_is_a_fault_of_the_scenario() -> None:
    def no_cart(row: str) -> Cart:
        raise KeyError(row)

    shop = graph({browse: {leave: 1}}, data=feed.rows(["a"]), state=no_cart)
    with pytest.raises(KeyError, match="a"):
        await shop.trial("a", replies={})


# -- what is timed --------------------------------------------------------------------------------


async def test_visits_are_steps_and_what_is_in_them_nests() -> None:
    @node
    async def look(user: User, cart: Cart) -> Cart:
        async with user.step("list"):
            await user.http.get("/", expect=200)
        return cart

    bench = Bench(bound(graph({look: {browse: 1}, browse: {leave: 1}}, state=Cart).fn))
    assert (await bench.run(3)).outcome == "ok"
    assert bench.rows() == {
        ("request", "look/list", "GET /", "ok"): 3,
        ("request", "browse", "GET /", "ok"): 3,
        ("step", "look", None, "ok"): 3,
        ("step", "look/list", None, "ok"): 3,
        ("step", "browse", None, "ok"): 3,
    }


async def test_the_think_of_an_edge_is_in_no_nodes_time_and_not_in_the_sessions() -> None:
    """Thinking takes real time here, so were it in one of them it would be seen."""
    time = RealTime()
    shop = graph(
        {browse: {home: edge(1, think="30ms")}, home: {buy: 1}, buy: {leave: edge(1, think=0.03)}},
        state=Cart,
        think=(0.02, 0.04),
    )
    bench = Bench(bound(shop.fn), time=time)
    life = await bench.run()
    delta = bench.recorder.flip(0, 1)
    longest_ns = {
        (key.step, key.metric): stats.max_ns
        for stats in delta.stats
        if (key := delta.new_series[stats.series]).kind == "step"
    }

    assert life.outcome == "ok"
    assert [round(s, 3) for s in (time.slept_s[0], time.slept_s[2])] == [0.03, 0.03]
    assert 0.02 <= time.slept_s[1] <= 0.04
    assert life.idle_ns >= sum(time.slept_s) * 1e9
    response_ns = life.ended_ns - life.begun_ns - life.idle_ns
    assert response_ns > 0
    for step in ("browse", "home", "buy"):
        assert longest_ns[step, "response"] <= response_ns + 1_000
        assert longest_ns[step, "duration"] <= response_ns + 1_000  # a step has no think in it at all


class RealTime(JumpTime):
    async def sleep(self, wait_s: float) -> None:
        self.slept_s.append(wait_s)
        await asyncio.sleep(wait_s)


async def test_a_think_is_drawn_from_its_law_and_again_when_the_session_is_run_again() -> None:
    thinks = []
    for _ in range(2):
        time = JumpTime()
        await Bench(bound(graph_of(SHOP, think=lognormal(1.4, 0.8)).fn), time=time).run(500)
        thinks.append(time.slept_s)

    assert thinks[0] == thinks[1]
    logs = np.log(thinks[0])
    assert logs.mean() == pytest.approx(1.4, abs=4 * 0.8 / sqrt(len(logs)))
    assert logs.std() == pytest.approx(0.8, rel=0.15)


# -- how they end ---------------------------------------------------------------------------------


async def test_a_node_that_fails_ends_the_session_with_its_outcome() -> None:
    @node
    async def fails(user: User, cart: Cart) -> Cart:
        await user.http.get("/broken", expect=200)
        return cart

    bench = Bench(bound(graph({browse: {fails: 1}, fails: {buy: 1}, buy: {leave: 1}}, state=Cart).fn))
    bought.clear()
    assert (await bench.run()).outcome == "expect status"
    assert bought == []
    assert bench.rows() == {
        ("request", "browse", "GET /", "ok"): 1,
        ("request", "fails", "GET /broken", "expect status"): 1,
        ("step", "browse", None, "ok"): 1,
        ("step", "fails", None, "expect status"): 1,
    }


async def test_each_visit_has_the_outcome_of_its_own_requests_and_the_session_the_first_that_failed() -> None:
    @journey
    async def missing(user: User) -> None:
        await user.http.get("/missing")

    @journey
    async def down(user: User) -> None:
        await user.http.get("/broken")

    bench = Bench(bound(graph({missing: {down: 1}, down: {home: 1}, home: {leave: 1}}).fn))
    assert (await bench.run()).outcome == "http 404"
    steps = {(step, outcome): n for (kind, step, _, outcome), n in bench.rows().items() if kind == "step"}
    assert steps == {("missing", "http 404"): 1, ("down", "http 503"): 1, ("home", "ok"): 1}


async def test_a_session_with_too_many_visits_fails_and_counts() -> None:
    shop = graph({home: {home: 0.5, leave: 0.5}}, max_visits=3)
    outcomes = []
    bench = Bench(bound(shop.fn))
    for n in range(400):
        life = await bench.run(first=n)
        outcomes.append(life.outcome)
    visits = sum(n for (kind, *_), n in bench.rows().items() if kind == "step")
    length = Counter(min(len(way), 4) for way in walked(graph({home: {home: 0.5, leave: 0.5}}), 400))

    assert outcomes.count("fail: more than 3 visits") == length[4] > 20
    assert outcomes.count("ok") == 400 - length[4]
    assert visits == length[1] + 2 * length[2] + 3 * (length[3] + length[4])
    assert [len(way) for way in walked(shop, 400)] == [min(len(w), 3) for w in walked(graph_of_home(), 400)]


def graph_of_home() -> Graph[None]:
    return graph({home: {home: 0.5, leave: 0.5}})


async def test_a_node_may_skip_or_fail_the_session() -> None:
    @node
    async def choosy(user: User, cart: Cart) -> Cart:
        if user.random.random() < 0.5:
            user.skip("nothing to buy")
        user.fail("sold out")

    bench = Bench(bound(graph({choosy: {leave: 1}}, state=Cart).fn))
    assert {(await bench.run(first=n)).outcome for n in range(20)} == {"skipped", "fail: sold out"}


async def test_what_is_said_of_a_session_names_the_scenarios_lines_and_not_ours() -> None:
    @node
    async def resists(user: User, cart: Cart) -> Cart:
        try:
            await user.http.get("/")
        except BaseException:
            return cart
        return cart

    shop = graph({buy: {resists: 1}, resists: {leave: 1}}, state=Cart)
    one = BoundJourney("shop", shop.fn, functions=tuple(fn for _, fn in shop.parts))
    line = resists.fn.__code__.co_firstlineno + 4

    assert re.fullmatch(r"test_walk\.py:\d+", one.defined)
    assert one.catching == f"test_walk.py:{line} in resists"


async def test_a_graph_that_awaits_nothing_in_a_closed_load_is_told_with_the_line_of_its_first_node() -> None:
    shop = graph({buy: {leave: 1}}, state=Cart)
    bench = Bench(BoundJourney("shop", shop.fn, functions=(buy.fn,)), fresh=False)
    await bench.run(50)

    (said,) = bench.said
    assert said.startswith(f"test_walk.py:{buy.fn.__code__.co_firstlineno}: journey shop took ")


# -- trials ---------------------------------------------------------------------------------------


async def test_a_trial_goes_the_way_of_iteration_0_of_a_run_with_its_seed() -> None:
    for seed in range(20):
        shop = graph({home: {browse: 0.5, leave: 0.5}, browse: {home: 0.8, leave: 0.2}}, state=Cart)
        trial = await shop.trial(replies=REPLIES, seed=seed)
        assert tuple(step.name for step in trial.steps) == shop.path(0, seed=seed)


async def test_a_trial_along_a_path_thinks_on_its_edges_and_leaves_after_it() -> None:
    shop = graph({home: {browse: edge(0.5, think=2), leave: 0.5}, browse: {home: 1}}, state=Cart, think=5)
    trial = await shop.trial(replies={"GET /": reply(200)}, path=[home, browse, home, browse])

    assert [step.name for step in trial.steps] == ["home", "browse", "home", "browse"]
    assert trial.thought_s == pytest.approx(2 + 5 + 2)
    assert trial.outcome == "ok"


seen_pages = counter("pages of a graph")


@node
async def counts(user: User, cart: Cart) -> Cart:
    seen_pages.add(len(cart.skus))
    user.check("has none", not cart.skus)
    return cart


async def test_a_trial_has_the_metrics_and_checks_of_its_nodes() -> None:
    shop = graph({browse: {counts: 1}, counts: {browse: 0.5, leave: 0.5}}, state=Cart)
    trial = await shop.trial(replies=REPLIES, path=[browse, counts, browse, counts])

    assert trial.metrics["pages of a graph"] == (3.0,)
    assert trial.checks == {"has none": (0, 2)}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ([], "path is empty"),
        ([browse], "no session of graph starts at browse"),
        ([home, home], "home never leads to home"),
        ([home, buy], "is not a node of graph graph"),
        (["home"], "'home' is not a node of graph graph"),
    ],
)
async def test_a_path_that_no_session_goes_is_refused(path: Any, said: str) -> None:
    shop = graph({home: {browse: 0.5, leave: 0.5}, browse: {home: 1}}, state=Cart)
    with pytest.raises(UsageError, match=said):
        await shop.trial(replies=REPLIES, path=path)


async def test_a_path_may_be_longer_than_the_limit() -> None:
    shop = graph({home: {home: 0.5, leave: 0.5}}, max_visits=2)
    assert (await shop.trial(replies=REPLIES, path=[home] * 4)).outcome == "ok"


def test_covering_sessions_visit_every_node() -> None:
    one = graph_of(SHOP)
    (path, _) = next(one.covering())
    assert set(path) == {f"n{i}" for i in range(6)}
    assert [path for path, _ in graph({home: {browse: 0.5, buy: 0.5}, browse: {leave: 1}, buy: {leave: 1}},
                                      state=Cart).covering()] == [("home", "browse"), ("home", "buy")]  # fmt: skip
