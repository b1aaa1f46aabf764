"""What a sweep says about a simulated target: two pools that lock each other, and the same target without the lock."""

from __future__ import annotations

import re
from dataclasses import replace
from math import exp
from pathlib import Path

import pytest

from loadgen.analysis.factors.design import Design, fraction, full, latin, one_at_a_time
from loadgen.analysis.factors.factor import Factor
from loadgen.analysis.factors.power import detectable
from loadgen.studies.files import as_json
from loadgen.studies.page import as_page
from loadgen.sweep.could_find import EFFECTS, could_find
from loadgen.sweep.journal import open_journal, read_journal
from loadgen.sweep.plan import read_plan, write_plan
from loadgen.sweep.result import SweepResult, result_of
from loadgen.sweep.study import study_of
from tests.support.simulated_sweep import (
    PAYOUT,
    SETTLE,
    THREE_MORE,
    Law,
    Levels,
    no_lock,
    plan_of,
    records_of,
    spoiled,
    two_pools,
)

FIVE = (SETTLE, PAYOUT, *THREE_MORE)
NOISES = (0.04, 0.06, 0.08, 0.1)


def swept(law: Law, seed: int, **how: object) -> SweepResult:
    plan = plan_of(seed=seed, **how)  # type: ignore[arg-type]
    return result_of(plan, records_of(plan, law, seed))


def tells_the_story(result: SweepResult) -> bool:
    """Whether settle × payout is first, and both main effects are explained by it."""
    found = result.first.findings
    return bool(found) and found[0].term.name == "settle × payout" and set(found[0].explains) == {"settle", "payout"}


@pytest.mark.parametrize("sd", NOISES)
def test_two_pools_that_lock_each_other_are_found_first_in_19_of_20_sweeps(sd: float) -> None:
    told = [tells_the_story(swept(Law(two_pools, sd=sd), seed)) for seed in range(20)]

    assert sum(told) >= 19


@pytest.mark.parametrize("sd", NOISES)
def test_without_the_lock_nothing_is_found_in_19_of_20_sweeps(sd: float) -> None:
    found = [bool(swept(Law(no_lock, sd=sd, drift=0.1), seed).first.findings) for seed in range(20)]

    assert sum(found) <= 1


def test_one_factor_at_a_time_finds_nothing_and_says_that_it_cannot() -> None:
    design = one_at_a_time((SETTLE, PAYOUT))
    results = [swept(Law(two_pools), seed, design=design) for seed in range(20)]

    assert sum(bool(one.first.findings) for one in results) <= 1
    study = study_of(results[0])
    assert (
        study.headline == "For p99, no effect of a single factor was found, and one at a time cannot see interactions"
    )
    assert any("the cell where both are high is never run" in line for line in study.lines)
    assert study.result == "not decided"


def test_the_lock_is_found_among_five_factors_in_half_of_their_cells() -> None:
    design = fraction(FIVE, 5)
    told = [tells_the_story(swept(Law(two_pools), seed, design=design, repeats=2)) for seed in range(20)]
    false = [bool(swept(Law(no_lock), seed, design=design, repeats=2).first.findings) for seed in range(100)]

    assert len(design.cells) == 16
    assert sum(told) >= 19
    assert sum(false) <= 7


@pytest.mark.slow
@pytest.mark.parametrize(("design", "repeats"), [(full((SETTLE, PAYOUT)), 3), (fraction(FIVE, 5), 2)])
@pytest.mark.parametrize("sd", NOISES)
def test_the_story_of_the_two_pools_is_told_in_95_percent_of_400_sweeps(
    design: Design, repeats: int, sd: float
) -> None:
    told = false = 0
    for seed in range(400):
        told += tells_the_story(swept(Law(two_pools, sd=sd), seed, design=design, repeats=repeats))
        false += bool(swept(Law(no_lock, sd=sd, drift=0.1), seed, design=design, repeats=repeats).first.findings)

    assert told / 400 >= 0.95
    assert false / 400 <= 0.07


