"""Traces and conversations: read as they are meant, and each error with file and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import MooncakeRow, Turn, replay
from loadgen.dsl.data import feed, rowfile
from loadgen.dsl.data.feed import Feed, open_feed
from loadgen.dsl.data.scaled_rows import scaled_rows
from loadgen.dsl.plans.plan_loads import lane_of
from loadgen.engine.load.schedule import due_times
from loadgen.engine.load.share import Share
from loadgen.errors import ScenarioError

AZURE = Path(__file__).parents[2] / "data" / "llm" / "AzureLLMInferenceTrace_conv.csv.gz"


def lines(folder: Path, *rows: object, name: str = "trace.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def request(at: float, tokens: int, ids: list[int], **more: object) -> dict[str, object]:
    return {"timestamp": at, "input_length": tokens, "output_length": 10, "hash_ids": ids, **more}


def says(one: Feed[Any]) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        open_feed(one)
    return [f"{Path(fault.file).name}:{fault.line} {fault.message}" for fault in error.value.faults]


def all_rows(one: Feed[Any]) -> list[Any]:
    opened = open_feed(one)
    return [opened.row(n) for n in range(len(opened))]


# -- Mooncake ----------------------------------------------------------------------------------------


def test_rows_of_a_mooncake_trace_share_the_text_of_their_blocks(tmp_path: Path) -> None:
    path = lines(tmp_path, request(0, 1300, [7, 8, 9]), request(27.5, 1100, [7, 8, 30]), request(27.5, 600, [40, 41]))

    first, second, third = (row.prompt().words(1, n) for n, row in enumerate(all_rows(feed.mooncake(path))))

    assert [len(one) for one in (first, second, third)] == [1300, 1100, 600]
    assert first[:1024] == second[:1024]
    assert first[1024:1100] != second[1024:]
    assert third[:10] != first[:10]


def test_the_size_of_blocks_is_that_of_the_trace(tmp_path: Path) -> None:
    path = lines(tmp_path, request(0, 40, [1, 2, 3]), request(1, 40, [1, 2, 4]))

    first, second = (row.prompt().words(1, 0) for row in all_rows(feed.mooncake(path, block_tokens=16)))

    assert first[:32] == second[:32]
    assert first[32:] != second[32:]
    assert len(first) == 40


def test_a_row_without_block_ids_has_a_text_of_its_own(tmp_path: Path) -> None:
    path = lines(tmp_path, {"input_length": 20, "output_length": 5}, {"input_length": 20, "output_length": 5})

    first, second = all_rows(feed.mooncake(path))

    assert first == second == MooncakeRow(input_length=20, output_length=5)
    assert first.prompt().text(1, 0) != second.prompt().text(1, 1)


def test_rows_that_are_turns_are_the_conversations_of_their_sessions(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        request(0, 10, [1], session_id="a"),
        request(5, 20, [2], session_id="b"),
        request(9, 30, [3], session_id="a", delay=250),
        name="trace.jsonl.gz",
    )
    path.write_bytes(gzip.compress(path.read_bytes()))

    talks = all_rows(feed.mooncake(path, rows="turn"))

    assert [[row.input_length for row in talk] for talk in talks] == [[10, 30], [20]]
    assert talks[0][1].delay == 250


def test_all_errors_of_a_mooncake_trace_are_reported_with_their_lines(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        request(10, 513, [1]),
        request(9, 0, []),
        {"timestamp": 11, "input_length": 5, "output_length": -1, "delay": -5},
        "",
        request(8, 10**8, []),
    )

    assert says(feed.mooncake(path)) == [
        "trace.jsonl:1 hash_ids has 1 ids, but input_length 513 needs 2 blocks of 512 tokens",
        "trace.jsonl:2 input_length 0 must be 1 to 10,000,000",
        "trace.jsonl:2 timestamp 9 is earlier than 10 of a row above it",
        "trace.jsonl:3 delay -5 must be at least 0",
        "trace.jsonl:3 output_length -1 must be 1 to 10,000,000",
        "trace.jsonl:5 input_length 100000000 must be 1 to 10,000,000",
        "trace.jsonl:5 timestamp 8 is earlier than 11 of a row above it",
    ]


def test_a_missing_column_of_a_trace_is_reported_with_those_there_are(tmp_path: Path) -> None:
    path = lines(tmp_path, {"timestamp": 0, "input_lenght": 5, "output_length": 1})

    (message,) = says(feed.mooncake(path))

    assert message == (
        'trace.jsonl:1 no "input_length" for MooncakeRow, only "timestamp", "input_lenght", "output_length"'
    )


def test_turns_without_a_session_are_errors(tmp_path: Path) -> None:
    path = lines(tmp_path, request(0, 5, [], session_id=1), request(1, 5, []))

    assert says(feed.mooncake(path, rows="turn")) == [
        "trace.jsonl:2 the row has no session_id, so its conversation is unknown"
    ]


def test_each_row_of_a_large_file_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowfile, "FULL_CHECK_BYTES", 100)
    monkeypatch.setattr("loadgen.dsl.data.rowfile._CHECKED", 2)
    good, wrong = request(0, 5, []), {"timestamp": "noon", "input_length": 5, "output_length": 5}

    assert len(open_feed(feed.mooncake(lines(tmp_path, *[good] * 20)))) == 20
    (message,) = says(feed.mooncake(lines(tmp_path, *[good] * 19, wrong, *[good] * 19)))
    assert message.startswith("trace.jsonl:20 Expected float")
    assert open_feed(feed.openai_batch(lines(tmp_path, *(batch(str(n)) for n in range(20))))).unchecked == 0


# -- OpenAI batch files ---------------------------------------------------------------------------------


def batch(name: str, **more: object) -> dict[str, object]:
    return {"custom_id": name, "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}, **more}


def test_requests_of_a_batch_file_are_read_whole(tmp_path: Path) -> None:
    first, second = all_rows(feed.openai_batch(lines(tmp_path, batch("a"), batch("b"))))

    assert (first.custom_id, second.custom_id, first.url) == ("a", "b", "/v1/embeddings")
    assert first.body == {"model": "m", "input": "x"}


def test_all_errors_of_a_batch_file_are_reported_with_their_lines(tmp_path: Path) -> None:
    path = lines(tmp_path, batch("a"), batch("a"), batch("b", url="https://api.example/v1"), batch("c", body={}))

    assert says(feed.openai_batch(path)) == [
        'trace.jsonl:2 custom_id "a" occurs again, first in line 1',
        'trace.jsonl:3 url "https://api.example/v1" is not a path',
        "trace.jsonl:4 the body is empty",
    ]
    (message,) = says(feed.openai_batch(lines(tmp_path, batch("a", method="GET"), name="get.jsonl")))
    assert message.startswith("get.jsonl:1 Invalid enum value 'GET'")


@pytest.mark.parametrize("limit", [100, 1 << 24])
def test_lines_are_searched_only_for_errors_that_are_shown(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowfile, "FULL_CHECK_BYTES", limit)
    searched: list[int] = []

    def counted(line: Callable[[Any, int], int]) -> Callable[[Any, int], int]:
        def line_of(table: Any, i: int) -> int:
            searched.append(i)
            return line(table, i)

        return line_of

    for table in (rowfile._Mapped, rowfile._Text):
        monkeypatch.setattr(table, "line", counted(table.line))
    trace = lines(tmp_path, *(request(n, 10, []) for n in range(200)))
    batch = lines(tmp_path, *[{"custom_id": "a", "url": "/v1", "body": {"n": 1}}] * 200, name="batch.jsonl")

    said = says(feed.mooncake(trace, rows="turn"))
    again = says(feed.openai_batch(batch))

    assert said[-1] == "trace.jsonl:11 and 190 more errors"
    assert again[0] == 'batch.jsonl:2 custom_id "a" occurs again, first in line 1'
    assert again[-1] == "batch.jsonl:12 and 189 more errors"
    assert len(searched) == 11 + 2 * 10 + 1, "each search reads the file up to the line"


# -- ShareGPT ------------------------------------------------------------------------------------------


def talk(*turns: tuple[object, object]) -> dict[str, object]:
    return {"id": "x", "conversations": [{"from": who, "value": text} for who, text in turns]}


FULL = talk(("human", "Hi"), ("gpt", "Hello"), ("human", "Bye"), ("gpt", "See you"))


@pytest.mark.parametrize("is_array", [True, False])
def test_a_conversation_has_all_its_turns(is_array: bool, tmp_path: Path) -> None:
    other = {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "é"}]}
    path = tmp_path / "talks.json"
    path.write_text(json.dumps([FULL, other]) if is_array else f"{json.dumps(FULL)}\n{json.dumps(other)}\n")

    assert all_rows(feed.sharegpt(path)) == [
        (Turn("user", "Hi"), Turn("assistant", "Hello"), Turn("user", "Bye"), Turn("assistant", "See you")),
        (Turn("system", "S"), Turn("user", "é")),
    ]


def test_all_errors_of_conversations_are_reported_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "talks.json"
    wrong = [
        FULL,
        None,
        talk(("human", "Hi")),
        talk(("human", "Hi"), ("gpt", None)),
        {"id": "y"},
        talk(("human", "Hi"), ("alien", "Hello")),
        {"conversations": 3},
        talk(),
    ]
    path.write_text("[\n" + ",\n".join(map(json.dumps, wrong)) + "\n]\n")

    found = says(feed.sharegpt(path))

    assert [text.partition(" ")[0] for text in found] == [f"talks.json:{n}" for n in range(3, 10)]
    assert [text.partition(": ")[2].partition(" (")[0] for text in found] == [
        "it is null",
        "it has 1 turn, but at least two are needed",
        "turn 2 has no text",
        'it has no "conversations"',
        'turn 2 is from "alien"',
        "it is not a conversation of ShareGPT",
        "it has 0 turns, but at least two are needed",
    ]


def test_conversations_with_the_same_text_have_their_own_lines(tmp_path: Path) -> None:
    path = lines(tmp_path, talk(("human", "null"), ("gpt", "{}")), {}, None, None, {}, name="talks.jsonl")

    found = says(feed.sharegpt(path))

    assert [text.partition(" ")[0] for text in found] == [f"talks.jsonl:{n}" for n in (2, 3, 4, 5)]


def test_conversations_that_cannot_be_used_are_left_out_and_counted_on_request(tmp_path: Path) -> None:
    path = tmp_path / "talks.json"
    path.write_text(json.dumps([talk(("human", "Hi")), FULL, None, FULL]))

    opened = open_feed(feed.sharegpt(path, short="skip"))

    assert (len(opened), opened.skipped) == (2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "talks.json:0 the file is empty"),
        ("[]", "talks.json:0 no conversation has two turns"),
        ('[\n{"conversations": [}\n]', "talks.json:2 invalid JSON: "),
        ("[null]", "talks.json:1 conversation 1: it is null"),
        ("hello", "talks.json:1 invalid JSON: "),
    ],
)
def test_a_file_without_conversations_is_an_error(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "talks.json"
    path.write_text(text)

    (message,) = says(feed.sharegpt(path))

    assert message.startswith(said)


def test_a_file_that_is_not_there_is_reported_at_the_line_that_names_it(tmp_path: Path) -> None:
    for one in (
        feed.sharegpt(tmp_path / "no.json"),
        feed.mooncake(tmp_path / "no"),
        feed.openai_batch(tmp_path / "no"),
    ):
        (message,) = says(one)
        assert message.startswith("test_inference_rows.py:")
        assert "cannot read no" in message


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (feed.mooncake("a.jsonl", rows="both"), "rows='both' is unknown"),  # type: ignore[call-overload]
        (feed.mooncake("a.jsonl", block_tokens=0), "block_tokens=0 must be a whole number"),
        (feed.mooncake(3), "3 is not a path"),  # type: ignore[call-overload]
        (feed.sharegpt("a.json", short="cut"), "short='cut' is unknown"),  # type: ignore[arg-type]
        (feed.openai_batch(""), "'' is not a path"),
        (feed.mooncake("a.jsonl").scale(0), "scale=0 must be a number above 0"),
        (feed.mooncake("a.jsonl").scale(2000), "scale=2000 must be"),
        (feed.mooncake("a.jsonl").scale("2"), "scale='2' must be"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_of_a_feed_is_a_fault(one: Feed[Any], said: str) -> None:
    (fault,) = one.faults
    assert fault.message.startswith(said)
    assert fault.hint


# -- which arrival has which row -------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    ContextTokens: int
    GeneratedTokens: int


def azure() -> Feed[Request]:
    return feed.csv(AZURE, Request)


def arrivals_of(executor: Any, agents: int) -> list[list[int]]:
    """The numbers of the arrivals of each agent of a fleet of different machines."""
    schedule = lane_of(executor.lower(1), "", (), ()).schedule()
    weights = [1.0 + k % 3 for k in range(agents)]
    return [[n for block in due_times(schedule, Share.of(k, weights, [1.0])) for n in block.n] for k in range(agents)]


@pytest.mark.parametrize("agents", [1, 2, 3, 7])
def test_each_arrival_of_the_azure_trace_has_its_own_row_on_any_number_of_agents(agents: int) -> None:
    wanted = [
        tuple(int(cell) for cell in line.split(",")[1:])
        for line in gzip.decompress(AZURE.read_bytes()).decode().splitlines()[1:]
    ]
    load = replay.timestamps(AZURE, column="TIMESTAMP")
    opened = open_feed(azure())

    found = {n: opened.row(n) for numbers in arrivals_of(load, agents) for n in numbers}

    assert len(found) == len(wanted) == 19_366
    rows = [row for _, row in sorted(found.items()) if row is not None]
    assert [(row.ContextTokens, row.GeneratedTokens) for row in rows] == wanted


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.5, 3])
def test_arrivals_and_rows_that_are_scaled_alike_stay_together(scale: float) -> None:
    lowered = replay.timestamps(AZURE, column="TIMESTAMP", scale=scale).lower(1)
    assert lowered.times is not None
    was_s = replay.timestamps(AZURE, column="TIMESTAMP").lower(1).times
    assert was_s is not None
    every, scaled = open_feed(azure()), open_feed(azure().scale(scale))

    assert len(scaled) == len(lowered.times) == pytest.approx(19_366 * scale, rel=0.05)
    rows = scaled_rows(19_366, scale)
    assert all(scaled.row(n) == every.row(int(rows[n])) for n in range(0, len(scaled), 7))
    assert (np.diff(lowered.times) >= 0).all()
    assert np.abs(lowered.times - was_s[rows]).max() <= np.diff(was_s).max() + was_s[-1] / len(was_s)
    assert (lowered.times[np.diff(rows, prepend=-1) > 0] == was_s[np.unique(rows)]).all()


@given(st.integers(1, 500), st.floats(0.01, 5))
def test_a_row_is_used_as_often_as_the_scale_says(count: int, scale: float) -> None:
    uses = np.bincount(scaled_rows(count, scale), minlength=count)

    assert set(uses.tolist()) <= {int(scale), int(scale) + 1}
    assert (scaled_rows(count + 9, scale)[: uses.sum()] == scaled_rows(count, scale)).all()


@pytest.mark.parametrize("order", ["shuffle", "random"])
def test_a_scaled_feed_can_be_shuffled_and_drawn_from(order: Literal["shuffle", "random"]) -> None:
    one = getattr(feed.rows(list(range(100))).scale(0.5), order)(seed=3)
    opened = open_feed(one)
    kept = set(scaled_rows(100, 0.5).tolist())

    found = [opened.row(n) for n in range(len(opened))]

    assert len(opened) == len(kept)
    assert set(found) <= kept
    assert order == "random" or set(found) == kept


def test_a_scale_that_leaves_no_row_is_an_error() -> None:
    with pytest.raises(ScenarioError, match="leaves none of the 2 rows"):
        open_feed(feed.rows([1, 2]).scale(0.0001))
