"""Limits on what an agent may send: on each text, number and value; and a sound agent cuts what is too long."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from msgspec import structs

from loadgen.errors import Fault, LimitExceeded, WireError
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import Counters, Delta, Health, WorkerHealth
from loadgen.measure.deltas.exemplar import Exemplar, Failure, check_exemplars
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.sampled_sums import SampledSums
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.wire import messages as m
from loadgen.wire.check_limits import check_message, check_shape, text_limit
from loadgen.wire.codec import decode, encode
from loadgen.wire.v1 import wire_pb2 as pb
from tests.support.insider import envelope
from tests.support.kept_streams import kept

DELTA = Delta("a", 1, 0, 0, 1_000_000_000, run_id="run")
KEY = SeriesKey("request", "shop", "pay", "GET /", "ok", "response", tags=(("load", "spike"),))
TRACED = Exemplar(
    *("shop", "pay", "POST /pay", "ok", "over", 1, 7, 5, 900, 800),
    trace="a" * 32,
    span="b" * 16,
    sampled=True,
    stands_for=12.5,
    status=201,
    first_byte_ns=700,
    phases=(1, 2, 3, 4, 5, 6, 7),
    reused=True,
    pool_limited=True,
    unfit=True,
    remote="10.0.0.7:443",
    tags=(("load", "peak"),),
    active_loads=(0, 1),
    requests=(f"{'a' * 32}-{'b' * 16}",),
)
SAID: list[m.Message] = [
    m.Hello("a", "eu", 1, 3, 1, "here", 2),
    m.ClockPing(1),
    m.BundleRequest("ab", 0),
    m.Ready("run", 1, "ab"),
    m.Refused("run", "no", (Fault("shop.py", 3, "wrong", "do this"),)),
    m.SetUpDone("run", b"{}"),
    m.Heartbeat("run", "running", note="n"),
    m.Waiting("run", points=(m.WaitingAt(0, "sale", 10, 3, 1),)),
    m.Steered("run", 0, 1, 5.0, why="why"),
    m.Fin("run", 1, 3, Counters(bytes_received=1 << 60)),
    m.TornDown("run"),
    replace(DELTA, new_series=(KEY,)),
    replace(DELTA, health=Health(unfit=("slow",), notes=("note",))),
    replace(DELTA, due=(DueCounts(0, "shop", 0, good=1),)),
    replace(DELTA, custom=(CustomStats("left", "gauge", 1, 0, 1.0, 2.0, 1.0),)),
    replace(DELTA, exemplars=(Exemplar("shop", "", "GET /", "ok", "slowest", 0, 1, 1, 1),)),
    replace(DELTA, exemplars=(TRACED,)),
    replace(DELTA, failures=(Failure("shop", "", "GET /", "http 500", 0, 1, 1, 1, detail="d" * 2_000),)),
    replace(DELTA, streams=(kept(),), streams_left_out=1),
    replace(DELTA, new_series=(KEY,), sampled=(SampledSums(0, 1, 5, 99, 700),)),
    replace(DELTA, workers=(WorkerHealth(0, 1, Health(notes=("note",))),)),
    replace(DELTA, losses=(Loss(0, 1, 1, 1, -1, 0, "killed"),)),
]


def texts_of(value: Any, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Where the texts of a message are."""
    if isinstance(value, str):
        return [path]
    if isinstance(value, tuple):
        return [found for at, part in enumerate(value) for found in texts_of(part, (*path, at))]
    names = [f.name for f in fields(value)] if is_dataclass(value) else getattr(value, "__struct_fields__", ())
    return [found for name in names for found in texts_of(getattr(value, name), (*path, name))]


def with_text(value: Any, path: tuple[object, ...], text: str) -> Any:
    if not path:
        return text
    head, rest = path[0], path[1:]
    if isinstance(head, int):
        return (*value[:head], with_text(value[head], rest, text), *value[head + 1 :])
    assert isinstance(head, str)
    if is_dataclass(value):
        return replace(value, **{head: with_text(getattr(value, head), rest, text)})  # type: ignore[type-var]
    changed = {name: getattr(value, name) for name in value.__struct_fields__}
    return type(value)(**changed | {head: with_text(changed[head], rest, text)})


ENUMS = {("new_series", 0, "kind"), ("new_series", 0, "metric"), ("exemplars", 0, "why"), ("exemplars", 0, "trace")}
ENUMS |= {("streams", 0, "why"), ("streams", 0, "clock")}
"""No texts on the wire, or held to a few words elsewhere."""
TEXTS = [(message, path) for message in SAID for path in texts_of(message) if path not in ENUMS]
NOT_CUT = {"agent", "run_id", "new_series"}
"""Of a delta: the controller gave out the names, and a name of a series is cut where it gets its number."""


