"""An iteration of a run, or all of it, is run again: with its row, its random numbers and its failure."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.run import loadgen
from tests.support.scenarios import write
from tests.support.target import running_target

SCENARIO = """
from dataclasses import dataclass

from loadgen import Load, Plan, User, arrivals, feed, journey, lognormal


@dataclass(frozen=True)
class Row:
    number: int


@journey(data=feed.rows([Row(n) for n in range(1000)]).shuffle(seed=5))
async def pay(user: User, row: Row) -> None:
    drawn = user.random.randrange(10**9)
    speed = round(user.trait("speed", lognormal(0, 0.3)), 9)
    await user.http.post("/login", json={"email": f"{row.number}-{drawn}-{speed}", "password": "wrong"}, expect=200)


plan = Plan(
    target="http://127.0.0.1:1",
    loads=[
        Load(pay, arrivals("10/s").hold("1s")),
        Load(pay, arrivals("20/s").hold("500ms"), after="300ms", name="spike"),
    ],
    regions=["us", "eu"],
)
"""


def body_of(text: str) -> str:
    """The one body that was sent."""
    (body,) = {line.strip() for line in text.splitlines() if line.strip().startswith('{"email"')}
    return body


def test_a_failed_iteration_is_the_same_when_it_is_run_again(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    where = ("--runs-dir", str(runs))
    with running_target("--no-latency") as shop:
        first = loadgen("run", str(write(tmp_path, SCENARIO)), "--target", shop.url, runs_dir=runs)
        assert first.exit_code in (1, 4)
        failures = sorted(first.folder.glob("failures/*.json"))
        assert failures
        listed = loadgen("failures", "last", *where, runs_dir=runs)
        command = next(line for line in listed.out.splitlines() if "loadgen check --arrival" in line)
        words = command.partition("loadgen check ")[2].split()
        again = loadgen("check", *words, runs_dir=runs)
        whole = loadgen("failures", "last", "1", *where, runs_dir=runs)
        nobody = loadgen("check", "--arrival", "1.2", "--from", "last", *where, runs_dir=runs)
        rerun = loadgen("runs", "rerun", "last", "-q", *where, runs_dir=runs)
    assert again.exit_code == 1
    assert body_of(again.out) == body_of(whole.out)
    assert nobody.exit_code == 2
    assert "the load has no user 1" in nobody.err
    assert "write the number of an arrival, below 10" in nobody.err
    assert rerun.exit_code in (1, 4)
    before, after = sorted(runs.iterdir())
    seen = [
        {body_of(json.loads(path.read_text())["sent"]) for path in folder.glob("failures/*.json")}
        for folder in (before, after)
    ]
    assert len(seen[0]) == len(failures)
    assert seen[0] == seen[1]
