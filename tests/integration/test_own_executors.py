"""An author's executor and a recorded trace, from a scenario's bundle, on three real agents: counts and times exact."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from math import log2
from pathlib import Path
from shutil import copy

import numpy as np
import pytest

from loadgen.measure.run_folder.rundir import RunDir
from loadgen.wire.codec import decode
from loadgen.wire.messages import Delta
from tests.support.nginx import running_nginx
from tests.support.run import DATA, Finished, ends_with, loadgen

AZURE = Path(__file__).parents[1] / "data/llm/AzureLLMInferenceTrace_conv.csv.gz"
STRETCH_S, SPEED = 60, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenario, its module and a minute of the trace, which is all that is there."""
    place = tmp_path_factory.mktemp("scenario")
    for name in ("own_executors.py", "executors.py"):
        copy(DATA / name, place / name)
    header, *rows = gzip.decompress(AZURE.read_bytes()).decode().splitlines()
    kept = [row for row, at_ns in zip(rows, trace_ns(rows), strict=True) if at_ns < STRETCH_S * 1_000_000_000]
    (place / "trace.csv.gz").write_bytes(gzip.compress("\n".join([header, *kept]).encode()))
    return place


def trace_ns(rows: list[str]) -> list[int]:
    at = np.array([row.partition(",")[0].replace(" ", "T") for row in rows], dtype="datetime64[ns]").astype(np.int64)
    since: list[int] = (at - at[0]).tolist()
    return since


def dues_of(run: Finished) -> dict[int, int]:
    """When arrivals were due, ns from T0, as the agents recorded it: of those that they tell one by one."""
    deltas = [decode(record) for record in RunDir.open(run.folder).records()]
    told = [one for delta in deltas if isinstance(delta, Delta) for one in delta.exemplars]
    return {one.n: one.at_ns for one in told if not one.request and not one.step}


def each_once(counts: Counter[str], total: int) -> bool:
    return counts == {f"GET /arrival/{n} 404": 1 for n in range(total)}


def test_an_executor_of_a_scenarios_bundle_runs_on_three_agents(folder: Path, tmp_path: Path) -> None:
    with running_nginx() as nginx:
        run = loadgen("run", f"{folder}/own_executors.py", "--target", nginx.url, "--quiet", runs_dir=tmp_path)
        nginx.settled_count(500)
        counts = nginx.counts()
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    assert each_once(counts, 500)
    assert run.summary["iterations"] == run.summary["iterations"] | {"due": 500, "finished": 500, "missed": 0}
    assert {agent["region"]: agent["requests"] for agent in run.summary["agents"]} == {
        "us-east-1": 250,
        "eu-west-1": 167,
        "ap-south-1": 83,
    }
    dues = dues_of(run)
    assert len(dues) > 20
    for n, due_ns in dues.items():
        assert abs(due_ns + 0.4e9 * log2(1 - n / 500)) <= 1
    assert run.summary["load"]["text"].startswith("arrivals: FlashSale: 500 in 4s, at most ")


def test_a_minute_of_a_real_trace_is_replayed_ten_times_as_fast_by_three_agents(folder: Path, tmp_path: Path) -> None:
    was_ns = trace_ns(gzip.decompress((folder / "trace.csv.gz").read_bytes()).decode().splitlines()[1:])
    with running_nginx() as nginx:
        run = loadgen("run", f"{folder}/own_executors.py:trace", "--target", nginx.url, "--quiet", runs_dir=tmp_path)
        nginx.settled_count(len(was_ns))
        counts = nginx.counts()
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    assert len(was_ns) == 191  # as it is published: the first minute of the trace
    assert each_once(counts, 191)
    dues = dues_of(run)
    assert len(dues) > 20
    assert all(abs(due_ns - was_ns[n] / SPEED) <= 1 for n, due_ns in dues.items())


def test_a_closed_executor_has_its_users_on_three_agents(folder: Path, tmp_path: Path) -> None:
    with running_nginx() as nginx:
        run = loadgen("run", f"{folder}/own_executors.py:shifts", "--target", nginx.url, "--quiet", runs_dir=tmp_path)
        served = nginx.settled_count(run.summary["requests"]["finished"])
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    assert served == run.summary["requests"]["finished"]
    users = [0] * 10
    for record in RunDir.open(run.folder).records():
        delta = decode(record)
        if isinstance(delta, Delta) and delta.end_ns // 1_000_000_000 < 10:
            users[delta.end_ns // 1_000_000_000] += delta.health.users
    assert max(users) == 8


def test_agents_to_which_an_executor_gives_other_times_refuse_the_run(folder: Path, tmp_path: Path) -> None:
    run = loadgen(
        "run", f"{folder}/own_executors.py:impure", "--target", "http://127.0.0.1:9", "--quiet", runs_dir=tmp_path
    )
    assert run.exit_code == 2, run.out + run.err
    said = " ".join((run.out + run.err + json.dumps(run.summary["reasons"])).split())
    assert "where the run was ordered: it is not a pure function of the seed" in said
    assert "own_executors.py:" in said
    assert run.summary["requests"]["started"] == 0


@pytest.mark.slow  # the ten seconds that an executor may be silent
@pytest.mark.parametrize("waits", ["time.sleep(1_000)", "[None for _ in iter(int, 1)]"], ids=["waits", "spins"])
def test_an_executor_that_blocks_does_not_hang_the_command_line(waits: str, tmp_path: Path) -> None:
    (tmp_path / "blocks.py").write_text(
        "import time\n"
        "from collections.abc import Iterator\n"
        "from loadgen import OpenExecutor, Plan, User, journey\n\n\n"
        "class Blocks(OpenExecutor):\n"
        "    def due(self, seed: int) -> Iterator[float]:\n"
        "        yield 0.0\n"
        f"        {waits}\n\n\n"
        "@journey\n"
        "async def browse(user: User) -> None:\n"
        "    await user.http.get('/')\n\n\n"
        "plan = Plan(target='http://127.0.0.1:9', load=Blocks(), mix=browse)\n"
    )
    done = loadgen("plan", f"{tmp_path}/blocks.py", "--no-trial", runs_dir=tmp_path)
    assert done.exit_code == 2
    assert "blocks.py:9: Blocks.due blocks: 10 s without a yield, after arrival 0" in " ".join(done.err.split())
