"""Which changes of promises are sent: a condition that begins, one recovery, one summary for a state that flaps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.burn.firing import Burning
from loadgen.analysis.burn.rules import BurnRule
from loadgen.errors import StorageError
from loadgen.history.store.write_once_storage import Folder
from loadgen.notify.event import EventKind
from loadgen.notify.settings import Channel
from loadgen.programme.promises.objectives import Objective, Query, RatioIndicator, RollingWindow
from loadgen.programme.publishing.status_changes import Notice, Remembered, changes
from loadgen.programme.publishing.status_notices import notify_changes
from loadgen.programme.status import PromiseState, Word

PROMISE = Objective("a", "shop", Decimal("0.99"), RollingWindow(28 * 86_400), RatioIndicator(Query(), Query()))
FIRES = (Burning(BurnRule(Fraction(1), 3600, 300), True, 2.0, 2.0, 9.0, False, 0.0),)
KEPT = PromiseState(PROMISE, "kept")
BURNS = replace(KEPT, burning=FIRES)
BROKEN = PromiseState(PROMISE, "not kept")
NOW = datetime(2026, 7, 27, 6, tzinfo=UTC)
TEAM = Channel(name="team", kind="webhook", url="https://x.example")


def state(word: Word) -> PromiseState:
    return PromiseState(PROMISE, word)


def sent(states: Sequence[PromiseState], every_s: int = 3_700) -> list[str]:
    """Return what is sent for the states of one promise, one after the other, by their indices."""
    before: dict[str, Remembered] = {}
    found = []
    for n, one in enumerate(states):
        before, notices = changes(before, [one], 1_000_000 + n * every_s, lambda one: one.word)
        found += [f"{n} {notice.change}" for notice in notices]
    return found


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([KEPT, KEPT], []),
        ([BURNS, BURNS], ["0 begins"]),
        ([KEPT, BURNS, KEPT], ["1 begins", "2 recovered"]),
        ([BURNS, replace(BROKEN, burning=FIRES), BROKEN, KEPT], ["0 begins", "1 begins", "3 recovered"]),
        ([BROKEN, state("no data"), state("undecided"), BROKEN], ["0 begins"]),
        ([BURNS, state("no data"), KEPT], ["0 begins", "2 recovered"]),
        ([state("undecided"), state("no traffic"), state("not judged")], []),
        ([replace(state("undecided"), burning=FIRES)], ["0 begins"]),
    ],
)
def test_a_condition_that_begins_and_the_recovery_are_sent_and_missing_data_are_neither(
    states: list[PromiseState], expected: list[str]
) -> None:
    assert sent(states) == expected


def test_a_state_that_flaps_more_than_three_times_an_hour_becomes_one_summary() -> None:
    minutes = [BURNS, KEPT, BURNS, KEPT, BURNS, KEPT, BURNS, KEPT]

    assert sent(minutes, every_s=300) == ["0 begins", "1 recovered", "2 begins", "3 flaps"]
    assert sent(minutes + [KEPT] * 14, every_s=300) == ["0 begins", "1 recovered", "2 begins", "3 flaps"]
    # It burns at the end, and the summary said that it did not: an hour later that is sent.
    assert sent(minutes + [BURNS] * 14, every_s=300)[4:] == ["20 begins"]


def test_three_changes_an_hour_are_sent_one_by_one() -> None:
    assert sent([BURNS, KEPT, BURNS, BURNS], every_s=600) == ["0 begins", "1 recovered", "2 begins"]


@given(st.lists(st.sampled_from([KEPT, BURNS, BROKEN, state("no data")]), max_size=40), st.sampled_from([300, 1_200]))
def test_at_most_four_messages_an_hour_are_sent_and_the_last_one_is_right(
    states: list[PromiseState], every_s: int
) -> None:
    found = sent(states + [KEPT] * 26, every_s)

    at = [int(text.split()[0]) * every_s for text in found]
    assert all(sum(start <= one < start + 3_600 for one in at) <= 4 for start in at)
    calm = sent([*states, *[KEPT] * 26, BURNS], every_s)
    assert calm[-1] == f"{len(states) + 26} begins", "everything before was said, and it was kept"


def told(tmp_path: Path, state: PromiseState, now: datetime, why: str = "", ids: list[str] | None = None) -> list[str]:
    def send(_channel: Channel, _values: Any, message: Any) -> str:
        if ids is not None:
            ids.append(message.id)
        return why

    return notify_changes([state], lambda one: f"a: {one.word}", [TEAM], Folder(tmp_path), now, send=send)


def test_a_change_is_sent_once_and_one_that_was_refused_again_with_the_same_id(tmp_path: Path) -> None:
    ids: list[str] = []
    minute = timedelta(minutes=1)

    assert told(tmp_path, BROKEN, NOW, "http 503", ids) == [
        "1 change of promises not sent to team: http 503; the next --notify tries again"
    ]
    assert told(tmp_path, BROKEN, NOW + minute, "", ids) == ["1 change of promises sent to team"]
    assert told(tmp_path, BROKEN, NOW + 2 * minute, "", ids) == []
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_a_message_is_given_up_after_a_day(tmp_path: Path) -> None:
    told(tmp_path, BROKEN, NOW, "http 503")

    assert told(tmp_path, BROKEN, NOW + timedelta(days=1, minutes=1)) == []


def test_the_first_run_of_a_programme_that_keeps_everything_writes_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, KEPT, NOW) == []
    assert not list(tmp_path.iterdir())


def test_a_channel_that_does_not_want_it_gets_no_status(tmp_path: Path) -> None:
    silent = replace(TEAM, events=frozenset((EventKind.REPORT,)))

    assert notify_changes([BROKEN], lambda _: "", [silent], Folder(tmp_path), NOW) == []


def test_a_damaged_file_is_left_out_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    told(tmp_path, BROKEN, NOW)
    notices = tmp_path / "notices"
    (notices / "status-00000002.json").write_bytes(b"{")
    (line,) = told(tmp_path, BROKEN, NOW)
    assert line.startswith("notices/status-00000002.json is left out: Input data was truncated; its changes may be")

    document = json.loads((notices / "status-00000001.json").read_text()) | {"format": 2}
    (notices / "status-00000003.json").write_text(json.dumps(document))
    with pytest.raises(StorageError, match="reads formats up to 1"):
        told(tmp_path, BROKEN, NOW)


def test_of_two_writers_of_the_same_change_one_sends(tmp_path: Path) -> None:
    class Raced(Folder):
        """Another command writes the same change just before."""

        def put_new(self, name: str, data: bytes) -> bool:
            if name.startswith("notices/") and not self.names("notices/"):
                told(tmp_path, BROKEN, NOW)
            return super().put_new(name, data)

    ids: list[str] = []

    def send(_channel: Channel, _values: Any, message: Any) -> str:
        ids.append(message.id)
        return ""

    assert notify_changes([BROKEN], lambda _: "a", [TEAM], Raced(tmp_path), NOW, send=send) == []
    assert ids == []


def test_the_order_is_what_begins_then_what_recovered() -> None:
    other = replace(BROKEN, objective=replace(PROMISE, name="b"))
    before = {"a": Remembered(("burning",), (), ("burning",))}

    _, notices = changes(before, [KEPT, other], 0, lambda one: one.word)

    assert notices == [Notice("b", "begins", "not kept"), Notice("a", "recovered", "recovered: kept")]
