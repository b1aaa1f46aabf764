"""Backends that answer wrongly, slowly or for ever: each ends in time, with a reason, and with what was read before."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from loadgen.backends import by_id, fetch
from loadgen.backends.backend import Answer, BackendRefused, Found, Missing, Progress, Refused
from loadgen.backends.fetch import Ask, Fetcher, NotFetched
from loadgen.backends.jaeger import JaegerBackend
from loadgen.backends.open_backend import open_backend
from loadgen.backends.settings import AuthHeader, TraceSource
from loadgen.errors import ExitCode, UsageError
from tests.backends.test_recorded_answers import ID, KEYS, OTHER, SECRETS, recorded
from tests.support.metrics_server import metrics_server, page_reply
from tests.support.trace_backend import Asked, Said, StandIn, stand_in

GOOD = recorded("jaeger-trace.json")
IDS = [f"{n:032x}" for n in range(1, 31)]


class Clock:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds

    def __call__(self) -> float:
        return self.now_s


def for_id(path: str) -> bytes:
    """Jaeger's answer with the trace id of the path."""
    return GOOD.replace(ID.encode(), path.split("/")[-1].partition("?")[0].encode())


def read(server: StandIn, ids: list[str], clock: Clock | None = None, kind: Any = "jaeger") -> dict[str, Answer]:
    return dict(started(server, clock or Clock(), kind).read(ids))


def started(server: StandIn, clock: Clock, kind: Any = "jaeger") -> Any:
    auth = KEYS if kind == "datadog" else (AuthHeader("Authorization", "token"),)
    source = TraceSource(name="t", backend=kind, url=server.url, auth=auth)
    return open_backend(source, SECRETS, pause=clock.pause, clock=clock)


def for_each(reading: Iterator[tuple[str, Answer]], got: list[str]) -> None:
    for one, _ in reading:
        got.append(one)  # what comes before an error must be in the list


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("kind", "permission"),
    [("jaeger", "auth"), ("zipkin", "auth"), ("tempo", "traces:read"), ("datadog", "apm_read"), ("collector", "url")],
)
def test_a_missing_permission_is_named_and_ends_the_reading(kind: str, permission: str, status: int) -> None:
    with (
        stand_in(lambda _: Said(status, '{"errors":["Forbidden: Bearer canary-token"]}')) as server,
        pytest.raises(BackendRefused, match=f"answered http {status}") as caught,
    ):
        read(server, IDS, kind=kind)
    assert permission in caught.value.hint
    assert caught.value.exit_code == ExitCode.INCOMPLETE
    assert "canary" not in caught.value.with_hint
    assert len(server.asked) <= 4


def test_a_redirect_is_not_followed_and_its_host_is_named() -> None:
    with (
        stand_in(lambda _: Said(302, headers={"Location": "https://me:pw@login.example/sso?x=1"})) as server,
        pytest.raises(BackendRefused, match=r"answered http 302: a redirect to login\.example$") as caught,
    ):
        read(server, [ID])
    assert "login" in caught.value.hint
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "text/plain"])
def test_a_web_page_instead_of_a_trace_is_named(kind: str) -> None:
    page = "\n <!DOCTYPE html><html><script>alert('canary')</script></html>"
    with (
        stand_in(lambda _: Said(200, page, kind=kind)) as server,
        pytest.raises(BackendRefused, match="a web page instead of a trace") as caught,
    ):
        read(server, [ID])
    assert "canary" not in caught.value.with_hint


