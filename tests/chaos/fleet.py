"""A whole fleet on this machine, for faults: the controller, real agents behind a bad network, nginx as their target.

Every arrival asks for a row of its own by its number, so the target's log says which arrival was begun when, and no
double load can hide among right totals. Every worker keeps its raw values.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from loadgen.drive.raw_value_debug_file import RAW_VARIABLE
from loadgen.wire.key_folder_changes import add_agent, handout, init_keys
from tests.support.chaos_proxy import ChaosProxy, chaos_proxy
from tests.support.history import Buckets, History, ahead_of_plan, overload, raw_buckets, read_history, twice
from tests.support.hosts import Network
from tests.support.nginx import RunningNginx, running_nginx
from tests.support.plan_book import PlanBook, arrivals_of, plan_book
from tests.support.run import run_folder

__all__ = [
    "Conducted",
    "RealAgent",
    "RealFleet",
    "conducted",
    "end_family",
    "exists",
    "laid_out",
    "real_fleet",
    "wait_until",
]

_SCENARIO = """
from dataclasses import dataclass

from loadgen import Plan, User, arrivals, feed, journey


@dataclass(frozen=True)
class Row:
    n: int


@journey(data=feed.rows([Row(n) for n in range({rows})]).unique())
async def once(user: User, row: Row) -> None:
    {body}
    await user.http.get(f"/row/{{row.n}}", name="/row/{{n}}", accept={{200, 404}})


plan = Plan(
    target="http://127.0.0.1:1", load=arrivals("{rate}/s").hold("{seconds}s"), mix=once, regions={regions}, drain="5s"
)
"""
_ALLOWED = """
[[allow]]
host = "{host}"
max_requests_per_s = 1_000_000
max_duration = "1h"
owner = "the trial"
expires = 2099-12-31
"""


def exists(pid: int) -> bool:
    """Whether it runs; one that is dead and not yet buried does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(holds: Callable[[], object], within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.02)


def end_family(process: subprocess.Popen[bytes]) -> None:
    """Ours, by id, with its workers; also one that stands still."""
    if process.poll() is not None:
        return
    own = psutil.Process(process.pid)
    for one in [own, *own.children(recursive=True)]:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(60)


@dataclass(slots=True)
class RealAgent:
    """A `loadgen-agent` process, with its workers."""

    id: str
    region: str
    process: subprocess.Popen[bytes]

    def processes(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self) -> None:
        """SIGSTOP: the agent and its workers stand still."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def freeze(self, seconds: float) -> None:
        self.stop()
        time.sleep(seconds)
        self.go_on()

    def kill(self) -> None:
        """SIGKILL to the agent and its workers: a machine that is gone."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes():
            process.send_signal(number)


@dataclass(slots=True)
class Conducted:
    """A run of `loadgen run --listen`. What is asked of it while it goes on is read from its folder and its output."""

    folder: Path
    controller: subprocess.Popen[bytes]
    keys: Path
    address: str = ""
    """Where it listens."""

    def keys_of(self, name: str) -> Path:
        """What an agent needs that has the key `name`."""
        return handout(self.keys, name)

    @property
    def output(self) -> str:
        return (self.folder / "controller.out").read_text(errors="replace")

    @property
    def run(self) -> Path:
        return run_folder(self.folder / "runs")

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What the controller has written down by now."""
        try:
            text = (self.run / "events.jsonl").read_text()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [event for event in map(json.loads, whole) if kind in (None, event["kind"])]

    def named(self, name: str) -> list[dict[str, Any]]:
        """Events of the run's state machine, e.g. AgentLost."""
        return [event["event"] for event in self.events("event") if event["name"] == name]

    def rejected_input(self) -> Counter[str]:
        """What came in and was no use, by kind; known when the run is over."""
        return Counter({kind: n for event in self.events("troubles") for kind, n in event["counts"].items()})

    def wait_for(self, pattern: str, within_s: float = 60) -> str:
        """A line of the controller's output."""
        look = re.compile(pattern, re.MULTILINE)
        wait_until(lambda: look.search(self.output) or self.is_over, within_s, f"{pattern!r}")
        found: list[str] = re.findall(f".*{pattern}.*", self.output)
        assert found, f"no {pattern!r} in\n{self.output}"
        return found[-1]

    @property
    def is_over(self) -> bool:
        return self.controller.poll() is not None

    def end(self, within_s: float = 120) -> int:
        """The exit code of the run, once it is over."""
        try:
            return self.controller.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the run does not end\n{self.output}") from None

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run / "summary.json").read_text())
        return found

    def history(self) -> History:
        return read_history(self.run)

    def close(self) -> None:
        end_family(self.controller)


