"""Graphs of journeys: what they say, what they refuse, and what mypy says of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from loadgen import Edges, ScenarioError, User, edge, feed, graph, journey, leave, lognormal, node
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.loader import load
from tests.support.scenarios import told, write
from tests.support.typed import check_types


@dataclass
class Cart:
    skus: list[str] = field(default_factory=list)


@node
async def browse(user: User, cart: Cart) -> Cart:
    """Looks around."""
    return cart


@node(name="put into the cart")
async def buy(user: User, cart: Cart) -> Cart:
    return Cart([*cart.skus, "sku-0001"])


@journey
async def home(user: User) -> None: ...


ROWS: Edges[Cart] = {browse: {browse: 0.5, buy: 0.2, leave: 0.3}, buy: {leave: 1}}
shop = graph(ROWS, start=browse, state=Cart, name="shop")


def lines(*faults: Any) -> list[str]:
    return [f"{fault.message} | {fault.hint}" for fault in faults]


def wrong(edges: Any, **more: Any) -> list[str]:
    """What is wrong with a graph of these rows."""
    return lines(*graph(edges, **({"state": Cart} | more)).faults)


# -- what it is -----------------------------------------------------------------------------------


def test_a_graph_is_a_journey_with_a_name_and_the_visits_of_its_nodes() -> None:
    assert isinstance(shop, Journey)
    assert (shop.name, shop.feed, shop.faults, shop.warnings) == ("shop", None, (), ())
    assert shop.visits == pytest.approx({"browse": 2, "put into the cart": 0.4})
    assert shop.origin.file == __file__


def test_a_node_keeps_its_function_name_and_place() -> None:
    assert (browse.name, buy.name, browse.__doc__) == ("browse", "put into the cart", "Looks around.")
    assert browse.faults == buy.faults == ()
    assert repr(browse) == f"<node browse at {browse.origin}>"
    assert repr(shop) == f"<graph shop at {shop.origin}>"


def test_sessions_begin_at_the_first_row_unless_said_otherwise() -> None:
    assert graph(ROWS, state=Cart).visits == pytest.approx(shop.visits)
    by_chance = graph(ROWS, state=Cart, start={browse: 0.5, buy: 0.5})
    assert by_chance.visits == pytest.approx({"browse": 1, "put into the cart": 0.7})


def test_rows_of_counts_are_divided_by_their_sum_and_so_is_the_start() -> None:
    counted = graph(
        {browse: {browse: 500, buy: edge(200, think=1), leave: 300}, buy: {leave: 7}},
        state=Cart,
        counts=True,
        start={browse: 30, buy: 10},
    )
    assert counted.faults == ()
    assert counted.visits == pytest.approx({"browse": 1.5, "put into the cart": 0.55})


def test_thinks_are_on_edges_between_nodes_their_own_or_the_graphs() -> None:
    assert graph(ROWS, state=Cart).think_s == 0
    assert graph(ROWS, state=Cart, think=(1, 3)).think_s == pytest.approx(2 * (0.5 + 0.2) * 2)
    own: Edges[Cart] = {
        browse: {browse: edge(0.5, think="500ms"), buy: 0.2, leave: edge(0.3, think=1)},
        buy: {leave: 1},
    }
    assert graph(own, state=Cart, think=10).think_s == pytest.approx(2 * (0.5 * 0.5 + 0.2 * 10 + 0.3 * 1))
    none: Edges[Cart] = {browse: {browse: edge(0.5, think=0), leave: 0.5}}
    assert graph(none, state=Cart, think=lognormal(1, 0.5)).think_s == 0


def test_an_edge_of_probability_0_is_none() -> None:
    assert wrong({browse: {buy: 0, leave: 1}, buy: {leave: 1}}) == [
        "graph graph: no session ever reaches put into the cart | add an edge to it, start there, or remove its row"
    ]


def test_sessions_that_would_be_cut_by_the_limit_are_told_before_the_run() -> None:
    rows: Edges[Cart] = {browse: {browse: 0.99, leave: 0.01}}
    assert graph(rows, state=Cart).warnings == ()
    (warning,) = graph(rows, state=Cart, max_visits=200).warnings
    assert warning.message == "graph graph: 13.4 % of its sessions have more than 200 visits, and fail"
    assert warning.hint == "raise max_visits, or the probabilities of leave: a session has 100 visits on average"


def test_a_graph_with_faults_has_no_figures() -> None:
    faulty = graph({browse: {browse: 1}}, state=Cart)
    with pytest.raises(ScenarioError, match="no session can leave"):
        _ = faulty.visits
    with pytest.raises(ScenarioError, match="no session can leave"):
        faulty.path(0, seed=1)


# -- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize("edges", [{}, None, [browse], browse])
def test_a_graph_without_rows_is_refused(edges: Any) -> None:
    (said,) = wrong(edges)
    assert said.startswith("graph graph ")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {browse: 0.8, leave: 0.3},
            "the row of browse sums to 1.1 | correct the probabilities so that they sum to 1, or",
        ),
        ({browse: 0.6}, "the row of browse sums to 0.6 | add the missing probability: leave: 0.4"),
        ({leave: 1 - 2e-9}, "the row of browse sums to 0.999999998 | correct the probabilities"),
        ({leave: 0}, "the row of browse sums to 0 | correct the probabilities"),
        ({}, "the row of browse sums to 0 | add the missing probability: leave: 1"),
        (
            {browse: -0.1, leave: 1.1},
            "the row of browse: the probability of browse is -0.1 | write a finite number of at least 0",
        ),
        ({leave: math.nan}, "the row of browse: the probability of leave is nan | write"),
        ({leave: math.inf}, "the row of browse: the probability of leave is inf | write"),
        ({leave: 10**400}, "the row of browse: the probability of leave is 1000"),
        (
            {browse: 1 - 1e-12, leave: 1e-12},
            "graph graph: its sessions practically never end | raise the probability of leave",
        ),
        ({browse: 1, leave: 1e-20}, "graph graph: its sessions practically never end | raise the probability of leave"),
        ({leave: True}, "the row of browse: the probability of leave is True | write"),
        ({leave: "1"}, "the row of browse: the probability of leave is '1' | write"),
        ({leave: edge("x")}, "the row of browse: the probability of leave is 'x' | write"),  # type: ignore[arg-type]
        (1, "the row of browse must be a dictionary, got 1 | write browse: {leave: 1}"),
        (
            {buy: 0.5, leave: 0.5},
            "browse leads to something that is not a node of graph: put into the cart has no row | write a row",
        ),
        (
            {"buy": 0.5, leave: 0.5},
            'browse leads to something that is not a node of graph: "buy" is a text | write the function',
        ),
        (
            {len: 0.5, leave: 0.5},
            "browse leads to something that is not a node of graph: len is not a node | write @node above",
        ),
        (
            {7: 0.5, leave: 0.5},
            "browse leads to something that is not a node of graph: 7 is not a node | use a function with @node above",
        ),
        ({browse: 1}, "graph graph: no session can leave after browse | add leave to its row, or to a row"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(row: Any, said: str) -> None:
    (found,) = wrong({browse: row})
    assert found.startswith(said)


def test_a_row_may_miss_1_by_rounding() -> None:
    assert wrong({browse: {browse: 0.1 + 0.2, leave: 0.7 - 5e-10}}) == []


def test_a_row_of_counts_has_something_to_divide() -> None:
    (found,) = wrong({browse: {browse: 0, leave: 0}}, counts=True)
    assert (
        found == "the row of browse has a total count of 0 | write the logged number of transitions, above 0 in total"
    )
    (found,) = wrong({browse: {leave: -3}}, counts=True)
    assert found == "the row of browse: the count of leave is -3 | write a finite number of at least 0"


def test_nodes_that_are_not_reached_or_have_no_way_out_are_all_told() -> None:
    @node
    async def pay(user: User, cart: Cart) -> Cart:
        return cart

    found = wrong({browse: {buy: 0.5, leave: 0.5}, buy: {buy: 1}, pay: {leave: 1}})

    assert [text.partition(" | ")[0] for text in found] == [
        "graph graph: no session can leave after put into the cart",
        "graph graph: no session ever reaches pay",
    ]


def test_two_nodes_of_one_name_are_refused() -> None:
    @node(name="browse")
    async def again(user: User, cart: Cart) -> Cart:
        return cart

    (found,) = wrong({browse: {again: 0.5, leave: 0.5}, again: {leave: 1}})
    assert found.startswith('graph graph: two nodes are named "browse" | ')


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (buy, "start: put into the cart has no row in graph graph | "),
        ("browse", "start: 'browse' has no row"),
        ({}, "start: no node is given | write start=browse"),
        ({browse: 0.5}, "start sums to 0.5 | correct the probabilities"),
        ({browse: 0.5, buy: 0.5}, "start: put into the cart has no row"),
        ({browse: -1}, "start: the probability of browse is -1 | "),
        (leave, "start: leave has no row"),
    ],
)
def test_a_start_that_makes_no_sense_is_refused(start: Any, said: str) -> None:
    (found,) = wrong({browse: {leave: 1}}, start=start)
    assert found.startswith(said)


@pytest.mark.parametrize("think", [-1, "soon", (3, 1), (1, 2, 3), (1,), (1, "x"), True, math.nan, lognormal(1, -1)])
def test_a_think_that_is_no_time_is_refused_on_an_edge_and_for_all(think: Any) -> None:
    (of_edge,) = wrong({browse: {leave: edge(1, think=think)}})
    (of_graph,) = wrong({browse: {leave: 1}}, think=think)
    assert {of_edge.split("(")[0], of_graph.split("(")[0]} <= {"edge", "graph graph", "lognormal"}


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "1000"])
def test_a_limit_that_is_no_number_of_visits_is_refused(most: Any) -> None:
    (found,) = wrong({browse: {leave: 1}}, max_visits=most)
    assert found == f"max_visits={most!r}: must be a whole number of at least 1 | leave it out for 1,000"


def test_what_sessions_begin_with_has_to_be_made() -> None:
    async def later() -> Cart:
        return Cart()

    def of_row(row: str) -> Cart:
        return Cart([row])

    rows = {browse: {leave: 1}}
    one_row = feed.rows(["a"])
    assert wrong(rows, state=None)[0].startswith("graph graph: node browse needs a state, but the graph has no state=")
    assert wrong(rows, state=7)[0].startswith("state=7 of graph graph must be callable")
    assert wrong(rows, state=later)[0].startswith("state=later of graph graph is async")
    assert wrong(rows, state=of_row)[0].startswith("state=of_row of graph graph cannot be called without arguments")
    assert wrong(rows, state=dict.fromkeys, data=one_row) == []
    assert wrong(rows, state=lambda: Cart(), data=one_row)[0].startswith(
        "state=<lambda> of graph graph cannot be called with the row"
    )
    assert wrong(rows, state=of_row, data=one_row) == wrong(rows, state=None, data=one_row) == []
    assert wrong({home: {leave: 1}}, state=None) == []


def test_journeys_are_nodes_unless_they_have_what_only_a_mix_gives_them() -> None:
    @journey(data=feed.rows(["a"]))
    async def with_row(user: User, row: str) -> None: ...

    @journey(state=Cart)
    async def with_state(user: User) -> None: ...

    @journey
    async def with_set_up(user: User) -> None: ...

    @with_set_up.set_up
    async def _(user: User) -> None: ...

    found = lines(*graph(
        {one: {leave: 1} for one in (home, with_row, with_state, with_set_up, shop)},  # type: ignore[misc]
        start={home: 0.5, with_set_up: 0.5}, name="all",
    ).faults)  # fmt: skip
    assert [text.partition(" | ")[0] for text in found] == [
        "graph all: journey with_row has data of its own",
        "graph all: journey with_state has a state of its own",
        "graph all: shop is a graph itself",
        "journey with_set_up is a node of graph all, so its set-up or tear-down does not run",
    ]


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("def at(user, cart): return cart", "node at is not async | write `async def at(...)`"),
        (
            "async def at(user): ...",
            "node at has the wrong parameters: it is called with the user and the state | write `async def",
        ),
        (
            "async def at(user, cart): yield cart",
            "node at yields | remove `yield`: a node may only await, and returns the state",
        ),
    ],
)
def test_a_node_that_cannot_be_visited_is_refused_at_its_line(definition: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"from loadgen import node\n\n@node\n{definition}\n")
    assert any(line.startswith(f"scenario.py:3 {said}") for line in told(path))


@pytest.mark.parametrize("name", ["", "a/b", 7])
def test_a_name_that_would_be_another_step_is_refused(name: Any) -> None:
    @node(name=name)
    async def at(user: User, cart: Cart) -> Cart:
        return cart

    assert at.faults[0].message == f"{name!r} is not a valid name of a node"


# -- in a scenario --------------------------------------------------------------------------------

SCENARIO = """\
from dataclasses import dataclass, field
from loadgen import Plan, User, arrivals, edge, error_ratio, graph, journey, leave, node, p

