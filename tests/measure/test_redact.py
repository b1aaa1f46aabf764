"""No secret survives where one is to be expected, and the rest stays readable."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.redact import Redactor, is_secret_name, mask

redact = Redactor().text

HEADERS = [
    "Authorization",
    "Cookie",
    "Set-Cookie",
    "Proxy-Authorization",
    "X-Api-Key",
    "X-Amz-Security-Token",
    "X-Session-Id",
    "X-CSRF-Token",
    "api-key",
]
FIELDS = [
    "password",
    "passwd",
    "PASSWORD",
    "access_token",
    "refreshToken",
    "clientSecret",
    "sessionId",
    "api_key",
    "apiKey",
    "api-key",
    "credentials",
    "otp",
    "user_password_2",
    "user.password",
    "auth",
]
# What is never part of the surrounding text, so that finding it again means that it got through.
canaries = st.text(st.sampled_from("QZXJqzxj0123456789+/=._~-!$"), min_size=4, max_size=60).map(
    lambda text: f"QZ{text}ZQ"
)
values = st.text(min_size=1, max_size=40).map(lambda text: f"QZXJ{text}JXZQ")


def survives(canary: str, text: str) -> bool:
    return canary in redact(text)


@given(st.sampled_from(HEADERS), canaries, st.sampled_from(["\r\n", "\n"]), st.sampled_from(["", "Bearer ", "sid="]))
def test_no_value_of_a_secret_header_survives(name: str, canary: str, end: str, prefix: str) -> None:
    text = end.join(["GET /cart HTTP/1.1", "Host: shop", f"{name}: {prefix}{canary}", "Accept: */*", "", "body"])
    assert not survives(canary, text)
    assert redact(text).splitlines()[-3:] == ["Accept: */*", "", "body"]


@given(st.sampled_from(FIELDS), values, st.booleans(), st.sampled_from([None, 2]), st.integers(0, 30))
def test_no_value_of_a_secret_member_survives_in_json_whole_or_cut(
    name: str, value: str, is_ascii: bool, indent: int | None, cut: int
) -> None:
    body = json.dumps({"sku": 7, name: value, "last": [1, "x"]}, ensure_ascii=is_ascii, indent=indent)
    redacted = redact(body)
    assert "QZXJ" not in redacted
    assert '"sku": 7' in redacted
    assert json.loads(redacted)["last"] == [1, "x"]
    assert "QZXJ" not in redact(body[: len(body) - cut])


@given(st.sampled_from(FIELDS), values)
def test_no_value_survives_in_json_within_json(name: str, value: str) -> None:
    for inner in (json.dumps({name: value}), json.dumps({"a": {name: [value, {"b": value}]}})):
        assert "QZXJ" not in redact(json.dumps({"payload": inner}))
        assert "QZXJ" not in redact(inner)


@given(st.sampled_from(FIELDS), values, st.integers(0, 20))
def test_no_value_of_a_secret_field_survives_in_a_form_or_query(name: str, value: str, cut: int) -> None:
    form = urlencode({"sku": "7", name: value, "last": "x"})
    assert "QZXJ" not in redact(form)
    assert redact(form).startswith("sku=7&")
    assert redact(form).endswith("&last=x")
    assert "QZXJ" not in redact(f"POST /login?{form} HTTP/1.1\r\nHost: shop\r\n\r\n{form[: len(form) - cut]}")


@given(st.sampled_from(FIELDS), values)
def test_no_value_of_a_secret_field_survives_in_a_multipart_body(name: str, value: str) -> None:
    head = f'--b1\r\nContent-Disposition: form-data; name="{name}"\r\n'
    for more in ("", "Content-Type: text/plain\r\n"):
        text = f"{head}{more}\r\n{value.replace(chr(10), ' ').replace(chr(13), ' ')}\r\n--b1--\r\n"
        assert "QZXJ" not in redact(text)


@given(st.sampled_from(FIELDS), values)
def test_no_value_of_a_secret_column_survives_in_a_row(name: str, value: str) -> None:
    redactor = Redactor()
    assert "QZXJ" not in redactor.row({"email": "a@b", name: value})
    assert "QZXJ" not in redactor.row({"email": "a@b", "inner": [{name: {"deep": value}}]})
    assert json.loads(redactor.row({"email": "a", name: value}))["email"] == "a"


@given(st.sampled_from([f for f in FIELDS if f.isidentifier()]), values)
def test_no_value_survives_in_what_python_prints(name: str, value: str) -> None:
    made = type("Shopper", (), {})()
    for text in (
        f"Shopper(email='a', {name}={value!r}, sku=1)",
        f"KeyError: {{'{name}': {value!r}}}",
        f'    reply = await user.http.post("/login", json={{"{name}": {json.dumps(value)}}})',
        f"login({name}=b{value.encode()!r})",
    ):
        assert "QZXJ" not in redact(text), text
    assert made is not None


@given(values, st.sampled_from(["{}", '{{"a": "{}"}}', "x{}y", "/reset/{}?a=b"]))
def test_no_known_secret_survives_anywhere(value: str, where: str) -> None:
    redactor = Redactor(lambda: [value, "other"])
    for written in (value, json.dumps(value)[1:-1], quote(value, safe=""), repr(value)[1:-1]):
        assert written not in redactor.text(where.format(written))


@given(values, st.integers(3, 60), st.sampled_from(["\n<cut: 4096 of 9000 bytes>", " ...'"]))
def test_no_part_of_a_known_secret_survives_where_the_text_is_cut(value: str, kept: int, mark: str) -> None:
    text = f"the answer was {value[: min(kept, len(value) - 1)]}{mark}"
    assert Redactor(lambda: ["other", value]).text(text) == f"the answer was ****{mark}"


def test_a_part_of_a_secret_that_contains_another_one_is_masked_whole() -> None:
    redactor = Redactor(lambda: ["other", "QZXJotherJXZQ", "aXa"])
    assert redactor.text("it was QZXJother ...'") == "it was **** ...'"
    assert redactor.text("it was aXa ...'") == "it was **** ...'"


@given(canaries.filter(lambda c: not set("/?#") & set(c)))
def test_no_user_or_password_of_a_url_survives(canary: str) -> None:
    for text in (f"GET https://{canary}@shop/", f"at https://me:{canary}@shop:80/x", f"http://{canary}:pw@[::1]/"):
        assert not survives(canary, text)
        assert "shop" in redact(text) or "[::1]" in redact(text)


@pytest.mark.parametrize(
    "secret",
    [
        "Bearer mF_9.B5f-4.1JqM",
        "Basic " + base64.b64encode(b"user:open sesame").decode(),
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIEow\ncut",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    ],
)
def test_what_looks_like_a_secret_is_taken_for_one(secret: str) -> None:
    """The examples are those of RFC 6750, RFC 7519, AWS's and GitHub's documentation."""
    redacted = redact(f'note: "{secret}", and more')
    assert secret.split(" ", 1)[-1] not in redacted
    assert "MIIEow" not in redacted
    assert redacted.startswith('note: "')


def test_html_and_xml_are_covered() -> None:
    page = '<form><input type="hidden" name="csrf_token" value="QZX"><input value=\'QZX\' name=csrf><b>QTY</b></form>'
    assert "QZX" not in redact(page)
    assert "<b>QTY</b>" in redact(page)
    assert redact("<login><Password>QZX</Password><user>me</user></login>") == (
        "<login><Password>****</Password><user>me</user></login>"
    )


def test_a_sentence_around_a_url_stays_whole() -> None:
    assert redact("POST /cart?session=QZX: got 401, expected 201") == "POST /cart?session=****: got 401, expected 201"


@pytest.mark.parametrize("file", ["shop_sessions.py", "auth.py", "scenarios/token_refresh.py", "password.py"])
def test_the_place_of_an_error_in_a_file_named_like_a_secret_stays_readable(file: str) -> None:
    text = f"{file}:12 in log_in: POST http://shop.example/login: got 500, expected 200"
    assert redact(text) == text
    assert redact(f"{file}:12: token=QZXJ") == f"{file}:12: token=****"


def test_a_header_that_goes_on_in_the_next_line_is_masked_whole() -> None:
    assert redact("Cookie: a=QZX;\r\n b=QZX\r\nHost: shop") == "Cookie: ****\r\nHost: shop"


@pytest.mark.parametrize(
    "text",
    [
        'POST http://shop/cart: no \'$.items\' in \'{"sku": 7, "note": "fine"}\'',
        "pick $.token: nothing there, in '{}'",
        'HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n\r\n{"a": [1, 2]}',
        "the author of this page is 42 characters long; tokens are fine in prose",
        "Traceback: checkout.py:14 in checkout: KeyError: 'sku'",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"model": "m", "max_tokens": 256, "stream": true}',
        '{"model":"m","max_completion_tokens":256}',
        '{"usage": {"prompt_tokens": 1024, "total_tokens": 1088, "completion_tokens": 64}}',
        '{"usage": {"prompt_tokens_details": {"cached_tokens": 0}, "input_tokens_details":null}}',
        "await user.llm.chat(prompt(tokens=1024), max_tokens=256)",
        'a body in a body: "{\\"max_tokens\\": 256}"',
        "Usage(input_tokens=7, output_tokens=None)",
    ],
)
def test_numbers_of_tokens_of_ai_models_stay_readable(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"tokens": "12345678"}',
        '{"max_tokens": "QZX"}',
        '{"max_tokens": 123456789}',
        '{"access_tokens": 1234}',
        '{"token": 1234}',
        '{"session_tokens": 1234}',
        "tokens=12ab34",
        "tokens=1234.QZX",
        '{"tokens_details": {"token": "QZX"}}',
        '{"tokens": ["1234"]}',
    ],
)
def test_what_may_be_a_token_of_a_login_is_masked_also_beside_numbers_of_tokens(text: str) -> None:
    assert "****" in redact(text)
    assert not any(part in redact(text) for part in ("QZX", "1234", "12ab"))


def test_a_row_with_numbers_of_tokens_stays_readable() -> None:
    row = {"ContextTokens": 374, "prompt_tokens": 7, "token": 1234, "auth_tokens": 1234, "tokens": "1234"}
    masked = {**row, "token": "****", "auth_tokens": "****", "tokens": "****"}
    assert json.loads(Redactor().row(row)) == masked


def test_an_empty_value_stays_empty_since_that_is_often_the_fault() -> None:
    assert redact('{"password": "", "a": 1}') == '{"password": "", "a": 1}'
    assert redact("Authorization: \r\nHost: x") == "Authorization: \r\nHost: x"


def test_stars_tell_the_class_of_length_and_nothing_else() -> None:
    assert [mask("x" * n) for n in (0, 1, 16, 17, 64, 65)] == ["", "****", "****", "********", "********", "*" * 12]
    assert mask("****") == "****"


def test_redacting_twice_changes_nothing_more() -> None:
    text = 'Authorization: Bearer abcdef\r\n\r\n{"password": "x", "t": {"token": ["a", "b"]}}&api_key=1 https://u:p@h/'
    once = redact(text)
    assert redact(once) == once


def test_rows_may_be_dataclasses_or_json_text() -> None:
    @dataclass(frozen=True)
    class Shopper:
        email: str
        password: str

    assert json.loads(Redactor().row(Shopper("a@b", "QZX"))) == {"email": "a@b", "password": "****"}
    assert Redactor().row('{"password": "QZX"}') == '{"password": "****"}'
    assert Redactor().row(None) == ""


def test_a_short_secret_does_not_make_stars_of_every_figure() -> None:
    redactor = Redactor(lambda: ["12", ""])
    assert redactor.text("pin 12, total 1,234 of 512") == "pin ****, total 1,234 of 512"


def test_secrets_that_become_known_later_are_taken_out_from_then_on() -> None:
    known: list[str] = []
    redactor = Redactor(lambda: known)
    assert redactor.text("a QZXQZX b") == "a QZXQZX b"
    known.append("QZXQZX")
    assert redactor.text("a QZXQZX b") == "a **** b"


@pytest.mark.parametrize("name", [*HEADERS, *FIELDS])
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)
    assert not is_secret_name("author")
    assert not is_secret_name("Content-Type")


@pytest.mark.parametrize(
    "text",
    [
        "token" * 4000,
        "a" * 20_000,
        '"token":' * 3000,
        "{" * 20_000,
        "token={" * 3000,
        "x.y-z" * 4000,
        "\\" * 20_000,
        'password"' * 2000,
        "<input token" * 2000,
        "eyJ" * 7000,
        "://" * 7000 + "@",
        "token:\n " * 3000,
        "name=" * 4000 + 'token"',
    ],
)
def test_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    """Quadratic work would take tens of seconds here; the bound is wide, for busy machines."""
    began = perf_counter()
    redact(text)
    assert perf_counter() - began < 5
