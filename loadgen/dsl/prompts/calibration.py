"""Corrects the number of words by the number of tokens that a server counted.

A server counts `template + words * tokens_per_word`: its chat template adds tokens to each
request, and its vocabulary may have more than one token for some words. Two counted prompts of
different lengths give both numbers; one prompt gives only their sum, so its template is taken
as 0. This module is arithmetic only; the client sends the prompts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from loadgen.units import format_count

__all__ = ["Calibration", "calibrated"]

_MOST_OFF: Final = 0.02
"""A larger difference between words and counted tokens is reported."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The numbers of tokens that a server counts for the words of a prompt."""

    tokens_per_word: float = 1.0
    template_tokens: float = 0.0
    """Tokens that the server adds to each prompt, in addition to those of `prompt(tokens=...)`."""

    @classmethod
    def measured(cls, counts: Iterable[tuple[int, int]]) -> Calibration:
        """Return the calibration that fits the counted prompts best.

        counts: (words sent, prompt tokens counted by the server) of each prompt; at least one.

        Raises:
            ValueError: there is no prompt, or a count is not positive, or more words had fewer tokens.
        """
        pairs = sorted(counts)
        if not pairs:
            raise ValueError("no prompt was counted; send at least one")
        wrong = next(((words, tokens) for words, tokens in pairs if words < 1 or tokens < 1), None)
        if wrong is not None:
            raise ValueError(f"{wrong[1]} tokens for {wrong[0]} words: both must be at least 1")
        (fewest, least), (most, greatest) = pairs[0], pairs[-1]
        if fewest == most:
            return cls(sum(tokens for _, tokens in pairs) / (len(pairs) * most))
        if greatest <= least:
            raise ValueError(
                f"{format_count(most)} words had {format_count(greatest)} tokens, but {format_count(fewest)} words had "
                f"{format_count(least)}: the server does not count the tokens of the prompt"
            )
        n = len(pairs)
        mean_words = Fraction(sum(words for words, _ in pairs), n)
        mean_tokens = Fraction(sum(tokens for _, tokens in pairs), n)
        slope = sum((w - mean_words) * (t - mean_tokens) for w, t in pairs) / sum(
            (w - mean_words) ** 2 for w, _ in pairs
        )
        return cls(float(slope), max(0.0, float(mean_tokens - slope * mean_words)))

    @property
    def off(self) -> float:
        """Return the difference between tokens and words, as a share of the words: 0.03 is 3 % more tokens."""
        return self.tokens_per_word - 1

    @property
    def warning(self) -> str:
        """Return a note for the report if the words are more than 2 % off; else ""."""
        if round(abs(self.off), 9) <= _MOST_OFF:
            return ""
        return (
            f"the server counts {self.tokens_per_word:.3f} tokens for each word of a prompt, so its vocabulary was not "
            "among those of the word list; the number of words is corrected by this factor"
        )


def calibrated(tokens: int, tokens_per_word: float) -> int:
    """Return the number of words whose text has about `tokens` tokens; at least 1.

    Raises:
        ValueError: `tokens_per_word` is not above 0.
    """
    if not tokens_per_word > 0:
        raise ValueError(f"tokens_per_word={tokens_per_word!r} must be above 0")
    return max(1, round(tokens / tokens_per_word))
