"""What a history has done: changes with runs and commits, outliers, seasons, references; nothing dropped silently."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from math import exp, inf, isnan, sin, tau

import numpy as np
import pytest

from loadgen.history.store.stored_run import Accepted, Figure, Reference
from loadgen.history.trend.trends import WEEKLY, Trend, TrendSettings, commits_between, trends
from tests.support.accepted import accepted, history

NAMES = {"checkout": 100.0, "checkout > pay": 40.0}


def release(runs: int, pay: float, *, first: int = 0, commit: str = "a" * 40, name: str = "1.4") -> list[Accepted]:
    levels = NAMES | {"checkout > pay": pay}
    return history(runs, levels, sd=0.01, first=first, seed=first + 1, commit=commit, labels={"release": name})


def test_a_change_is_between_the_last_run_before_it_and_the_first_after_it() -> None:
    runs = release(15, 40.0) + release(8, 44.0, first=15, commit="b" * 40, name="1.5")
    checkout, pay = trends(runs)
    assert checkout.changes == ()
    (change,) = pay.changes
    assert (change.at, change.before, change.after) == (15, runs[14], runs[15])
    assert change.low < 0.10 < change.high
    assert change.commits == "aaaaaaaaa..bbbbbbbbb"
    assert change.labels == "release 1.4 -> 1.5"
    assert pay.now_ms == pytest.approx(44.0, rel=0.01)
    assert [level.count for level in pay.levels] == [15, 8]


def test_where_both_sides_have_one_commit_it_stands_alone_and_where_one_is_not_known_there_is_none() -> None:
    one, other = accepted(NAMES, commit="abcdef0123456789+"), accepted(NAMES, commit="abcdef0123456789")
    assert commits_between(one, one) == "abcdef012+"
    assert commits_between(one, other) == "abcdef012+..abcdef012"
    assert commits_between(one, accepted(NAMES)) == ""


def test_an_outlier_is_named_with_its_run_and_stays_in_the_series() -> None:
    runs = release(20, 40.0)
    runs[7] = replace(release(1, 60.0, first=7)[0], run_id=runs[7].run_id)
    (pay,) = trends(runs, TrendSettings(name=re.compile("pay")))
    assert [(odd.run.run_id, odd.at) for odd in pay.outliers] == [(runs[7].run_id, 7)]
    assert pay.outliers[0].change == pytest.approx(0.5, abs=0.03)
    assert len(pay.values) == 20
    assert pay.changes == ()


def test_what_has_no_place_in_the_series_is_named_with_its_reason() -> None:
    runs = release(12, 40.0)
    runs[3] = replace(runs[3], validity="invalid", result="invalid", reasons=("its agents were busy",))
    runs[5] = replace(runs[5], figures=tuple(one for one in runs[5].figures if one.name != "checkout > pay"))
    runs[7] = replace(runs[7], figures=tuple(censored(one) for one in runs[7].figures))
    checkout, pay = trends(runs)
    assert [run_id for run_id, _ in checkout.left_out] == [runs[3].run_id, runs[7].run_id]
    assert [run_id for run_id, _ in pay.left_out] == [runs[n].run_id for n in (3, 5, 7)]
    assert "its agents were busy" in pay.left_out[0][1]
    assert pay.left_out[1][1] == "it has no such name"
    assert "more than 5 % of its values are only bounds" in pay.left_out[2][1]
    assert len(pay.runs) == 9


def test_the_newest_level_is_held_against_pinned_releases() -> None:
    old = release(6, 36.0, first=100)
    runs = release(15, 40.0) + release(8, 44.0, first=15)
    reference = Reference("1.0", tuple(run.run_id for run in old), "2026-11-01T00:00:00Z")
    empty = Reference("0.9", ("gone",), "2026-11-01T00:00:00Z")
    _, pay = trends(runs, TrendSettings(), [(reference, old), (empty, [])])
    held, lost = pay.against
    assert (held.reference, held.runs) == ("1.0", 6)
    assert held.low < 44 / 36 - 1 < held.high
    assert lost.runs == 0
    assert isnan(lost.change)


def test_names_that_the_newest_run_does_not_have_come_last() -> None:
    runs = [accepted({"gone": 10.0} | NAMES, run_id=f"{n}") for n in range(3)] + [accepted(NAMES, run_id="3")]
    assert [one.name for one in trends(runs)] == ["checkout", "checkout > pay", "gone"]


def test_no_runs_have_no_trends() -> None:
    assert trends([]) == ()


@pytest.mark.parametrize("percentile", ["p50", "p99", "mean"])
def test_each_figure_has_its_series(percentile: str) -> None:
    runs = release(8, 40.0)
    one = trends(runs, TrendSettings(percentile=percentile))[1]
    figure = runs[0].figure("checkout > pay", percentile)
    assert figure is not None
    assert exp(one.values[0]) == pytest.approx(figure.value_ms)


def test_a_week_is_taken_out_before_changes_are_looked_for() -> None:
    runs = nightly([100 * (1 + 0.05 * sin(tau * n / 7)) * (1.05 if n >= 88 else 1) for n in range(98)])
    (plain,) = trends(runs)
    (weekly,) = trends(runs, TrendSettings(season=WEEKLY))
    assert plain.changes == ()
    assert [abs(change.at - 88) <= 2 for change in weekly.changes] == [True]
    assert weekly.season is not None
    assert weekly.season.is_clear
    places = weekly.season.places
    assert places["Tue"] > 0.02 > places["Mon"]
    assert places["Sat"] < -0.02
    np.testing.assert_allclose(
        np.array(weekly.adjusted), np.array(weekly.season.trend) + np.array(weekly.season.rest), atol=1e-9
    )


def test_a_week_of_days_with_several_runs_or_none_is_that_of_the_days() -> None:
    runs = nightly([100 * (1 + 0.05 * sin(tau * n / 7)) for n in range(84)])
    twice = [replace(run, run_id=f"{run.run_id}-b", started_at=run.started_at.replace("T03", "T15")) for run in runs]
    both = sorted(runs + twice, key=lambda run: run.started_at)
    del both[20:24]
    (found,) = trends(both, TrendSettings(season=WEEKLY))
    assert found.season is not None
    assert found.season.is_clear
    assert found.season.filled == 2
    assert len(found.adjusted) == 164


def test_a_season_may_be_counted_in_runs() -> None:
    runs = history(60, {"a": [100 * (1 + 0.06 * (n % 3 == 0)) for n in range(60)]}, sd=0.01)
    (found,) = trends(runs, TrendSettings(season=3))
    assert found.season is not None
    assert found.season.is_clear
    assert list(found.season.places) == ["1 of 3", "2 of 3", "3 of 3"]
    assert found.season.places["1 of 3"] - found.season.places["2 of 3"] == pytest.approx(0.06, abs=0.01)


def test_chance_is_no_season_and_is_left_in() -> None:
    (found,) = trends(history(84, {"a": 100.0}), TrendSettings(season=7))
    assert found.season is not None
    assert not found.season.is_clear
    assert found.adjusted == found.values


def test_too_few_runs_for_a_season_are_told_as_that() -> None:
    (found,) = trends(history(10, {"a": 100.0}), TrendSettings(season=7))
    assert found.season is None
    assert "10 values are too few: a season of 7 needs 21" in found.no_season


def test_runs_that_hang_together_are_no_change_where_that_is_allowed_for() -> None:
    chance = np.random.default_rng(11)
    wave = [0.0]
    for _ in range(99):
        wave.append(0.6 * wave[-1] + chance.normal(0, 0.03))
    runs = history(100, {"a": [100 * exp(one) for one in wave]}, sd=0.001)

    def count(look: TrendSettings) -> int:
        return len(only(trends(runs, look)).changes)

    assert count(TrendSettings(ar=True)) < count(TrendSettings())


def only(found: Sequence[Trend]) -> Trend:
    (one,) = found
    return one


def nightly(levels: Sequence[float]) -> list[Accepted]:
    """A run a night, at 03:00 from Monday 2026-08-03 on."""
    runs = history(len(levels), {"a": levels}, sd=0.02)
    days = (date(2026, 8, 3) + timedelta(days=n) for n in range(len(levels)))
    return [replace(run, started_at=f"{day}T03:00:00Z") for run, day in zip(runs, days, strict=True)]


def censored(figure: Figure) -> Figure:
    return replace(figure, value_ms=inf, why="censored") if figure.percentile == "p95" else figure
