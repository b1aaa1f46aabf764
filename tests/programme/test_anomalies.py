"""Anomalies of the ledger, and what people answer to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from loadgen.errors import UsageError
from loadgen.history.store.write_once_storage import Folder, place_of
from loadgen.programme.anomalies.answers import Answer, answer, answers, finds, silenced
from loadgen.programme.anomalies.blocks import first_of, search_back
from loadgen.programme.anomalies.by_id import find_by_id
from loadgen.programme.anomalies.find import Anomaly, anomalies_of, search
from loadgen.programme.anomalies.said import anomalies_section
from loadgen.programme.anomalies.week_change import production_change
from loadgen.programme.ledger.exclusions import Exclusion
from loadgen.programme.ledger.ledger import Counts, Ledger, Reading
from loadgen.programme.ledger.slices import Slice

START = 1_784_505_600
"""2026-07-20, 0 h UTC, a Monday."""
HOUR = 3_600
BURST = 200
NOW = datetime(2026, 8, 20, tzinfo=UTC)


def read(tmp_path: Path, hours: int = 350, slo: str = "checkout") -> Reading:
    """Two weeks of hourly slices with a burst of requests, and later one of bad requests."""
    hour = np.arange(hours)
    total = np.random.default_rng(1).poisson(400 * (1 + 0.5 * np.sin(hour / 24 * 2 * np.pi)))
    total[BURST : BURST + 2] *= 5
    bad = np.minimum(np.random.default_rng(2).poisson(1, hours), total)
    bad[BURST + 60] = 60
    rows = zip(hour.tolist(), total.tolist(), bad.tolist(), strict=True)
    ledger = Ledger.open(str(tmp_path))
    ledger.write("prod", [Slice(slo, START + HOUR * h, HOUR, t - b, t, 0) for h, t, b in rows if h not in (50, 51)])
    return ledger.read(START, START + 60 * 86_400)


def test_adjacent_hours_are_one_find_with_what_was_seen_and_what_is_usual(tmp_path: Path) -> None:
    reading = read(tmp_path)
    found = search(reading.by_slo["checkout"], "checkout", "UTC", (), [one.name for one in reading.revisions])

    requests, bad = found.found
    assert (requests.start, requests.end) == (START + HOUR * BURST, START + HOUR * (BURST + 2))
    assert (requests.what, requests.direction) == ("requests", "more")
    assert requests.observed > 4 * requests.expected > 1_000
    assert (bad.what, bad.start, bad.observed) == ("bad requests", START + HOUR * (BURST + 60), 60)
    assert requests.revisions == ("2026-07-28/prod-1",)
    assert (found.hours, found.gaps, found.is_weekly) == (348, 2, False)


def test_later_counts_do_not_change_the_id(tmp_path: Path) -> None:
    early = anomalies_of(read(tmp_path / "a", 340).by_slo["checkout"], "checkout", "UTC")
    late = anomalies_of(read(tmp_path / "b", 400).by_slo["checkout"], "checkout", "UTC")
    assert [one.id for one in early] == [one.id for one in late]
    assert all(one.id.startswith("A-") and len(one.id) == 10 for one in early)


def test_an_excluded_time_is_a_gap_and_no_find(tmp_path: Path) -> None:
    excluded = [Exclusion(START + HOUR * BURST, START + HOUR * (BURST + 2), "announced")]
    found = search(read(tmp_path).by_slo["checkout"], "checkout", "UTC", excluded)
    assert [one.what for one in found.found] == ["bad requests"]
    assert found.gaps == 4


def test_hours_of_a_zone_begin_with_its_own_clock(tmp_path: Path) -> None:
    found = anomalies_of(read(tmp_path).by_slo["checkout"], "checkout", "America/New_York")
    assert found[0].start == START + HOUR * BURST


def test_an_answer_silences_a_find_until_it_ends_and_nothing_is_deleted(tmp_path: Path) -> None:
    one = anomalies_of(read(tmp_path).by_slo["checkout"], "checkout", "UTC")[0]
    place = place_of(str(tmp_path))
    answer(place, one, "accepted", "Black Friday", by="maria", now=NOW, until=NOW + timedelta(days=2))
    given, troubles = answers(place)

    assert [find.state for find in finds([one], given, NOW + timedelta(days=1))] == ["accepted"]
    (after,) = finds([one], given, NOW + timedelta(days=3))
    assert after.state == "new"
    assert after.answer is not None
    assert (after.answer.by, after.answer.because) == ("maria", "Black Friday")
    answer(place, one, "false", "counted twice", by="ann", now=NOW + timedelta(days=4))
    given, _ = answers(place)
    assert [each.state for each in given] == ["accepted", "false"]
    assert silenced(finds([one], given, NOW + timedelta(days=5))) == {"false": 1}
    assert answers(place, (NOW - timedelta(days=1)).isoformat()) == ((), ())
    assert troubles == ()


def test_an_answer_holds_if_later_counts_move_the_first_hour_but_not_for_another_find(tmp_path: Path) -> None:
    one, other = anomalies_of(read(tmp_path).by_slo["checkout"], "checkout", "UTC")
    given = [Answer("A-00000000", one.slo, one.start - HOUR, one.start + HOUR, one.what, one.direction, "false", "x")]
    assert [find.state for find in finds([one, other], given, NOW)] == ["false", "new"]


def test_an_answer_names_all_of_its_errors_and_writes_nothing(tmp_path: Path) -> None:
    one = anomalies_of(read(tmp_path).by_slo["checkout"], "checkout", "UTC")[0]
    place = place_of(str(tmp_path))
    with pytest.raises(ExceptionGroup) as caught:
        answer(place, one, "accepted", " ", by="m", now=NOW, until=NOW - timedelta(days=1))
    assert [type(error) for error in caught.value.exceptions] == [UsageError, UsageError]
    with pytest.raises(ExceptionGroup):
        answer(place, one, "explained", "because", by="m", now=NOW, link="javascript:alert(1)")
    assert answers(place) == ((), ())


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"format": 1, "kind": "anomaly", "at": "2026-07-20T00:00:00Z", "details": {"state": "fine"}}'],
)
def test_a_damaged_answer_is_left_out_and_named(tmp_path: Path, data: bytes) -> None:
    Folder(tmp_path).put_new("events/20260720T000000Z-anomaly-00000000.json", data)
    given, troubles = answers(place_of(str(tmp_path)))
    assert given == ()
    assert troubles[0].startswith("events/20260720T000000Z-anomaly-00000000.json is left out: ")


def test_a_find_is_found_by_its_id_and_so_is_an_hour_that_is_no_longer_flagged(tmp_path: Path) -> None:
    reading = read(tmp_path)
    one = anomalies_of(reading.by_slo["checkout"], "checkout", "UTC")[0]
    assert find_by_id(reading, one.id, "UTC") == (one, True)
    excluded = [Exclusion(one.start, one.end, "announced")]
    again, is_flagged = find_by_id(reading, one.id, "UTC", excluded)
    assert again is not None
    assert (again.id, again.start, is_flagged) == (one.id, one.start, False)
    assert find_by_id(reading, "A-00000000", "UTC") == (None, False)


def test_the_section_names_new_finds_first_and_counts_what_is_silenced(tmp_path: Path) -> None:
    searched = search(read(tmp_path).by_slo["checkout"], "checkout", "UTC")
    one = searched.found[0]
    given = [
        Answer(
            one.id, one.slo, one.start, one.end, one.what, one.direction, "false", "counted\x1b[2J twice", "m", "2026"
        )
    ]
    period = (START + 7 * 86_400, START + 14 * 86_400)
    section, evidence = anomalies_section([searched, search(None, "b", "UTC")], given, period, "UTC", NOW)

    new, quiet, unknown = section.items
    assert new.text.startswith("checkout had 60 bad requests, where about 1 are usual, Thu 30 Jul 2026, 20:00 to 21:00")
    assert quiet.text == "1 find silenced (1 false): false because counted\\x1b[2J twice."
    assert unknown.text == "1 promise could not be searched: b: the ledger has no counts of it."
    assert {id_ for item in section.items for id_ in item.evidence} == {entry.id for entry in evidence}
    empty, _ = anomalies_section([searched], given, (START, START + 86_400), "UTC", NOW)
    assert (empty.items, empty.none) == ((), "Nothing unusual in the hourly counts.")


def test_a_week_of_production_is_compared_with_the_one_before(tmp_path: Path) -> None:
    counts = read(tmp_path).by_slo["checkout"]
    found = production_change(counts, "checkout", "UTC", START + 7 * 86_400)
    assert (found.volume.n_days, found.volume.n_hours) == (7, 166)
    assert found.volume.low < 0.1 < found.volume.high
    assert found.bad_share.n_days == 7
    assert production_change(None, "checkout", "UTC", START).volume.why == "the ledger has no counts of it"
    assert production_change(counts, "checkout", "UTC", START).volume.why.startswith("0 pairs of days")


def weeks_of_counts(weeks: int) -> Counts:
    """Hourly slices with a day's shape, and with bursts in the third, eighth and last week."""
    hours = weeks * 168
    total = np.random.default_rng(3).poisson(400 * (1 + 0.5 * np.sin(np.arange(hours) / 24 * 2 * np.pi)))
    for week in (2, 7, weeks - 1):
        total[week * 168 + 50] *= 4
    start = START + HOUR * np.arange(hours)
    zeros = np.zeros(hours, np.int64)
    texts = (np.zeros(hours, np.int32), ("",))
    return Counts(start, zeros + HOUR, total, total, zeros, zeros > 0, zeros, texts)


