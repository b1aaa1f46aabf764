"""What a plan says of its load, and what is wrong with it, with file and line."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.executors.named_shapes import break_point, soak, spike, stress
from loadgen.dsl.executors.standard import Arrivals, Iterations, Users, arrivals, iterations, users
from loadgen.errors import ScenarioError
from loadgen.profiles import smooth_curves
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, UserProfile
from loadgen.profiles.spacing import Spacing
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S

S = NS_PER_S


def line() -> int:
    """The line that calls this."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def open_(*parts: tuple[float, float, float]) -> ArrivalProfile:
    return ArrivalProfile(tuple(Stage(float(a), float(b), round(s * S)) for a, b, s in parts))


def closed(*parts: tuple[float, float, float]) -> UserProfile:
    return UserProfile(tuple(Stage(float(a), float(b), round(s * S)) for a, b, s in parts))


@pytest.mark.parametrize(
    ("load", "profile"),
    [
        (arrivals("50/s").hold("1m"), open_((50, 50, 60))),
        (arrivals(50).hold(60), open_((50, 50, 60))),
        (arrivals("1000/h").hold("1h"), open_((1000 / 3600, 1000 / 3600, 3600))),
        (arrivals().ramp(to="200/s", over="2m").hold("10m"), open_((0, 200, 120), (200, 200, 600))),
        (arrivals("20/s").ramp(to="200/s", over="2m"), open_((20, 200, 120))),
        (
            arrivals("20/s").hold("1s").ramp(to=0, over="1s").hold("1s").ramp(to="5/s", over=0).hold("1s"),
            open_((20, 20, 1), (20, 0, 1), (0, 0, 1), (0, 5, 0), (5, 5, 1)),
        ),
        (
            arrivals().steps("50/s", by="50/s", every="1m", upto="400/s"),
            open_(*((50 * k, 50 * k, 60) for k in range(1, 9))),
        ),
        (
            arrivals().steps("0.1/s", by="0.1/s", every=1, upto="0.3/s"),
            open_((0.1, 0.1, 1), (0.2, 0.2, 1), (0.3, 0.3, 1)),
        ),
        (arrivals().steps(50, by=100, every=1, upto=300), open_((50, 50, 1), (150, 150, 1), (250, 250, 1))),
        (
            arrivals().steps(30, by="-10/s", every=1, upto=10).hold(5),
            open_((30, 30, 1), (20, 20, 1), (10, 10, 1), (10, 10, 5)),
        ),
        (users(64).hold("10s"), closed((64, 64, 10))),
        (
            users().ramp(to=500, over="1m").hold("5m").ramp(to=0, over="30s"),
            closed((0, 500, 60), (500, 500, 300), (500, 0, 30)),
        ),
        (
            arrivals("10/s")
            .sine(mean="100/s", amplitude="40/s", period="10m", duration="1h", phase="2m30s")
            .hold("1m"),
            ArrivalProfile((*smooth_curves.sine(100, 40, 600 * S, 3600 * S, 150 * S), Stage(140, 140, 60 * S))),
        ),
        (
            arrivals().day(low="20/s", high="200/s", peak_at="19:30", low_at=4, duration="30m"),
            ArrivalProfile(smooth_curves.day(20, 200, 19.5, 4, 1800 * S)),
        ),
        (arrivals().day(low=20, high=200), ArrivalProfile(smooth_curves.day(20, 200, 20, 4, 86_400 * S))),
        (stress(to="500/s"), open_((0, 500, 300), (500, 500, 1200), (500, 0, 120))),
        (stress(to=5, over=1, hold=2, down=3), open_((0, 5, 1), (5, 5, 2), (5, 0, 3))),
        (
            spike("50/s", "500/s"),
            open_((50, 50, 120), (50, 500, 10), (500, 500, 60), (500, 50, 10), (50, 50, 300)),
        ),
        (
            spike(5, 9, before=1, rise=2, hold=3, fall=4, after=5),
            open_((5, 5, 1), (5, 9, 2), (9, 9, 3), (9, 5, 4), (5, 5, 5)),
        ),
        (soak("100/s"), open_((0, 100, 300), (100, 100, 28_800))),
        (soak("100/s", "1h", over="1m"), open_((0, 100, 60), (100, 100, 3600))),
        (break_point("50/s", by="50/s", upto="150/s"), open_((50, 50, 120), (100, 100, 120), (150, 150, 120))),
        (break_point(1, by=1, upto=2, every=3), open_((1, 1, 3), (2, 2, 3))),
        (users(50).hold("10m").pace("10s"), UserProfile((Stage(50, 50, 600 * S),), pace_ns=10 * S)),
        (
            users(50).pace(0.5, spread=False).hold(9),
            UserProfile((Stage(50, 50, 9 * S),), pace_ns=S // 2, is_spread=False),
        ),
        (iterations(1000, users=10), IterationProfile(1000, 10)),
        (iterations(7), IterationProfile(7, 1)),
        (iterations(per_user=5, users=10), IterationProfile(50, 10, 5)),
        (iterations(per_user=5, users=10**6), IterationProfile.of_each(5, 10**6)),
    ],
)
def test_a_load_reads_as_a_sentence(load: Arrivals | Users | Iterations, profile: object) -> None:
    assert load.faults == ()
    assert load.profile() == profile


def test_a_load_is_a_value_that_later_calls_do_not_change() -> None:
    base = arrivals("10/s").hold("1s")
    longer = base.hold("1s")
    assert base.profile().duration_ns == S
    assert longer.profile().duration_ns == 2 * S


def test_a_load_is_checked_by_types() -> None:
    load: ArrivalProfile = arrivals().ramp(to="1/s", over=1).hold(1).profile()
    crowd: UserProfile = users().ramp(to=1, over=1).hold(1).profile()
    assert load.total() == 2
    assert crowd.peak == 1


odd: Any = object()
nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (arrivals("fast").hold("1m"), 'invalid rate "fast"'),
        (arrivals("-5/s").hold("1m"), "must not be negative, got -5/s"),
        (arrivals(-5).hold("1m"), "must not be negative, got -5"),
        (arrivals(nan).hold("1m"), "must be finite"),
        (arrivals(inf).hold("1m"), "must be finite"),
        (arrivals(10**400).hold("1m"), "a rate must be finite, got 1000"),
        (arrivals("1000000000/s").hold(1), "at most 1e+08/s"),
        (arrivals(odd).hold("1m"), "is not a rate"),
        (arrivals(True).hold("1m"), "True is not a rate"),
        (arrivals("50/s"), "no duration"),
        (arrivals(), "no duration"),
        (arrivals().hold("1m"), "nothing to do"),
        (arrivals("5/s").hold("0s"), "the duration of a hold must be above 0"),
        (arrivals("5/s").hold("soon"), 'invalid duration "soon"'),
        (arrivals("5/s").hold(-1), "must be finite"),
        (arrivals("5/s").hold(nan), "must be finite"),
        (arrivals("5/s").hold(10**400), "366 days"),
        (arrivals("5/s").hold(odd), "is not a duration"),
        (arrivals("5/s").hold("400d"), "366 days"),
        (arrivals().ramp(to="-200/s", over="1m"), "must not be negative, got -200/s"),
        (arrivals().ramp(to="200/s", over="0s"), "no duration"),
        (arrivals().ramp(to="200/s", over="later"), 'invalid duration "later"'),
        (arrivals().steps("50/s", by="50/s", every="0s", upto="400/s"), "the duration of a hold must be above 0"),
        (arrivals().steps("50/s", by="0/s", every="1m", upto="400/s"), "never reach 400/s"),
        (arrivals().steps("50/s", by="-10/s", every="1m", upto="400/s"), "never reach 400/s"),
        (arrivals().steps("1/s", by="0.001/s", every="1m", upto="400/s"), "more than 1,000"),
        (arrivals("5/s").hold(1).poisson(seed="x"), "seed: 'x' is not a whole number"),  # type: ignore[arg-type]
        (arrivals("5/s").hold(1).poisson(seed=True), "seed: True is not a whole number"),
        (arrivals("5/s").hold(1).poisson().poisson(), "set twice"),
        (arrivals("5/s").poisson().hold(1).gamma(cv=2), "set twice"),
        (arrivals("5/s").hold(1).gamma(), "either cv= or burstiness="),
        (arrivals("5/s").hold(1).gamma(cv=2, burstiness=0.25), "either cv= or burstiness="),
        (arrivals("5/s").hold(1).gamma(cv=0), "cv: 0 is not a number above 0"),
        (arrivals("5/s").hold(1).gamma(cv=-1), "cv: -1 is not a number above 0"),
        (arrivals("5/s").hold(1).gamma(cv=nan), "cv: nan is not a number above 0"),
        (arrivals("5/s").hold(1).gamma(cv=inf), "cv: inf is not a number above 0"),
        (arrivals("5/s").hold(1).gamma(cv=10**400), "is not a number above 0"),
        (arrivals("5/s").hold(1).gamma(cv=1e-200), ", cv 0.001 to 31.6"),
        (arrivals("5/s").hold(1).gamma(cv=1e200), ", cv 0.001 to 31.6"),
        (arrivals("5/s").hold(1).gamma(cv="2"), "cv: '2' is not a number above 0"),  # type: ignore[arg-type]
        (arrivals("5/s").hold(1).gamma(burstiness=-0.5), "burstiness: -0.5 is not a number above 0"),
        (arrivals("5/s").hold(1).gamma(burstiness=1e-9), "burstiness: 1e-09 is out of range"),
        (arrivals("5/s").poisson(), "no duration"),
        (arrivals().sine(mean="10/s", amplitude="11/s", period="1m", duration="1h"), "goes below 0"),
        (arrivals().sine(mean="10/s", amplitude="-1/s", period="1m", duration="1h"), "must not be negative, got -1/s"),
        (
            arrivals().sine(mean="10/s", amplitude="1/s", period=0, duration="1h"),
            "the period of a sine must be above 0",
        ),
        (arrivals().sine(mean="10/s", amplitude="1/s", period="1m", duration=0), "must be above 0"),
        (arrivals().sine(mean="10/s", amplitude="1/s", period="1ms", duration="1h"), "periods is too long"),
        (arrivals().sine(mean="10/s", amplitude="1/s", period="1m", duration="1h", phase=-1), "must be finite"),
        (arrivals().sine(mean=0, amplitude=0, period="1m", duration="1h"), "nothing to do"),
        (arrivals().day(low="20/s", high="2/s"), "a day's low of 20/s is above its high of 2/s"),
        (arrivals().day(low=2, high=20, peak_at="24:00"), "'24:00' is not an hour of the day"),
        (arrivals().day(low=2, high=20, peak_at="8:60"), "'8:60' is not an hour of the day"),
        (arrivals().day(low=2, high=20, peak_at=nan), "nan is not an hour of the day"),
        (arrivals().day(low=2, high=20, low_at=odd), "is not an hour of the day"),
        (arrivals().day(low=2, high=20, peak_at="04:30"), "at least an hour apart"),
        (arrivals().day(low=2, high=20, duration="0s"), "must be above 0"),
        (stress(to="fast"), 'invalid rate "fast"'),
        (stress(to="5/s", hold=0), "the duration of a hold must be above 0"),
        (spike("5/s", "-1/s"), "must not be negative, got -1/s"),
        (soak("5/s", "2y"), 'invalid duration "2y"'),
        (soak(0), "nothing to do"),
        (break_point("5/s", by="0/s", upto="9/s"), "never reach 9/s"),
        (users(-1).hold("1m"), "must not be negative, got -1"),
        (users(2.5).hold("1m"), "2.5 is not a number of users"),  # type: ignore[arg-type]
        (users(10**9).hold("1m"), "at most 10,000,000"),
        (users(0).hold("1m"), "nothing to do"),
        (users(5), "no duration"),
        (users().ramp(to=-5, over="1m"), "must not be negative, got -5"),
        (users().ramp(to="many", over="1m"), "'many' is not a number of users"),  # type: ignore[arg-type]
        (users(5).hold("1m").pace(0), "a pace must be above 0"),
        (users(5).hold("1m").pace("0s"), "a pace must be above 0"),
        (users(5).hold("1m").pace(-1), "must be finite"),
        (users(5).hold("1m").pace(nan), "must be finite"),
        (users(5).hold("1m").pace("soon"), 'invalid duration "soon"'),
        (users(5).hold("1m").pace("400d"), "at most 366 days"),
        (users(5).pace("1s").hold("1m").pace("2s"), "set twice"),
        (users(5).hold("1m").pace("1s", spread="no"), "spread='no' must be True or False"),  # type: ignore[arg-type]
        (users(0).hold("1m").pace("1s"), "nothing to do"),
        (iterations(), "the number of iterations is missing"),
        (iterations(0), "the number of iterations must be at least 1"),
        (iterations(-3), "must not be negative, got -3"),
        (iterations(5, users=0), "the number of users must be at least 1"),
        (iterations(5, users=None), "None is not a number of users"),  # type: ignore[arg-type]
        (iterations(odd), "is not a number of iterations"),
        (iterations(1 << 60), "at most"),
        (iterations(50, per_user=5, users=10), "both the total number of iterations and per_user="),
        (iterations(per_user=0, users=10), "the number of iterations per user must be at least 1"),
        (iterations(per_user=-1, users=10), "number of iterations per user must not be negative, got -1"),
        (iterations(per_user=2.5, users=10), "2.5 is not a number of iterations per user"),  # type: ignore[arg-type]
        (iterations(per_user=5, users=0), "the number of users must be at least 1"),
        (iterations(per_user=1 << 50, users=100), "the number of iterations must be at most"),
    ],
)
def test_what_cannot_be_driven_is_a_fault_and_no_exception(load: Arrivals | Users | Iterations, says: str) -> None:
    assert len(load.faults) == 1
    assert says in load.faults[0].message
    assert load.faults[0].file == __file__
    with pytest.raises(ScenarioError, match=f"test_standard.py:{load.faults[0].line}"):
        load.profile()


