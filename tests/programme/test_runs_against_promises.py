"""Runs of our own against the promises of production: samples, their rows in the history, and `slo status --run`."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from loadgen.analysis.attainment.sample import interval_of_run
from loadgen.errors import ExitCode
from loadgen.history.store.parquet_run import COLUMNS, from_parquet, to_parquet
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import SloCounts
from loadgen.measure.objectives.objective import Objective as Judged
from loadgen.measure.objectives.objective import evaluate
from loadgen.parquet import read_table
from loadgen.programme.promises.objectives import (
    Method,
    Objective,
    Query,
    RatioIndicator,
    RawRatioIndicator,
    RollingWindow,
    Threshold,
)
from loadgen.programme.runs.against_promises import RunAgainst, run_against, slo_counts
from loadgen.programme.runs.sample_text import STRICTER
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_MS
from loadgen_controller import cli
from tests.support.accepted import accepted
from tests.support.past_runs import past_run

RUN_ID = "20261124-170312-shop-a1b2"
PROMISE = """apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout-fast
  annotations: {loadgen.dev/owner: payments@shop.example, loadgen.dev/journey: checkout, loadgen.dev/threshold: 300ms}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 4w, isRolling: true}]
  objectives: [{target: 0.95}]
  indicator:
    metadata: {name: ratio}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: good_total}}}
        total: {metricSource: {type: Prometheus, spec: {query: all_total}}}