def test_a_find_is_the_same_however_far_back_somebody_looks() -> None:
    counts, end = weeks_of_counts(18), START + 18 * 168 * HOUR

    def found_since(weeks: int) -> dict[str, Anomaly]:
        since = end - weeks * 168 * HOUR
        kept = counts.chosen(counts.start >= first_of(since, end))
        return {one.id: one for one in search_back(kept, "checkout", "UTC", since=since, end=end).found}

    every = found_since(18)
    bursts = [START + HOUR * (week * 168 + 50) for week in (2, 7, 17)]
    assert [one.start for one in every.values()] == bursts
    for weeks in (1, 4, 5, 11, 13, 26):
        shorter = found_since(weeks)
        assert shorter == {id_: one for id_, one in every.items() if one.end > end - weeks * 168 * HOUR}
    pasts = [one.past for one in every.values() if one.past is not None]
    assert [past.end - past.start for past in pasts] == [8 * 168 * HOUR] * 3
    assert pasts[0].start == START


def test_a_find_at_the_edge_of_two_blocks_is_listed_once() -> None:
    counts, end = weeks_of_counts(18), START + 18 * 168 * HOUR
    edge = 18 * 168 - 4 * 168
    counts.total[edge - 2 : edge + 2] *= 4

    found = search_back(counts, "checkout", "UTC", since=START, end=end).found

    over = [one for one in found if one.start < START + HOUR * edge < one.end]
    assert [(one.start, one.end) for one in over] == [(START + HOUR * (edge - 2), START + HOUR * (edge + 2))]
    assert len(found) == 4


def test_older_hours_that_cannot_be_searched_are_named() -> None:
    counts, end = weeks_of_counts(18), START + 18 * 168 * HOUR
    hour = (counts.start - START) // HOUR
    gapped = counts.chosen((hour < 200) | (hour >= 10 * 168))

    found = search_back(gapped, "checkout", "UTC", since=START, end=end)

    assert found.why == ""
    assert found.partly.startswith("not searched before 2026-")
    assert [one.start for one in found.found] == [START + HOUR * (17 * 168 + 50)]