def test_each_fault_stands_at_the_line_that_says_it() -> None:
    first = line() + 2
    load = (
        arrivals("much")
        .ramp(to="-1/s", over="1m")
        .hold("1m")
        .hold("a while")
    )  # fmt: skip
    assert [fault.line - first for fault in load.faults] == [0, 1, 3]


def test_a_fault_of_the_whole_stands_where_the_load_begins() -> None:
    load, at = users(), line()
    assert [fault.line for fault in load.hold("1m").faults] == [at]


def test_two_faults_of_a_counted_load_are_both_told() -> None:
    assert len(iterations(-1, users=-1).faults) == 2
    assert len(iterations(users=0).faults) == 2
    assert len(iterations(per_user=0, users=-1).faults) == 2


def test_a_load_without_an_end_says_how_to_give_it_one() -> None:
    assert arrivals("50/s").faults[0].hint == 'write arrivals("50/s").hold("1m")'
    assert users(5).faults[0].hint == 'write users(5).hold("1m")'


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.from_regex(r"-?\d{1,3}/?[smhd]?")
)


@pytest.mark.parametrize(
    ("load", "spacing", "words"),
    [
        (arrivals("5/s").hold(9).poisson(seed=7), Spacing(1.0, 7), "arrivals, Poisson: hold 5/s for 9s"),
        (arrivals("5/s").poisson().hold(9), Spacing(1.0, 11), "arrivals, Poisson: hold 5/s for 9s"),
        (arrivals("5/s").poisson(-1).hold(9), Spacing(1.0, 2**64 - 1), "arrivals, Poisson: hold 5/s for 9s"),
        (arrivals("5/s").hold(9).gamma(cv=2), Spacing(0.25, 11), "arrivals, gamma with CV 2: hold 5/s for 9s"),
        (
            arrivals("5/s").hold(9).gamma(burstiness=4, seed=3),
            Spacing(4.0, 3),
            "arrivals, gamma with CV 0.5: hold 5/s for 9s",
        ),
        (arrivals("5/s").hold(9), None, "arrivals: hold 5/s for 9s"),
        (
            arrivals().day(low=20, high=200).poisson(seed=1),
            Spacing(1.0, 1),
            "arrivals, Poisson: curve between 20/s and 200/s for 24h (96 pieces)",
        ),
    ],
)
def test_how_arrivals_are_spaced_is_said_before_or_after_their_rates(
    load: Arrivals, spacing: Spacing | None, words: str
) -> None:
    profile = load.lower(11).profile
    assert profile == ArrivalProfile(load.profile().stages, spacing)
    assert profile.describe() == words