def laid_out(folder: Path, scenario: str, keys: Iterable[str]) -> Path:
    """The scenario's file, beside a folder with keys of these names."""
    path = folder / "scenario.py"
    path.write_text(scenario)
    init_keys(folder / "keys")
    for name in keys:
        add_agent(folder / "keys", name)
    return path


@contextmanager
def conducted(
    folder: Path,
    scenario: str,
    keys: Iterable[str],
    wait: int,
    options: Sequence[str] = (),
    listen: str = "127.0.0.1",
    inside: Sequence[str] = (),
    program: str = "loadgen_controller.cli",
) -> Iterator[Conducted]:
    """A controller that listens for `wait` agents; its end is the test's to wait for, or it is killed.

    Args:
        scenario: the text of the file.
        keys: names of the agents' keys.
        inside: before its command, e.g. a clock of its own.
        program: the module that is run as the controller.
    """
    path = laid_out(folder, scenario, keys)
    command = [*inside, sys.executable, "-m", program, "run", str(path), "--listen", f"{listen}:0"]
    command += ["--keys", str(folder / "keys"), "--wait", str(wait), "--runs-dir", str(folder / "runs"), *options]
    with (folder / "controller.out").open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    run = Conducted(folder, process, folder / "keys")
    try:
        listening = r"listening on \S+ for"
        run.address = re.sub(r".*listening on (\S+) for.*", r"\1", run.wait_for(listening))
        yield run
    finally:
        run.close()


Conduct = Callable[[Path, str, Iterable[str], int, Sequence[str], str], AbstractContextManager[Conducted]]
"""As `conducted`."""


