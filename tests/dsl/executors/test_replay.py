"""Replays of recorded traffic keep what was recorded, for any number of agents; what is wrong is told with its line."""

from __future__ import annotations

import gzip
from datetime import datetime
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import ScenarioError, replay
from loadgen.dsl.executors.base import Executor
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.plan_loads import lane_of
from loadgen.engine.load.schedule import due_times
from loadgen.engine.load.share import Share
from loadgen.profiles.arrival_due_times import Schedule
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile
from tests.support.scenarios import told, write

DATA = Path(__file__).parents[2] / "data"
ELB = DATA / "series" / "nab_elb_request_count_8c0756.csv"
AZURE = DATA / "llm" / "AzureLLMInferenceTrace_conv.csv.gz"
S = 1_000_000_000
FLEETS = (1, 2, 3, 7)
nan = float("nan")


@lru_cache(maxsize=4)
def schedule_of(executor: Executor) -> Schedule:
    """The schedule of this load, made once for fleets of all sizes: a long recording takes a quarter of a second."""
    return lane_of(executor.lower(1), "", (), ()).schedule()


def due_of(executor: Executor, agents: int) -> np.ndarray:
    """When each arrival is due, ns, as the agents of a fleet compute it, all of them together."""
    schedule = schedule_of(executor)
    weights = [1.0 + k % 3 for k in range(agents)]
    blocks = [block for k in range(agents) for block in due_times(schedule, Share.of(k, weights, [1.0]))]
    n = np.array([n for block in blocks for n in block.n])
    assert sorted(n.tolist()) == list(range(schedule.total()))
    return np.array([due for block in blocks for due in block.due_ns])[np.argsort(n)]


def says(executor: Executor) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        executor.lower(1)
    return [fault.message for fault in error.value.faults]


# -- the real series, read here by other means ------------------------------------------------------

ROWS = [line.split(",") for line in ELB.read_text().splitlines()[1:]]
ELB_S = np.array(
    [datetime.fromisoformat(at).timestamp() - datetime.fromisoformat(ROWS[0][0]).timestamp() for at, _ in ROWS]
)
ELB_COUNTS = np.array([float(count) for _, count in ROWS])


def azure_ns() -> np.ndarray:
    lines = gzip.decompress(AZURE.read_bytes()).decode().splitlines()[1:]
    at = np.array([line.split(",")[0].replace(" ", "T") for line in lines], dtype="datetime64[ns]").astype(np.int64)
    since: np.ndarray = at - at[0]
    return since


@pytest.mark.parametrize(("speed", "agents"), [(1, 1), (1, 3), (60, 2), (7, 7)])
def test_a_replay_of_the_real_series_keeps_each_bins_count_exactly(speed: int, agents: int) -> None:
    due_ns = due_of(replay(ELB, counts=True, gaps="zero", speed=speed), agents)
    assert len(due_ns) == ELB_COUNTS.sum() == 249_327
    edges_ns = np.rint(np.append(ELB_S, ELB_S[-1] + 300) / speed * 1e3).astype(np.int64) * 1_000_000
    ends_ns = np.rint((ELB_S + 300) / speed * 1e3).astype(np.int64) * 1_000_000
    counts = np.searchsorted(due_ns, edges_ns[1:], "left") - np.searchsorted(due_ns, edges_ns[:-1], "left")
    in_bins = np.searchsorted(due_ns, ends_ns, "left") - np.searchsorted(due_ns, edges_ns[:-1], "left")
    assert np.array_equal(in_bins, ELB_COUNTS)
    assert np.array_equal(counts, ELB_COUNTS)  # so nothing is due where bins are missing


