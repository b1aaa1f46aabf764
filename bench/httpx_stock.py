"""Measure stock httpx: 64 tasks send the four requests over one shared client, or over one client each.

    taskset -c 0 python -m bench.httpx_stock shared http://127.0.0.1:8080 3

It prints figures as JSON. It runs on uvloop like loadgen, and records nothing.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from time import perf_counter

import httpx
import msgspec
import uvloop

from bench.attackers import USERS


async def person(http: httpx.AsyncClient, until_s: float) -> int:
    """Send requests until the end and return their number."""
    sent = 0
    while perf_counter() < until_s:
        assert (await http.get("/")).status_code == 200
        reply = await http.get("/json")
        assert reply.status_code == 200
        assert reply.json()["ok"] is True
        assert (await http.post("/json", json={"sku": "sku-0001", "quantity": 2})).status_code == 200
        page = await http.get("/1k")
        assert page.status_code == 200
        assert len(page.content) == 1024
        sent += 4
    return sent


async def drive(kind: str, url: str, seconds: float) -> dict[str, float]:
    limits = httpx.Limits(max_connections=USERS, max_keepalive_connections=USERS)
    clients = [httpx.AsyncClient(base_url=url, limits=limits) for _ in range(1 if kind == "shared" else USERS)]
    before, began_s = resource.getrusage(resource.RUSAGE_SELF), perf_counter()
    people = [person(clients[n % len(clients)], began_s + seconds) for n in range(USERS)]
    requests = sum(await asyncio.gather(*people))
    after, took_s = resource.getrusage(resource.RUSAGE_SELF), perf_counter() - began_s
    for client in clients:
        await client.aclose()
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": cpu_s, "took_s": took_s, "requests": requests, "requests_errors": 0}


if __name__ == "__main__":
    figures = uvloop.run(drive(sys.argv[1], sys.argv[2], float(sys.argv[3])))
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")
