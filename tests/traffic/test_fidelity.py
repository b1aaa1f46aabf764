"""Fidelity: a model of known sessions passes, and each damage fails its row and no other but those named here."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from loadgen.errors import UsageError
from loadgen.traffic.fidelity.compare import session_distances, time_distances
from loadgen.traffic.fidelity.floors import drawn, session_floors_of_all, shuffled, time_floors
from loadgen.traffic.fidelity.judge import judged_by_halves
from loadgen.traffic.fidelity.reference import KEY, reference_from, reference_of
from loadgen.traffic.fidelity.session_summary import summary_of
from loadgen.traffic.fidelity.time_summary import Times, active_of, bursts_of, time_summary, times_of
from loadgen.traffic.fidelity.verdict import PROPERTIES, Row, Verdict, judged, verdict_of
from loadgen.traffic.sessions.session_arrivals import SessionArrivals
from tests.support.known_sessions import (
    KINDS,
    STATES,
    Damage,
    Made,
    Starts,
    bursty,
    daily,
    fit_of,
    made,
    uniform,
)

DAY = daily(36_000)
NAMES = ("GET /", "GET /search", "GET /products/{id}", "POST /cart", "POST /checkout", "other")

DAMAGES: dict[str, tuple[Damage, Starts, set[str], set[str]]] = {
    # The damage, when sessions start, the rows that must fail, and those that may fail, too.
    "two names swapped": (
        Damage(swaps=(1, 3)),
        DAY,
        {"request mix"},
        {"transitions", "edges", "sequences", "combinations", "think", "data skew", "locality", "status", "bytes"},
    ),
    "sessions shuffled inside": (Damage(shuffles=True), DAY, {"transitions", "edges"}, {"sequences", "think"}),
    "one kind instead of three": (
        Damage(one_kind=True),
        DAY,
        {"session length", "sequences", "combinations"},
        {"session duration", "burstiness"},
    ),
    "means instead of distributions": (Damage(mean_pauses=True), DAY, {"think"}, {"session duration", "burstiness"}),
    "one flat rate": (Damage(flat=True), DAY, {"rate curve"}, {"concurrency", "inter-arrival", "burstiness"}),
    "Poisson for a trace with a CV of 13": (
        Damage(poisson=True),
        bursty(36_000, 13),
        {"burstiness"},
        {"inter-arrival", "rate curve", "concurrency"},
    ),
    "uniform keys": (Damage(uniform_keys=True), DAY, {"data skew", "locality"}, set()),
    "404s left out": (Damage(no_404=True), DAY, {"status"}, {"bytes"}),
    "pauses halved": (
        Damage(pause_factor=0.5),
        DAY,
        {"concurrency", "think", "session duration"},
        {"burstiness"},
    ),
}


def failed(damage: Damage, starts: Starts, seed: int, sessions: int = 3_000) -> set[str]:
    verdict = judged_by_halves(made(sessions, seed, Made(starts=starts)), fit_of(damage), seed=seed)
    assert len(verdict.rows) == len(PROPERTIES)
    return set(verdict.failed)


@pytest.mark.parametrize("name", ["one kind instead of three", "pauses halved"])
def test_a_damage_fails_its_row(name: str) -> None:
    damage, starts, must, may = DAMAGES[name]

    found = failed(damage, starts, 1, sessions=2_000)

    assert must <= found <= must | may


def test_a_model_without_damage_is_faithful() -> None:
    assert not failed(Damage(), DAY, 1, sessions=1_500)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(DAMAGES))
def test_each_damage_fails_its_row_and_no_other_but_the_named_ones_in_20_seeds(name: str) -> None:
    damage, starts, must, may = DAMAGES[name]

    found = [failed(damage, starts, seed) for seed in range(20)]

    missed = [seed for seed, rows in enumerate(found) if not must <= rows]
    others = Counter(row for rows in found for row in rows - must - may)
    assert not missed
    # A row without damage fails by chance in at most 0.5 % of the tables.
    assert others.total() <= 1, others


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sessions", "starts"),
    [(600, uniform(36_000)), (3_000, DAY), (3_000, bursty(36_000, 1.09)), (12_000, DAY), (3_000, bursty(36_000, 13))],
)
def test_models_without_damage_are_faithful_in_19_of_20_seeds(sessions: int, starts: Starts) -> None:
    found = Counter(row for seed in range(20) for row in failed(Damage(), starts, seed + 50, sessions))

    assert found.total() <= 1, found


@pytest.mark.slow
def test_random_starts_are_faithful_for_a_trace_with_a_cv_of_1_09() -> None:
    found = [failed(Damage(poisson=True), bursty(36_000, 1.09), seed, sessions=6_000) for seed in range(20)]

    assert sum("burstiness" in rows for rows in found) <= 1


@pytest.mark.slow
def test_two_samples_of_one_traffic_are_within_the_floors_of_one_of_them() -> None:
    """What `model check --log` relies on: the floors come from one of both samples."""
    exceeded: Counter[str] = Counter()
    for seed in range(40):
        one, other = made(2_000, 2 * seed), made(2_000, 2 * seed + 1)
        reference = summary_of(one)
        floors = session_floors_of_all(other, other.count, np.random.default_rng(seed))
        distances = session_distances(summary_of(other, reference), reference)
        exceeded.update(name for name, distance in distances.items() if not judged(name, distance, floors[name]).passed)

    assert exceeded.total() <= 2, exceeded


def test_what_cannot_be_measured_is_never_a_pass() -> None:
    passed, failed_row = judged("think", 0.01, 0.02), judged("think", 0.2, 0.02)
    missing = judged("total", None, 0.1, why="the load is not open")

    assert (passed.passed, passed.limit) == (True, 0.05)
    assert (failed_row.passed, missing.passed) == (False, False)
    words = [Verdict(rows).word for rows in ((passed,), (passed, missing), (missing, failed_row), (missing,))]
    assert words == ["faithful", "partly", "not faithful", "not measured"]
    assert Verdict((missing,)).reasons == ("total: not measurable: the load is not open",)
    both = verdict_of([passed, Row("total", 0.0, 0.0, 0.1, True)], {"think": "edited times"})
    assert [(row.property, row.distance) for row in both.rows] == [("think", None), ("total", 0.0)]


def test_the_limit_is_five_quarters_of_the_floor_or_the_least() -> None:
    assert judged("think", 0.1, 0.08).limit == pytest.approx(0.1)
    assert judged("think", 0.1, 0.08).passed
    assert not judged("think", 0.1001, 0.08).passed
    assert judged("edges", 0.99, 0.1).passed


def test_drawing_again_and_shuffling_keep_sessions_whole() -> None:
    table, rng = made(300, 3), np.random.default_rng(1)

    again = shuffled(drawn(table, 300, rng), rng)

    assert again.count == 300
    assert sorted(set(again.starts.tolist())) == sorted(set(again.starts.tolist()) & set(table.starts.tolist()))
    pauses = np.diff(again.start)[np.diff(again.session) == 0]
    assert (pauses >= 0).all()
    assert set(np.unique(again.state)) <= set(range(STATES))


def test_the_reference_comes_back_from_its_text() -> None:
    table = made(800, 5, Made(starts=DAY))
    before = reference_of(table, NAMES, times_of(table), not_measurable={"bytes": "none"})

    after = reference_from({KEY: before.as_json()}, "traffic.json")

    same = session_distances(after.summary, before.summary)
    assert {name: same[name] for name in same if name not in ("data skew", "locality")} == {
        name: 0 for name in same if name not in ("data skew", "locality")
    }
    assert same["data skew"] == pytest.approx(0, abs=1e-5)
    assert before.times is not None
    assert after.times is not None
    for distance in time_distances(after.times, before.times).values():
        assert distance == pytest.approx(0, abs=1e-4)
    assert (after.states, after.span_s, after.not_measurable) == (NAMES, before.span_s, {"bytes": "none"})
    assert after.as_json() == before.as_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [({}, "has no 'reference'"), ({KEY: {"format": 9}}, "damaged"), ({KEY: {"format": 1}}, "damaged")],
)
def test_a_missing_or_damaged_reference_is_an_error_with_its_place(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        reference_from(change, "shop/traffic.json")

    assert "shop/traffic.json" in caught.value.message
    assert "loadgen model LOG" in caught.value.hint


def times(starts_s: list[float], durations_s: list[float], span_s: int) -> Times:
    starts, durations = (np.array([round(s * 1e6) for s in one], np.int64) for one in (starts_s, durations_s))
    by_second = np.bincount(starts // 1_000_000, minlength=span_s)
    return Times(0, by_second, starts, durations, np.ones(len(starts), np.int64))


def test_active_sessions_are_their_time_in_each_bin() -> None:
    found = active_of(times([0, 5, 12], [10, 10, 2], 20), 10, 2)

    # 0 to 10 s: the first 10 s, the second 5 s. 10 to 20 s: the second 5 s, the third 2 s.
    assert found == pytest.approx([1.5, 0.7])


def test_times_begin_again_where_the_first_session_of_another_log_is() -> None:
    one = times([30, 95], [1, 1], 120)

    later, earlier = one.beginning_with(50_000_000), one.beginning_with(10_000_000)

    assert (later.span_s, later.begin_s, later.starts.tolist()) == (140, -20, [50_000_000, 115_000_000])
    assert np.flatnonzero(later.by_second).tolist() == [50, 115]
    assert np.flatnonzero(earlier.by_second).tolist() == [10, 75]


def test_short_logs_have_shorter_bins_and_windows() -> None:
    rng = np.random.default_rng(2)
    short = times(sorted(rng.uniform(0, 240, 900).tolist()), [1.0] * 900, 240)

    summary, bursts = time_summary(short), bursts_of(short)

    assert summary.bin_s == 10
    assert bursts is not None
    # Starts begin and end within the first and the last of its four minutes.
    assert (bursts.windows, sorted(bursts.sums)) == (6, [1, 10])
    assert set(time_floors(short, rng, splits=3)) == {
        "rate curve",
        "total",
        "concurrency",
        "burstiness",
        "inter-arrival",
    }
    assert bursts_of(times([1, 2], [1, 1], 30)) is None


def test_sessions_without_paths_or_pauses_have_no_distance_there() -> None:
    table = made(200, 1, Made(kinds=(replace(KINDS[0], rows=((0.0,) * 6 + (1.0,),) * 6),)))
    table = replace(table, path=np.full(len(table.path), -1))
    summary = summary_of(table)

    assert summary.keys is None
    same = session_distances(summary, summary)
    assert (same["data skew"], same["locality"], same["think"]) == (0, 0, 0)


def test_smoothed_counts_and_random_spacing_have_the_dispersion_of_the_log_together() -> None:
    rng = np.random.default_rng(4)
    for group, expected in ((1, 1.0), (6, 6.0)):
        counts = group * rng.poisson(12 / group, 6_000)
        # The log begins and ends within a minute: these counts stay.
        every = SessionArrivals(0, (1, *counts.tolist(), 2), 1.0, 1).smoothed
        assert (every[0], every[-1]) == (1, 2)
        smoothed = np.array(every[1:-1])
        assert smoothed.sum() == counts.sum()
        assert (smoothed >= 0).all()
        sent = rng.poisson(smoothed).reshape(-1, 10)
        squares = ((sent - sent.mean(1, keepdims=True)) ** 2).sum() * 10 / 9
        assert squares / sent.sum() == pytest.approx(expected, rel=0.08)
    assert SessionArrivals(0, (3, 4), 1.0, 1).smoothed == (3, 4)
    assert sum(SessionArrivals(0, (0,) * 25, 1.0, 1).smoothed) == 0
