"""Servers that answer gRPC wrongly, and random exchanges in which grpcio's own client is the oracle."""

from __future__ import annotations

import asyncio
import gzip
import random
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.grpc_client.messages import MessageReader, framed
from loadgen.clients.grpc_client.metadata import lines_of, metadata_in, timeout_line
from loadgen.clients.grpc_client.status import Status, status_in
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.errors import RequestFailed, UsageError
from tests.support.grpc_server import SERVICE, grpc_server
from tests.support.http2 import Asked, Served, http2_server, prior_pool
from tests.support.scripted import client_of, ok, rows_of, scripted

GRPC = ("content-type", "application/grpc")
DONE = (("grpc-status", "0"),)


# -- messages, metadata and status, without a network ---------------------------------------------


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=12), st.data())
def test_messages_are_the_same_however_the_bytes_are_cut(
    messages: list[tuple[bytes, bool]], data: st.DataObject
) -> None:
    stream = b"".join(framed(message, is_packed=packed) for message, packed in messages)
    reader = MessageReader()
    reader.encoding = "gzip"
    found: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found == [message for message, _ in messages]
    assert reader.is_between


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"\0\xff\xff\xff\xff", "grpc message too large"),
        (b"\2\0\0\0\1x", "protocol"),
        (b"\1\0\0\0\1x", "protocol"),
        (framed(b"a" * 2000, is_packed=True), "grpc message too large"),
        (b"\1" + (10).to_bytes(4, "big") + gzip.compress(b"abc", mtime=0)[:10], "protocol"),
    ],
)
def test_what_is_no_message_is_an_outcome(data: bytes, outcome: str) -> None:
    reader = MessageReader(max_bytes=1000)
    reader.encoding = "gzip"
    with pytest.raises(RequestFailed) as caught:
        reader.feed(data)
    assert caught.value.outcome == outcome


@given(st.integers(1, 10**18))
def test_a_deadline_has_at_most_8_digits_and_is_never_shorter(timeout_ns: int) -> None:
    text = timeout_line(timeout_ns).decode().removeprefix("grpc-timeout: ").rstrip()
    sizes = {"n": 1, "u": 10**3, "m": 10**6, "S": 10**9, "M": 60 * 10**9, "H": 3600 * 10**9}
    number, size = int(text[:-1]), sizes[text[-1]]
    assert len(text) <= 9
    assert timeout_ns <= number * size <= timeout_ns * 1.000_001 + size


@given(st.lists(st.tuples(st.sampled_from(["x-a", "x-b-bin", "k.1_2"]), st.binary(max_size=20)), max_size=5))
def test_metadata_come_back_as_they_were(pairs: list[tuple[str, bytes]]) -> None:
    given_ = [(name, value if name.endswith("-bin") else value.hex()) for name, value in pairs]
    lines = lines_of(given_).split(b"\r\n")[:-1]
    fields = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    assert list(metadata_in(fields)) == given_


def test_all_wrong_metadata_are_named_together() -> None:
    wrong: Any = (("X Y", "a"), ("grpc-timeout", "1"), ("te", "b"), ("a-bin", "c"), ("d", "e\n"), ("f", 3), "g")
    with pytest.raises(UsageError) as caught:
        lines_of(wrong)
    assert caught.value.message.count(";") == len(wrong) - 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"grpc-status", b"5"), (b"grpc-message", b"no%20such%C3%A4")], Status(5, "no suchä")),
        ([(b"grpc-status", b"x")], Status(2)),
        ([(b"grpc-status", b"99"), (b"grpc-message", b"%zz")], Status(99, "%zz")),
        ([(b"x", b"0")], None),
    ],
)
def test_a_status_is_read_from_trailers(fields: list[tuple[bytes, bytes]], status: Status | None) -> None:
    assert status_in(fields) == status


# -- servers that answer wrongly --------------------------------------------------------------------


async def no_status(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC)
    served.data(asked.stream, framed(b"a"), end=True)


async def no_message(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC, *DONE, end=True)


async def two_messages(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC)
    served.data(asked.stream, framed(b"a") + framed(b"b"))
    served.headers(asked.stream, None, *DONE, end=True)


async def half_a_message(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC)
    served.data(asked.stream, framed(b"abc")[:-1])
    served.headers(asked.stream, None, *DONE, end=True)


async def too_large(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC)
    served.data(asked.stream, b"\0\xff\xff\xff\xff")
    served.headers(asked.stream, None, *DONE, end=True)


async def shorter_than_its_length(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC, ("content-length", "99"))
    served.data(asked.stream, framed(b"a"))
    served.headers(asked.stream, None, *DONE, end=True)


