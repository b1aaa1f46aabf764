"""A load with tracing: what its exemplars stand for adds up to what was counted, with every client."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from time import perf_counter_ns

import pytest

from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.exemplar import Exemplar
from loadgen.target.config import TargetConfig
from loadgen.target.server import serve
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
