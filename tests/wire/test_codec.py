"""The codec: every message survives the way there and back, and nothing but WireError ever comes out of garbage."""

from __future__ import annotations

import dataclasses
import random
import zlib
from dataclasses import replace
from typing import Any, get_args

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import Fault, LimitExceeded, WireError
from loadgen.measure.deltas.delta import Counters, Delta, Health
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.objectives.steering_observation import Look, Part
from loadgen.profiles.stage import Stage
from loadgen.wire import codec
from loadgen.wire import messages as m
from loadgen.wire.codec import MAX_MESSAGE_BYTES, decode, encode
from loadgen.wire.v1 import wire_pb2 as pb
from tests.support.examples import examples
from tests.support.messages import BY_CLASS, messages

many = settings(max_examples=examples(2500), deadline=None)


def sealed(payload: bytes, kind: int, encoding: int = pb.ENCODING_PLAIN, **changed: Any) -> bytes:
    """An envelope with a right checksum around whatever it is given."""
    envelope: dict[str, Any] = {"major": m.PROTOCOL_MAJOR, "minor": 0, "type": kind, "encoding": encoding}
    envelope |= {"length": len(payload), "payload": payload} | changed
    envelope.setdefault("crc32", codec._crc(envelope["major"], envelope["minor"], kind, encoding, payload))
    return pb.Envelope(**envelope).SerializeToString()


def survives(data: bytes) -> m.Message | None:
    try:
        return decode(data)
    except WireError:
        return None


def test_every_message_has_a_type_and_a_strategy() -> None:
    assert {kind.message for kind in codec._ALL} == set(get_args(m.Message)) == set(BY_CLASS)
    assert len({kind.number for kind in codec._ALL}) == len(codec._ALL)


def test_every_field_of_every_message_is_written() -> None:
    by_hand = {"stats", "sampled", "packed", "exemplar_rows"}  # travel as columns and rows
    for message, proto in [(k.message, k.proto) for k in codec._ALL] + [
        (SeriesKey, pb.SeriesKey),
        (Counters, pb.Counters),
        (Health, pb.Health),
        (Fault, pb.Fault),
    ]:
        assert set(message.__annotations__) - by_hand <= set(proto.DESCRIPTOR.fields_by_name)


@settings(max_examples=examples(1500), deadline=None)
@given(messages)
def test_every_message_comes_back_as_it_was_sent(message: m.Message) -> None:
    assert decode(encode(message)) == message


@many
@given(st.binary(max_size=300))
def test_random_bytes_are_a_wire_error_and_nothing_else(data: bytes) -> None:
    assert survives(data) is None


@many
@given(st.sampled_from(sorted(pb.Type.values())), st.sampled_from([0, 1, 2]), st.binary(max_size=200))
def test_random_payloads_in_a_right_envelope_never_escape(kind: int, encoding: int, payload: bytes) -> None:
    assert type(survives(sealed(payload, kind, encoding))) in {type(None), *BY_CLASS}


@many
@given(messages, st.data())
def test_truncated_messages_are_refused(message: m.Message, data: st.DataObject) -> None:
    whole = encode(message)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert survives(whole[:cut]) is None


def test_no_bit_flip_turns_a_message_into_another_one() -> None:
    random_ = random.Random(2)
    tried = 0
    for message in map(example, BY_CLASS):
        whole = encode(message)
        for bit in random_.sample(range(len(whole) * 8), min(len(whole) * 8, 700)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            assert survives(bytes(flipped)) in (None, message)
            tried += 1
    assert tried > 5000


@many
@given(messages, st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=4)), min_size=1, max_size=5))
def test_overwritten_bytes_in_a_payload_never_escape(message: m.Message, patches: list[tuple[int, bytes]]) -> None:
    envelope = pb.Envelope.FromString(encode(message))
    payload = bytearray(envelope.payload)
    for at, new in patches:
        place = at % (len(payload) + 1)
        payload[place : place + len(new)] = new
    assert type(survives(sealed(bytes(payload), envelope.type, envelope.encoding))) in {type(None), type(message)}


def example(kind: type) -> m.Message:
    if kind is Delta:
        return delta(300)
    if kind is m.Prepare:
        return m.Prepare("run", 1, "ab" * 32, 4096, "checkout.py", "plan", b"{}", 7, 1, (0.5, 0.5), 10**9)
    if kind is m.Adjust:
        return m.Adjust("run", 1, 0, 5 * 10**9, (Stage(0.0, 200.0, 10**9), Stage(200.0, 200.0, 10**9)))
    if kind is m.Reassign:
        return m.Reassign("run", 3, 2, 5 * 10**9, (1.0, 0.0, 2.0))
    if kind is m.Steer:
        seen = Look(4.0, 5.0, 80.0, 80, 80, 79, (Part(0, "shop", 78, 1, (5, 2, 1)),), 51.5, 4, 0, ("lag",), 2, 2)
        return m.Steer("run", 1, 4, 5, (seen,))
    filled: dict[str, Any] = {"str": "some text", "int": 77, "float": 1.5, "bool": True, "bytes": b"some bytes"}
    values = {f.name: filled[str(f.type)] for f in dataclasses.fields(kind) if str(f.type) in filled}
    message: m.Message = kind(**values)
    return message


