"""The parts of a graph's rows: `@node`, `edge` and `leave`.

    @node
    async def browse(user: User, cart: Cart) -> Cart: ...

    {browse: {browse: edge(.5, think=(1, 3)), buy: .2, leave: .3}}

A node takes the session's state and returns the state for the next node: the same
object or another of its type. Nothing here raises: errors are kept in `faults`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final, overload

from loadgen.dsl.distributions import Distribution, fixed, uniform
from loadgen.dsl.journey import Journey
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault
from loadgen.units import NS_PER_S, parse_duration

if TYPE_CHECKING:
    from loadgen.dsl.users.user import User

__all__ = ["Edge", "Edges", "Leave", "Node", "Think", "edge", "leave", "node", "read_think"]

S = TypeVar("S")


class Node(Generic[S]):
    """A node of a graph, made from a function by `@node`. `S` is the type of the state that it takes and returns."""

    def __init__(
        self, fn: Callable[[User, S], Coroutine[Any, Any, S]], origin: Origin, name: str | None = None
    ) -> None:
        self.fn, self.origin = fn, origin
        self.name = str(name if name is not None else getattr(fn, "__name__", "node"))
        self.__doc__ = getattr(fn, "__doc__", None)
        self.__wrapped__ = fn
        self.faults = tuple(_wrong(fn, self.name, name, origin))

    def __repr__(self) -> str:
        return f"<node {self.name} at {self.origin}>"


@final
class Leave:
    """The type of `leave`, the end of a session."""

    def __repr__(self) -> str:
        return "leave"


leave: Final = Leave()
Think = float | str | Distribution | tuple[float | str, float | str]
"""A think time, like the arguments of `user.think`: 2, "500ms", (1, 3), lognormal(1.4, 0.8)."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A probability (or count) with the think time before the next node. Made by `edge`."""

    probability: float
    think: Distribution | None = None
    faults: tuple[Fault, ...] = field(default=(), compare=False)


Edges = Mapping[Node[S] | Journey[None], Mapping[Node[S] | Journey[None] | Leave, float | Edge]]
"""The rows of a graph with states of type S: for each node, the next nodes with their probabilities."""


@overload
def node(fn: Callable[[User, S], Coroutine[Any, Any, S]], /) -> Node[S]: ...
@overload
def node(*, name: str) -> Callable[[Callable[[User, S], Coroutine[Any, Any, S]]], Node[S]]: ...
def node(fn: Any = None, /, *, name: str | None = None) -> Any:
    """Turn an async function into a node of a graph. The function takes the user and the state, and returns the state.

    Args:
        name: the name of the node's step in reports; by default the function's name.
    """
    if fn is not None:
        return Node[Any](fn, here())

    def decorate(fn: Callable[..., Coroutine[Any, Any, Any]]) -> Node[Any]:
        return Node[Any](fn, here(), name)

    return decorate


def edge(probability: float, *, think: Think | None = None) -> Edge:
    """Return an edge with its own think time: `edge(.3, think=(1, 3))`.

    Args:
        probability: of this edge in its row, or its count if the graph has `counts=True`.
        think: pause before the next node. None: the graph's `think`; 0: no pause.
    """
    found, faults = read_think("edge", think, here())
    return Edge(probability, found, faults)


def read_think(what: str, think: object, origin: Origin) -> tuple[Distribution | None, tuple[Fault, ...]]:
    """Return a think time, as written in a scenario, as a distribution of seconds, and the errors in it.

    Returns None as the distribution if `think` is None or has errors. what: the function's name, for messages.
    """
    if think is None:
        return None, ()
    try:
        found = _distribution(think)
    except (ValueError, OverflowError) as error:
        hint = 'write think=2, think="500ms", think=(1, 3) or think=lognormal(1.4, 0.8)'
        return None, (origin.fault(f"{what}(think={think!r}): {error}", hint),)
    return (None, found.faults) if found.faults else (found, ())


def _distribution(think: object) -> Distribution:
    if isinstance(think, Distribution):
        return think
    if isinstance(think, tuple | list):
        if len(think) != 2:
            raise ValueError("a range must have two times")
        low, high = map(_seconds, think)
        if low > high:
            raise ValueError("the first time must not exceed the second")
        return uniform(low, high)
    return fixed(_seconds(think))


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a time")
    return parse_duration(value) / NS_PER_S


def _wrong(fn: Any, name: str, given: object, origin: Origin) -> Iterator[Fault]:
    if not callable(fn):
        yield origin.fault(f"{fn!r} is not a function", "write @node above an async function")
        return
    if inspect.isasyncgenfunction(fn):
        yield origin.fault(f"node {name} yields", "remove `yield`: a node may only await, and returns the state")
    elif not inspect.iscoroutinefunction(fn):
        yield origin.fault(f"node {name} is not async", f"write `async def {fn.__name__}(...)`")
    try:
        inspect.signature(fn).bind(None, None)
    except TypeError:
        hint = f"write `async def {getattr(fn, '__name__', name)}(user: User, state: State) -> State`"
        yield origin.fault(f"node {name} has the wrong parameters: it is called with the user and the state", hint)
    except ValueError:
        pass  # a builtin without a signature
    if not name or "/" in name or (given is not None and not isinstance(given, str)):
        yield origin.fault(
            f"{given!r} is not a valid name of a node", 'write a text without "/", such as name="add to cart"'
        )
