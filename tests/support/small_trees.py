"""Trees of a few spans, written down as times in ms, and requests around them."""

from __future__ import annotations

from collections.abc import Mapping

from loadgen.traces.model import Kind, Path, Span, Tree, Value
from loadgen.traces.timed import OUR_SIDE, WIRE, Observed, PathTime, TimedTrace

__all__ = ["MS", "call", "path_times", "request", "tree"]

MS = 1_000_000


class call:
    """A span with its children. Times are ms."""

    def __init__(
        self,
        name: str,
        start: float,
        end: float,
        *children: call,
        kind: Kind = "internal",
        resource: Mapping[str, Value] | None = None,
    ) -> None:
        self.service, _, self.operation = name.rpartition(": ")
        self.start_ns, self.end_ns = round(start * MS), round(end * MS)
        self.children, self.kind, self.resource = children, kind, resource or {}


def tree(root: call, trace: str = "t") -> Tree:
    spans: dict[str, Span] = {}
    children: dict[str, list[Span]] = {}

    def add(one: call, parent: str) -> None:
        id_ = f"{len(spans):016x}"
        spans[id_] = Span(
            id_, parent, one.service, one.operation, one.start_ns, one.end_ns, one.kind, resource=one.resource
        )
        children.setdefault(parent, []).append(spans[id_])
        for child in one.children:
            add(child, id_)

    add(root, "")
    roots = children.pop("")
    return Tree(trace, roots[0], spans, {parent: tuple(some) for parent, some in children.items()})


def path_times(ms: Mapping[Path, float], calls: int = 1) -> dict[Path, PathTime]:
    return {path: PathTime(round(own * MS), calls) for path, own in ms.items()}


def request(
    number: int,
    response_ms: float,
    *,
    weight: float = 1.0,
    at_s: float = 0.0,
    outcome: str = "ok",
    is_fit: bool = True,
    is_pool_limited: bool = False,
    is_complete: bool = True,
    paths: Mapping[Path, PathTime] | None = None,
) -> TimedTrace:
    """A request whose only span takes all of its time, unless other paths are given."""
    observed = Observed(
        trace=f"{number:032x}",
        journey="buy",
        step="",
        request="GET /",
        outcome=outcome,
        region="",
        at_s=at_s,
        response_ns=round(response_ms * MS),
        service_ns=round(response_ms * MS),
        weight=weight,
        is_fit=is_fit,
        is_pool_limited=is_pool_limited,
    )
    plain = tree(call("shop: GET /", 0, response_ms))
    whole = Tree(plain.trace, plain.root, plain.spans, plain.children, is_complete=is_complete)
    own = {("shop: GET /",): PathTime(round(response_ms * MS), 1), WIRE: PathTime(0, 0), OUR_SIDE: PathTime(0, 0)}
    return TimedTrace(observed, whole, paths if paths is not None else own)
