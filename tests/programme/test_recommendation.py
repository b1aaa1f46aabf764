"""GO, NO-GO, INCONCLUSIVE: by a table that imports nothing of ours, and absence is never a pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.history.gate.aa_test_health import CONTROL, health_of
from loadgen.history.store.stored_run import Event
from loadgen.history.store.study_records import StudyRecord
from loadgen.programme.recommending.assess import Known, assess
from loadgen.programme.recommending.checklist import Check
from loadgen.programme.recommending.facts import Condition, Forecast, JourneyFacts, Rules, RunFact
from loadgen.programme.recommending.performance import Accepted, Newly, NoSlowDown, SlowDown
from loadgen.programme.recommending.promise import PromiseFact
from loadgen.programme.recommending.recommendation import KINDS, Evidence, Missing, Piece, Policy, recommend
from loadgen.programme.recommending.rows import GateFact, further_runs
from tests.support import decide_table
from tests.support.decide_table import CASES, RELEASE, Situation

NOW = datetime(2026, 7, 27, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def known_of(seen: Situation) -> Known:
    """What `loadgen decide` would know in a situation of the table."""
    runs = [
        RunFact(
            f"run-{n}",
            NOW - DAY,
            one.release,
            cast(Condition, one.condition),
            frozenset({"checkout"}),
            tuple((None, verdict) for verdict in one.objectives),
            file="shop.py:peak",
        )
        for n, one in enumerate(seen.runs)
    ]
    ours = tuple(run for run in runs if run.release == RELEASE)
    gate = seen.gate
    of_gate = tuple(run.run_id for run in ours) if gate and gate.release == RELEASE else ("run-of-another-release",)
    verdicts = () if gate is None else (GateFact("G-88", NOW - DAY, gate.outcome, of_gate, gate.detectable, 20),)
    capacity = seen.capacity
    facts = (
        {}
        if capacity is None
        else {
            "low_per_s": capacity.low,
            "high_per_s": capacity.high,
            "release": capacity.release,
            "scenario": "shop.py",
            "plan": "peak",
        }
    )
    at = NOW - timedelta(days=capacity.age_days) if capacity else NOW
    studies = (
        ()
        if capacity is None
        else (StudyRecord("C-12", at.isoformat(), "", {"kind": "capacity find", "facts": facts}),)
    )
    controls = []
    if seen.controls is not None:
        words = ["FAIL"] * seen.controls.failed + ["INCONCLUSIVE"] * seen.controls.inconclusive
        words += ["PASS"] * (seen.controls.count - len(words))
        controls = [
            Event(CONTROL, (NOW - timedelta(days=seen.controls.age_days)).isoformat(), details={"outcome": w})
            for w in words
        ]
    forecast = None if seen.forecast is None else Forecast(*seen.forecast, NOW + 30 * DAY)
    slower = (
        NoSlowDown("none is pinned", Missing("loadgen history pin RUN... --name NAME", 2))
        if seen.budget is None
        else SlowDown(
            "1.4",
            seen.budget.point,
            seen.budget.low,
            seen.budget.high,
            decisions=(Accepted(NOW - 9 * DAY, 1.1**seen.budget.decided),) if seen.budget.decided else (),
            newly=None if seen.budget.newly is None else Newly(sum(seen.budget.newly) / 2, *seen.budget.newly),
        )
    )
    promises = tuple(
        PromiseFact(
            f"slo-{n}",
            one.word,
            f"slo-{n}: {one.word}",
            one.left,
            NOW - timedelta(hours=one.age_h),
            f"S-{n}",
            one.sources,
        )
        for n, one in enumerate(seen.promises)
    )
    checks = tuple(
        Check(f"item-{n}", "text", answer, "maria", (NOW - DAY).isoformat())
        if (answer := CHECKS[one]) != "open"
        else Check(f"item-{n}", "text")
        for n, one in enumerate(seen.checklist)
    )
    return Known(
        RELEASE,
        ("checkout",),
        ours,
        verdicts,
        studies,
        {"checkout": health_of(controls)},
        {"checkout": slower},
        {"checkout": JourneyFacts(seen.is_live, "shop.py:peak", forecast)},
        {"checkout": promises},
        "overridden by maria until 2026-08-15" if seen.override == "in force" else "",
        checks,
    )


CHECKS: dict[str, Literal["open", "done", "refused"]] = {"signed": "done", "refused": "refused", "open": "open"}


@pytest.mark.parametrize("name", list(CASES))
def test_each_cell_of_the_table_gives_its_answer(name: str) -> None:
    seen, answer = CASES[name]

    assert decide_table.recommendation_of(seen) == answer
    assert assess(known_of(seen), Rules(), NOW).recommendation == answer


def test_500_generated_situations_agree_with_the_table() -> None:
    answers = set()
    for seen in decide_table.situations(500, seed=25):
        found = assess(known_of(seen), Rules(), NOW)
        states = {one.kind: one.state for one in found.evidence if one.required}
        assert states == decide_table.rows_of(seen), seen
        assert found.recommendation == decide_table.recommendation_of(seen), seen
        assert int(found.exit_code) == decide_table.exit_code_of(seen), seen
        answers.add(int(found.exit_code))
        if found.recommendation == "INCONCLUSIVE" and not seen.is_live:
            assert found.missing, seen
    assert answers == {0, 1, 3, 4}


# -- absence is never a pass ----------------------------------------------------------------------

PIECES = [Piece(kind, journey) for journey in ("checkout", "refund") for kind in KINDS]
POLICY = Policy(RELEASE, tuple(PIECES))


def pieces(state: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Evidence]]:
    """Some evidence for some of the pieces, often fresh and of this release."""

    def of(piece: Piece) -> st.SearchStrategy[Evidence]:
        own = "" if piece.kind in ("promise", "health") else RELEASE
        return st.builds(
            Evidence,
            kind=st.just(piece.kind),
            id=st.just("X-1"),
            state=state,
            says=st.just(""),
            at=st.sampled_from([NOW, NOW, NOW - timedelta(hours=20), NOW - 100 * DAY]),
            release=st.sampled_from([own, own, own, "v411", ""]),
            journey=st.just(piece.journey),
        )

    return st.lists(st.sampled_from(PIECES), unique=True).flatmap(lambda some: st.tuples(*map(of, some))).map(list)


ALL_GO = [
    Evidence(one.kind, "X-1", "go", "", NOW, "" if one.kind in ("promise", "health") else RELEASE, journey=one.journey)
    for one in PIECES
]
MOSTLY_GO = st.one_of(pieces(st.sampled_from(["go", "go", "open", "no-go"])), st.just(ALL_GO))


@given(MOSTLY_GO, st.data())
def test_taking_away_ageing_or_renaming_pieces_turns_nothing_into_go(
    given: list[Evidence], data: st.DataObject
) -> None:
    changed = []
    for one in given:
        how = data.draw(st.sampled_from(["keep", "keep", "keep", "away", "older", "undated", "other release"]))
        if how == "older" and one.at is not None:
            changed.append(replace(one, at=one.at - data.draw(st.sampled_from([DAY, 22 * DAY, 91 * DAY]))))
        elif how == "other release":
            changed.append(replace(one, release="v999"))
        elif how == "undated":
            changed.append(replace(one, at=None))
        elif how == "keep":
            changed.append(one)
    before = recommend(given, POLICY, NOW).recommendation
    after = recommend(changed, POLICY, NOW).recommendation

    assert after != "GO" or before == "GO"
    is_lost = len(changed) < len(PIECES) or any(one.release == "v999" or one.at is None for one in changed)
    assert after != "GO" or not is_lost


@pytest.mark.parametrize("n", range(len(PIECES)))
def test_without_any_single_piece_there_is_no_go(n: int) -> None:
    assert recommend(ALL_GO, POLICY, NOW).recommendation == "GO"
    assert recommend(ALL_GO[:n] + ALL_GO[n + 1 :], POLICY, NOW).recommendation == "INCONCLUSIVE"
    renamed = [*ALL_GO[:n], replace(ALL_GO[n], release="v411"), *ALL_GO[n + 1 :]]
    assert recommend(renamed, POLICY, NOW).recommendation == "INCONCLUSIVE"
    undated = [*ALL_GO[:n], replace(ALL_GO[n], at=None), *ALL_GO[n + 1 :]]
    assert recommend(undated, POLICY, NOW).recommendation == "INCONCLUSIVE"


def test_evidence_from_the_future_does_not_count() -> None:
    ahead = [replace(ALL_GO[0], at=NOW + timedelta(minutes=6)), *ALL_GO[1:]]

    found = recommend(ahead, POLICY, NOW)

    assert found.recommendation == "INCONCLUSIVE"
    assert "dated in the future" in found.evidence[0].says


def test_what_only_informs_changes_nothing() -> None:
    informs = Evidence("impact", "", "no-go", "3,075 EUR a week at stake", NOW, RELEASE, required=False)

    found = recommend([*ALL_GO, informs], POLICY, NOW)

    assert found.recommendation == "GO"
    assert found.evidence[-1] is informs


def test_evidence_that_could_hide_a_no_go_is_refused() -> None:
    with pytest.raises(ValueError, match="two rows"):
        recommend([*ALL_GO, ALL_GO[0]], POLICY, NOW)
    with pytest.raises(ValueError, match="does not require"):
        recommend([replace(ALL_GO[0], journey="other")], POLICY, NOW)
    with pytest.raises(ValueError, match="no evidence"):
        recommend([], Policy(RELEASE, ()), NOW)


def test_missing_commands_are_in_the_order_of_least_time_and_named_once() -> None:
    find, judge = Missing("loadgen capacity find shop.py", 60), Missing("loadgen gate last", 1)

    assert recommend([], POLICY, NOW, missing=[find, judge, find]).missing == (judge, find)
    assert recommend(ALL_GO, POLICY, NOW, missing=[find]).missing == ()


# -- sentences ------------------------------------------------------------------------------------


def test_a_fail_stands_until_all_of_its_runs_were_judged_again() -> None:
    known = known_of(decide_table.ALL_GO)
    ids = tuple(run.run_id for run in known.runs)
    fail = GateFact("G-1", NOW - 3 * DAY, "FAIL", ids[:1], 0.04, 20)
    of_others = GateFact("G-2", NOW - 2 * DAY, "PASS", ids[1:], 0.04, 20)
    of_all = GateFact("G-3", NOW - DAY, "PASS", ids, 0.04, 20)

    picked = replace(known, verdicts=(fail, of_others))
    judged_again = replace(known, verdicts=(fail, of_others, of_all))

    assert assess(picked, Rules(), NOW).recommendation == "NO-GO"
    assert assess(judged_again, Rules(), NOW).recommendation == "GO"


def test_a_fail_of_runs_that_are_not_all_of_the_release_keeps_from_go() -> None:
    known = known_of(decide_table.ALL_GO)
    ids = tuple(run.run_id for run in known.runs)
    of_all = GateFact("G-1", NOW - 3 * DAY, "PASS", ids, 0.04, 20)
    mixed = GateFact("G-2", NOW - 2 * DAY, "FAIL", (ids[0], "of-v411"), 0.04, 20)
    lost = replace(mixed, lost=("of-v411",))
    all_lost = GateFact(
        "G-2", NOW - 2 * DAY, "FAIL", ("gone",), 0.04, 20, lost=("gone",), failed=frozenset({"checkout"})
    )
    again = replace(of_all, id="G-3", at=NOW - DAY)

    def answer(*verdicts: GateFact) -> str:
        return assess(replace(known, verdicts=verdicts), Rules(), NOW).recommendation

    assert [answer(of_all, one) for one in (mixed, lost, all_lost)] == ["INCONCLUSIVE"] * 3
    assert [answer(of_all, one, again) for one in (mixed, lost, all_lost)] == ["GO", "INCONCLUSIVE", "INCONCLUSIVE"]
    assert answer(of_all, replace(all_lost, failed=frozenset({"refund"}))) == "GO"


def test_a_gate_that_finds_too_little_names_the_number_of_further_runs() -> None:
    known = known_of(replace(decide_table.ALL_GO, gate=decide_table.GateSeen(detectable=0.08)))

    found = assess(known, Rules(), NOW)
    row = next(one for one in found.evidence if one.kind == "gate")

    assert "runs of the release would find it" in row.says
    assert any("loadgen gate shop.py:peak --runs" in one.command for one in found.missing)


def test_further_runs_are_those_of_the_deviation_that_explains_what_is_found_now() -> None:
    from loadgen.analysis.gate import detectable

    found = further_runs(3, 20, detectable(20, 3, 0.02), 0.03, 1)
    hopeless = further_runs(3, 20, detectable(20, 3, 0.04), 0.03, 1)

    assert found is not None
    assert found.runs == 10
    assert hopeless is not None
    assert hopeless.runs is None
    assert hopeless.wider == (0.05, 18)
    assert further_runs(3, 0, 0.05, 0.03, 1) is None
    assert further_runs(3, 20, float("nan"), 0.03, 1) is None


def test_where_no_number_of_runs_is_enough_the_sentence_has_the_other_ways() -> None:
    known = known_of(replace(decide_table.ALL_GO, gate=decide_table.GateSeen(detectable=0.12)))

    found = assess(known, Rules(detectable=0.03), NOW)
    row = next(one for one in found.evidence if one.kind == "gate")

    assert "no number of runs of the release finds it" in row.says


def test_a_run_whose_objectives_are_unknown_does_not_pass() -> None:
    known = known_of(decide_table.ALL_GO)
    old = replace(known, runs=tuple(replace(run, objectives=None) for run in known.runs))

    found = assess(old, Rules(), NOW)

    assert found.recommendation == "INCONCLUSIVE"
    assert "does not say whether" in next(one.says for one in found.evidence if one.kind == "objectives")
