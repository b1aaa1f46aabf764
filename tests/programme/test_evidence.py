"""Evidence: each number of a page is found by its id, comes out again, and is named where it does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import place_of
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.evidence.find import EvidenceFinder, Found, NotFound, entries_in, find_evidence, written_id
from loadgen.programme.evidence.recompute import Again, Recomputer
from loadgen.programme.evidence.walk import check_page, ids_in, numbers_without_evidence
from loadgen.programme.evidence.weeks import fullest, record_week, weeks
from loadgen.programme.ledger.exclusions import Exclusion, exclude
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from tests.support.made_evidence import WEEK, Made, made_history


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_history(tmp_path_factory.mktemp("made"), has_runs=False)


@pytest.fixture
def made(template: Made, tmp_path: Path) -> Made:
    """A history of its own for a test."""
    shutil.copytree(template.folder, tmp_path / "own")
    return replace(template, folder=tmp_path / "own")


def again(made: Made, entry: EvidenceEntry) -> Again:
    place = place_of(made.url)
    return Recomputer(place, Store(place)).again(entry)


def corrected(made: Made, n: int, because: str) -> None:
    """Write a later revision of n slices of checkout."""
    slices = [Slice("checkout-fast", made.end - 43_200 - 300 * i, 300, 999, 1000) for i in range(n)]
    Ledger(place_of(made.url), lambda: utc_text(made.at + timedelta(hours=1))).write("prod", slices, because)


# -- recorded weeks -------------------------------------------------------------------------------


def page(**more: Any) -> dict[str, Any]:
    return {"week": "2026-W30", "id": "w30-4f1a", "evidence": [], **more}


def test_the_same_page_is_recorded_once_and_other_evidence_beside_it(tmp_path: Path) -> None:
    place = place_of(str(tmp_path))

    first = record_week(place, page(), "2026-07-27T06:00:00Z")
    again = record_week(place, page(as_of="later"), "2026-07-28T06:00:00Z")
    other = record_week(place, page(evidence=[{"id": "S-1"}]), "2026-07-26T06:00:00Z")

    assert first == again == "programme/weeks/2026-W30-w30-4f1a.json"
    assert other == "programme/weeks/2026-W30-w30-4f1a-2.json"
    assert [one.name for one in weeks(place).found] == [other, first]  # by the time of recording
    assert [one.name for one in weeks(place, "w30-4f1a").found] == [other, first]
    assert weeks(place, "2026-W31").found == ()


def test_a_page_of_all_teams_goes_before_one_of_a_team_and_that_before_one_for_customers(tmp_path: Path) -> None:
    place = place_of(str(tmp_path))
    limits: list[dict[str, Any]] = [
        {"is_public": True, "team": ""},
        {"is_public": True, "team": "payments"},
        {"is_public": False, "team": "payments"},
        {"rows": [{"team": "payments"}, {"team": "payments"}]},  # as older versions recorded it
        {"is_public": False, "team": ""},
        {"rows": [{"team": "payments"}, {"team": "browse"}]},
    ]
    for n, more in enumerate(limits):
        record_week(place, page(id=f"w30-000{n}", **more), "2026-07-27T06:00:00Z")
    found = weeks(place).found

    assert [fullest([one, found[0]]) for one in found[1:]] == [found[0], *found[2:]]
    assert fullest([found[5], found[4], found[3], found[1]]) == found[4]
    assert fullest([found[2], found[3], found[0]]) == found[3]
    team = "of team payments"
    assert [one.scope for one in found] == ["for customers", f"{team}, for customers", team, team, "", ""]


@pytest.mark.parametrize(
    "wrong", [{"week": "2026-30"}, {"week": "../x"}, {"id": "a/b"}, {"id": ""}, {"x": float("nan")}]
)
def test_a_page_without_a_proper_week_or_id_or_with_nan_is_rejected(tmp_path: Path, wrong: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"invalid week|cannot be recorded|Out of range"):
        record_week(place_of(str(tmp_path)), page(**wrong))

    assert not list(tmp_path.iterdir())


VALUES = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@settings(max_examples=10)
@given(st.recursive(VALUES, st.lists, max_leaves=4))
def test_a_page_comes_back_as_it_was_recorded(value: object) -> None:
    memory = Memory()

    record_week(memory, page(value=value))
    (found,) = weeks(memory).found

    assert json.dumps(found.document["value"]) == json.dumps(as_decoded(value))


def as_decoded(value: object) -> object:
    """Half of a surrogate pair comes back as "?"."""
    if isinstance(value, list):
        return [as_decoded(one) for one in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


class Memory:
    """A history in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def names(self, below: str) -> list[str]:
        return sorted(name for name in self.files if name.startswith(below))

    def read(self, names: Any) -> list[bytes | str]:
        return [self.files[name] for name in names]

    def put_new(self, name: str, data: bytes) -> bool:
        return self.files.setdefault(name, data) is data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is damaged"),
        (b"{", "is damaged"),
        (b'{"format": 1, "kind": "study", "id": "C-1"}', "is damaged"),
        (
            b'{"format": 1, "kind": "x", "week": "", "page": "", "at": "", "sha256": "", "document": {}}',
            "is not a page",
        ),
        (b'{"format": 2, "kind": "week", "week": "", "page": "", "at": "", "sha256": "", "document": {}}', "newer"),
        (b"[" * 100_000, "is damaged"),
    ],
)
def test_a_page_that_cannot_be_read_is_named_and_hides_no_other(tmp_path: Path, data: bytes, why: str) -> None:
    place = place_of(str(tmp_path))
    record_week(place, page())
    (tmp_path / "programme/weeks/2026-W31-w31-0000.json").write_bytes(data)

    found = weeks(place)

    assert [one.page for one in found.found] == ["w30-4f1a"]
    assert found.unreadable[0].startswith("programme/weeks/2026-W31-w31-0000.json ")
    assert why in found.unreadable[0]


