"""`Plan(client=...)`: which client a plan's people have, and what the stock one cannot do."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns

import pytest

from loadgen import Http, Plan, iterations, journey
from loadgen.clients.http import HttpClient
from loadgen.clients.httpx_api.stock import StockHttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_factory import UserFactory
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Delta
from loadgen.target.config import TargetConfig
from loadgen.target.server import serve
from tests.support.scenarios import HEAD, write


@journey
async def look(user: User) -> None:
    await user.http.get("/", expect=200)


def plan_of(**more: object) -> Plan:
    return Plan("http://127.0.0.1:1", iterations(1), look, **more)  # type: ignore[arg-type]


async def test_people_have_the_client_of_the_plan() -> None:
    for client, kind in (("loadgen", HttpClient), ("httpx", StockHttpClient)):
        plan = plan_of(client=client)
        user = UserFactory(plan.ways(), TcpNetwork(), None, seed=1).user(Recorder())
        assert type(user.http) is kind
        assert type(user.to("").headers) is type(user.http.headers)
        await user.http.close()


def test_the_stock_client_stands_in_the_manifest_and_in_the_report() -> None:
    spec = plan_of(client="httpx").spec()
    assert spec.client == "httpx"
    assert [note for note in spec.notes if note.startswith("client: stock httpx")]
    assert plan_of().spec().client == "loadgen"
    assert not plan_of().spec().notes


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"client": "curl"}, ["client='curl': unknown client"]),
        ({"client": 7}, ["client=7: unknown client"]),
        ({"client": "httpx", "connections": "fresh"}, ['does not support connections="fresh"']),
        (
            {"client": "httpx", "http": Http(retries=2, phases=True, proxy="http://127.0.0.1:3128")},
            ["does not support proxy=", "does not support retries=", "does not support phases="],
        ),
        ({"client": "httpx", "http": Http(verify=False), "connections": "shared:3"}, []),
        ({"client": "loadgen", "http": Http(retries=2)}, []),
    ],
)
def test_what_it_cannot_do_is_said_before_anything_starts(more: dict[str, object], said: list[str]) -> None:
    faults = [fault.message for fault in plan_of(**more).faults]
    assert len(faults) == len(said)
    assert all(any(text in fault for fault in faults) for text in said)


@pytest.mark.parametrize("connections", ["kept", "shared:2"])
async def test_a_load_on_the_stock_client_counts_what_the_target_counts(connections: str, tmp_path: Path) -> None:
    deltas: list[Delta] = []
    more = f'client="httpx", connections="{connections}"'
    async with serve(TargetConfig(latency=False)) as shop:
        path = write(tmp_path, HEAD + f'plan = Plan("http://127.0.0.1:1", iterations(20, users=4), browse, {more})\n')
        drive = Drive(load(path, overrides=Overrides(target=shop.url)), interval_ns=100_000_000, emit=deltas.append)
        totals = await drive.run(perf_counter_ns() + 20_000_000)
        counters = totals.counters
        assert shop.stats()["requests"] == counters.requests_started == counters.requests_finished
        assert counters.requests_errors == counters.script_faults == 0
        assert counters.iterations_finished == 20
