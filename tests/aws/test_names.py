"""Names that others write, too."""

from __future__ import annotations

from loadgen.aws.account import names
from loadgen.aws.account.names import (
    FLEET_NAME,
    PARAMETERS,
    PREFIXES,
    TAGS,
    group_name,
    launch_template_name,
    parameter,
)


def test_no_secret_is_below_what_agents_may_read() -> None:
    agents_may_read = "/loadgen/{fleet}/agent/"

    assert not names.CONTROLLER_SECRET_KEY.startswith(agents_may_read)
    assert not names.SECRET.startswith(agents_may_read)
    assert {p for p in PARAMETERS if p.startswith(agents_may_read)} == {
        names.CONTROLLER_ENDPOINT,
        names.CONTROLLER_PUBLIC_KEY,
        names.KILL,
    }


def test_no_prefix_of_the_bucket_is_within_another() -> None:
    assert not [(a, b) for a in PREFIXES for b in PREFIXES if a != b and b.startswith(a)]


def test_names_of_the_longest_fleet_are_not_too_long_for_aws() -> None:
    fleet, region = "a" * 32, "ap-southeast-7"

    assert FLEET_NAME.fullmatch(fleet)
    assert max(len(group_name(fleet, region)), len(launch_template_name(fleet, region))) <= 128
    assert all(len(tag) <= 128 and not tag.startswith("aws:") for tag in TAGS)


def test_parameter_has_the_fleet_and_the_secret_in_its_path() -> None:
    assert parameter(names.KILL, "shop") == "/loadgen/shop/agent/kill"
    assert parameter(names.SECRET, "shop", "API_TOKEN") == "/loadgen/shop/secrets/API_TOKEN"


def test_fleet_that_would_break_a_path_is_no_fleet() -> None:
    assert not [name for name in ("", "ab", "a/b", "Shop", "shop-", "-shop", "a" * 33) if FLEET_NAME.fullmatch(name)]
