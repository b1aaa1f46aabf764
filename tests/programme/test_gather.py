"""Evidence from a real store: the same answers as the table, and nothing that cannot be read is a pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import cast

import pytest

from loadgen.history.gate.aa_test_health import CONTROL
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event, ObjectiveVerdict
from loadgen.programme.gathering.promises import promises_of
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.promises.objectives import (
    Objective,
    Query,
    RatioIndicator,
    RollingWindow,
    ThresholdIndicator,
)
from loadgen.programme.recommending.assess import READABLE, Known, assess
from loadgen.programme.recommending.checklist import CHECKED, DONE, REFUSED, checks_of
from loadgen.programme.recommending.facts import Condition, Forecast, JourneyFacts, Rules, RunFact
from loadgen.programme.recommending.gather import gather
from loadgen.programme.recommending.overrides import OVERRIDDEN, override_in_force
from loadgen.programme.recommending.programme_file import Programme
from loadgen.programme.recommending.record import RECOMMENDED, record_recommendation
from loadgen.programme.recommending.rows import gate_row
from tests.support import decide_table
from tests.support.accepted import KEY, history
from tests.support.decide_table import RELEASE, RunSeen, Situation
from tests.support.memory_place import Memory

NOW = datetime(2026, 11, 10, 9, tzinfo=UTC)
DAY = timedelta(days=1)
LEVEL = {"checkout": 100.0, "checkout > pay": 60.0}


@cache
def past() -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files of a history of 20 runs, and their ids."""
    memory, runs = Memory(), history(20, LEVEL, sd=0.006)
    for run in runs:
        Store(memory).add(run)
    return memory.files, tuple(run.run_id for run in runs)


def filled(seen: Situation) -> tuple[Store, list[RunFact], Programme]:
    """A store and run folders in which a situation of the table is true."""
    files, old = past()
    memory = Memory(files)
    store = Store(memory)
    if seen.budget is not None:
        store.pin(old[:3], "1.4")
    slower = 1.0
    if seen.budget is not None:
        slower = 1.3 if seen.budget.low > 0.1 else 1.05 if seen.budget.newly and seen.budget.newly[0] > 0 else 1.0
    fresh = history(len(seen.runs), {name: ms * slower for name, ms in LEVEL.items()}, sd=0.006, seed=2, first=20)
    folders, ours = [], []
    for one, run in zip(seen.runs, fresh, strict=True):
        ours += [run.run_id] if one.release == RELEASE else []
        objectives = tuple(ObjectiveVerdict("p(99) < 300ms", verdict, "checkout") for verdict in one.objectives)
        if one.condition in ("valid", "suspect"):
            store.add(replace(run, labels={"release": one.release}, objectives=objectives, validity=one.condition))
        elif one.release == RELEASE:
            folders.append(
                RunFact(
                    run.run_id,
                    datetime.fromisoformat(run.started_at),
                    RELEASE,
                    cast(Condition, one.condition),
                    frozenset({"checkout"}),
                    tuple(("checkout", verdict) for verdict in one.objectives),
                )
            )
    for event in (*_events(seen, ours), *_answers(seen)):
        store.note(event)
    _promise(memory, seen)
    if (capacity := seen.capacity) is not None:
        facts = {"low_per_s": capacity.low, "high_per_s": capacity.high, "release": capacity.release}
        at = (NOW - timedelta(days=capacity.age_days)).isoformat()
        study = {"kind": "capacity find", "facts": facts | {"scenario": "shop.py", "plan": "peak"}}
        Store(memory, lambda: at).add_study(study)
    forecast = None if seen.forecast is None else Forecast(*seen.forecast, NOW + 30 * DAY)
    return store, folders, Programme(Rules(), {"checkout": JourneyFacts(seen.is_live, "shop.py:peak", forecast)})


