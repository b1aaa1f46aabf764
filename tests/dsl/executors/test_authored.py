"""Executors that users write: what they become, and what is told of those that misbehave."""

from __future__ import annotations

import inspect
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from textwrap import dedent
from time import monotonic
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import ClosedExecutor, OpenExecutor, ScenarioError
from loadgen.dsl.executors import custom_executor_check
from loadgen.dsl.executors.custom_executor_check import walk_levels, walk_times
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.plan_loads import lane_of
from loadgen.dsl.plans.spec import Overrides, PlanSpec
from loadgen.dsl.source_location import Origin
from loadgen.errors import ProfileError
from loadgen.profiles.arrival_due_times import Listed, Schedule, Timeline
from loadgen.profiles.given_arrival_times import TimedProfile, digest_of
from loadgen.profiles.profile import UserProfile
from loadgen.profiles.stage import MAX_USERS, Stage
from tests.support.scenarios import told, write

S = 1_000_000_000
nan, inf = float("nan"), float("inf")


@dataclass(frozen=True)
class Gives(OpenExecutor):
    """Whatever it is given."""

    values: tuple[Any, ...]

    def due(self, seed: int) -> Iterator[float]:
        yield from self.values


@dataclass(frozen=True)
class Levels(ClosedExecutor):
    values: tuple[Any, ...]
    duration: str = "10s"

    def levels(self, seed: int) -> Iterator[tuple[float, int]]:
        yield from self.values


@dataclass(frozen=True)
class Chance(OpenExecutor):
    """A renewal process of its own."""

    rate: float
    count: int = 1_000

    def due(self, seed: int) -> Iterator[float]:
        dice, at = random.Random(seed), 0.0
        for _ in range(self.count):
            at += dice.expovariate(self.rate)
            yield at