async def longer_than_its_length(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC, ("content-length", "3"))
    served.data(asked.stream, framed(b"a"))
    served.headers(asked.stream, None, *DONE, end=True)


async def a_length_into_the_next_message(served: Served, asked: Asked) -> None:
    """The prefix of the first message covers the second one and more."""
    served.headers(asked.stream, 200, GRPC)
    served.data(asked.stream, b"\0\0\0\0\xff" + framed(b"a") + framed(b"b"))
    served.headers(asked.stream, None, *DONE, end=True)


async def an_unknown_flag(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC)
    served.data(asked.stream, b"\7" + framed(b"a")[1:])
    served.headers(asked.stream, None, *DONE, end=True)


async def packed_without_a_word(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC)
    served.data(asked.stream, framed(b"a", is_packed=True))
    served.headers(asked.stream, None, *DONE, end=True)


async def only_a_head(served: Served, asked: Asked) -> None:
    """The server closes its side with the head, without a status."""
    served.headers(asked.stream, 200, GRPC, end=True)


async def trailers_without_a_status(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC)
    served.data(asked.stream, framed(b"a"))
    served.headers(asked.stream, None, ("x-cost", "7"), end=True)


async def a_status_that_is_no_number(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC)
    served.headers(asked.stream, None, ("grpc-status", "OK"), ("grpc-message", "%zz\u00e4"), end=True)


async def gone_in_the_middle(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC)
    served.data(asked.stream, framed(b"a"))
    served.close()


async def unknown_method(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC, ("grpc-status", "12"), ("grpc-message", "unknown method Get"), end=True)


async def a_page(served: Served, asked: Asked) -> None:
    served.ok(asked.stream, b"<html>", ("content-type", "text/html"), *DONE)


async def unavailable(served: Served, asked: Asked) -> None:
    served.ok(asked.stream, b"<html>", status=503)


async def reset(served: Served, asked: Asked) -> None:
    served.headers(asked.stream, 200, GRPC)
    served.h2.reset_stream(asked.stream, 2)
    served.flush()


ANSWERS = {
    # answer: (outcome of a unary call, of a stream, code of grpcio)
    no_status: ("grpc no status", "grpc no status", grpc.StatusCode.UNKNOWN),
    no_message: ("protocol", "ok", grpc.StatusCode.UNKNOWN),
    two_messages: ("protocol", "ok", grpc.StatusCode.UNKNOWN),
    half_a_message: ("protocol", "protocol", grpc.StatusCode.UNKNOWN),
    too_large: ("grpc message too large", "grpc message too large", grpc.StatusCode.UNKNOWN),
    a_page: ("grpc no status", "grpc no status", grpc.StatusCode.UNKNOWN),
    unavailable: ("http 503", "http 503", grpc.StatusCode.UNAVAILABLE),
    shorter_than_its_length: ("protocol", "protocol", grpc.StatusCode.UNAVAILABLE),
    longer_than_its_length: ("protocol", "protocol", grpc.StatusCode.UNAVAILABLE),
    a_length_into_the_next_message: ("protocol", "protocol", grpc.StatusCode.UNKNOWN),
    an_unknown_flag: ("protocol", "protocol", grpc.StatusCode.UNKNOWN),
    packed_without_a_word: ("protocol", "protocol", grpc.StatusCode.UNKNOWN),
    only_a_head: ("grpc no status", "grpc no status", grpc.StatusCode.UNKNOWN),
    trailers_without_a_status: ("grpc no status", "grpc no status", grpc.StatusCode.UNKNOWN),
    a_status_that_is_no_number: ("grpc unknown", "grpc unknown", grpc.StatusCode.UNKNOWN),
    unknown_method: ("grpc unimplemented", "grpc unimplemented", grpc.StatusCode.UNIMPLEMENTED),
    reset: ("h2 internal_error", "h2 internal_error", grpc.StatusCode.UNAVAILABLE),
}


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
async def test_a_wrong_answer_has_its_outcome_and_the_next_call_is_sent(answer: Any) -> None:
    unary, stream, code = ANSWERS[answer]
    async with http2_server(answer) as server, client_of(server.url, pool=prior_pool()) as client:
        channel = GrpcChannel(client)
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                await channel.unary_unary("/s/Get")(b"")
            error: Any = caught.value
            assert (error.outcome, error.code()) == (unary, code)
        for _ in range(2):
            call = channel.unary_stream("/s/Watch")(b"")
            try:
                async for _message in call:
                    pass
            except grpc.RpcError:
                assert stream != "ok"
        assert Counter(row.outcome for row in rows_of(client)) == Counter([unary] * 2 + [stream] * 2)


