"""Replays of traces of inference requests: units, JSON lines, long gaps, scales and conversations."""

from __future__ import annotations

import gzip
import json
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import ScenarioError, arrivals, replay
from loadgen.dsl.executors.base import Executor
from loadgen.dsl.executors.recorded_traffic_csv import read_times
from loadgen.dsl.plans.plan_loads import lane_of
from loadgen.dsl.source_location import here
from loadgen.engine.load.schedule import due_times
from loadgen.engine.load.share import Share
from loadgen.profiles.given_arrival_times import TimedProfile

AZURE = Path(__file__).parents[2] / "data" / "llm" / "AzureLLMInferenceTrace_conv.csv.gz"
S = 1_000_000_000


def jsonl(folder: Path, *rows: object, name: str = "trace.jsonl") -> Path:
    path = folder / name
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


def times_of(executor: Executor) -> list[float]:
    times = executor.lower(1).times
    assert times is not None
    found: list[float] = times.tolist()
    return found


def says(executor: Executor) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        executor.lower(1)
    return [f"{Path(fault.file).name}:{fault.line} {fault.message}" for fault in error.value.faults]


def due_of(executor: Executor, agents: int) -> np.ndarray:
    """When each arrival is due, ns, in the order of their numbers, as the agents of a fleet compute it."""
    schedule = lane_of(executor.lower(1), "", (), ()).schedule()
    weights = [1.0 + k % 3 for k in range(agents)]
    blocks = [block for k in range(agents) for block in due_times(schedule, Share.of(k, weights, [1.0]))]
    n = np.array([n for block in blocks for n in block.n])
    assert sorted(n.tolist()) == list(range(schedule.total()))
    return np.array([due for block in blocks for due in block.due_ns])[np.argsort(n)]


# -- units and JSON lines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "factor"), [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)])
def test_times_have_the_unit_that_is_given(unit: Any, factor: float, tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"timestamp": 2000}, {"timestamp": 2500}, {"timestamp": 5000.5})
    csv = tmp_path / "trace.csv"
    csv.write_text("id,at\na,2000\nb,2500\nc,5000.5\n")

    wanted = pytest.approx([0, 500 * factor, 3000.5 * factor], abs=1e-9)

    assert times_of(replay.timestamps(path, column="timestamp", unit=unit)) == wanted
    assert times_of(replay.timestamps(csv, column="at", unit=unit)) == wanted


def test_times_in_json_lines_keep_100_ns(tmp_path: Path) -> None:
    path = jsonl(tmp_path, '{"t": 1712345678.1234567}', '{"t": 1712345678.1234569}', '{"t": 1.712345679e9}')

    assert read_times(path, here(), "t").tolist() == [0, 200, 876_543_300]


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.ndjson", "T.JSONL"])
def test_json_lines_may_be_packed_and_have_dates_and_empty_lines(name: str, tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"at": "2023-11-16 18:15:46.6805900"}, "", {"at": "2023-11-16T18:15:47.6805901Z"}, name=name)

    assert times_of(replay.timestamps(path, column="at")) == pytest.approx([0, 1.0000001], abs=1e-9)


def test_all_errors_of_json_lines_are_reported_with_their_lines(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        {"timestamp": 5},
        {"time": 6},
        {"timestamp": None},
        "{oops",
        {"timestamp": 4},
        {"timestamp": "noon"},
        {},
        [1],
    )

    found = says(replay.timestamps(path, column="timestamp", unit="ms"))

    assert found[0] == 'trace.jsonl:2 no "timestamp", only "time"'
    assert found[1] == 'trace.jsonl:3 "timestamp" must be a number or a text'
    assert found[2].startswith("trace.jsonl:4 invalid JSON: ")
    assert found[3] == "trace.jsonl:5 4 is earlier than the row above it"
    assert found[4] == 'trace.jsonl:6 "noon" is not a time'
    assert found[5] == 'trace.jsonl:7 no "timestamp", only an empty object'
    assert found[6].startswith("trace.jsonl:8 invalid JSON: Expected object")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: replay.timestamps("t.csv", unit="h"), "unit='h' is unknown"),  # type: ignore[arg-type]
        (lambda: replay.timestamps("t.csv", unit=[]), "unit=[] is unknown"),  # type: ignore[arg-type]
        (lambda: replay.timestamps("t.csv", clip="never"), "clip: "),
        (lambda: replay.timestamps("t.csv", clip=0), "clip=0 must be above 0"),
        (lambda: replay.timestamps("t.csv", scale=0), "scale=0 must be a number above 0"),
        (lambda: replay.timestamps("t.csv", scale=-1), "scale=-1 must be"),
        (lambda: replay.timestamps("t.csv", conversation=-1), "conversation=-1 is not a column"),
        (lambda: replay.timestamps("t.jsonl"), "column=0: JSON lines have keys"),
        (lambda: replay.timestamps("t.jsonl", column="a", conversation=2), "conversation=2: JSON lines have keys"),
    ],
)
def test_a_wrong_argument_is_a_fault_with_a_hint(made: Any, said: str) -> None:
    (fault,) = made().faults
    assert fault.message.startswith(said)
    assert fault.hint


# -- long gaps ------------------------------------------------------------------------------------------