@pytest.mark.parametrize("kind", ["jaeger", "zipkin", "tempo", "datadog"])
def test_a_404_page_means_an_unknown_call_and_not_a_missing_trace(kind: str) -> None:
    with (
        stand_in(lambda _: Said(404, "<html><h1>Not Found</h1>", kind="text/html")) as server,
        pytest.raises(BackendRefused, match=r"has no /api/v\d/trace") as caught,
    ):
        read(server, [ID], kind=kind)
    assert "it must lead to" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("jaeger", '{"error":{"httpCode":500,"message":"storage\\u001b[31m is down"}}', "storage[31m is down"),
        ("jaeger", '{"result": 5}', "OTLP JSON"),
        ("jaeger", "{", "not valid JSON"),
        ("jaeger", "[]", "does not have the expected format"),
        ("jaeger", '{"a":' * 3_000, "not valid JSON"),
        ("jaeger", b"\xff\xfe", "not valid JSON"),
        ("datadog", '{"errors":["quota of canary-key exceeded"]}', "quota of *** exceeded"),
        ("datadog", "nope", "not valid JSON"),
        ("zipkin", '{"error":"Not Found","message":"no storage"}', "no storage"),
        ("zipkin", '{"a":1}', "not a list of traces"),
        ("zipkin", "", "not valid JSON"),
        ("tempo", b"\x0a\xff\xff", "message of Tempo"),
    ],
)
def test_an_error_or_nonsense_with_status_200_is_refused_with_the_text(kind: str, body: str | bytes, why: str) -> None:
    media = "application/protobuf" if kind == "tempo" else "application/json"
    with stand_in(lambda _: Said(200, body, kind=media)) as server:
        answer = read(server, [ID], kind=kind)[ID]
    assert isinstance(answer, Refused)
    assert why.replace("[31m", "\\x1b[31m") in answer.reason
    assert answer.reason.isprintable()
    assert len(answer.reason) <= 160


def test_spans_of_another_trace_are_not_taken_for_the_asked_one() -> None:
    with stand_in(lambda _: Said(200, GOOD)) as server:
        assert read(server, [OTHER]) == {OTHER: Refused("the backend returned 2 spans of another trace")}


def test_spans_of_other_traces_beside_the_asked_one_are_dropped() -> None:
    document = json.loads(GOOD)
    document["result"]["resourceSpans"][1]["scopeSpans"][0]["spans"][0]["traceId"] = OTHER
    with stand_in(lambda _: Said(200, json.dumps(document))) as server:
        answer = read(server, [ID])[ID]
    assert isinstance(answer, Found)
    assert [one.id for one in answer.trace.spans] == ["00000000000000a1"]


@pytest.mark.parametrize("stored", ["6a00000000000000" + "0" * 16, ID[16:].zfill(32)])
def test_a_trace_that_is_stored_with_the_lower_half_of_its_id_is_the_same(stored: str) -> None:
    with stand_in(lambda _: Said(200, GOOD.replace(ID.encode(), stored.encode()))) as server:
        answer = read(server, [ID])[ID]
    if stored.startswith("6a"):
        assert isinstance(answer, Refused)
    else:
        assert isinstance(answer, Found)
        assert answer.trace.id == ID


def test_an_answer_without_spans_is_a_missing_trace() -> None:
    with stand_in(lambda _: Said(200, '{"result":{"resourceSpans":[]}}')) as server:
        assert read(server, [ID]) == {ID: Missing()}


def test_a_429_is_waited_for_as_the_backend_says_and_asked_again() -> None:
    clock, waits = Clock(), iter(["7", "", "3"])

    def answer(asked: Asked) -> Said:
        wait = next(waits, None)
        return (
            Said(200, for_id(asked.path)) if wait is None else Said(429, headers={"Retry-After": wait} if wait else {})
        )

    with stand_in(answer) as server:
        found = read(server, [ID], clock)
    assert isinstance(found[ID], Found)
    assert clock.pauses == [7.0, 7.0, 3.0]  # without a time it is as long as was waited so far


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": format_datetime(datetime(2001, 1, 1, tzinfo=UTC), usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-reset": "30"}, 30.0),
        ({"ratelimit": "limit=100, remaining=0, reset=50"}, 50.0),
        ({"ratelimit": '"default";r=0;t=45'}, 45.0),
        ({"retry-after": "-5"}, None),
        ({}, None),
    ],
)
def test_the_time_to_wait_is_read_from_all_usual_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert by_id._seconds_to_wait(headers) == seconds


