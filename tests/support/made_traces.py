"""Sampled traces of a simulated shop with a known fault: which path, which attribute, which kind, since when.

The shop answers `POST /checkout` by calls of catalog, then of stock and price at the same time, then of pay. Each own
time is lognormal. All requests of a run are simulated as arrays; spans are made only for the sampled ones. A trace is
sampled by a threshold on a random number; in each interval a few of the slow and a few of the others are kept,
so that weights differ, as in a real run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from loadgen.traces.causes import Objective
from loadgen.traces.model import Path, Span, Tree, Value
from loadgen.traces.path_times import timed
from loadgen.traces.timed import WIRE, Observed, TimedTrace

__all__ = ["FAULTS", "STOCK_PATH", "Fault", "Known", "Made", "made"]

Floats = npt.NDArray[np.float64]
Fault = Literal[
    "slow version",
    "more calls",
    "pause",
    "network",
    "pool wait",
    "retries",
    "more requests",
    "retries elsewhere",
    "one region",
    "missing traces",
    "story",
    "none",
]
FAULTS: Final = tuple(get_args(Fault))
EPOCH_NS: Final = 1_790_000_000_000_000_000
MS: Final = 1_000_000
REGIONS: Final = ("eu-west-1", "us-east-1", "ap-south-1")
SAMPLED: Final = 0.25
INTERVAL_S: Final = 10
ROOT: Final[Path] = ("shop: POST /checkout",)
CATALOG: Final = (*ROOT, "shop: GET catalog", "catalog: GET /items")
STOCK: Final = (*ROOT, "shop: POST stock", "stock: reserve")
PRICE: Final = (*ROOT, "shop: GET price", "price: quote")
PAY: Final = (*ROOT, "shop: POST pay", "pay: charge")
STOCK_PATH: Final[Path] = (*STOCK, "stock: SELECT item")
MEDIANS_MS: Final = {
    "our side": (0.3, 0.3),
    "wire": (2.0, 0.4),
    "shop 0": (1.0, 0.3),
    "shop 1": (1.0, 0.3),
    "shop 2": (1.0, 0.3),
    "shop 3": (1.0, 0.3),
    "catalog out": (0.4, 0.4),
    "catalog before": (0.8, 0.3),
    "catalog select": (4.0, 0.4),
    "catalog after": (0.5, 0.3),
    "stock out": (0.4, 0.4),
    "stock before": (1.0, 0.3),
    "stock select": (5.0, 0.5),
    "stock after": (0.6, 0.3),
    "price out": (0.4, 0.4),
    "price": (5.0, 0.4),
    "pay out": (0.4, 0.4),
    "pay": (8.0, 0.4),
    "back": (0.3, 0.3),
}
"""Medians and deviations of the logarithm."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was injected. attribute: place, key and value. since_s: None if the fault was there from the beginning."""

    path: Path | None = None
    kind: str = ""
    attribute: tuple[str, str, Value] | None = None
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Made:
    timed: list[TimedTrace]
    asked: list[Observed]
    objective: Objective
    known: Known
    responses_ns: Floats
    """Of all requests of the run."""
    own_ns: dict[str, Floats] = field(default_factory=dict)


def made(
    fault: Fault, seed: int, *, seconds: int = 600, rate: float = 140.0, most_slow: int = 3, most_other: int = 6
) -> Made:
    """Simulate one run. most_slow, most_other: kept traces of an interval of 10 s."""
    chance = np.random.default_rng(seed)
    n = int(seconds * rate)
    due_s = np.sort(chance.uniform(0, seconds, n))
    own = {name: chance.lognormal(np.log(ms * MS), spread, n).round() for name, (ms, spread) in MEDIANS_MS.items()}
    region, instance = chance.integers(0, len(REGIONS), n), chance.integers(0, 2, n)
    own |= {"calls": np.ones(n), "failed": np.zeros(n), "pool": np.zeros(n), "requests": np.ones(n)}
    # The instance of pay that serves the first call; -1: pay has one instance without a name.
    own["pay instance"] = np.full(n, -1.0)
    # An objective that the shop meets without the fault: 0.3 % of requests are above it.
    threshold = round(float(np.quantile(response(own), 0.997)))
    known = _inject(fault, own, due_s, region, instance, chance)
    total = response(own)
    kept, weights = _sampled(total > threshold, due_s, chance, most_slow, most_other)
    found = np.ones(n, dtype=np.bool_)
    if fault == "missing traces":
        found = chance.uniform(size=n) < np.where(total > threshold, 0.48, 0.95)
    asked, traces = [], []
    for k, weight in zip(kept, weights, strict=True):
        at = int(k)
        observed = Observed(
            trace=f"{at:032x}",
            journey="buy",
            step="checkout",
            request="POST /checkout",
            outcome="ok",
            region=REGIONS[region[at]],
            at_s=float(due_s[at]),
            response_ns=int(total[at]),
            service_ns=int(total[at] - own["our side"][at]),
            weight=float(weight),
            attributes={"agent": f"agent-{at % 4}", "reused": bool(chance.uniform() < 0.9)},
        )
        asked.append(observed)
        if found[at]:
            traces.append(timed(observed, _tree(at, due_s[at], own, int(instance[at]), chance)))
    has_objective = fault != "none"
    objective = Objective(
        name="checkout > POST /checkout",
        threshold_ns=threshold if has_objective else None,
        share_over=float((total > threshold).mean()) if has_objective else None,
        requests=n,
    )
    return Made(traces, asked, objective, known, total, own)


