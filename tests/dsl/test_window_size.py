"""Windows that are too small are warned of when the scenario is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.objectives.window_size import needed_count
from loadgen.dsl.plans.spec import Overrides
from tests.support.scenarios import write

SCENARIO = """
from loadgen import Load, Plan, User, arrivals, error_ratio, iterations, journey, p, users

@journey
async def browse(user: User) -> None:
    async with user.step("list"):
        await user.http.get("/")

@journey
async def buy(user: User) -> None:
    await user.http.get("/buy")

plan = Plan(target="http://127.0.0.1:1", {})
"""


def warnings(folder: Path, plan: str, **overrides: object) -> list[str]:
    path = write(folder, SCENARIO.format(plan))
    return [one.message for one in load(path, overrides=Overrides(**overrides)).warnings]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budget", "dispersion", "used", "count"),
    [(0.05, 1.5, 0.5, 1_920), (0.01, 1.5, 0.5, 9_600), (0.05, 1.0, 0.0, 320), (0.01, 2.0, 0.8, 80_000)],
)
def test_needed_count_is_that_of_the_formula(budget: float, dispersion: float, used: float, count: int) -> None:
    """16 φ / ((1 - x)² β), by hand."""
    assert needed_count(budget, dispersion=dispersion, used=used) == count


def test_window_of_too_few_iterations_is_warned_of_with_the_planned_count(tmp_path: Path) -> None:
    found = warnings(tmp_path, 'mix=browse, load=arrivals("50/s").hold("5m"), slos=[p(99, window="10s") < "1s"]')
    assert found == [
        'p(99, window="10s") < 1s: a window has at most 500 iterations of browse; below 9,600, a sound target breaks'
        " the objective by chance"
    ]


def test_remedy_is_a_window_that_is_long_enough_for_the_rate(tmp_path: Path) -> None:
    plan = 'mix=browse, load=arrivals("50/s").hold("10m"), slos=[p(95, window="10s") < "1s"]'
    (warning,) = load(write(tmp_path, SCENARIO.format(plan))).warnings
    assert (
        warning.hint == "write a window of at least 39.0 s, raise the rate, or leave out window= to judge the whole run"
    )
    assert warnings(tmp_path, plan.replace('"10s"', '"39s"')) == []


def test_each_journey_counts_by_its_weight(tmp_path: Path) -> None:
    plan = 'mix={browse: 9, buy: 1}, load=arrivals("100/s").hold("5m"), slos=[p(95, window="1m") < "1s"]'
    (found,) = warnings(tmp_path, plan)
    assert "at most 600 iterations of buy" in found


def test_rates_of_several_loads_add_up(tmp_path: Path) -> None:
    loads = 'loads=[Load(browse, arrivals("20/s").hold("5m")), Load(browse, arrivals("20/s").hold("5m"))]'
    assert warnings(tmp_path, f'{loads}, slos=[p(95, window="1m") < "1s"]') == []


def test_the_objective_of_a_load_counts_only_its_own_rate(tmp_path: Path) -> None:
    loads = 'loads=[Load(browse, arrivals("90/s").hold("5m"), name="day"), Load(browse, SPIKE, name="spike", SLOS)]'
    plan = loads.replace("SPIKE", 'arrivals("20/s").hold("5m")').replace("SLOS", 'slos=[p(95, window="1m") < "1s"]')
    (found,) = warnings(tmp_path, plan)
    assert "at most 1,200 iterations of browse" in found


def test_region_counts_by_its_share(tmp_path: Path) -> None:
    plan = (
        'mix=browse, load=arrivals("40/s").hold("5m"), regions={"eu": 1, "us": 3},'
        ' slos=[p(95, window="1m", region="eu") < "1s", p(95, window="1m") < "1s"]'
    )
    (found,) = warnings(tmp_path, plan)
    assert "at most 600 iterations of browse" in found


def test_rate_of_the_command_line_counts(tmp_path: Path) -> None:
    plan = 'mix=browse, load=arrivals("50/s").hold("5m"), slos=[p(95, window="1m") < "1s"]'
    assert warnings(tmp_path, plan) == []
    assert len(warnings(tmp_path, plan, peak=10.0)) == 1


def test_step_counts_once_an_iteration_of_all_journeys(tmp_path: Path) -> None:
    plan = 'mix={browse: 1, buy: 1}, load=arrivals("20/s").hold("5m"), slos=[p(95, window="1m", step="list") < "1s"]'
    (found,) = warnings(tmp_path, plan)
    assert "a window has at most 1,200 iterations; below 1,920" in found


@pytest.mark.parametrize(
    "plan",
    [
        'mix=browse, load=arrivals("5/s").hold("5m"), slos=[p(99) < "1s"]',
        'mix=browse, load=users(5).hold("5m"), slos=[p(99, window="10s") < "1s"]',
        'mix=browse, load=arrivals("5/s").hold("5m"), slos=[p(99, window="10s", request="GET /") < "1s"]',
        'mix=browse, load=arrivals("5/s").hold("5m"), slos=[p(100, window="10s") < "1s"]',
    ],
)
def test_whole_runs_and_unknown_counts_are_not_warned_of(tmp_path: Path, plan: str) -> None:
    assert warnings(tmp_path, plan) == []


def test_users_with_a_pace_have_a_known_rate(tmp_path: Path) -> None:
    plan = 'mix=browse, load=users(10).hold("5m").pace("1s"), slos=[error_ratio(window="1m") < "1%"]'
    (found,) = warnings(tmp_path, plan)
    assert "at most 600 iterations of browse; below 9,600" in found
