"""A channel for notifications: the table `[notify.NAME]` of `loadgen.toml`, checked.

    [notify.team]
    kind = "slack"                                # or "webhook", "email", "sns"
    url_secret = "team-hook"                      # the name of a secret, never its value
    events = ["end", "abort", "gate"]             # default: all
    link = "https://perf.example/runs/{run}"      # added to each message

The file never contains a secret: `url_secret`, `signing_secret` and `password_secret` are names. A value comes from
LOADGEN_SECRET_NAME or from a file in LOADGEN_SECRETS_DIR, as the secrets of scenarios do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from loadgen.hostport import host_port
from loadgen.notify.event import EventKind

__all__ = ["EVENTS", "Channel", "ChannelTable", "channel_of"]

EVENTS: Final = tuple(kind.value for kind in EventKind if kind is not EventKind.TEST)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_ADDRESS: Final = re.compile(r"[^\s@<>,;\"()]+@[^\s@<>,;\"()]+")
_TOPIC: Final = re.compile(r"arn:aws[a-z-]*:sns:([a-z]{2}[a-z-]*-[0-9]+):[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
_REGION: Final = re.compile(r"[a-z]{2}[a-z-]*-[0-9]+")
_HINT_FOR_NAMES: Final = 'write the name of a secret, such as "team-hook"; its value is in LOADGEN_SECRET_TEAM_HOOK'
_KEYS: Final = {
    "webhook": ("url", "url_secret", "signing_secret", "ca"),
    "slack": ("url_secret", "ca"),
    "email": ("server", "tls", "sender", "to", "user", "password_secret", "ca"),
    "sns": ("topic", "region"),
}
"""The keys of each kind, besides kind, events and link."""
_ADD = tuple[str, str, str]


class ChannelTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[notify.NAME]` as written, before it is checked."""

    kind: Literal["webhook", "slack", "email", "sns"] | None = None
    events: tuple[str, ...] | None = None
    link: str = ""
    url: str = ""
    url_secret: str = ""
    signing_secret: str = ""
    ca: str = ""
    server: str = ""
    tls: Literal["starttls", "tls", "none"] | None = None
    sender: str = ""
    to: tuple[str, ...] = ()
    user: str = ""
    password_secret: str = ""
    topic: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A checked channel. Secrets are names."""

    name: str
    kind: Literal["webhook", "slack", "email", "sns"]
    events: frozenset[EventKind] = frozenset(EventKind)
    link: str = ""
    """The address of a run, in which `{run}` stands for its id; empty: no link."""
    url: str = ""
    url_secret: str = ""
    signing_secret: str = ""
    ca: Path | None = None
    """The certificate to trust instead of the system's."""
    host: str = ""
    port: int = 0
    tls: Literal["starttls", "tls", "none"] = "starttls"
    sender: str = ""
    to: tuple[str, ...] = ()
    user: str = ""
    password_secret: str = ""
    topic: str = ""
    """The ARN of an SNS topic."""
    region: str = ""
    """The region of the topic."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the names of the secrets that the channel needs."""
        return tuple(name for name in (self.url_secret, self.signing_secret, self.password_secret) if name)

    @property
    def where(self) -> str:
        """Return the receiver as it may be shown: without a path if the URL is a secret."""
        if self.kind == "email":
            return ", ".join(self.to)
        if self.kind == "sns":
            return self.topic
        return self.url or f"the URL of secret {self.url_secret}"


def channel_of(name: str, table: ChannelTable, folder: Path) -> tuple[Channel | None, list[_ADD]]:
    """Return the channel of a table, or None and all errors in it as (key, message, hint).

    folder: the folder of `loadgen.toml`; paths in the file are relative to it.
    """
    errors = list(_errors(name, table, folder))
    if errors or table.kind is None:
        return None, errors
    host, port = host_port(table.server) if table.kind == "email" else ("", 0)
    channel = Channel(
        name=name,
        kind=table.kind,
        events=frozenset(EventKind if table.events is None else (*map(EventKind, table.events), EventKind.TEST)),
        link=table.link,
        url=table.url,
        url_secret=table.url_secret,
        signing_secret=table.signing_secret,
        ca=folder / table.ca if table.ca else None,
        host=host,
        port=port,
        tls=table.tls or "starttls",
        sender=table.sender,
        to=table.to,
        user=table.user,
        password_secret=table.password_secret,
        topic=table.topic,
        region=table.region or (_TOPIC.fullmatch(table.topic) or ("", ""))[1],
    )
    return channel, []


