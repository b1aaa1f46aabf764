"""Agents of several workers: as exact as one, by the target's own log; and what comes of a worker that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadgen.measure.run_folder.rundir import RunDir
from loadgen.wire.codec import decode
from loadgen.wire.messages import Delta
from tests.integration.test_stopping import adds_up, agent_pid, end_of, wait_for
from tests.support.nginx import running_nginx
from tests.support.run import DATA, ends_with, loadgen, run_folder, started


def rows_of(counts: Counter[str]) -> Counter[int]:
    """How often each row was asked for."""
    found: Counter[int] = Counter()
    for line, count in counts.items():
        if (match := re.match(r"GET /row/(\d+)/7 ", line)) is not None:
            found[int(match[1])] += count
    return found


def worker_pids(runs: Path, region: str) -> dict[int, int]:
    """By worker, from the agent's children: those of several are told their number."""
    found: dict[int, int] = {}
    for child in psutil.Process(agent_pid(runs, region)).children():
        args = child.cmdline()
        if "loadgen_agent.worker.worker" not in args:  # see tests/support/warm_commands.py
            continue
        found[int(args[args.index("--worker") + 1]) if "--worker" in args else 0] = child.pid
    return found


def deltas(runs: Path) -> list[Delta]:
    return [d for d in map(decode, RunDir.open(run_folder(runs)).records()) if isinstance(d, Delta)]


def test_agents_of_two_workers_use_each_row_once_and_count_what_the_target_counts(tmp_path: Path) -> None:
    with running_nginx() as nginx:
        run = loadgen("run", f"{DATA}/crew.py", "--workers", "2", "--target", nginx.url, "--quiet", runs_dir=tmp_path)
        nginx.settled_count(1001)
        counts = nginx.counts()
    summary = run.summary
    assert ends_with(run.exit_code, summary, 0), run.out
    assert counts["GET /set-up 404"] == 1
    assert counts["GET /plain 404"] == 250
    assert rows_of(counts) == Counter(range(750))
    assert summary["requests"] == summary["requests"] | {"started": 1000, "finished": 1000, "errors": 0}
    assert {a["region"]: a["requests"] for a in summary["agents"]} == {"us-east-1": 600, "eu-west-1": 400}
    assert sum(row["total"] for row in summary["custom"] if (row["name"], row["region"]) == ("orders", "*")) == 750
    sent: Counter[tuple[str, int]] = Counter()
    for delta in deltas(tmp_path):
        assert delta.counters.iterations_started == sum(one.iterations_started for one in delta.workers)
        sent.update({(delta.agent, one.worker): one.iterations_started for one in delta.workers})
    assert sent == {("us-east-1", 0): 300, ("us-east-1", 1): 300, ("eu-west-1", 0): 200, ("eu-west-1", 1): 200}


@pytest.mark.parametrize("plan", ["closed", "counted"])
def test_closed_and_counted_loads_over_three_workers_are_as_exact(plan: str, tmp_path: Path) -> None:
    with running_nginx() as nginx:
        run = loadgen(
            "run", f"{DATA}/crew.py:{plan}", "--workers", "3", "--target", nginx.url, "--quiet", runs_dir=tmp_path
        )
        counts = nginx.counts()
    summary = run.summary
    served = sum(counts.values()) - counts["GET /set-up 404"]
    assert served == summary["requests"]["finished"] == summary["iterations"]["due"]
    assert {a["complete"] for a in summary["agents"]} == {True}
    if plan == "counted":
        assert served == 1001
        assert rows_of(counts) == Counter(range(sum(rows_of(counts).values())))
        assert sum(rows_of(counts).values()) in (500, 501)
    else:
        users = [sum(w.health.users for w in d.workers) for d in deltas(tmp_path) if d.end_ns < 1_500_000_000]
        assert sum(users) == 7


