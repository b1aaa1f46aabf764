"""What `loadgen decide` must recommend, enumerated from the table and the order of the specification.

Imports nothing of ours, and was written before the code that it judges.

A *situation* is what is known about one journey and one release, as plain values. `rows_of` gives the state of each row
of the table, `recommendation_of` the answer by the order: any NO-GO wins; GO only if every required row is GO; else
INCONCLUSIVE. A row that is not there is never a pass.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

State = Literal["go", "no-go", "open"]
ROWS = ("validity", "objectives", "gate", "promise", "budget", "headroom", "health", "checklist")
RELEASE = "v412"
LEAST_RUNS = 3
MOST_DETECTABLE = 0.05
MOST_SLOWER = 0.10
LEAST_HEADROOM = 1.25
OLDEST_DAYS = {"headroom": 90, "health": 21}
OLDEST_PROMISE_H = 24.0
LEAST_LEFT = 0.0


@dataclass(frozen=True)
class RunSeen:
    """One run of the journey. condition: valid, suspect, invalid, incomplete. objectives: their verdicts."""

    condition: str = "valid"
    objectives: tuple[str, ...] = ("passed",)
    release: str = RELEASE


@dataclass(frozen=True)
class GateSeen:
    """A verdict of the gate over all runs of a release."""

    outcome: str = "PASS"
    detectable: float = 0.04
    release: str = RELEASE


@dataclass(frozen=True)
class CapacitySeen:
    """A measured capacity with its interval, in 1/s."""

    low: float = 500.0
    high: float = 550.0
    release: str = RELEASE
    age_days: float = 10.0


@dataclass(frozen=True)
class ControlsSeen:
    """A/A controls of the gate: how many, how many failed and were inconclusive, and the age of the newest."""

    count: int = 20
    failed: int = 0
    inconclusive: int = 0
    age_days: float = 3.0


@dataclass(frozen=True)
class BudgetSeen:
    """The slow-down against the pinned release with its interval: 0.04 is 4 % slower.

    decided: the part of the budget that accepted changes have spent, 1 is all of it. newly: the ends of the interval of
    this release's slow-down against the accepted runs before it; None: unknown.
    """

    low: float = -0.01
    high: float = 0.03
    decided: float = 0.0
    newly: tuple[float, float] | None = (-0.01, 0.01)

    @property
    def point(self) -> float:
        """In the middle of the interval, by logarithms."""
        return float(((1 + self.low) * (1 + self.high)) ** 0.5 - 1)


@dataclass(frozen=True)
class PromiseSeen:
    """One promise of the journey in the ledger.

    word: kept, not kept, undecided, no data, not judged. left: of the error budget, 1 is all of it. sources: from how
    many sources its counts come at the same time.
    """

    word: str = "kept"
    left: float = 0.6
    age_h: float = 0.5
    sources: int = 1


@dataclass(frozen=True)
class Situation:
    """What is known about one journey and one release. None: not there."""

    runs: tuple[RunSeen, ...] = (RunSeen(), RunSeen(), RunSeen())
    gate: GateSeen | None = GateSeen()
    budget: BudgetSeen | None = BudgetSeen()
    capacity: CapacitySeen | None = CapacitySeen()
    forecast: tuple[float, float] | None = (300.0, 360.0)
    controls: ControlsSeen | None = ControlsSeen()
    is_live: bool = False
    promises: tuple[PromiseSeen, ...] = (PromiseSeen(),)
    override: str = ""
    """An override of a recommendation: "in force", "ended", "of another release"; "" is none."""
    checklist: tuple[str, ...] = ()
    """The answer to each item of the checklist: signed, refused, open."""


# -- the rows of the table ------------------------------------------------------------------------


def rows_of(seen: Situation) -> dict[str, State]:
    """Return the state of each required row; a row for which there is nothing is "open"."""
    rows: dict[str, State] = {
        "validity": _validity(seen),
        "objectives": _objectives(seen),
        "gate": _gate(seen),
        "budget": _budget(seen),
        "headroom": _headroom(seen),
        "health": _health(seen),
    }
    if seen.is_live:
        rows["promise"] = _promise(seen)
    if seen.checklist:
        rows["checklist"] = _checklist(seen)
    return rows


def recommendation_of(seen: Situation) -> str:
    """Return "GO", "NO-GO" or "INCONCLUSIVE" by the order of the specification."""
    return ordered(rows_of(seen).values())


def ordered(given: Iterable[State]) -> str:
    """Apply the order to the states of all required rows."""
    states = list(given)
    if "no-go" in states:
        return "NO-GO"
    return "GO" if states and all(state == "go" for state in states) else "INCONCLUSIVE"


def exit_code_of(seen: Situation) -> int:
    """0 GO, 1 NO-GO, 3 INCONCLUSIVE, 4 nothing valid to judge."""
    answer = recommendation_of(seen)
    if answer == "NO-GO":
        return 1
    if not any(run.condition in ("valid", "suspect") for run in _ours(seen)):
        return 4
    return {"GO": 0, "INCONCLUSIVE": 3}[answer]


def _ours(seen: Situation) -> list[RunSeen]:
    return [run for run in seen.runs if run.release == RELEASE]


def _validity(seen: Situation) -> State:
    # GO: all valid. NO-GO: never. Else: suspect, invalid or incomplete.
    runs = _ours(seen)
    return "go" if runs and all(run.condition == "valid" for run in runs) else "open"


def _objectives(seen: Situation) -> State:
    # GO: passed in each of the release's runs, at least 3, with at least 1 objective. NO-GO: failed in 2, or in all.
    runs = _ours(seen)
    measured = [run for run in runs if run.condition in ("valid", "suspect")]
    judged = [run for run in measured if run.objectives]
    failed = [run for run in judged if "failed" in run.objectives]
    if len(failed) >= 2 or (failed and len(failed) == len(judged)):
        return "no-go"
    passed = [run for run in judged if all(one == "passed" for one in run.objectives)]
    return "go" if len(passed) >= LEAST_RUNS and len(passed) == len(runs) else "open"


def _gate(seen: Situation) -> State:
    gate = seen.gate
    if gate is None or gate.release != RELEASE or not _ours(seen):
        return "open"
    if gate.outcome == "FAIL":
        return "no-go"
    return "go" if gate.outcome == "PASS" and gate.detectable <= MOST_DETECTABLE else "open"


def _budget(seen: Situation) -> State:
    # GO: upper bound within. NO-GO: lower bound beyond. Else: between.
    # Spent: NO-GO to any certain slow-down of the journey, also within the gate's 3 %.
    budget = seen.budget
    if budget is None or not _ours(seen):
        return "open"
    if budget.low > MOST_SLOWER:
        return "no-go"
    if budget.decided >= 1 or budget.point >= MOST_SLOWER:
        if budget.newly is None:
            return "open"  # whether it is a slow-down is not known: absence
        if budget.newly[0] > 0:
            return "no-go"
    return "go" if budget.high <= MOST_SLOWER else "open"


def _promise(seen: Situation) -> State:
    # GO: kept, budget >= policy. NO-GO: not kept, or gone, without override. Else: undecided, older than 24 h.
    states = [_one_promise(one) for one in seen.promises]
    if "no-go" in states:
        return "open" if seen.override == "in force" else "no-go"
    return "go" if states and all(state == "go" for state in states) else "open"


def _one_promise(one: PromiseSeen) -> State:
    if not 0 <= one.age_h <= OLDEST_PROMISE_H or one.sources != 1:
        return "open"
    if one.word == "not kept" or (one.word == "kept" and one.left < 0):
        return "no-go"
    return "go" if one.word == "kept" and one.left >= LEAST_LEFT else "open"


def _checklist(seen: Situation) -> State:
    # GO: all signed. NO-GO: any refused. Else: open.
    if "refused" in seen.checklist:
        return "no-go"
    return "go" if all(one == "signed" for one in seen.checklist) else "open"


def _headroom(seen: Situation) -> State:
    capacity, forecast = seen.capacity, seen.forecast
    if capacity is None or forecast is None:
        return "open"
    if capacity.release != RELEASE or capacity.age_days > OLDEST_DAYS["headroom"]:
        return "open"
    if capacity.low / forecast[1] >= LEAST_HEADROOM:
        return "go"
    return "no-go" if capacity.high / forecast[0] < LEAST_HEADROOM else "open"


def _health(seen: Situation) -> State:
    # Healthy: at least 10 controls, not certainly above 5 % failed, most of them conclusive, the newest at most 21 d.
    controls = seen.controls
    if controls is None or controls.count < 10 or controls.age_days > OLDEST_DAYS["health"]:
        return "open"
    if controls.failed > MOST_FAILED[controls.count] or 2 * controls.inconclusive > controls.count:
        return "open"
    return "go"


MOST_FAILED = {10: 2, 20: 3}
"""Of so many controls: the most that can fail while the lower end of Clopper and Pearson's interval is at most 5 %.

