"""A run with too few users marks the rows that leave the wait for a user out."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tests.support.run import loadgen
from tests.support.target import running_target

SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def shop(user: User) -> None:
    async with user.step("cart"):
        await user.http.get("/")
    await user.think("100ms")

plan = Plan(target="http://127.0.0.1:1", mix=shop, load=arrivals("20/s").hold("2s"), max_users=1)
"""


def test_rows_of_steps_and_requests_are_marked_where_one_user_is_busy_at_most_arrivals(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.py"
    scenario.write_text(SCENARIO)
    with running_target("--no-latency") as target:
        run = loadgen("run", str(scenario), "--target", target.url, "--quiet", runs_dir=tmp_path / "runs")
    exported = loadgen("report", str(run.folder), "--format", "csv", "-o", str(tmp_path / "x.csv"), runs_dir=tmp_path)

    # Each iteration holds the only user for 100 ms, and the next is due after 50 ms.
    journey, step, request = run.row("journey"), run.row("step", step="cart"), run.row("request")
    assert journey["user_wait_ms"]["p50"] > 100
    assert journey["response_ms"]["p99"] > 5 * request["response_ms"]["p50"]
    assert (journey["bound"], step["bound"], request["bound"]) == (None, "lower", "lower")
    (note,) = (one for one in run.summary["notes"] if "waited for a free user" in one)
    assert "lower bounds" in note
    assert ">=" in run.out
    assert exported.exit_code == 0
    rows = csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text()))
    assert {(row["kind"], row["bound"]) for row in rows} == {("journey", ""), ("step", "lower"), ("request", "lower")}