def test_a_page_that_was_changed_or_renamed_after_it_was_recorded_is_not_read(tmp_path: Path) -> None:
    place = place_of(str(tmp_path))
    file = tmp_path / record_week(place, page(kept=0.9941))
    file.with_name("2026-W31-w31-0000.json").write_bytes(file.read_bytes())
    file.write_text(file.read_text().replace("0.9941", "0.9991"))

    changed, renamed = weeks(place).unreadable

    assert "changed after it was recorded" in changed
    assert "under another name" in renamed


# -- finding --------------------------------------------------------------------------------------


def test_ids_are_found_on_pages_and_in_the_history(made: Made) -> None:
    finder = EvidenceFinder(place_of(made.url))

    found = {id_: finder.find(id_) for id_ in (made.checkout.id, made.checkout.id.lower(), "g-1", " D-1 ", "C-1")}

    assert all(isinstance(one, Found) for one in found.values()), found
    kinds = [one.entry.kind for one in found.values() if isinstance(one, Found)]
    assert kinds == ["slices", "slices", "gate", "recommendation", "study"]
    first = found[made.checkout.id]
    assert isinstance(first, Found)
    assert first.entry == made.checkout
    assert first.where is not None
    assert (first.where.id, first.where.week) == ("w30-4f1a", WEEK)


@pytest.mark.parametrize(
    ("id_", "nearest", "why"),
    [
        ("G-9", ("G-1",), "the gate has given 1 verdict in this history"),
        ("D-12", ("D-1",), "the history has 1 recommendation"),
        ("C-2", ("C-1",), "the history has 1 study"),
        ("H-00000000", (), "no recorded page has it"),
        ("20990101-000000-x-0000", (), "no accepted run"),
        ("", (), "no accepted run"),
        ("S-\x1b[2J", (), "no accepted run"),
    ],
)
def test_an_unknown_id_has_a_reason_and_the_nearest_ids(
    made: Made, id_: str, nearest: tuple[str, ...], why: str
) -> None:
    found = find_evidence(place_of(made.url), id_)

    assert isinstance(found, NotFound)
    assert found.nearest == nearest
    assert why in found.why
    assert "\x1b" not in found.id + found.why


