"""A load with tracing: what its exemplars stand for adds up to what was counted, with every client."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from time import perf_counter_ns

import httpx
import pytest

from loadgen.allowlist import AllowList, Entry
from loadgen.backends.collector.server import CollectorConfig
from loadgen.backends.collector.server import serve as serve_collector
from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.allowlist_check import check
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.exemplar import Exemplar
from loadgen.target.config import TargetConfig
from loadgen.target.server import serve
from loadgen.traces.convert.otlp_json import traces_of_otlp_json
from loadgen.wire.codec import decode, encode
from tests.support.scenarios import write

SCENARIO = '''
"""A shop."""
from loadgen import Plan, Trace, User, iterations, journey


@journey
async def shop(user: User) -> None:
    await user.http.get("/")
    async with user.step("look"):
        await user.http.get("/products")
        async with user.measure("think hard"):
            pass
    {more}


plan = Plan("http://127.0.0.1:1", iterations(200, users=4), shop, {settings})
'''


async def exemplars_of(folder: Path, settings: str, more: str = "pass") -> tuple[list[Exemplar], Drive]:
    deltas, drive = await deltas_of(folder, settings, more)
    return [one for delta in deltas for one in delta.exemplars], drive


async def deltas_of(folder: Path, settings: str, more: str = "pass") -> tuple[list[Delta], Drive]:
    deltas: list[Delta] = []
    async with serve(TargetConfig(latency=False)) as target:
        path = write(folder, SCENARIO.replace("{settings}", settings).replace("{more}", more))
        drive = Drive(load(path, overrides=Overrides(target=target.url)), interval_ns=50_000_000, emit=deltas.append)
        totals = await drive.run(perf_counter_ns() + 20_000_000)
        assert totals.counters.iterations_finished == 200
        assert totals.counters.requests_errors == totals.counters.script_faults == 0
    for delta in deltas:
        assert decode(encode(delta), from_agent=True) == decode(encode(delta))
    return deltas, drive


def stood_for(found: list[Exemplar]) -> Counter[tuple[str, str]]:
    sums: Counter[tuple[str, str]] = Counter()
    for one in found:
        sums[one.step, one.request] += one.stands_for  # type: ignore[assignment]
    return sums


@pytest.mark.parametrize("client", ["loadgen", "httpx"])
async def test_if_all_is_sampled_exemplars_stand_for_what_was_counted(client: str, tmp_path: Path) -> None:
    found, _ = await exemplars_of(tmp_path, f'trace=Trace(1.0), client="{client}"')
    sums = stood_for(found)
    assert sums["", ""] == pytest.approx(200)
    assert sums["look", ""] == pytest.approx(200)
    assert sums["", "GET /"] == pytest.approx(200)
    assert sums["look", "GET /products"] == pytest.approx(200)
    assert sums["look", "think hard"] == 0  # it has no trace
    for one in found:
        if one.request.startswith("GET"):
            assert one.sampled
            assert (one.status, len(one.span), len(one.phases)) == (200, 16, 7)
            assert one.trace[18:24] >= "000000"
        elif not one.request:
            assert len(one.requests) == (1 if one.step else 2)


async def test_the_requests_of_httpx_clients_are_exemplars_as_well(tmp_path: Path) -> None:
    more = 'await user.httpx.get("/products", extensions={"name": "by httpx"})'
    found, _ = await exemplars_of(tmp_path, "trace=Trace(1.0)", more)
    assert stood_for(found)["", "by httpx"] == pytest.approx(200)
    for one in found:
        if one.request == "by httpx":
            assert (one.status, len(one.span)) == (200, 16)


async def test_the_requests_of_a_sampled_iteration_are_all_sampled(tmp_path: Path) -> None:
    decisions: dict[tuple[int, int], set[bool]] = {}
    seen: set[bool] = set()
    for run in range(20):  # a request that is not sampled is kept only if it is slower than all sampled ones
        found, _ = await exemplars_of(tmp_path, "trace=Trace(0.5)")
        for one in found:
            if one.request.startswith("GET"):
                decisions.setdefault((run, one.n), set()).add(one.sampled)
        seen = set.union(*decisions.values())
        if seen == {True, False}:
            break
    assert seen == {True, False}
    assert all(len(found) == 1 for found in decisions.values())


async def test_sampled_and_other_requests_add_up_except_where_the_scenario_traces(tmp_path: Path) -> None:
    own = 'await user.http.get("/", name="own", headers={"traceparent": f"00-{\'a\' * 32}-{\'b\' * 16}-01"})'
    deltas, _ = await deltas_of(tmp_path, "trace=Trace(0.5)", own)
    keys = [key for delta in deltas for key in delta.new_series]
    sums: Counter[str | None] = Counter()
    sampled: Counter[str | None] = Counter()
    for delta in deltas:
        stats = {one.series: one for one in delta.stats}
        for one in delta.sampled:
            name, whole = keys[one.series].request, stats[one.series]
            assert (one.sampled_n + one.others_n, one.sampled_sum_ns + one.others_sum_ns) == (whole.n, whole.sum_ns)
            sums[name] += whole.n
            sampled[name] += one.sampled_n
    assert sums == {"GET /": 200, "GET /products": 200}, "not the one with the scenario's header, and no measured piece"
    assert sampled["GET /"] == sampled["GET /products"], "a decision is that of an iteration"


async def test_without_tracing_exemplars_are_as_before(tmp_path: Path) -> None:
    found, _ = await exemplars_of(tmp_path, "seed=1")
    assert {one.why for one in found} <= {"slowest", "random"}
    assert {(one.trace, one.span, one.sampled, one.stands_for, one.phases) for one in found} == {
        ("", "", False, 0.0, ())
    }
    assert not [one for one in found if one.step and not one.request]


async def test_with_a_rate_above_the_load_exemplars_stand_for_what_was_counted(tmp_path: Path) -> None:
    found, _ = await exemplars_of(tmp_path, 'trace=Trace("100000/s")')
    assert stood_for(found)["", ""] == pytest.approx(200)


@pytest.mark.parametrize("per", ["iteration", "request"])
async def test_with_a_rate_the_deltas_have_each_threshold_with_its_decisions(per: str, tmp_path: Path) -> None:
    deltas: list[Delta] = []
    async with serve(TargetConfig(latency=False)) as target:
        settings = f'trace=Trace("20/s", per="{per}")'
        path = write(tmp_path, SCENARIO.replace("{settings}", settings).replace("{more}", "pass"))
        drive = Drive(load(path, overrides=Overrides(target=target.url)), interval_ns=50_000_000, emit=deltas.append)
        await drive.run(perf_counter_ns() + 20_000_000)
    rows = [one for delta in deltas for one in decode(encode(delta), from_agent=True).sampling]  # type: ignore[union-attr]
    assert sum(one.decisions for one in rows) == (200 if per == "iteration" else 400)
    assert len({one.rejected for one in rows}) > 1
    weights = {round(1 / (1 - one.rejected / 2**24), 6) for one in rows}
    slowest = [one.stands_for for delta in deltas for one in delta.exemplars if one.why == "slowest" and one.sampled]
    assert slowest
    assert {round(one, 6) for one in slowest} <= weights


async def test_an_export_that_the_allow_list_does_not_admit_is_refused_before_the_load(tmp_path: Path) -> None:
    """The worker checks the plan with the agent's list; the limits of the receiver's entry are not the load's."""
    path = write(tmp_path, SCENARIO.replace("{settings}", EXPORTING).replace("{more}", "pass"))
    plan = load(path).plan
    own = Entry(host="127.0.0.1", owner="me", expires=date(2099, 1, 1))
    receiver = Entry(host="10.0.0.7", owner="me", expires=date(2099, 1, 1), ports=(4318,), max_users=1)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    _, refused = check(plan.spec(), plan.http, AllowList(allow=(own,)), at, lambda _: ())
    assert len(refused) == 1
    assert refused[0].startswith("trace export 10.0.0.7:4318 is not allowed: ")
    limits, refused = check(plan.spec(), plan.http, AllowList(allow=(own, receiver)), at, lambda _: ())
    assert not refused
    assert limits.max_users is None
    metadata = EXPORTING.replace("10.0.0.7", "169.254.169.254")
    path = write(tmp_path, SCENARIO.replace("{settings}", metadata).replace("{more}", "pass"))
    plan = load(path).plan
    _, refused = check(plan.spec(), plan.http, AllowList(allow=(own,)), at, lambda _: ())
    assert "is never a target (link-local)" in refused[0] or "(metadata)" in refused[0]


