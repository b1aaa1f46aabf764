"""People: users as a plan's ways make them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from loadgen.clients.net.canned_replies import CannedNetwork, reply
from loadgen.clients.pool.connection_policy import Connections
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.tracing import Trace
from loadgen.dsl.users.user import User, UserWith
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.engine.recording.recorder import Recorder
from tests.support.lives import Bench, bound

WAYS = Ways({"api": "http://api.test/v1", "login": "http://login.test"})


def test_the_first_target_is_the_users_own_unless_another_is_named() -> None:
    assert WAYS.url == "http://api.test/v1"
    assert Ways(WAYS.targets, target="login").url == "http://login.test"
    with pytest.raises(FrozenInstanceError):
        WAYS.target = "api"  # type: ignore[misc]


async def test_people_have_the_plans_seed_load_tags_and_shared_value() -> None:
    user_factory = UserFactory(WAYS, CannedNetwork({}), None, seed=3, shared={"shop": 7})
    user = user_factory.user(Recorder(), load=2, tags=(("load", "spike"),))
    assert isinstance(user, UserWith)
    assert (user.shared, user._meter.load, user._meter.tags) == ({"shop": 7}, 2, (("load", "spike"),))
    assert str(user.http.base_url).startswith("http://api.test/v1")
    user_factory.shared = 8  # the plan's set-up has returned
    assert user_factory.user(Recorder()).shared == 8
    assert user.random.random() != user_factory.user(Recorder()).random.random()  # of another load


async def test_the_ways_reach_the_clients_of_every_target() -> None:
    seen: list[tuple[str, bool]] = []

    def answer(request: object) -> bytes:
        headers = getattr(request, "headers", {})
        seen.append((headers["host"], "traceparent" in headers))
        return reply(302, headers={"Location": "/there", "X-Cache": "HIT"})

    network = CannedNetwork({"GET /": answer, "GET /v1/": answer, "GET /there": reply(200)})
    ways = Ways(
        WAYS.targets,
        timeouts=Timeouts(total_ns=5_000_000_000),
        tags=("x-cache",),
        trace=Trace(sample=1),
        follow_redirects=True,
    )
    recorder = Recorder()
    user = UserFactory(ways, network, None, seed=1).user(recorder)
    assert (await user.http.get("/")).status_code == 200
    assert (await user.to("login").get("/")).status_code == 200
    user._meter.settle()
    assert seen == [("api.test", True), ("login.test", True)]
    tags = {key.tags for key in recorder.flip(0, 1).new_series}
    assert (("x-cache", "HIT"),) in tags


async def test_a_shared_pool_stays_open_when_one_of_its_people_leaves() -> None:
    network = CannedNetwork({"GET /": 200})
    ways = Ways({"": "http://shop.test"}, connections=Connections.parse("shared:2"))
    user_factory = UserFactory(ways, network, None, seed=1)

    async def j(user: User) -> None:
        await user.http.get("/", expect=200)

    lives = [user_factory.life(Recorder(), [bound(j)], fresh=False, report=lambda _: None) for _ in range(3)]
    for life in lives:
        await life._user.http.get("/")
        await life.close()
    assert network.connections == 1
    user_factory.close()


async def test_two_people_of_one_worker_do_not_write_the_same_trace_ids() -> None:
    seen: list[str] = []

    def answer(request: object) -> bytes:
        seen.append(getattr(request, "headers", {})["traceparent"])
        return reply(200)

    network = CannedNetwork({"GET /": answer})
    ways = Ways({"": "http://shop.test"}, trace=Trace())
    for _ in range(2):  # two workers with the same seed
        user_factory = UserFactory(ways, network, None, seed=1)
        for _ in range(2):
            await user_factory.user(Recorder()).http.get("/")
    assert len({trace.split("-")[1] for trace in seen}) == 4


async def test_an_iteration_tells_the_meter_which_arrival_of_which_load_it_is() -> None:
    seen: list[tuple[int, int]] = []

    async def j(user: User) -> None:
        seen.append((user._meter.n, user._meter.load))

    await Bench(bound(j), load=3).run(2, first=41)
    assert seen == [(41, 3), (42, 3)]


async def test_one_path_of_two_targets_is_two_rows() -> None:
    async def j(user: User) -> None:
        await user.http.get("/")
        await user.to("api").get("/")
        await user.to("login").get("/")
        await user.to("login").get("/", name="the login page")

    bench = Bench(bound(j), targets={"api": "http://api.test", "login": "http://login.test"})
    assert (await bench.run()).outcome == "ok"
    requests = {row[2]: count for row, count in bench.rows().items() if row[0] == "request"}
    assert requests == {"GET /": 2, "GET login:/": 1, "the login page": 1}
