"""What a fleet keeps in the Parameter Store, read by an agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.account.parameters import Controller, Hidden, Parameters
from loadgen.errors import FleetError, UsageError
from loadgen.wire.curve_keys import KeyPair
from tests.support.aws import FLEET, REGION, client, emptied, isolated, made_fleet, running_aws

PUBLIC = KeyPair.new().public
CANARY = "canary-of-the-parameters"
SECRETS = {f"name-{n:02}": f"{CANARY}-{n}" for n in range(12)}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_aws() as url:
        yield url


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    isolated(monkeypatch, tmp_path, emptied(server))
    made_fleet(server, "10.0.0.7:5557", PUBLIC, **SECRETS)
    return server


def test_controller_is_found_by_the_name_of_the_fleet(url: str) -> None:
    assert Parameters(Clients(), REGION, FLEET).controller() == Controller("10.0.0.7:5557", PUBLIC)
    with pytest.raises(FleetError, match=r"the fleet other has no controller yet.*endpoint and .*public-key"):
        Parameters(Clients(), REGION, "other").controller()
    with pytest.raises(FleetError, match="no controller yet"):  # parameters are those of a region
        Parameters(Clients(), "us-east-1", FLEET).controller()
    with pytest.raises(UsageError, match="invalid fleet name"):
        Parameters(Clients(), REGION, "../other")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no", ""),
        ("nobody knows", ""),
        ("yes", "no reason given"),
        ("YES the shop is down", "the shop is down"),
        ("yes \x1b[31mred", "\\x1b[31mred"),
        ("yes " + "x" * 900, "x" * 200),
    ],
)
def test_kill_flag_says_yes_with_its_reason(url: str, value: str, reason: str) -> None:
    client(url, "ssm").put_parameter(Name=f"/loadgen/{FLEET}/agent/kill", Value=value, Overwrite=True)
    found = Parameters(Clients(), REGION, FLEET).kill_reason()
    assert found == (f"the fleet's kill flag is set: {reason}" if reason else "")


def test_fleet_without_a_kill_flag_goes_on(url: str) -> None:
    client(url, "ssm").delete_parameter(Name=f"/loadgen/{FLEET}/agent/kill")
    assert Parameters(Clients(), REGION, FLEET).kill_reason() == ""


def test_secrets_come_decrypted_over_several_pages_and_show_themselves_nowhere(url: str) -> None:
    found = Parameters(Clients(), REGION, FLEET).secrets()
    assert {name: value.reveal() for name, value in found.items()} == SECRETS
    assert CANARY not in f"{found} {found['name-01']} {found['name-01']!r} {found['name-01']:>9}"
    assert found["name-01"] == Hidden(f"{CANARY}-1") != Hidden(f"{CANARY}-2")
