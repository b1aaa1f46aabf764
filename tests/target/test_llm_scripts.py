"""Scripts of the inference server: their files, and what a plain client gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import UsageError
from loadgen.target.llm.ask import Ask
from loadgen.target.llm.config import LlmConfig
from loadgen.target.llm.formats.chat import ChatFormat
from loadgen.target.llm.http1 import LAST_CHUNK
from loadgen.target.llm.scripts.playback import writes_of
from loadgen.target.llm.scripts.ready_made import NAMES, ready_made
from loadgen.target.llm.scripts.script import Script, read_scripts, script_of
from loadgen.target.llm.send_loop import End, Write
from loadgen.target.llm.server import LlmServer
from loadgen.units import NS_PER_MS
from tests.support.llm_target import Reply, Wire, answer_of, chat_body, llm_in_thread


def made(name: str) -> Script:
    script = ready_made(name)
    assert script is not None
    return script


def playback(script: Script) -> list[Write]:
    form = ChatFormat(Ask(api="chat", model="m", prompt=["a"], prompt_tokens=1, max_tokens=9, usage="end"), "1", 0)
    return list(writes_of(script, form))


def script(**value: Any) -> Script:
    faults: list[str] = []
    found = script_of(value, "test", "", faults)
    assert not faults
    return found


def body_of(writes: list[Write]) -> bytes:
    """Return the body without its chunks."""
    data, body = b"".join(write.data for write in writes), b""
    while not data.startswith(b"0\r\n"):
        size, _, rest = data.partition(b"\r\n")
        body += rest[: int(size, 16)]
        data = rest[int(size, 16) + 2 :]
    return body


@pytest.mark.parametrize("name", [name for name in NAMES if name != "many-events"])
def test_each_ready_made_script_has_no_fault_and_can_be_played(name: str) -> None:
    writes = playback(made(name))

    assert writes[-1].end is not End.MORE
    assert all(write.end is End.MORE for write in writes[:-1])
    assert [write.at_ns for write in writes] == sorted(write.at_ns for write in writes)


def test_many_events_are_a_million() -> None:
    assert sum(write.repeat * len(write.events) for write in made("many-events").writes[1:-1]) == 1_000_000


def test_each_ready_made_script_has_a_line_in_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs/target-llm.md").read_text()

    assert not [name for name in NAMES if f"`{name}`" not in page]


def test_the_golden_script_is_the_known_stream() -> None:
    writes = playback(made("golden"))

    assert [(write.at_ns // NS_PER_MS, write.events) for write in writes] == [
        (100, (("role", 0),)),
        (200, (("reasoning", 2),)),
        (300, (("content", 1),)),
        (340, (("content", 3), ("content", 1))),
        (420, (("content", 2),)),
        (425, (("finish", 0),)),
        (430, (("usage", 0),)),
        (431, (("done", 0),)),
    ]
    assert body_of(writes).count(b"data: ") == 9


@pytest.mark.parametrize("name", ["crlf-cuts", "utf8-cuts"])
def test_cuts_change_no_byte_of_the_body_and_keep_each_event_with_its_last_byte(name: str) -> None:
    cut = playback(made(name))
    plain = script(writes=[w for w in _values(name)["writes"]], line_end=_values(name).get("line_end", "lf"))

    assert body_of(cut) == body_of(playback(plain))
    assert len(cut) == len(body_of(cut))
    with_events = [write for write in cut if write.events]
    assert all(body_of([write, Write(0, LAST_CHUNK, ())]) in (b"\n",) for write in with_events)
    assert [event for write in cut for event in write.events] == [
        event for write in playback(plain) for event in write.events
    ]


def _values(name: str) -> dict[str, Any]:
    from loadgen.target.llm.scripts import ready_made as module

    value: dict[str, Any] = module._SCRIPTS[name]
    return value


def test_cuts_within_a_chunk_leave_the_bytes_of_the_wire_as_they_are() -> None:
    event = {"kind": "content", "text": "é", "tokens": 1}
    whole = playback(script(writes=[{"at": 0, "events": [event]}]))
    cut = playback(script(writes=[{"at": 0, "events": [event], "cut_at": [1, 3]}], cut_in="wire", cut_gap="1ms"))

    assert b"".join(w.data for w in cut) == b"".join(w.data for w in whole)
    assert [len(w.data) for w in cut[:2]] == [1, 2]
    assert [w.at_ns for w in cut] == [0, NS_PER_MS, 2 * NS_PER_MS]
    assert [w.events for w in cut] == [(), (), (("content", 1),)]


def test_a_line_end_replaces_every_newline() -> None:
    for name, end in (("lf", b"\n"), ("crlf", b"\r\n"), ("cr", b"\r")):
        body = body_of(playback(script(writes=[{"at": 0, "events": [{"kind": "done"}]}], line_end=name)))

        assert body == b"data: [DONE]" + end * 2


def test_repeated_writes_have_their_times() -> None:
    writes = playback(script(writes=[{"at": "1s", "repeat": 3, "every": "20ms", "bytes": "a", "fill": 2}]))

    assert [write.at_ns // NS_PER_MS for write in writes] == [1000, 1020, 1040]
    assert body_of(writes) == b"aa" * 3


# -- files -------------------------------------------------------------------------------------------


def test_all_faults_of_a_file_are_reported_at_once_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(
        '{"writes": [{"at": "soon", "events": [{"kind": "oak"}, {"kind": "content", "tokens": -1}]}, {"bytes": 7}]}\n'
        "{oak\n"
        '{"write": [], "end": "bang", "line_end": "lfcr", "cut_every": true}\n'
        '{"writes": [{"at": "2s"}, {"at": "1s", "cut_at": [3, 2]}, 7]}\n'
    )
    with pytest.raises(ValueError) as told:
        read_scripts(path)

    text = str(told.value)
    for place in (
        "s.jsonl:1: writes[0].at: invalid duration",
        "s.jsonl:1: writes[0].events[0].kind: must be one of role,",
        "s.jsonl:1: writes[0].events[1].tokens: must be an integer of at least 0",
        "s.jsonl:1: writes[1].at: is missing",
        "s.jsonl:1: writes[1].bytes: must be a text",
        "s.jsonl:2: not JSON",
        "s.jsonl:3: write: unknown key; use one of",
        "s.jsonl:3: writes: is missing",
        "s.jsonl:3: end: must be one of complete, close, cut, reset, stall",
        "s.jsonl:3: line_end: must be one of lf, crlf, cr",
        "s.jsonl:3: cut_every: must be an integer",
        "s.jsonl:4: writes[1].at: must not be earlier",
        "s.jsonl:4: writes[1].cut_at: must be a list of ascending positions",
        "s.jsonl:4: writes[2]: must be a JSON object",
    ):
        assert place in text


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "has no script"), ("{\n oak\n}", "not JSON"), ("[]", "has no script"), ("7", "must be a JSON object")],
)
def test_a_file_without_a_script_is_an_error(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(content)

    with pytest.raises(ValueError, match=said):
        read_scripts(path)


def test_all_invalid_options_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as told:
        LlmConfig.of_options(
            ttft="soon",
            itl="-1ms",
            per_token="x",
            service="5ms",
            warmup_penalty="y",
            jitter="200%",
            slots=-1,
            warmup_requests=-1,
            tokens_per_event=0,
            output=0,
            context=1,
            tokens_per_word=float("nan"),
            engine="tgi",
            port=70_000,
            model=[""],
            script=str(tmp_path / "nothing.json"),
            log=tmp_path / "no" / "log.jsonl",
            core=9999,
        )

    for option in (
        *("--ttft", "--itl", "--per-token", "--service", "--warmup-penalty", "--jitter", "--slots", "--output"),
        *("--warmup-requests", "--tokens-per-event", "--context", "--tokens-per-word", "--engine", "--port"),
        *("--model", "--script", "--log", "--core"),
    ):
        assert option in told.value.message


def test_scripts_of_a_file_are_used_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    contents = [{"writes": [{"at": 0, "events": [{"text": text}]}]} for text in ("a", "b")]
    path.write_text(json.dumps(contents))
    with llm_in_thread(script=str(path)) as server:
        replies = [answer_of(server.url, "/v1/chat/completions", chat_body()) for _ in range(3)]

    assert [reply.data[0]["choices"][0]["delta"]["content"] for reply in replies] == ["a", "b", "a"]


# -- what a client gets ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[LlmServer]:
    with llm_in_thread() as running:
        yield running


def ask(server: LlmServer, name: str, path: str = "/v1/chat/completions") -> Reply:
    return answer_of(server.url, path, chat_body(model=f"script:{name}", max_tokens=5))


@pytest.mark.parametrize(
    ("name", "ended", "last"),
    [
        ("no-done", "complete", '"usage"'),
        ("no-last-blank-line", "complete", "data: [DONE]"),
        ("error-in-band", "complete", '{"error":'),
        ("truncated", "closed", '"content":" lamp"'),
        ("truncated-cleanly", "complete", '"content":" lamp"'),
        ("closed", "closed", '"content":" lamp"'),
        ("reset", "reset", '"content":" lamp"'),
    ],
)
def test_streams_that_fail_end_as_their_names_say(server: LlmServer, name: str, ended: str, last: str) -> None:
    reply = ask(server, name)

    assert reply.status == 200
    assert reply.ended == ended
    assert last in reply.events[-1]
    assert reply.wire.endswith(b"400\r\ndata: {") == (name == "truncated")


def test_an_error_of_anthropics_stream_is_an_event(server: LlmServer) -> None:
    reply = ask(server, "error-in-band", "/v1/messages")

    assert reply.events[-1].startswith("event: error\n")
    assert reply.data[-1]["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [("json", 200, "application/json"), ("html", 200, "text/html"), ("rate-limited", 429, "application/json")],
)
def test_answers_that_are_no_stream_have_their_type(server: LlmServer, name: str, status: int, kind: str) -> None:
    reply = ask(server, name)

    assert (reply.status, reply.headers["content-type"]) == (status, kind)
    assert name != "json" or reply.json["choices"][0]["message"]["content"] == "A"


def test_a_redirect_leads_to_an_answer(server: LlmServer) -> None:
    reply = ask(server, "redirect")
    followed = answer_of(server.url, reply.headers["location"], chat_body(max_tokens=2))

    assert reply.status == 307
    assert followed.events[-1] == "data: [DONE]"


def test_a_packed_stream_unpacks_to_a_complete_one(server: LlmServer) -> None:
    reply = ask(server, "gzip")

    assert reply.headers["content-encoding"] == "gzip"
    assert reply.events[-1] == "data: [DONE]"
    assert len(reply.data) == 13


def test_events_with_faults_are_sent_as_they_are(server: LlmServer) -> None:
    assert "data: {oak" in ask(server, "bad-json").events
    assert b"\xff" in ask(server, "not-utf8").body
    assert b"\0" in ask(server, "nul").body
    assert ask(server, "two-finishes").body.count(b'"finish_reason":"stop"') == 2
    assert [d["usage"]["completion_tokens"] for d in ask(server, "usage-falls").data if "usage" in d] == [3, 2]
    assert ask(server, "comments").body.startswith("\N{ZERO WIDTH NO-BREAK SPACE}: OPENROUTER".encode())
    assert b"\n" not in ask(server, "no-newline").body.partition(b"\n\n")[2]


def test_usage_of_scripts_comes_as_they_say(server: LlmServer) -> None:
    assert not [d for d in ask(server, "usage-none").data if "usage" in d]
    assert [d["usage"]["completion_tokens"] for d in ask(server, "usage-continuous").data] == [
        *range(0, 21, 2),
        20,
        20,
    ]


def test_a_huge_event_reaches_a_slow_reader_whole(server: LlmServer) -> None:
    reply = ask(server, "huge-event")

    assert max(map(len, reply.events)) == 64 * 4 * 262_144 + len("data: ")
    assert reply.events[-1] == "data: [DONE]"


def test_a_stalled_stream_stays_open_until_its_client_leaves(server: LlmServer) -> None:
    wire = Wire(server.url)
    wire.send("/v1/chat/completions", chat_body(model="script:stall"))
    data = b""
    while data.count(b" lamp") < 5:
        data += wire.sock.recv(65_536)
    wire.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        wire.sock.recv(1)
    running = answer_of(server.url, "/stats").json["running"]
    wire.close()

    assert running == 1
    while answer_of(server.url, "/stats").json["running"]:
        pass


def test_an_unknown_script_is_an_unknown_model(server: LlmServer) -> None:
    assert ask(server, "nothing").status == 404