def _events(seen: Situation, ours: list[str]) -> Iterator[Event]:
    if seen.gate is not None:
        judged = tuple(ours) if seen.gate.release == RELEASE else ("20261101-000000-shop-0000",)
        details = {"outcome": seen.gate.outcome, "detectable": f"{seen.gate.detectable:.4g}", "history": "20"}
        yield Event("verdict", NOW.isoformat(), "ci", judged, details=details | {"key": KEY.hash()})
    if seen.controls is not None:
        at = (NOW - timedelta(days=seen.controls.age_days)).isoformat()
        words = ["FAIL"] * seen.controls.failed + ["INCONCLUSIVE"] * seen.controls.inconclusive
        for word in (*words, *["PASS"] * (seen.controls.count - len(words))):
            yield Event(CONTROL, at, details={"outcome": word, "key": KEY.hash()})


ANSWERS = {"signed": DONE, "refused": REFUSED}


def _answers(seen: Situation) -> Iterator[Event]:
    """What people answered, and what they accepted."""
    for n, answer in enumerate(seen.checklist):
        if answer in ANSWERS:
            details = {"item": f"item-{n}", "answer": ANSWERS[answer], "release": RELEASE}
            yield Event(CHECKED, (NOW - DAY).isoformat(), "maria", details=details)
    if seen.override:
        release = "v411" if seen.override == "of another release" else RELEASE
        until = NOW - DAY if seen.override == "ended" else NOW + DAY
        about = {"id": "D-7", "release": release, "journeys": '["checkout"]', "recommendation": "NO-GO"}
        yield Event(RECOMMENDED, (NOW - 3 * DAY).isoformat(), details=about)
        details = {"id": "D-7", "release": release, "until": until.isoformat()}
        yield Event(OVERRIDDEN, (NOW - 2 * DAY).isoformat(), "maria", because="the shop closes", details=details)
    if seen.budget is not None and seen.budget.decided:
        ratio = 1.1**seen.budget.decided - 1
        details = {"key": KEY.hash(), "names": '["checkout"]', "outcome": "FAIL"}
        details |= {"changes": json.dumps({"checkout": [ratio, ratio - 0.001, ratio + 0.001]})}
        run = past()[1][0]
        yield Event("new level", datetime.now(UTC).isoformat(), "maria", (run,), "the new tax rules", details)


def objectives(seen: Situation) -> list[Objective]:
    """The promises of a situation: 99 % of the requests of a day."""
    values = ThresholdIndicator(Query(), "lte", Decimal(300))
    return [
        Objective(
            f"slo-{n}",
            "shop",
            Decimal("0.99"),
            RollingWindow(86_400),
            values if one.word == "not judged" else RatioIndicator(Query(), Query()),
            journey="checkout",
        )
        for n, one in enumerate(seen.promises)
    ]


def _promise(memory: Memory, seen: Situation) -> None:
    """Fill the ledger: a day of half hours with 1,000 requests each, of which 480 may fail."""
    slices: dict[str, list[Slice]] = {}
    for n, one in enumerate(seen.promises):
        if one.word in ("no data", "not judged"):
            continue
        end = int(NOW.timestamp() - one.age_h * 3600)
        bad = round(480 * (1 - one.left))
        for back in range(24 if one.word == "undecided" else 0, 48):
            now_bad, bad = min(bad, 1000), max(bad - 1000, 0)
            for source in ("prod", "other")[: one.sources]:
                made = Slice(f"slo-{n}", end - 1800 * (48 - back), 1800, 1000 - now_bad, 1000)
                slices.setdefault(source, []).append(made)
    for source, some in slices.items():
        Ledger(memory).write(source, some)


def known_in(seen: Situation) -> Known:
    """What is gathered in a situation."""
    store, folders, programme = filled(seen)
    found = gather(store, RELEASE, ("checkout",), folders, programme)
    promised = promises_of(store._place, objectives(seen), ("checkout",), NOW)
    answers = store.events(RECOMMENDED, OVERRIDDEN)
    items = {f"item-{n}": "text" for n in range(len(seen.checklist))}
    return replace(
        found,
        promises=promised.promises,
        override=override_in_force(answers, RELEASE, ("checkout",), NOW),
        checks=checks_of(items, store.events(CHECKED), RELEASE, NOW),
        troubles=(*found.troubles, *promised.troubles),
    )


