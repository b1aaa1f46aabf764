"""`loadgen capacity ceilings`: samples of a run's probes or of a CSV file, and the resource that ends first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from loadgen import open_run
from loadgen.capacity.ceilings.ceilings_study import Resource, ceilings_study
from loadgen.capacity.ceilings.csv_samples import read_samples
from loadgen.capacity.ceilings.samples import Samples, joined, samples_of_run, together
from loadgen.errors import ScenarioError
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.probes.journal import Begin, Journal, NewRows, NewSeries, ProbeOfRun, Sample, Zero
from loadgen.probes.rows import Row, Series
from loadgen.studies.page import as_page
from loadgen.units import NS_PER_S
from loadgen.wire import codec
from loadgen_controller.cli import app
from tests.support.deltas import FakeAgent, journey_key
from tests.support.past_runs import manifest_of, spec_of

RUN = "20261124-170312-shop-a1b2"
LEVELS = [10, 20, 30, 40, 50]
SECONDS = 100
T0 = 1_000 * NS_PER_S


def rate_at(second: int) -> int:
    return LEVELS[second * len(LEVELS) // SECONDS]


@pytest.fixture(scope="module")
def run_with_a_probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staircase of 100 s, and a probe whose gauge is 5 + 1.2 * rate in %, and whose counter runs at 3 * rate."""
    folder = RunDir.create(tmp_path_factory.mktemp("runs"), RUN)
    folder.write_manifest(manifest_of(RUN, "shop.py", spec_of(SECONDS, 50)))
    agents, rng = [FakeAgent("agent-1"), FakeAgent("agent-2")], np.random.default_rng(1)
    for second in range(SECONDS):
        for agent in agents:
            done = {journey_key(): [10_000_000] * (rate_at(second) // 2)}
            folder.append(codec.encode(agent.delta(done)))
    folder.sync()
    folder.close()
    rows = (
        Row(key="cpu", title="CPU", kind="gauge", names=("cpu",), unit="%"),
        Row(key="calls", title="calls", kind="counter", names=("calls",), unit="1/s"),
        Row(key="cache_hits", title="hits", kind="gauge", names=("hits",), unit="%"),
    )
    series = tuple(Series(name, "value", name) for name in ("cpu", "calls", "cache_hits"))
    journal = Journal(folder.path)
    journal.append(
        Begin(2, "2026-11-29T10:00:00Z", T0 - 5 * NS_PER_S, (ProbeOfRun("shop", "shop:80", NS_PER_S),)),
        Zero(T0),
        NewRows(0, rows),
        NewSeries(0, 0, series),
    )
    calls = 0.0
    for second in range(-3, SECONDS + 3):
        before = rate_at(second - 1) if 1 <= second <= SECONDS else 0
        calls += 3 * before
        at = T0 + second * NS_PER_S
        cpu = 5 + 1.2 * before + rng.normal(0, 0.5)
        journal.append(Sample(0, at - 1000, at + 1000, (0, 1, 2), (cpu, calls, 99.0)))
    journal.close()
    return folder.path


def ceilings(*options: object) -> Any:
    return CliRunner().invoke(app, ["capacity", "ceilings", *map(str, options)], env={"COLUMNS": "300"})


def test_a_sample_of_a_run_has_the_rate_of_the_second_before_it(run_with_a_probe: Path) -> None:
    samples = {one.name: one for one in samples_of_run(open_run(run_with_a_probe))}
    cpu, calls = samples["shop.cpu"], samples["shop.calls"]
    assert cpu.unit == "%"
    assert cpu.period_s == pytest.approx(1)
    assert len(cpu.rates) == SECONDS  # those before and after the load are left out
    assert cpu.rates.tolist() == pytest.approx([rate_at(second) for second in range(SECONDS)])
    assert calls.uses == pytest.approx(3 * calls.rates)


def test_the_ceiling_of_a_run_is_found(run_with_a_probe: Path) -> None:
    done = ceilings(run_with_a_probe, "--json", "-", "--policy", "60%")
    assert done.exit_code == 0
    study = json.loads(done.stdout)
    (found,) = study["facts"]["resources"]  # shares of hits are no resource, and calls have no limit
    assert (study["facts"]["first"], study["run_ids"]) == ("shop.cpu", [RUN])
    assert found["slope"] == pytest.approx(1.2, rel=0.01)
    assert 44 < found["ceiling"] < 55 / 1.2
    assert found["mean_low"] < 55 / 1.2 < found["mean_high"]


def test_a_resource_that_is_not_in_percent_needs_a_limit_of_its_own(run_with_a_probe: Path) -> None:
    done = ceilings(run_with_a_probe, "--resource", "shop.calls<120", "--resource", "shop.cpu", "--json", "-")
    facts = json.loads(done.stdout)["facts"]
    assert facts["first"] == "shop.calls"
    assert facts["ceiling"] == pytest.approx(40, rel=0.01)
    refused = ceilings(run_with_a_probe, "--resource", "shop.calls", "--resource", "shop.cpus<5", "--resource", "<5")
    assert refused.exit_code == 2
    assert "is not NAME or NAME<LIMIT" in refused.output


def test_unknown_resources_and_wrong_units_are_reported_together(run_with_a_probe: Path) -> None:
    done = ceilings(
        run_with_a_probe, "--resource", "shop.calls", "--resource", "shop.cpus<5", "--resource", "shop.cpu<5s"
    )
    assert done.exit_code == 2
    for said in ("no samples of shop.cpus", '"shop.cpu" is in "%"', '"shop.calls" is not in %'):
        assert said in done.output


def test_a_run_without_probes_is_refused(tmp_path: Path) -> None:
    folder = RunDir.create(tmp_path, RUN)
    folder.write_manifest(manifest_of(RUN, "shop.py", spec_of(SECONDS, 50)))
    folder.close()
    done = ceilings(folder.path)
    assert (done.exit_code, "no probe has a row in %" in done.output) == (2, True)


def made(rates: np.ndarray, slope: float, name: str = "cpu", seed: int = 1, period_s: float | None = 1.0) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples(name, "%", rates, 5 + slope * rates + rng.normal(0, 1, len(rates)), period_s)


STAIRS = np.repeat([100.0, 150.0, 200.0, 250.0, 300.0], 30)


def test_the_smallest_ceiling_is_named_first_and_others_follow() -> None:
    study = ceilings_study(
        "t", [Resource(made(STAIRS, 0.2, "CPU"), 65), Resource(made(STAIRS, 0.25, "connections", 2), 70)]
    )
    assert study.result == "decided"
    first, second = study.headline.split(", ")
    assert first.startswith("first at its limit: connections at 25")
    assert second.startswith("then CPU at 29")


def test_a_ceiling_beyond_the_samples_is_a_bound_and_a_number_only_if_wanted() -> None:
    resources = [Resource(made(STAIRS, 0.1), 70)]
    study, wanted = ceilings_study("t", resources), ceilings_study("t", resources, extrapolate=True)
    assert (study.result, study.facts["ceiling"]) == ("not decided", None)
    assert study.headline == "no resource reaches its limit up to 360/s, 1.2 times the largest rate of the samples"
    assert study.facts["resources"][0]["above"] == 360
    assert wanted.facts["is_extrapolated"]
    assert "(extrapolated)" in wanted.headline


def test_a_resource_above_its_policy_at_all_rates_is_the_answer() -> None:
    study = ceilings_study("t", [Resource(made(STAIRS, 0.2), 10), Resource(made(STAIRS, 0.2, "disk"), 60)])
    assert study.headline == "above the policy at the lowest rates already: cpu"
    assert study.facts["ceiling"] == 0


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (made(STAIRS, 0.2, period_s=20), "a sample each 20 s"),
        (made(STAIRS[::6], 0.2), "25 samples, but at least 30"),
        (made(np.full(60, 100.0), 0.2), "all rates are in one point"),
    ],
)
def test_samples_that_cannot_be_used_are_refused_with_the_reason(samples: Samples, why: str) -> None:
    study = ceilings_study("t", [Resource(samples, 70)])
    assert study.result == "invalid"
    assert any(line.startswith(f"refused: cpu: {why}") for line in study.lines)
    both = ceilings_study("t", [Resource(samples, 70), Resource(made(STAIRS, 0.25, "disk"), 70)])
    assert both.result == "decided"


