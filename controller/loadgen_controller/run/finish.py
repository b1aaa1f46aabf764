"""Seals a run at its end: writes verdict, summary and histogram log into its folder, as far as the disk permits."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from typing import Final

import msgspec

from loadgen.dsl.plans.spec import LaneSpec
from loadgen.engine.health.interpreter import this_build
from loadgen.errors import StorageError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.run_fitness import spans_text
from loadgen.measure.deltas.series_key import LEVEL_TAG
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.terms import SloResult
from loadgen.measure.results.hlog import write_hlog, write_hlog_of_cells
from loadgen.measure.results.level_figures import LevelFacts
from loadgen.measure.results.level_intervals import EndedByInterval
from loadgen.measure.results.summary import AgentFacts, RunFacts, build
from loadgen.measure.run_folder.rundir import MANIFEST_FORMAT, RunDir, utc_text
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.batches_of_run import recounted, recounted_cells
from loadgen.measure.statistics.objective_bins import needs_customs
from loadgen.measure.statistics.warmup import Cut
from loadgen.probes.journal import read_journal
from loadgen.probes.limits.judge import judge_all, keeps_of, not_read
from loadgen.probes.metrics_page.presets import WAITING
from loadgen.probes.metrics_page.settings import rows_of
from loadgen.probes.recorded import Recorded
from loadgen.profiles.levels import SETTLING, LevelSpan, held_spans
from loadgen.profiles.profile import UserProfile
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US, format_duration
from loadgen.wire import codec
from loadgen_controller.core.events import End, Reason
from loadgen_controller.core.lifecycle import Run
from loadgen_controller.core.load_change_messages import as_rows
from loadgen_controller.core.registry import Fleet
from loadgen_controller.core.run_request import Order
from loadgen_controller.core.run_state import RunRecord
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.iterations_due_by_plan import Basis
from loadgen_controller.judging.verdict import Facts, Verdict, judge
from loadgen_controller.run.checkpointer import Kept

__all__ = ["Sealed", "deltas_of", "facts_of", "manifest", "seal"]

_MOST_NAME: Final = 200
"""The longest name of a model: a server can list any text."""


class _FoundModel(msgspec.Struct):
    model: str = ""


class _Shared(msgspec.Struct):
    """The part of the set-up's result that is about the AI model (`ModelFacts.as_json`)."""

    llm: _FoundModel = msgspec.field(default_factory=_FoundModel)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A judged run: the facts, the verdict, and the content of summary.json."""

    facts: Facts
    verdict: Verdict
    summary: dict[str, object]


def manifest(
    order: Order, record: RunRecord, fleet: Fleet, created_at: datetime, *, boot: str = "", by: str = ""
) -> dict[str, object]:
    """Return the content of manifest.json: the order, its agents and shares.

    The manifest has secrets by name only, and no keys.
    boot: the id of this machine's boot. by: the operator that started the run.
    """
    agents = [
        {
            "id": m.id,
            "region": m.region,
            "epoch": m.epoch,
            "pid": m.pid,
            "host": m.host,
            "cpus": m.cpus,
            "instance_type": m.instance_type or None,
            "python": m.python or None,
            "workers": round(m.weight),
            "busy_wait_us": record.busy_waits_ns.get(m.id, 0) / NS_PER_US,
        }
        for m in fleet
        if m.id in record.epochs
    ]
    return {
        "format": MANIFEST_FORMAT,
        "run_id": record.run_id,
        "created_at": utc_text(created_at),
        "placement": order.placement,
        "scenario": order.scenario,
        "plan": order.plan,
        "agents_wanted": order.agents,
        "boot": boot,
        "by": by,
        "seed": order.seed,
        "clock": order.spec.http.get("clock", "loop"),
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
        "assignment": msgspec.to_builtins(record.assignment),
        "agents": agents,
        "versions": {
            "loadgen": version("loadgen"),
            "python": platform.python_version(),
            "python_build": str(this_build()),
        },
        "machine": {"system": platform.system(), "release": platform.release(), "arch": platform.machine()},
    }


def facts_of(run: Run, order: Order, record: RunRecord, bug: str = "", basis: Basis | None = None) -> Facts:
    """Return the facts about a run that the verdict needs besides the merged deltas.

    order: the order with the plan after all load changes. bug: an internal error that ended the run, or empty.
    """
    spec = order.spec
    load_ns = spec.duration_ns if record.load_ended_ns is None else record.load_ended_ns
    return Facts(
        ends=run.ends,
        objectives=spec.slos,
        profile=spec.profile,
        journeys=tuple(journey.name for journey in spec.journeys if journey.weight > 0),
        assignment=record.assignment,
        epochs=record.epochs,
        fins=record.fins,
        lost={agent: text for agent, text in record.lost.items() if agent in run.lost},
        has_started=run.t0_ns is not None,
        load_ns=load_ns,
        bug=bug,
        warmup_ns=spec.warmup_ns,
        first_ns=spec.lanes[0].after_ns if spec.lanes else 0,
        stays=tuple(bool(lane.stays) for lane in spec.lanes),
        left=dict(run.left),
        steered=tuple((row["verdict"], row["text"]) for row in record.steering if row["verdict"]),
        followed=tuple(one for lane in spec.lanes if lane.steering is not None for one in lane.steering.objectives),
        more_loads=tuple((lane.after_ns, lane.profile) for lane in spec.lanes[1:]),
        former=record.former,
        basis=basis,
        on_one_machine=order.placement == "embedded",
        needs_sure=spec.needs_sure,
    )


def deltas_of(folder: RunDir, assignment: Assignment) -> Iterator[tuple[str, Delta]]:
    """Yield the deltas in the log of a run folder, each with its region, in the order in which they were merged."""
    for data in folder.records():
        delta = codec.decode(data)
        if isinstance(delta, Delta):
            yield assignment.region(delta.agent), delta


def seal(
    folder: RunDir,
    facts: Facts,
    merge: Merge,
    order: Order,
    record: RunRecord,
    pids: Mapping[str, int],
    started_at: datetime,
    duration_s: float,
    kept: Kept | None = None,
) -> Sealed:
    """Judge the run and write its results into the folder. Blocking.

    A storage error becomes one more reason in the verdict.

    kept: the file with the cells of the run, if there is one. With it sealing takes seconds; without it, 0.15 to
        0.5 ms per delta.
    """
    batches, cut = _recounted(folder, facts, merge, order, kept)
    if cut is not None and batches is not None:
        facts, merge = replace(facts, warmup_ns=cut.cut_ns, warmup_found=cut.why), batches
    if batches is not None:
        facts = replace(facts, steady_ns=batches.start_ns)
    levels = _levels(folder, facts, order, kept)
    of_probes = _of_probes(folder, facts, merge, order)
    sealed = _sealed(facts, merge, batches, order, record, pids, started_at, duration_s, levels, of_probes)
    try:
        if facts.assignment is not None and facts.has_started:
            _write_hlog(folder, facts.assignment, started_at, kept)
        folder.event("facts", facts=facts)
        folder.event("verdict", result=sealed.verdict.result, exit_code=int(sealed.verdict.exit_code))
        # Last: a folder with a summary counts as a run that is over, and `recovery.unfinished` leaves it out.
        folder.seal(sealed.summary)
    except StorageError as error:
        if any(end.reason is Reason.STORAGE_FAILED for end in facts.ends):
            return sealed
        facts = replace(facts, ends=(*facts.ends, End(Reason.STORAGE_FAILED, error.message)))
        return seal(
            folder, facts, merge, order, record, pids, started_at, duration_s, kept
        )  # the summary is small and may still fit on the disk
    return sealed


def _write_hlog(folder: RunDir, assignment: Assignment, started_at: datetime, kept: Kept | None) -> None:
    if kept is not None:
        # If the file of sums cannot be read, the log of deltas below holds the same values.
        with suppress(StorageError):
            write_hlog_of_cells(folder.hlog_path, kept.cells(), started_at)
            return
    write_hlog(folder.hlog_path, deltas_of(folder, assignment), started_at)


def _recounted(
    folder: RunDir, facts: Facts, merge: Merge, order: Order, kept: Kept | None
) -> tuple[Batches | None, Cut | None]:
    """Merge the run again from its cells or its log, in batches of intervals, beginning after a detected warm-up.

    The batches give the confidence intervals. Returns (None, None) if nothing was measured, or if the log cannot be
    read; then figures have no intervals.
    """
    assignment, spec = facts.assignment, order.spec
    if assignment is None or not facts.has_started:
        return None, None
    # Cells do not have the custom metrics of each interval, which a detected warm-up would cut.
    cuts_customs = spec.warmup_is_found and any(one.of_kind is not None for one in spec.slos)
    if kept is not None and not cuts_customs:
        with suppress(StorageError):
            batches, cut = recounted_cells(
                merge,
                kept.cells,
                end_ns=facts.load_ns,
                interval_ns=spec.interval_ns,
                warmup_ns=spec.warmup_ns,
                is_found=spec.warmup_is_found,
                steady=spec.steady_ns,
                objectives=facts.objectives,
            )
            if needs_customs(facts.objectives) and batches.reads_customs:
                # If the log cannot be read, checks and rates have no interval; other objectives have one.
                with suppress(StorageError):
                    batches.add_customs(deltas_of(folder, assignment))
            return batches, cut
    try:
        return recounted(
            lambda: deltas_of(folder, assignment),
            end_ns=facts.load_ns,
            interval_ns=spec.interval_ns,
            warmup_ns=spec.warmup_ns,
            is_found=spec.warmup_is_found,
            steady=spec.steady_ns,
            objectives=facts.objectives,
        )
    except StorageError:
        return None, None


def _levels(folder: RunDir, facts: Facts, order: Order, kept: Kept | None) -> LevelFacts:
    """Return the levels of the run's load, and what ended in each interval; nothing for a run without levels.

    Cost: it reads the stored intervals once more.
    """
    lane = next((one for one in order.spec.lanes if one.levels), None)
    if lane is None or facts.assignment is None or not facts.has_started:
        return LevelFacts()
    texts = tuple(
        text for tag in order.spec.declared_tags if tag.name == LEVEL_TAG for text in tag.values if text != SETTLING
    )
    unit = "users" if isinstance(lane.profile, UserProfile) else "/s"
    ended = EndedByInterval(order.spec.interval_ns)
    try:
        if kept is not None:
            for cell in kept.cells():
                ended.add_cell(cell)
        else:
            for _, delta in deltas_of(folder, facts.assignment):
                ended.add(delta)
    except StorageError:
        return LevelFacts(texts, unit, objectives=facts.objectives)
    spans = held_spans(lane.level_spans, facts.load_ns)
    return LevelFacts(texts, unit, spans, ended, _queued(folder, order, spans), facts.objectives)


def _queued(folder: RunDir, order: Order, spans: Iterable[LevelSpan]) -> dict[str, tuple[float, int]]:
    """Return by level the mean number of requests that waited at the server, and its samples; {} without such a probe.

    Presets of AI servers have this gauge as `waiting`.
    """
    if not any(row.key == WAITING for probe in order.spec.probes for row in rows_of(probe)):
        return {}
    try:
        recorded = Recorded(read_journal(folder.path))
    except StorageError:
        return {}
    return {span.text: recorded.mean_between(WAITING, span.settled_ns, span.end_ns) for span in spans}


def _of_probes(folder: RunDir, facts: Facts, merge: Merge, order: Order) -> tuple[SloResult, ...]:
    """Return the results of the objectives on probes, from the journal of probes. Blocking."""
    objectives = order.spec.probe_slos
    if not objectives or not facts.has_started:
        return ()
    end_ns = facts.load_ns
    if end_ns is None:
        stops_ns = [stop_ns for agent in merge.agents() for epoch in merge.epochs(agent) for _, stop_ns in epoch.spans]
        end_ns = max(stops_ns, default=0)
    try:
        recorded = Recorded(read_journal(folder.path), keeps_of(objectives))
    except StorageError as error:
        return tuple(not_read(one, f"the samples cannot be read: {error.message}") for one in objectives)
    return judge_all(objectives, recorded, facts.warmup_ns, end_ns)


def _sealed(
    facts: Facts,
    merge: Merge,
    batches: Batches | None,
    order: Order,
    record: RunRecord,
    pids: Mapping[str, int],
    started_at: datetime,
    duration_s: float,
    levels: LevelFacts,
    of_probes: tuple[SloResult, ...],
) -> Sealed:
    verdict = judge(facts, merge, batches, of_probes)
    spec = order.spec
    run = RunFacts(
        run_id=record.run_id,
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
        stream_validity=verdict.streams,
        agents=tuple(_agents(verdict, record, pids)),
        load="; ".join(_load_text(lane) for lane in spec.lanes) or spec.load,
        is_open=spec.is_open,
        has_warmup=facts.warmup_ns > 0,
        warmup_s=facts.warmup_ns / NS_PER_S,
        warmup_found=facts.warmup_found,
        measured_s=None if facts.load_ns is None else max(0, facts.load_ns - facts.warmup_ns) / NS_PER_S,
        model=_model_of(order, record),
        metrics=spec.metrics,
        levels=levels,
        notes=(*record.notices, *spec.notes, *_coarse(merge)),
        extra={
            "missing_share": round(verdict.completeness.missing_share, 6),
            "adjustments": list(as_rows(record.adjustments)),
            "steering": record.steering,
            "outputs": record.outputs,
            "probes": record.probes,
        },
    )
    return Sealed(facts, verdict, build(run, merge, verdict.slos, batches))


def _model_of(order: Order, record: RunRecord) -> str:
    """Return the name of the plan's AI model: that of the plan, or else the one that the set-up found at the server."""
    llm = order.spec.llm
    if llm is None:
        return ""
    try:
        found = msgspec.json.decode(record.shared_json, type=_Shared).llm.model
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = ""
    return str(llm.get("model") or found)[:_MOST_NAME]


def _coarse(merge: Merge) -> Iterator[str]:
    """Yield a note for each agent that sent its measurements in longer intervals for some time."""
    for agent, fitness in sorted(merge.fitness.items()):
        if fitness.coarse_ns:
            yield (
                f"{agent}: reported {fitness.coarse_ns / NS_PER_S:.0f} s in longer intervals"
                f" ({spans_text(fitness.coarse_spans_ns)}): all counts are complete, only their times are less exact"
            )


def _load_text(lane: LaneSpec) -> str:
    """Return the text of a load, for example "spike: arrivals: hold 200/s for 1m, after 2m"."""
    name = f"{lane.name}: " if lane.name else ""
    return f"{name}{lane.load}" + (f", after {format_duration(lane.after_ns)}" if lane.after_ns else "")


def _agents(verdict: Verdict, record: RunRecord, pids: Mapping[str, int]) -> Iterator[AgentFacts]:
    for data in verdict.completeness.agents:
        fin = record.fins.get(data.agent)
        error_ns = record.clock_errors_ns.get(data.agent)
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
