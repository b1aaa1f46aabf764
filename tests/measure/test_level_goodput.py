"""The goodput of levels and its 95 % interval, from made-up sequences of good and bad requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from loadgen import any_of, goodput
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.measure.deltas.series_key import GOODPUT_TAG, SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.stored_interval import cell_of
from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.measure.results.level_figures import LevelFacts, level_figures
from loadgen.measure.results.level_goodput import GoodShare, OfferedByInterval
from loadgen.measure.results.level_intervals import EndedByInterval
from loadgen.measure.results.summary import build
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.objective_intervals import with_intervals
from loadgen.profiles.levels import LevelSpan
from loadgen.report.level_goodput import goodput_line, goodput_table
from loadgen.report.level_tables import level_lines, level_tables
from loadgen.report.summary_reader import Level, LevelGoodput, Summary, read
from tests.measure.test_summary import FACTS
from tests.support.deltas import FakeAgent
from tests.support.simulated import wilson

S, MS, TOKEN = 1_000_000_000, 1_000_000, 1_000
LIMITS = "ttft<=500ms"
Second = Callable[[int], tuple[int, int]]


def key(outcome: str, level: str = "4", journey: str = "ask", *, warmup: bool = False) -> SeriesKey:
    tags = (("level", level), (GOODPUT_TAG, LIMITS))
    return SeriesKey("goodput", journey, None, "chat", outcome, "value", False, warmup, tags)


def lost(outcome: str, level: str = "4", journey: str = "ask") -> SeriesKey:
    return SeriesKey("journey", journey, None, None, outcome, "response", True, False, (("level", level),))


def offered_of(second: Second, seconds: int, level: str = "4") -> tuple[OfferedByInterval, int, int]:
    """What a level offered, with its good requests and all of them. second: good and bad requests of each second."""
    made, sums = OfferedByInterval(), [0, 0]
    for k in range(seconds):
        good, bad = second(k)
        made.add(k, key("ok", level), good, good * TOKEN)
        made.add(k, key("slow", level), bad, bad * TOKEN)
        sums[0] += good
        sums[1] += good + bad
    return made, sums[0], sums[1]


def share_of(second: Second, seconds: int) -> GoodShare:
    made, good, of = offered_of(second, seconds)
    return made.share("4", LIMITS, good, of)


# -- the interval ----------------------------------------------------------------------------------


def test_evenly_spread_bad_requests_give_the_interval_of_clopper_and_pearson() -> None:
    found = share_of(lambda k: (19, 1), 100)
    # Seconds that are all alike have no dispersion, so the requests count as independent.
    expected = stats.binomtest(1_900, 2_000).proportion_ci(0.95, "exact")
    assert found.low == pytest.approx(expected.low, abs=2e-4)
    assert found.high == pytest.approx(expected.high, abs=2e-4)
    assert found.text == "5 batches of 20.0 s"


def test_bad_requests_in_one_batch_give_a_much_wider_interval_than_the_same_number_spread_evenly() -> None:
    spread = share_of(lambda k: (19, 1), 100)
    in_one = share_of(lambda k: (15, 5) if k < 20 else (20, 0), 100)
    for found in (spread, in_one):
        assert found.low is not None
        assert found.high is not None
        assert found.low < 0.95 < found.high
    assert width(in_one) > 5 * width(spread)


def chance(bad: Sequence[int] | np.ndarray, each: int) -> Second:
    """Seconds with `each` requests, so many of them bad."""
    return lambda k: (each - int(bad[k]), int(bad[k]))


def width(found: GoodShare) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


@pytest.mark.parametrize("seed", range(3))
def test_independent_requests_give_an_interval_of_the_known_standard_error(seed: int) -> None:
    rng, widths = np.random.default_rng(seed), []
    for _ in range(40):
        widths.append(width(share_of(chance(rng.binomial(50, 0.1, 300), 50), 300)))
    # The known one, with Student's t for 4 degrees of freedom. The correction for correlation widens it further.
    known = 2 * 2.776 * sqrt(0.1 * 0.9 / 15_000)
    assert known < np.mean(widths) < 1.6 * known


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_contains_that_of_independent_requests(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.01, 0.5)
    bad = rng.binomial(5, np.clip(rng.normal(p, 0.1, 60), 0, 1))
    found = share_of(chance(bad, 5), 60)
    low, high = wilson(int(bad.sum()), 300)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 1 - high + 0.003  # Clopper and Pearson's is not nested in Wilson's, but nearly
    assert found.high >= 1 - low - 0.003


def test_a_level_without_a_bad_request_has_an_interval_that_ends_at_100_percent() -> None:
    found = share_of(lambda k: (10, 0), 60)
    assert found.high == 1
    assert found.low == pytest.approx(0.025 ** (1 / 600), abs=1e-5)
    assert share_of(lambda k: (0, 10), 60).low == 0


@pytest.mark.parametrize(
    ("second", "seconds", "why"),
    [
        (lambda k: (10, 1), 9, "too short"),
        (lambda k: (0, 0), 60, "too short"),
        (lambda k: (k % 7 == 0, 0), 60, "too few samples"),
        (lambda k: (20, 1) if k % 59 < 3 else (0, 0), 60, "too few samples"),
    ],
)
def test_a_level_that_shows_too_little_has_the_reason_instead_of_an_interval(
    second: Second, seconds: int, why: str
) -> None:
    assert share_of(second, seconds) == GoodShare(None, None, why)


def test_a_few_late_requests_do_not_take_the_interval_from_a_level() -> None:
    made, good, of = offered_of(lambda k: (9, k % 3 == 0), 60)
    usual = made.share("4", LIMITS, good, of)
    made.add(700, key("slow"), 2, 2 * TOKEN)
    late = made.share("4", LIMITS, good, of + 2)
    assert (usual.text, late.text) == ("5 batches of 12.0 s", "5 batches of 12.4 s")
    assert usual.low is not None
    assert late.low is not None
    assert late.low < usual.low


def test_lost_iterations_of_a_journey_with_such_requests_are_offered_and_bad() -> None:
    made, good, of = offered_of(lambda k: (10, 0), 60)
    for k in range(60):
        made.add(k, lost("missed"), 1, MS)
        made.add(k, lost("cut off", level="8"), 5, MS)  # of another level
        made.add(k, lost("missed", journey="browse"), 7, MS)  # without requests to models
        made.add(k, lost("http 503"), 2, MS)  # not lost
        made.add(k, key("slow", warmup=True), 3, 3 * TOKEN)
    found = made.share("4", LIMITS, good, of + 60)
    direct, *_ = offered_of(lambda k: (10, 1), 60)
    same = direct.share("4", LIMITS, 600, 660)
    assert (found.low, found.high) == (same.low, same.high)


def test_a_level_of_two_hours_has_an_interval() -> None:
    rng = np.random.default_rng(3)
    found = share_of(chance(rng.binomial(10, 0.05, 7_200), 10), 7_200)
    assert found.low is not None
    assert found.high is not None
    assert 0.945 < found.low < 0.95 < found.high < 0.955


# -- in the figures of a run -----------------------------------------------------------------------


def swept(levels: Mapping[str, Sequence[tuple[int, int]]], slo: Slo | None = None) -> tuple[Batches, LevelFacts]:
    """A run with levels, of which each second has so many good and bad requests."""
    objectives = () if slo is None or slo.objective is None else (slo.objective,)
    seconds = sum(map(len, levels.values()))
    batches = Batches(0, seconds * S, objectives=objectives)
    ended, fake, spans, k = EndedByInterval(), FakeAgent("a"), [], 0
    for level, rows in levels.items():
        number = float(level.removesuffix("/s"))
        spans.append(LevelSpan(level, number, k * S, k * S, (k + len(rows)) * S))
        for good, bad in rows:
            requests = SeriesKey("request", "ask", None, "chat", "ok", "response", False, False, (("level", level),))
            values = {
                requests: [MS] * (good + bad),
                key("ok", level): [7 * TOKEN] * good,
                key("slow", level): [7 * TOKEN] * bad,
                lost("missed", level): [MS] * (k % 11 == 0),
            }
            delta = fake.delta(values, k=k)
            batches.accept("eu", delta)
            ended.add(delta)
            k += 1
    unit = "users" if level.isdecimal() else "/s"
    return batches, LevelFacts(tuple(levels), unit, tuple(spans), ended, objectives=objectives)


def summary_of(levels: Mapping[str, Sequence[tuple[int, int]]], slo: Slo | None = None, **changes: Any) -> Summary:
    merge, facts = swept(levels, slo)
    return msgspec.structs.replace(read(build(replace(FACTS, levels=facts), merge)), **changes)


def goodput_of(one: Level) -> LevelGoodput:
    assert one.goodput is not None
    return one.goodput


GOAL = goodput(ttft="500ms") > "95%"


@pytest.mark.parametrize("level", ["2", "4"])
def test_the_interval_of_a_level_is_that_of_an_objective_on_this_level(level: str) -> None:
    rng = np.random.default_rng(7)
    levels = {
        name: [(20 - int(bad), int(bad)) for bad in rng.binomial(20, share, 40)]
        for name, share in (("1", 0.02), ("2", 0.1), ("4", 0.3))
    }
    slo = goodput(ttft="500ms", tags={"level": level}) > "95%"
    batches, facts = swept(levels, slo)
    assert slo.objective is not None
    found = evaluate(slo.objective, batches, journeys=["ask"], end_ns=120 * S)
    (result,) = with_intervals(found, [slo.objective], batches)
    lines = msgspec.convert(level_figures(batches, facts)["levels"], list[Level])
    of = next(goodput_of(one) for one in lines if one.level == level)
    assert (of.good, of.of) == (result.good, result.count)
    assert of.share == pytest.approx(result.observed, abs=1e-6)
    assert of.low == pytest.approx(result.low, abs=1e-6)
    assert of.high == pytest.approx(result.high, abs=1e-6)
    assert [goodput_of(one).above for one in lines] == [0.95 if one.level == level else None for one in lines]


def test_cells_give_the_same_interval_as_deltas() -> None:
    merge, ended, of_deltas, fake = Merge(), EndedByInterval(), EndedByInterval(), FakeAgent("a")
    merge.kept = []
    for k in range(20):
        values = {key("ok"): [7 * TOKEN] * 9, key("slow"): [7 * TOKEN] * (k % 4), lost("missed"): [MS] * (k % 5)}
        delta = fake.delta(values, k=k)
        of_deltas.add(delta)
        merge.accept("eu", delta)
    merge.close()
    for at, made in enumerate(merge.kept):
        ended.add_cell(replace(cell_of(made), names=merge.names if at == 0 else ()))
    expected = of_deltas.offered.share("4", LIMITS, 180, 250)
    assert expected.low is not None
    assert ended.offered.share("4", LIMITS, 180, 250) == expected


def test_a_summary_says_why_a_short_level_has_no_interval() -> None:
    one, two = summary_of({"1": [(10, 0)] * 8, "2": [(10, 1)] * 30}).levels
    assert (goodput_of(one).low, goodput_of(one).high, goodput_of(one).interval) == (None, None, "too short")
    assert (goodput_of(two).good, goodput_of(two).interval) == (300, "5 batches of 6.0 s")


def test_without_the_counts_of_intervals_a_level_has_its_goodput_alone() -> None:
    merge, facts = swept({"1": [(10, 1)] * 30})
    (one,) = read(build(replace(FACTS, levels=replace(facts, ended=None)), merge)).levels
    assert (goodput_of(one).good, goodput_of(one).low, goodput_of(one).interval) == (300, None, "not kept")


@pytest.mark.parametrize(
    ("slo", "above"),
    [
        (goodput(ttft="500ms") > "90%", 0.9),
        (goodput(ttft="500ms", tags={"level": any_of("1", "2")}) > "90%", 0.9),
        (goodput(ttft="400ms") > "90%", None),
        (goodput(ttft="500ms", window="10s") > "90%", None),
        (goodput(ttft="500ms", request="chat") > "90%", None),
        (goodput(ttft="500ms", tags={"model": "toy"}) > "90%", None),
        (goodput(ttft="500ms", tags={"level": "8"}) > "90%", None),
    ],
    ids=lambda one: one.objective.text if isinstance(one, Slo) and one.objective else "",
)
def test_an_objective_demands_a_share_of_a_level_only_if_it_covers_all_its_requests(
    slo: Slo, above: float | None
) -> None:
    (one,) = summary_of({"1": [(10, 1)] * 30}, slo).levels
    assert goodput_of(one).above == above


# -- what is shown ---------------------------------------------------------------------------------

GOOD, NEAR, POOR = [(100, 0)] * 60, [(20, 1)] * 60, [(10, 10)] * 60


def test_the_table_has_count_share_and_interval_of_each_level_within_80_columns() -> None:
    summary = summary_of({"1": [(10, 0)] * 8, "2": GOOD, "4": NEAR, "8": POOR}, GOAL)
    table = next(one for one in level_tables(summary) if one.title.startswith("Levels: goodput"))
    assert table.title == "Levels: goodput, ttft<=500ms"
    assert table.columns == ("users", "good", "of", "goodput", "95 % interval", "objective")
    assert table.rows == (
        ("1", "80", "81", "98.8 %", "-", "> 95 %: not sure"),
        ("2", "6,000", "6,006", "99.900 %", "99.77 % to 99.967 %", "> 95 %: yes"),
        ("4", "1,200", "1,265", "94.9 %", "93.5 % to 96.0 %", "> 95 %: not sure"),
        ("8", "600", "1,206", "49.8 %", "46.9 % to 52.6 %", "> 95 %: no"),
    )
    assert table.note.endswith("Without an interval: 1 (too short).")
    assert all(len("  ".join(row)) <= 80 for row in table.rows)


def test_without_an_objective_on_a_level_the_table_has_no_column_for_it() -> None:
    table = goodput_table("users", summary_of({"1": GOOD}).levels)
    assert table.columns[-1] == "95 % interval"
    assert goodput_line(summary_of({"1": GOOD})) == ""


def test_the_sentence_names_the_highest_level_that_surely_keeps_the_objective_and_those_that_are_not_sure() -> None:
    summary = summary_of({"1": GOOD, "2": GOOD, "4": NEAR, "8": POOR}, GOAL)
    line = goodput_line(summary)
    assert line.startswith("Goodput: the highest level that surely has more than 95 % good requests is 2 users, with ")
    assert ". Not sure: 4 users, with 94.8 % (95 % interval 93.4 % to 95.9 %; 1,200 of 1,266)." in line
    assert line.endswith(" Measure each level longer to know.")
    assert line in level_lines(summary)


def test_a_level_whose_interval_reaches_below_the_objective_is_never_said_to_keep_it() -> None:
    # 95 % of 300 requests are good, in clusters: above the objective, but not surely.
    clustered = [(5, 0) if k % 25 else (0, 5) for k in range(60)]
    line = goodput_line(summary_of({"1": clustered}, goodput(ttft="500ms") > "90%"))
    assert line.startswith("Goodput: no level surely has more than 90 % good requests. Not sure: 1 user, with ")


def test_levels_above_one_that_surely_misses_the_objective_are_left_out() -> None:
    line = goodput_line(summary_of({"1": POOR, "2": GOOD}, GOAL))
    assert line == "Goodput: no level surely has more than 95 % good requests. Add lower levels."


def test_a_saturated_level_keeps_nothing() -> None:
    summary = summary_of({"2/s": GOOD, "4/s": GOOD}, GOAL)
    levels = [summary.levels[0], msgspec.structs.replace(summary.levels[1], saturated=True)]
    line = goodput_line(msgspec.structs.replace(summary, levels=levels))
    assert "good requests is 2/s, with 99.9" in line
    assert "higher ones" not in line


def test_if_the_highest_level_keeps_the_objective_the_sentence_advises_higher_ones() -> None:
    line = goodput_line(summary_of({"8": GOOD, "1": GOOD, "12": GOOD}, GOAL))
    assert "is 12 users, with" in line
    assert line.endswith("This is the highest level of the load: add higher ones.")


def test_a_run_without_a_verdict_has_no_level_that_keeps_the_objective() -> None:
    line = goodput_line(summary_of({"1": GOOD}, GOAL, result="invalid"))
    assert line == "Goodput by level: not judged, because the run is invalid."


def test_a_level_that_was_not_held_to_its_end_is_in_the_table_only() -> None:
    summary = summary_of({"1": GOOD, "2": GOOD}, GOAL)
    levels = [summary.levels[0], msgspec.structs.replace(summary.levels[1], measured_s=None)]
    assert "is 1 user, with" in goodput_line(msgspec.structs.replace(summary, levels=levels))


def test_a_summary_of_an_older_version_has_the_share_alone() -> None:
    old = msgspec.convert({"level": "4", "goodput": {"share": 0.9, "good": 9, "of": 10}}, Level)
    table = goodput_table("users", [old, Level("8")])
    assert table.rows == (("4", "9", "10", "90.0 %", "-"), ("8", "-", "-", "-", "-"))
    assert "Without" not in table.note
    assert objective_text(GOAL) == 'goodput(ttft="500ms") > 95%'


def objective_text(slo: Slo) -> str:
    assert isinstance(slo.objective, Objective)
    return slo.objective.text
