"""Checks whether a plan has what the calls in its journeys need, without running them.

    user.browser("/")                        the plan has no browsers
    user.grpc, user.grpc_channel("cart")     the plan does not use HTTP/2
    user.http, user.ws("/feed")              the plan has no HTTP target
    user.tcp("web", ...), user.udp("gate")   the scheme of the target is another one

Only the journeys of the plan are checked, because any journey may call a helper. Computed names of targets are not
checked.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any, Final

from loadgen.clients.tcp_udp.place import check_scheme
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.receivers import Receivers, own_nodes
from loadgen.dsl.loading.source_analysis import Source, place, short_text
from loadgen.dsl.plans.plan import Plan
from loadgen.errors import Fault, UsageError
from loadgen.target_url import TargetUrl, is_grpc, is_http

__all__ = ["unmet_needs"]

_SCHEMES: Final = {"tcp": ("tcp", "tcps"), "udp": ("udp",)}


def unmet_needs(sources: Iterable[Source], plan: Plan) -> Iterator[Fault]:
    """Yield an error for each call of a plan's journeys for which the plan has no browser, HTTP/2 or fitting target."""
    with_http2 = {
        at: all(plan.http_of(lane).http2 for lane in plan.lanes if at in _places(lane.journeys))
        for at in _places(plan.journeys)
    }
    for source in sources:
        lines = {fn: line for line, fn in source.functions()}
        for fn, receivers in source.receivers:
            at = str(source.path), lines[fn]
            if at not in with_http2:
                continue
            for node in own_nodes(fn):
                try:
                    _check(source, receivers, node, plan, has_http2=with_http2[at])
                except UsageError as error:
                    assert isinstance(node, ast.expr)
                    yield source.fault(node, error.message, error.hint)


def _places(journeys: Iterable[Journey[Any]]) -> set[tuple[str, int]]:
    """Return the (file, first line) of each function that the journeys run."""
    return {place(fn) for one in journeys for _, fn in one.parts}


def _check(source: Source, receivers: Receivers, node: ast.AST, plan: Plan, *, has_http2: bool) -> None:
    """Raise UsageError if a syntax node needs what the plan does not have."""
    if isinstance(node, ast.Attribute) and receivers.kind_of_value(node.value) == "user":
        word = f"{short_text(node.value)}.{node.attr}"
        match node.attr:
            case "browser" if not plan.browsers:
                hint = "add Plan(browsers=2): at most 2 open pages at a time on each worker"
                raise UsageError(f"{word}: the plan has no browsers", hint=hint)
            case "grpc" | "grpc_channel" if any(map(is_grpc, plan.targets.values())):
                return  # which of the targets a call uses is known in the run
            case "http" | "ws" | "grpc" | "grpc_channel" | "browser" if not any(map(is_http, plan.targets.values())):
                hint = 'add one: targets={"api": "https://api.example", ...}'
                raise UsageError(f"{word}: the plan has no HTTP target", hint=hint)
            case "grpc" | "grpc_channel" if not has_http2:
                hint = (
                    "write grpcs:// in the target's URL (without TLS grpc://), or Plan(http=Http(http2=True));"
                    ' without TLS Http(http2="prior")'
                )
                raise UsageError(f"{word}: gRPC needs HTTP/2, and the plan does not use it", hint=hint)
            case _:
                return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        word = node.func.attr
        if word in _SCHEMES and receivers.kind_of_value(node.func.value) == "user":
            name = source.value_of(node.args[0])
            url = plan.targets.get(name) if isinstance(name, str) else None
            if url is not None:
                check_scheme(f"user.{word}", str(name), TargetUrl(url), _SCHEMES[word])
