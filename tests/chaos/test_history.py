"""The checker finds what was planted, and nothing where nothing is wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from loadgen.drive.raw_value_debug_file import RawFile
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.deltas.load_counts import FirstArrival
from tests.support.history import (
    Buckets,
    History,
    ahead_of_plan,
    buckets_of,
    overload,
    raw_buckets,
    twice,
)
from tests.support.plan_book import PlanBook, accounts_of, arrivals_of
from tests.support.recording import Recording

REGIONS = {"a1": "a", "b1": "b"}


def recordings() -> dict[str, Recording]:
    found = {agent: Recording(agent) for agent in REGIONS}
    for recording in found.values():
        for n in range(4):
            recording.interval(10 + n, ms=20 + n)
    return found


def rows_of(deltas: list[tuple[str, Delta]]) -> list[dict[str, Any]]:
    finished: Counter[str] = Counter()
    for region, delta in deltas:
        finished[region] += delta.counters.requests_finished
    counts = [("*", finished.total()), *finished.items()]
    return [{"kind": "request", "region": region, "outcome": "ok", "count": count} for region, count in counts]


def history(deltas: list[tuple[str, Delta]] | None = None) -> History:
    """A good one, of these deltas: those of both agents otherwise."""
    made = recordings()
    if deltas is None:
        deltas = [(REGIONS[agent], delta) for agent, recording in made.items() for delta in recording.deltas]
    counters = sum((delta.counters for _, delta in deltas), made["a1"].fin().totals - made["a1"].fin().totals)
    finished = {agent: sum(d.counters.requests_finished for _, d in deltas if d.agent == agent) for agent in REGIONS}
    summary: dict[str, Any] = {
        "result": "passed",
        "requests": {"finished": counters.requests_finished},
        "iterations": {
            name: getattr(counters, f"iterations_{name}")
            for name in ("due", "started", "finished", "missed", "cut_off")
        },
        "agents": [
            {"id": agent, "region": region, "complete": True, "requests": finished[agent]}
            for agent, region in REGIONS.items()
        ],
        "series": rows_of(deltas),
        "warmup": None,
    }
    fins = [{"kind": "fin", "agent": agent, "fin": asdict(recording.fin())} for agent, recording in made.items()]
    return History(deltas, buckets_of(deltas), summary, fins)


def recorded() -> Buckets:
    return history().logged


def test_nothing_is_found_in_a_good_history() -> None:
    acked = {("a1", 1): 3, ("b1", 1): 3}
    assert history().wrongs(recorded=recorded(), acked=acked) == []


def test_a_lost_delta_is_found() -> None:
    good = history()
    wrong = History(good.deltas[:2] + good.deltas[3:], good.merged, good.summary, good.events)  # type: ignore[operator]
    found = wrong.wrongs(recorded=recorded(), acked={("a1", 1): 3})
    assert "a1, epoch 1: seq 3 where 2 comes: 2 is lost" in found
    assert any(text.startswith("a1: values") for text in found)
    assert any("recorded" in text for text in found)


def test_a_delta_that_was_lost_by_all_and_missed_by_none_is_still_found() -> None:
    """The last of an agent: no seq has a gap, log and summary and Fin agree; only the agent's own book knows."""
    good = history()
    short = [one for one in good.deltas if (one[1].agent, one[1].seq) != ("b1", 3)]
    fins = recordings()
    fins["b1"].deltas.pop()
    fin = replace(fins["b1"].fin(), recorded=sum(s.n for d in fins["b1"].deltas for s in d.stats))
    events = [good.events[0], {"kind": "fin", "agent": "b1", "fin": asdict(fin)}]
    wrong = replace(history(short), events=events)
    assert wrong.wrongs() == []
    assert any("in the log" in text and "recorded" in text for text in wrong.wrongs(recorded=recorded()))
    assert wrong.lost_though_acked({("b1", 1): 3}) == ["b1, epoch 1: acknowledged up to 3, in the log up to 2"]


