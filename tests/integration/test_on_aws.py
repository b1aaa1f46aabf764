"""A fleet on AWS as moto plays it: real agents enrol, drive a run, and one hands its share over in time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from loadgen.wire.curve_keys import load_controller
from loadgen.wire.key_folder_changes import init_keys
from tests.cli.test_commands import loadgen
from tests.integration.test_controller_service import line_of, started
from tests.support.aws import BUCKET, FLEET, REGION, client, isolated, made_fleet, role_of, running_aws
from tests.support.imds import Imds, running_imds
from tests.support.ports import free_ports
from tests.support.run import ends_with
from tests.support.target import running_target

pytestmark = [pytest.mark.slow, pytest.mark.quiet]
OTHER = "us-east-1"
CANARY = "canary-of-the-fleet"
SCENARIO = """
from loadgen import Plan, User, arrivals, journey, secret

token = secret("api-token")

@journey
async def look(user: User) -> None:
    await user.http.get("/", headers={"X-Token": token.reveal()}, expect=200)

plan = Plan(
    target="http://127.0.0.1:1", load=arrivals("60/s").hold("20s"), mix=look, regions={"eu-west-1": 2, "us-east-1": 1}
)
"""


@dataclass
class Fleet:
    """A controller and three agents; each agent has an instance of its own."""

    folder: Path
    url: str
    api: str
    instances: dict[str, Imds] = field(default_factory=dict)
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def known(self) -> set[str]:
        """Instances that are registered with the controller."""
        return set(re.findall(r"i-[0-9a-f]{17}", loadgen("agents", "--controller", self.api).output))


def wait_until(holds: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def instance(url: str, region: str) -> str:
    tags = [{"Key": "loadgen:fleet", "Value": FLEET}, {"Key": "loadgen:role", "Value": "agent"}]
    made = client(url, "ec2", region).run_instances(
        ImageId="ami-12345678",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    return str(made["Instances"][0]["InstanceId"])


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    (tmp_path / "look.py").write_text(SCENARIO)
    keys = tmp_path / "keys"
    init_keys(keys)
    listen, api = (f"127.0.0.1:{port}" for port in free_ports(2))
    with ExitStack() as stack:
        url = stack.enter_context(running_aws())
        isolated(monkeypatch, tmp_path, url, keys=False)
        public = load_controller(keys, agents_come_later=True).own.public
        made_fleet(url, listen, public, **{"api-token": CANARY})
        made_fleet_elsewhere(url, listen, public)
        made = Fleet(tmp_path, url, api)
        of_controller = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": REGION}
        with monkeypatch.context() as patched:
            for name, value in of_controller.items():
                patched.setenv(name, value)
            enrolls = ("--enroll", FLEET, "--bucket", BUCKET)
            runs = ("--runs-dir", str(tmp_path / "runs"))
            controller = started("controller", "--keys", str(keys), "--listen", listen, "--api", api, *enrolls, *runs)
        stack.callback(controller.wait)
        stack.callback(controller.kill)
        line_of(controller, "listening for agents on")
        for region in (REGION, REGION, OTHER):
            name = instance(url, region)
            imds = made.instances[name] = stack.enter_context(running_imds(name, region))
            role_of(url, imds)
            made.agents[name] = process = stack.enter_context(agent_on(imds, tmp_path / name))
            stack.callback(process.terminate)
        yield made


def made_fleet_elsewhere(url: str, endpoint: str, public_key: bytes) -> None:
    """Parameters are those of a region; the bucket is one for all."""
    ssm = client(url, "ssm", OTHER)
    for name, value in {"controller-endpoint": endpoint, "controller-public-key": public_key.decode()}.items():
        ssm.put_parameter(Name=f"/loadgen/{FLEET}/agent/{name}", Value=value, Type="String")
    ssm.put_parameter(Name=f"/loadgen/{FLEET}/secrets/api-token", Value=CANARY, Type="SecureString")


def agent_on(imds: Imds, state: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "loadgen_agent.cli",
        "--aws",
        "--fleet",
        FLEET,
        "--bucket",
        BUCKET,
        "--workers",
        "1",
    ]
    env = {**os.environ, "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url, "XDG_STATE_HOME": str(state)}
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=env)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def test_spot_notice_on_one_of_three_hands_its_share_over_within_two_seconds_and_nothing_is_lost(fleet: Fleet) -> None:
    wait_until(lambda: fleet.known() == set(fleet.instances))
    goes, *_ = fleet.instances
    with running_target("--no-latency") as target:
        command = [sys.executable, "-m", "loadgen_controller.cli", "run", str(fleet.folder / "look.py")]
        with subprocess.Popen(
            [*command, "--target", target.url, "--controller", fleet.api, "--wait", "3"],
            stdout=subprocess.PIPE,
            text=True,
        ) as run:
            run_id = line_of(run, r"run (\S+) at")[1]
            line_of(run, r"[1-9]\d*\.\d/s of 60")
            fleet.instances[goes].arm_spot()
            assert run.stdout is not None
            text = run.stdout.read()
            code = run.wait(60)
        served = target.stats()["requests"]
    folder = fleet.folder / "runs" / run_id
    summary = json.loads((folder / "summary.json").read_text())
    assert ends_with(code, summary, 0), text
    assert (summary["iterations"]["due"], summary["iterations"]["missed"]) == (1200, 0)
    assert summary["requests"]["finished"] == served == 1200
    assert fleet.agents[goes].wait(60) == 0
    (moved,) = events(folder, "reassigned")
    assert moved["cause"] == goes
    assert moved["shares"][goes] == 0
    heard_s = fleet.instances[goes].told_at["spot/instance-action"]
    handed_over_s = datetime.fromisoformat(summary["started_at"]).timestamp() + moved["at_ns"] / 1e9
    assert handed_over_s - heard_s < 2
    print(f"others had its share {handed_over_s - heard_s:.3f} s after the notice was told")
    assert CANARY not in text