def test_a_name_from_outside_is_harmless_on_the_page() -> None:
    page = as_page(ceilings_study("<b>t", [Resource(made(STAIRS, 0.25, "<script>cpu"), 70)])).decode()
    assert "<script" not in page
    assert "<b>t" not in page


def test_several_runs_are_put_together() -> None:
    ((both,),) = [together([[made(STAIRS, 0.2)], [made(STAIRS * 2, 0.2, period_s=5)]])]
    assert (len(both.rates), both.period_s) == (300, 5)


def test_a_sample_with_a_gap_is_counted_and_left_out() -> None:
    rows = [
        {"probe": "shop", "metric": "cpu", "statistic": "value", "unit": "%", "at_s": at, "length_s": 0.0, "value": use}
        for at, use in ((1.0, 10.0), (2.0, None), (3.0, 30.0), (99.0, 1.0))
    ]
    (found,) = joined(rows, np.array([0.0, 10.0]), np.array([0.0, 100.0]))
    assert (found.uses.tolist(), found.rates.tolist(), found.missing) == ([10, 30], [10, 10], 1)


CSV = "at_s,rate,cpu %,queue\n" + "".join(f"{n},{rate},{5 + rate / 5},{n % 3}\n" for n, rate in enumerate(STAIRS))


def test_a_csv_file_has_a_column_for_each_resource() -> None:
    cpu, queue = read_samples("\ufeff" + CSV, "samples.csv")
    assert (cpu.name, cpu.unit, cpu.period_s, queue.unit) == ("cpu", "%", 1, "")
    assert cpu.rates.tolist() == STAIRS.tolist()