@pytest.mark.parametrize("agents", FLEETS)
def test_a_replay_of_the_real_trace_keeps_each_minute_and_each_distance(agents: int) -> None:
    due_ns, was_ns = due_of(replay.timestamps(AZURE, column="TIMESTAMP"), agents), azure_ns()
    assert np.abs(due_ns - was_ns).max() <= 1
    minute = 60 * S
    assert np.array_equal(np.bincount(due_ns // minute), np.bincount(was_ns // minute))
    gaps = np.diff(due_ns)
    assert (len(due_ns), round(due_ns[-1] / S)) == (19_366, 3_502)
    assert gaps.std() / gaps.mean() == pytest.approx(1.09, rel=0.02)  # as published of the trace
    before = np.diff(was_ns)
    assert gaps.std() / gaps.mean() == pytest.approx(before.std() / before.mean(), rel=1e-6)


@pytest.mark.parametrize("agents", FLEETS)
def test_played_ten_times_as_fast_a_trace_keeps_its_counts_and_its_burstiness(agents: int) -> None:
    due_ns, was_ns = due_of(replay.timestamps(AZURE, speed=10), agents), azure_ns()
    assert np.abs(due_ns - was_ns / 10).max() <= 1
    assert np.array_equal(np.bincount(due_ns // (6 * S)), np.bincount(was_ns // (60 * S)))
    gaps = np.diff(due_ns)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0942, abs=0.0005)


def test_a_replay_says_what_it_is() -> None:
    assert replay(ELB, counts=True, gaps="zero", speed=600).lower(1).profile.describe() == (
        "arrivals: replay of nab_elb_request_count_8c0756.csv: 249,327 in 33m40s, at most 1,312/s"
    )
    assert replay.timestamps(AZURE).lower(1).profile.describe() == (
        "arrivals: replay of AzureLLMInferenceTrace_conv.csv.gz: 19,366 in 58m22s, at most 11.33/s"
    )


# -- bins and lines -----------------------------------------------------------------------------------


def curve(folder: Path, *rows: tuple[object, object]) -> Path:
    path = folder / "traffic.csv"
    path.write_text("time,rate\n" + "".join(f"{at},{rate}\n" for at, rate in rows))
    return path


def profile_of(executor: Executor) -> ArrivalProfile:
    profile = executor.lower(1).profile
    assert isinstance(profile, ArrivalProfile)
    return profile


def stages_of(executor: Executor) -> list[tuple[float, float, float]]:
    return [(stage.start, stage.end, stage.duration_ns / S) for stage in profile_of(executor).stages]


def test_rates_hold_until_the_next_row(tmp_path: Path) -> None:
    path = curve(tmp_path, (0, 5), (10, 0.5), (20, 7))
    assert stages_of(replay(path)) == [(5, 5, 10), (0.5, 0.5, 10), (7, 7, 10)]
    assert profile_of(replay(path)).total() == 125


def test_a_line_goes_from_row_to_row(tmp_path: Path) -> None:
    path = curve(tmp_path, (0, 0), (10, 20), (20, 10))
    assert stages_of(replay(path, interpolate=True)) == [(0, 20, 10), (20, 10, 10)]
    assert stages_of(replay(path, interpolate=True, speed=2, scale=0.5)) == [(0, 20, 5), (20, 10, 5)]


def test_speed_keeps_what_comes_in_a_bin_and_scale_does_not(tmp_path: Path) -> None:
    path = curve(tmp_path, ("2026-01-01 00:00", 2), ("2026-01-01 01:00", 4))
    assert stages_of(replay(path, speed=60)) == [(120, 120, 60), (240, 240, 60)]
    assert stages_of(replay(path, scale=0.1)) == [(0.2, 0.2, 3600), (0.4, 0.4, 3600)]
    assert profile_of(replay(path)).total() == profile_of(replay(path, speed=3600)).total() == 21_600


def test_columns_are_named_or_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "host,at,rps\na,0,5\na,1,7\n", "traffic.csv")
    assert stages_of(replay(path, time="at", rate="rps")) == stages_of(replay(path, time=1, rate=2))


@given(
    counts=st.lists(st.integers(0, 2_000), min_size=2, max_size=60),
    bin_s=st.sampled_from([1, 5, 60, 300, 3_600]),
    speed=st.sampled_from([1, 2, 3, 7, 60, 0.5, 12.5]),
    scale=st.sampled_from([1, 0.1, 3, 0.25]),
    agents=st.sampled_from(FLEETS),
)
def test_the_count_of_every_bin_is_exact(
    counts: list[int], bin_s: int, speed: float, scale: float, agents: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = curve(tmp_path_factory.mktemp("curve"), *((k * bin_s, count) for k, count in enumerate(counts)))
    if not any(counts):
        assert says(replay(path, counts=True)) == ["the load has nothing to do: it is 0 all the time"]
        return
    executor = replay(path, counts=True, speed=speed, scale=scale)
    timeline = schedule_of(executor).timeline
    at_ns, area = 0, Fraction(0)
    for stage, count in zip(profile_of(executor).stages, counts, strict=True):
        at_ns, area = at_ns + stage.duration_ns, area + count * Fraction(str(scale))
        assert timeline.area_at(at_ns) == area
    if scale == 1:
        due_ns = due_of(executor, agents)
        edges = np.cumsum([0, *(stage.duration_ns for stage in profile_of(executor).stages)])
        assert (np.searchsorted(due_ns, edges[1:]) - np.searchsorted(due_ns, edges[:-1])).tolist() == counts


# -- what is wrong --------------------------------------------------------------------------------------

odd: Any = object()
path_: Any = 7


@pytest.mark.parametrize(
    ("executor", "messages"),
    [
        (replay(path_), ["7 is not a path of a file"]),
        (replay(""), ["'' is not a path of a file"]),
        (replay("a.csv", time=-1), ["time=-1 is not a column"]),
        (replay("a.csv", rate=odd), [f"rate={odd!r} is not a column"]),
        (replay("a.csv", rate=""), ["rate='' is not a column"]),
        (replay("a.csv", speed=0), ["speed=0 is not a valid factor"]),
        (replay("a.csv", scale=-1, speed=nan), ["scale=-1 is not a valid factor", "speed=nan is not a valid factor"]),
        (replay("a.csv", gaps=odd), [f"gaps={odd!r} is unknown"]),
        (
            replay("a.csv", counts=True, interpolate=True),
            ["counts= and interpolate= exclude each other: interpolated rates do not keep counts"],
        ),
        (replay("a.csv", interpolate=True, gaps="zero"), ['gaps="zero" and interpolate= exclude each other']),
        (replay.timestamps("a.csv", speed=odd), [f"speed={odd!r} is not a valid factor"]),
        (replay.timestamps("a.csv", column=True), ["column=True is not a column"]),
        (replay.timestamps("a.csv"), ["cannot read a.csv: No such file or directory"]),
    ],
)
def test_what_is_said_wrong_is_told_at_once(executor: Executor, messages: list[str]) -> None:
    assert says(executor) == messages


def test_a_speed_that_leaves_nothing_of_a_bin_is_told(tmp_path: Path) -> None:
    path = curve(tmp_path, (0, 5), (1, 7))
    assert says(replay(path, speed=1e12)) == ["speed=1e+12 and scale=1: the counts of the bins cannot be kept exactly"]
    assert says(replay(path, scale=1e9)) == ["a rate of 5e+09/s exceeds the limit of 1e+08/s"]
    assert says(replay.timestamps(path, speed=1e-9))[0].startswith("a load cannot last")


def scenario(folder: Path, executor: str) -> Path:
    return write(
        folder,
        f"""\
        from loadgen import Plan, User, journey, replay

        @journey
        async def browse(user: User) -> None:
            await user.http.get("/")

        plan = Plan(
            target="http://127.0.0.1:8080",
            load={executor},
            mix=browse,
        )
        """,
    )


def test_a_replays_file_travels_with_the_scenario(tmp_path: Path) -> None:
    write(tmp_path, "time,rate\n0,5\n1,7\n", "data/traffic.csv")
    loaded = load(scenario(tmp_path, 'replay("data/traffic.csv")'))
    assert tmp_path / "data/traffic.csv" in loaded.files
    assert loaded.plan.spec().total_arrivals == 12
    assert loaded.plan.spec().load == "arrivals: replay of traffic.csv: 12 in 2s, at most 7/s"


def test_faults_of_the_file_and_of_the_plan_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "time,rate\n0,5\n10,nan\n5,1\n", "data/traffic.csv")
    path = scenario(tmp_path, 'replay("data/traffic.csv")')
    path.write_text(path.read_text().replace("http://127.0.0.1:8080", "shop"))
    assert [one.partition(" | ")[0] for one in told(path)] == [
        'traffic.csv:3 "nan" is not a number',
        "traffic.csv:4 5 is earlier than the row above it",
        "scenario.py:8 target: 'shop' is not an http or https URL",
    ]


def test_a_file_outside_of_the_scenarios_folder_is_told(tmp_path: Path) -> None:
    write(tmp_path, "time,rate\n0,5\n1,7\n", "traffic.csv")
    (line,) = told(scenario(tmp_path / "scenarios", 'replay("../traffic.csv")'))
    assert line.startswith("scenario.py:9 traffic.csv is not in the scenario's folder, so agents do not get it")


def test_a_trace_is_known_by_its_times_wherever_it_is_loaded() -> None:
    one, other = replay.timestamps(AZURE).lower(1).profile, replay.timestamps(AZURE, speed=10).lower(2).profile
    assert isinstance(one, TimedProfile)
    assert one.digest == other.digest
    assert one.digest.startswith("19366:")