@dataclass
class Cart:
    skus: list[str] = field(default_factory=list)

@node
async def browse(user: User, cart: Cart) -> Cart:
    async with user.step("list"):
        await user.http.get("/")
    return cart

@node(name="pay at once")
async def pay(user: User, cart: Cart) -> Cart:
    return cart

"""


def test_all_faults_of_a_graph_are_told_at_once_each_at_the_line_of_its_row(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SCENARIO
        + """
@node
def look(user: User, cart: Cart) -> Cart:
    return cart

shop = graph(
    {
        browse: {
            browse: edge(.5, think="soon"),
            pay: .6,
        },
        pay: {leave: -1},
        look: {look: 1},
    },
    state=Cart,
    max_visits=0,
)
plan = Plan(target="shop.example", load=arrivals("10/s").hold("10s"), mix=shop)
""",
    )
    assert [line.partition(" | ")[0] for line in told(path)] == [
        "scenario.py:19 node look is not async",
        "scenario.py:23 max_visits=0: must be a whole number of at least 1",
        "scenario.py:25 the row of browse sums to 1.1",
        'scenario.py:26 edge(think=\'soon\'): invalid duration "soon"; write "500ms", "10s", "2m", "1m30s" or "1h"',
        "scenario.py:29 the row of pay at once: the probability of leave is -1",
        "scenario.py:30 graph graph: no session can leave after look",
        "scenario.py:30 graph graph: no session ever reaches look",
        "scenario.py:35 target: 'shop.example' is not an http or https URL",
    ]  # fmt: skip


def test_objectives_on_nodes_and_on_steps_within_them_are_checked(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SCENARIO
        + """
