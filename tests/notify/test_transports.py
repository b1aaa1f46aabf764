"""Messages over real sockets: accepted, rejected, redirected, silent, with an expired certificate."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from pathlib import Path
from typing import Any

import pytest
import trustme

from loadgen.notify.event import Event, EventKind
from loadgen.notify.notifier import Notifier
from loadgen.notify.outbox import Message
from loadgen.notify.settings import Channel
from loadgen.notify.transports import NotDelivered, signature, transport_of
from tests.support.mail import MailServer, mail_server
from tests.support.sinks import eventually, http_receiver

EVENT = Event.of(EventKind.END, "checkout", "PASSED (exit code 0)", "2026-11-28T09:00:00Z", run="r1")
MESSAGE = Message("msg_1", (EVENT,))


def webhook(url: str, **more: Any) -> Channel:
    return Channel(name="hook", kind="webhook", url=url, **more)


def mail(server: MailServer, **more: Any) -> Channel:
    usual = {"tls": "none", "sender": "loadgen@shop.example", "to": ("team@shop.example",)}
    return Channel(name="mail", kind="email", host="127.0.0.1", port=server.port, **(usual | more))


def why_not(channel: Channel, **secrets: str) -> tuple[str, bool]:
    with pytest.raises(NotDelivered) as raised:
        transport_of(channel, secrets).send(MESSAGE)
    return str(raised.value), raised.value.is_final


# -- webhooks -------------------------------------------------------------------------------------


def test_the_signature_is_that_of_the_specification() -> None:
    # The example of the specification's own documentation.
    made = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_webhook_gets_id_time_and_signature_of_the_bytes_it_receives() -> None:
    with http_receiver(status=204) as receiver:
        channel = webhook(f"{receiver.url}/in", signing_secret="key")
        transport_of(channel, {"key": "canary"}, clock=lambda: 1614265330.2).send(MESSAGE)
    (got,) = receiver.got
    assert (got.path, got.headers["webhook-id"], got.headers["webhook-timestamp"]) == ("/in", "msg_1", "1614265330")
    assert got.headers["webhook-signature"] == signature("canary", "msg_1", 1614265330, got.body)
    assert b"canary" not in got.body


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        (301, True),
        (302, True),
        (400, True),
        (404, True),
        (410, True),
        (429, False),
        (408, False),
        (500, False),
        (503, False),
    ],
)
def test_a_redirect_or_rejection_is_final_and_an_overload_is_not(status: int, is_final: bool) -> None:
    with http_receiver(status=status, headers={"Location": "https://evil.example/"}) as receiver:
        why, final = why_not(webhook(receiver.url))
    assert why == f"the server answers http {status}"
    assert final is is_final
    assert len(receiver.got) == 1


def test_slack_gets_a_text_and_its_address_is_in_no_error() -> None:
    with http_receiver(answer=b"ok") as receiver:
        channel = Channel(name="team", kind="slack", url_secret="hook")
        transport_of(channel, {"hook": f"{receiver.url}/services/canary"}).send(MESSAGE)
        receiver.status, receiver.answer = 404, b"no /services/canary here"
        why, _ = why_not(channel, hook=f"{receiver.url}/services/canary")
    assert receiver.got[0].path == "/services/canary"
    assert b"checkout: PASSED" in receiver.got[0].body
    assert "canary" not in why


def test_a_secret_that_is_not_a_url_is_named_and_not_shown() -> None:
    assert why_not(Channel(name="t", kind="slack", url_secret="hook"), hook="canary") == (
        "the secret hook is not a URL",
        True,
    )


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a server whose certificate has expired, and its authority."""
    authority = trustme.CA()
    day = timedelta(days=1)
    own = authority.issue_cert("127.0.0.1", not_before=datetime.now(UTC) - 9 * day, not_after=datetime.now(UTC) - day)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.configure_cert(context)
    with mail_server() as server:  # never spoken to: the handshake fails before
        server.tls = context
        yield f"127.0.0.1:{server.port}", tmp_path / "ca.pem"


def test_an_expired_certificate_is_final_for_mail(tmp_path: Path, expired: tuple[str, Path]) -> None:
    host, port = expired[0].split(":")
    channel = Channel(
        name="m", kind="email", host=host, port=int(port), ca=expired[1], sender="a@b.example", to=("c@d.example",)
    )
    why, is_final = why_not(channel)
    assert "certificate has expired" in why
    assert is_final


