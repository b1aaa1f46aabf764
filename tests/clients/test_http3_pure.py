"""The parts of HTTP/3 without I/O: Alt-Svc, where an origin is asked, GOAWAY, and the names of ends."""

from __future__ import annotations

import random

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, encode_frame
from aioquic.quic.packet import QuicErrorCode

from loadgen.clients.http3.alt_svc import CLEAR, Offer, h3_offer
from loadgen.clients.http3.alternatives import BROKEN_S, Alternatives
from loadgen.clients.http3.close_outcomes import Close, close_failure, h3_outcome
from loadgen.clients.http3.goaway_reader import GoawayReader, InvalidGoaway, integer
from loadgen.clients.net.settings import Http

DAY_S = 24 * 3600


@pytest.mark.parametrize(
    ("value", "offer"),
    [
        ('h3=":443"', Offer("", 443, DAY_S)),
        ('h3=":443"; ma=86400; persist=1', Offer("", 443, 86400)),  # RFC 7838, section 3.1
        ('h3-29=":443"; ma=86400, h3=":8443"; ma=60', Offer("", 8443, 60)),  # Google, Cloudflare
        ('h2="alt.example:443", h3="Alt.example:50781"', Offer("alt.example", 50781, DAY_S)),
        ('h3="[::1]:443"', Offer("::1", 443, DAY_S)),
        ('h3=":443"; ma=0', Offer("", 443, 0)),
        ('h3=":443";v="46,43"; ma="3600"', Offer("", 443, 3600)),
        ("clear", CLEAR),
        (" Clear ", CLEAR),
        ("", None),
        ('h2=":443"', None),
        ('h3-29=":443"', None),
        ("h3=:443", None),
        ('h3=":0"', None),
        ('h3=":65536"', None),
        ('h3="shop.example"', None),
        ('h3=":443', None),
        ('h3="a b:443"', None),
        (",,,", None),
    ],
)
def test_alt_svc_offers_http_3(value: str, offer: Offer | None) -> None:
    assert h3_offer(value) == offer


def test_any_text_as_alt_svc_is_read_in_a_moment() -> None:
    rng = random.Random(7)
    for _ in range(2000):
        h3_offer("".join(rng.choices('h3=":;,\\ \t443ma%clear', k=rng.randrange(60))))
    h3_offer('h3=";' * 20_000)
    h3_offer(';="' * 20_000)


def test_an_offer_is_valid_for_its_time_and_can_be_withdrawn() -> None:
    now_s = 0.0
    found = Alternatives(only=False, clock=lambda: now_s)
    origin = ("shop.example", 443)
    assert found.place_of(origin) is None
    assert found.learn(origin, 'h3=":8443"; ma=60')
    assert not found.learn(origin, 'h3=":8443"; ma=60')  # nothing changes
    assert found.place_of(origin) == ("shop.example", 8443)
    assert found.place_of(("shop.example", 80)) is None
    now_s = 61.0
    assert found.place_of(origin) is None
    found.learn(origin, 'h3="alt.example:443"')
    assert found.place_of(origin) == ("alt.example", 443)
    found.learn(origin, "clear")
    assert found.place_of(origin) is None


def test_an_offer_that_failed_is_tried_again_after_a_while() -> None:
    now_s = 0.0
    found = Alternatives(only=False, clock=lambda: now_s)
    origin = ("shop.example", 443)
    found.learn(origin, 'h3=":8443"')
    found.failed(("shop.example", 8443))
    assert found.place_of(origin) is None
    assert not found.learn(origin, 'h3=":8443"')
    now_s = BROKEN_S + 1
    assert found.place_of(origin) == ("shop.example", 8443)


