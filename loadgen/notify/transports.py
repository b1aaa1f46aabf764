"""Sends one message: to a webhook with a signature, to Slack, to SNS, or by SMTP. The only importer of smtplib.

A webhook is signed as the specification "Standard Webhooks" (version 1) describes: the header `webhook-signature` is
`v1,` and the base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`, with `webhook-id` and `webhook-timestamp` beside it.
Redirects are not followed, because they would carry a message to an address that nobody configured.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import smtplib
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from loadgen.errors import CloudGone, LoadgenError, Throttled
from loadgen.notify.message_texts import as_email, as_json, as_slack, as_sns
from loadgen.notify.outbox import Message
from loadgen.notify.settings import Channel
from loadgen.outside_text import one_line
from loadgen.sinks.post import Poster, Undelivered

__all__ = ["NotDelivered", "Transport", "signature", "transport_of"]

_MAIL_S: Final = 5.0
"""The time limit for connecting to a mail server, and for each of its answers."""
_WORTH_A_RETRY: Final = frozenset((408, 425, 429))
_PREFIX: Final = "whsec_"


class NotDelivered(Exception):
    """The receiver did not accept a message. The text has no secrets. is_final: a further try cannot help."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final


class Transport(ABC):
    """Sends messages to one receiver; only one thread uses it."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send a message, within some 20 s.

        Raises:
            NotDelivered: the receiver did not accept it.
        """


def transport_of(channel: Channel, secrets: Mapping[str, str], clock: Callable[[], float] = time.time) -> Transport:
    """Return the transport of a channel. secrets: values by name. clock: Unix time, for signatures.

    Raises:
        NotDelivered: the channel cannot be used: its URL or its certificate is invalid.
    """
    if channel.kind == "email":
        return _Mail(channel, secrets)
    if channel.kind == "sns":
        return _Topic(channel)
    return _Post(channel, secrets, clock)


def signature(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`.

    secret: `whsec_` and base64, or any other text, whose UTF-8 bytes are the key.
    """
    key = secret.encode()
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            key = secret.encode()
    digest = hmac.digest(key, f"{message_id}.{timestamp_s}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


class _Post(Transport):
    def __init__(self, channel: Channel, secrets: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._channel, self._clock = channel, clock
        self._url = channel.url or secrets[channel.url_secret]
        self._key = secrets.get(channel.signing_secret, "")
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NotDelivered(f"the secret {channel.url_secret} is not a URL", is_final=True)
        self._masked = (self._url, parts.path, parts.query) if channel.url_secret else ()
        try:
            self._poster = Poster(self._url, {}, channel.ca)
        except (ssl.SSLError, OSError) as error:
            raise NotDelivered(f"the certificate {channel.ca} cannot be used: {error}", is_final=True) from None

    def send(self, message: Message) -> None:
        link = self._channel.link
        as_kind = as_slack if self._channel.kind == "slack" else as_json
        body = msgspec.json.encode(as_kind(message, link))
        at_s = round(self._clock())
        headers = {"Content-Type": "application/json", "webhook-id": message.id, "webhook-timestamp": str(at_s)}
        if self._key:
            headers["webhook-signature"] = signature(self._key, message.id, at_s, body)
        try:
            self._poster.post(body, headers)
        except Undelivered as error:
            raise NotDelivered(self._plain(str(error)), is_final=_is_final(error)) from None

    def _plain(self, text: str) -> str:
        for secret in self._masked:
            if len(secret) > 1:
                text = text.replace(secret, "***")
        return text


def _is_final(error: Undelivered) -> bool:
    """Return whether the receiver will not accept the message later either: a redirect, a rejection, a certificate."""
    if error.status is None:
        return "CERTIFICATE_VERIFY_FAILED" in str(error) or "certificate verify failed" in str(error)
    return error.status < 500 and error.status not in _WORTH_A_RETRY


class _Topic(Transport):
    """A topic of SNS. Credentials are those of the machine: AWS_PROFILE, the environment, or its role."""

    def __init__(self, channel: Channel) -> None:
        from loadgen.aws.account.boto_clients import Clients

        self._channel = channel
        try:
            self._client = Clients().client("sns", channel.region)
        except LoadgenError as error:
            raise NotDelivered(_with_hint(error), is_final=True) from None

    def send(self, message: Message) -> None:
        from loadgen.aws.account.boto_clients import aws_errors

        try:
            with aws_errors(f"publish to {self._channel.topic}"):
                self._client.publish(TopicArn=self._channel.topic, **as_sns(message, self._channel))
        except LoadgenError as error:
            is_final = not isinstance(error, (CloudGone, Throttled))
            raise NotDelivered(_with_hint(error), is_final=is_final) from None


def _with_hint(error: LoadgenError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


class _Mail(Transport):
    def __init__(self, channel: Channel, secrets: Mapping[str, str]) -> None:
        self._channel = channel
        self._password = secrets.get(channel.password_secret, "")
        try:
            self._context = ssl.create_default_context(cafile=None if channel.ca is None else str(channel.ca))
        except (ssl.SSLError, OSError) as error:
            raise NotDelivered(f"the certificate {channel.ca} cannot be used: {error}", is_final=True) from None

    def send(self, message: Message) -> None:
        channel = self._channel
        mail = as_email(message, channel.link, channel.sender, channel.to)
        try:
            with self._connected() as server:
                if channel.tls == "starttls":
                    server.starttls(context=self._context)
                if channel.user:
                    server.login(channel.user, self._password)
                refused = server.send_message(mail)
        except smtplib.SMTPResponseException as error:
            text = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else ""
            raise NotDelivered(
                self._plain(f"the mail server answers {error.smtp_code}: {text}"), is_final=error.smtp_code >= 500
            ) from None
        except smtplib.SMTPRecipientsRefused as error:
            raise NotDelivered(
                self._plain(f"the mail server rejects {', '.join(error.recipients)}"), is_final=True
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise NotDelivered(
                self._plain(f"certificate verify failed: {error.verify_message}"), is_final=True
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            raise NotDelivered(self._plain(f"the mail server cannot do it: {error}"), is_final=True) from None
        except TimeoutError:
            raise NotDelivered(f"no answer within {_MAIL_S:g} s") from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotDelivered(
                self._plain(getattr(error, "strerror", None) or str(error) or type(error).__name__)
            ) from None
        if refused:
            raise NotDelivered(f"the mail server rejects {one_line(', '.join(refused), 160)}", is_final=True)

    def _connected(self) -> smtplib.SMTP:
        channel = self._channel
        if channel.tls == "tls":
            return smtplib.SMTP_SSL(channel.host, channel.port, timeout=_MAIL_S, context=self._context)
        return smtplib.SMTP(channel.host, channel.port, timeout=_MAIL_S)

    def _plain(self, text: str) -> str:
        if self._password:
            text = text.replace(self._password, "***")
            text = text.replace(base64.b64encode(self._password.encode()).decode(), "***")
        return one_line(" ".join(text.split()), 160)