"""


def promise(name: str = "checkout-fast", **changes: Any) -> Objective:
    fields: dict[str, Any] = {
        "service": "shop",
        "target": Decimal("0.95"),
        "window": RollingWindow(28 * 86_400),
        "indicator": RatioIndicator(Query(), Query()),
        "threshold": Threshold(Decimal(300), "ms"),
        "journey": "checkout",
        "owner": "payments@shop.example",
    }
    return Objective(name, **(fields | changes))


def against(tmp_path: Path, *promises: Objective, **how: Any) -> tuple[RunAgainst, ...]:
    return run_against(
        open_run(past_run(tmp_path, **({"seconds": 30, "per_s": 20, "sigma": 0.2} | how))), promises or (promise(),)
    )


# -- samples ----------------------------------------------------------------------------------------


def test_the_sample_has_the_counts_of_the_objective_with_the_same_formula(tmp_path: Path) -> None:
    run = open_run(past_run(tmp_path, failing=0.02, seconds=30))
    (exact,) = evaluate(Judged(kind="percentile", text="p(95) < 120ms", limit=120.0 * NS_PER_MS, q=95.0), run.merge)

    (found,) = run_against(run, [promise(threshold=Threshold(Decimal("0.12"), "s"))])

    assert found.sample is not None
    assert (found.sample.requests, found.sample.requests - found.sample.bad) == (exact.count, exact.good)
    assert exact.count > 1_000


def test_the_interval_is_that_of_five_batches_of_whole_seconds(tmp_path: Path) -> None:
    # All requests of 6 of 60 seconds fail, and no other: 40 bad ones a second.
    run = open_run(past_run(tmp_path, failing=lambda second: float(second in range(30, 36)), seconds=60))

    (found,) = run_against(run, [promise(threshold=None, target=Decimal("0.99"))])

    assert found.sample is not None
    bad = np.where(np.isin(np.arange(60), range(30, 36)), 40.0, 0.0)
    expected = interval_of_run(40.0 - bad, np.full(60, 40.0), target="0.99")
    assert found.sample.design_effect > 5
    assert found.sample.design_effect == pytest.approx(expected.design_effect, rel=0.15)
    assert found.word == expected.state


def test_a_run_is_shown_with_its_interval_and_the_promise(tmp_path: Path) -> None:
    (found,) = against(tmp_path)

    assert found.word == "kept"
    # Wilson's interval without a bad request begins at n / (n + t²): 600 / (600 + 2.776²) is 98.73 %.
    assert found.text == "kept under this load: 100.0 % (95 %: 98.7 to 100.0 %) of 600 requests against 95 %"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"method": Method.TIMESLICES, "slice_s": 60}, "it counts slices (Timeslices), and a run counts requests"),
        ({"indicator": RawRatioIndicator(Query())}, "a raw ratio has no counts"),
        ({"threshold": Threshold(Decimal(5), "MB")}, "its threshold 5MB is not a time"),
    ],
)
def test_promises_that_no_run_can_be_counted_for_are_shown_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    (found,) = against(tmp_path, promise(**changes))

    assert (found.word, found.sample) == ("not judged", None)
    assert why in found.text


def test_only_promises_whose_journey_the_run_has_are_there(tmp_path: Path) -> None:
    found = against(tmp_path, promise("a"), promise("b", journey="refund"), promise("c", journey=""))

    assert [one.promise.name for one in found] == ["a"]


@pytest.mark.parametrize("result", ["incomplete", "interrupted", "error", "invalid"])
def test_a_run_that_could_not_measure_has_no_sample(tmp_path: Path, result: str) -> None:
    (found,) = against(tmp_path, seconds=2, facts={"result": result})

    assert found.word == "not judged"
    assert found.why.startswith("the run has no valid sample: ")


def test_a_run_of_a_few_seconds_is_too_short(tmp_path: Path) -> None:
    (found,) = against(tmp_path, seconds=6)

    assert found.word == "too short"
    assert "make the run longer" in found.text
    (stored,) = slo_counts([found])
    assert isnan(stored.low)


# -- rows of the history ----------------------------------------------------------------------------


def test_the_history_stores_the_sample_of_each_promise_as_a_row(tmp_path: Path) -> None:
    run = replace(
        accepted({"checkout": 100.0}), slos=slo_counts(against(tmp_path, promise(), promise("b", threshold=None)))
    )

    data = to_parquet(run)

    assert from_parquet(data).slos[0] == run.slos[0]
    assert isnan(from_parquet(data).slos[1].threshold_ms)
    assert [one.slo for one in from_parquet(data, kind="journey").slos] == ["checkout-fast", "b"]
    _, columns = read_table(data, [name for name, _ in COLUMNS])
    rows = [n for n, statistic in enumerate(columns["statistic"]) if statistic == "slo"]
    assert [columns["name"][n] for n in rows] == ["checkout-fast", "b"]
    assert (columns["count"][rows[0]], columns["errors"][rows[0]], columns["value_ms"][rows[0]]) == (600, 0, 300.0)
    assert json.loads(columns["why"][rows[0]])["owner"] == "payments@shop.example"


def test_the_owner_is_not_in_the_key_and_files_without_samples_are_unchanged() -> None:
    run = accepted({"checkout": 100.0})
    sample = SloCounts("a", "checkout", "maria", 0.99, nan, 10, 1)

    assert replace(run, slos=(sample,)).key.hash() == run.key.hash()
    assert b"maria" not in to_parquet(run)
    assert from_parquet(to_parquet(run)).slos == ()


# -- commands ---------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one promise and one run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slos").mkdir()
    (tmp_path / "slos/checkout.yaml").write_text(PROMISE)
    past_run(tmp_path / "runs", RUN_ID, seconds=30, per_s=20, sigma=0.2)
    return tmp_path


def loadgen(*args: str) -> Result:
    result = CliRunner().invoke(cli.app, list(args), env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_status_of_a_run_stands_beside_production_with_the_note(shop: Path) -> None:
    found = loadgen("slo", "status", "--run", "last", "--explain")
    document = json.loads(loadgen("slo", "status", "--run", RUN_ID, "--format", "json").stdout)

    assert found.exit_code == ExitCode.PASSED, found.output
    assert f"run {RUN_ID}: 1 of 1 promise kept under its load" in found.output
    assert STRICTER in found.output
    assert "checkout-fast: kept under this load: 100.0 % (95 %: 98.7 to 100.0 %)" in found.output
    assert "production: no data: the ledger has no counts of it in this time" in found.output
    assert "600 good of 600 requests" in found.output
    (one,) = document["promises"]
    assert (one["good"], one["of"], one["state"], document["note"]) == (600, 600, "kept", STRICTER)
    assert one["low"] < one["attainment"] == one["high"]
    assert one["production"] == {"state": "no data", "attainment": None, "to": None}


def test_status_of_a_run_below_a_promise_is_1_and_of_a_short_one_3(shop: Path) -> None:
    past_run(shop / "runs", "20261124-180000-shop-slow", level_ms=400.0, seconds=30, per_s=20)
    past_run(shop / "runs", "20261124-190000-shop-tiny", seconds=4)

    slow, tiny = (loadgen("slo", "status", "--run", f"20261124-{text}") for text in ("18", "19"))

    assert (slow.exit_code, tiny.exit_code) == (ExitCode.FAILED, ExitCode.INCOMPLETE)
    assert "not kept under this load" in slow.output
    assert "too short under this load" in tiny.output


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--run", "2020"), "2020"),
        (("--run", "last", "--notify"), "--run and --notify exclude each other"),
    ],
)
def test_wrong_arguments_are_named(shop: Path, args: tuple[str, ...], why: str) -> None:
    found = loadgen("slo", "status", *args)

    assert found.exit_code == ExitCode.USAGE
    assert why in found.output


def test_a_run_without_the_journey_of_a_promise_is_named(shop: Path) -> None:
    path = shop / "slos/checkout.yaml"
    path.write_text(PROMISE.replace("journey: checkout", "journey: refund"))

    found = loadgen("slo", "status", "--run", "last")

    assert found.exit_code == ExitCode.USAGE
    assert "has no journey of a promise; the promises name refund" in found.output


def test_an_accepted_run_has_its_samples_in_the_history(shop: Path) -> None:
    added = loadgen("history", "add", "last")

    assert added.exit_code == 0, added.output
    (run,) = Store.open("history").get([RUN_ID])
    assert [(one.slo, one.owner, one.total, one.bad, one.state) for one in run.slos] == [
        ("checkout-fast", "payments@shop.example", 600, 0, "kept")
    ]


def test_faulty_promises_do_not_keep_a_run_out_of_the_history(shop: Path) -> None:
    (shop / "slos/checkout.yaml").write_text("kind: [")

    added = loadgen("history", "add", "last")

    assert added.exit_code == 0, added.output
    assert "note: the history gets no counts for promises" in added.output
    (run,) = Store.open("history").get([RUN_ID])
    assert run.slos == ()
