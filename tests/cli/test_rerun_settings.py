"""`loadgen runs rerun -P`: the settings of the earlier run stay, and the given ones are changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import ScenarioError
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.planning.scenario import load_scenario

SCENARIO = '''"""Two pools."""
from loadgen import Plan, User, arrivals, journey, param

settle, payout = param("settle", int, default=0), param("payout", int, default=0)


@journey
async def visit(user: User) -> None:
    await user.http.get("/")


plan = Plan(target="http://127.0.0.1:9", load=arrivals("1/s").hold("1s"), mix=visit)
'''


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "pools.py"
    path.write_text(SCENARIO)
    return str(path)


def test_one_setting_is_changed_and_the_others_are_those_of_the_earlier_run(scenario: str) -> None:
    base = Overrides(params={"settle": "8", "payout": "8"})

    changed = load_scenario(CollectedErrors(), scenario, params=["payout=0"], base=base, is_sending=False)
    same = load_scenario(CollectedErrors(), scenario, base=base, is_sending=False)

    assert changed.plan.spec().params == {"settle": 8, "payout": 0}
    assert same.plan.spec().params == {"settle": 8, "payout": 8}
    assert base.params == {"settle": "8", "payout": "8"}


def test_an_unknown_setting_is_an_error_that_names_it(scenario: str) -> None:
    base = Overrides(params={"settle": "8"})

    with pytest.raises((ScenarioError, ExceptionGroup)) as caught:
        load_scenario(CollectedErrors(), scenario, params=["payuot=0"], base=base, is_sending=False)

    assert "payuot" in f"{caught.value} {getattr(caught.value, 'exceptions', '')}"