async def test_a_server_that_ends_its_side_first_ends_the_call_of_a_client_that_still_writes() -> None:
    async def impatient(served: Served, asked: Asked) -> None:
        await served.until(lambda: bool(asked.body))
        served.headers(asked.stream, 200, GRPC)
        served.data(asked.stream, framed(b"enough"))
        served.headers(asked.stream, None, *DONE, end=True)

    async with http2_server(impatient, early=True) as server, client_of(server.url, pool=prior_pool()) as client:
        channel = GrpcChannel(client)
        for _ in range(2):
            call = channel.stream_stream("/s/Chat")()
            await call.write(b"a")
            assert await call.read() == b"enough"
            assert await call.read() is aio.EOF
            with pytest.raises(asyncio.InvalidStateError):
                await call.write(b"b")
            assert await call.code() is grpc.StatusCode.OK
        assert await channel.stream_unary("/s/Sum")([b"a"] * 3) == b"enough"
        assert [row.outcome for row in rows_of(client)] == ["ok"] * 3


async def test_a_server_that_goes_in_the_middle_is_an_outcome_of_both_kinds_of_calls() -> None:
    async with http2_server(gone_in_the_middle) as server, client_of(server.url, pool=prior_pool()) as client:
        channel = GrpcChannel(client)
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                await channel.unary_unary("/s/Get")(b"")
            with pytest.raises(grpc.RpcError):
                async for _message in channel.unary_stream("/s/Watch")(b""):
                    pass
        assert len(rows_of(client)) == 4
        # Whether the kernel sends the bytes before it resets the connection is chance.
        assert {row.outcome for row in rows_of(client)} <= {"protocol", "reset"}


async def test_a_message_beyond_the_limit_of_the_server_has_its_status_and_the_connection_goes_on() -> None:
    async with (
        grpc_server(**{"grpc.max_receive_message_length": 1_000}) as server,
        client_of(server.url, pool=prior_pool()) as client,
    ):
        get = GrpcChannel(client).unary_unary(f"/{SERVICE}/Get")
        assert len(await get(b"a" * 1_000)) == 1_000
        with pytest.raises(grpc.RpcError):
            await get(b"a" * 1_001)
        assert len(await get(b"a" * 10)) == 10
        assert [row.outcome for row in rows_of(client)] == ["ok", "grpc resource_exhausted", "ok"]
        assert client.pool.opened == 1


@pytest.mark.parametrize("count", [1, 63, 64, 65, 300])
async def test_messages_that_come_in_one_read_are_all_there_with_one_gap_each(count: int) -> None:
    """Also more of them than the connection reads in one turn, and with a frame of another kind in their middle."""
    half = count // 2

    async def bursts(served: Served, asked: Asked) -> None:
        served.headers(asked.stream, 200, GRPC)
        for n in range(count):
            served.h2.send_data(asked.stream, framed(n.to_bytes(2, "big")))
            if n == half:
                served.h2.ping(b"12345678")
        served.h2.send_headers(asked.stream, DONE, end_stream=True)
        served.flush()

    async with http2_server(bursts) as server, client_of(server.url, pool=prior_pool()) as client:
        call = GrpcChannel(client).unary_stream("/s/Watch")(b"")
        assert [int.from_bytes(message, "big") async for message in call] == list(range(count))
        delta = client.meter.recorder.flip(0, 1)
        found = {delta.new_series[one.series].metric: one.n for one in delta.stats}
        assert (found["first_message"], found.get("message_gap", 0)) == (1, count - 1)
        assert [row.outcome for row in rows_of(client)] == ["ok"]


async def test_a_slow_journey_gets_every_message_of_a_fast_server() -> None:
    """2,000 messages of 2,000 bytes are more than wait at once, so reading pauses and goes on."""
    async with grpc_server() as server, client_of(server.url, pool=prior_pool()) as client:
        count = 0
        async for message in GrpcChannel(client).unary_stream(f"/{SERVICE}/Watch")(b"2000,2000"):
            assert message == bytes([count % 256]) * 2_000
            count += 1
            if count % 500 == 0:
                await asyncio.sleep(0.05)
        assert count == 2_000


async def test_http1_cannot_be_used_and_the_error_names_the_setting() -> None:
    async with scripted(ok()) as server, client_of(server.url, pool=ConnectionPool(TcpNetwork())) as client:
        with pytest.raises(UsageError, match="gRPC needs HTTP/2"):
            GrpcChannel(client)


