"""Removes secrets from texts that humans read: exchanges, tracebacks, rows.

It works on text instead of parsed bodies, so that truncated or broken JSON is covered, too.
It masks:
- the values of the scenario's own secrets, wherever they occur, also in the notation of JSON, URLs or Python;
- values of headers, JSON members, form and query fields, multipart fields, XML elements and HTML inputs, Python
  keyword arguments and data columns whose *name* looks like a secret: password, token, session, api_key, ...;
- user and password in a URL; Bearer and Basic credentials, JSON web tokens, private keys, and the keys of a few
  well-known services, by their form.

Stars replace a value. Their number shows only a length class: 4 for up to 16 characters, 8 for up to 64, 12 for more.
An empty value stays empty, because that is often the cause of an error. When in doubt the value is masked: the
number in `session_count=7`, too. Numbers of tokens of AI models stay readable, such as `"max_tokens": 256`. A secret
with a harmless name that the scenario did not declare by `secret()` is *not* found.

Cost of 4 KiB: 0.13 ms of JSON without a secret, 0.33 ms with a head that has some, 1.1 ms of 240 secret members
(`timeit`, the best of five, two known secrets, on a busy machine). The cost is linear in the length of any text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final
from urllib.parse import quote, quote_plus

__all__ = ["Redactor", "is_secret_name", "mask"]

_ALONE: Final = r"(?<![a-z]){}(?![a-z])"
_NAMES: Final[tuple[tuple[str, re.Pattern[str] | None], ...]] = (
    *((word, None) for word in ("token", "secret", "passw", "passphrase", "passcode", "credential", "session")),
    *((word, None) for word in ("cookie", "signature", "bearer", "jwt", "csrf", "xsrf", "kennwort")),
    *((word, re.compile(word + "[-_. ]?key")) for word in ("api", "access", "private")),
    ("auth", re.compile(r"authorization|authentication|(?<=x-)auth|" + _ALONE.format("auth"))),
    *((word, re.compile(_ALONE.format(word))) for word in ("sid", "otp", "pwd", "pin", "sig", "cvv", "cvc", "ssn")),
)
"""Words that mark a name as that of a secret, in lower case, and an additional pattern that has to match there.

