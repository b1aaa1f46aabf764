"""The arguments of one load, and `--load`: what is wrong is found before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen import Plan, User, any_of, arrivals, journey, throughput, total
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import ScenarioError
from loadgen.units import NS_PER_S
from tests.support.scenarios import faults_of, write

HEAD = """
from loadgen import Http, Load, Plan, User, arrivals, checks, error_ratio, journey, p, per_load, trend

basket = trend("basket", unit="EUR")
depth = per_load("depth", int, default=3)
DAY = arrivals("10/s").hold("10s")

@journey
async def browse(user: User) -> None:
    await user.http.get("/")

@journey
async def buy(user: User) -> None:
    await user.http.get("/")

plan = Plan(target="http://127.0.0.1:1", drain="10s", slos=[p(95, journey="browse") < "1s", error_ratio() < "1%"],
    http=Http(resolve={"shop.example": "127.0.0.1"}), loads=[
    Load(browse, DAY, name="day"),
    Load(buy, DAY, name="spike", ARGUMENTS),
])
"""


def scenario(folder: Path, arguments: str = "") -> Path:
    return write(folder, HEAD.replace("ARGUMENTS", arguments))


def test_a_load_changes_the_settings_of_its_users_only(tmp_path: Path) -> None:
    path = scenario(tmp_path, 'params={depth: 8}, drain="15s", connections="fresh", http=Http(retries=2)')
    plan = load(path).plan
    day, spike = plan.lanes
    assert (day.settings, spike.settings) == ({}, {"depth": 8})
    assert (str(plan.ways_of(day).connections), str(plan.ways_of(spike).connections)) == ("kept", "fresh")
    assert (plan.ways_of(day).http.retries, plan.ways_of(spike).http.retries) == (0, 2)
    # Where connections go is the plan's: the target guard checks that.
    assert plan.ways_of(spike).http.resolve == plan.http.resolve == {"shop.example": ("127.0.0.1",)}
    spec = plan.spec()
    assert spec.drain_ns == 15 * NS_PER_S
    assert (spec.lanes[1].settings, spec.lanes[1].http, spec.lanes[1].connections) == (
        {"depth": 8},
        {"retries": 2},
        "fresh",
    )


def test_objectives_of_a_load_name_it(tmp_path: Path) -> None:
    plan = load(scenario(tmp_path, 'slos=[p(95) < "900ms"]')).plan
    objective = plan.spec().slos[-1]
    assert (objective.load, objective.text) == ("spike", 'p(95) < 900ms, load "spike"')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('params={"depth": 8}', "params: 'depth' is not a setting of loads"),
        ('params={depth: "8"}', "params: depth must be of type int, got '8'"),
        ("params=8", "params: 8 is not a dictionary"),
        ('drain="soon"', "drain: "),
        ('connections="old"', "connections: "),
        ('http=Http(proxy="http://127.0.0.1:3128")', "http: proxy= of a load is not supported"),
        ('http=Http(clock="kernel")', "http: clock= of a load is not supported: all loads have one clock"),
        ("http=3", "http: 3 is not an Http"),
        ("slos=[3]", "slos: 3 is not an objective"),
        (
            'slos=[p(95, journey="browse") < "1s"]',
            'p(95, journey="browse") < 1s, load "spike": the load has no journey',
        ),
        ('slos=[p(95, load="day") < "1s"]', 'p(95, load="day") < 1s: an objective of the load "spike" names another'),
        (
            "slos=[basket.mean() < 20]",
            'trend("basket").mean() < 20: checks and custom metrics are not kept for each load',
        ),
        (
            'slos=[checks("has results") > "99%"]',
            'checks("has results") > 99%: checks and custom metrics are not kept for each load',
        ),
        ('slos=[checks() > "99%"]', "checks() > 99%: checks and custom metrics are not kept for each load"),
        (
            'after="5s", slos=[p(95, window="11s") < "1s"]',
            'p(95, window="11s") < 1s, load "spike": the window is longer than the load, 10.0 s',
        ),
    ],
)
def test_a_wrong_argument_of_a_load_is_an_error_at_its_line(arguments: str, message: str, tmp_path: Path) -> None:
    path = scenario(tmp_path, arguments)
    (fault,) = faults_of(path)
    assert fault.message.startswith(message)
    assert arguments in path.read_text().splitlines()[fault.line - 1]


def test_objectives_of_a_load_without_a_name_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD.replace('name="spike", ARGUMENTS', 'slos=[p(95) < "1s"]'))
    (fault,) = faults_of(path)
    assert fault.message.startswith("slos of a load without a name")


def test_some_loads_run_without_the_objectives_of_the_others(tmp_path: Path) -> None:
    path = scenario(tmp_path, 'slos=[p(95) < "900ms"]')
    scenario_ = load(path, overrides=Overrides(loads=("spike",)))
    plan = scenario_.plan
    assert [lane.name for lane in plan.lanes] == ["spike"]
    assert [one.name for one in plan.journeys] == ["buy"]
    assert [one.text for one in plan.spec().slos] == ["error_ratio() < 1%", 'p(95) < 900ms, load "spike"']
    (warning,) = scenario_.warnings
    assert warning.message == 'p(95, journey="browse") < 1s is left out: its journey takes no part in this run'
    day = load(path, overrides=Overrides(loads=("day",)))
    assert [one.message for one in day.warnings] == [
        'p(95) < 900ms, load "spike" is left out: its load takes no part in this run'
    ]


def test_an_unknown_load_is_an_error_of_the_option(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(scenario(tmp_path), overrides=Overrides(loads=("spyke",)))
    (fault,) = caught.value.faults
    assert (fault.file, fault.message, fault.hint) == (
        "--load",
        'the plan has no load "spyke"',
        'did you mean "spike"?',
    )


def test_a_throughput_at_one_level_gets_the_time_of_that_level() -> None:
    @journey
    async def browse(user: User) -> None:
        await user.http.get("/")

    levels = arrivals().ramp(to="5/s", over="3s").levels(["5/s", "9/s"], each="20s", settle="4s")
    slos = [
        throughput("requests", tags={"level": "9/s"}) > "8/s",
        throughput("requests", tags={"level": any_of("5/s", "9/s")}) > "8/s",
        throughput("requests") > "1/s",
        total("requests", tags={"level": "9/s"}) > 8,
    ]
    plan = Plan(target="http://127.0.0.1:1", mix=browse, load=levels, slos=slos)

    spans = [(one.begin_ns, one.end_ns) for one in plan.spec().slos]

    assert spans == [(27 * NS_PER_S, 43 * NS_PER_S), (0, None), (0, None), (0, None)]
