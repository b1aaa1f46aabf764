"""`@journey`: what it makes, what it refuses, and what mypy says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen import User, feed, journey
from loadgen.dsl.journey import Journey
from tests.support.typed import check_types

ROWS = feed.rows(["a", "b"])


def test_a_bare_journey_keeps_its_function_and_name() -> None:
    @journey
    async def browse(user: User) -> None:
        """Looks around."""

    assert (browse.name, browse.feed, browse.faults, browse.__doc__) == ("browse", None, (), "Looks around.")
    assert browse.fn.__name__ == "browse"


def test_a_journey_with_data_keeps_its_feed_and_may_have_another_name() -> None:
    @journey(data=ROWS, name="shop")
    async def buy(user: User, row: str) -> None: ...

    assert (buy.name, buy.feed, buy.faults) == ("shop", ROWS, ())


def test_a_journey_knows_where_it_is_written() -> None:
    @journey
    async def browse(user: User) -> None: ...

    assert browse.origin.file == __file__
    assert browse.origin.line == browse.fn.__code__.co_firstlineno


def not_async(user: User) -> None: ...


async def yields(user: User) -> Any:
    yield


async def takes_nothing() -> None: ...


async def takes_a_row(user: User, row: str) -> None: ...


@pytest.mark.parametrize(
    ("fn", "data", "message"),
    [
        (not_async, None, "journey not_async is not async"),
        (yields, None, "journey yields yields"),
        (takes_nothing, None, "journey takes_nothing has the wrong parameters"),
        (takes_a_row, None, "without data, it is called with (user)"),
        (takes_nothing, ROWS, "with data, it is called with (user, row)"),
        (3, None, "3 is not a function"),
    ],
)
def test_what_cannot_be_a_journey_is_a_fault_and_never_raises(fn: Any, data: Any, message: str) -> None:
    one: Journey[Any] = journey(data=data)(fn)
    assert message in one.faults[0].message
    assert one.faults[0].file == __file__


def test_set_up_and_tear_down_are_kept_and_checked() -> None:
    @journey
    async def browse(user: User) -> None: ...

    @browse.set_up
    async def begin(user: User) -> None: ...

    @browse.tear_down
    async def end(user: User) -> None: ...

    assert (browse.set_up_fn, browse.tear_down_fn, browse.faults) == (begin, end, ())
    browse.set_up(not_async)  # type: ignore[arg-type]
    assert [fault.message for fault in browse.faults] == ["browse has two set-ups", "set-up not_async is not async"]


@pytest.mark.parametrize(
    ("state", "message", "hint"),
    [
        (3, "state=3 of browse must be callable, got a value of type int", "`state=int`"),
        ({}, "state={} of browse must be callable, got a value of type dict", "`state=dict`"),
        (not_async, "state=not_async of browse cannot be called without arguments", "state=lambda: not_async(...)"),
        (takes_nothing, "state=takes_nothing of browse is async", "await in set_up"),
    ],
)
def test_a_state_that_makes_nothing_is_a_fault_with_its_line_and_never_raises(
    state: Any, message: str, hint: str
) -> None:
    async def browse(user: User) -> None: ...

    one: Journey[None] = journey(state=state)(browse)
    (fault,) = one.faults
    assert message in fault.message
    assert hint in fault.hint
    assert (fault.file, one.state) == (__file__, state)


def test_a_class_or_a_function_makes_a_state() -> None:
    class Session: ...

    async def browse(user: User) -> None: ...

    states: list[Callable[[], Any]] = [Session, dict, lambda: Session()]
    for state in states:
        one: Journey[None] = journey(state=state)(browse)
        assert (one.state, one.faults) == (state, ())


def test_a_row_is_dealt_to_each_user_or_each_iteration() -> None:
    async def buy(user: User, row: str) -> None: ...

    assert journey(data=ROWS)(buy).each == "user"
    one = journey(data=ROWS, each="iteration")(buy)
    assert (one.each, one.faults) == ("iteration", ())
    bad: Any = "request"
    (fault,) = journey(data=ROWS, each=bad)(buy).faults
    assert (fault.message, fault.hint) == (
        "each='request' of buy is unknown",
        'write each="user" or each="iteration"',
    )


def test_each_without_data_is_a_fault() -> None:
    async def browse(user: User) -> None: ...

    decorate: Any = journey
    one: Journey[None] = decorate(each="iteration")(browse)
    assert [fault.message for fault in one.faults] == ['each="iteration" of browse has no effect without data']


# -- types --------------------------------------------------------------------------------------------

TYPED = """
from dataclasses import dataclass
from loadgen.dsl.distributions import lognormal
from loadgen.dsl.users.user import UserWith
from loadgen import Load, Mix, Plan, User, arrivals, error_ratio, feed, iterations, journey, p, param, reply, users
from loadgen import any_of, checks, counter, gauge, maximum, mean, rate, throughput, total, trend

