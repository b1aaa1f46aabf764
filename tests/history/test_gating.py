"""What the gate makes of runs: the verdict, and above all what it must not be taken in by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from scipy import stats

from loadgen.errors import ExitCode
from loadgen.history.gate.evaluate_gate import decide, decide_pairs
from loadgen.history.gate.gate_result import Begin, Settings, Verdict
from loadgen.history.store.stored_run import Accepted, Reference
from tests.support.accepted import accepted, history

SHOP = {"checkout": 300.0, "checkout > login": 100.0, "checkout > login > POST /login": 90.0}
LOGIN = "checkout > login > POST /login"
OLD = history(20, SHOP, sd=0.01)


def new(runs: int = 3, p95: Mapping[str, float] = SHOP, *, seed: int = 7, **more: object) -> list[Accepted]:
    return history(runs, p95, sd=0.01, seed=seed, first=100, **more)


def slower(by: float, name: str = LOGIN) -> dict[str, float]:
    return SHOP | {name: SHOP[name] * (1 + by)}


# -- the four words ---------------------------------------------------------------------------------


def test_runs_of_the_same_code_pass_and_what_would_have_been_found_is_said() -> None:
    found = decide(OLD, new())
    assert (found.verdict, found.reasons, found.more_runs) == (Verdict.PASS, (), 0)
    assert 0.02 < found.detectable < 0.06


def test_a_request_that_is_slower_fails_and_is_named_alone() -> None:
    found = decide(OLD, new(p95=slower(0.1)))
    assert (found.verdict, found.verdict.exit_code) == (Verdict.FAIL, ExitCode.FAILED)
    assert [reason.startswith(f"p95 of {LOGIN} is ") for reason in found.reasons] == [True]
    assert found.failed_names == {LOGIN}


def test_one_slow_run_is_suspect_and_two_more_decide() -> None:
    runs = new(p95=slower(0.1))
    found = decide(OLD, runs[:1])
    assert (found.verdict, found.is_suspect, found.more_runs) == (Verdict.INCONCLUSIVE, True, 2)
    assert any(f"suspect: p95 of {LOGIN}" in reason for reason in found.reasons)
    assert decide(OLD, runs[:2]).more_runs == 1
    assert decide(OLD, runs).verdict is Verdict.FAIL


def test_one_outlier_among_three_runs_is_no_regression() -> None:
    runs = [*new(2), *history(1, {name: value * 1.2 for name, value in SHOP.items()}, sd=0.01, first=102)]
    assert decide(OLD, runs).verdict is Verdict.PASS


def test_more_runs_are_asked_for_where_they_would_see_what_one_does_not() -> None:
    old = history(20, SHOP, sd=0.03, seed=3)
    found = decide(old, [accepted(SHOP, run_id="20261201-000000-shop-1")])
    assert (found.verdict, found.is_suspect, found.more_runs) == (Verdict.INCONCLUSIVE, False, 2)
    assert any("would have been found, but at most 10 % is tolerated" in reason for reason in found.reasons)


def test_noise_in_which_no_number_of_runs_would_see_it_is_inconclusive() -> None:
    found = decide(history(20, SHOP, sd=0.1), history(3, SHOP, sd=0.1, seed=5, first=100))
    assert (found.verdict, found.more_runs) == (Verdict.INCONCLUSIVE, 0)


def test_fail_outranks_inconclusive() -> None:
    runs = new(p95=slower(0.1) | {"checkout > pay": 20.0})
    found = decide(OLD, runs)
    assert found.verdict is Verdict.FAIL
    assert any("checkout > pay: the name is missing in the history" in reason for reason in found.reasons)


# -- not fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"result": "invalid", "validity": "invalid", "reasons": ("generator lag",)}, "generator lag"),
        ({"result": "incomplete"}, "data are missing"),
        ({"result": "interrupted"}, "it was interrupted"),
        ({"achieved_rate": 150.0}, "only 150.0 of 200.0 iterations/s were started"),
        ({"faults": ("the warm-up was left in",)}, "the warm-up was left in"),
    ],
)
def test_run_that_was_not_fit_is_invalid_however_slow(wrong: dict[str, object], why: str) -> None:
    runs = new(p95=slower(0.5))
    found = decide(OLD, [*runs[:2], replace(runs[2], **wrong)])  # type: ignore[arg-type]
    assert (found.verdict, found.verdict.exit_code) == (Verdict.INVALID, ExitCode.INVALID)
    assert len(found.reasons) == 1
    assert found.reasons[0].startswith(runs[2].run_id)
    assert why in found.reasons[0]


def test_rate_that_the_target_did_not_take_is_judged() -> None:
    runs = [replace(run, achieved_rate=150.0, limited_by="target") for run in new()]
    assert decide(OLD, runs).verdict is Verdict.PASS


def test_accepted_run_that_is_not_fit_is_not_compared_with() -> None:
    wrong = [replace(run, result="incomplete") for run in history(5, slower(0.3), first=30, sd=0.01)]
    found = decide([*OLD, *wrong], new())
    assert found.verdict is Verdict.PASS
    assert wrong[0].run_id not in found.families[0].run_ids
    assert any("since not fit" in note for note in found.notes)


def test_run_that_is_in_the_history_already_is_not_compared_with_itself() -> None:
    runs = new(p95=slower(0.1))
    assert decide([*OLD, *runs], runs).verdict is Verdict.FAIL


# -- histories --------------------------------------------------------------------------------------


def test_history_without_any_deviation_does_not_fail_a_trifle() -> None:
    old = history(20, SHOP, sd=0)
    assert decide(old, new()).verdict is Verdict.PASS
    assert decide(old, new(p95=slower(0.1))).verdict is Verdict.FAIL


def test_history_of_two_runs_passes_nothing_and_fails_what_is_clear() -> None:
    assert decide(OLD[:2], new()).verdict is Verdict.INCONCLUSIVE
    assert decide(history(2, SHOP, sd=0.002), new(p95=slower(1.0))).verdict is Verdict.FAIL


def test_empty_history_is_said() -> None:
    found = decide([], new())
    assert (found.verdict, found.reasons) == (Verdict.INCONCLUSIVE, ("there are no accepted runs to compare with",))


def test_missing_name_and_new_name_are_inconclusive() -> None:
    less = {name: value for name, value in SHOP.items() if name != LOGIN}
    found = decide(OLD, new(p95=less | {"checkout > log in": 90.0}))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert f"{LOGIN}: the name is missing in the new runs" in found.reasons
    assert "checkout > log in: the name is missing in the history" in found.reasons


def test_percentile_of_which_only_a_bound_is_known_is_not_called_missing() -> None:
    found = decide(OLD, new(p95=SHOP | {LOGIN: float("inf")}))
    assert (found.verdict, len(found.reasons)) == (Verdict.INCONCLUSIVE, 1)
    assert f"{LOGIN}: p95 falls among cut-off or missed iterations, so its value is unknown" in found.reasons[0]


def test_name_with_few_samples_is_left_out_and_named() -> None:
    rare = [replace(f, name="checkout > help", count=12) for f in OLD[0].figures if f.name == LOGIN]
    old = [replace(run, figures=(*run.figures, *rare)) for run in OLD]
    found = decide(old, new())
    assert found.verdict is Verdict.PASS
    assert "not judged at p95: checkout > help (12 samples a run, but p95 needs 200)" in found.notes


@pytest.mark.parametrize("bounds", [1, 2])
def test_release_does_not_pass_by_the_runs_whose_percentile_is_known(bounds: int) -> None:
    """In the other runs, the percentile falls among cut-off iterations: those are its slowest runs."""
    runs = new()
    cut = [
        replace(run, figures=tuple(replace(f, value_ms=inf) if f.name == LOGIN else f for f in run.figures))
        for run in runs[:bounds]
    ]
    found = decide(OLD, [*cut, *runs[bounds:]])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any(f"in {bounds} of 3 new runs" in reason and LOGIN in reason for reason in found.reasons)


def test_release_does_not_pass_by_the_only_new_run_that_has_a_name() -> None:
    runs = new()
    without = [replace(run, figures=tuple(f for f in run.figures if f.name != LOGIN)) for run in runs[:2]]
    found = decide(OLD, [*without, runs[2]])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert f"{LOGIN}: the name is missing in 2 of 3 new runs" in found.reasons


@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_percentile_of_six_samples_neither_passes_nor_fails(factor: float) -> None:
    runs = [
        replace(run, figures=tuple(replace(f, count=6, value_ms=f.value_ms * factor) for f in run.figures))
        for run in new()
    ]
    found = decide(OLD, runs)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "only 6 samples a run, but p95 needs 200" in found.reasons[0]


def test_pairs_name_what_one_side_or_both_have_too_few_samples_of() -> None:
    def rare(runs: list[Accepted]) -> list[Accepted]:
        return [
            replace(run, figures=tuple(replace(f, count=3) if f.name == LOGIN else f for f in run.figures))
            for run in runs
        ]

    before, after = OLD[:10], history(10, SHOP, first=20, seed=4)
    one_side = decide_pairs(before, rare(after))
    assert one_side.verdict is Verdict.INCONCLUSIVE
    assert f"{LOGIN}: B: only 3 samples a run, but p95 needs 200" in one_side.reasons
    both = decide_pairs(rare(before), rare(after))
    assert both.notes == (f"not judged at p95: {LOGIN} (fewer than 200 samples a run)",)


def test_history_ends_at_its_last_change() -> None:
    """A machine that was replaced made all faster; what is as slow as before is a regression from now."""
    faster = {name: value * 0.8 for name, value in SHOP.items()}
    old = [*OLD, *history(15, faster, sd=0.01, seed=2, first=20)]
    found = decide(old, new(p95=faster))
    assert found.verdict is Verdict.PASS
    assert found.families[0].run_ids == tuple(run.run_id for run in old[20:])
    assert any(note.startswith(f"compared with runs since {old[20].run_id}") for note in found.notes)


def test_improvement_that_reverts_fails() -> None:
    faster = {name: value * 0.85 for name, value in SHOP.items()}
    old = [*OLD, *history(12, faster, sd=0.01, seed=2, first=20)]
    assert decide(old, new()).verdict is Verdict.FAIL


def test_release_that_was_accepted_though_slower_is_the_level_from_then_on() -> None:
    release = history(1, slower(0.1), sd=0.01, seed=4, first=20)
    begins = [Begin(release[0].run_id, "2026-11-02T00:00:00Z", frozenset({LOGIN}))]
    runs = new(p95=slower(0.1))
    assert decide([*OLD, *release], runs).verdict is Verdict.FAIL
    found = decide([*OLD, *release], runs, begins=begins)
    assert found.verdict is Verdict.INCONCLUSIVE  # one run is no history yet
    assert [reason.partition(":")[0] for reason in found.reasons] == [LOGIN]
    later = [*OLD, *release, *history(11, slower(0.1), sd=0.01, seed=6, first=21)]
    assert decide(later, runs, begins=begins).verdict is Verdict.PASS


# -- references -------------------------------------------------------------------------------------


def pinned(runs: list[Accepted], at: str = "2026-11-02T00:00:00Z") -> tuple[Reference, list[Accepted]]:
    return Reference("v1", tuple(run.run_id for run in runs), at), runs


def creeping(releases: int, each: int = 20) -> list[Accepted]:
    """Each release 2 % slower than the one before."""
    levels = np.repeat(1.02 ** np.arange(1, releases + 1), each)
    p95 = {name: list(value * levels) for name, value in SHOP.items()}
    return history(len(levels), p95, sd=0.01, seed=3, first=20)


def test_each_creep_of_2_percent_passes_and_the_pinned_release_catches_them() -> None:
    fifth = {name: value * 1.02**5 for name, value in SHOP.items()}
    old = [*OLD, *creeping(4)]
    assert decide(old, new(p95=fifth)).verdict is Verdict.PASS
    first = {name: value * 1.02 for name, value in SHOP.items()}
    assert decide(OLD, new(p95=first), [pinned(OLD[:5])]).verdict is Verdict.PASS
    found = decide(old, new(p95=fifth), [pinned(OLD[:5])])
    assert found.verdict is Verdict.FAIL
    assert all("slower than v1 (5 runs)" in reason for reason in found.reasons)


def test_reference_that_cannot_tell_warns_and_is_inconclusive_where_it_was_asked_for() -> None:
    less = [replace(run, figures=tuple(f for f in run.figures if f.name != LOGIN)) for run in OLD[:1]]
    old = history(20, SHOP, sd=0.025)
    found = decide(old, new(), [pinned(less)])
    assert found.verdict is Verdict.PASS
    assert any("is tolerated (against v1)" in warning for warning in found.warnings)
    assert decide(old, new(), [pinned(less)], wanted="v1").verdict is Verdict.INCONCLUSIVE


def test_reference_from_before_a_level_was_accepted_no_longer_holds_for_it() -> None:
    begins = [Begin(OLD[-1].run_id, "2026-11-03T00:00:00Z", frozenset({LOGIN}))]
    old = [*OLD, *history(12, slower(0.1), sd=0.01, seed=6, first=21)]
    found = decide(old, new(p95=slower(0.1)), [pinned(OLD[:5])], begins=begins)
    assert found.verdict is Verdict.PASS
    assert LOGIN not in found.families[1].judgement.effects


def test_pinning_makes_no_gate_cry_wolf() -> None:
    alarms = 0
    for seed in range(60):
        runs = history(28, SHOP, sd=0.02, seed=seed)
        found = decide(runs[5:25], runs[25:], [pinned(runs[:5])], Settings(delta=0.0))
        alarms += found.verdict is Verdict.FAIL
    assert stats.binomtest(alarms, 60, 0.05, alternative="greater").pvalue > 0.01


# -- what a mean or a p95 would hide ----------------------------------------------------------------


def test_tail_alone_warns_and_fails_where_it_is_what_decides() -> None:
    runs = new(others={"p99": {LOGIN: SHOP[LOGIN] * 1.5 * 1.3}})
    found = decide(OLD, runs)
    assert found.verdict is Verdict.PASS
    assert any(warning.startswith(f"p99 of {LOGIN} is ") for warning in found.warnings)
    assert decide(OLD, runs, settings=Settings(percentile="p99")).verdict is Verdict.FAIL


def test_more_errors_fail_though_the_rest_is_faster() -> None:
    faster = {name: value * 0.6 for name, value in SHOP.items()}
    found = decide(OLD, new(p95=faster, failed={LOGIN: 120}))
    assert found.verdict is Verdict.FAIL
    assert found.reasons[0].startswith(f"{LOGIN} has 1 % errors, up from 0 %")


def test_a_point_more_of_errors_needs_no_second_run_and_less_is_suspect() -> None:
    assert decide(OLD, new(1, failed={LOGIN: 600})).verdict is Verdict.FAIL
    found = decide(OLD, new(1, failed={LOGIN: 60}))
    assert (found.verdict, found.is_suspect) == (Verdict.INCONCLUSIVE, True)


def test_trifle_of_errors_passes() -> None:
    assert decide(OLD, new(failed={LOGIN: 6}, failed_error=0.0001)).verdict is Verdict.PASS


def test_target_that_always_has_errors_passes_with_as_many() -> None:
    chance = np.random.default_rng(1)
    old = [accepted(SHOP, run_id=f"2026110{n:02}", failed={LOGIN: int(chance.poisson(300))}) for n in range(20)]
    runs = [accepted(SHOP, run_id=f"2026120{n}", failed={LOGIN: int(chance.poisson(300))}) for n in range(3)]
    assert decide(old, runs).verdict is Verdict.PASS


# -- one agent, one region --------------------------------------------------------------------------


def of_agents(
    slow: Mapping[str, float], runs: int = 3, seed: int = 9, regions: tuple[str, ...] = ("eu", "us")
) -> list[Accepted]:
    """Regions of three agents each; the pooled figure follows the slowest. Of an only region there are no rows."""
    made = []
    for run in history(runs, SHOP, sd=0.01, seed=seed, first=100):
        level = {name: run.figure(name, "p95").value_ms for name in SHOP}  # type: ignore[union-attr]
        factors = {(region, f"{region}-{n}"): slow.get(f"{region}-{n}", 1.0) for region in regions for n in "abc"}
        worst = {region: max(f for (r, _), f in factors.items() if r == region) for region in regions}
        parts = {region: {n: v * worst[region] for n, v in level.items()} for region in worst}
        pooled = {name: value * max(worst.values()) for name, value in level.items()}
        made.append(
            accepted(
                pooled,
                run_id=run.run_id,
                started_at=run.started_at,
                regions=parts if len(parts) > 1 else None,
                agents={place: {n: v * f for n, v in level.items()} for place, f in factors.items()},
            )
        )
    return made


@pytest.mark.parametrize("regions", [("eu", "us"), ("eu",)])
def test_one_slow_agent_is_named_and_is_no_regression_of_the_code(regions: tuple[str, ...]) -> None:
    found = decide(of_agents({}, 20, 1, regions), of_agents({"eu-b": 1.3}, regions=regions))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any(warning.startswith("one agent differs: eu-b in eu is 30 % slower") for warning in found.warnings)
    assert all("slower only at outlier agents" in reason for reason in found.reasons)


def test_regression_fails_though_one_agent_is_slow_too() -> None:
    slow = dict.fromkeys(("eu-a", "eu-c", "us-a", "us-b", "us-c"), 1.15)
    found = decide(of_agents({}, 20, seed=1), of_agents(slow | {"eu-b": 1.5}))
    assert found.verdict is Verdict.FAIL
    assert any("one agent differs: eu-b" in warning for warning in found.warnings)


def test_one_slow_region_is_named_and_fails() -> None:
    found = decide(of_agents({}, 20, seed=1), of_agents(dict.fromkeys(("us-a", "us-b", "us-c"), 1.3)))
    assert found.verdict is Verdict.FAIL
    assert any(
        warning.startswith("one region differs: only us is slower than before, by ") for warning in found.warnings
    )


# -- side by side -----------------------------------------------------------------------------------


def test_pairs_find_what_is_slower_while_everything_drifts() -> None:
    drift = np.exp(np.linspace(0, 0.3, 8))
    before = history(8, {name: list(value * drift) for name, value in SHOP.items()}, sd=0.01)
    same = history(8, {name: list(value * drift) for name, value in SHOP.items()}, sd=0.01, seed=2, first=50)
    slow = history(8, {name: list(value * drift) for name, value in slower(0.1).items()}, sd=0.01, seed=2, first=50)
    assert decide_pairs(before, same).verdict is Verdict.PASS
    found = decide_pairs(before, slow)
    assert (found.verdict, *found.failed_names) == (Verdict.FAIL, LOGIN)
    assert "slower than A" in found.reasons[0]


def test_pairs_of_which_one_is_not_fit_are_invalid() -> None:
    runs = new()
    assert decide_pairs([replace(OLD[0], result="invalid"), *OLD[1:3]], runs).verdict is Verdict.INVALID


def test_pairs_that_are_torn_are_refused() -> None:
    with pytest.raises(ValueError, match="3 runs of A and 2 of B"):
        decide_pairs(OLD[:3], new(2))


# -- as a whole -------------------------------------------------------------------------------------


def test_same_runs_get_the_same_decision() -> None:
    once, again = (decide(OLD, new(p95=slower(0.05))) for _ in range(2))
    assert repr(once) == repr(again)  # since nan is not equal to itself


def by_chance(
    chance: np.random.Generator, runs: int, deviation: float, slow: float = 0.0, first: int = 0
) -> list[Accepted]:
    """20 names, the first of them slower; of 3 % of the runs all names are off by 5 to 25 %, either way."""
    names, made = [f"checkout > step {n}" for n in range(20)], []
    for n in range(runs):
        off = chance.choice([-1, 1]) * chance.uniform(0.05, 0.25) if chance.random() < 0.03 else 0.0
        p95 = {name: float(100 * np.exp(chance.normal(0, deviation) + off)) for name in names}
        p95[names[0]] *= 1 + slow
        made.append(accepted(p95, run_id=f"20261101-{first + n:06d}", planned_rate=nan, achieved_rate=nan))
    return made


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("deviation", "slow", "least", "most"),
    [
        (0.01, 0, 0, 10),
        (0.02, 0, 0, 10),
        (0.04, 0, 0, 10),
        (0.01, 0.1, 190, 200),
        (0.02, 0.1, 176, 200),  # 90 %: with one outlier among three new runs, a regression may be missed
        (0.04, 0.2, 176, 200),
    ],
)
def test_whole_gate_fails_as_often_as_it_should_in_200_gates(
    deviation: float, slow: float, least: int, most: int, record_property: Callable[[str, object], None]
) -> None:
    """One run first, two more where they decide; with a pinned release and errors."""
    chance, found, more = np.random.default_rng(int(deviation * 1000) + int(slow * 100)), Counter[Verdict](), 0
    for _ in range(200):
        old = by_chance(chance, 25, deviation)
        runs = by_chance(chance, 3, deviation, slow, first=100)
        reference = [(Reference("v1", tuple(run.run_id for run in old[:5]), "2026"), old[:5])]
        decision = decide(old[5:], runs[:1], reference)
        if decision.more_runs:
            more += 1
            decision = decide(old[5:], runs, reference)
        found[decision.verdict] += 1
    record_property("seen", f"{dict(found)}, {more} asked for more")
    assert least <= found[Verdict.FAIL] <= most
