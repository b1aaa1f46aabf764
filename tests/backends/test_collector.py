"""The collector over real sockets: what SDKs send it keeps, whatever else comes it survives, within its limits."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from loadgen.backends.collector import server as collector_server
from loadgen.backends.collector.server import Collector, CollectorConfig, serve
from loadgen.errors import PortBusy
from tests.backends.test_otlp_parts import TRACES, as_json, request_of

CONFIG = CollectorConfig(port=0)
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json; charset=utf-8"}
ID = TRACES[0].hex()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with serve(CONFIG) as running:
        yield running


@pytest.fixture
async def client(collector: Collector) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=collector.url, trust_env=False) as made:
        yield made


async def test_spans_in_protobuf_and_json_become_one_trace_as_jaeger_returns_it(client: httpx.AsyncClient) -> None:
    first, second = request_of([(0, 0, 0)], kind=2), request_of([(1, 0, 0), (1, 0, 1)])
    sent = await client.post("/v1/traces", content=first.SerializeToString(), headers=PROTOBUF)
    also = await client.post("/v1/traces", content=json.dumps(as_json(second)), headers=JSON)

    assert (sent.status_code, sent.headers["content-type"], sent.content) == (200, "application/x-protobuf", b"")
    assert (also.status_code, also.json()) == (200, {})
    found = (await client.get(f"/api/v3/traces/{ID}?raw_traces=true")).json()
    services = [one["resource"]["attributes"][0]["value"]["stringValue"] for one in found["result"]["resourceSpans"]]
    assert services == ["service-0", "service-1"]


async def test_gzip_is_unpacked(client: httpx.AsyncClient) -> None:
    body = gzip.compress(request_of([(0, 0, 0)]).SerializeToString())
    sent = await client.post("/v1/traces", content=body, headers=PROTOBUF | {"Content-Encoding": "gzip"})

    assert sent.status_code == 200
    assert (await client.get(f"/api/v3/traces/{ID.upper()}")).status_code == 200


async def test_rejected_spans_are_counted_in_the_answer_and_the_others_are_kept(client: httpx.AsyncClient) -> None:
    message = request_of([(0, 0, 0), (0, 0, 0)])
    message.resource_spans[0].scope_spans[0].spans[1].span_id = b"short"

    binary = await client.post("/v1/traces", content=message.SerializeToString(), headers=PROTOBUF)
    text = await client.post("/v1/traces", content=json.dumps(as_json(message)), headers=JSON)

    partial = ExportTraceServiceResponse.FromString(binary.content).partial_success
    assert (partial.rejected_spans, partial.error_message) == (1, "1 spans without valid ids")
    assert text.json() == {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "1 spans without valid ids"}}


async def test_metrics_and_logs_are_dropped_with_a_warning(client: httpx.AsyncClient) -> None:
    for path in ("/v1/metrics", "/v1/logs"):
        answer = (await client.post(path, content=b"{}", headers=JSON)).json()
        assert answer["partialSuccess"]["rejectedSpans"] == "0"
        assert "keeps traces only" in answer["partialSuccess"]["errorMessage"]


async def test_the_health_page_shows_what_is_kept_and_dropped(collector: Collector, client: httpx.AsyncClient) -> None:
    await client.post("/v1/traces", content=request_of([(0, 0, 0), (0, 0, 1)]).SerializeToString(), headers=PROTOBUF)
    health = (await client.get("/health")).json()

    assert (health["status"], health["traces"], health["dropped_spans"]) == ("ok", 2, 0)
    assert health["since_start"]["spans"] == 2
    assert health["bytes"] == collector.ring.size > 0


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", f"/api/v3/traces/{ID}", b"", {}, 404),
        ("GET", "/api/v3/traces/zz", b"", {}, 400),
        ("GET", "/api/v3/services", b"", {}, 404),
        ("DELETE", "/health", b"", {}, 405),
        ("GET", "/v1/traces", b"", {}, 405),
        ("POST", "/v1/traces", b"{", JSON, 400),
        ("POST", "/v1/traces", b"\xff\xff", PROTOBUF, 400),
        ("POST", "/v1/traces", b"not gzip", JSON | {"Content-Encoding": "gzip"}, 400),
        ("POST", "/v1/traces", gzip.compress(b"{}", mtime=0)[:-3], JSON | {"Content-Encoding": "gzip"}, 400),
        ("POST", "/v1/traces", b"{}", JSON | {"Content-Encoding": "br"}, 415),
        ("POST", "/v1/traces", b"{}", {"Content-Type": "text/plain"}, 415),
        ("POST", "/v1/traces", b"{}", {}, 415),
        ("GET", "/health", b"", {"Host": "evil.example"}, 403),
    ],
)
async def test_what_cannot_be_answered_gets_its_status(
    client: httpx.AsyncClient, method: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await client.request(method, path, content=body, headers=headers)
    assert answer.status_code == status
    assert (await client.get("/health")).status_code == 200


async def test_a_small_archive_that_unpacks_to_too_much_is_refused(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.backends.collector.requests.PLAIN_BYTES", 1 << 20)
    bomb = gzip.compress(b" " * (2 << 20))
    answer = await client.post("/v1/traces", content=bomb, headers=JSON | {"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["message"]) == (413, "the gzip body has more than 1 MiB")


async def raw(collector: Collector, *pieces: bytes) -> bytes:
    """Send pieces on a connection, and return all that comes until the other side closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


