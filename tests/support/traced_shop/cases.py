"""The faults that `loadgen trace` must find in the traced shop: how each is made, and what must be first then."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from loadgen.traces.timed import WIRE
from tests.support.traced_shop.faults import Faults
from tests.support.traced_shop.traced_run import Case

__all__ = ["FAULTS", "KNOWN_FAULTS", "THREE", "KnownFault"]

Causes = Mapping[str, Any]
"""The content of cause.json."""
_CHECKOUT: Final = 'p(95, request="checkout") < "80ms"'
_BASKET: Final = 'p(95, request="basket") < "80ms"'
_OFFSET: Final = re.compile(r"clock: (\S+) is ([\d.]+) ± ([\d.]+) ms ahead")
SLOW_VERSION: Final = Faults(slow_version_ms=120)


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A fault, and a function that returns what is wrong with an answer; "" for the right one."""

    name: str
    case: Case
    wrong: Callable[[Causes], str]


def _first(causes: Causes, *, path: Callable[[Sequence[str]], bool], attribute: str = "", kind: str = "") -> str:
    if not causes.get("ranked"):
        return f"nothing is ranked: {causes['not_ranked']['reason']}"
    first = causes["ranked"][0]
    names = [f"{name['key']}={name['value']}" for one in first["attributes"] for name in (one, *one["together"])]
    if not path(first["path"]):
        return f"{' > '.join(first['path'])} is first"
    if attribute and attribute not in names:
        return f"{attribute} is not among {names}"
    return f"it is told as {first['kind']}" if kind and first["kind"] != kind else ""


def _of_slow_version(causes: Causes) -> str:
    return _first(causes, path=lambda path: path[-1] == "stock: check rules", attribute="service.version=2")


def _of_many_calls(causes: Causes) -> str:
    return _first(causes, path=lambda path: path[-1] == "stock: SELECT item", kind="more calls")


def _of_pool(causes: Causes) -> str:
    if wrong := _first(causes, path=lambda path: path[-1] == "stock: POST /reserve"):
        return wrong
    kind = causes["ranked"][0]["kind"]
    return "" if kind in ("own time before children", "own time between children") else f"it is told as {kind}"


def _of_stop(causes: Causes) -> str:
    """Requests that come while stock stands still wait in the client's span of shop."""
    if not causes.get("ranked"):
        return f"nothing is ranked: {causes['not_ranked']['reason']}"
    first = causes["ranked"][0]
    if "stock-2" not in str(first):
        return f"{' > '.join(first['path'])} is first, without stock-2"
    return "" if first["kind"] == "pause" else f"it is told as {first['kind']}"


def _of_far_region(causes: Causes) -> str:
    return _first(causes, path=lambda path: tuple(path) == WIRE, attribute="region=far")


def _of_retries(causes: Causes) -> str:
    """The time is below the call of stock, of which there are two."""
    return _first(causes, path=lambda path: list(path[:2]) == ["shop: POST /checkout", "shop: POST"])


def _of_wrong_clock(causes: Causes) -> str:
    if wrong := _of_slow_version(causes):
        return wrong
    told = {found[1]: (float(found[2]), float(found[3])) for note in causes["notes"] if (found := _OFFSET.search(note))}
    if told.keys() != {"stock-1", "stock-2"}:
        return f"told are the clocks of {', '.join(sorted(told)) or 'nobody'}"
    return (
        "" if all(abs(ms - 5_000) <= error_ms for ms, error_ms in told.values()) else f"the clocks are told as {told}"
    )


def _of_lost_traces(causes: Causes) -> str:
    found = causes["found"]
    if wrong := _of_slow_version(causes):
        return wrong
    if not found["slow"] < 0.75 < 0.9 < found["fast"]:
        return f"found are {found['slow']:.0%} of the slow and {found['fast']:.0%} of the fast"
    return "" if found["is_corrected"] else "the weights are not corrected"


def _of_nothing(causes: Causes) -> str:
    if causes["ranked"]:
        return f"{' > '.join(causes['ranked'][0]['path'])} is ranked"
    return str(causes["not_ranked"]["reason"]) if causes["not_ranked"]["is_refused"] else ""


def _keeps_half_of_the_slow(trace: str, spans: Sequence[Span]) -> bool:
    ends, starts = (span.end_time_unix_nano for span in spans), (span.start_time_unix_nano for span in spans)
    is_slow = max(ends) - min(starts) > 80_000_000
    return not is_slow or zlib.crc32(trace.encode()) % 2 == 0


KNOWN_FAULTS: Final = (
    KnownFault("slow version", Case(slos=_CHECKOUT, faults=SLOW_VERSION), _of_slow_version),
    KnownFault(
        "many calls",
        Case(mix="fill: 1", request="basket", slos=_BASKET, faults=Faults(is_many_calls=True)),
        _of_many_calls,
    ),
    KnownFault(
        "pool of two",
        Case(slos='p(95, request="checkout") < "110ms"', faults=Faults(pool=2, statement_ms=52)),
        _of_pool,
    ),
    KnownFault(
        "stopped instance",
        Case(slos='p(99, request="checkout") < "80ms"', stops="stock-2", rate=80, seconds=40),
        _of_stop,
    ),
    KnownFault("far region", Case(slos=_CHECKOUT, far_ms=80), _of_far_region),
    KnownFault(
        "retries",
        Case(slos='p(95, request="checkout") < "100ms"', faults=Faults(hang_share=0.1, timeout_ms=120, tries=2)),
        _of_retries,
    ),
    KnownFault(
        "wrong clock",
        Case(slos=_CHECKOUT, faults=Faults(slow_version_ms=120, clock_off_s=5)),
        _of_wrong_clock,
    ),
    KnownFault(
        "lost traces",
        Case(slos=_CHECKOUT, faults=SLOW_VERSION, keeps=_keeps_half_of_the_slow),
        _of_lost_traces,
    ),
    KnownFault("no fault", Case(slos='p(95, request="checkout") < "1s"', seconds=40), _of_nothing),
)
THREE: Final = Case(
    mix="buy: 3, fill: 2, look: 2",
    slos=", ".join(f'p(95, request="{name}") < "80ms"' for name in ("checkout", "basket", "browse")),
    faults=Faults(slow_version_ms=120, slow_version_share=0.4, is_many_calls=True, large_share=0.2),
    rate=35,
    seconds=40,
)
"""Three kinds of requests, of which two have a fault and "browse" has none.

Ten baskets a second are all that a slow machine carries without a queue at the shop, which would be the first cause.
"""
FAULTS: Final = {fault.name: fault for fault in KNOWN_FAULTS}