@dataclass(slots=True)
class RealFleet:
    """One run of real agents against nginx."""

    conducted: Conducted
    rate_per_s: float
    seconds: float
    net: ChaosProxy
    """Between all agents and the controller, but those that have another."""
    nginx: RunningNginx
    network: Network | None = None
    """With a host for each agent."""
    agents: dict[str, RealAgent] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.conducted.folder

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def planned(self) -> int:
        return round(self.rate_per_s * self.seconds)

    def join(
        self,
        agent: str,
        region: str,
        address: str | None = None,
        *options: str,
        inside: Sequence[str] = (),
        program: str = "loadgen_agent.cli",
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> RealAgent:
        """Start an agent: on its host if there are any, else here, by the way of `net`; or `inside` something else."""
        if self.network is not None:
            inside = self.network[agent].inside
        usual = self.net.address if self.network is None else self.conducted.address
        command = [*inside, sys.executable, "-m", program, "--controller", address or usual]
        command += ["--region", region, "--keys", str(self.conducted.keys_of(agent)), "--id", agent]
        command += ["--workers", "1", "--spool", str(self.folder / "spool" / agent), *options]
        with (self.folder / f"{agent}.out").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, RAW_VARIABLE: str(self.raw), **env},
            )
        self.agents[agent] = RealAgent(agent, region, process)
        return self.agents[agent]

    def wait_for_load(self, seconds: float = 1.0, within_s: float = 120) -> None:
        """Until the load has gone on for so long, as the target sees it."""
        run = self.conducted
        wait_until(
            lambda: self.nginx.access_log_count() >= self.rate_per_s * seconds or run.is_over,
            within_s,
            f"{seconds} s of load\n{run.output}",
        )
        assert not run.is_over, run.output

    def end(self, within_s: float = 120) -> int:
        return self.conducted.end(within_s)

    def recorded(self) -> Buckets:
        return raw_buckets(self.raw)

    def began(self) -> list[tuple[float, int]]:
        """(Unix time, arrival) of each that the target served, by its own log."""
        found = [(at, re.fullmatch(r"/row/(\d+)", path)) for at, path in self.nginx.served()]
        return [(at, int(match[1])) for at, match in found if match is not None]

    def t0_s(self) -> float:
        """When the load began, Unix time, as the controller's wall clock had it."""
        return datetime.fromisoformat(str(self.conducted.summary()["started_at"])).timestamp()

    def plan(self) -> PlanBook:
        """The plan of the run, which is over."""
        return plan_book(self.conducted.run, arrivals_of(self.rate_per_s, self.seconds))

    def wrongs(self, *, died: Sequence[str] = (), ahead_s: float = 0.0, names_doubles: bool = False) -> list[str]:
        """The whole history, of all four books.

        died: regions in which something was measured that nobody could be told.
        ahead_s: by how much the controller's wall clock was ahead of the target's when the load began.
        names_doubles: see `PlanBook.wrongs`.
        """
        history, began = self.conducted.history(), self.began()
        t0_s = self.t0_s() - ahead_s
        plan, served = self.plan(), [arrival for _, arrival in began]
        wrong = history.wrongs(
            recorded=self.recorded(), died=died, plan=plan, served=served, names_doubles=names_doubles
        )
        wrong += twice(served)
        wrong += ahead_of_plan([at for at, _ in began], self.rate_per_s, t0_s)
        wrong += overload([at for at, _ in began], self.rate_per_s, late_s=history.late_s)
        if not died and len(began) != history.counters.requests_finished:
            wrong.append(f"the target served {len(began):,} and {history.counters.requests_finished:,} are counted")
        return wrong

    def close(self) -> None:
        for agent in self.agents.values():
            end_family(agent.process)


@contextmanager
def real_fleet(
    folder: Path,
    agents: Mapping[str, str],
    *,
    rate_per_s: float,
    seconds: float,
    seed: int = 0,
    body: str = "pass",
    options: Sequence[str] = (),
    start: bool = True,
    wait: int | None = None,
    network: Network | None = None,
    conduct: Conduct = conducted,
) -> Iterator[RealFleet]:
    """The controller, its agents and their target; all gone when the block is left.

    Args:
        agents: region by id. Regions have equal shares.
        body: a line of the journey before its request.
        start: False: the agents are started by the test.
        wait: for so many agents; otherwise for all that are named here.
        network: each agent is on its host there, and reaches controller and target by two links.
        conduct: `conducted`, or `tests.chaos.served.served` for a controller that stays.
    """
    text = _SCENARIO.format(
        rows=round(rate_per_s * seconds) + 10,
        body=body,
        rate=rate_per_s,
        seconds=seconds,
        regions=dict.fromkeys(agents.values(), 1),
    )
    with ExitStack() as stack:
        listen, host = ("127.0.0.1",) * 2 if network is None else (network.control, network.target)
        nginx = stack.enter_context(running_nginx(host=host))
        target = ["--target", nginx.url, *options]
        if network is not None:
            (folder / "allow.toml").write_text(_ALLOWED.format(host=host))
            target += ["--allow", str(folder / "allow.toml")]
        run = stack.enter_context(conduct(folder, text, agents, wait or len(agents), target, listen))
        net = stack.enter_context(chaos_proxy(run.address, seed))
        fleet = RealFleet(run, rate_per_s, seconds, net, nginx, network)
        stack.callback(fleet.close)
        if start:
            for agent, region in agents.items():
                fleet.join(agent, region)
        yield fleet