def test_a_time_to_wait_may_be_a_date() -> None:
    at = datetime.now(UTC) + timedelta(seconds=100)
    assert by_id._seconds_to_wait({"retry-after": format_datetime(at, usegmt=True)}) == pytest.approx(100, abs=30)


def test_a_429_for_ever_ends_and_what_was_read_stays() -> None:
    clock = Clock()

    def answer(asked: Asked) -> Said:
        return Said(200, for_id(asked.path)) if len(server.asked) <= 4 else Said(429, "slow down")

    got: list[str] = []
    with stand_in(answer) as server, pytest.raises(BackendRefused, match=r"answered http 429 for \d+ s") as caught:
        for_each(started(server, clock).read(IDS), got)
    assert got == IDS[:4]
    assert "traces that were read are stored" in caught.value.hint
    assert sum(clock.pauses) <= by_id.PATIENCE_S


def test_a_wait_beyond_all_patience_is_not_waited_for() -> None:
    clock = Clock()
    with (
        stand_in(lambda _: Said(429, headers={"Retry-After": "86400"})) as server,
        pytest.raises(BackendRefused, match="next pause: 86400 s"),
    ):
        read(server, [ID], clock)
    assert clock.pauses == []


def test_a_503_with_a_time_is_waited_for_and_one_without_is_a_failure() -> None:
    clock, said = Clock(), iter([Said(503, headers={"Retry-After": "2"})])
    with stand_in(lambda asked: next(said, Said(200, for_id(asked.path)))) as server:
        assert isinstance(read(server, [ID], clock)[ID], Found)
    assert clock.pauses == [2.0]


def test_a_failed_call_is_made_again_and_then_refused() -> None:
    def answer(asked: Asked) -> Said:
        return Said(500, "boom") if IDS[3] in asked.path else Said(200, for_id(asked.path))

    with stand_in(answer) as server:
        found = read(server, IDS)
    assert found.pop(IDS[3]) == Refused("Jaeger answered http 500: boom")
    assert all(isinstance(one, Found) for one in found.values())
    assert len(server.asked) == len(IDS) + 1


def test_a_backend_that_breaks_for_good_ends_the_reading_after_what_was_read() -> None:
    def answer(asked: Asked) -> Said:
        return Said(200, for_id(asked.path)) if len(server.asked) <= 8 else Said(502, "bad gateway")

    got: list[str] = []
    with stand_in(answer) as server:
        reading = started(server, Clock()).read(IDS)
        with pytest.raises(BackendRefused, match="cannot be read: Jaeger answered http 502: bad gateway"):
            for_each(reading, got)
        assert len(server.asked) < len(IDS)
    assert got == IDS[:8]


def test_answers_come_before_the_error_that_ends_the_reading() -> None:
    def answer(asked: Asked) -> Said:
        return Said(200, for_id(asked.path)) if len(server.asked) <= 8 else Said(401)

    got = []
    with stand_in(answer) as server:
        reading = started(server, Clock()).read(IDS)
        got += [next(reading) for _ in range(8)]
        with pytest.raises(BackendRefused):
            next(reading)
    assert [(one, type(found)) for one, found in got] == [(one, Found) for one in IDS[:8]]


def test_a_first_call_that_fails_once_is_no_reason_to_give_up() -> None:
    clock, said = Clock(), iter([Said(500, "starting")])
    with stand_in(lambda asked: next(said, Said(200, for_id(asked.path)))) as server:
        assert isinstance(read(server, [ID], clock)[ID], Found)
    assert clock.pauses == [1.0]


def test_a_backend_that_is_not_there_is_named_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    backend = JaegerBackend(Fetcher(f"http://127.0.0.1:{port}"))
    with pytest.raises(BackendRefused, match=f"cannot be read: no connection to http://127.0.0.1:{port}"):
        dict(backend.read(IDS))
    backend.close()


