"""Plays the machines of a fleet: for each that runs at moto a real `loadgen-agent --aws`, with its metadata service.

What EC2 and Terraform's user-data do, as far as an agent sees it: it starts some moments after its machine, finds
by itself who it is, and is told to leave (SIGTERM, as systemd does at shutdown) when its machine is ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadgen.aws.account.names import CONTROLLER_ENDPOINT, CONTROLLER_PUBLIC_KEY, KILL, parameter
from tests.support.aws import client, role_of
from tests.support.aws_fleet import REGIONS, Aws
from tests.support.imds import Imds, running_imds

__all__ = ["Machines", "give_parameters", "played"]

_LOOK_S = 0.5


@dataclass
class Machines:
    """Those that run or ran, by id."""

    aws: Aws
    fleet: str
    bucket: str
    folder: Path
    metadata: dict[str, Imds] = field(default_factory=dict)
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    failed: list[BaseException] = field(default_factory=list)

    def look(self, stack: ExitStack) -> None:
        """Start agents of machines that are new, end those of machines that are gone."""
        there = {one: region for region, ids in self.aws.machines().items() for one in ids}
        for one, region in there.items():
            if one not in self.agents:
                imds = self.metadata[one] = stack.enter_context(running_imds(one, region))
                role_of(self.aws.url, imds)
                self.agents[one] = self._start(imds, self.folder / one)
        for one, agent in self.agents.items():
            if one not in there and one not in self.ended:
                self.ended.add(one)
                agent.terminate()

    def codes(self, within_s: float = 60) -> set[int]:
        """With which all of them ended."""
        return {agent.wait(within_s) for agent in self.agents.values()}

    def _start(self, imds: Imds, state: Path) -> subprocess.Popen[bytes]:
        state.mkdir()
        options = ("--aws", "--fleet", self.fleet, "--bucket", self.bucket, "--workers", "1")
        of_no_one = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        env = of_no_one | {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url,
            "AWS_ENDPOINT_URL": self.aws.url,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "XDG_STATE_HOME": str(state),
        }
        with (state / "agent.err").open("wb") as log:
            return subprocess.Popen([sys.executable, "-m", "loadgen_agent.cli", *options], stderr=log, env=env)


def give_parameters(aws: Aws, fleet: str, endpoint: str, public_key: bytes) -> None:
    """What Terraform puts into each region for its agents."""
    values = {CONTROLLER_ENDPOINT: endpoint, CONTROLLER_PUBLIC_KEY: public_key.decode(), KILL: "no"}
    for region in REGIONS:
        ssm = client(aws.url, "ssm", region)
        for name, value in values.items():
            ssm.put_parameter(Name=parameter(name, fleet), Value=value, Type="String")


@contextmanager
def played(aws: Aws, fleet: str, bucket: str, folder: Path) -> Iterator[Machines]:
    """While within."""
    machines, is_over = Machines(aws, fleet, bucket, folder), threading.Event()
    folder.mkdir()
    with ExitStack() as stack:

        def play() -> None:
            try:
                while not is_over.wait(_LOOK_S):
                    machines.look(stack)
            except BaseException as error:  # told to the test
                machines.failed.append(error)

        thread = threading.Thread(target=play, name="machines")
        thread.start()
        try:
            yield machines
        finally:
            is_over.set()
            thread.join()
            for agent in machines.agents.values():
                agent.kill()
                agent.wait()
    assert not machines.failed
