"""Every id of the page of the made programme resolves, comes out again, and names a command that exists."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.history.store.write_once_storage import Place, place_of
from loadgen.programme.evidence.find import EvidenceFinder
from loadgen.programme.evidence.recompute import Recomputer
from loadgen.programme.evidence.walk import check_page, ids_in, numbers_without_evidence
from loadgen.programme.evidence.weeks import decoded_week, record_week
from loadgen.programme.weekly.as_json import as_json
from loadgen.programme.weekly.page_values import WeeklyPage
from loadgen_controller.completion.command_table import command_table
from tests.support.made_programme import MadeProgramme


@pytest.fixture(scope="module")
def place(made: MadeProgramme) -> Place:
    return place_of(str(made.store))


def test_every_number_of_the_page_names_evidence_and_every_id_resolves_and_comes_out_again(
    page: WeeklyPage, place: Place
) -> None:
    document = json.loads(as_json(page))
    finder = EvidenceFinder(place)

    found = check_page(document, finder, Recomputer(place, finder.store))

    assert found.is_whole, (found.unresolved, found.bare, found.of_state("differs"))
    assert not found.unreadable
    assert len(found.ids) >= 75
    states = Counter((id_[0], one.state) for id_, one in found.again.items())
    assert states["S", "same"] >= 50
    assert states["R", "same"] == 14
    assert not [key for key in states if key[0] == "S" and key[1] != "same"]
    for id_, one in found.again.items():
        assert one.says, id_


def test_a_page_comes_back_from_the_history_with_all_its_ids(page: WeeklyPage, tmp_path: Path) -> None:
    document = json.loads(as_json(page))
    place = place_of(str(tmp_path))

    name = record_week(place, document)
    (data,) = place.read([name])

    assert isinstance(data, bytes)
    assert decoded_week(name, data).document == document
    assert set(ids_in(document)) <= {one.id for one in page.evidence} | {one.id for one in replace(page).evidence}


def test_the_walk_sees_a_number_of_the_page_that_loses_its_evidence(page: WeeklyPage) -> None:
    document = json.loads(as_json(page))
    assert numbers_without_evidence(document) == []

    document["rows"][0]["cells"]["kept"]["evidence"] = []

    assert numbers_without_evidence(document) == ["rows[0].cells.kept"]


def test_every_command_that_shows_more_exists(page: WeeklyPage) -> None:
    commands = command_table()
    for see in {entry.see for entry in page.evidence if entry.see}:
        program, name, *rest = shlex.split(see)
        assert (program, name in commands) == ("loadgen", True), see
        words = [word for word in rest[:1] if commands[name].commands and not word.startswith("-")]
        assert all(word in commands[name].commands for word in words), see
