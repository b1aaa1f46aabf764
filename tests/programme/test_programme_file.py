"""`programme.toml`: what it says, and all of its errors at once with their lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loadgen.errors import ScenarioError
from loadgen.programme.recommending.facts import Forecast, JourneyFacts, Rules
from loadgen.programme.recommending.programme_file import Programme, read_programme


def read(place: Path, text: str | bytes) -> Programme:
    file = place / "programme.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_programme(file)


def test_facts_and_thresholds_are_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
[decide]
runs = 5
detectable = "3%"
slower = 0.2
headroom = 1.5
capacity_days = 30

[journeys.checkout]
plan = "shop.py:peak"
forecast = {low = "300/s", high = 360, until = 2026-12-31}

[journeys.refund]
live = false
""",
    )

    assert found.rules == Rules(5, 0.03, 0.2, 1.5, {"headroom": timedelta(days=30)})
    until = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert found.journeys["checkout"] == JourneyFacts(True, "shop.py:peak", Forecast(300, 360, until))
    assert found.journeys["refund"] == JourneyFacts(False)


def test_all_errors_are_reported_with_their_lines(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(
            tmp_path,
            """[decide]
runs = 0
detectabel = "3%"
slower = "130%"
headroom = .9

[journeys.checkout]
live = "yes"
plan = "peak"
forecast = {low = "400/s", high = "360/s", until = 2026-12-31}

[journeys.refund]
forecast = {low = "0/s", high = "x"}

[standart]
""".replace(".9", "0.9"),
        )

    lines = [(fault.line, fault.message) for fault in caught.value.faults]
    assert [line for line, _ in lines] == sorted(line for line, _ in lines) or len(lines) >= 9
    text = "\n".join(f"{line}: {message}" for line, message in lines)
    for expected in (
        "2: invalid runs 0",
        '3: unknown key "decide.detectabel"',
        '4: invalid slower "130%"',
        "5: invalid headroom 0.9",
        '8: invalid live "yes"',
        '9: invalid plan "peak"',
        "10: the low end of the forecast is above its high end",
        '13: invalid rate "0/s"',
        '13: invalid rate "x"',
        "13: the forecast needs the date",
        '15: unknown key "standart"',
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[decide", "invalid TOML"),
        ("decide = 3", "decide is not a table"),
        ("[journeys]\ncheckout = 3", "journeys.checkout is not a table"),
        ("[journeys.checkout]\nforecast = 3", "invalid forecast 3"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a" * (1 << 21), "larger than 1 MiB"),
        ("a = " + "[" * 20_000, "invalid TOML|nested"),
        ("[decide]\nheadroom = nan", "invalid headroom nan"),
        ("[decide]\nslower = inf", "invalid slower inf"),
    ],
)
def test_broken_files_give_a_sentence(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        read(tmp_path, text)


def test_an_empty_file_a_byte_order_mark_and_other_line_ends_are_fine(tmp_path: Path) -> None:
    assert read(tmp_path, "").rules == Rules()
    assert read(tmp_path, b"\xef\xbb\xbf[decide]\r\nruns = 4\r\n").rules.least_runs == 4
