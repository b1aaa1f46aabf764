"""Points of a curve from past runs: what their load and throughput are, and which runs are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.capacity.curves.curve_of_runs import curve_of_runs
from loadgen.errors import LoadgenError, UsageError, errors_in
from loadgen.profiles.profile import ArrivalProfile, UserProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S
from tests.support.past_runs import past_run

SECONDS = 12


def of_users(runs: Path, n: int, per_s: int, **options: Any) -> str:
    run_id = f"20261124-1703{n:02d}-shop-a1b2"
    profile = UserProfile((Stage(n, n, SECONDS * NS_PER_S),))
    past_run(runs, run_id, seconds=SECONDS, per_s=per_s, spec={"profile": profile}, **options)
    return run_id


def with_levels(runs: Path, levels: list[dict[str, Any]], **values: Any) -> str:
    path = past_run(runs, seconds=SECONDS)
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    summary |= {"levels": levels, **values}
    (path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return path.name


def level(users: int, per_s: float, *, in_flight: float | None = None, mean_ms: float = 100.0) -> dict[str, Any]:
    return {
        "level": str(users),
        "unit": "users",
        "measured_s": 60.0,
        "requests": {"ok": int(per_s * 60), "failed": 0},
        "achieved_per_s": per_s,
        "response_ms": {"mean": mean_ms},
        "in_flight": None if in_flight is None else {"mean": in_flight, "count": 60},
    }


def faults_of(caught: pytest.ExceptionInfo[BaseException]) -> list[str]:
    return [str(one) for one in errors_in(caught.value)]


def test_a_run_of_users_is_one_point_of_its_users_and_requests_per_second(tmp_path: Path) -> None:
    ids = [of_users(tmp_path, n, per_s) for n, per_s in ((1, 10), (4, 36))]

    found = curve_of_runs(ids, tmp_path)

    assert [(one.load, one.throughput) for one in found.points] == [(1, 10), (4, 36)]
    assert (found.axis, found.load_name, found.run_ids) == ("concurrency", "users", tuple(ids))


def test_an_open_load_is_a_point_of_its_rate_and_failed_requests_do_not_count(tmp_path: Path) -> None:
    path = past_run(tmp_path, seconds=SECONDS, per_s=40, failing=lambda second: float(second < 6))

    found = curve_of_runs([path.name], tmp_path)

    assert [(one.load, one.throughput) for one in found.points] == [(40, 20)]
    assert found.axis == "rate"


def test_the_warm_up_does_not_count(tmp_path: Path) -> None:
    path = past_run(
        tmp_path, seconds=SECONDS, per_s=40, spec={"warmup_ns": 6 * NS_PER_S}, failing=lambda second: float(second < 6)
    )

    assert curve_of_runs([path.name], tmp_path).points[0].throughput == 40


def test_each_level_of_a_run_is_a_point_and_levels_that_were_not_held_are_named(tmp_path: Path) -> None:
    left_out = level(8, 90) | {"achieved_per_s": None, "measured_s": None}
    run_id = with_levels(tmp_path, [level(1, 10), level(4, 36), left_out])

    found = curve_of_runs([run_id], tmp_path)

    assert [(one.load, one.throughput) for one in found.points] == [(1, 10), (4, 36)]
    assert found.notes[0] == f"level 8 of {run_id} was left out: it was not held to its end, or it was too short"


def test_levels_whose_numbers_disagree_by_littles_law_are_named(tmp_path: Path) -> None:
    levels = [level(1, 10, in_flight=1.01), level(4, 36, in_flight=4.2), level(8, 60)]

    notes = curve_of_runs([with_levels(tmp_path, levels)], tmp_path).notes

    assert any("does not hold in level 4" in note and "+16.7%" in note for note in notes)
    assert any("was not checked in 1 window" in note for note in notes)
    assert not any("level 1 " in note for note in notes)


def test_runs_that_are_no_points_are_all_refused_with_their_reasons(tmp_path: Path) -> None:
    ramp = ArrivalProfile((Stage(0, 80, SECONDS * NS_PER_S),))
    ids = [
        past_run(tmp_path, "20261124-170401-shop-a1b2", seconds=SECONDS, spec={"profile": ramp}).name,
        past_run(tmp_path, "20261124-170402-shop-a1b2", seconds=3).name,
        past_run(tmp_path, "20261124-170403-shop-a1b2", seconds=SECONDS, is_sealed=False).name,
        past_run(tmp_path, "20261124-170404-shop-a1b2", seconds=SECONDS, facts={"validity": "invalid"}).name,
        past_run(tmp_path, "20261124-170405-shop-a1b2", seconds=SECONDS, failing=1.0).name,
        "20991231",
    ]

    with pytest.raises((LoadgenError, ExceptionGroup)) as caught:
        curve_of_runs(ids, tmp_path)

    expected = (
        "a load that changes in its measured window", "measured window of 3 s", "has no summary",
        "cannot be a point of a curve", "no request that ended ok", "no run 20991231",
    )  # fmt: skip
    found = faults_of(caught)
    assert len(found) == len(expected)
    for fault, part in zip(found, expected, strict=True):
        assert part in fault


def test_users_and_rates_are_not_mixed(tmp_path: Path) -> None:
    rate = past_run(tmp_path, "20261124-170501-shop-a1b2", seconds=SECONDS).name

    with pytest.raises(UsageError, match="not points of one curve"):
        curve_of_runs([of_users(tmp_path, 4, 40), rate], tmp_path)
