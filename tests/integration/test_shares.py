"""What a lost agent had is driven by the others: seen from the target, and never more than the plan."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.test_stopping import adds_up, end_of, wait_for
from tests.support.ports import free_port
from tests.support.reckoning import Reckoning, reckoning
from tests.support.run import DATA, ends_with, loadgen, run_folder, started

NAMES = ("a", "b", "c")
RATE = 150


class Fleet:
    """Agents as they are started by hand on other machines, by name."""

    def __init__(self, folder: Path) -> None:
        self.keys, self._folder = folder / "keys", folder
        for made in (("init", str(self.keys)), ("agent", str(self.keys), *NAMES)):
            assert loadgen("keys", *made, runs_dir=folder).exit_code == 0
        self.address = f"127.0.0.1:{free_port()}"
        self.agents: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", "loadgen_agent.cli", "--controller", self.address, "--workers", "1"]
        keys = str(self.keys / "copy-to" / name)
        with (self._folder / f"{name}.log").open("ab") as log:
            self.agents[name] = subprocess.Popen(
                [*command, "--keys", keys, "--region", "eu-west-1", "--id", name], stderr=log
            )

    def all_of(self, name: str) -> list[psutil.Process]:
        """The agent's process and its workers."""
        agent = psutil.Process(self.agents[name].pid)
        return [agent, *agent.children(recursive=True)]


@contextmanager
def fleet(folder: Path, *names: str) -> Iterator[Fleet]:
    made = Fleet(folder)
    for name in names:
        made.start(name)
    try:
        yield made
    finally:
        for agent in made.agents.values():
            if agent.poll() is None:
                for process in psutil.Process(agent.pid).children(recursive=True):
                    process.kill()
                agent.kill()
            agent.wait()


def arguments(made: Fleet, target: Reckoning, seconds: int, wait: int = 3, plan: str = "rows") -> tuple[str, ...]:
    listen = ("--listen", made.address, "--keys", str(made.keys), "--wait", str(wait))
    return ("run", f"{DATA}/shares.py:{plan}", "--duration", f"{seconds}s", "--target", target.url, *listen)


def never_more_than_planned(target: Reckoning, begin: float, first: int, seconds: int) -> bool:
    """From the `first` second on: in no two more than 102 % of the plan. One may hold what a busy machine owed."""
    counts = target.per_second(begin)
    return max(counts[k] + counts[k + 1] for k in range(first, seconds - 1)) <= 2 * RATE * 1.02 + 1


def rows(target: Reckoning) -> Counter[str]:
    return Counter(path for _, path in target.seen if path.startswith("/row/"))


def events(runs: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_folder(runs) / "events.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_share_of_a_killed_agent_runs_elsewhere_within_12_s_and_never_more_than_the_plan(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with reckoning(tmp_path) as target, fleet(tmp_path, *NAMES) as made:
        with started(*arguments(made, target, 25), runs_dir=runs) as run:
            wait_for(run, r"^0:0[4-9] ")
            killed = made.all_of("b")
            for process in killed:
                process.kill()
            killed_at = time.time()
            code, out, summary = end_of(run, runs)
        target.read()
    begin = target.seen[0][0]
    assert ends_with(code, summary, 3), out
    assert never_more_than_planned(target, begin, int(killed_at - begin), 25)
    assert max(rows(target).values()) == 1
    before = target.per_second(begin)[2]
    full = next(k for k in range(int(killed_at - begin) + 2, 25) if target.per_second(begin)[k] >= RATE * 0.98)
    assert begin + full - killed_at <= 12
    assert all(target.per_second(begin)[k] >= RATE * 0.98 for k in range(full + 1, 24))
    assert before >= RATE * 0.98
    (moved,) = [event for event in events(runs) if event["kind"] == "reassigned"]
    assert (moved["generation"], moved["cause"]) == (2, "b")
    assert moved["shares"] == {"a": 1.0, "b": 0.0, "c": 1.0}
    lost = next(agent for agent in summary["agents"] if agent["id"] == "b")
    assert 9 < lost["missing_s"] < 13
    served = len(rows(target))
    assert 0 <= served - summary["requests"]["finished"] <= 2.5 * RATE / 3  # what it had not told when it was killed


@pytest.mark.slow
def test_an_agent_that_was_frozen_for_30_s_starts_nothing_when_it_wakes(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with reckoning(tmp_path) as target, fleet(tmp_path, *NAMES) as made:
        with started(*arguments(made, target, 45), runs_dir=runs) as run:
            wait_for(run, r"^0:0[4-9] ")
            frozen = made.all_of("b")
            for process in frozen:
                process.send_signal(signal.SIGSTOP)
            frozen_at = time.time()
            time.sleep(30)
            for process in frozen:
                process.send_signal(signal.SIGCONT)
            code, out, summary = end_of(run, runs)
        target.read()
    begin = target.seen[0][0]
    assert ends_with(code, summary, 3), out
    assert max(rows(target).values()) == 1
    assert never_more_than_planned(target, begin, int(frozen_at - begin), 45)
    (moved,) = [event for event in events(runs) if event["kind"] == "reassigned"]
    assert moved["shares"] == {"a": 1.0, "b": 0.0, "c": 1.0}
    woken = next(agent for agent in summary["agents"] if agent["id"] == "b")
    assert woken["requests"] <= 6 * RATE / 3  # those before it was frozen, and none since
    assert adds_up(summary)


@pytest.mark.slow
def test_one_that_comes_late_takes_part_and_nothing_is_left_out_or_doubled(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with reckoning(tmp_path) as target, fleet(tmp_path, "a", "b") as made:
        with started(*arguments(made, target, 20, wait=2), runs_dir=runs) as run:
            wait_for(run, r"^0:0[3-9] ")
            made.start("c")
            code, out, summary = end_of(run, runs)
        target.read()
    assert ends_with(code, summary, 0), out
    assert rows(target) == Counter(f"/row/{n}" for n in range(20 * RATE))
    (moved,) = [event for event in events(runs) if event["kind"] == "reassigned"]
    assert moved["cause"] == "c joined"
    assert moved["shares"] == {"a": 1.0, "b": 1.0, "c": 1.0}
    part = next(agent for agent in summary["agents"] if agent["id"] == "c")
    assert part["complete"]
    assert part["requests"] == pytest.approx((20 - moved["at_ns"] / 1e9) * RATE / 3, abs=5)