def line() -> int:
    """The line that calls this."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def says(executor: OpenExecutor | ClosedExecutor) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        executor.lower(1)
    return [fault.message for fault in error.value.faults]


def due_s(executor: OpenExecutor, seed: int = 1) -> list[float]:
    schedule = lane_of(executor.lower(seed), "", (), ()).schedule()
    due: list[float] = (schedule.due_ns(np.arange(schedule.total())) / S).tolist()
    return due


# -- what they become -----------------------------------------------------------------------------


def test_an_open_executors_arrivals_are_due_when_it_says() -> None:
    executor = Gives((0, 0.25, 0.25, Fraction(1, 2), np.float64(1.5), np.int64(7)))
    assert due_s(executor) == [0, 0.25, 0.25, 0.5, 1.5, 7]
    profile = executor.lower(1).profile
    assert isinstance(profile, TimedProfile)
    assert (profile.total(), profile.duration_ns) == (6, 8 * S)
    assert profile.describe() == "arrivals: Gives: 6 in 8s, at most 4/s"


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200).map(sorted), st.floats(0.05, 100))
def test_every_arrival_is_due_within_a_nanosecond_of_its_time_however_fast_it_is_played(
    times: list[float], speed: float
) -> None:
    lowered = Gives(tuple(times)).lower(1)
    assert isinstance(lowered.profile, TimedProfile)
    played = lowered.profile.lasting(max(1, round(lowered.profile.duration_ns / speed)))
    schedule = Schedule(Timeline(played.speeds), lowered.positions)
    due_ns = schedule.due_ns(np.arange(schedule.total()))
    assert schedule.total() == len(times)
    assert np.all(np.diff(due_ns) >= 0)
    assert due_ns[-1] < played.duration_ns
    assert np.allclose(due_ns, np.array(times) / played.speed * S, rtol=1e-15, atol=1.01)


@given(st.lists(st.floats(0, 5e4), min_size=1, max_size=300).map(sorted))
def test_the_curve_counts_every_arrival_and_peaks_in_the_busiest_bin(times: list[float]) -> None:
    profile = TimedProfile.of(np.array(times), "x")
    edges_s = np.append(np.arange(len(profile.counts)) * profile.bin_ns / S, profile.recorded_ns / S)
    assert np.histogram(times, edges_s)[0].tolist() == list(profile.counts)
    assert len(profile.counts) <= 600
    assert sum(profile.counts) == len(times) == profile.total()
    assert sum(stage.duration_ns for stage in profile.stages) == profile.duration_ns
    assert profile.peak == pytest.approx((np.array(profile.counts) / np.diff(edges_s)).max())
    assert profile.rate_at(0) == profile.stages[0].start
    assert profile.rate_at(-1) == profile.rate_at(profile.duration_ns) == 0


def test_it_is_played_faster_or_slower_and_nothing_is_lost() -> None:
    profile = TimedProfile.of(np.array([0.5, 1.5, 1.6, 2.9]), "Sale")
    twice = profile.scaled_to(4)
    assert (profile.peak, twice.peak, twice.duration_ns, twice.total()) == (2, 4, 3 * S // 2, 4)
    assert twice.describe() == "arrivals: Sale: 4 in 1.5s, at most 4/s, 2 times as fast"
    assert twice.lasting(3 * S) == profile
    assert profile.lasting(30 * S).peak == 0.2
    for wrong in (0, -1, nan, inf, 1e300):
        with pytest.raises(ProfileError):
            profile.scaled_to(wrong)
    with pytest.raises(ProfileError):
        profile.lasting(0)


def test_a_closed_executors_levels_are_jumps_and_holds() -> None:
    assert Levels(((0, 3), (2, 0), (2.5, 7))).lower(1).profile.describe() == "users: Levels: at most 7 in 10s"
    profile = Levels(((1, 3), (1, 4), (2, 0), (2.5, 7))).lower(1).profile
    assert isinstance(profile, UserProfile)
    assert profile.stages == (
        Stage(0, 0, S),
        Stage(4, 4, S),
        Stage(0, 0, S // 2),
        Stage(7, 7, 7 * S + S // 2),
    )


@dataclass(frozen=True, slots=True)
class Slotted(OpenExecutor):
    at: float

    def due(self, seed: int) -> Iterator[float]:
        yield self.at


class Plain(OpenExecutor):
    def __init__(self, at: float) -> None:
        self.at = at

    def due(self, seed: int) -> list[float]:  # type: ignore[override]  # any iterable will do
        return [self.at]


@pytest.mark.parametrize("kind", [Slotted, Plain])
def test_any_way_to_write_a_class_will_do(kind: Callable[[float], OpenExecutor]) -> None:
    one = kind(2.5)
    here = line() - 1
    assert due_s(one) == [2.5]
    assert (one.origin, one.faults) == (Origin(__file__, here), ())


def test_the_seed_decides_and_nothing_else() -> None:
    assert due_s(Chance(5.0), 1) == due_s(Chance(5.0), 1) != due_s(Chance(5.0), 2)


def test_it_is_walked_once_for_each_seed() -> None:
    walked: list[int] = []

    class Counts(OpenExecutor):
        def due(self, seed: int) -> Iterator[float]:
            walked.append(seed)
            yield 0.0

    one = Counts()
    assert one.lower(1) is one.lower(1)
    one.lower(2)
    assert walked == [1, 2]


def test_a_million_users_are_a_load_and_more_than_ten_are_not() -> None:
    assert Levels(((0, 1_000_000),)).lower(1).profile.peak == 1_000_000
    assert says(Levels(((0, MAX_USERS + 1),))) == ["Levels.levels: level 0 is 10,000,001 users, more than 10,000,000"]


# -- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "messages"),
    [
        ((), ["Gives.due yields nothing"]),
        ((1.0, 0.5), ["Gives.due: arrival 1 goes back in time, to 0.5 s after 1 s"]),
        ((1.0, 0.5, 0.7, 2.0, 1.9), ["Gives.due: arrival 1 goes back in time, to 0.5 s after 1 s, and 2 more"]),
        ((0.0, nan), ["Gives.due: arrival 1 is at NaN"]),
        ((0.0, inf), ["Gives.due: arrival 1 is at inf s, after more than 366 days"]),
        ((1e9,), ["Gives.due: arrival 0 is at 1e+09 s, after more than 366 days"]),
        ((10**400,), ["Gives.due: arrival 0 is at inf s, after more than 366 days"]),
        ((-0.1,), ["Gives.due: arrival 0 is at -0.1 s, before the load starts"]),
        (("soon",), ["Gives.due: arrival 0 is at 'soon', which is not a number"]),
        (("0.5",), ["Gives.due: arrival 0 is at '0.5', which is not a number"]),
        ((None,), ["Gives.due: arrival 0 is at None, which is not a number"]),
        ((True,), ["Gives.due: arrival 0 is at True, which is not a number"]),
        ((Decimal(1),), ["Gives.due: arrival 0 is at Decimal('1'), which is not a number"]),
        (
            (-1, "x", nan, 5, 4, inf),
            [
                "Gives.due: arrival 0 is at -1 s, before the load starts",
                "Gives.due: arrival 1 is at 'x', which is not a number",
                "Gives.due: arrival 2 is at NaN",
                "Gives.due: arrival 4 goes back in time, to 4 s after 5 s",
                "Gives.due: arrival 5 is at inf s, after more than 366 days",
            ],
        ),
    ],
)
def test_times_that_are_none_are_all_told(values: tuple[Any, ...], messages: list[str]) -> None:
    assert says(Gives(values)) == messages


@pytest.mark.parametrize(
    ("values", "messages"),
    [
        ((), ["Levels.levels yields nothing"]),
        (((0, 0),), ["the load has nothing to do: it is 0 all the time"]),
        (((0, -1),), ["Levels.levels: level 0 is -1 users"]),
        (((0, 1.5),), ["Levels.levels: level 0 is 1.5 users"]),
        (((0, True),), ["Levels.levels: level 0 is True users"]),
        ((5,), ["Levels.levels: level 0 is 5"]),
        (((3, 1), (2, 1)), ["Levels.levels: level 1 goes back in time, to 2 s after 3 s"]),
        (((nan, 1),), ["Levels.levels: level 0 is at NaN"]),
        (((0, 1), (10, 2)), ["Levels.levels: level at 10 s, but the load ends at 10 s"]),
        (
            ((0, -1), ("x", 1)),
            ["Levels.levels: level 0 is -1 users", "Levels.levels: level 1 is at 'x', which is not a number"],
        ),
    ],
)
def test_levels_that_are_none_are_all_told(values: tuple[Any, ...], messages: list[str]) -> None:
    assert says(Levels(values)) == messages


@pytest.mark.parametrize(
    ("duration", "message"),
    [
        ("soon", 'Levels: duration: invalid duration "soon"; write "500ms", "10s", "2m", "1m30s" or "1h"'),
        (True, "Levels: duration: True is not a duration"),
        (None, "Levels: duration: missing"),
        (-1, "Levels: duration: invalid duration -1: must be finite and at least 0"),
        (nan, "Levels: duration: invalid duration nan: must be finite and at least 0"),
        (0, "Levels.levels: level at 0 s, but the load ends at 0 s"),
    ],
)
def test_a_closed_executor_says_how_long_it_lasts(duration: Any, message: str) -> None:
    assert says(replace(Levels(((0, 1),)), duration=duration))[-1] == message


def test_what_an_author_finds_wrong_is_told_where_the_executor_was_made() -> None:
    class Sale(OpenExecutor):
        def wrong(self) -> Iterable[str]:
            yield "people: 0"
            yield "half_s: -1"

        def due(self, seed: int) -> Iterator[float]:
            raise AssertionError("not walked while it has faults")

    sale = Sale()
    here = line() - 1
    assert [(f.file, f.line, f.message) for f in sale.faults] == [
        (__file__, here, "Sale: people: 0"),
        (__file__, here, "Sale: half_s: -1"),
    ]
    with pytest.raises(ScenarioError):
        sale.lower(1)


def test_what_an_author_raises_is_told_in_the_line_that_raises_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
        from collections.abc import Iterator
        from loadgen import OpenExecutor

        def half(n: int) -> float:
            return 1 / n

        class Sale(OpenExecutor):
            def due(self, seed: int) -> Iterator[float]:
                yield 0.0
                yield half(0)
        """,
        "executors.py",
    )
    assert told(scenario(tmp_path, "Sale()")) == [
        "executors.py:5 Sale.due raises ZeroDivisionError: division by zero"
        " | correct this line: an executor must not raise"
    ]


