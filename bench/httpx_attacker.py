"""The four requests through httpx's AsyncClient, 64 tasks: a stock client that all share, one for each, or `user.httpx`.

    taskset -c 0 python -m bench.httpx_attacker shared|each|ours URL SECONDS

Prints figures as JSON. All three run on uvloop and check the same; ours also records, and folds once a second.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from time import perf_counter_ns

import httpx
import msgspec
import uvloop

from loadgen.clients import ConnectionPool, HttpxTransport, TcpNetwork, Timeouts, httpx_client
from loadgen.engine.meter import Meter
from loadgen.engine.recorder import Recorder
from loadgen.units import NS_PER_S

USERS = 64


async def person(client: httpx.AsyncClient, until_ns: int) -> int:
    sent = 0
    while perf_counter_ns() < until_ns:
        assert (await client.get("/")).status_code == 200
        reply = await client.get("/json")
        assert reply.status_code == 200
        assert reply.json()["ok"] is True
        assert (await client.post("/json", json={"sku": "sku-0001", "quantity": 2})).status_code == 200
        reply = await client.get("/1k")
        assert reply.status_code == 200
        assert len(reply.content) == 1024
        sent += 4
    return sent


def clients_of(kind: str, url: str, meters: list[Meter]) -> list[httpx.AsyncClient]:
    if kind == "shared":
        limits = httpx.Limits(max_connections=USERS, max_keepalive_connections=USERS)
        return [httpx.AsyncClient(base_url=url, limits=limits, trust_env=False, timeout=60)] * USERS
    if kind == "each":
        tls = httpx.create_ssl_context()
        return [httpx.AsyncClient(base_url=url, verify=tls, trust_env=False, timeout=60) for _ in range(USERS)]
    network = TcpNetwork()
    found = []
    for meter in meters:
        meter.begin("four", warmup=False, pool_limited=False)
        found.append(httpx_client(HttpxTransport(meter, ConnectionPool(network), url), url, Timeouts()))
    return found


async def drive(kind: str, url: str, duration_s: float) -> dict[str, float]:
    recorder = Recorder()
    meters = [Meter(recorder) for _ in range(USERS)]
    clients = clients_of(kind, url, meters)

    async def fold() -> None:
        while True:
            await asyncio.sleep(1)
            recorder.flip(0, 1)

    folding = asyncio.create_task(fold())
    before = resource.getrusage(resource.RUSAGE_SELF)
    began_ns = perf_counter_ns()
    sent = await asyncio.gather(*(person(one, began_ns + round(duration_s * NS_PER_S)) for one in clients))
    took_ns = perf_counter_ns() - began_ns
    after = resource.getrusage(resource.RUSAGE_SELF)
    folding.cancel()
    for meter in meters:
        meter.settle()  # what an expectation could still have changed
    counted = recorder.counters.requests_finished
    assert kind != "ours" or counted == sum(sent), f"{sum(sent)} requests, {counted} rows"
    return {
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "took_s": took_ns / NS_PER_S,
        "requests": sum(sent),
        "requests_errors": recorder.counters.requests_errors,
    }


if __name__ == "__main__":
    logging.disable(logging.INFO)  # httpx logs each request; nobody reads it here
    figures = uvloop.run(drive(sys.argv[1], sys.argv[2], float(sys.argv[3])))
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")