def _errors(name: str, table: ChannelTable, folder: Path) -> Iterator[_ADD]:
    if not _NAME.fullmatch(name):
        yield "", f'"{name[:40]}" is not a valid name of a channel', "use letters, digits, -, _ and dots"
    if table.kind is None:
        yield "", f"notify.{name} has no kind", 'write kind = "webhook", "slack", "email" or "sns"'
        return
    for key in dict.fromkeys(key for keys in _KEYS.values() for key in keys):
        if getattr(table, key) and key not in _KEYS[table.kind]:
            if (table.kind, key) == ("slack", "url"):
                yield key, "url: the address of a Slack webhook is a secret", 'write url_secret = "NAME" instead'
            else:
                yield key, f"{key}: a channel of kind {table.kind} has no {key}", f"remove {key}"
    for event in table.events or ():
        if event not in EVENTS:
            yield "events", f'events: unknown event "{event[:40]}"', f"use some of {', '.join(EVENTS)}"
    if table.events is not None and not table.events:
        yield "events", "events: the list is empty", "leave events out for all of them, or remove the channel"
    if table.link:
        yield from _link_errors(table.link)
    for key in ("url_secret", "signing_secret", "password_secret"):
        value = getattr(table, key)
        if value and not _NAME.fullmatch(value):
            # The value is not shown: it may be the secret itself.
            yield key, f"{key} is not the name of a secret", _HINT_FOR_NAMES
    if table.ca and not (folder / table.ca).is_file():
        yield "ca", f"ca: {table.ca} does not exist", "give the path of a PEM file"
    if table.kind == "sns":
        yield from _topic_errors(table)
    else:
        yield from _mail_errors(table) if table.kind == "email" else _url_errors(table)


def _link_errors(link: str) -> Iterator[_ADD]:
    hint = 'write link = "https://perf.example/runs/{run}"'
    parts = urlsplit(link)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        yield "link", "link: must begin with https:// or http://", hint
    if "@" in parts.netloc or parts.query or parts.fragment:
        yield "link", "link: must not have a user, a query or a fragment", hint


def _url_errors(table: ChannelTable) -> Iterator[_ADD]:
    if bool(table.url) == bool(table.url_secret):
        what = "both url and url_secret" if table.url else "neither url nor url_secret"
        if table.kind == "slack" and not table.url:
            yield "url_secret", "the channel has no url_secret", 'write url_secret = "NAME"'
        elif table.kind == "webhook":
            yield "url", f"the channel has {what}", 'write url = "https://...", or url_secret = "NAME" if it is secret'
    if table.url and table.kind == "webhook":
        parts = urlsplit(table.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            yield "url", "url: must begin with https:// or http://", 'write url = "https://hooks.example/loadgen"'
        elif "@" in parts.netloc or parts.query:
            yield "url", "url: a user, password or query may be a secret", 'write url_secret = "NAME" instead'


def _topic_errors(table: ChannelTable) -> Iterator[_ADD]:
    if not _TOPIC.fullmatch(table.topic):
        what = f'"{table.topic[:80]}" is not the ARN of a topic' if table.topic else "missing"
        yield "topic", f"topic: {what}", 'write topic = "arn:aws:sns:eu-west-1:123456789012:perf"'
    if table.region and not _REGION.fullmatch(table.region):
        yield (
            "region",
            f'region: "{table.region[:40]}" is not a region',
            'write for example "eu-west-1", or leave it out',
        )


def _mail_errors(table: ChannelTable) -> Iterator[_ADD]:
    try:
        _, port = host_port(table.server)
    except ValueError:
        port = 0
    if port < 1:
        yield "server", "server: must be HOST:PORT", 'write server = "mail.example:587"'
    for key, addresses in (("sender", (table.sender,)), ("to", table.to or ("",))):
        for address in addresses:
            if not _ADDRESS.fullmatch(address):
                yield key, f'{key}: "{address[:60]}" is not an e-mail address', 'write for example "team@shop.example"'
    if bool(table.user) != bool(table.password_secret):
        yield "user", "user and password_secret need each other", "write both, or none"
    if table.user and table.tls == "none":
        yield "tls", "tls: a password is not sent without encryption", 'write tls = "starttls" or "tls"'