def test_a_wrong_that_raises_is_told_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
        from collections.abc import Iterable, Iterator
        from loadgen import OpenExecutor

        class Sale(OpenExecutor):
            def wrong(self) -> Iterable[str]:
                raise KeyError("people")

            def due(self, seed: int) -> Iterator[float]:
                yield 0.0
        """,
        "executors.py",
    )
    assert told(scenario(tmp_path, "Sale()")) == [
        "executors.py:6 Sale.wrong raises KeyError: 'people' | correct this line: an executor must not raise"
    ]


def scenario(folder: Path, executor: str) -> Path:
    return write(
        folder,
        dedent("""\
        from loadgen import Plan, User, journey
        from executors import Sale

        @journey
        async def browse(user: User) -> None:
            await user.http.get("/")

        plan = Plan(
            target="http://127.0.0.1:8080",
            load=EXECUTOR,
            mix=browse,
        )
        """).replace("EXECUTOR", executor),
    )


ENDLESS = """\
from collections.abc import Iterator
from dataclasses import dataclass
from loadgen import OpenExecutor

@dataclass(frozen=True)
class Sale(OpenExecutor):
    gap_s: float

    def due(self, seed: int) -> Iterator[float]:
        at = 0.0
        while True:
            yield at
            at += self.gap_s
