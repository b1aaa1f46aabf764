"""The texts of a message: for people, as JSON of a webhook, for Slack, for SNS, and as an e-mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote

from loadgen.notify.event import PAGES, Event
from loadgen.notify.outbox import Message
from loadgen.notify.page_texts import page_blocks, page_html, page_lines, sns_body
from loadgen.notify.settings import Channel
from loadgen.units import quantity

__all__ = ["address_of", "as_email", "as_json", "as_slack", "as_sns", "as_text", "link_of"]

_MOST_LISTED = 10
_MOST_SUBJECT = 100


def link_of(link: str, run: str) -> str:
    """Return the address of a run; empty without a template or for an event without a run."""
    return link.replace("{run}", quote(run, safe="")) if link and (run or "{run}" not in link) else ""


def address_of(event: Event, link: str) -> str:
    """Return the address of what an event is about; "" without one. link: the channel's template."""
    return event.link or link_of(link, event.run)


def as_text(message: Message, link: str) -> str:
    """Return the message for people. link: the channel's template of a run's address."""
    if (page := _page_of(message)) is not None:
        return "\n".join(page_lines(page, address_of(page, link)))
    if len(message.events) == 1 and not message.left_out:
        return "\n".join(_lines(message.events[0], link))
    kind = message.events[0].kind
    lines = [f"{quantity(message.count, 'event')} of kind {kind} since the last message:"]
    lines += [f"- {_title(event)}" for event in message.events[:_MOST_LISTED]]
    if message.count > _MOST_LISTED:
        lines.append(f"- and {message.count - _MOST_LISTED:,} more")
    return "\n".join(lines)


def as_json(message: Message, link: str) -> dict[str, Any]:
    """Return the body of a webhook."""
    return {
        "format": 1,
        "id": message.id,
        "type": message.events[0].kind.value,
        "count": message.count,
        "text": as_text(message, link),
        "events": [_event_json(event, link) for event in message.events],
    }


def as_slack(message: Message, link: str) -> dict[str, Any]:
    """Return the body for a Slack webhook. Markup and mentions in its texts are escaped, so they are shown as written.

    link: the address of the run, or "".
    """
    if (page := _page_of(message)) is not None:
        return page_blocks(page, address_of(page, link))
    text = as_text(message, link)
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"), "mrkdwn": False}


def as_sns(message: Message, channel: Channel) -> dict[str, Any]:
    """Return the arguments of `publish` of SNS: subject, message by protocol, and attributes for filters.

    A subscriber by e-mail or SMS gets the text, and one by SQS, Lambda or HTTP the JSON of a webhook.
    """
    first, link = message.events[0], channel.link
    page = _page_of(message)

    def document(rows: int) -> dict[str, Any]:
        if page is None:
            return as_json(message, link)
        cut = replace(page, rows=page.rows[:rows], more_rows=page.more_rows + len(page.rows) - rows)
        return as_json(replace(message, events=(cut,)), link)

    lines = as_text(message, link).split("\n")
    body = sns_body(page, lines, address_of(first, link), document)
    kind = {"DataType": "String", "StringValue": first.kind.value}
    arguments: dict[str, Any] = {
        "Subject": _subject(message).encode("ascii", "replace").decode()[:_MOST_SUBJECT],
        "Message": body,
        "MessageStructure": "json",
        "MessageAttributes": {"kind": kind, "id": {"DataType": "String", "StringValue": message.id}},
    }
    if channel.topic.endswith(".fifo"):
        # SNS drops a second message with the same id within 5 minutes.
        arguments |= {"MessageGroupId": "loadgen", "MessageDeduplicationId": message.id}
    return arguments


def as_email(message: Message, link: str, sender: str, to: Sequence[str]) -> EmailMessage:
    """Return the message as an e-mail with a message id that is the same for each try."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, ", ".join(to)
    mail["Subject"] = _subject(message)
    mail["Message-ID"] = f"<{message.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(as_text(message, link))
    if (page := _page_of(message)) is not None:
        mail.add_alternative(page_html(page, address_of(page, link)), subtype="html")
    return mail


def _page_of(message: Message) -> Event | None:
    """Return the event of a message about one page of the programme; None for other messages."""
    first = message.events[0]
    return first if message.count == 1 and first.kind in PAGES else None


def _subject(message: Message) -> str:
    more = f" and {message.count - 1:,} more" if message.count > 1 else ""
    return f"[loadgen] {_title(message.events[0])}{more}"


def _title(event: Event) -> str:
    run = f" ({event.run})" if event.run else ""
    return f"{event.title}: {event.headline}{run}"


def _lines(event: Event, link: str) -> list[str]:
    lines = [_title(event), *map(str, event.figures), *(f"- {reason}" for reason in event.reasons)]
    if event.more_reasons:
        lines.append(f"- and {quantity(event.more_reasons, 'more reason')}")
    if address := address_of(event, link):
        lines.append(address)
    return lines


def _event_json(event: Event, link: str) -> dict[str, Any]:
    rows = {"rows": list(event.rows), "more_rows": event.more_rows} if event.kind in PAGES else {}
    return {
        "kind": event.kind.value,
        "at": event.at,
        "run": event.run,
        "scenario": event.title,
        "headline": event.headline,
        "result": event.result,
        "exit_code": event.exit_code,
        "figures": [{"name": f.name, "text": f.text, "count": f.count, "of": f.of} for f in event.figures],
        "reasons": list(event.reasons),
        "link": address_of(event, link),
    } | rows
