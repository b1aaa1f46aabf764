"""A controller and three agents that are started from the built images, on loopback, against the demo shop.

The images in dist/images are used if they were built from this tree; otherwise the test builds them, as `make images`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadgen_controller.api.credential_files import ApiFiles
from loadgen_controller.api.tokens import Role, Tokens
from tests.cli.test_commands import loadgen
from tests.support.ports import free_ports
from tests.support.target import running_target
from tools.images.__main__ import GOALS_MB
from tools.images.build import ROOT, Image, build, built_from_this_tree
from tools.images.buildah import Store, missing_packages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        bool(missing_packages()), reason=f"needs the Debian packages {', '.join(missing_packages())}: make images"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: buildah starts containers with the isolation chroot"),
]

BUILT = ROOT / "dist/images"
USER = 10001
REGIONS = ("eu", "us", "ap")
SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def look(user: User) -> None:
    await user.http.get("/", expect=200)

plan = Plan(target="http://127.0.0.1:1", load=arrivals("60/s").hold("10s"), mix=look, drain="5s")
"""


@pytest.fixture(scope="module")
def images() -> dict[str, Image]:
    found = built_from_this_tree(BUILT) or build(BUILT, print)
    return {image.name: image for image in found}


@dataclass
class Containers:
    """Programs that run in containers. Those of one kind are containers of one image, each with files of its own."""

    store: Store
    images: dict[str, Image]
    stack: ExitStack

    def start(self, image: str, volumes: dict[Path, str], *args: str) -> subprocess.Popen[str]:
        """Start the program of an image; it gets SIGTERM when the test has ended."""
        container = self.store.container(BUILT / self.images[image].archive)
        command = self.store.started_in(container, volumes, [*self.images[image].entrypoint, *args])
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.stack.callback(end, process)
        return process


def end(process: subprocess.Popen[str]) -> None:
    """End the program in a container: SIGTERM for it, since buildah would not pass it on."""
    if process.poll() is not None:
        return
    inside = [one for one in psutil.Process(process.pid).children(recursive=True) if one.uids().real == USER]
    for one in inside:
        one.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        for one in inside:
            one.kill()
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        if (found := re.search(pattern, line)) is not None:
            return found
        seen.append(line)
    raise AssertionError(f"no line {pattern} in:\n{''.join(seen)}")


@pytest.fixture
def containers(images: dict[str, Image], tmp_path: Path) -> Iterator[Containers]:
    store = Store(tmp_path / "store", tmp_path / "buildah.log")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, store.folder, ignore_errors=True)
        yield Containers(store, images, stack)


def given_to_user(folder: Path) -> Path:
    """Make a folder belong to the user of the images, as docs/containers.md and compose.yaml require of keys."""
    folder.mkdir(exist_ok=True)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER)
    return folder


def test_a_controller_and_three_agents_from_the_images_count_what_the_target_counts(
    containers: Containers, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    assert loadgen("keys", "init", keys).exit_code == 0
    assert loadgen("keys", "agent", keys, "fleet").exit_code == 0
    assert loadgen("api", "cert", keys).exit_code == 0
    token = tmp_path / "alice.token"
    token.touch(0o600)
    token.write_text(Tokens(ApiFiles(keys).tokens).add("alice", Role.RUN))
    certificate = shutil.copy(ApiFiles(keys).certificate, tmp_path)
    handout = given_to_user(Path(shutil.copytree(keys / "copy-to/fleet", tmp_path / "handout")))
    state = given_to_user(tmp_path / "state")
    (tmp_path / "look.py").write_text(SCENARIO)
    listen, api = (f"127.0.0.1:{port}" for port in free_ports(2))

    options = ("--keys", "/keys", "--listen", listen, "--api", api, "--runs-dir", "/state/runs")
    volumes = {given_to_user(keys): "/keys:ro", state: "/state"}
    controller = containers.start("controller", volumes, "controller", *options)
    line_of(controller, "listening for agents on")
    agents = [
        containers.start(
            "agent",
            {handout: "/keys:ro"},
            *("--controller", listen, "--region", region, "--keys", "/keys", "--id", f"fleet.{region}"),
            *("--workers", "1"),
        )
        for region in REGIONS
    ]
    with running_target("--no-latency") as target:
        client = subprocess.run(
            [
                *(sys.executable, "-m", "loadgen_controller.cli", "run", str(tmp_path / "look.py")),
                *("--target", target.url, "--regions", ",".join(f"{region}=1" for region in REGIONS), "--wait", "3"),
                *("--controller", api, "--ca", str(certificate), "--token-file", str(token)),
            ],
            capture_output=True,
            text=True,
            timeout=180,
        )
        stats = target.stats()
    (folder,) = (state / "runs").glob("*-look-*")
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())

    assert client.returncode in (0, 4), f"4: this machine was too busy to measure times\n{client.stdout}{client.stderr}"
    assert summary["requests"] == summary["requests"] | {"started": 600, "finished": 600, "errors": 0}
    assert stats["requests"] == 600
    assert {one["region"]: one["requests"] for one in summary["agents"]} == dict.fromkeys(REGIONS, 200)
    assert all(one["complete"] for one in summary["agents"])
    for process in (controller, *agents):
        inside = psutil.Process(process.pid).children(recursive=True)
        assert USER in {one.uids().real for one in inside}
    assert {path.stat().st_uid for path in folder.rglob("*")} == {USER}


@pytest.mark.parametrize("name", GOALS_MB)
def test_an_image_is_not_larger_than_its_goal(images: dict[str, Image], name: str) -> None:
    assert images[name].size_mb <= GOALS_MB[name]