def test_what_sound_agents_send_is_within_the_limits() -> None:
    assert {type(message) for message in SAID} == m.FROM_AGENTS
    for message in SAID:
        check_message(message)
        assert decode(encode(message), from_agent=True) == decode(encode(message))


def test_an_exemplar_arrives_with_all_it_has() -> None:
    delta = decode(encode(replace(DELTA, exemplars=(TRACED,))))
    assert isinstance(delta, Delta)
    assert delta.exemplars == (TRACED,)


def _checked(one: Exemplar) -> None:
    check_message(replace(DELTA, exemplars=(one,)))
    check_exemplars("delta", (one,), ())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("phases", (1,) * 8),
        ("tags", (("t", "v"),) * 21),
        ("active_loads", tuple(range(1_001))),
        ("requests", ("x",) * 51),
    ],
)
def test_the_lists_of_an_exemplar_have_a_limit(field: str, value: tuple[object, ...]) -> None:
    huge = structs.replace(TRACED, **{field: value})
    with pytest.raises(WireError):
        _checked(huge)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stands_for", float("nan")),
        ("stands_for", float("inf")),
        ("stands_for", -1.0),
        ("phases", (-1,)),
        ("why", "any"),
    ],
)
def test_an_impossible_exemplar_is_refused(field: str, value: object) -> None:
    with pytest.raises(WireError):
        check_exemplars("delta", (structs.replace(TRACED, **{field: value}),), ())
    check_exemplars("delta", (TRACED,), ())


@pytest.mark.parametrize(
    ("message", "path"), TEXTS, ids=[f"{type(one).__name__}.{'.'.join(map(str, path))}" for one, path in TEXTS]
)
def test_every_text_has_a_limit_on_both_sides(message: m.Message, path: tuple[object, ...]) -> None:
    huge = with_text(message, path, "x" * 200_000)
    with pytest.raises(LimitExceeded, match=r"bytes long: the limit is [\d,]+$"):
        check_message(huge)
    if isinstance(message, Delta) and (path[0] in NOT_CUT or path[-1] == "kind"):
        with pytest.raises(LimitExceeded):
            decode(encode(huge), from_agent=True)
    else:
        assert decode(encode(huge), from_agent=True)  # cut, with a mark


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (replace(DELTA, new_series=(KEY,) * 20_001), r"Delta.new_series is 20,001 entries long: the limit is 20,000"),
        (replace(DELTA, new_series=(replace(KEY, tags=(("a", "b"),) * 21),)), "SeriesKey.tags is 21 entries long"),
        (replace(DELTA, custom=(CustomStats("a", "counter"),) * 9_001), "Delta.custom is 9,001 entries long"),
        (replace(DELTA, due=(DueCounts(0, "", 0),) * 20_001), "Delta.due is 20,001 entries long"),
        (replace(DELTA, losses=(Loss(0, 1, 1, 1, -1, 0, ""),) * 1_001), "Delta.losses is 1,001 entries long"),
        (replace(DELTA, losses=(Loss(0, 1_025, 1, 1, -1, 0, ""),)), "Loss.workers is 1,025: the limit is 1,024"),
        (replace(DELTA, workers=(WorkerHealth(1_024),)), "WorkerHealth.worker is 1024: the limit is 1,023"),
        (replace(DELTA, sampled=(SampledSums(0, 1, 1, 1, 1),) * 20_001), "Delta.sampled is 20,001 entries long"),
        (replace(DELTA, streams=(kept(),) * 501), r"Delta\.streams is 501 entries long: the limit is 500"),
        (replace(DELTA, streams=(kept(gaps_ns=(1,) * 20_001),)), r"KeptStream\.gaps_ns is 20,001 entries long"),
        (replace(DELTA, streams=(kept(kinds="2" * 20_001),)), r"KeptStream\.kinds is 20,001 bytes long"),
        (replace(DELTA, workers=(WorkerHealth(0),) * 1_025), "Delta.workers is 1,025 entries long"),
        (replace(DELTA, health=Health(notes=("",) * 101)), "Health.notes is 101 entries long: the limit is 100"),
        (replace(DELTA, health=Health(unfit=("",) * 101)), "Health.unfit is 101 entries long: the limit is 100"),
        (replace(DELTA, index=bytes(2_000_004)), "Delta.index is 2,000,004 bytes long: the limit is 2,000,000"),
        (replace(DELTA, counters=Counters(bytes_received=1 << 51)), "Delta.bytes_received is 2,251,799,813,685,248"),
        (replace(DELTA, counters=Counters(script_faults=1 << 41)), "Delta.script_faults is 2,199,023,255,552"),
        (replace(DELTA, custom=(CustomStats("a", "counter", 1, 1 << 53),)), "CustomStats.total is"),
        (replace(DELTA, custom=(CustomStats("a", "counter", 1 << 41),)), "CustomStats.n is"),
        (replace(DELTA, custom=(CustomStats("a", "gauge", 1, last=-1e301),)), "CustomStats.last is -1e"),
        (m.Steered("run", 0, 1, -1.0), "Steered.rate_per_s is -1: the limit is 0 to 1e"),
        (m.Steered("run", 0, 1, finding_json=bytes(65_537)), "Steered.finding_json is 65,537 bytes long"),
        (m.Refused("run", "", (Fault("", 0, ""),) * 101), "Refused.faults is 101 entries long: the limit is 100"),
        (m.Waiting("run", points=(m.WaitingAt(0, "", 1, 0, 0),) * 51), "Waiting.points is 51 entries long"),
        (m.SetUpDone("run", bytes((4 << 20) + 1)), "SetUpDone.value_json is 4,194,305 bytes long"),
    ],
)
def test_numbers_of_things_and_values_have_limits(message: m.Message, words: str) -> None:
    with pytest.raises(LimitExceeded, match=words):
        check_message(message)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (pb.TYPE_HELLO, lambda value: pb.Hello(agent="a", weight=value)),
        (pb.TYPE_STEERED, lambda value: pb.Steered(rate_per_s=value)),
        (pb.TYPE_DELTA, lambda value: pb.Delta(health=pb.Health(cpu_share=value))),
        (pb.TYPE_DELTA, lambda value: pb.Delta(health=pb.Health(steal_share=value))),
        (pb.TYPE_DELTA, lambda value: pb.Delta(custom=[pb.CustomStats(low=value)])),
        (pb.TYPE_DELTA, lambda value: pb.Delta(custom=[pb.CustomStats(high=value)])),
        (pb.TYPE_DELTA, lambda value: pb.Delta(custom=[pb.CustomStats(last=value)])),
        (pb.TYPE_DELTA, lambda value: pb.Delta(workers=[pb.WorkerHealth(health=pb.Health(cpu_share=value))])),
    ],
)
def test_a_number_that_is_not_finite_is_beyond_every_limit(kind: pb.Type, made: Any, value: float) -> None:
    with pytest.raises(LimitExceeded, match="the limit is a finite number"):
        decode(envelope(kind, made(value).SerializeToString()), from_agent=True)