def response(own: dict[str, Floats]) -> Floats:
    """The response time of every request: what the spans of `_tree` add up to."""
    return own["our side"] + own["wire"] + root_duration(own)


def root_duration(own: dict[str, Floats]) -> Floats:
    catalog = own["catalog out"] + own["catalog before"] + own["catalog select"] + own["catalog after"] + own["back"]
    price = own["price out"] + own["price"] + own["back"]
    pay = own["failed"] + own["pay out"] + own["pay"] + own["back"]
    gaps = own["shop 0"] + own["shop 1"] + own["shop 2"] + own["shop 3"]
    stock = own["requests"] * (stock_duration(own) + own["stock out"] + own["back"])
    both: Floats = gaps + catalog + np.maximum(stock, price) + pay
    return both


def stock_duration(own: dict[str, Floats]) -> Floats:
    return own["stock before"] + own["pool"] + own["calls"] * own["stock select"] + own["stock after"]


def _inject(
    fault: Fault,
    own: dict[str, Floats],
    due_s: Floats,
    region: npt.NDArray[np.int64],
    instance: npt.NDArray[np.int64],
    chance: np.random.Generator,
) -> Known:
    n = len(due_s)
    is_on = due_s >= due_s[-1] / 2

    def some(share: float) -> npt.NDArray[np.bool_]:
        return chance.uniform(size=n) < share

    if fault in ("slow version", "missing traces"):
        hit = some(0.12) & (instance == 1) & is_on
        own["stock select"][hit] += round(60 * MS)
        return Known(STOCK_PATH, "slower calls", ("stock", "service.version", "2.1"), float(due_s[-1] / 2))
    if fault == "more calls":
        own["calls"][some(0.04)] = 21
        return Known(STOCK_PATH, "more calls")
    if fault == "pause":
        _pause(own, due_s, instance, every_s=5.0, length_ns=200 * MS)
        return Known(("stock: standing still of stock-2",), "pause")
    if fault == "network":
        own["wire"][some(0.04)] += 90 * MS
        return Known(WIRE, "between client and server")
    if fault == "pool wait":
        own["pool"][some(0.04)] += 70 * MS
        return Known(STOCK, "own time before children")
    if fault == "retries":
        own["failed"][some(0.03)] = 100 * MS
        return Known((*ROOT, "shop: POST pay"), "retries", ("shop: POST pay", "status", "error"))
    if fault == "more requests":
        # 8 requests, each to an instance at random. With far more, no single path takes the requests below the limit.
        own["requests"][some(0.04)] = 8
        return Known(STOCK_PATH, "more calls")
    if fault == "retries elsewhere":
        # An instance of pay answers with an error after 100 ms; the retry goes to an instance at random, too.
        own["failed"][some(0.03)] = 100 * MS
        own["pay instance"] = chance.integers(0, 2, n).astype(np.float64)
        return Known(PAY, "retries", ("pay: charge", "status", "error"))
    if fault == "one region":
        own["wire"][region == 1] += 80 * MS
        return Known(WIRE, "between client and server", ("", "region", REGIONS[1]))
    if fault == "story":
        own["stock select"][some(0.05)] += 150 * MS
        _pause(own, due_s, instance, every_s=300.0, length_ns=2_000 * MS)
        return Known(STOCK_PATH, "slower calls")
    return Known()


def _pause(
    own: dict[str, Floats], due_s: Floats, instance: npt.NDArray[np.int64], *, every_s: float, length_ns: int
) -> None:
    """Stop stock-2: calls that arrive wait for its end, calls within it become longer by it."""
    arrival = _stock_arrival(own) + due_s * 1e9
    phase = (arrival + every_s * 5e8) % (every_s * 1e9)
    is_there = instance == 1
    late = is_there & (phase < length_ns)
    own["stock out"][late] += np.round(length_ns - phase[late])
    within = is_there & ~late & (phase + stock_duration(own) > every_s * 1e9)
    into = every_s * 1e9 - phase
    is_before = within & (into < own["stock before"])
    is_after = within & (into >= own["stock before"] + own["stock select"])
    own["stock before"][is_before] += length_ns
    own["stock after"][is_after] += length_ns
    own["stock select"][within & ~is_before & ~is_after] += length_ns


