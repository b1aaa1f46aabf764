"""`loadgen controller` as it is used: its own process, agents, clients that come and go, over TLS with tokens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from loadgen_controller.api.credential_files import ApiFiles
from loadgen_controller.api.tokens import Role, Tokens
from tests.cli.test_commands import loadgen
from tests.support.ports import free_ports
from tests.support.run import DATA
from tests.support.target import running_target

SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def look(user: User) -> None:
    await user.http.get("/", expect=200)

plan = Plan(target="http://127.0.0.1:1", load=arrivals("40/s").hold("60s"), mix=look, regions={"eu": 1}, drain="2s")
"""


@dataclass
class Service:
    """A controller with two agents, and how its clients reach it."""

    folder: Path
    address: str
    controller: subprocess.Popen[str]
    token: Path

    def kill_and_resume(self) -> None:
        """SIGKILL, and another one that is told nothing but the folder."""
        self.controller.kill()
        self.controller.wait()
        self.controller = started("controller", "resume", "--runs-dir", str(self.folder / "runs"))
        line_of(self.controller, "is continued")
        line_of(self.controller, "listening for agents on")

    @property
    def there(self) -> tuple[str, ...]:
        certificate = str(ApiFiles(self.folder / "keys").certificate)
        return "--controller", self.address, "--ca", certificate, "--token-file", str(self.token)

    def ask(self, *words: str, exit_code: int = 0) -> Result:
        result = loadgen(*words, *self.there)
        assert result.exit_code == exit_code, result.output
        return result

    def order(self, *options: str, plan: str = "look.py") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "loadgen_controller.cli", "run", str(self.folder / plan)]
        return subprocess.Popen([*command, *options, *self.there], stdout=subprocess.PIPE, text=True)

    def working(self) -> set[str]:
        """Runs that agents work for."""
        return set(re.findall(r"\d{8}-\d{6}-look-\w{4}", self.ask("agents").output))

    def summary(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "runs" / run_id / "summary.json").read_text())
        return found


def started(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "loadgen_controller.cli", *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)


def line_of(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert process.stdout is not None
    for line in process.stdout:
        if (found := re.search(pattern, line)) is not None:
            return found
    raise AssertionError(f"no line {pattern}")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "look.py").write_text(SCENARIO)
    keys = tmp_path / "keys"
    assert loadgen("keys", "init", keys).exit_code == 0
    assert loadgen("keys", "agent", keys, "a", "b").exit_code == 0
    assert loadgen("api", "cert", keys).exit_code == 0
    token = tmp_path / "alice.token"
    token.touch(0o600)
    token.write_text(Tokens(ApiFiles(keys).tokens).add("alice", Role.RUN))
    agents_port, api_port = free_ports(2)
    listen, api = f"127.0.0.1:{agents_port}", f"127.0.0.1:{api_port}"
    runs = ("--runs-dir", str(tmp_path / "runs"))
    with ExitStack() as stack:
        made = Service(
            tmp_path, api, started("controller", "--keys", str(keys), "--listen", listen, "--api", api, *runs), token
        )
        stack.callback(lambda: made.controller.wait())
        stack.callback(lambda: made.controller.kill())
        line_of(made.controller, "listening for agents on")
        for name in "ab":
            agent = [sys.executable, "-m", "loadgen_agent.cli", "--controller", listen, "--region", "eu"]
            agent += ["--id", name, "--keys", str(keys / "copy-to" / name), "--workers", "1"]
            process = stack.enter_context(subprocess.Popen(agent, stderr=subprocess.DEVNULL))
            stack.callback(process.terminate)
        yield made


def test_two_runs_at_once_outlive_their_clients_and_count_what_the_target_counts(service: Service) -> None:
    with running_target("--no-latency") as target:
        clients = [service.order("--target", target.url, "--duration", "40s") for _ in range(2)]
        ids = [line_of(client, r"run (\S+) at")[1] for client in clients]
        for client in clients:
            line_of(client, r"[1-9]\d*\.\d/s of 40")  # it shows what goes on
            client.send_signal(signal.SIGINT)
            assert client.stdout is not None
            assert f"loadgen stop {ids[clients.index(client)]}" in client.stdout.read()
            assert client.wait(60) == 130
        assert service.working() == {*ids}, "they go on, each on an agent of its own"
        listed = service.ask("runs", "list").output
        assert all(one in listed for one in ids)
        assert listed.count("alice") == 2

        first, second = ids
        assert f"paused {first}" in service.ask("pause", first).output
        assert "2 runs are running" in service.ask("stop", exit_code=2).output
        assert f"stopping {second}" in service.ask("stop", second).output
        seen = loadgen("watch", second, *service.there)
        assert "stopped by loadgen stop (alice, by the API)" in " ".join(seen.output.split())
        assert f"killed {first}" in service.ask("kill").output, "it is the only one by now"
        loadgen("watch", first, *service.there)

        finished = sum(service.summary(run_id)["requests"]["finished"] for run_id in ids)
        served = target.stats()["requests"]
    cut_off = sum(service.summary(run_id)["iterations"]["cut_off"] for run_id in ids)
    assert finished <= served <= finished + cut_off
    assert all(agent["complete"] for run_id in ids for agent in service.summary(run_id)["agents"])
    assert [line.split()[0] for line in service.ask("agents").output.splitlines()[2:]] == ["a", "b"]
    assert "idle" in service.ask("agents").output