def get(url: str, whole_s: float = 5.0, **more: Any) -> Any:
    fetcher = Fetcher(url, whole_s=whole_s, **more)
    try:
        return fetcher.get([Ask("/x")])[0]
    finally:
        fetcher.close()


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_a_server_that_never_completes_its_answer_costs_no_more_than_the_limit(how: str) -> None:
    with metrics_server() as server:
        getattr(server, how)()
        found = get(server.url, 0.2)
    assert isinstance(found, NotFetched)
    assert str(found) == "no complete answer within 0.2 s"


def test_an_answer_that_breaks_off_is_no_answer() -> None:
    with stand_in(lambda _: Said(200, GOOD, cut=100)) as server:
        found = get(server.url)
    assert isinstance(found, NotFetched)
    assert "peer closed connection" in str(found)


def test_an_endless_answer_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "ANSWER_BYTES", 1 << 20)
    with stand_in(lambda _: Said(200, b" " * (2 << 20))) as server:
        assert str(get(server.url)) == "the answer has more than 1 MiB"


def test_a_small_answer_that_unpacks_to_too_much_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(fetch, "ANSWER_BYTES", 1 << 20)
    body = gzip.compress(b" " * (2 << 20))
    with stand_in(lambda _: Said(200, body, headers={"Content-Encoding": "gzip"})) as server:
        assert str(get(server.url)) == "the compressed answer has more than 1 MiB"


def test_no_error_has_a_secret() -> None:
    def hostile(server: Any) -> None:
        server.reply(page_reply("", "200 OK", "Bearer canary-token: \r\n\r\n\x00"))

    with metrics_server() as server:
        hostile(server)
        server.reply(b"HTTP/1.1 200 OK\r\ncanary-token broken header Bearer canary-token\r\n\r\n")
        found = get(server.url, headers={"Authorization": "Bearer canary-token"}, secrets=["Bearer canary-token"])
    assert isinstance(found, NotFetched)
    assert "canary" not in str(found)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
def test_metadata_addresses_are_never_read(host: str) -> None:
    found = get(f"http://{host}:1")
    assert isinstance(found, NotFetched)
    assert "is not permitted" in str(found)


def test_a_name_that_leads_to_a_metadata_address_is_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)
    found = get("http://traces.example")
    assert isinstance(found, NotFetched)
    assert "traces.example is not permitted" in str(found)


def test_variables_with_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with stand_in(lambda _: Said(200, "{}")) as server:
        assert get(server.url).status == 200


def test_a_secret_that_is_not_set_or_not_one_line_is_named_without_its_value() -> None:
    source = TraceSource(
        name="s", backend="jaeger", url="http://x", auth=(AuthHeader("Authorization", "jaeger-token"),)
    )
    with pytest.raises(UsageError, match=r'trace.s: secret "jaeger-token" is not set') as caught:
        open_backend(source, {})
    assert caught.value.hint == "set LOADGEN_SECRET_JAEGER_TOKEN on this machine"
    with pytest.raises(UsageError, match="cannot be sent in a header") as bad:
        open_backend(source, {"jaeger-token": "canary\nX: y"})
    assert "canary" not in bad.value.with_hint


def test_a_limit_of_calls_a_minute_is_kept_and_told() -> None:
    clock, said = Clock(), list[Progress]()

    def answer(asked: Asked) -> Said:
        one = asked.path.rpartition("/")[2]
        return Said(200, recorded("datadog-trace.json").replace(ID.encode(), one.encode()))

    with stand_in(answer) as server:
        got = dict(started(server, clock, "datadog").read(IDS[:10], said.append))
    assert all(isinstance(one, Found) for one in got.values())
    assert clock.pauses == [1.0] * 9
    assert said[-1] == Progress(7, 7)
