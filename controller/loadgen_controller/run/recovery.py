"""Recovery: a restarted controller restores an unfinished run from its folder and continues it.

The folder holds everything: the order in the manifest and the bundle, the state in the
events (`core/event_replay.py`), the counts in the log of deltas. Acknowledged deltas are
in the log by definition. Agents still have all others and send them again. So nothing is
lost and nothing is counted twice. The events also hold load changes, share changes, the
observations and decisions of steered loads, and the releases of rendez-vous.

A run whose load had not begun is restored too, but it ends at once (`Restored.hopeless`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.allowlist import AllowList
from loadgen.clients.grpc_schema.reflected import sets_in
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.dsl.plans.spec import Overrides, PlanSpec
from loadgen.errors import StorageError, UsageError, WireError
from loadgen.measure.deltas.exemplar import Failure
from loadgen.measure.merging.checkpoint import Checkpoint, read_checkpoint, thaw
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.measure.merging.stored_interval import cell_of, read_cells
from loadgen.measure.objectives.steering_observation import Look
from loadgen.measure.results.level_intervals import EndedByInterval
from loadgen.measure.run_folder.rundir import RunDir, list_runs, replace_file
from loadgen.profiles.stage import Stage
from loadgen.secret_files import make_subfolder
from loadgen.units import NS_PER_MS
from loadgen.wire import codec
from loadgen.wire.messages import Delta, Fin, Reassign
from loadgen_controller.core.event_replay import HAPPENED, replay
from loadgen_controller.core.lifecycle import Phase, Run
from loadgen_controller.core.load_change_messages import Adjustments, LoadChange
from loadgen_controller.core.registry import Member
from loadgen_controller.core.rendezvous import Release, RendezvousState, met_before
from loadgen_controller.core.run_request import Order
from loadgen_controller.core.run_state import RunRecord
from loadgen_controller.core.shares import Assignment
from loadgen_controller.core.steered_loads_state import RateDecision, SteeredLoads

__all__ = [
    "Merged",
    "Restored",
    "boot_id",
    "clock_after",
    "forget_shared",
    "keep_descriptors",
    "keep_shared",
    "merged",
    "restore",
    "row_of",
    "unfinished",
]

_SHARED: Final = "shared.json"
_LONGEST_NAME: Final = 150
_UNSAFE: Final = re.compile(r"[^\w.-]+")
_LOOK: Final = 1_000
"""The number of deltas between two checks of the memory for sums."""
_MOST_BYTES: Final = 256 << 20
"""The most memory for sums. If a long log without a checkpoint needs more, the sums are dropped, and the log is read
once more when the run is sealed."""
YOUNG_S: Final = 1800.0
"""Agents keep unacknowledged deltas for half an hour; a run without a write for longer is not continued."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The counts of a restored run."""

    merge: Merge
    failures: tuple[tuple[str, str, tuple[Failure, ...]], ...]
    """(agent, region, failures) of each delta with failures after the checkpoint, in order."""
    streams: tuple[tuple[str, Delta], ...] = ()
    """(region, delta) of each delta with kept streams after the checkpoint, without its other parts."""
    merged_end: int = 0
    """The offset in merged.log that belongs to the checkpoint; 0 without a checkpoint."""
    extra: bytes = b""
    """The additional state in the checkpoint (`Checkpointer.extra`); empty without a checkpoint."""

    def ended_by_interval(self, folder: RunDir) -> EndedByInterval:
        """Return what ended in each merged interval, from the file of sums and the sums that are not in it yet.

        The newest intervals are missing, because their sums are open. Sums that cannot be read are missing, too.
        Blocking, about 1 ms a stored interval.
        """
        merge, ended, named = self.merge, EndedByInterval(self.merge.interval_ns), 0
        with suppress(StorageError):
            for cell in read_cells(folder.merged_path, self.merged_end) if self.merged_end else ():
                ended.add_cell(cell)
                named += len(cell.names)
            for one in merge.kept or ():
                ended.add_cell(replace(cell_of(one), names=merge.names[named:]))
                named = len(merge.names)
        return ended


