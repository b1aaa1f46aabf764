"""The made programme agrees with itself: its recommendations rest on verdicts that its history has."""

from __future__ import annotations

from loadgen.history.gate.verdict_numbers import numbered_verdicts
from loadgen.history.store.store import Store
from loadgen.programme.recommending.record import RECOMMENDED, document_of
from tests.support.made_programme import MadeProgramme


def test_each_recommendation_quotes_a_verdict_of_the_history_that_has_its_state(made: MadeProgramme) -> None:
    store = Store.open(str(made.store))
    verdicts = dict(numbered_verdicts(store))
    rows = [row for event in store.events(RECOMMENDED) for row in document_of(event)["evidence"]]

    assert [(row["id"], row["state"], verdicts[row["id"]].details["outcome"]) for row in rows] == [
        ("G-7", "no-go", "FAIL"),
        ("G-14", "open", "FAIL"),
    ]
    assert rows[0]["says"] == f"FAIL: {verdicts['G-7'].details['reasons']}"
