"""Outcome, tool calls and usage of an answer, from its parts."""

from __future__ import annotations

import pytest

from loadgen.clients.llm_apis.answers import stream_outcome, tool_calls
from loadgen.clients.llm_apis.apis import APIS
from loadgen.clients.llm_apis.stream_reading import StreamReading
from loadgen.clients.llm_apis.types import Part, ToolCall, ToolPiece, Usage
from loadgen.measure.streams import CONTENT, DONE, ERROR, FINISH, KIND_NUMBERS, OTHER, REASONING, ROLE, USAGE
from tests.support.llm_streams import STREAMS, load


def piece(index: int, id: str = "", name: str = "", arguments: str = "", choice: int = 0) -> Part:
    return Part("tool_call", arguments, choice=choice, tool=ToolPiece(index, id, name, arguments))


@pytest.mark.parametrize(
    ("kinds", "outcome"),
    [
        ([ROLE, CONTENT, FINISH, USAGE, DONE], "ok"),
        ([CONTENT, FINISH], "ok"),  # servers without [DONE]
        ([CONTENT, DONE], "ok"),
        ([REASONING, FINISH], "ok"),
        ([ROLE, CONTENT], "stream truncated"),
        ([], "stream truncated"),
        ([OTHER], "stream truncated"),
        ([ROLE, FINISH, DONE], "no tokens"),
        ([DONE], "no tokens"),
        ([ROLE, CONTENT, ERROR], "stream error"),
        ([CONTENT, FINISH, ERROR, DONE], "stream error"),
        ([ERROR], "stream error"),
    ],
)
def test_the_outcome_of_a_stream(kinds: list[int], outcome: str) -> None:
    assert stream_outcome(kinds) == outcome
    assert stream_outcome(bytearray(kinds)) == outcome


@pytest.mark.parametrize("name", STREAMS)
def test_the_outcomes_of_the_recorded_streams(name: str) -> None:
    kinds = [KIND_NUMBERS[kind] for _, kind, _ in load(name).events]

    assert stream_outcome(kinds) == {"truncated": "stream truncated", "error_in_band": "stream error"}.get(name, "ok")


def test_the_pieces_of_a_recorded_call_make_one_call() -> None:
    assert tool_calls(load("tool_calls").parts) == (ToolCall("call_1", "stock", '{"item":"oak lamp"}'),)


def test_pieces_of_several_calls_can_be_mixed() -> None:
    parts = [piece(1, "b", "g"), piece(0, "a", "f"), piece(1, arguments="{"), piece(0, arguments="{}"), Part("role")]

    assert tool_calls([*parts, piece(1, arguments="}")]) == (ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}"))


def test_another_id_at_the_same_index_is_another_call() -> None:
    assert tool_calls([piece(0, "a", "f", "{}"), piece(0, "b", "f", "[]")]) == (
        ToolCall("a", "f", "{}"),
        ToolCall("b", "f", "[]"),
    )


def test_calls_of_other_choices_are_left_out() -> None:
    assert tool_calls([piece(0, "a", "f", "{}"), piece(0, "b", "f", "{}", choice=1)]) == (ToolCall("a", "f", "{}"),)


def test_usage_takes_each_count_from_the_last_part_that_has_it() -> None:
    parts = [Part("usage", usage=Usage(100, 90, 1)), Part("content", "A"), Part("usage", usage=Usage(output=6))]

    reading = StreamReading(APIS["chat"])
    reading.add(parts, 1)
    assert reading.usage == Usage(100, 90, 6, -1)
