"""A run taken up again from its folder, by a controller that was started anew.

Everything stands there: the order in manifest and bundle, the state in the events
(`replay.py`), the counts in the log. What an agent had acknowledged is in the log
by definition; what it had not, it still has and sends again. So nothing is asked
of anybody, and nothing is counted twice.

What cannot be taken up: a run that had not begun, loads that are steered, and
users that meet. Their state is not in the journal, or not worth it; such a run ends
when it is taken up, with all that was measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.allowlist import AllowList
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.dsl.plans.spec import Overrides, PlanSpec
from loadgen.errors import StorageError, UsageError, WireError
from loadgen.measure.deltas.exemplar import Failure
from loadgen.measure.merging.checkpoint import Checkpoint, read_checkpoint, thaw
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.measure.objectives.steering_observation import Look
from loadgen.measure.run_folder.rundir import RunDir, list_runs, storage_error
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_MS
from loadgen.wire import codec
from loadgen.wire.messages import Delta, Fin, Reassign
from loadgen_controller.core.adjustments import Adjustments, LoadChange
from loadgen_controller.core.event_replay import HAPPENED, replay
from loadgen_controller.core.lifecycle import Phase, Run
from loadgen_controller.core.order import Order
from loadgen_controller.core.registry import Member
from loadgen_controller.core.rendezvous import Release, RendezvousState, met_before
from loadgen_controller.core.run_record import RunRecord
from loadgen_controller.core.shares import Assignment
from loadgen_controller.core.steering import RateDecision, SteeredLoads

__all__ = [
    "Merged",
    "Restored",
    "boot_id",
    "clock_after",
    "forget_shared",
    "keep_shared",
    "merged",
    "restore",
    "row_of",
    "unfinished",
]

_SHARED: Final = "shared.json"
_LOOK: Final = 1_000
_MOST_BYTES: Final = 256 << 20
"""Of sums: a longer log without a checkpoint is read once more when the run is sealed, and its sums are not kept."""
YOUNG_S: Final = 1800.0
"""Agents keep what is not acknowledged for half an hour; what has stood still for longer is over."""


@dataclass(frozen=True, slots=True)
class Merged:
    merge: Merge
    failures: tuple[tuple[str, str, tuple[Failure, ...]], ...]
    """(agent, region, failures) of each delta that had some, in order; of those that the checkpoint has not."""
    merged_end: int = 0
    """Offset in merged.log up to which the checkpoint goes."""
    extra: bytes = b""
    """What the keeper was given as such; empty without a checkpoint."""


@dataclass(frozen=True, slots=True)
class Restored:
    """All that a conductor needs to go on but the counts, which take longer."""

    folder: RunDir
    order: Order
    run: Run
    books: RunRecord
    adjustments: Adjustments
    members: tuple[Member, ...]
    created_at: datetime
    started_at: datetime
    steered_loads: SteeredLoads
    """What was seen of steered loads, and decided."""
    meetings: RendezvousState
    """Who has met at rendez-vous."""
    by: str
    """Who started it."""
    away_s: float = 0.0
    """Since something was last written there."""
    checkpoint: Checkpoint | None = None

    def merged(self) -> Merged:
        """The checkpoint and the deltas that came after it, merged in their order; without one all of the log.

        Blocking, 0.1 to 0.3 ms a delta; changes nothing.

        Raises:
            StorageError: it cannot be read.
        """
        return merged(self.folder, self.books.assignment, self.order.spec.interval_ns, self.checkpoint)

    @property
    def hopeless(self) -> str:
        """Why it ends now that it is taken up; empty where it goes on."""
        if self.run.phase in (Phase.WAITING, Phase.PREPARING, Phase.SETTING_UP):
            return "the controller was started anew before the load had begun"
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


class _Manifest(msgspec.Struct, frozen=True):
    """Of manifest.json, what is needed."""

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
    """Folders of a fleet's runs that were not sealed and may be taken up, the oldest first."""
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
    """When something was last written there, Unix time; 0 where that cannot be told."""
    try:
        return max((path / name).stat().st_mtime for name in ("deltas.log", "events.jsonl"))
    except OSError:
        return 0.0