async def test_a_target_that_chooses_http1_has_outcomes_that_say_so(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    pool = Http2Pool(TcpNetwork(), tls_context(tmp_path / "ca.pem", Http(http2=True)))
    async with scripted(ok(), tls=context) as server, client_of(server.url, pool=pool) as client:
        channel = GrpcChannel(client)
        with pytest.raises(grpc.RpcError) as caught:
            await channel.unary_unary("/s/Get")(b"")
        unary: Any = caught.value
        with pytest.raises(grpc.RpcError) as caught:
            await channel.stream_unary("/s/Sum")([b"a"])
        stream: Any = caught.value
        assert (unary.outcome, stream.outcome) == ("grpc no status", "protocol")
        assert "check that its TLS offers h2 (ALPN)" in str(stream)
        assert [row.outcome for row in rows_of(client)] == ["grpc no status", "protocol"]


async def test_a_server_that_never_answers_is_a_time_out_of_its_call_alone() -> None:
    async def never(served: Served, asked: Asked) -> None:
        if asked.path == "/s/Other":
            served.headers(asked.stream, 200, GRPC)
            served.data(asked.stream, framed(b"b"))
            served.headers(asked.stream, None, *DONE, end=True)

    async with http2_server(never) as server, client_of(server.url, pool=prior_pool()) as client:
        channel = GrpcChannel(client)
        hanging = asyncio.ensure_future(channel.unary_unary("/s/Get")(b"", timeout="200ms")._run())
        assert await channel.unary_unary("/s/Other")(b"") == b"b"
        with pytest.raises(grpc.RpcError) as caught:
            await hanging
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert {asked.path: asked.header("grpc-timeout") for asked in server.asked} == {
            "/s/Get": "200000u",
            "/s/Other": None,
        }
        assert {row.outcome for row in rows_of(client)} == {"timeout", "ok"}


# -- grpcio's client as the oracle ------------------------------------------------------------------


async def exchange(channel: Any, rng: random.Random) -> Any:
    """One random call, and what came back."""
    kind = rng.choice(("Get", "Fail", "Watch", "Sum", "Chat"))
    gzipped = rng.choice((None, grpc.Compression.Gzip))
    metadata = (("x-n", str(rng.randrange(1000))), ("x-raw-bin", rng.randbytes(rng.randrange(9))))
    options: dict[str, Any] = {"compression": gzipped, "metadata": metadata, "timeout": 20}
    sizes = [rng.choice((0, 1, 100, 20_000)) for _ in range(rng.randrange(1, 6))]
    messages = [rng.randbytes(1) * size for size in sizes]
    path = f"/{SERVICE}/{kind}"
    try:
        if kind in ("Get", "Fail"):
            request = bytes([rng.randrange(1, 17)]) if kind == "Fail" else messages[0]
            call = channel.unary_unary(path)(request, **options)
            return kind, await call, dict(await call.trailing_metadata()), await call.code()
        if kind == "Watch":
            call = channel.unary_stream(path)(f"{len(sizes)},{rng.choice((0, 5, 5_000))}".encode(), **options)
            found = []
            while (message := await call.read()) is not aio.EOF:
                found.append(message)
            return kind, found, await call.code()
        if kind == "Sum":
            return kind, await channel.stream_unary(path)(iter(messages), **options)
        call = channel.stream_stream(path)(**options)
        found = []
        for message in messages:
            await call.write(message)
            found.append(await call.read())
        await call.done_writing()
        return kind, found, await call.read() is aio.EOF, await call.code()
    except grpc.RpcError as error:
        failed: Any = error
        trailers = {key: value for key, value in failed.trailing_metadata() or ()}
        return kind, failed.code(), failed.details(), trailers


async def compared(count: int, seed: int) -> None:
    async with (
        grpc_server() as server,
        client_of(server.url, pool=prior_pool()) as client,
        aio.insecure_channel(f"127.0.0.1:{server.port}") as theirs,
    ):
        ours = GrpcChannel(client)
        for n in range(count):
            wanted = await exchange(theirs, random.Random(seed + n))
            assert await exchange(ours, random.Random(seed + n)) == wanted
        assert len(rows_of(client)) == count
        half = len(server.calls) // 2
        assert half == count
        sent = [{key: value for key, value in one.items() if key.startswith("x-")} for one in server.metadata]
        assert sent[::2] == sent[1::2]


async def test_random_calls_return_what_they_return_by_grpcio() -> None:
    await compared(60, 0)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_5_000_random_calls_return_what_they_return_by_grpcio() -> None:
    await compared(5_000, 1_000)