def test_a_delta_that_is_merged_twice_is_found() -> None:
    good = history()
    doubled = history([*good.deltas[:2], good.deltas[1], *good.deltas[2:]])
    found = doubled.wrongs(recorded=recorded())
    assert "a1, epoch 1: seq 1 where 2 comes: merged twice" in found


def test_deltas_out_of_order_are_found() -> None:
    good = history()
    swapped = history([good.deltas[1], good.deltas[0], *good.deltas[2:]])
    assert swapped.out_of_order()


def test_an_old_epoch_after_a_newer_one_is_found() -> None:
    good = history()
    newer = [(region, replace(delta, epoch=2)) for region, delta in good.deltas if delta.agent == "b1"]
    late = History([*newer, *good.deltas], good.merged, good.summary, good.events)
    assert "b1, epoch 1: merged after epoch 2" in late.out_of_order()


def test_one_count_in_another_bucket_is_found() -> None:
    good = history()
    moved = Counter(good.merged)
    where = next(iter(moved))
    moved[where] -= 1
    moved[(*where[:2], where[2] + 1)] += 1
    assert len(replace(good, merged=moved).wrongs(recorded=recorded())) == 2


def test_a_series_in_another_region_is_found() -> None:
    good = history()
    moved: Buckets = Counter({("b", key, slot): n for (_, key, slot), n in good.merged.items()})
    assert replace(good, merged=moved).wrongs()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("requests", "finished"), "finished requests"),
        (("iterations", "started"), "iterations started"),
        (("iterations", "missed"), "iterations missed"),
        (("agents", 0, "requests"), "finished requests"),
        (("series", 1, "count"), "finished requests in a"),
    ],
)
def test_one_too_many_in_the_summary_is_found(path: tuple[str | int, ...], words: str) -> None:
    good = history()
    at: Any = good.summary
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] += 1
    assert any(text.startswith(words) for text in good.wrongs())


def test_an_agent_called_complete_without_proof_is_found() -> None:
    good = history()
    assert replace(good, events=good.events[:1]).unproved() == ["b1 is complete, and no Fin of it was written down"]


def test_a_run_that_passes_without_one_of_its_agents_is_found() -> None:
    good = history()
    good.summary["agents"][0]["complete"] = False
    assert good.unproved() == ["the run has passed, and of a1 something is missing"]


def test_where_an_agent_died_less_is_no_fault_and_more_is() -> None:
    good = history()
    more = Counter(recorded())
    less = Counter(recorded())
    where = next(key for key in more if key[0] == "a")
    more[where] += 5
    less[where] -= 1
    assert good.wrongs(recorded=more, died=("a",)) == []
    assert good.wrongs(recorded=more, died=("b",))
    assert good.wrongs(recorded=less, died=("a",))


def test_raw_values_come_to_the_buckets_that_were_sent(tmp_path: Path) -> None:
    kept = RawFile(tmp_path, "a")
    recorder = Recorder(raw=kept)
    recording = Recording("a1")
    recording.recorder = recorder
    for ms in (1, 20.5, 3_000):
        recording.interval(7, ms=ms)
    assert raw_buckets(tmp_path) == buckets_of(("a", delta) for delta in recording.deltas)


def steady(rate: int, seconds: int) -> list[float]:
    return [1_000 + n / rate for n in range(rate * seconds)]


def test_a_steady_load_is_no_overload() -> None:
    assert overload(steady(100, 20), 100) == []
    assert ahead_of_plan(steady(100, 20), 100, 1_000) == []


def test_a_share_that_two_drive_for_three_seconds_is_found() -> None:
    """20 agents, one share of them twice: 5 % too much."""
    doubled = [at + 0.001 for at in steady(5, 3)]
    assert overload(sorted([*steady(100, 20), *doubled]), 100)


def test_what_is_begun_late_is_no_overload_when_it_is_known_how_late() -> None:
    late = [max(at, 1_005.0) if at > 1_004.8 else at for at in steady(100, 20)]
    assert overload(late, 100)
    assert overload(late, 100, late_s=0.2) == []
    assert ahead_of_plan(late, 100, 1_000) == []


