"""The house standard in `programme.toml`, its exceptions, the facts about journeys, and lists of owners."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from loadgen.errors import ScenarioError, UsageError
from loadgen.programme.board.owners_file import read_owners
from loadgen.programme.board.standard_file import RuleException, Standard, StandardFile, read_standard


def read(place: Path, text: str) -> StandardFile:
    file = place / "programme.toml"
    file.write_text(text)
    return read_standard(file)


def faults(place: Path, text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        read(place, text)
    return [f"{one.line}: {one.message}" for one in caught.value.faults]


def test_standard_exceptions_and_journeys_are_read(tmp_path: Path) -> None:
    (tmp_path / "shop.py").touch()

    found = read(
        tmp_path,
        """
[standard]
runs = 5
gate_days = 14
capacity_days = false
headroom = 1.5
review = true
owner = false

[[standard.exceptions]]
journey = "refund"
rule = "capacity"
because = "sandbox"
by = "maria"
until = 2026-12-31

[journeys.checkout]
team = "payments"
product = "shop"
owner = "payments@shop.example"
scenario = "shop.py:peak"
endpoints = ["POST /checkout"]
value = 12.40
currency = "EUR"
live = false
forecast = {low = "300/s", high = "360/s", until = 2026-12-31}
""",
    )

    until = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert found.standard == Standard(True, False, 5, 14, 0, 1.5, True)
    assert found.exceptions == (RuleException("refund", "capacity", "sandbox", "maria", until),)
    checkout = found.journeys["checkout"]
    assert (checkout.team, checkout.owner, checkout.value, checkout.currency) == (
        "payments",
        "payments@shop.example",
        12.40,
        "EUR",
    )
    assert (checkout.is_live, checkout.forecast_high, checkout.has_scenario) == (False, 360.0, True)


def test_without_the_table_the_usual_standard_holds(tmp_path: Path) -> None:
    assert read(tmp_path, "").standard == Standard(True, True, 3, 7, 90, 0.0, False)


def test_all_errors_come_at_once_with_their_lines(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """[standard]
runs = -1
gate_day = 7
owner = "yes"
headroom = 0.5
capacity_days = 1.5

[[standard.exceptions]]
journey = "refund"
rule = "capacity"
because = "sandbox"
by = "maria"

[[standard.exceptions]]
journey = "refund"
rule = "capasity"
because = " "
by = "maria"
until = 2026-12-31
unitl = 1

[journeys.checkout]
value = 0
endpoints = ["checkout"]
ownr = "x"
team = 7
""",
    )

    assert found == [
        "2: invalid runs -1: must be a whole number, 0 to 1000",
        '3: unknown key "standard.gate_day"',
        '4: invalid owner "yes"',
        "5: invalid headroom 0.5: must be 1 to 100",
        "6: invalid capacity_days 1.5: must be a whole number, 0 to 3650",
        "8: exception 1: until must be a date",
        "14: exception 2: because is missing, empty, not a text, or longer than 300 characters",
        '14: exception 2: unknown key "unitl"',
        '14: exception 2: unknown rule "capasity"',
        "23: invalid value 0: must be above 0",
        '24: "checkout" is not an endpoint: it needs a method and a path',
        '25: unknown key "journeys.checkout.ownr"',
        "26: invalid team 7: must be a text of one line",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("standard = 1", "1: standard is not a table"),
        ("[standard]\nexceptions = 1", "2: standard.exceptions is not a list of tables"),
        ("[standard]\nexceptions = [1]", "2: exception 1 is not a table"),
        ("[standart]", '1: unknown key "standart"'),
    ],
)
def test_tables_of_the_wrong_kind_are_named(tmp_path: Path, text: str, says: str) -> None:
    assert says in faults(tmp_path, text)


def test_owners_of_codeowners_are_names_after_an_at_sign_and_addresses(tmp_path: Path) -> None:
    file = tmp_path / "CODEOWNERS"
    file.write_text("# @nobody\n*  @Shop/Core  dev@shop.example\n^[Payments][2] @pay\n/docs/ # @left\n/x\n")

    assert read_owners(file) == {"shop/core", "dev@shop.example", "pay"}


def test_a_list_has_one_owner_a_line(tmp_path: Path) -> None:
    file = tmp_path / "people.txt"
    file.write_text("# who is here\nMaria Meyer\n@pay # team\n\n")

    assert read_owners(file) == {"maria meyer", "pay"}


@pytest.mark.parametrize("data", [b"", b"# only\n", b"\xff\xfe"])
def test_a_list_without_owners_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "CODEOWNERS"
    file.write_bytes(data)

    with pytest.raises(UsageError):
        read_owners(file)
