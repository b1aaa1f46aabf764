"""What `loadgen sweep --fleet --scale` says about the cost of its machines, and how long it needs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from loadgen.analysis.factors.design import full
from loadgen.analysis.factors.factor import Factor
from loadgen.analysis.factors.order import run_order
from loadgen.aws.account.fleetfile import read
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.sweep.lifecycle import remaining
from loadgen.sweep.plan import SweepPlan
from loadgen.units import NS_PER_S
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.sweep_parts.conduct_sweep import rules_of
from loadgen_controller.commands.sweep_parts.forecast_sweep import spec_of_runs
from loadgen_controller.commands.sweep_parts.plan_sweep import cost_of
from loadgen_controller.launch.aws_fleet import HireRequest
from loadgen_controller.launch.run_location import Placement
from tests.support.aws_fleet import Aws

SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def look(user: User) -> None:
    await user.http.get("/")

plan = Plan(target="http://127.0.0.1:1", load=arrivals("1/s").hold("5m"), mix=look, regions={"eu-west-1": 1})
"""
DESIGN = full((Factor("a", ("1", "2")), Factor("b", ("1", "2"))))
PLAN = SweepPlan(
    sweep_id="s",
    file="look.py",
    plan="plan",
    target="http://127.0.0.1:1",
    bundle_sha256="",
    files={},
    design=DESIGN,
    order=run_order(DESIGN, 2, 1),
    repeats=2,
    seed=1,
    responses=("p99",),
)


@pytest.fixture
def spec(tmp_path: Path) -> PlanSpec:
    (tmp_path / "look.py").write_text(SCENARIO)
    return load(tmp_path / "look.py").plan.spec()


def placed(aws: Aws, folder: Path, scale: int | None, ttl_s: int = 8 * 3600) -> Placement:
    made = aws.make_fleet()
    made["policy"] = {**made.get("policy", {}), "ttl_s": ttl_s}
    path = aws.write(folder, made)
    return Placement(folder, hire=HireRequest(read(path), path, scale))


def test_cost_is_the_highest_price_of_all_agents_for_as_long_as_they_may_live(
    aws: Aws, tmp_path: Path, spec: PlanSpec
) -> None:
    placement, errors = placed(aws, tmp_path, 3), CollectedErrors()
    tasks = remaining(rules_of(PLAN), ())

    text = cost_of(errors, placement, PLAN, tasks, [spec] * 4)

    assert placement.hire is not None
    per_hour = 3 * placement.hire.file.regions["eu-west-1"].dearest
    hours = (8 * 300 + 7 * 90 + 1800) / 3600  # load, drain and start between runs, spare time
    assert not errors.found
    assert text.startswith(f"3 agents, at most {per_hour:.2f} USD an hour")
    assert text.endswith(f"at most {per_hour * hours:.2f} USD")
    by_day = replace(PLAN, block="day")
    text = cost_of(errors, placement, by_day, remaining(rules_of(by_day), ()), [spec] * 4)
    assert text.endswith(f"at most {per_hour * (4 * 300 + 3 * 90 + 1800) / 3600:.2f} USD a block")


def test_sweep_that_the_policy_of_the_fleet_would_end_is_an_error_before_it_starts(
    aws: Aws, tmp_path: Path, spec: PlanSpec
) -> None:
    errors = CollectedErrors()

    cost_of(errors, placed(aws, tmp_path, 3, ttl_s=1800), PLAN, remaining(rules_of(PLAN), ()), [spec] * 4)

    assert "8 runs need the agents for" in str(errors.found[0])


def test_sweep_without_scale_costs_nothing(aws: Aws, tmp_path: Path, spec: PlanSpec) -> None:
    tasks = remaining(rules_of(PLAN), ())
    assert cost_of(CollectedErrors(), Placement(tmp_path), PLAN, tasks, [spec] * 4) == (
        "none: the agents are on this machine"
    )
    placement = placed(aws, tmp_path, None)
    placement.listen = "127.0.0.1:1"
    assert cost_of(CollectedErrors(), placement, PLAN, tasks, [spec] * 4) == "none: the agents are running anyway"


def test_mean_run_has_the_mean_duration_of_the_cells_and_the_time_of_the_command(spec: PlanSpec) -> None:
    long = msgspec.structs.replace(spec, duration_ns=900 * NS_PER_S)
    tasks = remaining(rules_of(PLAN), ())

    assert spec_of_runs(tasks, [spec, spec, spec, long], has_between=False).duration_ns == 450 * NS_PER_S
    assert spec_of_runs(tasks, [spec] * 4, has_between=True).duration_ns == 360 * NS_PER_S
    endless = msgspec.structs.replace(spec, duration_ns=None)
    assert spec_of_runs(tasks, [spec, spec, spec, endless], has_between=True).duration_ns is None
