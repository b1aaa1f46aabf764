"""What a fetched answer says about its time."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from loadgen.probes.running.http_fetch import Fetched, HttpFetcher
from tests.support.metrics_server import metrics_server


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the round trip of a connection")
def test_the_round_trip_of_the_network_is_no_cost_of_the_server() -> None:
    async def fetched(url: str) -> Fetched:
        fetcher = HttpFetcher(url, time.perf_counter_ns, {}, most=1 << 20)
        try:
            return await fetcher.fetch(url, 30)
        finally:
            await fetcher.close()

    with metrics_server() as server:
        answer = asyncio.run(fetched(server.url))
    took_ns = answer.received_ns - answer.sent_ns
    assert 0 < answer.network_ns < took_ns
    assert answer.cost_ns == took_ns - answer.network_ns


def test_a_round_trip_that_is_longer_than_the_read_leaves_no_cost() -> None:
    assert Fetched(b"", 0, 1_000, network_ns=5_000).cost_ns == 0
