"""Texts of pages: within the limits of each receiver, cut by whole rows, without markup of others."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.notify.event import Event, EventKind
from loadgen.notify.message_texts import as_email, as_json, as_slack, as_sns, as_text
from loadgen.notify.outbox import Message
from loadgen.notify.page_texts import MOST_SLACK_BLOCKS, MOST_SLACK_CHARACTERS, MOST_SNS_BYTES, page_html
from loadgen.notify.settings import Channel

LINK = "https://perf.example/2026-W30/w30-4f1a/index.html"
TOPIC = Channel(name="t", kind="sns", topic="arn:aws:sns:eu-west-1:123456789012:perf.fifo", region="eu-west-1")


def page(rows: int = 2, text: str = "checkout (payments): 99.5 %: no, 99.41 %") -> Message:
    event = Event.of(
        EventKind.REPORT,
        "Payments, 2026-W30",
        "13 of 14 promises were kept",
        "2026-07-27T06:00:00Z",
        result="bad",
        reasons=["Checkout's was not: 99.41 % against 99.5 %.", "<!channel> Search became slower by 6 %."],
        rows=[f"{n}: {text}" for n in range(rows)],
        link=LINK,
    )
    return Message("msg_1", (event,))


def test_a_page_is_its_sentences_its_rows_and_its_address() -> None:
    assert as_text(page(), "https://elsewhere.example/{run}").splitlines() == [
        "Payments, 2026-W30: 13 of 14 promises were kept",
        "Checkout's was not: 99.41 % against 99.5 %.",
        "<!channel> Search became slower by 6 %.",
        "- 0: checkout (payments): 99.5 %: no, 99.41 %",
        "- 1: checkout (payments): 99.5 %: no, 99.41 %",
        LINK,
    ]


def test_a_webhook_gets_the_rows_and_events_of_runs_stay_as_they_are() -> None:
    (event,) = as_json(page(600), "")["events"]
    (run,) = as_json(Message("m", (Event.of(EventKind.END, "a", "b", ""),)), "")["events"]

    assert (event["kind"], event["link"], len(event["rows"]), event["more_rows"]) == ("report", LINK, 500, 100)
    assert "rows" not in run


@pytest.mark.parametrize(("rows", "text"), [(2, "x"), (120, "y" * 390), (500, "z" * 20), (500, "&<>" * 130)])
def test_slack_gets_whole_rows_within_its_limits_and_the_number_of_the_others(rows: int, text: str) -> None:
    body = as_slack(page(rows, text), "")

    texts = [block["text"]["text"] for block in body["blocks"]]
    assert len(texts) <= MOST_SLACK_BLOCKS
    assert sum(map(len, texts)) + len(body["text"]) <= MOST_SLACK_CHARACTERS
    assert max(map(len, texts)) <= 3_000
    shown = [line for one in texts for line in one.splitlines() if line.endswith(text)]
    assert shown == list(page(rows, text).events[0].rows[: len(shown)])
    left = rows - len(shown)
    assert not left or f"and {left} more rows on the page" in texts
    assert texts[-1] == f"<{LINK}>"
    assert [block["text"]["type"] for block in body["blocks"][:-1]] == ["plain_text"] * (len(texts) - 1)


def test_a_mail_has_a_plain_and_an_html_part_without_markup_of_others() -> None:
    mail = as_email(page(), "", "a@b.example", ["c@d.example"])

    plain, html = mail.iter_parts()

    assert mail["Subject"] == "[loadgen] Payments, 2026-W30: 13 of 14 promises were kept"
    assert "- 1: checkout" in plain.get_content()
    text = html.get_content()
    assert "&lt;!channel&gt; Search" in text
    assert "<li>1: checkout" in text
    assert not {"<svg", "<script", "<img"} & set(text.split())


@pytest.mark.parametrize("text", ["short", "\u20ac" * 390])
def test_sns_gets_text_for_people_and_json_for_programs_below_256_kib(text: str) -> None:
    arguments = as_sns(page(500, text), TOPIC)

    body = json.loads(arguments["Message"])
    (event,) = json.loads(body["sqs"])["events"]
    assert len(arguments["Message"].encode()) < MOST_SNS_BYTES
    assert len(event["rows"]) + event["more_rows"] == 500
    assert event["rows"][0] == f"0: {text}"[:400]
    assert body["default"].startswith("Payments, 2026-W30: 13 of 14")
    assert arguments["MessageDeduplicationId"] == "msg_1"
    assert arguments["Subject"].isascii()


@given(st.lists(st.text(min_size=1, max_size=500), max_size=60), st.lists(st.text(max_size=500), max_size=12))
def test_any_texts_stay_within_the_limits_and_no_row_is_cut(rows: list[str], sentences: list[str]) -> None:
    event = Event.of(EventKind.STATUS, "Promises", "x", "", reasons=sentences, rows=rows, link=LINK)
    body = as_slack(Message("m", (event,)), "")

    texts = [block["text"]["text"] for block in body["blocks"]]
    lines = [line for text in texts for line in text.split("\n")]
    assert len(texts) <= MOST_SLACK_BLOCKS
    assert sum(map(len, texts)) + len(body["text"]) <= MOST_SLACK_CHARACTERS
    assert all(0 < len(text) <= 3_000 for text in texts)
    shown = sum(1 for row in event.rows if row in lines)
    assert shown == len(event.rows) or any(line.endswith(" on the page") for line in lines)
    html = page_html(event, LINK)
    assert html.count("<li>") == len(event.rows)
    assert html.count("<") == html.count(">")