"""


def test_one_that_never_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom_executor_check, "MAX_ARRIVALS", 1_000)
    write(tmp_path, ENDLESS, "executors.py")
    assert told(scenario(tmp_path, "Sale(0.5)")) == [
        "scenario.py:10 Sale.due does not end after 1,000 arrivals, the last at 499.5 s | return when the load is over"
    ]


def test_one_that_blocks_is_told_where_it_stands_and_does_not_hang_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom_executor_check, "BLOCKED_S", 0.5)
    write(
        tmp_path,
        """\
        import threading
        from collections.abc import Iterator
        from loadgen import OpenExecutor

        class Sale(OpenExecutor):
            def due(self, seed: int) -> Iterator[float]:
                yield 0.0
                threading.Event().wait()
                yield 1.0
        """,
        "executors.py",
    )
    began_s = monotonic()
    assert told(scenario(tmp_path, "Sale()")) == [
        "executors.py:8 Sale.due blocks: 0.5 s without a yield, after arrival 0"
        " | only compute times in an executor; remove calls that wait"
    ]
    assert monotonic() - began_s < 60


def test_one_that_is_slow_and_goes_on_is_waited_for() -> None:
    gate = threading.Event()
    threading.Timer(0.3, gate.set).start()

    def slowly() -> Iterator[float]:
        gate.wait()
        yield 1.0

    assert list(walk_times(At(), slowly)) == [1.0]


class At:
    """Where a walk is told of."""

    origin, home, method = Origin("scenario.py", 3), Path("/nowhere"), "Sale.due"


@given(st.lists(st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=3), st.booleans()), max_size=30))
def test_whatever_is_yielded_is_a_good_time_or_a_fault(values: list[Any]) -> None:
    with suppress(ScenarioError):
        times = list(walk_times(At(), lambda: values))
        assert times == [float(value) for value in values] == sorted(times)
        assert times[0] >= 0


@given(st.lists(st.tuples(st.floats(), st.integers(-5, 10**8)), max_size=20))
def test_whatever_levels_are_yielded_are_good_or_a_fault(values: list[Any]) -> None:
    with suppress(ScenarioError):
        levels = walk_levels(At(), lambda: values)
        assert levels == [(float(at), users) for at, users in values]
        assert all(0 <= users <= MAX_USERS for _, users in levels)


# -- in a plan ------------------------------------------------------------------------------------

GOOD = """\
from collections.abc import Iterator
from dataclasses import dataclass
from loadgen import OpenExecutor

@dataclass(frozen=True)
class Sale(OpenExecutor):
    people: int

    def due(self, seed: int) -> Iterator[float]:
        for k in range(self.people):
            yield (k / self.people) ** 2 * 10
"""


def test_a_plan_has_it_as_it_has_any_load_and_its_module_travels(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "executors.py")
    loaded = load(scenario(tmp_path, "Sale(people=40)"))
    assert {path.name for path in loaded.files} == {"scenario.py", "executors.py"}
    spec = loaded.plan.spec()
    assert (spec.total_arrivals, spec.is_open, spec.duration_ns) == (40, True, 10 * S)
    assert spec.load == "arrivals: Sale: 40 in 10s, at most 13/s"
    assert msgspec.json.decode(msgspec.json.encode(spec), type=PlanSpec) == spec
    assert load(loaded.path, overrides=Overrides(peak=26, peak_of="rate")).plan.duration_ns == 5 * S
    assert load(loaded.path, overrides=Overrides(duration_s=2.5)).plan.spec().peak == 52


def test_a_run_whose_agents_come_to_other_times_is_refused_by_them(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "executors.py")
    here = load(scenario(tmp_path, "Sale(people=40)")).plan
    digests = [lane.profile.digest for lane in here.lanes]
    here.check_digests(digests)
    here.check_digests([""])
    there = load(scenario(tmp_path, "Sale(people=41)")).plan
    with pytest.raises(ScenarioError) as error:
        there.check_digests(digests)
    (fault,) = error.value.faults
    assert (fault.line, fault.message) == (
        10,
        "the executor yields 41 values, but 40 where the run was ordered: it is not a pure function of the seed",
    )
    with pytest.raises(ScenarioError, match="the executor yields other times than where the run was ordered"):
        here.check_digests([digests[0][:-1] + "_"])


def test_a_digest_tells_other_times_from_the_last_bit_of_the_same() -> None:
    times = np.sort(np.random.default_rng(3).uniform(0, 100, 1_000))
    assert digest_of(times) == digest_of(np.nextafter(times, inf))
    assert digest_of(times) != digest_of(times + 0.002)
    assert digest_of(times).startswith("1000:")


def test_a_class_without_due_is_told_as_pythons_own_fault(tmp_path: Path) -> None:
    write(tmp_path, "from loadgen import OpenExecutor\n\nclass Sale(OpenExecutor):\n    pass\n", "executors.py")
    (fault,) = told(scenario(tmp_path, "Sale()"))
    assert fault.startswith("scenario.py:10 TypeError: Can't instantiate abstract class Sale")


def test_positions_are_the_times_themselves() -> None:
    lowered = Gives((0.0, 1.0, 1.0, 2.0)).lower(7)
    assert isinstance(lowered.positions, Listed)
    counts: Callable[[Fraction], int] = lowered.positions.count_below
    assert [counts(Fraction(n, 2)) for n in range(6)] == [0, 1, 1, 3, 3, 4]
