"""The end of a run: verdict, summary and log into the folder, as much of it as can be written."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version

import msgspec

from loadgen.dsl.plans.spec import LaneSpec
from loadgen.errors import StorageError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.generator_health import spans_text
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.hlog import write_hlog, write_hlog_of_cells
from loadgen.measure.results.summary import AgentFacts, RunFacts, build
from loadgen.measure.run_folder.rundir import RunDir, utc_text
from loadgen.measure.statistics.batch_means import Batches, recounted, recounted_cells, with_intervals
from loadgen.measure.statistics.warmup import Cut
from loadgen.units import NS_PER_MS, NS_PER_S, format_duration
from loadgen.wire import codec
from loadgen_controller.core.adjustments import as_rows
from loadgen_controller.core.events import End, Reason
from loadgen_controller.core.lifecycle import Run
from loadgen_controller.core.order import Order
from loadgen_controller.core.registry import Fleet
from loadgen_controller.core.run_record import RunRecord
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.plan_due import Basis
from loadgen_controller.judging.verdict import Facts, Verdict, judge
from loadgen_controller.run.checkpointer import Kept

__all__ = ["Sealed", "deltas_of", "facts_of", "manifest", "seal"]

MANIFEST_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Sealed:
    facts: Facts
    verdict: Verdict
    summary: dict[str, object]


def manifest(
    order: Order, books: RunRecord, fleet: Fleet, created_at: datetime, *, boot: str = "", by: str = ""
) -> dict[str, object]:
    """What was asked for and who does it; secrets by name only, keys not at all."""
    agents = [
        {
            "id": m.id,
            "region": m.region,
            "epoch": m.epoch,
            "pid": m.pid,
            "host": m.host,
            "cpus": m.cpus,
            "instance_type": m.instance_type or None,
            "workers": round(m.weight),
        }
        for m in fleet
        if m.id in books.epochs
    ]
    return {
        "format": MANIFEST_FORMAT,
        "run_id": books.run_id,
        "created_at": utc_text(created_at),
        "placement": order.placement,
        "scenario": order.scenario,
        "plan": order.plan,
        "agents_wanted": order.agents,
        "boot": boot,
        "by": by,
        "seed": order.seed,
        "interval_ns": order.spec.interval_ns,
        "overrides": msgspec.json.decode(order.overrides_json or b"{}"),
        "has_fuse": order.has_fuse,
        "allowed": None if order.allow is None else msgspec.to_builtins(order.allow),
        "limits": msgspec.to_builtins(order.limits),
        "bundle": {
            "sha256": order.bundle_sha256,
            "bytes": len(order.bundle),
            "signature": order.signature.hex(),
            "statement": order.statement.decode(),
        },
        "spec": msgspec.to_builtins(order.spec, enc_hook=str),
        "assignment": msgspec.to_builtins(books.assignment),
        "agents": agents,
        "versions": {"loadgen": version("loadgen"), "python": platform.python_version()},
        "machine": {"system": platform.system(), "release": platform.release(), "arch": platform.machine()},
    }


def facts_of(run: Run, order: Order, books: RunRecord, bug: str = "", basis: Basis | None = None) -> Facts:
    """What the verdict is made from, beside the deltas. order: with the plan as it was changed while it ran."""
    spec = order.spec
    load_ns = spec.duration_ns if books.load_ended_ns is None else books.load_ended_ns
    return Facts(
        ends=run.ends,
        objectives=spec.slos,
        profile=spec.profile,
        journeys=tuple(journey.name for journey in spec.journeys if journey.weight > 0),
        assignment=books.assignment,
        epochs=books.epochs,
        fins=books.fins,
        lost={agent: text for agent, text in books.lost.items() if agent in run.lost},
        has_started=run.t0_ns is not None,
        load_ns=load_ns,
        bug=bug,
        warmup_ns=spec.warmup_ns,
        first_ns=spec.lanes[0].after_ns if spec.lanes else 0,
        stays=tuple(bool(lane.stays) for lane in spec.lanes),
        left=dict(run.left),
        steered=tuple((row["verdict"], row["text"]) for row in books.steering if row["verdict"]),
        more_loads=tuple((lane.after_ns, lane.profile) for lane in spec.lanes[1:]),
        former=books.former,
        basis=basis,
    )


def deltas_of(folder: RunDir, assignment: Assignment) -> Iterator[tuple[str, Delta]]:
    """(region, delta) in the order in which they were merged, read back from the folder."""
    for record in folder.records():
        delta = codec.decode(record)
        if isinstance(delta, Delta):
            yield assignment.region(delta.agent), delta


def seal(
    folder: RunDir,
    facts: Facts,
    merge: Merge,
    order: Order,
    books: RunRecord,
    pids: Mapping[str, int],
    started_at: datetime,
    duration_s: float,
    kept: Kept | None = None,
) -> Sealed:
    """Judge the run and leave all of it behind; blocking. Storage that fails becomes one more reason.

    kept: the cells of all of the run, where there are such: then it takes seconds, otherwise 0.15 to 0.5 ms a delta.
    """
    batches, cut = _recounted(folder, facts, merge, order, kept)
    if cut is not None and batches is not None:
        facts, merge = replace(facts, warmup_ns=cut.cut_ns, warmup_found=cut.why), batches
    sealed = _sealed(facts, merge, batches, order, books, pids, started_at, duration_s)
    try:
        if facts.assignment is not None and facts.has_started:
            _write_hlog(folder, facts.assignment, started_at, kept)
        folder.event("facts", facts=facts)
        folder.event("verdict", result=sealed.verdict.result, exit_code=int(sealed.verdict.exit_code))
        folder.seal(sealed.summary)
    except StorageError as error:
        if any(end.reason is Reason.STORAGE_FAILED for end in facts.ends):
            return sealed
        facts = replace(facts, ends=(*facts.ends, End(Reason.STORAGE_FAILED, error.message)))
        return seal(folder, facts, merge, order, books, pids, started_at, duration_s, kept)  # a summary may still fit
    return sealed


def _write_hlog(folder: RunDir, assignment: Assignment, started_at: datetime, kept: Kept | None) -> None:
    if kept is not None:
        with suppress(StorageError):
            write_hlog_of_cells(folder.hlog_path, kept.cells(), started_at)
            return
    write_hlog(folder.hlog_path, deltas_of(folder, assignment), started_at)


def _recounted(
    folder: RunDir, facts: Facts, merge: Merge, order: Order, kept: Kept | None
) -> tuple[Batches | None, Cut | None]:
    """The run counted again from its cells or its log: in batches, and from the end of a warm-up that is to be found.

    Nothing where nothing was measured, or where the log cannot be read: then figures have no intervals.
    """
    assignment, spec = facts.assignment, order.spec
    if assignment is None or not facts.has_started:
        return None, None
    if kept is not None:
        with suppress(StorageError):
            return recounted_cells(
                merge,
                kept.cells,
                end_ns=facts.load_ns,
                interval_ns=spec.interval_ns,
                warmup_ns=spec.warmup_ns,
                is_found=spec.warmup_is_found,
            )
    try:
        return recounted(
            lambda: deltas_of(folder, assignment),
            end_ns=facts.load_ns,
            interval_ns=spec.interval_ns,
            warmup_ns=spec.warmup_ns,
            is_found=spec.warmup_is_found,
        )
    except StorageError:
        return None, None


def _sealed(
    facts: Facts,
    merge: Merge,
    batches: Batches | None,
    order: Order,
    books: RunRecord,
    pids: Mapping[str, int],
    started_at: datetime,
    duration_s: float,
) -> Sealed:
    verdict = judge(facts, merge)
    spec = order.spec
    run = RunFacts(
        run_id=books.run_id,
        scenario=order.scenario,
        plan=spec.name,
        placement=order.placement,
        started_at=started_at,
        duration_s=duration_s,
        result=verdict.result,
        exit_code=int(verdict.exit_code),
        reasons=verdict.reasons,
        validity=verdict.validity.verdict,
        validity_reasons=verdict.validity.reasons,
        validity_advice=verdict.validity.advice,
        agents=tuple(_agents(verdict, books, pids)),
        load="; ".join(_load_text(lane) for lane in spec.lanes) or spec.load,
        is_open=spec.is_open,
        has_warmup=facts.warmup_ns > 0,
        warmup_s=facts.warmup_ns / NS_PER_S,
        warmup_found=facts.warmup_found,
        metrics=spec.metrics,
        notes=(*books.notices, *spec.notes, *_coarse(merge)),
        extra={
            "missing_share": round(verdict.completeness.missing_share, 6),
            "adjustments": list(as_rows(books.adjustments)),
            "steering": books.steering,
            "outputs": books.outputs,
        },
    )
    slos = verdict.slos if batches is None else with_intervals(verdict.slos, facts.objectives, batches)
    return Sealed(facts, verdict, build(run, merge, slos, batches))


def _coarse(merge: Merge) -> Iterator[str]:
    """Which agents' seconds are known in longer intervals only."""
    for agent, fitness in sorted(merge.fitness.items()):
        if fitness.coarse_ns:
            yield (
                f"{agent}: {fitness.coarse_ns / NS_PER_S:.0f} s are known in longer intervals only"
                f" ({spans_text(fitness.coarse_spans_ns)}): every count is there, when within them it was is not"
            )


def _load_text(lane: LaneSpec) -> str:
    """ "spike: arrivals: hold 200/s for 1m, after 2m"."""
    name = f"{lane.name}: " if lane.name else ""
    return f"{name}{lane.load}" + (f", after {format_duration(lane.after_ns)}" if lane.after_ns else "")


def _agents(verdict: Verdict, books: RunRecord, pids: Mapping[str, int]) -> Iterator[AgentFacts]:
    for data in verdict.completeness.agents:
        fin = books.fins.get(data.agent)
        error_ns = books.clock_errors_ns.get(data.agent)
        yield AgentFacts(
            id=data.agent,
            region=data.region,
            complete=data.is_complete,
            missing=data.text or None,
            missing_s=data.missing_s,
            planned=data.planned,
            unaccounted=data.missing,
            pid=pids.get(data.agent),
            clock_error_ms=None if error_ns is None else round(error_ns / NS_PER_MS, 3),
            start_skew_ms=None if fin is None else round(fin.started_at_ns / NS_PER_MS, 3),
        )
