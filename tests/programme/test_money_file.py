"""`programme.toml`: what journeys are worth, and the checklist of a launch."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.analysis.recommending.impact import Elasticity, Span
from loadgen.errors import ScenarioError
from loadgen.programme.launching.settings import read_settings
from loadgen.programme.money_file import Abandoned, Money, read_money
from loadgen.programme.recommending.launch_file import STANDARD, Launch, read_launch


def written(folder: Path, text: str) -> Path:
    file = folder / "programme.toml"
    file.write_text(text)
    return file


def test_what_a_journey_is_worth_is_read_as_the_specification_writes_it(tmp_path: Path) -> None:
    found = read_money(
        written(
            tmp_path,
            """
[journeys.checkout]
value = "12.40 EUR"
volume = "ledger"
purchase = "order"
elasticity = {per = "100ms", change = "-0.7 %", low = "-1.1 %", high = "-0.3 %", source = "own A/B test, 2026-05"}
abandoned = {share = "30%", low = "20%", high = "50%", source = "survey"}

[journeys.refund]
value = 3
currency = "USD"
volume = 41200
elasticity = {per_ms = 100, low = -0.02, high = 0.0, tested_ms = 200, kind = "published", source = "Z"}

[journeys.search]
live = false
""",
        )
    )

    own = Elasticity(100, Span(-0.007, -0.011, -0.003), "own A/B test, 2026-05")
    gave_up = Abandoned(Span(0.3, 0.2, 0.5), "survey")
    assert found["checkout"] == Money(12.40, "EUR", None, "order", own, gave_up)
    published = Elasticity(100, Span(-0.01, -0.02, 0.0), "Z", "published", 200)
    assert found["refund"] == Money(3, "USD", 41_200, "", published)
    assert found["search"] == Money()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('value = "0 EUR"', 'invalid value "0 EUR": must be above 0'),
        ('value = "-5 EUR"', "must be above 0"),
        ("value = 12.4", "the value has no currency"),
        ("value = nan", "invalid value nan"),
        ("value = true", "invalid value true"),
        ('value = "12.40 eur"', 'invalid currency "eur"'),
        ('value = "12 EUR"\ncurrency = "USD"', "nothing is converted"),
        ('currency = "EUR"', "a currency without a value"),
        ('currency = "Euro"', "three capital letters"),
        ("volume = 0", "invalid volume 0: must be purchases a week, above 0"),
        ('volume = "guess"', 'invalid volume "guess"'),
        ("purchase = 3", "invalid purchase 3"),
        ('elasticity = "-0.7 %"', "invalid elasticity"),
        ('elasticity = {low = -0.02, high = 0, source = "x"}', "elasticity has no per"),
        ('elasticity = {per = "100", low = -0.02, high = 0, source = "x"}', 'invalid per "100"'),
        ('elasticity = {per = "1s", per_ms = 5, low = -0.02, high = 0, source = "x"}', "exclude each other"),
        ('elasticity = {per = "1s", change = -0.01, source = "x"}', "has no low and no high"),
        ('elasticity = {per = "1s", change = -3, low = -4, high = 0, source = "x"}', "from -100 % to 100 %"),
        ('elasticity = {per = "1s", change = 0.1, low = -0.02, high = 0, source = "x"}', "low must be at most change"),
        ('elasticity = {per = "1s", low = -0.02, high = 0}', "elasticity has no source"),
        ('elasticity = {per = "1s", low = -0.02, high = 0, source = "x", kind = "guess"}', 'unknown kind "guess"'),
        ('elasticity = {per = "1s", low = -0.02, high = 0, source = "x", testd = "1s"}', "unknown key"),
        ('elasticity = {per = "1s", low = -0.02, high = 0, source = "x", tested = "0s"}', 'invalid tested "0s"'),
        ('abandoned = {share = "130%", low = "20%", high = "50%", source = "x"}', "from 0 % to 100 %"),
        ("abandoned = 0.3", "invalid abandoned 0.3"),
    ],
)
def test_each_wrong_value_is_an_error_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read_money(written(tmp_path, f"[journeys.checkout]\n{line}\n"))

    faults = caught.value.faults
    assert any(message in one.message for one in faults), [one.message for one in faults]
    assert all(one.line in (1, 2, 3) and one.hint for one in faults)


def test_the_checklist_has_standard_items_and_own_ones(tmp_path: Path) -> None:
    text = '[launch]\ntwo_people = true\nitems = ["rollback", "alerts"]\n[launch.own]\nlegal = "terms approved"\n'

    assert read_launch(written(tmp_path, text)) == Launch(
        {"rollback": STANDARD["rollback"], "alerts": STANDARD["alerts"], "legal": "terms approved"}, True
    )
    assert read_launch(written(tmp_path, '[launch]\nitems = "standard"\n')).items == STANDARD
    assert read_launch(written(tmp_path, "")) == Launch()


def test_all_errors_of_the_file_are_reported_at_once(tmp_path: Path) -> None:
    text = """
[decide]
runs = 0
[journeys.checkout]
value = "0 EUR"
[launch]
two_people = "yes"
items = ["rolback", "alerts", "alerts"]
thing = 1
[launch.own]
"Bad Name" = "text"
alerts = "again"
empty = ""
[publihs]
"""
    with pytest.raises(ScenarioError) as caught:
        read_settings(written(tmp_path, text))

    found = [(one.line, one.message) for one in caught.value.faults]
    assert [line for line, _ in found] == sorted(line for line, _ in found)
    messages = "\n".join(message for _, message in found)
    for part in (
        "runs",
        "0 EUR",
        "two_people",
        'unknown item "rolback"',
        "twice in items",
        "launch.thing",
        "Bad Name",
        "is in items already",
        "has no text",
        "publihs",
    ):
        assert part in messages
    assert len(found) == len(set(found))


@pytest.mark.parametrize("text", ["launch = 3", "[launch]\nitems = 3", "[launch]\nown = 3", "launch = []"])
def test_a_table_of_another_kind_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ScenarioError):
        read_launch(written(tmp_path, text))


def test_a_file_that_is_not_toml_has_one_error(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        read_settings(written(tmp_path, "[journeys\n"))

    assert len(caught.value.faults) == 1
