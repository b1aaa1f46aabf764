"""Bodies that are sent piece by piece: what the server gets, how much is held, and what is refused."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.clients.http import HttpClient
from loadgen.clients.net.tls import tls_context
from loadgen.clients.protocol.file_and_generated_bodies import PIECE_BYTES, Blob, FileBody, Source
from loadgen.clients.protocol.request_body_encoding import StreamedRequest, Upload, encode_content, encode_multipart
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.dsl.payload import blob, bodies_made, file
from loadgen.errors import RequestFailed, ScenarioError, UsageError
from tests.support.examples import examples
from tests.support.scripted import CLOSE, HANG, Received, client_of, ok, rows_of, scripted

BIG = 5_000_000


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def echo_of(request: Received) -> bytes:
    return ok(sha(request.body).encode())


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        await asyncio.sleep(0)
        yield piece


# -- sources ------------------------------------------------------------------------------------------


def splitmix64(seed: int, n: int) -> int:
    """The n-th output, from 0, word by word (Vigna's splitmix64.c)."""
    mask = (1 << 64) - 1
    z = (seed + (n + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_a_blob_begins_with_the_known_answers_of_splitmix64() -> None:
    # 0xE220A8397B1DCDAF is the first output of seed 0 in the reference implementation
    assert bytes(Blob(8)) == struct.pack("<Q", 0xE220A8397B1DCDAF)
    assert bytes(Blob(48, seed=-7)) == struct.pack("<6Q", *(splitmix64(-7 & (1 << 64) - 1, n) for n in range(6)))


@given(
    size=st.integers(0, 200_000),
    begin=st.integers(-300_000, 300_000) | st.none(),
    end=st.integers(-300_000, 300_000) | st.none(),
)
@settings(max_examples=examples(60), deadline=None)
def test_a_part_of_a_blob_has_the_bytes_of_that_part(size: int, begin: int | None, end: int | None) -> None:
    whole = Blob(size, seed=3)
    assert bytes(whole[begin:end]) == bytes(whole)[begin:end]
    assert len(whole[begin:end]) == len(bytes(whole)[begin:end])
    assert bytes(whole[begin:end][1:-1]) == bytes(whole)[begin:end][1:-1]


@given(sizes=st.lists(st.integers(-1, 90_000), max_size=12), offset=st.integers(0, 150_000))
@settings(max_examples=examples(40), deadline=None)
def test_a_reader_reads_as_a_file_does(sizes: list[int], offset: int) -> None:
    source = Blob(150_000, seed=1)
    ours, known = source.reader(), io.BytesIO(bytes(source))
    for size in sizes:
        assert ours.read(size) == known.read(size)
        assert ours.tell() == known.tell()
    assert ours.seek(offset) == known.seek(offset)
    assert ours.read(7) == known.read(7)
    assert ours.seek(0, 2) == known.seek(0, 2)


def test_blobs_of_other_seeds_differ_and_do_not_compress() -> None:
    import zlib

    assert bytes(Blob(1000, 1)) != bytes(Blob(1000, 2))
    assert len(zlib.compress(bytes(Blob(100_000)))) > 100_000
    assert Blob(10, 1) == Blob(10, 1) != Blob(10, 2)


def test_a_file_and_its_parts_are_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(Blob(300_001)))
    whole = FileBody(path)
    assert [len(piece) for piece in whole] == [PIECE_BYTES] * 4 + [300_001 - 4 * PIECE_BYTES]
    assert bytes(whole) == path.read_bytes()
    assert bytes(whole[100:-100]) == path.read_bytes()[100:-100]
    first, second = iter(whole), iter(whole)
    assert next(first) == next(second)  # each has a position of its own


def test_a_part_is_of_bytes_in_a_row() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        Blob(10)[::2]


def test_file_and_blob_never_raise_and_keep_what_is_wrong_and_where(tmp_path: Path) -> None:
    for made, message in (
        (file("no such file.bin"), "no file 'no such file.bin'"),
        (file(tmp_path), "is a folder"),
        (file(""), "is not a path of a file"),
        (file(7), "is not a path of a file"),  # type: ignore[arg-type]
        (blob("5 parsecs"), "invalid size"),
        (blob(None), "is not a size"),  # type: ignore[arg-type]
        (blob(-1), "must be at least 0"),
        (blob("1kB", seed="x"), "seed='x'"),  # type: ignore[arg-type]
    ):
        (fault,) = made.faults
        assert message in fault.message
        assert fault.file == __file__
        assert fault.line > 100
        with pytest.raises(ScenarioError, match=message):
            encode_content(made)


def test_what_is_made_while_a_scenario_is_loaded_is_collected_wherever_it_is_kept() -> None:
    with bodies_made() as made:
        kept = {"a": [file("a.bin"), blob(7)]}
        assert file(Path(__file__).name)[1:5] is not None  # parts are of a file that is collected already
    assert made[:2] == kept["a"]
    assert len(made) == 3
    blob(8)
    assert len(made) == 3


def test_a_file_is_found_beside_the_file_that_names_it() -> None:
    mine = file(Path(__file__).name)
    assert not mine.faults
    assert mine.path == Path(__file__)
    assert bytes(mine) == Path(__file__).read_bytes()
    assert bytes(mine[3:9]) == Path(__file__).read_bytes()[3:9]
    assert isinstance(mine[3:9], Source)
    assert bytes(blob("1kB", seed=4)[10:20]) == bytes(Blob(1000, 4))[10:20]


async def test_a_file_that_is_gone_is_an_error_of_the_scenario_and_says_what_to_do(tmp_path: Path) -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        with pytest.raises(UsageError, match=r"gone\.bin cannot be read") as error:
            await client.post("/", content=FileBody(tmp_path / "gone.bin"))
        assert "travels" in error.value.hint
        assert not server.requests


# -- what goes over the wire --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 32 * 1024 + 1, BIG])
async def test_a_source_arrives_with_its_length_and_on_a_kept_connection(size: int) -> None:
    async with scripted(echo_of) as server, client_of(server.url) as client:
        for _ in range(2):
            reply = await client.put("/x", content=Blob(size, seed=1), expect=200)
            assert reply.text == sha(bytes(Blob(size, seed=1)))
        assert [r.header("content-length") for r in server.requests] == [str(size)] * 2
        assert server.connections == 1


async def test_a_file_arrives(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(Blob(BIG)))
    async with scripted(echo_of) as server, client_of(server.url) as client:
        assert (await client.post("/x", content=FileBody(path))).text == sha(path.read_bytes())
        with path.open("rb") as opened:
            opened.seek(5)
            assert (await client.post("/x", content=opened)).text == sha(path.read_bytes()[5:])
        assert [r.header("content-length") for r in server.requests] == [str(BIG), str(BIG - 5)]


ITERABLES: dict[str, Any] = {
    "async generator": lambda: pieces(b"ab", b"", b"c" * 100_000, b"d"),
    "nothing": pieces,
    "only empty pieces": lambda: pieces(b"", b""),
}


@pytest.mark.parametrize("name", ITERABLES)
async def test_an_async_iterable_goes_in_chunks_as_from_httpx(name: str) -> None:
    received: list[list[Received]] = []
    for ours in (False, True):
        async with scripted(ok(b"{}")) as server:
            if ours:
                async with client_of(server.url) as client:
                    await client.post("/x", content=ITERABLES[name]())
            else:
                async with httpx.AsyncClient(base_url=server.url, trust_env=False) as stock:
                    await stock.post("/x", content=ITERABLES[name]())
            received.append(server.requests)
    (stock_request,), (our_request,) = received
    assert our_request.body == stock_request.body
    for header in ("transfer-encoding", "content-length", "content-type"):
        assert our_request.header(header) == stock_request.header(header)


@pytest.mark.parametrize(
    "content",
    [
        lambda: [b"ab", b"cd"],
        lambda: (b"abcd",),
        lambda: iter([b"a", b"bcd"]),
        lambda: (p for p in (b"abc", b"d")),
        lambda: [bytearray(b"abcd")],
    ],
)
async def test_a_sync_iterable_goes_in_chunks_too(content: Any) -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        await client.post("/x", content=content())
        (request,) = server.requests
        assert (request.body, request.header("transfer-encoding")) == (b"abcd", "chunked")


async def test_the_callers_own_framing_headers_hold() -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        await client.post("/x", content=pieces(b"ab", b"cd"), headers={"Content-Length": "4"})
        await client.post("/x", content=b"abcd", headers={"Transfer-Encoding": "chunked"})
        await client.post("/x", content=Blob(70_000), headers={"Transfer-Encoding": "chunked"})
        first, second, third = server.requests
        assert (first.body, first.header("content-length"), first.header("transfer-encoding")) == (b"abcd", "4", None)
        assert (second.body, second.header("content-length")) == (b"abcd", None)
        assert (third.body, third.header("content-length")) == (bytes(Blob(70_000)), None)


@pytest.mark.parametrize("given", [(b"ab",), (b"ab", b"cd", b"e")])
async def test_a_body_of_another_length_than_it_says_is_an_error_of_the_scenario(given: tuple[bytes, ...]) -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        with pytest.raises(ValueError, match="Content-Length"):
            await client.post("/x", content=pieces(*given), headers={"Content-Length": "4"})
        assert len(client._pool) == 0


async def test_pieces_are_bytes() -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        for wrong in (["text"], [7], pieces("text")):  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="pieces of a body must be bytes"):
                await client.post("/x", content=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="open for text"), io.StringIO("a") as text:
            await client.post("/x", content=text)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="got dict"):
            await client.post("/x", content={"a": b"b"})  # type: ignore[dict-item]


