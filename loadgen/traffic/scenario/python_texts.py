"""Texts from logs inside Python source: they can end neither a string nor a comment, and the source stays ASCII."""

from __future__ import annotations

__all__ = ["in_comment", "in_string", "python_text"]


def in_string(text: str, *, braces: bool = False) -> str:
    """Return a text as the inside of a Python string in double quotes. Only visible ASCII stays as it is.

    braces: the string is an f-string, in which braces are doubled.
    """
    escaped = "".join(
        f"\\{c}"
        if c in '"\\'
        else c
        if " " <= c <= "~"
        else f"\\U{ord(c):08x}"
        if ord(c) > 0xFFFF
        else f"\\u{ord(c):04x}"
        for c in text
    )
    return escaped.replace("{", "{{").replace("}", "}}") if braces else escaped


def in_comment(text: str) -> str:
    """Return a text for a comment or a docstring. Characters that are not visible ASCII become `?`, and so do quotes
    and backslashes.
    """
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)


def python_text(text: str) -> str:
    """Return a text as a Python string in double quotes."""
    return f'"{in_string(text)}"'
