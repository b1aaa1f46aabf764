"""Hypothesis strategies for every message, every field of it in its whole range."""

from __future__ import annotations

from hypothesis import strategies as st

from loadgen.errors import Fault
from loadgen.measure.deltas.delta import Counters, Delta, Health, SeriesStats, WorkerHealth
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.measure.objectives.steering_observation import Look, Part
from loadgen.profiles.stage import Stage
from loadgen.wire import messages as m

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
SEQ = st.integers(-1, 2**62)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MAYBE = st.none() | TEXT
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
VALUE = st.floats(0, 1e8, allow_nan=False)
BLOB = st.binary(max_size=200)

counters = st.builds(Counters, *[I64] * 12)
health = st.builds(
    Health, *[U64] * 8, cpu_share=FLOAT, rss_bytes=U64, unfit=st.tuples(TEXT), notes=st.tuples() | st.tuples(TEXT, TEXT)
)
keys = st.builds(
    SeriesKey,
    kind=st.sampled_from(["journey", "step", "request"]),
    journey=TEXT,
    step=MAYBE,
    request=MAYBE,
    outcome=TEXT,
    metric=st.sampled_from(["response", "service", "duration", "user_wait", "generator_lag"]),
    censored=st.booleans(),
    warmup=st.booleans(),
    tags=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
)
parts = st.builds(Part, U32, TEXT, U64, U64, st.lists(U64, max_size=12).map(tuple))
looks = st.builds(
    Look,
    FLOAT,
    FLOAT,
    FLOAT,
    U64,
    U64,
    U64,
    st.lists(parts, max_size=3).map(tuple),
    st.none() | FLOAT,
    U64,
    U64,
    st.lists(TEXT, max_size=2).map(tuple),
    U32,
    U32,
    st.booleans(),
)
stats = st.builds(SeriesStats, series=U32, n=U64, sum_ns=I64, min_ns=I64, max_ns=I64)


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    pairs = draw(st.integers(0, 50))
    return Delta(
        agent=draw(TEXT),
        epoch=draw(U64),
        seq=draw(U64),
        start_ns=draw(I64),
        end_ns=draw(I64),
        new_series=draw(st.lists(keys, max_size=3).map(tuple)),
        index=draw(st.binary(min_size=4 * pairs, max_size=4 * pairs)),
        count=draw(st.binary(min_size=4 * pairs, max_size=4 * pairs)),
        stats=draw(st.lists(stats, max_size=4).map(tuple)),
        counters=draw(counters),
        health=draw(health),
        run_id=draw(TEXT),
        workers=draw(st.lists(st.builds(WorkerHealth, U32, I64, health), max_size=2).map(tuple)),
        losses=draw(st.lists(st.builds(Loss, U32, U32, I64, I64, I64, I64, TEXT, TEXT), max_size=2).map(tuple)),
    )


BY_CLASS: dict[type, st.SearchStrategy[m.Message]] = {
    m.Hello: st.builds(m.Hello, TEXT, TEXT, U32, U32, I64, TEXT, U32, FLOAT, SEQ, TEXT),
    m.Welcome: st.builds(m.Welcome, U64, FLOAT, TEXT),
    m.Rejected: st.builds(m.Rejected, TEXT),
    m.Nack: st.builds(m.Nack, TEXT),
    m.ClockPing: st.builds(m.ClockPing, I64),
    m.ClockPong: st.builds(m.ClockPong, I64, I64),
    m.Prepare: st.builds(
        m.Prepare,
        run_id=TEXT,
        generation=U64,
        bundle_sha256=TEXT,
        bundle_bytes=U64,
        scenario=TEXT,
        plan=TEXT,
        overrides_json=BLOB,
        seed=I64,
        index=U32,
        weights=st.lists(FLOAT, max_size=5).map(tuple),
        interval_ns=U64,
        bundle_dir=TEXT,
        worker=U32,
        workers=U32,
        life=U32,
        digests=st.lists(TEXT, max_size=3).map(tuple),
        allow_json=BLOB,
        control_plane=st.lists(TEXT, max_size=2).map(tuple),
        signature=BLOB,
        statement=BLOB,
    ),
    m.BundleRequest: st.builds(m.BundleRequest, TEXT, U64),
    m.BundleChunk: st.builds(m.BundleChunk, TEXT, U64, BLOB),
    m.Ready: st.builds(m.Ready, TEXT, U64, TEXT, U64, TEXT),
    m.Refused: st.builds(
        m.Refused, TEXT, TEXT, st.lists(st.builds(Fault, TEXT, U32, TEXT, TEXT), max_size=3).map(tuple)
    ),
    m.SetUp: st.builds(m.SetUp, TEXT),
    m.SetUpDone: st.builds(m.SetUpDone, TEXT, BLOB, TEXT),
    m.StartAt: st.builds(m.StartAt, TEXT, I64, BLOB, I64),
    m.Adjust: st.builds(
        m.Adjust, TEXT, U32, U32, I64, st.lists(st.builds(Stage, VALUE, VALUE, U64), max_size=3).map(tuple)
    ),
    m.Reassign: st.builds(m.Reassign, TEXT, U32, U64, I64, st.lists(FLOAT, max_size=5).map(tuple)),
    m.Steer: st.builds(m.Steer, TEXT, U32, U32, U32, st.lists(looks, max_size=3).map(tuple)),
    m.Steered: st.builds(m.Steered, TEXT, U32, U32, st.none() | FLOAT, st.booleans(), TEXT, TEXT, BLOB),
    m.Heartbeat: st.builds(m.Heartbeat, TEXT, TEXT, SEQ, SEQ, TEXT, U32, I64),
    m.Delta: deltas(),
    m.Waiting: st.builds(
        m.Waiting, TEXT, U32, U32, st.lists(st.builds(m.WaitingAt, U32, TEXT, U64, U64, U64), max_size=3).map(tuple)
    ),
    m.ReleaseAt: st.builds(m.ReleaseAt, TEXT, U32, U32, U32, TEXT, U64, I64),
    m.Ack: st.builds(m.Ack, TEXT, U64, SEQ, I64),
    m.Stop: st.builds(m.Stop, TEXT, TEXT, st.booleans(), st.booleans()),
    m.Fin: st.builds(m.Fin, TEXT, U64, SEQ, counters, U64, I64, TEXT),
    m.TearDown: st.builds(m.TearDown, TEXT, BLOB),
    m.TornDown: st.builds(m.TornDown, TEXT, TEXT),
    m.Bye: st.builds(m.Bye, TEXT, st.booleans()),
}
messages = st.one_of(*BY_CLASS.values())
