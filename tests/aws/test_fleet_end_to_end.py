"""From nothing to a run from three regions and back: moto's AWS, a real controller, nine real agents, the command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from loadgen.aws.scale import reaping
from loadgen.wire.curve_keys import load_controller
from loadgen.wire.key_folder_changes import init_keys
from tests.cli.test_commands import loadgen
from tests.integration.test_controller_service import line_of, started
from tests.support.aws_fleet import REGIONS, Aws
from tests.support.aws_machines import Machines, give_parameters, played
from tests.support.ports import free_ports
from tests.support.run import ends_with
from tests.support.target import running_target

pytestmark = [pytest.mark.slow, pytest.mark.quiet, pytest.mark.timeout(400)]
SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def look(user: User) -> None:
    await user.http.get("/", expect=200)

plan = Plan(
    target="http://127.0.0.1:1",
    load=arrivals("60/s").hold("20s"),
    mix=look,
    regions={"eu-west-1": 3, "us-east-1": 4, "ap-southeast-1": 2},
    drain="3s",
)
"""
NINE = "eu-west-1=3,us-east-1=4,ap-southeast-1=2"


@dataclass
class Stage:
    folder: Path
    aws: Aws
    api: str
    fleet: Path
    machines: Machines

    def order(self, target: str, scale: str, *options: str, command: str = "run") -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "loadgen_controller.cli", command, str(self.folder / "look.py")]
        of_fleet = ("--fleet", str(self.fleet), "--scale", scale, "--target", target)
        return subprocess.Popen(
            [*words, *of_fleet, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def ask(self, *words: str) -> Result:
        return loadgen("fleet", *words, "--fleet", self.fleet)

    def summary(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "runs" / run_id / "summary.json").read_text())
        return found

    def events(self, run_id: str, kind: str) -> list[dict[str, Any]]:
        lines = (self.folder / "runs" / run_id / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] == kind]


