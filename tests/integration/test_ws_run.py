"""Runs with WebSockets: the server's counts are ours, and a stopped run says goodbye on each connection."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Any

from loadgen.report.from_run_folder import document_of
from loadgen.report.run_as_dataframes import open_run
from tests.support.in_thread import in_thread
from tests.support.run import DATA, loadgen, run_folder, started
from tests.support.scenarios import write
from tests.support.ws_servers import ws_server

STAYING = """
from loadgen import Plan, User, journey, users

@journey
async def stay(user: User) -> None:
    async with user.ws("/feed") as ws:
        await ws.ask("hello", name="hello")
        await user.think(300)

plan = Plan(mix=stay, load=users(5).hold("300s"), drain="1s")
"""


def test_each_message_is_counted_by_the_server_and_objectives_judge_times_of_messages(tmp_path: Path) -> None:
    with in_thread(ws_server(subprotocols=["chat.v2"])) as server:
        run = loadgen("run", f"{DATA}/ws_chat.py", "--target", server.url, "--quiet", runs_dir=tmp_path / "runs")
        received, closed = len(server.received), server.closed
    assert run.exit_code in (0, 4), run.out + run.err  # 4: the machine was too busy for a verdict
    if run.exit_code == 0:
        assert [one["verdict"] for one in run.summary["slos"]] == ["passed"] * 3
    assert "p95 of 540 messages after the first" in run.summary["slos"][1]["detail"]  # of 10 on each connection, 9
    assert run.summary["iterations"]["finished"] == run.summary["iterations"]["due"] == 60
    assert run.summary["requests"]["finished"] == run.summary["requests"]["started"] == 60 * 4
    assert received == 60 * 2
    assert closed == [1000] * 60
    counts = {one["name"]: one for one in run.summary["custom"] if one["region"] == "*"}
    assert counts["ws: messages received"]["total"] == 60 * 11
    assert counts["ws: messages sent"]["total"] == 60 * 2


def test_a_stopped_run_closes_its_connections_with_1001_and_keeps_what_it_measured(tmp_path: Path) -> None:
    scenario = write(tmp_path, STAYING)
    with in_thread(ws_server()) as server:
        with started("run", str(scenario), "--target", server.url, "--quiet", runs_dir=tmp_path / "runs") as run:
            deadline = time.monotonic() + 60
            while len(server.received) < 5 and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(1.5)  # the answers are in a report
            run.send_signal(signal.SIGINT)
            run.communicate(timeout=60)
        while len(server.closed) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert server.closed == [1001] * 5
    summary = (run_folder(tmp_path / "runs") / "summary.json").read_text()
    assert '"hello"' in summary
    slots: Any = document_of(open_run(run_folder(tmp_path / "runs")))["slots"]
    assert max(slots["websockets"]) == 5
    assert max(slots["tcp_connections"]) == 0


def test_check_shows_the_messages_without_secrets(tmp_path: Path) -> None:
    scenario = write(tmp_path, STAYING.replace('"hello", name', '{"token": "s3cr3t-of-the-test", "n": 1}, name'))
    with in_thread(ws_server()) as server:
        done = loadgen("check", str(scenario), "--target", server.url, runs_dir=tmp_path / "runs")
    assert done.exit_code == 0, done.out + done.err
    assert re.search(r'"n":1\}\s+sent\s', done.out)
    assert re.search(r'"n":1\}\s+received\s', done.out)
    assert "s3cr3t" not in done.out
