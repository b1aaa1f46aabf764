"""Every model of load over any number of agents: together they do what the formula says, each of it once.

The law of what is spaced by chance is tested in tests/profile/test_spacing.py, the formulas of curves in
tests/profile/test_curve.py; here it is what agents make of them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.dsl.executors.named_shapes import break_point, soak, spike, stress
from loadgen.dsl.executors.standard import Arrivals, arrivals
from loadgen.engine.load.schedule import due_times, own_iterations
from loadgen.engine.load.share import Share, order
from loadgen.profiles.profile import ArrivalProfile, IterationProfile
from loadgen.profiles.spacing import Renewal
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S
from tests.support.examples import examples
from tests.support.laws import ks

S = NS_PER_S
AGENTS = (1, 2, 3, 7)

rates = st.integers(1, 60)
seconds = st.integers(1, 20)


@st.composite
def models(draw: st.DrawFn) -> tuple[Arrivals, float]:
    """A load, and the closed form of the area under its curve."""
    a, b, t, u, v = draw(rates), draw(rates), draw(seconds), draw(seconds), draw(seconds)
    kinds: list[tuple[Arrivals, float]] = [
        (arrivals(a).hold(t), a * t),
        (arrivals(a).ramp(to=b, over=t).hold(u), (a + b) / 2 * t + b * u),
        (arrivals().steps(a, by=a, every=t, upto=3 * a), 6 * a * t),
        (arrivals().sine(mean=a + b, amplitude=b, period=t, duration=t * 3, phase=u), (a + b) * t * 3),
        (arrivals().day(low=a, high=a + b, duration=t), (a + b / 2) * t),
        (stress(to=a, over=t, hold=u, down=v), a * (t / 2 + u + v / 2)),
        (spike(a, a + b, before=t, rise=1, hold=u, fall=2, after=v), a * (t + 3 + u + v) + b * (1.5 + u)),
        (soak(a, t, over=u), a * (t + u / 2)),
        (break_point(a, by=b, upto=a + 2 * b, every=t), 3 * (a + b) * t),
    ]
    return draw(st.sampled_from(kinds))


Space = Callable[[Arrivals], Arrivals]


def evenly(load: Arrivals) -> Arrivals:
    return load


def poisson(seed: int) -> Space:
    return lambda load: load.poisson(seed)


def bursty(cv: float, seed: int) -> Space:
    return lambda load: load.gamma(cv=cv, seed=seed)


seeds = st.integers(0, 2**40)
spaced: st.SearchStrategy[Space] = st.one_of(
    st.just(evenly), st.builds(poisson, seeds), st.builds(bursty, st.floats(0.1, 8), seeds)
)


def lowered(load: Arrivals, seed: int) -> ArrivalProfile:
    profile = load.lower(seed).profile
    assert isinstance(profile, ArrivalProfile)
    return profile


def dealt(profile: ArrivalProfile, agents: int, workers: int = 1, from_ns: int = 0) -> list[list[tuple[int, int]]]:
    """Of each worker of each agent: (n, due_ns)."""
    return [
        [
            own
            for block in due_times(profile, Share.of(agent, [1.0] * agents, [2, 1], worker, workers), from_ns=from_ns)
            for own in zip(block.n, block.due_ns, strict=True)
        ]
        for agent in range(agents)
        for worker in range(workers)
    ]


@given(models())
@settings(max_examples=examples(60), deadline=None)
def test_evenly_spaced_models_have_as_many_arrivals_as_the_integral_of_their_curve(
    model: tuple[Arrivals, float],
) -> None:
    load, area = model
    assert load.profile().total() == ceil(round(area, 6))


@given(models(), spaced, st.sampled_from(AGENTS), st.integers(1, 2))
@settings(max_examples=examples(80), deadline=None)
def test_the_arrivals_of_all_agents_are_those_of_the_whole_each_once(
    model: tuple[Arrivals, float], space: Space, agents: int, workers: int
) -> None:
    profile = lowered(space(model[0]), 5)
    whole = profile.due_ns(np.arange(profile.total())).tolist()
    parts = dealt(profile, agents, workers)
    assert sorted(own for part in parts for own in part) == list(enumerate(whole))
    assert all(0 <= due_ns < profile.duration_ns for due_ns in whole)
    for part in parts:
        assert [due_ns for _, due_ns in part] == sorted(due_ns for _, due_ns in part)


@given(models(), spaced, st.sampled_from(AGENTS))
@settings(max_examples=examples(60), deadline=None)
def test_after_any_number_of_arrivals_each_agent_has_its_part_within_1_of_each_journey(
    model: tuple[Arrivals, float], space: Space, agents: int
) -> None:
    profile = lowered(space(model[0]), 5)
    owner = np.zeros(profile.total(), dtype=np.int64)
    for agent, part in enumerate(dealt(profile, agents)):
        owner[[n for n, _ in part]] = agent
    journeys = Share.of(0, [1.0], [2, 1]).block(0, len(owner))[1]
    for journey in (0, 1):
        mine = owner[journeys == journey]
        for agent in range(agents):
            had = np.cumsum(mine == agent)
            assert np.abs(had - np.arange(1, len(mine) + 1) / agents).max(initial=0) < 1


@given(models(), spaced, st.sampled_from(AGENTS), st.integers(0, 30 * S))
@settings(max_examples=examples(60), deadline=None)
def test_whoever_goes_on_from_a_time_has_the_rest(
    model: tuple[Arrivals, float], space: Space, agents: int, from_ns: int
) -> None:
    profile = lowered(space(model[0]), 5)
    for whole, rest in zip(dealt(profile, agents), dealt(profile, agents, from_ns=from_ns), strict=True):
        assert rest == [own for own in whole if own[1] >= from_ns]


@given(models(), st.integers(0, 2**40))
@settings(max_examples=examples(40), deadline=None)
def test_the_same_seed_has_the_same_arrivals_and_another_one_others(model: tuple[Arrivals, float], seed: int) -> None:
    first, again, other = (lowered(model[0].poisson(), one) for one in (seed, seed, seed + 1))
    n = np.arange(min(first.total(), other.total()))
    assert first.due_ns(n).tolist() == again.due_ns(n).tolist()
    assert len(n) < 3 or first.due_ns(n).tolist() != other.due_ns(n).tolist()


@given(models(), seeds, st.integers(1, 40 * S), rates, seconds)
@settings(max_examples=examples(40), deadline=None)
def test_a_load_by_chance_that_is_changed_loses_and_doubles_nothing_and_keeps_its_places(
    model: tuple[Arrivals, float], seed: int, at_ns: int, rate: int, lasting_s: int
) -> None:
    planned = lowered(model[0].poisson(), seed).schedule()
    changed = planned.replaced(at_ns, (Stage(rate, rate, lasting_s * S),))
    before = planned.due_ns(np.arange(planned.total()))
    after = changed.due_ns(np.arange(changed.total()))
    kept = int(np.searchsorted(before, at_ns))
    assert after[:kept].tolist() == before[:kept].tolist()
    assert (np.diff(after) >= 0).all()
    assert not len(after[kept:]) or at_ns - 1 <= after[kept] <= after[-1] < changed.end_ns
    # The places of those that were moved are the same: by the same distances of area, at another rate.
    places = Renewal(1.0, seed).areas(np.arange(changed.total()))
    moved = after[kept:] / S * rate
    assert np.abs(np.diff(moved) - np.diff(places[kept:])).max(initial=0) < 1e-5


@pytest.mark.parametrize("seed", [1, 2])
def test_poisson_arrivals_on_a_ramp_follow_it_and_are_poisson_in_each_window(seed: int) -> None:
    profile = lowered(arrivals().ramp(to="400/s", over="5m").ramp(to=0, over="2m").poisson(), seed)
    assert profile.total() == pytest.approx(84_000, abs=4 * sqrt(84_000))
    due_s = profile.due_ns(np.arange(profile.total())) / S
    seconds = np.bincount(due_s.astype(np.int64), minlength=420)
    wanted = np.array([float(profile.rate_at(round((s + 0.5) * S))) for s in range(420)])
    # Of a Poisson count the variance is the mean: the squares, in units of it, add up to their number.
    chi = float(((seconds - wanted) ** 2 / wanted).sum())
    assert abs(chi - 420) < 4 * sqrt(2 * 420)
    # Rescaled by the area under the curve (time-rescaling theorem), gaps are exponential of mean 1.
    area = np.where(due_s < 300, due_s**2 * 400 / 600, 60_000 + (due_s - 300) * (400 - (due_s - 300) * 400 / 240))
    assert ks(np.diff(area), lambda x: -np.expm1(-x)) < 1.95


def test_bursts_have_the_variation_that_was_asked_for() -> None:
    profile = lowered(arrivals("100/s").hold("10m").gamma(cv=2.0), 7)
    gaps = np.diff(profile.due_ns(np.arange(profile.total())))
    assert gaps.std() / gaps.mean() == pytest.approx(2, rel=0.02)
    assert profile.total() == pytest.approx(60_000, abs=4 * 2 * sqrt(60_000))


def test_two_loads_of_a_rate_that_are_spaced_by_different_seeds_have_nothing_in_common() -> None:
    first, second = (lowered(arrivals("100/s").hold("100s").poisson(), seed) for seed in (3, 4))
    counts = [np.bincount(one.due_ns(np.arange(one.total())) // S, minlength=100) for one in (first, second)]
    assert abs(np.corrcoef(counts[0], counts[1])[0, 1]) < 0.4


@pytest.mark.parametrize("load", [arrivals(1e7).hold("30d"), arrivals(1e7).hold("30d").poisson(seed=7)])
def test_ten_million_a_second_for_a_month_are_not_walked_through(load: Arrivals) -> None:
    profile = lowered(load, 0)
    area = 1e7 * 30 * 86_400
    assert abs(profile.total() - area) <= 5 * sqrt(area)
    share = Share.of(2, [1.0] * 7, [1.0])
    assert next(due_times(profile, share)).n[:3] == [2, 9, 16]
    late = next(due_times(profile, share, from_ns=29 * 86_400 * S))
    assert 29 * 86_400 * S <= late.due_ns[0] < 29 * 86_400 * S + S // 100_000


# -- as many iterations of each user ---------------------------------------------------------------

weights = st.lists(st.floats(0.05, 5), min_size=1, max_size=7)
mixes = st.lists(st.integers(1, 5).map(float), min_size=1, max_size=4)


@given(st.integers(1, 12), st.integers(1, 60), weights, mixes, st.integers(1, 3))
@settings(max_examples=examples(100), deadline=None)
def test_users_that_do_as_many_each_do_all_of_them_once_on_any_number_of_agents(
    per_user: int, users: int, fleet: list[float], mix: list[float], workers: int
) -> None:
    profile = IterationProfile.of_each(per_user, users)
    turns = order(mix)
    done: list[tuple[int, int]] = []
    for agent in range(len(fleet)):
        for worker in range(workers):
            share = Share.of(agent, fleet, mix, worker, workers)
            own = list(own_iterations(profile, share))
            assert len(own) == per_user * len(share.owns_users(users))
            done += own
    assert sorted(done) == [(n, int(turns[n % len(turns)])) for n in range(per_user * users)]


@given(st.integers(1, 12), st.integers(1, 60), weights, st.integers(0, 800))
@settings(max_examples=examples(60), deadline=None)
def test_whoever_goes_on_after_a_mark_has_the_rest_of_them(
    per_user: int, users: int, fleet: list[float], done: int
) -> None:
    profile, share = IterationProfile.of_each(per_user, users), Share.of(0, fleet, [2, 1])
    assert list(own_iterations(profile, share, None, done)) == list(own_iterations(profile, share))[done:]


@pytest.mark.parametrize("users", [8, 9, 10, 11, 12])
def test_users_that_do_as_many_each_do_the_whole_mix_on_each_agent(users: int) -> None:
    profile = IterationProfile.of_each(12, users)
    for agent in (0, 1):
        journeys = np.bincount([journey for _, journey in own_iterations(profile, Share.of(agent, [1, 1], [2, 1]))])
        assert abs(journeys[0] / journeys.sum() - 2 / 3) < 0.05


@given(st.integers(1, 6), st.integers(1, 40), weights, mixes)
@settings(max_examples=examples(60), deadline=None)
def test_of_the_first_so_many_of_them_each_agent_has_its_part_within_2_and_of_whole_rounds_exactly(
    per_user: int, users: int, fleet: list[float], mix: list[float]
) -> None:
    profile = IterationProfile.of_each(per_user, users)
    for agent in range(len(fleet)):
        share = Share.of(agent, fleet, mix)
        own = np.array([n for n, _ in own_iterations(profile, share)], dtype=np.int64)
        first = np.arange(profile.total() + 1)
        had = np.searchsorted(np.sort(own), first)
        assert np.abs(had - first * len(own) / profile.total()).max() < 2
        assert had[::users].tolist() == [i * len(share.owns_users(users)) for i in range(per_user + 1)]


def test_a_million_users_that_do_as_many_each_are_not_walked_through() -> None:
    own = own_iterations(IterationProfile.of_each(10**6, 10**6), Share.of(1, [1, 1], [1]))
    assert [next(own) for _ in range(3)] == [(1, 0), (3, 0), (5, 0)]
