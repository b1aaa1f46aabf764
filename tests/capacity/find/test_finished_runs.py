"""Finished searches and confirmations, read from what a run folder has: how they ended, and what they measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from loadgen.capacity.find.finished_runs import read_held, read_search
from loadgen.dsl.executors.capacity import search
from loadgen.dsl.executors.rate_search import begin, step
from loadgen.dsl.plans.objectives.slo import Slo, error_ratio, p
from loadgen.errors import UsageError
from loadgen.report.run_as_dataframes import Run
from loadgen.report.summary_reader import Agent, Found, Summary, Validity
from loadgen.report.summary_reader import Slo as JudgedSlo
from tests.support.queues import fixed

OBJECTIVE = p(99) < "300ms"
FOUND = Found("", "found", "the knee is at 80.0/s", ("p(99) < 300ms",), 80.0, 76.0, 83.0)


@dataclass
class Folder:
    """As much of a run as the readers use."""

    summary: Summary | None
    manifest: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    id: str = "20261129-120000-shop-a1b2"
    path: Path = Path("runs/a1b2")

    @property
    def run(self) -> Run:
        return cast("Run", self)


def folder(
    found: Found = FOUND, slo: Slo = OBJECTIVE, word: str = "search", upto: float = 400.0, **summary: Any
) -> Folder:
    executor = f"{word} p(99) < 300ms: 20.0/s to {upto:g}/s"
    steering = {
        "executor": executor, "objectives": [msgspec.to_builtins(slo.objective)], "start_per_s": 20.0,
        "upto_per_s": upto,
    }  # fmt: skip
    spec = {
        "scenario": "shop.py", "name": "peak", "target": "http://shop.test", "labels": {"release": "1.4"},
        "lanes": [{"steering": steering}],
    }  # fmt: skip
    agents = (Agent("a", "local", complete=True, unfit_intervals=3, intervals=300),)
    values = {"result": "passed", "exit_code": 0, "steering": (found,), "agents": agents, "duration_s": 300.0}
    named = {"format": 1, "run_id": "r", "scenario": "shop.py", "plan": "peak", "placement": "embedded"}
    made = Summary(**(named | {"started_at": "2026-11-29T12:00:00Z"} | values | summary))  # type: ignore[arg-type]
    return Folder(made, {"spec": spec, "created_at": "2026-11-29T12:00:00Z"})


def ended(one: Folder, reason: str, detail: str = "") -> Folder:
    one.events.append({"kind": "facts", "facts": {"ends": [{"reason": reason, "detail": detail}]}})
    return one


def test_a_search_that_found_its_rate() -> None:
    read = read_search(ended(folder(), "finished").run)

    assert (read.end, read.rate_per_s, read.low_per_s, read.high_per_s) == ("found", 80.0, 76.0, 83.0)
    assert (read.scenario, read.plan, read.target) == ("shop.py", "peak", "http://shop.test")
    assert (read.objectives, read.labels) == (("p(99) < 300ms",), {"release": "1.4"})
    assert read.unfit_share == pytest.approx(0.01)
    assert (read.start_per_s, read.upto_per_s, read.duration_s) == (20.0, 400.0, 300.0)


def test_a_rate_outside_of_its_interval_widens_it() -> None:
    read = read_search(folder(Found("", "found", "", ("p(99) < 300ms",), 84.0, 76.0, 83.0)).run)

    assert (read.low_per_s, read.rate_per_s, read.high_per_s) == (76.0, 84.0, 84.0)


def not_reached(rate: float) -> Found:
    return Found("", "not reached", "the knee was not reached", ("p(99) < 300ms",), rate, None, None, rate)


@pytest.mark.parametrize(
    ("one", "end"),
    [
        (folder(not_reached(400.0)), "not reached"),
        (folder(not_reached(212.0)), "generator was the limit"),
        (folder(result="invalid", validity=Validity("invalid", ("the machine is busy",))), "generator was the limit"),
        (folder(Found("", "never met", "not met even at 0.3/s"), result="failed"), "never met"),
        (folder(Found("", "not decided", "too few", (), 80.0, 60.0, 99.0)), "not decided"),
        (folder(Found("", "found", "", (), 80.0, None, None)), "not decided"),
        (folder(Found("", "found", "", (), float("nan"), 1.0, 2.0)), "not decided"),
        (folder(Found()), "not decided"),
        (folder(result="incomplete", reasons=("an agent was lost",)), "incomplete"),
        (ended(folder(), "stopped", "interrupted by Ctrl-C"), "stopped"),
        (ended(folder(), "slo breached", "error_ratio() < 50% failed"), "incomplete"),
        (ended(folder(), "target in danger", "connections > 95%"), "incomplete"),
    ],
)
def test_every_other_end_has_no_rate_to_combine(one: Folder, end: str) -> None:
    read = read_search(one.run)

    assert read.end == end
    assert not read.is_found
    assert read.why


def test_a_run_of_another_load_is_no_search() -> None:
    with pytest.raises(UsageError, match="is not a search for the highest rate"):
        read_search(folder(word="hold").run)
    plain = folder()
    plain.manifest["spec"]["lanes"] = [{"steering": None}]
    with pytest.raises(UsageError, match="is not a search"):
        read_search(plain.run)
    damaged = folder()
    damaged.manifest["spec"]["lanes"][0]["steering"]["start_per_s"] = "fast"
    with pytest.raises(UsageError, match="damaged"):
        read_search(damaged.run)


def test_a_search_that_has_not_ended_has_no_result() -> None:
    running = folder()
    running.summary = None
    with pytest.raises(UsageError, match="has not ended"):
        read_search(running.run)


def test_the_tested_rates_are_those_that_the_search_judged() -> None:
    target = fixed(4, 0.05, 0.3)
    executor = search(OBJECTIVE, start=20.0, upto=400.0)
    climb, queue, one, rate = begin(executor.terms), target.queue(1), folder(), 20.0
    for _ in range(120):
        look = queue.look(rate)
        climb = step(executor.terms, climb, look)
        one.events.append({"kind": "look", "look": msgspec.to_builtins(look)})
        rate = climb.asked_per_s
    one.events.append({"kind": "look", "look": {"from_s": "of another version"}})

    tested = read_search(one.run).tested

    assert len(tested) > 3
    assert [each.rate_per_s for each in tested] == sorted(each.rate_per_s for each in tested)
    assert all(each.is_met == (each.rate_per_s < 80.5) for each in tested)
    assert all(each.figure is None or 0 < each.figure < 900 for each in tested)
    assert {(each.objective, each.limit, each.is_time) for each in tested} == {("p(99) < 300ms", 300.0, True)}


def test_the_figure_of_an_error_ratio_is_a_share() -> None:
    slo = error_ratio() < "1%"
    one = folder(slo=slo)
    for n in range(60):
        part = {"objective": 0, "journey": "front", "good": 198, "bad": 1}
        one.events.append({"kind": "look", "look": {"from_s": n, "to_s": n + 1, "rate_per_s": 20.0, "parts": [part]}})

    tested = read_search(one.run).tested

    assert tested[0].figure == pytest.approx(1 / 199)
    assert (tested[0].limit, tested[0].is_time, tested[0].is_met) == (0.01, False, True)


# -- confirmations --------------------------------------------------------------------------------


def held(verdict: str = "passed", **summary: Any) -> Folder:
    judged = (JudgedSlo("p(99) < 300ms", verdict, observed=210.0, unit="ms", count=45_000),)
    other = JudgedSlo('error_ratio(window="30s", abort=True) < 50%', "passed")
    return folder(slos=(*judged, other), **summary)


@pytest.mark.parametrize(
    ("one", "is_confirmed", "why"),
    [
        (held(), True, "the objective was met at 76.0/s over the whole time"),
        (held("failed", result="failed"), False, "the objective was not met at 76.0/s"),
        (held("inconclusive"), None, "the confirmation is too short to judge the objective"),
        (held(result="invalid", reasons=("busy",)), None, "the confirmation is invalid: busy"),
        (held("failed", result="failed"), False, "not met at 76.0/s"),
        (ended(held(), "stopped", "interrupted by Ctrl-C"), None, "ended early: interrupted by Ctrl-C"),
    ],
)
def test_a_rate_is_confirmed_only_if_the_objective_was_met_over_the_whole_time(
    one: Folder, is_confirmed: bool | None, why: str
) -> None:
    read = read_held(one.run, 76.0, ("p(99) < 300ms",))

    assert read.is_confirmed is is_confirmed
    assert why in read.why
    assert read.observed == ("p(99) < 300ms: 210.0 ms of 45000",)
