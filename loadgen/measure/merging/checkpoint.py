"""All that was merged of a run up to a place in its log, in one file: a controller that is started anew goes on there.

Without it each delta of the log is merged again, 0.3 ms each. Derived, as `cells.py` is: where it is missing, damaged,
of another version, or says more than the log holds, the whole log is merged.

Not in it: windows but the last 5, of which some deltas may be still to come (who looks at each interval has looked at
those before), and each agent's newest exemplars, which are for who watches.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from loadgen.atomic_files import atomic_write
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import Health, WorkerHealth
from loadgen.measure.deltas.due_counts import DueState
from loadgen.measure.deltas.exemplar import ExemplarState
from loadgen.measure.deltas.generator_health import Fitness
from loadgen.measure.deltas.series import SeriesKey
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.measure.histograms.series_counts import Store, StoreState, joined
from loadgen.measure.merging.interval_sum import Sum
from loadgen.measure.merging.load_progress import LoadProgress
from loadgen.measure.merging.merge import Epoch, Merge
from loadgen.measure.merging.queries import Window
from loadgen.measure.run_folder.record_file import framed, pack, read_framed, unpack
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.secret_files import file_mode

__all__ = ["Checkpoint", "freeze", "read_checkpoint", "thaw", "write_checkpoint"]

_MAGIC: Final = b"lgcheck2"
_WINDOWS: Final = 5


class _Epoch(msgspec.Struct, frozen=True, array_like=True):
    agent: str
    epoch: int
    region: str
    next_seq: int
    recorded: int
    request_values: int
    spans: list[tuple[int, int]]
    counters: list[int]
    numbers: bytes
    loads: dict[int, LoadProgress]
    first_arrivals: list[tuple[int, int, int]]


class _Window(msgspec.Struct, frozen=True, array_like=True):
    k: int
    by_region: dict[str, list[int]]
    store: StoreState
    health: dict[str, Health]
    workers: dict[str, tuple[WorkerHealth, ...]]


class _State(msgspec.Struct, frozen=True, array_like=True):
    interval_ns: int
    names: list[tuple[str, SeriesKey]]
    store: StoreState
    by_region: dict[str, list[int]]
    epochs: list[_Epoch]
    fitness: dict[str, Fitness]
    worker_fitness: dict[str, dict[int, Fitness]]
    losses: list[tuple[str, int, Loss]]
    due: DueState
    custom: list[tuple[str, str, CustomStats]]
    exemplars: ExemplarState
    latest: int
    windows: list[_Window]


class Checkpoint(msgspec.Struct, frozen=True):
    """What a file holds.

    deltas_end, merged_end: offsets in deltas.log and merged.log up to which all is in it.
    state: of `freeze`. extra: the controller's own.
    """

    deltas_end: int
    merged_end: int
    state: bytes
    extra: bytes = b""
    version: str = version("loadgen")


def freeze(merge: Merge) -> bytes:
    """All that `thaw` needs. On the loop: 10 ms for 1,000 agents."""
    merge.close()
    names = merge._catalogue.names
    epochs = [
        _Epoch(
            one.agent,
            one.epoch,
            one.region,
            one.next_seq,
            one.recorded,
            one.request_values,
            one.spans,
            one._counters,
            one._numbers.tobytes(),
            one.loads,
            [(load, number, n) for (load, number), n in one.first_arrivals.items()],
        )
        for agent in merge._epochs.values()
        for one in agent.values()
    ]
    losses = [(agent, epoch, one) for agent, some in merge._losses.items() for (epoch, *_), one in some.items()]
    windows = merge.windows()[-_WINDOWS:]
    state = _State(
        merge.interval_ns,
        names,
        merge._stores[0].state(),
        merge._by_region,
        epochs,
        merge.fitness,
        merge.worker_fitness,
        losses,
        merge.due.state(),
        merge.custom.state(),
        merge.exemplars.state(),
        merge._latest,
        [
            _Window(one.k, one._by_region, joined(one._stores, np.uint32).state(), one.health, one.workers)
            for one in windows
        ],
    )
    return msgspec.msgpack.encode(state)


_decoder: Final = msgspec.msgpack.Decoder(_State)


def thaw(data: bytes) -> Merge:
    """The merge as it was.

    Raises:
        msgspec.MsgspecError: no state of ours.
    """
    state = _decoder.decode(data)
    merge = Merge(state.interval_ns)
    for region, key in state.names:
        merge._catalogue.number(region, key)
    merge._stores[0].take_state(state.store)
    merge._by_region = state.by_region
    for epoch in state.epochs:
        merge._epochs.setdefault(epoch.agent, {})[epoch.epoch] = _epoch(epoch)
    merge.fitness, merge.worker_fitness = state.fitness, state.worker_fitness
    for agent, number, loss in state.losses:
        merge._losses.setdefault(agent, {})[number, *loss.place] = loss
    merge.due.take_state(state.due)
    merge.custom.take_state(state.custom)
    merge.exemplars.take_state(state.exemplars)
    merge._latest = state.latest
    merge._oldest = min((one.k for one in state.windows), default=state.latest + 1)
    for one in state.windows:
        window = merge._windows[one.k] = Window(merge._catalogue, one.k, merge.interval_ns)
        shown = Sum(window.start_ns, window.end_ns, Store(np.uint32))
        shown.store.take_state(one.store)
        shown.values, shown.is_free = shown.store.total, True
        window.sums, window._stores = [shown], [shown.store]
        window._by_region, window.health, window.workers = one.by_region, one.health, one.workers
        window.revision = 1
    return merge


def _epoch(one: _Epoch) -> Epoch:
    made = Epoch(one.agent, one.epoch, one.region)
    made.next_seq, made.recorded, made.request_values = one.next_seq, one.recorded, one.request_values
    made.spans, made._counters = one.spans, one.counters
    made.loads = one.loads
    made.first_arrivals = {(load, number): n for load, number, n in one.first_arrivals}
    made._numbers = np.frombuffer(one.numbers, dtype=np.int64)
    return made


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """In the place of the one before it; not made durable, since it is derived and has a CRC.

    Raises:
        StorageError: it could not be.
    """
    data = pack(msgspec.msgpack.encode(checkpoint))
    try:
        atomic_write(path, _MAGIC + framed(data), file_mode(path.parent))
    except OSError as exc:
        raise storage_error(path, exc) from exc


def read_checkpoint(path: Path) -> Checkpoint | None:
    """None: there is none that can be used."""
    try:
        data = next(read_framed(path, _MAGIC), b"")
        found = msgspec.msgpack.decode(unpack(data), type=Checkpoint)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    return found if found.version == version("loadgen") else None