def test_aliased_interactions_are_named_as_a_pair_and_not_decided() -> None:
    design = fraction((SETTLE, PAYOUT, *THREE_MORE[:2]), 4)
    study = study_of(swept(Law(two_pools), 1, design=design, repeats=2))

    assert not any("settle × payout matters" in line for line in (study.headline, *study.lines))
    whole = "\n".join((study.headline, *study.lines))
    assert "settle × payout" in whole
    assert "cache × gzip" in whole
    assert "cannot tell which of them" in whole


def test_the_sentence_has_the_effect_with_the_lock_and_without_and_both_intervals() -> None:
    study = study_of(swept(Law(two_pools, sd=0.02), 3))

    assert study.result == "decided"
    assert study.headline.startswith("For p99, ")
    assert "matters only when" in study.headline
    assert "; at 0: " in study.headline
    effects = study.facts["responses"]["p99"]["simple_effects"]
    alone = next(one for one in effects if one["factor"] == "payout" and one["at"] == {"settle": "0"})
    both = next(one for one in effects if one["factor"] == "payout" and one["at"] == {"settle": "8"})
    assert both["low"] < 412 < both["high"]
    assert alone["low"] < 0 < alone["high"]


def test_a_sweep_that_finds_nothing_says_what_it_would_have_found() -> None:
    result = swept(Law(no_lock), 2)
    study = study_of(result)

    assert result.first.could_find is not None
    assert result.first.could_find.interaction is not None
    assert 0.1 <= result.first.could_find.interaction <= 0.8
    assert "would have been found with power 0.9" in study.headline
    assert study.result == "not decided"


@pytest.mark.parametrize("sd", [0.03, 0.08, 0.6])
def test_what_could_have_been_found_is_the_smallest_effect_of_the_grid_with_power_90_percent(sd: float) -> None:
    design = full((SETTLE, PAYOUT))
    found = could_find(design, 3, sd, None)

    assert found is not None
    table = detectable(design, 3, sd, effects=EFFECTS)
    for order, effect in ((1, found.main), (2, found.interaction)):
        enough = [one for one in EFFECTS if (table.least(one, order) or 0.0) >= 0.9]
        assert effect == (enough[0] if enough else None)


def test_skipped_cells_that_hide_an_interaction_make_the_answer_doubtful() -> None:
    a, b = Factor("a", ("1", "2", "3")), Factor("b", ("x", "y", "z"))
    design = full((a, b), skip=({"a": "3", "b": "z"},))
    law = Law(lambda levels: 100 * float(levels["a"]) * (2 if (levels["a"], levels["b"]) == ("2", "z") else 1))
    study = study_of(swept(law, 1, design=design))

    assert study.headline.endswith("terms that could not be estimated seem to matter as well: read the cells")
    assert study.result == "not decided"


def test_a_latin_hypercube_has_its_curvature_and_a_drawing_for_each_factor_with_an_effect() -> None:
    ranges = (Factor("rate", (), 50, 200, unit="/s"), Factor("pool", (), 1, 64, is_whole=True))
    design = latin(ranges, 24, 1)

    def law(levels: Levels) -> float:
        return 100 * exp(0.004 * float(levels["rate"].removesuffix("/s")))

    study = study_of(swept(Law(law, sd=0.03, block_sd=0.0, drift=0.0), 1, design=design, repeats=1))

    assert study.headline.startswith("For p99, rate matters: from 50/s to 200/s +")
    assert [drawing.title for drawing in study.drawings] == ["Runs against rate, p99", "Effects, p99"]
    assert study.drawings[0].html.count("<circle") == 24


def test_a_cell_full_of_errors_is_decided_by_its_errors_and_its_response_times_are_not_compared() -> None:
    def errors(levels: Levels) -> float:
        return 0.3 if two_pools(levels) > 300 else 0.001

    study = study_of(swept(Law(no_lock, errors), 1))

    assert study.headline.startswith("For error ratio, ")
    found = re.search(r": \+(\d+) percentage points \((\d+) to (\d+)\); at 0: ", study.headline)
    assert found is not None
    change, low, high = map(int, found.groups())
    assert low < 30 < high
    assert change == pytest.approx(30, abs=4)
    terms = next(table for table in study.tables if table.title == "Terms, error ratio")
    assert terms.rows[0][2] == f"{study.facts['responses']['error_ratio']['terms'][0]['change'] * 100:+.2f} points"
    assert any("are not compared, because fast failures would look good" in line for line in study.lines)
    assert study.facts["cells"][3]["p99"] is None
    assert study.result == "decided"


