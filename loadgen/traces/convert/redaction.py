"""Removes what must not be stored from texts of spans: addresses of persons, numbers of cards, credentials, queries.

E-mail addresses and numbers with the form of a payment card become `<redacted>`. URLs lose user, query and fragment.
Credentials with a known form are masked by `loadgen.redact`. A secret without such a form is not recognized: such
values are kept out by the list of names in `attribute_names.py`.

HOT: the last results are remembered, because spans repeat their texts: 0.1 to 0.3 µs instead of 6 µs for a text, 12 µs
for a URL and 21 µs for a statement (`thread_time`, the best of three). Long texts are not, so that hostile ones need no
more than 20 MB.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from loadgen.redact import Redactor
from loadgen.traces.convert.sql_text import has_sql_form, statement_without_values
from loadgen.traces.model import MOST_TEXT

__all__ = ["REDACTED", "clean_name", "clean_path", "clean_statement", "clean_text", "clean_url"]

REDACTED: Final = "<redacted>"
_REMEMBERED: Final = 2_048
_MOST_READ: Final = 4 * MOST_TEXT
"""Characters that are searched: more than are kept, so that no half of a secret is left at the end."""
_LONGEST_SECRET: Final = 320
"""Characters of the longest e-mail address (RFC 3696)."""
_EMAIL: Final = re.compile(r"[\w.+~-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}\.[^\W\d_]{2,24}(?![\w-])")
_CARD: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:[3-6]\d{12,18}|2[2-7]\d{14}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5})"
    r"(?![0-9A-Za-z])"
)
"""Numbers of payment cards as their issuers assign them (ISO/IEC 7812), or written in groups. No check digit is
needed, so that a mistyped number is found, too. Times in ms or as 20261124170312 are not matched."""
_URL_QUERY: Final = re.compile(r"(\b[A-Za-z][\w+.-]{0,20}://[^\s?#;\"'<>]*)[?#;][^\s\"'<>]*")
_QUERY_IN_NAME: Final = re.compile(r"(/[^\s?#;]*)[?#;]\S*")
_USER: Final = re.compile(r"(?<=//)[^/?#]*@")
_USER_AND_PASSWORD: Final = re.compile(r"(?<![\w.:-])[\w.%+-]{1,64}:[^\s/@\"'<>]{1,128}@(?!sha\d)(?=[\w(\[])")
"""`user:password@host` without a scheme, as in the DSNs of Go, but no digest of an image (`name:tag@sha256:...`)."""
_PATH_END: Final = re.compile(r"[?#;]")
_UUID: Final = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])")
_HEX: Final = re.compile(r"(?<![0-9A-Za-z_])(?=[A-Fa-f]*\d)(?:0[xX])?[0-9A-Fa-f]{8,}(?![0-9A-Za-z_])")
_SEGMENT: Final = re.compile(r"(?<=/)(?=[A-Za-z]*\d[A-Za-z]*\d)[0-9A-Za-z]{16,}(?![0-9A-Za-z_])")
_NUMBER: Final = re.compile(
    r"(?<![0-9A-Za-z_{])(?<!\d\.)\d{2,}(?![0-9A-Za-z_}]|\.\d)|(?<=[/ =:#,(\[])\d(?=[/ ,)\]&:]|$)"
)
_MASKS: Final = Redactor()


def clean_text(text: str) -> str:
    """Return a text of at most `MOST_TEXT` characters without e-mail addresses, numbers of cards, credentials, and
    values of statements.
    """
    return _text(text) if len(text) <= MOST_TEXT else _text.__wrapped__(text)


@lru_cache(_REMEMBERED)
def _text(text: str) -> str:
    is_cut = len(text) > _MOST_READ
    if ("'" in text or '"' in text) and has_sql_form(text):
        return clean_statement(text, "")
    text = _MASKS.text(text[:_MOST_READ])
    if "://" in text:
        text = _URL_QUERY.sub(r"\1", text)
    if "@" in text or "%40" in text:
        text = _EMAIL.sub(REDACTED, _USER_AND_PASSWORD.sub(f"{REDACTED}@", text))
    text = _CARD.sub(REDACTED, text)
    # Half a secret at the cut has no recognizable form.
    return text[: max(0, min(MOST_TEXT, len(text) - _LONGEST_SECRET)) if is_cut else MOST_TEXT]


def clean_url(text: str) -> str:
    """Return a URL without user, query and fragment, cleaned as a text."""
    return clean_text(_USER.sub("", _before_query(text)))


def clean_path(text: str) -> str:
    """Return the path of a URL without query and fragment, cleaned as a text."""
    return clean_text(_before_query(text))


def _before_query(text: str) -> str:
    end = _PATH_END.search(text)
    return text[: end.start()] if end else text


def clean_statement(text: str, system: str) -> str:
    """Return a statement without values and comments. system: of the database, "" if unknown."""
    return _statement(text, system) if len(text) <= MOST_TEXT else _statement.__wrapped__(text, system)


@lru_cache(_REMEMBERED)
def _statement(text: str, system: str) -> str:
    # No `clean_text`: it would mask the `?` of a column with the name of a secret.
    plain = statement_without_values(text[:_MOST_READ], system)
    return (_EMAIL.sub(REDACTED, plain) if "@" in plain else plain)[:MOST_TEXT]


def clean_name(text: str, system: str = "") -> str:
    """Return the name of a span, cleaned as a text, with `{n}` in place of ids and numbers.

    A statement loses its values, and an address its query. An empty name becomes "without a name".

    system: the database system, if the span has one.
    """
    return _name(text, system) if len(text) <= MOST_TEXT else _name.__wrapped__(text, system)


@lru_cache(_REMEMBERED)
def _name(text: str, system: str) -> str:
    text = text[:_MOST_READ].strip()
    if has_sql_form(text):
        text = clean_statement(text, system)
        return _QUERY_IN_NAME.sub(r"\1", text)
    text = _QUERY_IN_NAME.sub(r"\1", text) if "/" in text else text
    # In "session: create" the first word is no name of a secret, so both sides are cleaned apart.
    text = ": ".join(map(clean_text, text.split(": ")))
    for pattern in (_UUID, _HEX, _SEGMENT, _NUMBER):
        text = pattern.sub("{n}", text)
    return text[:MOST_TEXT] or "without a name"