shop = graph({browse: {pay: .5, leave: .5}, pay: {leave: 1}}, state=Cart, name="shop")
plan = Plan(
    target="http://shop.example",
    load=arrivals("10/s").hold("10s"),
    mix=shop,
    slos=[
        p(95, step="browse") < "1s",
        p(95, step="browse/list", journey=shop) < "1s",
        p(95, step="pay at once", journey="shop") < "1s",
        p(95, step="list") < "1s",
        p(95, step="pay") < "1s",
    ],
)
""",
    )
    assert told(path) == [
        'scenario.py:28 p(95, step="list") < 1s: journey shop has no step "list" | did you mean "browse/list"?',
        'scenario.py:29 p(95, step="pay") < 1s: journey shop has no step "pay" | '
        'use one of "browse", "pay at once", "browse/list"',
    ]


def test_what_is_doubtful_about_a_graph_is_a_warning_of_the_scenario(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SCENARIO
        + """
shop = graph({browse: {browse: .99, leave: .01}}, state=Cart, max_visits=100)
plan = Plan(target="http://shop.example", load=arrivals("10/s").hold("10s"), mix=shop)
""",
    )
    (warning,) = load(path).warnings
    assert (warning.line, warning.message.partition(" of its")[0]) == (19, "graph graph: 36.6 %")


def test_steps_of_nodes_are_no_steps_of_other_journeys(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SCENARIO
        + """