def test_a_controller_that_is_stopped_lets_its_runs_drain_and_keeps_them(service: Service) -> None:
    with running_target("--no-latency") as target, service.order("--target", target.url) as client:
        run_id = line_of(client, r"run (\S+) at")[1]
        line_of(client, r"[1-9]\d*\.\d/s of 40")
        service.controller.send_signal(signal.SIGTERM)
        service.controller.wait(60)
    summary = service.summary(run_id)
    assert any("the controller was terminated" in reason for reason in summary["reasons"])
    assert all(agent["complete"] for agent in summary["agents"])


def test_strangers_of_the_api_hear_why_they_are_refused(service: Service) -> None:
    address, certificate = service.address, str(ApiFiles(service.folder / "keys").certificate)
    bare = loadgen("agents", "--controller", address, "--ca", certificate)
    assert bare.exit_code == 2
    assert "this API requires a token" in bare.output
    assert service.ask("kill", "--all", exit_code=2).output.count("role admin") == 1
    plain = loadgen("agents", "--controller", address)
    assert plain.exit_code == 5
    assert "--ca FILE" in plain.output
    before = time.time()
    (service.folder / "another").mkdir()
    ApiFiles(service.folder / "another").make_certificate((), 1)
    other = loadgen("agents", "--controller", address, "--ca", ApiFiles(service.folder / "another").certificate)
    assert other.exit_code == 5, "its certificate is not the one that the client was given"
    assert time.time() - before < 60


def of_two(service: Service, target: str, kills: int) -> tuple[str, dict[str, Any]]:
    """A run on both agents whose controller is killed again and again; its client watches on."""
    with service.order("--target", target, "--wait", "2", "--duration", f"{8 + 4 * kills}s") as client:
        run_id = line_of(client, r"run (\S+) at")[1]
        assert client.stdout is not None
        for _ in range(kills):
            for line in client.stdout:  # it sees the run go on, also after the last time
                if re.search(r"[1-9]\d*\.\d/s of 40", line):
                    service.kill_and_resume()
                    break
        client.stdout.read()
        client.wait(60)
    return run_id, service.summary(run_id)


@pytest.mark.slow
@pytest.mark.fault("F4", "SIGKILL once, real agents")
def test_a_controller_that_is_killed_and_resumed_goes_on_with_its_run(
    service: Service, record_property: Callable[[str, object], None]
) -> None:
    record_property("seen", exact_after_kills(service, 1))


@pytest.mark.slow
@pytest.mark.fault("F4", "SIGKILL four times, real agents")
def test_a_controller_that_is_killed_four_times_loses_nothing(
    service: Service, record_property: Callable[[str, object], None]
) -> None:
    record_property("seen", exact_after_kills(service, 4))


@pytest.mark.slow
@pytest.mark.fault("F4", "SIGKILL once, a steered load")
def test_a_steered_load_goes_on_from_what_was_seen_before_its_controller_was_killed(
    service: Service, record_property: Callable[[str, object], None]
) -> None:
    plans = (DATA / "steered.py").read_text().replace('regions=("a", "b")', 'regions={"eu": 1}')
    (service.folder / "steered.py").write_text(plans)
    with running_target("--no-latency") as target:
        options = ("--target", target.url, "--wait", "2")
        with service.order(*options, plan="steered.py:stairs") as client:
            run_id = line_of(client, r"run (\S+) at")[1]
            line_of(client, r"[1-9]\d*\.\d/s of 20")
            service.kill_and_resume()
            assert client.stdout is not None
            client.stdout.read()
            client.wait(60)
        served = target.stats()["requests"]
    summary = service.summary(run_id)
    events = [json.loads(line) for line in (service.folder / "runs" / run_id / "events.jsonl").open()]
    assert sum(event["kind"] == "taken up" for event in events) == 1
    assert [event["rate_per_s"] for event in events if event["kind"] == "steered"] == [20.0, 40.0, None]
    (steering,) = summary["steering"]
    assert (steering["why"], steering["turns"], steering["verdict"]) == ("up all stairs", 3, "found")
    assert summary["requests"]["finished"] == served
    record_property("seen", f"10, 20, 40/s and its own end, as without; {served} requests at the target and here")


def exact_after_kills(service: Service, kills: int) -> str:
    """What was seen."""
    with running_target("--no-latency") as target:
        run_id, summary = of_two(service, target.url, kills)
        served = target.stats()["requests"]
    assert summary["requests"]["finished"] == served
    events = [json.loads(line) for line in (service.folder / "runs" / run_id / "events.jsonl").open()]
    assert 1 <= sum(event["kind"] == "taken up" for event in events) <= kills
    named = {(event["name"], bool(event["event"].get("text"))) for event in events if event["kind"] == "event"}
    if not named & {("FinReceived", True), ("AgentLost", True), ("AgentLeaving", False)}:
        # else the machine is so busy that the controller was away for longer than a lease
        assert all(agent["complete"] for agent in summary["agents"]), summary["reasons"]
        assert summary["iterations"]["finished"] == summary["iterations"]["due"] == 40 * (8 + 4 * kills)
    finished = summary["iterations"]["finished"]
    return f"{finished} of {40 * (8 + 4 * kills)} arrivals; {served} requests at the target, as many in the report"