@dataclass(frozen=True, slots=True)
class Restored:
    """All that a conductor needs to continue a run, except the counts, which take longer to read (`merged`)."""

    folder: RunDir
    order: Order
    run: Run
    record: RunRecord
    adjustments: Adjustments
    members: tuple[Member, ...]
    created_at: datetime
    started_at: datetime
    steered_loads: SteeredLoads
    """The observations and decisions of steered loads."""
    rendezvous: RendezvousState
    """The released groups at rendez-vous."""
    by: str
    """The operator that started the run."""
    away_s: float = 0.0
    """The time since the last write to the folder, in seconds."""
    checkpoint: Checkpoint | None = None

    def merged(self) -> Merged:
        """Read the checkpoint and merge the deltas after it; without a checkpoint, merge the whole log.

        Blocking, 0.1 to 0.3 ms per delta. The folder is not changed.

        Raises:
            StorageError: the folder cannot be read.
        """
        return merged(self.folder, self.record.assignment, self.order.spec.interval_ns, self.checkpoint)

    @property
    def hopeless(self) -> str:
        """Return why the run must end instead of continuing; empty if it can continue.

        A run whose load had not begun ends: nothing was measured yet, so it is simpler to start it again.
        """
        if self.run.phase in (Phase.WAITING, Phase.PREPARING, Phase.SETTING_UP):
            return "the controller was restarted before the load had begun"
        return ""


class _Agent(msgspec.Struct, frozen=True):
    id: str
    region: str
    epoch: int
    process: str
    pid: int
    host: str
    cpus: int
    weight: float
    minor: int
    instance_type: str = ""
    python: str = ""


class _Manifest(msgspec.Struct, frozen=True):
    """The parts of manifest.json that recovery needs."""

    created_at: datetime
    placement: str
    scenario: str
    plan: str
    seed: int
    overrides: dict[str, Any]
    bundle: dict[str, Any]
    spec: PlanSpec
    assignment: Assignment | None
    agents_wanted: int = 0
    has_fuse: bool = True
    allowed: AllowList | None = None
    limits: Limits = Limits()
    boot: str = ""
    by: str = ""


def unfinished(runs_dir: Path, now: datetime | None = None) -> list[Path]:
    """Return the folders of unfinished fleet runs that a controller can continue, the oldest first.

    Runs without a write for half an hour are left out.
    """
    now = now or datetime.now(UTC)
    found = []
    for path in list_runs(runs_dir):
        if (path / "summary.json").exists():
            continue
        try:
            manifest = RunDir(path).read_manifest()
        except StorageError:
            continue
        if manifest.get("placement") == "fleet" and now.timestamp() - _written_s(path) < YOUNG_S:
            found.append(path)
    return sorted(found)


def _written_s(path: Path) -> float:
    """Return the time of the last write to a run folder, as Unix time; 0 if it is unknown."""
    try:
        return max((path / name).stat().st_mtime for name in ("deltas.log", "events.jsonl"))
    except OSError:
        return 0.0