def test_what_is_begun_before_it_is_due_is_found() -> None:
    assert ahead_of_plan([at - 1 for at in steady(100, 20)], 100, 1_000)


def test_an_arrival_that_is_begun_twice_is_found() -> None:
    assert twice(range(100)) == []
    assert twice([*range(100), 7]) == ["arrival 7 was begun 2 times"]


# -- the plan as the fourth book ------------------------------------------------------------------

AGENTS = ("a1", "a2", "b1")
PLAN = PlanBook(arrivals_of(60, 2), AGENTS, (1.0, 1.0, 1.0))


def accounted(**told: tuple[int, int]) -> dict[str, Counters]:
    """(started, missed) by agent; 40 started where it is not said. All of it finished."""
    return {
        agent: Counters(iterations_started=started, iterations_finished=started, iterations_missed=missed)
        for agent, (started, missed) in {**dict.fromkeys(AGENTS, (40, 0)), **told}.items()
    }


def report(missing: dict[str, int] | None = None, *, share: float = 0.0, result: str = "passed") -> dict[str, Any]:
    """A summary that names so many arrivals of some agents as missing."""
    texts = {
        agent: f"agent {agent} (a): {count} of 40 iterations that were due by the plan are missing"
        for agent, count in (missing or {}).items()
    }
    agents = [{"id": agent, "complete": agent not in texts, "missing": texts.get(agent)} for agent in AGENTS]
    return {"agents": agents, "missing_share": share, "result": result}


def test_a_plan_that_was_driven_is_in_order() -> None:
    assert PLAN.total == 120
    assert PLAN.wrongs(accounted(), report(), range(120)) == []
    assert PLAN.wrongs(accounted(a2=(33, 7)), report()) == []


def test_missing_arrivals_that_the_report_names_are_in_order() -> None:
    told = report({"b1": 6}, share=6 / 120, result="incomplete")
    assert PLAN.wrongs(accounted(b1=(34, 0)), told) == []


def test_an_agent_that_ended_early_and_is_called_complete_is_found() -> None:
    found = PLAN.wrongs(accounted(b1=(20, 0)), report())
    assert "b1: 20 started and 0 missed of 40: 20 are missing, and the report names 0: " in found
    assert "b1 is complete, and 20 of its 40 arrivals are missing" in found
    assert "the run has passed, and 20 of 120 arrivals are missing" in found
    assert "0.166667 of the plan is missing, and the report says 0.000000" in found


def test_a_report_that_names_another_number_or_another_agent_is_found() -> None:
    (found,) = PLAN.wrongs(accounted(b1=(34, 0)), report({"b1": 5}, share=6 / 120, result="incomplete"))
    assert found.startswith("b1: 34 started and 0 missed of 40: 6 are missing, and the report names 5")
    found, complete, other = PLAN.wrongs(accounted(b1=(34, 0)), report({"a1": 6}, share=6 / 120, result="incomplete"))
    assert found.startswith("a1: 40 started and 0 missed of 40: 0 are missing, and the report names 6")
    assert complete.startswith("b1: 34 started")
    assert other == "b1 is complete, and 6 of its 40 arrivals are missing"


def test_a_share_that_two_agents_drove_is_found() -> None:
    assert PLAN.wrongs(accounted(a1=(47, 0)), report()) == [
        "a1: 47 started and 0 missed, and the plan gives it 40: 7 too many"
    ]


def test_arrivals_of_a_late_joiner_that_another_one_started_are_in_order_only_where_they_are_named() -> None:
    """Agent a1 got the change late, and started 7 arrivals that a2 counts as missed."""
    told = report(result="incomplete")
    told["agents"][0] |= {"complete": False, "missing": "7 iterations more than the plan gives it: 47 instead of 40"}
    accounts = accounted(a1=(47, 0), a2=(33, 7))
    assert PLAN.doubles(accounts) == 7
    assert PLAN.wrongs(accounts, told, range(120), names_doubles=True) == []
    assert PLAN.wrongs(accounts, told, range(120))
    (found,) = PLAN.wrongs(accounted(a1=(48, 0), a2=(33, 7)), told, names_doubles=True)
    assert found == "a1: 48 started and 0 missed, and the plan gives it 40: 8 too many"


