"""`loadgen capacity size`: its options, its sources of capacity, and all errors at once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loadgen.capacity.find.find_study import Condition, study_of_find
from loadgen.capacity.find.found_capacity import judge_searches
from loadgen.history.store.store import Store
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import DAY_S, Slice
from loadgen.studies.files import as_json
from loadgen_controller.cli import app
from tests.support.made_searches import held_run, search_run

KNOWN = ["--peak", "2000/s", "--growth", "20%", "--headroom", "1.25", "--capacity", "230/s", "--zones", "3"]


def size(*options: object) -> Any:
    return CliRunner().invoke(app, ["capacity", "size", *map(str, options)], env={"COLUMNS": "300"})


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)


def found_study(kind: str = "capacity find", **capacity: object) -> dict[str, Any]:
    figures = {"low": 210.0, "point": 230.0, "high": 250.0, "is_extrapolated": False} | capacity
    return {"format": 1, "kind": kind, "title": "t", "result": "decided", "facts": {"capacity": figures}}


def test_the_known_example_is_printed_and_written(tmp_path: Path) -> None:
    done = size(
        *KNOWN, "--json", "size.json", "--html", "size.html", "--csv", "size.csv", "--store", tmp_path / "store"
    )
    assert done.exit_code == 0
    assert "21 instances in 3 zones for 2,400/s: 14 are needed, and the loss of one zone leaves 14" in done.output
    facts = json.loads((tmp_path / "size.json").read_text())["facts"]
    assert (facts["need"], facts["instances"]) == (14, 21)
    assert (tmp_path / "size.html").read_text().startswith("<!doctype html>")
    (record,) = Store.open(str(tmp_path / "store")).studies("capacity size")
    assert record.id == "C-1"


def test_the_capacity_comes_from_a_file_or_from_the_history(tmp_path: Path) -> None:
    (tmp_path / "find.json").write_text(json.dumps(found_study()))
    Store.open(str(tmp_path / "store")).add_study(found_study())
    for given in (["find.json"], ["C-1", "--store", tmp_path / "store"]):
        done = size("--peak", "2000/s", "--capacity", *given, "--json", "-")
        assert json.loads(done.stdout)["facts"]["inputs"]["capacity"]["low"] == 210


@pytest.mark.parametrize(
    ("study", "said"),
    [
        (found_study("capacity fit", is_extrapolated=True), "is extrapolated"),
        (found_study("sweep"), "which has no capacity"),
        ({"format": 9, "kind": "capacity find"}, "has format 9"),
        ({"kind": 1}, "is not the JSON document of a study"),
    ],
)
def test_a_study_that_has_no_usable_capacity_is_refused(tmp_path: Path, study: dict[str, Any], said: str) -> None:
    (tmp_path / "find.json").write_text(json.dumps(study))
    done = size("--peak", "2000/s", "--capacity", "find.json")
    assert done.exit_code == 2
    assert said in done.output


def test_what_find_and_fit_write_is_read(tmp_path: Path) -> None:
    searches = [search_run(rate) for rate in (78.0, 80.0, 82.0)]
    found = judge_searches(searches, 3, is_confirmation_wanted=True, held=held_run(), is_restarted=True)
    study = study_of_find(found, searches, held_run(), Condition(instances=4, restart="make restart"), "shop.py:peak")
    (tmp_path / "find.json").write_bytes(as_json(study))
    done = json.loads(size("--peak", "2000/s", "--capacity", "find.json", "--json", "-").stdout)
    capacity = done["facts"]["inputs"]["capacity"]
    assert capacity["low"] == study.facts["low_per_s"] / 4
    assert capacity["level"] == 0.9
    assert not any("before you buy" in line for line in done["lines"])

    loads = "1,64.9 18,995.9 36,1652.4 72,1853.2 108,1828.9 144,1775.0 216,1702.2".replace(" ", "\n")
    (tmp_path / "measured.csv").write_text(f"users,tps\n{loads}\n")
    fitted = CliRunner().invoke(app, ["capacity", "fit", "measured.csv", "--json", "fit.json"])
    assert fitted.exit_code == 0, fitted.output
    done = json.loads(size("--peak", "20000/s", "--capacity", "fit.json", "--json", "-").stdout)
    assert done["facts"]["inputs"]["capacity"]["point"] == pytest.approx(1884, abs=1)
    assert any("which may miss an objective" in line for line in done["lines"])


def test_a_record_without_a_store_is_refused() -> None:
    done = size("--peak", "2000/s", "--capacity", "C-1")
    assert (done.exit_code, "no store is named" in done.output) == (2, True)


def test_limits_come_from_loadgen_toml_and_an_option_replaces_them(tmp_path: Path) -> None:
    (tmp_path / "loadgen.toml").write_text('[limits]\npsp = "300/s"\nsearch = 9000\n')
    done = size(*KNOWN)
    assert done.exit_code == 1
    assert "psp serves at most 300/s, which 2 instances already serve" in done.output
    assert size(*KNOWN, "--limit", "psp=4000/s").exit_code == 0


def test_wrong_limits_in_loadgen_toml_are_errors_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "loadgen.toml").write_text('[limits]\npsp = "fast"\nsearch = 0\nmail = true\n')
    done = size(*KNOWN)
    assert done.exit_code == 2
    for line, said in ((2, 'limits.psp: invalid rate "fast"'), (3, "limits.search is 0/s"), (4, "limits.mail is not")):
        assert f"loadgen.toml:{line}: {said}" in done.output


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text('{"region": "us-east-1", "usd_per_hour": {"c7i.large": 0.089}}')
    done = size(
        "--growth=-120%", "--headroom", "0.5", "--capacity", "0/s", "--zones", "0", "--limit", "psp", "--price", "0",
        "--prices", "prices.json", "--instance-type", "c7i.large", "--region", "eu-west-1", "--draws", "1",
    )  # fmt: skip
    assert done.exit_code == 2
    for said in (
        "the peak is missing", "--growth: -120% must be above -100 %", "--headroom: 0.5 must be at least 1",
        "--capacity: 0/s must be above 0", "--zones is 0", "--limit: 'psp' is not NAME=RATE",
        "--price: 0 must be above", "--price and --prices both set the price", "--draws is 1",
        "has prices of us-east-1, not of eu-west-1",
    ):  # fmt: skip
        assert said in done.output, said


def test_a_capacity_in_other_units_than_the_peak_is_noticed() -> None:
    done = size("--peak", "99999999999/s", "--capacity", "0.001/s")
    assert (done.exit_code, "check the units of --peak and --capacity" in done.output) == (2, True)


def test_low_above_high_is_refused() -> None:
    done = size("--peak", "2400..1800/s", "--capacity", "230/s")
    assert (done.exit_code, "low and high must rise" in done.output) == (2, True)


def test_a_forecast_sets_the_peak_and_shows_the_week_in_which_todays_instances_end(tmp_path: Path) -> None:
    rows = "".join(f"2026-W{30 + n},{1800 + 100 * n},{2000 + 100 * n},{2300 + 100 * n}\n" for n in range(10))
    (tmp_path / "peak.csv").write_text(f"week,low,point,high\n{rows}")
    done = size(
        "--forecast", "peak.csv", "--instances", "21", "--capacity", "230..250/s", "--zones", "3", "--json", "-"
    )
    study = json.loads(done.stdout)
    assert study["title"] == "instances for a peak of 2026-W39 of 2,900/s"
    crossing = study["facts"]["crossing"]
    assert crossing["plan"] == "2026-W36"  # 14 * 230 / 1.25 = 2,576
    assert crossing["earliest"] < crossing["plan"]
    assert crossing["latest"] is None  # after the end of the forecast
    assert 0.5 < crossing["share_of_draws"] < 1


def test_fewer_than_8_past_weeks_without_a_range_are_refused(tmp_path: Path) -> None:
    (tmp_path / "peak.csv").write_text("week,peak\n" + "".join(f"2026-W{30 + n},{2000 + n}\n" for n in range(7)))
    done = size("--forecast", "peak.csv", "--capacity", "230/s")
    assert (done.exit_code, "growth cannot be seen in fewer than 8" in done.output) == (2, True)


def test_past_peaks_become_a_forecast_by_their_trend(tmp_path: Path) -> None:
    rows = "".join(f"2026-W{10 + n},{2000 * 1.01**n * (1.02 if n % 2 else 0.98)}\n" for n in range(20))
    (tmp_path / "peak.csv").write_text("week,peak\n" + rows)
    done = size("--forecast", "peak.csv", "--capacity", "230/s", "--horizon", "8", "--json", "-")
    weeks = json.loads(done.stdout)["facts"]["forecast"]
    assert [week["week"] for week in weeks] == [f"2026-W{30 + n}" for n in range(8)]
    assert weeks[-1]["point"] == pytest.approx(2000 * 1.01**27, rel=0.02)
    assert weeks[-1]["low"] < weeks[-1]["point"] < weeks[-1]["high"]


def test_a_forecast_and_a_peak_or_a_growth_are_refused_together(tmp_path: Path) -> None:
    (tmp_path / "peak.csv").write_text("week,low,point,high\n2026-W30,1,2,3\n")
    done = size(*KNOWN, "--forecast", "peak.csv")
    assert done.exit_code == 2
    assert "--peak and --forecast both set the peak" in done.output
    assert "--growth and --forecast both set the growth" in done.output


def test_options_that_would_not_count_are_errors(tmp_path: Path) -> None:
    done = size(*KNOWN, "--horizon", 9, "--mean-rate", "9/s", "--limit", "psp=3000/s", "--limit", "psp=4000/s")
    assert done.exit_code == 2
    for said in ("--horizon needs a forecast", "--mean-rate is for the cost", "--limit: 'psp' is given twice"):
        assert said in done.output
    forecast = tmp_path / "peak.csv"
    forecast.write_text("week,low,point,high\n2026-W30,1800,2000,2300\n")
    done = size("--forecast", forecast, "--capacity", "230/s", "--horizon", 9)
    assert done.exit_code == 2
    assert "--horizon is for past peaks" in done.output


def test_a_column_of_a_forecast_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    forecast = tmp_path / "peak.csv"
    forecast.write_text("week,low,low,point,high\n2026-W30,1800,10,2000,2300\n")
    done = size("--forecast", forecast, "--capacity", "230/s")
    assert done.exit_code == 2
    assert "2 columns are named low" in done.output


def test_a_missing_study_cannot_be_read() -> None:
    assert "cannot read nowhere.json" in size("--peak", "1/s", "--capacity", "nowhere.json").output


def ledger_of(store: Path, weeks: int, *names: str) -> None:
    """A ledger of daily slices, whose peak grows by a tenth each week from 1,000/s; the last week has just ended."""
    monday = (int(time.time()) // DAY_S - 4) // 7 * 7 + 4  # day 4 of Unix time was a Monday
    for name in names:
        counts = [round(DAY_S * (1_000 if n % 7 == 4 else 10) * 1.1 ** (n // 7)) for n in range(7 * weeks)]
        slices = [Slice(name, DAY_S * (monday - 7 * weeks + n), DAY_S, 0, count) for n, count in enumerate(counts)]
        Ledger.open(str(store)).write("prod", slices)


def test_the_peaks_of_a_promise_in_the_ledger_are_past_peaks(tmp_path: Path) -> None:
    ledger_of(tmp_path / "history", 8, "checkout-fast")
    options = ("--capacity", "230/s", "--store", tmp_path / "history", "--horizon", "1")

    shown = size("--forecast", "ledger", *options).output
    facts = json.loads(size("--forecast", "checkout-fast", *options, "--json", "-").stdout)["facts"]

    assert facts["forecast"][0]["point"] == pytest.approx(1000 * 1.1**8, rel=0.02)
    assert "ledger, checkout-fast, highest requests/s of a slice: trend of 8 weeks (+10 % a week)" in shown


def test_a_forecast_that_is_not_there_is_named(tmp_path: Path) -> None:
    ledger_of(tmp_path / "history", 1, "checkout-fast", "search-fast")
    for given, said in (
        ("ledger", "the ledger has 2 promises: checkout-fast, search-fast"),
        ("ledger:none", "no such file, and no promise with this name in"),
        ("pek.csv", "cannot read pek.csv"),
        ("search-fast", "the ledger has 1 whole week of search-fast: growth cannot be seen in fewer than 8"),
    ):
        done = size("--forecast", given, "--capacity", "230/s", "--store", tmp_path / "history")

        assert done.exit_code == 2
        assert said in " ".join(done.output.split())