def boot_id() -> str:
    """Return an id that changes with each boot of this machine; empty if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def clock_after(paths: Iterable[Path]) -> Callable[[], int]:
    """Return a clock in ns that continues the clock of these runs.

    The monotonic clock of the system itself continues, unless the machine was rebooted. After a reboot, the returned
    clock adds an offset, which is estimated from the wall clock.
    """
    for path in paths:
        try:
            manifest = RunDir(path).read_manifest()
            *_, last = RunDir(path).read_events()
            at, mono_ns = datetime.fromisoformat(str(last["at"])), int(str(last["mono_ns"]))
        except (StorageError, ValueError, KeyError):
            continue
        if manifest.get("boot") == boot_id():
            return time.perf_counter_ns
        away_ns = max(0, round((datetime.now(UTC) - at).total_seconds() * 1e3)) * NS_PER_MS
        ahead_ns = mono_ns + away_ns - time.perf_counter_ns()
        return lambda: time.perf_counter_ns() + ahead_ns
    return time.perf_counter_ns


def restore(path: Path) -> Restored:
    """Restore a run from its folder, except its counts, and take the folder's lock. Blocking.

    Raises:
        StorageError: another process has the lock, or the folder cannot be read.
        UsageError: the run is over, or another version of loadgen wrote the folder.
    """
    if (path / "summary.json").exists():
        raise UsageError(f"run {path.name} is over", hint=f"see its result with: loadgen runs show {path.name}")
    away_s = max(0.0, time.time() - _written_s(path))
    checkpoint = read_checkpoint(RunDir(path).checkpoint_path)
    folder = RunDir.open(path, writable=True, sound_to=0 if checkpoint is None else checkpoint.deltas_end)
    try:
        return replace(_restored(folder), away_s=away_s, checkpoint=checkpoint)
    # Whatever happened, also a Ctrl-C: the lock of the folder must not stay.
    except BaseException:
        folder.close()
        raise


def _restored(folder: RunDir) -> Restored:
    try:
        manifest = msgspec.convert(folder.read_manifest(), _Manifest)
        overrides = msgspec.convert(manifest.overrides, Overrides)
        signature = bytes.fromhex(str(manifest.bundle.get("signature", "")))
        bundle = folder.bundle_path.read_bytes()
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(
            f"{folder.manifest_path} does not fit this version of loadgen: {error}",
            hint="continue the run with the version of loadgen that started it",
        ) from error
    except OSError as error:
        raise StorageError(
            f"cannot read {folder.bundle_path}: {error.strerror}", hint="check the path and its permissions"
        ) from error
    lines = list(folder.read_events())
    run = replay(lines)
    order = Order(
        spec=manifest.spec,
        bundle=bundle,
        bundle_sha256=str(manifest.bundle.get("sha256")),
        scenario=manifest.scenario,
        plan=manifest.plan,
        seed=manifest.seed,
        agents=manifest.agents_wanted or run.terms.agents,
        placement="fleet",
        signature=signature,
        statement=str(manifest.bundle.get("statement", "")).encode(),
        has_fuse=manifest.has_fuse,
        aborts_on_loss=run.terms.aborts_on_loss,
        allow=manifest.allowed,
        limits=manifest.limits,
        overrides_json=overrides.to_json(),
    )
    record = RunRecord(folder.run_id, assignment=manifest.assignment)
    state = _RestoredState(record, Adjustments.of(order.spec), SteeredLoads(order.spec, folder.run_id), run.t0_ns)
    for line in lines:
        state.apply(line)
    state.end()
    record.adjustments = state.adjustments.made
    record.shared_json = _shared(folder)
    return Restored(
        folder=folder,
        order=order,
        run=run,
        record=record,
        adjustments=state.adjustments,
        members=state.members,
        created_at=manifest.created_at,
        started_at=state.started_at or manifest.created_at,
        steered_loads=state.steered_loads,
        rendezvous=state.rendezvous,
        by=manifest.by,
    )


def merged(folder: RunDir, assignment: Assignment | None, interval_ns: int, checkpoint: Checkpoint | None) -> Merged:
    """Merge the deltas of a run folder; see `Restored.merged`."""
    merge, failures = Merge(interval_ns), list[tuple[str, str, tuple[Failure, ...]]]()
    streams = list[tuple[str, Delta]]()
    merge.kept = []
    if assignment is None:
        return Merged(merge, ())
    records = folder.records()
    if checkpoint is not None and (thawed := _thawed(folder, interval_ns, checkpoint)) is not None:
        merge, records = thawed, folder.records(checkpoint.deltas_end)
    else:
        checkpoint = None
    number = -1
    try:
        for number, (region, delta, accepted) in enumerate(merge.accept_each(_deltas(records, assignment))):
            if accepted is Accepted.MERGED and delta.failures:
                failures.append((delta.agent, region, delta.failures))
            if accepted is Accepted.MERGED and (delta.streams or delta.streams_left_out):
                streams.append((region, _streams_of(delta)))
            if number % _LOOK == 0 and sum(one.store.size_bytes for one in merge.kept or ()) > _MOST_BYTES:
                merge.kept = None
    except (WireError, ValueError) as error:
        raise StorageError(
            f"{folder.log_path}: invalid record after record {number}: {error}",
            hint="this run cannot be continued; start it again",
        ) from error
    if checkpoint is None:
        return Merged(merge, tuple(failures), tuple(streams))
    return Merged(merge, tuple(failures), tuple(streams), checkpoint.merged_end, checkpoint.extra)


def _streams_of(delta: Delta) -> Delta:
    """Return the kept streams of a delta, in a delta without its other parts."""
    return Delta(
        agent=delta.agent,
        epoch=delta.epoch,
        seq=delta.seq,
        start_ns=delta.start_ns,
        end_ns=delta.end_ns,
        streams=delta.streams,
        streams_left_out=delta.streams_left_out,
    )


def _deltas(records: Iterable[bytes], assignment: Assignment) -> Iterator[tuple[str, Delta]]:
    """Decode the records of the log, each with its region. Raises WireError or ValueError for an invalid record."""
    for record in records:
        delta = codec.decode(record)
        if not isinstance(delta, Delta):
            raise WireError("the record is not a delta", hint="the log is damaged: start the run again")
        yield assignment.region(delta.agent), delta


def _thawed(folder: RunDir, interval_ns: int, checkpoint: Checkpoint) -> Merge | None:
    """Return the merge that is stored in the checkpoint; None if the checkpoint is invalid or goes beyond the log."""
    # Such a state counts deltas that the log no longer has, and the log decides.
    if checkpoint.deltas_end > folder.durable_end:
        return None
    try:
        merge = thaw(checkpoint.state)
    except msgspec.MsgspecError:
        return None
    merge.kept = []
    return merge if merge.interval_ns == interval_ns else None


def row_of(member: Member) -> dict[str, object]:
    """Return the fields of a registered agent that are written into the line `assigned` of events.jsonl."""
    return {name: getattr(member, name) for name in _Agent.__struct_fields__}


def keep_shared(folder: RunDir, value: bytes) -> None:
    """Store the value that the plan's set-up returned, which the tear-down needs after a restart.

    The value may be a secret, so the file is private and exists only while the run goes on (`forget_shared`).
    """
    if value != b"null":
        replace_file(folder.path / _SHARED, value, 0o600)


def keep_descriptors(folder: RunDir, value: bytes) -> None:
    """Store the gRPC services that the plan's set-up reflected, as descriptor sets: `descriptors/shop.v1.Cart.binpb`.

    value: as in `keep_shared`. It comes from an agent, so names are cleaned, and `sets_in` limits number and size.
    """
    try:
        found = sets_in(msgspec.json.decode(value))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    place = folder.path / "descriptors"
    for target, service, data in found:
        make_subfolder(place)
        name = _UNSAFE.sub("_", f"{target} {service}".strip())[:_LONGEST_NAME].lstrip(".")
        replace_file(place / f"{name}.binpb", data)


def forget_shared(folder: RunDir) -> None:
    """Delete the file of `keep_shared`."""
    with suppress(OSError):
        (folder.path / _SHARED).unlink(missing_ok=True)


def _shared(folder: RunDir) -> bytes:
    try:
        return (folder.path / _SHARED).read_bytes() or b"null"
    except OSError:
        return b"null"


class _RestoredState:
    """The state from lines other than the run's events: members, Fins, load changes, steering, rendez-vous."""

    def __init__(
        self, record: RunRecord, adjustments: Adjustments, steered_loads: SteeredLoads, t0_ns: int | None
    ) -> None:
        self._record, self._t0_ns = record, t0_ns
        self.adjustments, self.steered_loads = adjustments, steered_loads
        self.rendezvous = RendezvousState()
        self.members: tuple[Member, ...] = ()
        self.started_at: datetime | None = None
        """T0 by the wall clock."""

    def apply(self, line: Mapping[str, object]) -> None:
        """Add one line of events.jsonl to the restored state. Raises StorageError if the line is invalid."""
        try:
            self._apply(line)
        except (msgspec.ValidationError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise StorageError(
                f"events.jsonl: invalid line {line.get('kind')!r}: {error}",
                hint="continue the run with the version of loadgen that started it",
            ) from error

    def _apply(self, line: Mapping[str, Any]) -> None:
        record = self._record
        match line.get("kind"):
            case "assigned":
                agents = msgspec.convert(line["agents"], tuple[_Agent, ...])
                known = line.get("epochs") or {one.id: one.epoch for one in agents}
                for agent, epoch in msgspec.convert(known, dict[str, int]).items():
                    record.begin_epoch(agent, epoch)
                self.members = tuple(_member(one) for one in agents)
            case "fin":
                record.fins[str(line["agent"])] = msgspec.convert(line["fin"], Fin)
            case "clock":
                record.clock_errors_ns[str(line["agent"])] = msgspec.convert(line["error_ns"], int)
            case "busy wait":
                record.busy_waits_ns[str(line["agent"])] = msgspec.convert(line["longest_ns"], int)
            case "wished":
                change, at_ns = msgspec.convert(line["wish"], LoadChange), msgspec.convert(line["at_ns"], int)
                self.adjustments = self.adjustments.requested(change, at_ns, record.run_id)
            case "replaced":
                stages = msgspec.convert(line["stages"], tuple[Stage, ...])
                self.adjustments = self.adjustments.replaced(
                    line["load"], stages, line["at_ns"], record.run_id, why=line["why"]
                )
            case "reassigned":
                shares = msgspec.convert(line["shares"], dict[str, float])
                # In the order of `Assignment.agents`, in which the line was written: JSON objects keep their order.
                self._reassigned(line["generation"], line["at_ns"], tuple(shares.values()))
            case "load ended":
                record.load_ended_ns = msgspec.convert(line["at_ns"], int)
            case "look":
                self.steered_loads.seen_before(
                    int(line["load"]), int(line["next_k"]), msgspec.convert(line["look"], Look)
                )
            case "steered":
                self.steered_loads.turned_before(
                    RateDecision(line["lane"], line["rate_per_s"], line["why"], line["looks"])
                )
            case "rendezvous":
                self.rendezvous = met_before(self.rendezvous, msgspec.convert(line["release"], Release))
            case kind if kind == HAPPENED:
                self._happened(line)

    def end(self) -> None:
        """Add those share changes of the manifest that have no line in events.jsonl.

        The manifest is written at once, events up to 0.1 s later.
        """
        assignment = self._record.assignment
        recorded = {one.generation for one in self.adjustments.told if isinstance(one, Reassign)}
        for change in () if assignment is None else assignment.changes:
            if change.generation not in recorded:
                self._reassigned(change.generation, change.at_ns, change.weights)

    def _reassigned(self, generation: int, at_ns: int, weights: tuple[float, ...]) -> None:
        self.adjustments = self.adjustments.reassigned(generation, at_ns, weights, self._record.run_id)

    def _happened(self, line: Mapping[str, Any]) -> None:
        event, lost = line.get("event") or {}, self._record.lost
        if self.started_at is None and self._t0_ns is not None and line["now_ns"] >= self._t0_ns:
            since_t0 = timedelta(microseconds=(line["now_ns"] - self._t0_ns) / 1_000)
            self.started_at = datetime.fromisoformat(line["at"]) - since_t0
        match line.get("name"):
            case "AgentLost" | "AgentRefused":
                lost[event["agent"]] = event["text"]
            case "AgentReturned":
                lost.pop(event["agent"], None)


def _member(one: _Agent) -> Member:
    return Member(
        id=one.id,
        # The events have only a hash of the secret identity (`process`). `Fleet.hello` compares it when the agent
        # registers again, and `Fleet.restore` sets `heard_ns`.
        identity=b"",
        region=one.region,
        epoch=one.epoch,
        pid=one.pid,
        host=one.host,
        cpus=one.cpus,
        weight=one.weight,
        heard_ns=0,
        minor=one.minor,
        process=one.process,
        instance_type=one.instance_type,
        python=one.python,
    )
