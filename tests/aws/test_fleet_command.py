"""`loadgen fleet`, as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.aws.account.fleet_context import ReadRegistry
from loadgen.aws.scale import reaping
from loadgen.aws.scale.machine_states import Registration
from loadgen.errors import ExitCode
from loadgen_controller import cli
from loadgen_controller.commands import fleet
from tests.support.aws_fleet import REGIONS, Answers, Aws


def loadgen(*args: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(one) for one in args], env={"COLUMNS": "200"})


@pytest.fixture
def made(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fleet; its controller has each machine registered as soon as that runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fleet, "Clients", lambda: aws.clients)
    monkeypatch.setattr(fleet, "registry_reader", lambda _: aws.all_registered())
    monkeypatch.setattr(reaping, "enabled_regions", lambda *_: list(REGIONS))
    return aws.write(tmp_path, aws.make_fleet())


def test_from_nothing_to_some_agents_and_back(aws: Aws, made: Path) -> None:
    up = loadgen("fleet", "up", "eu-west-1=1,us-east-1=2")
    assert (up.exit_code, aws.count()) == (0, 3)
    assert "3 agents, at most 0.60 USD an hour; AWS ends them at" in up.output
    assert "eu-west-1: 1 registered" in up.output
    assert "up: 3 agents are registered, 3 of them new" in up.output

    rows = json.loads(loadgen("fleet", "ls", "--json").stdout)
    assert [(row["region"], row["standing"]) for row in rows].count(("us-east-1", "registered")) == 2
    assert "c7i.xlarge" in loadgen("fleet", "ls").output

    cost = json.loads(loadgen("fleet", "cost", "--json").stdout)
    assert (cost["machines"], cost["usd_per_hour"]) == (3, 0.6)

    assert "would be ended: registered" in loadgen("fleet", "down", "--dry-run").output
    assert "down: 3 machines are gone" in loadgen("fleet", "down").output
    assert "nothing to reap in 3 regions" in loadgen("fleet", "reap", "--all").output
    assert "nothing to take down" in loadgen("fleet", "down").output


def test_number_alone_is_spread_over_the_regions(made: Path) -> None:
    planned = loadgen("fleet", "plan", "6")

    assert (planned.exit_code, planned.output.count(" 3 ")) == (0, 2)


def test_plan_and_dry_run_change_nothing(aws: Aws, answers: Answers, made: Path) -> None:
    answers.asked.clear()

    assert loadgen("fleet", "plan", "3").exit_code == loadgen("fleet", "up", "3", "--dry-run").exit_code == 0

    changing = ("Put", "Set", "Create", "Update", "Terminate", "Delete")
    assert not [operation for operation, _ in answers.asked if operation.startswith(changing)]
    assert not list(made.parent.glob("*.jsonl"))


def test_all_that_is_wrong_on_the_line_is_told_at_once(made: Path) -> None:
    result = loadgen("fleet", "up", "three", "--ttl", "soon", "--wait", "x", "--controller", "nowhere")

    assert (result.exit_code, result.output.count("error:")) == (ExitCode.USAGE, 4)


def test_region_that_the_fleet_does_not_have_is_told_with_those_that_it_has(made: Path) -> None:
    result = loadgen("fleet", "up", "eu-west-9=1")

    assert result.exit_code == ExitCode.USAGE
    assert "fleet shop has no region eu-west-9" in result.output
    assert "use one of eu-west-1, us-east-1" in result.output


def test_without_credentials_it_says_where_they_come_from(
    aws: Aws, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(made.parent)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)

    result = loadgen("fleet", "ls")

    assert result.exit_code == ExitCode.USAGE
    assert "NoCredentialsError" in result.output
    assert "AWS_PROFILE" in result.output


def test_fleet_of_a_laptop_that_died_is_reaped_with_yes_only(aws: Aws, made: Path) -> None:
    loadgen("fleet", "up", "eu-west-1=2", "--ttl", "1h")

    seen = loadgen("fleet", "reap", "--all")
    assert "nothing was ended; add --yes to end them" in seen.output
    assert aws.count() == 2

    assert "ended 2 machines, and set 1 groups to 0 machines" in loadgen("fleet", "reap", "--all", "--yes").output
    assert aws.count() == 0


def test_down_in_mid_run_ends_with_a_usage_error(aws: Aws, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loadgen("fleet", "up", "eu-west-1=1")

    def working() -> ReadRegistry:
        return lambda: [Registration(one.agent, "here", "20261126-run") for one in aws.all_registered()()]

    monkeypatch.setattr(fleet, "registry_reader", lambda _: working())
    assert loadgen("fleet", "down").exit_code == ExitCode.USAGE
    assert aws.count() == 1
    assert loadgen("fleet", "down", "--force").exit_code == 0


def test_refused_by_aws_it_ends_as_a_failure_of_the_fleet(aws: Aws, answers: Answers, made: Path) -> None:
    answers.codes["SetDesiredCapacity", "*"] = "Throttling"

    result = loadgen("fleet", "up", "eu-west-1=1")

    assert (result.exit_code, aws.count()) == (ExitCode.FLEET, 0)
    assert "AWS returned Throttling" in result.output


def test_each_change_is_in_the_audit_beside_the_fleet_file(made: Path) -> None:
    loadgen("fleet", "up", "eu-west-1=1")

    deeds = [json.loads(line)["deed"] for line in (made.parent / "fleet.audit.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(deeds)) == ["set expiry", "label", "set desired"]
