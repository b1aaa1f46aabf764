"""`loadgen run --fleet --scale`: agents come before the run and go after it, however it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from loadgen.aws.account.fleet_context import Site
from loadgen.aws.account.fleetfile import read
from loadgen.aws.scale.machine_states import Registration
from loadgen.aws.scale.scale_up import Terms
from loadgen.dsl.loading.loader import load
from loadgen.errors import ExitCode, FleetError
from loadgen_controller import cli
from loadgen_controller.api.address import Place
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.launch import aws_fleet as hiring
from loadgen_controller.launch.aws_fleet import HireRequest, hired
from tests.support.aws_fleet import Answers, Aws, Jumping, site_of

PLACE = Place("127.0.0.1:1")
SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def look(user: User) -> None:
    await user.http.get("/")

plan = Plan(
    target="http://127.0.0.1:1", load=arrivals("1/s").hold("10m"), mix=look, regions={"eu-west-1": 2, "us-east-1": 1}
)
"""


def loadgen(*args: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(one) for one in args], env={"COLUMNS": "200"})


@pytest.fixture
def site(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(hiring, "registry_reader", lambda _: aws.all_registered())
    before = signal.getsignal(signal.SIGTERM)
    yield site_of(aws, aws.make_fleet(regions=("eu-west-1",)), tmp_path, Jumping())
    assert signal.getsignal(signal.SIGTERM) is before


TWO = Terms({"eu-west-1": 2})


def test_agents_are_there_within_and_gone_after(aws: Aws, site: Site) -> None:
    told: list[str] = []

    with hired(site, TWO, PLACE, told.append) as raised:
        assert (raised.registered, aws.count()) == ({"eu-west-1": 2}, 2)

    assert aws.count() == 0
    assert told == ["up: 2 agents are registered", "taking down 2 machines", "down: 2 machines are gone"]


def test_run_that_fails_takes_its_agents_along(aws: Aws, site: Site) -> None:
    with pytest.raises(FleetError, match="the run"), hired(site, TWO, PLACE, lambda _: None):
        raise FleetError("the run failed")

    assert aws.count() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_terminal_that_is_closed_takes_them_along(aws: Aws, site: Site, number: signal.Signals) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    try:
        with pytest.raises(KeyboardInterrupt), hired(site, TWO, PLACE, lambda _: None):
            os.kill(os.getpid(), number)
    finally:
        signal.signal(signal.SIGINT, before)

    assert aws.count() == 0


def test_agents_that_were_there_before_stay(aws: Aws, site: Site) -> None:
    aws.clients.client("autoscaling", "eu-west-1").set_desired_capacity(
        AutoScalingGroupName=site.file.regions["eu-west-1"].asg, DesiredCapacity=1
    )
    (before,) = aws.machines()["eu-west-1"]

    with hired(site, TWO, PLACE, lambda _: None) as raised:
        assert len(raised.new) == 1

    assert aws.machines()["eu-west-1"] == [before]


def test_run_that_still_goes_on_is_stopped_first(aws: Aws, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Client:
        def ask(self, ask: Any) -> None:
            asked.append((ask.do, ask.run_id, aws.count()))

    def read_registry() -> list[Registration]:
        return [Registration(one.agent, "here", "" if asked else "a-run") for one in aws.all_registered()()]

    monkeypatch.setattr(hiring, "call", lambda _, do: do(Client()))
    monkeypatch.setattr(hiring, "registry_reader", lambda _: read_registry)

    with hired(site, TWO, PLACE, lambda _: None):
        pass

    assert (asked, aws.count()) == ([("stop", "a-run", 2)], 0)


def test_fleet_that_cannot_be_taken_down_says_when_it_ends_by_itself(aws: Aws, site: Site, answers: Answers) -> None:
    told: list[str] = []
    site.warn = told.append

    with pytest.raises(FleetError), hired(site, TWO, PLACE, lambda _: None):
        answers.codes["TerminateInstanceInAutoScalingGroup", "*"] = "Throttling"

    assert "the fleet is still running: AWS ends it at" in told[0]
    assert [one["DesiredCapacity"] for one in aws.expiries("eu-west-1")] == [0]


# -- what is asked for ----------------------------------------------------------------------------


@pytest.fixture
def look(tmp_path: Path) -> Path:
    path = tmp_path / "look.py"
    path.write_text(SCENARIO)
    return path


@pytest.fixture
def terms_of(aws: Aws, look: Path, tmp_path: Path) -> Callable[[int | dict[str, int]], tuple[Terms | None, list[str]]]:
    path = aws.write(tmp_path, aws.make_fleet())

    def terms(scale: int | dict[str, int]) -> tuple[Terms | None, list[str]]:
        wrongs = CollectedErrors()
        made = HireRequest(read(path), path, scale).terms(wrongs, load(look).plan.spec())
        return made, [str(one) for one in wrongs.found]

    return terms


Asked = Callable[[int | dict[str, int]], tuple[Terms | None, list[str]]]


def test_number_alone_is_spread_by_the_plans_weights(terms_of: Asked) -> None:
    terms, wrong = terms_of(9)

    assert terms is not None
    assert (terms.wish, wrong) == ({"eu-west-1": 6, "us-east-1": 3}, [])


def test_time_of_the_fleet_is_that_of_the_load_and_half_an_hour(terms_of: Asked) -> None:
    terms, _ = terms_of(3)

    assert terms is not None
    assert terms.ttl_s == timedelta(minutes=40).total_seconds()


def test_several_runs_need_the_fleet_for_as_long_as_all_of_them(aws: Aws, look: Path, tmp_path: Path) -> None:
    made = aws.make_fleet()
    made["policy"] = {**made.get("policy", {}), "ttl_s": 2 * 3600}
    path, wrongs = aws.write(tmp_path, made), CollectedErrors()
    hire, spec = HireRequest(read(path), path, 3), load(look).plan.spec()

    terms = hire.terms(wrongs, spec, runs=4)

    assert terms is not None
    each_s = 600 + 30 + 60  # load, drain, and what is between two
    assert terms.ttl_s == 4 * each_s - 90 + 1800
    assert not wrongs.found
    hire.terms(wrongs, spec, runs=12)
    assert "12 runs need the agents for 2h" in str(wrongs.found[0])
    assert "but the policy of the fleet ends them after 2h" in str(wrongs.found[0])


def test_regions_of_plan_and_scale_have_to_be_the_same(terms_of: Asked) -> None:
    _, wrong = terms_of({"eu-west-1": 1, "ap-southeast-1": 1})

    assert wrong == [
        "the plan needs agents in us-east-1, and --scale has none there",
        "--scale ap-southeast-1: the plan does not use this region, so its agents would be idle",
    ]


def test_what_does_not_go_together_is_told_at_once(look: Path) -> None:
    result = loadgen("run", look, "--scale", "3", "--wait", "3")

    assert result.exit_code == ExitCode.USAGE
    assert "--scale needs --fleet" in result.output
    assert "--wait cannot be used with --scale" in result.output


def test_fleet_file_that_is_wrong_is_told_with_the_other_faults(look: Path, tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text("{}")

    result = loadgen("run", look, "--fleet", tmp_path / "fleet.json", "--scale", "x", "--duration", "soon")

    assert (result.exit_code, result.output.count("error:")) == (ExitCode.USAGE, 3)
    assert "invalid fleet file" in result.output
