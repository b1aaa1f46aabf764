"""The texts of a page of the programme: plain, as blocks of Slack, as the HTML part of an e-mail, and for SNS.

A text that is too long for its receiver is cut by whole rows, the last ones first, and its end has the number of the
missing rows with the link. So a receiver never shows half of a figure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from loadgen.notify.event import Event
from loadgen.outside_text import in_html
from loadgen.units import quantity

__all__ = ["MOST_SLACK_BLOCKS", "MOST_SLACK_CHARACTERS", "page_blocks", "page_html", "page_lines", "sns_body"]

T = TypeVar("T")
MOST_SLACK_BLOCKS: Final = 50
MOST_SLACK_CHARACTERS: Final = 13_200
"""Slack rejects messages whose blocks have more characters in all: slackapi/bolt-js#2509."""
_MOST_SECTION: Final = 3_000
_MOST_HEADER: Final = 150
MOST_SNS_BYTES: Final = 262_144
"""The largest message of SNS, with all of its texts and attributes."""
_SNS_MARGIN_BYTES: Final = 2_048
"""For the subject and the attributes of a message."""


def page_lines(event: Event, address: str, rows: int | None = None) -> list[str]:
    """Return the page as lines. rows: the number of its rows that are shown; None: all."""
    shown = event.rows if rows is None else event.rows[:rows]
    missing = len(event.rows) - len(shown) + event.more_rows
    lines = [f"{event.title}: {event.headline}", *event.reasons, *(f"- {row}" for row in shown)]
    if event.more_reasons:
        lines.append(f"and {quantity(event.more_reasons, 'more sentence')}")
    if missing:
        lines.append(f"and {quantity(missing, 'more row')}{', at the address below' if address else ''}")
    return [*lines, *([address] if address else [])]


def page_blocks(event: Event, address: str) -> dict[str, Any]:
    """Return the body for a Slack webhook, within all limits of Slack.

    All texts are plain text, so markup and mentions in them are shown as written. Only the address is a link.
    """
    return _fitted(len(event.rows), lambda rows: _blocks(event, address, rows), _fits_slack)


def page_html(event: Event, address: str) -> str:
    """Return the HTML part of an e-mail: no script, no image, no SVG, no address except that of the page."""
    rows = "".join(f"<li>{in_html(row)}</li>" for row in event.rows)
    missing = f"<p>and {quantity(event.more_rows, 'more row')}</p>" if event.more_rows else ""
    link = f'<p><a href="{in_html(address)}">{in_html(address)}</a></p>' if address else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{in_html(event.title)}</title></head>'
        f"<body><h1>{in_html(event.title)}</h1><p><strong>{in_html(event.headline)}</strong></p>"
        f"{''.join(f'<p>{in_html(one)}</p>' for one in event.reasons)}"
        f"{f'<ul>{rows}</ul>' if rows else ''}{missing}{link}</body></html>\n"
    )


def sns_body(page: Event | None, lines: Sequence[str], address: str, document: Callable[[int], dict[str, Any]]) -> str:
    """Return the message of SNS as JSON by protocol: text for people, and the document of a webhook for programs.

    lines: the text of a message that is not about a page. document: returns the webhook's document with that number of
    rows.
    """

    def made(rows: int) -> str:
        text = "\n".join(lines if page is None else page_lines(page, address, rows))
        programs = json.dumps(document(rows), ensure_ascii=False, separators=(",", ":"))
        every = {"default": text} | dict.fromkeys(("http", "https", "lambda", "sqs"), programs)
        return json.dumps(every, ensure_ascii=False, separators=(",", ":"))

    whole = _fitted(0 if page is None else len(page.rows), made, _fits_sns)
    # Many events in one message can be too long for four protocols; the text alone never is.
    return whole if _fits_sns(whole) else json.dumps({"default": "\n".join(lines)}, ensure_ascii=False)


def _fitted(rows: int, made: Callable[[int], T], fits: Callable[[T], bool]) -> T:
    """Return what is made with the largest number of rows that fits. The texts without rows always fit."""
    if fits(whole := made(rows)):
        return whole
    low, high = 0, rows
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(made(middle)) else (low, middle)
    return made(low)


def _blocks(event: Event, address: str, rows: int) -> dict[str, Any]:
    title = f"{event.title}: {event.headline}"
    sentences = [*event.reasons]
    if event.more_reasons:
        sentences.append(f"and {quantity(event.more_reasons, 'more sentence')}")
    short = title if len(title) <= _MOST_HEADER else f"{title[: _MOST_HEADER - 1]}\u2026"
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(short)}]
    blocks += [{"type": "section", "text": _plain(text)} for text in _packed(sentences)]
    blocks += [{"type": "section", "text": _plain(text)} for text in _packed(event.rows[:rows])]
    if missing := len(event.rows) - rows + event.more_rows:
        where = " on the page" if address else ""
        blocks.append({"type": "section", "text": _plain(f"and {quantity(missing, 'more row')}{where}")})
    if address:
        blocks.append(
            {"type": "section", "text": {"type": "mrkdwn", "text": f"<{_escaped(address).replace('|', '%7C')}>"}}
        )
    return {"text": _escaped(title), "blocks": blocks}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _packed(lines: Iterable[str]) -> Iterator[str]:
    """Yield whole lines joined to texts of at most 3,000 characters."""
    joined = ""
    for line in lines:
        if joined and len(joined) + 1 + len(line) > _MOST_SECTION:
            yield joined
            joined = ""
        joined = f"{joined}\n{line}" if joined else line
    if joined:
        yield joined


def _fits_slack(body: dict[str, Any]) -> bool:
    characters = len(body["text"]) + sum(len(block["text"]["text"]) for block in body["blocks"])
    return len(body["blocks"]) <= MOST_SLACK_BLOCKS and characters <= MOST_SLACK_CHARACTERS


def _fits_sns(text: str) -> bool:
    return len(text.encode()) <= MOST_SNS_BYTES - _SNS_MARGIN_BYTES


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
