"""Whether a sweep ends after a level: from simulated queues whose levels are known to be saturated, and from others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from heapq import heappop, heappush
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np
import pytest

from loadgen import arrivals, users
from loadgen.dsl.executors.standard import Arrivals, Users
from loadgen.dsl.plans.spec import JourneySpec, LaneSpec, PlanSpec
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.stored_interval import CELLS_MAGIC, cell_of, encode_cell
from loadgen.measure.results.level_intervals import EndedByInterval
from loadgen.measure.run_folder.rundir import RunDir
from loadgen_controller.judging.level_stop import LevelStop
from loadgen_controller.run.recovery import Merged
from tests.controller.conftest import order_of
from tests.support.deltas import FakeAgent

S, MS = 1_000_000_000, 1_000_000
SERVERS, EACH, SETTLE = 8, 100, 20


def spec_of(load: Arrivals | Users) -> PlanSpec:
    lowered = load.lower(0)
    lane = LaneSpec(
        name="",
        load="",
        journeys=(JourneySpec(name="ask", weight=1.0),),
        profile=lowered.profile,
        levels=lowered.levels,
    )
    return msgspec.structs.replace(order_of().spec, lanes=(lane,), profile=lowered.profile)


def sweep(*rates: str, each: int = EACH, settle: int = SETTLE) -> PlanSpec:
    return spec_of(arrivals().levels(rates, each=f"{each}s", settle=f"{settle}s", stop_when_saturated=True))


def key(metric: str) -> SeriesKey:
    return SeriesKey("request", "ask", None, "chat", "ok", metric, False, False, (("level", "1/s"),))  # type: ignore[arg-type]


def queue(
    use: Sequence[float], *, agents: int = 3, each: int = EACH, seed: int = 7, has_ttft: bool = True
) -> list[Delta]:
    """The deltas of an M/M/8 queue: a level for each share of its servers that arrivals need, of `each` seconds.

    A server needs 1 s for a request on average; the first token comes with the first tenth of it. Deltas are never
    changed, so tests share those of one queue.
    """
    return list(_queue(tuple(use), agents, each, seed, has_ttft))


@cache
def _queue(use: tuple[float, ...], agents: int, each: int, seed: int, has_ttft: bool) -> list[Delta]:
    rng = np.random.default_rng(seed)
    free, end_s = [0.0] * SERVERS, each * len(use)
    started = [[0] * end_s for _ in range(agents)]
    ttft: list[list[list[int]]] = [[[] for _ in range(end_s)] for _ in range(agents)]
    for number, share in enumerate(use):
        at = number * each + np.cumsum(rng.exponential(1 / (share * SERVERS), int(2 * share * SERVERS * each) + 50))
        for n, due in enumerate(at[at < (number + 1) * each].tolist()):
            work, agent = float(rng.exponential(1.0)), n % agents
            begins = max(due, heappop(free))
            heappush(free, begins + work)
            started[agent][int(due)] += 1
            if (ended := int(begins + work)) < end_s:
                ttft[agent][ended].append(round((begins - due + 0.1 * work) * S) + 1)
    fakes, made = [FakeAgent(f"a{k}") for k in range(agents)], []
    for k in range(end_s):
        for fake, began, ended_in in zip(fakes, started, ttft, strict=True):
            values = {key("response"): ended_in[k], **({key("ttft"): ended_in[k]} if has_ttft else {})}
            delta = fake.delta(values, k=k)
            delta.counters.requests_started = began[k]
            made.append(delta)
    return made


def seconds(deltas: list[Delta], merge: Merge) -> Iterator[int]:
    """Merge the deltas of one second after the other, and yield the time after each."""
    for end_ns, some in groupby(deltas, key=lambda delta: delta.end_ns):
        for delta in some:
            merge.accept("eu", delta)
        yield end_ns


AGENTS = ("a0", "a1", "a2")


def stop_of(spec: PlanSpec, deltas: list[Delta]) -> tuple[int, str] | None:
    """When the run is stopped, in s, and why; None: it is not. The controller looks 0.1 s after each second."""
    merge, levels = Merge(), LevelStop(spec)
    for now_ns in seconds(deltas, merge):
        if why := levels.check(merge, AGENTS, (), (), now_ns + 100 * MS):
            return now_ns // S, why
    return None


def test_a_sweep_ends_after_the_first_saturated_level_and_says_so() -> None:
    at_s, why = stop_of(sweep("4/s", "12/s", "16/s", "24/s"), queue([0.5, 1.5, 2.0, 3.0])) or (0, "")
    assert at_s == 2 * EACH
    assert why == (
        "stopped after 3m20s: level 12/s is saturated, as requests in flight and ttft both grew until it ended;"
        " not run: 16/s, 24/s"
    )


def test_a_sweep_within_the_capacity_is_run_to_its_end() -> None:
    assert stop_of(sweep("2/s", "4/s", "6/s"), queue([0.25, 0.5, 0.7])) is None


@pytest.mark.parametrize(
    ("agents", "seed"),
    [(1, 1), (2, 2), (3, 1), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((1, 2), (2, 1), (3, 2)))],
)
def test_the_stop_agrees_with_the_report_on_the_same_deltas(agents: int, seed: int) -> None:
    spec, deltas = sweep("4/s", "8/s", "9/s", "12/s"), queue([0.5, 1.0, 1.1, 1.5], agents=agents, seed=seed)
    ended = EndedByInterval()
    for delta in deltas:
        ended.add(delta)
    marked = [span.end_ns // S for span in spec.lanes[0].level_spans[:-1] if ended.is_saturated(span)]
    merge, levels = Merge(), LevelStop(spec)
    found = (now for now in seconds(deltas, merge) if levels.check(merge, AGENTS[:agents], (), (), now + 100 * MS))
    assert next(found, 0) // S == (marked[0] if marked else 0)


@pytest.mark.slow
@pytest.mark.parametrize(("use", "least", "most"), [(0.5, 0, 0.02), (0.8, 0, 0.05), (1.2, 0.5, 1), (1.5, 0.95, 1)])
def test_sweeps_are_stopped_by_the_use_of_the_queue(use: float, least: float, most: float) -> None:
    found = [stop_of(sweep("1/s", "2/s"), queue([use, use], seed=seed)) for seed in range(100)]
    share = sum(one is not None and one[0] == EACH for one in found) / len(found)
    print(use, share)
    assert least <= share <= most


def test_the_last_level_never_ends_a_run_because_nothing_follows() -> None:
    assert stop_of(sweep("12/s"), queue([1.5])) is None
    assert stop_of(sweep("4/s", "12/s"), queue([0.5, 1.5])) is None


def test_without_enough_data_no_level_ends_a_run() -> None:
    short = sweep("12/s", "16/s", each=40, settle=15)  # 25 s: five means
    assert stop_of(short, queue([1.5, 2.0], each=40)) is None
    assert stop_of(sweep("12/s", "16/s"), queue([1.5, 2.0], has_ttft=False)) is None
    deltas = queue([1.5, 2.0])
    assert stop_of(sweep("12/s", "16/s"), deltas) is not None
    gap = [one for one in deltas if not 30 * S <= one.start_ns < 45 * S]
    fresh = [replace(one, seq=n // 3) for n, one in enumerate(gap)]
    assert stop_of(sweep("12/s", "16/s"), fresh) is None


def test_a_sweep_without_the_setting_is_not_stopped() -> None:
    spec = spec_of(arrivals().levels(["12/s", "16/s"], each="100s", settle="20s"))
    assert stop_of(spec, queue([1.5, 2.0])) is None
    assert not LevelStop(spec).is_needed


def test_a_changed_load_has_no_levels_that_could_end_the_run() -> None:
    spec, deltas, merge = sweep("12/s", "16/s"), queue([1.5, 2.0]), Merge()
    levels = LevelStop(spec)
    (lane,) = spec.lanes
    edited = msgspec.structs.replace(lane, profile=msgspec.structs.replace(lane.profile, is_edited=True))
    levels.follow(msgspec.structs.replace(spec, lanes=(edited,)))
    assert not any(levels.check(merge, AGENTS, (), (), now_ns) for now_ns in seconds(deltas, merge))


def test_the_look_waits_for_late_agents_and_not_for_ever() -> None:
    spec, merge = sweep("12/s", "16/s"), Merge()
    levels, end_ns = LevelStop(spec), EACH * S
    deltas = [one for one in queue([1.5, 2.0]) if one.start_ns < end_ns]
    late = [one for one in deltas if one.agent == "a2" and one.start_ns >= end_ns - 2 * S]
    for now_ns in seconds([one for one in deltas if one not in late], merge):
        assert not levels.check(merge, AGENTS, (), (), now_ns)
    assert not levels.check(merge, AGENTS, (), (), end_ns + 9 * S)
    for delta in late:
        merge.accept("eu", delta)
    assert levels.check(merge, AGENTS, (), (), end_ns + 9 * S + MS)
    # An agent that never reports the end holds up the look for 10 s; one that has finished does not.
    for finished, at_ns in (((), end_ns + 10 * S), (("a2",), end_ns)):
        merge, levels = Merge(), LevelStop(spec)
        *_, last = (
            levels.check(merge, AGENTS, finished, (), now_ns)
            for now_ns in seconds([one for one in deltas if one not in late], merge)
        )
        assert last if finished else levels.check(merge, AGENTS, finished, (), at_ns)


def test_a_level_in_which_an_agent_was_lost_does_not_end_the_run() -> None:
    for lost_at_s, stops in ((50, False), (None, True), (0, True)):  # 0: before the level
        spec, deltas, merge = sweep("12/s", "16/s"), queue([1.5, 2.0]), Merge()
        levels = LevelStop(spec)
        whys = [
            levels.check(
                merge,
                AGENTS,
                (),
                ("a9",) if lost_at_s is not None and now_ns > lost_at_s * S else (),
                now_ns + 100 * MS,
            )
            for now_ns in seconds(deltas, merge)
        ]
        assert any(whys) is stops
    # A controller that was restarted within the level does not know when the agent was lost.
    levels, merge = LevelStop(sweep("12/s", "16/s")), Merge()
    late = [
        levels.check(merge, AGENTS, (), ("a9",), at) if at > 50 * S else "" for at in seconds(queue([1.5, 2]), merge)
    ]
    assert not any(late)


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_controller_that_restarts_within_a_level_looks_at_the_whole_level(
    tmp_path: Path, has_checkpoint: bool
) -> None:
    spec, deltas = sweep("4/s", "12/s", "16/s"), queue([0.5, 1.5, 2.0])
    whole = stop_of(spec, deltas)
    at_ns = 170 * S
    merge = Merge()
    merge.kept = []
    for _ in seconds([one for one in deltas if one.end_ns <= at_ns], merge):
        pass
    folder, written = RunDir.create(tmp_path, "20261128-120000-sweep-0001"), 0
    if has_checkpoint:
        written = stored(folder, merge)
    levels = LevelStop(spec)
    levels.know(Merged(merge, (), merged_end=written).ended_by_interval(folder))
    merge._windows.clear()  # the windows of a restarted controller: those that come now
    found = None
    for now_ns in seconds([one for one in deltas if one.end_ns > at_ns], merge):
        if why := levels.check(merge, AGENTS, (), (), now_ns + 100 * MS):
            found = now_ns // S, why
            break
    assert found == whole
    folder.close()


def stored(folder: RunDir, merge: Merge) -> int:
    """Write the sums of a merge into the folder's file of sums; return its length."""
    merge.close()
    names, data = list(merge.names), CELLS_MAGIC
    for one in merge.kept or ():
        data += encode_cell(replace(cell_of(one), names=names))
        names = []
    merge.kept = []
    folder.merged_path.write_bytes(data)
    return len(data)


def test_users_have_levels_that_may_end_a_run_too() -> None:
    levels = LevelStop(spec_of(users().levels([1, 2], each="1m", settle="10s", stop_when_saturated=True)))
    assert levels.is_needed