def test_an_expired_certificate_is_final_for_a_webhook(tmp_path: Path) -> None:
    import socket

    authority = trustme.CA()
    day = timedelta(days=1)
    own = authority.issue_cert("127.0.0.1", not_before=datetime.now(UTC) - 9 * day, not_after=datetime.now(UTC) - day)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, pytest.raises(OSError):
                context.wrap_socket(connection, server_side=True).recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        why, is_final = why_not(webhook(f"https://127.0.0.1:{listening.getsockname()[1]}/", ca=tmp_path / "ca.pem"))
        thread.join()
    assert "certificate has expired" in why
    assert is_final


# -- e-mail ---------------------------------------------------------------------------------------


def test_a_mail_has_sender_receivers_subject_and_text() -> None:
    with mail_server() as server:
        transport_of(mail(server), {}).send(MESSAGE)
    mailed = message_from_string(server.texts[0], policy=policy.default)
    assert mailed["From"] == "loadgen@shop.example"
    assert mailed["To"] == "team@shop.example"
    assert mailed["Subject"] == "[loadgen] checkout: PASSED (exit code 0) (r1)"
    assert mailed["Message-ID"] == "<msg_1@shop.example>"
    assert mailed.get_content().startswith("checkout: PASSED")


def test_a_password_goes_only_through_encryption(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with mail_server(tls=context, login="me:canary") as server:
        channel = mail(server, tls="starttls", user="me", password_secret="pw", ca=tmp_path / "ca.pem")
        transport_of(channel, {"pw": "canary"}).send(MESSAGE)
        server.login = "me:other"
        why, is_final = why_not(channel, pw="canary")
        server.tls = None
        assert why_not(channel, pw="canary")[1], "without STARTTLS nothing is sent"
    assert server.was_encrypted == [True]
    assert (why, is_final) == ("the mail server answers 535: not ***", True)


def test_a_rejected_mail_is_final_and_a_busy_server_is_not() -> None:
    with mail_server(rejects="550 not you") as server:
        assert why_not(mail(server)) == ("the mail server answers 550: not you", True)
        server.rejects = "451 later"
        assert why_not(mail(server)) == ("the mail server answers 451: later", False)


# -- threads --------------------------------------------------------------------------------------


def test_a_channel_that_is_silent_holds_up_neither_the_others_nor_the_end() -> None:
    silence = threading.Event()
    with http_receiver(hangs=silence) as silent, http_receiver() as good:
        channels = [Channel(name="bad", kind="webhook", url=silent.url), webhook(good.url)]
        notifier = Notifier(channels)
        notifier.offer(EVENT)
        eventually(lambda: bool(good.got))
        lines = notifier.close(patience_s=0.1)
    assert lines == ["1 notification to bad (end) not delivered: no answer in time (tries: 0)"]
    assert [got.headers["webhook-id"][:4] for got in good.got] == ["msg_"]


def test_a_channel_that_rejects_is_reported_once_and_its_events_are_counted() -> None:
    told: list[str] = []
    with http_receiver(status=410) as receiver:
        notifier = Notifier([webhook(receiver.url)], on_trouble=told.append)
        for kind in (EventKind.START, EventKind.AGENT_LOST, EventKind.END):
            notifier.offer(Event.of(kind, "shop", "x", ""))
        lines = notifier.close()
    assert lines == [
        "3 notifications to hook (agent-lost, end, start) not delivered: the server answers http 410 (tries: 1)"
    ]
    assert told == ["a notification to hook was not delivered: the server answers http 410 (try 1 of 5)"]


def test_a_channel_gets_only_the_events_that_it_wants() -> None:
    with http_receiver() as receiver:
        notifier = Notifier([webhook(receiver.url, events=frozenset((EventKind.ABORT,)))])
        notifier.offer(EVENT)
        notifier.offer(Event.of(EventKind.ABORT, "shop", "stopped", ""))
        assert notifier.close() == []
    assert [b'"type":"abort"' in got.body for got in receiver.got] == [True]


def test_without_channels_nothing_happens() -> None:
    notifier = Notifier()
    notifier.offer(EVENT)
    assert not notifier
    assert notifier.close() == []
