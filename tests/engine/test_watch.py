"""What an agent tells of what was due: nothing is lost, and what is in flight is told by its age."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine.recording import slo_windows
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.slo_windows import Watches
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts, check_due
from loadgen.measure.deltas.series_key import OK, Kind, SeriesKey
from loadgen.measure.objectives.objective import Objective
from loadgen.units import NS_PER_MS, NS_PER_S

T0 = 7_000 * NS_PER_S
S, MS = NS_PER_S, NS_PER_MS


P95 = Objective(kind="percentile", q=95, limit=300 * MS, text="p", window_ns=60 * S)
ERRORS = Objective(kind="error_ratio", limit=0.05, text="e", window_ns=30 * S)


def p95(**scope: str) -> Objective:
    return msgspec.structs.replace(P95, **scope)


def errors(**scope: str) -> Objective:
    return msgspec.structs.replace(ERRORS, **scope)


def key(
    kind: Kind = "journey",
    journey: str = "shop",
    step: str | None = None,
    request: str | None = None,
    warmup: bool = False,
) -> SeriesKey:
    return SeriesKey(kind, journey, step, request, OK, "response", warmup=warmup)


STEP, GET = key("step", step="pay"), key("request", step="pay", request="GET /x")


def watching(
    *objectives: Objective,
    flying: Sequence[tuple[int, int, int]] = (),
    region: str = "eu",
    clock: Callable[[], int] = lambda: T0,
) -> Watches:
    watches = Watches(objectives, ["shop", "search"], S, region, lambda now_ns: iter(flying), clock)
    watches.t0_ns = T0
    return watches


def the_watch(watches: Watches, of: SeriesKey) -> slo_windows.Series:
    found = watches.of(of)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("objective", "watched"),
    [
        (p95(), [key(), key(journey="search")]),
        (errors(journey="search"), [key(journey="search")]),
        (p95(step="pay"), [STEP]),
        (p95(request="GET /x"), [GET, key("request", request="GET /x")]),
        (p95(request="GET /x", step="pay"), [GET]),
        (p95(region="eu", step="pay"), [STEP]),
        (p95(region="us", step="pay"), []),
        (Objective(kind="percentile", q=95, limit=1, text="the whole run"), []),
    ],
    ids=str,
)
def test_a_series_is_watched_if_an_objective_over_windows_is_about_it(
    objective: Objective, watched: list[SeriesKey]
) -> None:
    watches = watching(objective)
    all_keys = [key(), key(journey="search"), STEP, GET, key("request", request="GET /x"), key("step", step="look")]
    assert [one for one in all_keys if watches.of(one) is not None] == watched


def test_the_warm_up_is_not_watched() -> None:
    assert watching(p95()).of(key(warmup=True)) is None
    recorder = Recorder(watches=watching(p95()))
    assert recorder.journey_series("shop", warmup=True).watch is None
    assert recorder.journey_series("shop").watch is not None


def test_good_ended_ok_within_the_limit_to_the_ns_and_counts_by_when_it_was_due() -> None:
    watches = watching(p95(), errors())
    seen = the_watch(watches, key())
    seen.ended(T0 + 5, 300 * MS, OK)
    seen.ended(T0 + S - 1, 300 * MS + 1, OK)
    seen.ended(T0 + S, 1, "http 503")
    assert watches.take(T0 + 2 * S) == (
        DueCounts(0, "shop", 0, good=1, bad=1),
        DueCounts(0, "shop", 1, bad=1),
        DueCounts(1, "shop", 0, good=2),
        DueCounts(1, "shop", 1, bad=1),
    )
    assert watches.take(T0 + 3 * S) == ()


@pytest.mark.parametrize("outcome", ["skipped", "script KeyError"])
def test_what_is_nobodys_fault_is_in_neither(outcome: str) -> None:
    watches = watching(p95(step="pay"))
    seen = the_watch(watches, STEP)
    seen.begun(T0)
    seen.ended(T0, S, outcome)
    assert watches.take(T0 + S) == ()


def test_iterations_in_flight_are_overdue_when_older_than_the_limit_without_their_think_time() -> None:
    flying = [(0, T0, 0), (0, T0 + S, 0), (0, T0, 2 * S), (0, T0 + 1_700 * MS, 0), (1, T0 + 1_700 * MS - 1, 0)]
    watches = watching(p95(), errors(journey="shop"), flying=flying)
    assert watches.take(T0 + 2 * S) == (
        DueCounts(0, "search", 1, overdue=1),
        DueCounts(0, "shop", 0, overdue=1, undecided=1),
        DueCounts(0, "shop", 1, overdue=1, undecided=1),
        DueCounts(1, "shop", 0, undecided=2),
        DueCounts(1, "shop", 1, undecided=2),
    )


def test_a_request_is_in_flight_until_it_ends_or_is_gone() -> None:
    watches = watching(p95(request="GET /x"))
    seen = the_watch(watches, GET)
    for at_ns in (1, 2, 3):
        seen.begun(T0 + at_ns)
    assert watches.take(T0 + 200 * MS) == (DueCounts(0, "shop", 0, undecided=3),)
    assert watches.take(T0 + S) == (DueCounts(0, "shop", 0, overdue=3),)
    seen.ended(T0 + 2, 1_500 * MS, OK)
    seen.gone(T0 + 1)
    assert watches.take(T0 + 2 * S) == (DueCounts(0, "shop", 0, bad=1, overdue=1),)
    seen.ended(T0 + 3, 60 * S, "timeout")
    assert watches.take(T0 + 61 * S) == (DueCounts(0, "shop", 0, bad=1),)
    assert watches.take(T0 + 62 * S) == ()


def test_what_was_cancelled_is_bad_if_it_was_overdue_and_otherwise_neither() -> None:
    """Else the drain that ends a run would take back what it was stopped for."""
    watches = watching(p95(request="GET /x"), errors(request="GET /x"), clock=lambda: T0 + 400 * MS)
    seen = the_watch(watches, GET)
    for at_ns in (T0, T0 + 100 * MS - 1, T0 + 100 * MS):
        seen.begun(at_ns)
        seen.gone(at_ns)
    assert watches.take(T0 + S) == (DueCounts(0, "shop", 0, bad=2),)


def test_two_that_began_in_the_same_ns_are_two() -> None:
    watches = watching(p95(request="GET /x"))
    seen = the_watch(watches, GET)
    seen.begun(T0)
    seen.begun(T0)
    seen.ended(T0, 1, OK)
    assert watches.take(T0 + S) == (DueCounts(0, "shop", 0, good=1, overdue=1),)


def test_a_step_in_flight_is_as_old_as_its_time_without_think() -> None:
    watches = watching(p95(step="pay"))
    seen = the_watch(watches, STEP)
    seen.begun(T0, lambda now_ns: now_ns - T0 - 100 * MS)
    seen.begun(T0 + 1, lambda now_ns: 0)
    assert watches.take(T0 + S) == (DueCounts(0, "shop", 0, overdue=1, undecided=1),)
    seen.ended(T0 + 1, 2 * S, OK)
    assert watches.take(T0 + 3 * S) == (DueCounts(0, "shop", 0, bad=1, undecided=1),)


def test_what_is_due_before_t0_is_of_the_first_interval() -> None:
    watches = watching(p95())
    the_watch(watches, key()).ended(T0 - 5, 1, OK)
    assert watches.take(T0 + S) == (DueCounts(0, "shop", 0, good=1),)


def test_series_of_one_objective_add_up_by_journey() -> None:
    watches = watching(p95(request="GET /x"))
    for one in (GET, key("request", request="GET /x"), key("request", journey="search", request="GET /x")):
        the_watch(watches, one).ended(T0, 1, OK)
    assert watches.take(T0 + S) == (DueCounts(0, "search", 0, good=1), DueCounts(0, "shop", 0, good=2))


CALLS = st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 4_000), st.sampled_from([OK, "reset", "gone"])))


@given(CALLS, st.sets(st.integers(1, 10_000), max_size=6))
def test_whenever_it_is_asked_everything_is_told_once_and_what_is_open_is_in_flight(
    calls: list[tuple[int, int, str]], asked_at: set[int]
) -> None:
    """Times in ms. What ended before it is asked is good or bad, what began and did not is in flight."""
    now = 0
    watches = watching(p95(request="GET /x"), clock=lambda: T0 + now * MS)
    seen = the_watch(watches, GET)
    edges = [(at, 0, n) for n, (at, _, _) in enumerate(calls)]
    edges += [(at + took, 1, n) for n, (at, took, _) in enumerate(calls)]
    asked = [(at, 2, 0) for at in (*asked_at, 20_000)]
    told: Counter[str] = Counter()
    open_now: dict[int, int] = {}
    for now, what, n in sorted(edges + asked):
        at, took, outcome = calls[n] if what < 2 else (0, 0, "")
        if what == 0:
            open_now[n] = at
            seen.begun(T0 + at * MS)
        elif what == 1:
            del open_now[n]
            if outcome == "gone":
                seen.gone(T0 + at * MS)
            else:
                seen.ended(T0 + at * MS, took * MS, outcome)
        else:
            rows = watches.take(T0 + now * MS)
            told.update(good=sum(row.good for row in rows), bad=sum(row.bad for row in rows))
            late = sum(now - at > 300 for at in open_now.values())
            assert sum(row.overdue for row in rows) == late
            assert sum(row.undecided for row in rows) == len(open_now) - late
    good = sum(outcome == OK and took <= 300 for _, took, outcome in calls)
    ended = sum(outcome != "gone" or took > 300 for _, took, outcome in calls)
    assert (told["good"], told["bad"]) == (good, ended - good)


def test_more_rows_than_a_delta_takes_are_told_over_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slo_windows, "MAX_DUE_ROWS", 5)
    watches = watching(p95(), flying=[(0, T0 + k * S, 0) for k in range(10)])
    for k in range(20):
        the_watch(watches, key()).ended(T0 + k * S, 1, OK)
    rows: list[DueCounts] = []
    for _ in range(4):
        taken = watches.take(T0 + 30 * S)
        assert len(taken) == 5
        check_due("delta", taken)
        rows += taken
    assert sum(row.good for row in rows) == 20


def test_a_recorder_tells_of_its_iterations_steps_and_requests() -> None:
    watches = watching(p95(), p95(step="pay"), p95(request="GET /x"))
    recorder = Recorder(watches=watches)
    recorder.t0_ns = T0
    recorder.iteration(recorder.journey_series("shop"), 100 * MS, 100 * MS, 0, 0, OK, False, T0 + 1)
    recorder.missed(recorder.journey_series("shop"), 5 * S, T0 + 2)
    recorder.cut_off(recorder.journey_series("shop"), 5 * S, 5 * S, 0, 0, T0 + 3)
    recorder.step(recorder.step_series("shop", "pay"), 400 * MS, 400 * MS, OK, False, T0 + 4)
    asked_ns = T0 + 5
    recorder.request(recorder.request_series("shop", None, "GET /x"), asked_ns, 0, asked_ns + 300 * MS, OK, 1)
    assert recorder.flip(0, S).due == (
        DueCounts(0, "shop", 0, good=1, bad=2),
        DueCounts(1, "shop", 0, bad=1),
        DueCounts(2, "shop", 0, good=1),
    )
