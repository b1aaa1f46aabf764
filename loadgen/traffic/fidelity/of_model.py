"""The fidelity of a model that `loadgen model` makes from logs: its reference and its verdict, for `traffic.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.traffic.fidelity.answers import answers_of
from loadgen.traffic.fidelity.judge import (
    LEAST_SESSIONS,
    MOST_SESSIONS,
    no_time_rows,
    session_rows_of_halves,
    thinned_numbers,
    time_rows,
)
from loadgen.traffic.fidelity.of_plan import sessions_placed, shared_out
from loadgen.traffic.fidelity.plan_sessions import nodes_of, sessions_of_plan
from loadgen.traffic.fidelity.plan_times import times_of_plan
from loadgen.traffic.fidelity.reference import KEY, Reference, reference_of
from loadgen.traffic.fidelity.session_summary import summary_of
from loadgen.traffic.fidelity.time_summary import Times
from loadgen.traffic.fidelity.verdict import PROPERTIES, Verdict, unmeasured, verdict_of
from loadgen.traffic.model.model_counts import ModelCounts, counts_of_sample
from loadgen.traffic.names.naming import OTHER
from loadgen.traffic.read_logs import Traffic
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.scenario.draft import Draft
from loadgen.traffic.scenario.draft_of_logs import arrivals_of, draft_of
from loadgen.traffic.scenario.scenario_files import files_of, write_files
from loadgen.traffic.scenario.traffic_json import traffic_json
from loadgen.traffic.sessions.session_table import SessionTable
from loadgen.units import format_share, quantity

__all__ = ["QUERIES_MATTER", "Fidelity", "fidelity_of", "times_of_traffic"]

QUERIES_MATTER: Final = 0.1
"""The answers of a name are not compared if at least this share of its requests has a query: the model sends none."""
_MOST_LEFT_OUT: Final = 0.05
"""If more requests lack their values, the model must have another skew, and a comparison would only repeat that."""


@dataclass(frozen=True)
class Fidelity:
    """The fidelity of a model, for `traffic.json`."""

    verdict: Verdict
    reference: Reference

    def added_to(self, facts: str) -> str:
        """Return the text of `traffic.json` with the verdict and the reference."""
        document = json.loads(facts)
        document["fidelity"] = self.verdict.as_json()
        document["fidelity"] |= {"halves": {"sessions": self.reference.summary.sessions // 2}}
        document[KEY] = self.reference.as_json()
        return json.dumps(document, indent=1, sort_keys=True) + "\n"


def fidelity_of(traffic: Traffic, draft: Draft, options: LogOptions, *, seed: int = 0) -> Fidelity:
    """Return the fidelity of a draft that was made from this traffic with these options.

    For the properties of sessions, the model is made again from half of the sample, written, loaded and simulated, and
    compared with the other half. For those of times, the draft itself is written, loaded and simulated.

    Cost: about 10 s for a sample of 10,000 sessions or more.
    """
    model = traffic.model
    assert model is not None
    assert options.model is not None
    no_times = traffic.no_arrivals
    states = (*model.states, OTHER)
    times = times_of_traffic(traffic)
    reference = reference_of(
        model.sample.table,
        states,
        times,
        no_times=no_times,
        not_measurable=_not_measurable(traffic, model, options.names.least_users),
        without_bytes=[at for at, share in enumerate(model.requests.query_shares) if share >= QUERIES_MATTER],
        whole_seconds=not traffic.has_fractions,
        seed=seed,
    )
    if len(reference.not_measurable) == len(PROPERTIES):
        return Fidelity(verdict_of(unmeasured(""), reference.not_measurable), reference)
    rng = np.random.default_rng(seed)
    chosen = thinned_numbers(model.sample.table.count, MOST_SESSIONS, rng)
    most = options.model.classes

    def simulated(half: NDArray[np.int64], count: int, chance: np.random.Generator) -> SessionTable:
        return _simulated_from(traffic, options, counts_of_sample(model, chosen[half], most), reference, count, chance)

    rows = session_rows_of_halves(model.sample.table.chosen(chosen), simulated, rng)
    if no_times:
        rows += no_time_rows(no_times)
    else:
        assert reference.times is not None
        arrivals = arrivals_of(traffic)
        lanes, document = _loaded(draft, traffic_json(traffic, arrivals, draft, options))
        pools = sessions_of_plan(
            lanes,
            nodes_of(document, states),
            reference.answers,
            shared_out(lanes, reference.summary.sessions),
            seed,
        )
        rows += time_rows(times_of_plan(lanes, pools.by_load, reference, seed), reference.times, reference.time_floors)
    return Fidelity(verdict_of(rows, reference.not_measurable), reference)


def _not_measurable(traffic: Traffic, model: ModelCounts, least_users: int) -> dict[str, str]:
    """Return why properties cannot be measured, by property."""
    if (count := model.sample.table.count) < LEAST_SESSIONS:
        return dict.fromkeys(PROPERTIES, f"the log has {quantity(count, 'session')}, and {LEAST_SESSIONS} are needed")
    found: dict[str, str] = {}
    left_out = sum(values.hidden_requests for values in model.values.values())
    with_values = left_out + sum(values.shown_requests for values in model.values.values())
    if left_out > _MOST_LEFT_OUT * with_values:
        why = (
            f"the model lacks the values of {format_share(left_out / with_values)} of the requests with values: fewer "
            f"than {least_users} users sent each (--least-users)"
        )
        found |= {"data skew": why, "locality": why}
    if traffic.has_edited_times:
        why = "the times of the log were rounded or edited"
        found |= {"session duration": why, "think": why, "locality": why}
        # Without times there are no actions: the parts of a page become steps of their own, in any combination.
        actions = f"{why}, so the requests of a page cannot be told from later ones"
        found |= {"sequences": actions, "combinations": actions}
    return found


def times_of_traffic(traffic: Traffic) -> Times:
    """Return when the sessions of all logs start, and when their requests do."""
    sessions = traffic.sessions
    begin_s = int(sessions.starts[0]) // 1_000_000
    return Times(
        begin_s,
        sessions.requests_by_second,
        sessions.starts - begin_s * 1_000_000,
        sessions.durations,
        sessions.lengths,
    )


def _simulated_from(
    traffic: Traffic,
    options: LogOptions,
    counts: ModelCounts,
    reference: Reference,
    sessions: int,
    rng: np.random.Generator,
) -> SessionTable:
    """Return sessions of the scenario that these counts make."""
    part = replace(traffic, model=counts)
    arrivals = arrivals_of(part)
    draft = draft_of(part, arrivals, target="http://127.0.0.1:1", command="")
    lanes, document = _loaded(draft, traffic_json(part, arrivals, draft, options))
    table = counts.sample.table
    answers = answers_of(table, summary_of(table), reference.states)
    pools = sessions_of_plan(
        lanes, nodes_of(document, reference.states), answers, shared_out(lanes, sessions), int(rng.integers(1 << 32))
    )
    return sessions_placed(lanes, pools, reference.span_s, rng, whole_seconds=reference.whole_seconds)


def _loaded(draft: Draft, facts: str) -> tuple[tuple[DrivenLoad, ...], Mapping[str, Any]]:
    """Write a draft to a temporary folder, load it, and return its loads and its `traffic.json`."""
    with TemporaryDirectory(prefix="loadgen-fidelity-") as folder:
        path = Path(folder) / "simulated_scenario.py"
        write_files(files_of(draft, path, facts))
        # The loader reads all data files, so they are not needed any more when the folder is gone.
        return load(path).plan.lanes, json.loads(facts)
