"""A search in place of a plan's load: the same for the command line and for every agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides, PlanSpec, SteeredLoad
from loadgen.errors import ScenarioError

SHOP = '''"""A shop."""
from loadgen import Load, Plan, User, arrivals, error_ratio, hold, journey, p, search, users


@journey
async def front(user: User) -> None:
    await user.http.get("/")


URL = "http://127.0.0.1:9"
peak = Plan(URL, arrivals("50/s").hold("1m"), front, slos=[p(99) < "1s", error_ratio(window="9s", abort=True) < "50%"])
people = Plan(URL, users(5).hold("1m"), front, warmup="auto")
late = Plan(URL, loads=[Load(front, arrivals("9/s").hold("1m"), name="a", after="10s")])
two = Plan(URL, loads=[Load(front, arrivals("9/s").hold("1m")), Load(front, arrivals("5/s").hold("1m"))])
own = Plan(URL, search(p(95) < "200ms", start="20/s", upto="160/s", duration="20m", tolerance="10%"), front)
held = Plan(URL, hold(p(95) < "200ms", upto="160/s", duration="20m"), front)
'''


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.py"
    path.write_text(SHOP)
    return path


def spec(shop: Path, plan: str, steered: SteeredLoad) -> PlanSpec:
    sent = Overrides(steered=steered, seed=3).to_json()
    return load(shop, plan, Overrides.from_json(sent)).plan.spec()


def test_a_search_takes_the_place_of_arrivals_and_of_users(shop: Path) -> None:
    search = SteeredLoad(word="search", objectives=("p(99)<300ms",), start_per_s=20, upto_per_s=80, duration_s=60)
    for plan in ("peak", "people", "late"):
        made = spec(shop, plan, search)

        assert made.load == "search p(99) < 300ms: 20.0/s to 80.0/s, at most 1m"
        assert made.lanes[0].after_ns == 0
        assert not made.warmup_is_found
        assert made.slos == () or all(one.abort for one in made.slos)


def test_objectives_that_stop_a_run_stay_and_a_constant_rate_is_judged_by_those_of_the_search(shop: Path) -> None:
    constant = SteeredLoad(word="constant", objectives=("p(99)<300ms",), upto_per_s=76.5, duration_s=600)
    made = spec(shop, "peak", constant)

    assert [one.text for one in made.slos] == ['error_ratio(window="9s", abort=True) < 50%', "p(99) < 300ms"]
    assert (made.peak, made.duration_ns, made.lanes[0].steering) == (76.5, 600 * 10**9, None)


@pytest.mark.parametrize("plan", ["own", "held"])
def test_a_search_of_the_plan_gives_what_the_options_leave_out(shop: Path, plan: str) -> None:
    made = spec(shop, plan, SteeredLoad(word="search"))
    steering = made.lanes[0].steering

    assert steering is not None
    assert [one.text for one in steering.objectives] == ["p(95) < 200ms"]
    assert steering.upto_per_s == 160
    assert [one.text for one in spec(shop, plan, SteeredLoad(word="constant", upto_per_s=9, duration_s=9)).slos] == [
        "p(95) < 200ms"
    ]


@pytest.mark.parametrize(
    ("plan", "steered", "message"),
    [
        ("people", SteeredLoad(word="search", objectives=("p(99)<1s",)), "the highest allowed rate is unknown"),
        ("peak", SteeredLoad(word="search"), "no objective is given"),
        ("two", SteeredLoad(word="search", objectives=("p(99)<1s",)), "the plan has 2 loads, and a search replaces"),
        ("peak", SteeredLoad(word="search", objectives=("p(99)<1s",), start_per_s=900), "is above upto"),
        ("peak", SteeredLoad(word="search", objectives=("p(99)<oops",)), "invalid duration"),
    ],
)
def test_what_cannot_be_searched_is_a_fault_of_an_option(
    shop: Path, plan: str, steered: SteeredLoad, message: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        spec(shop, plan, steered)

    faults = [fault for fault in caught.value.faults if message in fault.message]
    assert faults
    assert faults[0].file.startswith("--")
    assert faults[0].hint