@pytest.fixture
def stage(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(reaping, "enabled_regions", lambda *_: list(REGIONS))
    (tmp_path / "look.py").write_text(SCENARIO)
    keys = tmp_path / "keys"
    init_keys(keys)
    listen, api = (f"127.0.0.1:{port}" for port in free_ports(2))
    made = aws.make_fleet(controller=api, regions=REGIONS)
    give_parameters(aws, "shop", listen, load_controller(keys, agents_come_later=True).own.public)
    with ExitStack() as stack:
        with monkeypatch.context() as patched:
            patched.setenv("AWS_REGION", REGIONS[0])
            of_aws = ("--enroll", "shop", "--bucket", made["bucket"])
            where = ("--keys", str(keys), "--listen", listen, "--api", api, "--runs-dir", str(tmp_path / "runs"))
            controller = started("controller", *where, *of_aws)
        stack.callback(controller.wait)
        stack.callback(controller.kill)
        line_of(controller, "listening for agents on")
        machines = stack.enter_context(played(aws, "shop", made["bucket"], tmp_path / "machines"))
        yield Stage(tmp_path, aws, api, aws.write(tmp_path, made), machines)


def rest_of(run: subprocess.Popen[str]) -> str:
    assert run.stdout is not None
    return run.stdout.read()


def test_nine_agents_come_drive_a_run_lose_one_to_a_spot_notice_and_leave_nothing(stage: Stage) -> None:
    with running_target("--no-latency") as target, stage.order(target.url, NINE) as run:
        line_of(run, "up: 9 agents are registered")
        run_id = line_of(run, r"run (\S+) at")[1]
        line_of(run, r"[1-9]\d*\.\d/s of 60")
        goes = min(stage.machines.metadata)
        stage.machines.metadata[goes].arm_spot()
        text, code = rest_of(run), run.wait(120)
        served = target.stats()["requests"]

    summary = stage.summary(run_id)
    assert ends_with(code, summary, 0), text
    assert summary["requests"]["finished"] == served == 1200
    assert (summary["iterations"]["due"], summary["iterations"]["missed"]) == (1200, 0)
    assert {agent["region"] for agent in summary["agents"]} == set(REGIONS)
    (moved,) = stage.events(run_id, "reassigned")
    assert moved["cause"] == goes
    began_s = datetime.fromisoformat(summary["started_at"]).timestamp()
    handed_over_s = began_s + moved["at_ns"] / 1e9 - stage.machines.metadata[goes].told_at["spot/instance-action"]
    print(f"others had its share {handed_over_s:.3f} s after the notice")
    assert handed_over_s < 2
    assert "down: 9 machines are gone" in text
    assert stage.machines.codes() == {0}
    assert (stage.aws.count(), stage.aws.desired()) == (0, [0, 0, 0])
    assert "nothing to reap in 3 regions" in stage.ask("reap", "--all").output


def test_at_ctrl_c_the_run_is_stopped_and_its_agents_go(stage: Stage) -> None:
    with running_target("--no-latency") as target, stage.order(target.url, "3", "--regions", "eu-west-1=1") as run:
        run_id = line_of(run, r"run (\S+) at")[1]
        line_of(run, r"[1-9]\d*\.\d/s of 60")
        run.send_signal(signal.SIGINT)
        text, code = rest_of(run), run.wait(120)

    assert (code, stage.summary(run_id)["result"]) == (130, "interrupted"), text
    assert "down: 3 machines are gone" in text
    assert stage.machines.codes() == {0}
    assert stage.aws.count() == 0


def test_run_of_a_laptop_that_dies_goes_on_and_its_fleet_has_an_end(stage: Stage) -> None:
    with running_target("--no-latency") as target, stage.order(target.url, "2", "--regions", "eu-west-1=1") as run:
        run_id = line_of(run, r"run (\S+) at")[1]
        line_of(run, r"[1-9]\d*\.\d/s of 60")
        run.kill()
        run.wait()

        refused = stage.ask("down")
        assert refused.exit_code == 2
        assert re.search(rf"2 of these agents work for {run_id}", refused.output)
        (end,) = stage.aws.expiries("eu-west-1")
        left_s = (end["StartTime"] - datetime.now(UTC)).total_seconds()
        assert (end["DesiredCapacity"], 1700 < left_s < 1830) == (0, True)
        assert loadgen("watch", run_id, "--controller", stage.api).exit_code in (0, 4)

    assert stage.summary(run_id)["requests"]["finished"] == 1200
    assert "down: 2 machines are gone" in stage.ask("down").output
    assert stage.machines.codes() == {0}


def test_runs_of_a_gate_share_a_fleet_which_goes_after_the_last_also_at_a_kill(stage: Stage) -> None:
    here = stage.folder / "here"
    options = (
        "--regions",
        "eu-west-1=1",
        "--duration",
        "3s",
        "--runs-dir",
        str(here),
        "--store",
        str(here / "history"),
    )
    with running_target("--no-latency") as target:
        with stage.order(target.url, "2", *options, "--runs", "2", command="gate") as gate:
            text, code = rest_of(gate), gate.wait(120)
        assert code in (3, 4), text  # there is no history; or the machine was too busy to measure
        assert text.count("up: 2 agents are registered") == 1
        # After a run on a machine that was too busy to measure no other is made.
        assert max(one.start() for one in re.finditer(r"^run \d: ", text, re.MULTILINE)) < text.index(
            "down: 2 machines"
        )
        agents = {
            tuple(agent["id"] for agent in json.loads(one.read_text())["agents"])
            for one in here.glob("*/manifest.json")
        }
        assert len(agents) == 1
        assert stage.aws.count() == 0

        with stage.order(target.url, "2", *options, "--runs", "9", command="gate") as gate:
            line_of(gate, "run 1: ")
            gate.send_signal(signal.SIGTERM)
            text, code = rest_of(gate), gate.wait(120)
    assert code == 130, text
    assert "interrupted: nothing was judged" in text
    assert "down: 2 machines are gone" in text
    assert stage.aws.count() == 0
    assert stage.machines.codes() == {0}
