"""`@journey` turns an async function into a journey; one call of it by one user is an iteration.

    @journey
    async def browse(user: User) -> None: ...

    @journey(data=feed.csv("data/shoppers.csv", Shopper).unique())
    async def checkout(user: User, shopper: Shopper) -> None: ...

    @checkout.set_up                  # once per user, before its first iteration; tear_down when the user leaves
    async def _(user: User, shopper: Shopper) -> None: ...

    @journey(state=Session)           # user.state is a Session, created once per user and kept for its life
    async def search(user: UserWith[Session]) -> None: ...

The decorator never raises: errors are kept in `faults`, with their lines.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeAlias, TypeVar, overload

from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault
from loadgen.measure.deltas.limits import NAME_BYTES

if TYPE_CHECKING:
    from datetime import datetime

    from loadgen.clients.llm.settings import Llm
    from loadgen.dsl.data.feed import Feed
    from loadgen.dsl.pytest_trial import Trial
    from loadgen.dsl.users.user import User, UserWith

__all__ = ["Each", "Journey", "Mix", "journey", "state_wrong"]

Row = TypeVar("Row")
S = TypeVar("S")
Each = Literal["user", "iteration"]
"""The owner of a data row in a closed load. In open and counted loads, each iteration takes a row anyway."""
EACH: Final = ("user", "iteration")


class Journey(Generic[Row]):
    """A journey, made from a function by `@journey`. `Row` is the type of its data row; None: it takes no data.

    feed: the source of its rows, or None.
    state: creates a user's state, or None.
    each: in closed loads, whether each user or each iteration takes a row.
    set_up_fn, tear_down_fn: run once per user, with the journey's arguments; or None.
    """

    def __init__(
        self,
        fn: Callable[..., Awaitable[None]],
        origin: Origin,
        *,
        feed: Feed[Row] | None = None,
        name: str | None = None,
        state: Callable[[], Any] | None = None,
        each: Each = "user",
    ) -> None:
        self.fn = fn
        self.origin = origin
        self.feed = feed
        self.name = str(name if name is not None else getattr(fn, "__name__", "journey"))
        self.state = state
        self.each: Each = each
        self.set_up_fn: Callable[..., Awaitable[None]] | None = None
        self.tear_down_fn: Callable[..., Awaitable[None]] | None = None
        self._faults: list[Fault] = []
        self.__doc__ = getattr(fn, "__doc__", None)
        self.__wrapped__ = fn
        self._check_name(name)
        self._check(fn, "journey", origin)
        if state is not None:
            self._faults += state_wrong(state, self.name, origin, 0)
        self._check_each(each)

    is_graph: ClassVar[bool] = False

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return all errors of this journey. Errors in the rows of its feed are not included."""
        return tuple(self._faults)

    @property
    def warnings(self) -> tuple[Fault, ...]:
        """Return problems that do not prevent a run, and are shown before it; () for a plain journey."""
        return ()

    @property
    def parts(self) -> tuple[tuple[str, Callable[..., Any]], ...]:
        """Return the scenario's functions that this journey runs, each as (name of the step around it, function).

        The name is "" if there is no step around it. A plain journey has one function, a graph one per node.
        """
        return (("", self.fn),)

    @overload
    def set_up(
        self: Journey[None], fn: Callable[[UserWith[Any]], Coroutine[Any, Any, None]]
    ) -> Callable[[UserWith[Any]], Coroutine[Any, Any, None]]: ...
    @overload
    def set_up(
        self, fn: Callable[[UserWith[Any], Row], Coroutine[Any, Any, None]]
    ) -> Callable[[UserWith[Any], Row], Coroutine[Any, Any, None]]: ...
    def set_up(self, fn: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
        """Register the decorated function, which each user runs once before its first iteration; return it unchanged.

        Its time is not part of any response time.
        """
        self._once(self.set_up_fn, fn, "set-up")
        self.set_up_fn = fn
        return fn

    @overload
    def tear_down(
        self: Journey[None], fn: Callable[[UserWith[Any]], Coroutine[Any, Any, None]]
    ) -> Callable[[UserWith[Any]], Coroutine[Any, Any, None]]: ...
    @overload
    def tear_down(
        self, fn: Callable[[UserWith[Any], Row], Coroutine[Any, Any, None]]
    ) -> Callable[[UserWith[Any], Row], Coroutine[Any, Any, None]]: ...
    def tear_down(self, fn: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
        """Register the decorated function, which each user runs once after its last iteration; return it unchanged."""
        self._once(self.tear_down_fn, fn, "tear-down")
        self.tear_down_fn = fn
        return fn

    @overload
    async def trial(
        self: Journey[None],
        row: None = None,
        *,
        replies: Mapping[str, Any],
        seed: int = 0,
        shared: Any = None,
        now: datetime | None = None,
        llm: Llm | None = None,
        clients: Mapping[Any, Callable[[User], Any]] | None = None,
    ) -> Trial: ...
    @overload
    async def trial(
        self,
        row: Row,
        *,
        replies: Mapping[str, Any],
        seed: int = 0,
        shared: Any = None,
        now: datetime | None = None,
        llm: Llm | None = None,
        clients: Mapping[Any, Callable[[User], Any]] | None = None,
    ) -> Trial: ...
    async def trial(
        self,
        row: Any = None,
        *,
        replies: Any,
        seed: int = 0,
        shared: Any = None,
        now: datetime | None = None,
        llm: Llm | None = None,
        clients: Mapping[Any, Callable[[User], Any]] | None = None,
    ) -> Trial:
        """Run the journey once on canned replies, without network, and return what it did. Think times take no time.

        Args:
            row: the data row, for a journey with data.
            replies: maps "METHOD /path" to `reply(200, json={...})`, or to a list of replies for successive requests.
            seed: of the iteration's random numbers.
            shared: the value of `user.shared`.
            now: the time that `user.now()` returns at the start.
            llm: the plan's `Llm`, if the journey asks an AI model and depends on it. `stream_reply` makes its replies.
            clients: maps a factory that the journey passes to `user.client` to one that takes its place, so that no
                library connects: `{Cache: FakeCache}`.

        Returns:
            The recorded outcome, requests and steps.
        """
        from loadgen.dsl.pytest_trial import try_journey

        return await try_journey(self, row, replies, seed=seed, shared=shared, now=now, llm=llm, clients=clients)

    def _once(self, before: object, fn: Callable[..., Awaitable[None]], what: str) -> None:
        origin = here()
        if before is not None:
            self._faults.append(origin.fault(f"{self.name} has two {what}s", "combine both functions into one"))
        self._check(fn, what, origin)

    def _check_name(self, name: object) -> None:
        if not self.name or (name is not None and not isinstance(name, str)):
            self._faults.append(
                self.origin.fault(f"{name!r} is not a valid name of a journey", 'write name="checkout"')
            )
        elif (size := len(self.name.encode("utf-8", "replace"))) > NAME_BYTES:
            message = f"the name of journey {self.name[:40]}... has {size:,} bytes of UTF-8, too many"
            self._faults.append(self.origin.fault(message, f"write at most {NAME_BYTES} bytes"))

    def _check_each(self, each: object) -> None:
        if each not in EACH:
            self._faults.append(
                self.origin.fault(f"each={each!r} of {self.name} is unknown", 'write each="user" or each="iteration"')
            )
        elif each != "user" and self.feed is None:
            self._faults.append(
                self.origin.fault(
                    f'each="{each}" of {self.name} has no effect without data', "add data=feed..., or leave out each="
                )
            )

    def _check(self, fn: object, what: str, origin: Origin) -> None:
        name = getattr(fn, "__name__", repr(fn))
        if not callable(fn):
            self._faults.append(origin.fault(f"{fn!r} is not a function", f"use an async function as {what}"))
            return
        if inspect.isasyncgenfunction(fn):
            self._faults.append(origin.fault(f"{what} {name} yields", f"remove `yield`: a {what} may only await"))
        elif not inspect.iscoroutinefunction(fn):
            self._faults.append(origin.fault(f"{what} {name} is not async", f"write `async def {name}(...)`"))
        wanted = 1 if self.feed is None else 2
        try:
            inspect.signature(fn).bind(*range(wanted))
        except TypeError:
            signature = f"async def {name}(user: User" + (", row: Row)" if wanted == 2 else ")")
            why = (
                "with data, it is called with (user, row)" if wanted == 2 else "without data, it is called with (user)"
            )
            hint = f"write `{signature}`"
            if wanted == 1 and _takes_two(fn):
                hint += ', or give it rows: @journey(data=feed.csv("rows.csv", Row))'
            self._faults.append(origin.fault(f"{what} {name} has the wrong parameters: {why}", hint))
        except ValueError:
            pass  # a builtin without a signature

    def __repr__(self) -> str:
        return f"<journey {self.name} at {self.origin}>"


def _takes_two(fn: Callable[..., Any]) -> bool:
    """Return True if a function can be called with a user and a row."""
    try:
        inspect.signature(fn).bind(None, None)
    except TypeError:
        return False
    return True


Mix: TypeAlias = Mapping[Journey[Any], float]
"""The journeys of a load and their relative weights, for a mix in a variable: `MIX: Mix = {browse: 6, buy: 1}`.

Without the annotation, type checkers infer a dict of `object` for journeys with different data rows.
"""


@overload
def journey(fn: Callable[[User], Coroutine[Any, Any, None]], /) -> Journey[None]: ...
@overload
def journey(
    *, data: Feed[Row], state: Callable[[], S], name: str | None = None, each: Each = "user"
) -> Callable[[Callable[[UserWith[S], Row], Coroutine[Any, Any, None]]], Journey[Row]]: ...
@overload
def journey(
    *, data: Feed[Row], name: str | None = None, each: Each = "user"
) -> Callable[[Callable[[User, Row], Coroutine[Any, Any, None]]], Journey[Row]]: ...
@overload
def journey(
    *, state: Callable[[], S], name: str | None = None
) -> Callable[[Callable[[UserWith[S]], Coroutine[Any, Any, None]]], Journey[None]]: ...
@overload
def journey(*, name: str | None = None) -> Callable[[Callable[[User], Coroutine[Any, Any, None]]], Journey[None]]: ...
def journey(
    fn: Any = None, /, *, data: Any = None, state: Any = None, name: str | None = None, each: Any = "user"
) -> Any:
    """Return a journey made from an async function. Write `@journey` or `@journey(data=...)` above the function.

    Args:
        data: a feed; its row becomes the function's second argument.
        state: a class or function that creates a user's state, called without arguments. Annotate the user as
            `UserWith[Session]`, and mypy checks `user.state`. Journeys with the same `state` share it within one user.
            A fresh user (in each iteration of an open load) gets a fresh state.
        name: the name in reports and objectives; by default the function's name.
        each: in closed loads, each "user" keeps one row for the whole load, or each "iteration" takes another row.

    Errors do not raise here; the loader reports them with the others.
    """
    if fn is not None:
        return Journey[Any](fn, here())

    def decorate(fn: Callable[..., Coroutine[Any, Any, None]]) -> Journey[Any]:
        return Journey[Any](fn, here(), feed=data, name=name, state=state, each=each)

    return decorate


def state_wrong(state: object, of: str, origin: Origin, takes: int) -> Iterator[Fault]:
    """Yield an error if `state` is async or cannot be called with `takes` arguments (0, or 1 for the data row).

    of: the name of the journey or graph, for messages.
    """
    name = getattr(state, "__name__", repr(state))
    if not callable(state):
        yield origin.fault(
            f"state={state!r} of {of} must be callable, got a value of type {type(state).__name__}",
            f"pass what creates the state of each user: a class, `state={type(state).__name__}`, or a function",
        )
        return
    if inspect.iscoroutinefunction(state):
        yield origin.fault(f"state={name} of {of} is async", "use a plain function, and await in set_up")
        return
    try:
        inspect.signature(state).bind(*range(takes))
    except TypeError as error:
        with_what = "without arguments" if not takes else "with the row"
        yield origin.fault(
            f"state={name} of {of} cannot be called {with_what}: {error}",
            f"add defaults to its fields, or write `state=lambda{' row' if takes else ''}: {name}(...)`",
        )
    except ValueError:
        pass  # a builtin without a signature