def test_stores_agree_with_the_table() -> None:
    answers = set()
    for seen in decide_table.situations(16, seed=7):
        measured = [run for run in seen.runs if run.release == RELEASE and run.condition in ("valid", "suspect")]
        if not measured or (seen.budget is not None and seen.budget.low <= 0.1 < seen.budget.high):
            continue  # without accepted runs there is no slow-down; ends of an interval cannot be made exactly
        known = known_in(seen)
        found = assess(known, Rules(), NOW)
        assert {one.kind: one.state for one in found.evidence if one.required} == decide_table.rows_of(seen), seen
        assert found.recommendation == decide_table.recommendation_of(seen), seen
        answers.add(found.recommendation)
    assert answers == {"GO", "NO-GO", "INCONCLUSIVE"}


@pytest.mark.parametrize(
    "promises",
    [
        (decide_table.PromiseSeen(),),
        (decide_table.PromiseSeen("not kept", -0.5),),
        (decide_table.PromiseSeen(), decide_table.PromiseSeen("not kept", -0.5)),
        (decide_table.PromiseSeen("undecided", 0.2),),
    ],
)
def test_without_any_file_of_the_ledger_there_is_no_go(promises: tuple[decide_table.PromiseSeen, ...]) -> None:
    seen = replace(decide_table.LIVE, promises=promises)
    memory = Memory()
    _promise(memory, seen)
    known = replace(_all_go(), facts={"checkout": replace(_all_go().facts["checkout"], is_live=True)})
    files = [name for name in memory.files if name.startswith("slis/")]

    for gone in (*files, *[f"torn {name}" for name in files]):
        left = {name: data for name, data in memory.files.items() if name != gone}
        if gone.startswith("torn "):
            left[gone[5:]] = left[gone[5:]][:-7]
        promised = promises_of(Memory(left), objectives(seen), ("checkout",), NOW)
        found = assess(replace(known, promises=promised.promises, troubles=promised.troubles), Rules(), NOW)
        assert found.recommendation != "GO", gone


def test_a_clock_that_is_behind_does_not_hide_the_newest_counts() -> None:
    memory = Memory()
    _promise(memory, replace(decide_table.LIVE, promises=(decide_table.PromiseSeen(),)))

    found = [promises_of(memory, objectives(decide_table.LIVE), ("checkout",), NOW - DAY * days) for days in (0, 3)]

    assert found[0].troubles == ()
    assert found[1].troubles[0].startswith("the ledger has counts of 2026-11-10, and the clock of this machine shows")


@cache
def _all_go() -> Known:
    return known_in(decide_table.ALL_GO)


def test_a_damaged_file_keeps_from_go() -> None:
    store, folders, programme = filled(decide_table.ALL_GO)
    assert assess(gather(store, RELEASE, ("checkout",), folders, programme), Rules(), NOW).recommendation == "GO"
    store._place.put_new("events/20261109T000000000Z-verdict-00000000.json", b'{"format": 1, "kind"')

    found = assess(gather(store, RELEASE, ("checkout",), folders, programme), Rules(), NOW)

    assert found.recommendation == "INCONCLUSIVE"
    assert "is damaged" in next(one for one in found.evidence if one.kind == READABLE).says


@pytest.mark.parametrize("release", [RELEASE, ""])
def test_a_fail_of_a_run_that_somebody_removed_keeps_from_go(release: str) -> None:
    store, folders, programme = filled(decide_table.ALL_GO)
    last = gather(store, RELEASE, ("checkout",), folders, programme).runs[-1].run_id
    details = {"outcome": "FAIL", "names": '["checkout > pay"]'} | ({"release": release} if release else {})
    ids = ("20261109-000000-shop-dead",) if release else (last, "20261109-000000-shop-dead")
    store.note(Event("verdict", NOW.isoformat(), "ci", ids, details=details))

    found = assess(gather(store, RELEASE, ("checkout",), folders, programme), Rules(), NOW)
    elsewhere = gather(store, RELEASE, ("checkout",), folders, programme, others=ids[-1:])

    assert found.recommendation == "INCONCLUSIVE"
    row = next(one for one in found.evidence if one.kind == "gate")
    assert "20261109-000000-shop-dead; restore them" in row.says
    (fail,) = [one for one in elsewhere.verdicts if one.outcome == "FAIL"]
    assert bool(fail.lost) is bool(release)  # a run that got another release is there, but not ours