def test_a_curve_is_one_thing_in_words_and_what_is_beside_it_another() -> None:
    load = arrivals().ramp(to="100/s", over="1m").sine(mean=100, amplitude=40, period="10m", duration="1h")
    assert load.hold("1m").ramp(to=0, over="30s").profile().describe() == (
        "arrivals: ramp 0 to 100/s in 1m, curve between 60/s and 140/s for 1h (576 pieces), hold 100/s for 1m, "
        "ramp 100 to 0 in 30s"
    )


def test_what_is_spaced_by_chance_stays_so_when_it_is_scaled_or_stretched() -> None:
    profile = ArrivalProfile((Stage(5, 5, 9 * S),), Spacing(0.25, 3))
    assert profile.scaled_to(50) == ArrivalProfile((Stage(50, 50, 9 * S),), Spacing(0.25, 3))
    assert profile.lasting(18 * S) == ArrivalProfile((Stage(5, 5, 18 * S),), Spacing(0.25, 3))


@given(anything, anything, anything, anything)
def test_no_argument_whatever_makes_a_load_raise(a: Any, b: Any, c: Any, d: Any) -> None:
    loads: list[Arrivals | Users | Iterations] = [
        arrivals(a).hold(b).ramp(to=c, over=d),
        arrivals(d).steps(a, by=b, every=c, upto=d),
        users(a).hold(b).ramp(to=c, over=d),
        users(5).hold(9).pace(a, spread=b),
        iterations(a, users=b),
        iterations(a, users=b, per_user=c),
        iterations(users=b, per_user=c),
        arrivals("5/s").hold(1).poisson(a),
        arrivals("5/s").hold(1).gamma(cv=a, burstiness=b, seed=c),
        arrivals().sine(mean=a, amplitude=b, period=c, duration=d),
        arrivals().sine(mean="5/s", amplitude="1/s", period="1m", duration=c, phase=d),
        arrivals().day(low=a, high=b, peak_at=c, low_at=d),
        stress(a, over=b, hold=c, down=d),
        spike(a, b, hold=c, after=d),
        soak(a, b, over=c),
        break_point(a, by=b, upto=c, every=d),
    ]
    for load in loads:
        if not load.faults:
            assert load.profile().peak > 0
