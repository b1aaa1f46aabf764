"""The texts of messages: verdict, figures with counts, reasons, link; no secret, no query, no markup from outside."""

from __future__ import annotations

from loadgen.notify.event import Event, EventKind, Figure
from loadgen.notify.message_texts import as_email, as_json, as_slack, as_text
from loadgen.notify.outbox import Message

LINK = "https://perf.example/runs/{run}"
ENDED = Event.of(
    EventKind.END,
    "checkout",
    "FAILED (exit code 1)",
    "2026-11-28T09:00:00Z",
    run="20261128-090000-checkout-ab12",
    result="failed",
    exit_code=1,
    figures=[Figure("p95 of checkout", "347 ms", 12_000, "iterations")],
    reasons=["SLO p(95) < 300ms of checkout failed"],
)


def message(*events: Event, left_out: int = 0) -> Message:
    return Message("msg_1", events, left_out)


def test_a_message_has_verdict_figures_with_counts_reasons_and_link() -> None:
    assert as_text(message(ENDED), LINK).splitlines() == [
        "checkout: FAILED (exit code 1) (20261128-090000-checkout-ab12)",
        "p95 of checkout: 347 ms (12,000 iterations)",
        "- SLO p(95) < 300ms of checkout failed",
        "https://perf.example/runs/20261128-090000-checkout-ab12",
    ]


def test_the_json_of_a_webhook_has_the_same_as_fields() -> None:
    body = as_json(message(ENDED), LINK)
    assert (body["format"], body["id"], body["type"], body["count"]) == (1, "msg_1", "end", 1)
    (one,) = body["events"]
    assert (one["result"], one["exit_code"], one["run"]) == ("failed", 1, ENDED.run)
    assert one["figures"] == [{"name": "p95 of checkout", "text": "347 ms", "count": 12_000, "of": "iterations"}]
    assert one["link"].endswith(ENDED.run)


def test_a_sum_lists_ten_events_and_counts_the_others() -> None:
    lost = [Event.of(EventKind.AGENT_LOST, "shop", f"agent a{n} is lost", "") for n in range(20)]
    lines = as_text(message(*lost, left_out=4_980), LINK).splitlines()
    assert lines[0] == "5,000 events of kind agent-lost since the last message:"
    assert lines[-1] == "- and 4,990 more"
    assert len(lines) == 12


def test_neither_secrets_nor_queries_leave() -> None:
    texts = (
        "http 503 from https://shop.example/search?token=canary&q=1 in a row",
        'SLO p(95, request="GET /a?key=canary") failed',
        "https://me:canary@shop.example/ is down",
        "Authorization: Bearer canarycanary",
        "the value is canary-of-a-secret",
    )
    event = Event.of(EventKind.END, "shop", texts[0], "", reasons=texts, secrets=["canary-of-a-secret"])
    text = as_text(message(event), LINK)
    assert "canary" not in text
    assert "https://shop.example/search" in text
    assert "GET /a" in text


def test_question_marks_that_begin_no_query_stay() -> None:
    assert Event.of(EventKind.END, "shop", "why? because (a = b)", "").headline == "why? because (a = b)"


def test_texts_from_outside_make_no_lines_headers_or_mentions() -> None:
    bad = "x\r\nBcc: all@shop.example\n<!channel> & <https://evil.example|click>"
    event = Event.of(EventKind.END, bad, bad, "", reasons=[bad])
    mail = as_email(message(event), LINK, "loadgen@shop.example", ["team@shop.example"])
    assert mail["Bcc"] is None
    assert mail["To"] == "team@shop.example"
    assert "<" not in as_slack(message(event), LINK)["text"]
    assert len(as_text(message(event), LINK).splitlines()) == 2


def test_an_event_keeps_ten_reasons_and_counts_the_others() -> None:
    event = Event.of(EventKind.END, "shop", "x", "", reasons=[f"reason {n}" for n in range(25)])
    assert as_text(message(event), LINK).splitlines()[-1] == "- and 15 more reasons"


def test_an_event_without_a_run_has_no_link() -> None:
    assert "https" not in as_text(message(Event.of(EventKind.GATE, "gate of shop", "PASS", "")), LINK)
