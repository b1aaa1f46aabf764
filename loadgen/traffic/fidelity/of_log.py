"""Compares the target's own log of a test with the log that the scenario was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.traffic.fidelity.compare import Distances, session_distances, session_parts
from loadgen.traffic.fidelity.floors import session_floors_of_all, time_floors
from loadgen.traffic.fidelity.judge import LEAST_SESSIONS, MOST_SESSIONS, no_time_rows, session_rows, thinned, time_rows
from loadgen.traffic.fidelity.of_model import times_of_traffic
from loadgen.traffic.fidelity.of_plan import shared_out
from loadgen.traffic.fidelity.plan_sessions import nodes_of, sessions_of_plan
from loadgen.traffic.fidelity.plan_times import closed_load, starts_of, times_of_plan
from loadgen.traffic.fidelity.reference import Reference
from loadgen.traffic.fidelity.session_summary import CACHED_REQUESTS, summary_of
from loadgen.traffic.fidelity.time_summary import time_summary
from loadgen.traffic.fidelity.verdict import Row, Verdict, unmeasured, verdict_of
from loadgen.traffic.read_logs import Traffic
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.sessions.actions import ActionRule
from loadgen.traffic.sessions.session_table import SessionTable
from loadgen.units import NS_PER_S, format_count, format_duration, quantity

__all__ = ["checked_log", "options_of_test"]

_MOST_NAMES: Final = 10_000
_SAME_SPAN: Final = 0.05
_LAST_MINUTE_S: Final = 60
"""The last minute of a log is played as a whole one."""
_SAME_TOTAL: Final = 0.2
_ENOUGH_REQUESTS: Final = 0.8


def options_of_test(options: LogOptions, document: Mapping[str, Any]) -> LogOptions:
    """Return the options for the log of a test: those of the model, with the names that it found."""
    templates = dict.fromkeys(str(one["name"]).partition(" ")[2] for one in document.get("names", ()))
    names = replace(
        options.names,
        found=tuple(text for text in templates if text not in options.names.pins),
        most_names=_MOST_NAMES,
        coverage=1.0,
        least_users=1,
    )
    return replace(options, names=names, model=ModelRules(classes=1))


def checked_log(
    traffic: Traffic,
    document: Mapping[str, Any],
    reference: Reference,
    lanes: Sequence[DrivenLoad] = (),
    *,
    seed: int = 0,
) -> Verdict:
    """Return the verdict on the log of a test, which was read with `options_of_test`.

    document: the whole of `traffic.json`. lanes: the loads of the test's run, if it is known.
    """
    rng = np.random.default_rng(seed)
    table = thinned(_renamed(traffic, document, reference), min(MOST_SESSIONS, reference.summary.sessions), rng)
    reasons = dict(reference.not_measurable)
    if table.count < LEAST_SESSIONS:
        why = f"the log has {quantity(table.count, 'session')}, and {LEAST_SESSIONS} are needed"
        return Verdict(tuple(unmeasured(why)))
    needed = _ENOUGH_REQUESTS * min(CACHED_REQUESTS, int(reference.summary.requests.sum()))
    if len(table.state) < needed:
        count, least = quantity(len(table.state), "request"), format_count(round(needed))
        reasons.setdefault("locality", f"the test has {count}, and at least {least} are needed")
    found = summary_of(table, reference.summary)
    rows = session_rows(
        session_distances(found, reference.summary),
        session_floors_of_all(table, table.count, rng),
        {},
        session_parts(found, reference.summary),
    )
    rows += _time_rows(traffic, document, reference, lanes, seed)
    return verdict_of(rows, reasons)


def _renamed(traffic: Traffic, document: Mapping[str, Any], reference: Reference) -> SessionTable:
    """Return the sessions of a test with the states and the actions of the reference."""
    model = traffic.model
    assert model is not None
    at = {name: n for n, name in enumerate(reference.states)}
    other = len(reference.states) - 1
    states = np.array([*(at.get(name, other) for name in model.states), other])
    table = model.sample.table
    return _rule(document, reference.states).applied(table.named(states[table.state], other + 1))


def _rule(document: Mapping[str, Any], names: Sequence[str]) -> ActionRule:
    """Return the rule of actions that `traffic.json` shows: which requests belong to which main ones."""
    at = {name: n for n, name in enumerate(names)}
    joins, children = (np.zeros((len(names), len(names)), bool) for _ in range(2))
    for name, rows in document.get("actions", {}).items():
        own = [at[row["name"]] for row in rows if row["name"] in at]
        if name in at:
            for before in (at[name], *own):
                joins[before, own] = True
            children[at[name], own] = True
    return ActionRule(joins, children)


def _time_rows(
    traffic: Traffic, document: Mapping[str, Any], reference: Reference, lanes: Sequence[DrivenLoad], seed: int
) -> list[Row]:
    if reference.no_times or reference.times is None:
        return no_time_rows(reference.no_times)
    times = times_of_traffic(traffic)
    if not len(times.by_second):
        return no_time_rows(traffic.no_arrivals)
    if not lanes:
        why = _another_test(times.span_s, float(times.by_second.sum()), reference)
        if why:
            return no_time_rows(f"{why}: name the test with --run RUN")
        times = times.beginning_with(reference.first_us)
        return time_rows(time_summary(times, reference.times), reference.times, _of_two_logs(reference.time_floors))
    if why := closed_load(lanes):
        return no_time_rows(why)
    # What the run was to send: its own loads, with what the target answered in the reference.
    first_us = min(int(starts[0]) for starts in (starts_of(lane, is_even=True) for lane in lanes) if len(starts))
    times = times.beginning_with(first_us)
    like = time_summary(times)
    planned = replace(reference, times=like, span_s=times.span_s)
    pools = sessions_of_plan(
        lanes,
        nodes_of(document, reference.states),
        reference.answers,
        shared_out(lanes, reference.summary.sessions),
        seed,
    )
    expected = times_of_plan(lanes, pools.by_load, planned, seed)
    return time_rows(like, expected, time_floors(times, np.random.default_rng(seed), expected=expected))


def _of_two_logs(floors: Distances) -> Distances:
    """Return the floors of two logs. The floors of curves are for one log around its mean; two logs differ by more."""
    curves = ("rate curve", "total", "concurrency")
    return {
        name: None if floor is None else floor * 2**0.5 if name in curves else floor for name, floor in floors.items()
    }


def _another_test(span_s: int, requests: float, reference: Reference) -> str:
    """Return how the test differs in length or volume from the log; empty if it can be a test of the whole plan."""
    assert reference.times is not None
    if abs(span_s - reference.span_s) > max(_SAME_SPAN * reference.span_s, _LAST_MINUTE_S):
        both = (format_duration(s * NS_PER_S) for s in (span_s, reference.span_s))
        return "the test lasted {}, the log {}".format(*both)
    total = reference.times.total
    if abs(requests - total) > _SAME_TOTAL * total:
        both = (quantity(round(n), "request") for n in (requests, total))
        return "the test had {}, the log {}".format(*both)
    return ""
