"""Spans of the demo shop: which requests have them, how statements belong to them, and a receiver that is away."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from loadgen.target.database import spans as module
from loadgen.target.database.schema import POST_BATCH, UPDATE_CLEARING
from loadgen.target.database.spans import Spans, statement_span

TRACE, CALLER = "6b0bdc83d4011cd90993bf9f1ef1b38b", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The spans that were sent, in the order of the requests."""
    found: list[dict[str, Any]] = []

    def post(url: str, body: bytes) -> None:
        assert url == "http://127.0.0.1:4318/v1/traces"
        for resource in msgspec.json.decode(body)["resourceSpans"]:
            found.extend(span for scope in resource["scopeSpans"] for span in scope["spans"])

    monkeypatch.setattr(module, "_post", post)
    return found


async def test_statements_of_requests_at_the_same_time_belong_to_their_own_request(sent: list[dict[str, Any]]) -> None:
    spans = Spans("http://127.0.0.1:4318/")

    async def serve(name: str, pause_s: float) -> None:
        with spans.request(name, HEADER):
            for statement in (POST_BATCH, UPDATE_CLEARING):
                with statement_span(statement):
                    await asyncio.sleep(pause_s)

    await asyncio.gather(serve("A", 0.002), serve("B", 0.001))
    await spans.close()

    roots = {span["spanId"]: span["name"] for span in sent if span["parentSpanId"] == CALLER}
    children = sorted((roots[span["parentSpanId"]], span["name"]) for span in sent if span["spanId"] not in roots)
    assert children == [(name, text) for name in "AB" for text in ("UPDATE clearing", "UPDATE ledger")]
    assert {span["traceId"] for span in sent} == {TRACE}
    assert len({span["spanId"] for span in sent}) == spans.sent == 6


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"00-{TRACE}-{CALLER}-00",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}-01-more",
        "x" * 30_000,
    ],
)
async def test_requests_that_are_not_sampled_have_no_spans(header: str, sent: list[dict[str, Any]]) -> None:
    spans = Spans("http://127.0.0.1:4318")
    with spans.request("POST /ach", header), statement_span(POST_BATCH):
        pass
    await spans.close()

    assert sent == []


async def test_a_failed_statement_has_the_status_of_an_error(sent: list[dict[str, Any]]) -> None:
    spans = Spans("http://127.0.0.1:4318")
    with pytest.raises(ZeroDivisionError), spans.request("POST /ach", HEADER), statement_span(POST_BATCH):
        _ = 1 / 0
    await spans.close()

    assert [span["status"] for span in sent] == [{"code": 2}, {"code": 2}]


async def test_spans_are_dropped_and_counted_while_the_receiver_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(url: str, body: bytes) -> None:
        raise OSError("refused")

    monkeypatch.setattr(module, "_post", away)
    monkeypatch.setattr(module, "_MOST_WAITING", 3)
    spans = Spans("http://127.0.0.1:4318")
    for _ in range(5):
        with spans.request("POST /ach", HEADER):
            pass
    await spans.close()

    assert (spans.sent, spans.dropped) == (0, 5)
