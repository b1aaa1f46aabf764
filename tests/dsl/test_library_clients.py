"""`user.client(factory, scope=)`: how long a library's client lives, and who closes it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loadgen.clients.net.canned_replies import CannedNetwork
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.recorder import Recorder
from tests.support.lives import Bench, bound


class Store:
    made: list[Store] = []  # noqa: RUF012
    closed: list[Store] = []  # noqa: RUF012

    def __init__(self, user: User) -> None:
        self.user = user
        Store.made.append(self)

    async def get(self) -> None:
        async with self.user.measure("get"):
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        Store.closed.append(self)


@pytest.fixture(autouse=True)
def _none_made() -> None:
    Store.made.clear()
    Store.closed.clear()


def two_users(j: Any) -> tuple[UserFactory, list[Any], list[str]]:
    """Two users of one worker, as an open load has them."""
    factory = UserFactory(Ways({"": "http://shop.test"}), CannedNetwork({}), None, seed=1)
    said: list[str] = []
    lives = [factory.life(Recorder(), [bound(j)], fresh=True, report=said.append) for _ in range(2)]
    return factory, lives, said


@pytest.mark.parametrize(("scope", "made"), [("user", 6), ("slot", 2), ("worker", 1)])
async def test_a_client_lives_with_its_user_its_slot_or_its_worker(scope: Any, made: int) -> None:
    async def j(user: User) -> None:
        store = user.client(Store, scope=scope)
        assert user.client(Store, scope=scope) is store
        async with user.measure("get"):
            await asyncio.sleep(0)

    factory, lives, said = two_users(j)
    for n in range(3):
        for life in lives:
            await life.iterate(Arrival(None, n, 0, False), pool_limited=False)
            assert life.outcome == "ok", said
    assert len(Store.made) == made
    assert len(Store.closed) == (6 if scope == "user" else 0)
    for life in lives:
        await life.close()
    assert len(Store.closed) == (0 if scope == "worker" else made)
    await factory.worker_clients.close()
    assert Store.closed == Store.made
    assert said == []


async def test_a_worker_s_client_that_measures_itself_is_an_error_that_says_where_to_measure() -> None:
    async def j(user: User) -> None:
        await user.client(Store, scope="worker").get()

    _, (life, _), said = two_users(j)
    await life.iterate(Arrival(None, 0, 0, False), pool_limited=False)
    assert life.outcome == "script UsageError"
    assert '"get" would be measured for no user, because the client belongs to the worker' in said[0]
    assert "measure in the journey" in said[0]


async def test_scopes_of_one_factory_are_different_clients() -> None:
    async def j(user: User) -> None:
        scopes: tuple[Any, ...] = ("user", "slot", "worker")
        assert len({user.client(Store, scope=scope) for scope in scopes}) == 3

    assert (await Bench(bound(j)).run()).outcome == "ok"


async def test_an_unknown_scope_names_the_known_ones() -> None:
    async def j(user: User) -> None:
        wrong: Any = "run"
        user.client(Store, scope=wrong)

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "script UsageError"
    assert "user.client: 'run' is not a scope; write one of user, slot, worker" in bench.said[0]


async def test_a_close_of_a_slot_that_fails_is_reported_and_the_run_goes_on() -> None:
    class Broken(Store):
        async def aclose(self) -> None:
            raise OSError("gone already")

    async def j(user: User) -> None:
        user.client(Broken, scope="slot")
        user.client(Store, scope="slot")

    bench = Bench(bound(j), fresh=False)
    await bench.run()
    await bench.life.close()
    assert len(Store.closed) == 1
    assert "closing a client of user.client" in bench.said[0]


class Sender:
    """Starts a task in its constructor, one when it connects, and one by an object of its own."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.library = Sending()
        self.tasks = [asyncio.create_task(asyncio.sleep(60))]

    async def connect(self) -> None:
        if len(self.tasks) == 1:
            self.tasks.append(asyncio.create_task(self._children()))

    async def _children(self) -> None:
        self.tasks.append(asyncio.create_task(asyncio.sleep(60)))
        await asyncio.sleep(60)

    async def aclose(self) -> None:
        for task in (*self.tasks, *self.library.tasks):
            task.cancel()


class Sending:
    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    async def send(self) -> None:
        self.tasks.append(asyncio.create_task(asyncio.sleep(60)))


@pytest.mark.parametrize("scope", ["slot", "worker"])
async def test_tasks_of_a_shared_client_live_with_it_and_not_with_the_iteration_that_started_them(scope: Any) -> None:
    async def j(user: User) -> None:
        client = user.client(Sender, scope=scope)
        await client.connect()
        await client.library.send()
        await asyncio.sleep(0)

    clients: list[Sender] = []

    async def look(user: User) -> None:
        await j(user)
        clients.append(user.client(Sender, scope=scope))

    factory, (life, _), said = two_users(look)
    for n in range(2):
        await life.iterate(Arrival(None, n, 0, False), pool_limited=False)
    tasks = [*clients[0].tasks, *clients[0].library.tasks]
    await asyncio.sleep(0)
    assert len(tasks) == 5
    assert not any(task.done() or task.cancelling() for task in tasks)
    assert said == []
    await life.close()
    await factory.worker_clients.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)


async def test_a_task_of_the_journey_beside_a_shared_client_is_still_a_leak() -> None:
    async def j(user: User) -> None:
        user.client(Sender, scope="worker")
        asyncio.get_running_loop().create_task(asyncio.sleep(60))
        await user.gather(asyncio.sleep(0))

    factory, (life, _), said = two_users(j)
    await life.iterate(Arrival(None, 0, 0, False), pool_limited=False)
    assert "a task was still running when the iteration of j ended" in said[0]
    await factory.worker_clients.close()