@journey
async def other(user: User) -> None:
    await user.http.get("/")

shop = graph({browse: {leave: 1}}, state=Cart, name="shop")
plan = Plan(
    target="http://shop.example", load=arrivals("10/s").hold("10s"), mix={shop: 1, other: 1},
    slos=[p(95, step="list", journey="other") < "1s", p(95, step="browse", journey=other) < "1s"],
)
""",
    )
    assert [line.partition(" | ")[0] for line in told(path)] == [
        'scenario.py:26 p(95, journey="other", step="browse") < 1s: journey other has no step "browse"',
        'scenario.py:26 p(95, journey="other", step="list") < 1s: journey other has no step "list"',
    ]


def test_mistakes_in_nodes_are_found_as_in_journeys(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SCENARIO
        + """
@node
async def look(who, cart):
    who.http.get("/")
    return cart

shop = graph({look: {leave: 1}}, state=Cart)
plan = Plan(target="http://shop.example", load=arrivals("10/s").hold("10s"), mix=browse)
again = Plan(target="http://shop.example", load=arrivals("10/s").hold("10s"), mix=shop())
""",
    )
    assert told(path, "plan") == [
        "scenario.py:21 who.http.get(...) is never awaited, so it does nothing | write `await who.http.get(...)`",
        "scenario.py:25 mix: browse is not a journey"
        " | a node belongs in a graph; write graph({browse: {leave: 1}}, state=...)",
        "scenario.py:26 TypeError: 'Graph' object is not callable | write the name of the graph without ()",
    ]


def test_a_graph_of_counts_that_are_read_from_a_file_is_as_good_as_one_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "counts.json").write_text('{"browse": {"pay": 3, "exit": 1}, "pay": {"exit": 3}}')
    path = write(
        tmp_path,
        SCENARIO
        + """
