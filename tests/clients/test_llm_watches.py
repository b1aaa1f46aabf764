"""Requests to models that objectives over windows watch: whatever becomes of one, it begins once and ends once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loadgen import goodput, p
from loadgen.clients.http import HttpClient
from loadgen.clients.llm.client import LlmClient
from loadgen.clients.llm.settings import Llm
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.slo_windows import Watches
from loadgen.engine.recording.stream_meter import StreamMeter
from loadgen.engine.recording.stream_series import goodputs_of
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_S
from tests.support.scripted import CLOSE, HANG, Received, scripted

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
TOKEN = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
FAR_NS = 3_600 * NS_PER_S


class NoPlace:
    def prompt_text(self, prompt: Any) -> str:
        return str(prompt)

    def waited_ns(self, now_ns: int) -> int | None:
        return None


def watched() -> tuple[Recorder, Watches]:
    slos = [p(95, metric="ttft", window="1h") < "30m", goodput(ttft="30m", window="1h") > "95%"]
    objectives = [slo.objective for slo in slos if slo.objective is not None]
    watches = Watches(objectives, ["ask"], FAR_NS, "eu")
    recorder = Recorder(watches=watches)
    recorder.goodputs, recorder.watches_streams = goodputs_of(objectives), True
    return recorder, watches


async def ask(url: str, cancel_after_s: float | None = None) -> tuple[Watches, str]:
    recorder, watches = watched()
    meter = StreamMeter(recorder)
    meter.begin("ask", warmup=False, pool_limited=False)
    http = HttpClient(meter, ConnectionPool(TcpNetwork(), None), url, Timeouts())
    http.follow_redirects = True
    client = LlmClient(http, Llm(model="m"), NoPlace())
    outcome = "ok"
    try:
        async with asyncio.timeout(cancel_after_s):
            await client.chat("hello")
    except RequestFailed as failure:
        outcome = failure.outcome
    except TimeoutError:
        outcome = "cancelled"
    meter.settle()
    await http.close()
    return watches, outcome


def counts(watches: Watches) -> list[tuple[int, int, int, int, int]]:
    """(objective, good, bad, overdue, undecided) of the only interval."""
    return [(one.objective, one.good, one.bad, one.overdue, one.undecided) for one in watches.take(FAR_NS)]


@pytest.mark.parametrize(
    ("answer", "cancel_after_s", "outcome", "expected"),
    [
        ([HEAD, TOKEN, END, CLOSE], None, "ok", [(0, 1, 0, 0, 0), (1, 1, 0, 0, 0)]),
        ([HEAD, TOKEN, CLOSE], None, "stream truncated", [(0, 0, 1, 0, 0), (1, 0, 1, 0, 0)]),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", None, "http 503", [(0, 0, 1, 0, 0), (1, 0, 1, 0, 0)]),
        ([HEAD, TOKEN, HANG], 0.05, "cancelled", []),
        ([HEAD, HANG], 0.05, "cancelled", []),
        ([HANG], 0.05, "cancelled", []),
    ],
    ids=["ok", "truncated", "503", "cancelled after a token", "cancelled without a token", "cancelled without a head"],
)
async def test_each_request_to_a_model_ends_once(
    answer: Any, cancel_after_s: float | None, outcome: str, expected: list[tuple[int, ...]]
) -> None:
    async with scripted(answer) as target:
        watches, ended_as = await ask(target.url, cancel_after_s)
    assert ended_as == outcome
    assert counts(watches) == expected
    assert counts(watches) == []


async def test_a_redirect_is_no_request_to_a_model() -> None:
    def answer(request: Received) -> Any:
        if request.target == "/there":
            return [HEAD, TOKEN, END, CLOSE]
        return b"HTTP/1.1 307 There\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"

    async with scripted(answer) as target:
        watches, ended_as = await ask(target.url)
    assert ended_as == "ok"
    assert counts(watches) == [(0, 1, 0, 0, 0), (1, 1, 0, 0, 0)]


async def test_a_refused_request_does_not_stay_open() -> None:
    async with scripted([HEAD, TOKEN, END, CLOSE]) as target:
        url = target.url
    watches, ended_as = await ask(url)  # nobody listens any more
    assert ended_as == "refused"
    assert counts(watches) == [(0, 0, 1, 0, 0), (1, 0, 1, 0, 0)]