@pytest.mark.quiet
def test_a_killed_worker_is_said_and_another_goes_on_without_an_arrival_or_row_twice(tmp_path: Path) -> None:
    args = ("run", f"{DATA}/crew.py", "--duration", "6s", "--workers", "2")
    with running_nginx() as nginx, started(*args, "--target", nginx.url, runs_dir=tmp_path) as run:
        wait_for(run, r"^0:0[2-9] ")
        first = worker_pids(tmp_path, "us-east-1")
        os.kill(first[1], signal.SIGKILL)
        wait_for(run, r"worker 1 was killed by SIGKILL")
        wait_for(run, r"another process goes on")
        again = worker_pids(tmp_path, "us-east-1")
        code, out, summary = end_of(run, tmp_path)
        counts = nginx.counts()
    assert ends_with(code, summary, 3), out
    assert again[0] == first[0]
    assert again[1] != first[1]
    assert max(rows_of(counts).values()) == 1
    reason = next(r for r in summary["reasons"] if "worker 1 was killed by SIGKILL" in r)
    assert re.search(r"another process goes on with its share from \d+\.\d s", reason)
    lost, others = summary["agents"]
    assert (lost["complete"], others["complete"]) == (False, True)
    assert others["requests"] == 480
    assert 0 < lost["missing_s"] < 4
    served = sum(counts.values()) - 1
    assert summary["requests"]["finished"] <= served <= 1200
    assert adds_up(summary)
    at = _lost_events(tmp_path)
    assert [one["loss"]["resumed_ns"] > 0 for one in at] == [False, True]
    died_ns, told_ns, resumed_ns = (at[1]["loss"][key] for key in ("died_ns", "told_ns", "resumed_ns"))
    assert died_ns - told_ns < 3_000_000_000
    # A worker of us-east-1 has 60 arrivals/s: what is neither told nor driven is what was due from `told` on.
    missing = 1200 - summary["iterations"]["due"]
    assert missing <= 60 * (resumed_ns - told_ns) / 1e9 + 2


@pytest.mark.slow
def test_a_counted_load_goes_on_behind_where_the_killed_worker_was(tmp_path: Path) -> None:
    scenario = tmp_path / "s.py"
    scenario.write_text(
        (DATA / "crew.py").read_text()
        + "\n@journey(data=ROWS.unique())\nasync def slow(user: User, row: Row) -> None:\n"
        + "    await once.fn(user, row)\n    await user.think(0.02)\n"
        + '\nmany = Plan(target=TARGET, load=iterations(800, users=4), mix=slow, regions={"a": 1}, set_up=set_up)\n'
    )
    args = ("run", f"{scenario}:many", "--workers", "2")
    with running_nginx() as nginx, started(*args, "--target", nginx.url, runs_dir=tmp_path / "runs") as run:
        wait_for(run, r"^0:0[1-9] ")
        os.kill(worker_pids(tmp_path / "runs", "a")[1], signal.SIGKILL)
        code, out, summary = end_of(run, tmp_path / "runs")
        rows = rows_of(nginx.counts())
    assert ends_with(code, summary, 3), out
    assert max(rows.values()) == 1
    assert 796 <= len(rows) <= 800  # but for those of its two users that were begun and not sent yet
    assert summary["iterations"]["finished"] < 800  # what it had not told is not made up
    assert re.search(r"another process goes on", " ".join(summary["reasons"]))


@pytest.mark.quiet
def test_a_crash_in_c_code_takes_one_process_with_it_and_one_that_comes_again_gives_the_place_up(
    tmp_path: Path,
) -> None:
    scenario = tmp_path / "s.py"
    scenario.write_text(
        "import os\n"
        + (DATA / "crew.py").read_text()
        + "\n@journey(data=ROWS)\nasync def crashes(user: User, row: Row) -> None:\n"
        + '    await user.http.get("/plain", accept={200, 404})\n'
        + "    if row.n % 2 and row.n > 20:\n        os.abort()\n"
        + '\nbad = Plan(target=TARGET, load=arrivals("40/s").hold("6s"), mix=crashes, regions={"a": 1})\n'
    )
    with running_nginx() as nginx:
        run = loadgen(
            "run", f"{scenario}:bad", "--workers", "2", "--target", nginx.url, "--quiet", runs_dir=tmp_path / "runs"
        )
    summary = run.summary
    assert ends_with(run.exit_code, summary, 3), run.out
    losses = summary["agents"][0]["losses"]
    assert [loss["worker"] for loss in losses] == [1, 1, 1]  # the odd rows are worker 1's
    assert {loss["cause"] for loss in losses} == {"worker 1 was killed by SIGABRT"}
    assert [loss["resumed_s"] is not None for loss in losses] == [True, True, False]
    assert summary["iterations"]["finished"] >= 120  # worker 0 did all of its own
    assert adds_up(summary)