By table: 2 of 10 gives 2.5 %, 3 of 10 gives 6.7 %; 3 of 20 gives 3.2 %, 4 of 20 gives 5.7 %.
"""


# -- cases ----------------------------------------------------------------------------------------

ALL_GO = Situation()
LIVE = replace(ALL_GO, is_live=True)


def _promised(*promises: PromiseSeen) -> Situation:
    return replace(LIVE, promises=promises)


def _spent(low: float, high: float, decided: float, newly: tuple[float, float] | None) -> Situation:
    return replace(ALL_GO, budget=BudgetSeen(low, high, decided, newly))


CASES: Mapping[str, tuple[Situation, str]] = {
    "everything is there and fine": (ALL_GO, "GO"),
    "no run": (replace(ALL_GO, runs=()), "INCONCLUSIVE"),
    "two runs": (replace(ALL_GO, runs=(RunSeen(),) * 2), "INCONCLUSIVE"),
    "runs of another release": (replace(ALL_GO, runs=(RunSeen(release="v411"),) * 3), "INCONCLUSIVE"),
    "runs without objectives": (replace(ALL_GO, runs=(RunSeen(objectives=()),) * 3), "INCONCLUSIVE"),
    "one suspect run": (replace(ALL_GO, runs=(RunSeen(), RunSeen(), RunSeen("suspect"))), "INCONCLUSIVE"),
    "one invalid run beside three": (replace(ALL_GO, runs=(*(RunSeen(),) * 3, RunSeen("invalid"))), "INCONCLUSIVE"),
    "one incomplete run": (replace(ALL_GO, runs=(RunSeen(), RunSeen(), RunSeen("incomplete"))), "INCONCLUSIVE"),
    "all runs invalid": (replace(ALL_GO, runs=(RunSeen("invalid"),) * 3), "INCONCLUSIVE"),
    "one run of three failed": (
        replace(ALL_GO, runs=(RunSeen(), RunSeen(), RunSeen(objectives=("passed", "failed")))),
        "INCONCLUSIVE",
    ),
    "two runs of four failed": (
        replace(ALL_GO, runs=(*(RunSeen(),) * 2, *(RunSeen(objectives=("failed",)),) * 2)),
        "NO-GO",
    ),
    "the only run failed": (replace(ALL_GO, runs=(RunSeen(objectives=("failed",)),)), "NO-GO"),
    "an undecided objective": (
        replace(ALL_GO, runs=(RunSeen(), RunSeen(), RunSeen(objectives=("inconclusive",)))),
        "INCONCLUSIVE",
    ),
    "failures of invalid runs do not count": (
        replace(ALL_GO, runs=(*(RunSeen(),) * 3, *(RunSeen("invalid", ("failed",)),) * 2)),
        "INCONCLUSIVE",
    ),
    "no gate": (replace(ALL_GO, gate=None), "INCONCLUSIVE"),
    "the gate failed": (replace(ALL_GO, gate=GateSeen("FAIL")), "NO-GO"),
    "the gate of another release passed": (replace(ALL_GO, gate=GateSeen(release="v411")), "INCONCLUSIVE"),
    "the gate of another release failed": (replace(ALL_GO, gate=GateSeen("FAIL", release="v411")), "INCONCLUSIVE"),
    "the gate did not decide": (replace(ALL_GO, gate=GateSeen("INCONCLUSIVE")), "INCONCLUSIVE"),
    "the gate finds 5 %": (replace(ALL_GO, gate=GateSeen(detectable=0.05)), "GO"),
    "the gate finds only 5.1 %": (replace(ALL_GO, gate=GateSeen(detectable=0.051)), "INCONCLUSIVE"),
    "the performance budget is spent": (replace(ALL_GO, budget=BudgetSeen(0.11, 0.15)), "NO-GO"),
    "the performance budget is perhaps spent": (replace(ALL_GO, budget=BudgetSeen(0.06, 0.13)), "INCONCLUSIVE"),
    "no performance budget": (replace(ALL_GO, budget=None), "INCONCLUSIVE"),
    "no capacity": (replace(ALL_GO, capacity=None), "INCONCLUSIVE"),
    "no forecast": (replace(ALL_GO, forecast=None), "INCONCLUSIVE"),
    "capacity of another release": (replace(ALL_GO, capacity=CapacitySeen(release="v411")), "INCONCLUSIVE"),
    "an old capacity": (replace(ALL_GO, capacity=CapacitySeen(age_days=91)), "INCONCLUSIVE"),
    "an old capacity that is too low": (replace(ALL_GO, capacity=CapacitySeen(100, 110, age_days=91)), "INCONCLUSIVE"),
    "exactly enough headroom": (replace(ALL_GO, capacity=CapacitySeen(450, 460)), "GO"),
    "too little headroom": (replace(ALL_GO, capacity=CapacitySeen(350, 374)), "NO-GO"),
    "perhaps enough headroom": (replace(ALL_GO, capacity=CapacitySeen(440, 460)), "INCONCLUSIVE"),
    "no A/A controls": (replace(ALL_GO, controls=None), "INCONCLUSIVE"),
    "an ill gate": (replace(ALL_GO, controls=ControlsSeen(failed=4)), "INCONCLUSIVE"),
    "a blind gate": (replace(ALL_GO, controls=ControlsSeen(inconclusive=11)), "INCONCLUSIVE"),
    "old controls": (replace(ALL_GO, controls=ControlsSeen(age_days=22.5)), "INCONCLUSIVE"),
    "a live journey without a promise": (replace(LIVE, promises=()), "INCONCLUSIVE"),
    "a live journey whose promise is kept": (LIVE, "GO"),
    "a promise is not kept": (_promised(PromiseSeen("not kept", -0.2)), "NO-GO"),
    "one promise of two is not kept": (_promised(PromiseSeen(), PromiseSeen("not kept", -0.2)), "NO-GO"),
    "one promise of two has no data": (_promised(PromiseSeen(), PromiseSeen("no data", 0, 30)), "INCONCLUSIVE"),
    "one promise is not kept, the other has no data": (
        _promised(PromiseSeen("not kept", -0.2), PromiseSeen("no data", 0, 30)),
        "NO-GO",
    ),
    "a promise is undecided": (_promised(PromiseSeen("undecided", 0.1)), "INCONCLUSIVE"),
    "a promise is undecided and the seen part overspends": (_promised(PromiseSeen("undecided", -0.1)), "INCONCLUSIVE"),
    "a promise without traffic": (_promised(PromiseSeen("no traffic", 0)), "INCONCLUSIVE"),
    "a promise that cannot be judged": (_promised(PromiseSeen("not judged", 0)), "INCONCLUSIVE"),
    "a promise is kept, its data are 23 h old": (_promised(PromiseSeen(age_h=23)), "GO"),
    "a promise is kept, its data are 25 h old": (_promised(PromiseSeen(age_h=25)), "INCONCLUSIVE"),
    "a promise was not kept, its data are 25 h old": (_promised(PromiseSeen("not kept", -1, 25)), "INCONCLUSIVE"),
    "the data of a promise are of tomorrow": (_promised(PromiseSeen(age_h=-24)), "INCONCLUSIVE"),
    "a promise is kept, nothing of its budget is left": (_promised(PromiseSeen(left=0.0)), "GO"),
    "counts of two sources": (_promised(PromiseSeen(sources=2)), "INCONCLUSIVE"),
    "a broken promise with an override": (
        replace(LIVE, promises=(PromiseSeen("not kept", -0.2),), override="in force"),
        "INCONCLUSIVE",
    ),
    "a broken promise with an override that ended": (
        replace(LIVE, promises=(PromiseSeen("not kept", -0.2),), override="ended"),
        "NO-GO",
    ),
    "a broken promise with an override of another release": (
        replace(LIVE, promises=(PromiseSeen("not kept", -0.2),), override="of another release"),
        "NO-GO",
    ),
    "an override does not help a failed gate": (
        replace(LIVE, gate=GateSeen("FAIL"), override="in force"),
        "NO-GO",
    ),
    "a broken promise of a journey without users does not count": (
        replace(ALL_GO, promises=(PromiseSeen("not kept", -0.2),)),
        "GO",
    ),
    "decisions spent the performance budget, this release is not slower": (
        _spent(0.0, 0.05, 1.04, (-0.01, 0.01)),
        "GO",
    ),
    "decisions spent it, this release is certainly 1 % slower": (_spent(0.0, 0.05, 1.04, (0.005, 0.015)), "NO-GO"),
    "decisions spent all but a little, 1 % slower": (_spent(0.0, 0.05, 0.99, (0.005, 0.015)), "GO"),
    "decisions spent exactly all of it, 1 % slower": (_spent(0.0, 0.05, 1.0, (0.005, 0.015)), "NO-GO"),
    "decisions spent it, whether it is slower is unknown": (_spent(0.0, 0.05, 1.04, None), "INCONCLUSIVE"),
    "decisions spent it, perhaps slower": (_spent(0.0, 0.05, 1.04, (-0.001, 0.02)), "GO"),
    "spent by measurement, certainly slower": (_spent(0.09, 0.13, 0.0, (0.005, 0.015)), "NO-GO"),
    "spent by measurement, not slower": (_spent(0.09, 0.13, 0.0, (-0.01, 0.01)), "INCONCLUSIVE"),
    "all items of the checklist are signed": (replace(ALL_GO, checklist=("signed", "signed")), "GO"),
    "an item is open": (replace(ALL_GO, checklist=("signed", "open")), "INCONCLUSIVE"),
    "an item is refused, another is open": (replace(ALL_GO, checklist=("refused", "open")), "NO-GO"),
    "the gate failed, and all else is missing": (
        Situation((RunSeen(),), GateSeen("FAIL"), None, None, None, None, True, ()),
        "NO-GO",
    ),
}
"""The table, cell by cell, with what the order makes of each."""


def situations(count: int, seed: int) -> Iterator[Situation]:
    """Yield random situations. Each part is fine in most of them, so that all three answers are common."""
    draw = random.Random(seed)

    def mostly(fine: Any, *others: Any) -> Any:
        return fine if draw.random() < 0.9 else draw.choice(others)

    for _ in range(count):
        runs = tuple(
            RunSeen(
                mostly("valid", "suspect", "invalid", "incomplete") if draw.random() < 0.4 else "valid",
                mostly(("passed",), ("passed", "failed"), (), ("inconclusive",))
                if draw.random() < 0.6
                else ("passed",) * 2,
                mostly(RELEASE, "v411") if draw.random() < 0.4 else RELEASE,
            )
            for _ in range(mostly(3, 0, 1, 2, 4, 5))
        )
        yield Situation(
            runs,
            mostly(
                GateSeen(detectable=draw.choice((0.02, 0.04, 0.05))),
                None,
                GateSeen("FAIL"),
                GateSeen("INCONCLUSIVE"),
                GateSeen("INVALID"),
                GateSeen(detectable=0.08),
                GateSeen(detectable=float("nan")),
                GateSeen(release="v411"),
                GateSeen("FAIL", release="v413"),
            ),
            mostly(
                BudgetSeen(),
                None,
                BudgetSeen(0.12, 0.2),
                BudgetSeen(0.05, 0.12),
                BudgetSeen(decided=1.04),
                BudgetSeen(0.03, 0.07, 1.04, (0.03, 0.07)),
                BudgetSeen(0.03, 0.07, 0.8, (0.03, 0.07)),
            ),
            mostly(
                CapacitySeen(),
                None,
                CapacitySeen(release="v411"),
                CapacitySeen(age_days=91.0),
                CapacitySeen(300, 350),
                CapacitySeen(400, 480),
                CapacitySeen(300, 350, age_days=200.0),
            ),
            mostly((300.0, 360.0), None, (430.0, 450.0), (300.0, 420.0)),
            mostly(
                ControlsSeen(),
                None,
                ControlsSeen(9),
                ControlsSeen(10, 2),
                ControlsSeen(10, 3),
                ControlsSeen(20, 3),
                ControlsSeen(20, 4),
                ControlsSeen(20, 0, 11),
                ControlsSeen(20, 0, 10),
                ControlsSeen(age_days=22.5),
            ),
            draw.random() < 0.6,
            mostly(
                (PromiseSeen(),),
                (),
                (PromiseSeen(), PromiseSeen()),
                (PromiseSeen("not kept", -0.5),),
                (PromiseSeen(), PromiseSeen("not kept", -0.5)),
                (PromiseSeen("undecided", 0.2),),
                (PromiseSeen("no data", 0.0, 40),),
                (PromiseSeen(age_h=20),),
                (PromiseSeen(age_h=25),),
                (PromiseSeen("not kept", -0.5, 25),),
                (PromiseSeen(sources=2),),
                (PromiseSeen("not judged", 0.0),),
                (PromiseSeen("not judged", 0.0), PromiseSeen("not kept", -0.5)),
            ),
            mostly("", "in force", "ended", "of another release"),
            mostly((), ("signed",), ("signed", "open"), ("refused", "signed")),
        )