import json
from pathlib import Path

COUNTS = json.loads((Path(__file__).parent / "counts.json").read_text())
NODES = {"browse": browse, "pay": pay}
shop = graph(
    {NODES[at]: {NODES.get(to, leave): n for to, n in row.items()} for at, row in COUNTS.items()},
    state=Cart, counts=True,
)
plan = Plan(target="http://shop.example", load=arrivals("10/s").hold("10s"), mix=shop)
""",
    )
    (found,) = (one for one in load(path).journeys if one.name == "graph")
    assert found.parts[1][0] == "pay at once"
    assert getattr(found, "visits") == pytest.approx({"browse": 1, "pay at once": 0.75})  # noqa: B009


# -- types ----------------------------------------------------------------------------------------

TYPED = """
from dataclasses import dataclass, field

from loadgen import Edges, Graph, Node, Plan, User, arrivals, edge, feed, graph, journey, leave, lognormal, node, reply

@dataclass
class Cart:
    skus: list[str] = field(default_factory=list)

@dataclass
class Shopper:
    email: str

@node
async def browse(user: User, cart: Cart) -> Cart:
    return cart

@node(name="add to cart")
async def add(user: User, cart: Cart) -> Cart:
    return Cart([*cart.skus, "sku-0001"])

@node
async def account(user: User, shopper: Shopper) -> Shopper:
    return shopper

@node  # E: Cannot infer value of type parameter "S" of "node"
async def forgets(user: User, cart: Cart) -> None: ...

