"""A run that nobody ran, with the traces of its requests in a file of OTLP JSON: a shop with a known fault.

Each request takes 40 ms at the shop, 10 ms of it in the stock service, with one query of 4 ms. In `slow_share` of the
requests, the query runs 41 times. Version 2.1 of the stock service makes these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.exemplar import Exemplar
from loadgen.measure.deltas.sampled_sums import SampledSums
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import SloResult
from loadgen.measure.results.summary import AgentFacts, RunFacts, build
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire import codec
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.past_runs import manifest_of, spec_of

__all__ = ["COST_NS", "MadeRequest", "made_requests", "otlp_document", "traced_run"]

RUN_ID = "20261124-170312-shop-a1b2"
STARTED = datetime(2026, 11, 24, 17, 3, 12, tzinfo=UTC)
LIMIT_MS = 100
KEY = request_key("POST /checkout", step="pay")
_CALLS = 41
COST_NS = 5 * NS_PER_MS


@dataclass(frozen=True)
class MadeRequest:
    """One request with its trace. Times are ns; at_ns is from T0."""

    agent: str
    at_ns: int
    response_ns: int
    trace: str
    span: str
    calls: int
    is_kept: bool
    """Whether its exemplar was stored: the slowest and two random ones of each second and agent."""


def made_requests(seconds: int = 60, per_s: int = 20, slow_share: float = 0.05, seed: int = 1) -> list[MadeRequest]:
    """All requests of the run, in the order of time."""
    draw, made = Random(seed), []
    for k in range(seconds):
        for agent in ("a1", "a2"):
            some = []
            for n in range(per_s // 2):
                calls = _CALLS if draw.random() < slow_share else 1
                took = 36 * NS_PER_MS + calls * 4 * NS_PER_MS + draw.randrange(8 * NS_PER_MS)
                at = k * NS_PER_S + n * NS_PER_S // per_s
                trace = f"{int(STARTED.timestamp()) + k:08x}{draw.getrandbits(96):024x}"
                some.append(MadeRequest(agent, at, took, trace, f"{draw.getrandbits(64):016x}", calls, is_kept=False))
            slowest = max(some, key=lambda one: one.response_ns)
            kept = {slowest.trace, *(one.trace for one in draw.sample(some, 2))}
            made += [replace(one, is_kept=one.trace in kept) for one in some]
    return made


def _exemplar(one: MadeRequest) -> Exemplar:
    return Exemplar(
        journey="checkout",
        step="pay",
        request="POST /checkout",
        outcome="ok",
        why="slowest",
        load=0,
        n=1,
        at_ns=one.at_ns,
        response_ns=one.response_ns,
        service_ns=one.response_ns - NS_PER_MS // 2,
        trace=one.trace,
        span=one.span,
        sampled=True,
        stands_for=10 / 3,
    )


def _deltas(requests: list[MadeRequest], seconds: int) -> Iterator[tuple[str, Delta]]:
    agents = {"a1": FakeAgent("a1"), "a2": FakeAgent("a2")}
    for k in range(seconds):
        for name, agent in agents.items():
            mine = [one for one in requests if one.agent == name and one.at_ns // NS_PER_S == k]
            took = [one.response_ns for one in mine]
            delta = agent.delta({KEY: took, journey_key(): [ns + 5 * NS_PER_MS for ns in took]})
            yield (
                "eu" if name == "a1" else "us",
                replace(
                    delta,
                    exemplars=tuple(_exemplar(one) for one in mine if one.is_kept),
                    sampled=(_sums(took[k % 3 :: 3], took, agent.ids[KEY]),),
                ),
            )


def _sums(sampled: list[int], took: list[int], series: int) -> SampledSums:
    """Every third request is sampled, which makes it slower by 5 ms."""
    sum_ns = sum(sampled) + len(sampled) * COST_NS
    return SampledSums(series, len(sampled), sum_ns, len(took) - len(sampled), sum(took) - sum(sampled))


def traced_run(
    folder: Path,
    *,
    seconds: int = 60,
    slow_share: float = 0.05,
    is_broken: bool = True,
    seed: int = 1,
    run_id: str = RUN_ID,
    found: float = 1.0,
    hostile: str = "",
    document: Callable[[MadeRequest], dict[str, Any]] | None = None,
) -> tuple[Path, Path]:
    """Write the run folder and a file with its traces; return both paths.

    Args:
        is_broken: the plan has a broken objective: p99 below 100 ms.
        found: the share of traces that the file has.
        hostile: a text in all names of spans and in values of attributes.
        document: returns the trace of a request as OTLP JSON; None: `otlp_document`.
    """
    requests = made_requests(seconds, slow_share=slow_share, seed=seed)
    deltas = list(_deltas(requests, seconds))
    merge = Merge(NS_PER_S)
    merge.read(iter(deltas))
    bad = sum(one.response_ns > LIMIT_MS * NS_PER_MS for one in requests)
    slo = SloResult(
        objective='p(99, request="POST /checkout") < 100ms',
        journey="checkout",
        request="POST /checkout",
        observed=204.0,
        unit="ms",
        count=len(requests),
        good=len(requests) - bad,
        verdict="failed",
        margin=-1.04,
        budget=bad / len(requests) / 0.01,
        allowed=0.01,
        limit_ms=float(LIMIT_MS),
        bad_share_low=0.9 * bad / len(requests),
        bad_share_high=1.1 * bad / len(requests),
    )
    run = RunDir.create(folder / "runs", run_id)
    plan = spec_of(seconds, 20.0)
    run.write_manifest(manifest_of(run_id, "shop.py", plan))
    for _, delta in deltas:
        run.append(codec.encode(delta))
    agents = tuple(AgentFacts(name, region, complete=True) for name, region in (("a1", "eu"), ("a2", "us")))
    facts = RunFacts(
        run_id=run_id,
        scenario="shop.py",
        plan="plan",
        placement="embedded",
        started_at=STARTED,
        duration_s=seconds + 0.1,
        result="failed" if is_broken else "passed",
        exit_code=1 if is_broken else 0,
        agents=agents,
    )
    run.event("facts", facts={"load_ns": seconds * NS_PER_S})
    run.seal(build(facts, merge, (slo,) if is_broken else ()))
    file = folder / f"{run_id}-traces.jsonl"
    draw = Random(seed + 1)
    kept = [one for one in requests if one.is_kept and draw.random() < found]
    with file.open("w") as lines:
        for one in kept:
            lines.write(json.dumps(otlp_document(one, hostile) if document is None else document(one)) + "\n")
    return run.path, file


def otlp_document(one: MadeRequest, hostile: str = "") -> dict[str, Any]:
    """The trace of one request as OTLP JSON: three services, each with its own resource."""
    draw = Random(one.trace)
    version = "2.1" if one.calls > 1 or draw.random() < 0.2 else "2.0"
    server_ns = one.response_ns - 2 * NS_PER_MS
    begin = round(STARTED.timestamp() * NS_PER_S) + one.at_ns + NS_PER_MS
    queries = one.calls * 4 * NS_PER_MS
    ids = [f"{draw.getrandbits(64):016x}" for _ in range(3)]
    root = _span(one, ids[0], one.span, f"POST /checkout{hostile}", 2, begin, begin + server_ns)
    client = _span(one, ids[1], ids[0], "POST", 3, begin + 10 * NS_PER_MS, begin + 17 * NS_PER_MS + queries)
    inner = begin + 11 * NS_PER_MS
    server = _span(one, ids[2], ids[1], f"reserve{hostile}", 2, inner, inner + 5 * NS_PER_MS + queries)
    calls = []
    for n in range(one.calls):
        at = inner + 2 * NS_PER_MS + n * 4 * NS_PER_MS
        name = f"{draw.getrandbits(64):016x}"
        calls.append(_span(one, name, ids[2], f"SELECT item{hostile}", 3, at, at + 4 * NS_PER_MS))
    return {
        "resourceSpans": [
            _resource("shop", "1.0", hostile, [root, client]),
            _resource("stock", version, hostile, [server, *calls]),
        ]
    }


def _span(one: MadeRequest, span: str, parent: str, name: str, kind: int, begin: int, end: int) -> dict[str, Any]:
    return {
        "traceId": one.trace,
        "spanId": span,
        "parentSpanId": parent,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(begin),
        "endTimeUnixNano": str(end),
    }


def _resource(service: str, version: str, hostile: str, spans: list[dict[str, Any]]) -> dict[str, Any]:
    values = {"service.name": service, "service.version": version + hostile, "secret.token": "hunter2"}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    return {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]}