def delta(pairs: int) -> Delta:
    index = b"".join(i.to_bytes(4, "little") for i in range(pairs))
    return Delta("agent", 1, 2, 0, 10**9, (SeriesKey("journey", "j", None, None, "ok", "response"),), index, index)


def test_another_major_is_refused_and_says_which() -> None:
    with pytest.raises(WireError, match=rf"protocol version 2\.0, and we need 1\.{m.PROTOCOL_MINOR}") as caught:
        decode(sealed(b"", pb.TYPE_BYE, major=2))
    assert "same version" in caught.value.hint


def test_an_agent_from_before_instance_types_has_none_and_one_with_it_is_read_by_a_controller_from_before() -> None:
    older = pb.Hello(agent="a", region="eu", major=1, minor=3, pid=7, host="h", cpus=2, weight=1, epoch=-1)
    hello = m.Hello("a", "eu", 1, 3, 7, "h", 2, 1.0, -1)
    assert decode(sealed(older.SerializeToString(), pb.TYPE_HELLO)) == hello
    newer = pb.Hello.FromString(older.SerializeToString())
    newer.instance_type = "c7i.xlarge"
    assert decode(sealed(newer.SerializeToString(), pb.TYPE_HELLO)) == replace(hello, instance_type="c7i.xlarge")
    # What such a controller does with the field, as all readers do with fields that they do not know.
    newer.ClearField("instance_type")
    assert newer == older


def test_an_agent_from_before_names_of_pythons_has_none_and_one_with_it_is_read_by_a_controller_from_before() -> None:
    older = pb.Hello(agent="a", region="eu", major=1, minor=9, pid=7, host="h", cpus=2, weight=1, epoch=-1)
    hello = m.Hello("a", "eu", 1, 9, 7, "h", 2, 1.0, -1)
    assert decode(sealed(older.SerializeToString(), pb.TYPE_HELLO)) == hello
    newer = pb.Hello.FromString(older.SerializeToString())
    newer.python = "CPython 3.13.5 with PGO and LTO"
    assert decode(sealed(newer.SerializeToString(), pb.TYPE_HELLO)) == replace(hello, python=newer.python)
    newer.ClearField("python")
    assert newer == older


def test_a_newer_minor_with_fields_we_do_not_know_is_read() -> None:
    unknown_field = bytes([15 << 3, 42])
    payload = pb.Bye(run_id="r", leave=True).SerializeToString() + unknown_field
    assert decode(sealed(payload, pb.TYPE_BYE, minor=9)) == m.Bye("r", True)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (sealed(b"", 99), "unknown message type 99"),
        (sealed(b"", pb.TYPE_UNSPECIFIED), "unknown message type 0"),
        (sealed(b"", pb.TYPE_BYE, 7), "unknown encoding 7"),
        (sealed(b"", pb.TYPE_BYE, crc32=1), "bad checksum"),
        (sealed(b"", pb.TYPE_BYE, length=1), "1 were announced"),
        (bytes(MAX_MESSAGE_BYTES + 1), "limit"),
        (sealed(pb.Welcome(lease_s=float("nan")).SerializeToString(), pb.TYPE_WELCOME), "lease_s is nan"),
        (sealed(pb.Hello(weight=float("inf")).SerializeToString(), pb.TYPE_HELLO), "weight is inf"),
        (sealed(pb.Prepare(weights=[1, float("nan")]).SerializeToString(), pb.TYPE_PREPARE), "weights is nan"),
        (sealed(b"no zstd", pb.TYPE_BYE, pb.ENCODING_ZSTD), "unreadable"),
        (sealed(b"\x0a\x01\xff", pb.TYPE_BYE), "unreadable"),
    ],
)
def test_unreadable_messages_say_why(data: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode(data)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(512 << 20))
    assert len(bomb) < MAX_MESSAGE_BYTES
    with pytest.raises(WireError, match="unpacked is 536,870,912 bytes long"):
        decode(sealed(bomb, pb.TYPE_DELTA, pb.ENCODING_ZSTD))


def test_a_bomb_that_hides_its_size_is_refused() -> None:
    stream = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    bomb = stream.compress(bytes(64 << 20)) + stream.flush()
    with pytest.raises(WireError):
        decode(sealed(bomb, pb.TYPE_DELTA, pb.ENCODING_ZSTD))