def _stock_arrival(own: dict[str, Floats]) -> Floats:
    """When stock's span begins, in ns from the due time. Our side and the wire come first."""
    catalog = own["catalog out"] + own["catalog before"] + own["catalog select"] + own["catalog after"] + own["back"]
    arrival: Floats = own["our side"] + own["wire"] + own["shop 0"] + catalog + own["shop 1"] + own["stock out"]
    return arrival


def _sampled(
    is_over: npt.NDArray[np.bool_], due_s: Floats, chance: np.random.Generator, most_slow: int, most_other: int
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the kept requests and the number of requests that each stands for."""
    kept: list[npt.NDArray[np.int64]] = []
    weights: list[Floats] = []
    interval = (due_s / INTERVAL_S).astype(int)
    sampled = chance.uniform(size=len(due_s)) < SAMPLED
    for k in range(interval[-1] + 1):
        start, end = np.searchsorted(interval, (k, k + 1))
        for wanted, most in ((is_over[start:end], most_slow), (~is_over[start:end], most_other)):
            among = start + np.flatnonzero(wanted & sampled[start:end])
            chosen = chance.permutation(among)[:most]
            kept.append(chosen)
            weights.append(np.full(len(chosen), len(among) / max(1, len(chosen)) / SAMPLED))
    return np.concatenate(kept), np.concatenate(weights)


def _tree(k: int, due_s: float, own: dict[str, Floats], instance: int, chance: np.random.Generator) -> Tree:
    """Return the spans of one request."""

    def ns(name: str) -> int:
        return int(own[name][k])

    spans: dict[str, Span] = {}
    children: dict[str, list[Span]] = {}
    pay = ns("pay instance")

    def span(
        parent: str, service: str, operation: str, start: int, end: int, kind: str = "server", **more: object
    ) -> str:
        id_ = f"{k:08x}{len(spans):08x}"
        resource = {"service.name": service}
        at = {"stock": instance, "pay": pay}.get(service, -1)
        if at >= 0:
            resource |= {
                "service.version": ("2.0", "2.1")[at],
                "service.instance.id": f"{service}-{at + 1}",
                "zone": "ab"[at],
            }
        new = Span(id_, parent, service, operation, start, end, kind, resource=resource, **more)  # type: ignore[arg-type]
        spans[id_] = new
        if parent:
            children.setdefault(parent, []).append(new)
        return id_

    t = EPOCH_NS + int(due_s * 1e9) + ns("our side") + ns("wire")
    whole = int(root_duration({name: values[k : k + 1] for name, values in own.items()})[0])
    attributes: dict[str, Value] = {
        "tenant": f"t{int(chance.integers(20))}",
        "order": f"o{k}",
        "items": int(chance.integers(1, 40)),
    }
    root = span("", "shop", "POST /checkout", t, t + whole, attributes=attributes)
    t += ns("shop 0")
    served = ns("catalog before") + ns("catalog select") + ns("catalog after")
    client = span(root, "shop", "GET catalog", t, t + ns("catalog out") + served + ns("back"), "client")
    t += ns("catalog out")
    server = span(client, "catalog", "GET /items", t, t + served)
    t += ns("catalog before")
    span(server, "catalog", "SELECT items", t, t + ns("catalog select"), "client")
    t += ns("catalog select") + ns("catalog after") + ns("back") + ns("shop 1")
    both = t
    quick = ns("price out") + ns("price") + ns("back")
    client = span(root, "shop", "GET price", t, t + quick, "client")
    span(client, "price", "quote", t + ns("price out"), t + quick - ns("back"))
    served = int(stock_duration({name: values[k : k + 1] for name, values in own.items()})[0])
    one_call = ns("stock out") + served + ns("back")
    for number in range(ns("requests")):
        if number:
            instance = int(chance.integers(2))
        begin = t + number * one_call
        client = span(root, "shop", "POST stock", begin, begin + one_call, "client")
        begin += ns("stock out")
        server = span(client, "stock", "reserve", begin, begin + served)
        at = begin + ns("stock before") + ns("pool")
        for _ in range(ns("calls")):
            span(server, "stock", "SELECT item", at, at + ns("stock select"), "client")
            at += ns("stock select")
    t = max(both + quick, t + ns("requests") * one_call) + ns("shop 2")
    if ns("failed"):
        client = span(root, "shop", "POST pay", t, t + ns("failed"), "client", status="error")
        if pay >= 0:
            span(client, "pay", "charge", t, t + ns("failed"), status="error")
            pay = int(chance.integers(2))
        t += ns("failed")
    client = span(root, "shop", "POST pay", t, t + ns("pay out") + ns("pay") + ns("back"), "client")
    span(client, "pay", "charge", t + ns("pay out"), t + ns("pay out") + ns("pay"))
    return Tree(f"{k:032x}", spans[root], spans, {parent: tuple(some) for parent, some in children.items()})
