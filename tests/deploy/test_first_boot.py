"""The user data that the example renders, really run: a controller and an agent of a fleet start on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tools.deploy import facts, outside

pytestmark = [pytest.mark.slow, pytest.mark.quiet, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
UNSHARE = ["unshare", "--net", "--mount"]
NEEDED = ("unshare", "nft", "curl", "ip", "runuser", "useradd")


@cache
def user_data() -> dict[str, str]:
    """By role, as tfparse evaluates the example."""
    try:
        plan = outside.evaluated("plan", Path("deploy/terraform/examples/single"))
    except outside.Skipped as why:
        pytest.skip(str(why))
    return {("agent" if "launch_template" in at else "controller"): text for at, text in facts.user_data(plan)}


def booted(folder: Path, harm: str = "") -> dict[str, Any]:
    if os.geteuid() != 0 or subprocess.run([*UNSHARE, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs root, and namespaces")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    asked = folder / "asked.json"
    asked.write_text(json.dumps({"folder": str(folder), "user_data": user_data(), "harm": harm}))
    command = [*UNSHARE, sys.executable, "-m", "tests.support.first_boot", str(asked)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_controller_and_an_agent_start_from_their_user_data_and_find_each_other(tmp_path: Path) -> None:
    told = booted(tmp_path)
    controller, agent = told["loadgen-controller.service"], told["loadgen-agent.service"]
    assert (controller["status"], controller["tag"]) == (0, "ready"), controller
    assert (agent["status"], agent["tag"]) == (0, "ready"), agent
    assert told["registered"], told
    assert agent["addresses"] == ["shop"]  # of the two of its fleet the one that nobody had
    assert "shutdown" not in controller["called"] + agent["called"]
    assert "dnf install --quiet --assumeyes python3.12 nftables" in agent["called"]
    # It runs as a user of its own, and other people's code as another one, who gets no credentials of the machine.
    assert told["uid"] == told["uid_of_loadgen"] != "0"
    assert told["metadata"] == {"loadgen": "401", "scenario": "000"}
    # Run again it changes nothing: the same process goes on, and it does not live longer.
    assert (told["again"], told["same_process"], told["same_end"]) == (0, True, True)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("list", "requirements.txt is not the one whose sha256 was asked for"),
        ("wheel", "THESE PACKAGES DO NOT MATCH THE HASHES"),
    ],
)
def test_an_agent_whose_wheels_are_not_those_that_were_asked_for_says_so_and_ends_itself(
    harm: str, said: str, tmp_path: Path
) -> None:
    agent = booted(tmp_path, harm)["loadgen-agent.service"]
    assert agent["status"] != 0
    assert said in agent["said"]
    assert "the start failed" in agent["said"]
    assert "at: installation" in agent["said"]
    assert agent["tag"] == "failed"
    assert "shutdown -h now" in agent["called"]
    assert agent["log"] == ""