def test_bytes_behind_a_compressed_payload_are_refused() -> None:
    payload = zstandard.ZstdCompressor(level=1).compress(pb.Bye(run_id="r").SerializeToString())
    assert decode(sealed(payload, pb.TYPE_BYE, pb.ENCODING_ZSTD)) == m.Bye("r")
    with pytest.raises(WireError):
        decode(sealed(payload + b"more", pb.TYPE_BYE, pb.ENCODING_ZSTD))


def test_large_deltas_travel_compressed_and_small_ones_plain() -> None:
    assert pb.Envelope.FromString(encode(delta(100))).encoding == pb.ENCODING_PLAIN
    large = encode(delta(20_000))
    assert pb.Envelope.FromString(large).encoding == pb.ENCODING_ZSTD
    assert len(large) < 160_000
    assert decode(large) == delta(20_000)


def test_a_message_over_the_limit_is_not_sent() -> None:
    with pytest.raises(WireError, match="limit is 1,048,576"):
        encode(m.BundleChunk("x", 0, random.Random(1).randbytes(MAX_MESSAGE_BYTES)))


def test_a_number_out_of_range_or_not_finite_is_not_sent() -> None:
    with pytest.raises(WireError):
        encode(m.Ack("r", -1, 0))
    with pytest.raises(WireError, match="lease_s is nan"):
        encode(m.Welcome(1, float("nan")))


def test_text_that_utf8_cannot_hold_arrives_with_question_marks() -> None:
    fault = Fault("caf\udce9.py", 1, "no \ud800 such", "")
    assert decode(encode(m.Refused("r", "\udcff", (fault,)))) == m.Refused(
        "r", "?", (Fault("caf?.py", 1, "no ? such", ""),)
    )


BEAT = m.Heartbeat("r", "running", 7, 6, "a note", 3, sent_ns=123_456_789, leaves_ns=5)


@many
@given(messages)
def test_a_heartbeat_within_a_message_changes_nothing_of_it(message: m.Message) -> None:
    data = encode(message)
    whole = codec.with_beat(data, BEAT)
    assert decode(whole) == message
    assert whole.startswith(data), "as it is kept for a repetition"


def test_a_heartbeat_within_a_message_is_read_with_it() -> None:
    message = m.BundleRequest("sha", 1)
    data = encode(message)
    assert codec.decode_with_beat(codec.with_beat(data, BEAT)) == (message, BEAT)
    assert codec.decode_with_beat(data) == (message, None)


def test_a_damaged_heartbeat_within_a_message_is_rejected() -> None:
    whole = codec.with_beat(encode(m.BundleRequest("sha", 1)), BEAT)
    for flipped in range(whole.index(b"running"), len(whole) - 5):
        damaged = bytearray(whole)
        damaged[flipped] ^= 1
        with pytest.raises(WireError):
            codec.decode_with_beat(bytes(damaged))


def test_a_heartbeat_within_a_message_has_the_limits_of_one_of_its_own() -> None:
    payload = pb.Heartbeat(run_id="r", phase="running", note="n" * 100_000).SerializeToString()
    tail = pb.Envelope(beat=payload, beat_crc32=zlib.crc32(payload)).SerializeToString()
    with pytest.raises(LimitExceeded, match=r"Heartbeat\.note"):
        codec.decode_with_beat(encode(m.BundleRequest("sha", 1)) + tail)
    garbage = pb.Envelope(beat=b"\xff", beat_crc32=zlib.crc32(b"\xff")).SerializeToString()
    with pytest.raises(WireError, match="unreadable"):
        codec.decode_with_beat(encode(m.BundleRequest("sha", 1)) + garbage)


def test_a_message_that_has_no_room_for_a_heartbeat_goes_without() -> None:
    data = bytes(MAX_MESSAGE_BYTES - 10)
    assert codec.with_beat(data, BEAT) is data


def test_an_acknowledgement_answers_a_heartbeat_or_none() -> None:
    ack = encode(m.Ack("r", 1, 5))
    assert codec.with_answer(ack, 0) is ack
    assert codec.decode_with_answer(ack) == (m.Ack("r", 1, 5), 0)
    assert codec.decode_with_answer(codec.with_answer(ack, 123_456_789)) == (m.Ack("r", 1, 5), 123_456_789)
    assert decode(codec.with_answer(ack, 1)) == m.Ack("r", 1, 5), "as an agent from before reads it"


def test_prepares_of_one_run_share_their_encoded_weights_and_those_of_another_run_do_not() -> None:
    weights = (1.0, 2.0, 0.5)
    prepare = m.Prepare("run", 1, "ab", 2, "s.py", "plan", b"{}", 7, 0, weights, 10**9)
    sent = [
        prepare,
        replace(prepare, index=1),
        replace(prepare, weights=(3.0,)),
        replace(prepare, weights=()),
        replace(prepare, index=2),
    ]
    assert [decode(encode(one)) for one in sent] == sent