@pytest.mark.slow
def test_a_worker_that_stands_still_for_a_while_delays_and_loses_nothing(tmp_path: Path) -> None:
    args = ("run", f"{DATA}/crew.py", "--duration", "7s", "--workers", "2")
    with running_nginx() as nginx, started(*args, "--target", nginx.url, runs_dir=tmp_path) as run:
        wait_for(run, r"^0:0[2-9] ")
        pid = worker_pids(tmp_path, "us-east-1")[1]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(pid, signal.SIGCONT)
        code, out, summary = end_of(run, tmp_path)
        counts = nginx.counts()
    assert {a["complete"] for a in summary["agents"]} == {True}, out
    assert summary["iterations"]["finished"] == 1400 == sum(counts.values()) - 1
    assert rows_of(counts) == Counter(range(1050))
    assert code in (0, 4)
    assert any("worker 1 of us-east-1 was unfit" in reason for reason in summary["reasons"])


def _lost_events(runs: Path) -> list[dict[str, Any]]:
    lines = (run_folder(runs) / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == "worker lost"]


@pytest.mark.slow
def test_the_only_worker_of_an_agent_is_replaced_as_well(tmp_path: Path) -> None:
    args = ("run", f"{DATA}/crew.py", "--duration", "5s")
    with running_nginx() as nginx, started(*args, "--target", nginx.url, runs_dir=tmp_path) as run:
        wait_for(run, r"^0:0[2-9] ")
        os.kill(worker_pids(tmp_path, "eu-west-1")[0], signal.SIGKILL)
        wait_for(run, r"the worker was killed by SIGKILL at .*another process goes on")
        code, out, summary = end_of(run, tmp_path)
        counts = nginx.counts()
    assert ends_with(code, summary, 3), out
    assert max(rows_of(counts).values()) == 1
    assert adds_up(summary)


@pytest.mark.slow
def test_users_whose_rows_were_unique_do_not_come_back_and_others_do(tmp_path: Path) -> None:
    scenario = tmp_path / "s.py"
    scenario.write_text(
        (DATA / "crew.py").read_text()
        + '\nrows = Plan(target=TARGET, load=users(4).hold("5s"), mix=once, regions={"a": 1}, set_up=set_up)\n'
    )
    args = ("run", f"{scenario}:rows", "--workers", "2")
    with running_nginx() as nginx, started(*args, "--target", nginx.url, runs_dir=tmp_path / "runs") as run:
        wait_for(run, r"^0:0[2-9] ")
        os.kill(worker_pids(tmp_path / "runs", "a")[1], signal.SIGKILL)
        line = wait_for(run, "another process goes on")
        code, out, summary = end_of(run, tmp_path / "runs")
        counts = nginx.counts()
    assert "without the users of the load: their rows must not be used again" in line + out
    assert ends_with(code, summary, 3), out
    assert set(rows_of(counts)) == {0, 1, 2, 3}
    assert summary["agents"][0]["missing_s"] >= 1  # half of the agent, to the end


def test_ctrl_c_drains_all_workers_and_keeps_everything(tmp_path: Path) -> None:
    args = ("run", f"{DATA}/crew.py", "--duration", "60s", "--workers", "2")
    with running_nginx() as nginx, started(*args, "--target", nginx.url, runs_dir=tmp_path) as run:
        wait_for(run, r"^0:0[2-9] ")
        pids = [pid for region in ("us-east-1", "eu-west-1") for pid in worker_pids(tmp_path, region).values()]
        run.send_signal(signal.SIGINT)
        code, out, summary = end_of(run, tmp_path)
        served = sum(nginx.counts().values()) - 1
    assert ends_with(code, summary, 130), out
    assert summary["iterations"]["cut_off"] == 0
    assert adds_up(summary)
    assert summary["requests"]["finished"] == served > 0
    assert {a["complete"] for a in summary["agents"]} == {True}
    assert len(pids) == 4
    assert not any(map(psutil.pid_exists, pids))


def test_workers_do_not_outlive_a_killed_agent(tmp_path: Path) -> None:
    args = ("run", f"{DATA}/crew.py", "--duration", "60s", "--workers", "2")
    with running_nginx() as nginx, started(*args, "--target", nginx.url, runs_dir=tmp_path) as run:
        wait_for(run, r"^0:0[1-9] ")
        pids = list(worker_pids(tmp_path, "eu-west-1").values())
        os.kill(agent_pid(tmp_path, "eu-west-1"), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and any(map(_runs, pids)):
            time.sleep(0.05)
        gone = not any(map(_runs, pids))
        run.send_signal(signal.SIGINT)
        _end(run)
    assert gone


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=60)