def boot_id() -> str:
    """Differs after each start of this machine, where the system tells."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def clock_after(paths: Iterable[Path]) -> Callable[[], int]:
    """The clock that these runs were on. It goes on by itself unless the machine was started anew."""
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
    """Read all but the counts, and hold the folder's lock. Blocking.

    Raises:
        StorageError: somebody conducts it, or the folder cannot be read.
        UsageError: it is over, or was made by another version.
    """
    if (path / "summary.json").exists():
        raise UsageError(f"run {path.name} is over", hint=f"loadgen runs show {path.name}")
    away_s = max(0.0, time.time() - _written_s(path))
    checkpoint = read_checkpoint(RunDir(path).checkpoint_path)
    folder = RunDir.open(path, writable=True, sound_to=0 if checkpoint is None else checkpoint.deltas_end)
    try:
        return replace(_restored(folder), away_s=away_s, checkpoint=checkpoint)
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
        raise UsageError(f"{folder.manifest_path} is of another version of loadgen: {error}") from error
    except OSError as error:
        raise StorageError(f"cannot read {folder.bundle_path}: {error.strerror}") from error
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
    books = RunRecord(folder.run_id, assignment=manifest.assignment)
    told = _Told(books, Adjustments.of(order.spec), SteeredLoads(order.spec, folder.run_id), run.t0_ns)
    for line in lines:
        told.take(line)
    told.end()
    books.adjustments = told.adjustments.made
    books.shared_json = _shared(folder)
    return Restored(
        folder=folder,
        order=order,
        run=run,
        books=books,
        adjustments=told.adjustments,
        members=told.members,
        created_at=manifest.created_at,
        started_at=told.started_at or manifest.created_at,
        steered_loads=told.steered_loads,
        meetings=told.meetings,
        by=manifest.by,
    )


def merged(folder: RunDir, assignment: Assignment | None, interval_ns: int, checkpoint: Checkpoint | None) -> Merged:
    """See `Restored.merged`."""
    merge, failures = Merge(interval_ns), list[tuple[str, str, tuple[Failure, ...]]]()
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
            if number % _LOOK == 0 and sum(one.store.size_bytes for one in merge.kept or ()) > _MOST_BYTES:
                merge.kept = None
    except (WireError, ValueError) as error:
        raise StorageError(f"{folder.log_path}: a record after {number} cannot be merged: {error}") from error
    if checkpoint is None:
        return Merged(merge, tuple(failures))
    return Merged(merge, tuple(failures), checkpoint.merged_end, checkpoint.extra)


def _deltas(records: Iterable[bytes], assignment: Assignment) -> Iterator[tuple[str, Delta]]:
    """With their regions. Raises WireError, ValueError."""
    for record in records:
        delta = codec.decode(record)
        if not isinstance(delta, Delta):
            raise WireError("it is no delta")
        yield assignment.region(delta.agent), delta


def _thawed(folder: RunDir, interval_ns: int, checkpoint: Checkpoint) -> Merge | None:
    """None: it says more than the log holds, or is not what it should be."""
    if checkpoint.deltas_end > folder.durable_end:
        return None
    try:
        merge = thaw(checkpoint.state)
    except msgspec.MsgspecError:
        return None
    merge.kept = []
    return merge if merge.interval_ns == interval_ns else None


def row_of(member: Member) -> dict[str, object]:
    """As an agent stands in the line `assigned`."""
    return {name: getattr(member, name) for name in _Agent.__struct_fields__}


def keep_shared(folder: RunDir, value: bytes) -> None:
    """What the plan's set-up returned: a tear-down needs it. It may be a secret, and is there while the run goes on."""
    if value != b"null":
        try:
            file = os.open(folder.path / _SHARED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(file, "wb") as out:
                out.write(value)
        except OSError as error:
            raise storage_error(folder.path / _SHARED, error) from error


def forget_shared(folder: RunDir) -> None:
    with suppress(OSError):
        (folder.path / _SHARED).unlink(missing_ok=True)


def _shared(folder: RunDir) -> bytes:
    """What the plan's set-up returned."""
    try:
        return (folder.path / _SHARED).read_bytes() or b"null"
    except OSError:
        return b"null"


class _Told:
    """What the other lines say: who took part, what they said at the end, and how the load was changed."""

    def __init__(
        self, books: RunRecord, adjustments: Adjustments, steered_loads: SteeredLoads, t0_ns: int | None
    ) -> None:
        self._record, self._t0_ns = books, t0_ns
        self.adjustments, self.steered_loads = adjustments, steered_loads
        self.meetings = RendezvousState()
        self.members: tuple[Member, ...] = ()
        self.started_at: datetime | None = None
        """T0 by the wall clock."""

    def take(self, line: Mapping[str, object]) -> None:
        try:
            self._take(line)
        except (msgspec.ValidationError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise StorageError(f"events.jsonl: a line {line.get('kind')!r} cannot be read: {error}") from error

    def _take(self, line: Mapping[str, Any]) -> None:
        books = self._record
        match line.get("kind"):
            case "assigned":
                agents = msgspec.convert(line["agents"], tuple[_Agent, ...])
                known = line.get("epochs") or {one.id: one.epoch for one in agents}
                for agent, epoch in msgspec.convert(known, dict[str, int]).items():
                    books.begin_epoch(agent, epoch)
                self.members = tuple(_member(one) for one in agents)
            case "fin":
                books.fins[str(line["agent"])] = msgspec.convert(line["fin"], Fin)
            case "clock":
                books.clock_errors_ns[str(line["agent"])] = msgspec.convert(line["error_ns"], int)
            case "wished":
                wish, at_ns = msgspec.convert(line["wish"], LoadChange), msgspec.convert(line["at_ns"], int)
                self.adjustments = self.adjustments.wished(wish, at_ns, books.run_id)
            case "replaced":
                stages = msgspec.convert(line["stages"], tuple[Stage, ...])
                self.adjustments = self.adjustments.replaced(
                    line["load"], stages, line["at_ns"], books.run_id, why=line["why"]
                )
            case "reassigned":
                shares = msgspec.convert(line["shares"], dict[str, float])
                self._reassigned(line["generation"], line["at_ns"], tuple(shares.values()))
            case "load ended":
                books.load_ended_ns = msgspec.convert(line["at_ns"], int)
            case "look":
                self.steered_loads.seen_before(
                    int(line["load"]), int(line["next_k"]), msgspec.convert(line["look"], Look)
                )
            case "steered":
                self.steered_loads.turned_before(
                    RateDecision(line["lane"], line["rate_per_s"], line["why"], line["looks"])
                )
            case "rendezvous":
                self.meetings = met_before(self.meetings, msgspec.convert(line["release"], Release))
            case kind if kind == HAPPENED:
                self._happened(line)

    def end(self) -> None:
        """The manifest is written at once, and events up to 0.1 s later: its newest shares may have no line."""
        assignment = self._record.assignment
        told = {one.generation for one in self.adjustments.told if isinstance(one, Reassign)}
        for change in () if assignment is None else assignment.changes:
            if change.generation not in told:
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
    )