def test_a_repetition_replaces_a_run_that_could_not_be_compared_and_a_missing_run_is_named() -> None:
    plan = plan_of()
    records = records_of(plan, Law(two_pools))
    once, twice = records[3], records[7]
    journal = [*records[:3], spoiled(once), *records[4:7], spoiled(twice, "1 of 2 agents was lost"), *records[8:]]
    journal += [replace(once, attempt=2), spoiled(replace(twice, attempt=2), "1 of 2 agents was lost")]

    result = result_of(plan, journal)
    lines = "\n".join(study_of(result).lines)

    assert [one.number for one in result.repeated] == [4]
    assert [one.number for one in result.missing] == [8]
    assert "Run 8 (" in lines
    assert "1 of 2 agents was lost" in lines
    assert "could not be compared: run 4." in lines
    assert result.first.analysis is not None
    assert result.first.analysis.n == 11
    assert not result.is_complete


def test_a_sweep_that_was_stopped_can_be_read_and_says_how_many_runs_it_is_based_on(tmp_path: Path) -> None:
    plan = plan_of(control_every=4)
    write_plan(tmp_path, plan)
    with open_journal(tmp_path) as journal:
        for record in records_of(plan, Law(two_pools))[:10]:
            journal.append(record)

    result = result_of(read_plan(tmp_path), read_journal(tmp_path), ending="stopped early: found")
    study = study_of(result, tmp_path)

    assert len(result.not_made) == len(plan.order) - 10
    assert f"10 of {len(plan.order)} planned runs were made" in "\n".join(study.lines)
    assert "The sweep stopped early, by the rule that was fixed before its first run: found." in study.lines
    assert not any("--resume" in line for line in study.foot)


def test_a_look_at_a_sweep_that_is_not_over_decides_nothing() -> None:
    plan = plan_of()
    study = study_of(result_of(plan, records_of(plan, Law(two_pools))[:11]))

    assert study.result == "not decided"
    assert study.headline.startswith("After 11 of 12 runs, for p99, ")
    assert any(line.startswith("Do not decide before the last run") for line in study.lines)


def test_without_repeats_and_without_a_store_nothing_is_decided_and_nothing_is_called_absent() -> None:
    study = study_of(swept(Law(two_pools), 1, repeats=1))

    assert study.headline == "For p99, nothing is decided, because the error of a run is unknown: repeat the cells"
    assert study.result == "not decided"
    assert not any("no effect" in line.lower() for line in study.lines)


def test_every_part_of_a_sweep_can_be_shown() -> None:
    plan = plan_of(repeats=2, control_every=2)
    records = records_of(plan, Law(two_pools))

    for n in range(len(records) + 1):
        study = study_of(result_of(plan, records[:n]))
        assert as_page(study)
        assert as_json(study)


def test_a_sweep_with_an_early_look_is_judged_by_the_bound_of_that_look() -> None:
    plans = [plan_of(repeats=4, is_early=is_early, looks=(2,) if is_early else ()) for is_early in (False, True)]
    half = [result_of(plan, records_of(plan, Law(two_pools))[:8], ending="stopped early: found") for plan in plans]
    whole = [result_of(plan, records_of(plan, Law(two_pools))) for plan in plans]

    p = [[one.first.analysis.terms[0].p_holm for one in results if one.first.analysis] for results in (half, whole)]
    assert p[0][1] > p[0][0]
    assert p[1][1] >= p[1][0]


