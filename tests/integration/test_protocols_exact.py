"""Runs with gRPC, WebSocket, TCP, UDP and HTTP/3 over several generators: the servers' own counts are the run's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_controller_service import Service, line_of, service
from tests.support.all_protocols import AllServers, all_protocols
from tests.support.in_thread import in_thread
from tests.support.run import ends_with, loadgen

__all__ = ["service"]

ITERATIONS = 30
ROWS = {
    "plan": Counter({
        **{f"shop.v1.Cart/{name}": ITERATIONS for name in ("Get", "Watch", "Sum", "Chat")},
        **dict.fromkeys(("feed (connect)", "join", "feed (ping)", "feed (close)"), ITERATIONS),
        **dict.fromkeys(("TCP gate (connect)", "ping", "echo", "lookup"), ITERATIONS),
    }),
    "http3": Counter({"GET /shop": ITERATIONS, "POST /shop": ITERATIONS}),
}  # fmt: skip


@pytest.fixture
def servers() -> Iterator[AllServers]:
    with in_thread(all_protocols()) as found:
        yield found


def rows_of(summary: dict[str, Any]) -> Counter[str]:
    """The counts of the rows of all regions and outcomes."""
    return Counter({
        row["request"]: row["count"]
        for row in summary["series"]
        if (row["kind"], row["region"], row["outcome"]) == ("request", "*", "*")
    })  # fmt: skip


def check(summary: dict[str, Any], servers: AllServers, plan: str) -> None:
    """Assert that the run counted what the servers counted, and what the scenario does."""
    expected = ROWS[plan].copy()
    assert summary["iterations"]["finished"] == summary["iterations"]["due"] == ITERATIONS
    assert rows_of(summary) == expected
    assert summary["requests"] == summary["requests"] | {
        "started": expected.total(), "finished": expected.total(), "errors": 0
    }  # fmt: skip
    expected.pop("feed (ping)", None)  # the library answers pings by itself
    assert servers.seen() == expected
    messages = {one["name"]: one["total"] for one in summary["custom"] if one["region"] == "*" and "total" in one}
    if plan == "plan":
        assert messages["ws: messages sent"] == len(servers.ws.received) == 2 * ITERATIONS
        assert messages["ws: messages received"] == 4 * ITERATIONS


@pytest.mark.parametrize("plan", ["plan", "http3"])
def test_an_agent_of_two_workers_counts_what_the_servers_count(servers: AllServers, plan: str, tmp_path: Path) -> None:
    scenario = servers.scenario(tmp_path)
    run = loadgen("run", f"{scenario}:{plan}", "--workers", "2", "--quiet", runs_dir=tmp_path / "runs")
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    check(run.summary, servers, plan)


def test_two_agents_of_a_controller_count_what_the_servers_count(
    servers: AllServers, service: Service, tmp_path: Path
) -> None:
    scenario = servers.scenario(tmp_path)
    for plan in ("plan", "http3"):
        with service.order("--wait", "2", plan=f"{scenario.name}:{plan}") as client:
            run_id = line_of(client, r"run (\S+) at")[1]
            client.communicate(timeout=120)
        summary = service.summary(run_id)
        assert ends_with(client.returncode, summary, 0)
        assert all(one["requests"] for one in summary["agents"])
        assert len(summary["agents"]) == 2
        check(summary, servers, plan)
        servers.grpc.calls.clear()
        for seen in (servers.ws.headers, servers.ws.received, servers.ws.closed):
            seen.clear()
        servers.tcp.clear()
        servers.udp.clear()


@pytest.mark.parametrize("plan", ["plan", "http3"])
def test_check_sends_one_iteration_and_shows_its_rows(servers: AllServers, plan: str, tmp_path: Path) -> None:
    scenario = servers.scenario(tmp_path)
    done = loadgen("check", f"{scenario}:{plan}", runs_dir=tmp_path / "runs")
    assert done.exit_code == 0, done.out + done.err
    rows = [name for name, count in ROWS[plan].items() if count]
    for name in rows:
        assert re.search(rf"^{re.escape(name)} .* ok ", done.out, re.MULTILINE), name
    assert re.search(rf": ok after {len(rows)} requests in ", done.out)
    seen = servers.seen()
    assert {name: seen[name] for name in rows if name != "feed (ping)"} == dict.fromkeys(
        (name for name in rows if name != "feed (ping)"), 1
    )
    if plan == "plan":
        assert re.search(r'"op":"feed","n":3\}\s+sent\s', done.out)
        assert re.search(r'"t2", "sent_ms": 0\}\s+received\s', done.out)
