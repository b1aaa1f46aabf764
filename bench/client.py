"""Measure only the HTTP client: 64 tasks send the four requests, with checks and recording but no users or plan.

    taskset -c 0 python -m bench.client http://127.0.0.1:8080 5

It prints figures as JSON. The difference to `bench.worker` is the cost of the scenario language and the engine.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from time import perf_counter_ns

import msgspec
import uvloop

from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from loadgen.units import NS_PER_S

USERS = 64


async def person(http: HttpClient, until_ns: int) -> None:
    while perf_counter_ns() < until_ns:
        await http.get("/", expect=200)
        assert (await http.get("/json", expect=200)).json()["ok"] is True
        await http.post("/json", json={"sku": "sku-0001", "quantity": 2}, expect=200)
        assert len((await http.get("/1k", expect=200)).content) == 1024


async def drive(url: str, duration_s: float) -> dict[str, float]:
    recorder = Recorder()
    network, tls = TcpNetwork(), tls_context()
    people, meters = [], []
    for _ in range(USERS):
        meter = Meter(recorder)
        meter.begin("four", warmup=False, pool_limited=False)
        meters.append(meter)
        people.append(HttpClient(meter, ConnectionPool(network, tls), url))

    async def fold() -> None:
        while True:
            await asyncio.sleep(1)
            recorder.flip(0, 1)

    folding = asyncio.create_task(fold())
    before = resource.getrusage(resource.RUSAGE_SELF)
    began_ns = perf_counter_ns()
    await asyncio.gather(*(person(http, began_ns + round(duration_s * NS_PER_S)) for http in people))
    for meter in meters:
        meter.settle()  # the last response of each task
    took_ns = perf_counter_ns() - began_ns
    after = resource.getrusage(resource.RUSAGE_SELF)
    folding.cancel()
    return {
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "took_s": took_ns / NS_PER_S,
        "requests": recorder.counters.requests_finished,
        "requests_errors": recorder.counters.requests_errors,
    }


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(drive(sys.argv[1], float(sys.argv[2])))) + b"\n")