@node  # E: Argument 1 to "node" has incompatible type
async def without_state(user: User) -> None: ...

@node  # E: Argument 1 to "node" has incompatible type
def not_async(user: User, cart: Cart) -> Cart:
    return cart

@journey
async def home(user: User) -> None: ...

@journey(data=feed.rows([Shopper("a")]))
async def with_row(user: User, shopper: Shopper) -> None: ...

SHOPPERS = feed.rows([Shopper("a")])

shop: Graph[None] = graph({browse: {browse: .5, add: edge(.2, think=(1, 3)), leave: .3}, add: {leave: 1}}, state=Cart)
mixed = graph({home: {browse: .5, leave: .5}, browse: {home: .1, leave: .9}}, start={home: .7, browse: .3}, state=Cart)
plain = graph({home: {home: .5, leave: .5}}, name="plain", think=lognormal(1.4, .8), max_visits=10)
of_rows: Graph[Shopper] = graph({account: {leave: 1}}, data=SHOPPERS, each="iteration")
made: Graph[Shopper] = graph({browse: {leave: 1}}, data=SHOPPERS, state=lambda row: Cart([row.email]))
rows: Edges[Cart] = {browse: {add: 3, leave: 7}, add: {leave: 3}}
counted = graph(rows, state=Cart, counts=True)
nodes: dict[str, Node[Cart]] = {"browse": browse, "add": add}
logged = {"browse": {"add": 3, "exit": 7}, "add": {"exit": 3}}
read = graph({nodes[a]: {nodes.get(b, leave): n for b, n in row.items()} for a, row in logged.items()}, state=Cart)

graph({browse: {account: .5, leave: .5}}, state=Cart)  # E: Dict entry 0 has incompatible type "Node[Shopper]"
graph({browse: {leave: 1}, account: {leave: 1}}, state=Cart)  # E: Dict entry 1 has incompatible type "Node[Shopper]"
graph({browse: {leave: 1}}, state=Shopper)  # E: Argument "state" to "graph" has incompatible type
graph({browse: {leave: 1}})  # E: Dict entry 0 has incompatible type "Node[Cart]"
graph({browse: {leave: 1}}, start=account, state=Cart)  # E: Cannot infer value of type parameter "S"
graph({browse: {leave: "1"}}, state=Cart)  # E: Dict entry 0 has incompatible type "Leave": "str"
graph({browse: {leave: 1}}, data=SHOPPERS)  # E: Cannot infer value of type parameter "S"
graph({browse: {leave: 1}}, data=SHOPPERS, state=Cart)  # E: Argument "state" to "graph" has incompatible type
graph({with_row: {leave: 1}})  # E: incompatible type "Journey[Shopper]"
graph({leave: {browse: 1}}, state=Cart)  # E: Dict entry 0 has incompatible type "Leave"
edge(.5, think=[1, 2])  # E: Argument "think" to "edge" has incompatible type

@shop.set_up
async def log_in(user: User) -> None: ...

@of_rows.tear_down
async def log_out(user: User, shopper: Shopper) -> None: ...

@shop.set_up  # E: incompatible type
async def wrong_set_up(user: User, shopper: Shopper) -> None: ...

Plan(target="https://shop.example", load=arrivals("5/s").hold("1m"), mix={shop: 3, home: 1})

async def test_it() -> None:
    outcome: str = (await shop.trial(replies={"GET /": reply(200)}, path=[browse, add])).outcome
    await of_rows.trial(Shopper("a"), replies={}, seed=7)
    await of_rows.trial(Cart(), replies={})  # E: incompatible type "Cart"; expected "Shopper"
    visits: dict[str, float] = shop.visits
    way: tuple[str, ...] = shop.path(4711, seed=7)
"""


def test_a_node_of_another_state_is_an_error_of_types(tmp_path: Path) -> None:
    check_types(tmp_path, TYPED)
