"""Adds what the probes of databases and pools saw to the answer of `loadgen trace`, from the run's journal of probes.

It connects to nothing. Times of notes and points are on the clock of the controller, as T0 is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from loadgen.errors import StorageError
from loadgen.probes.journal import read_journal
from loadgen.probes.postgres.statements import StatementKey
from loadgen.probes.recorded import ProbeState, Recorded
from loadgen.report.run_as_dataframes import Run
from loadgen.report.why_slow.cause_file import CauseFile, NotRanked, Ranked
from loadgen.report.why_slow.database.locks import locks_of
from loadgen.report.why_slow.database.parts import AdvicePart, LockPart, PoolPart
from loadgen.report.why_slow.database.pools import pool_of
from loadgen.report.why_slow.database.slow_times import SlowTimes
from loadgen.report.why_slow.database.span_statements import below, calls_of
from loadgen.report.why_slow.database.statements import Change, Matched, ServerNotes, statement_of
from loadgen.report.why_slow.study import Told
from loadgen.traces.model import Path
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["DatabaseSide", "database_side", "database_side_of_run"]

_LOCKS_MOST = 10
_POOLS_MOST = 5


@dataclass(frozen=True, slots=True)
class DatabaseSide:
    """The answer with what the probes saw. statements: of the server, by probe, for the ranked paths in their order."""

    told: Told
    statements: Mapping[Path, Matched]

    def wanted(self) -> dict[str, list[StatementKey]]:
        """Return the statements that can get advice, by probe: for each path the one with the most time."""
        found: dict[str, list[StatementKey]] = {}
        for one in self.statements.values():
            if one.keys and one.keys[0] not in found.setdefault(one.part.probe, []):
                found[one.part.probe].append(one.keys[0])
        return {probe: keys for probe, keys in found.items() if keys}

    def with_advice(self, advice: Mapping[tuple[str, str], AdvicePart], notes: Sequence[str] = ()) -> Told:
        """Return the answer with advice, by probe and query id, and with more notes."""

        def changed(one: Ranked) -> Ranked:
            part = one.statement
            found = advice.get((part.probe, part.query_id)) if part is not None else None
            if part is None or found is None:
                return one
            return msgspec.structs.replace(one, statement=msgspec.structs.replace(part, advice=found))

        causes = _with_lines(self.told.causes, changed)
        return _told(self.told, msgspec.structs.replace(causes, notes=(*causes.notes, *notes)))


def database_side_of_run(told: Told, run: Run) -> DatabaseSide:
    """Return the answer with what the probes of a stored run saw. A journal that cannot be read becomes a note."""
    try:
        recorded = Recorded(read_journal(run.path))
    except StorageError as error:
        notes = (*told.causes.notes, f"the run's probes were not compared: {error}")
        return DatabaseSide(_told(told, msgspec.structs.replace(told.causes, notes=notes)), {})
    return database_side(told, recorded, _load_s(run), _agents_error_s(run))


def database_side(told: Told, recorded: Recorded, end_s: float, error_s: float = 0.0) -> DatabaseSide:
    """Return the answer with statements, locks and pools of the run's probes.

    recorded: the journal of the run's probes. end_s: the end of the load, from T0. error_s: by which the times of
    requests may be off, by the clocks of the agents. A comparison with another run has no slow times, so it gets
    statements only.
    """
    causes = told.causes
    servers, poolers = _servers(recorded, end_s), _of_kind(recorded, "pgbouncer")
    matched: dict[Path, Matched] = {}
    locks: list[LockPart] = []

    def changed(one: Ranked) -> Ranked:
        calls = calls_of(told.slow, one.path)
        if not calls:
            return _with_below(told, one)
        found = statement_of(calls, servers, _change(one, causes))
        if found is not None:
            matched[one.path] = found
        if not causes.against:
            times = SlowTimes((trace for trace in told.slow if _has(trace.paths, one.path)), error_s)
            for server in servers:
                same = found if found is not None and found.part.probe == server.name else None
                locks.extend(locks_of(one.path, calls, same, server, times))
        return one if found is None else msgspec.structs.replace(one, statement=found.part)

    changed_causes = _with_lines(causes, changed)
    pools: list[PoolPart] = []
    if not causes.against and causes.lines:
        times = SlowTimes(told.slow, error_s)
        for state in poolers:
            t0_ns = _t0_ns(recorded, state)
            part = pool_of(state.probe.name, state.points.points, t0_ns, t0_ns + round(end_s * NS_PER_S), times)
            pools += [part] if part is not None else []
    whole = msgspec.structs.replace(changed_causes, locks=tuple(locks[:_LOCKS_MOST]), pools=tuple(pools[:_POOLS_MOST]))
    return DatabaseSide(_told(told, whole), matched)


def _load_s(run: Run) -> float:
    """Return the end of the load, s from T0: the one that the verdict used, or else the end of the run."""
    for event in reversed(run.events):
        if event.get("kind") == "facts" and isinstance(found := (event.get("facts") or {}).get("load_ns"), int):
            return found / NS_PER_S
    return run.summary.duration_s if run.summary is not None else 0.0


def _agents_error_s(run: Run) -> float:
    """Return the largest error of the clock of an agent, s; 0 for agents on the controller's machine."""
    errors_ns = [event.get("error_ns") for event in run.events if event.get("kind") == "clock"]
    return max((one for one in errors_ns if isinstance(one, int) and one > 0), default=0) / NS_PER_S


