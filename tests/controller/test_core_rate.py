"""What rate a core drives, and how many workers a plan needs: arithmetic, and the reading of past runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import InvalidError
from loadgen.measure.deltas.delta import Delta, Health, WorkerHealth
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.wire import codec
from loadgen_controller.planning.core_rate.rate import (
    MEASURED,
    CoreRate,
    Probed,
    core_facts,
    core_lines,
    is_too_much,
    rate_of,
    usable_cores,
    workers_for,
)
from loadgen_controller.planning.core_rate.rate_of_run import busiest, rate_of_last_run
from loadgen_controller.planning.forecast import Forecast, Tried, forecast
from tests.support.deltas import FakeAgent, request_key
from tests.support.scenarios import write

CORE = CoreRate(20.0, MEASURED)
"""It drives 20,000 requests/s on time."""
SOURCE = """
from loadgen import Plan, User, arrivals, journey, users


@journey
async def look(user: User) -> None:
    await user.http.get("/")


plan = Plan(target="http://127.0.0.1:1", load={load}, mix=look, regions={{"us": 0.75, "eu": 0.25}})
"""


def spec_of(folder: Path, load_text: str) -> PlanSpec:
    return load(write(folder, SOURCE.format(load=load_text))).plan.spec()


def found_of(folder: Path, load_text: str = 'arrivals("200000/s").hold("5s")', requests: int | None = None) -> Forecast:
    return forecast(spec_of(folder, load_text), [] if requests is None else [Tried("look", requests, 0.1, 0.0)])


def text_of(found: Forecast, core: CoreRate = CORE, cores: int = 2) -> dict[str, str]:
    return dict(core_lines(core, workers_for(found, core), cores))


def test_a_core_is_planned_at_two_fifths_of_what_fills_it_so_that_it_can_catch_up() -> None:
    core = rate_of(Probed(took_s=2.0, cpu_s=1.9, requests=95_000, errors=0))
    assert core.cpu_us == pytest.approx(20.0)
    assert core.requests_per_s == pytest.approx(20_000)
    assert not core.is_disturbed


def test_a_measurement_beside_other_programs_says_so(tmp_path: Path) -> None:
    core = rate_of(Probed(took_s=2.0, cpu_s=1.0, requests=25_000, errors=0))
    assert core.is_disturbed
    assert text_of(found_of(tmp_path), core)["core"] == (
        "drives 10,000 requests/s of an open load on time, 40 % of what fills it"
        " (40 µs of CPU each, measured now with plain GETs; other processes"
        " left it 50.0 % of a core, so a free core may drive twice as much)"
    )


@pytest.mark.parametrize(("requests", "errors"), [(0, 0), (0, 12), (5, 1)])
def test_a_measurement_without_good_requests_is_an_error_and_no_rate(requests: int, errors: int) -> None:
    with pytest.raises(InvalidError, match="cannot measure a core"):
        rate_of(Probed(2.0, 1.0, requests, errors))


def test_the_workers_follow_from_the_requests_of_the_trial(tmp_path: Path) -> None:
    workers = workers_for(found_of(tmp_path, requests=2), CORE)
    assert workers is not None
    assert (workers.needed, workers.peak_per_s, workers.is_of_requests) == (20, 400_000, True)
    assert workers.per_agent == 15, "three quarters of the load are for one of the two agents"


def test_without_a_trial_an_iteration_counts_as_one_request_and_the_line_says_so(tmp_path: Path) -> None:
    assert text_of(found_of(tmp_path), cores=2) == {
        "core": "drives 20,000 requests/s of an open load on time, 40 % of what fills it (20 µs of CPU each, measured"
        " now with plain GETs)",
        "workers": "at least 10 needed at the peak of 200,000 iterations/s, if each iteration sends one request; this"
        " machine has 2 cores: use agents on more machines (docs/distributed.md)",
    }


def test_a_plan_that_fits_gets_its_number_of_workers_and_no_advice_if_one_is_enough(tmp_path: Path) -> None:
    small = found_of(tmp_path, 'arrivals("12000/s").hold("5s")', requests=1)
    assert text_of(small)["workers"] == "at least 1 needed at the peak of 12,000 requests/s; this machine has 2 cores"
    large = found_of(tmp_path, requests=1)
    assert text_of(large, cores=16)["workers"] == (
        "at least 10 needed at the peak of 200,000 requests/s; this machine has 16 cores: run with --workers 8"
    )


def test_the_rate_of_a_run_is_a_lower_bound_and_its_workers_are_enough(tmp_path: Path) -> None:
    core = CoreRate(40.0, "from run 20261124-170312-shop-a1b2", is_of_plan=True)
    small = text_of(found_of(tmp_path, 'arrivals("12000/s").hold("5s")', requests=1), core)
    assert small == {
        "core": "drives at least 20,000 requests/s of this scenario on time, 80 % of what fills it (40 µs of CPU each,"
        " from run 20261124-170312-shop-a1b2)",
        "workers": "1 is enough at the peak of 12,000 requests/s; this machine has 2 cores",
    }
    assert text_of(found_of(tmp_path, requests=1), core)["workers"] == (
        "10 are enough at the peak of 200,000 requests/s; this machine has 2 cores. Fewer may be enough: find out with"
        " --measure-core"
    )


def test_the_peak_of_a_closed_load_is_unknown_without_a_trial(tmp_path: Path) -> None:
    found = found_of(tmp_path, 'users(50).hold("5s")')
    assert text_of(found)["workers"] == "unknown: without a trial, the rate of this load is not known"
    assert core_facts(CORE, workers_for(found, CORE), 2)["workers"] is None
    assert text_of(found_of(tmp_path, 'users(50).hold("5s")', requests=2))["workers"].startswith("at least 1 needed")


@pytest.mark.parametrize(
    ("had_share", "cores", "is_refused"), [(1.0, 9, True), (1.0, 10, False), (0.5, 5, False), (0.5, 4, True)]
)
def test_a_disturbed_measurement_refuses_only_what_would_be_too_much_for_twice_the_rate(
    tmp_path: Path, had_share: float, cores: int, is_refused: bool
) -> None:
    core = CoreRate(20.0, MEASURED, had_share=had_share)
    workers = workers_for(found_of(tmp_path), core)
    assert workers is not None
    assert workers.needed == 10
    assert is_too_much(core, workers, cores) is is_refused


def test_json_has_the_facts_of_the_lines(tmp_path: Path) -> None:
    assert core_facts(CORE, workers_for(found_of(tmp_path), CORE), 2) == {
        "core": {
            "requests_per_s": 20_000,
            "cpu_us_per_request": 20,
            "source": "measured now with plain GETs",
            "share_of_core": 1,
        },
        "workers": {"needed": 10, "per_agent": 8, "peak_per_s": 200_000, "peak_of": "iterations"},
        "cores": 2,
    }
    assert core_facts(None, None, 2) == {"core": None, "workers": None, "cores": 2}


def test_this_machine_has_a_core() -> None:
    assert usable_cores() >= 1


# -- past runs ------------------------------------------------------------------------------------


def interval(requests: int, *shares: float, unfit: tuple[str, ...] = (), joined: int = 0) -> Delta:
    health = Health(cpu_share=max(shares), unfit=unfit, intervals=joined)
    made = FakeAgent("local").delta({request_key(): [1_000_000] * requests}, health=health)
    workers = [WorkerHealth(n, health=Health(cpu_share=share)) for n, share in enumerate(shares)]
    return replace(made, workers=tuple(workers) if len(workers) > 1 else ())


def test_the_busiest_interval_counts() -> None:
    found = None
    for delta in (interval(400, 0.3), interval(1_000, 0.5), interval(800, 0.6)):
        found = busiest(found, delta)
    assert found is not None
    assert found == pytest.approx((1_000.0, 500.0))


def test_the_cpu_time_of_all_workers_of_an_agent_counts() -> None:
    assert busiest(None, interval(1_000, 0.4, 0.6)) == pytest.approx((500.0, 1_000.0))


@pytest.mark.parametrize(
    "delta",
    [
        interval(1_000, 0.5, unfit=("its core was busy for 99.0 % of the time",)),
        interval(1_000, 0.19),
        interval(1_000, 0.5, 0.1),
        interval(1_000, 0.5, joined=3),
        interval(0, 0.5),
    ],
    ids=["unfit", "hardly busy", "one worker hardly busy", "joined", "no requests"],
)
def test_an_interval_that_shows_no_rate_does_not_count(delta: Delta) -> None:
    assert busiest(None, delta) is None


def run_of(
    runs_dir: Path, run_id: str, requests: int, *, scenario: str = "shop.py", placement: str = "embedded"
) -> None:
    folder = RunDir.create(runs_dir, run_id)
    folder.write_manifest({"scenario": scenario, "placement": placement})
    folder.append(codec.encode(interval(requests, 0.5)))
    folder.sync()
    folder.close()


def test_the_last_run_of_the_scenario_on_this_machine_counts(tmp_path: Path) -> None:
    run_of(tmp_path, "20261124-170001-shop-a1b2", 500)
    run_of(tmp_path, "20261124-170002-shop-a1b2", 1_000)
    run_of(tmp_path, "20261124-170003-shop-a1b2", 9_000, placement="fleet")
    run_of(tmp_path, "20261124-170004-else-a1b2", 9_000, scenario="else.py")
    core = rate_of_last_run(tmp_path, "shop.py")
    assert core == CoreRate(500.0, "from run 20261124-170002-shop-a1b2", is_of_plan=True)
    assert core.requests_per_s == pytest.approx(1_600)


def test_a_run_that_cannot_be_read_is_skipped(tmp_path: Path) -> None:
    run_of(tmp_path, "20261124-170001-shop-a1b2", 500)
    for run_id in ("20261124-170002-shop-a1b2", "20261124-170003-shop-a1b2"):
        run_of(tmp_path, run_id, 1_000)
    (tmp_path / "20261124-170003-shop-a1b2/manifest.json").write_text("{")
    (tmp_path / "20261124-170002-shop-a1b2/deltas.log").write_text("no log of deltas")
    core = rate_of_last_run(tmp_path, "shop.py")
    assert core is not None
    assert core.source == "from run 20261124-170001-shop-a1b2"


def test_without_runs_the_rate_is_unknown(tmp_path: Path) -> None:
    assert rate_of_last_run(tmp_path / "runs", "shop.py") is None
    run_of(tmp_path, "20261124-170001-shop-a1b2", 0)
    assert rate_of_last_run(tmp_path, "shop.py") is None
