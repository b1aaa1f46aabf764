"""Every model in one run of three regions: as many iterations as its formula says, of each region its share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.engine.load.share import Share
from loadgen.profiles.profile import ArrivalProfile
from tests.support.run import DATA, Finished, loadgen
from tests.support.target import running_target

REGIONS = {"a": 3.0, "b": 2.0, "c": 1.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    with running_target() as shop:
        return loadgen(
            "run", f"{DATA}/models.py", "--target", shop.url, "--quiet", runs_dir=tmp_path_factory.mktemp("runs")
        )


def counts(run: Finished, journey: str) -> dict[str, int]:
    """Iterations by region; "*": of all."""
    rows = [one for one in run.summary["series"] if one["kind"] == "journey" and one["outcome"] == "*"]
    return {one["region"]: one["count"] for one in rows if one["journey"] == journey}


def profile(run: Finished, number: int) -> ArrivalProfile:
    """Of a load, with the seed of the run."""
    seed = json.loads((run.folder / "manifest.json").read_text())["seed"]
    lanes = load(Path(DATA) / "models.py", overrides=Overrides(seed=seed)).plan.lanes
    found = lanes[number].profile
    assert isinstance(found, ArrivalProfile)
    return found


@pytest.mark.parametrize(("journey", "number"), [("by_chance", 0), ("swing", 1)])
def test_each_region_drives_its_share_of_the_arrivals_exactly(run: Finished, journey: str, number: int) -> None:
    total = profile(run, number).total()
    shares = {
        f"{region} (simulated)": Share.of(index, list(REGIONS.values()), [1.0]).count_below(total)
        for index, region in enumerate(REGIONS)
    }
    assert sum(shares.values()) == total
    found = counts(run, journey)
    assert found.pop("*") == total
    assert sorted(found.values()) == sorted(shares.values())


def test_a_swing_has_its_mean_over_whole_periods(run: Finished) -> None:
    assert counts(run, "swing")["*"] == 120


def test_each_user_of_all_regions_does_its_number_of_iterations(run: Finished) -> None:
    found = counts(run, "each_five")
    assert found.pop("*") == 35
    assert all(count % 5 == 0 for count in found.values())


def test_paced_users_begin_once_a_cycle_and_their_wait_is_no_response_time(run: Finished) -> None:
    row = run.row("journey", journey="paced")
    assert run.summary["custom"] == []  # none had to skip a cycle
    assert row["count"] == 15
    assert row["response_ms"]["max"] < 900


def test_the_summary_says_how_many_iterations_there_were(run: Finished) -> None:
    total = sum(counts(run, journey)["*"] for journey in ("by_chance", "swing", "each_five", "paced"))
    assert run.summary["iterations"]["finished"] == run.summary["iterations"]["due"] == total
