"""What the history keeps of a run: keys, names, logarithms."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from math import inf, log, nan

import pytest

from loadgen.history.store.stored_run import Key
from tests.support.accepted import KEY, accepted, history


def test_a_key_has_the_same_hash_in_another_process() -> None:
    program = f"from loadgen.history.store.stored_run import Key\nprint(({KEY!r}).hash())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == KEY.hash()
    assert len(KEY.hash()) == 16
    assert set(KEY.hash()) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", [one.name for one in fields(Key)])
def test_each_part_of_a_key_makes_it_another_one_and_is_told(name: str) -> None:
    other = replace(KEY, **{name: "something else"})

    assert other.hash() != KEY.hash()
    assert KEY.differences(other)


def test_equal_keys_do_not_differ() -> None:
    assert KEY.differences(replace(KEY)) == []


def test_where_values_of_the_plan_differ_only_those_are_told() -> None:
    faster = replace(KEY, plan=KEY.plan.replace("200/s", "250/s"), placement="fleet")

    assert KEY.differences(faster) == [
        "plan: loads: checkout arrivals at 200/s for 60 s here, checkout arrivals at 250/s for 60 s there",
        "placement: embedded here, fleet there",
    ]


def test_a_value_that_only_one_plan_has_is_told() -> None:
    longer = replace(KEY, plan=KEY.plan + "\nsettings: pool=8")

    assert KEY.differences(longer) == ["plan: settings: none here, pool=8 there"]


def test_log_values_are_of_all_regions_and_finite() -> None:
    run = accepted(
        {"checkout": 200.0, "checkout > login": 100.0},
        regions={"eu-west-1": {"checkout": 150.0}},
        agents={("eu-west-1", "a1"): {"checkout": 151.0}},
        others={"p99": {"checkout": inf}, "mean": {"checkout": nan}},
    )

    assert run.log_values("p95") == pytest.approx({"checkout": log(200), "checkout > login": log(100)})
    assert run.log_values("p99") == pytest.approx({"checkout > login": log(150)})
    assert run.log_values("mean") == pytest.approx({"checkout > login": log(60)})


def test_a_figure_is_found_by_where_it_is_of() -> None:
    run = accepted({"checkout": 200.0}, regions={"eu-west-1": {"checkout": 150.0}})

    found = run.figure("checkout", "p95", region="eu-west-1")
    assert found is not None
    assert found.value_ms == 150.0
    assert run.figure("checkout", "p95", region="us-east-1") is None
    assert run.figure("browse", "p95") is None


def test_the_share_of_errors_is_of_all_that_are_judged() -> None:
    found = accepted({"checkout": 200.0, "browse": 20.0}, count=1_000, failed={"checkout": 50}).errors_of("checkout")

    assert found is not None
    assert found.ratio == 0.05


def test_runs_of_a_made_history_follow_each_other() -> None:
    runs = history(30, {"checkout": 100.0}) + history(2, {"checkout": 110.0}, first=30)

    assert sorted(run.started_at for run in runs) == [run.started_at for run in runs]
    assert len({run.run_id for run in runs}) == 32
