"""Makes texts from outside (an agent, a target, a scenario, a file) safe to print.

Run folders, JSON files and messages contain the original text. Every printer passes it
through this module, so a text can neither control a terminal nor forge a line:

    one_line    terminal, log, Markdown, CSV: everything on one line
    block       a body or a traceback: several lines, each safe
    in_html     HTML and SVG written by Python
    in_json     JSON on a terminal; parsing it gives the same strings
    in_cell     a cell of a CSV file that a spreadsheet may open

The rule: an invisible character is shown as its code, such as `\\x1b` or
`\\u202e`. A character is visible if Python calls it printable and Unicode does
not call it ignorable; spaces also count as visible. A joiner (U+200D) and the
two presentation selectors (U+FE0E, U+FE0F) are kept after a pictograph, so
emoji look right. Backslashes are not doubled: a text that contains the four
characters `\\x1b` looks the same as an escape character, and is harmless.


The first characters of commands that CI systems read from a log (`::error::`,
`##[error]`, `##vso[`) are shown as codes, too.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Final

__all__ = ["block", "in_cell", "in_html", "in_json", "is_plain", "one_line", "plain_float"]

_IGNORABLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that Python calls printable but that are invisible (Unicode's Default_Ignorable_Code_Point)."""
_SHORT: Final = {9: "\\t", 10: "\\n", 13: "\\r"}
_EMOJI: Final = "[\u203c\u2049\u2122\u2139\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
_GLUE: Final = re.compile(
    f"((?<={_EMOJI})[\ufe0e\ufe0f]|(?<={_EMOJI})\u200d(?={_EMOJI})|(?<={_EMOJI}\ufe0f)\u200d(?={_EMOJI}))"
)
"""Joiners and selectors inside an emoji."""
_AHEAD: Final = 64
"""The characters beyond a cut that decide how those before it are shown."""
_CI_COMMAND: Final = re.compile(
    r"::(?=(?:add-mask|add-matcher|add-path|debug|echo|endgroup|error|group|notice|remove-matcher|save-state|set-env"
    r"|set-output|stop-commands|warning)[ :])|##(?=[a-z]*\[)",
    re.IGNORECASE,
)
"""Matches the beginning of CI commands. GitHub allows spaces before them, Azure any text."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_NOT_IN_JSON: Final = re.compile(
    "[\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]|#(?=#[A-Za-z]*\\[)"
)


class _Codes(dict[int, str]):
    """A table for `str.translate`. It stores nothing, so a hostile text cannot make it grow."""

    def __missing__(self, number: int) -> str:
        char = chr(number)
        is_visible = char.isprintable() and _IGNORABLE.match(char) is None
        return char if is_visible or unicodedata.category(char) == "Zs" else _code(number)


def _code(number: int) -> str:
    if number in _SHORT:
        return _SHORT[number]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


_CODES: Final = _Codes()


def one_line(text: str, most: int | None = None) -> str:
    """Return the text as one line of visible characters. Takes 0.2 µs if nothing has to be changed.

    most: maximum length; a longer text is cut and ends in "...".
    """
    if most is not None:
        text = text[: most + _AHEAD]  # a text of 1 MB would take a second; no character becomes shorter
    if not is_plain(text):
        text = _CI_COMMAND.sub(_broken, _visible(text))
    return text if most is None or len(text) <= most else text[: max(0, most - 3)] + "..."


def is_plain(text: str) -> bool:
    """Return True only if `one_line` would not change the text. This fast check is also False for some texts that
    `one_line` does not change.
    """
    if not text.isprintable() or "::" in text or "##" in text:
        return False
    return text.isascii() or _IGNORABLE.search(text) is None


def block(text: str) -> list[str]:
    """Split a text into lines and return them, each made safe for a terminal by `one_line`. Tabs become spaces. An
    empty text returns one empty line.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return [one_line(line.expandtabs() if "\t" in line else line) for line in lines]


def in_html(text: str) -> str:
    """Return the text escaped for the content of an HTML element or for a quoted attribute."""
    return html.escape(one_line(text))


def in_json(encoded: str) -> str:
    """Return a JSON document in which invisible characters in strings are escaped. The values of the document are
    unchanged.
    """
    return _NOT_IN_JSON.sub(lambda found: _in_json(ord(found[0])), encoded)


def in_cell(text: str) -> str:
    """Return the text as one line that no spreadsheet treats as a formula: a text that looks like one gets an
    apostrophe in front. Numbers are unchanged.
    """
    line = one_line(text)
    is_formula = text.lstrip().startswith(_FORMULA) or text.startswith(_FORMULA)
    return f"'{line}" if is_formula and _NUMBER.fullmatch(text) is None else line


def _visible(text: str) -> str:
    return "".join(part if n % 2 else part.translate(_CODES) for n, part in enumerate(_GLUE.split(text)))


def _broken(found: re.Match[str]) -> str:
    """Return a matched command of a CI system, such as "::error", made harmless: its first character is replaced by its
    code.
    """
    return f"\\x{ord(found[0][0]):02x}{found[0][1:]}"


def _in_json(number: int) -> str:
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


def plain_float(text: str) -> float:
    """Return the number in a text from outside. Unlike `float`, it does not read 1_000: is it a number or a name?

    Raises:
        ValueError: it is not a number. "nan" and "inf" are numbers.
    """
    if "_" in text:
        raise ValueError(f'"{text[:40]}" is not a plain number')
    return float(text)