def test_what_a_large_message_holds_is_counted_before_it_is_parsed() -> None:
    empty = pb.Delta(due=[pb.DueCounts()] * 20_000).SerializeToString()
    check_shape(empty, pb.Delta.DESCRIPTOR)
    with pytest.raises(LimitExceeded, match=r"Delta\.due is more than 20,000 entries long"):
        check_shape(empty + b"\xb2\x01\x00", pb.Delta.DESCRIPTOR)
    with pytest.raises(LimitExceeded, match=r"Delta\.stats_n is more than 20,000 entries long"):
        check_shape(pb.Delta(stats_n=[1] * 20_001).SerializeToString(), pb.Delta.DESCRIPTOR)
    long = pb.KeptStream(gaps_ns=[1] * 20_001)
    with pytest.raises(LimitExceeded, match=r"KeptStream\.gaps_ns is more than 20,000 entries long"):
        check_shape(pb.Delta(streams=[long]).SerializeToString(), pb.Delta.DESCRIPTOR)
    check_shape(pb.Delta(stats_n=[1 << 63] * 20_000).SerializeToString(), pb.Delta.DESCRIPTOR)


def test_a_part_that_comes_again_and_again_is_counted_each_time() -> None:
    """Protobuf merges them: 2 bytes each, and no field is long."""
    with pytest.raises(LimitExceeded, match="more than 400,000 fields long"):
        check_shape(b"\x7a\x00" * 400_001, pb.Delta.DESCRIPTOR)


@pytest.mark.parametrize("data", [b"\x7a", b"\x7a\x05", b"\x0a\xff\xff", b"\x83", b"\x0b\x00", b"\x80" * 11])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        check_shape(data, pb.Delta.DESCRIPTOR)


def test_texts_of_a_controller_are_not_cut() -> None:
    prepare = m.Prepare("run", 1, "ab", 1, "a/" * 500 + "shop.py", "", b"", 1, 0, (1.0,), 1)
    assert decode(encode(prepare)) == prepare
    assert text_limit("Prepare", "scenario") is None


def test_a_note_too_many_says_how_many_are_left_out() -> None:
    notes = tuple(f"note {n}" for n in range(250))
    found = decode(encode(replace(DELTA, health=Health(notes=notes))), from_agent=True)
    assert isinstance(found, Delta)
    assert found.health.notes == (*notes[:99], "151 more are left out")
