"""Studies in the history: numbers that no two writers share, and readers that are not disturbed by them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loadgen.errors import UsageError
from loadgen.history.store.store import Store

STUDY = {"kind": "capacity find", "headline": "Plan with 76/s", "facts": {"low_per_s": 76.0}, "run_ids": ["a"]}


def test_studies_are_numbered_and_read_in_their_order(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))

    ids = [store.add_study(STUDY | {"kind": kind}, by="ada") for kind in ("capacity find", "sweep", "capacity fit")]

    assert ids == ["C-1", "C-2", "C-3"]
    assert [one.kind for one in store.studies()] == ["capacity find", "sweep", "capacity fit"]
    assert [one.id for one in store.studies("sweep")] == ["C-2"]
    assert store.study("c-3").by == "ada"


def test_writers_at_the_same_time_get_different_numbers_and_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda n: Store.open(str(tmp_path)).add_study(STUDY | {"n": n}), range(24)))

    assert len(set(ids)) == 24
    assert sorted(one.study["n"] for one in Store.open(str(tmp_path)).studies()) == list(range(24))


def test_the_tenth_study_comes_after_the_ninth(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for _ in range(11):
        store.add_study(STUDY)

    assert [one.id for one in store.studies()] == [f"C-{n}" for n in range(1, 12)]


@pytest.mark.parametrize("study_id", ["C-9", "D-1", "../C-1", "", "C-1.json", "C-01"])
def test_an_unknown_study_is_an_error_that_names_the_newest(tmp_path: Path, study_id: str) -> None:
    store = Store.open(str(tmp_path))
    store.add_study(STUDY)

    with pytest.raises(UsageError, match="no study") as caught:
        store.study(study_id)
    assert "C-1" in caught.value.hint


def test_damaged_and_newer_files_are_left_out_and_named(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.add_study(STUDY)
    (tmp_path / "studies" / "C-2.json").write_text("{")
    (tmp_path / "studies" / "C-3.json").write_text(
        json.dumps({"format": 9, "id": "C-3", "at": "", "by": "", "study": {}})
    )

    assert [one.id for one in store.studies()] == ["C-1"]
    assert len(store.unreadable) == 2
    assert store.add_study(STUDY) == "C-4"


def test_runs_and_events_are_read_as_if_there_were_no_studies(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.add_study(STUDY)

    assert store.keys() == []
    assert store.events() == []
    assert store.unreadable == ()
