"""The shop behind a real loopback socket; times are checked against what it says it did, and never against a clock."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import trustme

from loadgen.errors import PortBusy, UsageError
from loadgen.measure.histograms.histogram import Histogram
from loadgen.target.config import LATENCIES, LogNormal, Stall, TargetConfig
from loadgen.target.draws import failures, latencies_ns
from loadgen.target.server import MAX_BODY_BYTES, MAX_HEAD_BYTES, Target, serve
from loadgen.units import NS_PER_MS, NS_PER_S

AT_ONCE = TargetConfig(latency=False)
GET = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"


@asynccontextmanager
async def talking_to(target: Target) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def said(target: Target, data: bytes) -> bytes:
    """All that the shop says to `data` until it closes."""
    async with talking_to(target) as (reader, writer):
        writer.write(data)
        return await reader.read()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


def client(target: Target, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=target.url, trust_env=False, **{"timeout": 60, **options})


async def test_a_stock_client_buys_something_and_every_request_is_counted() -> None:
    async with serve(AT_ONCE) as target, client(target) as http:
        bearer = (await http.post("/login", json={"email": "a@b", "password": "x"})).json()["token"]
        page = (await http.get("/products/sku-0007")).text
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        headers = {"Authorization": f"bearer {bearer}"}
        assert (await http.post("/cart", json={"sku": "sku-0007", "csrf": csrf}, headers=headers)).status_code == 201
        assert (await http.post("/checkout", headers=headers)).status_code == 201
        assert (await http.post("/login", json={"email": "a@b", "password": ""})).status_code == 401
        assert (await http.get("/gone?x=1")).status_code == 404
        stats = (await http.get("/stats")).json()

    assert stats["answers"] == {
        "POST /login": {"200": 1, "401": 1},
        "GET /products/{sku}": {"200": 1},
        "POST /cart": {"201": 1},
        "POST /checkout": {"201": 1},
        "GET (other)": {"404": 1},
    }
    assert stats["requests"] == stats["answered"] == 6
    assert stats["by_status"] == {"200": 2, "201": 2, "401": 1, "404": 1}
    assert stats["connections"]["opened"] == 1


async def test_asking_for_the_stats_changes_nothing() -> None:
    async with serve(AT_ONCE) as target, client(target) as http:
        first = (await http.get("/stats")).json()
        second = (await http.get("/stats")).json()
        wrong = await http.post("/stats")

    assert first == second
    assert first["first_request_monotonic_ns"] is None
    assert wrong.status_code == 405


async def test_what_was_served_is_what_was_drawn_slot_by_slot() -> None:
    laws = {path: LogNormal(law.median_ns // 20, law.sigma) for path, law in LATENCIES.items()}
    async with serve(TargetConfig(seed=5, latencies=laws)) as target, client(target) as http:
        await asyncio.gather(*(http.get("/products") for _ in range(200)), *(http.get("/") for _ in range(100)))
        served = target.stats()["served"]

    for route, path, count in (("GET /products", "/products", 200), ("GET /", "/", 100)):
        truth = Histogram.of_ns(latencies_ns(5, path, laws[path], count))
        slots, counts = truth.sparse()
        assert served[route]["slots"] == slots.tolist()
        assert served[route]["counts"] == counts.tolist()
        assert served[route]["sum_ns"] == truth.sum_ns


async def test_no_answer_is_early() -> None:
    laws = {"/": LogNormal(3 * NS_PER_MS, 0.4)}
    loop = asyncio.get_running_loop()
    async with serve(TargetConfig(seed=5, latencies=laws)) as target, talking_to(target) as (reader, writer):
        waited = []
        for _ in range(30):
            asked = loop.time()
            writer.write(GET)
            await read_answer(reader)
            waited.append((loop.time() - asked) * NS_PER_S)

    assert (np.array(waited) >= latencies_ns(5, "/", laws["/"], 30)).all()


async def test_reset_begins_anew_with_the_first_draw() -> None:
    laws = {"/": LogNormal(NS_PER_MS, 0.4)}
    async with serve(TargetConfig(seed=5, latencies=laws)) as target, client(target) as http:
        await http.get("/")
        await http.get("/")
        before = target.stats()
        assert (await http.post("/stats/reset")).status_code == 200
        assert target.stats()["requests"] == 0
        await http.get("/")
        after = target.stats()

    assert before["first_request_monotonic_ns"] < after["first_request_monotonic_ns"]
    assert after["requests"] == 1
    assert after["served"]["GET /"]["sum_ns"] == latencies_ns(5, "/", laws["/"], 1)[0]
    assert after["connections"] == {"opened": 0, "open": 1}


async def test_a_request_across_a_reset_is_in_one_count_only() -> None:
    laws = {"/": LogNormal(50 * NS_PER_MS, 0.01)}
    async with serve(TargetConfig(latencies=laws)) as target, talking_to(target) as (reader, writer):
        writer.write(GET)
        while not target.stats()["requests"]:
            await asyncio.sleep(0)
        target.reset()
        await read_answer(reader)

        assert target.stats()["requests"] == target.stats()["answered"] == 0


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    laws = {"/": LogNormal(20 * NS_PER_MS, 0.01)}
    pipeline = (
        GET + b"GET /products/sku-0001 HTTP/1.1\r\nHost: shop\r\n\r\n" + b"GET /gone HTTP/1.1\r\nHost: shop\r\n\r\n"
    )
    async with serve(TargetConfig(latencies=laws)) as target, talking_to(target) as (reader, writer):
        writer.write(pipeline)
        answers = [await read_answer(reader) for _ in range(3)]

    assert [status for status, _ in answers] == [200, 200, 404]
    assert b"Demo shop" in answers[0][1]
    assert b"csrf" in answers[1][1]


async def test_a_pipeline_longer_than_the_shop_keeps_is_answered_in_full() -> None:
    async with serve(TargetConfig(latencies={"/": LogNormal(NS_PER_MS, 0.1)})) as target:
        async with talking_to(target) as (reader, writer):
            writer.write(GET * 500)
            statuses = [(await read_answer(reader))[0] for _ in range(500)]

        assert statuses == [200] * 500
        assert target.stats()["answered"] == 500


async def test_requests_in_crumbs_are_read() -> None:
    async with serve(AT_ONCE) as target, talking_to(target) as (reader, writer):
        for byte in (
            b"POST /login HTTP/1.1\r\nHost: s\r\nContent-Length: 31\r\n\r\n" + b'{"email":"a","password":"xyz"}\n'
        ):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

        assert (await read_answer(reader))[0] == 200


async def test_a_chunked_body_is_read() -> None:
    async with serve(AT_ONCE) as target, client(target) as http:

        async def parts() -> AsyncIterator[bytes]:
            yield b'{"email":"a",'
            yield b'"password":"x"}'

        assert (await http.post("/login", content=parts())).status_code == 200


async def test_head_has_the_length_and_no_body() -> None:
    async with serve(AT_ONCE) as target, client(target) as http:
        head, get = await http.head("/products"), await http.get("/products")

        assert head.headers["content-length"] == get.headers["content-length"]
        assert head.content == b""
        assert target.stats()["by_route"] == {"HEAD /products": 1, "GET /products": 1}


@pytest.mark.parametrize(
    "request_bytes",
    [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n"],
)
async def test_a_client_that_wants_no_keep_alive_gets_none(request_bytes: bytes) -> None:
    async with serve(AT_ONCE) as target:
        answer = await said(target, request_bytes + GET)

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00garbage\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET nowhere HTTP/1.1\r\nHost: s\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: s\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: s\r\nX: " + b"y" * (MAX_HEAD_BYTES + 1), 431),
        (b"POST /login HTTP/1.1\r\nHost: s\r\nContent-Length: 99999\r\n\r\n" + b"z" * (MAX_BODY_BYTES + 1), 413),
    ],
)
async def test_what_is_no_decent_request_is_refused_and_the_shop_goes_on(data: bytes, status: int) -> None:
    async with serve(AT_ONCE) as target:
        answer = await said(target, data)
        stats = target.stats()
        good = await said(target, b"GET / HTTP/1.0\r\n\r\n")

    assert int(answer.split()[1]) == status
    assert stats["bad_requests"] == {str(status): 1}
    assert stats["requests"] == 0
    assert good.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_good_requests_before_a_bad_one_are_still_answered() -> None:
    async with serve(TargetConfig(latencies={"/": LogNormal(5 * NS_PER_MS, 0.1)})) as target:
        answer = await said(target, GET + b"nonsense\r\n\r\n")

    assert [int(part.split()[0]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 400]


async def test_a_client_that_leaves_before_its_answer_is_counted_as_aborted() -> None:
    async with serve(TargetConfig(latencies={"/": LogNormal(NS_PER_S, 0.01)})) as target:
        async with talking_to(target) as (_, writer):
            writer.write(GET)
            while not target.stats()["requests"]:
                await asyncio.sleep(0)
        while not target.stats()["aborted"]:
            await asyncio.sleep(0)
        stats = target.stats()

    assert stats["aborted_by_route"] == {"GET /": 1}
    assert stats["answered"] == stats["connections"]["open"] == 0


async def test_the_requests_that_fail_are_the_drawn_ones() -> None:
    async with serve(TargetConfig(seed=9, latency=False, error_ratio=0.2)) as target, client(target) as http:
        statuses = [(await http.get("/products")).status_code for _ in range(100)]
        others = [(await http.get("/gone")).status_code for _ in range(20)]

    assert [status == 503 for status in statuses] == failures(9, "/products", 0.2, 100).tolist()
    assert set(others) == {404}


async def test_a_stall_freezes_its_path_and_no_other() -> None:
    stall = Stall(NS_PER_S, 5 * NS_PER_S, "/checkout", first_ns=0)
    async with serve(TargetConfig(latency=False, stall=stall)) as target, client(target) as http:
        await http.get("/")
        await asyncio.gather(*(http.post("/checkout") for _ in range(5)), *(http.get("/") for _ in range(5)))
        stats = target.stats()

    assert stats["served"]["GET /"]["max_ns"] == 0
    assert stats["served"]["POST /checkout"]["min_ns"] > 0
    assert stats["served"]["POST /checkout"]["max_ns"] <= NS_PER_S
    assert stats["stall"]["windows_ns"][:2] == [[0, NS_PER_S], [5 * NS_PER_S, 6 * NS_PER_S]]


async def test_what_is_frozen_together_is_released_together() -> None:
    stall = Stall(200 * NS_PER_MS, 10 * NS_PER_S, first_ns=0)
    async with serve(TargetConfig(latency=False, stall=stall)) as target, talking_to(target) as (reader, writer):
        writer.write(GET)
        await asyncio.sleep(0.05)
        writer.write(GET)
        for _ in range(2):
            await read_answer(reader)
        served = target.stats()["served"]["GET /"]

    assert served["max_ns"] == 200 * NS_PER_MS  # the first arrives as the window begins
    assert served["min_ns"] < 200 * NS_PER_MS  # the second later in it


async def test_a_slow_start_begins_ten_times_slower() -> None:
    laws = {"/": LogNormal(NS_PER_MS, 0.1)}
    config = TargetConfig(seed=2, latencies=laws, slow_start_ns=3600 * NS_PER_S)
    async with serve(config) as target, client(target) as http:
        await http.get("/")
        served = target.stats()["served"]["GET /"]

    assert served["sum_ns"] == 10 * latencies_ns(2, "/", laws["/"], 1)[0]


async def test_tls_is_spoken_with_the_given_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async with serve(TargetConfig(tls_cert=cert, tls_key=key)) as target, client(target, verify=context) as http:
        assert target.url.startswith("https://")
        assert (await http.get("/products")).status_code == 200


async def test_a_certificate_that_is_none_is_said(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    cert.write_text("not a certificate")
    with pytest.raises(UsageError, match=r"cert\.pem"):
        async with serve(TargetConfig(tls_cert=cert, tls_key=cert)):
            pass


async def test_a_busy_port_is_said() -> None:
    async with serve(AT_ONCE) as target:
        with pytest.raises(PortBusy, match=str(target.port)):
            async with serve(TargetConfig(port=target.port)):
                pass


async def test_stats_are_plain_json() -> None:
    async with serve(TargetConfig(stall=Stall(1, 2))) as target:
        assert msgspec.json.decode(msgspec.json.encode(target.stats())) is not None