@dataclass(frozen=True)
class Shopper:
    email: str

@dataclass(frozen=True)
class Order:
    number: int

SHOPPERS = feed.csv("shoppers.csv", Shopper).unique()

@journey
async def browse(user: User) -> None:
    async with user.step("login"):
        reply = await user.http.post("/login", json={"a": 1}, expect=201)
        token: str = reply.expect(status=200).pick("$.token", str)
        user.http.headers["Authorization"] = token
        count: int = reply.pick("$.token", str)  # E: Incompatible types in assignment
    await user.think(1, 3)

@journey(data=SHOPPERS)
async def buy(user: User, shopper: Shopper) -> None: ...

@journey(data=feed.jsonl("orders.jsonl", Order).shuffle(seed=1), name="order")
async def order(user: User, row: Order) -> None:
    row.nummer  # E: "Order" has no attribute "nummer"; maybe "number"?

@journey(data=SHOPPERS)  # E: has incompatible type
async def wrong_row(user: User, row: Order) -> None: ...

@journey(data=SHOPPERS)  # E: has incompatible type
async def no_row(user: User) -> None: ...

@journey  # E: Argument 1 to "journey" has incompatible type
async def no_feed(user: User, row: Order) -> None: ...

@journey  # E: expected "Callable[[User], Coroutine[Any, Any, None]]"
def not_async(user: User) -> None: ...

@browse.set_up
async def begin(user: User) -> None: ...

@buy.set_up
async def begin_buying(user: User, shopper: Shopper) -> None: ...

@buy.tear_down  # E: Argument 1 to "tear_down" of "Journey" has incompatible type
async def end(user: User, shopper: Order) -> None: ...

@dataclass
class Session:
    token: str = ""

@journey(state=Session)
async def stateful(user: UserWith[Session]) -> None:
    user.state.token = "x"
    user.state.tokn  # E: "Session" has no attribute "tokn"; maybe "token"?
    user.state = "x"  # E: Incompatible types in assignment

@journey(state=Session, data=SHOPPERS, each="iteration")
async def stateful_with_row(user: UserWith[Session], shopper: Shopper) -> None:
    token: str = user.state.token + shopper.email

@journey(state=Session)
async def does_not_read_it(user: User) -> None:
    user.state  # E: "User" has no attribute "state"

@journey(state=Session)  # E: has incompatible type
async def wrong_state(user: UserWith[Order]) -> None: ...

@journey  # E: Argument 1 to "journey" has incompatible type
async def no_state(user: UserWith[Session]) -> None: ...

@journey(data=SHOPPERS, each="hour")  # E: No overload variant
async def wrong_each(user: User, shopper: Shopper) -> None: ...

@stateful.set_up
async def log_in(user: UserWith[Session]) -> None:
    user.state.token = "x"

@stateful_with_row.tear_down
async def log_out(user: UserWith[Session], shopper: Shopper) -> None: ...