def test_an_accepted_run_whose_file_is_gone_keeps_from_go() -> None:
    store, folders, programme = filled(decide_table.ALL_GO)
    memory = cast(Memory, store._place)
    gone = max(name for name in memory.files if name.startswith("runs/"))
    del memory.files[gone]

    found = assess(gather(store, RELEASE, ("checkout",), folders, programme), Rules(), NOW)

    assert found.recommendation == "INCONCLUSIVE"
    says = next(one for one in found.evidence if one.kind == READABLE).says
    assert says.startswith("1 accepted run not in the history any more: ")


def test_an_event_without_a_time_keeps_from_go() -> None:
    store, folders, programme = filled(decide_table.ALL_GO)
    store.note(Event("verdict", "2026-13-45T99:00Z", run_ids=("x",), details={"outcome": "FAIL"}))

    found = assess(gather(store, RELEASE, ("checkout",), folders, programme), Rules(), NOW)

    assert found.recommendation == "INCONCLUSIVE"
    assert "invalid time" in next(one for one in found.evidence if one.kind == READABLE).says


def test_a_run_that_was_killed_counts_as_incomplete_for_each_journey() -> None:
    known = known_in(decide_table.ALL_GO)
    killed = RunFact("20261102-000000-shop-dead", NOW - DAY, RELEASE, "incomplete", frozenset(), None, "it was killed")

    found = assess(replace(known, runs=(*known.runs, killed)), Rules(), NOW)

    assert found.recommendation == "INCONCLUSIVE"
    assert "it was killed" in next(one for one in found.evidence if one.kind == "validity").says


def test_struck_runs_do_not_count() -> None:
    store, folders, programme = filled(Situation(runs=(RunSeen(),) * 3))
    last = gather(store, RELEASE, ("checkout",), folders, programme).runs[-1]
    store.strike(last.run_id, "a deployment ran beside it")

    assert last not in gather(store, RELEASE, ("checkout",), [last], programme).runs


def test_a_command_that_reads_run_folders_says_which_are_gone() -> None:
    store, _, programme = filled(Situation(runs=(RunSeen(),) * 3))
    ids = [run.run_id for run in gather(store, RELEASE, ("checkout",), [], programme).runs]

    def why(*folders: str) -> str:
        known = gather(store, RELEASE, ("checkout",), [], programme, others=folders)
        (judge,) = gate_row("checkout", RELEASE, known.runs, (), Rules())[1]
        assert judge.command == f"loadgen gate {' '.join(ids)}"
        return judge.why

    assert why(*ids) == "judge all its runs"
    assert why(*ids[1:]).startswith("judge all its runs; it reads their run folders, and 1 of 3 folders is not here: ")


def test_recommendations_are_numbered_and_keep_their_evidence() -> None:
    store, folders, programme = filled(decide_table.ALL_GO)
    found = assess(gather(store, RELEASE, ("checkout",), folders, programme), Rules(), NOW)

    ids = [record_recommendation(store, found, RELEASE, ("checkout",), "maria", NOW) for _ in range(2)]

    assert ids == ["D-1", "D-2"]
    event = store.events(RECOMMENDED)[-1]
    assert (event.by, event.details["recommendation"]) == ("maria", "GO")
    assert len(json.loads(event.details["document"])["evidence"]) == len(found.evidence)


def test_other_readers_of_the_history_pass_over_recommendations() -> None:
    store, folders, programme = filled(decide_table.ALL_GO)
    before = gather(store, RELEASE, ("checkout",), folders, programme)
    record_recommendation(store, assess(before, Rules(), NOW), RELEASE, ("checkout",), "maria", NOW)

    assert gather(store, RELEASE, ("checkout",), folders, programme) == before
    assert store.unreadable == ()


@pytest.mark.slow
def test_500_stores_agree_with_the_table() -> None:
    for seen in decide_table.situations(500, seed=25):
        measured = [run for run in seen.runs if run.release == RELEASE and run.condition in ("valid", "suspect")]
        if not measured or (seen.budget is not None and seen.budget.low <= 0.1 < seen.budget.high):
            continue
        found = assess(known_in(seen), Rules(), NOW)
        assert {one.kind: one.state for one in found.evidence if one.required} == decide_table.rows_of(seen), seen