def test_drift_of_control_runs_is_said_and_does_not_enter_the_effects() -> None:
    plan = plan_of(full((SETTLE, PAYOUT)), repeats=4, control_every=3)
    still, moving = (
        result_of(plan, records_of(plan, Law(no_lock, sd=0.02, block_sd=0.0, drift=drift), 3)) for drift in (0.0, 0.5)
    )

    assert still.first.drift is not None
    assert moving.first.drift is not None
    assert not still.first.drift.is_found
    assert moving.first.drift.is_found
    assert moving.first.drift.change == pytest.approx(0.5, abs=0.1)
    assert any(line.startswith("The target drifted during the sweep") for line in study_of(moving).lines)
    assert moving.first.analysis is not None
    assert moving.first.analysis.n == 16


def test_the_order_of_the_journal_does_not_change_the_result() -> None:
    plan = plan_of()
    records = records_of(plan, Law(two_pools))

    assert study_of(result_of(plan, records)) == study_of(result_of(plan, records[::-1]))


def test_a_sweep_without_a_valid_run_is_invalid() -> None:
    plan = plan_of()
    study = study_of(result_of(plan, [spoiled(one) for one in records_of(plan, Law(two_pools))]))

    assert study.result == "invalid"
    assert study.headline == "For p99, nothing is decided, because no run has a value of p99 that can be compared"


def test_a_response_that_is_the_same_in_all_runs_is_a_fact_and_no_error() -> None:
    plan = plan_of(responses=("p99", "throughput"))
    records = [replace(one, values={**one.values, "throughput": 40.0}) for one in records_of(plan, Law(two_pools))]
    lines = study_of(result_of(plan, records)).lines

    assert "For throughput, the value is the same in all 12 runs: 40.0/s." in lines
    assert "For error ratio, there were no errors in any of the 12 runs." in lines


def test_missing_runs_of_one_kind_are_one_sentence_that_is_not_longer_than_its_first_reason_cut() -> None:
    plan = plan_of()
    records = records_of(plan, Law(two_pools))
    broken = [
        spoiled(one, f"the generator was not fit to measure: load {one.number} " + "x" * 999) for one in records[:2]
    ]
    lines = study_of(result_of(plan, [*broken, *records[2:]])).lines

    (line,) = [one for one in lines if "missing" in one]
    assert line.startswith("Runs 1 (")
    assert " and 2 (" in line
    assert "load 1" in line
    assert len(line) < 300


def test_a_sweep_without_any_record_is_invalid_and_names_the_command_that_goes_on(tmp_path: Path) -> None:
    study = study_of(result_of(plan_of(), []), tmp_path)

    assert study.result == "invalid"
    assert any("--resume" in line for line in study.foot)


def test_a_main_effect_alone_is_a_finding_with_its_change_in_units_and_in_percent() -> None:
    result = swept(Law(lambda levels: 300.0 if levels["settle"] == "8" else 200.0), 4)
    study = study_of(result)

    assert study.headline.startswith("For p99, settle matters: from 0 to 8 +")
    assert " ms (" in study.headline
    assert " % (" in study.headline


def test_the_other_response_is_shown_and_does_not_decide() -> None:
    plan = plan_of(responses=("throughput", "p99"))
    study = study_of(result_of(plan, records_of(plan, Law(two_pools))))

    assert study.headline.startswith("For throughput, ")
    assert study.result == "not decided"
    assert any(line.startswith("For p99, ") and "matters only when" in line for line in study.lines)


def test_next_commands_compare_the_worst_cell_with_the_best_one(tmp_path: Path) -> None:
    result = swept(Law(two_pools), 1)
    study = study_of(result, Path("sweeps/it's one"))
    worst = result.cells[3].worst_run
    assert worst is not None
    with_probes = tmp_path / worst.folder
    with_probes.mkdir(parents=True)
    (with_probes / "probes.log").touch()

    assert any(line.startswith("    loadgen trace 'sweeps/it'\"'\"'s one/") for line in study.foot)
    assert "worst cell (settle 8, payout 8)" in study.foot[0]
    assert any("lock chains" in line for line in study.foot)
    assert any(line.startswith("    loadgen runs show") for line in study_of(result, tmp_path).foot)