@journey
async def words(user: User) -> None:
    await user.think(lognormal(1.4, 0.8) * user.trait("speed", lognormal(0, 0.3)))
    await user.think("soon", 3, 4)  # E: Too many arguments
    await user.pace("10s")
    answer = await user.poll(lambda: user.http.get("/job"), until=lambda r: r.json()["done"], name="job")
    state: int = answer.pick("$.state", str)  # E: Incompatible types in assignment
    a, b = await user.gather(user.http.get("/"), user.to("login").get("/"))
    a.expect(status=200)
    b.expct(status=200)  # E: "Reply" has no attribute "expct"; maybe "expect"?
    is_ok: bool = user.check("has stock", a.text)
    at: str = user.now()  # E: Incompatible types in assignment
    if not is_ok:
        user.skip()
    user.fail("import failed")

async def shop(user: User) -> dict[str, str]:
    return {}

plan = Plan(
    target="https://shop.example",
    load=arrivals().ramp(to="200/s", over="2m").hold("10m"),
    mix={browse: 1.0, buy: 2, order: 3},
    slos=[p(95) < "300ms", p(99, step="login", journey=buy) < "800ms", error_ratio() < "0.1%", error_ratio() < 0.01],
    regions={"us-east-1": 0.6, "eu-west-1": 0.4},
    set_up=shop,
    warmup="30s",
)
MIX: Mix = {browse: 6, buy: 1, order: 2}
Plan("http://x", users(3).hold("1s"), MIX)
Load(MIX, users(3).hold("1s"))
Plan("http://x", users(3).hold("1s"), browse, [p(95) <= "1s"])  # E: Unsupported operand types for <= ("TimeValue" and
Plan("http://x", users(3).hold("1s"), browse, [p(95) >= "1s"])  # E: Unsupported operand types for >= ("TimeValue" and
Plan("http://x", iterations(3), browse, [p(95) < 300])  # E: Unsupported operand types for <
hits, basket, orders, stock = rate("hits"), trend("basket"), counter("orders"), gauge("stock")
Plan(
    "http://x",
    iterations(3),
    browse,
    [
        checks("has results") > "99.9%",
        mean(request="GET /", metric="service") < "80ms",
        maximum(step="pay", window="1m") < "5s",
        throughput("requests", window="1m") > "20/s",
        total("iterations") >= 100_000,
        error_ratio(outcome="http 503", tags={"tenant": any_of("gold")}) < 0.001,
        hits.ratio() > "90%",
        basket.p(95) < 300,
        basket.mean() > 20.5,
        orders.total() <= 10_000,
        stock.last() < 3,
    ],
)
orders.p(95)  # E: "Counter" has no attribute "p"
basket.p(95) < "300ms"  # E: Unsupported operand types for <
total("iterations") > "20/s"  # E: Unsupported operand types for >
throughput("requests") > 20  # E: Unsupported operand types for >
p(95, metric="tfb")  # E: No overload variant of "p"
total("users") > 3  # E: Argument 1 to "total"
Plan("http://x", "50/s", browse)  # E: Argument 2 to "Plan"
Plan("http://x", users(3).hold("1s"), {len: 1})  # E: Dict entry 0
Plan("http://x", users(3).hold("1s"), browse, slo=[])  # E: Unexpected keyword argument "slo"
Plan("http://x", users(3).hold("1s"), browse, set_up=len)  # E: Argument "set_up"
pool: int = param("pool", int, default=4)
name: int = param("name", str)  # E: Incompatible types in assignment

async def test_it() -> None:
    trial = await buy.trial(Shopper("a"), replies={"POST /login": reply(200, json={"token": "t"})})
    outcome: str = trial.outcome
    await browse.trial(replies={})
    await buy.trial(Order(1), replies={})  # E: incompatible type "Order"; expected "Shopper"
    await buy.trial(replies={})  # E: Missing positional argument "row"
"""


def test_what_a_user_writes_is_checked_by_mypy_strict(tmp_path: Path) -> None:
    check_types(tmp_path, TYPED)
