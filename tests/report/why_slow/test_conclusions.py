"""What several kinds of evidence say together, and what a repeated run says: each with the verb of its rung."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from loadgen.ladder import Rung, words_of
from loadgen.report.goes_with.file import GoesWithFile, Line
from loadgen.report.run_as_dataframes import Run
from loadgen.report.summary_reader import Slo, Validity
from loadgen.report.why_slow.cause_file import CauseFile, Chosen, ObjectivePart, Ranked
from loadgen.report.why_slow.database.parts import LockPart
from loadgen.report.why_slow.goes_away import changes, goes_away_lines
from loadgen.report.why_slow.in_one_sentence import in_one_sentence

PATH = ("shop: POST /ach", "shop: UPDATE ledger")
LOCK = LockPart(
    probe="shopdb",
    path=PATH,
    root="settle",
    waiter="payout",
    root_state="idle in transaction",
    waits=53,
    median_wait_ms=148.0,
)
ACTIVE = Line(title="sessions active", host="shopdb", lag_error_s=1.2, together=("sessions waiting for a lock",))
OBJECTIVE = 'p(99, request="ach") < 100ms'


def causes_of(*locks: LockPart, share: float = 1.0) -> CauseFile:
    return CauseFile(
        run="r",
        objective=ObjectivePart(name="ach"),
        chosen=Chosen(percentile="p99"),
        ranked=(Ranked(path=PATH, added_ns=1e8, share=share),),
        locks=locks,
    )


def goes_with(*named: Line) -> GoesWithFile:
    return GoesWithFile(run="r", objective="x", named=named)


def run_of(name: str, *slos: Slo, validity: str = "valid", **spec: Any) -> Run:
    summary = SimpleNamespace(validity=Validity(validity), slos=slos)
    return cast(Run, SimpleNamespace(id=name, summary=summary, manifest={"spec": spec, "bundle": {"sha256": "1"}}))


def slo(verdict: str, ms: float) -> Slo:
    return Slo(OBJECTIVE, verdict, ms, "ms", 4_000, journey="post", request="ach", limit_ms=100.0)


def test_three_kinds_of_evidence_are_one_sentence_with_the_verb_of_each_rung() -> None:
    said = in_one_sentence(causes_of(LOCK), goes_with(ACTIVE))

    assert said == (
        "p99 of ach lies in shop: POST /ach > UPDATE ledger (100 % of the difference), is held up by settle (idle in"
        " transaction, 53 waits, median wait 148 ms), and coincides with sessions waiting for a lock of shopdb (at the"
        " same time, ± 1.2 s); not proof of a cause"
    )
    assert words_of(Rung.GOES_AWAY) not in said


@pytest.mark.parametrize(
    ("locks", "named", "verbs"),
    [
        ((LOCK,), (), [Rung.LIES_IN, Rung.HELD_UP]),
        ((), (ACTIVE,), [Rung.LIES_IN, Rung.COINCIDES]),
    ],
)
def test_two_kinds_are_enough(locks: tuple[LockPart, ...], named: tuple[Line, ...], verbs: list[Rung]) -> None:
    said = in_one_sentence(causes_of(*locks), goes_with(*named))

    assert [rung for rung in (Rung.LIES_IN, Rung.HELD_UP, Rung.COINCIDES) if words_of(rung) in said] == verbs
    assert "sessions active of shopdb" in said or not named


def test_one_kind_alone_and_evidence_about_other_paths_give_no_sentence() -> None:
    elsewhere = LockPart(probe="shopdb", path=("shop: GET /",), root="settle", waiter="payout", waits=5)
    falls = Line(title="rollbacks", sign=-1)

    assert in_one_sentence(causes_of(), None) == ""
    assert in_one_sentence(causes_of(elsewhere), goes_with(falls)) == ""
    assert (
        in_one_sentence(CauseFile(run="r", objective=ObjectivePart(name="ach"), locks=(LOCK,)), goes_with(ACTIVE)) == ""
    )


def test_hostile_names_stay_in_one_line() -> None:
    bad = "x\x1b[31m\n" + "y" * 500
    said = in_one_sentence(
        causes_of(LockPart(probe="p", path=PATH, root=bad, waiter="w", root_state=bad[:9])),
        goes_with(Line(title=bad, host=bad)),
    )

    assert said.isprintable()
    assert len(said) < 600


def test_a_breach_goes_away_when_one_thing_is_changed() -> None:
    before = run_of("A", slo("failed", 248.0), params={"settle": 8, "payout": 8}, seed=1)
    after = run_of("B", slo("passed", 1.4), params={"settle": 8, "payout": 0}, seed=2)

    assert list(goes_away_lines(after, before)) == [
        f"the breach of {OBJECTIVE} (post > ach) goes away when payout is 0 instead of 8: 248 ms of 4,000 in A,"
        " 1.40 ms of 4,000 in this run"
    ]


def test_a_breach_that_stays_is_told_as_such() -> None:
    before, after = (run_of(name, slo("failed", 248.0), params={"n": name}) for name in "AB")

    (line,) = goes_away_lines(after, before)

    assert "is still there when n is B instead of A" in line
    assert words_of(Rung.GOES_AWAY) not in line


@pytest.mark.parametrize("verdict", ["passed", "undecided"])
def test_without_a_breach_before_or_with_an_unclear_one_now_nothing_is_told(verdict: str) -> None:
    passed = run_of("A", slo("passed", 1.0))
    unclear = run_of("B", slo("undecided", 99.0))
    invalid = run_of("C", slo("failed", 300.0), validity="invalid")

    assert not list(goes_away_lines(run_of("D", slo(verdict, 1.0)), passed))
    assert not list(goes_away_lines(unclear, run_of("A", slo("failed", 300.0))))
    assert not list(goes_away_lines(run_of("D", slo(verdict, 1.0)), invalid))


def test_several_changes_are_all_named_and_none_is_told_as_a_change_outside_of_the_plan() -> None:
    before = {"spec": {"params": {"a": 1}, "labels": {"release": "1"}, "target": "http://a"}, "bundle": {"sha256": "1"}}
    after = {
        "spec": {"params": {"a": 1, "b": 2}, "labels": {"release": "2"}, "target": "http://a"},
        "bundle": {"sha256": "2"},
        "overrides": {"rate": "5/s"},
    }
    assert changes(before, after) == [
        "b is 2 instead of not set",
        "release is 2 instead of 1",
        "--rate is 5/s instead of not set",
        "the scenario has other files",
    ]
    same = list(goes_away_lines(run_of("B", slo("passed", 1.0)), run_of("A", slo("failed", 300.0))))
    assert "goes away when something outside of the plan is changed (the plans are the same)" in same[0]
    two = run_of("B", slo("passed", 1.0), params={"a": 1, "b": 1})
    (line,) = goes_away_lines(two, run_of("A", slo("failed", 300.0), params={"a": 0, "b": 0}))
    assert "(2 changes, so it is not known which of them matters)" in line
