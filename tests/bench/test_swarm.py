"""The simulated fleet sends and reads what real agents do, although it encodes and decodes more cheaply."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.deltas import drawn_seconds
from bench.encoded_deltas import EncodedDelta
from bench.fleet_answers import Answers
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.codec import COMPRESS_FROM_BYTES, decode, decode_with_answer, encode, with_answer
from loadgen.wire.messages import Ack, ClockPong, Message, Welcome
from loadgen_agent.supervisor.heartbeat_times import HeartbeatTimes


@pytest.mark.parametrize("names", [1, 20, 150])
def test_a_delta_that_was_encoded_cheaply_reads_as_that_of_an_agent(names: int) -> None:
    for drawn in drawn_seconds(names=names, requests=5, agents=10, count=2):
        own = replace(drawn, agent="sim.7", epoch=2, seq=300, start_ns=NS_PER_S, end_ns=3 * NS_PER_S, run_id="run-1")
        data = EncodedDelta(drawn).of("sim.7", 2, 300, NS_PER_S, 3 * NS_PER_S, "run-1")

        assert decode(data) == decode(encode(own))
        assert abs(len(data) - len(encode(own))) < 50


def test_deltas_of_these_tests_are_both_plain_and_compressed() -> None:
    sizes = [len(EncodedDelta(drawn_seconds(names=n, requests=5, agents=10, count=2)[1])._others) for n in (1, 20)]

    assert sizes[0] < COMPRESS_FROM_BYTES < sizes[1]


@pytest.mark.parametrize(
    "message", [Ack("run-1", 1, 7), Ack("run-1", 1, 7, 2 * NS_PER_S), Ack("run-2", 1, 8), Welcome(3, 8.0, "run-1", 13)]
)
def test_answers_are_read_as_an_agent_reads_them(message: Message) -> None:
    answers = Answers()

    for answers_ns in (0, 123_456_789):
        data = with_answer(encode(message), answers_ns)
        assert answers.read(data) == decode_with_answer(data)


def test_a_clock_answer_is_read_as_the_time_of_its_heartbeat() -> None:
    assert Answers().read(encode(ClockPong(5 * NS_PER_S, 7))) == (None, 5 * NS_PER_S)


@pytest.mark.parametrize("may_ride", [False, True])
@pytest.mark.parametrize("delta_ms", [None, 0, 300, 600, 1200, 1900])
def test_an_agent_is_visited_when_its_heartbeat_is_due_and_not_before(may_ride: bool, delta_ms: int | None) -> None:
    beats = HeartbeatTimes(0)
    beats.may_ride = may_ride
    if delta_ms is not None:
        beats.delta_sent(delta_ms * NS_PER_MS, with_beat=beats.rides(delta_ms * NS_PER_MS), every_ns=0)

    due_ns = beats.due_ns

    assert beats.is_due(due_ns)
    assert not beats.is_due(due_ns - 1)
