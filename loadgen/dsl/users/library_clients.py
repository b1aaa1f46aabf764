"""Clients of third-party libraries that `user.client` makes, and how long they live: with a user, a slot or a worker.

A Redis client with its pool is expensive to open, so an open load, whose every iteration has a fresh user, should not
open one for each arrival. `scope="slot"` keeps the client for the iterations that follow one another in one slot;
`scope="worker"` has one for all users of a worker process.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

from loadgen.clients.browser.browsers import Browsers
from loadgen.dsl.users.leaked_tasks import SHARED
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import UsageError

if TYPE_CHECKING:
    from loadgen.dsl.users.user import User

__all__ = ["MAX_CLIENTS", "SCOPES", "LibraryClients", "OwnerMeter", "Scope", "WorkerClients"]

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

    def get(self, factory: Callable[[User], T], user: Callable[[], User]) -> T:
        """Return the client of a factory; create it at the first call. user: returns the user that the factory gets.

        Raises:
            UsageError: an async factory, or more than MAX_CLIENTS factories.
        """
        if factory not in self._clients:
            if len(self._clients) >= MAX_CLIENTS:
                raise UsageError(
                    f"user.client: more than {MAX_CLIENTS} clients; probably each call passes a new factory",
                    hint="pass a class or function defined at module level, not a lambda",
                )
            with SHARED.creating() if self._is_shared else nullcontext():
                client = factory(user())
            if inspect.iscoroutine(client):
                client.close()
                raise UsageError(
                    f"user.client: {getattr(factory, '__name__', factory)} is async",
                    hint="create the client in a plain function or class, and connect in a method awaited later",
                )
            self._clients[factory] = client
            if self._is_shared:
                SHARED.add(client)
        made: T = self._clients[factory]
        return made

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

    def of(self, factory: Callable[[User], T], user: User) -> T:
        """Return the worker's client of a factory. user: who asks; the factory gets it only where no owner is set."""
        return self.get(factory, self.owner or (lambda: user))

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
