"""The study of searches: the same figures in tables, chart, facts and rows, and texts from outside are harmless."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from loadgen.capacity.find.find_study import Condition, study_of_find
from loadgen.capacity.find.finished_runs import HeldRun, SearchRun
from loadgen.capacity.find.found_capacity import judge_searches
from loadgen.studies.files import as_csv, as_json
from loadgen.studies.page import as_page
from loadgen.studies.study import Study
from tests.support.made_searches import held_run, search_run

THREE = [search_run(78.0), search_run(80.0), search_run(82.0)]
CONDITION = Condition("1.4", "m6i.large", 4, "eu-west-1", "held", "docker compose restart shop", 60.0, 30.0)


def study(searches: list[SearchRun], held: HeldRun | None = None, condition: Condition = CONDITION) -> Study:
    found = judge_searches(
        searches, len(searches), is_confirmation_wanted=held is not None, held=held, is_restarted=True
    )
    return study_of_find(found, searches, held, condition, "shop.py:peak at http://shop.test")


def test_the_facts_have_the_rate_its_interval_and_the_target() -> None:
    facts = study(THREE, held_run()).facts

    assert facts["low_per_s"] < facts["rate_per_s"] < facts["high_per_s"]
    assert facts["capacity"] == pytest.approx(
        {
            "low": facts["low_per_s"] / 4,
            "point": facts["rate_per_s"] / 4,
            "high": facts["high_per_s"] / 4,
            "is_extrapolated": False,
            "level": 0.9,
        }
    )
    assert facts["warm_state"] == (
        "restarted before each search but the first; 30.0 s without load, then 1m of warm-up"
    )
    assert facts["confirmation"]["is_confirmed"] is True
    assert [one["end"] for one in facts["searches"]] == ["found"] * 3


def test_a_study_without_a_capacity_has_no_number_as_one() -> None:
    facts = study([search_run(400.0, end="not reached", low_per_s=None, high_per_s=None)]).facts

    assert facts["at_least_per_s"] == 400.0
    assert {facts[name] for name in ("low_per_s", "rate_per_s", "high_per_s", "capacity")} == {None}
    assert not facts["is_enough_for_a_purchase"]


def test_the_terminal_shows_each_search_and_all_together() -> None:
    made = study(THREE, held_run())
    table, confirmation = made.tables

    assert [row[:3] for row in table.rows] == [
        ("1", "found", "78.0/s"),
        ("2", "found", "80.0/s"),
        ("3", "found", "82.0/s"),
        ("together", "", "80.0/s"),
    ]
    assert confirmation.rows[0][:3] == ("met", "76.0/s", "10m")
    assert any("release 1.4, 4 x m6i.large, eu-west-1, autoscaler held" in line for line in made.lines)
    assert any("/s for each of the 4 instances" in line for line in made.lines)


def test_the_chart_has_the_tested_rates_the_knees_and_the_confirmation() -> None:
    (drawing,) = study(THREE, held_run()).drawings

    assert drawing.title == "p(99) < 300ms: measured against rate"
    assert drawing.html.count("<circle") == 12
    assert drawing.html.count(" rule dashed") == 5
    assert "12 tested rates; the highest that met the objective is 76.0/s" in drawing.text
    assert "the lowest that broke it is 84.0/s" in drawing.text


def test_the_rows_have_the_same_names_in_each() -> None:
    made = study(THREE, held_run())
    rows = list(csv.DictReader(io.StringIO(as_csv(made).decode())))

    assert len({tuple(row) for row in made.rows}) == 1
    assert [row["of"] for row in rows].count("tested") == 12
    assert [row["rate_per_s"] for row in rows if row["of"] == "search"] == ["78.0", "80.0", "82.0"]


def test_texts_from_outside_are_harmless() -> None:
    evil = '<script>alert(1)</script>\x1b[2J"&'
    searches = [search_run(why=evil, target=evil, plan=evil, labels={"release": evil})]
    made = study(searches, held_run(why=evil, observed=(evil,)), replace(CONDITION, instance_type=evil, restart=evil))

    assert b"<script" not in as_page(made)
    assert b"\x1b" not in as_page(made) + as_json(made) + as_csv(made)
    assert json.loads(as_json(made))["facts"]["target"] == evil


def test_nothing_measured_is_a_study_too() -> None:
    made = study([])

    assert made.result == "not decided"
    assert made.drawings == ()
    assert json.loads(as_json(made))["facts"]["searches"] == []
