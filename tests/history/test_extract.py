"""What is taken out of a run's folder says what the run itself said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import inf, isnan, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadgen.errors import IncompleteError, StorageError
from loadgen.history.store.extract import accepted_of, unfit_of
from loadgen.history.store.stored_run import Accepted, Key
from loadgen.measure.statistics.batch_means import T_QUANTILE
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_S
from tests.support.past_runs import past_run

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "runs").glob("2026*"))
Make = Callable[..., Accepted]


_known: dict[str, Accepted] = {}


def taken(folder: Path, **how: Any) -> Accepted:
    """What is taken out of a past run. It never changes, so the tests share that of the same run."""
    wanted = repr(sorted(how.items()))
    if " at 0x" in wanted:  # a function: another one may have its address later
        return accepted_of(open_run(past_run(folder, **how)))
    if wanted not in _known:
        _known[wanted] = accepted_of(open_run(past_run(folder, **how)))
    return _known[wanted]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda **how: taken(tmp_path, **how)


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Of the summary those of outcome ok, by (name, region)."""
    summary = json.loads((path / "summary.json").read_text())
    return {
        (" > ".join(filter(None, (row["journey"], row["step"], row["request"]))), row["region"]): row
        for row in summary["series"]
        if row["outcome"] == "ok"
    }


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_figures_of_old_runs_are_those_of_their_summaries(path: Path) -> None:
    run = accepted_of(open_run(path))
    rows = rows_of(path)

    assert {(f.name, f.region) for f in run.figures if f.agent == "*"} == set(rows)
    for figure in (one for one in run.figures if one.agent == "*"):
        row = rows[figure.name, figure.region]
        assert round(figure.value_ms, 3) == row["response_ms"][figure.percentile]
        assert (figure.count, figure.kind) == (row["count"], row["kind"])
        assert (isnan(figure.error), figure.why) == (True, "too few samples")


KEYS = {"20261124-browse-format-1": "f27179fc63a1f278", "20261125-phases-format-1": "3ccc5653b91393fd"}
"""As commit 4850f69 computed them."""


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_the_key_of_an_old_run_never_changes_so_a_new_setting_at_its_default_is_not_in_it(path: Path) -> None:
    assert accepted_of(open_run(path)).key.hash() == KEYS[path.name]


def test_figures_and_errors_of_a_longer_run_are_those_of_its_summary(tmp_path: Path) -> None:
    path = past_run(tmp_path, failing=0.1)
    run = accepted_of(open_run(path))
    rows = rows_of(path)

    seen = set()
    for figure in (one for one in run.figures if one.agent == "*"):
        row = rows[figure.name, figure.region]
        assert round(figure.value_ms, 3) == row["response_ms"][figure.percentile]
        if figure.percentile == "mean" or isnan(figure.error):
            continue
        low, high = row["response_ci_ms"][figure.percentile]
        assert figure.error == pytest.approx(log(high / low) / 2 / T_QUANTILE, rel=0.05)
        seen.add((figure.percentile, figure.region))
    assert ("p95", "*") in seen


def test_why_there_is_no_error_is_what_the_summary_says(tmp_path: Path) -> None:
    path = past_run(tmp_path, seconds=9)

    p50 = accepted_of(open_run(path)).figure("checkout", "p50")

    assert p50 is not None
    assert (isnan(p50.error), p50.why) == (True, rows_of(path)["checkout", "*"]["response_ci_ms"]["p50"])
    assert p50.why == "too short"


def test_the_error_of_the_mean_is_that_of_its_batches(tmp_path: Path) -> None:
    """Of independent values the variance of a mean is known: sigma² / n, which five batches meet within a factor."""
    errors = []
    for seed in range(5):
        mean = taken(tmp_path / str(seed), seed=seed).figure("checkout > pay", "mean")
        assert mean is not None
        errors.append(mean.error)

    known = np.sqrt((np.exp(0.3**2) - 1) / 1600)
    assert 0.6 < np.nanmean(errors) / known < 1.9


def test_names_are_as_people_read_them(make: Make) -> None:
    run = make()

    assert {one.name: one.kind for one in run.figures} == {
        "checkout": "journey",
        "checkout > pay": "step",
        "checkout > pay > POST /cart": "request",
    }


def test_failures_that_come_fast_are_in_no_figure_and_are_counted(make: Make) -> None:
    run = make(failing=0.5)

    p50, errors = run.figure("checkout > pay", "p50"), run.errors_of("checkout > pay")
    assert p50 is not None
    assert errors is not None
    assert p50.value_ms > 80
    assert (errors.total, p50.count) == (1600, errors.total - errors.errors)
    assert 0.45 < errors.ratio < 0.55
    assert 0.005 < errors.error < 0.05


