"""The weekly page of the made programme: the same bytes, what it says, and what changes it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from math import nan
from pathlib import Path
from typing import Any

import pytest

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.evidence.walk import ids_in, numbers_without_evidence
from loadgen.programme.ledger.exclusions import Exclusion, exclude
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.weekly.as_csv import as_csv
from loadgen.programme.weekly.as_json import as_document, as_json
from loadgen.programme.weekly.as_markdown import as_markdown
from loadgen.programme.weekly.build_page import build_page
from loadgen.programme.weekly.gather import Gathered, Promise, gather
from loadgen.programme.weekly.page_values import NOTHING, Row, Said, Section, Shown, WeeklyPage
from loadgen.programme.weekly.rows import FromOthers
from loadgen.programme.weekly.wording import Change, about, certainty_of, runs_needed, worded
from tests.programme.conftest import AS_OF
from tests.support.made_programme import END, MadeProgramme, objectives

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = '=1+1 <script>|\x1b[31m\u202e@everyone "'


def of(gathered: Gathered, *journeys: str, **changes: Any) -> WeeklyPage:
    """The page of some journeys only."""
    promises = tuple(one for one in gathered.promises if one.journey in journeys)
    return build_page(replace(gathered, promises=promises, **changes))


def keys(page: WeeklyPage) -> list[str]:
    return [one.key for one in page.sentences]


def row(page: WeeklyPage, journey: str) -> Row:
    return next(one for one in page.rows if one.journey == journey)


def section(page: WeeklyPage, title: str) -> str:
    return " ".join(one.text for one in next(one for one in page.sections if one.title == title).items)


# -- bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "write"), [("json", as_json), ("md", as_markdown), ("csv", as_csv)])
def test_the_page_of_the_made_programme_has_always_the_same_bytes(page: WeeklyPage, name: str, write: Any) -> None:
    golden = GOLDEN / f"2026-W30.{name}"
    # To renew it after a change that is meant: write(page) into this file, and read the difference.
    assert write(page) == golden.read_bytes()


def test_every_number_has_evidence_and_every_id_has_an_entry(page: WeeklyPage) -> None:
    document = as_document(page)
    assert numbers_without_evidence(document) == []
    entries = [one["id"] for one in document["evidence"]]
    assert len(entries) == len(set(entries))
    assert set(ids_in(document)) == set(entries)
    assert all(one["says"] and (one["formula"] or one["inputs"]) for one in document["evidence"])


def test_the_id_of_a_page_does_not_depend_on_when_somebody_asks(gathered: Gathered, page: WeeklyPage) -> None:
    later = build_page(replace(gathered, as_of="2026-07-27T09:00:00+00:00"))
    assert later.id == page.id
    assert later.as_of != page.as_of
    assert build_page(replace(gathered, revisions=())).id != page.id


# -- what was known -------------------------------------------------------------------------------


@pytest.fixture
def copied(made: MadeProgramme, tmp_path: Path) -> MadeProgramme:
    """A programme that a test may change."""
    shutil.copytree(made.folder, tmp_path / "copy")
    return MadeProgramme(tmp_path / "copy")


def changed(copied: MadeProgramme, gathered: Gathered, written: str) -> WeeklyPage:
    """The page after something of everything was recorded at a time."""
    place = place_of(str(copied.store))
    start = END - 4 * 86_400
    bad = 5_000 if written < "2026-07-27T06" else 4_999
    Ledger(place, now=lambda: written).write("prod", [Slice("cart-fast", start, 300, 0, bad)], "a test")
    exclude(place, Exclusion(start, start + 600, "a test", ("invoice-fast",), "a test", written))
    store = Store(place)
    store.note(Event("struck", written, "a test", (gathered.runs[-1].run_id,), "a test"))
    ids = (gathered.runs[-2].run_id,)
    store.note(Event("verdict", written, "a test", ids, details={"outcome": "FAIL", "names": '["cart"]'}))
    store.note(Event("recommended", written, "a test", details={"id": "D-9", "recommendation": "NO-GO"}))
    return build_page(
        gather(
            place,
            objectives(),
            gathered.period,
            AS_OF,
            gathered.settings,
            gathered.programme,
            load_tests=gathered.load_tests,
        )
    )


def test_only_what_was_known_counts_and_a_change_of_slices_changes_only_its_rows(
    copied: MadeProgramme, gathered: Gathered, page: WeeklyPage
) -> None:
    # Everything that was recorded later is ignored.
    assert as_json(changed(copied, gathered, "2026-07-27T06:00:00.001Z")) == as_json(page)
    # The same, recorded just before.
    found = changed(copied, gathered, "2026-07-27T05:59:59Z")
    slices = ("kept", "budget_left", "burn", "gone", "at_stake")
    differ = {
        (one.journey, name)
        for one in found.rows
        for name in slices
        if getattr(one, name) != getattr(row(page, one.journey), name)
    }
    assert differ == {(journey, name) for journey in ("cart", "invoice") for name in slices}
    assert row(found, "cart").at_stake.value == row(page, "cart").at_stake.value + 5_000 - bad_before(gathered)  # type: ignore[operator]
    lines = {one.name: one for one in page.charts[0].lines}
    assert {one.name for one in found.charts[0].lines if one != lines[one.name]} == {"cart", "invoice"}
    assert found.id != page.id
    assert "a test" in section(found, "How sure we are")
    assert row(found, "cart").gate.text == "FAIL"
    assert "D-9" in section(found, "Recommendations and overrides in force")


def bad_before(gathered: Gathered) -> int:
    counts = next(one for one in gathered.promises if one.journey == "cart").counts
    assert counts is not None
    at = counts.start == END - 4 * 86_400
    return int((counts.total - counts.good)[at].sum())


# -- rows -----------------------------------------------------------------------------------------


def test_the_worst_rows_are_first_and_a_journey_without_counts_is_never_good(gathered: Gathered) -> None:
    empty = [replace(one, state=replace(one.state, word="no data", judgement=None, budget=None, gone=None, burning=()))
             for one in gathered.promises if one.journey == "wallet"]  # fmt: skip
    some = [one for one in gathered.promises if one.journey != "wallet"]
    found = build_page(replace(gathered, promises=(*some, *empty)))
    assert [one.journey for one in found.rows][:3] == ["checkout", "login", "search"]
    # refund is undecided by missing slices, wallet has none at all.
    assert {one.journey for one in found.rows[3:5]} == {"refund", "wallet"}
    assert row(found, "wallet").tone == "open"
    assert row(found, "wallet").kept.text == "no data"
    assert row(found, "wallet").budget_left == NOTHING


def test_a_cell_of_the_gate_shows_where_it_failed_and_how_old_it_is(gathered: Gathered, page: WeeklyPage) -> None:
    assert row(page, "search").gate.text == "FAIL"
    assert row(page, "search").gate.tone == "bad"
    assert row(page, "cart").gate.text == "FAIL at search"
    assert row(page, "cart").gate.tone == "plain"
    old = tuple(one for one in gathered.verdicts if one.at < gathered.period.start - 86_400)
    cell = row(of(gathered, "cart", verdicts=old), "cart").gate
    assert (cell.text, cell.tone) == ("PASS, 13 days old", "open")
    assert row(of(gathered, "cart", verdicts=()), "cart").gate.text == "no verdict"


def test_runs_of_another_key_are_not_compared_and_the_field_is_named(gathered: Gathered) -> None:
    limit = gathered.period.start
    runs = tuple(
        replace(one, key=replace(one.key, rate="300/s")) if datetime.fromisoformat(one.started_at).timestamp() >= limit
        else one for one in gathered.runs
    )  # fmt: skip
    found = of(gathered, "cart", runs=runs)
    assert row(found, "cart").week_on_week.text == "not comparable: rate: 300/s here, 200/s there"
    none = of(gathered, "cart", runs=())
    assert row(none, "cart").week_on_week.text == "not measured"
    assert "without: cart" in section(none, "Coverage")


def test_headroom_is_the_lower_capacity_over_the_upper_forecast(gathered: Gathered, page: WeeklyPage) -> None:
    cell = row(page, "checkout").headroom
    assert cell.low == pytest.approx(452 / 360, abs=1e-4)
    assert cell.high == pytest.approx(490 / 300, abs=1e-4)
    assert cell.tone == "good"
    stricter = replace(gathered.programme, rules=replace(gathered.programme.rules, headroom=1.7))
    found = of(gathered, "checkout", "cart", programme=stricter)
    assert row(found, "checkout").headroom.tone == "bad"
    assert "Checkout's headroom is 1.25 to 1.63 × the forecast, and 1.7 is needed." in [
        one.text for one in found.sentences
    ]


def test_values_of_others_replace_the_short_forms(gathered: Gathered) -> None:
    others = FromOthers(
        production={"cart-fast": Shown("became slower by 3 % (1 to 5 %)")},
        at_stake={"cart": Shown("3,075 EUR a week")},
        anomalies=Section("Anomalies", (Said("Cart had few requests on Friday."),)),
        coverage=(Said("Covered 71 % of requests."),),
    )
    found = build_page(gathered, others)
    assert row(found, "cart").week_on_week.text == "became slower by 3 % (1 to 5 %)"
    assert row(found, "cart").at_stake.text == "3,075 EUR a week"
    assert section(found, "Anomalies") == "Cart had few requests on Friday."
    assert section(found, "Coverage") == "Covered 71 % of requests."


# -- sentences ------------------------------------------------------------------------------------


def test_the_first_sentences_name_the_promise_its_cause_the_budget_and_the_commit(page: WeeklyPage) -> None:
    first, second, third = (one.text for one in page.sentences)
    assert first == (
        "12 of 14 promises were kept; not decided: refund. Checkout's was not: 99.41 % against 99.5 %, from the"
        " incident of Tuesday 10:00 to 12:40 (82 % of the bad requests); its budget is overspent (-18 %)."
    )
    assert second == "Login's error budget will be gone in 8 days, if this goes on (42 % is left)."
    assert third == (
        "Search became slower in the load tests by about 6 % on Wednesday with commit 81ac0f3; it still keeps its"
        " promise."
    )
    assert page.sentences[0].owner == "payments-oncall@shop.example"


def test_sentences_have_a_fixed_order_and_good_news_is_last(gathered: Gathered) -> None:
    assert keys(of(gathered, "checkout", "login", "search")) == ["promise not kept", "budget gone soon", "regression"]
    assert keys(of(gathered, "refund", "cart")) == ["promise undecided", "launch", "data missing"]
    assert keys(of(gathered, "search", "cart")) == ["regression", "launch", "data missing"]
    assert keys(of(gathered, "cart", decisions=())) == ["data missing", "all kept"]
    whole = {"sources": {"prod": END - 300}}
    assert keys(of(gathered, "cart", decisions=(), **whole)) == ["all kept"]
    go = Event(
        "recommended", "2026-07-24T10:00:00Z", "x", details={"id": "D-3", "release": "a", "recommendation": "GO"}
    )
    assert keys(of(gathered, "cart", decisions=(go,), **whole)) == ["all kept", "launch"]


def test_a_gate_that_is_not_healthy_is_in_the_first_sentences_as_soon_as_a_verdict_is_quoted(
    gathered: Gathered,
) -> None:
    no_controls = of(gathered, "checkout", "login", "search", controls=())
    assert keys(no_controls) == ["promise not kept", "budget gone soon", "gate health"]
    assert "no A/A control" in no_controls.sentences[-1].text
    ill = tuple(replace(one, details={**one.details, "outcome": "FAIL"}) for one in gathered.controls)
    assert "not healthy" in " ".join(one.text for one in of(gathered, "cart", controls=ill).sentences)
    shift = timedelta(days=30)
    old = tuple(replace(one, at=(datetime.fromisoformat(one.at) - shift).isoformat()) for one in gathered.controls)
    assert "33 days old" in " ".join(one.text for one in of(gathered, "cart", controls=old).sentences)
    assert "gate health" not in keys(of(gathered, "cart", controls=(), verdicts=()))


def test_a_promise_without_an_incident_names_no_cause(gathered: Gathered) -> None:
    found = next(one for one in gathered.promises if one.journey == "checkout")
    assert found.units is not None
    even = replace(found.units, good=found.units.total * 0.99)
    text = build_page(replace(gathered, promises=(replace(found, units=even),))).sentences[0].text
    assert "incident" not in text


def test_two_promises_of_one_journey_have_two_rows_and_own_names(gathered: Gathered) -> None:
    first = next(one for one in gathered.promises if one.journey == "checkout")
    other = replace(first.state.objective, name="checkout-up")
    second: Promise = replace(first, state=replace(first.state, objective=other))
    found = build_page(replace(gathered, promises=(first, second)))
    assert [one.slo for one in found.rows] == ["checkout-fast", "checkout-up"]
    assert "Checkout-fast's was not" in found.sentences[0].text
    assert {one.name for one in found.charts[0].lines} == {"checkout-fast", "checkout-up"}


def test_open_matters_have_age_owner_and_cost(page: WeeklyPage) -> None:
    items = {one.key: one for one in next(one for one in page.sections if one.title == "What is open").items}
    assert "not kept since Tue 21 Jul 12:15" in items["promise not kept"].text
    assert "49,333 bad requests this week" in items["promise not kept"].text
    assert items["burn"].owner == "accounts-oncall@shop.example"
    assert "G-14" in items["gate"].text
    assert "D-1 (v411) is overridden until Sat 15 Aug" in section(page, "Recommendations and overrides in force")


def test_counts_of_one_have_words_of_one(gathered: Gathered, page: WeeklyPage) -> None:
    assert "1 of 2 sources is complete; late: accounts-db." in section(page, "How sure we are")
    one = replace(gathered, sources={"prod": gathered.at})
    assert "1 of 1 source is complete." in section(build_page(one), "How sure we are")
    none = build_page(replace(one, sources={"prod": 0}))
    assert "0 of 1 source is complete; late: prod." in section(none, "How sure we are")


def test_names_of_lines_have_room_beside_the_chart_and_its_text_has_the_end_of_the_forecast(page: WeeklyPage) -> None:
    chart = page.charts[-1]
    assert [line.name for line in chart.lines][:2] == ["checkout capacity", "checkout forecast"]
    assert chart.text.startswith("Capacity and forecast to 2026-12-31 with their bands. Headroom: checkout 1.25 to ")


# -- texts from outside, public pages -------------------------------------------------------------


def test_hostile_texts_are_harmless_in_each_format(gathered: Gathered) -> None:
    first = next(one for one in gathered.promises if one.journey == "checkout")
    hostile = replace(first.state.objective, owner=HOSTILE, labels=(("team", HOSTILE),))
    details = {"id": HOSTILE, "until": "2027-01-01T00:00:00Z"}
    event = Event("overridden", "2026-07-20T00:00:00Z", HOSTILE, (), HOSTILE, details)
    promise = replace(first, state=replace(first.state, objective=hostile))
    found = build_page(replace(gathered, promises=(promise,), decisions=(event,), troubles=(HOSTILE,)))
    for data in (as_json(found), as_markdown(found), as_csv(found)):
        assert "\x1b" not in data.decode()
        assert "\u202e" not in data.decode()
    assert "<script>" not in as_markdown(found).decode()
    assert "'=1+1" in as_csv(found).decode()
    assert json.loads(as_json(found))["rows"][0]["journey"] == "checkout"


def test_records_that_cannot_be_read_stand_above_good_news(gathered: Gathered) -> None:
    kept = tuple(one for one in gathered.promises if one.journey == "cart")
    calm = replace(gathered, promises=kept, sources={}, runs=(), references=(), verdicts=(), decisions=(), studies=())

    sound = build_page(calm)
    found = build_page(replace(calm, troubles=("events/x-verdict-0.json is damaged",)))

    assert [one.tone for one in sound.sentences][:1] == ["good"]
    assert [one.tone for one in found.sentences] == ["open", "good"]
    assert found.sentences[0].text.startswith("1 record of the history or the ledger cannot be used")
    (id_,) = found.sentences[0].evidence
    assert any(one.id == id_ for one in found.evidence)


def test_a_public_page_has_promises_and_attainment_only(gathered: Gathered, page: WeeklyPage) -> None:
    found = build_page(gathered, is_public=True)
    text = as_json(found).decode()
    for word in ("oncall", "81ac0f3", "http_bucket", "20260722", "G-14", "D-2", "prod", "EUR"):
        assert word not in text, word
    assert [one.text for one in found.sentences] == ["12 of 14 promises were kept."]
    assert row(found, "checkout").kept == row(page, "checkout").kept
    assert row(found, "checkout").budget_left == NOTHING


# -- wording --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(0.06, 0.04, 0.08), "became slower by 6 % (4 to 8 %)"),
        (Change(-0.2, -0.23, -0.17), "became faster by 20 % (17 to 23 %)"),
        (Change(0.06, 0.04, 0.08, holds=False), "perhaps slower; not certain"),
        (Change(0.02, 0.01, 0.035), "perhaps slower; not certain"),  # certain, but below the gate's rule
        (Change(-0.04, -0.09, 0.01), "perhaps faster; not certain"),
        (Change(0.004, -0.011, 0.019), "did not change by more than 2 %"),
        (Change(0.0, 0.0, 0.0), "did not change by more than 1 %"),
        (Change(0.05, -0.12, 0.22), "we cannot tell"),
        (Change(0.05, -0.09, 0.12, runs=2), "we cannot tell: 25 runs would"),
        (Change(0.05, nan, nan), "we cannot tell"),
        (Change(nan, nan, nan), "not measured"),
        (None, "not measured"),
    ],
)
def test_uncertainty_is_worded_by_one_table(change: Change | None, words: str) -> None:
    assert worded(change) == words


def test_leadership_reads_what_is_certain() -> None:
    assert about(Change(0.0593, 0.035, 0.084)) == "about 6 %"
    assert about(Change(0.124, 0.121, 0.127)) == "about 12 %"
    assert about(Change(0.62, 0.45, 0.79)) == "about 60 %"
    assert about(Change(0.15, 0.05, 0.25)) == "5 to 25 %"
    assert about(Change(-0.2, -0.23, -0.17)) == "about 20 %"
    assert certainty_of(Change(0.15, 0.05, 0.25)) == "certain"
    assert runs_needed(Change(0.0, -3.0, 3.0, runs=2)) is None


def test_words_that_mislead_do_not_occur(page: WeeklyPage) -> None:
    text = as_json(page).decode().lower()
    assert "significant" not in text
    assert "probability" not in text