def test_a_mistyped_id_of_a_page_names_the_right_one(made: Made) -> None:
    right = made.checkout.id
    found = find_evidence(place_of(made.url), right[:-1] + ("0" if right[-1] != "0" else "1"))

    assert isinstance(found, NotFound)
    assert right in found.nearest


def test_an_id_that_a_damaged_page_may_have_is_unreadable_and_not_unknown(made: Made) -> None:
    for file in (made.folder / "history/programme/weeks").iterdir():
        file.write_bytes(b"{")

    found = find_evidence(place_of(made.url), made.checkout.id)

    assert isinstance(found, NotFound)
    assert found.is_unreadable


def test_the_evidence_of_a_recommendation_is_found_and_comes_out_as_of_its_time(made: Made) -> None:
    inputs = tuple((name, "" if name == "as_of" else value) for name, value in made.checkout.inputs)
    entry = replace(made.checkout, id="S-0badcafe", inputs=inputs)
    document = json.dumps({"entries": [entry.as_document(), None]})
    details = {"id": "D-9", "document": document}
    Store(place_of(made.url)).note(Event("recommended", utc_text(made.at), details=details))
    corrected(made, 3, "the till was late")

    found = find_evidence(place_of(made.url), "S-0badcafe")

    assert isinstance(found, Found)
    assert found.where is not None
    assert found.where.id == "D-9"
    assert again(made, found.entry).state == "same"
    assert again(made, found.entry).notes  # of the later revision


@given(st.text(max_size=12))
def test_the_written_form_of_an_id_does_not_change_again(text: str) -> None:
    assert written_id(written_id(text)) == written_id(text)


def test_entries_survive_json_and_what_is_not_an_entry_is_left_out(made: Made) -> None:
    document = json.loads(json.dumps(made.page))
    document["evidence"] += [
        None,
        {},
        {"id": 1},
        {"id": "S-1", "kind": "unknown"},
        {"id": "S-1", "kind": "slices", "inputs": 3},
    ]

    assert list(entries_in(document))[:2] == [made.checkout, made.search]
    assert len(list(entries_in(document))) == 3
    assert list(entries_in({"evidence": 3})) == []


# -- computing again ------------------------------------------------------------------------------


def test_the_counts_of_both_methods_come_out_again_without_the_excluded_slices(made: Made) -> None:
    checkout, search = again(made, made.checkout), again(made, made.search)

    assert (checkout.state, search.state) == ("same", "same"), (checkout, search)
    # 1d has 288 slices of 1,000 requests, of which 12 were excluded; 30 of each 1,000 were bad.
    assert checkout.says.endswith("gives the same 267,720 of 276,000")
    assert search.says.endswith("of 144")
    assert not checkout.notes


def test_a_later_revision_is_named_with_what_it_would_be_today(made: Made) -> None:
    corrected(made, 3, "the till was late")

    found = again(made, made.checkout)

    assert found.state == "same"
    assert "since then, 3 slices changed by " in found.notes[0]
    assert "prod-2 (the till was late)" in found.notes[0]
    assert found.notes[0].endswith("today it would be 267,807 of 276,000")
    assert not again(made, made.search).notes


def test_a_later_exclusion_is_named(made: Made) -> None:
    late = Exclusion(made.end - 50_000, made.end - 49_000, "a test", (), "paul", utc_text(made.at + timedelta(hours=2)))
    exclude(place_of(made.url), late)

    found = again(made, made.checkout)

    assert found.state == "same"
    assert found.notes == ("a part of it was excluded later by paul: a test",)


def test_other_counts_than_those_of_the_page_differ(made: Made) -> None:
    inputs = dict(made.checkout.inputs) | {"good": "267721"}

    found = again(made, replace(made.checkout, inputs=tuple(inputs.items())))

    assert found.state == "differs"
    assert "gives 267,720 of 276,000, and the page has 267,721 of 276,000" in found.says