def _with_below(told: Told, one: Ranked) -> Ranked:
    """Return a path with the database spans below it, if its own time before or between its children is longer."""
    if not one.kind.startswith("own time"):
        return one
    return msgspec.structs.replace(one, below=below(told.slow, told.fast, one.path, one.added_ns))


def _servers(recorded: Recorded, end_s: float) -> list[ServerNotes]:
    found = []
    for state in _of_kind(recorded, "postgres"):
        t0_ns = _t0_ns(recorded, state)
        found.append(ServerNotes(state.probe.name, state.notes, t0_ns, t0_ns + round(end_s * NS_PER_S)))
    return found


def _of_kind(recorded: Recorded, kind: str) -> list[ProbeState]:
    if recorded.t0_ns is None:
        return []
    return [state for state in recorded.probes.values() if state.probe.kind == kind]


def _t0_ns(recorded: Recorded, state: ProbeState) -> int:
    """Return T0 on the clock of a probe's records."""
    return state.t0_ns if state.t0_ns is not None else recorded.t0_ns or 0


def _change(one: Ranked, causes: CauseFile) -> Change:
    """Return what the traces say about a path: since when, and what all slow requests waited longer for it."""
    requests = causes.objective.requests
    waited_ms = None
    if requests and not causes.against:
        waited_ms = requests * causes.objective.share_over * max(0.0, one.added_ns) / NS_PER_MS
    return Change(one.since_s, one.since_error_s or 0.0, waited_ms)


def _has(paths: Mapping[Path, Any], path: Path) -> bool:
    time = paths.get(path)
    return time is not None and time.own_ns > 0


def _with_lines(causes: CauseFile, changed: Callable[[Ranked], Ranked]) -> CauseFile:
    """Return causes with each ranked path or candidate changed."""
    ranked, not_ranked = tuple(map(changed, causes.ranked)), causes.not_ranked
    if isinstance(not_ranked, NotRanked):
        candidates = tuple(map(changed, not_ranked.candidates))
        not_ranked = msgspec.structs.replace(not_ranked, candidates=candidates)
    return msgspec.structs.replace(causes, ranked=ranked, not_ranked=not_ranked)


def _told(told: Told, causes: CauseFile) -> Told:
    """Return the answer with other causes, also in its document. Keys that only the document has stay."""
    document = dict(told.document)
    document["ranked"] = _merged(document.get("ranked"), causes.ranked)
    if causes.not_ranked is not None and isinstance(found := document.get("not_ranked"), Mapping):
        candidates = _merged(found.get("candidates"), causes.not_ranked.candidates)
        document["not_ranked"] = {**found, "candidates": candidates}
    document |= {key: list(msgspec.to_builtins(getattr(causes, key))) for key in ("locks", "pools", "notes")}
    return replace(told, causes=causes, document=document)


def _merged(rows: object, lines: Sequence[Ranked]) -> list[dict[str, Any]]:
    before: list[Mapping[str, Any]] = rows if isinstance(rows, list) else [{}] * len(lines)
    return [
        {**row, **{key: msgspec.to_builtins(getattr(one, key)) for key in ("statement", "below")}}
        for row, one in zip(before, lines, strict=True)
    ]