def test_gaps_are_shortened_to_the_longest_that_is_wanted_before_the_speed(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *({"t": t} for t in (0, 10, 500, 501, 1000)))

    clipped = replay.timestamps(path, column="t", clip="60s")

    assert times_of(clipped) == [0, 10, 70, 71, 131]
    assert "gaps of at most 1m" in clipped.lower(1).profile.describe()
    fast = replay.timestamps(path, column="t", clip=60, speed=10)
    assert due_of(fast, 3) / S == pytest.approx([0, 1, 7, 7.1, 13.1])


# -- conversations and scale --------------------------------------------------------------------------------


def test_only_the_first_row_of_a_conversation_is_an_arrival(tmp_path: Path) -> None:
    rows = [(0, "a"), (1, "b"), (2, "a"), (3, "c"), (3, "b")]
    path = jsonl(tmp_path, *({"t": t, "talk": talk} for t, talk in rows))
    csv = tmp_path / "t.csv"
    csv.write_text("t,talk\n" + "".join(f"{t},{talk}\n" for t, talk in rows))

    for one in (path, csv):
        assert times_of(replay.timestamps(one, column="t", conversation="talk")) == [0, 1, 3]


def test_later_turns_of_a_conversation_need_no_time(tmp_path: Path) -> None:
    first, other = {"t": 0, "talk": "a"}, {"t": 3, "talk": "b"}
    path = jsonl(tmp_path, first, {"delay": 500, "talk": "a"}, other, {"t": None, "talk": "a"})
    csv = tmp_path / "t.csv"
    csv.write_text("t,talk\n0,a\n,a\n3,b\n,a\n")
    wrong = jsonl(tmp_path, first, {"delay": 500, "talk": "b"}, {"t": "noon", "talk": "a"}, name="wrong.jsonl")

    for one in (path, csv):
        assert times_of(replay.timestamps(one, column="t", conversation="talk")) == [0, 3]
    assert says(replay.timestamps(wrong, column="t", conversation="talk")) == [
        'wrong.jsonl:2 the first row of a conversation has no time in "t"',
        'wrong.jsonl:3 "noon" is not a time',
    ]


def test_a_row_without_its_conversation_is_an_error(tmp_path: Path) -> None:
    csv = tmp_path / "t.csv"
    csv.write_text("t,talk\n0,a\n1,\n2,b\n")

    assert says(replay.timestamps(csv, column="t", conversation="talk")) == ['t.csv:3 no conversation in column "talk"']


def test_a_scale_keeps_or_repeats_whole_conversations(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *({"t": n, "talk": n % 400} for n in range(2000)))

    for scale in (0.5, 2):
        found = times_of(replay.timestamps(path, column="t", conversation="talk", scale=scale))
        assert len(found) == pytest.approx(400 * scale, rel=0.15)
        assert {int(at) for at in found} <= set(range(400))


def test_copies_of_an_arrival_are_spread_over_the_gap_to_the_next(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *({"t": t} for t in (0, 1, 1, 5)))

    doubled = replay.timestamps(path, column="t", scale=2)

    assert times_of(doubled) == pytest.approx([0, 0.5, 1, 1, 1, 3, 5, 5 + 5 / 3 / 2])
    assert "scaled by 2" in doubled.lower(1).profile.describe()


@pytest.mark.parametrize("agents", [1, 2, 3, 7])
@pytest.mark.parametrize("scale", [0.3, 2.5])
def test_a_scaled_trace_is_shared_exactly_by_any_number_of_agents(scale: float, agents: int) -> None:
    load = replay.timestamps(AZURE, column="TIMESTAMP", scale=scale)

    assert np.abs(due_of(load, agents) / S - times_of(load)).max() < 1e-8


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=50), st.floats(0.05, 4))
def test_scaled_times_stay_in_order(gaps: list[int], scale: float) -> None:
    from loadgen.dsl.executors.recorded_traffic_load import _scaled

    times_s = np.cumsum(np.array([0, *gaps], dtype=np.float64))

    found = _scaled(times_s, scale)

    assert (np.diff(found) >= -1e-9).all()
    assert not len(found) or found[0] >= 0


def test_a_scale_that_leaves_no_arrival_is_an_error(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"t": 0}, {"t": 1})

    (message,) = says(replay.timestamps(path, column="t", scale=0.0001))

    assert "leaves none of the 2 arrivals" in message


# -- how bursty ---------------------------------------------------------------------------------------------


def test_a_replay_has_the_coefficient_of_variation_of_its_gaps() -> None:
    profile = replay.timestamps(AZURE, column="TIMESTAMP").lower(1).profile

    assert isinstance(profile, TimedProfile)
    assert profile.gap_cv == pytest.approx(1.0942, abs=0.0005)
    assert profile.lasting(S).gap_cv == profile.gap_cv
    for times in ([0.0], [0.0, 1.0], [2.0, 2.0, 2.0]):
        assert TimedProfile.of(np.array(times), "x").gap_cv is None
    assert TimedProfile.of(np.arange(9.0), "x").gap_cv == 0


@pytest.mark.parametrize("agents", [1, 3])
@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gamma_arrivals_have_the_cv_of_their_burstiness_on_any_number_of_agents(burstiness: float, agents: int) -> None:
    load = arrivals("100/s").hold("200s").gamma(burstiness=burstiness, seed=3)

    gaps = np.diff(due_of(load, agents))

    assert gaps.std() / gaps.mean() == pytest.approx(1 / sqrt(burstiness), rel=0.05)
    assert (due_of(load, agents) == due_of(load, 1)).all()