POST = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000], b"431"),
        ([POST + b"Content-Length: 99999999999\r\n\r\n"], b"413"),
        ([POST + b"Content-Length: 2000000\r\n\r\n", b"a" * 2_000_000], b"413"),
        ([POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1e8480\r\n" + b"a" * 2_000_000 + b"\r\n0\r\n\r\n"], b"413"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], b"400"),
        ([POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"], b"400"),
    ],
)
async def test_requests_beyond_the_limits_are_refused_and_the_connection_closes(
    collector: Collector, pieces: list[bytes], status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_server, "BODY_BYTES", 1 << 20)
    answer = await raw(collector, *pieces)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1 4") == 1
    assert collector.open_bytes == 0
    assert collector.ring.counts.refused_requests == 1


async def test_requests_that_are_received_at_the_same_time_share_a_limit(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_server, "OPEN_BYTES", 100_000)
    _, slow = await asyncio.open_connection("127.0.0.1", collector.port)
    slow.write(POST + b"Content-Length: 90000\r\n\r\n" + b" " * 80_000)
    await until(lambda: collector.open_bytes == 80_000)

    refused = await raw(collector, POST + b"Content-Length: 30000\r\n\r\n" + b" " * 30_000)
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 1\r\n" in refused
    slow.close()
    await until(lambda: collector.open_bytes == 0)


async def test_connections_that_stay_silent_are_closed(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_server, "REQUEST_S", -1.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    writer.write(b"POST /v1/traces HT")
    await until(lambda: any(one._is_begun for one in collector.connections))
    collector._close_silent()

    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readexactly(1)
    writer.close()


async def test_pipelined_requests_are_answered_in_their_order(collector: Collector) -> None:
    get = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"HEAD /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await raw(collector, get + get + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    head = answer.rpartition(b"HTTP/1.1 ")[2]
    assert head.startswith(b"404")
    assert head.endswith(b"\r\n\r\n")


async def test_a_port_in_use_is_an_error_with_a_hint(collector: Collector) -> None:
    with pytest.raises(PortBusy, match="cannot listen on") as caught:
        async with serve(replace(CONFIG, port=collector.port)):
            pass
    assert "--listen" in caught.value.hint


async def test_a_collector_that_drops_traces_says_so_to_the_sender(client: httpx.AsyncClient) -> None:
    async with serve(replace(CONFIG, most_traces=1)) as small, httpx.AsyncClient(base_url=small.url) as other:
        for trace in (0, 1, 0):
            body = json.dumps(as_json(request_of([(0, 0, trace)])))
            answer: dict[str, Any] = (await other.post("/v1/traces", content=body, headers=JSON)).json()

        assert "beyond the collector's memory" in answer["partialSuccess"]["errorMessage"]
        assert (await other.get(f"/api/v3/traces/{ID}")).status_code == 404


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.002)
