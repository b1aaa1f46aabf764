"""Clients of third-party libraries that `user.client` makes, and how long they live: with a user, a slot or a worker.

A Redis client with its pool is expensive to open, so an open load, whose every iteration has a fresh user, should not
open one for each arrival. `scope="slot"` keeps the client for the iterations that follow one another in one slot;
`scope="worker"` has one for all users of a worker process.

A factory runs in the event loop and cannot await. If it connects by itself, an exception of it counts as `outcomes=`
maps it, and a factory that blocks the loop is named in a note. Nothing of a failed factory is kept, so the next call
runs it again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from difflib import get_close_matches
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

from loadgen.clients.browser.browsers import Browsers
from loadgen.dsl.users.leaked_tasks import SHARED
from loadgen.dsl.users.named_outcomes import Outcomes, name_failure
from loadgen.dsl.users.worker_tally import WorkerTally
from loadgen.engine.health.selfcheck import BLOCKED_NS
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import UsageError
from loadgen.units import format_duration

if TYPE_CHECKING:
    from loadgen.dsl.users.user import User

__all__ = [
    "MAX_CLIENTS",
    "SCOPES",
    "LibraryClients",
    "OwnerMeter",
    "Scope",
    "WorkerClients",
    "check_factory",
    "check_scope",
]

T = TypeVar("T")

Scope = Literal["user", "slot", "worker"]
SCOPES: Final = get_args(Scope)
MAX_CLIENTS: Final = 100
"""Maximum clients of one user, slot or worker; more come from a factory that is new at each call."""


class LibraryClients:
    """The clients of one user, slot or worker, by their factories.

    is_shared: they outlive a user, and so do the tasks that their methods start.
    """

    __slots__ = ("_clients", "_is_shared")

    def __init__(self, *, is_shared: bool = False) -> None:
        self._clients: dict[Any, Any] = {}
        self._is_shared = is_shared

    def get(
        self,
        factory: Callable[[User], T],
        user: User,
        outcomes: Outcomes | None = None,
        *,
        owner: Callable[[], User] | None = None,
    ) -> T:
        """Return the client that the factory creates at the first call.

        Args:
            user: the caller.
            outcomes: maps classes of exceptions that the factory raises to outcomes, as in `user.measure`.
            owner: returns the user that the factory gets; None: the factory gets `user`.

        Raises:
            UsageError: an async factory, or more than MAX_CLIENTS factories.
            Exception: what the factory raises.
        """
        if factory not in self._clients:
            if len(self._clients) >= MAX_CLIENTS:
                raise UsageError(
                    f"user.client: more than {MAX_CLIENTS} clients; probably each call passes a new factory",
                    hint="pass a class or function defined at module level, not a lambda",
                )
            client = self._created(factory, user, outcomes, owner)
            self._clients[factory] = client
            if self._is_shared:
                SHARED.add(client)
        made: T = self._clients[factory]
        return made

    def _created(
        self,
        factory: Callable[[User], object],
        user: User,
        outcomes: Outcomes | None,
        owner: Callable[[], User] | None,
    ) -> object:
        check_factory(factory)
        made_for = user if owner is None else owner()
        began_ns = perf_counter_ns()
        try:
            with SHARED.creating() if self._is_shared else nullcontext():
                client = factory(made_for)
        except Exception as error:
            if outcomes is not None:
                name_failure(error, outcomes)
            raise
        finally:
            if (took_ns := perf_counter_ns() - began_ns) > BLOCKED_NS:
                _note_blocked(factory, user, took_ns)
        if inspect.iscoroutine(client) or inspect.isasyncgen(client):
            if inspect.iscoroutine(client):
                client.close()
            raise _is_async(factory)
        return client

    async def close(self) -> None:
        """Close all clients by their `aclose()` or `close()`, then raise the first exception of a close, if any."""
        clients, self._clients = self._clients, {}
        failure: Exception | None = None
        for client in clients.values():
            SHARED.discard(client)
            close = getattr(client, "aclose", None) or getattr(client, "close", None)
            try:
                if close is not None and inspect.isawaitable(closing := close()):
                    await closing
            except Exception as error:  # noqa: BLE001  # the others must be closed as well
                failure = failure or error
        if failure is not None:
            raise failure


class WorkerClients(LibraryClients):
    """The clients that all users of a worker share.

    owner: returns a user that belongs to no iteration; the factories get it. Its meter is an `OwnerMeter`.
    """

    __slots__ = ("browsers", "owner")

    def __init__(self, owner: Callable[[], User] | None = None) -> None:
        super().__init__(is_shared=True)
        self.owner = owner
        self.browsers: Browsers | None = None
        """The browsers of the worker; None: no user has opened a page."""

    def of(self, factory: Callable[[User], T], user: User, outcomes: Outcomes | None = None) -> T:
        """Return the worker's client of a factory. user: the caller; the factory gets it only where no owner is set."""
        return self.get(factory, user, outcomes, owner=self.owner)

    async def close(self) -> None:
        browsers, self.browsers = self.browsers, None
        try:
            await super().close()
        finally:
            if browsers is not None:
                await browsers.close()


class OwnerMeter(Meter):
    """The meter of a user that owns a worker's clients. It refuses to measure, because this user runs no iterations."""

    def ask(self, name: str) -> Any:
        raise UsageError(
            f'"{name}" would be measured for no user, because the client belongs to the worker',
            hint="measure in the journey: async with user.measure(...): await user.client(...).call()",
        )


def check_factory(factory: object) -> None:
    """Raise UsageError unless `factory` can be called, and is not an async function."""
    if not callable(factory):
        raise UsageError(
            f"user.client: {factory!r} is not a factory", hint="pass a class or function that takes a user"
        )
    if inspect.iscoroutinefunction(factory) or inspect.isasyncgenfunction(factory):
        raise _is_async(factory)


def check_scope(scope: object) -> None:
    """Raise UsageError unless `scope` of `user.client` is one of SCOPES."""
    if scope not in SCOPES:
        near = get_close_matches(str(scope), SCOPES, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"write one of {', '.join(SCOPES)}"
        raise UsageError(f"user.client: {scope!r} is not a scope", hint=hint)


def _is_async(factory: object) -> UsageError:
    return UsageError(
        f"user.client: {_name(factory)} is async",
        hint="create the client in a plain function or class, and connect in a method awaited later",
    )


def _note_blocked(factory: object, user: User, took_ns: int) -> None:
    """Note once per worker that a factory blocked the event loop, with the time of this first call."""
    recorder = user._meter.recorder
    if WorkerTally.of(recorder).is_new(("blocking client", _name(factory))):
        recorder.note(
            f"user.client: {_name(factory)} blocked the event loop for {format_duration(took_ns)} while it created its "
            "client, and all users of the worker waited; connect in an async method, and await it in the journey"
        )


def _name(factory: object) -> str:
    return str(getattr(factory, "__name__", factory))