def test_a_revision_that_was_removed_differs_and_a_torn_one_is_unreadable(made: Made) -> None:
    file = made.first_file
    file.write_bytes(file.read_bytes()[:-100])
    torn = again(made, made.checkout)
    file.unlink()
    removed = again(made, made.checkout)

    assert torn.state == "unreadable"
    assert any("is left out" in note for note in torn.notes)
    assert removed.state == "differs"
    assert "no longer has" in removed.says


@pytest.mark.parametrize(
    "wrong",
    [
        {"slo": ""}, {"from": "monday"}, {"to": "2026-01-01T00:00:00Z"}, {"method": "Mean"}, {"good": "many"},
        {"total": "-1"}, {"good": "1e400000000"}, {"total": "nan"}, {"as_of": "soon"}, {"from": "1000-01-01T00:00:00Z"},
        {"method": "Timeslices", "slice_target": ""}, {"good": "9" * 5000}, {"slice_s": "0"},
    ],
)  # fmt: skip
def test_invalid_inputs_are_a_sentence_and_never_the_same(made: Made, wrong: Mapping[str, str]) -> None:
    inputs = dict(made.search.inputs) | dict(wrong)

    found = again(made, replace(made.search, inputs=tuple(inputs.items())))

    assert found.state in ("not computed", "differs")
    assert found.says


def test_a_verdict_that_is_another_one_than_on_the_page_differs(made: Made) -> None:
    store = Store(place_of(made.url))
    store.note(Event("verdict", "2020-01-01T00:00:00.000Z", run_ids=("another",)))  # copied in: now it is the first
    finder = EvidenceFinder(store._place)

    found = finder.find("G-1")

    assert isinstance(found, Found)
    assert found.on_page is not None
    assert Recomputer(finder.place, finder.store).again(found.entry, found.on_page).state == "differs"


# -- walking over a page --------------------------------------------------------------------------


def walk(made: Made, document: Mapping[str, Any]) -> Any:
    finder = EvidenceFinder(place_of(made.url))
    return check_page(document, finder, Recomputer(finder.place, finder.store))


def test_all_ids_of_a_page_resolve_and_come_out_again(made: Made) -> None:
    (recorded,) = weeks(place_of(made.url), WEEK).found

    found = walk(made, recorded.document)

    assert found.is_whole, found
    assert set(found.ids) == {made.checkout.id, made.search.id, "G-1", "C-1", "D-1"}
    assert set(found.of_state("same")) == {made.checkout.id, made.search.id, "G-1"}


def test_ids_without_an_entry_and_numbers_without_ids_are_named(made: Made) -> None:
    document = json.loads(json.dumps(made.page))
    document["rows"][0]["burn"] = {"text": "1.4", "value": 1.4, "evidence": []}
    document["sections"][0]["items"][0]["evidence"] += ["S-0badc0de", "G-7"]

    found = walk(made, document)

    assert not found.is_whole
    assert found.bare == ("rows[0].burn",)
    assert len(found.unresolved) == 2
    assert found.unresolved[0].startswith("S-0badc0de: ")
    assert found.unresolved[1] == "G-7: the gate has given 1 verdict in this history; the nearest is G-1"


def test_each_place_of_an_id_is_seen_and_removing_any_entry_is_noticed(made: Made) -> None:
    document = json.loads(json.dumps(made.page))
    assert ids_in(document) == [made.checkout.id, "G-1", made.search.id, "C-1", "D-1"]
    assert numbers_without_evidence(document) == []

    for n, one in enumerate(document["evidence"][:2]):
        less = document | {"evidence": [other for m, other in enumerate(document["evidence"]) if m != n]}
        (made.folder / "history/programme/weeks/2026-W30-w30-4f1a.json").unlink(missing_ok=True)
        assert any(text.startswith(one["id"]) for text in walk(made, less).unresolved)


def test_a_page_without_a_list_of_evidence_is_not_whole(made: Made) -> None:
    assert not walk(made, {"rows": []}).is_whole
    assert not walk(made, {"rows": [], "evidence": [{"id": 3}]}).is_whole