def test_arrivals_in_two_books_are_found() -> None:
    """Agent a2 counts 7 arrivals as missed that the target saw; another one counts 1 as finished that it did not."""
    found = PLAN.wrongs(accounted(a2=(33, 7)), report(), range(120))
    assert found == [
        "a2: the target served 40 of its arrivals; it finished 33, missed 7, and at most 33 can have been started"
    ]
    assert PLAN.wrongs(accounted(), report(), range(119)) == [
        "b1: the target served 39 of its arrivals; it finished 40, missed 0, and at most 40 can have been started"
    ]


def test_an_arrival_that_is_not_in_the_plan_is_found() -> None:
    assert PLAN.wrongs(accounted(), report(), [*range(120), 120]) == [
        "the target saw arrivals that are not in the plan of 120: [120]"
    ]


def test_shares_that_were_moved_are_the_takers() -> None:
    """From 1 s on b1 has nothing, and the two others 30 each of the 60 that are still due."""
    moved = replace(
        PLAN,
        changes=((2, 1_000_000_000, (1.0, 1.0, 0.0)),),
        shares_told=((2, 1_000_000_000, (1.0, 1.0, 0.0)),),
    )
    due = {agent: int((moved.owners(0, 120) == n).sum()) for n, agent in enumerate(AGENTS)}
    assert (due["b1"], sum(due.values())) == (20, 120)
    as_moved = accounted(**{agent: (count, 0) for agent, count in due.items()})
    assert moved.wrongs(as_moved, report(), range(120)) == []
    assert any("b1: 40 started" in text and "20 too many" in text for text in moved.wrongs(accounted(), report()))
    assert replace(moved, shares_told=()).wrongs(as_moved, report())


def test_of_a_load_that_was_stopped_only_what_was_due_by_then_is_missing() -> None:
    stopped = replace(PLAN, ended_ns=1_100_000_000)
    assert stopped.wrongs(accounted(**dict.fromkeys(AGENTS, (20, 0))), report()) == []
    assert stopped.wrongs(accounted(**dict.fromkeys(AGENTS, (22, 0))), report()) == []
    found = stopped.wrongs(accounted(a1=(19, 0)), report())
    assert "a1 is complete, and 1 of its 20 arrivals are missing" in found


def test_deltas_are_added_up_by_agent() -> None:
    made = recordings()
    totals = accounts_of(delta for recording in made.values() for delta in recording.deltas)
    assert totals == {agent: recording.fin().totals for agent, recording in made.items()}


def test_late_hearers_are_found_by_the_report_in_which_they_name_a_change() -> None:
    """From 1 s on b1 is new; a1 names the change in its delta of 1 to 2 s, a2 in time."""
    joined = replace(PLAN, weights=(1.0, 1.0, 0.0), changes=((2, 1_000_000_000, (1.0, 1.0, 1.0)),))
    at = joined.profile.schedule().count_at(1_000_000_000)
    named = (FirstArrival(0, 2, at),)
    deltas = [
        Delta("a1", 1, 1, 1_000_000_000, 2_000_000_000, first_arrivals=named),
        Delta("a2", 1, 0, 0, 1_000_000_000, first_arrivals=named),
    ]
    late = joined.late(deltas)
    owners = joined.owners(at, 120)
    first = replace(joined, changes=()).owners(at, 120)
    of_a1 = int(((first == 0) & (owners == 2)).sum())
    assert of_a1 > 0
    assert late.given == {"a1": of_a1, "a2": 0, "b1": 0}
    assert late.taken == {"a1": 0, "a2": 0, "b1": of_a1}
