"""Trials: a journey once, on canned replies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from loadgen import Journey, ScenarioError, User, feed, journey, reply
from loadgen.dsl.loading.loader import load
from loadgen.dsl.metric import counter, gauge, trend
from loadgen.dsl.users.user import UserWith
from loadgen.errors import ExpectFailed, UsageError

SCENARIOS = Path(__file__).parent.parent.parent / "scenarios"


@dataclass(frozen=True)
class Shopper:
    email: str
    sku: str


@journey(data=feed.rows([Shopper("x", "y")]))
async def checkout(user: User, shopper: Shopper) -> None:
    async with user.step("login"):
        login = await user.http.post("/login", json={"email": shopper.email})
        user.http.headers["Authorization"] = "Bearer " + login.expect(status=200).pick("$.token", str)
    await user.think(60, 90)
    async with user.step("cart"), user.step("add"):
        await user.http.post("/cart", json={"sku": shopper.sku}, expect=201)


GOOD = {"POST /login": reply(200, json={"token": "t1"}), "POST /cart": reply(201)}
SHOPPER = Shopper("a@shop.example", "sku-1")


async def test_a_trial_tells_outcome_requests_and_steps_in_order() -> None:
    trial = await checkout.trial(SHOPPER, replies=GOOD)
    assert trial.outcome == "ok"
    assert [(r.name, r.step, r.outcome) for r in trial.requests] == [
        ("POST /login", "login", "ok"),
        ("POST /cart", "cart/add", "ok"),
    ]
    assert [(s.name, s.outcome) for s in trial.steps] == [("login", "ok"), ("cart/add", "ok"), ("cart", "ok")]
    assert all(r.response_ns > 0 for r in trial.requests)


async def test_a_trial_keeps_what_was_sent() -> None:
    trial = await checkout.trial(SHOPPER, replies=GOOD)
    assert [str(sent) for sent in trial.sent] == ["POST /login", "POST /cart"]
    assert trial.sent[0].json() == {"email": "a@shop.example"}
    assert trial.sent[1].headers["authorization"] == "Bearer t1"


async def test_thinking_takes_no_time_and_is_not_response_time() -> None:
    began_s = perf_counter()
    trial = await checkout.trial(SHOPPER, replies=GOOD)
    assert perf_counter() - began_s < 30
    assert 60 <= trial.thought_s <= 90
    assert trial.response_ns < 30e9


async def test_chance_follows_the_seed() -> None:
    thought = [(await checkout.trial(SHOPPER, replies=GOOD, seed=seed)).thought_s for seed in (1, 1, 2)]
    assert thought[0] == thought[1] != thought[2]


async def test_a_failure_of_the_target_is_the_outcome() -> None:
    trial = await checkout.trial(SHOPPER, replies=GOOD | {"POST /cart": reply(409, text="sold out")})
    assert trial.outcome == "expect status"
    assert "got 409, expected 201" in trial.detail
    assert [(s.name, s.outcome) for s in trial.steps][1:] == [("cart/add", "expect status"), ("cart", "expect status")]
    assert [r.outcome for r in trial.requests] == ["ok", "expect status"]


async def test_a_pick_that_finds_nothing_is_the_outcome() -> None:
    trial = await checkout.trial(SHOPPER, replies=GOOD | {"POST /login": reply(200, json={})})
    assert trial.outcome == "pick $.token"


async def test_replies_in_a_list_are_given_in_turn() -> None:
    @journey
    async def poll(user: User) -> None:
        for _ in range(2):
            await user.http.get("/job", expect=200)

    trial = await poll.trial(replies={"GET /job": [reply(200), reply(503)]})
    assert [r.outcome for r in trial.requests] == ["ok", "expect status"]


async def test_a_failure_that_the_journey_catches_is_not_its_outcome() -> None:
    @journey
    async def careful(user: User) -> None:
        try:
            await user.http.get("/", expect=200)
        except ExpectFailed:
            await user.http.get("/again", expect=200)

    trial = await careful.trial(replies={"GET /": 503, "GET /again": 200})
    assert trial.outcome == "ok"


async def test_a_fault_of_the_journeys_own_code_is_raised_as_it_is() -> None:
    @journey
    async def wrong(user: User) -> None:
        dict[str, str]()["sku"]

    with pytest.raises(KeyError, match="sku"):
        await wrong.trial(replies={})


async def test_a_request_without_a_canned_reply_says_which_there_are() -> None:
    with pytest.raises(UsageError, match="no canned reply for POST /cart") as raised:
        await checkout.trial(SHOPPER, replies={"POST /login": GOOD["POST /login"]})
    assert raised.value.hint == 'add "POST /cart" to the replies; they cover POST /login'


async def test_set_up_and_tear_down_are_run_around_it() -> None:
    lived: list[str] = []

    @journey
    async def browse(user: User) -> None:
        lived.append(f"journey {user.shared['shop']}")

    @browse.set_up
    async def begin(user: User) -> None:
        lived.append("set up")
        await user.http.get("/begin", expect=200)

    @browse.tear_down
    async def end(user: User) -> None:
        lived.append("torn down")

    trial = await browse.trial(replies={"GET /begin": 200}, shared={"shop": 7})
    assert (trial.outcome, lived) == ("ok", ["set up", "journey 7", "torn down"])


async def test_a_row_is_given_to_a_journey_with_data_and_to_no_other() -> None:
    @journey
    async def browse(user: User) -> None: ...

    with pytest.raises(UsageError, match="browse takes no data"):
        await browse.trial(3, replies={})  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="checkout needs a row"):
        await checkout.trial(None, replies={})  # type: ignore[arg-type]


async def test_a_journey_with_faults_is_not_tried() -> None:
    @journey  # type: ignore[arg-type]
    def browse(user: User) -> None: ...

    with pytest.raises(ScenarioError, match="browse is not async"):
        await browse.trial(replies={})


# -- the rest of the language ---------------------------------------------------------------------------


async def test_a_trials_clock_jumps_and_now_with_it() -> None:
    seen: list[datetime] = []

    @journey
    async def waits(user: User) -> None:
        seen.append(user.now())
        await user.think("1h")
        seen.append(user.now())
        await user.pace("2h")
        seen.append(user.now())

    noon = datetime(2026, 3, 4, 12, tzinfo=UTC)
    trial = await waits.trial(replies={}, now=noon)
    assert (trial.outcome, trial.thought_s) == ("ok", 3600)  # pacing is no thinking
    assert [round((at - noon).total_seconds()) for at in seen] == [0, 3600, 7200]
    assert trial.skipped_cycles == 0


async def test_a_poll_takes_no_time_and_its_wait_is_what_it_would_have_been() -> None:
    @journey
    async def imports(user: User) -> None:
        done = await user.poll(
            lambda: user.http.get("/job"), until=lambda r: r.pick("$.state") == "done", every="5s", name="import"
        )
        done.expect(json={"rows": 7})

    states = [reply(json={"state": "busy"}), reply(json={"state": "busy"}), reply(json={"state": "done", "rows": 7})]
    trial = await imports.trial(replies={"GET /job": states})
    assert trial.outcome == "ok"
    assert [r.name for r in trial.requests] == ["import (poll)"] * 3 + ["import"]
    assert trial.requests[-1].response_ns == pytest.approx(10e9, rel=0.1)
    assert trial.thought_s == 0
    never = await imports.trial(replies={"GET /job": {"state": "busy"}})
    assert (never.outcome, never.detail) == (
        "timeout",
        "import: no accepted result after 2m and 24 polls; check until=, or raise timeout=",
    )


async def test_a_trial_tells_checks_skips_and_where_it_failed() -> None:
    @journey
    async def looks(user: User) -> None:
        answer = await user.http.get("/stock")
        left = answer.expect(status=200).pick("$.left", int)
        if not user.check("in stock", left):
            user.skip("sold out")
        user.check("in stock", left > 1)
        user.fail("order not placed")

    gone = await looks.trial(replies={"GET /stock": {"left": 0}})
    assert (gone.outcome, gone.skipped, gone.detail) == ("skipped", True, "sold out")
    assert gone.checks == {"in stock": (0, 1)}
    last = await looks.trial(replies={"GET /stock": {"left": 1}})
    assert (last.outcome, last.skipped) == ("fail: order not placed", False)
    assert last.checks == {"in stock": (1, 2)}
    line = looks.fn.__code__.co_firstlineno + 7
    assert last.where == f"test_trial.py:{line} in looks"
    assert 'user.fail("order not placed")' in last.traceback
    broken = await looks.trial(replies={"GET /stock": 503})
    assert "got 503, expected 200" in broken.detail
    assert broken.where == f"test_trial.py:{line - 4} in looks"


orders, basket, stock = counter("orders"), trend("basket", unit="EUR"), gauge("stock")


@journey
async def counts(user: User) -> None:
    orders.add(2)
    basket.add(41.5)
    stock.set(3)


async def test_a_trial_tells_the_values_of_its_own_metrics_only() -> None:
    for _ in range(2):
        trial = await counts.trial(replies={})
        assert trial.metrics == {"orders": (2,), "basket": (41.5,), "stock": (3, 3, 3)}


@dataclass
class Session:
    token: str = ""


async def test_a_journey_with_a_state_has_a_fresh_one_in_each_trial() -> None:
    @journey(state=Session)
    async def logs_in(user: UserWith[Session]) -> None:
        assert user.state.token == "set up"
        user.state.token = "logged in"

    @logs_in.set_up
    async def begin(user: UserWith[Session]) -> None:
        assert user.state.token == ""
        user.state.token = "set up"

    for _ in range(2):
        assert (await logs_in.trial(replies={})).outcome == "ok"


async def test_every_target_of_a_trial_has_the_same_replies() -> None:
    @journey
    async def asks(user: User) -> None:
        await user.to("The API").get("/", expect=200)

    trial = await asks.trial(replies={"GET /": 200})
    assert trial.sent[0].headers["host"] == "the-api.trial.example"


async def test_a_trial_says_what_a_run_would_note() -> None:
    @journey
    async def leaks(user: User) -> None:
        asyncio.create_task(asyncio.sleep(3600))  # noqa: RUF006  # loadgen: allow
        await asyncio.sleep(0)

    (note,) = (await leaks.trial(replies={})).notes
    assert note.startswith(f"test_trial.py:{leaks.fn.__code__.co_firstlineno + 2} in leaks: a task was still running")


async def test_a_trial_of_a_faulty_state_is_none() -> None:
    async def j(user: User) -> None: ...

    bad: Any = 3
    wrong: Journey[None] = journey(state=bad, name="wrong")(j)
    with pytest.raises(ScenarioError, match="state=3 of wrong must be callable"):
        await wrong.trial(replies={})


async def test_the_checkout_of_the_demo_shop_can_be_tried() -> None:
    (one,) = load(SCENARIOS / "checkout.py").journeys
    row = type("Row", (), {"email": "a@shop.example", "password": "secret", "sku": "sku-1"})()
    page = reply(200, html='<form><input name="csrf" value="c7"></form>')
    trial = await one.trial(row, replies=GOOD | {"GET /products/{sku}": page})
    assert trial.outcome == "ok"
    assert trial.sent[-1].json() == {"sku": "sku-1", "csrf": "c7"}
