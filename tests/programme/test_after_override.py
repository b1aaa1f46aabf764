"""What happened after an override: the promises of its journeys from then on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.gathering.after_override import After, after_overrides, record_said
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.promises.objectives import Objective, Query, RatioIndicator, RollingWindow
from loadgen.programme.recommending.overrides import OVERRIDDEN
from loadgen.programme.recommending.record import RECOMMENDED

NOW = datetime(2026, 11, 10, 9, tzinfo=UTC)
DAY = timedelta(days=1)
PROMISE = Objective(
    "fast", "shop", Decimal("0.99"), RollingWindow(86_400), RatioIndicator(Query(), Query()), journey="checkout"
)


def overridden(days_ago: float, journeys: str = '["checkout"]', id_: str = "D-7") -> list[Event]:
    at = (NOW - days_ago * DAY).isoformat()
    return [
        Event(RECOMMENDED, at, details={"id": id_, "release": "v412", "journeys": journeys}),
        Event(OVERRIDDEN, at, "maria", details={"id": id_, "release": "v412"}),
    ]


def after(folder: Path, events: list[Event], bad: int, days: float = 3) -> tuple[After, ...]:
    end = int(NOW.timestamp())
    slices = [Slice("fast", end - 1800 * (n + 1), 1800, 1000 - bad, 1000) for n in range(int(days * 48))]
    Ledger.open(str(folder)).write("prod", slices)
    return after_overrides(place_of(str(folder)), [PROMISE], events, ("checkout",), NOW)


def test_a_promise_that_was_not_kept_after_an_override_is_said(tmp_path: Path) -> None:
    (found,) = after(tmp_path, overridden(2), bad=20)

    assert found.kept is False
    assert found.says == "in the 1d after it, fast: not kept: 98.0 % against 99 %, to 2026-11-09"
    assert record_said((found,)) == "after 0 of 1 override of these journeys, all promises were kept"


def test_until_the_window_is_over_it_is_so_far(tmp_path: Path) -> None:
    (found,) = after(tmp_path, overridden(0.5), bad=1)

    assert found.kept is None
    assert found.says == "after it, so far, fast: kept: 99.9 % against 99 %, to 2026-11-10"
    assert record_said((found,)) == ""


def test_overrides_of_other_journeys_and_without_counts_say_nothing(tmp_path: Path) -> None:
    events = [*overridden(2, '["refund"]'), *overridden(2, "{", "D-8"), *overridden(30, id_="D-9")]

    (found,) = after(tmp_path, events, bad=1)

    assert (found.key[0], found.kept, found.says) == ("D-9", None, "")