def test_all_errors_of_a_csv_file_are_reported_with_their_lines() -> None:
    with pytest.raises(ScenarioError) as caught:
        read_samples("rate,cpu %\n1,x\n1\n1,inf\n1,\n", "samples.csv")
    assert [fault.line for fault in caught.value.faults] == [2, 3, 4]
    with pytest.raises(ScenarioError, match=r"samples\.csv:3: the times fall"):
        read_samples("at_s,rate,cpu\n5,1,1\n4,1,1\n", "samples.csv")


@pytest.mark.parametrize("text", ["", "a,b\n", "rate\n1\n", "at_s,rate\n", "rate,cpu,CPU\n1,2,3\n", 'rate,cpu\n"1,2'])
def test_a_file_without_a_rate_and_a_resource_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text(text)
    assert ceilings(tmp_path / "samples.csv").exit_code in (2, 4)


@given(st.text('0123456789,.-e \\n"\\x00', max_size=80))
def test_any_text_is_samples_or_an_error(text: str) -> None:
    try:
        found = read_samples(f"rate,cpu\n{text}", "samples.csv")
    except ScenarioError:
        return
    assert len(found) == 1


def test_samples_without_a_time_are_errors_because_their_distance_is_checked() -> None:
    with pytest.raises(ScenarioError) as caught:
        read_samples("at_s,rate,cpu %\n,1,1\n\n60,1,1_0\n", "samples.csv")
    assert [(fault.line, fault.message) for fault in caught.value.faults] == [(4, '"1_0" is not a number')]
    with pytest.raises(ScenarioError) as caught:
        read_samples("at_s,rate,cpu %\n,1,1\n\n60,1,1\n40,2,2\n", "samples.csv")
    assert [(fault.line, fault.message) for fault in caught.value.faults] == [
        (2, "the time is missing"),
        (5, "the times fall"),
    ]


def test_a_resource_with_two_limits_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text(CSV)
    done = ceilings(tmp_path / "samples.csv", "--resource", "cpu<60%", "--resource", "cpu<50%")
    assert done.exit_code == 2
    assert "cpu is named twice" in done.output


def test_a_csv_file_without_a_column_in_percent_is_told_how_to_mark_one(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text(CSV.replace("cpu %", "cpu"))
    assert "end the name of a column in percent with %" in ceilings(tmp_path / "samples.csv").output