def error_over_binomial(tmp_path: Path, failing: Callable[[int], Callable[[int], float]]) -> float:
    """The standard error of an error ratio before that of independent requests; mean over several runs."""
    found = []
    for seed in range(3):
        path = past_run(tmp_path / str(seed), seed=seed, failing=failing(seed))
        errors = accepted_of(open_run(path)).errors_of("checkout > pay > POST /cart")
        assert errors is not None
        found.append(errors.error / np.sqrt(errors.ratio * (1 - errors.ratio) / errors.total))
    return float(np.nanmean(found))


def test_of_independent_errors_the_standard_error_is_a_binomials(tmp_path: Path) -> None:
    assert 0.6 < error_over_binomial(tmp_path, lambda _: lambda _: 0.2) < 1.9


def test_errors_that_come_in_clusters_make_their_ratio_less_sure(tmp_path: Path) -> None:
    """Of 40 requests a second all fail, or none does: that is one piece of news, and not forty. So sqrt(40) times."""

    def failing(seed: int) -> Callable[[int], float]:
        bad = np.random.default_rng(seed).random(40) < 0.2
        return lambda k: float(bad[k])

    assert 3.5 < error_over_binomial(tmp_path, failing) < 10


def test_where_nothing_ended_ok_there_is_no_figure_and_the_errors_are_there(make: Make) -> None:
    run = make(failing=1.0)

    errors = run.errors_of("checkout")
    assert run.figures == ()
    assert errors is not None
    assert errors.ratio == 1.0


def test_regions_and_agents_are_kept_apart(make: Make) -> None:
    run = make(of_agent={"a2": 2.0})

    levels = {(f.region, f.agent): f.value_ms for f in run.figures if (f.name, f.percentile) == ("checkout", "p50")}
    assert set(levels) == {("*", "*"), ("eu", "*"), ("us", "*"), ("eu", "a1"), ("us", "a2")}
    assert levels["eu", "a1"] == levels["eu", "*"]
    assert levels["us", "a2"] == levels["us", "*"]
    assert 1.8 < levels["us", "*"] / levels["eu", "*"] < 2.1
    assert {one.region for one in run.errors} == {"*", "eu", "us"}


def test_a_stated_warm_up_is_in_no_figure(make: Make) -> None:
    run = make(first=(8, 5.0), spec={"warmup_ns": 8 * NS_PER_S})

    p50 = run.figure("checkout > pay", "p50")
    assert p50 is not None
    assert (p50.count, run.faults) == (32 * 40, ())
    assert 90 < p50.value_ms < 110
    assert "warm-up: 8.00 s" in run.key.plan


def test_a_warm_up_that_was_found_is_in_no_figure(make: Make) -> None:
    run = make(first=(10, 3.0), spec={"warmup_is_found": True})

    p50 = run.figure("checkout > pay", "p50")
    assert p50 is not None
    assert (p50.count, run.faults) == (30 * 40, ())
    assert 90 < p50.value_ms < 110
    assert "warm-up: found" in run.key.plan


def test_a_warm_up_that_was_left_in_makes_the_run_unfit(make: Make) -> None:
    (why,) = unfit_of(make(first=(6, 3.0)))

    assert why.startswith("warm-up was left in: checkout was slower by a factor of ")


def test_a_first_batch_like_the_others_is_no_warm_up(tmp_path: Path) -> None:
    for seed in range(5):
        assert taken(tmp_path / str(seed), seed=seed).faults == ()


def test_a_ramp_is_never_taken_for_a_warm_up(make: Make) -> None:
    from loadgen.profiles.profile import ArrivalProfile
    from loadgen.profiles.stage import Stage

    ramp = ArrivalProfile((Stage(0, 40, 10 * NS_PER_S), Stage(40, 40, 30 * NS_PER_S)))

    assert make(first=(6, 3.0), spec={"profile": ramp, "lanes": ()}).faults == ()


def test_a_rate_that_was_not_reached_is_known(make: Make) -> None:
    run = make(started=0.9)

    assert (run.planned_rate, run.achieved_rate) == (40.0, 36.0)
    assert unfit_of(run) == ("only 36.0 of 40.0 iterations/s were started, which is less than 99%",)


def test_an_invalid_run_is_unfit_and_its_figures_are_there_to_look_at(make: Make) -> None:
    run = make(facts={"result": "invalid", "validity": "invalid", "validity_reasons": ("generator lag",)})

    assert run.figures
    assert unfit_of(run) == ("the generator was not fit to measure: generator lag",)


def test_a_run_whose_load_was_changed_by_hand_is_unfit(make: Make) -> None:
    change = {"at_s": 3.0, "kind": "scale", "text": "scaled by 1.5, from 40/s to 60/s"}
    steered = change | {"kind": "steer"}

    assert unfit_of(make(facts={"extra": {"adjustments": [change]}})) == (
        "its load was changed while it ran: scaled by 1.5, from 40/s to 60/s",
    )
    assert unfit_of(make(run_id="20261124-180000-shop-0001", facts={"extra": {"adjustments": [steered]}})) == ()