def test_with_only_every_origin_is_asked_at_its_own_port() -> None:
    assert Alternatives(only=True).place_of(("shop.example", 443)) == ("shop.example", 443)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_goaway_is_found_however_the_control_stream_is_cut(size: int) -> None:
    settings = encode_frame(4, encode_uint_var(1) + encode_uint_var(4096))
    unknown = encode_frame(0x21, b"x" * 300)
    control = encode_uint_var(0) + settings + unknown + encode_frame(7, encode_uint_var(4 * 1000)) + unknown
    reader = GoawayReader()
    reader.feed(7, encode_uint_var(2) + b"\x07\x01\x00")  # a QPACK stream, whose bytes mean something else
    for at in range(0, len(control), size):
        reader.feed(3, control[at : at + size])
    assert reader.first_refused == 4000
    reader.feed(3, encode_frame(7, encode_uint_var(16)))  # a second one may lower the number
    assert reader.first_refused == 16


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x00\x00", b"\x80\x00", b"x" * 9])
def test_a_goaway_without_one_whole_number_is_invalid(payload: bytes) -> None:
    with pytest.raises(InvalidGoaway):
        GoawayReader().feed(3, b"\x00" + encode_frame(7, payload))


def test_integers_of_variable_length_are_those_of_aioquic() -> None:
    rng = random.Random(1)
    for _ in range(500):
        number = rng.randrange(2 ** rng.randrange(1, 62))
        data = encode_uint_var(number)
        assert integer(data, 0) == (number, len(data))
        assert integer(data[:-1], 0) == (0, 0)


def test_every_code_of_aioquic_has_a_name() -> None:
    for code in ErrorCode:
        assert h3_outcome(code) == f"h3 {code.name.removeprefix('H3_').lower()}"
    for transport in QuicErrorCode:
        if transport not in (QuicErrorCode.NO_ERROR, QuicErrorCode.CRYPTO_ERROR):
            found = close_failure(Close(transport, True, "why"), "shop:443")
            assert found.outcome == f"h3 transport {transport.name.lower()}"
            assert "shop:443 closed the connection: why" in str(found.detail)


@pytest.mark.parametrize(
    ("close", "outcome"),
    [
        (Close(0x100, False), "reset"),
        (Close(0, True), "reset"),
        (Close(0x77, False), "h3 unknown_error"),
        (Close(0x100 + 42, True, "bad certificate"), "tls"),
        (Close(0x100 + 120, True), "h3 no_application_protocol"),
    ],
)
def test_an_end_has_an_outcome(close: Close, outcome: str) -> None:
    assert close_failure(close, "shop:443").outcome == outcome


@pytest.mark.parametrize(
    ("http", "message"),
    [
        (Http(http3="yes"), "http3: invalid value 'yes'"),  # type: ignore[arg-type]
        (Http(early_data=True), "early_data: needs HTTP/3"),
        (Http(http3=True, early_data=1), "early_data: invalid value 1"),  # type: ignore[arg-type]
        (
            Http(http3=True, proxy="http://proxy.example:3128"),
            "http3: cannot be combined with proxy, because HTTP/3 does not use TCP",
        ),
        (Http(http3="only", uds="/run/a.sock"), "http3: cannot be combined with uds, because HTTP/3 needs UDP"),
        (Http(http3=True, tls_max="1.2"), 'http3: needs TLS 1.3, but tls_max="1.2"'),
        (Http(http3="only", http2=True), 'http2: has no effect with http3="only"'),
        (Http(http3="only", ciphers="ECDHE+AESGCM"), 'ciphers: has no effect with http3="only"'),
    ],
)
def test_settings_that_cannot_be_are_errors(http: Http, message: str) -> None:
    assert [text for text, _ in http.wrongs()] == [message]


def test_settings_that_can_be_are_none() -> None:
    for http in (Http(http3=True, http2=True, early_data=True, tls_max="1.3"), Http(http3="only", sni="a.example")):
        assert not list(http.wrongs())


def test_without_aioquic_the_plan_is_refused_and_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.clients.net.settings_check.find_spec", lambda _: None)
    ((message, hint),) = Http(http3=True).wrongs()
    assert message == "http3: needs aioquic, which is not installed"
    assert "install the extra `http3`" in hint