@given(cuts=st.lists(st.binary(max_size=70), max_size=20), chunked=st.booleans())
@settings(max_examples=examples(60), deadline=None)
def test_whatever_the_pieces_the_framed_bytes_decode_to_the_same_body(cuts: list[bytes], chunked: bool) -> None:
    import h11

    whole = b"".join(cuts)
    upload = Upload(lambda: cuts, len(whole), is_chunked=chunked)

    async def collect() -> bytes:
        return b"".join([piece async for piece in upload.framed()])

    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(whole)
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing + asyncio.run(collect()))
    assert isinstance(server.next_event(), h11.Request)
    body = b""
    while isinstance(event := server.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert body == whole
    assert not server.trailing_data[0]


# -- forms --------------------------------------------------------------------------------------------

BOUNDARY = "multipart/form-data; boundary=thebound"


def form_of_httpx(data: Any, files: Any) -> bytes:
    return httpx.Request("POST", "http://x", data=data, files=files, headers={"Content-Type": BOUNDARY}).read()


def sent(body: bytes | Upload) -> tuple[bytes, int | None]:
    return (body, len(body)) if isinstance(body, bytes) else (b"".join(body), body.length)


FORMS: dict[str, tuple[Any, Any]] = {
    "bytes": (None, {"a": b"\x00\r\n--thebound"}),
    "text": (None, {"a": "é"}),
    "name and bytes": (None, {"a": ('x y"ü.txt', b"hello")}),
    "name, bytes, type": (None, {"a": ("a.bin", b"hello", "text/csv")}),
    "name, bytes, type, headers": (None, {"a": ("a.bin", b"x", "text/csv", {"X-One": "1"})}),
    "type in headers": (None, {"a": ("a.bin", b"x", "text/csv", {"content-type": "a/b"})}),
    "no name": (None, {"a": (None, b"field")}),
    "no name, type": (None, {"a": (None, "{}", "application/json")}),
    "guessed types": (None, {"a": ("a.json", b"1"), "b": ("b.png", b"2"), "c": ("c.unknown", b"3")}),
    "several of one name": (None, [("a", ("1.txt", b"1")), ("a", ("2.txt", b"2")), ("b", b"3")]),
    "with fields": ({"x": "1", "é": ["2", "3"], "n": 4, "t": True, "f": 1.5, "e": None, "b": b"raw"}, {"a": b"f"}),
    "no files": ({"x": "1"}, {}),
}


@pytest.mark.parametrize("name", [name for name in FORMS if name != "no files"])
def test_a_form_in_memory_has_the_bytes_of_httpx(name: str) -> None:
    data, files = FORMS[name]
    body, line = encode_multipart(data, files, BOUNDARY)
    assert isinstance(body, bytes)
    assert body == form_of_httpx(data, files)
    assert line == f"Content-Type: {BOUNDARY}\r\n".encode()


@pytest.mark.parametrize("size", [0, 10, 200_000])
def test_a_form_with_a_file_or_a_blob_has_the_bytes_of_httpx_with_an_open_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(Blob(size, 1)))
    with path.open("rb") as opened:
        for ours, theirs in (
            (FileBody(path), opened),
            (Blob(size, 1), io.BytesIO(path.read_bytes())),
            (("n.bin", FileBody(path), "a/b", {"X-A": "1"}), ("n.bin", opened, "a/b", {"X-A": "1"})),
            ((None, Blob(size, 1)), (None, path.read_bytes())),
            (("n.bin", FileBody(path)[: size // 2]), ("n.bin", path.read_bytes()[: size // 2])),
            (opened, opened),
        ):
            data = {"x": "1", "y": ["2", "3"]}
            body, _ = encode_multipart(data, {"a": ours, "b": b"after"}, BOUNDARY)
            assert isinstance(body, Upload)
            wanted = form_of_httpx(data, {"a": theirs, "b": b"after"})
            assert sent(body) == (wanted, len(wanted))
            assert sent(body) == (wanted, len(wanted)), "it can be sent again"


def test_what_was_opened_is_closed_also_when_the_sending_stops(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(Blob(1_000_000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        form, _ = encode_multipart(None, {"a": FileBody(path)}, BOUNDARY)
        plain = encode_content(FileBody(path))
        for body in (form, plain):
            assert isinstance(body, Upload)
            pieces = iter(body)
            assert len(next(pieces)) < 100_000
            next(pieces, None)
            del pieces
            gc.collect()
            assert not [
                link for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and link.resolve() == path
            ]


def test_a_source_among_the_fields_of_a_form_is_a_field() -> None:
    data = {"key": "k", "l": ["1", True], "n": None, "body": Blob(100_000), "b": b"raw"}
    body, _ = encode_multipart(data, {"file": b"x"}, BOUNDARY)
    wanted = form_of_httpx({**data, "body": bytes(Blob(100_000))}, {"file": b"x"})
    assert sent(body) == (wanted, len(wanted))


def test_a_source_in_a_form_without_files_is_refused() -> None:
    from loadgen.clients.protocol.request_body_encoding import encode_form

    with pytest.raises(TypeError, match="files="):
        encode_form({"a": Blob(10)})


def test_a_part_of_unknown_length_makes_the_form_chunked() -> None:
    class Pipe:
        def __init__(self) -> None:
            self.left = [b"", b"cd", b"ab"]

        def read(self, size: int) -> bytes:
            return self.left.pop()

    body, _ = encode_multipart(None, {"a": ("n", Pipe())}, BOUNDARY)
    assert isinstance(body, Upload)
    assert body.is_chunked
    assert b"abcd" in b"".join(body)


async def test_a_form_with_a_large_file_arrives_whole(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(bytes(Blob(BIG, 2)))
    async with scripted(ok()) as server, client_of(server.url) as client:
        await client.post("/f", files={"photo": FileBody(path)}, data={"a": "1"}, expect=200)
        (request,) = server.requests
        assert (
            request.body
            == httpx.Request(
                "POST",
                "http://x",
                data={"a": "1"},
                files={"photo": ("photo.jpg", path.read_bytes())},
                headers={"Content-Type": request.header("content-type") or ""},
            ).read()
        )


# -- slow targets, early answers, broken connections --------------------------------------------------


class Counted(Source):
    """Knows how much was taken from it."""

    __slots__ = ("taken",)

    def __init__(self, size: int) -> None:
        self._begin, self._size, self.taken = 0, size, 0

    @property
    def size_bytes(self) -> int:
        return self._size or 0

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(0, self.size_bytes, 50_000):
            self.taken += 50_000
            yield b"x" * 50_000

    def reader(self) -> Any:
        raise NotImplementedError

    def _part(self, begin: int, size: int) -> Any:
        raise NotImplementedError


async def test_a_slow_target_is_not_sent_more_than_it_takes() -> None:
    taken_first = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await taken_first.wait()
        await reader.readexactly(100_000_000)
        writer.write(ok(b"done"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=2**16)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    body = Counted(100_000_000)
    async with client_of(url) as client:
        call = asyncio.create_task(client.post("/x", content=body))
        before = -1
        while body.taken != before or not body.taken:
            before = body.taken
            await asyncio.sleep(0.05)
        assert 0 < body.taken < 20_000_000  # the kernel's buffers and ours
        taken_first.set()
        assert (await call).text == "done"
        assert body.taken == 100_000_000
    server.close()


async def early(answer: bytes, *, reads_on: bool) -> tuple[asyncio.Server, str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1000)
        writer.write(answer)
        await writer.drain()
        if reads_on:
            while await reader.read(2**16):
                pass
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 1000
        await asyncio.sleep(0)


async def stuck() -> AsyncIterator[bytes]:
    yield b"x" * 1000
    await asyncio.Event().wait()


@pytest.mark.parametrize("body", [endless, stuck, lambda: Blob(10**12), lambda: [b"x" * 1000] * 10**6])
@pytest.mark.parametrize("reads_on", [True, False])
async def test_an_answer_in_the_middle_of_the_body_ends_the_sending(body: Any, reads_on: bool) -> None:
    server, url = await early(ok(b"too much", status="413 Too Large"), reads_on=reads_on)
    async with client_of(url) as client:
        reply = await client.post("/x", content=body())
        assert (reply.status_code, reply.text) == (413, "too much")
        assert [row.outcome for row in rows_of(client)] == ["http 413"]
        assert len(client._pool) == 0  # the target would take the rest for a request
    server.close()


@pytest.mark.parametrize("body", [endless, lambda: Blob(10**12)])
async def test_an_answer_is_read_though_the_target_has_reset_the_connection_behind_it(body: Any) -> None:
    # In a thread: it answers and closes at once, with much unread, so that the reset meets our next write.
    def serve() -> None:
        for _ in range(10):
            connection, _ = listening.accept()
            connection.recv(1000)
            connection.sendall(ok(b"too much", status="413 Too Large"))
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        async with client_of(f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
            for _ in range(10):
                assert (await client.post("/x", content=body())).status_code == 413
        thread.join()


async def test_a_target_that_closes_in_the_middle_of_an_upload_is_reset() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with client_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        for body in (Blob(10**12), endless(), stuck_after(200_000)):
            with pytest.raises(RequestFailed) as failure:
                await client.post("/x", content=body)
            assert failure.value.outcome == "reset"
        assert [row.outcome for row in rows_of(client)] == ["reset"] * 3
        assert len(client._pool) == 0
    server.close()


async def stuck_after(size: int) -> AsyncIterator[bytes]:
    yield b"x" * size
    await asyncio.Event().wait()


@pytest.mark.parametrize("body", [lambda: stuck_after(10), lambda: Blob(10**12)])
async def test_a_time_out_ends_an_upload_whoever_is_slow(body: Any) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    over = asyncio.Event()
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with client_of(url, timeouts=Timeouts(total_ns=60_000_000)) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.post("/x", content=body())
        assert failure.value.outcome == "timeout"
        (row,) = rows_of(client)
        assert row.response_ns == 60_000_000
    over.set()
    server.close()


async def test_who_is_cancelled_while_sending_has_no_row_and_closes_the_body_and_the_connection() -> None:
    closed: list[str] = []
    begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.append("body")

    async with scripted(HANG) as server, client_of(server.url) as client:
        call = asyncio.create_task(client.post("/x", content=body()))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert closed == ["body"]
        assert not rows_of(client)
        assert len(client._pool) == 0


async def test_what_the_bodys_own_code_raises_is_raised_by_the_call() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise KeyError("sku")

    async def late() -> AsyncIterator[bytes]:
        yield b"x"
        raise TimeoutError("mine")

    async with scripted(HANG) as server, client_of(server.url) as client:
        with pytest.raises(KeyError, match="sku"):
            await client.post("/x", content=body())
        with pytest.raises(TimeoutError, match="mine"):
            await client.post("/x", content=late())
        assert not rows_of(client)
        assert len(client._pool) == 0


async def test_a_body_can_come_from_a_stream_and_what_breaks_there_is_the_outcome_of_both() -> None:
    def answer(request: Received) -> Any:
        if request.target == "/broken":
            return [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", CLOSE]
        return ok(request.body or b"d" * 100_000)

    async with scripted(answer) as server, client_of(server.url) as client:
        async with client.stream("GET", "/source") as source:
            reply = await client.post("/sink", content=source.aiter_bytes())
            assert reply.content == b"d" * 100_000
        with pytest.raises(RequestFailed, match=r"while its body was sent: GET .*/broken") as failure:
            await _relay(client)
        assert failure.value.outcome == "protocol"
        found = [(row.name, row.outcome) for row in rows_of(client)]
        assert found == [
            ("GET /source", "ok"),
            ("POST /sink", "ok"),
            ("GET /broken", "protocol"),
            ("POST /sink", "protocol"),
        ]


async def _relay(client: HttpClient) -> None:
    async with client.stream("GET", "/broken") as source:
        await client.post("/sink", content=source.aiter_bytes())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_bodies_and_streams_go_through_tls(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def answer(request: Received) -> Any:
        return ok(request.body) if request.target == "/echo" else echo_of(request)

    async with scripted(answer, context) as server, client_of(server.url, tls=tls_context(ca_file)) as client:
        reply = await client.post("/x", content=Blob(BIG), expect=200)
        assert reply.text == sha(bytes(Blob(BIG)))
        assert (await client.post("/x", content=pieces(b"ab", b"cd"))).text == sha(b"abcd")
        async with client.stream("POST", "/echo", content=Blob(BIG)) as streamed:
            assert sum([len(piece) async for piece in streamed.aiter_bytes()]) == BIG
        assert server.connections == 1


async def test_an_upload_needs_no_second_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_files(*given: object) -> None:
        raise OSError(24, "Too many open files")

    async with scripted(echo_of) as server, client_of(server.url) as client:
        await client.get("/")
        monkeypatch.setattr(socket, "fromfd", no_files)
        assert (await client.post("/x", content=Blob(100_000))).text == sha(bytes(Blob(100_000)))


# -- sent again ---------------------------------------------------------------------------------------


def _redirecting(status: int) -> Any:
    def answer(request: Received) -> bytes:
        if request.target == "/old":
            return ok(b"", "Location: /new", status=f"{status} Moved")
        return ok(f"{request.method} {sha(request.body)}".encode())

    return answer


async def test_a_source_follows_a_redirect_that_keeps_the_body() -> None:
    async with scripted(_redirecting(307)) as server, client_of(server.url) as client:
        reply = await client.put("/old", content=Blob(BIG), follow_redirects=True)
        assert reply.text == f"PUT {sha(bytes(Blob(BIG)))}"
        with pytest.raises(httpx.StreamConsumed):
            await client.put("/old", content=pieces(b"once"), follow_redirects=True)
    async with scripted(_redirecting(303)) as server, client_of(server.url) as client:
        reply = await client.put("/old", content=Blob(BIG), follow_redirects=True)
        assert reply.text == f"GET {sha(b'')}"
        assert server.requests[1].header("content-length") is None


async def test_a_source_is_sent_again_to_answer_a_challenge() -> None:
    def answer(request: Received) -> bytes:
        if request.header("authorization") is None:
            return ok(b"", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=MD5', status="401 No")
        return ok(sha(request.body).encode())

    async with scripted(answer) as server, client_of(server.url) as client:
        reply = await client.post("/x", content=Blob(BIG), auth=httpx.DigestAuth("a", "b"), expect=200)
        assert reply.text == sha(bytes(Blob(BIG)))


async def test_only_a_body_that_can_be_sent_again_is_sent_again_on_a_stale_connection() -> None:
    answers = {1: [ok(), CLOSE]}

    def answer(request: Received) -> Any:
        return answers.get(request.connection, echo_of(request))

    async with scripted(answer) as server, client_of(server.url) as client:
        await client.get("/")
        while server.open_connections:
            await asyncio.sleep(0.001)
        assert (await client.put("/x", content=Blob(100_000))).text == sha(bytes(Blob(100_000)))


def test_the_bytes_of_a_streamed_request_are_those_of_its_head() -> None:
    upload = Upload(lambda: [b"x"], 1)
    request = StreamedRequest.of(b"POST / HTTP/1.1\r\n\r\n", upload)
    assert StreamedRequest.of(request, wants_stream=True).upload is upload
    assert bytes(request) == b"POST / HTTP/1.1\r\n\r\n"
    assert "1 bytes" in repr(upload)