The words are searched with `str.find`, because a single pattern took 1 ms for 4 KiB.
"""
_COUNT_WORDS: Final = frozenset(
    (
        *("max", "min", "n", "num", "new", "prompt", "completion", "total", "input", "output", "cached", "cache"),
        *("creation", "read", "reasoning", "thinking", "budget", "context", "generated", "text", "audio", "image"),
        *("accepted", "rejected", "prediction", "details"),
    )
)
"""Words of names such as `max_tokens` and `prompt_tokens_details`: their values are numbers of tokens, not secrets."""
_WORD_OF_NAME: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d")
_COUNT: Final = re.compile(r"(?:\d{1,8}|null|None)(?![\w.+/=-])")
"""A number of tokens, without quotes."""
_LONGEST_NAME: Final = 60
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_REST_OF_NAME: Final = re.compile(r"(?:[\w.$\-\[\]]|%5[BD]){0,100}", re.IGNORECASE)
_QUOTE: Final = re.compile(r"""\\*["']|%22|%27|&quot;|&#3[49];""", re.IGNORECASE)
_SEPARATOR: Final = re.compile(r"[ \t]*(?:=>|%3A|%3D|[:=]=*)[ \t]*", re.IGNORECASE)
_SPACE: Final = re.compile(r"\s*")
_PREFIX: Final = re.compile(r"[bBrRuUfF]{0,2}(?=[\"'])")
_LINE_START: Final = re.compile(r"[ \t<>|*-]*[\w.$\-\[\]]*")
_TO_LINE_END: Final = re.compile(r"[^\r\n]*(?:\r?\n[ \t]+[^\r\n]+)*")
_LINE_NUMBER: Final = re.compile(r":\d+\b")
_FORM_VALUE: Final = re.compile(r"[^&\s\"<>]*")
_BARE_VALUE: Final = re.compile(r"[^,\s}\]&\"<>]*")
_STRING: Final = {q: re.compile(rf"(?:[^{q}\\]|\\.)*", re.DOTALL) for q in "\"'"}
_PART: Final = re.compile(r"[^\r\n]*(?:\r?\n[^\r\n]+)*\r?\n\r?\n")
_PART_END: Final = re.compile(r"\r?\n--")
_ELEMENT: Final = re.compile(r"[^<>\"=]*>([^<]*)")
_TAG: Final = re.compile(r"<(?:input|meta|option|textarea|button)\b[^>]*", re.IGNORECASE)
_TAG_VALUE: Final = re.compile(r"\b(value|content)(\s*=\s*)(\"[^\"]*\"?|'[^']*'?|[^\s\"'>]+)", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(?<=://)[^/\s\"'<>?#]*@")
_LOOKS: Final = tuple(
    (words, re.compile(pattern, re.DOTALL))
    for words, pattern in (
        (
            ("private key",),
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
        ),
        (
            ("bearer", "basic", "negotiate", "digest", "apikey"),
            r"(?<![\w-])(?P<scheme>(?i:bearer|basic|negotiate|digest|apikey)[ \t]{1,8})(?!\*)[^\s\"'<>,;]{4,}",
        ),
        (("eyj",), r"(?<![\w-])eyJ[\w-]{4,}(?:\.[\w-]*)*"),
        (("akia", "asia", "aroa", "aida"), r"(?<![A-Za-z0-9])(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}"),
        (("gh", "github_pat_"), r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,})"),
        (("xox",), r"(?<![A-Za-z0-9])xox[abeoprs]-[\w-]{8,}"),
        (("k_live_", "k_test_"), r"(?<![A-Za-z0-9])[srp]k_(?:live|test)_[A-Za-z0-9]{8,}"),
        (("aiza",), r"(?<![A-Za-z0-9])AIza[\w-]{20,}"),
    )
)
"""Patterns of secrets, and words (in lower case): a text without any of the words cannot match the pattern."""
_CUT: Final = re.compile(r"\n<cut: \d+ of \d+ bytes>| \.\.\.")
"""The marks of cut texts (clients/response/format_exchange.py, replies.py). Part of a secret may be before them."""
_SHORTEST_PART: Final = 3
_SHORTEST_SECRET: Final = 4
"""Shorter secrets are masked only as whole words: otherwise a PIN "1" would mask digits everywhere."""


def mask(value: str) -> str:
    """Return 4, 8 or 12 stars in place of a secret value, depending on its length. An empty value, and a value that
    consists of stars, are unchanged.
    """
    if not value.strip("*"):
        return value
    return "****" if len(value) <= 16 else "********" if len(value) <= 64 else "************"


def is_secret_name(name: str) -> bool:
    """Return True if the name of a header, field or column (such as "password") means that its value is secret."""
    return bool(_names(name))


def _is_count_name(name: str) -> bool:
    """Return whether a name means a number of tokens, such as "max_tokens" or "ContextTokens"."""
    words = {word.lower() for word in _WORD_OF_NAME.findall(name)}
    return "tokens" in words and words - {"tokens"} <= _COUNT_WORDS


def _names(text: str) -> list[tuple[int, int]]:
    """Find the words that mark a value as secret, such as "password", and return their positions as (start, end), in
    order.
    """
    lower = _lower(text)
    spots: list[tuple[int, int]] = []
    for word, check in _NAMES:
        at = lower.find(word)
        while at >= 0:
            if check is None:
                spots.append((at, at + len(word)))
            elif (found := check.match(lower, at)) is not None:
                spots.append(found.span())
            at = lower.find(word, at + len(word))
    return sorted(spots)


def _lower(text: str) -> str:
    """Return the text with ASCII letters in lower case and the same length, which `str.lower` does not guarantee."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _masked_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text with spans masked; those that overlap or touch become one mask."""
    done: list[str] = []
    at, is_masked = 0, False
    for start, end in sorted(spans):
        if start > at or not is_masked:
            done += text[at:start], "****"
        at, is_masked = max(at, end), True
    return "".join((*done, text[at:]))


class Redactor:
    """Masks secrets. `secrets` returns the values known so far; it is called each time, because they are resolved
    lazily.
    """

    __slots__ = ("_compiled", "_forms", "_known", "_secrets")

    def __init__(self, secrets: Callable[[], Iterable[str]] = tuple) -> None:
        self._secrets = secrets
        self._known: tuple[str, ...] = ()
        self._forms: tuple[str, ...] = ()
        self._compiled: re.Pattern[str] | None = None

    def text(self, text: str) -> str:
        """Return the text with all secrets masked."""
        if not text:
            return text
        text = self.known(text)
        if "://" in text and "@" in text:
            text = _USERINFO.sub("****@", text)
        lower = _lower(text)
        for words, pattern in _LOOKS:
            if any(word in lower for word in words):
                text = pattern.sub(_of_look, text)
        if "<" in text:
            text = _TAG.sub(_of_tag, text)
        return _by_name(text)

    def known(self, text: str) -> str:
        """Return the text with only the scenario's own secrets masked. For names, which should stay readable."""
        pattern = self._pattern()
        if pattern is None:
            return text
        if "<cut: " not in text and " ..." not in text:
            return pattern.sub("****", text)
        # A part can contain another secret, so both are looked for in the same text.
        return _masked_spans(text, (*(match.span() for match in pattern.finditer(text)), *self._parts(text)))

    def _parts(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where parts of secrets are: before a cut there can be the beginning of one."""
        at = 0
        for cut in _CUT.finditer(text):
            part = max((_overlap(text[at : cut.start()], form) for form in self._forms), default=0)
            if part:
                yield cut.start() - part, cut.start()
            at = cut.end()

    def row(self, row: object) -> str:
        """Return a row of a scenario's data as JSON, with the values of secret columns masked. Return "" for no row.

        row: a dataclass, a struct, a mapping or a sequence; a text is treated as JSON.
        """
        if row is None:
            return ""
        return self.text(row if isinstance(row, str) else json.dumps(_masked(row), ensure_ascii=False, default=str))

    def _pattern(self) -> re.Pattern[str] | None:
        known = tuple(self._secrets())
        if known != self._known:
            self._known = known
            forms = {form for value in known if value for form in _written(value)}
            # Longest first, because a pattern takes the first alternative that matches, and a shorter one would leave a
            # rest.
            self._forms = tuple(sorted(forms, key=len, reverse=True))
            parts = [_one(form) for form in self._forms]
            self._compiled = re.compile("|".join(parts)) if parts else None
        return self._compiled


def _written(value: str) -> Iterable[str]:
    """Yield a secret in all notations in which it may occur in a text: unchanged, and as written in JSON, URLs, forms
    and Python.
    """
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
    yield repr(value)[1:-1]
    yield value.encode("utf-8", "replace").decode("latin-1")


def _overlap(text: str, form: str) -> int:
    """Return the length of the longest beginning of `form`, a secret, with which the text ends; 0 if it is too short to
    be sure.
    """
    for length in range(min(len(text), len(form) - 1), _SHORTEST_PART - 1, -1):
        if text.endswith(form[:length]):
            return length
    return 0


def _one(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= _SHORTEST_SECRET else rf"(?<!\w){escaped}(?!\w)"


def _of_look(found: re.Match[str]) -> str:
    scheme = found.groupdict().get("scheme") or ""
    return scheme + mask(found[0][len(scheme) :])


def _of_tag(found: re.Match[str]) -> str:
    """Return a matched HTML input element with its value masked if its name marks it as secret."""
    tag = found[0]
    if not is_secret_name(tag):
        return tag
    return _TAG_VALUE.sub(lambda value: f'{value[1]}{value[2]}"{mask(value[3].strip(chr(34) + chr(39)))}"', tag)


def _by_name(text: str) -> str:
    """Return the text with the values masked that belong to a secret name, in any notation (`password=...`, `"token":
    "..."`). Takes one pass, in linear time.
    """
    done: list[str] = []
    at = 0
    for start, end in _names(text):
        if start < at:
            continue  # inside a value that is masked already
        span = _value_of(text, start, end)
        if span is None or span[0] < at or _is_count(text, start, end, span[0]):
            continue
        done += text[at : span[0]], mask(text[span[0] : span[1]])
        at = span[1]
    return "".join((*done, text[at:])) if done else text


def _is_count(text: str, start: int, end: int, at: int) -> bool:
    """Return whether the value at `at` is a number of tokens of an AI model, or an object of such numbers. The word
    at [start, end) is part of its name.
    """
    if text[at - 1] not in " \t\n:=":
        return False  # in quotes
    begin = start
    while start - _LONGEST_NAME < begin and begin > 0 and (text[begin - 1].isalnum() or text[begin - 1] in "_-"):
        begin -= 1
    name = text[begin : _end(_REST_OF_NAME, text, end)]
    is_object = name.endswith("_details") and text.startswith("{", at)  # the names in it are judged by themselves
    return _is_count_name(name) and (is_object or _COUNT.match(text, at) is not None)


def _value_of(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return (start, end) of the value that belongs to the name at [start, end) of the text; None if no value follows
    the name.
    """
    end = _end(_REST_OF_NAME, text, end)
    if text.endswith(".py", start, end) and _LINE_NUMBER.match(text, end):
        return None  # a place in a file: "session_test.py:7"
    quoted = _QUOTE.match(text, end)
    separator = _SEPARATOR.match(text, quoted.end() if quoted else end)
    if separator is None:
        return _of_part(text, start, end) if quoted else _of_element(text, end)
    at = _end(_SPACE, text, separator.end()) if quoted else separator.end()
    at = _end(_PREFIX, text, at)
    if quoted is None and ":" in separator[0] and (line := _header_line(text, start, separator)) is not None:
        return line
    if (opened := _QUOTE.match(text, at)) is not None:
        return opened.end(), _end_of_string(text, opened.end(), opened[0])
    if text[at : at + 1] in ("[", "{", "("):
        return at, _end_of_nested(text, at)
    if quoted is not None:
        return at, _end(_BARE_VALUE, text, at)
    if "=" in separator[0] or separator[0].strip().lower() == "%3d":
        stop = _end(_FORM_VALUE, text, at)
        while stop > at and text[stop - 1] in ":,;." and text[stop : stop + 1] in ("", " ", "\n", "\r"):
            stop -= 1  # punctuation of the sentence: "POST /cart?session=...: got 401, expected 201"
        return at, stop
    return None  # a colon in prose: "no session: try again"


def _header_line(text: str, start: int, separator: re.Match[str]) -> tuple[int, int] | None:
    """Return (start, end) of the value of a header line `Name: value`, with its continuation lines; None if the name at
    `start` does not begin a line.
    """
    begin = text.rfind("\n", max(0, start - 200), start) + 1
    if begin == 0 and start > 200:
        return None
    if _LINE_START.fullmatch(text, begin, start) is None:
        return None
    stop = _end(_TO_LINE_END, text, separator.end())
    return separator.end(), stop


def _of_part(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return (start, end) of the body of a multipart field such as `Content-Disposition: form-data; name="password"`,
    whose name is at [start, end); None if it is no such field.
    """
    begin = text.rfind("\n", max(0, start - 400), start) + 1
    if "name=" not in text[begin:start].lower():
        return None
    head = _PART.match(text, end)
    if head is None:
        return None
    stop = _PART_END.search(text, head.end())
    return head.end(), stop.start() if stop else len(text)


def _of_element(text: str, end: int) -> tuple[int, int] | None:
    """Return (start, end) of the text of an XML element such as `<password>value<`, whose name ends at `end`; None if
    it is no element.
    """
    found = _ELEMENT.match(text, end, end + 400)
    if found is None:
        return None
    stop = text.find("<", found.start(1))
    return found.start(1), len(text) if stop < 0 else stop


def _end_of_string(text: str, at: int, opened: str) -> int:
    if opened in _STRING:
        return _end(_STRING[opened], text, at)
    stop = text.find(opened, at)
    return len(text) if stop < 0 else stop


_IN_NESTED: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|[\[\]{}()]", re.DOTALL)


def _end_of_nested(text: str, at: int) -> int:
    """Return the position after the bracket that closes the one at `at`; the end of the text if no bracket does."""
    depth = 0
    for found in _IN_NESTED.finditer(text, at):
        if found[0] in "[{(":
            depth += 1
        elif found[0] in "]})":
            depth -= 1
            if depth <= 0:
                return found.end()
    return len(text)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _masked(value: Any, depth: int = 0) -> Any:
    """Return a value in a form for JSON, in which the values of secret names are masked. Anything nested more than 8
    levels deep becomes "...".
    """
    if depth > 8:
        return "..."
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    elif hasattr(value, "__struct_fields__"):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {
            str(name): mask(_plain(inner))
            if is_secret_name(str(name)) and not (type(inner) is int and _is_count_name(str(name)))
            else _masked(inner, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(inner, depth + 1) for inner in value]
    return value if isinstance(value, int | float | bool | str) or value is None else str(value)


def _plain(value: object) -> str:
    return "" if value is None else str(value)
