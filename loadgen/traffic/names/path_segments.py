"""Recognizes parameters in paths by their form: ids, hashes, dates, e-mail addresses, tokens."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

__all__ = ["is_parameter", "parameters_of", "path_of", "segments_of", "target_of", "template_segment"]

_MOST_DEPTH: Final = 16
"""The number of segments of a path that are kept. The rest of a deeper path becomes `{rest}`."""
_MOST_LITERAL: Final = 64

_FORMS: Final = (
    ("{id}", re.compile(r"[+-]?\d+")),
    ("{uuid}", re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")),
    ("{id}", re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")),  # ULID
    ("{date}", re.compile(r"\d{4}-\d\d(?:-\d\d(?:T[\d:.]+Z?)?)?")),
    ("{id}", re.compile(r"(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}")),
    ("{email}", re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")),
    ("{token}", re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*){0,2}")),  # JSON web token
    ("{token}", re.compile(r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=[^0-9]*[0-9])[\w-]{16,}={0,2}", re.ASCII)),
)
_SUFFIX: Final = re.compile(r"(.+)(\.[A-Za-z][A-Za-z0-9]{0,5})", re.DOTALL)
_PLAIN: Final = re.compile(r"[a-z_]{1,15}")
_VISIBLE: Final = "!$&'()*+,:@-._~"


def path_of(target: bytes) -> bytes:
    """Return the path of a request's target without scheme, host, query and fragment. The path begins with `/`."""
    path = target.partition(b"?")[0].partition(b"#")[0]
    if path[:1] == b"/":
        return path
    _, mark, rest = path.partition(b"://")
    return b"/" + (rest.partition(b"/")[2] if mark else path)


def target_of(target: bytes) -> bytes:
    """Return the path of a request's target with its query, if there is one."""
    query = target.partition(b"#")[0].partition(b"?")[2]
    path = path_of(target)
    return path + b"?" + query if query else path


def segments_of(target: bytes) -> list[str]:
    """Return the segments of a request's path, with parameters such as `{id}` for ids.

    The query, the fragment, `;` parameters and the host are left out, because they may contain session ids and tokens.
    """
    parts = path_of(target)[1:].split(b"/")
    cut = parts[:_MOST_DEPTH]
    segments = [template_segment(part) for part in cut]
    if len(parts) > _MOST_DEPTH:
        segments.append("{rest}")
    return segments


def template_segment(raw: bytes) -> str:
    """Return the form of a segment in a name: a parameter such as `{id}`, or the text. 1 to 6 µs.

    A parameter keeps the suffix of a file: `12345.json` becomes `{id}.json`.
    """
    if raw.isdigit():
        return "{id}"
    if b";" in raw:
        raw = raw.partition(b";")[0]
    text = (unquote_to_bytes(raw) if b"%" in raw else raw).decode("utf-8", "replace")
    if _PLAIN.fullmatch(text):
        return text
    for name, form in _FORMS:
        if form.fullmatch(text):
            return name
    suffixed = _SUFFIX.fullmatch(text)
    if suffixed is not None:
        for name, form in _FORMS:
            if form.fullmatch(suffixed[1]):
                return name + suffixed[2]
    if len(text) > _MOST_LITERAL:
        return "{slug}"
    return quote(text, safe=_VISIBLE)


def is_parameter(segment: str) -> bool:
    """Return whether a segment of a template is a parameter, which matches many texts."""
    return segment[:1] == "{"


def parameters_of(template: str) -> list[tuple[int, str]]:
    """Return the parameters of a template: the index of the segment, and the name without braces and suffix."""
    segments = template.strip("/").split("/")
    return [(at, text[1:].partition("}")[0]) for at, text in enumerate(segments) if is_parameter(text)]
