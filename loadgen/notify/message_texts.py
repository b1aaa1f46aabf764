"""The texts of a message: for people, as JSON of a webhook, for Slack, and as an e-mail."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote

from loadgen.notify.event import Event
from loadgen.notify.outbox import Message
from loadgen.units import quantity

__all__ = ["as_email", "as_json", "as_slack", "as_text", "link_of"]

_MOST_LISTED = 10


def link_of(link: str, run: str) -> str:
    """Return the address of a run; empty without a template or for an event without a run."""
    return link.replace("{run}", quote(run, safe="")) if link and (run or "{run}" not in link) else ""


def as_text(message: Message, link: str) -> str:
    """Return the message for people. link: the channel's template of a run's address."""
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
    text = as_text(message, link)
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"), "mrkdwn": False}


def as_email(message: Message, link: str, sender: str, to: Sequence[str]) -> EmailMessage:
    """Return the message as an e-mail with a message id that is the same for each try."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, ", ".join(to)
    first = message.events[0]
    more = f" and {message.count - 1:,} more" if message.count > 1 else ""
    mail["Subject"] = f"[loadgen] {_title(first)}{more}"
    mail["Message-ID"] = f"<{message.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(as_text(message, link))
    return mail


def _title(event: Event) -> str:
    run = f" ({event.run})" if event.run else ""
    return f"{event.title}: {event.headline}{run}"


def _lines(event: Event, link: str) -> list[str]:
    lines = [_title(event), *map(str, event.figures), *(f"- {reason}" for reason in event.reasons)]
    if event.more_reasons:
        lines.append(f"- and {quantity(event.more_reasons, 'more reason')}")
    if address := link_of(link, event.run):
        lines.append(address)
    return lines


def _event_json(event: Event, link: str) -> dict[str, Any]:
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
        "link": link_of(link, event.run),
    }