EXPORTING = 'trace=Trace("20/s", export="otlp:http://10.0.0.7:4318")'


@pytest.mark.parametrize(("per", "client"), [("trace", "loadgen"), ("iteration", "httpx")])
async def test_every_sampled_request_is_exported_with_the_ids_of_its_exemplar(
    per: str, client: str, tmp_path: Path
) -> None:
    async with serve_collector(CollectorConfig(port=0)) as collector:
        settings = f'trace=Trace(1.0, per="{per}", export="otlp:{collector.url}"), client="{client}"'
        found, _ = await exemplars_of(tmp_path, settings)
        counts = collector.ring.counts
        kept: dict[tuple[str, str], bytes] = {}
        async with httpx.AsyncClient(trust_env=False) as asking:
            for one in found:
                if one.request.startswith("GET") and len(kept) < 20:
                    answer = await asking.get(f"{collector.url}/api/v3/traces/{one.trace}")
                    kept[one.trace, one.span] = answer.content
    assert counts.spans == 1_000  # 200 iterations of a journey, a step, two requests and a measured call
    for (trace, span), document in kept.items():
        resource = json.loads(document)["result"]["resourceSpans"]
        spans = [one for part in resource for scope in part["scopeSpans"] for one in scope["spans"]]
        ours = {one["spanId"]: one for one in spans}
        assert set(ours) >= {span}
        assert {one["traceId"] for one in spans} == {trace}
        assert [one for one in spans if one.get("parentSpanId", "") not in ours and one.get("parentSpanId")] == []
        assert len(spans) == (5 if per == "trace" else 1)
        # `loadgen trace` has these times from the run, and counts a trace without the target's spans as missing.
        assert traces_of_otlp_json(document, ()) == []
