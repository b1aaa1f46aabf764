"""An objective in `Load(slos=[...])` is judged over this load alone: its rows, its journeys, and its time."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.slo_windows import Watches
from loadgen.measure.deltas.series_key import MISSED, OK
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import SloResult, evaluate_all
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.scenarios import write

SCENARIO = """
from loadgen import Load, Plan, User, arrivals, error_ratio, journey, mean, p, throughput, total

@journey
async def browse(user: User) -> None:
    await user.http.get("/")

@journey
async def buy(user: User) -> None:
    await user.http.get("/buy")

DAY, SPIKE = arrivals("10/s").hold("10s"), arrivals("10/s").hold("4s")

plan = Plan(target="http://127.0.0.1:1", loads=[
    Load({browse: 1, buy: 1}, DAY, name="day", tags={"phase": "calm", "build": "7"}),
    Load(browse, SPIKE, name="spike", after="2s", tags={"phase": "peak", "build": "7"}, slos=[SLOS]),
])
"""

Iterations = dict[tuple[str, str], list[tuple[float, int, str]]]
"""By (load, journey): when each is due, s; its response time, ms; its outcome."""


def results(folder: Path, slos: str, iterations: Iterations) -> list[SloResult]:
    """The objectives of the load `spike`, judged over iterations that one agent recorded."""
    plan = load(write(folder, SCENARIO.replace("SLOS", slos))).plan
    loads = [lane.name for lane in plan.lanes]
    journeys = [one.name for one in plan.journeys]
    watches = Watches(plan.watched, journeys, NS_PER_S, "local", lambda _: (), loads=loads)
    recorder = Recorder(watches=watches)
    tags = {lane.name: recorder.merged((), lane.series_tags) for lane in plan.lanes}
    merge = Merge()
    for k in range(10):
        for (name, journey), events in iterations.items():
            series = recorder.journey_series(journey, tags=tags[name])
            for due_s, ms, outcome in events:
                if int(due_s) != k:
                    continue
                due_ns, took_ns = round(due_s * NS_PER_S), ms * NS_PER_MS
                if outcome == MISSED:
                    recorder.missed(series, took_ns, due_ns)
                else:
                    recorder.iteration(series, took_ns, took_ns, 0, 0, outcome, False, due_ns)
        merge.accept("local", recorder.flip(k * NS_PER_S, (k + 1) * NS_PER_S))
    return list(evaluate_all(plan.spec().slos, merge, journeys=journeys, end_ns=plan.duration_ns))


def steady(ms: int, begin: int, end: int, outcome: str = OK) -> list[tuple[float, int, str]]:
    return [(at / 10, ms, outcome) for at in range(begin * 10, end * 10)]


@pytest.mark.parametrize("window", ["", ', window="2s"'])
def test_only_the_iterations_of_the_load_count(tmp_path: Path, window: str) -> None:
    slos = f'p(95{window}) < "300ms", error_ratio({window[2:]}) < "10%"'
    slow_day: Iterations = {("day", "browse"): steady(900, 0, 10, "http 503"), ("spike", "browse"): steady(20, 2, 6)}
    slow_spike: Iterations = {("day", "browse"): steady(20, 0, 10), ("spike", "browse"): steady(900, 2, 6, "http 503")}
    assert [one.verdict for one in results(tmp_path, slos, slow_day)] == ["passed", "passed"]
    assert [one.verdict for one in results(tmp_path, slos, slow_spike)] == ["failed", "failed"]


def test_a_tag_that_two_loads_share_selects_among_the_iterations_of_the_load(tmp_path: Path) -> None:
    slos = """
        p(95, tags={"build": "7"}) < "300ms", error_ratio(tags={"build": "7"}) < "10%",
        mean(tags={"build": "7"}) < "300ms", total("iterations", tags={"build": "7"}) < 41"""
    slow_day: Iterations = {("day", "browse"): steady(900, 0, 10, "http 503"), ("spike", "browse"): steady(20, 2, 6)}
    slow_spike: Iterations = {("day", "browse"): steady(20, 0, 10), ("spike", "browse"): steady(900, 2, 6, "http 503")}
    assert [one.verdict for one in results(tmp_path, slos, slow_day)] == ["passed"] * 4
    assert [one.verdict for one in results(tmp_path, slos, slow_spike)] == ["failed"] * 3 + ["passed"]
    calm = results(tmp_path, 'p(95, tags={"phase": "calm"}) < "300ms"', slow_spike)
    assert [one.verdict for one in calm] == ["inconclusive"]


@pytest.mark.parametrize("window", ["", ', window="2s"'])
def test_journeys_of_other_loads_get_no_result(tmp_path: Path, window: str) -> None:
    iterations: Iterations = {("day", "buy"): steady(20, 0, 10), ("spike", "browse"): steady(20, 2, 6)}
    found = results(tmp_path, f'p(95{window}) < "300ms", p(50{window}, metric="duration") < "1s"', iterations)
    assert [(one.journey, one.verdict) for one in found] == [("browse", "passed")] * 2


def test_a_journey_of_the_load_without_data_is_inconclusive(tmp_path: Path) -> None:
    (found,) = results(tmp_path, 'p(95) < "300ms"', {("day", "browse"): steady(20, 0, 10)})
    assert (found.journey, found.verdict) == ("browse", "inconclusive")


def test_counts_are_of_the_load_and_per_second_of_its_own_time(tmp_path: Path) -> None:
    slos = 'throughput("iterations") > "9/s", total("iterations") < 41, throughput("iterations", window="2s") > "9/s"'
    iterations: Iterations = {("day", "browse"): steady(20, 0, 10), ("spike", "browse"): steady(20, 2, 6)}
    found = results(tmp_path, slos, iterations)
    assert [(one.observed, one.verdict) for one in found] == [(10.0, "passed"), (40.0, "passed"), (10.0, "passed")]


@pytest.mark.parametrize("window", ["", ', window="2s"'])
def test_missed_iterations_did_not_end(tmp_path: Path, window: str) -> None:
    slos = f'throughput("iterations"{window}) > "5/s", total("iterations"{window}) > 5'
    missed: Iterations = {("spike", "browse"): [*steady(0, 2, 6, MISSED), *steady(20, 2, 6)[::5]]}
    found = results(tmp_path, slos, missed)
    assert [(one.observed, one.verdict) for one in found] == [
        (2.0, "failed"),
        (4.0, "failed") if window else (8.0, "passed"),
    ]
