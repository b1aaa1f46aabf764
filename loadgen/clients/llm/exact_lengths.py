"""Compares the lengths of answers with those that the journey asked for: does the server support `exactly=True`?"""

from __future__ import annotations

from typing import Final

__all__ = ["ExactLengths"]

_FEWEST: Final = 20
_MOST_OTHERS: Final = 0.05
_NOTE: Final = (
    "more than 5 % of the answers did not have exactly max_tokens tokens, so this is not the workload that was asked "
    "for: use exactly=True only with servers that support ignore_eos and min_tokens, such as vLLM and SGLang"
)


class ExactLengths:
    """The answers of one worker to requests with `exactly=True`, by the tokens that the server counts."""

    __slots__ = ("_answers", "_is_noted", "_others")

    def __init__(self) -> None:
        self._answers = self._others = 0
        self._is_noted = False

    def add(self, *, is_exact: bool) -> str:
        """Add an answer. Return a note, once, when more than 5 % of at least 20 answers had another length; else ""."""
        self._answers += 1
        self._others += not is_exact
        if self._is_noted or self._answers < _FEWEST or self._others <= _MOST_OTHERS * self._answers:
            return ""
        self._is_noted = True
        return _NOTE
