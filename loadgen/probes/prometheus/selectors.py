"""Parses selectors of PromQL, such as `http_requests_total{job="shop"}`. Pure.

Only a plain selector names raw samples. A selector with a range, an offset or a function is an expression.
Source: Prometheus documentation, "Querying basics", time series selectors and string literals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["LABEL", "SELECTOR", "STRING", "BadSelector", "Matcher", "Selector", "parse_matchers", "parse_selector"]

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
STRING: Final = r"""\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`"""
"""A backslash escapes a character in quotes. In backticks it does not, and they may contain line breaks."""
SELECTOR: Final = rf"""[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{{(?:[^{{}}\"'`]|{STRING})*\}})?"""
"""A metric, and its conditions if it has any, as part of another expression; strings may contain braces."""
_MATCHER: Final = re.compile(rf"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*({STRING})\s*(,|$)")
_MOST: Final = 2_000


class BadSelector(ValueError):
    """The text is not a selector. The text of the error completes "... is not a selector: it ..."."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition for a label. value: with its quotes or backticks, as it was written."""

    label: str
    operator: str
    value: str

    @property
    def text(self) -> str:
        """Return the condition as PromQL."""
        return f"{self.label}{self.operator}{self.value}"


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector. name: the metric; empty if only its conditions name it."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    @property
    def text(self) -> str:
        """Return the selector as PromQL."""
        inner = ",".join(matcher.text for matcher in self.matchers)
        return f"{self.name}{{{inner}}}" if inner else self.name

    def also(self, matchers: tuple[Matcher, ...]) -> Selector:
        """Return this selector with more conditions."""
        return Selector(self.name, (*self.matchers, *matchers))


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Return the conditions of a text such as `job="shop",instance=~"10.*"`.

    Raises:
        BadSelector: the text is not a list of conditions.
    """
    found: list[Matcher] = []
    at = 0
    if len(text) > _MOST:
        raise BadSelector(f"has more than {_MOST:,} characters")
    while text[at:].strip():
        one = _MATCHER.match(text, at)
        if one is None:
            raise BadSelector('has conditions that are not like label="value"')
        found.append(Matcher(one[1], one[2], one[3]))
        at = one.end()
    return tuple(found)


def parse_selector(text: str) -> Selector:
    """Return a selector.

    Raises:
        BadSelector: the text is not a plain selector.
    """
    text = text.strip()
    name = found[0] if (found := _NAME.match(text)) else ""
    rest = text[len(name) :].strip()
    if not rest:
        if not name:
            raise BadSelector("is empty")
        return Selector(name)
    if rest[0] != "{" or rest[-1] != "}":
        raise BadSelector("has more than a name and conditions in braces")
    selector = Selector(name, parse_matchers(rest[1:-1]))
    if not name and not any(m.operator in ("=", "=~") and m.value[1:-1] not in ("", ".*") for m in selector.matchers):
        raise BadSelector("needs the name of a metric, or a condition that not every series meets")
    return selector