def test_a_run_that_was_ended_by_force_cannot_be_taken(make: Make) -> None:
    with pytest.raises(IncompleteError, match="no summary"):
        make(is_sealed=False)


def test_a_plan_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = past_run(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"spec": {"name": 3}}))

    with pytest.raises(StorageError, match="cannot read the plan of 20261124-170312-shop-a1b2"):
        accepted_of(open_run(path))


def test_the_commit_is_that_of_the_scenario(make: Make) -> None:
    assert make(spec={"commit": "4f2a+"}).commit == "4f2a+"
    assert make(run_id="20261124-190000-shop-0001").commit == ""


# -- keys -------------------------------------------------------------------------------------------


def test_what_changes_no_load_changes_no_key(make: Make) -> None:
    plain = make()
    other = make(
        run_id="20261124-180000-shop-0001",
        spec={"labels": {"release": "1.4"}, "commit": "4f2a", "owner": "someone", "seed": 7, "drain_ns": NS_PER_S},
        bundle={"sha256": "0" * 64},
        level_ms=300.0,
    )

    assert other.key == plain.key
    assert other.labels == {"release": "1.4"}


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"spec": {"params": {"pool": 8}}}, ["plan: settings: none here, pool=8 there"]),
        ({"spec": {"connections": "fresh"}}, ["plan: connections: none here, fresh there"]),
        (
            {"placement": "fleet"},
            ["placement: embedded here, fleet there", "machines: x86_64, 2 cpus here, 2 cpus there"],
        ),
        ({"spec": {"environment": "staging"}}, ["target: shop.example:443 here, staging there"]),
        ({"spec": {"regions": {"eu": 3.0, "us": 1.0}}}, ["regions: eu=0.5,us=0.5 here, eu=0.75,us=0.25 there"]),
        ({"spec": {"peak": 80.0}}, ["rate: 40/s here, 80/s there"]),
    ],
)
def test_what_does_is_told_in_words(make: Make, how: dict[str, Any], told: list[str]) -> None:
    assert make().key.differences(make(run_id="20261124-180000-shop-0001", **how).key) == told


def test_the_clock_that_timed_the_answers_is_part_of_the_key(make: Make, tmp_path: Path) -> None:
    def key_with(clock: str, run_id: str) -> Key:
        path = past_run(tmp_path, run_id, spec={"http": {"clock": "kernel"}})
        summary = json.loads((path / "summary.json").read_text())
        (path / "summary.json").write_text(json.dumps(summary | {"clock": {"asked": "kernel", "in_force": clock}}))
        return accepted_of(open_run(path)).key

    by_kernel = key_with("kernel", "20261124-180000-shop-0001")
    fallen_back = key_with("loop", "20261124-180000-shop-0002")

    assert make().key.differences(by_kernel) == ['plan: http: none here, {"clock":"kernel"} there']
    assert by_kernel.differences(fallen_back) == ["plan: clock in force: none here, loop there"]


def test_another_load_is_another_key(make: Make) -> None:
    assert make().key.differences(make(run_id="20261124-180000-shop-0001", per_s=80).key) == [
        "plan: load: arrivals: hold 40/s for 40s here, arrivals: hold 80/s for 40s there",
        "rate: 40/s here, 80/s there",
    ]


def test_instance_types_of_a_fleet_are_its_machines(make: Make) -> None:
    agents = [{"id": name, "region": "eu", "cpus": 4, "instance_type": "c7g.xlarge"} for name in ("a1", "a2")]

    key = make(placement="fleet", agents=agents).key
    assert key.instances == "c7g.xlarge"
    larger = [{**agents[0], "instance_type": "c7g.2xlarge"}, agents[1]]
    other = make(placement="fleet", agents=larger, run_id="20261124-180000-shop-0001").key
    assert key.differences(other) == ["machines: c7g.xlarge here, c7g.2xlarge, c7g.xlarge there"]


def test_machines_whose_type_nobody_says_are_known_by_their_cpus(make: Make) -> None:
    """Agents elsewhere than on EC2, and those of a loadgen that did not ask."""
    elsewhere = [{"id": "a1", "region": "eu", "cpus": 4, "instance_type": None}]
    older = [{"id": "a1", "region": "eu", "cpus": 4}]
    both = [*elsewhere, {"id": "a2", "region": "eu", "cpus": 4, "instance_type": "c7g.xlarge"}]
    found = [
        make(placement="fleet", agents=agents, run_id=f"20261124-18000{n}-shop-0001").key.instances
        for n, agents in enumerate((elsewhere, older, both))
    ]
    assert found == ["4 cpus", "4 cpus", "4 cpus, c7g.xlarge"]


def test_a_percentile_among_bounds_is_inf() -> None:
    """Of what ended ok that happens only beyond an hour; the type has to say it."""
    run = accepted_of(open_run(GOLDEN[0]))
    bound = replace(run.figures[0], value_ms=inf, why="censored")

    assert replace(run, figures=(bound,)).log_values("p50") == {}
