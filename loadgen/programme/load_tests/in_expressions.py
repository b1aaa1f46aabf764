"""Adds the condition that leaves load tests out to each selector of an expression of PromQL. Pure.

A pull needs one selector of a query only (`leave_out.py`). An exported rule has the whole expression, so each of its
selectors gets the condition. `{{.window}}` and `[5m]` stay as they are. The names of functions, operators and labels
are told apart from metrics by the grammar. Source: Prometheus documentation, "Querying basics" and "Operators".
"""

from __future__ import annotations

import re
from typing import Final

from loadgen.outside_text import one_line
from loadgen.probes.prometheus.selectors import STRING, BadSelector, Matcher, parse_matchers, parse_selector

__all__ = ["with_matchers_everywhere"]

_TOKEN: Final = re.compile(
    r"(?P<space>\s+|\#[^\n]*)"
    rf"|(?P<string>{STRING})"
    r"|(?P<range>\[[^\]]*\])"
    r"|(?P<number>\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?)"
    rf"|(?P<selector>(?:[a-zA-Z_:][a-zA-Z0-9_:]*\s*)?\{{(?:[^{{}}\"'`]|{STRING})*\}})"
    r"|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r"|(?P<other>[-+*/%^=!<>~(),@])"
)
_WITH_LABELS: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS: Final = frozenset({"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"})
_AGGREGATIONS: Final = frozenset(
    [
        "sum",
        "avg",
        "count",
        "min",
        "max",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "count_values",
        "quantile",
        "limitk",
        "limit_ratio",
    ]
)


def with_matchers_everywhere(expression: str, condition: str) -> str:
    """Return an expression with the matchers of a condition in each selector that does not have them yet.

    Raises:
        ValueError: the condition is not a list of matchers, or a part of the expression is not understood; the text of
            the error completes "the condition cannot be added, because ...".
    """
    try:
        matchers = parse_matchers(condition)
    except BadSelector as error:
        raise ValueError(f"{one_line(condition, 80)!r} {error}") from None
    tokens = _tokens(expression)
    written: list[str] = []
    labels_end, found = 0, 0
    for n, (kind, text) in enumerate(tokens):
        if kind == "name" and text.lower() in _WITH_LABELS:
            labels_end = max(labels_end, _end_of_labels(tokens, n))
        is_selector = kind == "selector" or (kind == "name" and n >= labels_end and _is_metric(tokens, n))
        written.append(_also(text, matchers) if is_selector else text)
        found += is_selector
    if not found:
        raise ValueError('the query has no selector, such as requests_total{job="shop"}')
    return "".join(written)


def _tokens(expression: str) -> list[tuple[str, str]]:
    """Return the tokens with their kinds; joined, their texts are the expression."""
    tokens, at = [], 0
    while at < len(expression):
        one = _TOKEN.match(expression, at)
        if one is None:
            raise ValueError(f"{one_line(expression[at : at + 20], 20)!r} in the query is not PromQL")
        tokens.append((str(one.lastgroup), one[0]))
        at = one.end()
    return tokens


def _following(tokens: list[tuple[str, str]], n: int) -> tuple[int, str]:
    """Return the place and the text of the token after n, without spaces and comments; "" at the end."""
    return next(((m, text) for m, (kind, text) in enumerate(tokens[n + 1 :], n + 1) if kind != "space"), (n, ""))


def _end_of_labels(tokens: list[tuple[str, str]], n: int) -> int:
    """Return the place after the labels in parentheses that follow a word such as `by`; the next place without any."""
    start, text = _following(tokens, n)
    if text != "(":
        return n + 1
    return next((m + 1 for m in range(start, len(tokens)) if tokens[m][1] == ")"), len(tokens))


def _is_metric(tokens: list[tuple[str, str]], n: int) -> bool:
    word = tokens[n][1].lower()
    if word in _WITH_LABELS or word in _WORDS:
        return False
    following = _following(tokens, n)[1]
    return following != "(" and not (word in _AGGREGATIONS and following.lower() in ("by", "without"))


def _also(selector: str, matchers: tuple[Matcher, ...]) -> str:
    try:
        parsed = parse_selector(selector)
    except BadSelector as error:
        raise ValueError(f"{one_line(selector, 80)!r} {error}") from None
    return parsed.also(tuple(one for one in matchers if one not in parsed.matchers)).text
